/*
 * prefix: names with something taken off, or put, in front. Each edit applies to the entries that are alive when it
 * begins, and to the modules of _metadata with them.
 */
#ifndef LNN_PLAN_PREFIX_H
#define LNN_PLAN_PREFIX_H

#include "plan/plan.h"

/*
 * Takes leading prefixes off every name, as often as they stand there. wrappers: also module. and _orig_mod. ; those
 * of the n given ones are rules.
 */
void plan_strip_prefixes(struct plan *p, const char *const *prefixes, size_t n, bool wrappers);

/* Takes a leading module. off, once: what linnaeus's loader does. */
void plan_strip_module_once(struct plan *p);

/* Puts prefix before every name. by: "--ddp". */
void plan_add_prefix(struct plan *p, struct str prefix, const char *by);

#endif
