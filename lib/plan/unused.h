/*
 * unused: rules that matched nothing, the names that were probably meant, and names that a pattern missed by little.
 */
#ifndef LNN_PLAN_UNUSED_H
#define LNN_PLAN_UNUSED_H

#include "plan/plan.h"

/*
 * Fills the nearest names of rules, from number first on, that matched nothing: for the end of a step. Only of the plan's first
 * few such rules: of many, one warning counts them. input: among the
 * names that inputs have, for a step that has changed the present ones.
 */
void plan_find_nearest(struct plan *p, size_t first, bool input);

/* The longest literal text in a regular expression (a dot without a backslash counts as one); in the plan's arena. */
struct str plan_regex_literal(struct plan *p, struct str regex);

/*
 * Warns of rules that matched nothing (of each; of many once), and once of all near misses. Returns how many such rules count for
 * --fail-unused.
 */
size_t plan_unused(struct plan *p);

#endif
