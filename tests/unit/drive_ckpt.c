/*
 * For the tests against real PyTorch: prints everything in a checkpoint, or copies it with the torch writer.
 *
 *	drive_ckpt dump [-k KEY] [FILE]   a line for each entry of the state dict, each followed by its bytes
 *	drive_ckpt copy [FILE] >OUT       writes the whole object with unchanged contents
 *
 * Without FILE it reads standard input. Warnings go to standard error.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/xalloc.h"
#include "format/format.h"

static void
say(void *arg, enum diag_level level, const char *msg)
{
	(void)arg;
	fprintf(stderr, "%s: %s\n", level == DIAG_WARNING ? "warning" : "note", msg);
}

static const struct diag diag = { say, NULL };

/* ---- contents */

static uint8_t **contents; /* by storage */

static int
read_storage(struct ckpt *c, uint32_t i, struct err *err)
{
	uint64_t n = c->storages[i].nbytes, at, part;

	contents[i] = xmalloc((size_t)n);
	for (at = 0; at < n; at += part) {
		part = n - at < 100000 ? n - at : 100000;
		if (ckpt_read(c, i, at, contents[i] + at, (size_t)part, err) < 0)
			return -1;
	}
	return ckpt_done(c, i, err);
}

static void
swap(uint8_t *p, size_t n, enum dtype dtype)
{
	bool complex = dtype_info(dtype)->class == DTYPE_CLASS_COMPLEX;
	size_t width = dtype_size(dtype) / (complex ? 2 : 1), i, k;

	for (i = 0; width > 1 && i + width <= n; i += width) {
		for (k = 0; k < width / 2; k++) {
			uint8_t b = p[i + k];

			p[i + k] = p[i + width - 1 - k];
			p[i + width - 1 - k] = b;
		}
	}
}

/* The elements of t in row-major order, little-endian. */
static void
gather(const struct ckpt *c, const struct tensor *t, struct buf *out)
{
	uint64_t index[TENSOR_NDIM_MAX] = { 0 }, n = tensor_count(t), at;
	size_t size = dtype_size((enum dtype)t->dtype);
	unsigned d;

	buf_clear(out);
	for (uint64_t i = 0; i < n; i++) {
		at = t->offset;
		for (d = 0; d < t->ndim; d++)
			at += index[d] * t->stride[d];
		buf_add(out, contents[t->storage] + at * size, size);
		for (d = t->ndim; d-- > 0 && ++index[d] == t->shape[d];)
			index[d] = 0;
	}
	if (c->storages[t->storage].flags & STORAGE_BIG_ENDIAN)
		swap((uint8_t *)out->p, out->len, (enum dtype)t->dtype);
}

static void
put_entry(const struct statedict *sd, const struct sd_entry *en)
{
	static const char *const kinds[] = { "tensor", "composite", "other" };
	const struct tensor *t = en->kind == SD_TENSOR ? sd_tensor(sd, en) : NULL;
	struct buf shape = BUF_INIT, bytes = BUF_INIT;

	printf("%s\t", kinds[en->kind]);
	for (size_t i = 0; i < en->name.len; i++)
		printf("%02x", (unsigned char)en->name.p[i]);
	if (t != NULL) {
		shape_put(&shape, t->shape, t->ndim);
		gather(sd->ckpt, t, &bytes);
		printf("\t%s\t%s\t%u\t%zu\n", dtype_name((enum dtype)t->dtype), shape.p, t->flags, bytes.len);
		if (bytes.len > 0)
			fwrite(bytes.p, 1, bytes.len, stdout);
	}
	putchar('\n');
	buf_release(&shape);
	buf_release(&bytes);
}

static int
dump(struct ckpt *c, const char *key, struct err *err)
{
	struct statedict sd;

	contents = xcalloc(c->nstorages, sizeof(*contents));
	for (uint32_t i = 0; i < c->nstorages; i++) {
		if (read_storage(c, i, err) < 0)
			return -1;
	}
	if (ckpt_finish(c, err) < 0 || statedict_open(&sd, c, key, err) < 0)
		return -1;
	printf("format\t%s\t%u\t%u\t%s\n", c->ops->name, c->ntensors, c->nstorages, c->writer ? c->writer : "");
	for (size_t i = 0; i < sd.n; i++)
		put_entry(&sd, &sd.entries[i]);
	statedict_release(&sd);
	return 0;
}

