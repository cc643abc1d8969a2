/*
 * pyre: regular expressions that mean what they mean to Python's re module
 * (text patterns, Python 3.11), executed by PCRE2.
 *
 * A pattern is parsed by Python's grammar and written anew for PCRE2, so what
 * Python rejects is an error here, and PCRE2's own syntax never takes effect.
 *
 * Refused, by a message that says so: conditionals (?(1)...), flags for a part of
 * a pattern (?i:...), the flags x, a and u, references inside a lookbehind, atomic
 * groups (?>...), possessive quantifiers a++, octal escapes and \N{NAME}; code points
 * that are surrogates, repeat counts above 65535, more than 200 levels of groups,
 * and inside a lookbehind the repeating of nothing, (?<=(?:)*a), and {0} times of another.
 *
 * Known differences. Names of groups are compared as they are written, and any letter
 * beyond ASCII is good for one. Under (?i) these do not match each other: i, U+0130 and
 * U+0131; U+0390 and U+1FD3; U+03B0 and U+1FE3; U+FB05 and U+FB06. A byte of the subject
 * that is not UTF-8 matches nothing, and no match spans it (Python has no such text).
 */
#ifndef LNN_TEXT_PYRE_H
#define LNN_TEXT_PYRE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

struct pyre;     /* a compiled pattern; one thread at a time may search with it */
struct pyre_sub; /* a compiled replacement */

/* Why a pattern or a replacement is wrong; the caller knows where it stands. */
struct pyre_error {
	size_t offset;    /* in bytes from the beginning of the pattern */
	char reason[200]; /* "nothing to repeat"; raw bytes of the pattern may occur in it */
};

#define PYRE_UNSET ((size_t)-1)

struct pyre_span {
	size_t start, end; /* bytes; both PYRE_UNSET if the group took no part */
};

/* 0 and *out is the caller's, or -1 and *why is set. The pattern is copied. */
int pyre_compile(struct str pattern, struct pyre **out, struct pyre_error *why);
void pyre_free(struct pyre *re); /* NULL is fine */

/*
 * re.search: 1 if found, 0 if not, -1 if the effort went beyond the limits (err
 * names the pattern). spans: NULL, or an array of nspans that takes group 0, 1, ...
 */
int pyre_search(const struct pyre *re, struct str subject, struct pyre_span *spans, size_t nspans, struct err *err);

/*
 * A replacement as re.sub has it: \1..\99, \g<1>, \g<name>, \g<0>, \n and the
 * like, but no octal escapes; & is only itself. re must live as long as the result.
 */
int pyre_sub_compile(const struct pyre *re, struct str replacement, struct pyre_sub **out, struct pyre_error *why);
void pyre_sub_free(struct pyre_sub *sub); /* NULL is fine */

/*
 * re.sub: adds subject to *out with the first match, or all, replaced; *count
 * (may be NULL) says how many. -1 as for pyre_search; then *out is as it was.
 */
int pyre_sub(const struct pyre_sub *sub, struct str subject, bool all, struct buf *out, size_t *count, struct err *err);

#endif
