/*
 * buf: a growing byte array. The contents are always followed by a NUL that len
 * does not count, so p can be used as a C string after the first buf_add or
 * similar call.
 */
#ifndef LNN_BASE_BUF_H
#define LNN_BASE_BUF_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct buf {
	char *p;
	size_t len, cap;
};

#define BUF_INIT           \
	{                  \
		NULL, 0, 0 \
	}

#define buf_init(x) (*(x) = (struct buf)BUF_INIT)
void buf_release(struct buf *b);            /* frees the memory; b can be used again */
void buf_clear(struct buf *b);              /* empties, keeps the memory */
char *buf_reserve(struct buf *b, size_t n); /* space for n more bytes after the contents; the caller adds them to len */
void buf_add(struct buf *b, const void *p, size_t n);
void buf_addc(struct buf *b, char c);
void buf_adds(struct buf *b, const char *s);
void buf_addstr(struct buf *b, struct str s);
void buf_vaddf(struct buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
void buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_fill(struct buf *b, char c, size_t n);
void buf_u64(struct buf *b, uint64_t v); /* decimal digits */
void buf_le16(struct buf *b, uint16_t v);
void buf_le32(struct buf *b, uint32_t v);
void buf_le64(struct buf *b, uint64_t v);
struct str buf_str(const struct buf *b); /* borrowed until the next change */

#endif
