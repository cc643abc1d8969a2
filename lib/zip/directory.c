#include "zip/directory.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cursor.h"
#include "base/text.h"
#include "base/xalloc.h"

struct zip_end {
	uint64_t n;           /* number of entries */
	uint64_t start, size; /* of the directory */
	uint64_t at;          /* offset of the first end record: the zip64 one if there is one */
	uint64_t record;      /* offset of the end record proper */
	uint64_t end;         /* offset after the end record and its comment */
};

/* The end record is searched for in the last bytes of this length. A comment has at most 65535 bytes. */
enum { SEARCH = ZIP_END + 65535 };

static int
damaged(struct source *src, uint64_t off, struct err *err)
{
	return err_at(err, source_name(src), off, "the end records of the zip are damaged");
}

/* Returns true if a record with signature sig begins at off. */
static bool
has_sig(struct source *src, uint64_t off, uint32_t sig, struct err *err)
{
	const uint8_t *p;
	size_t got;

	return source_look(src, off, 4, &p, &got, err) == 0 && got == 4 && get_le32(p) == sig;
}

/* Returns true if a zip without a comment ends at off. */
static bool
zip_ends(struct source *src, uint64_t off, struct err *err)
{
	return off >= ZIP_END && has_sig(src, off - ZIP_END, ZIP_SIG_END, err);
}

static int
two_saves(struct source *src, uint64_t second, struct err *err)
{
	if (str_ends(str_c(source_name(src)), str_c(".distcp")))
		return err_input(err, source_name(src), "it is a file of a distributed checkpoint: give its folder");
	return err_at(err, source_name(src), second,
		      "the file holds two saves, and the second begins here: 'head -c %" PRIu64
		      "' extracts the first, 'tail -c +%" PRIu64 "' the second",
		      second, second + 1);
}

/*
 * Returns true if a second zip begins at offset shift, behind a complete first one. The second zip counts offsets from its own
 * beginning, so that its end records are shift bytes after their expected place.
 */
static bool
is_second(struct source *src, uint64_t shift, struct err *err)
{
	return has_sig(src, shift, ZIP_SIG_LOCAL, err) && zip_ends(src, shift, err);
}

/* Finds the last end record of the input. */
static int
find_end(struct source *src, uint64_t size, uint64_t *at, struct err *err)
{
	size_t n = size < SEARCH ? (size_t)size : SEARCH, i;
	uint8_t *tail = xmalloc(n);
	int r = source_read(src, size - n, tail, n, err);

	for (i = n < ZIP_END ? 0 : n - ZIP_END + 1; r == 0 && i-- > 0;)
		if (get_le32(tail + i) == ZIP_SIG_END)
			break;
	free(tail);
	if (r < 0)
		return -1;
	if (i == SIZE_MAX || n < ZIP_END)
		return err_input(err, source_name(src), "cut off: the zip has no central directory at its end");
	*at = size - n + i;
	return 0;
}

/* Warns of bytes between the end of the zip and the end of the input. */
static void
tell_trailing(const struct source *src, const struct diag *diag, uint64_t end, uint64_t size)
{
	if (end < size)
		diag_warn(diag, "%s: %" PRIu64 " %s the end of the zip", source_name(src), size - end,
			  size - end == 1 ? "byte follows" : "bytes follow");
	else if (end > size)
		diag_warn(diag, "%s: the comment of the zip is cut off", source_name(src));
}

static int
exactly(struct source *src, uint64_t off, void *p, size_t n, struct err *err)
{
	size_t got;

	if (source_read_some(src, off, p, n, &got, err) < 0)
		return -1;
	if (got < n)
		return err_at(err, source_name(src), off, "cut off in the end records of the zip");
	return 0;
}

