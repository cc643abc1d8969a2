#include "pickle/value.h"

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "pickle/value_priv.h"

static uint32_t
node_add(struct vtree *t, enum value_kind kind)
{
	t->nodes = xgrow(t->nodes, t->count, &t->cap, sizeof(*t->nodes));
	t->nodes[t->count] = (struct node){ .kind = (uint8_t)kind };
	return (uint32_t)t->count++;
}

struct vtree *
vtree_new(void)
{
	struct vtree *t = xcalloc(1, sizeof(*t));

	arena_init(&t->arena);
	node_add(t, VALUE_NONE);
	node_add(t, VALUE_BOOL);
	t->nodes[node_add(t, VALUE_BOOL)].u.i = 1;
	node_add(t, VALUE_TUPLE);
	return t;
}

void
vtree_free(struct vtree *t)
{
	if (t == NULL)
		return;
	for (size_t i = 0; i < t->count; i++)
		if (is_grown(&t->nodes[i]))
			free(t->nodes[i].u.slots);
	free(t->nodes);
	arena_release(&t->arena);
	free(t);
}

struct arena *
vtree_arena(struct vtree *t)
{
	return &t->arena;
}

uint32_t
vtree_count(const struct vtree *t)
{
	return (uint32_t)t->count;
}

/* ---- asking */

static bool
is_small(uint32_t h)
{
	return (h & SMALL_BIT) != 0 && h != VALUE_ABSENT;
}

/* The node of h; that of None where h is a small integer or absent. */
static const struct node *
node_of(const struct vtree *t, uint32_t h)
{
	return &t->nodes[h < t->count ? h : NODE_NONE];
}

static bool
is_seq(enum value_kind kind)
{
	return kind == VALUE_TUPLE || kind == VALUE_LIST || kind == VALUE_SET || kind == VALUE_FROZENSET ||
	       kind == VALUE_PERSID;
}

static const uint32_t *
slots_of(const struct node *n)
{
	if (n->kind == VALUE_TUPLE || n->kind == VALUE_PERSID)
		return n->len <= INLINE_SLOTS ? n->u.few : n->u.slots;
	return n->high == 0 ? n->u.few : n->u.slots;
}

enum value_kind
value_kind(const struct vtree *t, uint32_t h)
{
	return is_small(h) ? VALUE_INT : (enum value_kind)node_of(t, h)->kind;
}

bool
value_bool(const struct vtree *t, uint32_t h)
{
	const struct node *n = node_of(t, h);

	return n->kind == VALUE_BOOL && n->u.i != 0;
}

int64_t
value_int(const struct vtree *t, uint32_t h)
{
	const struct node *n = node_of(t, h);

	if (is_small(h))
		return (int64_t)(h & ~SMALL_BIT) + SMALL_MIN;
	return n->kind == VALUE_INT || n->kind == VALUE_BOOL ? n->u.i : 0;
}

bool
value_u64(const struct vtree *t, uint32_t h, uint64_t *out)
{
	enum value_kind kind = value_kind(t, h);
	struct str s = value_text(t, h);
	uint64_t v = 0;

	if (kind == VALUE_INT && value_int(t, h) >= 0) {
		*out = (uint64_t)value_int(t, h);
		return true;
	}
	if (kind != VALUE_BIGINT || s.len == 0 || s.len > 9 || (s.p[s.len - 1] & 0x80) != 0)
		return false;
	if (s.len == 9 && s.p[8] != 0)
		return false;
	for (size_t i = 0; i < s.len && i < 8; i++)
		v |= (uint64_t)(uint8_t)s.p[i] << (8 * i);
	*out = v;
	return true;
}

double
value_float(const struct vtree *t, uint32_t h)
{
	const struct node *n = node_of(t, h);

	return n->kind == VALUE_FLOAT ? n->u.d : 0;
}

struct str
value_text(const struct vtree *t, uint32_t h)
{
	const struct node *n = node_of(t, h);

	switch (n->kind) {
	case VALUE_STR:
	case VALUE_PYSTR:
	case VALUE_BYTES:
	case VALUE_BYTEARRAY:
	case VALUE_BIGINT: return str_n(n->u.text, (size_t)n->high << 32 | n->len);
	default: return str_n("", 0);
	}
}

bool
value_is_text(const struct vtree *t, uint32_t h)
{
	enum value_kind kind = value_kind(t, h);

	return kind == VALUE_STR || kind == VALUE_PYSTR;
}

size_t
value_len(const struct vtree *t, uint32_t h)
{
	const struct node *n = node_of(t, h);

	if (n->kind == VALUE_DICT)
		return n->len / 2;
	return is_seq((enum value_kind)n->kind) ? n->len : 0;
}

