/*
 * and, or, not, all_except: rules made of rules. These are evaluated from left to right until the result is determined. The steps
 * of the inner rules explain it, so these types have no explain.
 */
#include "rule/rule_priv.h"

/* Matches the rules inside, from number i on, until one returns stop. */
static int
until(const struct rule *rule, size_t i, struct subject *s, struct rule_trace *trace, int stop, struct err *err)
{
	for (; i < rule->nkids; i++) {
		int got = rule_match(rule->kids[i], s, trace, err);

		if (got < 0 || got == stop)
			return got;
	}
	return !stop;
}

static int
match_and(const struct rule *rule, struct subject *s, struct rule_trace *trace, size_t *item, struct err *err)
{
	(void)item;
	return until(rule, 0, s, trace, 0, err);
}

/* Counts the name rules at the beginning of the list. match_or looks for all their patterns at once. */
static int
compile_or(struct rules *rules, struct rule *rule, struct err *err)
{
	(void)rules;
	(void)err;
	for (; rule->nnames < rule->nkids && rule->kids[rule->nnames]->how; rule->nnames++)
		rule->npatterns += rule->kids[rule->nnames]->nitems;
	return 0;
}

static int
match_or(const struct rule *rule, struct subject *s, struct rule_trace *trace, size_t *item, struct err *err)
{
	size_t i = 0;
	struct err why;
	int got;

	if (trace == NULL && rule->nnames > 1) {
		err_clear(&why);
		got = finder_first(s->rules->finder, rule->kids[0]->items[0].id, rule->npatterns, item, &why);
		if (got > 0)
			return 1;
		i = got == 0 ? rule->nnames : 0; /* if a pattern fails, the rule that contains it reports the error */
	}
	return until(rule, i, s, trace, 1, err);
}

static int
match_not(const struct rule *rule, struct subject *s, struct rule_trace *trace, size_t *item, struct err *err)
{
	int got = rule_match(rule->kids[0], s, trace, err);

	(void)item;
	return got < 0 ? -1 : !got;
}

const struct rule_type type_and = { .name = "and", .keys = { { "FILTERS", KEY_RULES, 0 } }, .match = match_and };
const struct rule_type type_or = {
	.name = "or",
	.keys = { { "FILTERS", KEY_RULES, 0 } },
	.compile = compile_or,
	.match = match_or,
};
const struct rule_type type_not = { .name = "not", .keys = { { "FILTER", KEY_RULE, 0 } }, .match = match_not };
const struct rule_type type_all_except = { .name = "all_except", .keys = { { "EXCEPT", KEY_RULE, 0 } }, .match = match_not };