/* Reads the zip64 end record at off and the locator after it. *next is the offset after both. */
static int
read_end64(struct source *src, uint64_t off, struct zip_end *z, uint64_t *next, struct err *err)
{
	uint8_t p[ZIP_END64], l[ZIP_LOCATOR];
	uint64_t len;

	if (exactly(src, off, p, sizeof(p), err) < 0)
		return -1;
	len = get_le64(p + 4);
	if (get_le32(p) != ZIP_SIG_END64 || len < ZIP_END64 - 12 || len > 65536)
		return damaged(src, off, err);
	z->n = get_le64(p + 32);
	z->size = get_le64(p + 40);
	z->start = get_le64(p + 48);
	if (get_le32(p + 16) != 0 || get_le32(p + 20) != 0 || get_le64(p + 24) != z->n)
		return err_at(err, source_name(src), off, "split zips cannot be read");
	*next = off + 12 + len;
	if (exactly(src, *next, l, sizeof(l), err) < 0)
		return -1;
	if (get_le32(l) != ZIP_SIG_LOCATOR || get_le64(l + 8) != off)
		return damaged(src, *next, err);
	if (get_le32(l + 16) != 1)
		return err_at(err, source_name(src), *next, "split zips cannot be read");
	*next += ZIP_LOCATOR;
	return 0;
}

/* Returns true if a field of the short end record equals the zip64 value, or is saturated. */
static bool
agrees(uint64_t narrow, uint64_t limit, uint64_t wide)
{
	return narrow == limit || narrow == wide;
}

/*
 * Reads the end record at off. If zip64 is true, *z already has the values of the zip64 record, which the end record must not
 * contradict.
 */
static int
read_end(struct source *src, uint64_t off, bool zip64, struct zip_end *z, struct err *err)
{
	uint8_t p[ZIP_END];

	if (exactly(src, off, p, sizeof(p), err) < 0)
		return -1;
	if (get_le32(p) != ZIP_SIG_END)
		return damaged(src, off, err);
	if (get_le16(p + 8) != get_le16(p + 10) || get_le16(p + 4) > 1 || get_le16(p + 6) != get_le16(p + 4))
		return err_at(err, source_name(src), off, "split zips cannot be read");
	z->record = off;
	z->end = off + ZIP_END + get_le16(p + 20);
	if (!zip64) {
		z->n = get_le16(p + 10);
		z->size = get_le32(p + 12);
		z->start = get_le32(p + 16);
	} else if (!agrees(get_le16(p + 10), UINT16_MAX, z->n) || !agrees(get_le32(p + 12), UINT32_MAX, z->size) ||
		   !agrees(get_le32(p + 16), UINT32_MAX, z->start)) {
		return err_at(err, source_name(src), off,
			      "the end record of the zip contradicts its zip64 record: readers would see two archives");
	}
	return 0;
}

/* Reads the end records that begin at off. */
static int
end_read(struct source *src, uint64_t off, struct zip_end *z, struct err *err)
{
	uint8_t sig[4];
	uint64_t next = off;
	bool zip64;

	if (exactly(src, off, sig, sizeof(sig), err) < 0)
		return -1;
	*z = (struct zip_end){ .at = off };
	zip64 = get_le32(sig) == ZIP_SIG_END64;
	if (zip64 && read_end64(src, off, z, &next, err) < 0)
		return -1;
	return read_end(src, next, zip64, z, err);
}

/* Finds and reads the end records of an input of the given size. */
static int
end_find(struct source *src, uint64_t size, struct zip_end *z, struct err *err)
{
	uint8_t l[ZIP_LOCATOR];
	uint64_t end = 0, at, next;

	if (find_end(src, size, &end, err) < 0)
		return -1;
	*z = (struct zip_end){ .at = end };
	if (end < ZIP_LOCATOR)
		return read_end(src, end, false, z, err);
	if (source_read(src, end - ZIP_LOCATOR, l, sizeof(l), err) < 0)
		return -1;
	if (get_le32(l) != ZIP_SIG_LOCATOR)
		return read_end(src, end, false, z, err);
	at = get_le64(l + 8);
	if (at >= end - ZIP_LOCATOR)
		return damaged(src, end - ZIP_LOCATOR, err);
	next = end - ZIP_LOCATOR - at;
	if (next > ZIP_END64 && is_second(src, next - ZIP_END64, err))
		return two_saves(src, next - ZIP_END64, err);
	z->at = at;
	if (read_end64(src, at, z, &next, err) < 0)
		return -1;
	if (next != end)
		return damaged(src, at, err);
	return read_end(src, end, true, z, err);
}

