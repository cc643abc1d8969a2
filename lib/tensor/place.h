/*
 * place: which value of a checkpoint is its state dict.
 *
 * A candidate is an entry of the root that is a dict or a module with tensors in it, at any depth. An optimizer is none: a
 * dict with param_groups, or one whose key contains optim. Nor is an entry whose key contains sched, rng, scaler, loss, criterion
 * or _extra_state. A tensor lies directly in the root if it is an entry of it; those without dimensions, and those
 * whose key contains rng, do not count. The state dict is:
 *
 *  1. the first of model, state_dict_ema and state_dict that is a candidate;
 *  2. else the root, if there is no candidate;
 *  3. else the only candidate, if no tensor lies directly in the root.
 *
 * In any other case the rule does not decide. It is applied again to the entries of the candidate chosen, if no tensor
 * lies directly in that and a key of it contains model, state_dict or optim. A root that is an optimizer's state, or
 * whose tensors are all in optimizers, is no state dict. The items of a list or tuple are entries without keys; the rule
 * is applied to them only if one is an optimizer, and never to what a module has.
 */
#ifndef LNN_TENSOR_PLACE_H
#define LNN_TENSOR_PLACE_H

#include "tensor/tree.h"

/* What a place is that the rule chose. */
enum place_kind {
	PLACE_SURE,      /* a state dict */
	PLACE_AMBIGUOUS, /* the root, which has several candidates, or tensors beside one */
	PLACE_OPTIMIZER, /* the root, which holds an optimizer's state and nothing else */
};

struct place {
	uint32_t value; /* handle in the tree */
	struct str key; /* dotted path from the root; empty for the root */
	enum place_kind kind;
};

struct place_ask {
	const char *key;         /* dotted path; NULL applies the rule */
	bool root;               /* the root will do where the rule does not decide; a notice then says so */
	const char *way;         /* added to the choices of an ambiguous root; NULL where -k can be given */
	const struct diag *diag; /* for notices */
};

/*
 * Finds the place that ask names. It contains a tensor at some depth, or is one. ERR_INPUT if there is no such place, if
 * it has no tensor (the message names places that have some), and where the rule does not decide (the message names the
 * candidates and what to give to -k). A notice names an only candidate, and candidates with the same names that were
 * not taken. place->key lies in arena.
 */
int place_find(struct tensor_tree *tree, const struct place_ask *ask, struct arena *arena, struct place *place, struct err *err);

/* True if value, at key of a dict or list, is an optimizer's state. key is VALUE_ABSENT for the root. */
bool place_is_optimizer(const struct vtree *t, uint32_t key, uint32_t value);

#endif
