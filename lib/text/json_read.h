/*
 * json_read: a strict pull reader for JSON (RFC 8259) in memory. It builds no
 * tree: a safetensors header may describe 100,000 tensors.
 *
 * Refused, with the exact byte: a byte order mark, invalid UTF-8, raw control
 * characters in strings, escapes of lone surrogates, numbers outside the
 * grammar, anything after the document, nesting beyond JSON_MAX_DEPTH.
 * A key that occurs twice is not seen here: that is the caller's business.
 */
#ifndef LNN_TEXT_JSON_READ_H
#define LNN_TEXT_JSON_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/num.h"
#include "base/str.h"

enum json_token {
	JSON_ERROR = -1, /* err is set */
	JSON_END,        /* the document is complete, nothing but white space follows */
	JSON_OBJECT,
	JSON_OBJECT_END,
	JSON_ARRAY,
	JSON_ARRAY_END,
	JSON_KEY, /* its value is the next token */
	JSON_STRING,
	JSON_NUMBER,
	JSON_TRUE,
	JSON_FALSE,
	JSON_NULL,
};

struct json_reader {
	enum json_token token; /* what json_next returned last */
	struct str text;       /* of a key or string: decoded; of a number: as written */
	bool borrowed;         /* text lies in the input; otherwise it is lost with the next json_next */
	size_t start;          /* of the token, in bytes from the beginning of the input */

	/* private */
	const char *file;
	uint64_t base;
	const uint8_t *p;
	size_t len, at;
	unsigned depth, state;
	bool object[JSON_MAX_DEPTH];
	struct buf scratch;
};

/* base is the file offset of p[0], for messages. file and p must live as long as the reader. */
void json_begin(struct json_reader *r, const char *file, uint64_t base, const void *p, size_t len);
void json_release(struct json_reader *r);

/* The next token; once it was JSON_END or JSON_ERROR it stays so. */
enum json_token json_next(struct json_reader *r, struct err *err);

/* json_next, and an error if it is not the expected token: "FILE: at byte N: WHAT must be an object, not a number". */
int json_expect(struct json_reader *r, enum json_token expected, const char *what, struct err *err);

/* Reads past the value that the last token began (or, after a key, the value that follows). */
int json_skip(struct json_reader *r, struct err *err);

/* Sets "FILE: at byte N: MESSAGE" at the last token; returns -1. */
#define json_fail(r, err, ...) err_at(err, (r)->file, (r)->base + (r)->start, __VA_ARGS__)

/* "an object", "a number", ... for messages. */
const char *json_what(enum json_token token);

/* The text of a JSON_NUMBER, if it is written as a plain integer from 0 to 2^64-1: no sign, fraction or exponent. */
static inline bool
json_u64(struct str number, uint64_t *out)
{
	return (number.len <= 1 || number.p[0] != '0') && num_u64(number, out);
}

#endif
