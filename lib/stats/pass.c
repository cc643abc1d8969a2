#include "stats/pass.h"

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

/* Bytes of a unit of a tensor that must be gathered, and of raw bytes. */
enum { SLAB = 4 << 20 };

struct slot {
	unsigned char *p, *q;
	size_t cap, qcap;
	struct pass_unit unit;
};

struct walk {
	struct pass *pass;
	struct pass_item *items;
	size_t n;
	struct slot *slots;
	uint64_t done, total; /* bytes */
	uint32_t storage;     /* on a stream: all before are done with */
	bool stream;
};

bool
pass_plain(const struct ckpt *c, const struct tensor *t)
{
	return tensor_contiguous(t) && !(t->flags & (TENSOR_CONJ | TENSOR_NEG)) &&
	       (!(c->storages[t->storage].flags & STORAGE_BIG_ENDIAN) || dtype_size(t->dtype) == 1);
}

/* ---- units */

/* Ranges of the first dimension of which a few fit into a slab. */
static uint64_t
cut_slabs(struct pass_item *it)
{
	const struct tensor *t = it->t;
	uint64_t item = dtype_size(t->dtype), inner = it->count, outer = 1, most;

	if (it->other != NULL && dtype_size(it->other->dtype) > item)
		item = dtype_size(it->other->dtype);
	if (t->ndim == 0) {
		it->each = 1;
		return 1;
	}
	for (it->dim = 0;; it->dim++) {
		inner /= t->shape[it->dim];
		if (inner * item <= SLAB || it->dim + 1 == t->ndim)
			break;
		outer *= t->shape[it->dim];
	}
	most = SLAB / (inner * item) > 0 ? SLAB / (inner * item) : 1;
	it->each = most < t->shape[it->dim] ? most : t->shape[it->dim];
	return outer * ((t->shape[it->dim] + it->each - 1) / it->each);
}

static uint64_t
cut(const struct pass *p, struct pass_item *it)
{
	if (it->t == NULL) {
		it->count = p->c->storages[it->storage].nbytes;
		it->each = SLAB;
		it->plain = true;
	} else {
		it->count = tensor_count(it->t);
		it->each = MOMENTS_UNIT;
		it->plain = pass_plain(p->c, it->t) && (it->other == NULL || pass_plain(p->other, it->other));
	}
	if (it->count == 0)
		return 0;
	return it->plain ? (it->count + it->each - 1) / it->each : cut_slabs(it);
}

/* The item of a unit: the last one that begins at or before it and is not empty. */
static const struct pass_item *
item_of(const struct walk *w, uint64_t unit)
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

/* The part of a tensor that unit k of a gathered item is; shape has room for its sizes. */
static struct tensor
part(const struct pass_item *it, const struct tensor *t, uint64_t k, uint64_t *shape)
{
	struct tensor s = *t;
	uint64_t per = t->ndim > 0 ? (t->shape[it->dim] + it->each - 1) / it->each : 1, o = k / per, row = k % per * it->each;

	if (t->ndim == 0)
		return s;
	for (unsigned d = 0; d < t->ndim; d++)
		shape[d] = d < it->dim ? 1 : t->shape[d];
	for (unsigned d = it->dim; d-- > 0;) {
		s.offset += o % t->shape[d] * t->stride[d];
		o /= t->shape[d];
	}
	s.offset += row * t->stride[it->dim];
	shape[it->dim] = t->shape[it->dim] - row < it->each ? t->shape[it->dim] - row : it->each;
	s.shape = shape;
	return s;
}

/* ---- reading */

struct collect {
	unsigned char *p;
	size_t at;
};

static int
collect(void *arg, void *p, size_t n, struct err *e)
{
	struct collect *c = arg;

	(void)e;
	memcpy(c->p + c->at, p, n);
	c->at += n;
	return 0;
}

static unsigned char *
room(unsigned char **p, size_t *cap, size_t n)
{
	if (n > *cap) {
		*p = xreallocn(*p, n, 1);
		*cap = n;
	}
	return *p;
}

/* n elements from number first on, which are unit k, of one side. */
static int
read_side(const struct walk *w, struct ckpt *c, const struct pass_item *it, const struct tensor *t, uint64_t k,
	  const struct pass_unit *u, unsigned char *to, struct err *e)
{
	struct collect into = { to, 0 };
	uint64_t shape[TENSOR_NDIM_MAX];
	size_t size = dtype_size(t->dtype);
	struct tensor s;

	if (pass_plain(c, t))
		return ckpt_read(c, t->storage, (t->offset + u->first) * size, to, u->n * size, e);
	s = part(it, t, k, shape);
	return w->pass->gather(c, &s, collect, &into, e);
}

static uint64_t
first_of(const struct pass_item *it, uint64_t k)
{
	uint64_t inner = 1, per;

	if (it->plain || it->t->ndim == 0)
		return k * it->each;
	for (unsigned d = it->dim + 1; d < it->t->ndim; d++)
		inner *= it->t->shape[d];
	per = (it->t->shape[it->dim] + it->each - 1) / it->each;
	return (k / per * it->t->shape[it->dim] + k % per * it->each) * inner;
}

static size_t
size_of(const struct pass_item *it, uint64_t k, uint64_t first)
{
	uint64_t n, shape[TENSOR_NDIM_MAX];
	struct tensor s;

	if (it->plain) {
		n = it->count - first < it->each ? it->count - first : it->each;
		return (size_t)n;
	}
	s = part(it, it->t, k, shape);
	return (size_t)tensor_count(&s);
}

static int
make(void *arg, uint64_t i, unsigned slot, struct err *e)
{
	struct walk *w = arg;
	struct slot *s = &w->slots[slot];
	struct pass_unit *u = &s->unit;
	const struct pass_item *it = item_of(w, i);
	uint64_t k = i - it->first;
	int rc;

	*u = (struct pass_unit){ .item = it, .first = first_of(it, k) };
	u->n = size_of(it, k, u->first);
	u->last = u->first + u->n == it->count;
	u->p = room(&s->p, &s->cap, u->n * (it->t ? dtype_size(it->t->dtype) : 1));
	if (it->t == NULL)
		rc = ckpt_read(w->pass->c, it->storage, u->first, u->p, u->n, e);
	else
		rc = read_side(w, w->pass->c, it, it->t, k, u, u->p, e);
	u->stored = it->t == NULL || pass_plain(w->pass->c, it->t);
	if (rc == 0 && it->other != NULL) {
		u->q = room(&s->q, &s->qcap, u->n * dtype_size(it->other->dtype));
		rc = read_side(w, w->pass->other, it, it->other, k, u, u->q, e);
	}
	return rc == 0 ? w->pass->make(w->pass->arg, u, slot, e) : -1;
}

/* ---- streams: what is done with may be forgotten */

static int
done_before(struct walk *w, uint32_t storage, struct err *e)
{
	for (; w->stream && w->storage < storage; w->storage++) {
		if (ckpt_done(w->pass->c, w->storage, e) < 0)
			return -1;
	}
	return 0;
}

/* Is this item the only one that reads its storage? */
static bool
alone(const struct walk *w, const struct pass_item *it)
{
	size_t i = (size_t)(it - w->items);

	return (i == 0 || w->items[i - 1].storage != it->storage) &&
	       (i + 1 == w->n || w->items[i + 1].storage != it->storage);
}

static int
forget(struct walk *w, const struct pass_unit *u, struct err *e)
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
	struct walk *w = arg;
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
	struct walk w = { .pass = p, .items = items, .n = n, .stream = source_is_stream(p->c->src) };
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
