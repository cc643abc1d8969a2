/*
 * split: which shard of a sharded output each entry goes to.
 */
#ifndef LNN_WRITE_SPLIT_H
#define LNN_WRITE_SPLIT_H

#include "plan/plan.h"

struct split {
	uint32_t n;      /* shards; numbered from 1 */
	uint32_t *shard; /* by entry of the plan; 0: not written */
	uint32_t **last; /* by input and storage: the last shard that needs it; 0: none */
	uint32_t ninputs;
};

/*
 * Greedy in the order of the entries: a shard is closed when the next tensor would take it beyond most bytes; a tensor
 * larger than that has a shard of its own. Names that look at one storage go to one shard. (huggingface_hub's
 * split_state_dict_into_shards; FORMATS.md, 5.1.) Entries that are no tensors go to the first shard.
 */
void plan_split(const struct plan *p, uint64_t most, struct split *s);
void split_release(struct split *s);

#endif
