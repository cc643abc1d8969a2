#include "stats/pass.h"

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "tensor/boxes.h"

/* About how many bytes a unit of a tensor that must be gathered has, and one of raw bytes. */
enum { SLAB = 4 << 20 };

struct pass_slot {
	unsigned char *p, *q;
	size_t cap, qcap;
	struct pass_unit unit;
};

struct pass_walk {
	struct pass *pass;
	struct pass_item *items;
	size_t n;
	struct pass_slot *slots;
	uint64_t done, total; /* bytes */
	uint32_t storage;     /* on a stream: all before are done with */
	bool stream;
};

struct pass_item
pass_tensor(const struct tensor *t, size_t tag)
{
	struct pass_item it = { .t = t, .tag = tag };
	uint32_t storage;

	for (size_t i = 0; i < boxes_count(t); i++) {
		storage = boxes_get(t, i).storage;
		it.storage = storage > it.storage ? storage : it.storage;
	}
	return it;
}

bool
pass_plain(const struct ckpt *c, const struct tensor *t)
{
	struct boxes_range all = boxes_whole(t);
	uint32_t storage;
	uint64_t offset;

	return boxes_stored(c, &all, &storage, &offset);
}

/* ---- units */

/* Elements of a unit. What must be gathered comes in large units, as the storage is read anew for each. */
static uint64_t
unit_size(const struct pass *p, const struct pass_item *it)
{
	size_t item, n;

	if (it->t == NULL)
		return SLAB;
	if (pass_plain(p->c, it->t) && (it->other == NULL || pass_plain(p->other, it->other)))
		return MOMENTS_UNIT;
	item = dtype_size(it->t->dtype);
	if (it->other != NULL && dtype_size(it->other->dtype) > item)
		item = dtype_size(it->other->dtype);
	n = SLAB / (MOMENTS_UNIT * item);
	return MOMENTS_UNIT * (uint64_t)(n > PASS_MOMENTS ? PASS_MOMENTS : n > 0 ? n : 1);
}

/* How the item is cut; returns the number of units. */
static uint64_t
cut(const struct pass *p, struct pass_item *it)
{
	it->count = it->t == NULL ? p->c->storages[it->storage].nbytes : tensor_count(it->t);
	it->each = unit_size(p, it);
	return it->count / it->each + (it->count % it->each > 0);
}

/* The item of a unit: the last one that begins at or before it and is not empty. */
static const struct pass_item *
item_of(const struct pass_walk *w, uint64_t unit)
{
	size_t lo = 0, hi = w->n;

	while (hi - lo > 1) {
		size_t mid = lo + (hi - lo) / 2;

		if (w->items[mid].first <= unit)
			lo = mid;
		else
			hi = mid;
	}
	return &w->items[lo];
}

/* ---- reading */

static unsigned char *
room(unsigned char **p, size_t *cap, size_t n)
{
	if (n > *cap) {
		*p = xreallocn(*p, n, 1);
		*cap = n;
	}
	return *p;
}

/* The elements of u of one side. */
static int
read_side(struct ckpt *c, const struct tensor *t, const struct pass_unit *u, void *to, struct err *e)
{
	struct boxes_range r = { .tensor = t, .from = u->first, .to = u->first + u->n };

	return boxes_fill(c, &r, to, e);
}

/* Elements of unit k. */
static struct pass_unit
unit(const struct pass_item *it, uint64_t k)
{
	uint64_t first = k * it->each, left = it->count - first;

	return (struct pass_unit){ .item = it, .first = first, .n = (size_t)(left < it->each ? left : it->each),
				   .last = left <= it->each };
}

static int
make(void *arg, uint64_t i, unsigned slot, struct err *e)
{
	struct pass_walk *w = arg;
	struct pass_slot *s = &w->slots[slot];
	struct pass_unit *u = &s->unit;
	const struct pass_item *it = item_of(w, i);
	int rc;

	*u = unit(it, i - it->first);
	u->p = room(&s->p, &s->cap, u->n * (it->t ? dtype_size(it->t->dtype) : 1));
	if (it->t == NULL)
		rc = ckpt_read(w->pass->c, it->storage, u->first, u->p, u->n, e);
	else
		rc = read_side(w->pass->c, it->t, u, u->p, e);
	u->stored = it->t == NULL || pass_plain(w->pass->c, it->t);
	if (rc == 0 && it->other != NULL) {
		u->q = room(&s->q, &s->qcap, u->n * dtype_size(it->other->dtype));
		rc = read_side(w->pass->other, it->other, u, u->q, e);
	}
	return rc == 0 ? w->pass->make(w->pass->arg, u, slot, e) : -1;
}

