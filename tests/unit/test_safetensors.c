/* safetensors: the files that the reader accepts and refuses, with the exact messages; the exact bytes of the writer. */
#include <sys/resource.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "format/format.h"
#include "tap.h"

static const struct format_opts no_opts = { .diag = NULL };

/* Builds a file: length, header, then size bytes that count up. */
static void
make(struct buf *b, const char *header, size_t header_len, size_t size)
{
	buf_clear(b);
	buf_le64(b, header_len);
	buf_add(b, header, header_len);
	for (size_t i = 0; i < size; i++)
		buf_addc(b, (char)i);
}

/* The whole file is in the buffer of the pipe. */
static struct source *
piped(const struct buf *b)
{
	struct err err = ERR_INIT;
	struct source *s;
	int fds[2];

	if (pipe(fds) < 0 || write(fds[1], b->p, b->len) != (ssize_t)b->len || close(fds[1]) < 0 ||
	    source_fd(&s, fds[0], "f", NULL, &err) < 0)
		tap_bail("no pipe");
	return s;
}

static int
open_to_end(struct source *s, struct err *err)
{
	struct ckpt *c = NULL;
	int rc = format_open(&c, s, &no_opts, err);

	if (rc == 0)
		rc = ckpt_finish(c, err);
	ckpt_close(c);
	source_close(s);
	return rc;
}

static void
refused(const char *header, size_t size, const char *message)
{
	struct err err = ERR_INIT;
	struct buf b = BUF_INIT;

	make(&b, header, strlen(header), size);
	is_int(open_to_end(source_memory(b.p, b.len, "f"), &err), -1, header);
	is_str(err.msg, message, "the message is right");
	err_clear(&err);
	is_int(open_to_end(piped(&b), &err), -1, "the file is also refused on a pipe");
	buf_release(&b);
}

static void
test_headers(void)
{
#define T "{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}"
	refused("{\"a\":" T ",\"a\":" T "}", 8, "f: at byte 62: tensor 'a': the name occurs twice, first at byte 9");
	refused("{\"a\":" T ",\"\\u0061\":" T "}", 8, "f: at byte 62: tensor 'a': the name occurs twice, first at byte 9");
	refused("{\"a\":{\"dtype\":\"F33\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8,
		"f: at byte 22: tensor 'a' has the unknown dtype 'F33'");
	refused("{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "f: at byte 9: tensor 'a': the field dtype is missing");
	refused("{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8, "f: at byte 9: tensor 'a': the field shape is missing");
	refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, "f: at byte 9: tensor 'a': the field data_offsets is missing");
	refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"shape\":[2],\"data_offsets\":[0,8]}}", 8,
		"f: at byte 40: tensor 'a': the field shape occurs twice");
	refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2.0],\"data_offsets\":[0,8]}}", 8,
		"f: at byte 37: shape must be whole numbers from 0 to 2^64-1, not 2.0");
	refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", 8,
		"f: at byte 57: data_offsets: two numbers expected, not 1");
	refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4,
		"f: at byte 9: tensor 'a': its shape takes 8 bytes, its data_offsets span 4");
	refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8,
		"f: at byte 9: tensor 'a': its data ends at 0, before it begins at 8");
	refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296,0],\"data_offsets\":[0,0]}}", 0,
		"f: at byte 9: tensor 'a': its size overflows");
	refused("{\"a\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,1]}}", 1,
		"f: at byte 9: tensor 'a': F4 elements that do not fill whole bytes");
	refused("{\"a\":{\"dtype\":\"F4\",\"shape\":[2,1],\"data_offsets\":[0,1]}}", 1,
		"f: at byte 9: tensor 'a': the last dimension of F4 must be a multiple of 2");
	refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[1,9]}}", 9,
		"f: at byte 9: tensor 'a': there is a hole before it: its data begins at 1, the data before it ends at 0");
	refused("{\"a\":" T ",\"b\":" T "}", 8,
		"f: at byte 62: tensor 'b': it overlaps 'a': its data begins at 0, but that tensor ends at 8");
	refused("{\"a\":" T "}", 9, "f: at byte 70: bytes follow that belong to no tensor");
	refused("{\"a\":" T "}", 7,
		"f: cut off: the tensors end at byte 70, the input at byte 69 (lnn-ckpt-adapt --salvage writes what is whole)");
	refused("{\"__metadata__\":{\"k\":1}}", 0, "f: at byte 29: a value of __metadata__ must be a string, not a number");
	refused("{\"__metadata__\":{},\"__metadata__\":{}}", 0, "f: at byte 27: __metadata__ occurs twice");
	refused("{\"a\":" T "}x", 8, "f: at byte 62: invalid JSON: 'x' where the end is expected");
