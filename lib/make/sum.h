/*
 * sum: the maker that adds tensors of one shape with weights. The first is the tensor of the entry. The sum is computed in double
 * precision. If the dtype is not floating-point, the first tensor is copied instead.
 */
#ifndef LNN_MAKE_SUM_H
#define LNN_MAKE_SUM_H

#include <stdatomic.h>

#include "make/make.h"

/* Parameters shared by the sums of all tensors of a model. */
struct make_weights {
	const double *v; /* weights of the first and of each further tensor; they must live as long as the makers */
	double divisor;
	atomic_ullong unequal; /* number of tensors that are not floating-point and not equal in all inputs */
};

/*
 * Returns a maker for the sum of the entry's tensor, which has the given dtype, and nmore further tensors. w->v has nmore + 1
 * weights. Either all tensors are floating-point or none is.
 */
struct make *make_sum(struct arena *a, struct make_weights *w, const struct make_input *more, unsigned nmore, enum dtype dtype);

#endif
