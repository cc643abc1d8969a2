/*
 * prefix: names with something taken off, or put, in front; and the names of wrapping modules, anywhere. Each edit applies
 * to the entries that are alive when it begins, and to the modules of _metadata with them.
 */
#ifndef LNN_PLAN_PREFIX_H
#define LNN_PLAN_PREFIX_H

#include "plan/plan.h"

/* The names that one input has beside those in the plan: the other shards of its set. */
struct prefix_context {
	const struct str *names;
	size_t n;
};

/*
 * Takes off what wrapping modules put into names: the components _orig_mod., _fsdp_wrapped_module.,
 * _checkpoint_wrapped_module. and _forward_module. wherever they stand, and leading module. as often as the names of
 * all tensors of an input have it. Where only some have it, it is left, with a notice. rest may be NULL.
 */
void plan_unwrap(struct plan *p, const struct prefix_context *rest);

/* Takes prefix off every name that begins with it, once. by: NULL: a rule, --strip-prefix. */
void plan_strip_prefix(struct plan *p, const char *prefix, const char *by);

/* Puts prefix before every name. by: "--ddp". */
void plan_add_prefix(struct plan *p, struct str prefix, const char *by);

#endif
