#include "plan/cast.h"

#include "make/cast.h"
#include "tensor/boxes.h"
#include "tensor/convert.h"

/* Does t keep floating-point parts with another dtype than to? */
static bool
keeps_parts(const struct tensor *t, bool cast, enum dtype to)
{
	bool all = cast && boxes_count(t) == 0; /* a cast of data does not change the tensors beside it */

	for (size_t i = 0; !all && t->more != NULL && i < t->more->nparts; i++) {
		const struct tensor_part *part = &t->more->parts[i];

		if (part->tensor != NULL && dtype_is_float(part->dtype) && part->dtype != to &&
		    !(cast && str_eqc(part->name, "data")))
			return true;
	}
	return false;
}

/* Can the floating-point tensor t be cast? A composite tensor can be cast only if it is itself an item of the state dict. */
static bool
is_castable(const struct tensor *t, const struct sd_entry *src, enum dtype to)
{
	if (!convert_castable(t->dtype, to))
		return false;
	return boxes_count(t) > 0 || (src->inside == 0 && t->more != NULL && t->more->cast != TENSOR_CAST_NOT);
}

/* Tensors that could not be treated as requested: their number and the first of them. */
struct cast_left {
	size_t n;
	const struct plan_entry *first;
};

static void
note_left(struct cast_left *left, const struct plan_entry *en)
{
	if (left->n++ == 0)
		left->first = en;
}

/* Finds the last rule that matches name. Sets *rule to NULL if there is none. */
static int
find_rule(struct cast_rule *rules, size_t n, struct str name, struct cast_rule **rule, struct err *err)
{
	int found = 0;

	*rule = NULL;
	for (size_t i = n; i-- > 0 && found == 0;) {
		found = rules[i].name == NULL ? 1 : pyre_search(rules[i].name, name, NULL, 0, err);
		if (found > 0)
			*rule = &rules[i];
	}
	if (*rule != NULL)
		(*rule)->matched++;
	return found < 0 ? -1 : 0;
}

static void
warn_left(const struct plan *p, const struct cast_left *left, const struct cast_left *kept)
{
	if (left->n > 0)
		diag_warn(p->diag, "%.*s%s: %s cannot be converted; left as it is", STR_ARG(left->first->name),
			  left->n > 1 ? " and others" : "", dtype_name(plan_tensor(p, left->first)->dtype));
	if (kept->n > 0)
		diag_warn(p->diag, "%zu %s of parts that --dtype leaves as they are (%.*s)", kept->n,
			  kept->n == 1 ? "tensor is made" : "tensors are made", STR_ARG(kept->first->name));
}

int
plan_cast(struct plan *p, struct cast_rule *rules, size_t n, struct err *err)
{
	struct cast_left left = { 0 }, kept = { 0 };
	struct cast_rule *rule;

	for (size_t i = 0; i < p->nentries; i++) {
		struct plan_entry *en = &p->entries[i];
		const struct tensor *t = en->alive ? plan_tensor(p, en) : NULL;
		bool chosen, cast;

		if (t == NULL)
			continue;
		if (find_rule(rules, n, en->name, &rule, err) < 0)
			return -1;
		if (rule == NULL || rule->to == DTYPE_UNKNOWN)
			continue;
		chosen = dtype_is_float(t->dtype) && t->dtype != rule->to;
		cast = chosen && is_castable(t, plan_source(p, en), rule->to);
		if (keeps_parts(t, cast, rule->to))
			note_left(&kept, en);
		else if (chosen && !cast)
			note_left(&left, en);
		if (!cast)
			continue;
		if (rule->make == NULL)
			rule->make = make_cast(&p->arena, rule->to);
		plan_make(p, en, rule->make, rule->by);
	}
	warn_left(p, &left, &kept);
	for (size_t i = 0; i < n; i++)
		if (rules[i].name != NULL && rules[i].matched == 0)
			diag_warn(p->diag, "%s: applies to no tensor", rules[i].by);
	return 0;
}
