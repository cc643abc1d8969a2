/*
 * hint: why do no names of a plan fit a model? Simple changes are tried on the names; the one with which most fit is told.
 */
#ifndef LNN_PLAN_HINT_H
#define LNN_PLAN_HINT_H

#include "base/buf.h"
#include "model/model.h"
#include "plan/plan.h"

/*
 * Adds an option that lets more tensors of p fit m, by name and shape, than fit now, and how many those are:
 * "--strip-prefix=model. (310 of 312 would fit)". Tried are prefixes, components, and other places of a single input. Adds
 * nothing and returns false if there is no such option.
 */
bool plan_hint(const struct plan *p, const struct model *m, struct buf *out);

#endif