#undef T
}

static void
test_lengths(void)
{
	static const char small[] = "{\"a\":1}";
	struct err err = ERR_INIT;
	struct buf b = BUF_INIT;
	struct rusage before, after;

	buf_le64(&b, 100000001);
	buf_adds(&b, small);
	ok(open_to_end(source_memory(b.p, b.len, "f"), &err) < 0);
	is_str(err.msg, "f: at byte 0: a safetensors header of 100000001 bytes; the limit is 100000000",
	       "a header above the limit is refused");
	err_clear(&err);

	buf_clear(&b);
	buf_le64(&b, 90000000);
	buf_adds(&b, small);
	ok(open_to_end(source_memory(b.p, b.len, "f"), &err) < 0);
	is_str(err.msg, "f: cut off: the safetensors header ends at byte 90000008, the file at byte 15",
	       "a header that is longer than the file is refused");
	err_clear(&err);
	getrusage(RUSAGE_SELF, &before);
	ok(open_to_end(piped(&b), &err) < 0);
	getrusage(RUSAGE_SELF, &after);
	ok_msg(strstr(err.msg, "cut off") != NULL, "a header that is longer than the input is refused on a pipe: %s", err.msg);
	ok_msg(after.ru_maxrss - before.ru_maxrss < 20 * 1024, "the stated length of a header needs no memory (%ld KiB)",
	       after.ru_maxrss - before.ru_maxrss);
	buf_release(&b);
}

/* Various tensors in another order than their data, with white space, escapes and unknown fields. */
static const char mixed[] = " {\n\t\"z\\u00e9\\n\":{\"shape\":[2,2],\"note\":{\"x\":[1,{}],\"y\":-1.5e3},"
			    "\"data_offsets\":[4,8],\"dtype\":\"U8\"},"
			    "\"\":{\"dtype\":\"F16\",\"shape\":[],\"data_offsets\":[2,4]},"
			    "\"__metadata__\":{\"k\":\"old\",\"format\":\"pt\",\"k\":\"new\\u0000\"},"
			    "\"e2\":{\"dtype\":\"F32\",\"shape\":[0,3],\"data_offsets\":[4,4]},"
			    "\"e1\":{\"dtype\":\"I64\",\"shape\":[3,0],\"data_offsets\":[4,4]},"
			    "\"four\":{\"dtype\":\"F4\",\"shape\":[1,4],\"data_offsets\":[0,2]},"
			    "\"six\":{\"dtype\":\"F6_E3M2\",\"shape\":[4],\"data_offsets\":[8,11]},"
			    "\"eight\":{\"dtype\":\"F8_E4M3\",\"shape\":[1],\"data_offsets\":[11,12]}}  ";

