#include "zip/patch.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/xalloc.h"
#include "io/crc32.h"
#include "zip/directory.h"

/* Offsets of fields in headers and end records, and some limits. */
enum {
	LOCAL_FLAGS = 6,
	LOCAL_METHOD = 8,
	LOCAL_CRC = 14,
	LOCAL_PACKED = 18,
	LOCAL_SIZE = 22,
	CENTRAL_FLAGS = 8,
	CENTRAL_METHOD = 10,
	CENTRAL_CRC = 16,
	CENTRAL_PACKED = 20,
	CENTRAL_SIZE = 24,
	CENTRAL_NAME = 28,
	END64_COUNTS = 24,
	END64_DIRECTORY = 40,
	END_COUNTS = 8,
	END_DIRECTORY = 12,
	FLAG_LEVELS = 6,            /* flag bits: the compression level */
	SEARCHED = 65535 + ZIP_END, /* bytes at the end in which readers look for the end record */
	ENDS_MAX = ZIP_END64 + ZIP_LOCATOR + SEARCHED,
	HOLE_MIN = 4096,
};

struct patching {
	struct source *src;
	const struct zip_patch *patch;
	struct undo_edit *u;
	struct err *err;
	struct zip_dir dir;
	struct str root; /* root folder of the records, with the slash */
	uint8_t *tail;   /* the file from the old directory on */
	size_t tail_len;
	struct buf central; /* the new directory and the end records */
	bool *gone;         /* by entry: true if the record is dropped */
	size_t left;        /* number of entries of the new directory */
	uint64_t start;     /* offset of the new directory */
};

static int
refuse(const struct patching *z, const char *what)
{
	return err_input(z->err, source_name(z->src), "it cannot be edited in place: %s (-o FILE)", what);
}

static int
refuse_ends(const struct patching *z)
{
	return refuse(z, "its end records do not follow its directory");
}

/* ---- contents of records */

/* Stored and fixed-code deflate blocks that unpack to nothing: one of five bytes, one of six, and the final one. */
static const char filler[] = "\0\0\0\xff\xff", filler6[] = "\2\0\0\0\xff\xff", last[] = "\1\0\0\xff\xff";

/* Pads a deflate stream to exactly n bytes. Returns false if it is too long. */
static bool
fill_deflated(struct buf *b, size_t n)
{
	size_t more, six;

	if (b->len + 5 > n)
		return false;
	more = n - b->len - 5;
	six = more % 5;
	if (six * 6 > more)
		return false;
	for (size_t i = 0; i < six; i++)
		buf_add(b, filler6, 6);
	while (b->len + 5 < n)
		buf_add(b, filler, 5);
	buf_add(b, last, 5);
	return true;
}

/* Deflates bytes into exactly n bytes. */
static int
deflate_to(const struct patching *z, struct str bytes, size_t n, struct buf *b)
{
	z_stream s = { .next_in = (Bytef *)(uintptr_t)bytes.p };
	size_t left = bytes.len, some;
	int rc;

	if (deflateInit2(&s, 9, Z_DEFLATED, -15, 9, Z_DEFAULT_STRATEGY) != Z_OK)
		return err_set(z->err, ERR_SYSTEM, "out of memory");
	do {
		if (s.avail_in == 0 && left > 0) {
			s.avail_in = left < 1 << 30 ? (uInt)left : 1 << 30;
			left -= s.avail_in;
		}
		some = n - b->len < 1 << 20 ? n - b->len : 1 << 20;
		s.next_out = (Bytef *)buf_reserve(b, some);
		s.avail_out = (uInt)some;
		/* Z_FULL_FLUSH ends the stream with an empty stored block, so that the filler starts at a byte boundary. */
		rc = deflate(&s, left > 0 ? Z_NO_FLUSH : Z_FULL_FLUSH);
		b->len += some - s.avail_out;
	} while (rc == Z_OK && b->len < n && (s.avail_out == 0 || s.avail_in > 0 || left > 0));
	rc = s.avail_out == 0 || !fill_deflated(b, n) ? refuse(z, "its pickle becomes too long, even if it is deflated") : 0;
	(void)deflateEnd(&s);
	return rc;
}

