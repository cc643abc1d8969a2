#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "write/seal_priv.h"

/*
 * Places. Where the container shares storages, all tensors that look at one storage of an input go on looking at one
 * storage of the output, except those that become something of their own: tables, and with --compact views of a part.
 * Where it does not, every tensor is on its own.
 */

/* A want on its way to a storage. */
struct placing {
	uint32_t want;
	uint32_t input, storage;
	bool own;        /* gets a storage of its own */
	uint64_t offset; /* in bytes, for the order of those in one storage */
};

struct places {
	struct seal *l;
	struct placing *all;
	size_t n;
};

static const struct tensor *
tensor_of(const struct seal *l, const struct want *w)
{
	return &l->p->inputs[w->input].sd->ckpt->tensors[w->tensor];
}

static const struct storage *
storage_of(const struct seal *l, const struct want *w)
{
	return &l->p->inputs[w->input].sd->ckpt->storages[tensor_of(l, w)->storage];
}

static struct plan_table *
table_of(const struct want *w)
{
	return w->entry == NULL ? NULL : w->entry->table;
}

/* ---- which wants can look at a common storage */

/*
 * Items of one dtype can be cast, or turned around, storage by storage. An untyped storage's items are what its
 * tensors say.
 */
static bool
own_storage(const struct seal *l, const struct want *w)
{
	const struct tensor *t = tensor_of(l, w);
	const struct storage *s = storage_of(l, w);

	if (!l->o->writer->shares || table_of(w) != NULL)
		return true;
	if (l->o->compact && !tensor_covers(t, s->nbytes))
		return true;
	if (w->to == t->dtype && !(s->flags & STORAGE_BIG_ENDIAN))
		return false;
	return s->untyped || s->dtype != t->dtype;
}

/* A cast takes a storage along whole only if every tensor that stays in it is cast to the same dtype. */
static void
part_mixed(struct places *pl, size_t from, size_t to)
{
	const struct want *w;
	int cast = -1;
	bool mixed = false;

	for (size_t i = from; i < to; i++) {
		w = &pl->l->wants[pl->all[i].want];
		if (pl->all[i].own)
			continue;
		mixed = mixed || (cast >= 0 && cast != w->to);
		cast = w->to;
	}
	for (size_t i = from; mixed && i < to; i++) {
		w = &pl->l->wants[pl->all[i].want];
		if (w->to != tensor_of(pl->l, w)->dtype)
			pl->all[i].own = true;
	}
}

static int
by_source(const void *a, const void *b)
{
	const struct placing *x = a, *y = b;

	if (x->input != y->input)
		return x->input < y->input ? -1 : 1;
	if (x->storage != y->storage)
		return x->storage < y->storage ? -1 : 1;
	if (x->own != y->own)
		return x->own ? 1 : -1;
	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	return x->want < y->want ? -1 : x->want > y->want;
}

static void
gather_all(struct places *pl)
{
	struct seal *l = pl->l;
	const struct want *w;
	size_t i, j;

	pl->all = xreallocn(NULL, l->nwants, sizeof(*pl->all));
	for (i = 0; i < l->nwants; i++) {
		w = &l->wants[i];
		pl->all[i] = (struct placing){ (uint32_t)i, w->input, tensor_of(l, w)->storage, own_storage(l, w),
					       tensor_of(l, w)->offset * dtype_size(tensor_of(l, w)->dtype) };
	}
	pl->n = l->nwants;
	qsort(pl->all, pl->n, sizeof(*pl->all), by_source);
	for (i = 0; i < pl->n; i = j) {
		for (j = i;
		     j < pl->n && pl->all[j].input == pl->all[i].input && pl->all[j].storage == pl->all[i].storage; j++)
			;
		part_mixed(pl, i, j);
		qsort(pl->all + i, j - i, sizeof(*pl->all), by_source);
	}
}

/* ---- output storages */

static uint32_t
new_storage(struct seal *l, const struct manifest_storage *ms, const struct transform *t)
{
	l->s->m.storages[l->s->m.nstorages] = *ms;
	l->s->transforms[l->s->m.nstorages] = *t;
	return l->s->m.nstorages++;
}

/* The storage of an input as a whole, its items perhaps cast or turned around. */
static uint32_t
whole_storage(struct seal *l, const struct placing *pl, uint8_t from, uint8_t to)
{
	const struct storage *s = &l->p->inputs[pl->input].sd->ckpt->storages[pl->storage];
	struct manifest_storage ms = { s->nbytes, s->dtype, s->untyped };
	struct transform t = { .kind = TRANSFORM_COPY, .input = pl->input, .storage = pl->storage, .len = s->nbytes };

	if (from != to || ((s->flags & STORAGE_BIG_ENDIAN) && dtype_size(from) > 1)) {
		t.kind = TRANSFORM_CAST;
		t.from = from;
		t.to = to;
		ms.nbytes = s->nbytes / dtype_size(from) * dtype_size(to);
		ms.dtype = to;
		ms.untyped = dtype_info(to)->storage == NULL;
	}
	return new_storage(l, &ms, &t);
}

