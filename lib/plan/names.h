/*
 * names: drops or keeps the entries that a list names.
 */
#ifndef LNN_PLAN_NAMES_H
#define LNN_PLAN_NAMES_H

#include "base/err.h"
#include "base/strmap.h"
#include "plan/plan.h"

struct name_list {
	const struct str *names;
	size_t n;
	const char *option;             /* "--drop-names" */
	bool keep;                      /* keep these names and drop all others; otherwise drop these */
	const struct strmap *elsewhere; /* names that may be absent here because other shards of the set have them; may be NULL */
	bool ignore_missing;            /* unknown names are only a warning */
};

/*
 * Applies a list. A listed name selects the entries with this input name. If there are none, it selects those with this present
 * name (last name, for dropped entries). Fails with ERR_INPUT, which suggests the nearest name, if there are none either. Names of
 * entries that were dropped before, and unknown names with ignore_missing, are counted in one warning each.
 */
int plan_name_list(struct plan *p, const struct name_list *l, struct err *err);

#endif
