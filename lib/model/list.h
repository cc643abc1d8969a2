/*
 * list: tensor lists, lnn-tensors(5). Each line is one tensor: NAME <TAB> DTYPE <TAB> SHAPE [<TAB> KEY=VALUE].... Raw records are
 * names that NUL ends.
 *
 * Lists are processed as they arrive. Memory does not depend on the length of the list, only on that of the longest line, which is
 * at most LIST_MAX_LINE.
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
	struct str raw;     /* the line as in the list, without its terminator; borrowed until the next read */
	struct entry entry; /* the parsed line; its texts are borrowed until the next read */
	uint64_t number;    /* line or record number, from 1 */
};

struct list_reader {
	struct source *src; /* borrowed */
	const char *file;   /* for messages */
	bool null;
	/* private */
	char *block;
	size_t size, start, end; /* block[start..end) has not been returned yet */
	uint64_t at;             /* offset in the source of block[end] */
	uint64_t number;
	bool eof;
	struct buf scratch;
	uint64_t shape[TENSOR_NDIM_MAX];
};

/* Opens a list at the source's first byte. null says that records are raw names that NUL ends. */
void list_open(struct list_reader *r, struct source *src, bool null);
void list_release(struct list_reader *r);

/*
 * Reads the next line that is neither blank nor a comment. Returns 1, 0 at the end, or -1. Errors begin with "FILE:LINE: ". They
 * are: a bad escape, an invalid shape, a requires_grad other than true or false, a line that is too long.
 */
int list_next(struct list_reader *r, struct list_line *out, struct err *err);

/* Is more input available, so that list_next need not wait? */
bool list_pending(const struct list_reader *r);

/* The terminator of a line: a newline; NUL after the raw name alone; or nothing, so that the caller can append fields. */
enum list_end { LIST_NEWLINE, LIST_NULL, LIST_OPEN };

/*
 * Appends e as a line. If only the name is known, the line is the name. An unknown dtype or shape is left empty if further fields
 * follow. Fails with ERR_INPUT if the name contains a NUL.
 */
int list_put(struct buf *out, const struct entry *e, enum list_end end, struct err *err);

#endif
