/* torch's legacy stream: files that are built by hand, whole and damaged, read as files and as pipes. */
#include <unistd.h>

#include "base/buf.h"
#include "format/format.h"
#include "tap.h"

#define MAGIC "\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."

static char warned[512];

static void
say(void *arg, enum diag_level level, const char *msg)
{
	(void)arg;
	if (level == DIAG_WARNING)
		snprintf(warned, sizeof(warned), "%s", msg);
}

static const struct diag diag = { say, NULL };
static const struct format_opts opts = { .diag = &diag };

/* ---- making files */

static void
put_text(struct buf *b, const char *s)
{
	buf_addc(b, 'X');
	buf_le32(b, (uint32_t)strlen(s));
	buf_adds(b, s);
}

static void
put_int(struct buf *b, uint32_t v)
{
	buf_addc(b, 'J');
	buf_le32(b, v);
}

static void
put_preamble(struct buf *b)
{
	buf_add(b, "\x80\x02" MAGIC, 2 + sizeof(MAGIC) - 1);
	buf_adds(b, "\x80\x02M\xe9\x03.");
	buf_adds(b, "\x80\x02}");
	put_text(b, "little_endian");
	buf_adds(b, "\x89s."); /* states that the machine was big-endian; the data never is */
}

struct view {
	const char *key;
	uint32_t offset, size;
};

static void
put_storage(struct buf *b, const char *class, const char *key, uint32_t numel, const struct view *v)
{
	buf_addc(b, '(');
	put_text(b, "storage");
	buf_addf(b, "ctorch\n%s\n", class);
	put_text(b, key);
	put_text(b, "cuda:0");
	put_int(b, numel);
	if (v == NULL) {
		buf_addc(b, 'N');
	} else {
		put_text(b, v->key);
		put_int(b, v->offset);
		put_int(b, v->size);
		buf_addc(b, '\x87');
	}
	buf_adds(b, "tQ");
}

/* Adds a name and a vector of n elements that begins at offset. */
static void
put_tensor(struct buf *b, const char *name, const char *class, const char *key, uint32_t numel, const struct view *v,
	   uint32_t offset, uint32_t n)
{
	put_text(b, name);
	buf_adds(b, "ctorch._utils\n_rebuild_tensor_v2\n(");
	put_storage(b, class, key, numel, v);
	put_int(b, offset);
	put_int(b, n);
	buf_addc(b, '\x85');
	put_int(b, 1);
	buf_adds(b, "\x85\x89"
		    "ccollections\nOrderedDict\n)RtR");
}

static void
put_keys(struct buf *b, const char *const *keys)
{
	buf_adds(b, "\x80\x02](");
	for (; *keys != NULL; keys++)
		put_text(b, *keys);
	buf_adds(b, "e.");
}

/* Adds the count of a storage and its bytes, which count up from first. */
static void
put_data(struct buf *b, uint64_t count, unsigned item, uint8_t first)
{
	buf_le64(b, count);
	for (uint64_t i = 0; i < count * item; i++)
		buf_addc(b, (char)(first + i));
}

/*
 * Storage 900 is used first, but the list of keys and the data have the order 100, 200, 900. Storage 100 has views: one
 * described as torch before 0.4 did, and one as later versions do.
 */
static void
make(struct buf *b)
{
	static const char *const keys[] = { "100", "200", "900", NULL };
	const struct view v = { "101", 2, 4 };

	put_preamble(b);
	buf_adds(b, "\x80\x02}(");
	put_tensor(b, "bf", "BFloat16Storage", "900", 3, NULL, 0, 3);
	put_tensor(b, "viewed", "FloatStorage", "100", 6, &v, 1, 2);
	put_tensor(b, "whole", "FloatStorage", "100", 6, NULL, 0, 6);
	put_tensor(b, "slice", "FloatStorage", "100", 6, NULL, 4, 2);
	put_tensor(b, "none", "LongStorage", "200", 0, NULL, 0, 0);
	put_text(b, "class");
	buf_addc(b, '(');
	put_text(b, "module");
	buf_adds(b, "cmodels.net\nNet\n");
	put_text(b, "net.py");
	put_text(b, "class Net: pass");
	buf_adds(b, "tQu.");
	put_keys(b, keys);
	put_data(b, 6, 4, 10);
	put_data(b, 0, 8, 0);
	put_data(b, 3, 2, 90);
}

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

