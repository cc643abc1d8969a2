/*
 * What the files of value share among themselves: how nodes lie in memory, and tuples whose items become
 * known after the tuple itself, as a copy of a cycle needs them.
 */
#ifndef LNN_PICKLE_VALUE_PRIV_H
#define LNN_PICKLE_VALUE_PRIV_H

#include "pickle/value.h"

/*
 * A handle with the top bit set is an integer from SMALL_MIN on; VALUE_ABSENT,
 * the highest of them, is none. Every other handle is an index into nodes.
 */
#define SMALL_BIT 0x80000000u
#define SMALL_MIN (-((int64_t)1 << 30))
#define SMALL_MAX (((int64_t)1 << 30) - 2)

/* Nodes that every tree begins with. */
enum { NODE_NONE, NODE_FALSE, NODE_TRUE, NODE_EMPTY, NODES_FIXED };

/* Slots (item handles; two for a pair of a dict) that need no memory of their own. */
enum { INLINE_SLOTS = 2, FIRST_SLOTS_LOG = 2 };

enum { FLAG_ORDERED = 1, FLAG_STATE = 2 };

struct global {
	struct str module, name;
};

struct node {
	uint8_t kind;
	uint8_t flags; /* DICT: FLAG_*; LEAF: enum value_leaf */
	uint16_t high; /* texts: length above 32 bits; LIST, SET, FROZENSET, DICT: log2 of slots, 0 when inline */
	uint32_t len;  /* texts: bytes; containers: slots in use */
	union {
		int64_t i;
		double d;
		const char *text;
		const struct global *global;
		struct vobject *object;
		uint32_t *slots;              /* with FLAG_STATE one more than there is room for: the state */
		uint32_t few[INLINE_SLOTS];   /* LEAF: the index */
	} u;
};

_Static_assert(sizeof(struct node) == 16, "a state dict has a million of these");

struct vtree {
	struct node *nodes;
	size_t count, cap;
	struct arena arena;
};

/* Has the node slots from malloc? */
static inline bool
is_grown(const struct node *n)
{
	return (n->kind == VALUE_LIST || n->kind == VALUE_SET || n->kind == VALUE_FROZENSET || n->kind == VALUE_DICT) &&
	       n->high != 0;
}

/* A tuple (or PERSID, with n == 1) of n items that are all None, to be set by value_put_item. n > 0. */
uint32_t value_new_blank(struct vtree *t, enum value_kind kind, size_t n);
void value_put_item(struct vtree *t, uint32_t h, size_t i, uint32_t item);

#endif
