#include "adapt.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/xalloc.h"
#include "common/file.h"
#include "common/tool.h"
#include "plan/hint.h"
#include "plan/report.h"
#include "plan/unused.h"
#include "shard_jobs.h"

static bool
is_strict(const struct adapt *a)
{
	return a->o->strict != CHOICE_NONE ? a->o->strict == CHOICE_YES : a->model.handling.strict > 0;
}

/* ---- step 9 */

static bool
has_tensors(const struct plan *p)
{
	for (size_t i = 0; i < p->nentries; i++)
		if (p->entries[i].alive && !p->entries[i].module && plan_source(p, &p->entries[i])->kind != SD_OTHER)
			return true;
	return false;
}

void
adapt_check(struct adapt *a)
{
	struct buf hint = BUF_INIT;

	/* A shard drops its own tensors of other shapes. The rest needs the names of all shards: --write-index. */
	if (a->job != NULL && !a->o->drop_mismatched)
		return;
	load_check(&a->load, &a->plan, &a->model, a->o->drop_mismatched);
	a->nothing_fits = a->load.done && a->load.matched == 0 && !a->o->compat && a->job == NULL && has_tensors(&a->plan);
	if (a->nothing_fits && plan_hint(&a->plan, &a->model, &hint))
		a->hint = arena_cstr(&a->arena, hint.p);
	buf_release(&hint);
}

static void
list_load(struct adapt *a)
{
	struct str rest, line;
	struct buf words = BUF_INIT;

	load_check_words(&a->load, &a->plan, &words);
	rest = buf_str(&words);
	while (rest.len > 0 && str_split(&rest, '\n', &line))
		if (line.len > 0)
			tool_verbose("load: %.*s", STR_ARG(line));
	buf_release(&words);
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
	tool_summary("load check: %zu fit, %zu missing, %zu unexpected, %zu of another shape%s", c->matched,
		     c->nmissing, c->nunexpected, c->nmismatched,
		     refused(a)                         ? ": refused"
		     : is_strict(a)                     ? " (strict)"
		     : c->nmissing + c->nunexpected > 0 ? " (not strict)"
							: "");
}

static int
refuse(const struct adapt *a, struct err *e)
{
	const struct load_check *c = &a->load;

	if (a->nothing_fits && (a->hint != NULL || c->nmismatched == 0))
		return err_set(e, ERR_ANSWER, "nothing fits the model%s%s (%zu missing, %zu unexpected; --verbose lists all)",
			       a->hint == NULL ? "" : ": ", a->hint == NULL ? "" : a->hint, c->nmissing, c->nunexpected);
	if (c->nmismatched > 0)
		return err_set(e, ERR_ANSWER,
			       "the model would refuse it: size mismatch for %.*s%s (--drop-mismatched leaves such "
			       "tensors out; --verbose lists all)",
			       STR_ARG(c->mismatched[0].target->name), c->nmismatched > 1 ? " and others" : "");
	return err_set(e, ERR_ANSWER,
		       "the model would refuse it (strict): %zu missing (%.*s), %zu unexpected (%.*s); --verbose "
		       "lists all",
		       c->nmissing, STR_ARG(c->nmissing ? c->missing[0] : str_c("none")), c->nunexpected,
		       STR_ARG(c->nunexpected ? c->unexpected[0] : str_c("none")));
}

int
adapt_verdict(struct adapt *a, struct err *e)
{
	size_t unused = plan_unused(&a->plan);

	plan_warn_near_misses(&a->plan);
	if (refused(a))
		return refuse(a, e);
	if (unused > 0 && a->o->fail_unused)
		return err_set(e, ERR_ANSWER, "%zu %s matched nothing (--fail-unused)", unused,
			       unused == 1 ? "rule" : "rules");
	return 0;
}

/* ---- step 10 */

static int
check_places(const struct adapt *a, const struct format_writer *w, struct err *e)
{
	const struct adapt_options *o = a->o;
	const bool carries = o->carry.n > 0 || o->carry_all;

	if (!w->pickles && (o->root || o->under != NULL || carries))
		return err_set(e, ERR_USAGE,
			       "--root, --under, --carry and --carry-all do not go with safetensors (--to torch)");
	if (o->root && (o->under != NULL || carries))
		return err_set(e, ERR_USAGE, "--root leaves no room for --under, --carry and --carry-all");
	return 0;
}

