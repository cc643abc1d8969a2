/*
 * rows: which tensors of a state dict are shown, and in which order.
 */
#ifndef LNN_ROWS_H
#define LNN_ROWS_H

#include "inspect.h"

/* Is name one of those that -e and -v are after? 0, or -1 (a regular expression took too much effort). */
int rows_chosen(const struct inspect *in, struct str name, bool *yes, struct err *e);

/* Chosen by -e and -v, in the order of the file. 0 or -1 (a regular expression took too much effort). */
int rows_choose(struct rows *r, const struct inspect *in, const struct statedict *sd, struct err *e);
void rows_sort(struct rows *r, enum sort sort);

/*
 * Tensors of one dtype and shape whose names differ in one number only become one row, at the place of the first:
 * blocks.{0..23}.attn.qkv.weight.
 */
void rows_fold(struct rows *r);

void rows_release(struct rows *r);

#endif
