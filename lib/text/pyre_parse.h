/*
 * pyre_parse: Python's grammar of regular expressions, written anew as PCRE2's.
 * For the pyre*.c files only.
 *
 * What is emitted uses as little of PCRE2's syntax as possible: literals, classes
 * made of ranges and \p{..}, numbered groups, and options in (?i:...) only. So the
 * result depends on no PCRE2 option but UTF, and on the newline being LF.
 */
#ifndef LNN_TEXT_PYRE_PARSE_H
#define LNN_TEXT_PYRE_PARSE_H

#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"
#include "text/pyre.h"

struct pyre_name {
	struct str name; /* in the pattern */
	size_t group;
};

struct pyre_parsed {
	struct buf pcre;
	size_t groups; /* capturing ones */
	struct pyre_name *names;
	size_t nnames;
};

/* pattern must outlive *out. After -1 nothing needs release. */
int pyre_parse(struct str pattern, struct pyre_parsed *out, struct pyre_error *why);
void pyre_parsed_release(struct pyre_parsed *parsed);

/* The group of that name, 0 if there is none. */
size_t pyre_parsed_group(const struct pyre_parsed *parsed, struct str name);

/* Reading by Python's tokens: a backslash and what follows it are one. */
struct pyre_tokens {
	struct str s;
	size_t at;
	struct pyre_error *why;
};

struct str pyre_peek(const struct pyre_tokens *t); /* empty at the end */
struct str pyre_take(struct pyre_tokens *t);
uint32_t pyre_code_point(struct str token); /* of a token that is one character */
bool pyre_match_token(struct pyre_tokens *t, char c); /* takes it if it is c */
bool pyre_is_name(struct str name); /* Python's isidentifier; any non-ASCII letter will do */
/* The text up to the terminator, which is taken; -1 and why if either is missing. */
int pyre_until(struct pyre_tokens *t, char terminator, const char *what, struct str *out);
/* Up to max digits of base 8, 10 or 16; returns how many were taken. */
size_t pyre_digits(struct pyre_tokens *t, unsigned base, size_t max, uint64_t *value);
int pyre_bad(struct pyre_error *why, size_t offset, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The flags of a pattern that decide what is emitted. */
enum pyre_flag {
	PYRE_I = 1,
	PYRE_M = 2,
	PYRE_S = 4,
	PYRE_X = 8,
	PYRE_A = 16,
	PYRE_U = 32,
};

/* How many characters something matches; PYRE_WIDE stands for all that is wider. */
#define PYRE_WIDE ((uint64_t)1 << 40)

struct pyre_width {
	uint64_t lo, hi;
};

struct pyre_group {
	struct pyre_width width;
	bool closed;
};

enum { PYRE_MAX_GROUP = 65535 }; /* PCRE2's */

struct pyre_parser {
	struct pyre_tokens t;
	struct pyre_parsed *to;
	struct pyre_group *groups; /* [0] is unused */
	size_t ngroups, capgroups, capnames;
	size_t lookbehind;  /* first group inside the outermost lookbehind that is open; 0: none is */
	size_t ref, ref_at; /* highest group that a conditional names, and where */
	unsigned nesting;
};

/* pyre_parse.c. Flags change only where (?i) stands at the very beginning (first, top). */
int pyre_sequence(struct pyre_parser *p, unsigned *flags, bool first, struct pyre_width *total);
int pyre_alternatives(struct pyre_parser *p, unsigned *flags, bool top, struct pyre_width *width);

/* pyre_group.c. A group whose ( was taken: 0, or 1 if it was a comment or flags, which match nothing. */
int pyre_group(struct pyre_parser *p, unsigned *flags, bool first, struct pyre_width *width);
/* A reference back to a group, which must be closed. */
int pyre_reference(struct pyre_parser *p, size_t group, size_t offset, unsigned flags, struct pyre_width *width);

/* pyre_class.c */
struct pyre_escape {
	enum { PYRE_LITERAL, PYRE_CATEGORY } kind;
	uint32_t c; /* literal: code point; category: one of dDsSwW */
};

void pyre_emit_literal(struct buf *out, uint32_t c, unsigned flags);
void pyre_emit_category(struct buf *out, uint32_t letter, unsigned flags);
void pyre_emit_boundary(struct buf *out, bool negated, unsigned flags);
/* What an escape denotes inside a class; the backslash and its character are taken already and stand at token. */
int pyre_class_escape(struct pyre_tokens *t, struct str token, struct pyre_escape *out);
/* \x, \u, \U and the control escapes, which mean the same in and out of classes: 1 if it is one, 0 if not. */
int pyre_char_escape(struct pyre_tokens *t, struct str token, uint32_t *c);
/* A class whose [ was taken. */
int pyre_class(struct pyre_tokens *t, unsigned flags, struct buf *out);

#endif
