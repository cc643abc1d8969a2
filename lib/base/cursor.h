/*
 * cursor: reads little-endian fields from bytes in memory. Failure is sticky:
 * after a read past the end every read gives 0, and failed is set.
 */
#ifndef LNN_BASE_CURSOR_H
#define LNN_BASE_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- fields in memory; the caller has checked the length */

static inline uint16_t
get_le16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t
get_le32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t
get_le64(const uint8_t *p)
{
	return (uint64_t)get_le32(p) | (uint64_t)get_le32(p + 4) << 32;
}

static inline void
put_le16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
}

static inline void
put_le32(uint8_t *p, uint32_t v)
{
	put_le16(p, (uint16_t)v);
	put_le16(p + 2, (uint16_t)(v >> 16));
}

static inline void
put_le64(uint8_t *p, uint64_t v)
{
	put_le32(p, (uint32_t)v);
	put_le32(p + 4, (uint32_t)(v >> 32));
}

/* ---- fields of a byte range; the cursor checks the length */

struct cursor {
	const uint8_t *p;
	size_t len, at;
	bool failed;
};

static inline struct cursor
cursor_of(const void *p, size_t len)
{
	return (struct cursor){ p, len, 0, false };
}

static inline size_t
cursor_left(const struct cursor *c)
{
	return c->failed ? 0 : c->len - c->at;
}

/* Returns the next n bytes, or NULL if fewer are left. */
static inline const uint8_t *
cursor_bytes(struct cursor *c, size_t n)
{
	const uint8_t *p;

	if (c->failed || c->len - c->at < n) {
		c->failed = true;
		return NULL;
	}
	p = c->p + c->at;
	c->at += n;
	return p;
}

static inline uint16_t
cursor_u16(struct cursor *c)
{
	const uint8_t *p = cursor_bytes(c, 2);

	return p == NULL ? 0 : get_le16(p);
}

static inline uint64_t
cursor_u64(struct cursor *c)
{
	const uint8_t *p = cursor_bytes(c, 8);

	return p == NULL ? 0 : get_le64(p);
}

#endif
