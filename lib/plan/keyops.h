/*
 * keyops: the ops of a key map rule, which change tensors (lnn-keymap(5)). Each op becomes one or more makers (make/make.h).
 */
#ifndef LNN_PLAN_KEYOPS_H
#define LNN_PLAN_KEYOPS_H

#include "make/make.h"
#include "make/sum.h"
#include "text/yaml.h"

struct keyop;

struct keyops {
	struct keyop *v;
	size_t n;
	bool joins;               /* the first op is join: it takes a tensor for each pattern of the rule */
	bool sums;                /* the first op is sum: it takes a tensor of each input */
	const struct str *inputs; /* sum: names of its inputs, in the order of the weights; NULL: all inputs in their order */
	size_t ninputs;
	struct make_weights *weights; /* weights of sum; keyops_weigh sets them if the sum is over all inputs */
	uint64_t zeros;               /* number of rows of zeros that were inserted */
};

/*
 * Reads a list of ops. Relative file names are resolved against the folder of file, which is the map. Results are allocated in a,
 * and makers refer to them. Errors are "FILE:LINE:COLUMN: ...".
 */
int keyops_read(struct keyops *ops, struct arena *a, const char *file, const struct ynode *list, struct err *err);

/* Sets the weights of a sum over all inputs, now that their number is known. */
void keyops_weigh(struct keyops *ops, struct arena *a, size_t ninputs);

/* A tensor that ops are applied to. */
struct keyops_tensor {
	struct arena *arena;
	struct make_form form;
	struct make_chain chain;       /* makers so far; form is the form of their result */
	const struct make_input *more; /* further tensors for join and sum */
	const struct make_form *forms; /* forms of more, parallel */
	unsigned nmore;
	size_t part, parts; /* index of the part, and number of parts, of a split */
};

/* Appends the makers of all ops. Errors describe what is wrong with the shape or dtype; they contain neither position nor name. */
int keyops_apply(struct keyops *ops, struct keyops_tensor *t, struct err *err);

#endif
