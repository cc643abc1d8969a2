/* text: UTF-8, escaping, and finding the nearest name. */
#ifndef LNN_BASE_TEXT_H
#define LNN_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"

/*
 * Returns the length (1..4) of the valid UTF-8 sequence at the start of p[0..n), or 0. Surrogates and overlong forms are invalid.
 */
size_t utf8_len(const uint8_t *p, size_t n);
bool utf8_valid(struct str s);
size_t utf8_end(struct str s, size_t from);         /* end of the valid UTF-8 that starts at from; s.len if all is valid */
uint32_t utf8_decode(const uint8_t *p, size_t len); /* len is the length of a valid sequence */
bool utf8_steers(uint32_t c); /* true if c affects a terminal: controls, line separators, bidirectional controls, BOM */
void utf8_put(struct buf *b, uint32_t codepoint);

/*
 * Writes a name as a field of a tensor list. Escapes are \t \n \r \\, \# for a
 * leading #, \e for the empty name, and \xHH for other control bytes (C1
 * included), for invalid UTF-8 and for the first space of a name of only
 * spaces. A NUL becomes \x00; callers that print lines of names refuse such
 * names.
 */
void text_escape(struct buf *b, struct str name);

/* Reverses text_escape. Returns false at an unknown escape; then *b holds the text before it. */
bool text_unescape(struct buf *b, struct str field);

/* If from[i] is c, returns to[i]; else returns -1. Used for escapes, where n in from stands for a newline in to. */
int text_map(char c, const char *from, const char *to);

/* Writes text for display: control bytes, bidirectional overrides and invalid UTF-8 as \xHH, all else unchanged. */
void text_show(struct buf *b, struct str s);

/* Returns the number of characters of UTF-8 text, which is about the number of terminal columns. */
size_t text_width(struct str s);

/* The singular or plural of noun, a string literal: "tensor" if n is 1, else "tensors". */
#define text_noun(n, noun) ((n) == 1 ? (noun) : noun "s")

/* Returns the edit distance (insert, delete, replace, swap neighbours), or limit + 1 if it is larger than limit. */
unsigned text_distance(struct str a, struct str b, unsigned limit);

/*
 * nearest: finds the candidate most like query. Call nearest_try for every
 * candidate, then nearest_found. A candidate counts if few edits turn query
 * into it, or if one of the two ends in the other.
 */
struct nearest {
	struct str query, best;
	unsigned score;    /* lower is better */
	short letters[32]; /* number of bytes of query by their lower five bits */
};
void nearest_init(struct nearest *n, struct str query);
void nearest_try(struct nearest *n, struct str candidate);
bool nearest_found(const struct nearest *n);

#endif
