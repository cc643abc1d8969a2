#include "zip/forward.h"

#include "base/cursor.h"

/* The folder attribute of MS-DOS. */
enum { FOLDER = 0x10 };

/* Shows exactly n bytes (at most SOURCE_LOOK_MAX) at off. Messages call them what. */
static int
need(struct source *src, uint64_t off, size_t n, const uint8_t **p, const char *what, struct err *err)
{
	size_t got;

	if (source_look(src, off, n, p, &got, err) < 0)
		return -1;
	if (got < n)
		return err_at(err, source_name(src), off, "cut off in %s of the zip", what);
	return 0;
}

/* Appends the n bytes at off to b. */
static int
copy(struct source *src, uint64_t off, size_t n, struct buf *b, const char *what, struct err *err)
{
	const uint8_t *p;

	if (need(src, off, n, &p, what, err) < 0)
		return -1;
	buf_add(b, p, n);
	return 0;
}

int
zip_sign(struct source *src, uint64_t off, enum zip_sign *sign, struct err *err)
{
	const uint8_t *p;

	if (need(src, off, 4, &p, "the entries", err) < 0)
		return -1;
	switch (get_le32(p)) {
	case ZIP_SIG_LOCAL: *sign = ZIP_SIGN_LOCAL; break;
	case ZIP_SIG_CENTRAL: *sign = ZIP_SIGN_CENTRAL; break;
	case ZIP_SIG_END:
	case ZIP_SIG_END64: *sign = ZIP_SIGN_END; break;
	default: *sign = ZIP_SIGN_OTHER;
	}
	return 0;
}

/* Refuses encryption, patches and unknown compression methods. */
static int
check_kind(struct source *src, uint64_t off, const struct zip_entry *t, struct err *err)
{
	const char *name = source_name(src);

	if (t->flags & 0x2041)
		return err_at(err, name, off, "record '%.*s' is encrypted", STR_ARG(t->name));
	if (t->flags & 0x0020)
		return err_at(err, name, off, "record '%.*s' is a patch", STR_ARG(t->name));
	if (t->method != ZIP_STORED && t->method != ZIP_DEFLATED)
		return err_at(err, name, off,
			      "record '%.*s' is packed by method %u; only stored and deflated ones can be read (pack again "
			      "with zip -0)",
			      STR_ARG(t->name), t->method);
	return 0;
}

/* Returns a cursor on the contents of the zip64 block among the extra fields, or a failed cursor if there is none. */
static struct cursor
find_zip64(const uint8_t *p, size_t n)
{
	struct cursor c = cursor_of(p, n), none = cursor_of(p, 0);
	const uint8_t *body;
	unsigned id, len;

	none.failed = true;
	while (cursor_left(&c) >= 4) {
		id = cursor_u16(&c);
		len = cursor_u16(&c);
		body = cursor_bytes(&c, len);
		if (body == NULL)
			break;
		if (id == 1)
			return cursor_of(body, len);
	}
	return none;
}

bool
zip_is_free(const struct zip_local *l)
{
	return l->sized && l->entry.method == ZIP_STORED && (l->entry.flags & ZIP_FLAG_DESCRIPTOR) == 0 &&
	       str_ends(l->entry.name, str_c("/" ZIP_FREE));
}

int
zip_local(struct source *src, uint64_t off, struct zip_local *l, struct buf *name, struct err *err)
{
	struct zip_entry *t = &l->entry;
	struct cursor z;
	const uint8_t *p;
	size_t name_len, extra_len;

	if (need(src, off, ZIP_LOCAL, &p, "a local header", err) < 0)
		return -1;
	if (get_le32(p) != ZIP_SIG_LOCAL)
		return err_at(err, source_name(src), off, "a local header of the zip is expected here");
	*l = (struct zip_local){ .wide = false };
	t->header = off;
	t->flags = get_le16(p + 6);
	t->method = get_le16(p + 8);
	t->crc = get_le32(p + 14);
	t->packed = get_le32(p + 18);
	t->size = get_le32(p + 22);
	name_len = get_le16(p + 26);
	extra_len = get_le16(p + 28);
	t->data = off + ZIP_LOCAL + name_len + extra_len;
	buf_clear(name);
	if (copy(src, off + ZIP_LOCAL, name_len, name, "a local header", err) < 0 ||
	    need(src, off + ZIP_LOCAL + name_len, extra_len, &p, "a local header", err) < 0)
		return -1;
	t->name = buf_str(name);
	z = find_zip64(p, extra_len);
	l->wide = !z.failed;
	if (t->size == UINT32_MAX && cursor_left(&z) >= 8)
		t->size = cursor_u64(&z);
	if (t->packed == UINT32_MAX && cursor_left(&z) >= 8)
		t->packed = cursor_u64(&z);
	l->sized = !(t->flags & ZIP_FLAG_DESCRIPTOR) || t->packed != 0 || t->size != 0;
	return check_kind(src, off, t, err);
}

