/*
 * pyre: regular expressions with the meaning of Python's re module (str patterns, Python 3.11), executed by PCRE2.
 *
 * A pattern is parsed by Python's grammar and translated for PCRE2. What Python rejects is therefore an error here, and PCRE2's own
 * syntax never takes effect.
 *
 * The following are refused with a clear message: conditionals (?(1)...), flags for a part of a pattern (?i:...), the flags x, a
 * and u, references inside a lookbehind, atomic groups (?>...), comments (?#...), possessive quantifiers a++, {0}, octal escapes,
 * \N{NAME}, code points of surrogates, repeat counts above 65535, more than 200 levels of groups, {m,n} after an item that can match
 * the empty text if n is more than m + 1, and repeating an empty item inside a lookbehind, (?<=(?:)*a).
 *
 * Known differences from Python: Group names are compared as written, and any non-ASCII character may be part of one. Under (?i)
 * these do not match each other: i, U+0130 and U+0131; U+0390 and U+1FD3; U+03B0 and U+1FE3; U+FB05 and U+FB06. A byte of the
 * subject that is not UTF-8 matches nothing, and no match spans it (Python has no such text).
 */
#ifndef LNN_TEXT_PYRE_H
#define LNN_TEXT_PYRE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

struct pyre;     /* a compiled pattern; not thread-safe */
struct pyre_sub; /* a compiled replacement */

/* The reason why a pattern or a replacement is invalid. The caller adds its position in the file. */
struct pyre_error {
	size_t offset;    /* in bytes from the beginning of the pattern */
	char reason[200]; /* such as "nothing to repeat"; may contain raw bytes of the pattern */
};

#define PYRE_UNSET ((size_t)-1)

struct pyre_span {
	size_t start, end; /* byte offsets; both PYRE_UNSET if the group did not take part in the match */
};

/* Compiles a pattern, which is copied. Returns 0 and sets *out, which the caller frees, or returns -1 and sets *why. */
int pyre_compile(struct str pattern, struct pyre **out, struct pyre_error *why);
void pyre_free(struct pyre *re); /* re may be NULL */

/*
 * Like re.search. Returns 1 if a match is found, 0 if not, and -1 if a limit
 * was exceeded (err names the pattern). spans is NULL, or an array of nspans
 * elements that receives groups 0, 1, ...
 */
int pyre_search(const struct pyre *re, struct str subject, struct pyre_span *spans, size_t nspans, struct err *err);

/*
 * Compiles a replacement as for re.sub: \1..\99, \g<1>, \g<name>, \g<0>, \n and
 * similar escapes, but no octal escapes. & has no special meaning. re must live
 * as long as the result.
 */
int pyre_sub_compile(const struct pyre *re, struct str replacement, struct pyre_sub **out, struct pyre_error *why);
void pyre_sub_free(struct pyre_sub *sub); /* sub may be NULL */

/*
 * Like re.sub. Appends subject to *out with the first match, or all matches,
 * replaced. *count is the number of replacements; count may be NULL. Returns -1
 * as pyre_search does; then *out is unchanged.
 */
int pyre_sub(const struct pyre_sub *sub, struct str subject, bool all, struct buf *out, size_t *count, struct err *err);

#endif
