#include "text/json_read.h"

#include <string.h>

#include "base/text.h"

enum state {
	WANT_VALUE, /* at the beginning, after a comma in an array, after the colon of a key */
	WANT_FIRST, /* after an opening bracket: first element or closing bracket */
	WANT_KEY,   /* after a comma in an object */
	WANT_MORE,  /* after a value: comma or closing bracket */
	DONE,
	FAILED,
};

void
json_begin(struct json_reader *r, const char *file, uint64_t base, const void *p, size_t len)
{
	*r = (struct json_reader){ .file = file, .base = base, .p = p, .len = len, .state = WANT_VALUE };
}

void
json_release(struct json_reader *r)
{
	buf_release(&r->scratch);
}

const char *
json_what(enum json_token token)
{
	static const char *const names[] = {
		[JSON_END] = "the end",
		[JSON_OBJECT] = "an object",
		[JSON_OBJECT_END] = "the end of an object",
		[JSON_ARRAY] = "an array",
		[JSON_ARRAY_END] = "the end of an array",
		[JSON_KEY] = "a key",
		[JSON_STRING] = "a string",
		[JSON_NUMBER] = "a number",
		[JSON_TRUE] = "true",
		[JSON_FALSE] = "false",
		[JSON_NULL] = "null",
	};

	return token == JSON_ERROR ? "an error" : names[token];
}

/* Sets the message and the state FAILED. Evaluates to JSON_ERROR. */
#define fail(r, err, at, ...) (err_at(err, (r)->file, (r)->base + (at), __VA_ARGS__), (r)->state = FAILED, (r)->token = JSON_ERROR)

/* Reports that the byte at offset at is not what JSON allows there. */
static enum json_token
unexpected(struct json_reader *r, struct err *err, size_t at, const char *expected)
{
	if (at >= r->len)
		return fail(r, err, at, "JSON ends where %s is expected", expected);
	if (r->p[at] > 0x20 && r->p[at] < 0x7f)
		return fail(r, err, at, "invalid JSON: '%c' where %s is expected", r->p[at], expected);
	return fail(r, err, at, "invalid JSON: byte 0x%02x where %s is expected", r->p[at], expected);
}

static void
skip_space(struct json_reader *r)
{
	while (r->at < r->len && (r->p[r->at] == ' ' || r->p[r->at] == '\n' || r->p[r->at] == '\t' || r->p[r->at] == '\r'))
		r->at++;
}

/* Returns the value of the four digits of the \uXXXX at offset at, or UINT32_MAX if it has none. */
static uint32_t
hex4(const struct json_reader *r, size_t at)
{
	return num_hex(str_n((const char *)r->p + at + 2, r->len - at - 2), 4);
}

/* Decodes the \uXXXX at offset at, including the second half of a surrogate pair. Returns its length, or 0 on error. */
static size_t
unicode_escape(struct json_reader *r, size_t at, struct err *err)
{
	uint32_t c = hex4(r, at), low = 0;
	bool pair = r->len - at >= 12 && r->p[at + 6] == '\\' && r->p[at + 7] == 'u';

	if (c == UINT32_MAX) {
		fail(r, err, at, "\\u needs four hexadecimal digits");
		return 0;
	}
	if (c < 0xd800 || c > 0xdfff) {
		utf8_put(&r->scratch, c);
		return 6;
	}
	if (pair)
		low = hex4(r, at + 6);
	if (c > 0xdbff || low < 0xdc00 || low > 0xdfff) {
		fail(r, err, at, "escape \\u%04x is half a surrogate pair", (unsigned)c);
		return 0;
	}
	utf8_put(&r->scratch, 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00));
	return 12;
}

/* Decodes the escape at offset at. Returns its length, or 0 on error. */
static size_t
escape(struct json_reader *r, size_t at, struct err *err)
{
	int c;

	if (at + 1 >= r->len) {
		unexpected(r, err, at + 1, "an escape");
		return 0;
	}
	if (r->p[at + 1] == 'u')
		return unicode_escape(r, at, err);
	c = text_map((char)r->p[at + 1], "\"\\/bfnrt", "\"\\/\b\f\n\r\t");
	if (c < 0) {
		fail(r, err, at, "unknown escape in a string");
		return 0;
	}
	buf_addc(&r->scratch, (char)c);
	return 2;
}

/* Reads the string whose opening quote is at r->at. If it has no escapes, text points into the input. */
static int
string(struct json_reader *r, struct err *err)
{
	size_t i = r->at + 1, start = i, n;

	r->borrowed = true;
	buf_clear(&r->scratch);
	for (;;) {
		while (i < r->len && r->p[i] >= 0x20 && r->p[i] < 0x80 && r->p[i] != '"' && r->p[i] != '\\')
			i++;
		if (i >= r->len)
			return fail(r, err, r->start, "string has no end");
		if (r->p[i] == '"')
			break;
		if (r->p[i] < 0x20)
			return fail(r, err, i, "raw control character 0x%02x in a string", r->p[i]);
		if (r->p[i] >= 0x80) {
			n = utf8_len(r->p + i, r->len - i);
			if (n == 0)
				return fail(r, err, i, "invalid UTF-8 in a string");
			i += n;
			continue;
		}
		r->borrowed = false;
		buf_add(&r->scratch, r->p + start, i - start);
		n = escape(r, i, err);
		if (n == 0)
			return -1;
		start = i += n;
	}
	if (r->borrowed) {
		r->text = str_n((const char *)r->p + start, i - start);
	} else {
		buf_add(&r->scratch, r->p + start, i - start);
		r->text = buf_str(&r->scratch);
	}
	r->at = i + 1;
	return 0;
}

