/*
 * literals: which of many texts are contained in a name, found in one pass over the name
 * by an automaton of Aho and Corasick over the classes of bytes that the texts use.
 * Forty rules cost a name little more than one.
 */
#ifndef LNN_RULE_LITERALS_H
#define LNN_RULE_LITERALS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "base/strmap.h"

/* States of the automaton at most; texts that would need more are searched for one by one. */
enum { LITERALS_STATES = 16384 };

struct literals {
	struct str *texts;     /* borrowed by whoever added them */
	size_t n, cap;
	struct strmap ids;
	/* after literals_build */
	bool built;
	uint8_t class_of[256];
	unsigned width;        /* classes and one */
	uint32_t *next;        /* states * width; a state is known by its row's offset, whose last place is its hit */
	uint32_t *hit;         /* by state number: the first state of the chain of texts that end here, 0 for none */
	uint32_t *text;        /* by state number: id + 1 of the text that is spelled out here, or 0 */
	uint32_t *chain;       /* by state number: where the chain goes on */
	uint32_t states;
	size_t *loose;         /* ids that are not in the automaton */
	size_t nloose;
};

#define LITERALS_INIT { .ids = STRMAP_INIT }

void literals_release(struct literals *s);

/* The id of a text, which must live as long as s. Equal texts have one id. Not after literals_build. */
uint32_t literals_add(struct literals *s, struct str text);

/* Makes the automaton. Returns how many words of 64 bits literals_find fills. */
size_t literals_build(struct literals *s);

/* Sets bit id (and clears all others) for every text contained in name; the empty text is contained in all. */
void literals_find(const struct literals *s, struct str name, uint64_t *bits);

static inline bool
literals_bit(const uint64_t *bits, uint32_t id)
{
	return bits[id / 64] >> (id % 64) & 1;
}

#endif
