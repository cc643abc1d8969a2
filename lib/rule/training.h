/*
 * training: what a training run would do with the parameters of a list: which optimizer trains which of them.
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

/* A set of names. */
struct training_names {
	struct str *v; /* allocated in the training's arena */
	size_t n, cap;
	uint64_t elements;
	bool elements_known; /* false if a name came without a shape, or if the sum overflows */
};

/* The parameters of one optimizer. */
struct optimizer_share {
	struct str name; /* "HEADS", "HEADS_ADAMW", "DEFAULT", "DEFAULT_MUON", ... */
	struct str optimizer;
	double weight_decay, lr_multiplier;
	bool hidden; /* an unused "_ADAMW" share, for which no optimizer is created */
	struct training_names names;
};

struct training {
	const struct groups *groups;
	const struct rule *exclude; /* rule for parameters that GradNorm excludes */
	struct arena arena;
	struct optimizer_share *shares; /* two for each group and for DEFAULT; see hidden */
	size_t n;
	struct training_names included, excluded;
	unsigned char *in;
	uint64_t several; /* number of names that are in more than one group */
};

/* Borrows groups and exclude. */
void training_init(struct training *x, const struct groups *groups, const struct rule *exclude);
void training_release(struct training *x);

/* Adds one parameter. If first is set, it belongs only to the first of its groups. */
int training_add(struct training *x, struct subject *s, bool first, struct err *err);

#endif
