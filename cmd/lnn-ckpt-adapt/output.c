#include "adapt.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/xalloc.h"
#include "common/file.h"
#include "common/human.h"
#include "common/tool.h"
#include "inplace.h"
#include "plan/fit.h"
#include "plan/hint.h"
#include "plan/report.h"
#include "plan/unused.h"
#include "shard_jobs.h"

static bool
is_strict(const struct adapt *a)
{
	return a->o->strict != OVERRIDE_NONE ? a->o->strict == OVERRIDE_YES : a->model.handling.strict > 0;
}

/* ---- step 9 */

static bool
has_tensors(const struct plan *p)
{
	for (const struct plan_entry *en = plan_next(p, NULL); en != NULL; en = plan_next(p, en))
		if (plan_source(p, en)->kind != SD_OTHER)
			return true;
	return false;
}

/* Finds an option that would let more of the present tensors match the model. Returns a text in the arena, or NULL. */
static const char *
find_hint(struct adapt *a)
{
	const struct plan *p = &a->plan;
	struct str *names = xcalloc(p->nentries + 1, sizeof(*names));
	const struct tensor **tensors = xcalloc(p->nentries + 1, sizeof(*tensors));
	struct hint_names in = { .names = names, .tensors = tensors, .sd = p->ninputs == 1 ? p->inputs[0].sd : NULL };
	struct buf text = BUF_INIT;
	const char *hint = NULL;
	struct hint found;

	for (const struct plan_entry *en = plan_next(p, NULL); en != NULL; en = plan_next(p, en)) {
		if (plan_source(p, en)->kind == SD_OTHER)
			continue;
		names[in.n] = en->name;
		tensors[in.n++] = plan_result(p, en);
	}
	if (hint_find(&in, &a->model, &found)) {
		hint_put(&found, false, &text);
		hint = arena_cstr(&a->arena, text.p);
	}
	buf_release(&text);
	free(names);
	free(tensors);
	return hint;
}

/* Returns true if the output is a safetensors file, whose __metadata__ can state ties. */
static bool
writes_metadata(const struct adapt *a)
{
	const struct format_writer *w = ckpt_out_writer(a->o->to, a->o->common.output, &a->inputs[0], &(struct err)ERR_INIT);

	return w != NULL && !w->pickles;
}

void
adapt_check(struct adapt *a)
{
	/*
	 * A shard can only drop its own tensors of other shapes. --write-index does the other checks, which need the names of all
	 * shards.
	 */
	if (a->job != NULL && !a->o->drop_mismatched)
		return;
	load_check(&a->load, &a->plan, &a->model, a->o->drop_mismatched, writes_metadata(a));
	a->nothing_fits = a->load.done && a->load.matched == 0 && !a->o->compat && a->job == NULL && has_tensors(&a->plan);
	a->hint = a->nothing_fits ? find_hint(a) : NULL;
}

static void
put_size(struct buf *b, const uint64_t *shape, unsigned ndim)
{
	buf_adds(b, "torch.Size([");
	for (unsigned i = 0; i < ndim; i++)
		buf_addf(b, "%s%" PRIu64, i == 0 ? "" : ", ", shape[i]);
	buf_adds(b, "])");
}

static void
list_keys(const char *what, const struct str *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		tool_verbose("load: %s key(s) in state_dict: \"%.*s\".", what, STR_ARG(names[i]));
}

/* Lists differences in the words of load_state_dict. */
static void
list_load(const struct adapt *a)
{
	const struct load_check *c = &a->load;
	uint64_t shape[TENSOR_NDIM_MAX];
	struct buf b = BUF_INIT;
	enum dtype dtype;
	unsigned ndim;

	list_keys("Missing", c->missing, c->nmissing);
	list_keys("Unexpected", c->unexpected, c->nunexpected);
	for (size_t i = 0; i < c->nmismatched; i++) {
		const struct entry *target = c->mismatched[i].target;

		buf_clear(&b);
		plan_shape(&a->plan, &a->plan.entries[c->mismatched[i].entry], &dtype, shape, &ndim);
		put_size(&b, shape, ndim);
		buf_adds(&b, " from checkpoint, the shape in current model is ");
		put_size(&b, target->shape, target->ndim);
		tool_verbose("load: size mismatch for %.*s: copying a param with shape %s.", STR_ARG(target->name), b.p);
	}
	buf_release(&b);
}

static bool
refused(const struct adapt *a)
{
	const struct load_check *c = &a->load;

	return a->nothing_fits || c->nmismatched > 0 || (is_strict(a) && c->nmissing + c->nunexpected > 0);
}

