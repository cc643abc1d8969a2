/*
 * pump: the only loop that moves tensor bytes. Walks the inputs' storages in the order of the source, writes what
 * is made of each, and ends by verifying the inputs before the output is completed.
 */
#ifndef LNN_WRITE_PUMP_H
#define LNN_WRITE_PUMP_H

#include "write/seal.h"

struct pump_opts {
	const struct split *split; /* the plan is written in shards, this being number shard; else NULL */
	uint32_t shard;
	struct pool *pool;                       /* may be NULL */
	void (*tick)(void *arg, uint64_t bytes); /* input bytes done since the last call; may be NULL */
	void *tick_arg;
	int (*ready)(void *arg, struct err *e); /* all but the output's end is written and verified; may be NULL */
	void *ready_arg;
	void (*show)(void *arg, const struct plan_table *t, const double *before,
		     const double *after); /* may be NULL */
	void *show_arg;
};

/*
 * Writes the sealed plan to out (not committed). *lost counts values that overflowed in a cast. After a failure what
 * was written does not load; the caller aborts the sink.
 */
int plan_pump(struct plan *p, const struct sealed *s, const struct format_writer *f, struct sink *out,
	      const struct pump_opts *o, uint64_t *lost, struct err *e);

#endif
