/*
 * names: entries that go, or stay, because a list names them.
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
	bool keep;                      /* these stay and all else goes; else these go */
	const struct strmap *elsewhere; /* names that need not be here: those of the other shards of a set; may be NULL */
	bool ignore_missing;            /* a name that is nowhere is a warning */
};

/*
 * A listed name means the entries whose input name it is, else whose present (or, if dropped, last) name it is. ERR_INPUT
 * with the nearest name for one that is neither. Names that were dropped already, and with ignore_missing names that are
 * nowhere: one warning that counts them.
 */
int plan_name_list(struct plan *p, const struct name_list *l, struct err *e);

#endif
