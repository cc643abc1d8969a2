/*
 * text: UTF-8, escaping, and guessing what was meant.
 */
#ifndef LNN_BASE_TEXT_H
#define LNN_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"

/* Length (1..4) of the valid UTF-8 sequence at p[0..n), 0 if there is none (surrogates and overlong forms are none). */
size_t utf8_len(const uint8_t *p, size_t n);
bool utf8_valid(struct str s);
size_t utf8_end(struct str s, size_t from);         /* where the valid UTF-8 that goes on at from ends; s.len: all is valid */
uint32_t utf8_decode(const uint8_t *p, size_t len); /* of a valid sequence of that length */
bool utf8_steers(uint32_t c); /* would it act on a terminal: controls, line separators, bidirectional controls, BOM */
void utf8_put(struct buf *b, uint32_t codepoint);

/*
 * A name as a field of a tensor list: \t \n \r \\, \# for a leading #, \e for
 * the empty name, \xHH for other control bytes (C1 included), invalid UTF-8 and
 * the first of nothing but spaces. A NUL comes out as \x00; callers
 * that print lines of names refuse it.
 */
void text_escape(struct buf *b, struct str name);

/* The reverse; false if an escape is none of these (then *b holds what came before). */
bool text_unescape(struct buf *b, struct str field);

/* The character at the place in to at which from has c, or -1. For escapes: \n is n in one and a newline in the other. */
int text_map(char c, const char *from, const char *to);

/* Text for a person: control bytes, bidirectional overrides and invalid UTF-8 as \xHH, all else as it is. */
void text_show(struct buf *b, struct str s);

/* Columns that UTF-8 text takes on a terminal (wide characters count 2). */
size_t text_width(struct str s);

/* The noun for n of something: "tensor" of 1, else "tensors". noun is a literal. */
#define text_noun(n, noun) ((n) == 1 ? (noun) : noun "s")

/* Edit distance (insert, delete, replace, swap neighbours), at most limit + 1. */
unsigned text_distance(struct str a, struct str b, unsigned limit);

/*
 * Remembers the candidate most like query: feed every candidate, then ask.
 * A candidate counts if few edits turn it into query, or one ends in the other.
 */
struct nearest {
	struct str query, best;
	unsigned score;    /* lower is better */
	short letters[32]; /* how many of query's bytes have these lower five bits */
};
void nearest_init(struct nearest *n, struct str query);
void nearest_try(struct nearest *n, struct str candidate);
bool nearest_found(const struct nearest *n);

#endif
