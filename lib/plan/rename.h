/*
 * rename: s/REGEX/REPLACEMENT/[g] over all names.
 */
#ifndef LNN_PLAN_RENAME_H
#define LNN_PLAN_RENAME_H

#include "base/err.h"
#include "plan/plan.h"

/* spec as after --rename: s/REGEX/REPLACEMENT/[g]. ERR_USAGE says what is wrong with it. */
int plan_rename_regex(struct plan *p, const char *spec, struct err *e);

#endif