uint32_t
value_item(const struct vtree *t, uint32_t h, size_t i)
{
	const struct node *n = node_of(t, h);

	if (!is_seq((enum value_kind)n->kind) || i >= n->len)
		return VALUE_ABSENT;
	return slots_of(n)[i];
}

static uint32_t
dict_slot(const struct vtree *t, uint32_t h, size_t i, size_t which)
{
	const struct node *n = node_of(t, h);

	if (n->kind != VALUE_DICT || i >= n->len / 2)
		return VALUE_ABSENT;
	return slots_of(n)[2 * i + which];
}

uint32_t
value_key(const struct vtree *t, uint32_t h, size_t i)
{
	return dict_slot(t, h, i, 0);
}

uint32_t
value_val(const struct vtree *t, uint32_t h, size_t i)
{
	return dict_slot(t, h, i, 1);
}

bool
value_ordered(const struct vtree *t, uint32_t h)
{
	const struct node *n = node_of(t, h);

	return n->kind == VALUE_DICT && (n->flags & FLAG_ORDERED) != 0;
}

uint32_t
value_state(const struct vtree *t, uint32_t h)
{
	const struct node *n = node_of(t, h);

	if (n->kind != VALUE_DICT || (n->flags & FLAG_STATE) == 0)
		return VALUE_ABSENT;
	return n->u.slots[(size_t)1 << n->high];
}

struct str
value_module(const struct vtree *t, uint32_t h)
{
	const struct node *n = node_of(t, h);

	return n->kind == VALUE_GLOBAL ? n->u.global->module : str_n("", 0);
}

struct str
value_name(const struct vtree *t, uint32_t h)
{
	const struct node *n = node_of(t, h);

	return n->kind == VALUE_GLOBAL ? n->u.global->name : str_n("", 0);
}

bool
value_is_global(const struct vtree *t, uint32_t h, const char *module, const char *name)
{
	const struct node *n = node_of(t, h);

	return n->kind == VALUE_GLOBAL && str_eqc(n->u.global->module, module) && str_eqc(n->u.global->name, name);
}

const struct vobject *
value_object(const struct vtree *t, uint32_t h)
{
	const struct node *n = node_of(t, h);

	return n->kind == VALUE_OBJECT ? n->u.object : NULL;
}

enum value_leaf
value_leaf(const struct vtree *t, uint32_t h, uint32_t *index)
{
	const struct node *n = node_of(t, h);

	if (n->kind != VALUE_LEAF)
		return LEAF_NONE;
	if (index != NULL)
		*index = n->u.few[0];
	return (enum value_leaf)n->flags;
}

/* ---- making */

uint32_t
value_new_none(struct vtree *t)
{
	(void)t;
	return NODE_NONE;
}

uint32_t
value_new_bool(struct vtree *t, bool b)
{
	(void)t;
	return b ? NODE_TRUE : NODE_FALSE;
}

uint32_t
value_new_int(struct vtree *t, int64_t i)
{
	uint32_t h;

	if (i >= SMALL_MIN && i <= SMALL_MAX)
		return SMALL_BIT | (uint32_t)(i - SMALL_MIN);
	h = node_add(t, VALUE_INT);
	t->nodes[h].u.i = i;
	return h;
}

uint32_t
value_new_float(struct vtree *t, double d)
{
	uint32_t h = node_add(t, VALUE_FLOAT);

	t->nodes[h].u.d = d;
	return h;
}

uint32_t
value_new_text(struct vtree *t, enum value_kind kind, struct str s)
{
	uint32_t h = node_add(t, kind);
	struct node *n = &t->nodes[h];

	n->len = (uint32_t)s.len;
	n->high = (uint16_t)(s.len >> 32);
	n->u.text = s.p != NULL ? s.p : "";
	return h;
}

uint32_t
value_new_blank(struct vtree *t, enum value_kind kind, size_t n)
{
	uint32_t h = node_add(t, kind);
	struct node *node = &t->nodes[h];

	node->len = (uint32_t)n;
	if (n > INLINE_SLOTS)
		node->u.slots = arena_calloc(&t->arena, n, sizeof(uint32_t));
	return h;
}

void
value_put_item(struct vtree *t, uint32_t h, size_t i, uint32_t item)
{
	struct node *n = &t->nodes[h];

	if (n->len <= INLINE_SLOTS)
		n->u.few[i] = item;
	else
		n->u.slots[i] = item;
}

