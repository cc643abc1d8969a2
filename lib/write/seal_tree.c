#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/strmap.h"
#include "base/xalloc.h"
#include "write/seal_priv.h"

/* What an edit made of a tensor that stays where it stands in the first input's object. */
enum { FATE_NONE = 0, FATE_DROP = 1, FATE_WANT = 2 };

static uint32_t
bare_storage(struct seal *l, uint32_t input, uint32_t storage)
{
	for (size_t i = 0; i < l->nbares; i++)
		if (l->bares[i].input == input && l->bares[i].storage == storage)
			return (uint32_t)i;
	l->bares = xgrow(l->bares, l->nbares, &l->cap_bares, sizeof(*l->bares));
	l->bares[l->nbares] = (struct bare){ input, storage, 0 };
	return (uint32_t)l->nbares++;
}

uint32_t
seal_leaf(void *arg, enum value_leaf kind, uint32_t index)
{
	struct seal_leaves *v = arg;

	if (kind == LEAF_STORAGE)
		return bare_storage(v->l, v->input, index);
	if (v->fates != NULL && v->fates[index] == FATE_DROP)
		return LEAF_DROP;
	if (v->fates != NULL && v->fates[index] >= FATE_WANT)
		return v->fates[index] - FATE_WANT;
	return seal_want(v->l, v->input, index, NULL);
}

/* ---- a state dict made anew */

static int
add_entry(struct seal *l, uint32_t dict, struct plan_entry *en, struct err *e)
{
	struct vtree *t = l->s->tree;
	const struct sd_entry *src = plan_source(l->p, en);
	uint32_t input = l->p->origins[en->origin].input, val;

	if (src->kind == SD_TENSOR)
		val = value_new_leaf(t, LEAF_TENSOR, seal_want(l, input, src->tensor, en));
	else if (en->dtype != DTYPE_UNKNOWN)
		val = value_copy(seal_cast_copier(l, input, (enum dtype)en->dtype), src->value, e);
	else
		val = value_copy(&l->copiers[input], src->value, e);
	if (val == VALUE_ABSENT)
		return e->code == ERR_NONE ? 0 : -1;
	value_set(t, dict, value_new_text(t, VALUE_STR, en->name), val);
	return 0;
}

/* _metadata, its modules under their present paths; of two that came to one path the later stands. */
static int
add_modules(struct seal *l, uint32_t dict, struct err *e)
{
	struct vtree *t = l->s->tree;
	const struct plan *p = l->p;
	uint32_t modules = VALUE_ABSENT, val, state;
	struct strmap last = STRMAP_INIT;
	const struct plan_entry *en;
	struct str path;
	uint64_t at;
	size_t i;

	for (i = p->nentries; i-- > 0;)
		if (p->entries[i].module && seal_writes(l, i))
			strmap_add(&last, p->entries[i].name, i);
	for (i = 0; i < p->nentries; i++) {
		en = &p->entries[i];
		if (!en->module || !seal_writes(l, i) || !strmap_get(&last, en->name, &at) || at != i)
			continue;
		val = value_copy(&l->copiers[p->origins[en->origin].input], en->meta_value, e);
		if (val == VALUE_ABSENT)
			break;
		if (modules == VALUE_ABSENT)
			modules = value_new_ordered(t);
		path = en->name;
		if (path.len > 0 && path.p[path.len - 1] == '.')
			path.len--;
		value_set(t, modules, value_new_text(t, VALUE_STR, path), val);
	}
	strmap_release(&last);
	if (i < p->nentries)
		return -1;
	if (modules != VALUE_ABSENT) {
		state = value_new_seq(t, VALUE_DICT);
		value_set(t, state, value_new_text(t, VALUE_STR, str_c("_metadata")), modules);
		value_set_state(t, dict, state);
	}
	return 0;
}

