/*
 * shard_jobs: a sharded set that is adapted shard by shard, by whatever runs jobs (--shard K/N), and the index that is
 * made when all shards are there (--write-index).
 */
#ifndef LNN_ADAPT_SHARD_JOBS_H
#define LNN_ADAPT_SHARD_JOBS_H

#include "adapt.h"
#include "plan/prefix.h"

/* One shard of an input set, which becomes one shard of the output. */
struct shard_job {
	const char *dir; /* where the output goes */
	uint32_t number, total;
	const struct strmap *elsewhere; /* all names of the set */
	struct prefix_context set;      /* as a list */
};

/* --shard K/N: adapts the input shards that are its share, each into one output shard in the folder -o. */
int shard_jobs_run(const struct adapt_options *o, const struct operands *operands, struct err *e);

/*
 * Before a shard is written: if the folder holds the index of a finished set that a's shard is of, the index is removed,
 * which is said. Without it --write-index is needed once more.
 */
int shard_jobs_reopen(struct adapt *a, const struct format_writer *w, struct err *err);

/* Has a's shard state, once it is whole, which one of how many it is, and which rules matched in it. */
void shard_jobs_note(struct adapt *a);

/* --write-index DIR: the index of the shards in DIR, wherever they were made, and the checks over all of them. */
int shard_jobs_write_index(const struct adapt_options *o, struct err *e);

#endif
