#include "make/rows.h"

#include <string.h>

struct make_rows {
	struct make make;
	const uint64_t *from;
	size_t n;
};

static const struct make_rows *
of(const struct make *m)
{
	return (const struct make_rows *)m;
}

struct make *
make_rows(struct arena *a, const uint64_t *from, size_t n)
{
	struct make_rows *m = arena_calloc(a, 1, sizeof(*m));

	*m = (struct make_rows){ { .kind = &make_kind_rows }, from, n };
	return &m->make;
}

static void
shape(const struct make *m, struct make_form *form)
{
	form->shape[0] = of(m)->n;
}

static bool
same(const struct make *a, const struct make *b)
{
	const struct make_rows *x = of(a), *y = of(b);

	return x->n == y->n && (x->from == y->from || memcmp(x->from, y->from, x->n * sizeof(*x->from)) == 0);
}

/* Returns how many rows from row i on, at most most, are all zeros or follow each other in the tensor. */
static size_t
alike(const struct make_rows *m, size_t i, size_t most)
{
	size_t n = 1;

	while (n < most && m->from[i + n] == (m->from[i] == ROWS_ZERO ? ROWS_ZERO : m->from[i] + n))
		n++;
	return n;
}

static int
run(const struct make_stage *s, const struct make_span *span, void *out, struct err *err)
{
	const struct make_rows *m = of(s->make);
	const uint64_t size = make_count(&s->out) / m->n, end = span->first + span->n;
	const size_t bytes = dtype_size((enum dtype)s->from);
	struct make_span piece = *span;

	for (uint64_t at = span->first; at < end; at += piece.n) {
		size_t row = (size_t)(at / size), last = (size_t)((end - 1) / size);
		char *to = (char *)out + (at - span->first) * bytes;

		piece.n = (size_t)(alike(m, row, last - row + 1) * size - at % size);
		if (piece.n > end - at)
			piece.n = (size_t)(end - at);
		piece.first = m->from[row] * size + at % size;
		if (m->from[row] == ROWS_ZERO)
			memset(to, 0, piece.n * bytes);
		else if (make_read(s, 0, &piece, to, err) < 0)
			return -1;
	}
	return 0;
}

const struct make_kind make_kind_rows = {
	.name = "rows",
	.action = "made",
	.flags = MAKE_NEW | MAKE_APART | MAKE_REREADS | MAKE_STAYS,
	.shape = shape,
	.same = same,
	.run = run,
};
