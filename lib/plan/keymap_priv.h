/*
 * What reading and applying a key map share.
 */
#ifndef LNN_PLAN_KEYMAP_PRIV_H
#define LNN_PLAN_KEYMAP_PRIV_H

#include "base/arena.h"
#include "text/pyre.h"
#include "text/yaml.h"
#include "plan/keymap.h"

enum { KEYMAP_INDEXES = 4, KEYMAP_TERMS = 8 };

/* A number or the value of a variable or index. */
struct km_term {
	bool negative;
	struct str name; /* p is NULL: the number */
	int64_t number;
};

/* A sum. */
struct km_expr {
	struct km_term terms[KEYMAP_TERMS];
	unsigned n;
};

/* A piece of a pattern or template: literal text, or {...}. */
struct km_piece {
	struct str literal;  /* p is NULL: braces */
	struct km_expr expr; /* in a pattern: one term, the index's name */
};

struct km_text {
	struct km_piece *pieces;
	size_t n;
	bool open; /* pattern that ends in a dot: what follows in the name is carried over */
	struct str source;
	const char *why; /* of a pattern, while its rule is applied: the rule with this alternative, for the report */
};

/* An index over [low, high). In a rule's from it is matched, else every value is taken (fan-out). */
struct km_index {
	struct str name;
	struct km_expr low, high;
	bool bounded;
};

enum km_what { KM_MAP, KM_SKIP, KM_KEEP };

struct km_rule {
	const struct ynode *at;
	const char *text;     /* for messages: "from blocks.{i}." */
	struct str input;     /* p is NULL: any */
	struct km_text *from; /* alternatives */
	size_t nfrom;
	const struct str *contains; /* all of them */
	size_t ncontains;
	struct str starts; /* p is NULL: none */
	struct pyre *regex;
	struct pyre_sub **subs; /* regex: parallel to to */
	struct km_text *to;
	size_t nto;
	struct str when; /* variable; p is NULL: always */
	struct km_index indexes[KEYMAP_INDEXES];
	unsigned nindexes;
	enum km_what what;
	struct plan_rule *rule; /* while applied */
};

struct km_variable {
	struct str name;
	const struct ynode *at;
	const struct ynode *config, *index, *blocks, *has, *fallback;
	bool known;
	int64_t value;
};

struct keymap {
	struct arena arena;
	const char *file;
	struct str name;
	bool builtin, interpolates, same_shape, drop_unmapped;
	const struct str *inputs;
	size_t ninputs;
	struct km_variable *variables;
	size_t nvariables;
	struct km_rule *rules;
	size_t nrules;
};

/* Settles all variables. */
int keymap_settle(struct keymap *k, const struct keymap_env *env, struct err *e);
struct km_variable *keymap_variable(struct keymap *k, struct str name);

/* Parses "a - b + 1" and "text{expr}text". */
int km_expr_parse(struct km_expr *x, struct str s, const struct ynode *at, struct err *e);
int km_text_parse(struct keymap *k, struct km_text *t, struct str s, const struct ynode *at, struct err *e);

#endif
