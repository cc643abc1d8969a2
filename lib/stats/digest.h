/*
 * digest: SHA-256 of the contents of tensors and of a whole state dict.
 *
 * The contents of a tensor are its elements as boxes.h returns them: in row-major order, little-endian, with conjugation and
 * negation resolved. Digests therefore do not depend on views, strides and containers. The digest of a composite tensor is the
 * digest of the lines that digest_line writes for its parts. A tensor without data has no digest, which is written as "-".
 *
 * The identity of a state dict is the digest of the lines of all its tensors, sorted by their bytes.
 */
#ifndef LNN_STATS_DIGEST_H
#define LNN_STATS_DIGEST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "tensor/tensor.h"

struct digest {
	bool known; /* false for a tensor without data */
	unsigned char sha256[32];
};

/* Returns the digest of n texts one after the other. They are sorted in place by their bytes. */
struct digest digest_of(struct str *texts, size_t n);

/* Appends 64 hex digits, or "-". */
void digest_put(struct buf *b, const struct digest *d);

/* Appends "NAME <TAB> DTYPE <TAB> SHAPE <TAB> HEX <LF>". The name is escaped as in tensor lists. */
void digest_line(struct buf *b, struct str name, const struct tensor *t, const struct digest *d);
#endif
