/*
 * values: what a pickle denotes beside tensors, as text.
 */
#ifndef LNN_VALUES_H
#define LNN_VALUES_H

#include <stdint.h>

#include "base/buf.h"
#include "tensor/ckpt.h"

/* An integer beyond 64 bits (VALUE_BIGINT), all its digits; beyond 16 KiB of them in hexadecimal. */
void values_bigint(struct buf *b, struct str bytes);

/* "dict", "list", "torch.Size", ...: what a value is called. */
void values_what(struct buf *b, const struct ckpt *c, uint32_t h);

/* Sums over tensors. */
struct holding {
	uint64_t tensors, numel, nbytes;
};
void holding_add(struct holding *sum, const struct holding *h);

/* "12 tensors, 86.6M elements, 330 MiB" */
void holding_put(struct buf *b, const struct holding *h);

/* Adds what is below a value: distinct tensors and their bytes. seen (a byte a node of the tree, cleared) is kept. */
void values_holding(const struct ckpt *c, uint32_t h, uint8_t *seen, struct holding *sum);

#endif
