/* pickle: opcodes that push a constant, a number or a text. */
#include "pickle/machine.h"

#include <string.h>

#include "base/cursor.h"
#include "base/limits.h"
#include "base/num.h"
#include "base/text.h"

/* ---- constants */

int
pickle_op_none(struct pickle_machine *m, struct err *e)
{
	return pickle_push(m, value_new_none(m->t), e);
}

int
pickle_op_newtrue(struct pickle_machine *m, struct err *e)
{
	return pickle_push(m, value_new_bool(m->t, true), e);
}

int
pickle_op_newfalse(struct pickle_machine *m, struct err *e)
{
	return pickle_push(m, value_new_bool(m->t, false), e);
}

/* ---- numbers */

int
pickle_op_binint(struct pickle_machine *m, struct err *e)
{
	const uint8_t *p = pickle_take(&m->in, 4, e);

	return p == NULL ? -1 : pickle_push(m, value_new_int(m->t, (int32_t)get_le32(p)), e);
}

int
pickle_op_binint1(struct pickle_machine *m, struct err *e)
{
	const uint8_t *p = pickle_take(&m->in, 1, e);

	return p == NULL ? -1 : pickle_push(m, value_new_int(m->t, p[0]), e);
}

int
pickle_op_binint2(struct pickle_machine *m, struct err *e)
{
	const uint8_t *p = pickle_take(&m->in, 2, e);

	return p == NULL ? -1 : pickle_push(m, value_new_int(m->t, get_le16(p)), e);
}

uint32_t
pickle_long(struct vtree *t, const uint8_t *p, size_t n)
{
	uint64_t v = 0;

	/* A last byte that only repeats the sign says nothing. */
	while (n > 0 && (p[n - 1] == 0 || p[n - 1] == 0xff) &&
	       (n == 1 ? p[0] == 0 : (p[n - 2] & 0x80) == (p[n - 1] & 0x80)))
		n--;
	if (n > 8)
		return value_new_text(t, VALUE_BIGINT, arena_str(vtree_arena(t), str_n((const char *)p, n)));
	for (size_t i = 0; i < 8; i++)
		v |= (uint64_t)(i < n ? p[i] : n > 0 && (p[n - 1] & 0x80) != 0 ? 0xff : 0) << (8 * i);
	return value_new_int(t, (int64_t)v);
}

static int
push_long(struct pickle_machine *m, size_t n, struct err *e)
{
	struct str s;

	if (n <= PICKLE_TAKE_MAX) {
		const uint8_t *p = pickle_take(&m->in, n, e);

		return p == NULL ? -1 : pickle_push(m, pickle_long(m->t, p, n), e);
	}
	if (pickle_bytes(&m->in, n, vtree_arena(m->t), &s, e) < 0)
		return -1;
	return pickle_push(m, pickle_long(m->t, (const uint8_t *)s.p, s.len), e);
}

/* A length that stands as a 32-bit number with a sign. */
static int
signed_length(struct pickle_machine *m, size_t *n, struct err *e)
{
	const uint8_t *p = pickle_take(&m->in, 4, e);

	if (p == NULL)
		return -1;
	*n = get_le32(p);
	return *n > INT32_MAX ? pickle_fail(&m->in, e, "a negative length") : 0;
}

int
pickle_op_long1(struct pickle_machine *m, struct err *e)
{
	const uint8_t *p = pickle_take(&m->in, 1, e);

	return p == NULL ? -1 : push_long(m, p[0], e);
}

int
pickle_op_long4(struct pickle_machine *m, struct err *e)
{
	size_t n;

	return signed_length(m, &n, e) < 0 ? -1 : push_long(m, n, e);
}

/* Decimal digits to two's complement bytes; out has room for n / 2 + 2. Returns how many it filled. */
static size_t
binary(struct str digits, bool negative, uint8_t *out)
{
	size_t len = 0;
	unsigned carry;

	for (size_t i = 0; i < digits.len; i++) {
		carry = (unsigned)(digits.p[i] - '0');
		for (size_t j = 0; j < len; j++) {
			carry += out[j] * 10u;
			out[j] = (uint8_t)carry;
			carry >>= 8;
		}
		if (carry != 0)
			out[len++] = (uint8_t)carry;
	}
	out[len++] = 0;
	carry = 1;
	for (size_t j = 0; negative && j < len; j++) {
		carry += (uint8_t)~out[j];
		out[j] = (uint8_t)carry;
		carry >>= 8;
	}
	return len;
}

