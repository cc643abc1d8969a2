#include "make/make.h"

#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/xalloc.h"
#include "tensor/boxes.h"
#include "tensor/convert.h"

/* Bytes made at a time of a tensor that is one run of bytes. */
enum { PIECE = 256 << 10 };

/* For a tensor in boxes: bytes read of each box, and the least total. */
enum { BOX_PIECE = 64 << 10, BOXES_LEAST = 1 << 20 };

#define MAKE_ADDRESS(name) &make_kind_##name,
const struct make_kind *const make_kinds[] = { MAKE_KINDS(MAKE_ADDRESS) NULL };
#undef MAKE_ADDRESS

/* ---- chains */

struct make *
make_new(struct arena *a, const struct make_kind *kind)
{
	struct make *m = arena_calloc(a, 1, sizeof(*m));

	m->kind = kind;
	return m;
}

void
make_append(struct make_chain *chain, struct arena *a, struct make *m)
{
	struct make **v = arena_alloc(a, (chain->n + 1) * sizeof(struct make *));

	if (chain->n > 0)
		memcpy(v, chain->v, chain->n * sizeof(struct make *));
	v[chain->n] = m;
	*chain = (struct make_chain){ v, chain->n + 1 };
}

void
make_form_of(struct make_form *form, const struct tensor *t)
{
	form->dtype = t->dtype;
	form->ndim = t->ndim;
	if (t->ndim > 0)
		memcpy(form->shape, t->shape, t->ndim * sizeof(*form->shape));
}

void
make_shape(const struct make_chain *chain, struct make_form *form)
{
	for (unsigned i = 0; i < chain->n; i++)
		if (chain->v[i]->kind->shape != NULL)
			chain->v[i]->kind->shape(chain->v[i], form);
}

uint64_t
make_count(const struct make_form *form)
{
	uint64_t n = 1;

	for (unsigned i = 0; i < form->ndim; i++)
		n *= form->shape[i];
	return n;
}

unsigned
make_traits(const struct make_chain *chain)
{
	unsigned traits = MAKE_ALL_EACH;

	for (unsigned i = 0; i < chain->n; i++) {
		const struct make *m = chain->v[i];

		if (m->kind->each == NULL)
			traits &= ~(unsigned)MAKE_ALL_EACH;
		if ((m->kind->flags & MAKE_APART) != 0)
			traits |= MAKE_ANY_APART;
		if ((m->kind->flags & MAKE_STAYS) != 0)
			traits |= MAKE_ANY_STAYS;
		if ((m->kind->flags & MAKE_NEW) != 0)
			traits |= m->kind->idle != NULL && m->kind->idle(m) ? MAKE_ANY_NEW : MAKE_ANY_NEW | MAKE_ANY_EFFECT;
	}
	return traits;
}

bool
make_gathers(const struct make_chain *chain, const struct make_form *in, uint64_t *first)
{
	struct make_form form = *in;
	uint64_t at;

	*first = 0;
	for (unsigned i = 0; i < chain->n; i++) {
		const struct make_kind *kind = chain->v[i]->kind;

		if (kind->gathers == NULL || !kind->gathers(chain->v[i], &form, &at))
			return false;
		*first += at;
		if (kind->shape != NULL)
			kind->shape(chain->v[i], &form);
	}
	return true;
}

static bool
one_same(const struct make *a, const struct make *b)
{
	if (a == b)
		return true;
	if (a->kind != b->kind || a->nmore != b->nmore)
		return false;
	for (unsigned i = 0; i < a->nmore; i++)
		if (a->more[i].input != b->more[i].input || a->more[i].tensor != b->more[i].tensor)
			return false;
	return a->kind->same == NULL || a->kind->same(a, b);
}

bool
make_same(const struct make_chain *a, const struct make_chain *b)
{
	if (a->n != b->n)
		return false;
	for (unsigned i = 0; i < a->n; i++)
		if (!one_same(a->v[i], b->v[i]))
			return false;
	return true;
}

/* Returns the memory that a maker needs for an input of the given form, but with another dtype. */
static uint64_t
memory_of(const struct make *m, const struct make_form *form, uint8_t dtype)
{
	struct make_form in = *form;

	in.dtype = dtype;
	return m->kind->memory == NULL ? 0 : m->kind->memory(m, &in);
}

uint64_t
make_memory(const struct make_chain *chain, const struct make_form *in)
{
	struct make_form form = *in;
	uint8_t carried = in->dtype;
	uint64_t sum = 0;

	for (unsigned i = 0; i < chain->n; i++) {
		const struct make_kind *kind = chain->v[i]->kind;

		if (!num_add(sum, memory_of(chain->v[i], &form, carried), &sum))
			return UINT64_MAX;
		if (kind->shape != NULL)
			kind->shape(chain->v[i], &form);
		if (kind->carries != NULL)
			carried = (uint8_t)kind->carries(chain->v[i], (enum dtype)carried);
	}
	return sum;
}

