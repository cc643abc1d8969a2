#include "zip/inflate.h"

#include <inttypes.h>
#include <stdlib.h>
#include <zlib.h>

#include "base/limits.h"
#include "base/xalloc.h"

enum { INPUT = 64 * 1024 };

struct zip_inflate {
	struct source *src;
	struct str name;
	uint64_t off, left; /* packed bytes not yet read */
	uint64_t at, size;  /* unpacked bytes delivered, and their total */
	z_stream z;
	bool ended;
	uint8_t in[INPUT];
};

static void *
z_alloc(void *opaque, unsigned n, unsigned size)
{
	(void)opaque;
	return xcalloc(n, size);
}

static void
z_free(void *opaque, void *p)
{
	(void)opaque;
	free(p);
}

static void
begin(z_stream *z)
{
	*z = (z_stream){ .zalloc = z_alloc, .zfree = z_free };
	(void)inflateInit2(z, -15); /* can only fail for lack of memory, and z_alloc never returns NULL */
}

struct zip_inflate *
zip_inflate_new(struct source *src, uint64_t off, uint64_t packed, uint64_t size, struct str name)
{
	struct zip_inflate *z = xmalloc(sizeof(*z));

	*z = (struct zip_inflate){ .src = src, .name = name, .off = off, .left = packed, .size = size };
	begin(&z->z);
	return z;
}

void
zip_inflate_free(struct zip_inflate *z)
{
	if (z == NULL)
		return;
	inflateEnd(&z->z);
	free(z);
}

static int
bad(const struct zip_inflate *z, const char *what, struct err *err)
{
	return err_at(err, source_name(z->src), z->off - z->z.avail_in, "record '%.*s': %s", STR_ARG(z->name), what);
}

/* Inflates until the output buffer is full or the packed stream ends. */
static int
run(struct zip_inflate *z, struct err *err)
{
	size_t n;
	int r;

	while (!z->ended && z->z.avail_out > 0) {
		if (z->z.avail_in == 0 && z->left > 0) {
			n = z->left < INPUT ? (size_t)z->left : INPUT;
			if (source_read(z->src, z->off, z->in, n, err) < 0)
				return -1;
			z->off += n;
			z->left -= n;
			z->z.next_in = z->in;
			z->z.avail_in = (unsigned)n;
		}
		r = inflate(&z->z, Z_NO_FLUSH);
		if (r == Z_STREAM_END)
			z->ended = true;
		else if (r == Z_BUF_ERROR && z->left == 0 && z->z.avail_in == 0)
			return bad(z, "its deflated data ends too early", err);
		else if (r != Z_OK && r != Z_BUF_ERROR)
			return bad(z, "its deflated data is damaged", err);
	}
	return 0;
}

/* Called after the last byte: checks that the packed stream ends here, too. */
static int
check_end(struct zip_inflate *z, struct err *err)
{
	uint8_t more;

	z->z.next_out = &more;
	z->z.avail_out = 1;
	if (run(z, err) < 0)
		return -1;
	if (z->z.avail_out == 0)
		return bad(z, "it unpacks to more bytes than the zip states", err);
	if (z->left > 0 || z->z.avail_in > 0)
		return bad(z, "its deflated data ends before its record", err);
	return 0;
}

int
zip_inflate_read(struct zip_inflate *z, void *p, size_t n, struct err *err)
{
	uint8_t *to = p;
	size_t part;

	if (n > z->size - z->at)
		return bad(z, "a read beyond its end", err);
	while (n > 0) {
		part = n < (1u << 30) ? n : (1u << 30);
		z->z.next_out = to;
		z->z.avail_out = (unsigned)part;
		if (run(z, err) < 0)
			return -1;
		if (z->z.avail_out > 0)
			return bad(z, "it unpacks to fewer bytes than the zip states", err);
		to += part;
		n -= part;
		z->at += part;
	}
	return z->at == z->size ? check_end(z, err) : 0;
}

