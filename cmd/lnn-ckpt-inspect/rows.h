/*
 * rows: which tensors of a state dict are shown, and in which order.
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

/* A tensor that is to be shown. */
struct row {
	struct str name;
	const struct tensor *t;
	uint64_t nbytes;
	uint32_t entry;  /* index in the state dict */
	uint32_t count;  /* how many tensors it stands for; 0: it is folded into another */
	struct str like; /* what rows that are folded have in common; empty: dtype and shape of t */
};

struct rows {
	struct row *v;
	size_t n;
	struct arena arena; /* of names made by folding */
	/* Told by rows_fold, by their entries, of each row that is folded into another one. May be NULL. */
	void (*joined)(void *arg, size_t to, size_t from);
	void *joined_arg;
};

/* Do -e and -v choose name? 0, or -1 (a regular expression took too much effort). */
int rows_chosen(const struct inspect *in, struct str name, bool *yes, struct err *err);

/* Rows for the tensors that -e and -v choose, in the order of the file. 0 or -1 (as rows_chosen). */
int rows_choose(struct rows *r, const struct inspect *in, const struct statedict *sd, struct err *err);
void rows_sort(struct rows *r, enum rows_order order);

/*
 * Makes one row of tensors that are alike (of one dtype and shape) whose names differ in one number only, at the place of
 * the first:
 * blocks.{0..23}.attn.qkv.weight.
 */
void rows_fold(struct rows *r);

void rows_release(struct rows *r);

#endif
