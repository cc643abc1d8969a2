/*
 * inplace: --in-place and --recover of lnn-ckpt-adapt.
 */
#ifndef LNN_ADAPT_INPLACE_H
#define LNN_ADAPT_INPLACE_H

#include "adapt.h"
#include "io/undo.h"

/* ERR_USAGE for options that --in-place does not go with, or that do not go without it. */
int inplace_check_options(const struct adapt_options *o, const struct operands *operands, struct err *err);

/* Opens the file to be edited. */
int inplace_open(struct adapt *a, struct input *in, const char *path, struct err *err);

/*
 * ERR_USAGE if an entry of the plan gets new bytes, or if something is dropped that no option on the command line drops. Returns
 * 1 if names or metadata change, 0 if nothing does.
 */
int inplace_check(const struct plan *p, struct err *err);

/*
 * What changes in the file of the plan's only input, if it is written as s, sealed as SEAL_KEPT, says; undo_release is due.
 * ERR_INPUT if that cannot be done in place.
 */
int inplace_plan(struct adapt *a, struct sealed *s, struct undo_edit *u, struct err *err);

/* Edits the file. ready is called when that is done and can still be undone. */
int inplace_apply(struct adapt *a, struct undo_edit *u, int (*ready)(void *arg, struct err *err), void *arg, struct err *err);

/* --recover FILE */
int inplace_recover(const char *path, struct err *err);

#endif
