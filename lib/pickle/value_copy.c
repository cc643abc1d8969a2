#include "pickle/value.h"

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "pickle/value_priv.h"

/*
 * What is reached is listed first, then made and filled in the order of the old
 * handles: which of two nodes came first says something to pickle_encode.
 *
 * Entries of the map: 0 not reached, else the new handle + 1, or one of these.
 */
#define MAP_DROPPED UINT32_MAX
#define MAP_LISTED (UINT32_MAX - 1)

static void
reach(struct value_copier *c, uint32_t h)
{
	if (h >= vtree_count(c->src) || c->map[h] != 0) /* an integer in its handle, absent, or listed */
		return;
	c->map[h] = MAP_LISTED;
	c->reached = xgrow(c->reached, c->nreached, &c->cap_reached, sizeof(*c->reached));
	c->reached[c->nreached++] = h;
}

static void
reach_parts(struct value_copier *c, uint32_t h)
{
	const struct vobject *o = value_object(c->src, h);
	size_t n = value_len(c->src, h);
	bool dict = value_kind(c->src, h) == VALUE_DICT;

	for (size_t i = 0; i < n; i++) {
		reach(c, dict ? value_key(c->src, h, i) : value_item(c->src, h, i));
		if (dict)
			reach(c, value_val(c->src, h, i));
	}
	reach(c, value_state(c->src, h));
	if (o == NULL)
		return;
	reach(c, o->callable);
	reach(c, o->args);
	reach(c, o->kwargs);
	reach(c, o->state);
	reach(c, o->appended);
	reach(c, o->items);
}

/* ---- making */

static uint32_t
make_leaf(const struct value_copier *c, uint32_t h)
{
	uint32_t index = 0;
	enum value_leaf kind = value_leaf(c->src, h, &index);

	if (c->leaf != NULL)
		index = c->leaf(c->arg, kind, index);
	return index == LEAF_DROP ? VALUE_ABSENT : value_new_leaf(c->dst, kind, index);
}

static uint32_t
make_global(const struct value_copier *c, uint32_t h)
{
	struct str module = value_module(c->src, h), name = value_name(c->src, h);

	return value_new_global(c->dst, module, c->global != NULL ? c->global(c->arg, module, name) : name);
}

/* The copy of node h without what it refers to; VALUE_ABSENT for a leaf to be dropped. */
static uint32_t
make(const struct value_copier *c, uint32_t h)
{
	enum value_kind kind = value_kind(c->src, h);
	size_t n = value_len(c->src, h);

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
	case VALUE_PERSID: return n == 0 ? value_new_tuple(c->dst, NULL, 0) : value_new_blank(c->dst, kind, n);
	case VALUE_DICT: return value_ordered(c->src, h) ? value_new_ordered(c->dst) : value_new_seq(c->dst, kind);
	case VALUE_LIST:
	case VALUE_SET:
	case VALUE_FROZENSET: return value_new_seq(c->dst, kind);
	case VALUE_GLOBAL: return make_global(c, h);
	case VALUE_OBJECT: return value_new_object(c->dst, value_object(c->src, h));
	case VALUE_LEAF: return make_leaf(c, h);
	}
	return VALUE_ABSENT;
}

/* ---- filling */

/* The copy of h; false for a dropped leaf. */
static bool
copied(const struct value_copier *c, uint32_t h, uint32_t *to)
{
	*to = h;
	if (h >= vtree_count(c->src))
		return true;
	*to = c->map[h] - 1;
	return c->map[h] != MAP_DROPPED;
}

static uint32_t
copied_or_none(const struct value_copier *c, uint32_t h)
{
	uint32_t to;

	return copied(c, h, &to) ? to : value_new_none(c->dst);
}

static void
fill_items(const struct value_copier *c, uint32_t h, uint32_t to)
{
	enum value_kind kind = value_kind(c->src, h);
	uint32_t item;

	for (size_t i = 0; i < value_len(c->src, h); i++) {
		if (!copied(c, value_item(c->src, h, i), &item)) {
			if (kind == VALUE_LIST)
				continue;
			item = value_new_none(c->dst);
		}
		if (kind == VALUE_TUPLE || kind == VALUE_PERSID)
			value_put_item(c->dst, to, i, item);
		else
			value_append(c->dst, to, item);
	}
}

static void
fill_dict(const struct value_copier *c, uint32_t h, uint32_t to)
{
	uint32_t val, state = value_state(c->src, h);

	for (size_t i = 0; i < value_len(c->src, h); i++)
		if (copied(c, value_val(c->src, h, i), &val))
			value_set(c->dst, to, copied_or_none(c, value_key(c->src, h, i)), val);
	if (state != VALUE_ABSENT)
		value_set_state(c->dst, to, copied_or_none(c, state));
}

static void
fill_object(const struct value_copier *c, uint32_t to)
{
	struct vobject *o = value_object_mut(c->dst, to);

	o->callable = copied_or_none(c, o->callable);
	o->args = copied_or_none(c, o->args);
	o->kwargs = copied_or_none(c, o->kwargs);
	o->state = copied_or_none(c, o->state);
	o->appended = copied_or_none(c, o->appended);
	o->items = copied_or_none(c, o->items);
}

static void
fill(const struct value_copier *c, uint32_t h)
{
	uint32_t to;

	if (!copied(c, h, &to))
		return;
	if (value_kind(c->src, h) == VALUE_DICT)
		fill_dict(c, h, to);
	else if (value_kind(c->src, h) == VALUE_OBJECT)
		fill_object(c, to);
	else
		fill_items(c, h, to);
}

/* ---- */

static int
by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

uint32_t
value_copy(struct value_copier *c, uint32_t h, struct err *e)
{
	uint32_t count = vtree_count(c->src), to;
	size_t first = c->nreached, end;

	(void)e;
	if (c->map == NULL || c->mapped < count) {
		c->map = xreallocn(c->map, count, sizeof(*c->map));
		memset(c->map + c->mapped, 0, (count - c->mapped) * sizeof(*c->map));
		c->mapped = count;
	}
	reach(c, h);
	for (size_t i = first; i < c->nreached; i++)
		reach_parts(c, c->reached[i]);
	end = c->nreached; /* leaf() may copy, too, and reach more */
	if (end > first)
		qsort(c->reached + first, end - first, sizeof(*c->reached), by_number);
	for (size_t i = first; i < end; i++) {
		to = make(c, c->reached[i]);
		c->map[c->reached[i]] = to == VALUE_ABSENT ? MAP_DROPPED : to + 1;
	}
	for (size_t i = first; i < end; i++)
		fill(c, c->reached[i]);
	return copied_or_none(c, h);
}

void
value_copier_reset(struct value_copier *c, struct vtree *dst)
{
	for (size_t i = 0; i < c->nreached; i++)
		c->map[c->reached[i]] = 0;
	c->nreached = 0;
	c->dst = dst;
}

void
value_copier_release(struct value_copier *c)
{
	free(c->map);
	free(c->reached);
	c->map = c->reached = NULL;
	c->mapped = 0;
	c->nreached = c->cap_reached = 0;
}
