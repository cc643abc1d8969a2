/*
 * place: finds the state dict in a checkpoint.
 *
 * A candidate is an entry of the root that is a dict or a module and contains tensors at any depth. An optimizer is no candidate: a
 * dict with param_groups, or an entry whose key contains optim. Neither is an entry whose key contains sched, rng, scaler, loss,
 * criterion or _extra_state. A tensor is directly in the root if it is an entry of the root; tensors without dimensions, and those
 * whose key contains rng, do not count. The state dict is:
 *
 *  1. the first of model, state_dict_ema and state_dict that is a candidate;
 *  2. else the root, if there is no candidate;
 *  3. else the only candidate, if no tensor is directly in the root.
 *
 * In any other case the rule does not decide. The rule is applied again to the entries of the chosen candidate, if no tensor is
 * directly in it and one of its keys contains model, state_dict or optim. A root is no state dict if it is an optimizer's state, or
 * if all its tensors are in optimizers. The items of a list or tuple are entries without keys; the rule is applied to them only if
 * one of them is an optimizer, and never to the attributes of a module.
 */
#ifndef LNN_TENSOR_PLACE_H
#define LNN_TENSOR_PLACE_H

#include "tensor/tree.h"

/* The result of the rule. */
enum place_kind {
	PLACE_SURE,      /* a state dict */
	PLACE_AMBIGUOUS, /* the root, because it has several candidates, or tensors beside one */
	PLACE_OPTIMIZER, /* the root, because it holds only the state of an optimizer */
};

struct place {
	uint32_t value; /* handle in the tree */
	struct str key; /* dotted path from the root; empty for the root */
	enum place_kind kind;
};

struct place_ask {
	const char *key;         /* dotted path; NULL applies the rule */
	bool root;               /* use the root if the rule does not decide, and report that as a notice */
	const char *way;         /* text after the choices of an ambiguous root; NULL if -k can be used */
	const struct diag *diag; /* for notices */
};

/*
 * Finds the place that ask describes. Fails with ERR_INPUT if there is no such place, if it has no tensor at any depth (the message
 * names places that have some), or if the rule does not decide (the message lists the candidates and their -k options). A notice
 * names an only candidate that was taken, and candidates with the same tensor names that were not. place->key is allocated from
 * arena. Where values that were not read (ckpt_fill) might change the decision, the rule does not decide.
 */
int place_find(struct tensor_tree *tree, const struct place_ask *ask, struct arena *arena, struct place *place, struct err *err);

/* Returns true if value, at key of a dict or list, is an optimizer's state. key is VALUE_ABSENT for the root. */
bool place_is_optimizer(const struct vtree *t, uint32_t key, uint32_t value);

#endif
