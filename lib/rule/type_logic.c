/* and, or, not, all_except: rules made of rules, asked from left to right until the verdict stands. */
#include "rule/rule_priv.h"

/* Compiles what stands at key, a rule or a list of rules, as rules inside rule. */
static int
compile_kids(struct rules *rules, struct rule *rule, const char *key, bool list, struct err *err)
{
	const struct ynode *node = ymap_get(rule->at, key);
	size_t n = 1;
	int rc = 0;

	if (node == NULL)
		return type_missing(rule, key, err);
	if (list) {
		if (node->kind != YN_SEQ)
			return ynode_fail(node, err, "%s: must be a list of rules, not %s", key, ynode_what(node));
		if (node->n == 0)
			return ynode_fail(node, err, "%s: is empty", key);
		n = node->n;
	}
	rule->kids = arena_calloc(&rules->arena, n, sizeof(*rule->kids));
	for (size_t i = 0; i < n; i++) {
		const struct rule *kid = rules_compile(rules, list ? node->items[i] : node, err);

		if (kid == NULL) {
			rc = -1;
		} else {
			rule->kids[rule->nkids++] = kid;
			rule->may_fail = rule->may_fail || kid->may_fail;
		}
		if (rc < 0 && rules->env.finding == NULL)
			return -1;
	}
	return rc;
}

static int
compile_list(struct rules *rules, struct rule *rule, struct err *err)
{
	return compile_kids(rules, rule, "FILTERS", true, err);
}

static int
compile_filter(struct rules *rules, struct rule *rule, struct err *err)
{
	return compile_kids(rules, rule, "FILTER", false, err);
}

static int
compile_except(struct rules *rules, struct rule *rule, struct err *err)
{
	return compile_kids(rules, rule, "EXCEPT", false, err);
}

static int
match_and(const struct rule *rule, struct subject *s, struct rule_trace *trace, size_t *item, struct err *err)
{
	(void)item;
	for (size_t i = 0; i < rule->nkids; i++) {
		int got = rule_match(rule->kids[i], s, trace, err);

		if (got != 1)
			return got;
	}
	return 1;
}

static int
match_or(const struct rule *rule, struct subject *s, struct rule_trace *trace, size_t *item, struct err *err)
{
	(void)item;
	for (size_t i = 0; i < rule->nkids; i++) {
		int got = rule_match(rule->kids[i], s, trace, err);

		if (got != 0)
			return got;
	}
	return 0;
}

static int
match_not(const struct rule *rule, struct subject *s, struct rule_trace *trace, size_t *item, struct err *err)
{
	int got = rule_match(rule->kids[0], s, trace, err);

	(void)item;
	return got < 0 ? -1 : !got;
}

/* The steps below say it all. */
static void
explain(struct buf *b, const struct rule_step *step, const struct subject *s)
{
	(void)b;
	(void)step;
	(void)s;
}

static const char *const list_keys[] = { "FILTERS", NULL };
static const char *const filter_keys[] = { "FILTER", NULL };
static const char *const except_keys[] = { "EXCEPT", NULL };

const struct rule_type type_and = { "and", list_keys, compile_list, match_and, NULL, explain };
const struct rule_type type_or = { "or", list_keys, compile_list, match_or, NULL, explain };
const struct rule_type type_not = { "not", filter_keys, compile_filter, match_not, NULL, explain };
const struct rule_type type_all_except = { "all_except", except_keys, compile_except, match_not, NULL, explain };
