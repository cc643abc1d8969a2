/* layer_type: the class of the module that contains the parameter is one of those listed. */
#include "base/text.h"
#include "rule/rule_priv.h"

static int
holds(const struct rule *rule, size_t i, struct subject *s, struct err *err)
{
	if (type_need_layer(rule, s, err) < 0)
		return -1;
	return str_eq(rule->items[i].text, s->entry.layer_type);
}

static void
explain(struct buf *b, const struct rule_step *step, const struct subject *s)
{
	buf_adds(b, "layer type ");
	text_show(b, s->entry.layer_type);
	if (step->item != RULE_NO_ITEM) {
		buf_adds(b, ", listed as ");
		type_put_item(b, &step->rule->items[step->item]);
	}
}

const struct rule_type type_layer_type = {
	.name = "layer_type",
	.may_fail = true,
	.keys = { { "LAYER_TYPES", KEY_ITEMS, ITEM_LAYER_TYPE } },
	.holds = holds,
	.explain = explain,
};
