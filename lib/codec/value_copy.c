#include "codec/value.h"

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "codec/value_priv.h"

/* Nesting that a copy follows. */
enum { DEPTH_MAX = 200 };

/* Entries of the map: 0 not copied yet, else the new handle + 1. */
#define MAP_DROPPED UINT32_MAX

static uint32_t copy(struct value_copier *c, uint32_t h, unsigned depth, struct err *e);

/* copy, with None for what is absent or was dropped; false on failure. */
static bool
copy_part(struct value_copier *c, uint32_t h, unsigned depth, uint32_t *out, struct err *e)
{
	*out = VALUE_ABSENT;
	if (h == VALUE_ABSENT)
		return true;
	*out = copy(c, h, depth, e);
	if (*out != VALUE_ABSENT)
		return true;
	if (e->code != ERR_NONE)
		return false;
	*out = value_new_none(c->dst);
	return true;
}

static bool
copy_items(struct value_copier *c, uint32_t h, uint32_t to, unsigned depth, struct err *e)
{
	enum value_kind kind = value_kind(c->src, h);
	uint32_t item;

	for (size_t i = 0; i < value_len(c->src, h); i++) {
		item = copy(c, value_item(c->src, h, i), depth, e);
		if (item == VALUE_ABSENT && e->code != ERR_NONE)
			return false;
		if (item == VALUE_ABSENT && kind == VALUE_LIST)
			continue;
		if (item == VALUE_ABSENT)
			item = value_new_none(c->dst);
		if (kind == VALUE_TUPLE || kind == VALUE_PERSID)
			value_put_item(c->dst, to, i, item);
		else
			value_append(c->dst, to, item);
	}
	return true;
}

static bool
copy_pairs(struct value_copier *c, uint32_t h, uint32_t to, unsigned depth, struct err *e)
{
	uint32_t key, val, state;

	for (size_t i = 0; i < value_len(c->src, h); i++) {
		val = copy(c, value_val(c->src, h, i), depth, e);
		if (val == VALUE_ABSENT && e->code == ERR_NONE)
			continue;
		if (val == VALUE_ABSENT || !copy_part(c, value_key(c->src, h, i), depth, &key, e))
			return false;
		value_set(c->dst, to, key, val);
	}
	if (!copy_part(c, value_state(c->src, h), depth, &state, e))
		return false;
	if (state != VALUE_ABSENT)
		value_set_state(c->dst, to, state);
	return true;
}

static bool
copy_object(struct value_copier *c, uint32_t h, uint32_t to, unsigned depth, struct err *e)
{
	const struct vobject *from = value_object(c->src, h);
	struct vobject *o = value_object_mut(c->dst, to);

	return copy_part(c, from->callable, depth, &o->callable, e) && copy_part(c, from->args, depth, &o->args, e) &&
	       copy_part(c, from->kwargs, depth, &o->kwargs, e) && copy_part(c, from->appended, depth, &o->appended, e) &&
	       copy_part(c, from->items, depth, &o->items, e) && copy_part(c, from->state, depth, &o->state, e);
}

/* The copy of node h without what it refers to. */
static uint32_t
shell(struct value_copier *c, uint32_t h)
{
	enum value_kind kind = value_kind(c->src, h);
	struct vobject none = { HOW_REDUCE, VALUE_ABSENT, VALUE_ABSENT, VALUE_ABSENT, VALUE_ABSENT, VALUE_ABSENT,
		VALUE_ABSENT };

	switch (kind) {
	case VALUE_NONE: return value_new_none(c->dst);
	case VALUE_BOOL: return value_new_bool(c->dst, value_bool(c->src, h));
	case VALUE_INT: return value_new_int(c->dst, value_int(c->src, h));
	case VALUE_FLOAT: return value_new_float(c->dst, value_float(c->src, h));
	case VALUE_BIGINT:
	case VALUE_STR:
	case VALUE_PYSTR:
	case VALUE_BYTES:
	case VALUE_BYTEARRAY: return value_new_text(c->dst, kind, value_text(c->src, h));
	case VALUE_TUPLE:
	case VALUE_PERSID:
		if (value_len(c->src, h) == 0)
			return value_new_tuple(c->dst, NULL, 0);
		return value_new_blank(c->dst, kind, value_len(c->src, h));
	case VALUE_DICT:
		if (value_ordered(c->src, h))
			return value_new_ordered(c->dst);
		return value_new_seq(c->dst, kind);
	case VALUE_LIST:
	case VALUE_SET:
	case VALUE_FROZENSET: return value_new_seq(c->dst, kind);
	case VALUE_GLOBAL: return value_new_global(c->dst, value_module(c->src, h), value_name(c->src, h));
	case VALUE_OBJECT:
		none.how = value_object(c->src, h)->how;
		return value_new_object(c->dst, &none);
	case VALUE_LEAF: break;
	}
	return VALUE_ABSENT;
}

static uint32_t
copy_leaf(struct value_copier *c, uint32_t h)
{
	uint32_t index = 0;
	enum value_leaf kind = value_leaf(c->src, h, &index);

	if (c->leaf != NULL)
		index = c->leaf(c->arg, kind, index);
	if (index == LEAF_DROP) {
		c->map[h] = MAP_DROPPED;
		return VALUE_ABSENT;
	}
	index = value_new_leaf(c->dst, kind, index);
	c->map[h] = index + 1;
	return index;
}

/* VALUE_ABSENT for a dropped leaf, and on failure with e set. */
static uint32_t
copy(struct value_copier *c, uint32_t h, unsigned depth, struct err *e)
{
	uint32_t to;
	bool good = true;

	if (h >= vtree_count(c->src)) /* an integer in its handle */
		return h;
	if (c->map[h] != 0)
		return c->map[h] == MAP_DROPPED ? VALUE_ABSENT : c->map[h] - 1;
	if (depth == 0) {
		err_set(e, ERR_INPUT, "objects nested more than %d deep", DEPTH_MAX);
		return VALUE_ABSENT;
	}
	if (value_kind(c->src, h) == VALUE_LEAF)
		return copy_leaf(c, h);
	to = shell(c, h);
	c->map[h] = to + 1;
	switch (value_kind(c->src, h)) {
	case VALUE_TUPLE:
	case VALUE_PERSID:
	case VALUE_LIST:
	case VALUE_SET:
	case VALUE_FROZENSET: good = copy_items(c, h, to, depth - 1, e); break;
	case VALUE_DICT: good = copy_pairs(c, h, to, depth - 1, e); break;
	case VALUE_OBJECT: good = copy_object(c, h, to, depth - 1, e); break;
	default: break;
	}
	return good ? to : VALUE_ABSENT;
}

uint32_t
value_copy(struct value_copier *c, uint32_t h, struct err *e)
{
	uint32_t count = vtree_count(c->src), to;

	if (c->map == NULL || c->mapped < count) {
		c->map = xreallocn(c->map, count, sizeof(*c->map));
		memset(c->map + c->mapped, 0, (count - c->mapped) * sizeof(*c->map));
		c->mapped = count;
	}
	to = copy(c, h, DEPTH_MAX, e);
	if (to == VALUE_ABSENT && e->code == ERR_NONE)
		to = value_new_none(c->dst);
	return to;
}

void
value_copier_release(struct value_copier *c)
{
	free(c->map);
	c->map = NULL;
	c->mapped = 0;
}
