/*
 * zip: archives are built byte by byte and then damaged. They are read, read with warnings, or refused. The writer must give
 * exactly the bytes of lib/format/README.md, sections 2.3 and 2.4.
 */
#include "zip/directory.h"
#include "zip/inflate.h"

#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>

#include "base/cursor.h"
#include "zip/write.h"
#include "tap.h"

static struct err e;
static char told[4096];

static void
tell(void *arg, enum diag_level level, const char *msg)
{
	(void)arg;
	(void)level;
	snprintf(told + strlen(told), sizeof(told) - strlen(told), "%s\n", msg);
}

static const struct diag diag = { tell, NULL };

/* ---- archives by hand */

struct made {
	struct buf b, dir;
	unsigned n;
	uint32_t crc_xor, dir_crc_xor; /* damage */
	const char *dir_name;          /* a different name in the directory */
	bool descriptor;
};

static void
header(struct buf *b, bool central, const char *name, uint16_t flags, uint16_t method, uint32_t crc, uint32_t packed, uint32_t size)
{
	buf_le32(b, central ? 0x02014b50 : 0x04034b50);
	if (central)
		buf_le16(b, 20);
	buf_le16(b, 20);
	buf_le16(b, flags);
	buf_le16(b, method);
	buf_le32(b, 0x21 << 16);
	buf_le32(b, crc);
	buf_le32(b, packed);
	buf_le32(b, size);
	buf_le16(b, (uint16_t)strlen(name));
	buf_le16(b, 0);
}

static void
add_packed(struct made *m, const char *name, uint16_t method, const void *p, size_t n, size_t size, uint32_t crc)
{
	uint32_t at = (uint32_t)m->b.len;
	uint16_t flags = m->descriptor ? 8 : 0;

	header(&m->b, false, name, flags, method, flags ? 0 : crc ^ m->crc_xor, flags ? 0 : (uint32_t)n,
	       flags ? 0 : (uint32_t)size);
	buf_adds(&m->b, name);
	buf_add(&m->b, p, n);
	if (flags) {
		buf_le32(&m->b, 0x08074b50);
		buf_le32(&m->b, crc ^ m->crc_xor);
		buf_le32(&m->b, (uint32_t)n);
		buf_le32(&m->b, (uint32_t)size);
	}
	header(&m->dir, true, m->dir_name ? m->dir_name : name, flags, method, crc ^ m->dir_crc_xor, (uint32_t)n, (uint32_t)size);
	buf_le16(&m->dir, 0);
	buf_le16(&m->dir, 0);
	buf_le16(&m->dir, 0);
	buf_le32(&m->dir, 0);
	buf_le32(&m->dir, at);
	buf_adds(&m->dir, m->dir_name ? m->dir_name : name);
	m->n++;
}

static void
add(struct made *m, const char *name, const char *text)
{
	add_packed(m, name, 0, text, strlen(text), strlen(text), (uint32_t)crc32(0, (const Bytef *)text, (uInt)strlen(text)));
}

static void
finish(struct made *m, const char *comment)
{
	uint32_t start = (uint32_t)m->b.len;

	buf_add(&m->b, m->dir.p, m->dir.len);
	buf_le32(&m->b, 0x06054b50);
	buf_le32(&m->b, 0);
	buf_le16(&m->b, (uint16_t)m->n);
	buf_le16(&m->b, (uint16_t)m->n);
	buf_le32(&m->b, (uint32_t)m->dir.len);
	buf_le32(&m->b, start);
	buf_le16(&m->b, (uint16_t)strlen(comment));
	buf_adds(&m->b, comment);
}

static struct zip_dir dir;

static int
open_bytes(const void *p, size_t n)
{
	struct source *src = source_memory(p, n, "t.zip");
	int rc;

	err_clear(&e);
	told[0] = '\0';
	rc = zip_open(&dir, src, ZIP_COMPARED, &diag, &e);
	source_close(src);
	return rc;
}