/* ---- rounding at the end of a chain */

static uint64_t
round_each(const struct make_stage *s, const void *in, size_t n, void *out)
{
	return convert_cast(s->from, in, s->to, n, out);
}

static const struct make_kind rounding = { .name = "rounding", .each = round_each };
static const struct make last_round = { .kind = &rounding };

/* ---- buffers and stages */

void
make_work_init(struct make_work *w, struct pool *pool)
{
	*w = (struct make_work){ .pool = pool, .slots = pool_slots(pool) };
	w->lost = xcalloc(w->slots, sizeof(*w->lost));
	w->made = xcalloc(w->slots, sizeof(*w->made));
}

void
make_work_release(struct make_work *w)
{
	for (unsigned i = 0; i < w->nbuffers; i++) {
		for (unsigned slot = 0; slot < w->slots; slot++)
			buf_release(&w->buffers[i][slot]);
		free(w->buffers[i]);
	}
	for (unsigned slot = 0; slot < w->slots; slot++)
		buf_release(&w->made[slot]);
	free(w->made);
	free(w->buffers);
	free(w->stages);
	free(w->lost);
	*w = (struct make_work){ 0 };
}

/* Buffers are kept, because allocating memory for each tensor would take longer than a cast. */
void *
make_buffer(const struct make_stage *s, unsigned slot, size_t size)
{
	return buf_reserve(&s->work->buffers[s->number][slot], size);
}

static void
add_buffers(struct make_work *w)
{
	size_t cap = w->nbuffers;

	w->buffers = xgrow(w->buffers, w->nbuffers, &cap, sizeof(struct buf *));
	for (; w->nbuffers < cap; w->nbuffers++)
		w->buffers[w->nbuffers] = xcalloc(w->slots, sizeof(**w->buffers));
}

/* Adds a stage for a maker. Changes *form to the form of its result. */
static void
add_stage(struct make_work *w, const struct make *m, struct make_form *form, uint8_t from)
{
	size_t cap = w->cap;
	struct make_stage *s;

	w->stages = xgrow(w->stages, w->nstages, &cap, sizeof(*w->stages));
	w->cap = (unsigned)cap;
	if (w->nstages == w->nbuffers)
		add_buffers(w);
	s = &w->stages[w->nstages];
	*s = (struct make_stage){ .make = m, .in = *form, .from = from, .to = from, .work = w, .number = w->nstages++ };
	if (m->kind->shape != NULL)
		m->kind->shape(m, form);
	s->out = *form;
	if (m->kind->carries != NULL)
		s->to = (uint8_t)m->kind->carries(m, from);
	w->once = w->once && (m->kind->flags & MAKE_REREADS) == 0;
}

static int
begin_stage(struct make_stage *s, struct err *err)
{
	const struct make_kind *kind = s->make->kind;

	if (kind->memory != NULL)
		s->state = xmalloc((size_t)memory_of(s->make, &s->in, s->from));
	return kind->begin != NULL ? kind->begin(s, err) : 0;
}

/* Sets up the stages of the task and runs their begin functions. */
static int
begin(struct make_work *w, struct err *err)
{
	const struct make_chain *chain = w->task.chain;
	uint8_t carried = w->task.tensor->dtype;
	struct make_form form;
	int rc = 0;

	w->nstages = 0;
	w->once = true;
	make_form_of(&form, w->task.tensor);
	for (unsigned i = 0; i < chain->n; i++) {
		add_stage(w, chain->v[i], &form, carried);
		carried = w->stages[i].to;
	}
	if (carried != form.dtype) {
		add_stage(w, &last_round, &form, carried);
		w->stages[w->nstages - 1].to = form.dtype;
	}
	w->count = make_count(&form);
	w->size = dtype_size(form.dtype);
	for (unsigned i = 0; rc == 0 && i < w->nstages && w->count > 0; i++)
		rc = begin_stage(&w->stages[i], err);
	return rc;
}

static void
end(struct make_work *w, uint64_t *lost)
{
	for (unsigned i = 0; i < w->nstages; i++)
		free(w->stages[i].state);
	for (unsigned i = 0; i < w->slots; i++) {
		*lost += w->lost[i];
		w->lost[i] = 0;
	}
}

/* ---- reading */

static int
read_tensor(const struct make_work *w, uint32_t input, const struct tensor *t, const struct make_span *span, void *p,
	    struct err *err)
{
	struct boxes_range range = { t, span->first, span->first + span->n, w->once };

	return boxes_fill(w->task.inputs[input], &range, p, err);
}

