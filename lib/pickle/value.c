#include "pickle/value.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/xalloc.h"

/*
 * A handle with the top bit set is an integer from SMALL_MIN on, except
 * VALUE_ABSENT, the highest one. Every other handle is an index into nodes.
 */
#define SMALL_BIT 0x80000000u
#define SMALL_MIN (-((int64_t)1 << 30))
#define SMALL_MAX (((int64_t)1 << 30) - 2)

/* The first nodes of every tree. */
enum { NODE_NONE, NODE_FALSE, NODE_TRUE, NODE_EMPTY, NODES_FIXED };

/* The number of slots that are stored in the node itself. A slot is the handle of an item; a pair of a dict takes two. */
enum { INLINE_SLOTS = 2, FIRST_SLOTS_LOG = 2 };

enum { FLAG_ORDERED = 1, FLAG_STATE = 2 };

struct global {
	struct str module, name;
};

struct node {
	uint8_t kind;
	uint8_t flags; /* DICT: FLAG_*; LEAF: enum value_leaf */
	uint16_t high; /* texts: bits 32 to 47 of the length; LIST, SET, FROZENSET, DICT: log2 of allocated slots, 0 while inline */
	uint32_t len;  /* texts: length in bytes; containers: slots in use */
	union {
		int64_t i;
		double d;
		const char *text;
		const struct global *global;
		struct vobject *object;
		uint32_t *slots;            /* with FLAG_STATE, the state is in one more slot at the end */
		uint32_t few[INLINE_SLOTS]; /* inline slots; LEAF: few[0] is the index */
	} u;
};

_Static_assert(sizeof(struct node) == 16, "a state dict has a million of these");

struct vtree {
	struct node *nodes;
	size_t count, cap;
	uint32_t shared; /* handles below this may be referred to more than once */
	struct arena arena;
	struct arena tuples; /* slots of tuples */
};

/* Returns true if the node's slots were allocated with malloc. */
static inline bool
is_grown(const struct node *n)
{
	return (n->kind == VALUE_LIST || n->kind == VALUE_SET || n->kind == VALUE_FROZENSET || n->kind == VALUE_DICT) &&
	       n->high != 0;
}

static uint32_t
node_add(struct vtree *t, enum value_kind kind)
{
	*xpush(t->nodes, t->count, t->cap) = (struct node){ .kind = (uint8_t)kind };
	return (uint32_t)t->count - 1;
}

struct vtree *
vtree_new(void)
{
	struct vtree *t = xcalloc(1, sizeof(*t));

	t->shared = NODES_FIXED;
	arena_init(&t->arena);
	arena_init(&t->tuples);
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
	arena_release(&t->tuples);
	free(t);
}

struct arena *
vtree_arena(struct vtree *t)
{
	return &t->arena;
}

void
vtree_reserve(struct vtree *t, size_t n)
{
	xfit(t->nodes, t->count + n, t->cap);
}

uint32_t
vtree_count(const struct vtree *t)
{
	return (uint32_t)t->count;
}

void
vtree_share(struct vtree *t, uint32_t h)
{
	if (h == VALUE_ABSENT)
		t->shared = VALUE_ABSENT;
	else if (h >= t->shared && h < t->count)
		t->shared = h + 1;
}

/* ---- queries */

static bool
is_small(uint32_t h)
{
	return (h & SMALL_BIT) != 0 && h != VALUE_ABSENT;
}

/* Returns the node of h. A small integer or an absent handle gets the node of None. */
static struct node *
node_of(const struct vtree *t, uint32_t h)
{
	return &t->nodes[h < t->count ? h : NODE_NONE];
}

static bool
is_seq(enum value_kind kind)
{
	return kind == VALUE_TUPLE || kind == VALUE_LIST || kind == VALUE_SET || kind == VALUE_FROZENSET || kind == VALUE_PERSID;
}

/* Returns the items of a container; for a dict, keys and values alternate. */
static uint32_t *
slots_of(struct node *n)
{
	bool fixed = n->kind == VALUE_TUPLE || n->kind == VALUE_PERSID;

	return (fixed ? n->len <= INLINE_SLOTS : n->high == 0) ? n->u.few : n->u.slots;
}