/* A decimal number; a leading zero is not taken, as readers differ about what it means. */
static int
push_decimal(struct pickle_machine *m, struct str s, struct err *e)
{
	bool negative = s.len > 0 && s.p[0] == '-';
	struct str digits = str_from(s, s.len > 0 && (s.p[0] == '-' || s.p[0] == '+') ? 1 : 0);
	uint8_t bytes[PICKLE_DIGITS_MAX / 2 + 2];
	bool good = digits.len > 0 && (digits.len == 1 || digits.p[0] != '0');

	for (size_t i = 0; i < digits.len && good; i++)
		good = digits.p[i] >= '0' && digits.p[i] <= '9';
	if (!good)
		return pickle_fail(&m->in, e, "\"%.*s\" is no decimal number", (int)(s.len > 40 ? 40 : s.len), s.p);
	if (digits.len > PICKLE_DIGITS_MAX)
		return pickle_fail(&m->in, e, "a number of more than %d digits", PICKLE_DIGITS_MAX);
	return pickle_push(m, pickle_long(m->t, bytes, binary(digits, negative, bytes)), e);
}

int
pickle_op_int(struct pickle_machine *m, struct err *e)
{
	struct str line;

	if (pickle_line(&m->in, &line, e) < 0)
		return -1;
	if (str_eqc(line, "00") || str_eqc(line, "01"))
		return pickle_push(m, value_new_bool(m->t, line.p[1] == '1'), e);
	return push_decimal(m, line, e);
}

int
pickle_op_long(struct pickle_machine *m, struct err *e)
{
	struct str line;

	if (pickle_line(&m->in, &line, e) < 0)
		return -1;
	if (line.len > 0 && line.p[line.len - 1] == 'L')
		line.len--;
	return push_decimal(m, line, e);
}

int
pickle_op_float(struct pickle_machine *m, struct err *e)
{
	struct str line;
	double d;

	if (pickle_line(&m->in, &line, e) < 0)
		return -1;
	if (!num_double(line, &d))
		return pickle_fail(&m->in, e, "\"%.*s\" is no number", (int)(line.len > 40 ? 40 : line.len), line.p);
	return pickle_push(m, value_new_float(m->t, d), e);
}

int
pickle_op_binfloat(struct pickle_machine *m, struct err *e)
{
	const uint8_t *p = pickle_take(&m->in, 8, e);
	uint64_t bits = 0;
	double d;

	if (p == NULL)
		return -1;
	for (int i = 0; i < 8; i++)
		bits = bits << 8 | p[i];
	memcpy(&d, &bits, sizeof(d));
	return pickle_push(m, value_new_float(m->t, d), e);
}

/* ---- texts and bytes */

bool
pickle_utf8(struct str s)
{
	const uint8_t *p = (const uint8_t *)s.p;
	size_t i = 0, n;
	uint64_t word;

	while (i < s.len) {
		for (; s.len - i >= 8; i += 8) {
			memcpy(&word, p + i, 8);
			if ((word & 0x8080808080808080u) != 0)
				break;
		}
		while (i < s.len && p[i] < 0x80)
			i++;
		if (i == s.len)
			break;
		n = utf8_len(p + i, s.len - i);
		if (n == 0 && s.len - i >= 3 && p[i] == 0xed && p[i + 1] >= 0xa0 && p[i + 1] <= 0xbf &&
		    p[i + 2] >= 0x80 && p[i + 2] <= 0xbf)
			n = 3;
		if (n == 0)
			return false;
		i += n;
	}
	return true;
}

static int
push_text(struct pickle_machine *m, enum value_kind kind, uint64_t n, struct err *e)
{
	struct str s;

	if (pickle_bytes(&m->in, n, vtree_arena(m->t), &s, e) < 0)
		return -1;
	if (kind == VALUE_STR && !pickle_utf8(s))
		return pickle_fail(&m->in, e, "the text is not UTF-8");
	return pickle_push(m, value_new_text(m->t, kind, s), e);
}

/* A text whose length stands in size bytes. */
static int
counted(struct pickle_machine *m, enum value_kind kind, size_t size, struct err *e)
{
	const uint8_t *p = pickle_take(&m->in, size, e);

	if (p == NULL)
		return -1;
	return push_text(m, kind, size == 1 ? p[0] : size == 4 ? get_le32(p) : get_le64(p), e);
}

int
pickle_op_short_binunicode(struct pickle_machine *m, struct err *e)
{
	return counted(m, VALUE_STR, 1, e);
}

int
pickle_op_binunicode(struct pickle_machine *m, struct err *e)
{
	return counted(m, VALUE_STR, 4, e);
}

int
pickle_op_binunicode8(struct pickle_machine *m, struct err *e)
{
	return counted(m, VALUE_STR, 8, e);
}

int
pickle_op_short_binbytes(struct pickle_machine *m, struct err *e)
{
	return counted(m, VALUE_BYTES, 1, e);
}

int
pickle_op_binbytes(struct pickle_machine *m, struct err *e)
{
	return counted(m, VALUE_BYTES, 4, e);
}

int
pickle_op_binbytes8(struct pickle_machine *m, struct err *e)
{
	return counted(m, VALUE_BYTES, 8, e);
}

