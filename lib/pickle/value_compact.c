#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "pickle/value_priv.h"

/* Nodes found but not yet looked into; and by node: found, later its new number. */
struct marking {
	struct vtree *t;
	uint32_t *stack;
	size_t n, cap;
	uint32_t *number;
};

enum { UNREACHED = 0, REACHED = 1 };

static void
reach(struct marking *m, uint32_t h)
{
	if (h >= m->t->count || m->number[h] != UNREACHED)
		return;
	m->number[h] = REACHED;
	m->stack = xgrow(m->stack, m->n, &m->cap, sizeof(*m->stack));
	m->stack[m->n++] = h;
}

/* Where a node keeps handles, and how many. */
static uint32_t *
handles(struct node *n, size_t *count)
{
	*count = 0;
	switch ((enum value_kind)n->kind) {
	case VALUE_TUPLE:
	case VALUE_PERSID: *count = n->len; return n->len <= INLINE_SLOTS ? n->u.few : n->u.slots;
	case VALUE_LIST:
	case VALUE_SET:
	case VALUE_FROZENSET:
	case VALUE_DICT: *count = n->len; return n->high == 0 ? n->u.few : n->u.slots;
	default: return NULL;
	}
}

/* The state that a BUILD gave a dict stands behind its room. */
static uint32_t *
state_of(struct node *n)
{
	return n->kind == VALUE_DICT && (n->flags & FLAG_STATE) ? &n->u.slots[(size_t)1 << n->high] : NULL;
}

/* Calls f for every handle that a node holds. */
static void
each(struct marking *m, struct node *n, void (*f)(struct marking *m, uint32_t *h))
{
	size_t count, i;
	uint32_t *slots = handles(n, &count), *state = state_of(n);
	struct vobject *o = n->kind == VALUE_OBJECT ? n->u.object : NULL;

	for (i = 0; i < count; i++)
		f(m, &slots[i]);
	if (state != NULL)
		f(m, state);
	if (o == NULL)
		return;
	f(m, &o->callable);
	f(m, &o->args);
	f(m, &o->kwargs);
	f(m, &o->state);
	f(m, &o->appended);
	f(m, &o->items);
}

static void
mark(struct marking *m, uint32_t *h)
{
	reach(m, *h);
}

static void
rename(struct marking *m, uint32_t *h)
{
	if (*h < m->t->count)
		*h = m->number[*h];
}

/* Moves what was reached down and frees what was not; the new count. */
static size_t
settle(struct marking *m)
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

void
vtree_compact(struct vtree *t, uint32_t *const *roots, size_t n)
{
	struct marking m = { .t = t, .number = xcalloc(t->count, sizeof(*m.number)) };
	size_t i, kept;

	for (i = 0; i < n; i++)
		reach(&m, *roots[i]);
	while (m.n > 0)
		each(&m, &t->nodes[m.stack[--m.n]], mark);
	free(m.stack);
	kept = settle(&m);
	for (i = 0; i < kept; i++)
		each(&m, &t->nodes[i], rename);
	for (i = 0; i < n; i++)
		rename(&m, roots[i]);
	free(m.number);
	t->count = kept;
	t->cap = kept;
	t->nodes = xreallocn(t->nodes, kept, sizeof(*t->nodes));
}