static bool
copyable(const struct seal *l, const struct want *w)
{
	const struct tensor *t = tensor_of(l, w);

	return w->to == t->dtype && table_of(w) == NULL && tensor_contiguous(t) &&
	       !(t->flags & (TENSOR_CONJ | TENSOR_NEG)) &&
	       (!(storage_of(l, w)->flags & STORAGE_BIG_ENDIAN) || dtype_size(t->dtype) == 1);
}

static uint32_t
own_place(struct seal *l, const struct placing *pl, const struct want *w)
{
	const struct tensor *t = tensor_of(l, w);
	struct transform x = { .kind = TRANSFORM_GATHER,
			       .from = t->dtype,
			       .to = w->to,
			       .input = pl->input,
			       .storage = pl->storage,
			       .tensor = t,
			       .table = table_of(w) };
	struct manifest_storage ms = { 0, w->to, dtype_info(w->to)->storage == NULL };

	if (x.table != NULL) {
		x.kind = TRANSFORM_TABLE;
		ms.nbytes = table_rows_out(&x.table->job) * x.table->job.heads * dtype_size(w->to);
	} else if (copyable(l, w)) {
		x.kind = TRANSFORM_COPY;
		x.off = pl->offset;
		x.len = ms.nbytes = tensor_nbytes(t);
	} else {
		ms.nbytes = tensor_count(t) * dtype_size(w->to);
	}
	if (ms.untyped && l->o->writer->shares)
		ms.dtype = DTYPE_UINT8;
	return new_storage(l, &ms, &x);
}

/* ---- output tensors */

static void
set_own_shape(struct seal *l, struct tensor *out, const struct want *w)
{
	uint64_t shape[TENSOR_NDIM_MAX];
	const struct tensor *t = tensor_of(l, w);

	memcpy(shape, t->shape, t->ndim * sizeof(*shape));
	if (table_of(w) != NULL)
		shape[0] = table_rows_out(&table_of(w)->job);
	tensor_set_shape(out, &l->s->arena, shape, t->ndim);
	out->offset = 0;
	out->flags &= (uint8_t) ~(TENSOR_CONJ | TENSOR_NEG);
}

/* Same view, same result: tied tensors that were separate objects stay tied. */
static bool
same_view(const struct seal *l, const struct want *a, const struct want *b)
{
	const struct tensor *x = tensor_of(l, a), *y = tensor_of(l, b);

	if (x->offset != y->offset || x->dtype != y->dtype || a->to != b->to || !tensor_same_shape(x, y) ||
	    ((x->flags ^ y->flags) & (TENSOR_CONJ | TENSOR_NEG)) || (table_of(a) == NULL) != (table_of(b) == NULL))
		return false;
	if (memcmp(x->stride, y->stride, x->ndim * sizeof(*x->stride)) != 0)
		return false;
	return table_of(a) == NULL || table_same(&table_of(a)->job, &table_of(b)->job);
}

static uint32_t
place_one(struct places *pl, size_t i, size_t group, uint32_t shared)
{
	struct seal *l = pl->l;
	const struct placing *at = &pl->all[i];
	const struct want *w = &l->wants[at->want];
	size_t back;

	if (!at->own)
		return shared;
	for (back = i; l->o->writer->shares && back-- > group && pl->all[back].own && i - back <= 64;)
		if (same_view(l, w, &l->wants[pl->all[back].want]))
			return l->s->m.tensors[pl->all[back].want].storage;
	if (l->o->compact && table_of(w) == NULL && l->o->writer->shares && w->entry != NULL &&
	    !tensor_covers(tensor_of(l, w), storage_of(l, w)->nbytes)) {
		l->s->compacted++;
		plan_note(l->p, w->entry, PLAN_COMPACTED, "--compact");
	}
	return own_place(l, at, w);
}

/* All wants of one input storage: [from, to). */
static void
place_group(struct places *pl, size_t from, size_t to)
{
	struct seal *l = pl->l;
	const struct want *w;
	struct tensor *out;
	uint32_t shared = UINT32_MAX;

	for (size_t i = from; i < to; i++) {
		w = &l->wants[pl->all[i].want];
		if (!pl->all[i].own && shared == UINT32_MAX)
			shared = whole_storage(l, &pl->all[i], tensor_of(l, w)->dtype, w->to);
		out = &l->s->m.tensors[pl->all[i].want];
		*out = *tensor_of(l, w);
		out->dtype = w->to;
		out->wrap = w->wrap;
		out->storage = place_one(pl, i, from, shared);
		if (pl->all[i].own)
			set_own_shape(l, out, w);
	}
}

/* ---- storages that the rest holds by themselves */