/* Returns the slot of the state that BUILD gave a dict, or NULL if there is none. */
static uint32_t *
state_slot(struct node *n)
{
	return n->kind == VALUE_DICT && (n->flags & FLAG_STATE) ? &n->u.slots[(size_t)1 << n->high] : NULL;
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
	struct node *n = node_of(t, h);

	if (!is_seq((enum value_kind)n->kind) || i >= n->len)
		return VALUE_ABSENT;
	return slots_of(n)[i];
}

static uint32_t
dict_slot(const struct vtree *t, uint32_t h, size_t i, size_t which)
{
	struct node *n = node_of(t, h);

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
	const uint32_t *state = state_slot(node_of(t, h));

	return state != NULL ? *state : VALUE_ABSENT;
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

struct vobject *
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

/* ---- constructors */

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
value_new_tuple(struct vtree *t, const uint32_t *items, size_t n)
{
	struct node *node;
	uint32_t h;

	if (n == 0)
		return NODE_EMPTY;
	h = node_add(t, VALUE_TUPLE);
	node = &t->nodes[h];
	node->len = (uint32_t)n;
	if (n > INLINE_SLOTS)
		node->u.slots = arena_alloc(&t->tuples, n * sizeof(*items));
	memcpy(slots_of(node), items, n * sizeof(*items));
	return h;
}

uint32_t
value_new_seq(struct vtree *t, enum value_kind kind)
{
	return node_add(t, kind);
}

uint32_t
value_new_persid(struct vtree *t, uint32_t id)
{
	uint32_t h = node_add(t, VALUE_PERSID);

	value_append(t, h, id);
	return h;
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
	copy->contents = VALUE_ABSENT;
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

/* Drops node h if it is the last node and nothing else can refer to it. */
static void
drop_last(struct vtree *t, uint32_t h)
{
	struct node *n = &t->nodes[t->count - 1];

	if (h + 1 != t->count || h < t->shared || n->kind == VALUE_LEAF || n->kind == VALUE_GLOBAL || n->kind == VALUE_OBJECT)
		return;
	if (is_grown(n))
		free(n->u.slots);
	else if (n->kind == VALUE_TUPLE && n->len > INLINE_SLOTS)
		arena_return(&t->tuples, n->u.slots, n->len * sizeof(uint32_t));
	t->count--;
}

void
value_consume(struct vtree *t, uint32_t tuple)
{
	const struct node n = *node_of(t, tuple);
	uint32_t few[INLINE_SLOTS];
	const uint32_t *items = n.len > INLINE_SLOTS ? n.u.slots : memcpy(few, n.u.few, sizeof(few));

	if (n.kind != VALUE_TUPLE || tuple < NODES_FIXED)
		return;
	drop_last(t, tuple);
	for (size_t i = n.len; i-- > 0 && t->count <= tuple;)
		drop_last(t, items[i]);
}

/* Allocates 2^log slots, plus one for the state if there is one. */
static void
slots_resize(struct node *n, uint16_t log)
{
	uint32_t *state = state_slot(n), kept = state != NULL ? *state : 0;
	uint32_t few[INLINE_SLOTS] = { n->u.few[0], n->u.few[1] };
	size_t capacity = (size_t)1 << log;

	n->u.slots = xreallocn(n->high == 0 ? NULL : n->u.slots, capacity + (state != NULL), sizeof(uint32_t));
	if (n->high == 0)
		memcpy(n->u.slots, few, sizeof(few));
	n->high = log;
	if (state != NULL)
		n->u.slots[capacity] = kept;
}

/* Appends more slots to a container and returns them. */
static uint32_t *
slots_next(struct node *n, size_t more)
{
	size_t capacity = n->high == 0 ? INLINE_SLOTS : (size_t)1 << n->high;
	uint32_t *at;

	if (n->len + more > capacity)
		slots_resize(n, n->high == 0 ? FIRST_SLOTS_LOG : (uint16_t)(n->high + 1));
	at = slots_of(n) + n->len;
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
value_put(struct vtree *t, uint32_t container, size_t i, uint32_t val)
{
	struct node *n = &t->nodes[container];
	uint32_t *slots = slots_of(n);

	slots[n->kind == VALUE_DICT ? 2 * i + 1 : i] = val;
}

void
value_replace(struct vtree *t, uint32_t h, uint32_t with)
{
	t->nodes[h] = t->nodes[with];
}

void
value_remove(struct vtree *t, uint32_t container, const bool *gone)
{
	struct node *n = &t->nodes[container];
	const uint32_t width = n->kind == VALUE_DICT ? 2 : 1;
	uint32_t *slots = slots_of(n), kept = 0;

	for (uint32_t i = 0; i < n->len / width; i++) {
		if (gone[i] && n->kind == VALUE_TUPLE)
			slots[kept++] = NODE_NONE;
		if (!gone[i])
			memmove(slots + (size_t)width * kept++, slots + (size_t)width * i, width * sizeof(*slots));
	}
	n->len = width * kept;
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

/* The most keys compared in one search. Only trees made for an attack need more. */
enum { PATH_WORK_MAX = 1 << 26 };

uint32_t
value_get(const struct vtree *t, uint32_t d, struct str key)
{
	if (value_kind(t, d) != VALUE_DICT)
		return VALUE_ABSENT;
	for (size_t i = value_len(t, d); i-- > 0;) {
		uint32_t k = value_key(t, d, i);

		if (value_is_text(t, k) && str_eq(value_text(t, k), key))
			return value_val(t, d, i);
	}
	return VALUE_ABSENT;
}

/*
 * Returns the text that stands for key k in a path. buffer has 24 bytes. Returns false if k is neither a string nor a small
 * integer.
 */
static bool
key_text(const struct vtree *t, uint32_t k, char *buffer, struct str *text)
{
	int n;

	if (value_is_text(t, k)) {
		*text = value_text(t, k);
		return true;
	}
	if (value_kind(t, k) != VALUE_INT)
		return false;
	n = snprintf(buffer, 24, "%" PRId64, value_int(t, k));
	*text = str_n(buffer, n < 0 ? 0 : (size_t)n);
	return true;
}

/* Returns true if path begins with s, followed by a dot or the end of path. */
static bool
leads(struct str path, struct str s)
{
	return s.len <= path.len && (s.len == path.len || path.p[s.len] == '.') && (s.len == 0 || memcmp(path.p, s.p, s.len) == 0);
}

struct path_search {
	const struct vtree *t;
	uint64_t work;
};

/*
 * Returns the index of the pair with the longest key that leads path and is shorter than below. Of equal keys, the last one counts.
 */
static size_t
longest(struct path_search *s, uint32_t d, struct str path, size_t below, size_t *len)
{
	size_t best = SIZE_MAX, n = value_len(s->t, d);
	char buffer[24];
	struct str text;

	for (size_t i = n; i-- > 0 && s->work < PATH_WORK_MAX; s->work++) {
		if (!key_text(s->t, value_key(s->t, d, i), buffer, &text) || text.len >= below)
			continue;
		if ((best == SIZE_MAX || text.len > *len) && leads(path, text)) {
			best = i;
			*len = text.len;
		}
	}
	return best;
}

static uint32_t
sequence_item(const struct vtree *t, uint32_t h, struct str part)
{
	size_t index = 0, n = value_len(t, h);

	if (part.len == 0 || part.len > 10 || (part.len > 1 && part.p[0] == '0'))
		return VALUE_ABSENT;
	for (size_t i = 0; i < part.len; i++) {
		if (part.p[i] < '0' || part.p[i] > '9')
			return VALUE_ABSENT;
		index = index * 10 + (size_t)(part.p[i] - '0');
	}
	return index < n ? value_item(t, h, index) : VALUE_ABSENT;
}

static bool
is_searched(enum value_kind kind)
{
	return kind == VALUE_DICT || kind == VALUE_LIST || kind == VALUE_TUPLE;
}

uint32_t
value_within(const struct vtree *t, uint32_t h, size_t i)
{
	const struct vobject *o = value_object(t, h);
	const uint32_t state = o != NULL ? o->state : value_state(t, h);
	const bool slots = value_kind(t, state) == VALUE_TUPLE && value_len(t, state) == 2;
	const uint32_t places[] = { o != NULL ? o->contents : VALUE_ABSENT, o != NULL ? o->items : h,
				    o != NULL ? o->appended : VALUE_ABSENT, slots ? value_item(t, state, 0) : state,
				    slots ? value_item(t, state, 1) : VALUE_ABSENT };

	for (size_t k = 0; k < sizeof(places) / sizeof(places[0]); k++)
		if (is_searched(value_kind(t, places[k])) && i-- == 0)
			return places[k];
	return VALUE_ABSENT;
}

static uint32_t search(struct path_search *s, uint32_t h, struct str path, unsigned depth);

static uint32_t
search_sequence(struct path_search *s, uint32_t h, struct str path, unsigned depth)
{
	const char *dot = path.len == 0 ? NULL : memchr(path.p, '.', path.len);
	struct str part = dot == NULL ? path : str_n(path.p, (size_t)(dot - path.p));
	uint32_t found = sequence_item(s->t, h, part);

	if (found == VALUE_ABSENT || dot == NULL)
		return found;
	return search(s, found, str_from(path, part.len + 1), depth - 1);
}

static uint32_t
search_dict(struct path_search *s, uint32_t h, struct str path, unsigned depth)
{
	size_t below = SIZE_MAX, len = 0, i;
	uint32_t found;

	while ((i = longest(s, h, path, below, &len)) != SIZE_MAX) {
		found = value_val(s->t, h, i);
		if (len < path.len)
			found = search(s, found, str_from(path, len + 1), depth - 1);
		if (found != VALUE_ABSENT)
			return found;
		below = len;
	}
	return VALUE_ABSENT;
}

/* Searches h for path, the rest of the whole path. depth limits the recursion. */
static uint32_t
search(struct path_search *s, uint32_t h, struct str path, unsigned depth)
{
	uint32_t found = VALUE_ABSENT, place;

	for (size_t i = 0; depth > 0 && found == VALUE_ABSENT && s->work < PATH_WORK_MAX; i++) {
		place = value_within(s->t, h, i);
		if (place == VALUE_ABSENT)
			break;
		s->work++;
		found = value_kind(s->t, place) == VALUE_DICT ? search_dict(s, place, path, depth)
							      : search_sequence(s, place, path, depth);
	}
	return found;
}

uint32_t
value_path(const struct vtree *t, uint32_t h, struct str path)
{
	struct path_search s = { t, 0 };

	return path.len == 0 ? h : search(&s, h, path, 1000);
}

struct str
value_path_key(const struct vtree *t, uint32_t h, struct str path)
{
	const struct vobject *o = value_object(t, h);
	struct str first, rest = path;

	h = o != NULL ? o->items : h;
	for (size_t n = path.len; n > 0 && value_kind(t, h) == VALUE_DICT; n--) {
		if (n < path.len && path.p[n] != '.')
			continue;
		first = str_n(path.p, n);
		rest = str_from(path, n < path.len ? n + 1 : n);
		if (value_get(t, h, first) != VALUE_ABSENT && value_path(t, value_get(t, h, first), rest) != VALUE_ABSENT)
			return first;
	}
	rest = path;
	(void)str_split(&rest, '.', &first);
	return first;
}

/* ---- walks over everything that a value refers to */

/* Calls f for every handle in a node, except the contents of an object. */
static void
each_handle(struct node *n, void (*f)(void *arg, uint32_t *h), void *arg)
{
	size_t count = n->kind == VALUE_DICT || is_seq((enum value_kind)n->kind) ? n->len : 0;
	uint32_t *slots = slots_of(n), *state = state_slot(n);
	struct vobject *o = n->kind == VALUE_OBJECT ? n->u.object : NULL;

	for (size_t i = 0; i < count; i++)
		f(arg, &slots[i]);
	if (state != NULL)
		f(arg, state);
	if (o == NULL)
		return;
	f(arg, &o->callable);
	f(arg, &o->args);
	f(arg, &o->kwargs);
	f(arg, &o->state);
	f(arg, &o->appended);
	f(arg, &o->items);
}

/* Calls f for every handle in a node, including the contents of an object. */
static void
each_kept(struct node *n, void (*f)(void *arg, uint32_t *h), void *arg)
{
	each_handle(n, f, arg);
	if (n->kind == VALUE_OBJECT)
		f(arg, &n->u.object->contents);
}

/* Reached nodes that still have to be visited (stack). number says by node whether it was reached; later it is its new handle. */
struct marking {
	struct vtree *t;
	uint32_t *stack;
	size_t n, cap;
	uint32_t *number;
};

enum { UNREACHED = 0, REACHED = 1 };

static void
mark_reached(void *arg, uint32_t *h)
{
	struct marking *m = arg;

	if (*h >= m->t->count || m->number[*h] != UNREACHED)
		return;
	m->number[*h] = REACHED;
	*xpush(m->stack, m->n, m->cap) = *h;
}

static void
renumber(void *arg, uint32_t *h)
{
	const struct marking *m = arg;

	if (*h < m->t->count)
		*h = m->number[*h];
}

/* Moves the reached nodes to the front and frees the others. Returns the new number of nodes. */
static size_t
move_down(struct marking *m)
{
	struct vtree *t = m->t;
	size_t i, kept = 0;

	for (i = 0; i < t->count; i++) {
		if (m->number[i] == UNREACHED && i >= NODES_FIXED) {
			if (is_grown(&t->nodes[i]))
				free(t->nodes[i].u.slots);
			continue;
		}
		m->number[i] = (uint32_t)kept++;
	}
	for (i = 0; i < t->count; i++)
		if (m->number[i] != UNREACHED || i < NODES_FIXED)
			t->nodes[m->number[i]] = t->nodes[i];
	return kept;
}

/* Moves the slots of the remaining tuples to a new arena. */
static void
move_tuples(struct vtree *t)
{
	struct arena old = t->tuples;
	struct node *n;

	arena_init(&t->tuples);
	for (size_t i = 0; i < t->count; i++) {
		n = &t->nodes[i];
		if (n->kind == VALUE_TUPLE && n->len > INLINE_SLOTS)
			n->u.slots = memcpy(arena_alloc(&t->tuples, n->len * sizeof(*n->u.slots)), n->u.slots,
					    n->len * sizeof(*n->u.slots));
	}
	arena_release(&old);
}

void
vtree_compact(struct vtree *t, uint32_t *const *roots, size_t n)
{
	struct marking m = { .t = t, .number = xcalloc(t->count, sizeof(*m.number)) };
	size_t i, kept;

	for (i = 0; i < n; i++)
		mark_reached(&m, roots[i]);
	while (m.n > 0)
		each_kept(&t->nodes[m.stack[--m.n]], mark_reached, &m);
	free(m.stack);
	kept = move_down(&m);
	for (i = 0; i < kept; i++)
		each_kept(&t->nodes[i], renumber, &m);
	for (i = 0; i < n; i++)
		renumber(&m, roots[i]);
	free(m.number);
	t->count = kept;
	t->cap = kept;
	t->nodes = xreallocn(t->nodes, kept, sizeof(*t->nodes));
	move_tuples(t);
}

/*
 * value_copy lists the reached nodes first. Then it creates and fills the
 * copies in the order of the old handles, because pickle_encode depends on
 * which of two nodes is older.
 *
 * Entries of the map: 0 if not reached, the new handle + 1, or one of these.
 */
#define MAP_DROPPED UINT32_MAX
#define MAP_LISTED (UINT32_MAX - 1)

static void
list_node(void *arg, uint32_t *h)
{
	struct value_copier *c = arg;

	if (*h >= c->src->count || c->map[*h] != 0) /* a small integer, absent, or already listed */
		return;
	c->map[*h] = MAP_LISTED;
	*xpush(c->reached, c->nreached, c->cap_reached) = *h;
}

static uint32_t
copy_leaf(const struct value_copier *c, uint32_t h)
{
	uint32_t index = 0;
	enum value_leaf kind = value_leaf(c->src, h, &index);

	if (c->leaf != NULL)
		index = c->leaf(c->arg, kind, index);
	return index == LEAF_DROP ? VALUE_ABSENT : value_new_leaf(c->dst, kind, index);
}

static struct str
copy_text(const struct value_copier *c, struct str s)
{
	return c->texts ? arena_str(&c->dst->arena, s) : s;
}

static uint32_t
copy_global(const struct value_copier *c, uint32_t h)
{
	struct str module = value_module(c->src, h), name = value_name(c->src, h);

	if (c->global != NULL)
		name = c->global(c->arg, module, name);
	return value_new_global(c->dst, copy_text(c, module), copy_text(c, name));
}

static bool
grows(const struct node *n)
{
	return n->kind == VALUE_LIST || n->kind == VALUE_SET || n->kind == VALUE_FROZENSET || n->kind == VALUE_DICT;
}

/*
 * Returns the copy of node h. A container that can grow is copied empty; other nodes still have handles of src. Returns
 * VALUE_ABSENT for a leaf that is to be dropped.
 */
static uint32_t
copy_node(const struct value_copier *c, uint32_t h)
{
	const struct node *n = &c->src->nodes[h];
	uint32_t to;

	if (h < NODES_FIXED)
		return h;
	switch ((enum value_kind)n->kind) {
	case VALUE_TUPLE: return value_new_tuple(c->dst, slots_of(&c->src->nodes[h]), n->len);
	case VALUE_BIGINT:
	case VALUE_STR:
	case VALUE_PYSTR:
	case VALUE_BYTES:
	case VALUE_BYTEARRAY: return value_new_text(c->dst, (enum value_kind)n->kind, copy_text(c, value_text(c->src, h)));
	case VALUE_GLOBAL: return copy_global(c, h);
	case VALUE_OBJECT: return value_new_object(c->dst, n->u.object);
	case VALUE_LEAF: return copy_leaf(c, h);
	default: break;
	}
	to = node_add(c->dst, (enum value_kind)n->kind);
	if (grows(n))
		c->dst->nodes[to].flags = n->flags & FLAG_ORDERED;
	else
		c->dst->nodes[to] = *n;
	return to;
}

/* Finds the copy of h. Returns false for a dropped leaf. */
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
translate(void *arg, uint32_t *h)
{
	*h = copied_or_none(arg, *h);
}

static void
fill_copy(struct value_copier *c, uint32_t h)
{
	struct node *from = &c->src->nodes[h];
	size_t width = from->kind == VALUE_DICT ? 2 : 1;
	const uint32_t *slots = slots_of(from), *state = state_slot(from);
	uint32_t to, item;

	if (h < NODES_FIXED || !copied(c, h, &to))
		return;
	if (!grows(from))
		each_handle(&c->dst->nodes[to], translate, c);
	for (size_t i = 0; grows(from) && i < from->len; i += width) {
		if (!copied(c, slots[i + width - 1], &item) && (from->kind == VALUE_LIST || from->kind == VALUE_DICT))
			continue;
		item = copied_or_none(c, slots[i + width - 1]);
		if (width == 2)
			value_set(c->dst, to, copied_or_none(c, slots[i]), item);
		else
			value_append(c->dst, to, item);
	}
	if (state != NULL)
		value_set_state(c->dst, to, copied_or_none(c, *state));
}

static void
make_map(struct value_copier *c)
{
	uint32_t count = vtree_count(c->src);

	if (c->map != NULL && c->mapped >= count)
		return;
	c->map = xreallocn(c->map, count, sizeof(*c->map));
	memset(c->map + c->mapped, 0, (count - c->mapped) * sizeof(*c->map));
	c->mapped = count;
}

void
value_copier_seed(struct value_copier *c, uint32_t h, uint32_t to)
{
	make_map(c);
	list_node(c, &h);
	c->map[h] = to + 1;
}

uint32_t
value_copy(struct value_copier *c, uint32_t h, struct err *err)
{
	size_t first = c->nreached, end;
	uint32_t to;

	(void)err;
	make_map(c);
	list_node(c, &h);
	for (size_t i = first; i < c->nreached; i++)
		each_handle(&c->src->nodes[c->reached[i]], list_node, c);
	end = c->nreached; /* leaf() may call value_copy, which extends the list */
	if (end > first)
		qsort(c->reached + first, end - first, sizeof(*c->reached), num_cmp32);
	for (size_t i = first; i < end; i++) {
		to = copy_node(c, c->reached[i]);
		c->map[c->reached[i]] = to == VALUE_ABSENT ? MAP_DROPPED : to + 1;
	}
	for (size_t i = first; i < end; i++)
		fill_copy(c, c->reached[i]);
	return copied_or_none(c, h);
}

uint32_t
value_copied(const struct value_copier *c, uint32_t h)
{
	return h < c->mapped && c->map[h] != 0 && c->map[h] != MAP_DROPPED ? c->map[h] - 1 : VALUE_ABSENT;
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
