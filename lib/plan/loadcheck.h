/*
 * loadcheck: what load_state_dict of the described model would say of the plan's outputs
 * Source: torch.nn.Module.load_state_dict, _load_from_state_dict, and _NormBase in torch 2.13.
 */
#ifndef LNN_PLAN_LOADCHECK_H
#define LNN_PLAN_LOADCHECK_H

#include "base/buf.h"
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
 * being listed as mismatched. Arrays belong to c.
 */
void load_check(struct load_check *c, struct plan *p, const struct model *m, bool drop_mismatched);
void load_check_release(struct load_check *c);

/* Does a tensor of shape a load into one of shape b? Equal, or a scalar from shape [1] (old files). */
bool load_shape_fits(const uint64_t *a, unsigned na, const uint64_t *b, unsigned nb);

/* What load_state_dict would say, in its words, a line for each name. */
void load_check_words(const struct load_check *c, const struct plan *p, struct buf *out);

/* Is a missing num_batches_tracked forgiven? (A norm layer saved before version 2 had none.) */
bool load_forgives(struct str name, bool has_version, int64_t version);

#endif
