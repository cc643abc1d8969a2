/*
 * pump: the only loop that moves tensor bytes. Goes through the steps of a sealed plan, writes what is made of each
 * storage, has the inputs forget what no later step reads, and verifies the inputs before the output is completed.
 */
#ifndef LNN_WRITE_PUMP_H
#define LNN_WRITE_PUMP_H

#include "base/pool.h"
#include "write/seal.h"

struct pump_opts {
	struct sink *beside;                     /* of a folder: its other file (format.h); else NULL */
	struct pool *pool;                       /* may be NULL */
	void (*tick)(void *arg, uint64_t bytes); /* input bytes done since the last call; may be NULL */
	void *tick_arg;
	int (*ready)(void *arg, struct err *e); /* all but the output's end is written and verified; may be NULL */
	void *ready_arg;
};

/*
 * Writes a sealed file to out (not committed). *lost counts values that overflowed. After a failure what was written does
 * not load; the caller aborts the sink.
 */
int plan_pump(const struct sealed *s, struct sink *out, const struct pump_opts *o, uint64_t *lost, struct err *e);

#endif