/* Makes the new contents of a record in exactly n bytes. Sets method, size and CRC of now. */
static int
make_contents(const struct patching *z, const struct zip_replace *r, struct buf *b, size_t n, struct zip_entry *now)
{
	if (r->bytes.len > n) {
		if (!r->deflates)
			return refuse(z, "a record becomes longer");
		now->method = ZIP_DEFLATED;
		now->size = r->bytes.len;
		now->crc = crc32_add(0, r->bytes.p, r->bytes.len);
		return deflate_to(z, r->bytes, n, b);
	}
	buf_addstr(b, r->bytes);
	buf_fill(b, r->fill, n - b->len);
	now->method = ZIP_STORED;
	now->size = n;
	now->crc = crc32_add(0, b->p, b->len);
	return 0;
}

/* Patches the data descriptor after a record. */
static int
patch_descriptor(const struct patching *z, const struct zip_entry *old, const struct zip_entry *now)
{
	uint64_t at = old->data + old->packed;
	uint8_t p[24];
	size_t n = 16;

	if (source_read(z->src, at, p, sizeof(p), z->err) < 0)
		return -1;
	if (get_le64(p + 8) == old->packed && get_le64(p + 16) == old->size)
		n = sizeof(p);
	else if (get_le32(p + 8) != old->packed || get_le32(p + 12) != old->size)
		n = 0;
	if (n == 0 || get_le32(p) != ZIP_SIG_DESCRIPTOR)
		return refuse(z, "a record is not followed by a descriptor as torch writes it");
	put_le32(p + 4, now->crc);
	if (n == 16)
		put_le32(p + 12, (uint32_t)now->size);
	else
		put_le64(p + 16, now->size);
	undo_write(z->u, at, str_n((const char *)p, n));
	return 0;
}

static int
patch_local(const struct patching *z, const struct zip_entry *old, const struct zip_entry *now)
{
	uint8_t p[ZIP_LOCAL];
	unsigned flags;
	bool described;

	if (source_read(z->src, old->header, p, sizeof(p), z->err) < 0)
		return -1;
	flags = get_le16(p + LOCAL_FLAGS);
	described = (flags & ZIP_FLAG_DESCRIPTOR) != 0;
	if (get_le32(p + LOCAL_PACKED) == UINT32_MAX || get_le32(p + LOCAL_SIZE) == UINT32_MAX)
		return refuse(z, "its pickle has a header for 4 GiB");
	put_le16(p + LOCAL_FLAGS, (uint16_t)(flags & ~(unsigned)FLAG_LEVELS));
	put_le16(p + LOCAL_METHOD, now->method);
	if (!described || get_le32(p + LOCAL_CRC) != 0)
		put_le32(p + LOCAL_CRC, now->crc);
	if (!described || get_le32(p + LOCAL_SIZE) != 0)
		put_le32(p + LOCAL_SIZE, (uint32_t)now->size);
	undo_write(z->u, old->header, str_n((const char *)p, sizeof(p)));
	return described ? patch_descriptor(z, old, now) : 0;
}

/* Finds the offset of a record's contents. */
static int
find_data(const struct patching *z, struct zip_entry *t)
{
	struct buf name = BUF_INIT;
	struct zip_local l;
	int rc = zip_local(z->src, t->header, &l, &name, z->err);

	buf_release(&name);
	if (rc == 0)
		t->data = l.entry.data;
	return rc;
}

/* Replaces the contents of a record. entry is its entry in the new directory. */
static int
replace(const struct patching *z, const struct zip_replace *r, struct zip_entry *old, uint8_t *entry)
{
	struct zip_entry now = *old;
	struct buf b = BUF_INIT;
	int rc;

	if (get_le32(entry + CENTRAL_PACKED) == UINT32_MAX || get_le32(entry + CENTRAL_SIZE) == UINT32_MAX ||
	    r->bytes.len >= UINT32_MAX)
		return refuse(z, "its pickle has 4 GiB or more");
	if (find_data(z, old) < 0)
		return -1;
	rc = make_contents(z, r, &b, (size_t)old->packed, &now);
	if (rc == 0) {
		put_le16(entry + CENTRAL_FLAGS, (uint16_t)(get_le16(entry + CENTRAL_FLAGS) & ~(unsigned)FLAG_LEVELS));
		put_le16(entry + CENTRAL_METHOD, now.method);
		put_le32(entry + CENTRAL_CRC, now.crc);
		put_le32(entry + CENTRAL_SIZE, (uint32_t)now.size);
		rc = patch_local(z, old, &now);
	}
	if (rc == 0)
		undo_write(z->u, old->data, buf_str(&b));
	buf_release(&b);
	return rc;
}

/* ---- the directory */

static const struct zip_replace *
replacement(const struct patching *z, struct str name)
{
	for (size_t i = 0; i < z->patch->n; i++)
		if (str_eqc(name, z->patch->records[i].name))
			return &z->patch->records[i];
	return NULL;
}

