/*
 * rows: the tensors of a state dict that are shown, and their order.
 */
#ifndef LNN_ROWS_H
#define LNN_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "tensor/ckpt.h"

struct inspect;

enum rows_order { SORT_FILE, SORT_NAME, SORT_NATURAL, SORT_SIZE };

/* A tensor that is shown. */
struct row {
	struct str name;
	const struct tensor *t;
	uint64_t nbytes;
	uint32_t entry;  /* index in the state dict */
	uint32_t count;  /* number of tensors that the row stands for; 0: it is folded into another row */
	struct str like; /* a key that rows must share to be folded; empty: use dtype and shape of t */
};

struct rows {
	struct row *v;
	size_t n;
	struct arena arena; /* names made by folding */
	/* rows_fold calls joined for each row that is folded into another one, with the members entry of both. May be NULL. */
	void (*joined)(void *arg, size_t to, size_t from);
	void *joined_arg;
};

/* Do -e and -v select name? Returns -1 if a regular expression needs too much effort. */
int rows_chosen(const struct inspect *in, struct str name, bool *yes, struct err *err);

/* Makes rows of the tensors that -e and -v select, in the order of the file. Fails like rows_chosen. */
int rows_choose(struct rows *r, const struct inspect *in, const struct statedict *sd, struct err *err);
void rows_sort(struct rows *r, enum rows_order order);

/*
 * Folds rows of one dtype and shape whose names differ in a single number. The first row then stands for all of them, with a name
 * like blocks.{0..23}.attn.qkv.weight.
 */
void rows_fold(struct rows *r);

void rows_release(struct rows *r);

#endif
