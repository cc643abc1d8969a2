/*
 * groups: parameter groups, as OPTIMIZER.PARAMETER_GROUPS has them: a rule each, and what they are trained with.
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
	const struct ynode *at; /* its key; NULL for a DEFAULT that is not written down */
	const struct ynode *map;
	const struct rule *rule; /* NULL for DEFAULT */
	struct str optimizer;    /* own, else DEFAULT's, else adamw; as written */
	double weight_decay;     /* own, else DEFAULT's, else 0.05 */
	double lr_multiplier;    /* own, else 1; that of DEFAULT is always 1 */
	bool muon;               /* the optimizer is muon */
};

struct groups {
	const struct ynode *at; /* the map of all */
	struct group *v;        /* in the order of the config */
	size_t n;
	struct group rest; /* DEFAULT: what is in no group */
	int enabled;       /* 0, 1, or -1 if nothing is said */
};

/* What a YAML node stands for. */
enum rule_form { FORM_RULE, FORM_GROUPS };

/*
 * A map with TYPE is a rule, one with FILTER stands for its FILTER, one whose children have FILTER is a set of groups, as
 * is one with ENABLED or DEFAULT. *rule is the rule's own node. ERR_INPUT for all else.
 */
int rule_form(const struct ynode *node, enum rule_form *form, const struct ynode **rule, struct err *err);

/*
 * Compiles the groups in map; they live as long as rules. A child without FILTER is skipped and diag told so (to
 * env.finding, where there is one).
 */
int groups_compile(struct groups *g, struct rules *rules, const struct ynode *map, struct err *err);

/* One rule as the only group, called name. */
void groups_single(struct groups *g, struct rules *rules, struct str name, const struct rule *rule);

/*
 * Which groups has the subject? in has n places, set to 1 or 0; *count says how many, 0 meaning DEFAULT (or
 * none, if requires_grad is false). With first the search ends at the first.
 */
int groups_assign(const struct groups *g, struct subject *s, bool first, unsigned char *in, size_t *count, struct err *err);

/* Index of the group, g->n for DEFAULT, or -1. */
long groups_find(const struct groups *g, struct str name);

/* Does a subject that is in no group go to DEFAULT? */
bool groups_takes_rest(const struct subject *s);

/* Keys that a group's map may have; ended by NULL. */
extern const char *const group_keys[];

#endif
