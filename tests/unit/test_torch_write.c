/*
 * The torch writer: its pickle opcode by opcode (lib/format/README.md, section 3), its records and its refusals. A failure never
 * leaves a zip with a directory. The output is then read again, from memory and through a pipe that gives few bytes at a time.
 */
#include "format/format.h"

#include <pthread.h>
#include <unistd.h>
#include <zlib.h>

#include "base/cursor.h"
#include "base/xalloc.h"
#include "zip/directory.h"
#include "tap.h"

static struct err e;
static struct vtree *t;
static struct manifest m;
static struct manifest_storage storages[3];
static struct tensor tensors[4];
static const uint64_t shape2[] = { 2 }, one[] = { 1 };
static struct buf out;

static void
fresh(void)
{
	vtree_free(t);
	t = vtree_new();
	memset(storages, 0, sizeof(storages));
	for (size_t i = 0; i < 4; i++)
		tensors[i] =
			(struct tensor){ .dtype = DTYPE_FLOAT32, .ndim = 1, .shape = shape2, .stride = one, .wrap = VALUE_ABSENT };
	storages[0] = (struct manifest_storage){ 8, DTYPE_FLOAT32, 0 };
	m = (struct manifest){ .storages = storages, .nstorages = 1, .tensors = tensors, .ntensors = 1, .tree = t };
	m.root = value_new_seq(t, VALUE_DICT);
	value_set(t, m.root, value_new_text(t, VALUE_STR, str_c("w")), value_new_leaf(t, LEAF_TENSOR, 0));
}

/* Writes the manifest. Every storage is filled with its number. Stops before storage stop. */
static int
write_all(uint32_t stop)
{
	const struct format_writer *f = format_writer("torch");
	struct sink *sink;
	struct writer w = { .priv = NULL };
	char bytes[64];
	int r;

	buf_clear(&out);
	err_clear(&e);
	sink = sink_memory(&out, "out.pth");
	r = f->check(&m, &e) < 0 ? -1 : writer_begin(&w, f, &m, sink, &e);
	for (uint32_t i = 0; r == 0 && i < m.nstorages && i < stop; i++) {
		size_t n = (size_t)m.storages[i].nbytes;

		memset(bytes, (int)i + 1, sizeof(bytes));
		if (writer_storage(&w, i, &e) < 0 || sink_write(sink, bytes, n, &e) < 0 ||
		    writer_stored(&w, i, (uint32_t)crc32(0, (const Bytef *)bytes, (uInt)n), &e) < 0)
			r = -1;
	}
	if (r == 0 && stop >= m.nstorages)
		r = writer_finish(&w, &e);
	if (w.format != NULL)
		writer_release(&w);
	if (r < 0 || stop < m.nstorages) {
		sink_abort(sink);
		return -1;
	}
	return sink_commit(sink, &e);
}

static const char *
record(const char *name, size_t *len)
{
	struct source *src = source_memory(out.p, out.len, "out.pth");
	const struct zip_entry *found;
	struct zip_dir d;
	const char *p = NULL;

	*len = 0;
	if (zip_open(&d, src, ZIP_COMPARED, NULL, &e) == 0 && (found = zip_find(&d, str_c(name))) != NULL) {
		p = out.p + found->data;
		*len = (size_t)found->size;
	}
	zip_release(&d);
	source_close(src);
	return p;
}

static void
is_pickle(const char *expected, size_t n, const char *what)
{
	const char *p;
	size_t len;

	if (!is_int(write_all(99), 0, what)) {
		tap_note("%s", e.msg);
		return;
	}
	p = record("archive/data.pkl", &len);
	is_uint(len, n, "its length");
	if (p != NULL && len == n)
		is_mem(p, expected, n, "its opcodes");
	for (size_t i = 0; p != NULL && i < len && i < n; i++) {
		if (p[i] != expected[i]) {
			tap_note("first difference at %zu: %02x, expected %02x", i, (uint8_t)p[i], (uint8_t)expected[i]);
			break;
		}
	}
}

#define PICKLE(text, what) is_pickle(text, sizeof(text) - 1, what)