/* Opens the archive and frees it. */
static int
open_made(struct made *m)
{
	int rc = open_bytes(m->b.p, m->b.len);

	buf_release(&m->b);
	buf_release(&m->dir);
	return rc;
}

static void
refused(struct made *m, const char *why, const char *what)
{
	bool good = open_made(m) < 0 && strstr(e.msg, why) != NULL;

	ok_msg(good, "%s", what);
	if (!good)
		tap_note("%s", e.msg);
	zip_release(&dir);
}

static void
test_read(void)
{
	struct made m = { .n = 0 };
	const struct zip_entry *t;

	add(&m, "a/One", "hello");
	m.descriptor = true;
	add(&m, "a/two", "");
	add(&m, "a/three", "xyz");
	finish(&m, "a comment");
	is_int(open_made(&m), 0, "a zip is read");
	is_uint(dir.n, 3, "all entries of a zip are found");
	t = zip_find(&dir, str_c("A/ONE"));
	ok(t != NULL && t->size == 5 && t->header == 0 && t->data == 35 && t->method == ZIP_STORED);
	ok(t != NULL && t->crc == crc32(0, (const Bytef *)"hello", 5));
	t = zip_find(&dir, str_c("a/three"));
	ok(t != NULL && t->size == 3 && t->data == 35 + 5 + 35 + 16 + 37);
	ok(zip_find(&dir, str_c("a/four")) == NULL);
	ok_msg(told[0] == '\0', "a valid zip gives no warning");
	zip_release(&dir);
}

static void
test_told(void)
{
	struct made m = { .n = 0 };
	size_t listed;

	add(&m, "a/x", "hello");
	buf_adds(&m.b, "a gap");
	add(&m, "a/y", "hello");
	finish(&m, "");
	is_int(open_made(&m), 0, "a zip with a gap is read");
	ok_msg(strstr(told, "1 gap ") != NULL && strstr(told, "byte 38") != NULL, "a gap gives a warning");
	zip_release(&dir);

	m = (struct made){ .crc_xor = 1 };
	add(&m, "a/x", "hello");
	finish(&m, "");
	is_int(open_made(&m), 0, "a zip whose CRCs differ is read");
	ok_msg(strstr(told, "1 record whose CRC or size fields differ") != NULL, "different CRCs give a warning");
	zip_release(&dir);

	m = (struct made){ .crc_xor = 1, .descriptor = true };
	add(&m, "a/x", "hello");
	finish(&m, "");
	is_int(open_made(&m), 0, "a zip whose CRC in a descriptor differs is read");
	ok_msg(strstr(told, "1 record whose CRC or size fields differ") != NULL, "different CRCs give a warning");
	zip_release(&dir);

	m = (struct made){ .n = 0 };
	add(&m, "a/x", "hello");
	listed = m.dir.len;
	add(&m, "a/x", "other");
	m.dir.len = listed; /* the second is not listed */
	m.n--;
	add(&m, "a/y", "hello");
	finish(&m, "");
	is_int(open_made(&m), 0, "a zip with a record in a gap is read");
	ok_msg(strstr(told, "1 of the gaps holds what looks like records") != NULL, "a record in a gap gives a warning");
	zip_release(&dir);

	m = (struct made){ .n = 0 };
	add(&m, "a/x", "hello");
	finish(&m, "");
	buf_adds(&m.b, "more");
	is_int(open_made(&m), 0, "a zip with trailing bytes is read");
	ok_msg(strstr(told, "4 bytes follow") != NULL, "trailing bytes give a warning");
	zip_release(&dir);
}