/* Findings that are reported to diag once, as counts. */
struct notes {
	uint64_t gaps, first_gap;
	uint64_t hidden; /* gaps that begin with a record */
	uint64_t before; /* end of an earlier save before the one that is read; 0 if there is none */
	uint64_t differing;
	struct str first_differing;
};

struct dir_reading {
	struct zip_dir *d;
	struct source *src;
	enum zip_trust trust;
	struct notes notes;
	uint32_t *order; /* indices of entries by the offset of their headers; NULL if the directory has that order */
	struct buf name;
	struct err *err;
};

/* Returns name in lower case (ASCII). A name that changes is copied to the arena. */
static struct str
folded(struct arena *a, struct str name)
{
	char *p;
	size_t i;

	for (i = 0; i < name.len && !(name.p[i] >= 'A' && name.p[i] <= 'Z'); i++)
		;
	if (i == name.len)
		return name;
	p = arena_bytes(a, name.len);
	for (i = 0; i < name.len; i++)
		p[i] = name.p[i] >= 'A' && name.p[i] <= 'Z' ? (char)(name.p[i] - 'A' + 'a') : name.p[i];
	return str_n(p, name.len);
}

static void
begin(struct zip_dir *d)
{
	memset(d, 0, sizeof(*d));
	arena_init(&d->arena);
	strmap_init(&d->by_name);
}

/* Adds a record to d, unless there is one of this name. The name is copied. cap: of d->entries. */
static bool
add_entry(struct zip_dir *d, const struct zip_entry *t, size_t *cap)
{
	struct str name = arena_str(&d->arena, t->name);

	if (!strmap_add(&d->by_name, folded(&d->arena, name), d->n)) {
		arena_return(&d->arena, name.p, name.len + 1);
		return false;
	}
	d->entries = xgrow(d->entries, d->n, cap, sizeof(*d->entries));
	d->entries[d->n] = *t;
	d->entries[d->n++].name = name;
	return true;
}

static int
twice(const struct dir_reading *r, struct str name)
{
	const struct zip_dir *d = r->d;
	struct arena a = ARENA_INIT;
	uint64_t other = 0;

	strmap_get(&d->by_name, folded(&a, name), &other);
	arena_release(&a);
	if (str_eq(d->entries[other].name, name))
		return err_input(r->err, source_name(r->src), "the zip has two records '%.*s'", STR_ARG(name));
	return err_input(r->err, source_name(r->src), "the zip has records '%.*s' and '%.*s', which are the same name to torch",
			 STR_ARG(d->entries[other].name), STR_ARG(name));
}

static int
read_entries(struct dir_reading *r, const struct zip_end *end)
{
	struct zip_dir *d = r->d;
	uint64_t at = d->start;
	size_t cap = 0;

	strmap_reserve(&d->by_name, (size_t)end->n);
	while (at < d->end) {
		struct zip_entry t;

		if (zip_central(r->src, at, &t, &r->name, &at, r->err) < 0)
			return -1;
		if (at > d->end)
			return err_at(r->err, source_name(r->src), d->end, "the zip's directory ends within an entry");
		if (!add_entry(d, &t, &cap) && r->trust != ZIP_DAMAGED)
			return twice(r, t.name);
	}
	if (d->n != end->n && r->trust != ZIP_DAMAGED)
		return err_at(r->err, source_name(r->src), d->start,
			      "the zip's directory has %zu entries, but %" PRIu64 " are announced", d->n, end->n);
	return 0;
}

/* ---- local headers */

