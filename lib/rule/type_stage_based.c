/* stage_based: the description assigns the name to a stage, and that stage is one of those listed. */
#include "base/text.h"
#include "rule/rule_priv.h"

static bool
is_stage(const struct model_group *g)
{
	return g->key.p && str_eqc(g->category, "stages");
}

/* Returns the stage of this name, or the first stage if key is NULL. Returns NULL if there is none. */
static const struct model_group *
stage_named(const struct model *m, const struct str *key)
{
	for (size_t i = 0; i < m->ngroups; i++)
		if (is_stage(&m->groups[i]) && (key == NULL || str_eq(m->groups[i].key, *key)))
			return &m->groups[i];
	return NULL;
}

/* Adds the patterns of all stages to the finder, so that one scan of a name finds them all. The last stage with a match decides. */
static void
take_stages(struct rules *rules)
{
	const struct model *m = rules->env.model;
	size_t n = 0;

	if (rules->stages)
		return;
	for (size_t i = 0; i < m->ngroups; i++)
		n += m->groups[i].patterns.n;
	rules->stages = arena_calloc(&rules->arena, n + 1, sizeof(*rules->stages));
	for (size_t i = m->ngroups; i-- > 0;) {
		const struct model_group *g = &m->groups[i];

		if (stage_named(m, &g->key) != g)
			continue;
		for (size_t k = 0; k < g->patterns.n; k++) {
			struct stage_pattern *p = &rules->stages[rules->nstages++];

			p->stage = g;
			p->text = g->patterns.items[k];
			p->id = finder_text(rules->finder, p->text, FINDER_ANYWHERE);
		}
	}
}

static const struct stage_pattern *
stage_of(struct subject *s)
{
	const struct rules *rules = s->rules;

	if (s->staged)
		return s->stage;
	s->staged = true;
	s->stage = NULL;
	for (size_t i = 0; i < rules->nstages; i++) {
		if (finder_found(s->rules->finder, rules->stages[i].id, NULL) > 0) {
			s->stage = &rules->stages[i];
			break;
		}
	}
	return s->stage;
}

static int
compile(struct rules *rules, struct rule *rule, struct err *err)
{
	const struct model *m = rules->env.model;

	if (m == NULL || stage_named(m, NULL) == NULL)
		return ynode_fail(rule->at, err,
				  "a stage_based filter needs a description with "
				  "parameter_groups_metadata.stages (-m)");
	for (size_t i = 0; i < rule->nitems; i++)
		rule->items[i].stage = stage_named(m, &rule->items[i].text);
	take_stages(rules);
	return 0;
}

static int
holds(const struct rule *rule, size_t i, struct subject *s, struct err *err)
{
	const struct stage_pattern *p = stage_of(s);

	(void)err;
	return p && p->stage == rule->items[i].stage;
}

static void
explain(struct buf *b, const struct rule_step *step, const struct subject *s)
{
	const struct ynode *at;

	(void)step;
	if (s->stage == NULL) {
		buf_adds(b, "in no stage");
		return;
	}
	at = s->stage->stage->patterns.at;
	buf_adds(b, "in stage ");
	text_show(b, s->stage->stage->key);
	buf_adds(b, ", as it contains '");
	text_show(b, s->stage->text);
	buf_addf(b, "' (%s:%u:%u)", at->file, at->line, at->column);
}

const struct rule_type type_stage_based = {
	.name = "stage_based",
	.keys = { { "STAGES", KEY_ITEMS, ITEM_STAGE } },
	.compile = compile,
	.holds = holds,
	.explain = explain,
};
