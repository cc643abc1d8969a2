/*
 * loadcheck: what load_state_dict of the described model would say of the plan's outputs
 * Source: torch.nn.Module.load_state_dict, _load_from_state_dict, and _NormBase in torch 2.13.
 */
#ifndef LNN_PLAN_LOADCHECK_H
#define LNN_PLAN_LOADCHECK_H

#include "model/model.h"
#include "plan/plan.h"

struct load_mismatch {
	size_t entry;               /* of the plan */
	const struct entry *target; /* borrowed from the model */
};

struct load_check {
	bool done;           /* false: the description lists no state dict */
	struct str *missing; /* in the model's order */
	size_t nmissing;
	struct str *unexpected; /* in the output's order; names of values that are no tensors, too */
	size_t nunexpected;
	struct load_mismatch *mismatched;
	size_t nmismatched;
	size_t matched;
};

/*
 * Compares the living entries with the model. drop_mismatched: those are dropped (and count as missing) instead of
 * being listed as mismatched. Arrays lie in the arena of p.
 */
void load_check(struct load_check *c, struct plan *p, const struct model *m, bool drop_mismatched);

/* Does a tensor of shape a load into one of shape b? Equal, or a scalar from shape [1] (old files). */
bool load_shape_fits(const uint64_t *a, unsigned na, const uint64_t *b, unsigned nb);

/*
 * Is a missing num_batches_tracked forgiven? (A norm layer saved before version 2 had none.) meta: what _metadata says of
 * its module, in t; VALUE_ABSENT: nothing.
 */
bool load_forgives(struct str name, const struct vtree *t, uint32_t meta);

#endif