int
pickle_op_bytearray8(struct pickle_machine *m, struct err *e)
{
	return counted(m, VALUE_BYTEARRAY, 8, e);
}

int
pickle_op_short_binstring(struct pickle_machine *m, struct err *e)
{
	return counted(m, VALUE_PYSTR, 1, e);
}

int
pickle_op_binstring(struct pickle_machine *m, struct err *e)
{
	size_t n;

	return signed_length(m, &n, e) < 0 ? -1 : push_text(m, VALUE_PYSTR, n, e);
}

static unsigned
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return (unsigned)(c - '0');
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10 : 16;
}

/* n hexadecimal digits at p; UINT32_MAX if they are none. */
static uint32_t
hex(const char *p, size_t left, size_t n)
{
	uint32_t v = 0;

	if (left < n)
		return UINT32_MAX;
	for (size_t i = 0; i < n; i++) {
		if (hex_digit(p[i]) > 15)
			return UINT32_MAX;
		v = v << 4 | hex_digit(p[i]);
	}
	return v;
}

/* The escape behind a backslash of a Python string literal (codecs.escape_decode): s starts after it. Bytes taken, or 0. */
static size_t
unescape(struct str s, struct buf *out)
{
	static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
	const char *at = s.len == 0 || s.p[0] == '\0' ? NULL : strchr(from, s.p[0]);
	uint32_t v = 0;
	size_t n = 0;

	if (s.len == 0)
		return 0;
	if (at != NULL) {
		buf_addc(out, to[at - from]);
		return 1;
	}
	while (n < 3 && n < s.len && s.p[n] >= '0' && s.p[n] <= '7')
		v = v * 8 + (uint32_t)(s.p[n++] - '0');
	if (n > 0) {
		buf_addc(out, (char)(uint8_t)v);
		return n;
	}
	if (s.p[0] == 'x') {
		v = hex(s.p + 1, s.len - 1, 2);
		if (v == UINT32_MAX)
			return 0;
		buf_addc(out, (char)(uint8_t)v);
		return 3;
	}
	buf_addc(out, '\\');
	buf_addc(out, s.p[0]);
	return 1;
}

/* A quoted text of protocol 0, as Python 2's repr wrote it. */
int
pickle_op_string(struct pickle_machine *m, struct err *e)
{
	struct buf out = BUF_INIT;
	struct str s;
	size_t n;

	if (pickle_line(&m->in, &s, e) < 0)
		return -1;
	if (s.len < 2 || (s.p[0] != '\'' && s.p[0] != '"') || s.p[s.len - 1] != s.p[0])
		return pickle_fail(&m->in, e, "the text is not in quotes");
	s = str_n(s.p + 1, s.len - 2);
	for (; s.len > 0; s = str_from(s, n)) {
		n = s.p[0] == '\\' ? unescape(str_from(s, 1), &out) + 1 : 1;
		if (s.p[0] != '\\')
			buf_addc(&out, s.p[0]);
		else if (n == 1)
			break;
	}
	n = s.len;
	if (n == 0)
		s = arena_str(vtree_arena(m->t), buf_str(&out));
	buf_release(&out);
	if (n != 0)
		return pickle_fail(&m->in, e, "an escape in the text has no meaning");
	return pickle_push(m, value_new_text(m->t, VALUE_PYSTR, s), e);
}

static void
put_point(struct buf *b, uint32_t c)
{
	if (c >= 0xd800 && c <= 0xdfff) {
		buf_addc(b, (char)0xed);
		buf_addc(b, (char)(0x80 | (c >> 6 & 0x3f)));
		buf_addc(b, (char)(0x80 | (c & 0x3f)));
	} else {
		utf8_put(b, c);
	}
}

/* The raw-unicode-escape codec: \uXXXX and \UXXXXXXXX, all other bytes are Latin-1. */
int
pickle_op_unicode(struct pickle_machine *m, struct err *e)
{
	struct buf out = BUF_INIT;
	struct str s;
	uint32_t c;
	size_t n;

	if (pickle_line(&m->in, &s, e) < 0)
		return -1;
	for (; s.len > 0; s = str_from(s, n)) {
		n = 1;
		c = (uint8_t)s.p[0];
		if (c == '\\' && s.len > 1) {
			n = s.p[1] == 'u' ? 6 : s.p[1] == 'U' ? 10 : 2;
			if (n == 2)
				buf_addc(&out, '\\');
			c = n == 2 ? (uint8_t)s.p[1] : hex(s.p + 2, s.len - 2, n - 2);
		}
		if (c > 0x10ffff)
			break;
		put_point(&out, c);
	}
	n = s.len;
	if (n == 0)
		s = arena_str(vtree_arena(m->t), buf_str(&out));
	buf_release(&out);
	if (n != 0)
		return pickle_fail(&m->in, e, "an escape in the text has no meaning");
	return pickle_push(m, value_new_text(m->t, VALUE_STR, s), e);
}
