#include "stats/figures.h"

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "io/crc32.h"
#include "tensor/boxes.h"

/* What is known of the unit in a slot. */
struct unit_figures {
	struct moments m;
	uint32_t crc;
};

/* A storage of which one tensor is all: its units give the CRC. */
enum storage_use { USE_NONE, USE_WHOLE, USE_OTHER };

struct figures_run {
	struct figures *f;
	struct unit_figures *slots;
	struct moments_feed feed;
	bool crcs, feeding;
	uint8_t *use; /* by storage: enum storage_use */
};

static bool
gives_crc(const struct figures_run *w, const struct pass_unit *u)
{
	return w->crcs && (u->item->t == NULL || w->use[u->item->storage] == USE_WHOLE);
}

static size_t
bytes_of(const struct pass_unit *u)
{
	return u->n * (u->item->t ? dtype_size(u->item->t->dtype) : 1);
}

static int
make(void *arg, const struct pass_unit *u, unsigned slot, struct err *e)
{
	struct figures_run *w = arg;

	(void)e;
	if (gives_crc(w, u))
		w->slots[slot].crc = crc32_add(0, u->p, bytes_of(u));
	if (u->item->t != NULL && u->item->plain && moments_known(u->item->t->dtype))
		w->slots[slot].m = moments_unit(u->item->t->dtype, u->p, u->n);
	return 0;
}

/* What was gathered comes in pieces that are no units. */
static void
feed(struct figures_run *w, const struct pass_unit *u)
{
	if (!w->feeding)
		moments_feed_start(&w->feed, u->item->t->dtype);
	w->feeding = true;
	moments_feed_add(&w->feed, u->p, bytes_of(u));
	if (!u->last)
		return;
	w->f->moments[u->item->tag] = moments_feed_end(&w->feed);
	w->feeding = false;
}

static int
take(void *arg, const struct pass_unit *u, unsigned slot, struct err *e)
{
	struct figures_run *w = arg;

	(void)e;
	if (gives_crc(w, u)) {
		uint32_t *crc = &w->f->crc[u->item->storage];

		*crc = crc32_join(*crc, w->slots[slot].crc, bytes_of(u));
	}
	if (u->item->t == NULL || !moments_known(u->item->t->dtype))
		return 0;
	if (u->item->plain)
		moments_join(&w->f->moments[u->item->tag], &w->slots[slot].m);
	else
		feed(w, u);
	return 0;
}

/* Do t's units bring all bytes of its storage? */
static bool
is_whole(const struct ckpt *c, const struct tensor *t)
{
	return t->storage != STORAGE_NONE && t->offset == 0 && pass_plain(c, t) &&
	       tensor_nbytes(t) == c->storages[t->storage].nbytes;
}

/* The tensors, and those storages whose CRC does not come out of a tensor by the way. */
static struct pass_item *
items_of(struct figures_run *w, struct ckpt *c, const struct tensor *const *tensors, size_t n, size_t *count)
{
	struct pass_item *items = xcalloc(n + c->nstorages + 1, sizeof(*items));
	size_t k = 0;

	for (size_t i = 0; i < n; i++) {
		const struct tensor *t = tensors[i];
		uint32_t s;

		if (boxes_count(t) == 0 || !moments_known(t->dtype))
			continue;
		items[k] = pass_tensor(t, i);
		s = items[k++].storage;
		w->use[s] = w->use[s] == USE_NONE && is_whole(c, t) ? USE_WHOLE : USE_OTHER;
	}
	for (uint32_t s = 0; w->crcs && s < c->nstorages; s++) {
		if (w->use[s] != USE_WHOLE)
			items[k++] = (struct pass_item){ .storage = s };
	}
	*count = k;
	return items;
}

int
figures_take(struct figures *f, struct ckpt *c, const struct tensor *const *tensors, size_t n,
	     const struct figures_opts *o, struct err *e)
{
	struct figures_run w = { .f = f, .crcs = o->crcs };
	struct pass p = { .c = c, .pool = o->pool, .tick = o->tick, .make = make, .take = take, .arg = &w };
	struct pass_item *items;
	size_t count;
	int rc;

	*f = (struct figures){ .moments = xcalloc(n + 1, sizeof(*f->moments)) };
	if (o->crcs)
		f->crc = xcalloc((size_t)c->nstorages + 1, sizeof(*f->crc));
	w.use = xcalloc((size_t)c->nstorages + 1, sizeof(*w.use));
	w.slots = xcalloc(pool_slots(o->pool), sizeof(*w.slots));
	items = items_of(&w, c, tensors, n, &count);
	rc = pass_run(&p, items, count, e);
	if (w.feeding)
		(void)moments_feed_end(&w.feed);
	free(items);
	free(w.slots);
	free(w.use);
	return rc;
}

void
figures_release(struct figures *f)
{
	free(f->moments);
	free(f->crc);
	*f = (struct figures){ 0 };
}