uint32_t
value_new_tuple(struct vtree *t, const uint32_t *items, size_t n)
{
	uint32_t h;

	if (n == 0)
		return NODE_EMPTY;
	h = node_add(t, VALUE_TUPLE);
	t->nodes[h].len = (uint32_t)n;
	if (n <= INLINE_SLOTS) {
		memcpy(t->nodes[h].u.few, items, n * sizeof(*items));
	} else {
		uint32_t *slots = arena_alloc(&t->arena, n * sizeof(*items));

		memcpy(slots, items, n * sizeof(*items));
		t->nodes[h].u.slots = slots;
	}
	return h;
}

uint32_t
value_new_persid(struct vtree *t, uint32_t id)
{
	uint32_t h = value_new_blank(t, VALUE_PERSID, 1);

	value_put_item(t, h, 0, id);
	return h;
}

uint32_t
value_new_seq(struct vtree *t, enum value_kind kind)
{
	return node_add(t, kind);
}

uint32_t
value_new_ordered(struct vtree *t)
{
	uint32_t h = node_add(t, VALUE_DICT);

	t->nodes[h].flags = FLAG_ORDERED;
	return h;
}

uint32_t
value_new_global(struct vtree *t, struct str module, struct str name)
{
	struct global *g = arena_alloc(&t->arena, sizeof(*g));
	uint32_t h = node_add(t, VALUE_GLOBAL);

	g->module = module;
	g->name = name;
	t->nodes[h].u.global = g;
	return h;
}

uint32_t
value_new_object(struct vtree *t, const struct vobject *o)
{
	struct vobject *copy = arena_alloc(&t->arena, sizeof(*copy));
	uint32_t h = node_add(t, VALUE_OBJECT);

	*copy = *o;
	t->nodes[h].u.object = copy;
	return h;
}

uint32_t
value_new_leaf(struct vtree *t, enum value_leaf leaf, uint32_t index)
{
	uint32_t h = node_add(t, VALUE_LEAF);

	t->nodes[h].flags = (uint8_t)leaf;
	t->nodes[h].u.few[0] = index;
	return h;
}

void
value_set_leaf(struct vtree *t, uint32_t h, uint32_t index)
{
	if (t->nodes[h].kind == VALUE_LEAF)
		t->nodes[h].u.few[0] = index;
}

/* Makes room for 2^log slots and, if there is one, the state behind them. */
static void
slots_resize(struct node *n, uint16_t log)
{
	bool state = (n->flags & FLAG_STATE) != 0 && n->kind == VALUE_DICT;
	size_t room = (size_t)1 << log;
	uint32_t kept = state ? n->u.slots[(size_t)1 << n->high] : 0;
	uint32_t few[INLINE_SLOTS];

	if (n->high == 0) {
		memcpy(few, n->u.few, sizeof(few));
		n->u.slots = xreallocn(NULL, room + state, sizeof(uint32_t));
		memcpy(n->u.slots, few, sizeof(few));
	} else {
		n->u.slots = xreallocn(n->u.slots, room + state, sizeof(uint32_t));
	}
	n->high = log;
	if (state)
		n->u.slots[room] = kept;
}

/* Place for the next slots of a container. */
static uint32_t *
slots_next(struct node *n, size_t more)
{
	size_t room = n->high == 0 ? INLINE_SLOTS : (size_t)1 << n->high;
	uint32_t *at;

	if (n->len + more > room)
		slots_resize(n, n->high == 0 ? FIRST_SLOTS_LOG : (uint16_t)(n->high + 1));
	at = (n->high == 0 ? n->u.few : n->u.slots) + n->len;
	n->len += (uint32_t)more;
	return at;
}

void
value_append(struct vtree *t, uint32_t seq, uint32_t item)
{
	*slots_next(&t->nodes[seq], 1) = item;
}

void
value_set(struct vtree *t, uint32_t dict, uint32_t key, uint32_t val)
{
	uint32_t *at = slots_next(&t->nodes[dict], 2);

	at[0] = key;
	at[1] = val;
}

void
value_set_state(struct vtree *t, uint32_t dict_or_object, uint32_t state)
{
	struct node *n = &t->nodes[dict_or_object];

	if (n->kind == VALUE_OBJECT) {
		n->u.object->state = state;
		return;
	}
	if ((n->flags & FLAG_STATE) == 0) {
		if (n->high == 0)
			slots_resize(n, FIRST_SLOTS_LOG);
		n->u.slots = xreallocn(n->u.slots, ((size_t)1 << n->high) + 1, sizeof(uint32_t));
		n->flags |= FLAG_STATE;
	}
	n->u.slots[(size_t)1 << n->high] = state;
}

struct vobject *
value_object_mut(struct vtree *t, uint32_t h)
{
	return h < t->count && t->nodes[h].kind == VALUE_OBJECT ? t->nodes[h].u.object : NULL;
}