/* ---- copying */

static int
copy_storage(struct ckpt *c, uint32_t i, struct sink *out, uint32_t *crc, struct err *err)
{
	struct source *src;
	uint64_t offset, at, part, n = c->storages[i].nbytes;
	uint8_t piece[8192];
	uint32_t stated;
	bool known;

	*crc = 0;
	if (ckpt_locate(c, i, err) < 0)
		return -1;
	src = ckpt_range(c, i, &offset);
	if (src != NULL && sink_copy(out, src, offset, n, crc, err) < 0)
		return -1;
	for (at = 0; src == NULL && at < n; at += part) {
		struct source *piece_src;

		part = n - at < sizeof(piece) ? n - at : sizeof(piece);
		if (ckpt_read(c, i, at, piece, (size_t)part, err) < 0)
			return -1;
		piece_src = source_memory(piece, (size_t)part, "piece");
		if (sink_copy(out, piece_src, 0, part, crc, err) < 0)
			return -1;
		source_close(piece_src);
	}
	if (ckpt_crc(c, i, &stated, &known, err) < 0)
		return -1;
	if (known && stated != *crc)
		fprintf(stderr, "warning: the stated CRC of storage %u is wrong\n", i);
	return ckpt_done(c, i, err);
}

static int
copy(struct ckpt *c, struct err *err)
{
	struct manifest m = {
		.tensors = c->tensors, .ntensors = c->ntensors, .nstorages = c->nstorages, .tree = c->tree, .root = c->root
	};
	struct writer w = { .priv = NULL };
	struct sink *out;
	uint32_t crc;
	int rc;

	if (sink_fd(&out, 1, "(standard output)", err) < 0)
		return -1;
	m.storages = xcalloc(c->nstorages, sizeof(*m.storages));
	for (uint32_t i = 0; i < c->nstorages; i++)
		m.storages[i] = (struct manifest_storage){ c->storages[i].nbytes, c->storages[i].dtype, c->storages[i].untyped };
	rc = writer_begin(&w, format_writer("torch"), &m, out, err);
	for (uint32_t i = 0; rc == 0 && i < c->nstorages; i++) {
		if (writer_storage(&w, i, err) < 0 || copy_storage(c, i, out, &crc, err) < 0 || writer_stored(&w, i, crc, err) < 0)
			rc = -1;
	}
	if (rc == 0)
		rc = ckpt_finish(c, err);
	if (rc == 0)
		rc = writer_finish(&w, err);
	writer_release(&w);
	free(m.storages);
	if (rc < 0)
		sink_abort(out);
	return rc < 0 ? -1 : sink_commit(out, err);
}

int
main(int argc, char **argv)
{
	struct source_opts so = { .diag = &diag };
	struct format_opts fo = { .diag = &diag, .source = &so };
	struct source *src = NULL;
	struct ckpt *c = NULL;
	struct err err = ERR_INIT;
	const char *key = NULL;
	int at = 2, rc;

	if (argc > at + 1 && strcmp(argv[at], "-k") == 0) {
		key = argv[at + 1];
		at += 2;
	}
	rc = at < argc ? source_open(&src, argv[at], &so, &err) : source_fd(&src, dup(0), "(standard input)", &so, &err);
	if (rc == 0)
		rc = format_open(&c, src, &fo, &err);
	if (rc == 0)
		rc = strcmp(argv[1], "copy") == 0 ? copy(c, &err) : dump(c, key, &err);
	if (rc < 0)
		fprintf(stderr, "error: %s\n", err.msg);
	for (uint32_t i = 0; c != NULL && contents != NULL && i < c->nstorages; i++)
		free(contents[i]);
	free(contents);
	ckpt_close(c);
	source_close(src);
	return rc < 0 ? 2 : 0;
}
