/*
 * finder: finds which of many texts and regular expressions occur in a name, in one pass over its bytes.
 *
 * Texts become a trie. Every regular expression that is regular in the strict sense, becomes a few ops of an automaton
 * (text/pyre_priv.h). The states of the automaton are sets of ops, computed when a name first reaches them. After that, each byte
 * costs one table lookup, however many patterns there are.
 *
 * PCRE2 handles the rest: patterns with references, lookaround or large repeat counts; names with a newline or a non-ASCII byte;
 * and all regular expressions if their automaton becomes too large. The results are the same, except that the automaton needs no
 * limit of steps.
 */
#ifndef LNN_TEXT_FINDER_H
#define LNN_TEXT_FINDER_H

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
	FINDER_FIRST,     /* like FINDER_COMPONENT, but only at the start of the name */
};

struct finder *finder_new(void);
void finder_free(struct finder *s); /* s may be NULL */

/*
 * Adds a pattern and returns its id; ids count up from 0. Call it before the first finder_name. The text is copied; the regular
 * expression must live as long as s.
 */
size_t finder_text(struct finder *s, struct str text, enum finder_where where);
size_t finder_regex(struct finder *s, const struct pyre *re);

/* Sets the name, which is borrowed until the next call. It is scanned at the first query. */
void finder_name(struct finder *s, struct str name);

/* Returns 1 if the pattern is found in the name, 0 if not, or -1 as pyre_search does. */
int finder_found(struct finder *s, size_t id, struct err *err);

/*
 * Returns 1 if any of the n patterns from first on is found in the name, 0 if not, or -1 as pyre_search does. *id is the first
 * pattern that is found or fails.
 */
int finder_first(struct finder *s, size_t first, size_t n, size_t *id, struct err *err);

#endif