static const struct {
	const char *name;
	enum dtype dtype, storage;
	unsigned ndim;
	uint64_t shape[2], begin, nbytes;
} expected[] = {
	{ "four", DTYPE_FLOAT4_E2M1FN_X2, DTYPE_UINT8, 2, { 1, 2 }, 0, 2 },
	{ "", DTYPE_FLOAT16, DTYPE_FLOAT16, 0, { 0 }, 2, 2 },
	{ "e2", DTYPE_FLOAT32, DTYPE_FLOAT32, 2, { 0, 3 }, 4, 0 },
	{ "e1", DTYPE_INT64, DTYPE_INT64, 2, { 3, 0 }, 4, 0 },
	{ "z\303\251\n", DTYPE_UINT8, DTYPE_UINT8, 2, { 2, 2 }, 4, 4 },
	{ "six", DTYPE_FLOAT6_E3M2, DTYPE_UINT8, 1, { 4 }, 8, 3 },
	{ "eight", DTYPE_FLOAT8_E4M3FN, DTYPE_UINT8, 1, { 1 }, 11, 1 },
};
enum { EXPECTED = sizeof(expected) / sizeof(expected[0]) };

static void
check_mixed(struct ckpt *c)
{
	uint64_t data = 8 + sizeof(mixed) - 1;
	struct err err = ERR_INIT;
	uint8_t bytes[4];

	is_str(c->ops->name, "safetensors", "recognised");
	is_uint(c->ntensors, EXPECTED, "all tensors");
	is_uint(c->nstorages, EXPECTED, "each tensor has a storage");
	ok(c->tree == NULL && c->root == VALUE_ABSENT && !c->big_endian);
	for (uint32_t i = 0; i < EXPECTED && i < c->ntensors; i++) {
		const struct tensor *t = &c->tensors[i];
		const struct storage *s = &c->storages[i];

		ok_msg(str_eqc(c->names[i], expected[i].name), "tensor %u is in the order of the data", i);
		ok(t->dtype == expected[i].dtype && t->storage == i && t->offset == 0 && t->wrap == VALUE_ABSENT);
		ok(shape_eq(t->shape, t->ndim, expected[i].shape, expected[i].ndim) && tensor_contiguous(t));
		ok(s->offset == data + expected[i].begin && s->nbytes == expected[i].nbytes && s->packed == s->nbytes);
		ok(s->dtype == expected[i].storage && s->untyped == (dtype_info(t->dtype)->storage == NULL));
		is_uint(tensor_nbytes(t), s->nbytes, "a tensor fills its storage");
		ok(ckpt_read(c, i, 0, bytes, s->nbytes < 4 ? (size_t)s->nbytes : 4, &err) == 0);
		if (s->nbytes > 0)
			is_uint(bytes[0], expected[i].begin, "the first byte of a tensor is right");
		ok(ckpt_done(c, i, &err) == 0);
	}
	ok_msg(ckpt_finish(c, &err) == 0, "the file is read to its end: %s", err.msg);
	is_uint(c->nmeta, 2, "metadata");
	ok(c->nmeta == 2 && str_eqc(c->meta_keys[0], "k") && str_eqc(c->meta_keys[1], "format"));
	ok_msg(c->nmeta == 2 && str_eq(c->meta_values[0], str_n("new\0", 4)), "the last of equal keys in __metadata__ is used");
}

static void
test_mixed(void)
{
	struct err err = ERR_INIT;
	struct buf b = BUF_INIT;
	struct source *s;
	struct ckpt *c;

	make(&b, mixed, sizeof(mixed) - 1, 12);
	for (int stream = 0; stream < 2; stream++) {
		s = stream ? piped(&b) : source_memory(b.p, b.len, "f");
		c = NULL;
		if (ok_msg(format_open(&c, s, &no_opts, &err) == 0, "opened %s: %s", stream ? "from a pipe" : "from memory",
			   err.msg))
			check_mixed(c);
		ckpt_close(c);
		source_close(s);
	}
	buf_release(&b);
}

