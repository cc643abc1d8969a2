/* dimension: the number of dimensions is one of those listed. */
#include "rule/rule_priv.h"

static int
compile(struct rules *rules, struct rule *rule, struct err *err)
{
	rule->may_fail = true;
	if (type_items(rules, rule, "DIMENSIONS", ITEM_DIMENSION, false, err) < 0)
		return -1;
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

static int
match(const struct rule *rule, struct subject *s, struct rule_trace *trace, size_t *item, struct err *err)
{
	(void)trace;
	return type_any(rule, ITEM_DIMENSION, s, item, err);
}

static void
explain(struct buf *b, const struct rule_step *step, const struct subject *s)
{
	(void)step;
	buf_addf(b, "%u dimension%s", s->entry.ndim, s->entry.ndim == 1 ? "" : "s");
}

static const char *const keys[] = { "DIMENSIONS", NULL };

const struct rule_type type_dimension = { "dimension", keys, compile, match, holds, explain };
