/*
 * rename: applies s/REGEX/REPLACEMENT/[g] to all names.
 */
#ifndef LNN_PLAN_RENAME_H
#define LNN_PLAN_RENAME_H

#include "base/err.h"
#include "plan/plan.h"

/* spec is the argument of --rename: s/REGEX/REPLACEMENT/[g]. Fails with ERR_USAGE if it is invalid. */
int plan_rename_regex(struct plan *p, const char *spec, struct err *err);

#endif