/* Storages of a stream may be released in any order. A cut at the end is noticed even if nobody reads those bytes. */
static void
test_any_order(void)
{
	static const uint32_t order[] = { 6, 0, 4, 3, 1, 2 };
	struct err err = ERR_INIT;
	struct buf b = BUF_INIT;
	struct ckpt *c = NULL;
	struct source *s;
	uint8_t bytes[4] = { 0 };

	make(&b, mixed, sizeof(mixed) - 1, 12);
	s = piped(&b);
	ok(format_open(&c, s, &no_opts, &err) == 0);
	for (size_t i = 0; c != NULL && i < sizeof(order) / sizeof(order[0]); i++)
		ok(ckpt_done(c, order[i], &err) == 0);
	ok(c != NULL && ckpt_read(c, 5, 0, bytes, 3, &err) == 0 && bytes[0] == 8 && bytes[2] == 10);
	ok(c != NULL && ckpt_done(c, 5, &err) == 0 && ckpt_finish(c, &err) == 0);
	ckpt_close(c);
	source_close(s);

	make(&b, mixed, sizeof(mixed) - 1, 11);
	s = piped(&b);
	c = NULL;
	ok(format_open(&c, s, &no_opts, &err) == 0);
	for (uint32_t i = 0; c != NULL && i < EXPECTED; i++)
		ok(ckpt_done(c, i, &err) == 0);
	ok(c != NULL && ckpt_finish(c, &err) < 0);
	ok_msg(strstr(err.msg, "f: cut off") == err.msg, "%s", err.msg);
	ckpt_close(c);
	source_close(s);
	buf_release(&b);
}

/* ---- writing */

enum { MADE = 4 };

struct made {
	struct arena arena;
	struct manifest m;
	struct manifest_storage storages[MADE];
	struct tensor tensors[MADE];
	struct str names[MADE];
};

static void
add(struct made *d, const char *name, enum dtype dtype, unsigned ndim, uint64_t n0, uint64_t n1)
{
	uint64_t shape[2] = { n0, n1 };
	uint32_t i = d->m.ntensors++;

	d->m.nstorages++;
	d->tensors[i] = (struct tensor){ .dtype = (uint8_t)dtype, .storage = i, .wrap = VALUE_ABSENT };
	tensor_set_shape(&d->tensors[i], &d->arena, shape, ndim);
	d->storages[i] = (struct manifest_storage){ tensor_nbytes(&d->tensors[i]), (uint8_t)dtype, 0 };
	d->names[i] = str_c(name);
}

static void
begin_made(struct made *d)
{
	memset(d, 0, sizeof(*d));
	arena_init(&d->arena);
	d->m.storages = d->storages;
	d->m.tensors = d->tensors;
	d->m.names = d->names;
	d->m.root = VALUE_ABSENT;
}

/* Writes d with data that counts up from 0 over all storages. */
static int
write_made(const struct made *d, struct buf *out, struct err *err)
{
	const struct format_writer *f = format_writer("safetensors");
	struct sink *sink = sink_memory(out, "out");
	struct writer w;
	uint8_t byte = 0;
	int rc;

	rc = f->check(&d->m, err) < 0 ? -1 : writer_begin(&w, f, &d->m, sink, err);
	if (rc == 0) {
		for (uint32_t i = 0; i < d->m.nstorages && rc == 0; i++) {
			rc = writer_storage(&w, i, err);
			for (uint64_t k = 0; k < d->storages[i].nbytes && rc == 0; k++, byte++)
				rc = sink_write(sink, &byte, 1, err);
			rc = rc < 0 ? rc : writer_stored(&w, i, 0, err);
		}
		rc = rc < 0 ? rc : writer_finish(&w, err);
		writer_release(&w);
	}
	if (rc == 0)
		return sink_commit(sink, err);
	sink_abort(sink);
	return rc;
}

