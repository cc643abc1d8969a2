/*
 * cast: gives tensors another dtype.
 */
#ifndef LNN_PLAN_CAST_H
#define LNN_PLAN_CAST_H

#include "plan/plan.h"
#include "text/pyre.h"

struct cast_rule {
	const char *by;          /* the option that the rule comes from, for the report */
	const struct pyre *name; /* regular expression to search in names; NULL: the rule applies to all names */
	enum dtype to;           /* the new dtype; DTYPE_UNKNOWN: the dtype is kept */
	/* private */
	struct make *make;
	size_t matched;
};

/*
 * Gives every real floating-point tensor the dtype of the last of the n rules that matches its name. Values are rounded once, to
 * nearest, ties to even. Tensors that cannot be cast (float4, float6) are left unchanged with a warning. Also warns of rules that
 * decide about no tensor. Returns 0, or -1 if pyre_search fails.
 */
int plan_cast(struct plan *p, struct cast_rule *rules, size_t n, struct err *err);

#endif