/* Moves *from past unused space that an edit in place has left (zip_is_free). */
static int
pass_free(struct dir_reading *r, uint64_t *from, uint64_t to)
{
	struct err ignored = ERR_INIT;
	struct zip_local l;
	enum zip_sign sign;

	while (to - *from >= ZIP_LOCAL) {
		if (zip_sign(r->src, *from, &sign, r->err) < 0)
			return -1;
		if (sign != ZIP_SIGN_LOCAL || zip_local(r->src, *from, &l, &r->name, &ignored) < 0 || !zip_is_free(&l) ||
		    l.entry.data > to || l.entry.packed > to - l.entry.data)
			return 0;
		*from = l.entry.data + l.entry.packed;
	}
	return 0;
}

static int
gap(struct dir_reading *r, uint64_t from, uint64_t to)
{
	enum zip_sign sign;

	if (from >= to)
		return 0;
	if (pass_free(r, &from, to) < 0)
		return -1;
	if (from == to)
		return 0;
	if (r->notes.gaps++ == 0)
		r->notes.first_gap = from;
	if (to - from < 4)
		return 0;
	if (zip_sign(r->src, from, &sign, r->err) < 0)
		return -1;
	r->notes.hidden += sign != ZIP_SIGN_OTHER;
	if (sign != ZIP_SIGN_OTHER && zip_ends(r->src, to, r->err))
		r->notes.before = to;
	return 0;
}

static void
differs(struct dir_reading *r, const struct zip_entry *t)
{
	if (r->notes.differing++ == 0)
		r->notes.first_differing = t->name;
}

/* What the local header announces after the data of an entry. */
struct behind {
	bool announced; /* a data descriptor follows */
	bool wide;
};

/*
 * Checks the bytes between the end of an entry's data and limit, where the next record begins. If the CRCs differ, the one of the
 * descriptor is used, because a forward reader has passed it on before it sees the directory.
 */
static int
check_behind(struct dir_reading *r, struct zip_entry *t, struct behind b, uint64_t limit)
{
	uint64_t at = t->data + t->packed, left = limit - at;
	struct zip_descriptor d;
	const uint8_t *p;
	size_t got;

	if (b.announced && (left == 12 || left == 20)) /* the descriptor has no signature, as some tools write it */
		return 0;
	if (b.announced && left >= 16) {
		if (source_look(r->src, at, 4, &p, &got, r->err) < 0)
			return -1;
		if (got == 4 && get_le32(p) == ZIP_SIG_DESCRIPTOR) {
			if (zip_descriptor(r->src, at, left == 24 || (b.wide && left > 24), &d, r->err) < 0)
				return -1;
			if (d.crc != t->crc || d.packed != t->packed || d.size != t->size)
				differs(r, t);
			t->crc = d.crc;
			at = d.end;
		}
	}
	return gap(r, at, limit);
}

static int
check_local(struct dir_reading *r, struct zip_entry *t, struct behind *b)
{
	const char *file = source_name(r->src);
	struct zip_local l;

	if (zip_local(r->src, t->header, &l, &r->name, r->err) < 0)
		return -1;
	if (!str_eq(l.entry.name, t->name))
		return err_at(r->err, file, t->header, "record '%.*s' is named '%.*s' here: readers would see two archives",
			      STR_ARG(t->name), STR_ARG(l.entry.name));
	if (l.entry.method != t->method)
		return err_at(r->err, file, t->header, "record '%.*s' has another compression method here than in the directory",
			      STR_ARG(t->name));
	t->data = l.entry.data;
	b->announced = (l.entry.flags & ZIP_FLAG_DESCRIPTOR) != 0;
	b->wide = l.wide;
	if ((l.sized && (l.entry.packed != t->packed || l.entry.size != t->size)) ||
	    ((!b->announced || l.entry.crc != 0) && l.entry.crc != t->crc))
		differs(r, t);
	if (l.sized && !b->announced)
		t->crc = l.entry.crc;
	return 0;
}