void
adapt_say_load(struct adapt *a)
{
	const struct load_check *c = &a->load;

	if (!c->done)
		return;
	list_load(a);
	tool_summary("load check: %zu fit, %zu missing, %zu unexpected, %zu of another shape%s", c->matched, c->nmissing,
		     c->nunexpected, c->nmismatched,
		     refused(a)                         ? ": refused"
		     : is_strict(a)                     ? " (strict)"
		     : c->nmissing + c->nunexpected > 0 ? " (not strict)"
							: "");
}

/* Fails because shapes differ, and names the remedies, the best first. */
static int
refuse_shapes(const struct adapt *a, struct err *err)
{
	const struct load_check *c = &a->load;
	struct buf cures = BUF_INIT;
	size_t fit = 0, rows = 0;

	for (size_t i = 0; i < c->nmismatched; i++) {
		const struct plan_entry *en = &a->plan.entries[c->mismatched[i].entry];
		const struct entry *target = c->mismatched[i].target;
		const struct tensor *t = plan_result(&a->plan, en);
		bool same_rows = t != NULL && t->ndim == target->ndim && t->ndim > 0 &&
				 shape_eq(t->shape + 1, t->ndim - 1u, target->shape + 1, target->ndim - 1u);

		if (fit_way(&a->plan, en, &a->model, target) != FIT_NOT)
			fit++;
		else
			rows += same_rows;
	}
	if (fit > 0 && !a->o->fit)
		buf_addf(&cures, "--fit makes %zu of %zu fit; ", fit, c->nmismatched);
	if (rows > 0)
		buf_addf(&cures, "a key map with rows or pad can give %zu other rows; ", rows);
	err_set(err, ERR_ANSWER,
		"the model would refuse it: size mismatch for %.*s%s (%s--drop-mismatched leaves such tensors out; --verbose lists "
		"all)",
		STR_ARG(c->mismatched[0].target->name), c->nmismatched > 1 ? " and others" : "", cures.p == NULL ? "" : cures.p);
	buf_release(&cures);
	return -1;
}

static int
refuse(const struct adapt *a, struct err *err)
{
	const struct load_check *c = &a->load;

	if (a->nothing_fits && (a->hint != NULL || c->nmismatched == 0))
		return err_set(err, ERR_ANSWER, "nothing fits the model%s%s (%zu missing, %zu unexpected; --verbose lists all)",
			       a->hint == NULL ? "" : ": ", a->hint == NULL ? "" : a->hint, c->nmissing, c->nunexpected);
	if (c->nmismatched > 0)
		return refuse_shapes(a, err);
	return err_set(err, ERR_ANSWER,
		       "the model would refuse it (strict): %zu missing (%.*s), %zu unexpected (%.*s); --verbose "
		       "lists all",
		       c->nmissing, STR_ARG(c->nmissing ? c->missing[0] : str_c("none")), c->nunexpected,
		       STR_ARG(c->nunexpected ? c->unexpected[0] : str_c("none")));
}

int
adapt_verdict(struct adapt *a, struct err *err)
{
	size_t unused = plan_unused(&a->plan);

	if (refused(a))
		return refuse(a, err);
	if (unused > 0 && a->o->fail_unused)
		return err_set(err, ERR_ANSWER, "%zu %s matched nothing (--fail-unused)", unused, unused == 1 ? "rule" : "rules");
	return 0;
}

/* ---- step 10 */

static int
check_places(const struct adapt *a, const struct format_writer *w, struct err *err)
{
	const struct adapt_options *o = a->o;
	const bool carries = o->carry.n > 0 || o->carry_all;

	if (!w->pickles && (o->under != NULL || carries))
		return err_set(err, ERR_USAGE, "--under, --carry and --carry-all do not go with safetensors (--to torch)");
	if (w->pickles && a->plan.nmeta > 0)
		return err_set(err, ERR_USAGE, "--set-metadata and --drop-metadata are for safetensors (--to safetensors)");
	if (a->job != NULL && w->folder)
		return err_set(err, ERR_USAGE, "--shard writes torch or safetensors files");
	if (o->root && (o->under != NULL || carries))
		return err_set(err, ERR_USAGE, "--root does not go with --under, --carry and --carry-all");
	return 0;
}

/* Is the output meant for linnaeus, whose loaders all expect the state dict under "model"? */
static bool
is_for_linnaeus(const struct adapt *a)
{
	const char *map = a->map == NULL ? "" : keymap_name(a->map);

	if (a->o->compat || a->has_config || strcmp(map, "metaformer") == 0 || strcmp(map, "stitched_convnext_ropevit") == 0)
		return true;
	for (size_t i = 0; i < a->o->models.n; i++)
		if (model_is_builtin(a->o->models.v[i]))
			return true;
	return false;
}