static void
test_pickle(void)
{
	uint32_t form[7], none;

	fresh();
	PICKLE("\x80\2}X\1\0\0\0wctorch._utils\n_rebuild_tensor_v2\nq\0("
	       "(X\7\0\0\0storageq\1ctorch\nFloatStorage\nq\2X\1\0\0\x00"
	       "0X\3\0\0\0cpuq\3K\2tQ"
	       "K\0K\2\x85K\1\x85\x89"
	       "ccollections\nOrderedDict\nq\4)RtRs.",
	       "a plain tensor");

	fresh();
	storages[0] = (struct manifest_storage){ 2, DTYPE_UINT8, 1 };
	tensors[0].dtype = DTYPE_FLOAT8_E4M3FN;
	PICKLE("\x80\2}X\1\0\0\0wctorch._utils\n_rebuild_tensor_v3\nq\0("
	       "(X\7\0\0\0storageq\1ctorch.storage\nUntypedStorage\nq\2X\1\0\0\x00"
	       "0X\3\0\0\0cpuq\3K\2tQ"
	       "K\0K\2\x85K\1\x85\x89"
	       "ccollections\nOrderedDict\nq\4)Rctorch\nfloat8_e4m3fn\nq\5tRs.",
	       "a dtype without a storage class is written by _rebuild_tensor_v3");

	fresh();
	tensors[0].flags = TENSOR_PARAMETER | TENSOR_REQUIRES_GRAD;
	PICKLE("\x80\2}X\1\0\0\0wctorch._utils\n_rebuild_parameter\nq\0"
	       "ctorch._utils\n_rebuild_tensor_v2\nq\1("
	       "(X\7\0\0\0storageq\2ctorch\nFloatStorage\nq\3X\1\0\0\x00"
	       "0X\3\0\0\0cpuq\4K\2tQ"
	       "K\0K\2\x85K\1\x85\x89"
	       "ccollections\nOrderedDict\nq\5)RtR"
	       "\x88h\5)R\x87Rs.",
	       "a parameter");

	fresh();
	storages[0] = (struct manifest_storage){ 16, DTYPE_COMPLEX64, 0 };
	tensors[0].dtype = DTYPE_COMPLEX64;
	tensors[0].flags = TENSOR_CONJ | TENSOR_NEG;
	PICKLE("\x80\2}X\1\0\0\0wctorch._utils\n_rebuild_tensor_v2\nq\0("
	       "(X\7\0\0\0storageq\1ctorch\nComplexFloatStorage\nq\2X\1\0\0\x00"
	       "0X\3\0\0\0cpuq\3K\2tQ"
	       "K\0K\2\x85K\1\x85\x89"
	       "ccollections\nOrderedDict\nq\4)R}X\4\0\0\0conjq\5\x88sX\3\0\0\0negq\6\x88stRs.",
	       "conjugate and negative bits are written as metadata");

	fresh();
	storages[0] = (struct manifest_storage){ 2, DTYPE_QUINT8, 0 };
	tensors[0].dtype = DTYPE_QUINT8;
	tensors[0].flags = TENSOR_QUANTISED;
	none = value_new_none(t);
	form[0] = form[1] = form[2] = form[3] = none;
	form[4] = value_new_tuple(t,
				  (uint32_t[]){ value_new_global(t, str_c("torch"), str_c("per_tensor_affine")),
						value_new_float(t, 0.5), value_new_int(t, 3) },
				  3);
	form[5] = value_new_bool(t, false);
	form[6] = value_new_ordered(t);
	tensors[0].wrap = value_new_object(
		t, &(struct vobject){ HOW_REDUCE, value_new_global(t, str_c("torch._utils"), str_c("_rebuild_qtensor")),
				      value_new_tuple(t, form, 7), VALUE_ABSENT, VALUE_ABSENT, VALUE_ABSENT, VALUE_ABSENT,
				      VALUE_ABSENT });
	PICKLE("\x80\2}X\1\0\0\0wctorch._utils\n_rebuild_qtensor\nq\0("
	       "(X\7\0\0\0storageq\1ctorch\nQUInt8Storage\nq\2X\1\0\0\x00"
	       "0X\3\0\0\0cpuq\3K\2tQ"
	       "K\0K\2\x85K\1\x85"
	       "ctorch\nper_tensor_affine\nq\4G\x3f\xe0\0\0\0\0\0\0K\3\x87\x89"
	       "ccollections\nOrderedDict\nq\5)RtRs.",
	       "a quantised tensor");
}

static void
test_records(void)
{
	static const char *const expected[] = { "archive/data.pkl", "archive/byteorder", "archive/version",
						"archive/data/0",   "archive/data/1",    "archive/data/2" };
	struct source *src;
	struct zip_dir d;
	const char *p;
	size_t len, i;

	fresh();
	storages[1] = (struct manifest_storage){ 0, DTYPE_INT64, 0 };
	storages[2] = (struct manifest_storage){ 5, DTYPE_UINT8, 0 };
	m.nstorages = 3;
	is_int(write_all(99), 0, "three storages are written");
	src = source_memory(out.p, out.len, "out.pth");
	ok(zip_open(&d, src, ZIP_COMPARED, NULL, &e) == 0 && d.n == 6);
	for (i = 0; i < d.n && i < 6; i++) {
		ok_msg(str_eqc(d.entries[i].name, expected[i]), "record %s", expected[i]);
		ok_msg(d.entries[i].data % 64 == 0 && d.entries[i].method == ZIP_STORED &&
			       d.entries[i].crc == crc32(0, (const Bytef *)out.p + d.entries[i].data, (uInt)d.entries[i].size),
		       "a record is aligned, stored and has its CRC");
	}
	zip_release(&d);
	source_close(src);
	p = record("archive/version", &len);
	ok(p != NULL && len == 2 && memcmp(p, "3\n", 2) == 0);
	p = record("archive/byteorder", &len);
	ok(p != NULL && len == 6 && memcmp(p, "little", 6) == 0);
	p = record("archive/data/2", &len);
	ok(p != NULL && len == 5 && memcmp(p, "\3\3\3\3\3", 5) == 0);
}

