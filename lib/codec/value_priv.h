/*
 * What the files of value share among themselves: tuples whose items become
 * known after the tuple itself, as a copy of a cycle needs them.
 */
#ifndef LNN_CODEC_VALUE_PRIV_H
#define LNN_CODEC_VALUE_PRIV_H

#include "codec/value.h"

/* A tuple (or PERSID, with n == 1) of n items that are all None, to be set by value_put_item. n > 0. */
uint32_t value_new_blank(struct vtree *t, enum value_kind kind, size_t n);
void value_put_item(struct vtree *t, uint32_t h, size_t i, uint32_t item);

#endif