static int
by_header(const void *a, const void *b, void *arg)
{
	const struct zip_entry *entries = arg;
	uint64_t x = entries[*(const uint32_t *)a].header, y = entries[*(const uint32_t *)b].header;

	return (x > y) - (x < y);
}

static void
make_order(struct dir_reading *r)
{
	const struct zip_dir *d = r->d;
	size_t i;

	for (i = 1; i < d->n && d->entries[i - 1].header <= d->entries[i].header; i++)
		;
	if (i >= d->n)
		return;
	r->order = xreallocn(NULL, d->n, sizeof(*r->order));
	for (i = 0; i < d->n; i++)
		r->order[i] = (uint32_t)i;
	qsort_r(r->order, d->n, sizeof(*r->order), by_header, d->entries);
}

static struct zip_entry *
in_order(const struct dir_reading *r, size_t i)
{
	return &r->d->entries[r->order != NULL ? r->order[i] : i];
}

/* Reads all local headers in the order of their offsets. */
static int
check_entries(struct dir_reading *r)
{
	const struct zip_dir *d = r->d;
	uint64_t limit;
	size_t i;

	if (gap(r, 0, d->n > 0 ? in_order(r, 0)->header : d->start) < 0)
		return -1;
	for (i = 0; i < d->n; i++) {
		struct zip_entry *t = in_order(r, i);
		struct behind b = { false, false };

		if (t->header > d->start)
			return err_at(r->err, source_name(r->src), d->start, "record '%.*s' is outside the archive",
				      STR_ARG(t->name));
		if (check_local(r, t, &b) < 0)
			return -1;
		limit = i + 1 < d->n ? in_order(r, i + 1)->header : d->start;
		if (t->data > limit || t->packed > limit - t->data)
			return err_at(r->err, source_name(r->src), t->header, "record '%.*s' reaches into what follows it",
				      STR_ARG(t->name));
		if (check_behind(r, t, b, limit) < 0)
			return -1;
	}
	return 0;
}

/* Finds the data of an entry whose local header may be damaged. A descriptor in front of limit decides, if there is one. */
static void
find_data(struct dir_reading *r, struct zip_entry *t, uint64_t limit)
{
	struct err ignored = ERR_INIT;
	struct zip_descriptor d;
	struct zip_local l;

	t->data = t->header + ZIP_LOCAL + t->name.len;
	if (zip_local(r->src, t->header, &l, &r->name, &ignored) == 0)
		t->data = l.entry.data;
	for (uint64_t n = 24; n >= 16; n -= 8) {
		err_clear(&ignored);
		if (limit < t->header || limit - t->header < n || limit - t->header - n < t->packed ||
		    zip_descriptor(r->src, limit - n, n == 24, &d, &ignored) < 0)
			continue;
		t->crc = d.crc;
		t->data = limit - n - t->packed;
		break;
	}
}

static int
read_damaged(struct dir_reading *r, const struct zip_end *end)
{
	const struct zip_dir *d = r->d;
	uint64_t sum = 0;

	if (read_entries(r, end) < 0)
		return -1;
	make_order(r);
	for (size_t i = 0; i < d->n; i++) {
		struct zip_entry *t = in_order(r, i);

		find_data(r, t, i + 1 < d->n ? in_order(r, i + 1)->header : d->start);
		if (t->data <= d->start && t->packed <= d->start - t->data)
			sum += t->packed;
		if (sum / 2 > d->start)
			return err_at(r->err, source_name(r->src), d->start, "records of the zip overlap");
	}
	return 0;
}

