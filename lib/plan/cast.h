/*
 * cast: tensors that will be written in another dtype.
 */
#ifndef LNN_PLAN_CAST_H
#define LNN_PLAN_CAST_H

#include "plan/plan.h"
#include "text/pyre.h"

struct cast_rule {
	const char *by;          /* the option, for the report */
	const struct pyre *name; /* searched in the names; NULL: all of them */
	enum dtype to;           /* DTYPE_UNKNOWN: they keep theirs */
	/* private */
	struct make *make;
	size_t matched;
};

/*
 * Every real floating tensor of another dtype will be written as the last of the n rules says whose name matches (rounded to
 * nearest even, once). Tensors that cannot be cast (float4, float6) are left and warned of, and so is a rule that decides
 * about no tensor. 0, or -1 (pyre_search).
 */
int plan_cast(struct plan *p, struct cast_rule *rules, size_t n, struct err *err);

#endif
