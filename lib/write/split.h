/*
 * split: assigns each entry of a plan to one file of a sharded output.
 */
#ifndef LNN_WRITE_SPLIT_H
#define LNN_WRITE_SPLIT_H

#include "plan/container.h"
#include "plan/plan.h"

/* The first storage of an input that files after a given one read, or the number of the input's storages if they read none. */
struct split_later {
	uint32_t input, storage;
};

struct split {
	uint32_t n;        /* number of files; the first is 1 */
	uint32_t *shard;   /* by entry of the plan; 0: not written */
	uint32_t *entries; /* sorted by file, then by their order in the plan; file k has [begin[k], begin[k + 1]) */
	size_t *begin;
	struct split_later *later; /* sorted by file, the last file first; file k has [later_end[k + 1], later_end[k]) */
	size_t *later_end;
	struct plan_containers containers;
};

/*
 * Fills shards greedily in the order of the entries, as huggingface_hub's split_state_dict_into_shards does. A shard is closed when
 * the next tensor would make it larger than most bytes. A tensor larger than most gets a shard of its own. A container that is
 * written whole counts as one tensor. Names that share a storage go to one shard, unless a maker gives them new tensors. Entries
 * that are no tensors go to the first shard.
 */
void plan_split(const struct plan *p, uint64_t most, struct split *s);
void split_release(struct split *s);

#endif
