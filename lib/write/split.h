/*
 * split: which file of a sharded output each entry goes to.
 */
#ifndef LNN_WRITE_SPLIT_H
#define LNN_WRITE_SPLIT_H

#include "plan/container.h"
#include "plan/plan.h"

/* What later files read of an input that a file reads, too: storages from this one on; as many as it has: none. */
struct split_later {
	uint32_t input, storage;
};

struct split {
	uint32_t n;      /* files; numbered from 1 */
	uint32_t *shard; /* by entry of the plan; 0: not written */
	size_t *entries; /* entries by file, those of file k from begin[k] to begin[k + 1], in the plan's order */
	size_t *begin;
	struct split_later *later; /* of the last file first: those of file k from later_end[k + 1] to later_end[k] */
	size_t *later_end;
	struct plan_containers containers;
};

/*
 * Greedy in the order of the entries: a shard is closed when the next tensor would take it beyond most bytes; a tensor
 * larger than that has a shard of its own. A container that stays whole counts as one tensor. Names that look at one storage
 * go to one shard, unless a maker gives them a new tensor. (huggingface_hub's split_state_dict_into_shards.) Entries that are
 * no tensors go to the first shard.
 */
void plan_split(const struct plan *p, uint64_t most, struct split *s);
void split_release(struct split *s);

#endif
