/*
 * rule_priv: rules as seen by the files of lib/rule, and the interface of a rule type.
 */
#ifndef LNN_RULE_RULE_PRIV_H
#define LNN_RULE_RULE_PRIV_H

#include "text/finder.h"
#include "rule/rule.h"

enum item_class { ITEM_PATTERN, ITEM_DIMENSION, ITEM_LAYER_TYPE, ITEM_STAGE };

/* One item of a rule's list. */
struct rule_item {
	enum item_class class;
	struct str text;
	const struct ynode *at;
	size_t id;                       /* ITEM_PATTERN: id in the finder; the patterns of a name rule have consecutive ids */
	struct pyre *re;                 /* ITEM_PATTERN: set if it is a regular expression */
	int64_t number;                  /* ITEM_DIMENSION */
	const struct model_group *stage; /* ITEM_STAGE; NULL if the description has no stage of this name */
};

struct rule {
	const struct rule_type *type;
	const struct rules *rules;
	const struct ynode *at;
	struct rule_item *items;
	size_t nitems;
	const struct rule **kids;
	size_t nkids;
	const struct rule *next;      /* the next older of all rules */
	size_t number;                /* number among all rules */
	size_t step;                  /* number of its first explanation, see rule_trace.lines */
	bool broken;                  /* the rule did not compile */
	bool may_fail;                /* the result of rule_may_fail */
	const struct match_type *how; /* name rule: how its patterns are compared */
	size_t nnames, npatterns;     /* or rule: number of name rules that its list begins with, and of their patterns */
};

/* A pattern that assigns names to a stage of the description. */
struct stage_pattern {
	const struct model_group *stage;
	struct str text;
	size_t id;
};

struct rules {
	struct rule_env env;
	struct arena arena;
	struct finder *finder;
	struct rule *newest;
	size_t count, steps;          /* number of rules; number of different explanations that they can give */
	bool warned;                  /* the warning about a missing reference was given */
	struct stage_pattern *stages; /* patterns of all stages, those of the last stage first; NULL until a rule asks for stages */
	size_t nstages;
};

/*
 * A key of a rule. It contains a setting that compile() reads, items of a class (optional for KEY_MAY_ITEMS), a list of rules, or
 * one rule.
 */
struct rule_key {
	const char *name;
	enum { KEY_SETTING, KEY_ITEMS, KEY_MAY_ITEMS, KEY_RULES, KEY_RULE } holds;
	enum item_class class;
};

enum { RULE_KEYS = 2 };

struct rule_type {
	const char *name;
	bool may_fail; /* see rule_may_fail; for the type alone, regardless of the rules inside a rule */
	/* the keys besides TYPE and model; their items and rules are compiled before compile() is called */
	struct rule_key keys[RULE_KEYS];
	int (*compile)(struct rules *rules, struct rule *rule, struct err *err); /* does the rest of compilation; may be NULL */
	/* Sets *item to the item that decided, if one did. NULL: the rule matches if any of its items holds. */
	int (*match)(const struct rule *rule, struct subject *s, struct rule_trace *trace, size_t *item, struct err *err);
	/* Does one item hold, regardless of the other items? NULL for types without items. */
	int (*holds)(const struct rule *rule, size_t item, struct subject *s, struct err *err);
	/*
	 * explain describes a step for s, without position and verdict. NULL: it adds nothing. same says that the text does not
	 * depend on s.
	 */
	bool same;
	void (*explain)(struct buf *b, const struct rule_step *step, const struct subject *s);
};

/* The rule types, in the order in which messages list them. The file type_NAME.c defines type_NAME. */
#define RULE_TYPES(line)                                                                                              \
	line(type_name) line(type_dimension) line(type_convolutional) line(type_layer_type) line(type_initialization) \
		line(type_stage_based) line(type_and) line(type_or) line(type_not) line(type_all_except)

#define TYPE_DECLARE(name) extern const struct rule_type name;
RULE_TYPES(TYPE_DECLARE)
#undef TYPE_DECLARE

/* Does any item of the class hold? Returns 1, 0 or -1. *item is set to the first that holds. */
int type_any(const struct rule *rule, enum item_class class, struct subject *s, size_t *item, struct err *err);

/* Fail if the subject lacks the property. The error names the rule. */
int type_need_shape(const struct rule *rule, const struct subject *s, struct err *err);
int type_need_layer(const struct rule *rule, const struct subject *s, struct err *err);

/* Writes "'TEXT' (FILE:LINE:COLUMN)". */
void type_put_item(struct buf *b, const struct rule_item *item);

#endif
