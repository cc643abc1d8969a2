/*
 * digest: SHA-256 of the contents of tensors, and of a whole state dict.
 *
 * The contents of a tensor are its elements as boxes.h gives them: in row-major order, little-endian, conjugation and
 * negation resolved. So they do not depend on views, strides and containers. The digest of a tensor that is made of parts
 * is that of the lines that digest_line makes of its parts. One without data has none, which is written as "-".
 *
 * The identity of a state dict is the digest of such lines of all its tensors, sorted by their bytes.
 */
#ifndef LNN_STATS_DIGEST_H
#define LNN_STATS_DIGEST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "tensor/tensor.h"

struct digest {
	bool known; /* false: there is no data */
	unsigned char sha256[32];
};

/* Of bytes. */
struct digest digest_of(struct str bytes);

/* Appends the 64 digits, or "-". */
void digest_put(struct buf *b, const struct digest *d);

/* Appends "NAME <TAB> DTYPE <TAB> SHAPE <TAB> HEX <LF>", the name escaped as in tensor lists. */
void digest_line(struct buf *b, struct str name, const struct tensor *t, const struct digest *d);

/* The identity: lines are n lines of digest_line, which are put into order. */
struct digest digest_model(struct str *lines, size_t n);

#endif