static uint32_t
state_dict(struct seal *l, struct err *e)
{
	const struct statedict *sd = l->p->inputs[0].sd;
	bool ordered = sd->ordered || sd->ckpt->tree == NULL || sd->metadata != VALUE_ABSENT;
	uint32_t dict = ordered ? value_new_ordered(l->s->tree) : value_new_seq(l->s->tree, VALUE_DICT);
	struct plan *p = l->p;

	for (size_t i = 0; i < p->nentries; i++)
		if (seal_writes(l, i) && !p->entries[i].module && add_entry(l, dict, &p->entries[i], e) != 0)
			return VALUE_ABSENT;
	return ordered && add_modules(l, dict, e) != 0 ? VALUE_ABSENT : dict;
}

/* ---- what is carried beside it */

static bool
is_carried(struct seal *l, struct str key, bool *asked)
{
	const struct seal_opts *o = l->o;

	for (size_t i = 0; i < o->ncarry; i++) {
		if (str_eq(o->carry[i], key)) {
			asked[i] = true;
			return true;
		}
	}
	return o->carry_all;
}

/* Is key the first part of the dotted path, with more behind it? Then that is in *rest. */
static bool
leads_on(struct str path, struct str key, struct str *rest)
{
	if (!str_starts(path, key) || path.len <= key.len || path.p[key.len] != '.')
		return false;
	*rest = str_from(path, key.len + 1);
	return true;
}

/*
 * The root entry that holds the state dict is not part of the rest; of a nested place, whose path from here this is, what
 * lies beside it is. Another entry that is the same dict (an EMA that was never told apart) goes along as it was.
 */
static int
carry_entry(struct seal *l, uint32_t root, uint32_t key, uint32_t val, struct str path, struct err *e)
{
	const struct statedict *sd = l->p->inputs[0].sd;
	const struct vtree *src = sd->ckpt->tree;
	struct vtree *t = l->s->tree;
	const bool text = value_is_text(src, key);
	uint32_t copied, i;
	struct str rest;

	if (val == sd->place && (!text || str_eq(path, value_text(src, key))))
		return 0;
	if (text && value_kind(src, val) == VALUE_DICT && leads_on(path, value_text(src, key), &rest)) {
		copied = value_ordered(src, val) ? value_new_ordered(t) : value_new_seq(t, VALUE_DICT);
		for (i = 0; i < value_len(src, val); i++)
			if (carry_entry(l, copied, value_key(src, val, i), value_val(src, val, i), rest, e) != 0)
				return -1;
	} else {
		copied = value_copy(&l->copiers[0], val, e);
	}
	if (copied == VALUE_ABSENT)
		return e->code == ERR_NONE ? 0 : -1;
	key = text ? value_new_text(t, VALUE_STR, value_text(src, key)) : value_copy(&l->copiers[0], key, e);
	if (key == VALUE_ABSENT)
		return e->code == ERR_NONE ? 0 : -1;
	value_set(t, root, key, copied);
	return 0;
}

static int
carry(struct seal *l, uint32_t root, struct err *e)
{
	const struct statedict *sd = l->p->inputs[0].sd;
	const struct vtree *src = sd->ckpt->tree;
	const struct seal_opts *o = l->o;
	bool *asked = xcalloc(o->ncarry, sizeof(*asked)), text;
	uint32_t from = sd->ckpt->root, key;
	size_t i,
		n = src == NULL || value_kind(src, from) != VALUE_DICT || from == sd->place ? 0 : value_len(src, from);
	int rc = 0;

	for (i = 0; rc == 0 && i < n; i++) {
		key = value_key(src, from, i);
		text = value_is_text(src, key); /* what is not can only be meant by --carry-all */
		if (text ? !is_carried(l, value_text(src, key), asked) : !o->carry_all)
			continue;
		if (text && str_eq(value_text(src, key), o->under) && value_val(src, from, i) != sd->place)
			rc = err_set(e, ERR_USAGE,
				     "%s: cannot carry %.*s: the state dict is written there; name another place with "
				     "--under",
				     sd->ckpt->file, STR_ARG(o->under));
		else
			rc = carry_entry(l, root, key, value_val(src, from, i), sd->key, e);
	}
	for (i = 0; rc == 0 && i < o->ncarry; i++)
		if (!asked[i])
			rc = err_set(e, ERR_INPUT, "%s: nothing to carry: no %.*s at its root", sd->ckpt->file,
				     STR_ARG(o->carry[i]));
	free(asked);
	return rc;
}