static void
test_written(void)
{
	/* The header as the reference writer writes it (lib/format/README.md, section 6.3): 8 * 27 bytes with the padding. */
	static const char header[] =
		"{\"__metadata__\":{\"format\":\"pt\",\"a\\\"\\\\/\":\"\\u0001\\n\\t\\b\\f\\r\\u001f\177\303\251\"},"
		"\"w\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[0,8]},"
		"\"\":{\"dtype\":\"F4\",\"shape\":[4],\"data_offsets\":[8,10]},"
		"\"n\":{\"dtype\":\"BOOL\",\"shape\":[],\"data_offsets\":[10,11]}}";
	struct str keys[] = { STR_LIT("format"), STR_LIT("a\"\\/") };
	struct str values[] = { STR_LIT("pt"), STR_LIT("\001\n\t\b\f\r\037\177\303\251") };
	struct buf out = BUF_INIT;
	struct err err = ERR_INIT;
	struct made d;
	size_t len = sizeof(header) - 1, padded = (len + 7) / 8 * 8;

	begin_made(&d);
	d.m.meta_keys = keys;
	d.m.meta_values = values;
	d.m.nmeta = 2;
	add(&d, "w", DTYPE_FLOAT32, 2, 1, 2);
	add(&d, "", DTYPE_FLOAT4_E2M1FN_X2, 1, 2, 0);
	add(&d, "n", DTYPE_BOOL, 0, 0, 0);
	ok_msg(write_made(&d, &out, &err) == 0, "written: %s", err.msg);
	is_uint(out.len, 8 + padded + 11, "its size");
	if (out.len == 8 + padded + 11) {
		is_uint(get_le64((const uint8_t *)out.p), padded, "the stated length of the header includes its padding");
		is_mem(out.p + 8, header, len, "the header equals the reference writer's byte for byte");
		ok(strspn(out.p + 8 + len, " ") >= padded - len);
		ok(out.p[8 + padded] == 0 && out.p[out.len - 1] == 10);
	}
	is_int(open_to_end(source_memory(out.p, out.len, "f"), &err), 0, "the output is read again");
	buf_release(&out);
	arena_release(&d.arena);
}

static void
test_empty(void)
{
	struct buf out = BUF_INIT;
	struct err err = ERR_INIT;
	struct made d;

	begin_made(&d);
	ok(write_made(&d, &out, &err) == 0);
	is_uint(out.len, 16, "a file without tensors has 16 bytes");
	is_mem(out.p, "\10\0\0\0\0\0\0\0{}      ", 16, "a file without tensors equals the reference writer's");
	buf_release(&out);
}

/* The last 8 bytes of the file are held back, even if they belong to the header. */
static void
test_held(void)
{
	const struct format_writer *f = format_writer("safetensors");
	struct err err = ERR_INIT;
	int fds[2];
	char got[512];

	for (uint64_t size = 0; size <= 12; size += 4) {
		struct made d;
		struct sink *sink;
		struct writer w;
		uint64_t total;
		ssize_t n;

		begin_made(&d);
		add(&d, "w", DTYPE_UINT8, 1, size, 0);
		if (pipe(fds) < 0 || sink_fd(&sink, fds[1], "out", &err) < 0)
			tap_bail("no pipe");
		ok(writer_begin(&w, f, &d.m, sink, &err) == 0);
		total = sink_at(sink) + size;
		is_uint(f->hold(&w), total - 8, "bytes are held back from 8 before the end");
		ok(writer_storage(&w, 0, &err) == 0 && sink_write(sink, "0123456789ab", (size_t)size, &err) == 0);
		ok(writer_stored(&w, 0, 0, &err) == 0 && writer_finish(&w, &err) == 0 && sink_flush(sink, &err) == 0);
		writer_release(&w);
		n = read(fds[0], got, sizeof(got));
		is_int(n, (int64_t)total - 8, "all other bytes are written before the end");
		sink_abort(sink);
		close(fds[0]);
		close(fds[1]);
		arena_release(&d.arena);
	}
}

