/*
 * cursor: reads little-endian fields from bytes in memory. Failure is sticky:
 * after a read past the end every read gives 0, and failed is set.
 */
#ifndef LNN_BASE_CURSOR_H
#define LNN_BASE_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cursor {
	const uint8_t *p;
	size_t len, at;
	bool failed;
};

struct cursor cursor_of(const void *p, size_t len);
uint8_t cursor_u8(struct cursor *c);
uint16_t cursor_u16(struct cursor *c);
uint32_t cursor_u32(struct cursor *c);
uint64_t cursor_u64(struct cursor *c);
const uint8_t *cursor_bytes(struct cursor *c, size_t n); /* NULL when fewer are left */
size_t cursor_left(const struct cursor *c);

/* Little-endian fields at a place known to be there. */
uint16_t get_le16(const uint8_t *p);
uint32_t get_le32(const uint8_t *p);
uint64_t get_le64(const uint8_t *p);
void put_le16(uint8_t *p, uint16_t v);
void put_le32(uint8_t *p, uint32_t v);
void put_le64(uint8_t *p, uint64_t v);

#endif
