#include "interp.h"

#include <string.h>

#include "common/ckpt_out.h"
#include "common/heat.h"
#include "common/models.h"

/* The state of a run. */
struct interp {
	struct input in;
	struct plan plan;
	struct model model;
	struct tables_tally tally;
	const struct format_writer *writer;
	struct heat heat; /* used with --show */
	struct buf closing;
};

static int
resolve(struct interp *w, const struct interp_options *o, struct tables_opts *t, struct err *err)
{
	const char *path = o->common.output;

	*t = (struct tables_opts){ .model = &w->model };
	if (bias_resolve(&o->bias, t, err) != 0)
		return -1;
	if (models_load(&w->model, o->models.v, o->models.n, err) != 0)
		return -1;
	if (t->grid == NULL && t->image.h == 0 && !w->model.has_state_dict)
		return err_set(err, ERR_USAGE,
			       "the new size is missing: --img-size N, --grid HxW, or -m with the shapes of the target");
	if (o->show) {
		heat_init(&w->heat, path != NULL && strcmp(path, "-") != 0 && !o->dry_run);
		t->show = heat_table;
		t->show_arg = &w->heat;
	}
	return 0;
}

static int
edit(struct interp *w, const struct tables_opts *t, struct err *err)
{
	int found;

	plan_add_input(&w->plan, &w->in.sd, NULL);
	found = plan_tables(&w->plan, t, &w->tally, err);
	if (found < 0 || bias_verdict(&w->tally, t, w->in.ckpt->file, err) < 0)
		return -1;
	if (found == 0)
		tool_warn("%s: no position table found; everything passes through", w->in.ckpt->file);
	/* If the input is seekable, a bad index buffer is detected before any output is written. */
	return source_is_stream(w->in.src) ? 0 : plan_learn_all(&w->plan, err);
}

/* Warns that values outside the state dict are lost in safetensors. */
static void
warn_of_rest(const struct interp *w, const struct interp_options *o, const struct format_writer *writer)
{
	const struct vtree *t = w->in.ckpt->tree;
	const uint32_t root = w->in.ckpt->root;
	const struct str way = w->in.sd.key; /* path of the state dict: the root key that it begins with is not reported */
	struct buf keys = BUF_INIT;

	if (t == NULL || writer->pickles || o->drop_rest || w->in.sd.place == root || value_kind(t, root) != VALUE_DICT)
		return;
	for (size_t i = 0; i < value_len(t, root); i++) {
		const uint32_t key = value_key(t, root, i);
		const struct str name = value_text(t, key);

		if (!value_is_text(t, key))
			buf_adds(&keys, keys.len > 0 ? ", ..." : "...");
		else if (!str_starts(way, name) || (way.len > name.len && way.p[name.len] != '.'))
			buf_addf(&keys, "%s%.*s", keys.len > 0 ? ", " : "", STR_ARG(name));
	}
	if (keys.len > 0)
		tool_warn("%s: safetensors cannot hold the entries beside the state dict, which are left out: %s (--drop-rest "
			  "silences this)",
			  w->in.ckpt->file, keys.p);
	buf_release(&keys);
}

/* Implements ckpt_out.ready. Memory is allocated here, before the output appears under its name. */
static int
get_ready(void *arg, struct err *err)
{
	struct interp *w = arg;

	(void)err;
	bias_closing(&w->tally, &w->closing);
	return 0;
}

/* Reads the values outside the state dict that are copied to the output. */
static int
read_rest(struct interp *w, const struct interp_options *o, struct err *err)
{
	w->writer = ckpt_out_writer(o->to, o->common.output, &w->in, err);
	if (w->writer == NULL)
		return -1;
	return w->writer->pickles && !o->drop_rest ? ckpt_fill(w->in.ckpt, str_c(""), SIZE_MAX, err) : 0;
}

static int
write_out(struct interp *w, const struct interp_options *o, struct err *err)
{
	struct seal_opts so = { .writer = w->writer, .shape = SEAL_IN_PLACE, .drop_rest = o->drop_rest };
	struct ckpt_out out = { .path = o->common.output,
				.jobs = o->common.jobs,
				.null = o->common.null,
				.inputs = &w->in,
				.ninputs = 1,
				.what = "resizing",
				.dry_run = o->dry_run,
				.rehearse = o->show,
				.ready = get_ready,
				.ready_arg = w };
	int rc = ckpt_out_seal(&out, &w->plan, &so, err);
	if (rc == 0) {
		warn_of_rest(w, o, so.writer);
		if (!o->drop_rest)
			bias_warn_rest(&w->plan, &out.sealed);
		rc = ckpt_out_write(&out, &w->plan, err);
	}
	if (o->show && heat_end(&w->heat, rc == 0 ? err : &(struct err)ERR_INIT) != 0)
		rc = -1;
	if (rc == 0) {
		bias_report(&w->plan);
		tool_summary("%s", w->closing.p);
	}
	buf_release(&w->closing);
	ckpt_out_release(&out);
	return rc;
}

int
interp_run(void *opts, const struct operands *operands, int *status, struct err *err)
{
	const struct interp_options *o = opts;
	const char *operand = operands->n > 0 ? operands->v[0] : NULL;
	struct interp w = { 0 };
	struct tables_opts t;
	int rc = -1;

	(void)status;
	model_init(&w.model);
	plan_init(&w.plan, tool_diag());
	if (resolve(&w, o, &t, err) == 0 && input_open(&w.in, operand, o->common.key, err) == 0 && read_rest(&w, o, err) == 0 &&
	    edit(&w, &t, err) == 0)
		rc = write_out(&w, o, err);
	plan_release(&w.plan);
	input_close(&w.in);
	model_release(&w.model);
	return rc;
}
