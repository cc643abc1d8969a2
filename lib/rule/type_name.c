/* name: the name contains, starts with or ends with a text, or contains a match of a regular expression. */
#include "model/keys.h"
#include "rule/rule_priv.h"

struct match_type {
	const char *name;
	const char *verb, *fails; /* predicates for a pattern, in explanations */
	bool regex;
	enum finder_where where;
};

static const struct match_type match_types[] = {
	{ "contains", "is contained", "is not contained", false, FINDER_ANYWHERE },
	{ "startswith", "is the beginning", "is not the beginning", false, FINDER_START },
	{ "endswith", "is the end", "is not the end", false, FINDER_END },
	{ "regex", "is found", "is not found", true, FINDER_ANYWHERE },
};

enum { NMATCH = sizeof(match_types) / sizeof(match_types[0]) };

static int
find_match_type(const struct rule *rule, const struct match_type **out, struct err *err)
{
	const struct ynode *node = ymap_get(rule->at, "MATCH_TYPE");
	const char *names[NMATCH + 1];
	struct buf hint = BUF_INIT;
	struct shown shown;

	*out = &match_types[0];
	if (node == NULL)
		return 0;
	if (node->kind != YN_SCALAR || ynode_is_null(node))
		return ynode_fail(node, err, "MATCH_TYPE: must be contains, startswith, endswith or regex, not %s",
				  ynode_what(node));
	for (size_t i = 0; i < NMATCH; i++) {
		names[i] = match_types[i].name;
		if (str_eqc_nocase(node->text, names[i])) {
			*out = &match_types[i];
			return 0;
		}
	}
	names[NMATCH] = NULL;
	keys_suggest(&hint, node->text, names);
	if (hint.len == 0)
		buf_adds(&hint, "; there are contains, startswith, endswith, regex");
	ynode_fail(node, err, "MATCH_TYPE: there is no '%s'%s", keys_show(&shown, node->text), hint.p);
	buf_release(&hint);
	return -1;
}

static int
compile_regex(struct rule_item *item, struct err *err)
{
	struct pyre_error why;
	struct shown shown;

	if (pyre_compile(item->text, &item->re, &why) == 0)
		return 0;
	return ynode_fail(item->at, err, "bad regular expression '%s': %s at position %zu", keys_show(&shown, item->text),
			  why.reason, why.offset);
}

static int
compile(struct rules *rules, struct rule *rule, struct err *err)
{
	if (find_match_type(rule, &rule->how, err) < 0)
		return -1;
	for (size_t i = 0; i < rule->nitems; i++) {
		struct rule_item *item = &rule->items[i];

		if (rule->how->regex && compile_regex(item, err) < 0)
			return -1;
		item->id = rule->how->regex ? finder_regex(rules->finder, item->re)
					    : finder_text(rules->finder, item->text, rule->how->where);
	}
	return 0;
}

static int
too_long(const struct rule_item *item, struct err *err)
{
	struct shown shown;

	return err_set(err, ERR_INPUT, "the regular expression '%s' at %s:%u:%u needs too many steps on this name",
		       keys_show(&shown, item->text), item->at->file, item->at->line, item->at->column);
}

/* Finds the first of n items, from item i on, that matches. */
static int
find_first(const struct rule *rule, size_t i, size_t n, struct subject *s, size_t *item, struct err *err)
{
	const size_t first = rule->items[i].id;
	size_t id = 0;
	struct err why; /* the struct is large, so only its code is initialised */
	int got;

	err_clear(&why);
	got = finder_first(s->rules->finder, first, n, &id, &why);
	if (got < 0)
		return too_long(&rule->items[i + id - first], err);
	if (got > 0)
		*item = i + id - first;
	return got;
}

static int
holds(const struct rule *rule, size_t i, struct subject *s, struct err *err)
{
	return find_first(rule, i, 1, s, &i, err);
}

static int
match(const struct rule *rule, struct subject *s, struct rule_trace *trace, size_t *item, struct err *err)
{
	(void)trace;
	return find_first(rule, 0, rule->nitems, s, item, err);
}

static void
explain(struct buf *b, const struct rule_step *step, const struct subject *s)
{
	const struct rule *rule = step->rule;

	(void)s;
	if (step->item != RULE_NO_ITEM) {
		type_put_item(b, &rule->items[step->item]);
		buf_addf(b, " %s", rule->how->verb);
	} else if (rule->nitems == 1) {
		type_put_item(b, &rule->items[0]);
		buf_addf(b, " %s", rule->how->fails);
	} else {
		buf_addf(b, "none of %zu patterns %s", rule->nitems, rule->how->verb);
	}
}

const struct rule_type type_name = {
	.name = "name",
	.keys = { { "PATTERNS", KEY_ITEMS, ITEM_PATTERN }, { "MATCH_TYPE", KEY_SETTING, 0 } },
	.compile = compile,
	.match = match,
	.holds = holds,
	.same = true,
	.explain = explain,
};
