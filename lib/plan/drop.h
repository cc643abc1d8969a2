/*
 * drop: entries that go because a pattern matches their names.
 */
#ifndef LNN_PLAN_DROP_H
#define LNN_PLAN_DROP_H

#include "base/err.h"
#include "plan/plan.h"

enum drop_syntax {
	DROP_COMPONENT, /* literal text at a component boundary; ^P; re:R (lnn-ckpt-adapt(1), --drop-params) */
	DROP_CONTAINS,  /* contained literally (buffers) */
	DROP_LINNAEUS,  /* re.search of the text, \b appended unless it ends in a dot */
};

struct drop_pattern {
	struct str text;
	const char *option; /* where it comes from, for messages: "--drop-params", "drop_params" */
	enum drop_syntax syntax;
	bool optional;  /* from a description: never a failure of --fail-unused */
	bool described; /* likewise: what was asked for by itself stays (MAKE_STAYS) */
};

/*
 * Drops the entries that match any pattern. Near misses (DROP_COMPONENT: a kept name that contains the literal) are
 * remembered in the plan. A bad regular expression is ERR_USAGE.
 */
int plan_drop_patterns(struct plan *p, const struct drop_pattern *patterns, size_t n, struct err *e);

#endif
