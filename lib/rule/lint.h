/*
 * lint: what looks wrong in a rule file, seen beside the names it is used on. Unlike a rule that is asked, a linter
 * tries every rule and every single pattern on every name.
 */
#ifndef LNN_RULE_LINT_H
#define LNN_RULE_LINT_H

#include "text/yaml.h"
#include "rule/groups.h"

struct lint;

/*
 * Looks at all rules compiled so far; groups are the ones that names are to be assigned to, other (may be NULL) is a
 * rule that they are asked beside them. Findings go to the finding of the rules' env. All is borrowed.
 */
struct lint *lint_new(struct rules *rules, const struct groups *groups, const struct rule *other);

/* Tries one parameter. where is put before what rules lack ("list.tsv:3: head.weight"). */
void lint_name(struct lint *l, struct subject *s, const char *where);

/* With tell, tells what was found after the last name. Frees l in either case, which may be NULL. */
void lint_finish(struct lint *l, bool tell);

/*
 * Looks at the groups, and at overrides of the learning rate by optimizer (LR_SCHEDULER.PARAMETER_GROUPS; may be NULL).
 * enabled false: the groups are not used.
 */
void lint_config(const struct rules *rules, const struct groups *groups, bool enabled, const struct ynode *overrides);

/* Keys that an override may have; ended by NULL. */
extern const char *const override_keys[];

#endif
