#include "make/input_layer.h"

#include <inttypes.h>
#include <string.h>

#include "position/kernel.h"
#include "tensor/convert.h"

/* Limits: numbers in a matrix, numbers in a weight, pixels on a side of a patch. Real weights have at most a tenth of these. */
enum { MATRIX_MAX = 1 << 22, WEIGHT_MAX = 1 << 26, PATCH_MAX = 512 };

struct make_input_layer {
	struct make make;
	unsigned axis;
	uint64_t from, to;
	const double *matrix; /* [to][from] */
};

static const struct make_input_layer *
of(const struct make *m)
{
	return (const struct make_input_layer *)m;
}

/* ---- constructors */

static int
check(const struct make_form *in, unsigned axis, uint64_t n, struct err *err)
{
	uint64_t from = in->ndim == 4 ? in->shape[axis] : 0;

	if (in->ndim != 4 || make_count(in) == 0)
		return err_set(err, ERR_INPUT, "a weight [out, channels, height, width] was expected");
	if (!dtype_is_float((enum dtype)in->dtype) || !convert_known((enum dtype)in->dtype))
		return err_set(err, ERR_INPUT, "a floating weight was expected, not %s", dtype_name((enum dtype)in->dtype));
	if (n == 0 || n > MATRIX_MAX / from || make_count(in) > WEIGHT_MAX || make_count(in) / from > WEIGHT_MAX / n)
		return err_set(err, ERR_INPUT, "a change of an input layer from %" PRIu64 " to %" PRIu64 " is out of range", from,
			       n);
	return 0;
}

static struct make_input_layer *
layer(struct arena *a, const struct make_form *in, unsigned axis, uint64_t n)
{
	struct make_input_layer *m = arena_calloc(a, 1, sizeof(*m));

	*m = (struct make_input_layer){ { .kind = &make_kind_input_layer }, axis, in->shape[axis], n, NULL };
	return m;
}

struct make *
make_channels(struct arena *a, const struct make_form *in, uint64_t n, bool thirds, struct err *err)
{
	struct make_input_layer *m;
	double *matrix;

	if (check(in, 1, n, err) < 0)
		return NULL;
	m = layer(a, in, 1, n);
	m->matrix = matrix = arena_calloc(a, (size_t)(m->from * n), sizeof(*matrix));
	kernel_channels(matrix, (size_t)m->from, (size_t)n, thirds);
	return &m->make;
}

struct make *
make_patch(struct arena *a, const struct make_form *in, unsigned axis, uint64_t n, struct err *err)
{
	struct make_input_layer *m;
	double *matrix;

	if (check(in, axis, n, err) < 0)
		return NULL;
	if (in->shape[axis] > PATCH_MAX || n > PATCH_MAX) {
		err_set(err, ERR_INPUT, "a patch has at most %d pixels a side", PATCH_MAX);
		return NULL;
	}
	m = layer(a, in, axis, n);
	m->matrix = matrix = arena_calloc(a, (size_t)(m->from * n), sizeof(*matrix));
	kernel_patch(matrix, (size_t)m->from, (size_t)n);
	return &m->make;
}

/* ---- making the result */

static void
shape(const struct make *m, struct make_form *form)
{
	form->shape[of(m)->axis] = of(m)->to;
}

static enum dtype
carries(const struct make *m, enum dtype in)
{
	(void)m, (void)in;
	return DTYPE_FLOAT64;
}

static bool
same(const struct make *a, const struct make *b)
{
	const struct make_input_layer *x = of(a), *y = of(b);

	return x->axis == y->axis && x->from == y->from && x->to == y->to &&
	       memcmp(x->matrix, y->matrix, (size_t)(x->from * x->to) * sizeof(double)) == 0;
}

/* Room for the result and the weight as doubles, then for the weight as stored. */
static uint64_t
memory(const struct make *m, const struct make_form *in)
{
	uint64_t n = make_count(in);

	return (n / of(m)->from * of(m)->to + n) * sizeof(double) + n * dtype_size((enum dtype)in->dtype);
}

/* Multiplies a block of the weight, [from][inner], by the matrix. Gives a block of the result, [to][inner]. */
static void
multiply(const struct make_input_layer *m, const double *in, double *out, size_t inner)
{
	for (size_t i = 0; i < m->to; i++) {
		memset(out + i * inner, 0, inner * sizeof(*out));
		for (size_t j = 0; j < m->from; j++) {
			double w = m->matrix[i * m->from + j];

			for (size_t k = 0; w != 0 && k < inner; k++)
				out[i * inner + k] += w * in[j * inner + k];
		}
	}
}

static int
begin(struct make_stage *s, struct err *err)
{
	const struct make_input_layer *m = of(s->make);
	struct make_span all = make_whole(s);
	double *out = s->state, *in = out + all.n / m->from * m->to;
	size_t inner = 1;

	if (make_read(s, 0, &all, in + all.n, err) < 0)
		return -1;
	convert_decode((enum dtype)s->from, in + all.n, all.n, in);
	for (unsigned d = m->axis + 1; d < s->in.ndim; d++)
		inner *= s->in.shape[d];
	for (size_t at = 0; at < all.n / (m->from * inner); at++)
		multiply(m, in + at * m->from * inner, out + at * m->to * inner, inner);
	convert_doubles(out, all.n / m->from * m->to);
	return 0;
}

static int
run(const struct make_stage *s, const struct make_span *span, void *out, struct err *err)
{
	(void)err;
	memcpy(out, (const double *)s->state + span->first, span->n * sizeof(double));
	return 0;
}

const struct make_kind make_kind_input_layer = {
	.name = "input layer",
	.action = "made",
	.flags = MAKE_NEW | MAKE_APART,
	.shape = shape,
	.carries = carries,
	.memory = memory,
	.same = same,
	.begin = begin,
	.run = run,
};
