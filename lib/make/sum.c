#include "make/sum.h"

#include <string.h>

#include "tensor/convert.h"

struct make_sum {
	struct make make;
	struct make_weights *weights;
	bool floating;
	atomic_bool *differs; /* true once the tensor has been counted as unequal */
};

static const struct make_sum *
of(const struct make *m)
{
	return (const struct make_sum *)m;
}

struct make *
make_sum(struct arena *a, struct make_weights *w, const struct make_input *more, unsigned nmore, enum dtype dtype)
{
	struct make_sum *m = arena_calloc(a, 1, sizeof(*m));

	*m = (struct make_sum){ { .kind = &make_kind_sum, .more = more, .nmore = nmore },
				w,
				dtype_is_float(dtype),
				arena_calloc(a, 1, sizeof(*m->differs)) };
	return &m->make;
}

static enum dtype
carries(const struct make *m, enum dtype in)
{
	return of(m)->floating ? DTYPE_FLOAT64 : in;
}

static bool
same(const struct make *a, const struct make *b)
{
	return of(a)->weights == of(b)->weights;
}

static enum dtype
dtype_of(const struct make_stage *s, unsigned i)
{
	const struct make_input *in = &s->make->more[i - 1];

	return (enum dtype)s->work->task.inputs[in->input]->tensors[in->tensor].dtype;
}

static int
add(const struct make_stage *s, const struct make_span *span, double *out, struct err *err)
{
	const struct make_weights *w = of(s->make)->weights;
	double *v = make_buffer(s, span->slot, span->n * 2 * sizeof(*v));

	for (unsigned i = 0; i <= s->make->nmore; i++) {
		enum dtype dtype = i == 0 ? (enum dtype)s->from : dtype_of(s, i);

		if (make_read(s, i, span, v + span->n, err) < 0)
			return -1;
		convert_decode(dtype, v + span->n, span->n, v);
		for (size_t k = 0; k < span->n; k++)
			out[k] = i == 0 ? w->v[i] * v[k] : out[k] + w->v[i] * v[k];
	}
	for (size_t k = 0; w->divisor != 1 && k < span->n; k++)
		out[k] /= w->divisor;
	convert_doubles(out, span->n);
	return 0;
}

/* Copies the first tensor and compares the others with it. */
static int
compare(const struct make_stage *s, const struct make_span *span, void *out, struct err *err)
{
	const struct make_sum *m = of(s->make);
	size_t n = span->n * dtype_size((enum dtype)s->from);
	void *other = make_buffer(s, span->slot, n);

	if (make_read(s, 0, span, out, err) < 0)
		return -1;
	for (unsigned i = 1; i <= s->make->nmore; i++) {
		if (make_read(s, i, span, other, err) < 0)
			return -1;
		if (memcmp(out, other, n) != 0 && !atomic_exchange(m->differs, true))
			atomic_fetch_add(&m->weights->unequal, 1);
	}
	return 0;
}

static int
run(const struct make_stage *s, const struct make_span *span, void *out, struct err *err)
{
	return of(s->make)->floating ? add(s, span, out, err) : compare(s, span, out, err);
}

const struct make_kind make_kind_sum = {
	.name = "sum",
	.action = "made",
	.flags = MAKE_NEW | MAKE_APART,
	.carries = carries,
	.same = same,
	.run = run,
};
