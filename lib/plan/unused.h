/*
 * unused: reports rules that matched nothing, with the names that were probably meant, and names that a pattern narrowly missed.
 */
#ifndef LNN_PLAN_UNUSED_H
#define LNN_PLAN_UNUSED_H

#include "plan/plan.h"

/*
 * Finds the nearest names for rules that matched nothing, from rule first on. Called at the end of a step. If input is set,
 * searches the input names, for a step that has changed the present ones. Only the first few such rules of the plan are treated,
 * because a warning that counts many rules shows no nearest names.
 */
void plan_find_nearest(struct plan *p, size_t first, bool input);

/* Returns the longest literal text in a regular expression, in the plan's arena. An unescaped dot counts as a literal dot. */
struct str plan_regex_literal(struct plan *p, struct str regex);

/*
 * Warns of rules that matched nothing, in one warning if there are many. Warns once of all near misses. Returns the number of rules
 * that count for --fail-unused.
 */
size_t plan_unused(struct plan *p);

#endif
