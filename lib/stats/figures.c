#include "stats/figures.h"

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "io/crc32.h"
#include "tensor/boxes.h"

/* The tag, or the pair, of an item that has none. */
#define NONE SIZE_MAX

/* What is known of the unit in a slot. */
struct unit_figures {
	struct moments m[PASS_MOMENTS];
	size_t n;
	struct difference d;
	uint32_t crc;
};

/* A storage of which one tensor is all: its units give the CRC. */
enum storage_use { USE_NONE, USE_WHOLE, USE_OTHER };

struct figures_run {
	struct figures *f;
	struct ckpt *c;
	const struct figures_opts *o;
	struct unit_figures *slots;
	uint8_t *use;  /* by storage: enum storage_use */
	bool *waiting; /* by tensor: its moments are not known yet */
	size_t n, known;
	struct pass_item *items;
	size_t nitems, cap;
	size_t nsorted; /* the first items are in the order of their tensors */
	size_t pair;    /* that is being added */
};

static bool
gives_crc(const struct figures_run *w, const struct pass_unit *u)
{
	return w->o->crcs && (u->item->t == NULL || w->use[u->item->storage] == USE_WHOLE);
}

/* Are moments asked for, of a tensor that has some? */
static bool
gives_moments(const struct pass_item *it)
{
	return it->t != NULL && it->tag != NONE;
}

static size_t
bytes_of(const struct pass_unit *u)
{
	return u->n * (u->item->t ? dtype_size(u->item->t->dtype) : 1);
}

static void
find_moments(struct unit_figures *s, const struct pass_unit *u)
{
	enum dtype dtype = u->item->t->dtype;
	const unsigned char *p = u->p;

	s->n = 0;
	for (size_t i = 0; i < u->n; i += MOMENTS_UNIT) {
		size_t n = u->n - i < MOMENTS_UNIT ? u->n - i : MOMENTS_UNIT;

		s->m[s->n++] = moments_unit(dtype, p + i * dtype_size(dtype), n);
	}
}

static int
make(void *arg, const struct pass_unit *u, unsigned slot, struct err *e)
{
	struct figures_run *w = arg;
	struct unit_figures *s = &w->slots[slot];

	(void)e;
	if (gives_crc(w, u))
		s->crc = crc32_add(0, u->p, bytes_of(u));
	if (gives_moments(u->item))
		find_moments(s, u);
	if (u->item->other != NULL)
		s->d = compare_unit(w->o->compare, u);
	return 0;
}

/* Tells how many of the first tensors have their moments now. */
static int
tell(struct figures_run *w, struct err *e)
{
	size_t n = w->known;

	if (w->o->known == NULL)
		return 0;
	while (n < w->n && !w->waiting[n])
		n++;
	if (n == w->known)
		return 0;
	w->known = n;
	return w->o->known(w->o->known_arg, n, e);
}

static int
take(void *arg, const struct pass_unit *u, unsigned slot, struct err *e)
{
	struct figures_run *w = arg;
	const struct unit_figures *s = &w->slots[slot];

	if (gives_crc(w, u)) {
		uint32_t *crc = &w->f->crc[u->item->storage];

		*crc = crc32_join(*crc, s->crc, bytes_of(u));
	}
	if (u->item->other != NULL)
		compare_join(&w->f->differences[u->item->pair], &s->d);
	if (!gives_moments(u->item))
		return 0;
	for (size_t i = 0; i < s->n; i++)
		moments_join(&w->f->moments[u->item->tag], &s->m[i]);
	if (!u->last)
		return 0;
	w->waiting[u->item->tag] = false;
	return tell(w, e);
}

/* ---- what is read */

/* Do t's units bring all bytes of its storage? */
static bool
is_whole(const struct ckpt *c, const struct tensor *t)
{
	return t->storage != STORAGE_NONE && t->offset == 0 && pass_plain(c, t) &&
	       tensor_nbytes(t) == c->storages[t->storage].nbytes;
}

static struct pass_item *
add_item(struct figures_run *w, struct pass_item item)
{
	w->items = xgrow(w->items, w->nitems, &w->cap, sizeof(*w->items));
	w->items[w->nitems] = item;
	return &w->items[w->nitems++];
}

