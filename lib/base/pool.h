/*
 * pool: threads for work that comes in numbered pieces whose results are taken in order.
 */
#ifndef LNN_BASE_POOL_H
#define LNN_BASE_POOL_H

#include <stdint.h>

#include "base/err.h"

struct pool;

/* jobs threads work, 1 meaning the caller alone. Never fails: fewer threads work if the system gives fewer. */
struct pool *pool_new(unsigned jobs);
void pool_free(struct pool *p); /* may be NULL */

/* Pieces under way at once; each has a slot number below this. */
unsigned pool_slots(const struct pool *p);

/*
 * Calls make(arg, i, slot) for i in [0, n), several at once, and take(arg, i, slot) in the
 * caller's thread, in the order of i, each after its make. No two pieces under way share a slot. The
 * first failure (in order) ends the run: 0 or -1 with e set. p may be NULL: one after the other, slot 0.
 */
int pool_run(struct pool *p, uint64_t n, int (*make)(void *arg, uint64_t i, unsigned slot, struct err *e),
	     int (*take)(void *arg, uint64_t i, unsigned slot, struct err *e), void *arg, struct err *e);

#endif
