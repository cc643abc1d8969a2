/*
 * pickle_weights_call: one call that weights_only would make. Shared by the files that know what is called; private to
 * pickle_weights.
 */
#ifndef LNN_PICKLE_WEIGHTS_CALL_H
#define LNN_PICKLE_WEIGHTS_CALL_H

#include "pickle/weights.h"

/* The arguments of one call. */
struct call {
	struct weights *w;
	uint32_t args;
	size_t n;
};

static inline uint32_t
arg(const struct call *c, size_t i)
{
	return value_item(c->w->m->t, c->args, i);
}

static inline enum thing
is(const struct call *c, size_t i)
{
	return i < c->n ? weights_thing(c->w, arg(c, i)) : THING_OTHER;
}

static inline bool
sequence(enum thing thing)
{
	return thing == THING_TUPLE || thing == THING_LIST;
}

/* A call of a kind that torch.save never writes: it fails, or nobody can tell. */
static inline bool
odd(const struct call *c, const char *name)
{
	return weights_no(c->w, "%s with arguments that it does not take", name);
}

static inline bool
gives(const struct call *c, enum thing thing, bool grad)
{
	c->w->made = thing;
	c->w->made_grad = grad;
	return true;
}

/* pickle_weights_tensor.c: torch.Size, dtypes and what makes tensors; refuses what it does not know. */
bool weights_make(struct call *c, const struct pickle_allowed *a);
/* torch.Tensor(), torch.FloatTensor(): empty. */
bool weights_tensor_class(struct call *c, const struct pickle_allowed *a);

#endif
