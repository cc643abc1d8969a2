/*
 * values: text for the values of a pickle that are not tensors.
 */
#ifndef LNN_VALUES_H
#define LNN_VALUES_H

#include <stdint.h>

#include "base/buf.h"
#include "tensor/ckpt.h"

/* Writes an integer beyond 64 bits (VALUE_BIGINT). Integers of more than 16 KiB are written in hexadecimal. */
void values_bigint(struct buf *b, struct str bytes);

/* Writes the type name of a value: "dict", "list", "torch.Size", ... */
void values_what(struct buf *b, const struct ckpt *c, uint32_t h);

/* The number of tensors, elements and bytes. */
struct holding {
	uint64_t tensors, numel, nbytes;
};
void holding_add(struct holding *sum, const struct holding *h);

/* Writes "12 tensors, 86.6M elements, 330 MiB". */
void holding_put(struct buf *b, const struct holding *h);

/* Returns the size in bytes of a tensor; for a composite tensor, that of its parts. */
uint64_t values_nbytes(const struct tensor *t);

/*
 * Adds the distinct tensors at or below a value to *sum. seen has one byte for each node of the tree; it is zero at first, and
 * keeps what was counted for further calls.
 */
void values_holding(const struct ckpt *c, uint32_t h, uint8_t *seen, struct holding *sum);

#endif
