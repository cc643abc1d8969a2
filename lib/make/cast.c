#include "make/cast.h"

#include "tensor/convert.h"

struct make_cast {
	struct make make;
	enum dtype to;
};

static enum dtype
target(const struct make *m)
{
	return ((const struct make_cast *)m)->to;
}

struct make *
make_cast(struct arena *a, enum dtype to)
{
	struct make_cast *m = arena_calloc(a, 1, sizeof(*m));

	*m = (struct make_cast){ .make = { .kind = &make_kind_cast }, .to = to };
	return &m->make;
}

static void
shape(const struct make *m, struct make_form *form)
{
	form->dtype = (uint8_t)target(m);
}

static enum dtype
carries(const struct make *m, enum dtype in)
{
	(void)in;
	return target(m);
}

static bool
same(const struct make *a, const struct make *b)
{
	return target(a) == target(b);
}

static uint64_t
each(const struct make_stage *s, const void *in, size_t n, void *out)
{
	return convert_cast(s->from, in, s->to, n, out);
}

const struct make_kind make_kind_cast = {
	.name = "cast",
	.action = "cast",
	.shape = shape,
	.carries = carries,
	.same = same,
	.each = each,
};
