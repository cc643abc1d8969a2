/*
 * sum: the maker whose result is a weighted sum of tensors of one shape, of which the entry's is the first. It is made in
 * double precision. Tensors that are not floating are not added: the first is copied.
 */
#ifndef LNN_MAKE_SUM_H
#define LNN_MAKE_SUM_H

#include <stdatomic.h>

#include "make/make.h"

/* How a sum is made, for all tensors of a model. */
struct make_weights {
	const double *v; /* of the first tensor, and of each further one; they live as long as the makers */
	double divisor;
	atomic_ullong unequal; /* grows by 1 for each tensor that is not floating and not equal everywhere */
};

/* more: the further tensors, one weight less than there are weights; they are floating if dtype is. */
struct make *make_sum(struct arena *a, struct make_weights *w, const struct make_input *more, unsigned nmore, enum dtype dtype);

#endif
