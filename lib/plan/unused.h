/*
 * unused: rules that matched nothing, the names that were probably meant, and names that a pattern missed by little.
 */
#ifndef LNN_PLAN_UNUSED_H
#define LNN_PLAN_UNUSED_H

#include "plan/plan.h"

/*
 * Fills the nearest names of rules, from number first on, that matched nothing: for the end of a step, while names are
 * as they were.
 */
void plan_find_nearest(struct plan *p, size_t first);

/* The same among input names, for a step that has changed the names already. */
void plan_find_nearest_input(struct plan *p, size_t first);

/* The longest literal text in a regular expression, for the same purpose (a bare dot counts as one); in the plan's arena. */
struct str plan_regex_literal(struct plan *p, struct str regex);

/* Warns of each rule that matched nothing. Returns how many such rules count for --fail-unused. */
size_t plan_unused(struct plan *p);

/* One warning that counts the near misses, with an example. */
void plan_warn_near_misses(const struct plan *p);

#endif
