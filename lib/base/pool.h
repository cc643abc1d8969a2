/*
 * pool: threads for work that comes in numbered pieces whose results are taken in order.
 */
#ifndef LNN_BASE_POOL_H
#define LNN_BASE_POOL_H

#include <stdint.h>

#include "base/err.h"

struct pool;

/* Starts jobs - 1 threads; the caller of pool_run is the last worker. Never fails: if the system refuses threads, fewer work. */
struct pool *pool_new(unsigned jobs);
void pool_free(struct pool *p); /* p may be NULL */

/* The number of pieces that can be in progress at once. Slot numbers are below it. */
unsigned pool_slots(const struct pool *p);

/*
 * Calls make(arg, i, slot) for i in [0, n), several at once, in any thread. Calls take(arg, i, slot) in the caller's thread, in the
 * order of i, each after its make. No two pieces in progress share a slot. Returns 0, or -1 with e set by the first failure in the
 * order of i, which ends the run. If p is NULL, pieces are made one after the other in slot 0.
 */
int pool_run(struct pool *p, uint64_t n, int (*make)(void *arg, uint64_t i, unsigned slot, struct err *err),
	     int (*take)(void *arg, uint64_t i, unsigned slot, struct err *err), void *arg, struct err *err);

#endif