static void
test_refused(void)
{
	struct made m = { .n = 0 };
	size_t i;

	add(&m, "a/x", "1");
	add(&m, "a/x", "2");
	finish(&m, "");
	refused(&m, "two records 'a/x'", "two records of one name are refused");

	m = (struct made){ .n = 0 };
	add(&m, "a/x", "1");
	m.dir.p[38] = 0x10; /* external attributes: a folder of MS-DOS */
	finish(&m, "");
	refused(&m, "record 'a/x' is marked as a folder, but has contents",
		"a record with contents that is marked as a folder is refused");

	m = (struct made){ .n = 0 };
	add(&m, "a/x/", "1");
	finish(&m, "");
	refused(&m, "record 'a/x/' is marked as a folder, but has contents",
		"a record with contents whose name is a folder's is refused");

	m = (struct made){ .n = 0 };
	add(&m, "a/x", "1");
	finish(&m, "");
	m.b.p[m.b.len - ZIP_END + 6] = 1; /* the disk of the directory, but not of the end */
	refused(&m, "split zips", "a directory on another disk is refused");

	m = (struct made){ .n = 0 };
	add(&m, "a/x", "1");
	add(&m, "A/x", "2");
	finish(&m, "");
	refused(&m, "'a/x' and 'A/x'", "names that differ only in case are refused");

	m = (struct made){ .dir_name = "a/y" };
	add(&m, "a/x", "1");
	finish(&m, "");
	refused(&m, "is named 'a/x' here", "a different name in the directory is refused");

	m = (struct made){ .n = 0 };
	add(&m, "a/x", "12345");
	finish(&m, "");
	put_le32((uint8_t *)m.b.p + m.b.len - 22 - 49 + 42, 1);
	refused(&m, "local header", "a wrong offset in the directory is refused");

	m = (struct made){ .n = 0 };
	add(&m, "a/x", "12345");
	add(&m, "a/y", "12345");
	finish(&m, "");
	put_le32((uint8_t *)m.b.p + m.b.len - 22 - 98 + 20, 6);
	put_le32((uint8_t *)m.b.p + m.b.len - 22 - 98 + 24, 6);
	refused(&m, "reaches into what follows", "records that overlap are refused");

	m = (struct made){ .n = 0 };
	add(&m, "a/x", "12345");
	finish(&m, "");
	m.b.p[m.b.len - 22 - 49 + 8] = 1;
	refused(&m, "encrypted", "an encrypted entry is refused");

	m = (struct made){ .n = 0 };
	add_packed(&m, "a/x", 12, "12345", 5, 9, 0);
	finish(&m, "");
	refused(&m, "method 12", "an entry packed by bzip2 is refused");

	m = (struct made){ .n = 0 };
	add_packed(&m, "a/x", 0, "12345", 5, 6, 0);
	finish(&m, "");
	refused(&m, "two sizes", "a stored entry with two sizes is refused");

	m = (struct made){ .n = 0 };
	add(&m, "a/x", "12345");
	m.n = 2;
	finish(&m, "");
	refused(&m, "", "a wrong number of entries is refused");

	m = (struct made){ .n = 0 };
	add(&m, "a/x", "12345");
	finish(&m, "");
	for (i = 0; i < m.b.len; i++) {
		bool failed = open_bytes(m.b.p, i) < 0;

		zip_release(&dir);
		if (!failed)
			break;
	}
	is_uint(i, m.b.len, "a zip that is cut off anywhere is refused");
	buf_release(&m.b);
	buf_release(&m.dir);
}

/* A zip64 end record that contradicts the end record. */
static void
test_two_ends(void)
{
	struct buf b = BUF_INIT;
	struct sink *out = sink_memory(&b, "out");
	struct zip_writer z;

	zip_writer_init(&z, out);
	is_int(zip_directory(&z, NULL, NULL, &e), 0, "an empty archive is written");
	is_int(sink_commit(out, &e), 0, "an empty archive is committed");
	is_uint(b.len, 56 + 20 + 22, "an empty archive consists of three end records");
	is_int(open_bytes(b.p, b.len), 0, "an empty archive is read");
	zip_release(&dir);
	b.p[b.len - 22 + 8] = b.p[b.len - 22 + 10] = 1;
	ok_msg(open_bytes(b.p, b.len) < 0 && strstr(e.msg, "two archives") != NULL, "end records that differ are refused");
	zip_release(&dir);
	zip_writer_release(&z);
	buf_release(&b);
}

