#include "rule/groups.h"

#include "model/keys.h"
#include "rule/rule_priv.h"

const char *const group_keys[] = { "FILTER", "OPTIMIZER", "WEIGHT_DECAY", "LR_MULTIPLIER", NULL };

/* The groups of a config that says nothing. */
#define NO_GROUPS                                      \
	{                                              \
		.enabled = -1, .rest = {               \
			.name = STR_LIT("DEFAULT"),    \
			.optimizer = STR_LIT("adamw"), \
			.weight_decay = 0.05,          \
			.lr_multiplier = 1             \
		}                                      \
	}

/* Is the child of the map of groups a group, not ENABLED or DEFAULT? It must be a map. */
static bool
is_child(const struct ypair *pair)
{
	return pair->value->kind == YN_MAP && !str_eqc(pair->key->text, "DEFAULT") && !str_eqc(pair->key->text, "ENABLED");
}

static const struct ynode *
filter_of(const struct ynode *map)
{
	const struct ynode *filter = ymap_get(map, "FILTER");

	return ynode_is_null(filter) ? NULL : filter;
}

int
rule_form(const struct ynode *node, enum rule_form *form, const struct ynode **rule, struct err *err)
{
	*form = FORM_RULE;
	*rule = node;
	if (node->kind != YN_MAP || ymap_get(node, "TYPE"))
		return 0;
	if (ymap_get(node, "FILTER")) {
		*rule = ymap_get(node, "FILTER");
		return 0;
	}
	*form = FORM_GROUPS;
	if (ymap_get(node, "ENABLED") || ymap_get(node, "DEFAULT"))
		return 0;
	for (size_t i = 0; i < node->n; i++)
		if (is_child(&node->pairs[i]) && ymap_get(node->pairs[i].value, "FILTER"))
			return 0;
	for (size_t i = 0; i < node->n; i++)
		if (is_child(&node->pairs[i]))
			return ynode_fail(node, err, "neither a rule (a map with TYPE) nor groups (maps with FILTER)");
	*form = FORM_RULE;
	return 0;
}

static int
get_number(const struct ynode *map, const char *key, double *out, struct err *err)
{
	const struct ynode *node = ymap_get(map, key);
	if (ynode_is_null(node) || ynode_double(node, out))
		return 0;
	return keys_wrong(node, key, "a number", err);
}

/* Reads the training settings of a group. The caller has set them to those of DEFAULT. */
static int
read_settings(struct group *group, struct err *err)
{
	const struct ynode *node = ymap_get(group->map, "OPTIMIZER");

	if (!ynode_is_null(node)) {
		if (node->kind != YN_SCALAR)
			return ynode_fail(node, err, "OPTIMIZER: must be a name such as adamw, not %s", ynode_what(node));
		group->optimizer = node->text;
	}
	group->muon = str_eqc_nocase(group->optimizer, "muon");
	if (get_number(group->map, "WEIGHT_DECAY", &group->weight_decay, err) < 0)
		return -1;
	return get_number(group->map, "LR_MULTIPLIER", &group->lr_multiplier, err);
}

static int
read_rest(struct groups *g, struct err *err)
{
	const struct ypair *pair = ymap_pair(g->at, str_c("DEFAULT"));
	const struct ynode *enabled = ymap_get(g->at, "ENABLED");
	bool flag;

	if (!ynode_is_null(enabled)) {
		if (!ynode_bool(enabled, &flag))
			return keys_wrong(enabled, "ENABLED", "true or false", err);
		g->enabled = flag;
	}
	if (pair == NULL || ynode_is_null(pair->value))
		return 0;
	if (pair->value->kind != YN_MAP)
		return ynode_fail(pair->value, err, "DEFAULT: must be a map, not %s", ynode_what(pair->value));
	g->rest.at = pair->key;
	g->rest.map = pair->value;
	if (read_settings(&g->rest, err) < 0)
		return -1;
	g->rest.lr_multiplier = 1;
	return 0;
}

/* Reports something questionable in a rule file that is not an error. */
static void
note(const struct rules *rules, const struct ynode *at, const char *what, struct str name)
{
	struct err err = ERR_INIT;
	struct shown shown;

	ynode_fail(at, &err, "%s %s", keys_show(&shown, name), what);
	if (rules->env.finding)
		rules->env.finding(rules->env.arg, &err);
	else
		diag_warn(rules->env.diag, "%s", err.msg);
}

/* Reports an error to env.finding (--lint), so that the next group can be read. Without env.finding, fails with it. */
static int
told(const struct rules *rules, const struct err *own, struct err *err)
{
	if (rules->env.finding && own->code != ERR_ANSWER)
		rules->env.finding(rules->env.arg, own);
	err_set(err, rules->env.finding ? ERR_ANSWER : own->code, "%s", own->msg);
	return rules->env.finding ? 0 : -1;
}

int
groups_compile(struct groups *g, struct rules *rules, const struct ynode *map, struct err *err)
{
	struct err own = ERR_INIT;

	*g = (struct groups)NO_GROUPS;
	g->at = map;
	if (read_rest(g, &own) < 0 && told(rules, &own, err) < 0)
		return -1;
	g->v = arena_calloc(&rules->arena, map->n + 1, sizeof(*g->v));
	for (size_t i = 0; i < map->n; i++) {
		const struct ypair *pair = &map->pairs[i];
		struct group *group = &g->v[g->n];

		if (!is_child(pair))
			continue;
		if (filter_of(pair->value) == NULL) {
			note(rules, pair->key, "has no FILTER, so it is not a group", pair->key->text);
			continue;
		}
		err_clear(&own);
		*group = g->rest;
		group->name = pair->key->text;
		group->at = pair->key;
		group->map = pair->value;
		group->rule = rules_compile(rules, filter_of(pair->value), &own);
		if (group->rule == NULL || read_settings(group, &own) < 0) {
			if (told(rules, &own, err) < 0)
				return -1;
			continue;
		}
		g->n++;
	}
	return 0;
}

void
groups_single(struct groups *g, struct rules *rules, struct str name, const struct rule *rule)
{
	*g = (struct groups)NO_GROUPS;
	g->v = arena_calloc(&rules->arena, 1, sizeof(*g->v));
	g->n = 1;
	g->v[0] = g->rest;
	g->v[0].name = name;
	g->v[0].rule = rule;
}

int
groups_assign(const struct groups *g, struct subject *s, bool first, unsigned char *in, size_t *count, struct err *err)
{
	*count = 0;
	for (size_t i = 0; i < g->n; i++) {
		int got = first && *count ? 0 : rule_match(g->v[i].rule, s, NULL, err);

		if (got < 0)
			return -1;
		in[i] = (unsigned char)got;
		*count += (size_t)got;
	}
	return 0;
}

long
groups_find(const struct groups *g, struct str name)
{
	for (size_t i = 0; i < g->n; i++)
		if (str_eq(g->v[i].name, name))
			return (long)i;
	return str_eqc(name, "DEFAULT") ? (long)g->n : -1;
}

bool
groups_takes_rest(const struct subject *s)
{
	return s->entry.requires_grad != GRAD_FALSE;
}
