/*
 * inplace: --in-place and --recover of lnn-ckpt-adapt.
 */
#ifndef LNN_ADAPT_INPLACE_H
#define LNN_ADAPT_INPLACE_H

#include "adapt.h"
#include "io/undo.h"

/* Fails with ERR_USAGE for options that --in-place excludes, and for options that require it. */
int inplace_check_options(const struct adapt_options *o, const struct operands *operands, struct err *err);

/* Opens the file to be edited. */
int inplace_open(struct adapt *a, struct input *in, const char *path, struct err *err);

/*
 * Checks the edits of a plan. Fails with ERR_USAGE if an entry gets new bytes, or if something is dropped without an option on the
 * command line. Returns 1 if names or metadata change, 0 if nothing changes.
 */
int inplace_check(const struct plan *p, struct err *err);

/*
 * Computes the changes to the file of the plan's only input. s is the plan sealed as SEAL_KEPT. Fails with ERR_INPUT if the changes
 * cannot be made in place. The caller must call undo_release even after an error.
 */
int inplace_plan(struct adapt *a, struct sealed *s, struct undo_edit *u, struct err *err);

/* Edits the file. ready is called after the edit, when it can still be undone; if it fails, the edit is undone. */
int inplace_apply(struct adapt *a, struct undo_edit *u, int (*ready)(void *arg, struct err *err), void *arg, struct err *err);

/* Implements --recover FILE. */
int inplace_recover(const char *path, struct err *err);

#endif
