/*
 * keyops: the ops of a rule of a key map, which change tensors (lnn-keymap(5)). Each becomes makers (make/make.h).
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
	bool joins;               /* the first is join: it takes a tensor for each pattern of the rule */
	bool sums;                /* the first is sum: it takes a tensor of each input */
	const struct str *inputs; /* sum: their names, in the order of the weights; NULL: all inputs, in their order */
	size_t ninputs;
	struct make_weights *weights; /* of sum; of all inputs, they are set by keyops_weigh */
	uint64_t zeros;               /* rows of zeros that were put in */
};

/*
 * Reads a list of ops. Files are found beside file, the map. Results live in a, and makers refer to them. Errors are
 * "FILE:LINE:COLUMN: ...".
 */
int keyops_read(struct keyops *ops, struct arena *a, const char *file, const struct ynode *list, struct err *err);

/* Says how many inputs there are. */
void keyops_weigh(struct keyops *ops, struct arena *a, size_t ninputs);

/* A tensor on its way through ops. */
struct keyops_tensor {
	struct arena *arena;
	struct make_form form;
	struct make_chain chain;       /* makers so far; their results have the form */
	const struct make_input *more; /* further tensors of join and sum */
	const struct make_form *forms; /* parallel */
	unsigned nmore;
	size_t part, parts; /* of a split */
};

/* Adds the makers of all ops. Errors say what is wrong with the shape or dtype, without place and name. */
int keyops_apply(struct keyops *ops, struct keyops_tensor *t, struct err *err);

#endif
