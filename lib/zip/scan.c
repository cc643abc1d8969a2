#include "zip/scan.h"

#include <string.h>

#include "base/cursor.h"

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
next_sign(const struct scan *s, uint64_t *at, uint32_t *sig, struct err *e)
{
	const struct str begin = STR_LIT("PK");
	const uint8_t *p, *end, *found;
	size_t got;
	long hit;

	for (; *at < s->size; *at += WINDOW - *at % WINDOW) {
		if (source_look(s->src, *at - *at % WINDOW, SOURCE_LOOK_MAX, &p, &got, e) < 0)
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
		zip_dir_add(s->d, &s->maybe, &s->cap);
		return;
	}
	s->t.packed = end - s->t.data;
	if (s->t.method == ZIP_STORED)
		s->t.size = s->t.packed;
	s->t.crc = 0;
	zip_dir_add(s->d, &s->t, &s->cap);
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
		zip_dir_add(s->d, &s->t, &s->cap);
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
scan(struct scan *s, struct err *e)
{
	struct err ignored = ERR_INIT;
	struct zip_entry t;
	uint64_t at = 0, next;
	uint32_t sig = 0;

	for (;;) {
		if (next_sign(s, &at, &sig, e) < 0)
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
zip_scan(struct zip_dir *d, struct source *src, struct err *e)
{
	struct scan s = { .d = d, .src = src, .name = BUF_INIT };
	int rc;

	memset(d, 0, sizeof(*d));
	arena_init(&d->arena);
	strmap_init(&d->by_name);
	rc = source_size(src, &s.size, e);
	if (rc == 0)
		rc = scan(&s, e);
	if (rc == 0 && d->n == 0)
		rc = err_input(e, source_name(src), "no record of a zip is left in it");
	buf_release(&s.name);
	return rc;
}
