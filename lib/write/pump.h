/*
 * pump: the only loop that moves tensor bytes. It runs the steps of a sealed plan, writes each storage, lets the inputs forget what
 * no later step reads, and verifies the inputs before the output is completed.
 */
#ifndef LNN_WRITE_PUMP_H
#define LNN_WRITE_PUMP_H

#include "base/pool.h"
#include "write/seal.h"

struct pump_opts {
	struct sink *beside;                     /* the second file of a folder format (format.h); else NULL */
	struct pool *pool;                       /* may be NULL */
	void (*tick)(void *arg, uint64_t bytes); /* reports input bytes processed since its last call; may be NULL */
	void *tick_arg;
	int (*ready)(void *arg,
		     struct err *err); /* called when all but the end of the output is written and verified; may be NULL */
	void *ready_arg;
};

/*
 * Writes a sealed file to out without committing it. Sets *lost to the number of values that overflowed. After a failure the output
 * does not load, and the caller aborts the sink.
 */
int plan_pump(const struct sealed *s, struct sink *out, const struct pump_opts *o, uint64_t *lost, struct err *err);

#endif
