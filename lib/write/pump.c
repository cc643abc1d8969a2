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
	size_t step, read; /* index of the next step, and index of its first read */
};

/* Writes bytes of the present storage. Also serves as make_task.take. */
static int
emit(void *arg, const void *p, size_t n, struct err *err)
{
	struct pump *u = arg;

	if (u->crc_to != NULL)
		*u->crc_to = crc32_add(*u->crc_to, p, n);
	return sink_write(u->w.out, p, n, err);
}

/* ---- copying bytes */

static int
copy_unpacked(struct pump *u, const struct sealed_output *t, uint64_t len, struct err *err)
{
	unsigned char *piece = xmalloc(PIECE);
	uint64_t at = t->off, end = t->off + len;
	size_t n;
	int rc = 0;

	for (; rc == 0 && at < end; at += n) {
		n = end - at < PIECE ? (size_t)(end - at) : PIECE;
		rc = ckpt_read(u->inputs[t->input], t->storage, at, piece, n, err);
		if (rc == 0)
			rc = emit(u, piece, n, err);
	}
	free(piece);
	return rc;
}

/*
 * Takes the CRC of a whole storage from its source, even if the source states it after the bytes, as a stream does. The output is
 * then the same from a file and from a pipe.
 */
static int
stated_crc(struct pump *u, const struct sealed_output *t, bool computed, struct err *err)
{
	struct ckpt *c = u->inputs[t->input];
	uint32_t stated;
	bool known;

	if (ckpt_crc(c, t->storage, &stated, &known, err) < 0)
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
copy_verified(struct pump *u, const struct sealed_output *t, uint64_t len, struct source *src, uint64_t offset, struct err *err)
{
	struct ckpt *c = u->inputs[t->input];
	bool verifies = ckpt_verifies(c, t->storage);

	if (sink_copy(u->w.out, src, offset + t->off, len, verifies ? &u->crc : u->crc_to, err) < 0)
		return -1;
	return verifies ? ckpt_copied(c, t->storage, t->off, len, u->crc, err) : 0;
}

static int
copy(struct pump *u, const struct sealed_output *t, uint64_t len, struct err *err)
{
	struct ckpt *c = u->inputs[t->input];
	const struct storage *s = &c->storages[t->storage];
	bool whole = u->crc_to != NULL && !c->ops->proves && t->off == 0 && len == s->nbytes, stated;
	struct source *src;
	uint64_t offset;

	if (len == 0)
		return 0;
	if (ckpt_locate(c, t->storage, err) < 0)
		return -1;
	src = ckpt_range(c, t->storage, &offset);
	if (src == NULL)
		return copy_unpacked(u, t, len, err);
	if (!whole)
		return copy_verified(u, t, len, src, offset, err);
	stated = (s->flags & STORAGE_CRC) != 0;
	if (sink_copy(u->w.out, src, offset, len, stated ? NULL : u->crc_to, err) < 0)
		return -1;
	return stated_crc(u, t, !stated, err);
}

/* Copies boxes whose bytes follow each other. Their CRCs are joined to that of the storage. */
static int
copy_boxes(struct pump *u, const struct sealed_output *t, struct err *err)
{
	const struct tensor *tensor = t->made->tensor;
	const struct tensor_more *more = tensor->more;
	uint64_t size = dtype_size(tensor->dtype), len;
	uint32_t crc = 0;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < more->nboxes; i++) {
		const struct box *box = &more->boxes[i];
		struct sealed_output part = { .input = t->input, .storage = box->storage, .off = box->offset * size };

		len = size;
		for (unsigned d = 0; d < tensor->ndim; d++)
			len *= box->size[d];
		u->crc = 0;
		rc = copy(u, &part, len, err);
		crc = crc32_join(crc, u->crc, len);
	}
	u->crc = crc;
	return rc;
}

/* ---- making elements */

/* Is the output all elements of its tensor, unchanged and in order? */
static bool
is_as_it_was(const struct sealed_made *t)
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
make(struct pump *u, const struct sealed_output *t, struct err *err)
{
	struct make_task task = { u->inputs, t->input, t->made->tensor, t->made->make, 0, emit, u };

	if (is_as_it_was(t->made) && boxes_stacked(u->inputs[t->input], t->made->tensor))
		return copy_boxes(u, t, err);
	return make_all(&u->work, &task, &u->lost, err);
}

