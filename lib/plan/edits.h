/*
 * edits: the steps of lnn-ckpt-adapt that need nothing but names (SPEC.md, section 4: steps 2, 4, 5, 6 and 8). Each
 * edit applies to the entries alive when it begins, leaves rules in the plan for what it was asked, and changes the
 * modules of _metadata as it changes names.
 */
#ifndef LNN_PLAN_EDITS_H
#define LNN_PLAN_EDITS_H

#include "base/err.h"
#include "plan/plan.h"

/* ---- prefixes (prefix.c) */

/*
 * Takes leading prefixes off every name, as often as they stand there. wrappers: also module. and _orig_mod. ; those
 * of the n given ones are rules.
 */
void plan_strip_prefixes(struct plan *p, const char *const *prefixes, size_t n, bool wrappers);

/* Takes a leading module. off, once: what linnaeus's loader does. */
void plan_strip_module_once(struct plan *p);

/* Puts prefix before every name. by: "--ddp". */
void plan_add_prefix(struct plan *p, struct str prefix, const char *by);

/* ---- dropping by pattern (drop.c) */

enum drop_syntax {
	DROP_COMPONENT, /* literal text at a component boundary; ^P; re:R (SPEC.md, section 4, step 4) */
	DROP_CONTAINS,  /* contained literally (buffers) */
	DROP_LINNAEUS,  /* re.search of the text, \b appended unless it ends in a dot */
};

struct drop_pattern {
	struct str text;
	const char *option; /* where it comes from, for messages: "--drop-params", "drop_params" */
	enum drop_syntax syntax;
	bool optional; /* from a description: never a failure of --fail-unused */
};

/*
 * Drops the entries that match any pattern. Near misses (DROP_COMPONENT: a kept name that contains the literal) are
 * remembered in the plan. A bad regular expression is ERR_USAGE.
 */
int plan_drop_patterns(struct plan *p, const struct drop_pattern *patterns, size_t n, struct err *e);

/* Does a name match a component pattern's literal text (with or without ^)? Shared with whoever explains it. */
bool drop_component_match(struct str pattern, struct str name);

/* ---- lists of names (names.c) */

struct name_list {
	const struct str *names;
	size_t n;
	const char *option;  /* "--drop-names" */
	bool keep;           /* these stay and all else goes; else these go */
	const struct strmap *elsewhere; /* names that need not be here: those of the other shards of a set; may be NULL */
	bool ignore_missing; /* a name that is nowhere is a warning */
};

/*
 * A listed name means the entries whose input name it is, else whose present (or, if dropped, last) name it is. ERR_INPUT
 * with the nearest name for one that is neither. A name that was dropped already: a warning naming the step.
 */
int plan_name_list(struct plan *p, const struct name_list *l, struct err *e);

/* ---- renaming (rename.c) */

/* spec is s/REGEX/REPLACEMENT/[g] as after --rename; ERR_USAGE says what is wrong with it. */
int plan_rename_regex(struct plan *p, const char *spec, struct err *e);

/* ---- dtypes (cast.c) */

/*
 * Every real floating tensor of another dtype will be written as to (rounded to nearest even, once). Returns how many;
 * tensors that cannot be cast (float4, float6) are left and warned of.
 */
size_t plan_cast(struct plan *p, enum dtype to);

/* ---- rules that touched nothing (unused.c) */

/*
 * Fills the nearest names of rules, from number first on, that matched nothing: for the end of a step, while names are
 * as they were.
 */
void plan_find_nearest(struct plan *p, size_t first);

/* The same among input names, for a step that has changed the names already. */
void plan_find_nearest_input(struct plan *p, size_t first);

/* The longest literal text in a regular expression, for the same purpose (a bare dot counts as one); in the plan's arena. */
struct str plan_regex_literal(struct plan *p, struct str regex);

/* Warns of each rule that matched nothing. Returns how many such rules count for --fail-unused. */
size_t plan_unused(struct plan *p);

/* One warning that counts the near misses, with an example. */
void plan_warn_near_misses(const struct plan *p);

#endif
