#include "text/pyre_parse.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/num.h"
#include "base/text.h"

int
pyre_bad(struct pyre_error *why, size_t offset, const char *fmt, ...)
{
	va_list ap;

	why->offset = offset;
	va_start(ap, fmt);
	vsnprintf(why->reason, sizeof(why->reason), fmt, ap);
	va_end(ap);
	return -1;
}

static size_t
char_len(struct str s, size_t at)
{
	size_t n = at < s.len ? utf8_len((const uint8_t *)s.p + at, s.len - at) : 0;

	return n == 0 && at < s.len ? 1 : n;
}

struct str
pyre_peek(const struct pyre_tokens *t)
{
	size_t n = char_len(t->s, t->at);

	if (n == 1 && t->s.p[t->at] == '\\')
		n += char_len(t->s, t->at + 1);
	return str_n(t->s.p + t->at, n);
}

struct str
pyre_take(struct pyre_tokens *t)
{
	struct str token = pyre_peek(t);

	t->at += token.len;
	return token;
}

uint32_t
pyre_code_point(struct str token)
{
	return utf8_decode((const uint8_t *)token.p, token.len);
}

bool
pyre_match_token(struct pyre_tokens *t, char c)
{
	struct str token = pyre_peek(t);

	if (token.len != 1 || token.p[0] != c)
		return false;
	t->at++;
	return true;
}

bool
pyre_is_name(struct str name)
{
	for (size_t i = 0; i < name.len; i++) {
		unsigned char c = (unsigned char)name.p[i];

		if (c < 0x80 && c != '_' && ((c | 0x20) < 'a' || (c | 0x20) > 'z') && (c < '0' || c > '9' || i == 0))
			return false;
	}
	return name.len > 0;
}

int
pyre_until(struct pyre_tokens *t, char terminator, const char *what, struct str *out)
{
	size_t start = t->at;
	struct str token;

	do {
		token = pyre_take(t);
		if (token.len == 0 && t->at == start)
			return pyre_bad(t->why, start, "missing %s", what);
		if (token.len == 0)
			return pyre_bad(t->why, start, "missing %c, unterminated name", terminator);
	} while (token.len != 1 || token.p[0] != terminator);
	*out = str_n(t->s.p + start, t->at - 1 - start);
	return out->len > 0 ? 0 : pyre_bad(t->why, start, "missing %s", what);
}

static unsigned
digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return (unsigned)(c - '0');
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10) : 16;
}

size_t
pyre_digits(struct pyre_tokens *t, unsigned base, size_t max, uint64_t *value)
{
	size_t n = 0;

	*value = 0;
	while (n < max && t->at < t->s.len && digit_value(t->s.p[t->at]) < base) {
		if (!num_mul(*value, base, value) || !num_add(*value, digit_value(t->s.p[t->at]), value))
			*value = UINT64_MAX;
		t->at++;
		n++;
	}
	return n;
}
