/*
 * rows: the maker whose rows, along the first dimension, are chosen rows of the tensor, or zeros.
 */
#ifndef LNN_MAKE_ROWS_H
#define LNN_MAKE_ROWS_H

#include "make/make.h"

#define ROWS_ZERO UINT64_MAX

/* from: by row of the result, the row of the tensor or ROWS_ZERO; it lives as long as the maker. */
struct make *make_rows(struct arena *a, const uint64_t *from, size_t n);

#endif
