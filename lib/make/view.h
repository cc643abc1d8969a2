/*
 * view: the maker whose result is made of elements of the tensor as they are, at fixed distances: a slice, a part of a split,
 * a reshape, a permutation, a flip. A view that is one run of the tensor is read as it is needed. Any other takes the tensor
 * into memory.
 */
#ifndef LNN_MAKE_VIEW_H
#define LNN_MAKE_VIEW_H

#include "make/make.h"

/* Element i of dimension d is stride[d] elements behind element i - 1 in the tensor, or before it. */
struct view {
	unsigned ndim;
	uint64_t shape[TENSOR_NDIM_MAX];
	int64_t stride[TENSOR_NDIM_MAX];
	uint64_t offset; /* of the first element */
};

/* All of a tensor of form in, as it is. */
void view_all(struct view *v, const struct make_form *in);

/* Gives v another shape, which has as many elements: dimensions from the last on are what they are in C order. */
void view_set_shape(struct view *v, const uint64_t *shape, unsigned ndim);

struct make *make_view(struct arena *a, const struct view *v);

#endif
