/*
 * shard_jobs: adapting a sharded set one shard at a time under any job scheduler (--shard K/N), and writing the index when all
 * shards are finished (--write-index).
 */
#ifndef LNN_ADAPT_SHARD_JOBS_H
#define LNN_ADAPT_SHARD_JOBS_H

#include "adapt.h"
#include "plan/prefix.h"

/* A shard of the input set, which becomes one shard of the output. */
struct shard_job {
	const char *dir; /* folder of the output */
	uint32_t number, total;
	const struct strmap *elsewhere; /* names of all tensors in the set */
	struct prefix_context set;      /* the same names as a list */
};

/* Implements --shard K/N: adapts each input shard that belongs to share K. Each becomes one output shard in the folder -o. */
int shard_jobs_run(const struct adapt_options *o, const struct operands *operands, struct err *err);

/*
 * Called before a shard is written. If the folder has the index of a finished set that this shard belongs to, removes the index
 * with a warning. --write-index must then be run again.
 */
int shard_jobs_reopen(struct adapt *a, const struct format_writer *w, struct err *err);

/* Makes the shard state, once it is complete, its number, the total number of shards, and which rules matched in it. */
void shard_jobs_note(struct adapt *a);

/*
 * Implements --write-index DIR: performs the checks over all shards in DIR, and writes their index. It does not matter where the
 * shards were made.
 */
int shard_jobs_write_index(const struct adapt_options *o, struct err *err);

#endif
