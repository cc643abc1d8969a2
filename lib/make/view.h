/*
 * view: the maker that rearranges the elements of a tensor at fixed strides: a slice, a part of a split, a reshape, a permutation,
 * a flip. A view that is one run of the tensor is read as it is needed. For any other view the tensor is read into memory as a
 * whole.
 */
#ifndef LNN_MAKE_VIEW_H
#define LNN_MAKE_VIEW_H

#include "make/make.h"

/* Strides are in elements of the tensor and may be negative. */
struct view {
	unsigned ndim;
	uint64_t shape[TENSOR_NDIM_MAX];
	int64_t stride[TENSOR_NDIM_MAX];
	uint64_t offset; /* position of the first element */
};

/* Sets v to all of a tensor of form in, unchanged. */
void view_all(struct view *v, const struct make_form *in);

/* Gives a view without gaps another shape with the same number of elements, in row-major order. offset stays. */
void view_set_shape(struct view *v, const uint64_t *shape, unsigned ndim);

struct make *make_view(struct arena *a, const struct view *v);

#endif