static int
build_tree(struct seal *l, struct err *e)
{
	struct vtree *t = l->s->tree;
	uint32_t dict = state_dict(l, e), root;

	if (dict == VALUE_ABSENT)
		return -1;
	l->s->m.root = dict;
	if (l->o->shape != SEAL_UNDER)
		return 0;
	root = value_new_seq(t, VALUE_DICT);
	value_set(t, root, value_new_text(t, VALUE_STR, l->o->under), dict);
	l->s->m.root = root;
	return carry(l, root, e);
}

/* ---- the first input's object, edited in place */

/* Dicts along a dotted path that end in inner. */
static uint32_t
put_below(struct vtree *t, struct str path, uint32_t inner)
{
	const char *dot;
	struct str last;
	uint32_t dict;

	while (path.len > 0) {
		dot = memrchr(path.p, '.', path.len);
		last = dot == NULL ? path : str_from(path, (size_t)(dot - path.p) + 1);
		path.len = dot == NULL ? 0 : (size_t)(dot - path.p);
		dict = value_new_seq(t, VALUE_DICT);
		value_set(t, dict, value_new_text(t, VALUE_STR, last), inner);
		inner = dict;
	}
	return inner;
}

/* Two names of one object have one fate. */
static int
settle_fates(struct seal *l, uint32_t *fates, struct err *e)
{
	const struct ckpt *c = l->p->inputs[0].sd->ckpt;
	struct plan_entry **owners = xcalloc(c->ntensors, sizeof(struct plan_entry *)), *en;
	uint32_t tensor;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < l->p->nentries; i++) {
		en = &l->p->entries[i];
		if (en->module || plan_source(l->p, en)->kind != SD_TENSOR)
			continue;
		tensor = plan_source(l->p, en)->tensor;
		if (owners[tensor] != NULL &&
			(owners[tensor]->alive != en->alive || (owners[tensor]->table != NULL) != (en->table != NULL)))
			rc = err_input(e, c->file, "'%.*s' and '%.*s' are one tensor, of which only one name is to change",
				       STR_ARG(owners[tensor]->name), STR_ARG(en->name));
		owners[tensor] = en;
		fates[tensor] = en->alive ? seal_want(l, 0, tensor, en) + FATE_WANT : FATE_DROP;
	}
	free(owners);
	return rc;
}

static int
edit_tree(struct seal *l, struct err *e)
{
	const struct statedict *sd = l->p->inputs[0].sd;
	uint32_t *fates = xcalloc(sd->ckpt->ntensors, sizeof(*fates)), root = VALUE_ABSENT;
	struct seal_leaves leaves = { .l = l, .fates = fates };
	struct value_copier copier = { .leaf = seal_leaf, .arg = &leaves, .dst = l->s->tree, .src = sd->ckpt->tree };

	if (settle_fates(l, fates, e) == 0)
		root = value_copy(&copier, l->o->drop_rest ? sd->place : sd->ckpt->root, e);
	value_copier_release(&copier);
	free(fates);
	if (root == VALUE_ABSENT)
		return -1;
	l->s->m.root = l->o->drop_rest ? put_below(l->s->tree, sd->key, root) : root;
	return 0;
}

int
seal_tree(struct seal *l, struct err *e)
{
	l->s->m.tree = l->s->tree;
	if (l->o->shape == SEAL_IN_PLACE && l->p->inputs[0].sd->ckpt->tree != NULL)
		return edit_tree(l, e);
	return build_tree(l, e);
}
