#include "rule/lint.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "base/xalloc.h"
#include "model/keys.h"
#include "rule/rule_priv.h"

const char *const override_keys[] = {
	"NAME", "MIN_LR", "WARMUP_LR", "WARMUP_STEPS", "WARMUP_EPOCHS", "WARMUP_FRACTION", "DECAY_STEPS", "DECAY_RATE", NULL,
};

/* The number of names that a rule, or one of its items, matched. */
struct hits {
	uint64_t count;
	bool unknown; /* some name lacks a property that it needs, so that count says nothing */
};

/* The names that are in exactly these groups. */
struct overlap {
	unsigned char *in;
	uint64_t count;
	struct str example;
};

struct lint {
	struct rules *rules;
	const struct groups *groups;
	const struct rule *other;
	struct arena arena;
	const struct rule **all; /* rules by number; NULL for one that did not compile */
	struct hits *rule_hits;  /* by number of the rule */
	struct hits **item_hits; /* by number of the rule, then by item */
	bool *root_told;         /* by group, with other last: an error of matching has been reported */
	unsigned char *in;
	uint64_t *firsts; /* by group: number of names that no earlier group contains */
	struct overlap *overlaps;
	size_t noverlaps, cap;
	struct strmap by_groups; /* index in overlaps by set of groups */
	struct str *types;       /* layer types of the names so far */
	size_t ntypes, types_cap;
	struct strmap by_type;
	uint64_t names;
};

/* Reports a finding at a node. */
#define found(rules, at, ...)                                       \
	do {                                                        \
		struct err found_err = ERR_INIT;                    \
                                                                    \
		ynode_fail(at, &found_err, __VA_ARGS__);            \
		(rules)->env.finding((rules)->env.arg, &found_err); \
	} while (0)

/* ---- names */

static void
note_type(struct lint *l, struct str type)
{
	if (type.p == NULL || strmap_get(&l->by_type, type, NULL))
		return;
	type = arena_str(&l->arena, type);
	strmap_add(&l->by_type, type, l->ntypes);
	*xpush(l->types, l->ntypes, l->types_cap) = type;
}

static void
note_overlap(struct lint *l, struct str name)
{
	struct str set = str_n((const char *)l->in, l->groups->n);
	struct overlap *o;
	uint64_t i;

	if (!strmap_get(&l->by_groups, set, &i)) {
		l->overlaps = xgrow(l->overlaps, l->noverlaps, &l->cap, sizeof(*l->overlaps));
		i = l->noverlaps++;
		o = &l->overlaps[i];
		o->in = arena_bytes(&l->arena, set.len);
		memcpy(o->in, set.p, set.len);
		o->count = 0;
		o->example = arena_str(&l->arena, name);
		strmap_add(&l->by_groups, str_n((const char *)o->in, set.len), i);
	}
	l->overlaps[i].count++;
}

/* Matches a rule as a normal run does, in which an error would end the program. Reports the first error. */
static bool
try_root(struct lint *l, const struct rule *rule, size_t root, struct subject *s, const char *where)
{
	struct err err = ERR_INIT, told = ERR_INIT;
	int got = rule_match(rule, s, NULL, &err);

	if (got < 0 && !l->root_told[root]) {
		l->root_told[root] = true;
		err_set(&told, ERR_INPUT, "%s: %s", where, err.msg);
		l->rules->env.finding(l->rules->env.arg, &told);
	}
	return got == 1;
}

static void
try_groups(struct lint *l, struct subject *s, const char *where)
{
	size_t count = 0;

	for (size_t i = 0; i < l->groups->n; i++) {
		bool got = try_root(l, l->groups->v[i].rule, i, s, where);

		l->in[i] = got;
		l->firsts[i] += got && count == 0;
		count += got;
	}
	if (l->other)
		try_root(l, l->other, l->groups->n, s, where);
	if (count > 1)
		note_overlap(l, s->entry.name);
}