static void
test_refusals(void)
{
	const struct format_writer *f = format_writer("torch");
	struct writer w;
	struct sink *sink;
	bool loads = false;

	fresh();
	tensors[0].dtype = DTYPE_FLOAT6_E2M3;
	ok(write_all(99) < 0 && strstr(e.msg, "no dtype") != NULL && out.len == 0);
	fresh();
	tensors[0].storage = STORAGE_NONE;
	ok(write_all(99) < 0 && out.len == 0);
	fresh();
	m.tree = NULL;
	ok(write_all(99) < 0 && out.len == 0);
	fresh();
	storages[1] = storages[2] = storages[0];
	m.nstorages = 3;
	for (uint32_t stop = 0; stop < 3; stop++) {
		write_all(stop);
		for (size_t i = 0; i + 4 <= out.len; i++)
			loads = loads || get_le32((const uint8_t *)out.p + i) == ZIP_SIG_CENTRAL;
	}
	ok_msg(!loads, "an output that is not finished has no directory");

	fresh();
	sink = sink_memory(NULL, "out.pth");
	err_clear(&e);
	ok(writer_begin(&w, f, &m, sink, &e) == 0 && writer_storage(&w, 0, &e) == 0 && sink_write(sink, "1234567", 7, &e) == 0);
	ok(writer_stored(&w, 0, 0, &e) < 0 && strstr(e.msg, "another size") != NULL);
	err_clear(&e);
	ok(writer_finish(&w, &e) < 0 && writer_storage(&w, 1, &e) < 0);
	writer_release(&w);
	sink_abort(sink);
	ok(format_writer("npz") == NULL);
}

/* The sink holds the directory back. All bytes before it are written. */
static void
test_hold(void)
{
	const struct format_writer *f = format_writer("torch");
	struct sink *sink;
	struct writer w;
	uint64_t at;

	fresh();
	buf_clear(&out);
	err_clear(&e);
	sink = sink_memory(&out, "out.pth");
	ok(writer_begin(&w, f, &m, sink, &e) == 0);
	at = f->hold(&w);
	ok(writer_storage(&w, 0, &e) == 0 && sink_write(sink, "12345678", 8, &e) == 0 && writer_stored(&w, 0, 0, &e) == 0);
	is_uint(sink_at(sink), at, "bytes are held back from the begin of the directory");
	ok(writer_finish(&w, &e) == 0 && sink_at(sink) > at);
	writer_release(&w);
	sink_abort(sink);
}

/* ---- read again */

struct feed {
	int fd;
	size_t step;
};

static void *
feeder(void *arg)
{
	struct feed *f = arg;

	for (size_t at = 0, n; at < out.len; at += n) {
		n = out.len - at < f->step ? out.len - at : f->step;
		if (write(f->fd, out.p + at, n) != (ssize_t)n)
			break;
	}
	close(f->fd);
	return NULL;
}

static void
check_read(struct source *src, const char *what)
{
	struct statedict sd;
	struct ckpt *c;
	uint8_t bytes[8];
	uint32_t crc;
	bool known;

	err_clear(&e);
	if (!ok_msg(format_open(&c, src, NULL, &e) == 0, "read %s", what)) {
		tap_note("%s", e.msg);
		return;
	}
	ok(statedict_open(&sd, c, NULL, &e) == 0 && sd.n == 1 && str_eqc(sd.entries[0].name, "w"));
	ok(c->nstorages == 1 && c->storages[0].nbytes == 8 && c->ntensors == 1 && c->tensors[0].dtype == DTYPE_FLOAT32);
	ok(ckpt_read(c, 0, 0, bytes, 8, &e) == 0 && memcmp(bytes, "\1\1\1\1\1\1\1\1", 8) == 0);
	ok(ckpt_crc(c, 0, &crc, &known, &e) == 0 && known && crc == crc32(0, bytes, 8));
	ok(ckpt_done(c, 0, &e) == 0 && ckpt_finish(c, &e) == 0);
	is_str(c->writer, "lnn-tools", "the name of the writer is read");
	statedict_release(&sd);
	ckpt_close(c);
}

static void
test_read(void)
{
	static const size_t steps[] = { 1, 7, 64, 4096 };
	struct source *src;
	struct feed f;
	pthread_t thread;
	int fds[2];

	fresh();
	write_all(99);
	src = source_memory(out.p, out.len, "out.pth");
	check_read(src, "from memory");
	source_close(src);
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		if (pipe(fds) < 0)
			tap_bail("no pipe");
		f = (struct feed){ fds[1], steps[i] };
		pthread_create(&thread, NULL, feeder, &f);
		if (source_fd(&src, fds[0], "pipe", NULL, &e) < 0)
			tap_bail(e.msg);
		check_read(src, "from a pipe");
		source_close(src);
		pthread_join(thread, NULL);
	}
}

int
main(void)
{
	test_pickle();
	test_records();
	test_refusals();
	test_hold();
	test_read();
	vtree_free(t);
	buf_release(&out);
	return tap_done();
}