/* Sets s so that the state dict is written at the path where it was found. */
static void
write_in_place(struct adapt *a, const struct statedict *sd, struct seal_opts *s)
{
	const struct vtree *t = sd->ckpt->tree;
	struct str *keys = arena_calloc(&a->arena, sd->key.len + 1, sizeof(*keys)), rest = sd->key;
	uint32_t at = sd->ckpt->root;
	size_t n = 0;

	while (rest.len > 0) {
		keys[n] = value_path_key(t, at, rest);
		at = value_path(t, at, keys[n]);
		rest = str_from(rest, keys[n].len < rest.len ? keys[n].len + 1 : rest.len);
		n++;
	}
	s->shape = n == 0 ? SEAL_BARE : SEAL_UNDER;
	s->under = n == 0 ? str_c("") : keys[0];
	s->below = keys + 1;
	s->nbelow = n == 0 ? 0 : n - 1;
}

/* Decides where the state dict is written (lnn-ckpt-adapt(1), step 10). */
static void
choose_place(struct adapt *a, struct seal_opts *s)
{
	const struct adapt_options *o = a->o;
	const bool carries = o->carry.n > 0 || o->carry_all;
	const struct statedict *first = &a->inputs[0].sd;
	bool same = true;

	if (o->in_place) {
		s->shape = SEAL_KEPT;
		s->drop_rest = o->drop_rest;
		return;
	}
	for (size_t i = 1; i < a->ninputs; i++)
		same = same && str_eq(a->inputs[i].sd.key, first->key);
	s->shape = SEAL_BARE;
	if (o->salvage && s->writer->pickles && !o->root && o->under == NULL && !carries) {
		s->shape = SEAL_IN_PLACE;
		return;
	}
	if (o->root || (!carries && o->under == NULL &&
			(a->job != NULL || (!s->writer->folder && ckpt_out_is_folder(o->common.output, o->max_shard_size)))))
		return;
	if (o->under == NULL && !is_for_linnaeus(a) && same)
		write_in_place(a, first, s);
	/*
	 * If the root is the state dict, --carry-all carries nothing and does not change the place. --carry fails when the plan is
	 * sealed.
	 */
	if (s->shape == SEAL_BARE && (o->under != NULL || is_for_linnaeus(a) || o->carry.n > 0 || (carries && !same))) {
		s->shape = SEAL_UNDER;
		s->under = str_c(o->under == NULL ? "model" : o->under);
	}
}

static int
seal_options(struct adapt *a, struct seal_opts *s, struct err *err)
{
	const struct adapt_options *o = a->o;
	struct str *carry = arena_calloc(&a->arena, o->carry.n + 1, sizeof(*carry));

	*s = (struct seal_opts){ .writer = ckpt_out_writer(o->to, o->common.output, &a->inputs[0], err) };
	if (s->writer == NULL || check_places(a, s->writer, err) != 0)
		return -1;
	for (size_t i = 0; i < o->carry.n; i++)
		carry[i] = str_c(o->carry.v[i]);
	choose_place(a, s);
	s->carry = carry;
	s->ncarry = o->carry.n;
	s->carry_all = o->carry_all;
	if (o->compact) {
		s->views = make_new(&a->plan.arena, &make_kind_compact);
		s->views_by = "--compact";
	}
	return 0;
}

static void
list_actions(const struct adapt *a)
{
	const struct plan_origin *o;

	for (size_t i = 0; i < a->plan.norigins; i++) {
		o = &a->plan.origins[i];
		for (const struct plan_act *act = o->entry == NULL ? NULL : o->acts; act != NULL; act = act->next)
			tool_verbose("%.*s: %s (%s)", STR_ARG(o->entry->name), plan_act_name(act), act->by);
	}
	bias_report(&a->plan);
}

/* The number of tensors with one kind of change: "303 cast to bfloat16". */
struct change {
	const char *what;
	size_t n;
	enum dtype to; /* their dtype if it is the same for all, else DTYPE_UNKNOWN */
};

enum { CHANGES_MAX = 8 };

static void
count_change(struct change *list, const char *what, enum dtype to)
{
	size_t i = 0;

	while (i + 1 < CHANGES_MAX && list[i].n > 0 && strcmp(list[i].what, what) != 0)
		i++;
	list[i].to = list[i].n == 0 || list[i].to == to ? to : DTYPE_UNKNOWN;
	list[i].what = what;
	list[i].n++;
}