static void
try_rule(struct lint *l, const struct rule *r, struct subject *s)
{
	struct hits *hits = &l->rule_hits[r->number];
	struct err err = ERR_INIT;
	int got = rule_match(r, s, NULL, &err);

	hits->count += got == 1;
	hits->unknown = hits->unknown || got < 0;
	for (size_t i = 0; i < r->nitems; i++) {
		err_clear(&err);
		got = r->type->holds(r, i, s, &err);
		l->item_hits[r->number][i].count += got == 1;
		l->item_hits[r->number][i].unknown = l->item_hits[r->number][i].unknown || got < 0;
	}
}

void
lint_name(struct lint *l, struct subject *s, const char *where)
{
	l->names++;
	note_type(l, s->entry.layer_type);
	try_groups(l, s, where);
	for (size_t i = 0; i < l->rules->count; i++)
		if (l->all[i])
			try_rule(l, l->all[i], s);
}

/* ---- findings */

static bool
dead(const struct hits *hits)
{
	return hits->count == 0 && !hits->unknown;
}

static bool
is_group(const struct lint *l, const struct rule *r)
{
	for (size_t i = 0; i < l->groups->n; i++)
		if (l->groups->v[i].rule == r && l->groups->v[i].at)
			return true;
	return false;
}

/* Adds "; did you mean NAME?" to hint. The candidates are the layer types of the names, or the stages of the description. */
static void
suggest(const struct lint *l, const struct rule_item *item, struct buf *hint)
{
	const struct model *m = l->rules->env.model;
	struct nearest near;

	nearest_init(&near, item->text);
	for (size_t i = 0; item->class == ITEM_LAYER_TYPE && i < l->ntypes; i++)
		nearest_try(&near, l->types[i]);
	for (size_t i = 0; item->class == ITEM_STAGE && i < m->ngroups; i++)
		if (m->groups[i].key.p && str_eqc(m->groups[i].category, "stages"))
			nearest_try(&near, m->groups[i].key);
	keys_suggest_nearest(hint, &near);
}

static void
dead_item(const struct lint *l, const struct rule_item *item)
{
	struct buf hint = BUF_INIT;
	struct shown shown;
	const char *text = keys_show(&shown, item->text);

	buf_adds(&hint, "");
	if (item->class == ITEM_PATTERN) {
		found(l->rules, item->at, "pattern '%s' matches nothing", text);
	} else if (item->class == ITEM_DIMENSION) {
		found(l->rules, item->at, "no tensor has %" PRId64 " dimensions", item->number);
	} else if (item->class == ITEM_STAGE && item->stage) {
		found(l->rules, item->at, "stage '%s' has no parameter here", text);
	} else {
		suggest(l, item, &hint);
		found(l->rules, item->at, "%s '%s'%s",
		      item->class == ITEM_STAGE ? "the description has no stage" : "no tensor has the layer type", text, hint.p);
	}
	buf_release(&hint);
}

/* Do the findings about the parts of a rule imply that the rule itself matches nothing? */
static bool
parts_say_it(const struct lint *l, const struct rule *r)
{
	if (r->nitems > 0 && r->type != &type_convolutional)
		return true;
	for (size_t i = 0; i < r->nkids; i++)
		if (!dead(&l->rule_hits[r->kids[i]->number]))
			return false;
	return r->nkids > 0 && r->type == &type_or;
}

static void
rule_findings(struct lint *l)
{
	struct strmap seen;

	strmap_init(&seen);
	for (size_t n = 0; n < l->rules->count; n++) {
		const struct rule *r = l->all[n];

		/* A YAML alias is compiled once for each place where it is used, but reported only once. */
		if (r == NULL || !strmap_add(&seen, str_n((const char *)&r->at, sizeof(r->at)), n))
			continue;
		for (size_t i = 0; i < r->nitems; i++)
			if (dead(&l->item_hits[n][i]))
				dead_item(l, &r->items[i]);
		if (dead(&l->rule_hits[n]) && !is_group(l, r) && !parts_say_it(l, r))
			found(l->rules, r->at, "this %s filter matches nothing", r->type->name);
	}
	strmap_release(&seen);
}