static void
tell(const struct dir_reading *r, const struct diag *diag, const struct zip_end *end, uint64_t size)
{
	const char *file = source_name(r->src);

	if (r->notes.before > 0)
		diag_warn(diag,
			  "%s: it holds two saves, one after the other: the last is read, as torch.load does; 'head -c %" PRIu64
			  "' extracts the one before",
			  file, r->notes.before);
	else if (r->notes.gaps > 0)
		diag_warn(diag, "%s: %" PRIu64 " %s between the records of the zip, the first at byte %" PRIu64, file,
			  r->notes.gaps, text_noun(r->notes.gaps, "gap"), r->notes.first_gap);
	if (r->notes.hidden > 0 && r->notes.before == 0)
		diag_warn(diag,
			  "%s: %" PRIu64 " of the gaps %s what looks like records that the directory does not list: other "
			  "readers may see another archive",
			  file, r->notes.hidden, r->notes.hidden == 1 ? "holds" : "hold");
	if (r->notes.differing > 0)
		diag_warn(diag, "%s: %" PRIu64 " %s whose CRC or size fields differ within the zip, the first is '%.*s'", file,
			  r->notes.differing, text_noun(r->notes.differing, "record"), STR_ARG(r->notes.first_differing));
	tell_trailing(r->src, diag, end->end, size);
}

static int
read_directory(struct dir_reading *r, const struct diag *diag)
{
	struct zip_dir *d = r->d;
	struct zip_end end = { .at = UINT64_MAX };
	uint64_t size;

	if (source_size(r->src, &size, r->err) < 0 || end_find(r->src, size, &end, r->err) < 0) {
		d->cut_off = end.at == UINT64_MAX;
		return -1;
	}
	if (end.start > end.at || end.size > end.at - end.start || end.n > end.size / ZIP_CENTRAL)
		return err_at(r->err, source_name(r->src), end.at,
			      "the zip's directory is not at the place that its end record states");
	d->start = end.start;
	d->end = end.start + end.size;
	if (r->trust == ZIP_LISTED)
		return read_entries(r, &end);
	if (r->trust == ZIP_DAMAGED)
		return read_damaged(r, &end);
	if (is_second(r->src, end.at - d->end, r->err))
		return two_saves(r->src, end.at - d->end, r->err);
	if (gap(r, d->end, end.at) < 0 || read_entries(r, &end) < 0)
		return -1;
	make_order(r);
	if (check_entries(r) < 0)
		return -1;
	tell(r, diag, &end, size);
	return 0;
}

int
zip_open(struct zip_dir *d, struct source *src, enum zip_trust trust, const struct diag *diag, struct err *err)
{
	struct dir_reading r = { .d = d, .src = src, .trust = trust, .name = BUF_INIT, .err = err };
	int rc;

	begin(d);
	rc = read_directory(&r, diag);
	free(r.order);
	buf_release(&r.name);
	return rc;
}

void
zip_release(struct zip_dir *d)
{
	free(d->entries);
	strmap_release(&d->by_name);
	arena_release(&d->arena);
	d->entries = NULL;
	d->n = 0;
}

const struct zip_entry *
zip_find(const struct zip_dir *d, struct str name)
{
	struct arena a = ARENA_INIT;
	uint64_t i;
	bool found = strmap_get(&d->by_name, folded(&a, name), &i);

	arena_release(&a);
	return found ? &d->entries[i] : NULL;
}

/*
 * Reads to the end of the input. Fails if there is another end record at or after from, because other readers would use that one.
 */
static int
scan_rest(struct source *src, uint64_t from, uint64_t *size, struct err *err)
{
	const uint8_t *p;
	size_t got, i;

	for (*size = from;; *size += got - 3) {
		source_forget(src, *size);
		if (source_look(src, *size, SOURCE_LOOK_MAX, &p, &got, err) < 0)
			return -1;
		for (i = 0; i + 4 <= got; i++)
			if (get_le32(p + i) == ZIP_SIG_END)
				return err_at(err, source_name(src), *size + i,
					      "another end record of a zip: readers would see two archives");
		if (got < SOURCE_LOOK_MAX)
			break;
	}
	*size += got;
	return 0;
}

