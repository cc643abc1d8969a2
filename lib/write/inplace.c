#include "write/inplace.h"

#include <string.h>

/* ---- what moves no byte */

static int
check_act(const struct plan_origin *o, const struct plan_act *act, struct err *err)
{
	if (act->action == PLAN_MADE)
		return err_set(err, ERR_USAGE, "%s: '%.*s' would get new bytes, which needs a copy: -o FILE instead of --in-place",
			       act->by, STR_ARG(o->entry->name));
	if ((act->action == PLAN_DROPPED || act->action == PLAN_SKIPPED) && strncmp(act->by, "--", 2) != 0)
		return err_set(err, ERR_USAGE, "%s: '%.*s' would be dropped, which --in-place does only for an option on the "
			       "command line (--drop-params)", act->by, STR_ARG(o->entry->name));
	return 0;
}

int
inplace_check(const struct plan *p, struct err *err)
{
	int changes = p->nmeta > 0;

	for (size_t i = 0; i < p->norigins; i++)
		for (const struct plan_act *act = p->origins[i].acts; act != NULL; act = act->next) {
			if (p->origins[i].entry != NULL && check_act(&p->origins[i], act, err) < 0)
				return -1;
			changes = 1;
		}
	return changes;
}

static int
needs_copy(const struct ckpt *c, const char *why, struct err *err)
{
	return err_input(err, c->file, "%s: -o FILE instead of --in-place", why);
}

int
inplace_edit(struct sealed *s, struct undo_edit *u, struct err *err)
{
	const struct ckpt *c = s->plan->inputs[0].sd->ckpt;
	struct manifest *m = &s->m;
	uint32_t next = 0; /* storage of the input that may come */

	if (s->writer->patch == NULL)
		return needs_copy(c, "such a checkpoint cannot be edited in place", err);
	m->kept = arena_calloc(&s->arena, m->nstorages, sizeof(*m->kept));
	m->locations = c->locations;
	for (uint32_t i = 0; i < m->nstorages; i++) {
		const struct sealed_output *out = &s->outputs[i];

		if (out->tensor != NULL || out->off != 0 || out->len != c->storages[out->storage].nbytes || out->storage < next)
			return needs_copy(c, "bytes of tensors would have to be copied or turned", err);
		m->kept[i] = &c->storages[out->storage];
		next = out->storage + 1;
	}
	return s->writer->patch(m, c, u, err);
}

/* ---- the file read back */

/* Where a byte of the old file is now. */
static uint64_t
place_now(const struct undo_edit *u, uint64_t off)
{
	uint64_t now = off + u->insert;

	/* Where a range was taken out, what has no bytes may lie in its middle. */
	for (size_t i = 0; i < u->ncuts && u->cuts[i].off < off; i++)
		now -= off - u->cuts[i].off < u->cuts[i].len ? off - u->cuts[i].off : u->cuts[i].len;
	return now;
}

static bool
same_tensor(const struct undo_edit *u, const struct ckpt *was, const struct ckpt *now, uint32_t before, uint32_t after)
{
	const struct tensor *a = &was->tensors[before], *b = &now->tensors[after];
	const struct storage *x, *y;

	if (a->dtype != b->dtype || !tensor_same_shape(a, b) || a->offset != b->offset || a->flags != b->flags)
		return false;
	if (a->storage == STORAGE_NONE || b->storage == STORAGE_NONE)
		return a->storage == b->storage;
	x = &was->storages[a->storage];
	y = &now->storages[b->storage];
	return x->nbytes == y->nbytes && y->offset == place_now(u, x->offset);
}

int
inplace_compare(const struct plan *p, const struct undo_edit *u, const struct statedict *now, struct err *err)
{
	const struct ckpt *was = p->inputs[0].sd->ckpt;
	size_t n = 0;

	for (size_t i = 0; i < p->nentries; i++) {
		const struct plan_entry *en = &p->entries[i];
		const struct sd_entry *src, *got;

		if (!en->alive || en->module)
			continue;
		n++;
		src = plan_source(p, en);
		got = statedict_find(now, en->name);
		if (got == NULL || got->kind != src->kind ||
		    (src->kind == SD_TENSOR && !same_tensor(u, was, now->ckpt, src->tensor, got->tensor)))
			return err_input(err, was->file, "read back after the edit, '%.*s' is not what it should be",
					 STR_ARG(en->name));
	}
	return n == now->n ? 0 : err_input(err, was->file, "read back after the edit, it has other names than it should");
}
