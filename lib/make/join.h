/*
 * join: the maker that puts tensors behind each other along a dimension, or zeros behind a tensor. Along the first dimension
 * they are read as they are needed. Along any other they are taken into memory.
 */
#ifndef LNN_MAKE_JOIN_H
#define LNN_MAKE_JOIN_H

#include "make/make.h"

/* Tensors that follow on that of the entry, and their sizes along the dimension. Their other sizes and dtypes are the same. */
struct make_parts {
	const struct make_input *inputs;
	const uint64_t *sizes;
	unsigned n;
};

struct make *make_join(struct arena *a, const struct make_form *first, unsigned dim, const struct make_parts *more);

/* Zeros, up to size along dim. */
struct make *make_pad(struct arena *a, const struct make_form *in, unsigned dim, uint64_t size);

#endif
