#include "write/split.h"

#include <stdlib.h>

#include "base/xalloc.h"

/* Bytes of an entry's output. */
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

static void
last_init(const struct plan *p, struct split *s)
{
	s->ninputs = p->ninputs;
	s->last = xcalloc(p->ninputs, sizeof(*s->last));
	for (uint32_t i = 0; i < p->ninputs; i++)
		s->last[i] = xcalloc(p->inputs[i].sd->ckpt->nstorages, sizeof(**s->last));
}

/* The index buffer that decides a table's layout is read with the table. */
static void
need_index(const struct plan *p, struct split *s, const struct plan_entry *en, uint32_t shard)
{
	const struct ckpt *c = plan_input_of(p, en)->sd->ckpt;
	uint32_t storage;

	if (en->table == NULL || !en->table->deduce)
		return;
	storage = c->tensors[en->table->index].storage;
	if (s->last[p->origins[en->origin].input][storage] < shard)
		s->last[p->origins[en->origin].input][storage] = shard;
}

void
plan_split(const struct plan *p, uint64_t most, struct split *s)
{
	const struct plan_entry *en;
	const struct tensor *t;
	uint32_t **first, input, *home;
	uint64_t used = 0, size;

	*s = (struct split){ .n = 1, .shard = xcalloc(p->nentries, sizeof(*s->shard)) };
	last_init(p, s);
	first = s->last; /* a storage's first shard is its only one */
	for (size_t i = 0; i < p->nentries; i++) {
		en = &p->entries[i];
		if (!en->alive)
			continue;
		t = en->module ? NULL : plan_tensor(p, en);
		s->shard[i] = 1;
		if (t == NULL || t->storage == STORAGE_NONE)
			continue;
		input = p->origins[en->origin].input;
		home = &first[input][t->storage];
		if (*home == 0 || en->table != NULL) {
			size = size_of(p, en);
			if (used > 0 && (used > most || size > most - used)) {
				s->n++;
				used = 0;
			}
			used += size;
			*home = *home == 0 || *home < s->n ? s->n : *home;
			s->shard[i] = s->n;
		} else {
			s->shard[i] = *home;
		}
		need_index(p, s, en, s->shard[i]);
	}
}

void
split_release(struct split *s)
{
	for (uint32_t i = 0; i < s->ninputs; i++)
		free(s->last[i]);
	free(s->last);
	free(s->shard);
	*s = (struct split){ 0 };
}
