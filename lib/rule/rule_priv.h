/*
 * rule_priv: rules as the files of lib/rule see them, and what a rule type has to offer.
 */
#ifndef LNN_RULE_RULE_PRIV_H
#define LNN_RULE_RULE_PRIV_H

#include "text/finder.h"
#include "rule/rule.h"

enum item_class { ITEM_PATTERN, ITEM_DIMENSION, ITEM_LAYER_TYPE, ITEM_STAGE };

/* One item that a rule lists. */
struct rule_item {
	enum item_class class;
	struct str text;
	const struct ynode *at;
	size_t id;                       /* ITEM_PATTERN: its id; those of a name rule follow each other */
	struct pyre *re;                 /* ITEM_PATTERN that is a regular expression */
	int64_t number;                  /* ITEM_DIMENSION */
	const struct model_group *stage; /* ITEM_STAGE; NULL if the description has none of that name */
};

struct rule {
	const struct rule_type *type;
	const struct rules *rules;
	const struct ynode *at;
	struct rule_item *items;
	size_t nitems;
	const struct rule **kids;
	size_t nkids;
	const struct rule *next;      /* of all rules, newest first */
	size_t number;                /* among all rules */
	size_t step;                  /* what it may say has numbers from here on */
	bool broken;                  /* it did not compile */
	bool may_fail;                /* rule_may_fail */
	const struct match_type *how; /* of a name rule */
	size_t nnames, npatterns;     /* of an or: so many of its first kids are name rules, with so many patterns */
};

/* A pattern of a stage of the description. */
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
	size_t count, steps;          /* rules; what they may say */
	bool warned;                  /* that there is no reference */
	struct stage_pattern *stages; /* once a rule asks for stages: their patterns, the last stage's first */
	size_t nstages;
};

/* A key of a rule: a setting that compile() reads, items of a class (which may be missing), a list of rules, or a rule. */
struct rule_key {
	const char *name;
	enum { KEY_SETTING, KEY_ITEMS, KEY_MAY_ITEMS, KEY_RULES, KEY_RULE } holds;
	enum item_class class;
};

enum { RULE_KEYS = 2 };

struct rule_type {
	const char *name;
	bool may_fail;                   /* see rule_may_fail; of its own, whatever rules are in it */
	struct rule_key keys[RULE_KEYS]; /* that it takes beside TYPE and model; items and rules are compiled before compile() */
	int (*compile)(struct rules *rules, struct rule *rule, struct err *err); /* what is left to do; may be NULL */
	/* *item: which item decided, if one did. NULL: it matches if any of its items holds. */
	int (*match)(const struct rule *rule, struct subject *s, struct rule_trace *trace, size_t *item, struct err *err);
	/* Does a single item hold, whatever the others do? NULL for types without items. */
	int (*holds)(const struct rule *rule, size_t item, struct subject *s, struct err *err);
	/* What step says about s, without position and verdict. NULL: nothing. same: it is the same of every subject. */
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

/* Says that the map has no TYPE, or which of its keys was meant to be it; returns -1. */
int rule_without_type(const struct ynode *node, struct err *err);

/* Any of the items of that class: 1, 0, -1; *item is the first. */
int type_any(const struct rule *rule, enum item_class class, struct subject *s, size_t *item, struct err *err);

/* What is asked of a subject that may lack it: the error names the rule. */
int type_need_shape(const struct rule *rule, const struct subject *s, struct err *err);
int type_need_layer(const struct rule *rule, const struct subject *s, struct err *err);

/* "'TEXT' (FILE:LINE:COLUMN)" */
void type_put_item(struct buf *b, const struct rule_item *item);

#endif
