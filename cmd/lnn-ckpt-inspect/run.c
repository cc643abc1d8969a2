#include "inspect.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "base/xalloc.h"
#include "common/file.h"
#include "format/format.h"
#include "modes.h"
#include "rows.h"
#include "tensor/place.h"

bool
inspect_json(const struct inspect *in)
{
	return in->o->format == FORMAT_JSON || in->o->format == FORMAT_JSONL;
}

void
inspect_drain(struct inspect *in)
{
	struct buf *b = in->json.out;

	if (b->len < 1 << 15)
		return;
	out_write(&in->out, b->p, b->len);
	buf_clear(b);
}

void
inspect_begin(struct job *j)
{
	struct json_writer *w = &j->in->json;

	json_begin_object(w);
	json_key(w, "schema");
	json_put_u64(w, 1);
	json_key(w, "file");
	json_put_cstr(w, j->file);
	if (j->input.ckpt != NULL) {
		json_key(w, "format");
		json_put_cstr(w, j->input.ckpt->ops->name);
	}
}

void
inspect_end(struct job *j)
{
	json_end_object(&j->in->json);
	if (j->in->operands < 2)
		json_finish(&j->in->json);
}

void
inspect_heading(struct job *j)
{
	struct out *out = &j->in->out;

	if (j->in->operands < 2)
		return;
	out_style(out, STYLE_BOLD);
	out_puts(out, "# ");
	out_show(out, str_c(j->file));
	out_style(out, STYLE_PLAIN);
	out_putc(out, '\n');
}

int
inspect_put_name(struct job *j, struct str name, struct err *e)
{
	struct out *out = &j->in->out;
	struct buf b = BUF_INIT;

	if (!out->tty && name.len > 0 && memchr(name.p, '\0', name.len) != NULL) {
		text_show(&b, name);
		err_input(e, j->file, "the name %.200s holds a NUL: only JSON can say it", b.p);
		buf_release(&b);
		return -1;
	}
	out_style(out, STYLE_NAME);
	if (out->tty)
		out_show(out, name);
	else
		out_field(out, name);
	out_style(out, STYLE_PLAIN);
	return 0;
}

/* ---- one operand */

/*
 * Reads a stream to its end, so that what is wrong there is not missed and the program before us can finish. A file must
 * not have changed since it was opened, or what was said is true of neither.
 */
static int
read_out(struct job *j, struct err *e)
{
	struct ckpt *c = j->input.ckpt;

	if (j->in->o->mode == MODE_CHECK)
		return 0;
	if (c == NULL)
		return source_verify(j->input.src, e);
	if (!source_is_stream(j->input.src))
		return ckpt_finish(c, e);
	out_flush(&j->in->out);
	for (uint32_t i = 0; i < c->nstorages; i++) {
		if (ckpt_done(c, i, e) < 0)
			return -1;
	}
	return ckpt_finish(c, e);
}

static int
run_mode(struct job *j, struct err *e)
{
	static int (*const modes[])(struct job *, struct err *) = {
		[MODE_LIST] = list_run,   [MODE_SUMMARY] = summary_run, [MODE_TREE] = tree_run,
		[MODE_REST] = rest_run,   [MODE_GET] = get_run,         [MODE_STATS] = stats_run,
		[MODE_CHECK] = check_run, [MODE_GLOBALS] = globals_run, [MODE_AGAINST] = against_run,
		[MODE_DUMP] = dump_run,
	};

	return modes[j->in->o->mode](j, e);
}

/* What stands beside the tensors can be asked for without any tensor. */
static int
open_state_dict(struct job *j, struct err *e)
{
	const enum mode mode = j->in->o->mode;
	/* What the rule does not decide is shown, so that -k can be chosen. */
	struct place_ask ask = { .key = tool_settings.key, .root = true, .diag = mode == MODE_GET ? NULL : tool_diag() };
	struct err own = ERR_INIT;

	if (statedict_open_place(&j->input.sd, j->input.ckpt, &ask, &own) == 0)
		return 0;
	if ((mode == MODE_REST || mode == MODE_GET) && tool_settings.key == NULL) {
		statedict_release(&j->input.sd);
		j->input.sd = (struct statedict){ .ckpt = NULL };
		return 0;
	}
	*e = own;
	return -1;
}

/* Lines cannot say a NUL. That is known before the first of them. */
static int
check_names(const struct job *j, struct err *e)
{
	const enum mode mode = j->in->o->mode;
	const enum format format = j->in->o->format;
	struct buf b = BUF_INIT;

	if ((format != FORMAT_TSV && format != FORMAT_NAMES) || mode == MODE_SUMMARY || mode == MODE_GET || mode == MODE_DUMP)
		return 0;
	for (size_t i = 0; i < j->rows.n; i++) {
		struct str name = j->rows.v[i].name;

		if (name.len == 0 || memchr(name.p, '\0', name.len) == NULL)
			continue;
		text_show(&b, name);
		err_input(e, j->file, "the name %.200s holds a NUL: only JSON can say it", b.p);
		buf_release(&b);
		return -1;
	}
	return 0;
}