int
zip_descriptor(struct source *src, uint64_t off, bool wide, struct zip_descriptor *d, struct err *err)
{
	size_t n = wide ? 24 : 16;
	const uint8_t *p;

	if (need(src, off, n, &p, "a data descriptor", err) < 0)
		return -1;
	if (get_le32(p) != ZIP_SIG_DESCRIPTOR)
		return err_at(err, source_name(src), off,
			      "the data descriptor of a record is expected here: the record has another size");
	d->crc = get_le32(p + 4);
	d->packed = wide ? get_le64(p + 8) : get_le32(p + 8);
	d->size = wide ? get_le64(p + 16) : get_le32(p + 12);
	d->end = off + n;
	return 0;
}

int
zip_central(struct source *src, uint64_t off, struct zip_entry *t, struct buf *name, uint64_t *next, struct err *err)
{
	static const char part[] = "the central directory";
	struct cursor z;
	const uint8_t *p;
	size_t name_len, extra_len, comment_len;
	unsigned disk;
	uint32_t attributes;

	if (need(src, off, ZIP_CENTRAL, &p, part, err) < 0)
		return -1;
	if (get_le32(p) != ZIP_SIG_CENTRAL)
		return err_at(err, source_name(src), off, "an entry of the zip's central directory is expected here");
	*t = (struct zip_entry){ .header = get_le32(p + 42) };
	t->flags = get_le16(p + 8);
	t->method = get_le16(p + 10);
	t->crc = t->listed = get_le32(p + 16);
	t->packed = get_le32(p + 20);
	t->size = get_le32(p + 24);
	name_len = get_le16(p + 28);
	extra_len = get_le16(p + 30);
	comment_len = get_le16(p + 32);
	disk = get_le16(p + 34);
	attributes = get_le32(p + 38);
	*next = off + ZIP_CENTRAL + name_len + extra_len + comment_len;
	buf_clear(name);
	if (copy(src, off + ZIP_CENTRAL, name_len, name, part, err) < 0 ||
	    need(src, off + ZIP_CENTRAL + name_len, extra_len, &p, part, err) < 0)
		return -1;
	t->name = buf_str(name);
	z = find_zip64(p, extra_len);
	if (!z.failed) {
		if (t->size == UINT32_MAX)
			t->size = cursor_u64(&z);
		if (t->packed == UINT32_MAX)
			t->packed = cursor_u64(&z);
		if (t->header == UINT32_MAX)
			t->header = cursor_u64(&z);
		if (z.failed)
			return err_at(err, source_name(src), off, "record '%.*s' has a zip64 block that is too short",
				      STR_ARG(t->name));
	}
	if (disk > 1)
		return err_at(err, source_name(src), off, "record '%.*s' is on another volume of a split zip", STR_ARG(t->name));
	/* miniz, and so torch, reports success for such a record without writing any byte to the destination. */
	if (t->size != 0 && ((attributes & FOLDER) != 0 || str_ends(t->name, str_c("/"))))
		return err_at(err, source_name(src), off, "record '%.*s' is marked as a folder, but has contents",
			      STR_ARG(t->name));
	if (t->method == ZIP_STORED && t->packed != t->size)
		return err_at(err, source_name(src), off, "record '%.*s' is stored, but its two sizes differ", STR_ARG(t->name));
	return check_kind(src, off, t, err);
}
