/* name: the name contains, starts with, ends with a text, or a regular expression is found in it. */
#include "model/keys.h"
#include "rule/rule_priv.h"

struct match_type {
	const char *name;
	const char *verb, *fails; /* of a pattern, in a trace */
	bool (*holds)(const struct rule_item *item, struct subject *s);
};

static bool
contains(const struct rule_item *item, struct subject *s)
{
	return type_contained(s, item->scan);
}

static bool
starts(const struct rule_item *item, struct subject *s)
{
	return str_starts(s->name, item->text);
}

static bool
ends(const struct rule_item *item, struct subject *s)
{
	return str_ends(s->name, item->text);
}

static const struct match_type match_types[] = {
	{ "contains", "is contained", "is not contained", contains },
	{ "startswith", "is the beginning", "is not the beginning", starts },
	{ "endswith", "is the end", "is not the end", ends },
	{ "regex", "is found", "is not found", NULL },
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
	return ynode_fail(item->at, err, "bad regular expression '%s': %s at position %zu",
			  keys_show(&shown, item->text), why.reason, why.offset);
}

static int
compile(struct rules *rules, struct rule *rule, struct err *err)
{
	if (find_match_type(rule, &rule->how, err) < 0)
		return -1;
	for (size_t i = 0; i < rule->nitems; i++) {
		struct rule_item *item = &rule->items[i];

		if (rule->how->holds == NULL) {
			if (compile_regex(item, err) < 0)
				return -1;
		} else if (rule->how->holds == contains) {
			item->scan = literals_add(&rules->scan, item->text);
		}
	}
	return 0;
}

/* Apart from what is asked often: an err is large. */
static int
found(const struct rule_item *item, const struct subject *s, struct err *err)
{
	struct err why;
	struct shown shown;
	int got;

	err_clear(&why);
	got = pyre_search(item->re, s->name, NULL, 0, &why);
	if (got < 0)
		return err_set(err, ERR_INPUT, "the regular expression '%s' at %s:%u:%u needs too many steps on this name",
			       keys_show(&shown, item->text), item->at->file, item->at->line, item->at->column);
	return got;
}

static int
holds(const struct rule *rule, size_t i, struct subject *s, struct err *err)
{
	const struct rule_item *item = &rule->items[i];

	return rule->how->holds ? rule->how->holds(item, s) : found(item, s, err);
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
	.name = "name", .keys = { { "PATTERNS", KEY_ITEMS, ITEM_PATTERN }, { "MATCH_TYPE", KEY_SETTING, 0 } },
	.compile = compile, .holds = holds, .explain = explain,
};
