/* The default mode: prints the lines that match, or each line with its groups. */
#include "filter.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/text.h"
#include "base/xalloc.h"

/* A line that is printed at the end, if no rule fails. */
struct held_line {
	size_t group;   /* with FORM_GROUPS: index of the group; groups.n is DEFAULT */
	size_t at, len; /* position in assigning.text */
};

/* State of this mode. */
struct assigning {
	bool holds; /* the rules can fail, so lines are held until all are decided */
	struct buf text;
	struct held_line *held;
	size_t nheld, cap;
	bool failed; /* the rules failed on a line */
	unsigned char *in;
	uint64_t *counts; /* number of lines by group, with DEFAULT last */
	long only;        /* index of the group of -g; -1: all groups */
	uint64_t several; /* number of names in more than one group */
	struct buf example;
};

static void
put_line(struct filter *f, const struct assigning *a, size_t group, const struct operand_item *item)
{
	if (f->form == FORM_GROUPS && a->only < 0) {
		out_field(&f->out, group < f->groups.n ? f->groups.v[group].name : f->groups.rest.name);
		out_putc(&f->out, '\t');
	}
	filter_put(f, item);
}

/* Prints a line or, if the rules can fail, holds it. */
static void
give_line(struct filter *f, struct assigning *a, size_t group, const struct operand_item *item)
{
	if (!a->holds) {
		put_line(f, a, group, item);
		return;
	}
	*xpush(a->held, a->nheld, a->cap) = (struct held_line){ group, a->text.len, item->raw.len };
	buf_addstr(&a->text, item->raw);
}

static void
put_held(struct filter *f, const struct assigning *a)
{
	for (size_t i = 0; i < a->nheld; i++) {
		const struct held_line *held = &a->held[i];
		struct operand_item item = { .raw = str_n(a->text.p + held->at, held->len) };

		put_line(f, a, held->group, &item);
	}
}

/* Can the rules fail on a line? */
static bool
may_fail(const struct filter *f)
{
	if (f->form == FORM_RULE)
		return rule_may_fail(f->rule);
	for (size_t i = 0; i < f->groups.n; i++)
		if (rule_may_fail(f->groups.v[i].rule))
			return true;
	return false;
}

/* Reports a line on which the rules failed. No line is printed then. */
static int
undecided(struct filter *f, struct assigning *a, const struct operand_item *item, struct err *err)
{
	a->failed = true;
	return filter_fail(item, &f->why, err);
}

static int
rule_line(struct filter *f, const struct operand_item *item, struct err *err)
{
	int got = rule_match(f->rule, &f->subject, NULL, &f->why);

	if (got < 0)
		return undecided(f, f->work, item, err);
	if ((got == 1) == f->o->invert)
		return 0;
	f->hits++;
	if (f->o->quiet)
		return 1;
	if (!f->o->count)
		give_line(f, f->work, 0, item);
	return 0;
}

static void
note_several(const struct filter *f, const struct operand_item *item, struct assigning *a)
{
	bool first = true;

	if (a->several++)
		return;
	text_show(&a->example, item->entry->name);
	buf_adds(&a->example, " in ");
	for (size_t i = 0; i < f->groups.n; i++) {
		if (!a->in[i])
			continue;
		buf_adds(&a->example, first ? "" : ", ");
		text_show(&a->example, f->groups.v[i].name);
		first = false;
	}
}

/* Handles the assignment of a line to a group. Returns 1 to stop. */
static int
assigned(struct filter *f, const struct operand_item *item, struct assigning *a, size_t group)
{
	f->hits++;
	a->counts[group]++;
	if (f->o->quiet)
		return 1;
	if (!f->o->count)
		give_line(f, a, group, item);
	return 0;
}

static int
group_line(struct filter *f, const struct operand_item *item, struct err *err)
{
	struct assigning *a = f->work;
	bool rest, got;
	size_t count;

	if (groups_assign(&f->groups, &f->subject, f->o->first, a->in, &count, &f->why) < 0)
		return undecided(f, a, item, err);
	rest = count == 0 && groups_takes_rest(&f->subject);
	if (a->only >= 0) {
		got = a->only < (long)f->groups.n ? a->in[a->only] : rest;
		return got != f->o->invert ? assigned(f, item, a, (size_t)a->only) : 0;
	}
	if (count > 1)
		note_several(f, item, a);
	for (size_t i = 0; i < f->groups.n; i++)
		if (a->in[i] && assigned(f, item, a, i))
			return 1;
	return rest ? assigned(f, item, a, f->groups.n) : 0;
}

static void
put_counts(struct filter *f, const struct assigning *a)
{
	if (f->form == FORM_RULE || a->only >= 0) {
		out_printf(&f->out, "%" PRIu64 "\n", f->hits);
		return;
	}
	for (size_t i = 0; i <= f->groups.n; i++) {
		out_field(&f->out, i < f->groups.n ? f->groups.v[i].name : f->groups.rest.name);
		out_printf(&f->out, "\t%" PRIu64 "\n", a->counts[i]);
	}
}

int
lines_run(struct filter *f, const struct operands *operands, int *status, struct err *err)
{
	struct assigning work = { 0 }, *a = &work;
	int rc;

	a->only = f->o->group ? groups_find(&f->groups, str_c(f->o->group)) : -1;
	a->in = xcalloc(f->groups.n + 1, 1);
	a->counts = xcalloc(f->groups.n + 1, sizeof(*a->counts));
	a->holds = may_fail(f);
	rc = filter_run(f, operands, f->form == FORM_RULE ? rule_line : group_line, &work, status, err);
	if (rc == 0 && !a->failed)
		put_held(f, a);
	if (rc == 0 && f->o->count && !f->o->quiet && !a->failed)
		put_counts(f, a);
	if (rc == 0 && a->several)
		tool_warn("%" PRIu64 " name%s in several groups (%s%s): two optimizers would update %s; --first-match takes the "
			  "first",
			  a->several, a->several == 1 ? " is" : "s are", a->example.p, a->several == 1 ? "" : ", ...",
			  a->several == 1 ? "it" : "them");
	if (rc == 0 && f->hits == 0)
		*status = tool_worst(*status, TOOL_NO);
	free(a->in);
	free(a->counts);
	free(a->held);
	buf_release(&a->text);
	buf_release(&a->example);
	return rc;
}