/* Counts the changes of a tensor that is kept. A resampled tensor is not counted here, because the summary counts it separately. */
static void
count_changes(struct change *list, const struct plan *p, const struct plan_entry *en)
{
	uint64_t shape[TENSOR_NDIM_MAX];
	enum dtype dtype;
	unsigned ndim;

	if ((make_traits(plan_makers(en)) & MAKE_ANY_EFFECT) != 0)
		return;
	plan_shape(p, en, &dtype, shape, &ndim);
	if (!str_eq(en->name, plan_source(p, en)->name))
		count_change(list, "renamed", DTYPE_UNKNOWN);
	for (const struct plan_act *act = p->origins[en->origin].acts; act != NULL; act = act->next)
		if (act->action == PLAN_MADE)
			count_change(list, plan_act_name(act), dtype);
}

/* Appends " (9 renamed, 303 cast to bfloat16)", or nothing. */
static void
put_changes(struct buf *b, const struct plan *p)
{
	struct change list[CHANGES_MAX] = { { NULL, 0, DTYPE_UNKNOWN } };

	for (const struct plan_entry *en = plan_next(p, NULL); en != NULL; en = plan_next(p, en))
		if (plan_tensor(p, en) != NULL)
			count_changes(list, p, en);
	for (size_t i = 0; i < CHANGES_MAX && list[i].n > 0; i++) {
		buf_addf(b, "%s%zu %s", i == 0 ? " (" : ", ", list[i].n, list[i].what);
		if (list[i].to != DTYPE_UNKNOWN && strcmp(list[i].what, "cast") == 0)
			buf_addf(b, " to %s", dtype_name(list[i].to));
	}
	if (list[0].n > 0)
		buf_addc(b, ')');
}

/* Appends the name, format and place of the output: "out.pth (torch, under 'model')". */
static void
put_place(struct buf *b, const struct ckpt_out *out)
{
	const struct seal_opts *s = &out->seal;

	buf_addf(b, "%s (%s", out->name != NULL ? out->name : out->path, s->writer->name);
	if (s->shape == SEAL_KEPT)
		buf_adds(b, ", in place");
	if (s->writer->pickles && s->shape == SEAL_UNDER) {
		buf_adds(b, ", under '");
		text_show(b, s->under);
		for (size_t i = 0; i < s->nbelow; i++) {
			buf_addc(b, '.');
			text_show(b, s->below[i]);
		}
		buf_addc(b, '\'');
	}
	buf_addc(b, ')');
}

/* State of writing the output. */
struct output {
	struct adapt *a;
	struct ckpt_out ckpt;
	struct undo_edit edit; /* the edit for --in-place */
	bool idle;             /* --in-place changes nothing */
	struct buf summary;
};

/* Appends "; 37.3 KiB of it written, 1.20 GiB given back". */
static void
put_edit(struct buf *b, const struct undo_edit *u, bool idle)
{
	uint64_t freed = 0, written = 2 * UNDO_GUARD;
	char text[HUMAN_SIZE];

	for (size_t i = 0; i < u->nholes; i++)
		freed += u->holes[i].len;
	for (size_t i = 0; i < u->ncuts; i++)
		freed += u->cuts[i].len;
	for (size_t i = 0; i < u->nwrites; i++)
		written += u->writes[i].bytes.len;
	if (idle) {
		buf_adds(b, "; nothing of it changes");
		return;
	}
	buf_addf(b, "; %s of it written", human_bytes(written, text));
	if (u->insert > 0)
		buf_addf(b, ", %s put in", human_bytes(u->insert, text));
	if (freed > 0)
		buf_addf(b, ", %s given back", human_bytes(freed, text));
}

/* Makes the summary: "312 kept (9 renamed), 5 dropped, 7 resampled -> out.pth (torch, under 'model')". */
static void
put_summary(struct output *o)
{
	const struct ckpt_out *out = &o->ckpt;
	struct buf *b = &o->summary;
	struct adapt *a = o->a;
	struct keymap_counts of_map = { 0 };
	struct report_counts n;

	plan_count(&a->plan, &n);
	buf_addf(b, "%zu kept", n.kept);
	put_changes(b, &a->plan);
	buf_addf(b, ", %zu dropped, %zu resampled", n.dropped, n.resampled);
	if (n.made > 0)
		buf_addf(b, ", %zu made", n.made);
	if (a->map != NULL)
		keymap_count(a->map, &of_map);
	if (of_map.zeros > 0)
		buf_addf(b, " (%llu rows of zeros)", (unsigned long long)of_map.zeros);
	buf_adds(b, " -> ");
	if (a->o->dry_run)
		buf_adds(b, "nothing (dry run)");
	else
		put_place(b, out);
	if (a->salvaged != NULL)
		buf_addf(b, "; %s", a->salvaged);
	if (a->o->in_place)
		put_edit(b, &o->edit, o->idle);
	if (a->o->interpolate == OVERRIDE_YES || (a->o->fit && a->tables.left != NULL)) {
		buf_adds(b, "; ");
		bias_closing(&a->tables, b);
	}
}

