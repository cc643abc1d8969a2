#include "write/pump.h"

#include <stdlib.h>

#include "base/xalloc.h"
#include "io/crc32.h"
#include "tensor/boxes.h"

/* Bytes copied at a time from a storage that must be unpacked. */
enum { PIECE = 1 << 20 };

struct pump {
	const struct sealed *s;
	const struct pump_opts *o;
	struct writer w;
	struct ckpt **inputs;
	struct make_work work;
	/* CRC-32 of the storage being written; crc_to points to it if the format needs CRCs, else it is NULL */
	uint32_t crc, *crc_to;
	uint64_t lost;
};

/* Writes bytes of the present storage. Also serves as make_task.take. */
static int
emit(void *arg, const void *p, size_t n, struct err *e)
{
	struct pump *u = arg;

	if (u->crc_to != NULL)
		*u->crc_to = crc32_add(*u->crc_to, p, n);
	return sink_write(u->w.out, p, n, e);
}

/* ---- copying bytes */

static int
copy_unpacked(struct pump *u, const struct sealed_output *t, struct err *e)
{
	unsigned char *piece = xmalloc(PIECE);
	uint64_t at = t->off, end = t->off + t->len;
	size_t n;
	int rc = 0;

	for (; rc == 0 && at < end; at += n) {
		n = end - at < PIECE ? (size_t)(end - at) : PIECE;
		rc = ckpt_read(u->inputs[t->input], t->storage, at, piece, n, e);
		if (rc == 0)
			rc = emit(u, piece, n, e);
	}
	free(piece);
	return rc;
}

/*
 * Takes the CRC of a whole storage from its source, even if the source states it after the bytes, as a stream does. The output is
 * then the same from a file and from a pipe.
 */
static int
stated_crc(struct pump *u, const struct sealed_output *t, bool computed, struct err *e)
{
	struct ckpt *c = u->inputs[t->input];
	uint32_t stated;
	bool known;

	if (ckpt_crc(c, t->storage, &stated, &known, e) < 0)
		return -1;
	if (computed && known && stated != u->crc)
		diag_warn(u->s->plan->diag, "%s: the CRC of storage '%.*s' does not match its bytes", c->file,
			  STR_ARG(c->storages[t->storage].key));
	if (known)
		u->crc = stated;
	return 0;
}

/*
 * Copies bytes whose stated CRC cannot be reused in the output. The stated CRC is checked once the whole storage has been copied.
 */
static int
copy_verified(struct pump *u, const struct sealed_output *t, struct source *src, uint64_t offset, struct err *e)
{
	struct ckpt *c = u->inputs[t->input];
	bool verifies = ckpt_verifies(c, t->storage);

	if (sink_copy(u->w.out, src, offset + t->off, t->len, verifies ? &u->crc : u->crc_to, e) < 0)
		return -1;
	return verifies ? ckpt_copied(c, t->storage, t->off, t->len, u->crc, e) : 0;
}

static int
copy(struct pump *u, const struct sealed_output *t, struct err *e)
{
	struct ckpt *c = u->inputs[t->input];
	const struct storage *s = &c->storages[t->storage];
	bool whole = u->crc_to != NULL && !c->ops->proves && t->off == 0 && t->len == s->nbytes, stated;
	struct source *src;
	uint64_t offset;

	if (t->len == 0)
		return 0;
	if (ckpt_locate(c, t->storage, e) < 0)
		return -1;
	src = ckpt_range(c, t->storage, &offset);
	if (src == NULL)
		return copy_unpacked(u, t, e);
	if (!whole)
		return copy_verified(u, t, src, offset, e);
	stated = (s->flags & STORAGE_CRC) != 0;
	if (sink_copy(u->w.out, src, offset, t->len, stated ? NULL : u->crc_to, e) < 0)
		return -1;
	return stated_crc(u, t, !stated, e);
}

/* Copies boxes whose bytes follow each other. Their CRCs are joined to that of the storage. */
static int
copy_boxes(struct pump *u, const struct sealed_output *t, struct err *e)
{
	const struct tensor_more *more = t->tensor->more;
	uint64_t size = dtype_size(t->tensor->dtype);
	uint32_t crc = 0;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < more->nboxes; i++) {
		const struct box *box = &more->boxes[i];
		struct sealed_output part = { .input = t->input, .storage = box->storage, .off = box->offset * size };

		part.len = size;
		for (unsigned d = 0; d < t->tensor->ndim; d++)
			part.len *= box->size[d];
		u->crc = 0;
		rc = copy(u, &part, e);
		crc = crc32_join(crc, u->crc, part.len);
	}
	u->crc = crc;
	return rc;
}

/* ---- making elements */

