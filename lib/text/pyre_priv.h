/*
 * pyre_priv: a pattern as a program for the automaton of finder.c (Thompson's construction). The program decides whether a match
 * exists, not where it is.
 */
#ifndef LNN_TEXT_PYRE_PRIV_H
#define LNN_TEXT_PYRE_PRIV_H

#include <stdint.h>

#include "text/pyre.h"

enum pyre_kind {
	PYRE_SET,   /* consumes a byte that is in set */
	PYRE_SPLIT, /* continues at the next op and at to */
	PYRE_JUMP,  /* continues at to */
	PYRE_BEGIN, /* only at the beginning of the name */
	PYRE_END,   /* only at the end of the name */
	PYRE_WORD,  /* only at a word boundary: \b */
	PYRE_INNER, /* not at a word boundary: \B */
	PYRE_MATCH, /* the pattern is found */
};

struct pyre_op {
	enum pyre_kind kind;
	int32_t to;      /* relative to this op */
	uint64_t set[4]; /* one bit per byte value */
};

/* A pattern that needs more ops has no program, so that PCRE2 matches it. */
enum { PYRE_OPS_MAX = 1000 };

/*
 * Returns the program of a pattern, borrowed, or NULL if it has none. The program is valid for ASCII subjects without newlines:
 * there, $ and (?m)$ only match at the end, and no non-ASCII character occurs.
 */
const struct pyre_op *pyre_program(const struct pyre *re, size_t *n);

static inline bool
pyre_set_has(const uint64_t *set, unsigned byte)
{
	return set[byte / 64] >> (byte % 64) & 1;
}

static inline void
pyre_set_add(uint64_t *set, unsigned byte)
{
	set[byte / 64] |= (uint64_t)1 << (byte % 64);
}

#endif
