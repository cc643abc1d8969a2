/*
 * rule: rules that choose parameters, lnn-rules(5): compiled once from YAML, then
 * asked about one name after the other.
 *
 * To add a rule type: one file with a const struct rule_type (rule/rule_priv.h), one
 * line in RULE_TYPES there.
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
struct rules; /* all rules of a program: their memory, and what they share */

/* What rules may know beside the name. All borrowed; all may be NULL. */
struct rule_env {
	const struct model *model;     /* stages; layer types, shapes and requires_grad of names that come without */
	const struct model *reference; /* names and shapes of the checkpoint of -r */
	const struct diag *diag;       /* told of initialization rules without a reference */
	/*
	 * Told of every error in a rule, so that all of them are seen and not only the first: compiling goes on
	 * with the next rule, and fails in the end. For --lint.
	 */
	void (*finding)(void *arg, const struct err *err);
	void *arg;
};

struct rules *rules_new(const struct rule_env *env);
void rules_free(struct rules *rules); /* with all its rules; may be NULL */

/*
 * The rule that node denotes, which must live as long as rules; NULL and ERR_INPUT "FILE:LINE:COLUMN: ..." where
 * it is none. Not after the first subject.
 */
const struct rule *rules_compile(struct rules *rules, const struct ynode *node, struct err *err);

/* One tensor that rules are asked about. */
struct subject {
	struct entry entry; /* completed from the description */
	struct str name;    /* without a leading "module." */
	/* private */
	const struct rules *rules;
	struct finder *finder;
	bool staged;
	const struct stage_pattern *stage; /* what gives the name its stage; NULL if it has none */
};

/* What it allocates lives as long as rules. */
void subject_init(struct subject *s, struct rules *rules);

/* Turns to the next tensor; e is borrowed until the one after. */
void subject_set(struct subject *s, const struct entry *e);

/* One rule that was asked, in the order in which they were. */
struct rule_step {
	const struct rule *rule;
	const struct ynode *at; /* the rule's map */
	unsigned depth;         /* of the rule in its tree */
	bool matched;
	size_t item; /* which of the rule's items decided or RULE_NO_ITEM */
};

#define RULE_NO_ITEM SIZE_MAX

struct rule_trace {
	struct rule_step *steps;
	size_t n, cap;
	/* private */
	unsigned depth;
	struct str *lines; /* that are the same of every subject, once they were needed */
	struct arena arena;
	struct buf line;
};

#define RULE_TRACE_INIT                                   \
	{                                                 \
		NULL, 0, 0, 0, NULL, ARENA_INIT, BUF_INIT \
	}

void rule_trace_release(struct rule_trace *t);

/*
 * 1 if the rule matches, 0 if not; -1 if it needs a shape or a layer type that is not there, or a regular expression
 * ran into its limits. Rules are asked from left to right until all is decided. trace (may be NULL) takes what
 * was asked, in place of what it had.
 */
int rule_match(const struct rule *rule, struct subject *s, struct rule_trace *trace, struct err *err);

/* Can rule_match fail for lack of a shape or a layer type? Then what a list gives is known only at its end. */
bool rule_may_fail(const struct rule *rule);

/*
 * What step i of a trace says to a person, as a line: "<TAB>exp.yaml:3:20: name: yes: ...", indented by the step's depth and
 * indent levels more. A trace is explained with one indent for each rule. Borrowed until the next call.
 */
struct str rule_explain(struct rule_trace *t, size_t i, const struct subject *s, unsigned indent);

#endif
