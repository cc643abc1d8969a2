/*
 * list: tensor lists, lnn-tensors(5): one tensor a line,
 * NAME <TAB> DTYPE <TAB> SHAPE [<TAB> KEY=VALUE]..., or, with raw records, names ended by NUL.
 *
 * Lists are read as they arrive, in memory that does not depend on their length: as much as the
 * longest line takes, which is at most LIST_MAX_LINE.
 */
#ifndef LNN_MODEL_LIST_H
#define LNN_MODEL_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/str.h"
#include "io/source.h"
#include "model/entry.h"
#include "tensor/tensor.h"

struct list_line {
	struct str raw;     /* as it stands in the list, without what ends it; borrowed until the next read */
	struct entry entry; /* name unescaped; borrowed likewise */
	uint64_t number;    /* of the line (or record), from 1 */
};

struct list_reader {
	struct source *src; /* borrowed */
	const char *file;   /* for messages */
	bool null;
	/* private */
	char *block;
	size_t size, start, end; /* block[start..end) is not yet given out */
	uint64_t at;             /* source offset of block[end] */
	uint64_t number;
	bool eof;
	struct buf scratch;
	uint64_t shape[TENSOR_NDIM_MAX];
};

/* null: records are raw names ended by NUL. Reading begins at the source's first byte. */
void list_open(struct list_reader *r, struct source *src, bool null);
void list_release(struct list_reader *r);

/*
 * The next line that is neither blank nor a comment: 1, 0 at the end, or -1. Errors are "FILE:LINE: ...": a
 * bad escape, a shape that is none, a requires_grad that is neither true nor false, a line too long.
 */
int list_next(struct list_reader *r, struct list_line *out, struct err *err);

/* Are further lines at hand, so that list_next would not have to wait for input? */
bool list_pending(const struct list_reader *r);

/* What ends a line: a newline; NUL, behind the raw name alone; nothing, so that the caller can add fields. */
enum list_end { LIST_NEWLINE, LIST_NULL, LIST_OPEN };

/*
 * Adds e as a line: the name alone if nothing else is known of it; an unknown dtype or shape that others follow is left
 * empty. ERR_INPUT if the name holds a NUL.
 */
int list_put(struct buf *out, const struct entry *e, enum list_end end, struct err *err);

#endif
