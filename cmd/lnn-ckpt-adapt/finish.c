#include "adapt.h"
#include "shards.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/xalloc.h"
#include "common/file.h"
#include "common/tool.h"
#include "plan/report.h"
#include "plan/unused.h"

static bool
is_strict(const struct adapt *a)
{
	return a->o->strict != CHOICE_NONE ? a->o->strict == CHOICE_YES : a->model.handling.strict > 0;
}

/* ---- step 9 */

void
adapt_check(struct adapt *a)
{
	load_check(&a->load, &a->plan, &a->model, a->o->drop_mismatched);
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

void
adapt_say_load(struct adapt *a, bool refused)
{
	const struct load_check *c = &a->load;

	if (!c->done)
		return;
	list_load(a);
	tool_summary("load check: %zu fit, %zu missing, %zu unexpected, %zu of another shape%s", c->matched,
		     c->nmissing, c->nunexpected, c->nmismatched,
		     refused                            ? ": refused"
		     : is_strict(a)                     ? " (strict)"
		     : c->nmissing + c->nunexpected > 0 ? " (not strict)"
							: "");
}

static int
refuse(const struct adapt *a, struct err *e)
{
	const struct load_check *c = &a->load;

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

bool
adapt_refused(const struct adapt *a)
{
	const struct load_check *c = &a->load;

	return c->nmismatched > 0 || (is_strict(a) && c->nmissing + c->nunexpected > 0);
}

int
adapt_verdict(struct adapt *a, struct err *e)
{
	size_t unused = plan_unused(&a->plan);

	plan_warn_near_misses(&a->plan);
	if (adapt_refused(a))
		return refuse(a, e);
	if (unused > 0 && a->o->fail_unused)
		return err_set(e, ERR_ANSWER, "%zu %s matched nothing (--fail-unused)", unused,
			       unused == 1 ? "rule" : "rules");
	return 0;
}

/* ---- step 10 */

static int
seal_options(struct adapt *a, struct seal_opts *s, struct str **carry, struct err *e)
{
	const struct adapt_options *o = a->o;

	*s = (struct seal_opts){ .writer = emit_writer(o->to, a->inputs[0].ckpt, e) };
	if (s->writer == NULL)
		return -1;
	if (o->compact) {
		s->views = make_new(&a->plan.arena, &make_kind_compact);
		s->views_by = "--compact";
	}
	if (!s->writer->pickles && (o->root || o->under != NULL || o->carry.n > 0 || o->carry_all))
		return err_set(e, ERR_USAGE,
			       "--root, --under, --carry and --carry-all do not go with safetensors (--to torch)");
	if (o->root && (o->under != NULL || o->carry.n > 0 || o->carry_all))
		return err_set(e, ERR_USAGE, "--root leaves no room for --under, --carry and --carry-all");
	*carry = xcalloc(o->carry.n, sizeof(**carry));
	for (size_t i = 0; i < o->carry.n; i++)
		(*carry)[i] = str_c(o->carry.v[i]);
	s->shape = o->root || ((shards_wanted(o) || a->share != NULL) && o->under == NULL && o->carry.n == 0 &&
			       !o->carry_all)
			   ? SEAL_BARE
			   : SEAL_UNDER;
	s->under = str_c(o->under == NULL ? "model" : o->under);
	s->carry = *carry;
	s->ncarry = o->carry.n;
	s->carry_all = o->carry_all;
	return 0;
}

static void
list_actions(const struct adapt *a)
{
	const struct plan_origin *o;

	for (size_t i = 0; tool_settings.verbose && i < a->plan.norigins; i++) {
		o = &a->plan.origins[i];
		for (const struct plan_act *act = o->entry == NULL ? NULL : o->acts; act != NULL; act = act->next)
			tool_verbose("%.*s: %s (%s)", STR_ARG(o->entry->name), plan_act_name(act), act->by);
	}
}

static void
say_summary(struct adapt *a, const struct emit *m, const struct seal_opts *s)
{
	bool under = s->writer->pickles && s->shape == SEAL_UNDER && !a->o->dry_run;
	struct report_counts n;

	plan_count(&a->plan, &n);
	list_actions(a);
	if (tool_settings.verbose)
		bias_report(&a->plan);
	tool_summary("%zu kept, %zu dropped, %zu resampled -> %s%s%.*s%s", n.kept, n.dropped, n.made,
		     m->output != NULL ? m->output
		     : a->o->dry_run   ? "nothing (dry run)"
				       : tool_settings.output,
		     under ? " under '" : "", under ? (int)s->under.len : 0, s->under.p, under ? "'" : "");
}

static int
report_in_time(void *arg, struct err *e)
{
	return adapt_report(arg, e);
}

int
adapt_write(struct adapt *a, struct err *e)
{
	struct emit m = { .inputs = a->inputs, .ninputs = a->ninputs, .what = "adapting", .dry_run = a->o->dry_run,
			  .ready = report_in_time, .ready_arg = a };
	struct str *carry = NULL;
	struct seal_opts s;
	int rc = seal_options(a, &s, &carry, e);

	if (rc == 0)
		rc = plan_seal(&a->plan, &s, &a->sealed, e);
	if (rc == 0 && (a->o->carry_all || a->o->carry.n > 0))
		bias_warn_rest(&a->plan, &a->sealed);
	if (rc == 0 && shards_wanted(a->o) && a->share == NULL && !a->o->dry_run)
		rc = shards_write(a, &s, e);
	else if (rc == 0)
		rc = emit_run(&m, &a->plan, &a->sealed, e);
	if (rc == 0) { /* not before: an error is one line */
		adapt_say_load(a, false);
		say_summary(a, &m, &s);
	}
	free(m.output);
	free(carry);
	return rc;
}

int
adapt_report(struct adapt *a, struct err *e)
{
	struct buf b = BUF_INIT;
	int rc;

	if (a->o->report == NULL)
		return 0;
	plan_report(&a->plan, &a->load, &b);
	rc = file_write(a->o->report, buf_str(&b), e);
	buf_release(&b);
	return rc;
}
