/* dimension: the number of dimensions is one of those listed. */
#include "rule/rule_priv.h"

static int
compile(struct rules *rules, struct rule *rule, struct err *err)
{
	(void)rules;
	for (size_t i = 0; i < rule->nitems; i++) {
		struct rule_item *item = &rule->items[i];

		if (!ynode_int(item->at, &item->number) || item->number < 0)
			return ynode_fail(item->at, err, "DIMENSIONS: must be whole numbers from 0 on, such as 2");
	}
	return 0;
}

static int
holds(const struct rule *rule, size_t i, struct subject *s, struct err *err)
{
	if (type_need_shape(rule, s, err) < 0)
		return -1;
	return rule->items[i].number == s->entry.ndim;
}

static void
explain(struct buf *b, const struct rule_step *step, const struct subject *s)
{
	(void)step;
	buf_addf(b, "%u dimension%s", s->entry.ndim, s->entry.ndim == 1 ? "" : "s");
}

const struct rule_type type_dimension = {
	.name = "dimension",
	.may_fail = true,
	.keys = { { "DIMENSIONS", KEY_ITEMS, ITEM_DIMENSION } },
	.compile = compile,
	.holds = holds,
	.explain = explain,
};