static struct pass_item *
add_tensor(struct figures_run *w, const struct tensor *t, size_t tag)
{
	struct pass_item *it = add_item(w, pass_tensor(t, tag));

	it->pair = NONE;
	w->use[it->storage] = w->use[it->storage] == USE_NONE && is_whole(w->c, t) ? USE_WHOLE : USE_OTHER;
	return it;
}

static void
add_tensors(struct figures_run *w, const struct tensor *const *tensors)
{
	for (size_t i = 0; i < w->n; i++) {
		if (boxes_count(tensors[i]) == 0 || !moments_known(tensors[i]->dtype))
			continue;
		w->waiting[i] = tensor_count(tensors[i]) > 0;
		add_tensor(w, tensors[i], i);
	}
}

static int
by_tensor(const void *a, const void *b)
{
	const struct pass_item *x = a, *y = b;

	return (x->t > y->t) - (x->t < y->t);
}

/* Two tensors to be compared, of a pair or parts of it. */
static void
add_two(void *arg, const struct tensor *a, const struct tensor *b)
{
	struct figures_run *w = arg;
	const struct pass_item key = { .t = a };
	struct pass_item *it = NULL;

	if (w->nsorted > 0)
		it = bsearch(&key, w->items, w->nsorted, sizeof(*w->items), by_tensor);
	if (it == NULL || it->other != NULL)
		it = add_tensor(w, a, NONE);
	it->other = b;
	it->pair = w->pair;
}

/* A tensor whose moments are asked for is read once for these and for the comparison. */
static void
add_pairs(struct figures_run *w)
{
	w->nsorted = w->o->npairs > 0 ? w->nitems : 0;
	if (w->nsorted > 0)
		qsort(w->items, w->nsorted, sizeof(*w->items), by_tensor);
	for (w->pair = 0; w->pair < w->o->npairs; w->pair++)
		compare_begin(w->o->compare, &w->o->pairs[w->pair], &w->f->differences[w->pair], add_two, w);
}

/* Storages whose CRC does not come out of a tensor. */
static void
add_storages(struct figures_run *w)
{
	for (uint32_t s = 0; w->o->crcs && s < w->c->nstorages; s++) {
		if (w->use[s] != USE_WHOLE)
			add_item(w, (struct pass_item){ .storage = s, .tag = NONE, .pair = NONE });
	}
}

int
figures_take(struct figures *f, struct ckpt *c, const struct tensor *const *tensors, size_t n,
	     const struct figures_opts *o, struct err *e)
{
	struct figures_run w = { .f = f, .c = c, .o = o, .n = n };
	struct pass p = { .c = c, .other = o->compare ? o->compare->there : NULL, .pool = o->pool, .tick = o->tick, .make = make,
			  .take = take, .arg = &w };
	int rc;

	*f = (struct figures){ .moments = xcalloc(n + 1, sizeof(*f->moments)) };
	f->differences = xcalloc(o->npairs + 1, sizeof(*f->differences));
	if (o->crcs)
		f->crc = xcalloc((size_t)c->nstorages + 1, sizeof(*f->crc));
	w.use = xcalloc((size_t)c->nstorages + 1, sizeof(*w.use));
	w.waiting = xcalloc(n + 1, sizeof(*w.waiting));
	w.slots = xcalloc(pool_slots(o->pool), sizeof(*w.slots));
	w.cap = n + o->npairs + (o->crcs ? c->nstorages : 0) + 1;
	w.items = xcalloc(w.cap, sizeof(*w.items));
	add_tensors(&w, tensors);
	add_pairs(&w);
	add_storages(&w);
	rc = tell(&w, e);
	if (rc == 0)
		rc = pass_run(&p, w.items, w.nitems, e);
	free(w.items);
	free(w.slots);
	free(w.waiting);
	free(w.use);
	return rc;
}

void
figures_release(struct figures *f)
{
	free(f->moments);
	free(f->crc);
	free(f->differences);
	*f = (struct figures){ 0 };
}