/* ---- inflating */

static void
deflate_text(const char *text, size_t n, struct buf *out)
{
	z_stream z = { .next_in = (Bytef *)(uintptr_t)text, .avail_in = (uInt)n };

	deflateInit2(&z, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY);
	z.next_out = (Bytef *)buf_reserve(out, deflateBound(&z, n));
	z.avail_out = (uInt)deflateBound(&z, n);
	deflate(&z, Z_FINISH);
	out->len += z.total_out;
	deflateEnd(&z);
}

static int
inflate_all(const struct buf *packed, size_t packed_len, char *to, size_t size, size_t step)
{
	struct source *src = source_memory(packed->p, packed->len, "t.zip");
	struct zip_inflate *z = zip_inflate_new(src, 0, packed_len, size, str_c("a/x"));
	int rc = 0;

	err_clear(&e);
	for (size_t at = 0; rc == 0 && at < size; at += step)
		rc = zip_inflate_read(z, to + at, size - at < step ? size - at : step, &e);
	zip_inflate_free(z);
	source_close(src);
	return rc;
}

static void
test_inflate(void)
{
	enum { SIZE = 300000 };
	static char text[SIZE], back[SIZE + 1];
	struct buf packed = BUF_INIT;

	for (size_t i = 0; i < SIZE; i++)
		text[i] = (char)(i * i / 7 % 251);
	deflate_text(text, SIZE, &packed);
	is_int(inflate_all(&packed, packed.len, back, SIZE, 777), 0, "data are inflated in pieces");
	ok(memcmp(text, back, SIZE) == 0);
	ok(inflate_all(&packed, packed.len, back, SIZE - 1, 5000) < 0 && strstr(e.msg, "more bytes") != NULL);
	ok(inflate_all(&packed, packed.len, back, SIZE + 1, 5000) < 0 && strstr(e.msg, "fewer bytes") != NULL);
	ok(inflate_all(&packed, packed.len - 9, back, SIZE, 5000) < 0 && strstr(e.msg, "too early") != NULL);
	buf_addc(&packed, 'x');
	ok(inflate_all(&packed, packed.len, back, SIZE, 5000) < 0 && strstr(e.msg, "before its record") != NULL);
	packed.p[0] = (char)0xff;
	ok(inflate_all(&packed, packed.len, back, SIZE, 5000) < 0 && strstr(e.msg, "damaged") != NULL);
	buf_release(&packed);
}

/* ---- writing: lib/format/README.md, sections 2.3 and 2.4, byte for byte */

static void
namer(void *arg, size_t i, struct buf *name)
{
	buf_adds(name, ((const char *const *)arg)[i]);
}

