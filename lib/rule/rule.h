/*
 * rule: rules that select parameters, lnn-rules(5). Rules are compiled once from YAML and then matched against one name after the
 * other.
 *
 * To add a rule type: one file with a const struct rule_type (rule/rule_priv.h), one line in RULE_TYPES there.
 */
#ifndef LNN_RULE_RULE_H
#define LNN_RULE_RULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/diag.h"
#include "base/err.h"
#include "base/str.h"
#include "text/yaml.h"
#include "model/entry.h"
#include "model/model.h"

struct rule;  /* immutable once compiled */
struct rules; /* all rules of a program: their memory and shared state */

/* Information that rules use besides the name. All pointers are borrowed and may be NULL. */
struct rule_env {
	const struct model *model;     /* stages; also layer types, shapes and requires_grad of names that come without them */
	const struct model *reference; /* names and shapes of the checkpoint given with -r */
	const struct diag *diag;       /* receives warnings about initialization rules without a reference */
	/*
	 * If set, receives every error in a rule, so that --lint can show all of them and not only the first. Compilation then goes
	 * on with the next rule and fails at its end.
	 */
	void (*finding)(void *arg, const struct err *err);
	void *arg;
};

struct rules *rules_new(const struct rule_env *env);
void rules_free(struct rules *rules); /* Frees rules and all rules compiled with it; may be NULL. */

/*
 * Compiles the rule that node denotes. node must live as long as rules. Returns NULL with ERR_INPUT "FILE:LINE:COLUMN: ..." if it
 * is no valid rule. Must not be called after subject_set.
 */
const struct rule *rules_compile(struct rules *rules, const struct ynode *node, struct err *err);

/* One tensor that rules are matched against. */
struct subject {
	struct entry entry; /* the caller's entry, completed from the description */
	struct str name;    /* name without a leading "module." */
	/* private */
	const struct rules *rules;
	bool staged;
	const struct stage_pattern *stage; /* the pattern that assigns the name to a stage; NULL if it has no stage */
};

/* Selects the next tensor for a subject whose rules are set. e is borrowed until the next call. */
void subject_set(struct subject *s, const struct entry *e);

/* One evaluation of a rule. */
struct rule_step {
	const struct rule *rule;
	const struct ynode *at; /* the map that defines the rule */
	unsigned depth;         /* depth of the rule in the tree of rules */
	bool matched;
	size_t item; /* the rule's item that decided, or RULE_NO_ITEM */
};

#define RULE_NO_ITEM SIZE_MAX

struct rule_trace {
	struct rule_step *steps;
	size_t n, cap;
	/* private */
	unsigned depth;
	struct str *lines; /* cache of explanations that are the same for every subject */
	struct arena arena;
	struct buf line;
};

#define RULE_TRACE_INIT                                   \
	{                                                 \
		NULL, 0, 0, 0, NULL, ARENA_INIT, BUF_INIT \
	}

void rule_trace_release(struct rule_trace *t);

/*
 * Returns 1 if the rule matches, 0 if not. Returns -1 if the rule needs a shape or a layer type that is unknown, or if a regular
 * expression exceeds its limits. Rules inside a rule are evaluated from left to right until the result is determined. If trace is
 * not NULL, its steps are replaced by those of this evaluation.
 */
int rule_match(const struct rule *rule, struct subject *s, struct rule_trace *trace, struct err *err);

/*
 * Can rule_match fail because a shape or a layer type is unknown? Then it is certain only at the end of a list that all of it could
 * be filtered.
 */
bool rule_may_fail(const struct rule *rule);

/*
 * Explains step i of a trace to a person, as a line: "<TAB>exp.yaml:3:20: name: yes: ...". The line is indented by the step's depth
 * plus indent levels. All calls with steps of one rule must use the same indent. The result is borrowed until the next call.
 */
struct str rule_explain(struct rule_trace *t, size_t i, const struct subject *s, unsigned indent);

#endif
