/*
 * crc32: the CRC of zip (polynomial 0xEDB88320, reflected), as zlib's crc32
 * gives it. Where the processor can multiply without carries it is several times
 * faster than zlib.
 */
#ifndef LNN_IO_CRC32_H
#define LNN_IO_CRC32_H

#include <stddef.h>
#include <stdint.h>

/* Of the bytes so far (whose CRC is crc; 0 of none) followed by the n bytes at p. */
uint32_t crc32_add(uint32_t crc, const void *p, size_t n);

/* Of two pieces one after the other, from the CRC of each and the length of the second. */
uint32_t crc32_join(uint32_t first, uint32_t second, uint64_t second_len);

#endif