/* ---- streams: what is done with may be forgotten */

static int
done_before(struct pass_walk *w, uint32_t storage, struct err *e)
{
	for (; w->stream && w->storage < storage; w->storage++) {
		if (ckpt_done(w->pass->c, w->storage, e) < 0)
			return -1;
	}
	return 0;
}

/* Is this item the only one that reads its storage? */
static bool
alone(const struct pass_walk *w, const struct pass_item *it)
{
	size_t i = (size_t)(it - w->items);

	return (i == 0 || w->items[i - 1].storage != it->storage) &&
	       (i + 1 == w->n || w->items[i + 1].storage != it->storage);
}

static int
forget(struct pass_walk *w, const struct pass_unit *u, struct err *e)
{
	const struct pass_item *it = u->item;
	uint64_t offset, size = it->t ? dtype_size(it->t->dtype) : 1, skip = it->t ? it->t->offset : 0;
	struct source *src;

	if (!w->stream)
		return 0;
	if (u->last)
		return it + 1 == w->items + w->n || it[1].storage != it->storage ? done_before(w, it->storage + 1, e) : 0;
	src = ckpt_range(w->pass->c, it->storage, &offset);
	if (src == NULL || !u->stored || !alone(w, it))
		return 0;
	if (done_before(w, it->storage, e) < 0)
		return -1;
	source_forget(src, offset + (skip + u->first + u->n) * size);
	return 0;
}

static int
take(void *arg, uint64_t i, unsigned slot, struct err *e)
{
	struct pass_walk *w = arg;
	struct pass_unit *u = &w->slots[slot].unit;

	(void)i;
	if (w->pass->take(w->pass->arg, u, slot, e) < 0)
		return -1;
	w->done += u->n * (u->item->t ? dtype_size(u->item->t->dtype) : 1);
	if (w->pass->tick != NULL)
		w->pass->tick(w->pass->tick_arg, w->done, w->total);
	return forget(w, u, e);
}

/* ---- all */

static int
by_storage(const void *a, const void *b)
{
	const struct pass_item *x = a, *y = b;

	if (x->storage != y->storage)
		return x->storage < y->storage ? -1 : 1;
	/* The bytes of a storage before its tensors. */
	if ((x->t == NULL) != (y->t == NULL))
		return x->t == NULL ? -1 : 1;
	return (x->tag > y->tag) - (x->tag < y->tag);
}

/* Threads read ranges of regular files only; what is packed is unpacked in order. */
static bool
threads_can_read(const struct ckpt *c)
{
	if (source_is_stream(c->src))
		return false;
	for (uint32_t i = 0; i < c->nstorages; i++) {
		if (c->storages[i].flags & STORAGE_DEFLATED)
			return false;
	}
	return true;
}

int
pass_run(struct pass *p, struct pass_item *items, size_t n, struct err *e)
{
	struct pass_walk w = { .pass = p, .items = items, .n = n, .stream = source_is_stream(p->c->src) };
	bool threads = threads_can_read(p->c) && (p->other == NULL || threads_can_read(p->other));
	unsigned slots = threads ? pool_slots(p->pool) : 1;
	uint64_t units = 0;
	int rc;

	qsort(items, n, sizeof(*items), by_storage);
	for (size_t i = 0; i < n; i++) {
		items[i].first = units;
		units += cut(p, &items[i]);
		w.total += items[i].count * (items[i].t ? dtype_size(items[i].t->dtype) : 1);
	}
	w.slots = xcalloc(slots, sizeof(*w.slots));
	rc = pool_run(threads ? p->pool : NULL, units, make, take, &w, e);
	for (unsigned i = 0; i < slots; i++) {
		free(w.slots[i].p);
		free(w.slots[i].q);
	}
	free(w.slots);
	return rc == 0 ? done_before(&w, p->c->nstorages, e) : -1;
}