/* ---- steps */

static int
write_output(struct pump *u, uint32_t i, struct err *err)
{
	const struct sealed_output *t = &u->s->outputs[i];

	u->crc = 0;
	if (writer_storage(&u->w, i, err) < 0 ||
	    (t->made == NULL ? copy(u, t, u->s->m.storages[i].nbytes, err) : make(u, t, err)) < 0)
		return -1;
	return writer_stored(&u->w, i, u->crc, err);
}

/* Reports progress: all storages of the input below end are done. */
static void
tell(struct pump *u, uint32_t input, uint32_t end)
{
	struct plan_input *in = &u->s->plan->inputs[input];
	uint64_t bytes = 0;

	for (; in->told < end; in->told++)
		bytes += u->inputs[input]->storages[in->told].packed;
	if (u->o->tick != NULL && bytes > 0)
		u->o->tick(u->o->tick_arg, bytes);
}

/* Writes an output, or passes contents to the maker of a lesson. */
static int
run_step(struct pump *u, uint32_t output, const struct sealed_lesson *lesson, struct err *err)
{
	const struct sealed_read *r = NULL, *end = NULL;

	if (u->s->reads != NULL) {
		r = u->s->reads + u->read;
		u->read = u->s->reads_end[u->step++];
		end = u->s->reads + u->read;
	}
	for (const struct sealed_read *k = r; k < end; k++) {
		struct source *src;
		uint64_t start;

		if (!k->again)
			continue;
		if (ckpt_locate(u->inputs[k->input], k->storage, err) < 0)
			return -1;
		/* A later step reads these bytes again, so a stream must keep them. */
		src = ckpt_range(u->inputs[k->input], k->storage, &start);
		if (src != NULL)
			source_keep(src, start + k->end);
	}
	if ((lesson != NULL ? plan_learn(u->s->plan, lesson->entry, lesson->make, err) : write_output(u, output, err)) < 0)
		return -1;
	for (const struct sealed_read *k = r; k < end; k++)
		if (k->frees && ckpt_pass(u->inputs[k->input], k->free_storage, k->free_off, err) < 0)
			return -1;
	return 0;
}

static int
finish_inputs(struct pump *u, struct err *err)
{
	for (uint32_t i = 0; i < u->s->plan->ninputs; i++) {
		if (ckpt_pass(u->inputs[i], u->inputs[i]->nstorages, 0, err) < 0)
			return -1;
		tell(u, i, u->inputs[i]->nstorages);
	}
	for (uint32_t i = 0; i < u->s->plan->ninputs; i++)
		if (ckpt_finish(u->inputs[i], err) < 0 || ckpt_check_index(u->inputs[i], err) < 0)
			return -1;
	return 0;
}

static int
run_all(struct pump *u, struct err *err)
{
	const struct sealed *s = u->s;
	size_t lesson = 0;

	for (uint32_t i = 0; s->start != NULL && i < s->plan->ninputs; i++)
		if (source_is_stream(u->inputs[i]->src) && ckpt_pass(u->inputs[i], s->start[i].storage, s->start[i].off, err) < 0)
			return -1;
	for (uint32_t i = 0; i <= s->m.nstorages; i++) {
		for (; lesson < s->nlessons && s->lessons[lesson].before == i; lesson++)
			if (run_step(u, i, &s->lessons[lesson], err) < 0)
				return -1;
		if (i == s->m.nstorages)
			break;
		if (run_step(u, i, NULL, err) < 0)
			return -1;
		tell(u, s->outputs[i].input, s->outputs[i].storage);
	}
	return s->last ? finish_inputs(u, err) : 0;
}

int
plan_pump(const struct sealed *s, struct sink *out, const struct pump_opts *o, uint64_t *lost, struct err *err)
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
	if (writer_begin(&u.w, s->writer, &s->m, out, err) == 0 && run_all(&u, err) == 0 &&
	    (o->ready == NULL || o->ready(o->ready_arg, err) == 0)) {
		u.w.beside = o->beside;
		rc = writer_finish(&u.w, err);
	}
	writer_release(&u.w);
	make_work_release(&u.work);
	free(u.inputs);
	*lost = u.lost;
	return rc;
}
