#include "make/view.h"

#include <string.h>

struct make_view {
	struct make make;
	struct view view;
};

static const struct view *
of(const struct make *m)
{
	return &((const struct make_view *)m)->view;
}

/* ---- views */

void
view_set_shape(struct view *v, const uint64_t *shape, unsigned ndim)
{
	uint64_t stride = 1; /* Without elements the product means nothing and may overflow. */

	v->ndim = ndim;
	for (unsigned d = ndim; d-- > 0;) {
		v->shape[d] = shape[d];
		v->stride[d] = (int64_t)stride;
		stride *= shape[d] > 0 ? shape[d] : 1;
	}
}

void
view_all(struct view *v, const struct make_form *in)
{
	v->offset = 0;
	view_set_shape(v, in->shape, in->ndim);
}

struct make *
make_view(struct arena *a, const struct view *v)
{
	struct make_view *m = arena_calloc(a, 1, sizeof(*m));

	m->make.kind = &make_kind_view;
	m->view = *v;
	return &m->make;
}

/* Returns how many of the last dimensions form one run of the tensor's elements. All of them do if the view is one run. */
static unsigned
run_dims(const struct view *v)
{
	int64_t stride = 1;
	unsigned d = v->ndim;

	for (; d > 0 && (v->shape[d - 1] <= 1 || v->stride[d - 1] == stride); d--)
		stride *= (int64_t)(v->shape[d - 1] > 0 ? v->shape[d - 1] : 1);
	return v->ndim - d;
}

/* ---- making the result */

static void
shape(const struct make *m, struct make_form *form)
{
	form->ndim = (uint8_t)of(m)->ndim;
	memcpy(form->shape, of(m)->shape, sizeof(form->shape));
}

static bool
gathers(const struct make *m, const struct make_form *in, uint64_t *first)
{
	(void)in;
	*first = of(m)->offset;
	return run_dims(of(m)) == of(m)->ndim;
}

static bool
same(const struct make *a, const struct make *b)
{
	const struct view *x = of(a), *y = of(b);

	return x->offset == y->offset && shape_eq(x->shape, x->ndim, y->shape, y->ndim) &&
	       memcmp(x->stride, y->stride, x->ndim * sizeof(*x->stride)) == 0;
}

static uint64_t
memory(const struct make *m, const struct make_form *in)
{
	uint64_t first;

	return gathers(m, in, &first) ? 0 : make_count(in) * dtype_size((enum dtype)in->dtype);
}

static int
begin(struct make_stage *s, struct err *err)
{
	struct make_span all = make_whole(s);
	uint64_t first;

	return gathers(s->make, &s->in, &first) ? 0 : make_read(s, 0, &all, s->state, err);
}

/* Copies n elements that lie step elements apart. */
static void
take(char *out, const char *in, int64_t step, size_t n, size_t size)
{
	const int64_t bytes = step * (int64_t)size;

	if (step == 1)
		memcpy(out, in, n * size);
	else if (size == 4)
		for (size_t i = 0; i < n; i++, in += bytes)
			memcpy(out + 4 * i, in, 4);
	else if (size == 2)
		for (size_t i = 0; i < n; i++, in += bytes)
			memcpy(out + 2 * i, in, 2);
	else
		for (size_t i = 0; i < n; i++, in += bytes)
			memcpy(out + size * i, in, size);
}

/* Copies runs along the last dimension. index is the position of the next element in the view. */
static void
gather(const struct view *v, const char *in, const struct make_span *span, char *out, size_t size)
{
	uint64_t index[TENSOR_NDIM_MAX + 1] = { 0 }, rest = span->first;
	const unsigned last = v->ndim - 1;
	int64_t at = (int64_t)v->offset;
	size_t n;

	for (unsigned d = v->ndim; d-- > 0; rest /= v->shape[d]) {
		index[d] = rest % v->shape[d];
		at += (int64_t)index[d] * v->stride[d];
	}
	for (size_t done = 0; done < span->n; done += n) {
		n = (size_t)(v->shape[last] - index[last]);
		if (n > span->n - done)
			n = span->n - done;
		take(out + done * size, in + at * (int64_t)size, v->stride[last], n, size);
		index[last] += n;
		at += (int64_t)n * v->stride[last];
		for (unsigned d = last; d > 0 && index[d] == v->shape[d]; d--) {
			at += v->stride[d - 1] - (int64_t)index[d] * v->stride[d];
			index[d] = 0;
			index[d - 1]++;
		}
	}
}

static int
run(const struct make_stage *s, const struct make_span *span, void *out, struct err *err)
{
	struct make_span from = *span;
	uint64_t first;

	if (gathers(s->make, &s->in, &first)) {
		from.first += first;
		return make_read(s, 0, &from, out, err);
	}
	gather(of(s->make), s->state, span, out, dtype_size((enum dtype)s->from));
	return 0;
}

const struct make_kind make_kind_view = {
	.name = "view",
	.action = "made",
	.flags = MAKE_NEW | MAKE_APART,
	.shape = shape,
	.gathers = gathers,
	.memory = memory,
	.same = same,
	.begin = begin,
	.run = run,
};
