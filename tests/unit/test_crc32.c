/* Compares crc32_add and crc32_join with zlib for many lengths, alignments and initial values. */
#include "io/crc32.h"

#include <zlib.h>

#include "tap.h"

enum { SIZE = 5000 };

static unsigned char data[SIZE];

static bool
every_length(uint32_t start)
{
	for (size_t len = 0; len <= 600; len++) {
		for (size_t at = 0; at < 17; at++) {
			if (crc32_add(start, data + at, len) != crc32(start, data + at, (uInt)len))
				return false;
		}
	}
	return true;
}

static bool
in_pieces(size_t piece)
{
	uint32_t crc = 0;

	for (size_t at = 0; at < SIZE; at += piece)
		crc = crc32_add(crc, data + at, piece < SIZE - at ? piece : SIZE - at);
	return crc == crc32(0, data, SIZE);
}

static bool
joined(size_t cut)
{
	uint32_t a = crc32_add(0, data, cut), b = crc32_add(0, data + cut, SIZE - cut);

	return crc32_join(a, b, SIZE - cut) == crc32(0, data, SIZE);
}

int
main(void)
{
	uint32_t seed = 1;

	for (size_t i = 0; i < SIZE; i++) {
		seed = seed * 1664525 + 1013904223;
		data[i] = (unsigned char)(seed >> 24);
	}
	is_uint(crc32_add(0, "123456789", 9), 0xcbf43926, "the check value of CRC-32");
	is_uint(crc32_add(0, data, 0), 0, "of nothing");
	ok(every_length(0));
	ok(every_length(0xffffffff));
	ok(every_length(0x12345678));
	ok(crc32_add(7, data, SIZE) == crc32(7, data, SIZE));
	ok(in_pieces(1));
	ok(in_pieces(64));
	ok(in_pieces(100));
	ok(in_pieces(4096));
	ok(joined(0));
	ok(joined(1));
	ok(joined(2500));
	ok(joined(SIZE));
	return tap_done();
}
