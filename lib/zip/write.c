#include "zip/write.h"

#include <stdlib.h>
#include <string.h>

#include "base/cursor.h"
#include "base/num.h"
#include "base/xalloc.h"
#include "zip/forward.h"

/* From here on a size or offset needs a zip64 block (so exactly 0xffffffff already does). */
#define WIDE UINT32_MAX

static bool
size_wide(uint64_t size)
{
	return size >= WIDE && size != ZIP_SIZE_LATER;
}

/* Contents of the zip64 block, in a local header as in the directory; 0: none. */
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

/* Up to the padding: header, name, zip64 block, head of the FB block. */
static uint64_t
unpadded(uint64_t header, size_t name_len, uint64_t size)
{
	return ZIP_LOCAL + name_len + zip64_extra(header, size) + 4;
}

uint64_t
zip_before(uint64_t header, size_t name_len, uint64_t size)
{
	return num_align(header + unpadded(header, name_len, size), ZIP_ALIGN) - header;
}

uint64_t
zip_behind(uint64_t header, uint64_t size)
{
	if (size == 0)
		return 0;
	return zip64_len(header, size) > 0 ? 24 : 16;
}

void
zip_writer_init(struct zip_writer *z, struct sink *out)
{
	*z = (struct zip_writer){ .out = out, .base = sink_at(out) };
}

void
zip_writer_release(struct zip_writer *z)
{
	free(z->written);
	z->written = NULL;
	z->n = z->cap = 0;
}

uint64_t
zip_writer_at(const struct zip_writer *z)
{
	return sink_at(z->out) - z->base;
}

static uint16_t
flags_of(uint64_t size)
{
	return size == 0 ? ZIP_FLAG_UTF8 : ZIP_FLAG_UTF8 | ZIP_FLAG_DESCRIPTOR;
}

/* The zip64 block. In a local header the packed size is 0, as torch does not know it yet. */
static void
put_zip64(struct buf *b, uint64_t header, uint64_t size, bool local)
{
	unsigned len = zip64_len(header, size);

	if (len == 0)
		return;
	buf_le16(b, 1);
	buf_le16(b, (uint16_t)len);
	if (size_wide(size)) {
		buf_le64(b, size);
		buf_le64(b, local ? 0 : size);
	}
	if (header >= WIDE)
		buf_le64(b, header);
}

int
zip_record_begin(struct zip_writer *z, struct str name, uint64_t size, struct err *e)
{
	struct buf b = BUF_INIT;
	uint64_t header = zip_writer_at(z);
	size_t pad = (size_t)(zip_before(header, name.len, size) - unpadded(header, name.len, size));
	int r;

	z->written = xgrow(z->written, z->n, &z->cap, sizeof(*z->written));
	z->written[z->n] = (struct zip_written){ header, size, 0 };
	buf_le32(&b, ZIP_SIG_LOCAL);
	buf_le16(&b, 0); /* version needed */
	buf_le16(&b, flags_of(size));
	buf_fill(&b, 0, 2 + 4 + 12); /* method, time and date, CRC and sizes: those are in the descriptor */
	buf_le16(&b, (uint16_t)name.len);
	buf_le16(&b, (uint16_t)(zip64_extra(header, size) + 4 + pad));
	buf_addstr(&b, name);
	put_zip64(&b, header, size, true);
	buf_add(&b, "FB", 2);
	buf_le16(&b, (uint16_t)pad);
	buf_fill(&b, 'Z', pad);
	r = sink_write(z->out, b.p, b.len, e);
	buf_release(&b);
	z->data = zip_writer_at(z);
	return r;
}

int
zip_record_end(struct zip_writer *z, uint32_t crc, struct err *e)
{
	struct zip_written *w = &z->written[z->n];
	uint64_t size = zip_writer_at(z) - z->data;
	uint8_t d[24];
	bool wide;

	if (w->size == ZIP_SIZE_LATER ? size == 0 || size >= WIDE : size != w->size)
		return err_set(e, ERR_INPUT, "%s: a record came out with %llu bytes", sink_name(z->out),
			(unsigned long long)size);
	w->size = size;
	w->crc = crc;
	z->n++;
	if (size == 0)
		return 0;
	wide = zip64_len(w->header, size) > 0;
	put_le32(d, ZIP_SIG_DESCRIPTOR);
	put_le32(d + 4, crc);
	if (wide) {
		put_le64(d + 8, size);
		put_le64(d + 16, size);
	} else {
		put_le32(d + 8, (uint32_t)size);
		put_le32(d + 12, (uint32_t)size);
	}
	return sink_write(z->out, d, wide ? 24 : 16, e);
}

static void
put_saturated(struct buf *b, uint64_t v)
{
	buf_le32(b, v >= WIDE ? WIDE : (uint32_t)v);
}

static void
put_central(struct buf *b, const struct zip_written *w, struct str name)
{
	buf_le32(b, ZIP_SIG_CENTRAL);
	buf_le16(b, 0); /* made by */
	buf_le16(b, 0); /* version needed */
	buf_le16(b, flags_of(w->size));
	buf_fill(b, 0, 2 + 4); /* method, time and date */
	buf_le32(b, w->crc);
	put_saturated(b, w->size);
	put_saturated(b, w->size);
	buf_le16(b, (uint16_t)name.len);
	buf_le16(b, (uint16_t)zip64_extra(w->header, w->size));
	buf_fill(b, 0, 2 + 2 + 2 + 4); /* comment, disk, attributes */
	put_saturated(b, w->header);
	buf_addstr(b, name);
	put_zip64(b, w->header, w->size, false);
}

static void
put_tail(struct buf *b, uint64_t n, uint64_t start, uint64_t size)
{
	uint16_t few = n >= UINT16_MAX ? UINT16_MAX : (uint16_t)n;

	buf_le32(b, ZIP_SIG_END64);
	buf_le64(b, ZIP_END64 - 12);
	buf_le16(b, 0x031e); /* made by: Unix, 3.0 */
	buf_le16(b, 45);
	buf_le64(b, 0); /* disks */
	buf_le64(b, n);
	buf_le64(b, n);
	buf_le64(b, size);
	buf_le64(b, start);
	buf_le32(b, ZIP_SIG_LOCATOR);
	buf_le32(b, 0);
	buf_le64(b, start + size);
	buf_le32(b, 1);
	buf_le32(b, ZIP_SIG_END);
	buf_le32(b, 0); /* disks */
	buf_le16(b, few);
	buf_le16(b, few);
	put_saturated(b, size);
	put_saturated(b, start);
	buf_le16(b, 0); /* comment */
}

int
zip_directory(struct zip_writer *z, zip_namer *namer, void *arg, struct err *e)
{
	struct buf b = BUF_INIT, name = BUF_INIT;
	uint64_t start = zip_writer_at(z);
	size_t i;
	int r = 0;

	for (i = 0; i < z->n && r == 0; i++) {
		buf_clear(&name);
		namer(arg, i, &name);
		put_central(&b, &z->written[i], buf_str(&name));
		if (b.len >= 64 * 1024) {
			r = sink_write(z->out, b.p, b.len, e);
			buf_clear(&b);
		}
	}
	if (r == 0) {
		put_tail(&b, z->n, start, zip_writer_at(z) + b.len - start);
		r = sink_write(z->out, b.p, b.len, e);
	}
	buf_release(&b);
	buf_release(&name);
	return r;
}