static void
unwritable(struct made *d, const char *message)
{
	struct err err = ERR_INIT;
	struct buf out = BUF_INIT;

	ok(write_made(d, &out, &err) < 0);
	is_str(err.msg, message, "the refusal has the right message");
	is_uint(out.len, 0, "no byte is written before the refusal");
	buf_release(&out);
	arena_release(&d->arena);
	begin_made(d);
}

static void
test_unwritable(void)
{
	struct str key = STR_LIT("k"), value = STR_LIT("\377");
	struct made d;

	begin_made(&d);
	add(&d, "good", DTYPE_FLOAT32, 1, 2, 0);
	add(&d, "c", DTYPE_COMPLEX128, 1, 2, 0);
	unwritable(&d, "tensor 'c': safetensors has no type for complex128; --to torch keeps it");
	add(&d, "q", DTYPE_QINT8, 1, 2, 0);
	unwritable(&d, "tensor 'q': safetensors has no type for qint8; --to torch keeps it");
	add(&d, "__metadata__", DTYPE_FLOAT32, 1, 2, 0);
	unwritable(&d, "tensor '__metadata__': safetensors keeps this name for itself; rename the tensor or use --to torch");
	add(&d, "\355\240\200", DTYPE_FLOAT32, 1, 2, 0);
	unwritable(&d, "tensor '\355\240\200': the name is not UTF-8, which safetensors needs; rename the tensor or use --to "
		       "torch");
	add(&d, "meta", DTYPE_FLOAT32, 1, 2, 0);
	d.tensors[0].storage = STORAGE_NONE;
	unwritable(&d, "tensor 'meta': it has no data; --to torch keeps it");
	add(&d, "a", DTYPE_FLOAT32, 1, 2, 0);
	add(&d, "b", DTYPE_FLOAT32, 1, 2, 0);
	d.tensors[1].storage = 0;
	unwritable(&d, "tensor 'b': safetensors cannot share data between tensors");
	add(&d, "part", DTYPE_FLOAT32, 1, 2, 0);
	d.storages[0].nbytes = 12;
	unwritable(&d, "tensor 'part': safetensors takes only whole, contiguous tensors");
	add(&d, "x", DTYPE_FLOAT32, 1, 2, 0);
	d.m.meta_keys = &key;
	d.m.meta_values = &value;
	d.m.nmeta = 1;
	unwritable(&d, "__metadata__: 'k' is not UTF-8");
	arena_release(&d.arena);
}

/* Names are found in every state dict of a file, also if the header has another order than the data. */
static void
test_names(void)
{
	static const char header[] = "{\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]},"
				     "\"n.1\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[3,4]},"
				     "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}";
	static const char *const names[] = { "a", "b", "n.1" };
	struct err err = ERR_INIT;
	struct buf b = BUF_INIT;
	struct source *s;
	struct statedict sd[2];
	struct ckpt *c = NULL;

	make(&b, header, sizeof(header) - 1, 4);
	s = source_memory(b.p, b.len, "f");
	if (format_open(&c, s, &no_opts, &err) < 0 || statedict_open(&sd[0], c, NULL, &err) < 0 ||
	    statedict_open(&sd[1], c, NULL, &err) < 0)
		tap_bail(err.msg);
	for (size_t k = 0; k < 2; k++) {
		for (size_t i = 0; i < 3; i++)
			ok_msg(statedict_find(&sd[k], str_c(names[i])) == &sd[k].entries[i], "%s is entry %zu", names[i], i);
		ok(statedict_find(&sd[k], str_c("c")) == NULL && statedict_find(&sd[k], str_c("n.2")) == NULL);
		statedict_release(&sd[k]);
	}
	ckpt_close(c);
	source_close(s);
	buf_release(&b);
}

int
main(void)
{
	test_headers();
	test_names();
	test_lengths();
	test_mixed();
	test_any_order();
	test_written();
	test_empty();
	test_held();
	test_unwritable();
	return tap_done();
}