static int
seal_options(struct adapt *a, struct seal_opts *s, struct err *e)
{
	const struct adapt_options *o = a->o;
	const bool carries = o->carry.n > 0 || o->carry_all;
	struct str *carry = arena_calloc(&a->arena, o->carry.n + 1, sizeof(*carry));
	bool bare = o->root;

	*s = (struct seal_opts){ .writer = ckpt_out_writer(o->to, o->common.output, &a->inputs[0], e) };
	if (s->writer == NULL || check_places(a, s->writer, e) != 0)
		return -1;
	for (size_t i = 0; i < o->carry.n; i++)
		carry[i] = str_c(o->carry.v[i]);
	if (a->job != NULL || ckpt_out_is_folder(o->common.output, o->max_shard_size))
		bare = bare || (o->under == NULL && !carries);
	s->shape = bare ? SEAL_BARE : SEAL_UNDER;
	s->under = str_c(o->under == NULL ? "model" : o->under);
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

static void
say_summary(struct adapt *a, const struct ckpt_out *out)
{
	const struct seal_opts *s = &out->seal;
	bool under = s->writer->pickles && s->shape == SEAL_UNDER && !a->o->dry_run;
	struct report_counts n;

	plan_count(&a->plan, &n);
	if (a->o->common.verbose)
		list_actions(a);
	tool_summary("%zu kept, %zu dropped, %zu resampled -> %s%s%.*s%s", n.kept, n.dropped, n.made,
		     out->name != NULL ? out->name
		     : a->o->dry_run   ? "nothing (dry run)"
				       : out->path,
		     under ? " under '" : "", under ? (int)s->under.len : 0, s->under.p, under ? "'" : "");
}

static int
write_report(void *arg, struct err *e)
{
	struct adapt *a = arg;
	struct buf b = BUF_INIT;
	int rc;

	if (a->o->report == NULL)
		return 0;
	plan_report(&a->plan, &a->load, &b);
	rc = file_write(a->o->report, buf_str(&b), e);
	buf_release(&b);
	return rc;
}

static int
write_out(struct adapt *a, const struct seal_opts *so, const char *path, struct err *e)
{
	const struct adapt_options *o = a->o;
	struct ckpt_out out = { .path = path, .jobs = o->common.jobs, .null = o->common.null,
				.shard_size = a->job == NULL ? o->max_shard_size : 0, .inputs = a->inputs,
				.ninputs = a->ninputs, .what = "adapting", .dry_run = o->dry_run,
				.ready = write_report, .ready_arg = a };
	int rc = ckpt_out_seal(&out, &a->plan, so, e);

	if (rc == 0 && (o->carry_all || o->carry.n > 0))
		bias_warn_rest(&a->plan, &out.sealed);
	if (rc == 0)
		rc = ckpt_out_write(&out, &a->plan, e);
	if (rc == 0) { /* not before: an error is one line */
		adapt_say_load(a);
		say_summary(a, &out);
	}
	ckpt_out_release(&out);
	return rc;
}

/*
 * The report is written whether the answer is yes or no, but not after trouble. It is written before the output is
 * complete (ckpt_out.ready), since a report that cannot be written is trouble.
 */
int
adapt_finish(struct adapt *a, struct err *e)
{
	struct err answer = ERR_INIT;
	struct seal_opts so;
	int rc, verdict;

	rc = verdict = adapt_verdict(a, &answer);
	if (rc == 0)
		rc = seal_options(a, &so, &answer);
	if (rc == 0)
		rc = write_out(a, &so, a->o->common.output, &answer);
	if (rc != 0 && answer.code == ERR_ANSWER && write_report(a, e) != 0)
		return -1;
	if (verdict != 0)
		adapt_say_load(a);
	if (rc != 0)
		*e = answer;
	return rc;
}

/* A shard of which nothing is left is finished, too. */
int
adapt_finish_job(struct adapt *a, struct err *e)
{
	struct buf path = BUF_INIT, name = BUF_INIT;
	struct err own = ERR_INIT;
	struct seal_opts so;
	int rc = seal_options(a, &so, e);

	if (rc == 0) {
		ckpt_out_shard_name(&name, so.writer, a->job->number, a->job->total);
		buf_addf(&path, "%s/%s", a->job->dir, name.p);
		rc = write_out(a, &so, path.p, e);
	}
	if ((rc == 0 || e->code == ERR_ANSWER) && shard_jobs_note(a, rc == 0 ? name.p : "", &own) != 0) {
		*e = own;
		rc = -1;
	}
	buf_release(&path);
	buf_release(&name);
	return rc;
}
