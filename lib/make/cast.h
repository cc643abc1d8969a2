/*
 * cast: the maker that gives a tensor another dtype, rounding once to nearest, ties to even (tensor/convert.h).
 */
#ifndef LNN_MAKE_CAST_H
#define LNN_MAKE_CAST_H

#include "make/make.h"

/* Returns a maker that casts to a floating-point dtype. It may be used for tensors that convert_castable permits. */
struct make *make_cast(struct arena *a, enum dtype to);

#endif