int
zip_tail(struct source *src, uint64_t off, uint64_t start, uint64_t n, const struct diag *diag, struct err *err)
{
	struct zip_end end;
	uint64_t size;

	if (end_read(src, off, &end, err) < 0)
		return -1;
	if (end.n != n || end.start != start || end.size != off - start)
		return err_at(err, source_name(src), off, "the end record of the zip contradicts its directory");
	if (has_sig(src, end.end, ZIP_SIG_LOCAL, err))
		return two_saves(src, end.end, err);
	if (scan_rest(src, end.record + 1, &size, err) < 0)
		return -1;
	if (size - end.record > ZIP_END + UINT16_MAX)
		return err_at(err, source_name(src), end.record,
			      "the zip's end record is followed by more than 65535 bytes, so that no reader finds it");
	tell_trailing(src, diag, end.end, size);
	return 0;
}

/* ---- what is left without a directory */

/* Signatures are searched for in windows of this size. A window also shows the header that belongs to the signature. */
enum { WINDOW = SOURCE_LOOK_MAX / 2, SCAN_NAME_MAX = 1024, SCAN_EXTRA_MAX = 16384 };

struct scan {
	struct zip_dir *d;
	struct source *src;
	uint64_t size;     /* size of the input */
	size_t cap;        /* capacity of d->entries */
	struct str folder; /* root folder of the records, with a slash; empty before the first record */
	struct buf name;
	bool open; /* t is a record whose end is not known yet */
	struct zip_entry t;
	struct zip_entry maybe; /* t with the sizes of the last descriptor, which contradicts the header */
	uint64_t maybe_end;     /* offset after that descriptor; 0 if there was none */
};

/*
 * Returns true if the n bytes at p can be a header or descriptor. Headers with very long names or extra fields are rejected: torch
 * writes none, and each would be copied.
 */
static bool
is_sign(const uint8_t *p, size_t n, uint32_t *sig)
{
	*sig = get_le32(p);
	if (*sig == ZIP_SIG_LOCAL)
		return n >= ZIP_LOCAL && get_le16(p + 26) <= SCAN_NAME_MAX && get_le16(p + 28) <= SCAN_EXTRA_MAX;
	if (*sig == ZIP_SIG_CENTRAL)
		return n >= ZIP_CENTRAL && get_le16(p + 28) <= SCAN_NAME_MAX && get_le16(p + 30) <= SCAN_EXTRA_MAX;
	return *sig == ZIP_SIG_DESCRIPTOR;
}

/* Moves *at to the next place at or after it where a header or descriptor may begin, or to the end of the input. */
static int
next_sign(const struct scan *s, uint64_t *at, uint32_t *sig, struct err *err)
{
	const struct str begin = STR_LIT("PK");
	const uint8_t *p, *end, *found;
	size_t got;
	long hit;

	for (; *at < s->size; *at += WINDOW - *at % WINDOW) {
		if (source_look(s->src, *at - *at % WINDOW, SOURCE_LOOK_MAX, &p, &got, err) < 0)
			return -1;
		end = got > WINDOW + 3 ? p + WINDOW + 3 : p + got;
		for (found = p + *at % WINDOW; found < p + WINDOW; found++) {
			hit = str_find(str_n((const char *)found, (size_t)(end - found)), begin, 0);
			if (hit < 0 || end - found - hit < 4)
				break;
			found += hit;
			if (is_sign(found, (size_t)(p + got - found), sig)) {
				*at += (uint64_t)(found - p) - *at % WINDOW;
				return 0;
			}
		}
	}
	*at = s->size;
	return 0;
}

/* Returns true if the record is in the archive's root folder, which the first record determines. */
static bool
belongs(struct scan *s, struct str name)
{
	const char *slash = name.len > 0 ? memchr(name.p, '/', name.len) : NULL;

	if (s->folder.len == 0 && slash != NULL)
		s->folder = arena_str(&s->d->arena, str_n(name.p, (size_t)(slash - name.p) + 1));
	return s->folder.len > 0 && str_starts(name, s->folder);
}

/* Ends the open record, which extends to end at most. */
static void
end_record(struct scan *s, uint64_t end)
{
	if (!s->open)
		return;
	s->open = false;
	if (s->maybe_end == end) {
		add_entry(s->d, &s->maybe, &s->cap);
		return;
	}
	s->t.packed = end - s->t.data;
	if (s->t.method == ZIP_STORED)
		s->t.size = s->t.packed;
	s->t.crc = 0;
	add_entry(s->d, &s->t, &s->cap);
}

