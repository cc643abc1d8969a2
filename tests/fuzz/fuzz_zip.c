/*
 * Zip archives. Read through the directory, entries are inside the input and do not overlap, and contents unpack to the stated size
 * or are refused. Read forward, headers are read to their end or refused, for any bytes.
 */
#include "fuzz.h"

#include "base/num.h"
#include "zip/directory.h"
#include "zip/inflate.h"

static void
contents(struct source *src, const struct zip_entry *en)
{
	struct zip_inflate *z;
	struct err err = ERR_INIT;
	char piece[4096];
	uint64_t left = en->size;
	int rc = 0;

	promise(en->method == ZIP_STORED || en->method == ZIP_DEFLATED, "an entry is stored or deflated");
	if (en->method == ZIP_STORED) {
		promise(en->packed == en->size, "a stored entry has one size");
		return;
	}
	z = zip_inflate_new(src, en->data, en->packed, en->size, en->name);
	while (rc == 0 && left > 0 && en->size - left < FUZZ_CONTENTS) {
		size_t n = left < sizeof(piece) ? (size_t)left : sizeof(piece);

		rc = zip_inflate_read(z, piece, n, &err);
		left -= n;
		fuzz_judge(rc, &err);
	}
	zip_inflate_free(z);
}

static int
by_place(const void *a, const void *b)
{
	const struct zip_entry *x = a, *y = b;

	return (x->header > y->header) - (x->header < y->header);
}

static void
directory(struct source *src, size_t size)
{
	struct zip_dir d;
	struct err err = ERR_INIT;
	int rc = zip_open(&d, src, ZIP_COMPARED, NULL, &err);
	uint64_t end = 0;

	fuzz_judge(rc, &err);
	if (rc == 0) {
		promise(d.start <= d.end && d.end <= size, "the directory is inside the input");
		for (size_t i = 0; i < d.n; i++)
			promise(zip_find(&d, d.entries[i].name) == &d.entries[i], "an entry is found by its name");
		for (size_t i = 0; i < d.n; i++)
			contents(src, &d.entries[i]);
		if (d.n > 0)
			qsort(d.entries, d.n, sizeof(*d.entries), by_place);
		for (size_t i = 0; i < d.n; i++) {
			promise(d.entries[i].header >= end && d.entries[i].data >= d.entries[i].header + ZIP_LOCAL, "no overlap");
			end = d.entries[i].data + d.entries[i].packed;
			promise(end >= d.entries[i].data && end <= d.start, "entries are before the directory");
		}
	}
	zip_release(&d);
}

/* In any damaged zip, the scan finds records with different names inside the input. */
static void
damaged(struct source *src, size_t size)
{
	struct zip_dir d;
	struct err err = ERR_INIT;

	fuzz_judge(zip_open(&d, src, ZIP_DAMAGED, NULL, &err), &err);
	zip_release(&d);
	err_clear(&err);
	fuzz_judge(zip_scan(&d, src, &err), &err);
	for (size_t i = 0; i < d.n; i++) {
		promise(zip_find(&d, d.entries[i].name) == &d.entries[i], "an entry is found by its name");
		promise(d.entries[i].data <= size && d.entries[i].packed <= size - d.entries[i].data,
			"a record is inside the input");
	}
	zip_release(&d);
}

static void
forward(struct source *src)
{
	struct zip_local l;
	struct zip_descriptor d;
	struct zip_entry en;
	struct buf name = BUF_INIT;
	struct err err = ERR_INIT;
	enum zip_sign sign = ZIP_SIGN_OTHER;
	uint64_t at = 0, n = 0, start;

	while (zip_sign(src, at, &sign, &err) == 0 && sign == ZIP_SIGN_LOCAL && zip_local(src, at, &l, &name, &err) == 0) {
		promise(l.entry.data >= at + ZIP_LOCAL, "a header has at least its fixed length");
		at = l.entry.data;
		if (!num_add(at, l.entry.packed, &at))
			break;
		if ((l.entry.flags & ZIP_FLAG_DESCRIPTOR) != 0 && zip_descriptor(src, at, l.wide, &d, &err) == 0)
			at = d.end;
		err_clear(&err);
	}
	for (start = at; sign == ZIP_SIGN_CENTRAL && zip_central(src, at, &en, &name, &at, &err) == 0; n++) {
		if (zip_sign(src, at, &sign, &err) < 0)
			break;
	}
	if (err.code == ERR_NONE && n > 0)
		fuzz_judge(zip_tail(src, at, start, n, NULL, &err), &err);
	buf_release(&name);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct source *src;

	src = source_memory(data, size, "zip");
	directory(src, size);
	damaged(src, size);
	forward(src);
	source_close(src);
	if (size <= FUZZ_PIPE) {
		src = fuzz_pipe(data, size);
		forward(src);
		source_close(src);
	}
	return 0;
}