static void
put_groups(const struct lint *l, const unsigned char *in, size_t end, const char *last, struct buf *b)
{
	size_t left = 0;
	bool first = true;

	for (size_t i = 0; i < end; i++)
		left += in[i];
	for (size_t i = 0; i < end; i++) {
		if (!in[i])
			continue;
		buf_adds(b, first ? "" : left == 1 ? last : ", ");
		text_show(b, l->groups->v[i].name);
		first = false;
		left--;
	}
}

static void
overlap_findings(struct lint *l)
{
	for (size_t k = 0; k < l->noverlaps; k++) {
		const struct overlap *o = &l->overlaps[k];
		struct buf b = BUF_INIT;
		struct shown shown;
		size_t at = 0;

		while (!o->in[at])
			at++;
		put_groups(l, o->in, l->groups->n, " and ", &b);
		found(l->rules, l->groups->v[at].at, "%" PRIu64 " name%s in %s: %s%s", o->count, o->count == 1 ? " is" : "s are",
		      b.p, keys_show(&shown, o->example), o->count == 1 ? "" : ", ...");
		buf_release(&b);
	}
}

/* Reports that earlier groups contain all names of this group. */
static void
shadow_finding(struct lint *l, size_t group)
{
	unsigned char *by = xcalloc(l->groups->n, 1);
	struct buf b = BUF_INIT;
	struct shown shown;

	for (size_t k = 0; k < l->noverlaps; k++)
		for (size_t i = 0; l->overlaps[k].in[group] && i < group; i++)
			by[i] |= l->overlaps[k].in[i];
	put_groups(l, by, group, " and ", &b);
	found(l->rules, l->groups->v[group].at, "group %s is shadowed: all that it matches is in %s already",
	      keys_show(&shown, l->groups->v[group].name), b.p);
	buf_release(&b);
	free(by);
}

static void
group_findings(struct lint *l)
{
	for (size_t i = 0; i < l->groups->n; i++) {
		const struct group *g = &l->groups->v[i];
		const struct hits *hits = &l->rule_hits[g->rule->number];
		struct shown shown;

		if (g->at == NULL)
			continue;
		if (dead(hits))
			found(l->rules, g->at, "group %s matches nothing", keys_show(&shown, g->name));
		else if (hits->count > 0 && l->firsts[i] == 0)
			shadow_finding(l, i);
	}
}

void
lint_finish(struct lint *l, bool tell)
{
	if (l == NULL)
		return;
	if (tell && l->names > 0) {
		rule_findings(l);
		group_findings(l);
		overlap_findings(l);
	}
	strmap_release(&l->by_groups);
	strmap_release(&l->by_type);
	free(l->overlaps);
	free(l->types);
	arena_release(&l->arena);
	free(l);
}

/* ---- the groups and overrides by themselves, independent of names */

/* Reports every unknown key, not only the first. */
static void
unknown_keys(const struct rules *rules, const struct ynode *map, const char *const *keys, const char *where)
{
	for (size_t i = 0; map && map->kind == YN_MAP && i < map->n; i++) {
		struct ynode one = *map;
		struct err err = ERR_INIT;

		one.n = 1;
		one.pairs = &map->pairs[i];
		if (keys_check(&one, keys, where, &err) < 0)
			rules->env.finding(rules->env.arg, &err);
	}
}

