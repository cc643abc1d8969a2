#include "zip/end.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cursor.h"
#include "base/xalloc.h"
#include "zip/directory.h"

/* A comment has at most 65535 bytes. */
enum { SEARCH = ZIP_END + 65535 };

static int
damaged(struct source *src, uint64_t off, struct err *e)
{
	return err_at(e, source_name(src), off, "the end records of the zip are damaged");
}

/* The last end record of the input. */
static int
find_end(struct source *src, uint64_t size, uint64_t *at, struct err *e)
{
	size_t n = size < SEARCH ? (size_t)size : SEARCH, i;
	uint8_t *tail = xmalloc(n);
	int r = source_read(src, size - n, tail, n, e);

	for (i = n < ZIP_END ? 0 : n - ZIP_END + 1; r == 0 && i-- > 0;) {
		if (get_le32(tail + i) == ZIP_SIG_END)
			break;
	}
	free(tail);
	if (r < 0)
		return -1;
	if (i == SIZE_MAX || n < ZIP_END)
		return err_input(e, source_name(src),
			"cut off: the zip has no central directory at its end (is the file complete?)");
	*at = size - n + i;
	return 0;
}

void
zip_trailing(const struct source *src, const struct diag *diag, uint64_t end, uint64_t size)
{
	if (end < size)
		diag_warn(diag, "%s: %" PRIu64 " bytes follow the end of the zip", source_name(src), size - end);
	else if (end > size)
		diag_warn(diag, "%s: the comment of the zip is cut off", source_name(src));
}

static int
exactly(struct source *src, uint64_t off, void *p, size_t n, struct err *e)
{
	size_t got;

	if (source_read_some(src, off, p, n, &got, e) < 0)
		return -1;
	if (got < n)
		return err_at(e, source_name(src), off, "cut off in the end records of the zip");
	return 0;
}

/* The zip64 end record at off, its locator behind it; *next is behind both. */
static int
read_end64(struct source *src, uint64_t off, struct zip_end *z, uint64_t *next, struct err *e)
{
	uint8_t p[ZIP_END64], l[ZIP_LOCATOR];
	uint64_t len;

	if (exactly(src, off, p, sizeof(p), e) < 0)
		return -1;
	len = get_le64(p + 4);
	if (get_le32(p) != ZIP_SIG_END64 || len < ZIP_END64 - 12 || len > 65536)
		return damaged(src, off, e);
	z->n = get_le64(p + 32);
	z->size = get_le64(p + 40);
	z->start = get_le64(p + 48);
	if (get_le32(p + 16) != 0 || get_le32(p + 20) != 0 || get_le64(p + 24) != z->n)
		return err_at(e, source_name(src), off, "split zips cannot be read");
	*next = off + 12 + len;
	if (exactly(src, *next, l, sizeof(l), e) < 0)
		return -1;
	if (get_le32(l) != ZIP_SIG_LOCATOR || get_le64(l + 8) != off)
		return damaged(src, *next, e);
	if (get_le32(l + 16) != 1)
		return err_at(e, source_name(src), *next, "split zips cannot be read");
	*next += ZIP_LOCATOR;
	return 0;
}

/* Is what the short record says the long one's value, or that it did not fit? */
static bool
agrees(uint64_t narrow, uint64_t limit, uint64_t wide)
{
	return narrow == limit || narrow == wide;
}

/* The end record at off. With zip64, *z has the values of that one. */
static int
read_end(struct source *src, uint64_t off, bool zip64, struct zip_end *z, struct err *e)
{
	uint8_t p[ZIP_END];

	if (exactly(src, off, p, sizeof(p), e) < 0)
		return -1;
	if (get_le32(p) != ZIP_SIG_END)
		return damaged(src, off, e);
	if (get_le16(p + 8) != get_le16(p + 10) || get_le16(p + 4) > 1 || get_le16(p + 6) != get_le16(p + 4))
		return err_at(e, source_name(src), off, "split zips cannot be read");
	z->record = off;
	z->end = off + ZIP_END + get_le16(p + 20);
	if (!zip64) {
		z->n = get_le16(p + 10);
		z->size = get_le32(p + 12);
		z->start = get_le32(p + 16);
	} else if (!agrees(get_le16(p + 10), UINT16_MAX, z->n) || !agrees(get_le32(p + 12), UINT32_MAX, z->size) ||
		!agrees(get_le32(p + 16), UINT32_MAX, z->start)) {
		return err_at(e, source_name(src), off,
			"the end record of the zip contradicts its zip64 record: readers would see two archives");
	}
	return 0;
}

int
zip_end_read(struct source *src, uint64_t off, struct zip_end *z, struct err *e)
{
	uint8_t sig[4];
	uint64_t next = off;
	bool zip64;

	if (exactly(src, off, sig, sizeof(sig), e) < 0)
		return -1;
	*z = (struct zip_end){ .at = off };
	zip64 = get_le32(sig) == ZIP_SIG_END64;
	if (zip64 && read_end64(src, off, z, &next, e) < 0)
		return -1;
	return read_end(src, next, zip64, z, e);
}

int
zip_end_find(struct source *src, uint64_t size, struct zip_end *z, struct err *e)
{
	uint8_t l[ZIP_LOCATOR];
	uint64_t end = 0, at, next;

	if (find_end(src, size, &end, e) < 0)
		return -1;
	*z = (struct zip_end){ .at = end };
	if (end < ZIP_LOCATOR)
		return read_end(src, end, false, z, e);
	if (source_read(src, end - ZIP_LOCATOR, l, sizeof(l), e) < 0)
		return -1;
	if (get_le32(l) != ZIP_SIG_LOCATOR)
		return read_end(src, end, false, z, e);
	at = get_le64(l + 8);
	if (at >= end - ZIP_LOCATOR)
		return damaged(src, end - ZIP_LOCATOR, e);
	z->at = at;
	if (read_end64(src, at, z, &next, e) < 0)
		return -1;
	if (next != end)
		return damaged(src, at, e);
	return read_end(src, end, true, z, e);
}