static struct source *
source_of(const struct buf *b, int stream)
{
	return stream ? piped(b) : source_memory(b->p, b->len, "f");
}

/* ---- whole files */

static const struct tensor *
tensor_at(const struct ckpt *c, const char *name)
{
	uint32_t index;

	if (value_leaf(c->tree, value_get(c->tree, c->root, str_c(name)), &index) != LEAF_TENSOR) {
		ok_msg(false, "'%s' is a tensor", name);
		return NULL;
	}
	return &c->tensors[index];
}

/* The first byte of the tensor's first element, read through its storage; -1 on failure. */
static int
first_byte(struct ckpt *c, const struct tensor *t)
{
	struct err err = ERR_INIT;
	uint8_t byte;

	if (ckpt_read(c, t->storage, t->offset * dtype_size((enum dtype)t->dtype), &byte, 1, &err) < 0) {
		tap_note("%s", err.msg);
		return -1;
	}
	return byte;
}

static void
check_made(struct ckpt *c)
{
	static const char *const keys[] = { "100", "200", "900" };
	static const uint64_t sizes[] = { 24, 0, 6 };
	const struct tensor *t;
	struct err err = ERR_INIT;
	uint32_t class = value_get(c->tree, c->root, str_c("class"));

	is_str(c->ops->name, "torch-legacy", "the format is recognised");
	is_uint(c->nstorages, 3, "all storages are found");
	is_uint(c->ntensors, 5, "all tensors are found");
	ok(!c->big_endian && c->names == NULL);
	for (uint32_t i = 0; i < 3 && i < c->nstorages; i++) {
		ok_msg(str_eqc(c->storages[i].key, keys[i]), "storage %u is in the order of the data", i);
		is_uint(c->storages[i].nbytes, sizes[i], "a storage has its size");
	}
	t = tensor_at(c, "whole");
	ok(t != NULL && t->dtype == DTYPE_FLOAT32 && t->storage == 0 && t->offset == 0 && first_byte(c, t) == 10);
	t = tensor_at(c, "viewed");
	ok(t != NULL && t->storage == 0 && t->offset == 3 && t->ndim == 1 && t->shape[0] == 2 && first_byte(c, t) == 10 + 12);
	t = tensor_at(c, "slice");
	ok(t != NULL && t->storage == 0 && t->offset == 4 && first_byte(c, t) == 10 + 16);
	ok(ckpt_done(c, 0, &err) == 0 && ckpt_done(c, 1, &err) == 0);
	t = tensor_at(c, "none");
	ok(t != NULL && t->dtype == DTYPE_INT64 && t->storage == 1 && tensor_count(t) == 0);
	t = tensor_at(c, "bf");
	ok(t != NULL && t->dtype == DTYPE_BFLOAT16 && t->storage == 2 && first_byte(c, t) == 90);
	ok_msg(value_is_global(c->tree, class, "models.net", "Net"), "a class that is stored with its source is read as the class");
	ok(ckpt_done(c, 2, &err) == 0);
	ok_msg(ckpt_finish(c, &err) == 0, "the file is read to its end: %s", err.msg);
}

static void
test_whole(void)
{
	struct err err = ERR_INIT;
	struct buf b = BUF_INIT;

	make(&b);
	for (int stream = 0; stream < 2; stream++) {
		struct source *s = source_of(&b, stream);
		struct ckpt *c = NULL;

		warned[0] = '\0';
		if (ok_msg(format_open(&c, s, &opts, &err) == 0, "opened %s: %s", stream ? "from a pipe" : "from memory", err.msg))
			check_made(c);
		is_str(warned, "", "a valid file gives no warning");
		ckpt_close(c);
		source_close(s);
	}
	buf_release(&b);
}

