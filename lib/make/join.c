#include "make/join.h"

#include <string.h>

/*
 * The result consists of outer blocks of inner elements. A block consists of one chunk of each part, in order. The chunk of part i
 * begins at edge[i] of the block and ends at edge[i + 1]. If there is one block, the chunks are the parts.
 */
struct make_join {
	struct make make;
	unsigned dim;
	uint64_t size, outer, inner; /* size of the result along dim; blocks; elements of a block */
	unsigned nparts;             /* including the part of zeros, which is the last */
	bool zeros;
	uint64_t *edge;
};

static const struct make_join *
of(const struct make *m)
{
	return (const struct make_join *)m;
}

/* ---- constructors */

static struct make_join *
join(struct arena *a, const struct make_form *in, unsigned dim, const uint64_t *sizes, unsigned n)
{
	struct make_join *m = arena_calloc(a, 1, sizeof(*m));
	uint64_t row = 1;

	*m = (struct make_join){ .make = { .kind = &make_kind_join }, .dim = dim, .outer = 1, .nparts = n + 1 };
	for (unsigned d = 0; d < dim; d++)
		m->outer *= in->shape[d];
	for (unsigned d = dim + 1; d < in->ndim; d++)
		row *= in->shape[d];
	m->edge = arena_calloc(a, n + 2, sizeof(*m->edge));
	for (unsigned i = 0; i <= n; i++) {
		uint64_t size = i == 0 ? in->shape[dim] : sizes[i - 1];

		m->size += size;
		m->edge[i + 1] = m->edge[i] + size * row;
	}
	m->inner = m->edge[n + 1];
	return m;
}

struct make *
make_join(struct arena *a, const struct make_form *first, unsigned dim, const struct make_parts *more)
{
	struct make_join *m = join(a, first, dim, more->sizes, more->n);

	m->make.more = more->inputs;
	m->make.nmore = more->n;
	return &m->make;
}

struct make *
make_pad(struct arena *a, const struct make_form *in, unsigned dim, uint64_t size)
{
	uint64_t zeros = size - in->shape[dim];
	struct make_join *m = join(a, in, dim, &zeros, 1);

	m->zeros = true;
	return &m->make;
}

/* ---- making the result */

static void
shape(const struct make *m, struct make_form *form)
{
	form->shape[of(m)->dim] = of(m)->size;
}

static bool
same(const struct make *a, const struct make *b)
{
	const struct make_join *x = of(a), *y = of(b);

	return x->dim == y->dim && x->size == y->size && x->zeros == y->zeros;
}

static bool
is_zeros(const struct make_join *m, unsigned part)
{
	return m->zeros && part == m->nparts - 1;
}

/* Room for all parts except zeros, one after the other. None if the parts follow each other in the result. */
static uint64_t
memory(const struct make *m, const struct make_form *in)
{
	const struct make_join *j = of(m);

	return j->outer == 1 ? 0 : j->outer * j->edge[j->zeros ? 1 : j->nparts] * dtype_size((enum dtype)in->dtype);
}

static int
begin(struct make_stage *s, struct err *err)
{
	const struct make_join *m = of(s->make);
	size_t size = dtype_size((enum dtype)s->from);
	struct make_span all = { 0 };

	for (unsigned i = 0; m->outer != 1 && i < m->nparts && !is_zeros(m, i); i++) {
		all.n = (size_t)(m->outer * (m->edge[i + 1] - m->edge[i]));
		if (all.n > 0 && make_read(s, i, &all, (char *)s->state + m->outer * m->edge[i] * size, err) < 0)
			return -1;
	}
	return 0;
}

/* Copies the elements of span of a part's chunk in a block. */
static int
put(const struct make_stage *s, unsigned part, uint64_t block, const struct make_span *span, void *out, struct err *err)
{
	const struct make_join *m = of(s->make);
	size_t size = dtype_size((enum dtype)s->from);
	uint64_t chunk = m->edge[part + 1] - m->edge[part];

	if (is_zeros(m, part))
		memset(out, 0, span->n * size);
	else if (m->outer == 1)
		return make_read(s, part, span, out, err);
	else
		memcpy(out, (char *)s->state + (m->outer * m->edge[part] + block * chunk + span->first) * size, span->n * size);
	return 0;
}

static int
run(const struct make_stage *s, const struct make_span *span, void *out, struct err *err)
{
	const struct make_join *m = of(s->make);
	size_t size = dtype_size((enum dtype)s->from);
	uint64_t block = span->first / m->inner, at = span->first % m->inner;
	struct make_span piece = *span;
	unsigned part = 0;

	for (size_t done = 0; done < span->n; done += piece.n, at += piece.n) {
		if (at == m->inner) {
			block++;
			part = 0;
			at = 0;
		}
		while (m->edge[part + 1] <= at)
			part++;
		piece.first = at - m->edge[part];
		piece.n = (size_t)(m->edge[part + 1] - at);
		if (piece.n > span->n - done)
			piece.n = span->n - done;
		if (put(s, part, block, &piece, (char *)out + done * size, err) < 0)
			return -1;
	}
	return 0;
}

const struct make_kind make_kind_join = {
	.name = "join",
	.action = "made",
	.flags = MAKE_NEW | MAKE_APART,
	.shape = shape,
	.memory = memory,
	.same = same,
	.begin = begin,
	.run = run,
};
