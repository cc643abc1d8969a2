/*
 * groups: parameter groups as in OPTIMIZER.PARAMETER_GROUPS: for each group a rule, and the settings that its parameters are
 * trained with.
 */
#ifndef LNN_RULE_GROUPS_H
#define LNN_RULE_GROUPS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/str.h"
#include "text/yaml.h"
#include "rule/rule.h"

struct group {
	struct str name;
	const struct ynode *at; /* the group's key; NULL for DEFAULT if the config does not have it */
	const struct ynode *map;
	const struct rule *rule; /* NULL for DEFAULT */
	struct str optimizer;    /* OPTIMIZER as written: the group's, else that of DEFAULT, else adamw */
	double weight_decay;     /* the group's, else that of DEFAULT, else 0.05 */
	double lr_multiplier;    /* the group's, else 1; always 1 for DEFAULT */
	bool muon;               /* the optimizer is muon */
};

struct groups {
	const struct ynode *at; /* the map that contains all groups */
	struct group *v;        /* in the order of the config */
	size_t n;
	struct group rest; /* DEFAULT: parameters that are in no group */
	int enabled;       /* ENABLED as 0 or 1; -1 if it is not given */
};

/* The forms of a YAML node that rules are read from. */
enum rule_form { FORM_RULE, FORM_GROUPS };

/*
 * Determines the form of a node. A map with TYPE is a rule. A map with FILTER stands for the rule in it. A map whose children have
 * FILTER is a set of groups, and so is a map with ENABLED or DEFAULT. Sets *rule to the node of the rule itself. Fails with
 * ERR_INPUT for anything else.
 */
int rule_form(const struct ynode *node, enum rule_form *form, const struct ynode **rule, struct err *err);

/*
 * Compiles the groups in map. They live as long as rules. A child without FILTER is skipped; this is reported to env.finding if it
 * is set, else as a warning to env.diag.
 */
int groups_compile(struct groups *g, struct rules *rules, const struct ynode *map, struct err *err);

/* Makes a single group, called name, of one rule. */
void groups_single(struct groups *g, struct rules *rules, struct str name, const struct rule *rule);

/*
 * Determines the groups of a subject. in has n elements; each is set to 1 or 0. *count is set to the number of groups. If it is 0,
 * the subject belongs to DEFAULT, or to nothing if requires_grad is false. If first is set, the search ends at the first group.
 */
int groups_assign(const struct groups *g, struct subject *s, bool first, unsigned char *in, size_t *count, struct err *err);

/* Returns the index of the group of this name, g->n for DEFAULT, or -1 if there is none. */
long groups_find(const struct groups *g, struct str name);

/* Does a subject that is in no group belong to DEFAULT? */
bool groups_takes_rest(const struct subject *s);

/* The keys that the map of a group may have, then NULL. */
extern const char *const group_keys[];

#endif
