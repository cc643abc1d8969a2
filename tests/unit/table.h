/* table: files that tests read whole, and the tables of pickles that tests/torch/test_pickle_scan.py --table writes. */
#ifndef LNN_TESTS_TABLE_H
#define LNN_TESTS_TABLE_H

#include "base/buf.h"
#include "tap.h"

static void
table_read(const char *path, struct buf *text)
{
	FILE *f = fopen(path, "r");
	size_t n;

	if (f == NULL)
		tap_bail(path);
	while ((n = fread(buf_reserve(text, 4096), 1, 4096, f)) > 0)
		text->len += n;
	fclose(f);
}

__attribute__((unused)) static void
table_unhex(struct str hex, struct buf *out)
{
	static const char digits[] = "0123456789abcdef";

	buf_clear(out);
	for (size_t i = 0; i + 1 < hex.len; i += 2) {
		const char *high = memchr(digits, hex.p[i], 16), *low = memchr(digits, hex.p[i + 1], 16);

		if (high == NULL || low == NULL)
			tap_bail("a line of the table is no hexadecimal");
		buf_addc(out, (char)((high - digits) << 4 | (low - digits)));
	}
}

#endif