static void
test_write(void)
{
	static const char *const names[] = { "archive/x", "archive/empty" };
	static const char expected[] =
		"PK\3\4\0\0\x08\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x09\0\x19\0archive/x"
		"FB\x15\0ZZZZZZZZZZZZZZZZZZZZZ"
		"hello"
		"PK\7\x08\x86\xa6\x10\x36\5\0\0\0\5\0\0\0"
		"PK\3\4\0\0\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x0d\0\x40\0archive/empty"
		"FB\x3c\0ZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZ"
		"PK\1\2\0\0\0\0\x08\x08\0\0\0\0\0\0\x86\xa6\x10\x36\5\0\0\0\5\0\0\0\x09\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0archive/x"
		"PK\1\2\0\0\0\0\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x0d\0\0\0\0\0\0\0\0\0\0\0\0\0\x55\0\0\0archive/empty"
		"PK\6\6\x2c\0\0\0\0\0\0\0\x1e\3\x2d\0\0\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0"
		"\x72\0\0\0\0\0\0\0\xc0\0\0\0\0\0\0\0"
		"PK\6\7\0\0\0\0\x32\1\0\0\0\0\0\0\1\0\0\0"
		"PK\5\6\0\0\0\0\2\0\2\0\x72\0\0\0\xc0\0\0\0\0\0";
	struct buf b = BUF_INIT;
	struct sink *out = sink_memory(&b, "out");
	struct zip_writer z;
	size_t i;

	err_clear(&e);
	zip_writer_init(&z, out);
	ok(zip_record_begin(&z, str_c(names[0]), ZIP_SIZE_LATER, &e) == 0 && sink_write(out, "hello", 5, &e) == 0 &&
	   zip_record_end(&z, (uint32_t)crc32(0, (const Bytef *)"hello", 5), &e) == 0);
	ok(zip_record_begin(&z, str_c(names[1]), 0, &e) == 0 && zip_record_end(&z, 0, &e) == 0);
	is_int(zip_directory(&z, namer, (void *)(uintptr_t)names, &e), 0, "an archive is written");
	is_int(sink_commit(out, &e), 0, "an archive is committed");
	is_uint(b.len, sizeof(expected) - 1, "the archive has the length of torch's");
	for (i = 0; i < b.len && i < sizeof(expected) - 1 && b.p[i] == expected[i]; i++)
		;
	is_uint(i, sizeof(expected) - 1, "the archive equals torch's byte for byte");
	zip_writer_release(&z);
	buf_release(&b);
}

