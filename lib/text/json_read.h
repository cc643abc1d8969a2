/*
 * json_read: a strict pull reader for JSON (RFC 8259) in memory. It builds no
 * tree, because a safetensors header may describe 100,000 tensors.
 *
 * It refuses the following and reports the exact byte: a byte order mark,
 * invalid UTF-8, raw control characters in strings, escapes of lone surrogates,
 * numbers outside the grammar, anything after the document, and nesting beyond
 * JSON_MAX_DEPTH. It does not detect duplicate keys; the caller must.
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
	JSON_END,        /* the document is complete, and only white space follows */
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
	enum json_token token; /* the last token that json_next returned */
	struct str text;       /* key or string: decoded; number: as written */
	bool borrowed;         /* true: text points into the input; false: text is valid until the next json_next */
	size_t start;          /* offset of the token, in bytes from the beginning of the input */

	/* private */
	const char *file;
	uint64_t base;
	const uint8_t *p;
	size_t len, at;
	unsigned depth, state;
	bool object[JSON_MAX_DEPTH];
	struct buf scratch;
};

/* base is the file offset of p[0], used in messages. file and p are borrowed by the reader. */
void json_begin(struct json_reader *r, const char *file, uint64_t base, const void *p, size_t len);
void json_release(struct json_reader *r);

/* Returns the next token. After JSON_END or JSON_ERROR, returns the same token again. */
enum json_token json_next(struct json_reader *r, struct err *err);

/* Calls json_next. If the token is not the expected one, sets "FILE: at byte N: WHAT must be an object, not a number". */
int json_expect(struct json_reader *r, enum json_token expected, const char *what, struct err *err);

/* Reads to the end of the value that the last token began; after a key, to the end of its value. */
int json_skip(struct json_reader *r, struct err *err);

/* Sets "FILE: at byte N: MESSAGE" at the last token, and returns -1. */
#define json_fail(r, err, ...) err_at(err, (r)->file, (r)->base + (r)->start, __VA_ARGS__)

/* Returns "an object", "a number", ... for messages. */
const char *json_what(enum json_token token);

/*
 * Parses a JSON_NUMBER that is a plain integer from 0 to 2^64-1. Returns false if it has a sign, fraction or exponent, or is too
 * large.
 */
static inline bool
json_u64(struct str number, uint64_t *out)
{
	return (number.len <= 1 || number.p[0] != '0') && num_u64(number, out);
}

#endif
