/*
 * loadcheck: the differences that load_state_dict of the described model would report for the plan's output. Source:
 * torch.nn.Module.load_state_dict, _load_from_state_dict, and _NormBase in torch 2.13.
 */
#ifndef LNN_PLAN_LOADCHECK_H
#define LNN_PLAN_LOADCHECK_H

#include "model/model.h"
#include "plan/plan.h"

struct load_mismatch {
	size_t entry;               /* index of the plan's entry */
	const struct entry *target; /* borrowed from the model */
};

struct load_check {
	bool done;           /* false if the description lists no state dict */
	struct str *missing; /* in the order of the model */
	size_t nmissing;
	struct str *unexpected; /* in the order of the output; includes names of values that are not tensors */
	size_t nunexpected;
	struct load_mismatch *mismatched;
	size_t nmismatched;
	size_t matched;
};

/*
 * Compares the living entries with the model. If drop_mismatched is set, mismatched entries are dropped, and count as missing,
 * instead of being listed. If ties is set, a name that __metadata__ ties to a tensor is present, since the output states the
 * tie, too. The arrays are in the arena of p.
 */
void load_check(struct load_check *c, struct plan *p, const struct model *m, bool drop_mismatched, bool ties);

/*
 * Can a tensor of shape a be loaded into one of shape b? The shapes must be equal, but a scalar can be loaded from shape [1], which
 * old files have.
 */
bool load_shape_fits(const uint64_t *a, unsigned na, const uint64_t *b, unsigned nb);

/*
 * May num_batches_tracked be missing? Norm layers saved before version 2 have none. meta is the module's value of _metadata in t,
 * or VALUE_ABSENT.
 */
bool load_forgives(struct str name, const struct vtree *t, uint32_t meta);

#endif