static size_t
run_of_digits(const struct json_reader *r, size_t i)
{
	size_t start = i;

	while (i < r->len && r->p[i] >= '0' && r->p[i] <= '9')
		i++;
	return i - start;
}

static enum json_token
number(struct json_reader *r, struct err *err)
{
	size_t i = r->at, n;

	i += r->p[i] == '-';
	n = run_of_digits(r, i);
	if (n == 0)
		return unexpected(r, err, i, "a digit");
	if (n > 1 && r->p[i] == '0')
		return fail(r, err, i, "number with a leading zero");
	i += n;
	if (i < r->len && r->p[i] == '.') {
		n = run_of_digits(r, i + 1);
		if (n == 0)
			return unexpected(r, err, i + 1, "a digit");
		i += n + 1;
	}
	if (i < r->len && (r->p[i] == 'e' || r->p[i] == 'E')) {
		i++;
		i += i < r->len && (r->p[i] == '+' || r->p[i] == '-');
		n = run_of_digits(r, i);
		if (n == 0)
			return unexpected(r, err, i, "a digit");
		i += n;
	}
	r->text = str_n((const char *)r->p + r->at, i - r->at);
	r->borrowed = true;
	r->at = i;
	return JSON_NUMBER;
}

static enum json_token
word(struct json_reader *r, struct err *err)
{
	static const struct {
		const char *text;
		enum json_token token;
	} words[] = { { "true", JSON_TRUE }, { "false", JSON_FALSE }, { "null", JSON_NULL } };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		size_t n = strlen(words[i].text);

		if (r->len - r->at >= n && memcmp(r->p + r->at, words[i].text, n) == 0) {
			r->at += n;
			return words[i].token;
		}
	}
	return unexpected(r, err, r->at, "a value");
}

/* Updates the state after a complete value. */
static void
after_value(struct json_reader *r)
{
	r->state = r->depth == 0 ? DONE : WANT_MORE;
}

static enum json_token
open_container(struct json_reader *r, bool object, struct err *err)
{
	if (r->depth == JSON_MAX_DEPTH)
		return fail(r, err, r->at, "JSON nested deeper than %d levels", JSON_MAX_DEPTH);
	r->object[r->depth++] = object;
	r->at++;
	r->state = WANT_FIRST;
	return object ? JSON_OBJECT : JSON_ARRAY;
}

static enum json_token
close_container(struct json_reader *r)
{
	bool object = r->object[--r->depth];

	r->at++;
	after_value(r);
	return object ? JSON_OBJECT_END : JSON_ARRAY_END;
}

static enum json_token
value(struct json_reader *r, struct err *err)
{
	enum json_token token;
	uint8_t c;

	if (r->at >= r->len)
		return unexpected(r, err, r->at, "a value");
	c = r->p[r->at];
	if (c == '{' || c == '[')
		return open_container(r, c == '{', err);
	if (c == '"')
		token = string(r, err) == 0 ? JSON_STRING : JSON_ERROR;
	else if (c == '-' || (c >= '0' && c <= '9'))
		token = number(r, err);
	else
		token = word(r, err);
	if (token != JSON_ERROR)
		after_value(r);
	return token;
}

static enum json_token
key(struct json_reader *r, struct err *err)
{
	if (r->at >= r->len || r->p[r->at] != '"')
		return unexpected(r, err, r->at, r->state == WANT_FIRST ? "a key or }" : "a key");
	if (string(r, err) != 0)
		return JSON_ERROR;
	skip_space(r);
	if (r->at >= r->len || r->p[r->at] != ':')
		return unexpected(r, err, r->at, "a colon");
	r->at++;
	r->state = WANT_VALUE;
	return JSON_KEY;
}

/* Reads what follows a value or opening bracket in a container: the end of the container, or the next element. */
static enum json_token
more(struct json_reader *r, struct err *err)
{
	bool object = r->object[r->depth - 1];

	if (r->at < r->len && r->p[r->at] == (object ? '}' : ']'))
		return close_container(r);
	if (r->state == WANT_MORE) {
		if (r->at >= r->len || r->p[r->at] != ',')
			return unexpected(r, err, r->at, object ? "a comma or }" : "a comma or ]");
		r->at++;
		r->state = object ? WANT_KEY : WANT_VALUE;
		skip_space(r);
		r->start = r->at;
	}
	return object ? key(r, err) : value(r, err);
}

enum json_token
json_next(struct json_reader *r, struct err *err)
{
	if (r->state == FAILED)
		return JSON_ERROR;
	r->text = (struct str){ NULL, 0 };
	r->borrowed = false;
	skip_space(r);
	r->start = r->at;
	if (r->state == WANT_VALUE)
		r->token = value(r, err);
	else if (r->state != DONE)
		r->token = more(r, err);
	else if (r->at < r->len)
		r->token = unexpected(r, err, r->at, "the end");
	else
		r->token = JSON_END;
	return r->token;
}

int
json_expect(struct json_reader *r, enum json_token expected, const char *what, struct err *err)
{
	enum json_token token = json_next(r, err);

	if (token == JSON_ERROR)
		return -1;
	if (token != expected)
		return json_fail(r, err, "%s must be %s, not %s", what, json_what(expected), json_what(token));
	return 0;
}

int
json_skip(struct json_reader *r, struct err *err)
{
	unsigned depth;

	if (r->token == JSON_KEY && json_next(r, err) == JSON_ERROR)
		return -1;
	if (r->token != JSON_OBJECT && r->token != JSON_ARRAY)
		return r->token == JSON_ERROR ? -1 : 0;
	for (depth = r->depth; r->depth >= depth;)
		if (json_next(r, err) == JSON_ERROR)
			return -1;
	return 0;
}
