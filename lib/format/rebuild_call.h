/*
 * rebuild_call: the half of rebuild that knows the functions. Not for others.
 */
#ifndef LNN_FORMAT_REBUILD_CALL_H
#define LNN_FORMAT_REBUILD_CALL_H

#include "format/rebuild.h"

/* Hooks of the pickle machine; p is the struct rebuild. */
int rebuild_reduce(void *p, struct vtree *t, uint32_t callable, uint32_t args, uint64_t off, uint32_t *out,
	struct err *e);
int rebuild_build(void *p, struct vtree *t, uint32_t target, uint32_t state, struct err *e);

/* Is h a storage? Its number, and at which of its elements what h means begins. */
bool rebuild_storage(const struct rebuild *r, const struct vtree *t, uint32_t h, uint32_t *index, uint64_t *first);

/* Adds a tensor; returns its leaf. */
uint32_t rebuild_add(struct rebuild *r, struct vtree *t, const struct tensor *tensor);

#endif