static void
place_bare(struct seal *l, struct bare *b)
{
	struct placing pl = { 0, b->input, b->storage, false, 0 };
	const struct storage *s = &l->p->inputs[b->input].sd->ckpt->storages[b->storage];
	const struct transform *t;

	for (uint32_t i = 0; i < l->s->m.nstorages; i++) {
		t = &l->s->transforms[i];
		if (t->input == b->input && t->storage == b->storage && t->kind == TRANSFORM_COPY && t->off == 0 &&
		    t->len == s->nbytes) {
			b->out = i;
			return;
		}
	}
	b->out = whole_storage(l, &pl, s->dtype, s->dtype);
}

/* ---- order */

static bool
aligned(const struct seal *l, const uint32_t *order)
{
	uint64_t at = 0;
	uint32_t i, size;

	for (i = 0; i < l->s->m.nstorages; i++) {
		size = dtype_size(l->s->m.storages[order[i]].dtype);
		if (size > 1 && at % size != 0)
			return false;
		at += l->s->m.storages[order[i]].nbytes;
	}
	return true;
}

/* Item size descending, else as it was. */
static void
sort_by_size(const struct seal *l, uint32_t *order)
{
	static const uint32_t sizes[] = { 16, 8, 4, 2, 1, 0 };
	uint32_t n = l->s->m.nstorages, *sorted = xreallocn(NULL, n, sizeof(*sorted)), k = 0;

	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++)
		for (uint32_t i = 0; i < n; i++)
			if (dtype_size(l->s->m.storages[order[i]].dtype) == sizes[s])
				sorted[k++] = order[i];
	memcpy(order, sorted, n * sizeof(*order));
	free(sorted);
}

static int
by_transform(const void *a, const void *b, void *arg)
{
	const struct transform *t = arg, *x = t + *(const uint32_t *)a, *y = t + *(const uint32_t *)b;

	if (x->input != y->input)
		return x->input < y->input ? -1 : 1;
	if (x->storage != y->storage)
		return x->storage < y->storage ? -1 : 1;
	return *(const uint32_t *)a < *(const uint32_t *)b ? -1 : 1;
}

/* Puts storages into the order of the source, or of alignment, and renumbers what refers to them. */
static void
arrange(struct seal *l)
{
	struct manifest *m = &l->s->m;
	uint32_t n = m->nstorages, *order = xreallocn(NULL, n, sizeof(*order)),
		 *place = xreallocn(NULL, n, sizeof(*place)), i;
	struct manifest_storage *ms = arena_calloc(&l->s->arena, n, sizeof(*ms));
	struct transform *ts = arena_calloc(&l->s->arena, n, sizeof(*ts));

	for (i = 0; i < n; i++)
		order[i] = i;
	if (n > 0)
		qsort_r(order, n, sizeof(*order), by_transform, l->s->transforms);
	if (!l->o->writer->shares && !aligned(l, order))
		sort_by_size(l, order);
	for (i = 0; i < n; i++) {
		place[order[i]] = i;
		ms[i] = m->storages[order[i]];
		ts[i] = l->s->transforms[order[i]];
	}
	for (i = 0; i < m->ntensors; i++)
		m->tensors[i].storage = place[m->tensors[i].storage];
	for (i = 0; i < l->nbares; i++)
		l->bares[i].out = place[l->bares[i].out];
	m->storages = ms;
	l->s->transforms = ts;
	free(order);
	free(place);
}

/* ---- */

static void
number_bares(const struct seal *l)
{
	uint32_t index;

	for (uint32_t h = 0; l->nbares > 0 && h < vtree_count(l->s->tree); h++)
		if (value_kind(l->s->tree, h) == VALUE_LEAF && value_leaf(l->s->tree, h, &index) == LEAF_STORAGE)
			value_set_leaf(l->s->tree, h, l->bares[index].out);
}

static void
name_all(struct seal *l)
{
	if (l->o->writer->pickles)
		return;
	l->s->m.names = arena_calloc(&l->s->arena, l->nwants, sizeof(*l->s->m.names));
	for (size_t i = 0; i < l->nwants; i++)
		l->s->m.names[i] = l->wants[i].entry->name;
}

void
seal_places(struct seal *l)
{
	struct places pl = { .l = l };
	size_t i, j, most = l->nwants + l->nbares;
	void *storages, *transforms;

	l->s->m.ntensors = (uint32_t)l->nwants;
	l->s->m.tensors = arena_calloc(&l->s->arena, l->nwants, sizeof(*l->s->m.tensors));
	l->s->m.storages = xcalloc(most, sizeof(*l->s->m.storages));
	l->s->transforms = xcalloc(most, sizeof(*l->s->transforms));
	gather_all(&pl);
	for (i = 0; i < pl.n; i = j) {
		for (j = i; j < pl.n && pl.all[j].input == pl.all[i].input && pl.all[j].storage == pl.all[i].storage;
		     j++)
			;
		place_group(&pl, i, j);
	}
	for (i = 0; i < l->nbares; i++)
		place_bare(l, &l->bares[i]);
	free(pl.all);
	storages = l->s->m.storages;
	transforms = l->s->transforms;
	arrange(l);
	free(storages);
	free(transforms);
	name_all(l);
	number_bares(l);
}
