#include "zip/write.h"

#include <stdlib.h>

#include "base/cursor.h"
#include "base/num.h"
#include "base/xalloc.h"
#include "zip/forward.h"

/* Sizes and offsets from this value on need a zip64 block. The value itself is the marker for it. */
#define WIDE UINT32_MAX

static bool
size_wide(uint64_t size)
{
	return size >= WIDE && size != ZIP_SIZE_LATER;
}

/* Returns the length of the contents of the zip64 block, in local header and directory alike; 0 if there is no block. */
static unsigned
zip64_len(uint64_t header, uint64_t size)
{
	return (size_wide(size) ? 16u : 0u) + (header >= WIDE ? 8u : 0u);
}

static uint64_t
zip64_extra(uint64_t header, uint64_t size)
{
	unsigned len = zip64_len(header, size);

	return len > 0 ? 4 + len : 0;
}

/* Returns the length of header, name, zip64 block and the four bytes that begin the FB block, which precede the padding. */
static uint64_t
unpadded(uint64_t header, size_t name_len, uint64_t size)
{
	return ZIP_LOCAL + name_len + zip64_extra(header, size) + 4;
}

/* Returns the number of bytes from the header to the contents, which are aligned. */
static uint64_t
before(uint64_t header, size_t name_len, uint64_t size)
{
	return num_align(header + unpadded(header, name_len, size), ZIP_ALIGN) - header;
}

uint64_t
zip_record_size(uint64_t header, size_t name_len, uint64_t size)
{
	const uint64_t descriptor = size == 0 ? 0 : zip64_len(header, size) > 0 ? 24 : 16;

	return before(header, name_len, size) + size + descriptor;
}

void
zip_writer_release(struct zip_writer *z)
{
	free(z->written);
	z->written = NULL;
	z->n = z->cap = 0;
}

static uint16_t
flags_of(uint64_t size)
{
	return size == 0 ? ZIP_FLAG_UTF8 : ZIP_FLAG_UTF8 | ZIP_FLAG_DESCRIPTOR;
}

/* Appends numbers whose widths in bytes are the digits of widths. */
static void
pack(struct buf *b, const char *widths, const uint64_t *v)
{
	uint8_t raw[8];

	for (; *widths != '\0'; widths++, v++) {
		put_le64(raw, *v);
		buf_add(b, raw, (size_t)(*widths - '0'));
	}
}

/* Appends the zip64 block. In a local header the packed size is 0, because torch does not know it yet. */
static void
put_zip64(struct buf *b, uint64_t header, uint64_t size, bool local)
{
	unsigned len = zip64_len(header, size);

	if (len == 0)
		return;
	pack(b, "22", (uint64_t[]){ 1, len });
	if (size_wide(size))
		pack(b, "88", (uint64_t[]){ size, local ? 0 : size });
	if (header >= WIDE)
		pack(b, "8", &header);
}

int
zip_record_begin(struct zip_writer *z, struct str name, uint64_t size, struct err *err)
{
	struct buf b = BUF_INIT;
	uint64_t header = zip_writer_at(z);
	size_t pad = (size_t)(before(header, name.len, size) - unpadded(header, name.len, size));
	int rc;

	z->written = xgrow(z->written, z->n, &z->cap, sizeof(*z->written));
	z->written[z->n] = (struct zip_written){ header, size, 0 };
	pack(&b, "422", (uint64_t[]){ ZIP_SIG_LOCAL, 0 /* version needed */, flags_of(size) });
	buf_fill(&b, 0, 2 + 4 + 12); /* method, time and date, CRC and sizes; the descriptor has the real ones */
	pack(&b, "22", (uint64_t[]){ name.len, zip64_extra(header, size) + 4 + pad });
	buf_addstr(&b, name);
	put_zip64(&b, header, size, true);
	buf_add(&b, "FB", 2);
	pack(&b, "2", (uint64_t[]){ pad });
	buf_fill(&b, 'Z', pad);
	rc = sink_write(z->out, b.p, b.len, err);
	buf_release(&b);
	z->data = zip_writer_at(z);
	return rc;
}

int
zip_record_end(struct zip_writer *z, uint32_t crc, struct err *err)
{
	struct zip_written *w = &z->written[z->n];
	uint64_t size = zip_writer_at(z) - z->data;
	struct buf d = BUF_INIT;
	int rc;

	if (w->size == ZIP_SIZE_LATER ? size == 0 || size >= WIDE : size != w->size)
		return err_set(err, ERR_INPUT, "%s: a record came out with %llu bytes", sink_name(z->out),
			       (unsigned long long)size);
	w->size = size;
	w->crc = crc;
	z->n++;
	if (size == 0)
		return 0;
	pack(&d, zip64_len(w->header, size) > 0 ? "4488" : "4444", (uint64_t[]){ ZIP_SIG_DESCRIPTOR, crc, size, size });
	rc = sink_write(z->out, d.p, d.len, err);
	buf_release(&d);
	return rc;
}

static uint64_t
saturated(uint64_t v)
{
	return v >= WIDE ? WIDE : v;
}

static void
put_central(struct buf *b, const struct zip_written *w, struct str name)
{
	uint64_t size = saturated(w->size);

	pack(b, "4222", (uint64_t[]){ ZIP_SIG_CENTRAL, 0 /* made by */, 0 /* version needed */, flags_of(w->size) });
	buf_fill(b, 0, 2 + 4); /* method, time and date */
	pack(b, "44422", (uint64_t[]){ w->crc, size, size, name.len, zip64_extra(w->header, w->size) });
	buf_fill(b, 0, 2 + 2 + 2 + 4); /* comment, disk, attributes */
	pack(b, "4", (uint64_t[]){ saturated(w->header) });
	buf_addstr(b, name);
	put_zip64(b, w->header, w->size, false);
}

static void
put_tail(struct buf *b, uint64_t n, uint64_t start, uint64_t size)
{
	uint64_t few = n >= UINT16_MAX ? UINT16_MAX : n;

	/* version made by (Unix, 3.0), version needed, disks */
	pack(b, "482288888", (uint64_t[]){ ZIP_SIG_END64, ZIP_END64 - 12, 0x031e, 45, 0, n, n, size, start });
	pack(b, "4484", (uint64_t[]){ ZIP_SIG_LOCATOR, 0, start + size, 1 });
	/* disks; comment */
	pack(b, "4422442", (uint64_t[]){ ZIP_SIG_END, 0, few, few, saturated(size), saturated(start), 0 });
}

int
zip_directory(struct zip_writer *z, zip_namer *namer, void *arg, struct err *err)
{
	struct buf b = BUF_INIT, name = BUF_INIT;
	uint64_t start = zip_writer_at(z);
	size_t i;
	int rc = 0;

	for (i = 0; i < z->n && rc == 0; i++) {
		buf_clear(&name);
		namer(arg, i, &name);
		put_central(&b, &z->written[i], buf_str(&name));
		if (b.len >= 64 * 1024) {
			rc = sink_write(z->out, b.p, b.len, err);
			buf_clear(&b);
		}
	}
	if (rc == 0) {
		put_tail(&b, z->n, start, zip_writer_at(z) + b.len - start);
		rc = sink_write(z->out, b.p, b.len, err);
	}
	buf_release(&b);
	buf_release(&name);
	return rc;
}
