/* layer_type: the class of the module that has the parameter is one of those listed. */
#include "base/text.h"
#include "rule/rule_priv.h"

static int
compile(struct rules *rules, struct rule *rule, struct err *err)
{
	rule->may_fail = true;
	return type_items(rules, rule, "LAYER_TYPES", ITEM_LAYER_TYPE, false, err);
}

static int
holds(const struct rule *rule, size_t i, struct subject *s, struct err *err)
{
	if (type_need_layer(rule, s, err) < 0)
		return -1;
	return str_eq(rule->items[i].text, s->entry.layer_type);
}

static int
match(const struct rule *rule, struct subject *s, struct rule_trace *trace, size_t *item, struct err *err)
{
	(void)trace;
	return type_any(rule, ITEM_LAYER_TYPE, s, item, err);
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

static const char *const keys[] = { "LAYER_TYPES", NULL };

const struct rule_type type_layer_type = { "layer_type", keys, compile, match, holds, explain };
