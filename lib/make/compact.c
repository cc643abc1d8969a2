/*
 * compact: the maker that copies a tensor out of a larger storage. The result has a storage of its own, in which its elements lie
 * in row-major order without gaps.
 */
#include "make/make.h"

static bool
gathers(const struct make *m, const struct make_form *in, uint64_t *first)
{
	(void)m, (void)in;
	*first = 0;
	return true;
}

static int
run(const struct make_stage *s, const struct make_span *span, void *out, struct err *err)
{
	return make_read(s, 0, span, out, err);
}

const struct make_kind make_kind_compact = {
	.name = "compact",
	.action = "compacted",
	.gathers = gathers,
	.run = run,
};
