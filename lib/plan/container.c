#include "plan/container.h"

#include <stdlib.h>

#include "base/xalloc.h"

static const struct sd_inside *
inside_of(const struct plan *p, const struct plan_entry *en)
{
	const struct sd_entry *src = en->module ? NULL : plan_source(p, en);

	return src == NULL || src->inside == 0 ? NULL : &plan_input_of(p, en)->sd->insides[src->inside - 1];
}

struct plan_container *
plan_container_at(const struct plan *p, const struct plan_containers *c, size_t i)
{
	const struct plan_entry *en = &p->entries[i];
	const struct sd_inside *at = inside_of(p, en);

	return at == NULL ? NULL : &c->v[c->by_input[p->origins[en->origin].input] + at->container];
}

/* Does the entry's name still end in its original name inside the container? If so, sets *key to the text before it. */
static bool
find_key(const struct plan *p, const struct plan_entry *en, const struct plan_container *k, struct str *key)
{
	struct str was = plan_source(p, en)->name, below;

	below = str_from(was, plan_input_of(p, en)->sd->containers[k->number].name.len);
	if (!str_ends(en->name, below))
		return false;
	*key = str_n(en->name.p, en->name.len - below.len);
	return true;
}

static void
look_at(const struct plan *p, const struct plan_containers *c, size_t i)
{
	const struct plan_entry *en = &p->entries[i];
	struct plan_container *k = plan_container_at(p, c, i);
	struct str key;

	if (k == NULL)
		return;
	k->low = k->high == 0 ? i : k->low;
	k->high = i + 1;
	if (!en->alive)
		return;
	if (!find_key(p, en, k, &key) || p->origins[en->origin].outputs != 1 || (k->first != SIZE_MAX && !str_eq(key, k->key)))
		k->whole = false;
	else if (k->first == SIZE_MAX)
		k->key = key;
	if (k->first == SIZE_MAX)
		k->first = i;
}

/* ---- entries that refer to one item must be treated alike */

struct shared_item {
	uint32_t input, parent, item;
	size_t entry;
};

static int
item_cmp(const void *a, const void *b)
{
	const struct shared_item *x = a, *y = b;
	int c = (x->input > y->input) - (x->input < y->input);

	c = c != 0 ? c : (x->parent > y->parent) - (x->parent < y->parent);
	c = c != 0 ? c : (x->item > y->item) - (x->item < y->item);
	return c != 0 ? c : (x->entry > y->entry) - (x->entry < y->entry);
}

static void
take_apart(const struct plan *p, const struct plan_containers *c, size_t entry)
{
	struct plan_container *k = plan_container_at(p, c, entry);

	if (k != NULL)
		k->whole = false;
}

static void
decide_shared(const struct plan *p, const struct plan_containers *c)
{
	struct shared_item *items = xcalloc(p->nentries + 1, sizeof(*items));
	size_t n = 0;

	for (size_t i = 0; i < p->nentries; i++) {
		const struct sd_inside *at = inside_of(p, &p->entries[i]);

		if (at != NULL)
			items[n++] = (struct shared_item){ p->origins[p->entries[i].origin].input, at->parent, at->item, i };
	}
	qsort(items, n, sizeof(*items), item_cmp);
	for (size_t i = 1; i < n; i++) {
		const struct shared_item *x = &items[i - 1], *y = &items[i];
		const struct plan_entry *a = &p->entries[x->entry], *b = &p->entries[y->entry];

		if (x->input != y->input || x->parent != y->parent || x->item != y->item ||
		    (a->alive == b->alive && make_same(plan_makers(a), plan_makers(b))))
			continue;
		take_apart(p, c, x->entry);
		take_apart(p, c, y->entry);
	}
	free(items);
}

void
plan_containers(const struct plan *p, struct plan_containers *c)
{
	size_t n = 0;

	*c = (struct plan_containers){ .by_input = xcalloc(p->ninputs + 1, sizeof(*c->by_input)) };
	for (uint32_t i = 0; i < p->ninputs; i++) {
		c->by_input[i] = n;
		n += p->inputs[i].sd->ncontainers;
	}
	if (n == 0)
		return;
	c->v = xcalloc(n, sizeof(*c->v));
	c->n = n;
	for (uint32_t i = 0, at = 0; i < p->ninputs; i++)
		for (uint32_t k = 0; k < p->inputs[i].sd->ncontainers; k++)
			c->v[at++] = (struct plan_container){ .input = i, .number = k, .first = SIZE_MAX, .whole = true };
	for (size_t i = 0; i < p->nentries; i++)
		look_at(p, c, i);
	decide_shared(p, c);
}

void
plan_containers_release(struct plan_containers *c)
{
	free(c->v);
	free(c->by_input);
	*c = (struct plan_containers){ 0 };
}

const struct plan_container *
plan_container_of(const struct plan *p, const struct plan_containers *c, size_t i)
{
	const struct plan_container *k = plan_container_at(p, c, i);

	return k != NULL && k->whole ? k : NULL;
}

struct str
plan_listed_name(const struct plan *p, const struct plan_containers *c, size_t i)
{
	const struct plan_entry *en = &p->entries[i];
	const struct plan_container *k = c == NULL ? NULL : plan_container_of(p, c, i);

	if (!en->alive || en->module || (c == NULL && plan_source(p, en)->kind == SD_OTHER) || (k != NULL && k->first != i))
		return str_n(NULL, 0);
	return k != NULL ? k->key : en->name;
}