/* Makes elements of the result of the first number stages of the chain. Number 0 reads the tensor itself. */
static int
pull(struct make_work *w, unsigned number, const struct make_span *span, void *out, struct err *err)
{
	const struct make_stage *s;
	void *in;

	if (number == 0)
		return read_tensor(w, w->task.input, w->task.tensor, span, out, err);
	s = &w->stages[number - 1];
	if (s->make->kind->each == NULL)
		return s->make->kind->run(s, span, out, err);
	in = make_buffer(s, span->slot, span->n * dtype_size(s->from));
	if (pull(w, s->number, span, in, err) < 0)
		return -1;
	w->lost[span->slot] += s->make->kind->each(s, in, span->n, out);
	return 0;
}

int
make_read(const struct make_stage *s, unsigned i, const struct make_span *span, void *p, struct err *err)
{
	const struct make_input *more;

	if (i == 0)
		return pull(s->work, s->number, span, p, err);
	more = &s->make->more[i - 1];
	return read_tensor(s->work, more->input, &s->work->task.inputs[more->input]->tensors[more->tensor], span, p, err);
}

struct make_span
make_whole(const struct make_stage *s)
{
	return (struct make_span){ 0, (size_t)make_count(&s->in), 0 };
}

/* ---- choosing the size of pieces */

static bool
is_one_run(const struct tensor *t)
{
	return (t->more == NULL || t->more->nboxes == 0) && tensor_contiguous(t) && (t->flags & (TENSOR_CONJ | TENSOR_NEG)) == 0;
}

/* Returns the number of elements in as many whole rows of t as fit into most elements. A row may be of any dimension. */
static uint64_t
whole_rows(const struct tensor *t, uint64_t most)
{
	uint64_t n = 1;

	for (unsigned d = t->ndim; d-- > 0;) {
		if (t->shape[d] > most / n)
			return most / n * n;
		n *= t->shape[d];
	}
	return n;
}

static uint64_t
best_piece(const struct make_work *w)
{
	const struct tensor *t = w->task.tensor;
	unsigned size = dtype_size(t->dtype);
	uint64_t most = BOXES_PIECE, n;

	/* Reads at least 64 KiB of each box, but no more in all than fits a processor's cache if that is enough. */
	if (t->more != NULL && t->more->nboxes < BOXES_PIECE / BOX_PIECE)
		most = t->more->nboxes * BOX_PIECE > BOXES_LEAST ? t->more->nboxes * BOX_PIECE : BOXES_LEAST;
	n = is_one_run(t) ? PIECE / size : whole_rows(t, most / size);
	return n > 0 ? n : 1;
}

static bool
reads_parallel(struct ckpt *c, const struct tensor *t)
{
	struct err ignored = ERR_INIT; /* an error is reported when the tensor is read */
	uint64_t offset;

	if (source_is_stream(c->src) || (t->more != NULL && t->more->nboxes > 0))
		return !source_is_stream(c->src);
	return is_one_run(t) && t->storage != STORAGE_NONE && ckpt_locate(c, t->storage, &ignored) == 0 &&
	       ckpt_range(c, t->storage, &offset) != NULL;
}

static bool
is_parallel(const struct make_work *w)
{
	if (!reads_parallel(w->task.inputs[w->task.input], w->task.tensor))
		return false;
	for (unsigned i = 0; i < w->nstages; i++) {
		const struct make *m = w->stages[i].make;

		for (unsigned k = 0; k < m->nmore; k++) {
			struct ckpt *c = w->task.inputs[m->more[k].input];

			if (!reads_parallel(c, &c->tensors[m->more[k].tensor]))
				return false;
		}
	}
	return true;
}

/* ---- running a task */

static struct make_span
piece_of(const struct make_work *w, uint64_t i, unsigned slot)
{
	uint64_t first = i * w->each, left = w->count - first;

	return (struct make_span){ first, (size_t)(left < w->each ? left : w->each), slot };
}

static int
make_one(void *arg, uint64_t i, unsigned slot, struct err *err)
{
	struct make_work *w = arg;
	struct make_span span = piece_of(w, i, slot);

	return pull(w, w->nstages, &span, buf_reserve(&w->made[slot], span.n * w->size), err);
}

static int
take_one(void *arg, uint64_t i, unsigned slot, struct err *err)
{
	struct make_work *w = arg;

	return w->task.take(w->task.arg, w->made[slot].p, piece_of(w, i, slot).n * w->size, err);
}

int
make_all(struct make_work *w, const struct make_task *t, uint64_t *lost, struct err *err)
{
	int rc;

	w->task = *t;
	rc = begin(w, err);
	if (rc == 0 && w->count > 0) {
		w->each = t->piece > 0 ? t->piece : best_piece(w);
		rc = pool_run(is_parallel(w) ? w->pool : NULL, (w->count + w->each - 1) / w->each, make_one, take_one, w, err);
	}
	end(w, lost);
	return rc;
}

void
make_put_grid(struct json_writer *w, const char *key, uint32_t height, uint32_t width)
{
	json_begin_inline_array(json_key(w, key));
	json_put_u64(w, height);
	if (width > 0)
		json_put_u64(w, width);
	json_end_array(w);
}