/* Builds the new directory and replaces contents of records. */
static int
patch_entries(struct patching *z)
{
	size_t at = 0, len, replaced = 0;

	for (size_t i = 0; i < z->dir.n; i++, at += len) {
		struct zip_entry *t = &z->dir.entries[i];
		const uint8_t *p = z->tail + at;
		struct str name = str_starts(t->name, z->root) ? str_from(t->name, z->root.len) : str_c("");
		const struct zip_replace *r = replacement(z, name);

		len = (size_t)ZIP_CENTRAL + get_le16(p + CENTRAL_NAME) + get_le16(p + CENTRAL_NAME + 2) +
		      get_le16(p + CENTRAL_NAME + 4);
		z->gone[i] = z->patch->drops(z->patch->arg, name);
		if (z->gone[i])
			continue;
		z->left++;
		buf_add(&z->central, p, len);
		if (r != NULL && replace(z, r, t, (uint8_t *)z->central.p + z->central.len - len) < 0)
			return -1;
		replaced += r != NULL;
	}
	z->start = z->dir.end - z->central.len;
	return replaced < z->patch->n ? refuse(z, "its records are not named as torch names them") : 0;
}

/*
 * Stores v in a field of n bytes, unless the field is saturated and the zip64 record (wide) has the value. Returns false if v does
 * not fit.
 */
static bool
put_narrow(uint8_t *p, size_t n, uint64_t v, bool wide)
{
	const uint64_t limit = n == 2 ? UINT16_MAX : UINT32_MAX, old = n == 2 ? get_le16(p) : get_le32(p);

	if (old == limit && wide)
		return true;
	if (n == 2)
		put_le16(p, (uint16_t)v);
	else
		put_le32(p, (uint32_t)v);
	return v < limit;
}

/*
 * Stores counts, size and offset of the new directory in the end records, which begin at p. *record is the offset from p of the
 * last one.
 */
static int
patch_end(const struct patching *z, uint8_t *p, size_t n, size_t *record)
{
	const uint64_t size = z->dir.end - z->start;
	bool wide = n >= ZIP_END64 && get_le32(p) == ZIP_SIG_END64;

	*record = wide ? ZIP_END64 + ZIP_LOCATOR : 0;
	if (wide) {
		put_le64(p + END64_COUNTS, z->left);
		put_le64(p + END64_COUNTS + 8, z->left);
		put_le64(p + END64_DIRECTORY, size);
		put_le64(p + END64_DIRECTORY + 8, z->start);
	}
	if (n < *record + ZIP_END || get_le32(p + *record) != ZIP_SIG_END)
		return refuse_ends(z);
	p += *record;
	if (!put_narrow(p + END_COUNTS, 2, z->left, wide) || !put_narrow(p + END_COUNTS + 2, 2, z->left, wide) ||
	    !put_narrow(p + END_DIRECTORY, 4, size, wide) || !put_narrow(p + END_DIRECTORY + 4, 4, z->start, wide))
		return refuse(z, "its end record is too small");
	return 0;
}

/*
 * While the guard is bad, readers search for another end record before it. Refuses a file in which they would find one, or in which
 * one follows the guard.
 */
static int
check_alone(const struct patching *z, uint64_t record)
{
	size_t n = record < SEARCHED ? (size_t)record : SEARCHED, behind = (size_t)(record - z->dir.start) + 4;
	char *p = xmalloc(n);
	int rc = source_read(z->src, record - n, p, n, z->err);

	if (rc == 0 && (memmem(p, n, "PK\5\6", 4) != NULL || memmem(z->tail + behind, z->tail_len - behind, "PK\5\6", 4) != NULL ||
			memmem(z->central.p, z->central.len - ZIP_END, "PK\5\6", 4) != NULL))
		rc = refuse(z, "its last bytes contain something else that looks like its end record");
	free(p);
	return rc;
}

/* ---- unused space */