/* Returns true if the size in the header can be true, because a zip signature follows the data. */
static bool
is_followed(const struct scan *s, const struct zip_entry *t)
{
	struct err ignored = ERR_INIT;
	uint8_t sig[4];

	/* source_look would replace the window of the scan at each header. */
	if (t->packed > s->size - t->data || s->size - t->data - t->packed < sizeof(sig) ||
	    source_read(s->src, t->data + t->packed, sig, sizeof(sig), &ignored) < 0)
		return false;
	switch (get_le32(sig)) {
	case ZIP_SIG_LOCAL:
	case ZIP_SIG_CENTRAL:
	case ZIP_SIG_END:
	case ZIP_SIG_END64: return true;
	case ZIP_SIG_DESCRIPTOR: return (t->flags & ZIP_FLAG_DESCRIPTOR) != 0;
	default: return false;
	}
}

/* Handles a local header at *at, and moves *at to where the search goes on. */
static void
take_local(struct scan *s, uint64_t *at)
{
	struct err ignored = ERR_INIT;
	struct zip_local l;

	if (zip_local(s->src, *at, &l, &s->name, &ignored) < 0 || !belongs(s, l.entry.name) || l.entry.data > s->size) {
		*at += 4;
		return;
	}
	end_record(s, *at);
	*at = l.entry.data;
	s->t = l.entry;
	s->t.name = arena_str(&s->d->arena, l.entry.name);
	s->maybe_end = 0;
	s->open = !l.sized || !is_followed(s, &s->t);
	if (!s->open) {
		add_entry(s->d, &s->t, &s->cap);
		*at += s->t.packed;
	}
}

/* Handles a descriptor at offset at. It ends the open record if its size matches the bytes since the header. */
static void
take_descriptor(struct scan *s, uint64_t at)
{
	struct err ignored = ERR_INIT;
	struct zip_descriptor d = { 0 };
	uint64_t first = s->t.header + ZIP_LOCAL + s->t.name.len;

	for (int wide = 1; s->open && wide >= 0; wide--) {
		err_clear(&ignored);
		if (zip_descriptor(s->src, at, wide != 0, &d, &ignored) < 0 || d.packed > at - first)
			continue;
		s->maybe = s->t;
		s->maybe.data = at - d.packed;
		s->maybe.packed = d.packed;
		s->maybe.size = d.size;
		s->maybe.crc = d.crc;
		s->maybe_end = d.end;
		if (s->maybe.data == s->t.data)
			end_record(s, d.end);
	}
}

static int
scan(struct scan *s, struct err *err)
{
	struct err ignored = ERR_INIT;
	struct zip_entry t;
	uint64_t at = 0, next;
	uint32_t sig = 0;

	for (;;) {
		if (next_sign(s, &at, &sig, err) < 0)
			return -1;
		if (at == s->size)
			break;
		if (sig == ZIP_SIG_LOCAL) {
			take_local(s, &at);
			continue;
		}
		err_clear(&ignored);
		if (sig == ZIP_SIG_DESCRIPTOR)
			take_descriptor(s, at);
		else if (zip_central(s->src, at, &t, &s->name, &next, &ignored) == 0 && belongs(s, t.name))
			end_record(s, at);
		at += 4;
	}
	end_record(s, s->size);
	return 0;
}

int
zip_scan(struct zip_dir *d, struct source *src, struct err *err)
{
	struct scan s = { .d = d, .src = src, .name = BUF_INIT };
	int rc;

	begin(d);
	rc = source_size(src, &s.size, err);
	if (rc == 0)
		rc = scan(&s, err);
	if (rc == 0 && d->n == 0)
		rc = err_input(err, source_name(src), "no record of a zip is left in it");
	buf_release(&s.name);
	return rc;
}