static int
write_report(struct adapt *a, struct err *err)
{
	struct buf b = BUF_INIT;
	int rc;

	if (a->o->report == NULL)
		return 0;
	plan_report(&a->plan, &a->load, &b);
	rc = file_write(a->o->report, buf_str(&b), err);
	buf_release(&b);
	return rc;
}

/* Implements ckpt_out.ready. Operations that may fail or allocate happen here, before the output appears under its name. */
static int
get_ready(void *arg, struct err *err)
{
	struct output *out = arg;

	put_summary(out);
	return write_report(out->a, err);
}

/* Edits the file in place, unless nothing changes. */
static int
change(struct output *out, struct err *err)
{
	return out->idle ? get_ready(out, err) : inplace_apply(out->a, &out->edit, get_ready, out, err);
}

static int
write_out(struct adapt *a, const struct seal_opts *so, const char *path, struct err *err)
{
	const struct adapt_options *o = a->o;
	struct keymap_counts of_map = { 0 };
	struct output out = { .a = a };
	int rc = 0;

	out.ckpt = (struct ckpt_out){ .path = path,
				      .jobs = o->common.jobs,
				      .null = o->common.null,
				      .shard_size = a->job == NULL ? o->max_shard_size : 0,
				      .inputs = a->inputs,
				      .ninputs = a->ninputs,
				      .what = "adapting",
				      .dry_run = o->dry_run,
				      .ready = get_ready,
				      .ready_arg = &out };
	if (o->in_place) {
		rc = inplace_check(&a->plan, err);
		out.idle = rc == 0 && !o->drop_rest;
	}
	if (rc >= 0)
		rc = ckpt_out_seal(&out.ckpt, &a->plan, so, err);
	if (rc == 0 && o->in_place)
		rc = inplace_plan(a, &out.ckpt.sealed, &out.edit, err);
	if (rc == 0 && (o->carry_all || o->carry.n > 0))
		bias_warn_rest(&a->plan, &out.ckpt.sealed);
	if (rc == 0)
		rc = o->in_place && !o->dry_run ? change(&out, err) : ckpt_out_write(&out.ckpt, &a->plan, err);
	if (rc == 0 && a->map != NULL)
		keymap_count(a->map, &of_map);
	if (of_map.unequal > 0)
		tool_warn("%llu tensors that are not floating-point differ between the inputs: those of the first are written",
			  (unsigned long long)of_map.unequal);
	if (rc == 0) { /* only after success, because an error is a single line */
		adapt_say_load(a);
		if (o->common.verbose)
			list_actions(a);
		tool_summary("%s", out.summary.p);
	}
	buf_release(&out.summary);
	ckpt_out_release(&out.ckpt);
	undo_release(&out.edit);
	return rc;
}

/*
 * The report is written whether the answer is yes or no, but not after an error. get_ready writes it before the output is complete,
 * because failing to write the report is itself an error.
 */
int
adapt_finish(struct adapt *a, struct err *err)
{
	struct err answer = ERR_INIT;
	struct seal_opts so;
	int rc, verdict;

	rc = verdict = adapt_verdict(a, &answer);
	if (rc == 0)
		rc = seal_options(a, &so, &answer);
	if (rc == 0)
		rc = write_out(a, &so, a->o->in_place ? a->inputs[0].ckpt->file : a->o->common.output, &answer);
	if (rc != 0 && answer.code == ERR_ANSWER && write_report(a, err) < 0)
		return -1;
	if (verdict != 0)
		adapt_say_load(a);
	if (rc != 0)
		*err = answer;
	return rc;
}

/* Writes the shard even if it has no tensors left, since --write-index expects all shards. */
int
adapt_finish_job(struct adapt *a, struct err *err)
{
	const struct shard_job *job = a->job;
	const char *name;
	struct seal_opts so;

	if (seal_options(a, &so, err) != 0 || shard_jobs_reopen(a, so.writer, err) != 0)
		return -1;
	name = ckpt_out_shard_name(&a->arena, so.writer, job->number, job->total);
	shard_jobs_note(a);
	return write_out(a, &so, arena_printf(&a->arena, "%s/%s", job->dir, name), err);
}
