/*
 * prefix: strips or adds prefixes of names, and removes the names of wrapping modules. Each edit applies to the living entries and
 * to the modules of _metadata.
 */
#ifndef LNN_PLAN_PREFIX_H
#define LNN_PLAN_PREFIX_H

#include "plan/plan.h"

/* Names that belong to the same input but are not in the plan: those of the other shards of its set. */
struct prefix_context {
	const struct str *names;
	size_t n;
};

/*
 * Removes what wrapping modules add to names: the components _orig_mod., _fsdp_wrapped_module., _checkpoint_wrapped_module. and
 * _forward_module. anywhere, and leading "module." as often as all tensors of the input have it. If only some names have it, it is
 * kept there, with a notice. rest may be NULL.
 */
void plan_unwrap(struct plan *p, const struct prefix_context *rest);

/*
 * Strips prefix once from every name that begins with it. by is the rule for the report; if it is NULL, the rule is --strip-prefix.
 */
void plan_strip_prefix(struct plan *p, const char *prefix, const char *by);

/* Adds prefix to every name. by is the rule for the report, such as "--ddp". */
void plan_add_prefix(struct plan *p, struct str prefix, const char *by);

#endif
