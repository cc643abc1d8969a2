#include "write/split.h"

#include <stdlib.h>

#include "base/xalloc.h"
#include "tensor/boxes.h"

/* Returns the size in bytes of the tensor that is written for an entry. */
static uint64_t
size_of(const struct plan *p, const struct plan_entry *en)
{
	uint64_t shape[TENSOR_NDIM_MAX], count = 1, bytes;
	enum dtype dtype;
	unsigned ndim;

	plan_shape(p, en, &dtype, shape, &ndim);
	for (unsigned i = 0; i < ndim; i++)
		count *= shape[i];
	return dtype_bytes(dtype, count, &bytes) ? bytes : 0;
}

/* ---- assigning entries to files */

struct split_state {
	const struct plan *p;
	struct split *s;
	uint64_t most, used; /* size limit of a file; bytes in the present file */
	uint32_t **home;     /* by input and storage: the file of the names that share the storage; 0: none yet */
};

static uint32_t
next_file(struct split_state *k, uint64_t size)
{
	if (k->used > 0 && (k->used > k->most || size > k->most - k->used)) {
		k->s->n++;
		k->used = 0;
	}
	k->used += size;
	return k->s->n;
}

/* Assigns a container that is written whole, which counts as one tensor. Returns its file. */
static uint32_t
file_of_container(struct split_state *k, const struct plan_container *c)
{
	uint64_t size = 0, more;

	for (size_t i = c->low; i < c->high; i++) {
		if (!k->p->entries[i].alive || plan_container_of(k->p, &k->s->containers, i) != c)
			continue;
		more = plan_tensor(k->p, &k->p->entries[i]) == NULL ? 0 : size_of(k->p, &k->p->entries[i]);
		size = size + more < size ? UINT64_MAX : size + more;
	}
	return next_file(k, size);
}

static uint32_t
file_of(struct split_state *k, size_t i)
{
	const struct plan_entry *en = &k->p->entries[i];
	const struct plan_container *c = plan_container_of(k->p, &k->s->containers, i);
	const struct tensor *t = en->module ? NULL : plan_tensor(k->p, en);
	uint32_t *home, file;

	if (c != NULL)
		return c->first == i ? file_of_container(k, c) : k->s->shard[c->first];
	if (t == NULL || boxes_count(t) == 0)
		return 1;
	home = &k->home[k->p->origins[en->origin].input][boxes_get(t, 0).storage];
	if (*home != 0 && (make_traits(plan_makers(en)) & MAKE_ANY_NEW) == 0)
		return *home;
	file = next_file(k, size_of(k->p, en));
	*home = file;
	return file;
}

/* ---- entries by file */

static void
list_entries(const struct plan *p, struct split *s)
{
	s->entries = xreallocn(NULL, p->nentries, sizeof(*s->entries));
	/* Counts are kept two places ahead: placing the entries then moves each begin to its final value. */
	s->begin = xcalloc((size_t)s->n + 3, sizeof(*s->begin));
	for (size_t i = 0; i < p->nentries; i++)
		if (s->shard[i] != 0)
			s->begin[s->shard[i] + 2]++;
	for (uint32_t k = 2; k <= s->n + 2; k++)
		s->begin[k] += s->begin[k - 1];
	for (size_t i = 0; i < p->nentries; i++)
		if (s->shard[i] != 0)
			s->entries[s->begin[s->shard[i] + 1]++] = (uint32_t)i;
}

/* ---- what later files read */

/* State of the walk over the files, from the last to the first. */
struct split_reading {
	const struct plan *p;
	struct split *s;
	uint32_t *low;  /* by input: the first storage that the present file or a later one reads */
	uint32_t *file; /* by input: the file with the lowest number so far that reads it */
	uint32_t k;     /* file that is being visited */
	size_t n, cap;
};

static void
read_tensor(struct split_reading *r, uint32_t input, const struct tensor *t)
{
	if (boxes_count(t) > 0 && r->file[input] != r->k) {
		r->file[input] = r->k;
		*xpush(r->s->later, r->n, r->cap) = (struct split_later){ input, r->low[input] };
	}
	for (size_t i = 0; i < boxes_count(t); i++) {
		struct box box = boxes_get(t, i);

		if (box.storage < r->low[input])
			r->low[input] = box.storage;
	}
	for (size_t i = 0; t->more != NULL && i < t->more->nparts; i++)
		if (t->more->parts[i].tensor != NULL)
			read_tensor(r, input, t->more->parts[i].tensor);
}

static void
read_input(struct split_reading *r, const struct make_input *in)
{
	read_tensor(r, in->input, &r->p->inputs[in->input].sd->ckpt->tensors[in->tensor]);
}

static void
read_entry(struct split_reading *r, const struct plan_entry *en)
{
	const struct tensor *t = en->module ? NULL : plan_tensor(r->p, en);
	const struct make_chain *make = plan_makers(en);

	if (t == NULL)
		return;
	read_tensor(r, r->p->origins[en->origin].input, t);
	for (unsigned i = 0; i < make->n; i++) {
		const struct make *m = make->v[i];

		if (m->waits != NULL)
			read_input(r, m->waits);
		for (unsigned k = 0; k < m->nmore; k++)
			read_input(r, &m->more[k]);
	}
}

static void
list_later(const struct plan *p, struct split *s)
{
	struct split_reading r = { .p = p, .s = s };
	size_t *end = xcalloc((size_t)s->n + 2, sizeof(*end));

	r.low = xcalloc(p->ninputs, sizeof(*r.low));
	r.file = xcalloc(p->ninputs, sizeof(*r.file));
	for (uint32_t i = 0; i < p->ninputs; i++)
		r.low[i] = p->inputs[i].sd->ckpt->nstorages;
	/* The files are visited from last to first: file k has later[end[k + 1]] up to later[end[k]]. */
	for (r.k = s->n; r.k > 0; r.k--) {
		for (size_t i = s->begin[r.k]; i < s->begin[r.k + 1]; i++)
			read_entry(&r, &p->entries[s->entries[i]]);
		end[r.k] = r.n;
	}
	s->later_end = end;
	free(r.low);
	free(r.file);
}

void
plan_split(const struct plan *p, uint64_t most, struct split *s)
{
	struct split_state k = { .p = p, .s = s, .most = most };

	*s = (struct split){ .n = 1, .shard = xcalloc(p->nentries, sizeof(*s->shard)) };
	plan_containers(p, &s->containers);
	k.home = xcalloc(p->ninputs, sizeof(*k.home));
	for (uint32_t i = 0; i < p->ninputs; i++)
		k.home[i] = xcalloc(p->inputs[i].sd->ckpt->nstorages, sizeof(**k.home));
	for (size_t i = 0; i < p->nentries; i++)
		if (p->entries[i].alive)
			s->shard[i] = file_of(&k, i);
	for (uint32_t i = 0; i < p->ninputs; i++)
		free(k.home[i]);
	free(k.home);
	list_entries(p, s);
	list_later(p, s);
}

void
split_release(struct split *s)
{
	free(s->shard);
	free(s->entries);
	free(s->begin);
	free(s->later);
	free(s->later_end);
	plan_containers_release(&s->containers);
	*s = (struct split){ 0 };
}