int
zip_check_unpacked(const struct source *src, const struct zip_entry *t, struct err *err)
{
	if (t->size > UNPACK_FREE && t->size / UNPACK_RATIO > t->packed)
		return err_at(err, source_name(src), t->data,
			      "record '%.*s' would unpack to %" PRIu64 " bytes, more than %d times its size", STR_ARG(t->name),
			      t->size, UNPACK_RATIO);
	return 0;
}

void
zip_unpacker_init(struct zip_unpacker *u, struct source *src)
{
	*u = (struct zip_unpacker){ .src = src };
	pthread_mutex_init(&u->lock, NULL);
}

void
zip_unpacker_release(struct zip_unpacker *u)
{
	zip_inflate_free(u->inflate);
	pthread_mutex_destroy(&u->lock);
}

static int
read_deflated(struct zip_unpacker *u, const struct zip_entry *t, uint64_t off, void *p, size_t n, struct err *err)
{
	uint8_t skipped[4096];
	size_t part;

	if (u->inflate == NULL || u->data != t->data || u->inflate->at > off) {
		zip_inflate_free(u->inflate);
		u->inflate = zip_inflate_new(u->src, t->data, t->packed, t->size, t->name);
		u->data = t->data;
	}
	while (u->inflate->at < off) {
		uint64_t left = off - u->inflate->at;

		part = left < sizeof(skipped) ? (size_t)left : sizeof(skipped);
		if (zip_inflate_read(u->inflate, skipped, part, err) < 0)
			return -1;
	}
	return zip_inflate_read(u->inflate, p, n, err);
}

int
zip_unpacker_read(struct zip_unpacker *u, const struct zip_entry *t, uint64_t off, void *p, size_t n, struct err *err)
{
	int rc;

	if (t->method == ZIP_STORED)
		return source_read(u->src, t->data + off, p, n, err);
	pthread_mutex_lock(&u->lock);
	rc = read_deflated(u, t, off, p, n, err);
	pthread_mutex_unlock(&u->lock);
	return rc;
}

/* Inflates the next piece of input. Returns 1 at the end of the packed stream. */
static int
unpack_piece(struct source *src, const struct zip_entry *t, z_stream *z, struct buf *out, struct err *err)
{
	const uint8_t *p;
	size_t got;
	int rc = Z_OK;

	if (source_look(src, t->data + z->total_in, SOURCE_LOOK_MAX, &p, &got, err) < 0)
		return -1;
	z->next_in = (Bytef *)(uintptr_t)p;
	z->avail_in = (uInt)got;
	do {
		z->next_out = (Bytef *)buf_reserve(out, INPUT);
		z->avail_out = INPUT;
		rc = inflate(z, Z_NO_FLUSH);
		out->len += INPUT - z->avail_out;
		if (out->len > UNPACK_FREE && out->len / UNPACK_RATIO > z->total_in)
			return err_at(err, source_name(src), t->data, "record '%.*s' would unpack to more than %d times its size",
				      STR_ARG(t->name), UNPACK_RATIO);
	} while (rc == Z_OK && z->avail_out == 0);
	if (rc == Z_STREAM_END)
		return 1;
	if (got == 0 || (rc != Z_OK && rc != Z_BUF_ERROR))
		return err_at(err, source_name(src), t->data + z->total_in, "record '%.*s': its deflated data %s", STR_ARG(t->name),
			      got == 0 ? "ends too early" : "is damaged");
	return 0;
}

int
zip_unpack(struct source *src, const struct zip_entry *t, struct buf *out, uint64_t *packed, struct err *err)
{
	z_stream z;
	int rc;

	begin(&z);
	while ((rc = unpack_piece(src, t, &z, out, err)) == 0)
		;
	*packed = z.total_in;
	inflateEnd(&z);
	return rc < 0 ? -1 : 0;
}