/* The four rows of the table in lib/format/README.md, section 2.4, with their padding, on a sink that only counts. */
static void
test_wide(void)
{
	static const struct {
		uint64_t header, size;
		unsigned zip64, behind;
	} rows[] = {
		{ 0, 0xfffffffe, 0, 16 },
		{ 0, 0xffffffff, 20, 24 },
		{ 0xfffffffe, 1, 0, 16 },
		{ 0xffffffff, 1, 12, 24 },
		{ 0x100000000, 0x100000000, 28, 24 },
		{ 0x100000000, 0, 12, 0 },
		{ 64, 0, 0, 0 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t least = 30 + 10 + rows[i].zip64 + 4, all = zip_record_size(rows[i].header, 10, rows[i].size),
			 before = all - rows[i].size - rows[i].behind;

		ok_msg(before >= least && before < least + 64 && (rows[i].header + before) % 64 == 0,
		       "header at %#llx, size %#llx: the record is aligned and has the right descriptor",
		       (unsigned long long)rows[i].header, (unsigned long long)rows[i].size);
	}
}

/* ---- more than 4 GiB, mostly a hole */

static char path[] = "/tmp/lnn-test-zip-XXXXXX";

static void
put_at(int fd, uint64_t at, const struct buf *b)
{
	if (pwrite(fd, b->p, b->len, (off_t)at) != (ssize_t)b->len)
		tap_bail("cannot write a file");
}

/* Copies the bytes that writer has written since from, except for the hole, to the same place of the file. */
static void
test_large(void)
{
	static const char *const names[] = { "archive/big", "archive/far", "archive/farempty" };
	const uint64_t big = (uint64_t)5 << 30;
	struct buf b = BUF_INIT;
	struct sink *out = sink_memory(&b, "out");
	struct zip_writer z;
	struct source *src;
	uint64_t size, at;
	int fd = mkstemp(path);

	err_clear(&e);
	if (fd < 0)
		tap_bail("no temporary file");
	zip_writer_init(&z, out);
	ok(zip_record_begin(&z, str_c(names[0]), big, &e) == 0);
	is_uint(b.len, 128, "the header of a large record is padded to 64 bytes");
	ok(memcmp(b.p + 41, "\1\0\x10\0\0\0\0\x40\1\0\0\0\0\0\0\0\0\0\0\0FB", 22) == 0);
	put_at(fd, 0, &b);
	/* The contents of the record are a hole, which the buffer does not have. */
	z.base -= big;
	buf_clear(&b);
	at = zip_writer_at(&z);
	ok(zip_record_end(&z, 0x12345678, &e) == 0);
	ok(b.len == 24 && memcmp(b.p, "PK\7\x08\x78\x56\x34\x12\0\0\0\x40\1\0\0\0\0\0\0\x40\1\0\0\0", 24) == 0);
	ok(zip_record_begin(&z, str_c(names[1]), 3, &e) == 0 && sink_write(out, "far", 3, &e) == 0 &&
	   zip_record_end(&z, (uint32_t)crc32(0, (const Bytef *)"far", 3), &e) == 0);
	ok(memcmp(b.p + 24 + 41, "\1\0\x08\0\x98\0\0\x40\1\0\0\0FB", 14) == 0);
	ok(zip_record_begin(&z, str_c(names[2]), 0, &e) == 0 && zip_record_end(&z, 0, &e) == 0);
	is_int(zip_directory(&z, namer, (void *)(uintptr_t)names, &e), 0, "an archive of more than 4 GiB is written");
	put_at(fd, at, &b);
	sink_abort(out);
	zip_writer_release(&z);
	buf_release(&b);

	told[0] = '\0';
	if (source_fd(&src, fd, "large.zip", NULL, &e) < 0 || source_size(src, &size, &e) < 0)
		tap_bail(e.msg);
	ok_msg(size > big, "the archive has more than 4 GiB");
	is_int(zip_open(&dir, src, ZIP_COMPARED, &diag, &e), 0, "an archive of more than 4 GiB is read");
	is_str(e.msg, "", "without error");
	is_str(told, "", "without warning");
	ok(dir.n == 3 && dir.entries[0].size == big && dir.entries[0].crc == 0x12345678 && dir.entries[0].data == 128);
	ok(dir.n == 3 && dir.entries[1].size == 3 && dir.entries[1].header == 128 + big + 24);
	ok(dir.n == 3 && dir.entries[1].data % 64 == 0 && dir.entries[2].data % 64 == 0);
	zip_release(&dir);
	source_close(src);
	unlink(path);
}

/* More entries than 16 bits can count. */
static void
namer_many(void *arg, size_t i, struct buf *name)
{
	(void)arg;
	buf_addf(name, "archive/data/%zu", i);
}

static void
test_many(void)
{
	enum { COUNT = 70002 };
	struct buf b = BUF_INIT, name = BUF_INIT;
	struct sink *out = sink_memory(&b, "out");
	struct zip_writer z;
	int r = 0;

	err_clear(&e);
	zip_writer_init(&z, out);
	for (size_t i = 0; i < COUNT && r == 0; i++) {
		buf_clear(&name);
		namer_many(NULL, i, &name);
		r = zip_record_begin(&z, buf_str(&name), 1, &e) < 0 || sink_write(out, "x", 1, &e) < 0 ||
		    zip_record_end(&z, 7, &e) < 0;
	}
	ok(r == 0 && zip_directory(&z, namer_many, NULL, &e) == 0 && sink_commit(out, &e) == 0);
	ok(get_le16((const uint8_t *)b.p + b.len - 22 + 10) == 0xffff);
	is_int(open_bytes(b.p, b.len), 0, "70002 entries are read");
	is_uint(dir.n, COUNT, "all 70002 entries are found");
	is_str(told, "", "without a warning");
	zip_release(&dir);
	zip_writer_release(&z);
	buf_release(&b);
	buf_release(&name);
}

int
main(void)
{
	test_read();
	test_told();
	test_refused();
	test_two_ends();
	test_inflate();
	test_write();
	test_wide();
	test_large();
	test_many();
	return tap_done();
}
