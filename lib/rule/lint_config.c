/* What is odd about groups and overrides whatever names they are used on. */
#include "rule/lint.h"

#include <string.h>

#include "base/text.h"
#include "model/keys.h"
#include "rule/type.h"

const char *const override_keys[] = {
	"NAME", "MIN_LR", "WARMUP_LR", "WARMUP_STEPS", "WARMUP_EPOCHS", "WARMUP_FRACTION", "DECAY_STEPS", "DECAY_RATE", NULL,
};

static void
tell(const struct rules *rules, const struct err *e)
{
	if (e->code != ERR_NONE)
		rules->env.finding(rules->env.arg, e);
}

/* Every unknown key, not only the first. */
static void
unknown_keys(const struct rules *rules, const struct ynode *map, const char *const *keys, const char *where)
{
	for (size_t i = 0; map && map->kind == YN_MAP && i < map->n; i++) {
		struct ynode one = *map;
		struct err e = ERR_INIT;

		one.n = 1;
		one.pairs = &map->pairs[i];
		if (keys_check(&one, keys, where, &e) < 0)
			tell(rules, &e);
	}
}

void
lint_groups(const struct rules *rules, const struct groups *groups, bool enabled)
{
	const struct ynode *lr = ymap_get(groups->rest.map, "LR_MULTIPLIER");
	const struct ynode *said = ymap_get(groups->at, "ENABLED");
	struct err e = ERR_INIT;
	double value;

	for (size_t i = 0; i < groups->n; i++)
		unknown_keys(rules, groups->v[i].map, group_keys, "a group");
	/* DEFAULT has no FILTER to be read. */
	unknown_keys(rules, groups->rest.map, group_keys + 1, "DEFAULT");
	if (ynode_double(lr, &value) && value != 1) {
		ynode_fail(lr, &e, "LR_MULTIPLIER of DEFAULT is not read: it is always 1");
		tell(rules, &e);
	}
	if (!enabled && groups->n > 0) {
		err_clear(&e);
		if (said)
			ynode_fail(said, &e, "ENABLED is false: one optimizer takes all, and the groups are not used");
		else
			ynode_fail(groups->at, &e, "ENABLED is not given, which is false: one optimizer takes all, and the "
						   "groups are not used");
		tell(rules, &e);
	}
}

/* Names of the optimizers that training makes, as far as the config tells. */
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

void
lint_overrides(const struct rules *rules, const struct groups *groups, const struct ynode *overrides)
{
	struct arena a = ARENA_INIT;
	const char **names = arena_calloc(&a, 2 * groups->n + 4, sizeof(*names));

	optimizers(groups, &a, names);
	if (overrides && overrides->kind != YN_MAP && !ynode_is_null(overrides)) {
		struct err e = ERR_INIT;

		ynode_fail(overrides, &e, "overrides of the learning rate are not read: a map of groups is expected");
		tell(rules, &e);
	}
	for (size_t i = 0; overrides && overrides->kind == YN_MAP && i < overrides->n; i++) {
		const struct ypair *pair = &overrides->pairs[i];
		struct buf hint = BUF_INIT;
		struct err e = ERR_INIT;
		struct shown shown;

		if (str_eqc(pair->key->text, "ENABLED"))
			continue;
		if (!keys_known(pair->key->text, names)) {
			keys_suggest(&hint, pair->key->text, names);
			ynode_fail(pair->key, &e, "%s: there is no such group to override%s",
				   keys_show(&shown, pair->key->text), hint.len ? hint.p : "");
			tell(rules, &e);
			buf_release(&hint);
			continue;
		}
		unknown_keys(rules, pair->value, override_keys, "an override of the learning rate");
	}
	arena_release(&a);
}