static int
open_input(struct job *j, const char *operand, struct err *e)
{
	struct source_opts sopts = { .spool_dir = getenv("TMPDIR"), .diag = tool_diag() };
	struct format_opts opts = { tool_diag(), &sopts };

	if (file_input(operand, FILE_BINARY, &j->input.src, e) < 0)
		return -1;
	j->file = source_name(j->input.src);
	if (j->in->o->mode == MODE_GLOBALS)
		return 0;
	if (format_open(&j->input.ckpt, j->input.src, &opts, e) < 0 || open_state_dict(j, e) < 0)
		return -1;
	if (j->input.sd.ckpt == NULL)
		return 0;
	if (rows_choose(&j->rows, j->in, &j->input.sd, e) < 0 || check_names(j, e) < 0)
		return -1;
	rows_sort(&j->rows, j->in->o->sort);
	/* A comparison has names without their prefix, and those of the other side. */
	if (j->rows.n == 0 && j->in->o->exprs.n > 0 && j->in->o->mode != MODE_AGAINST)
		j->in->status = tool_worst(j->in->status, TOOL_NO);
	return 0;
}

static int
run_operand(struct inspect *in, const char *operand, struct err *e)
{
	struct job j = { .in = in };
	int rc = open_input(&j, operand, e);

	if (rc == 0)
		rc = run_mode(&j, e);
	if (rc == 0)
		rc = read_out(&j, e);
	rows_release(&j.rows);
	input_close(&j.input);
	return rc;
}

/* ---- all of them */

static int
compile(struct inspect *in, struct err *e)
{
	const struct strs *exprs = &in->o->exprs;
	struct pyre_error why;

	in->exprs = xcalloc(exprs->n ? exprs->n : 1, sizeof(*in->exprs));
	for (size_t i = 0; i < exprs->n; i++) {
		if (pyre_compile(str_c(exprs->v[i]), &in->exprs[i], &why) < 0)
			return err_set(e, ERR_USAGE, "-e %s: at byte %zu: %s", exprs->v[i], why.offset, why.reason);
	}
	return 0;
}

static void
release(struct inspect *in)
{
	for (size_t i = 0; in->exprs != NULL && i < in->o->exprs.n; i++)
		pyre_free(in->exprs[i]);
	free(in->exprs);
}

/* One after the other; what fails does not keep the others from being shown. */
static int
run_all(struct inspect *in, const struct operands *operands, struct err *e)
{
	const bool array = in->operands > 1 && in->o->format == FORMAT_JSON;
	int rc = 0;

	if (array)
		json_begin_array(&in->json);
	for (size_t i = 0; i < in->operands; i++) {
		struct err own = ERR_INIT;

		rc = run_operand(in, operands->n ? operands->v[i] : NULL, &own);
		if (in->json.out->len > 0)
			out_write(&in->out, in->json.out->p, in->json.out->len);
		buf_clear(in->json.out);
		if (out_failed(&in->out)) {
			*e = in->out.err;
			return -1;
		}
		if (rc == 0)
			continue;
		if (in->operands == 1) {
			*e = own;
			return -1;
		}
		out_flush(&in->out);
		in->status = tool_worst(in->status, tool_fail(&own));
	}
	if (array) {
		json_end_array(&in->json);
		json_finish(&in->json);
		out_write(&in->out, in->json.out->p, in->json.out->len);
	}
	return 0;
}

int
inspect_run(const struct options *o, const struct operands *operands, struct err *e, int *status)
{
	struct options settled = *o;
	struct inspect in = { .o = &settled, .operands = operands->n ? operands->n : 1, .status = TOOL_DONE };
	struct buf json = BUF_INIT;
	struct err late = ERR_INIT;
	const bool file = tool_settings.output != NULL && strcmp(tool_settings.output, "-") != 0;
	int rc = compile(&in, e);

	if (rc == 0)
		rc = file_operands(operands->v, operands->n, tool_settings.output, e);
	if (rc == 0)
		rc = out_open(&in.out, tool_settings.output, NULL, 0, e);
	if (rc == 0) {
		if (settled.format == FORMAT_AUTO)
			settled.format = in.out.tty && !tool_settings.null ? FORMAT_TABLE : FORMAT_TSV;
		if (settled.mode == MODE_REST)
			settled.format = FORMAT_JSON;
		if (tool_settings.null)
			settled.format = FORMAT_NAMES;
		json_writer_init(&in.json, &json, settled.format == FORMAT_JSON);
		rc = run_all(&in, operands, e);
		/* On 2 no file is made or replaced. */
		if (file && (rc < 0 || in.status == TOOL_TROUBLE))
			out_abort(&in.out);
		else if (out_end(&in.out, rc == 0 ? e : &late) < 0)
			rc = -1;
	}
	release(&in);
	buf_release(&json);
	*status = in.status;
	return rc;
}
