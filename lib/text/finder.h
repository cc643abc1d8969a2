/*
 * finder: which of many texts and regular expressions are found in a name, in one pass over its bytes.
 *
 * Every text, and every regular expression that is regular in the strict sense, becomes a few steps of an automaton
 * (text/pyre_priv.h). The automaton runs on sets of steps, and a set is worked out when a name first leads to it. After
 * that a byte costs one look into a table, however many patterns there are.
 *
 * PCRE2 answers for the rest: patterns with references or lookaround, or with large repeat counts; names that hold a
 * newline or a byte beyond ASCII; and all regular expressions if their sets turn out to be too many. The answers are the
 * same in either way, except that the automaton needs no limit of steps.
 */
#ifndef LNN_TEXT_FINDER_H
#define LNN_TEXT_FINDER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/str.h"
#include "text/pyre.h"

struct finder;

enum finder_where {
	FINDER_ANYWHERE,  /* the empty text is found in every name */
	FINDER_START,     /* the name begins with it */
	FINDER_END,       /* the name ends with it */
	FINDER_COMPONENT, /* a component begins with it; if it ends in a letter or digit, '.', '_' or the end follows */
	FINDER_FIRST,     /* the same, at the start of the name */
};

struct finder *finder_new(void);
void finder_free(struct finder *s); /* NULL is fine */

/*
 * Adds a pattern and returns its id; ids count up from 0. Not after the first finder_name. The text need not live on, the
 * regular expression must live as long as s.
 */
size_t finder_text(struct finder *s, struct str text, enum finder_where where);
size_t finder_regex(struct finder *s, const struct pyre *re);

/* Turns to a name, which is borrowed until the next one. The pass is made when it is first asked about. */
void finder_name(struct finder *s, struct str name);

/* Is the pattern found in the name? 1, 0, or -1 as for pyre_search. */
int finder_found(struct finder *s, size_t id, struct err *err);

/*
 * Is any of the n patterns from first on found in the name? 1, 0, or -1 as for pyre_search; *id is the first that is found,
 * or that fails.
 */
int finder_first(struct finder *s, size_t first, size_t n, size_t *id, struct err *err);

#endif
