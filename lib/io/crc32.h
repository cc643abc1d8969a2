/*
 * crc32: the CRC-32 of zip (polynomial 0xEDB88320, reflected), with the same
 * results as zlib's crc32. On processors with carry-less multiplication it is
 * several times faster than zlib.
 */
#ifndef LNN_IO_CRC32_H
#define LNN_IO_CRC32_H

#include <stddef.h>
#include <stdint.h>

/* Returns the CRC of earlier bytes, whose CRC is crc (0 if there are none), followed by the n bytes at p. */
uint32_t crc32_add(uint32_t crc, const void *p, size_t n);

/* Returns the CRC of two concatenated pieces, from the CRC of each and the length of the second. */
uint32_t crc32_join(uint32_t first, uint32_t second, uint64_t second_len);

#endif
