/*
 * inplace: a plan that moves no byte of a tensor becomes an edit of the file that it was read from (io/undo.h).
 */
#ifndef LNN_WRITE_INPLACE_H
#define LNN_WRITE_INPLACE_H

#include "io/undo.h"
#include "write/seal.h"

/*
 * ERR_USAGE if an entry of the plan gets new bytes, or if something is dropped that no option on the command line drops. Returns
 * 1 if names or metadata change, 0 if nothing does.
 */
int inplace_check(const struct plan *p, struct err *err);

/*
 * Adds to u what changes in the file of the plan's only input, if it is written as s, sealed as SEAL_KEPT, says. ERR_INPUT if
 * that cannot be done in place.
 */
int inplace_edit(struct sealed *s, struct undo_edit *u, struct err *err);

/* ERR_INPUT unless now, a state dict of the edited file, is what the plan says, and its bytes are where u left them. */
int inplace_compare(const struct plan *p, const struct undo_edit *u, const struct statedict *now, struct err *err);

#endif