/* Opens the file, releases the storages from the last to the first, and reads to the end. */
static int
run(const struct buf *b, int stream, struct err *err)
{
	struct source *s = source_of(b, stream);
	struct ckpt *c = NULL;
	int rc;

	warned[0] = '\0';
	rc = format_open(&c, s, &opts, err);
	for (uint32_t i = c != NULL ? c->nstorages : 0; rc == 0 && i-- > 0;)
		rc = ckpt_done(c, i, err);
	if (rc == 0)
		rc = ckpt_finish(c, err);
	ckpt_close(c);
	source_close(s);
	return rc;
}

static void
test_cut(void)
{
	struct err err = ERR_INIT;
	struct buf b = BUF_INIT;
	size_t whole;

	make(&b);
	whole = b.len;
	for (int stream = 0; stream < 2; stream++) {
		size_t taken = 0;

		for (b.len = 20; b.len < whole; b.len++) {
			err_clear(&err);
			taken += run(&b, stream, &err) == 0;
		}
		is_uint(taken, 0,
			stream ? "a pipe that is cut off anywhere is refused" : "a file that is cut off anywhere is refused");
		ok_msg(strstr(err.msg, "cut off") != NULL, "the error says that the input is cut off: %s", err.msg);
	}
	err_clear(&err);
	ok(run(&b, 1, &err) == 0);
	buf_release(&b);
}

static void
test_trailing(void)
{
	struct err err = ERR_INIT;
	struct buf b = BUF_INIT;
	char expected[200];
	size_t one;

	make(&b);
	one = b.len;
	buf_addc(&b, 'x');
	snprintf(expected, sizeof(expected), "f: at byte %zu: bytes follow the last storage; they are ignored", one);
	for (int stream = 0; stream < 2; stream++) {
		is_int(run(&b, stream, &err), 0, "bytes after the end are accepted");
		is_str(warned, expected, "bytes after the end give a warning");
	}
	b.len = one;
	make(&b);
	snprintf(expected, sizeof(expected), "f: at byte %zu: another saved object follows; only the first is read", one);
	for (int stream = 0; stream < 2; stream++) {
		is_int(run(&b, stream, &err), 0, "a second object after the end is accepted");
		is_str(warned, expected, "a second object after the end gives a warning");
	}
	buf_release(&b);
}

/* ---- damaged files */

struct broken {
	const char *what;
	const char *keys[4];
	uint64_t counts[2];
	const char *expected; /* after "f: at byte N: " */
};

static const struct broken broken[] = {
	{ "a valid list of keys", { "1", "2" }, { 2, 1 }, NULL },
	{ "the other order", { "2", "1" }, { 1, 2 }, NULL },
	{ "a wrong count", { "1", "2" }, { 2, 2 }, "storage '2' has 2 elements here, 1 where it is referred to" },
	{ "a huge count",
	  { "1", "2" },
	  { UINT64_MAX, 1 },
	  "storage '1' has 18446744073709551615 elements here, 2 where it is referred to" },
	{ "a missing key", { "1" }, { 2, 1 }, "storage '2' is missing from the list of storage keys" },
	{ "a key too many",
	  { "1", "2", "3" },
	  { 2, 1 },
	  "storage '3' is listed, but nothing refers to it, so that its size is unknown" },
	{ "a key twice", { "1", "2", "1" }, { 2, 1 }, "storage '1' is listed twice" },
};

