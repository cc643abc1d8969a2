/*
 * convolutional: the parameter has four dimensions, its name contains one of the given patterns, and its layer type is one of those
 * listed. The last two conditions are optional.
 */
#include "base/text.h"
#include "rule/rule_priv.h"

static int
compile(struct rules *rules, struct rule *rule, struct err *err)
{
	(void)err;
	for (size_t i = 0; i < rule->nitems; i++)
		if (rule->items[i].class == ITEM_PATTERN)
			rule->items[i].id = finder_text(rules->finder, rule->items[i].text, FINDER_ANYWHERE);
	return 0;
}

static int
holds(const struct rule *rule, size_t i, struct subject *s, struct err *err)
{
	const struct rule_item *item = &rule->items[i];

	if (item->class == ITEM_PATTERN)
		return finder_found(s->rules->finder, item->id, err);
	if (type_need_layer(rule, s, err) < 0)
		return -1;
	return str_eq(item->text, s->entry.layer_type);
}

static bool
has(const struct rule *rule, enum item_class class)
{
	for (size_t i = 0; i < rule->nitems; i++)
		if (rule->items[i].class == class)
			return true;
	return false;
}

static int
match(const struct rule *rule, struct subject *s, struct rule_trace *trace, size_t *item, struct err *err)
{
	int got = 1;

	(void)trace;
	if (type_need_shape(rule, s, err) < 0)
		return -1;
	if (s->entry.ndim != 4)
		return 0;
	if (has(rule, ITEM_PATTERN))
		got = type_any(rule, ITEM_PATTERN, s, item, err);
	if (got == 1 && has(rule, ITEM_LAYER_TYPE))
		got = type_any(rule, ITEM_LAYER_TYPE, s, item, err);
	return got;
}

static void
explain(struct buf *b, const struct rule_step *step, const struct subject *s)
{
	const struct rule *rule = step->rule;

	buf_addf(b, "%u dimension%s", s->entry.ndim, s->entry.ndim == 1 ? "" : "s");
	if (s->entry.ndim != 4)
		return;
	if (step->item != RULE_NO_ITEM) {
		bool pattern = rule->items[step->item].class == ITEM_PATTERN;

		buf_adds(b, ", ");
		type_put_item(b, &rule->items[step->item]);
		buf_adds(b, pattern ? " is contained" : " is the layer type");
	} else if (!step->matched && has(rule, ITEM_PATTERN)) {
		buf_adds(b, ", none of NAME_PATTERNS is contained");
	}
	if (!step->matched && has(rule, ITEM_LAYER_TYPE) && (step->item != RULE_NO_ITEM || !has(rule, ITEM_PATTERN))) {
		buf_adds(b, ", layer type ");
		text_show(b, s->entry.layer_type);
	}
}

const struct rule_type type_convolutional = {
	.name = "convolutional",
	.may_fail = true,
	.keys = { { "NAME_PATTERNS", KEY_MAY_ITEMS, ITEM_PATTERN }, { "LAYER_TYPES", KEY_MAY_ITEMS, ITEM_LAYER_TYPE } },
	.compile = compile,
	.match = match,
	.holds = holds,
	.explain = explain,
};
