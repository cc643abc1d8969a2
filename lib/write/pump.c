#include "write/pump.h"

#include "plan/tables.h"

struct pump {
	struct plan *plan;
	const struct sealed *sealed;
	struct writer w;
	struct transform_ctx ctx;
	uint32_t next; /* output storage to come */
	bool disorder; /* the output's storages are not in the order of the inputs' */
	const struct pump_opts *o;
};

/* Is the input storage of transform i needed again after it, or another one before it? */
static bool
again(const struct pump *u, uint32_t i)
{
	const struct transform *t = &u->sealed->transforms[i], *next = t + 1;

	return u->disorder || u->o->split != NULL ||
	       (i + 1 < u->sealed->m.nstorages && next->input == t->input && next->storage == t->storage);
}

/* Output storages made from storage s of input i. */
static int
emit(struct pump *u, uint32_t input, uint32_t storage, struct err *e)
{
	const struct transform *t;
	uint32_t crc;

	for (; u->next < u->sealed->m.nstorages; u->next++) {
		t = &u->sealed->transforms[u->next];
		if (t->input != input || t->storage != storage)
			break;
		u->ctx.again = again(u, u->next);
		if (writer_storage(&u->w, u->next, e) != 0 ||
		    transform_run(&u->ctx, t, u->w.format->wants_crc ? &crc : NULL, e) != 0 ||
		    writer_stored(&u->w, u->next, u->w.format->wants_crc ? crc : 0, e) != 0)
			return -1;
	}
	return 0;
}

/* A layout that waits for the index buffer in this storage is read off while the bytes are at hand. */
static int
settle(struct pump *u, uint32_t input, uint32_t storage, struct err *e)
{
	struct ckpt *c = u->plan->inputs[input].sd->ckpt;
	const struct plan_entry *en;
	size_t i;

	for (i = 0; u->plan->ntables > 0 && i < u->plan->nentries; i++) {
		en = &u->plan->entries[i];
		if (en->table == NULL || !en->table->deduce || u->plan->origins[en->origin].input != input)
			continue;
		if (c->tensors[en->table->index].storage == storage && table_resolve(u->plan, c, en->table, e) != 0)
			return -1;
	}
	return 0;
}

static bool
waiting(const struct pump *u)
{
	for (size_t i = 0; i < u->plan->ntables; i++)
		if (u->plan->tables[i]->deduce)
			return true;
	return false;
}

/* Is no later shard in need of the storage? */
static bool
is_last(const struct pump *u, uint32_t input, uint32_t storage)
{
	uint32_t last = u->o->split == NULL ? 0 : u->o->split->last[input][storage];

	return u->o->split == NULL || last == u->o->shard || (last == 0 && u->o->shard == 1);
}

static int
pump_input(struct pump *u, uint32_t input, struct err *e)
{
	struct ckpt *c = u->plan->inputs[input].sd->ckpt;
	bool tables = waiting(u);

	for (uint32_t s = 0; s < c->nstorages; s++) {
		if (tables && settle(u, input, s, e) != 0)
			return -1;
		if (emit(u, input, s, e) != 0)
			return -1;
		if (!is_last(u, input, s))
			continue;
		if (ckpt_done(c, s, e) != 0)
			return -1;
		if (u->ctx.tick != NULL)
			u->ctx.tick(u->ctx.tick_arg, c->storages[s].packed);
	}
	return 0;
}

/* Do the output's storages follow the inputs' storages? (Not where alignment made safetensors sort them.) */
static bool
in_order(const struct sealed *s)
{
	const struct transform *a, *b;

	for (uint32_t i = 1; i < s->m.nstorages; i++) {
		a = &s->transforms[i - 1];
		b = &s->transforms[i];
		if (b->input < a->input || (b->input == a->input && b->storage < a->storage))
			return false;
	}
	return true;
}

static int
pump_any_order(struct pump *u, struct err *e)
{
	const struct transform *t;

	if (plan_tables_resolve(u->plan, e) != 0)
		return -1;
	while (u->next < u->sealed->m.nstorages) {
		t = &u->sealed->transforms[u->next];
		if (emit(u, t->input, t->storage, e) != 0)
			return -1;
	}
	return 0;
}

static int
pump_all(struct pump *u, struct err *e)
{
	uint32_t i;

	u->disorder = !in_order(u->sealed);
	if (u->disorder && pump_any_order(u, e) != 0)
		return -1;
	for (i = 0; i < u->plan->ninputs; i++)
		if (pump_input(u, i, e) != 0)
			return -1;
	if (u->next != u->sealed->m.nstorages)
		return err_set(e, ERR_INPUT, "storage %u of the output was not written", u->next);
	if (u->o->split != NULL && u->o->shard < u->o->split->n)
		return 0;
	for (i = 0; i < u->plan->ninputs; i++)
		if (ckpt_finish(u->plan->inputs[i].sd->ckpt, e) != 0)
			return -1;
	return 0;
}

int
plan_pump(struct plan *p, const struct sealed *s, const struct format_writer *f, struct sink *out,
	  const struct pump_opts *o, uint64_t *lost, struct err *e)
{
	struct pump u = { .plan = p, .sealed = s, .o = o };
	int rc = -1;

	u.ctx = (struct transform_ctx){ .plan = p,
					.out = out,
					.pool = o->pool,
					.tick = o->tick,
					.tick_arg = o->tick_arg,
					.show = o->show,
					.show_arg = o->show_arg };
	if (writer_begin(&u.w, f, &s->m, out, e) == 0 && pump_all(&u, e) == 0 &&
	    (o->ready == NULL || o->ready(o->ready_arg, e) == 0))
		rc = writer_finish(&u.w, e);
	writer_release(&u.w);
	transform_release(&u.ctx);
	*lost = u.ctx.lost;
	return rc;
}