static void
test_broken(void)
{
	struct buf b = BUF_INIT;
	struct err err = ERR_INIT;

	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
		const struct broken *t = &broken[i];

		buf_clear(&b);
		put_preamble(&b);
		buf_adds(&b, "\x80\x02}(");
		put_tensor(&b, "a", "DoubleStorage", "1", 2, NULL, 0, 2);
		put_tensor(&b, "b", "ByteStorage", "2", 1, NULL, 0, 1);
		buf_adds(&b, "u.");
		put_keys(&b, t->keys);
		buf_le64(&b, t->counts[0]);
		buf_fill(&b, 'd', strcmp(t->keys[0], "2") == 0 ? 1 : 16);
		buf_le64(&b, t->counts[1]);
		buf_fill(&b, 'd', strcmp(t->keys[0], "2") == 0 ? 16 : 1);
		for (int stream = 0; stream < 2; stream++) {
			err_clear(&err);
			is_int(run(&b, stream, &err), t->expected ? -1 : 0, t->what);
			if (t->expected != NULL)
				ok_msg(strncmp(err.msg, "f: at byte ", 11) == 0 && strstr(err.msg, t->expected) != NULL, "%s",
				       err.msg);
		}
	}
	buf_release(&b);
}

static void
refused(const char *text, size_t n, const char *expected)
{
	struct err err = ERR_INIT;
	struct buf b = BUF_INIT;

	buf_add(&b, text, n);
	is_int(run(&b, 0, &err), -1, expected);
	ok_msg(strstr(err.msg, expected) != NULL, "%s", err.msg);
	buf_release(&b);
}

static void
test_preamble(void)
{
	static const char version[] = "\x80\x02" MAGIC "\x80\x02M\xea\x03.";
	static const char system[] = "\x80\x02" MAGIC "\x80\x02M\xe9\x03.\x80\x02].";
	static const char no_list[] = "\x80\x02" MAGIC "\x80\x02M\xe9\x03.\x80\x02}.\x80\x02}.\x80\x02}.";

	refused(version, sizeof(version) - 1, "f: at byte 15: the protocol version of this torch file is not 1001");
	refused(system, sizeof(system) - 1, "f: at byte 21: a dict that describes the machine was expected");
	refused(no_list, sizeof(no_list) - 1, "f: at byte 29: a list of storage keys was expected");
}

/* The magic number in every protocol, before an object without tensors. */
static void
test_protocols(void)
{
	static const char rest2[] = "\x80\x02M\xe9\x03.\x80\x02}.\x80\x02K\x07.\x80\x02].";
	static const char rest0[] = "I1001\n.(dp0\n.I7\n.(lp0\n.";
	static const struct {
		const char *text;
		size_t n;
	} heads[] = {
		{ "\x80\x02" MAGIC, 15 },
		{ "\x80\x03" MAGIC, 15 },
		{ "\x80\x04\x95\x0d\0\0\0\0\0\0\0" MAGIC, 24 },
		{ "\x80\x05\x95\x0d\0\0\0\0\0\0\0" MAGIC, 24 },
		{ "L119547037146038801333356L\n.", 28 },
	};
	struct err err = ERR_INIT;
	struct buf b = BUF_INIT;

	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		struct ckpt *c = NULL;
		struct source *s;

		buf_clear(&b);
		buf_add(&b, heads[i].text, heads[i].n);
		if (i == 4)
			buf_adds(&b, rest0);
		else
			buf_add(&b, rest2, sizeof(rest2) - 1);
		s = source_memory(b.p, b.len, "f");
		ok_msg(format_open(&c, s, &opts, &err) == 0, "kind %zu of beginning: %s", i, err.msg);
		if (c != NULL) {
			is_str(c->ops->name, "torch-legacy", "the format is recognised");
			ok(value_kind(c->tree, c->root) == VALUE_INT && value_int(c->tree, c->root) == 7);
		}
		ckpt_close(c);
		source_close(s);
	}
	buf_release(&b);
}

int
main(void)
{
	test_whole();
	test_cut();
	test_trailing();
	test_broken();
	test_preamble();
	test_protocols();
	return tap_done();
}
