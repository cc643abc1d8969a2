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
struct names {
	struct str *v;         /* in the inspection's arena */
	size_t n, cap;
	uint64_t elements;
	bool elements_known;   /* false if a name came without a shape, or the sum does not fit */
};

/* What one optimizer takes. */
struct share {
	struct str name;       /* "HEADS", "HEADS_ADAMW", "DEFAULT", "DEFAULT_MUON", ... */
	struct str optimizer;
	double weight_decay, lr_multiplier;
	bool hidden;           /* a GROUP_ADAMW that is empty: it is not made */
	struct names names;
};

struct inspection {
	const struct groups *groups;
	const struct rule *exclude; /* of GradNorm */
	struct arena arena;
	struct share *shares;  /* two for each group and for DEFAULT; see hidden */
	size_t n;
	struct names included, excluded;
	unsigned char *in;
	uint64_t several;      /* names in several groups */
};

/* groups and exclude are borrowed. */
void inspection_init(struct inspection *x, const struct groups *groups, const struct rule *exclude);
void inspection_release(struct inspection *x);

/* Counts one parameter. With first it belongs to the first of its groups only. */
int inspection_add(struct inspection *x, struct subject *s, bool first, struct err *err);

#endif