static void
free_range(const struct patching *z, uint64_t from, uint64_t to)
{
	size_t name = z->root.len + sizeof(ZIP_FREE) - 1, extra = to - from > UINT32_MAX ? 20 : 0, n = ZIP_LOCAL + name + extra;
	struct buf b = BUF_INIT;
	uint64_t left = to - from - n;

	if (to - from < n) {
		buf_fill(&b, 0, (size_t)(to - from));
		undo_write(z->u, from, buf_str(&b));
		buf_release(&b);
		return;
	}
	buf_le32(&b, ZIP_SIG_LOCAL);
	buf_le16(&b, extra > 0 ? 45 : 0);
	buf_le16(&b, ZIP_FLAG_UTF8);
	buf_fill(&b, 0, 2 + 4 + 4); /* method, time and date, CRC */
	buf_le32(&b, extra > 0 ? UINT32_MAX : (uint32_t)left);
	buf_le32(&b, extra > 0 ? UINT32_MAX : (uint32_t)left);
	buf_le16(&b, (uint16_t)name);
	buf_le16(&b, (uint16_t)extra);
	buf_addstr(&b, z->root);
	buf_adds(&b, ZIP_FREE);
	if (extra > 0) {
		buf_le16(&b, 1);
		buf_le16(&b, 16);
		buf_le64(&b, left);
		buf_le64(&b, left);
	}
	undo_write(z->u, from, buf_str(&b));
	buf_release(&b);
	if (left >= HOLE_MIN)
		*xpush(z->u->holes, z->u->nholes, z->u->cap_holes) = (struct undo_range){ from + n, left };
}

static int
by_place(const void *a, const void *b, void *arg)
{
	const struct zip_entry *entries = arg;
	uint64_t x = entries[*(const size_t *)a].header, y = entries[*(const size_t *)b].header;

	return (x > y) - (x < y);
}

/* Frees the space of dropped records, up to the next record that stays, and the space before a smaller directory. */
static void
free_dropped(const struct patching *z)
{
	size_t *order = xreallocn(NULL, z->dir.n, sizeof(*order));
	uint64_t from = UINT64_MAX;

	for (size_t i = 0; i < z->dir.n; i++)
		order[i] = i;
	qsort_r(order, z->dir.n, sizeof(*order), by_place, z->dir.entries);
	for (size_t i = 0; i < z->dir.n; i++) {
		uint64_t header = z->dir.entries[order[i]].header;

		if (z->gone[order[i]]) {
			from = from == UINT64_MAX ? header : from;
		} else if (from != UINT64_MAX) {
			free_range(z, from, header);
			from = UINT64_MAX;
		}
	}
	if (from == UINT64_MAX)
		from = z->dir.start;
	if (from < z->start)
		free_range(z, from, z->start);
	free(order);
}

/* ---- the whole archive */

static int
patch_archive(struct patching *z)
{
	const size_t dir_len = (size_t)(z->dir.end - z->dir.start);
	const char *slash = z->dir.n > 0 ? memchr(z->dir.entries[0].name.p, '/', z->dir.entries[0].name.len) : NULL;
	size_t record, ends = z->tail_len - dir_len, at;

	if (slash == NULL)
		return refuse(z, "its records are not in a folder");
	z->root = str_n(z->dir.entries[0].name.p, (size_t)(slash - z->dir.entries[0].name.p) + 1);
	if (patch_entries(z) < 0 || patch_end(z, z->tail + dir_len, ends, &record) < 0)
		return -1;
	at = z->central.len + record;
	buf_add(&z->central, z->tail + dir_len, record + ZIP_END);
	if (check_alone(z, z->dir.end + record) < 0)
		return -1;
	free_dropped(z);
	z->u->guard_at = z->dir.end + record;
	z->u->guard = get_le64((const uint8_t *)z->central.p + at);
	z->u->bad = z->u->guard & ~(uint64_t)UINT32_MAX;
	undo_write(z->u, z->start, str_n(z->central.p, at));
	undo_write(z->u, z->u->guard_at + UNDO_GUARD, str_n(z->central.p + at + UNDO_GUARD, ZIP_END - UNDO_GUARD));
	return 0;
}

int
zip_patch(struct source *src, const struct zip_patch *patch, struct undo_edit *u, struct err *err)
{
	struct patching z = { .src = src, .patch = patch, .u = u, .err = err, .central = BUF_INIT };
	uint64_t size = 0;
	int rc = source_size(src, &size, err);

	if (rc == 0)
		rc = zip_open(&z.dir, src, ZIP_LISTED, NULL, err);
	if (rc == 0 && size - z.dir.end > ENDS_MAX)
		rc = refuse_ends(&z);
	if (rc == 0) {
		z.tail_len = (size_t)(size - z.dir.start);
		z.tail = xmalloc(z.tail_len);
		z.gone = xcalloc(z.dir.n, sizeof(*z.gone));
		rc = source_read(src, z.dir.start, z.tail, z.tail_len, err);
	}
	if (rc == 0)
		rc = patch_archive(&z);
	free(z.tail);
	free(z.gone);
	buf_release(&z.central);
	zip_release(&z.dir);
	return rc;
}
