/*
 * cast: the maker that gives a tensor another dtype, rounding once to nearest, ties to even (tensor/convert.h).
 */
#ifndef LNN_MAKE_CAST_H
#define LNN_MAKE_CAST_H

#include "make/make.h"

/* A cast to a floating dtype, for tensors from which convert_castable allows it. */
struct make *make_cast(struct arena *a, enum dtype to);

#endif
