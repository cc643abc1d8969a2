/*
 * rows: the maker that builds a result from selected rows, along the first dimension, of a tensor. A row may also be zeros.
 */
#ifndef LNN_MAKE_ROWS_H
#define LNN_MAKE_ROWS_H

#include "make/make.h"

#define ROWS_ZERO UINT64_MAX

/*
 * Returns a maker. from has, for each of the n rows of the result, the row of the tensor or ROWS_ZERO. It must live as long as the
 * maker.
 */
struct make *make_rows(struct arena *a, const uint64_t *from, size_t n);

#endif
