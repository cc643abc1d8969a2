/* stage_based: the stage that the description gives the name is one of those listed. */
#include "base/text.h"
#include "rule/type.h"

static int
compile(struct rules *rules, struct rule *rule, struct err *err)
{
	const struct model *m = rules->env.model;

	if (type_items(rules, rule, "STAGES", ITEM_STAGE, false, err) < 0)
		return -1;
	if (m == NULL || !model_has_stages(m))
		return ynode_fail(rule->at, err, "a stage_based filter needs a description with "
						 "parameter_groups_metadata.stages (-m)");
	for (size_t i = 0; i < rule->nitems; i++)
		rule->items[i].stage = model_stage_named(m, rule->items[i].text);
	return 0;
}

static int
holds(const struct rule *rule, size_t i, struct subject *s, struct err *err)
{
	const struct model_group *stage = model_stage(rule->rules->env.model, s->name, NULL);

	(void)err;
	return stage && stage == rule->items[i].stage;
}

static int
match(const struct rule *rule, struct subject *s, struct rule_trace *trace, size_t *item, struct err *err)
{
	const struct model_group *stage = model_stage(rule->rules->env.model, s->name, NULL);

	(void)trace;
	(void)err;
	for (size_t i = 0; stage && i < rule->nitems; i++) {
		if (rule->items[i].stage == stage) {
			*item = i;
			return 1;
		}
	}
	return 0;
}

static void
explain(struct buf *b, const struct rule_step *step, const struct subject *s)
{
	struct str pattern;
	const struct model_group *stage = model_stage(step->rule->rules->env.model, s->name, &pattern);

	if (stage == NULL) {
		buf_adds(b, "in no stage");
		return;
	}
	buf_adds(b, "in stage ");
	text_show(b, stage->key);
	buf_adds(b, ", because of '");
	text_show(b, pattern);
	buf_addf(b, "' (%s:%u:%u)", stage->patterns.at->file, stage->patterns.at->line, stage->patterns.at->column);
}

static const char *const keys[] = { "STAGES", NULL };

const struct rule_type type_stage_based = { "stage_based", keys, compile, match, holds, explain };
