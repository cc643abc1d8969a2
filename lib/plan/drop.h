/*
 * drop: drops entries whose names match a pattern.
 */
#ifndef LNN_PLAN_DROP_H
#define LNN_PLAN_DROP_H

#include "base/err.h"
#include "plan/plan.h"

enum drop_syntax {
	DROP_COMPONENT, /* literal text at a component boundary, ^TEXT, or re:REGEX (lnn-ckpt-adapt(1), --drop-params) */
	DROP_CONTAINS,  /* literal text anywhere in the name (buffers) */
	DROP_LINNAEUS,  /* regular expression as in Python's re.search; \b is appended unless it ends in a dot */
};

struct drop_pattern {
	struct str text;
	const char *option; /* origin of the pattern, for messages: "--drop-params", "drop_params" */
	enum drop_syntax syntax;
	bool optional;  /* from a description: --fail-unused does not count it */
	bool described; /* from a description: tensors that the user asked for are kept (MAKE_STAYS) */
};

/*
 * Drops the entries that match any pattern. Records near misses in the plan: for DROP_COMPONENT, kept names that contain the
 * literal text. Fails with ERR_USAGE for a bad regular expression.
 */
int plan_drop_patterns(struct plan *p, const struct drop_pattern *patterns, size_t n, struct err *err);

#endif
