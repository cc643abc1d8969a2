#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

void
buf_release(struct buf *b)
{
	free(b->p);
	buf_init(b);
}

void
buf_clear(struct buf *b)
{
	b->len = 0;
	if (b->p != NULL)
		b->p[0] = '\0';
}

char *
buf_reserve(struct buf *b, size_t n)
{
	size_t need = b->len + n + 1;

	if (need < n)
		need = SIZE_MAX;
	if (need > b->cap) {
		b->cap = need < 64 ? 64 : need + need / 2 < need ? need : need + need / 2;
		b->p = xreallocn(b->p, b->cap, 1);
	}
	return b->p + b->len;
}

void
buf_add(struct buf *b, const void *p, size_t n)
{
	char *at = buf_reserve(b, n);

	if (n > 0)
		memcpy(at, p, n);
	b->len += n;
	b->p[b->len] = '\0';
}

void
buf_addc(struct buf *b, char c)
{
	buf_add(b, &c, 1);
}

void
buf_adds(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

void
buf_addstr(struct buf *b, struct str s)
{
	buf_add(b, s.p, s.len);
}

void
buf_vaddf(struct buf *b, const char *fmt, va_list ap)
{
	const size_t likely = 120; /* enough for most messages; a longer one is formatted again */
	va_list again;
	int n;

	va_copy(again, ap);
	n = vsnprintf(buf_reserve(b, likely), likely + 1, fmt, again);
	va_end(again);
	if (n > (int)likely)
		n = vsnprintf(buf_reserve(b, (size_t)n), (size_t)n + 1, fmt, ap);
	b->len += n > 0 ? (size_t)n : 0;
	b->p[b->len] = '\0';
}

void
buf_addf(struct buf *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	buf_vaddf(b, fmt, ap);
	va_end(ap);
}

void
buf_fill(struct buf *b, char c, size_t n)
{
	char *at = buf_reserve(b, n);

	memset(at, c, n);
	b->len += n;
	b->p[b->len] = '\0';
}

void
buf_u64(struct buf *b, uint64_t v)
{
	char digits[20];
	size_t i = sizeof(digits);

	do {
		digits[--i] = (char)('0' + v % 10);
		v /= 10;
	} while (v != 0);
	buf_add(b, digits + i, sizeof(digits) - i);
}

static void
add_le(struct buf *b, uint64_t v, size_t n)
{
	char raw[8];

	for (size_t i = 0; i < n; i++)
		raw[i] = (char)(unsigned char)(v >> (8 * i));
	buf_add(b, raw, n);
}

void
buf_le16(struct buf *b, uint16_t v)
{
	add_le(b, v, 2);
}

void
buf_le32(struct buf *b, uint32_t v)
{
	add_le(b, v, 4);
}

void
buf_le64(struct buf *b, uint64_t v)
{
	add_le(b, v, 8);
}

struct str
buf_str(const struct buf *b)
{
	return str_n(b->p == NULL ? "" : b->p, b->len);
}