/* Is the output all elements of its tensor, unchanged and in order? */
static bool
is_as_it_was(const struct sealed_output *t)
{
	struct make_form form;
	uint64_t first;

	make_form_of(&form, t->tensor);
	if (!make_gathers(t->make, &form, &first) || first > 0)
		return false;
	make_shape(t->make, &form);
	return make_count(&form) == tensor_count(t->tensor);
}

static int
make(struct pump *u, const struct sealed_output *t, struct err *e)
{
	struct make_task task = { u->inputs, t->input, t->tensor, t->make, 0, emit, u };

	if (is_as_it_was(t) && boxes_stacked(u->inputs[t->input], t->tensor))
		return copy_boxes(u, t, e);
	return make_all(&u->work, &task, &u->lost, e);
}

/* ---- steps */

static int
write_output(struct pump *u, uint32_t i, struct err *e)
{
	const struct sealed_output *t = &u->s->outputs[i];

	u->crc = 0;
	if (writer_storage(&u->w, i, e) < 0 || (t->tensor == NULL ? copy : make)(u, t, e) < 0)
		return -1;
	return writer_stored(&u->w, i, u->crc, e);
}

/* Lets an input forget everything before the byte at; no later step reads it. */
static int
pass(struct pump *u, uint32_t input, struct sealed_place at, struct err *e)
{
	struct ckpt *c = u->inputs[input];
	uint32_t first = c->passed;
	uint64_t bytes = 0;

	if (ckpt_pass(c, at.storage, at.off, e) < 0)
		return -1;
	for (uint32_t i = first; i < c->passed; i++)
		bytes += c->storages[i].packed;
	if (u->o->tick != NULL && c->passed > first)
		u->o->tick(u->o->tick_arg, bytes);
	return 0;
}

static int
run_step(struct pump *u, const struct sealed_step *step, size_t read, struct err *e)
{
	const struct sealed_read *r = &u->s->reads[read], *end = &u->s->reads[step->reads_end];

	for (const struct sealed_read *k = r; k < end; k++) {
		struct source *src;
		uint64_t start;

		if (!k->again)
			continue;
		if (ckpt_locate(u->inputs[k->input], k->storage, e) < 0)
			return -1;
		/* A later step reads these bytes again, so a stream must keep them. */
		src = ckpt_range(u->inputs[k->input], k->storage, &start);
		if (src != NULL)
			source_keep(src, start + k->end);
	}
	if (step->learns != NULL ? plan_learn(u->s->plan, step->entry, step->learns, e) < 0 : write_output(u, step->output, e) < 0)
		return -1;
	for (const struct sealed_read *k = r; k < end; k++)
		if (k->frees && pass(u, k->input, (struct sealed_place){ k->free_storage, k->free_off }, e) < 0)
			return -1;
	return 0;
}

static int
finish_inputs(struct pump *u, struct err *e)
{
	for (uint32_t i = 0; i < u->s->plan->ninputs; i++)
		if (pass(u, i, (struct sealed_place){ u->inputs[i]->nstorages, 0 }, e) < 0)
			return -1;
	for (uint32_t i = 0; i < u->s->plan->ninputs; i++)
		if (ckpt_finish(u->inputs[i], e) < 0 || ckpt_check_index(u->inputs[i], e) < 0)
			return -1;
	return 0;
}

static int
run_all(struct pump *u, struct err *e)
{
	size_t read = 0;

	for (uint32_t i = 0; i < u->s->plan->ninputs; i++)
		if (pass(u, i, u->s->start[i], e) < 0)
			return -1;
	for (size_t i = 0; i < u->s->nsteps; read = u->s->steps[i++].reads_end)
		if (run_step(u, &u->s->steps[i], read, e) < 0)
			return -1;
	return u->s->last ? finish_inputs(u, e) : 0;
}

int
plan_pump(const struct sealed *s, struct sink *out, const struct pump_opts *o, uint64_t *lost, struct err *e)
{
	struct pump u = { .s = s, .o = o };
	int rc = -1;

	u.crc_to = s->writer->needs_crc ? &u.crc : NULL;
	u.inputs = xcalloc(s->plan->ninputs, sizeof(*u.inputs));
	for (uint32_t i = 0; i < s->plan->ninputs; i++) {
		u.inputs[i] = s->plan->inputs[i].sd->ckpt;
		ckpt_verify(u.inputs[i]);
	}
	make_work_init(&u.work, o->pool);
	if (writer_begin(&u.w, s->writer, &s->m, out, e) == 0 && run_all(&u, e) == 0 &&
	    (o->ready == NULL || o->ready(o->ready_arg, e) == 0)) {
		u.w.beside = o->beside;
		rc = writer_finish(&u.w, e);
	}
	writer_release(&u.w);
	make_work_release(&u.work);
	free(u.inputs);
	*lost = u.lost;
	return rc;
}
