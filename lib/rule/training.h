/*
 * training: what a training run would do with a list: which optimizer takes which parameters.
 */
#ifndef LNN_RULE_TRAINING_H
#define LNN_RULE_TRAINING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "rule/groups.h"

/* Names that go together. */
struct training_names {
	struct str *v; /* in the training's arena */
	size_t n, cap;
	uint64_t elements;
	bool elements_known; /* false if a name came without a shape, or the sum does not fit */
};

/* What one optimizer takes. */
struct optimizer_share {
	struct str name; /* "HEADS", "HEADS_ADAMW", "DEFAULT", "DEFAULT_MUON", ... */
	struct str optimizer;
	double weight_decay, lr_multiplier;
	bool hidden; /* a GROUP_ADAMW that is empty: it is not made */
	struct training_names names;
};

struct training {
	const struct groups *groups;
	const struct rule *exclude; /* of GradNorm */
	struct arena arena;
	struct optimizer_share *shares; /* two for each group and for DEFAULT; see hidden */
	size_t n;
	struct training_names included, excluded;
	unsigned char *in;
	uint64_t several; /* names in several groups */
};

/* groups and exclude are borrowed. */
void training_init(struct training *x, const struct groups *groups, const struct rule *exclude);
void training_release(struct training *x);

/* Counts one parameter. With first it belongs to the first of its groups only. */
int training_add(struct training *x, struct subject *s, bool first, struct err *err);

#endif
