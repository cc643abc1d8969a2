/*
 * pyre_priv: a pattern as a program for the automaton of finder.c, after Thompson. It says whether a match exists, not where.
 */
#ifndef LNN_TEXT_PYRE_PRIV_H
#define LNN_TEXT_PYRE_PRIV_H

#include <stdint.h>

#include "text/pyre.h"

enum pyre_kind {
	PYRE_SET,   /* takes a byte that is in set */
	PYRE_SPLIT, /* goes on here and at to */
	PYRE_JUMP,  /* goes on at to */
	PYRE_BEGIN, /* at the beginning of the name only */
	PYRE_END,   /* at its end only */
	PYRE_WORD,  /* at a boundary of a word: \b */
	PYRE_INNER, /* at none: \B */
	PYRE_MATCH, /* found */
};

struct pyre_op {
	enum pyre_kind kind;
	int32_t to;      /* relative to this op */
	uint64_t set[4]; /* a bit for each byte */
};

/* A pattern of more ops is left to PCRE2. */
enum { PYRE_OPS_MAX = 1000 };

/*
 * The program of a pattern, borrowed; NULL if it has none. It holds for subjects that are ASCII without newlines: there $
 * and (?m)$ are the end, and a character beyond ASCII is never met.
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
