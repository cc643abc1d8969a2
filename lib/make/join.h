/*
 * join: the maker that concatenates tensors along a dimension, or appends zeros to a tensor. Along the first dimension the tensors
 * are read as they are needed. Along any other dimension they are read into memory as a whole.
 */
#ifndef LNN_MAKE_JOIN_H
#define LNN_MAKE_JOIN_H

#include "make/make.h"

/*
 * The tensors that follow the entry's own tensor, and their sizes along the dimension. Their other sizes and their dtypes equal
 * those of the entry's tensor.
 */
struct make_parts {
	const struct make_input *inputs;
	const uint64_t *sizes;
	unsigned n;
};

struct make *make_join(struct arena *a, const struct make_form *first, unsigned dim, const struct make_parts *more);

/* Returns a maker that appends zeros along dim until the tensor has the given size. */
struct make *make_pad(struct arena *a, const struct make_form *in, unsigned dim, uint64_t size);

#endif
