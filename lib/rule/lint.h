/*
 * lint: finds what looks wrong in a rule file, given the names that it is applied to. Unlike rule_match, a linter tries every rule
 * and every single pattern on every name.
 */
#ifndef LNN_RULE_LINT_H
#define LNN_RULE_LINT_H

#include "text/yaml.h"
#include "rule/groups.h"

struct lint;

/*
 * Creates a linter of all rules compiled so far. groups are those that names are assigned to. other, which may be NULL, is a
 * further rule that every name is matched against. If groups come from a configuration, they are checked, and so is the map
 * LR_SCHEDULER.PARAMETER_GROUPS that overrides learning rates by optimizer (may be NULL). If enabled is false, the groups are not
 * used. Findings are reported to the finding function of the rules' env. All arguments are borrowed.
 */
struct lint *lint_new(struct rules *rules, const struct groups *groups, const struct rule *other, bool enabled,
		      const struct ynode *overrides);

/* Tries one parameter. where is the prefix of messages about properties that the parameter lacks ("list.tsv:3: head.weight"). */
void lint_name(struct lint *l, struct subject *s, const char *where);

/* If tell is set, reports the findings about all names. Frees l in any case; l may be NULL. */
void lint_finish(struct lint *l, bool tell);

/* The keys that an override may have, then NULL. */
extern const char *const override_keys[];

#endif