static void
check_groups(const struct rules *rules, const struct groups *groups, bool enabled)
{
	const struct ynode *lr = ymap_get(groups->rest.map, "LR_MULTIPLIER");
	const struct ynode *said = ymap_get(groups->at, "ENABLED");
	double value;

	for (size_t i = 0; i < groups->n; i++)
		unknown_keys(rules, groups->v[i].map, group_keys, "a group");
	/* DEFAULT is not a rule, so the first key of group_keys, FILTER, is not allowed. */
	unknown_keys(rules, groups->rest.map, group_keys + 1, "DEFAULT");
	if (ynode_double(lr, &value) && value != 1)
		found(rules, lr, "LR_MULTIPLIER of DEFAULT is not read: it is always 1");
	if (!enabled && groups->n > 0)
		found(rules, said ? said : groups->at, "ENABLED is %s: one optimizer takes all, and the groups are not used",
		      said ? "false" : "not given, which is false");
}

/* Lists the names of the optimizers that training creates, as far as the config determines them. */
static size_t
optimizers(const struct groups *groups, struct arena *a, const char **names)
{
	size_t n = 0;

	for (size_t i = 0; i < groups->n; i++) {
		names[n++] = groups->v[i].name.p;
		if (groups->v[i].muon)
			names[n++] = arena_printf(a, "%s_ADAMW", groups->v[i].name.p);
	}
	names[n++] = groups->rest.muon ? "DEFAULT_MUON" : "DEFAULT";
	if (groups->rest.muon)
		names[n++] = "DEFAULT_ADAMW";
	names[n] = NULL;
	return n;
}

static void
check_overrides(const struct rules *rules, const struct groups *groups, const struct ynode *overrides)
{
	struct arena a = ARENA_INIT;
	const char **names = arena_calloc(&a, 2 * groups->n + 4, sizeof(*names));

	optimizers(groups, &a, names);
	if (overrides && overrides->kind != YN_MAP && !ynode_is_null(overrides))
		found(rules, overrides, "overrides of the learning rate are not read: a map of groups is expected");
	for (size_t i = 0; overrides && overrides->kind == YN_MAP && i < overrides->n; i++) {
		const struct ypair *pair = &overrides->pairs[i];
		struct buf hint = BUF_INIT;
		struct shown shown;

		if (str_eqc(pair->key->text, "ENABLED"))
			continue;
		if (!keys_known(pair->key->text, names)) {
			keys_suggest(&hint, pair->key->text, names);
			found(rules, pair->key, "%s: there is no such group to override%s", keys_show(&shown, pair->key->text),
			      hint.len ? hint.p : "");
			buf_release(&hint);
			continue;
		}
		unknown_keys(rules, pair->value, override_keys, "an override of the learning rate");
	}
	arena_release(&a);
}

struct lint *
lint_new(struct rules *rules, const struct groups *groups, const struct rule *other, bool enabled, const struct ynode *overrides)
{
	struct lint *l = xcalloc(1, sizeof(*l));
	size_t n = groups->n;

	*l = (struct lint){ .rules = rules,
			    .groups = groups,
			    .other = other,
			    .arena = ARENA_INIT,
			    .by_groups = STRMAP_INIT,
			    .by_type = STRMAP_INIT };
	l->all = arena_calloc(&l->arena, rules->count + 1, sizeof(*l->all));
	l->rule_hits = arena_calloc(&l->arena, rules->count + 1, sizeof(*l->rule_hits));
	l->item_hits = arena_calloc(&l->arena, rules->count + 1, sizeof(*l->item_hits));
	for (const struct rule *r = rules->newest; r; r = r->next) {
		l->all[r->number] = r->broken ? NULL : r;
		l->item_hits[r->number] = arena_calloc(&l->arena, r->nitems + 1, sizeof(**l->item_hits));
	}
	l->root_told = arena_calloc(&l->arena, n + 1, sizeof(*l->root_told));
	l->in = arena_calloc(&l->arena, n + 1, 1);
	l->firsts = arena_calloc(&l->arena, n + 1, sizeof(*l->firsts));
	if (groups->at != NULL) {
		check_groups(rules, groups, enabled);
		check_overrides(rules, groups, overrides);
	}
	return l;
}
