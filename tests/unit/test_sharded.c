/* Sharded sets are read as one checkpoint in the order of the index. Refusals name the tensor, the file and the shard. */
#include <fcntl.h>
#include <ftw.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "format/format.h"
#include "format/shard_index.h"
#include "tap.h"

static const struct format_opts opts = { .diag = NULL };
static char dir[] = "/tmp/lnn-sharded-XXXXXX";

static const char *
path_of(const char *name)
{
	static char path[2][300];
	static unsigned turn;

	turn ^= 1;
	snprintf(path[turn], sizeof(path[turn]), "%s/%s", dir, name);
	return path[turn];
}

static void
put_file(const char *name, const void *p, size_t n)
{
	int fd = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (fd < 0 || write(fd, p, n) != (ssize_t)n || close(fd) < 0)
		tap_bail("cannot write a test file");
}

static void
put_text(const char *name, const char *text)
{
	put_file(name, text, strlen(text));
}

/* Writes a shard with a tensor of n bytes for each letter of names. All bytes of a tensor are its letter. */
static void
put_shard(const char *name, const char *names, unsigned n)
{
	struct buf header = BUF_INIT, b = BUF_INIT;
	unsigned at = 0;

	buf_addf(&header, "{\"__metadata__\":{\"format\":\"pt\",\"of\":\"%s\"}", name);
	for (const char *p = names; *p; p++, at += n)
		buf_addf(&header, ",\"%c\":{\"dtype\":\"U8\",\"shape\":[%u],\"data_offsets\":[%u,%u]}", *p, n, at, at + n);
	buf_addc(&header, '}');
	buf_le64(&b, header.len);
	buf_addstr(&b, buf_str(&header));
	for (const char *p = names; *p; p++)
		buf_fill(&b, *p, n);
	put_file(name, b.p, b.len);
	buf_release(&header);
	buf_release(&b);
}

/* Opens the index of that name. *src must be closed after the checkpoint. */
static struct ckpt *
open_set(const char *path, struct source **src, struct err *err)
{
	struct ckpt *c = NULL;

	*src = NULL;
	if (source_open(src, path, NULL, err) == 0)
		format_open(&c, *src, &opts, err);
	return c;
}

static char
letter(struct ckpt *c, uint32_t tensor)
{
	struct err err = ERR_INIT;
	char got;

	if (ckpt_read(c, c->tensors[tensor].storage, 1, &got, 1, &err) == 0)
		return got;
	tap_note("%s", err.msg);
	return '?';
}

static void
test_order(void)
{
	struct err err = ERR_INIT;
	struct source *src, *range;
	struct ckpt *c;
	uint64_t offset;

	put_shard("one.safetensors", "ace", 2);
	put_shard("two.safetensors", "bd", 3);
	put_text("order.json", "{\"weight_map\": {\"d\": \"two.safetensors\", \"e\": \"one.safetensors\", \"b\": "
			       "\"two.safetensors\", \"c\": \"one.safetensors\", \"a\": \"one.safetensors\"}, \"x\": [1]}");
	c = open_set(path_of("order.json"), &src, &err);
	ok_msg(c != NULL, "opened: %s", err.msg);
	if (c == NULL)
		return;
	is_str(c->ops->name, "sharded", "an index is recognised");
	ok(c->ntensors == 5 && c->nstorages == 5 && c->tree == NULL && c->nshards == 2);
	is_str(c->shards[0], "two.safetensors", "shards have the order of their first appearance");
	for (uint32_t i = 0; i < 5; i++) {
		ok_msg(str_eq(c->names[i], str_n(&"debca"[i], 1)), "tensor %u is in the order of the weight_map", i);
		ok_msg(letter(c, i) == "debca"[i], "tensor %u has its own bytes", i);
		ok_msg(c->storages[i].shard == (i < 2 ? 0 : 1), "storage %u belongs to the right shard", i);
	}
	/* The shards have the tensors in the order b d | a c e. */
	ok(c->tensors[0].storage == 1 && c->tensors[2].storage == 0 && c->tensors[4].storage == 2 && c->tensors[1].storage == 4);
	range = ckpt_range(c, 0, &offset);
	ok_msg(range != NULL && strstr(source_name(range), "two.safetensors") != NULL, "a storage is read from its shard");
	ok(c->nmeta == 2 && str_eqc(c->meta_keys[0], "format") && str_eqc(c->meta_values[1], "two.safetensors"));
	ok_msg(ckpt_finish(c, &err) == 0, "finished: %s", err.msg);
	ckpt_close(c);
	source_close(src);
}

/* ---- refusals */

static void
refused(const char *index, const char *expected)
{
	struct err err = ERR_INIT;
	struct source *src;
	struct ckpt *c;
	char message[400];

	put_text("bad.json", index);
	c = open_set(path_of("bad.json"), &src, &err);
	ok_msg(c == NULL, "refused: %s", index);
	snprintf(message, sizeof(message), "%s: %s", path_of("bad.json"), expected);
	if (!ok_msg(strncmp(err.msg, message, strlen(message)) == 0, "the message is right"))
		tap_note("got  %s\n# expected %s", err.msg, message);
	ckpt_close(c);
	source_close(src);
}

static void
test_refused(void)
{
#define MAP "{\"metadata\":{},\"weight_map\":"
	put_shard("s1", "ab", 1);
	put_shard("s2", "c", 1);
	put_shard("s3", "bc", 1);
	put_text("empty", "");
	put_text("text", "hello, this is no checkpoint at all\n");
	mkfifo(path_of("fifo"), 0600);
	refused(MAP "{\"a\":\"s1\",\"c\":\"s2\"}}", "tensor 'b' in the shard 's1' is not in the index");
	refused(MAP "{\"a\":\"s1\",\"b\":\"s1\",\"x\":\"s1\"}}",
		"tensor 'x' belongs to the shard 's1' in the index, but the shard lacks it");
	refused(MAP "{\"a\":\"s1\",\"b\":\"s1\",\"c\":\"s3\"}}", "tensor 'b' is in the shard 's3', but the index has it in 's1'");
	refused(MAP "{\"a\":\"s1\",\"b\":\"s1\",\"c\":\"none\"}}", "tensor 'c' is in the shard 'none', which cannot be read: ");
	refused(MAP "{\"a\":\"empty\"}}", "tensor 'a' is in the shard 'empty', which cannot be read: ");
	refused(MAP "{\"a\":\"text\"}}", "tensor 'a' is in the shard 'text', which cannot be read: ");
	refused(MAP "{\"a\":\"bad.json\"}}", "tensor 'a' is in the shard 'bad.json', which cannot be read: ");
	refused(MAP "{\"a\":\"../s1\"}}", "at byte 33: tensor 'a': the shard '../s1' is not the name of a file beside the index");
	refused(MAP "{\"a\":\"..\"}}", "at byte 33: tensor 'a': the shard '..' is not the name of a file beside the index");
	refused(MAP "{\"a\":\"\"}}", "at byte 33: tensor 'a': the shard '' is not the name of a file beside the index");
	refused(MAP "{\"a\":\"s1\\u0000\"}}", "at byte 33: tensor 'a': the shard 's1");
	refused(MAP "{\"a\":\"s1\",\"\\u0061\":\"s1\"}}", "at byte 38: tensor 'a' occurs twice in the weight_map");
	refused(MAP "{\"a\":1}}", "at byte 33: the shard of a tensor must be a string, not a number");
	refused(MAP "[]}", "at byte 28: weight_map must be an object, not an array");
	refused(MAP "{}}", "at byte 29: the weight_map is empty");
	refused(MAP "{\"a\":\"s1\",\"b\":\"s1\"},\"weight_map\":{}}", "at byte 48: weight_map occurs twice");
	refused("{\"metadata\":{}}", "at byte 15: there is no weight_map in this index");
	refused(MAP "{\"a\":\"s1\",\"b\":\"s1\"}", "at byte 47: ");
#undef MAP
}

static void
test_pipe(void)
{
	static const char text[] = "{\"metadata\":{},\"weight_map\":{\"a\":\"s1\",\"b\":\"s1\"}}";
	struct err err = ERR_INIT;
	struct source *src;
	struct ckpt *c = NULL;
	int fds[2];

	if (pipe(fds) < 0 || write(fds[1], text, sizeof(text) - 1) < 0 || close(fds[1]) < 0 ||
	    source_fd(&src, fds[0], "(standard input)", NULL, &err) < 0)
		tap_bail("no pipe");
	ok(format_open(&c, src, &opts, &err) < 0 && c == NULL);
	is_str(err.msg,
	       "(standard input): this is the index of a sharded checkpoint, whose files are in the same folder: give the index by "
	       "its path",
	       "an index on a pipe is refused");
	source_close(src);
	err_clear(&err);

	/* The index is a file of which only the descriptor is known. */
	put_text("pipe.json", text);
	if (source_fd(&src, open(path_of("pipe.json"), O_RDONLY), "(standard input)", NULL, &err) < 0)
		tap_bail("no file");
	ok(format_open(&c, src, &opts, &err) < 0 && strstr(err.msg, "give the index by its path") != NULL);
	source_close(src);
}

/* ---- many shards, few descriptors */

enum { MANY = 300 };

static void
put_many(void)
{
	struct buf index = BUF_INIT;
	char name[32];

	buf_adds(&index, "{\"weight_map\":{");
	for (unsigned i = 0; i < MANY; i++) {
		struct buf b = BUF_INIT;
		char header[100];

		snprintf(name, sizeof(name), "many-%03u", i);
		snprintf(header, sizeof(header), "{\"t%u\":{\"dtype\":\"U16\",\"shape\":[1],\"data_offsets\":[0,2]}}", i);
		buf_le64(&b, strlen(header));
		buf_adds(&b, header);
		buf_le16(&b, (uint16_t)i);
		put_file(name, b.p, b.len);
		buf_release(&b);
		buf_addf(&index, "%s\"t%u\":\"%s\"", i ? "," : "", i, name);
	}
	buf_adds(&index, "}}");
	put_text("many.json", index.p);
	buf_release(&index);
}

static bool
is_number(struct ckpt *c, uint32_t i, struct err *err)
{
	uint8_t got[2];

	return ckpt_read(c, i, 0, got, 2, err) == 0 && got[0] + 256 * got[1] == (int)i;
}

static void
test_many(void)
{
	struct rlimit old, few = { 48, 48 };
	struct err err = ERR_INIT;
	struct source *src;
	struct ckpt *c;
	unsigned good = 0;

	put_many();
	getrlimit(RLIMIT_NOFILE, &old);
	few.rlim_max = old.rlim_max;
	setrlimit(RLIMIT_NOFILE, &few);
	c = open_set(path_of("many.json"), &src, &err);
	if (ok_msg(c != NULL && c->ntensors == MANY, "%d shards with 48 descriptors: %s", MANY, err.msg)) {
		for (uint32_t i = 0; i < MANY; i++)
			good += is_number(c, i, &err);
		is_uint(good, MANY, "all shards are read in order");
		for (uint32_t i = 0; i < MANY; i++)
			good += is_number(c, i * 97 % MANY, &err);
		is_uint(good, 2 * MANY, "all shards are read in another order");
		ok(ckpt_finish(c, &err) == 0);

		/* The first shard is closed by now. It is replaced by another one of the same size. */
		put_file("new", "\x36\0\0\0\0\0\0\0{\"t0\":{\"dtype\":\"U16\",\"shape\":[1],\"data_offsets\":[0,2]}} ", 60);
		ok(is_number(c, MANY - 1, &err));
		for (uint32_t i = 100; i < 200; i++)
			good += is_number(c, i, &err);
		is_int(rename(path_of("new"), path_of("many-000")), 0, "a shard is replaced");
		ok_msg(!is_number(c, 0, &err) && strstr(err.msg, "many-000: changed while it was read") != NULL, "%s", err.msg);
	}
	ckpt_close(c);
	source_close(src);
	setrlimit(RLIMIT_NOFILE, &old);
}

/* ---- shards of torch */

static void
check_bin(struct ckpt *c)
{
	static const char *const names[] = { "blocks.0.qkv.weight", "blocks.0.proj.weight", "blocks.0.norm.weight",
					     "blocks.1.qkv.weight", "blocks.1.proj.weight", "blocks.1.norm.weight",
					     "blocks.2.qkv.weight", "blocks.2.proj.weight", "blocks.2.norm.weight" };
	struct err err = ERR_INIT;
	struct statedict sd;
	uint8_t bytes[48];

	ok(c->tree != NULL && c->names == NULL && c->nshards == 3);
	is_uint(c->ntensors, 9, "all tensors of the shards are found");
	if (!ok_msg(statedict_open(&sd, c, NULL, &err) == 0, "a state dict: %s", err.msg))
		return;
	is_uint(sd.n, 9, "all entries of the state dict are found");
	ok_msg(sd.ordered && sd.key.len == 0, "the state dict is the root");
	for (size_t i = 0; i < 9 && i < sd.n; i++) {
		const struct tensor *t = sd_tensor(&sd, &sd.entries[i]);

		ok_msg(str_eqc(sd.entries[i].name, names[i]), "%s is in the order of the weight_map", names[i]);
		ok(t != NULL && sd.entries[i].tensor == i && t->dtype == DTYPE_FLOAT32 && t->ndim == 2 && t->shape[1] == 3);
		ok_msg(t != NULL && ckpt_read(c, t->storage, t->offset * 4, bytes, 48, &err) == 0,
		       "the bytes of a tensor are read: %s", err.msg);
	}
	ok_msg(ckpt_finish(c, &err) == 0, "finished: %s", err.msg);
	statedict_release(&sd);
}

static void
test_bin(void)
{
	struct err err = ERR_INIT;
	struct source *src;
	struct ckpt *c = open_set("tests/fixtures/sharded-bin/pytorch_model.bin.index.json", &src, &err);

	ok_msg(c != NULL, "a set of torch files is opened: %s", err.msg);
	if (c != NULL)
		check_bin(c);
	ckpt_close(c);
	source_close(src);
}

/* ---- the index itself */

static void
test_write(void)
{
	static const char path[] = "tests/fixtures/sharded-safetensors/model.safetensors.index.json";
	struct err err = ERR_INIT;
	struct shard_index x;
	struct source *src;
	struct buf b = BUF_INIT, expected = BUF_INIT;
	const char *files[9];
	uint64_t size;

	if (source_open(&src, path, NULL, &err) < 0)
		tap_bail(err.msg);
	ok(shard_index_read(&x, src, &err) == 0 && x.n == 9 && x.nfiles == 3);
	for (uint32_t i = 0; i < 9 && i < x.n; i++)
		files[i] = x.files[x.shard[i]];
	shard_index_write(&b, x.names, files, x.n, 432);
	ok(source_size(src, &size, &err) == 0 &&
	   source_read(src, 0, buf_reserve(&expected, (size_t)size), (size_t)size, &err) == 0);
	expected.len = (size_t)size;
	is_uint(b.len, expected.len, "our index has the length of Python's");
	is_mem(b.p, expected.p, b.len < expected.len ? b.len : expected.len,
	       "our index equals the output of Python's json.dumps(indent=2)");
	is_str(x.paths[2], "tests/fixtures/sharded-safetensors/model-00003-of-00003.safetensors",
	       "the paths of the shards are in the folder of the index");
	shard_index_release(&x);
	source_close(src);
	buf_release(&b);
	buf_release(&expected);
}

static void
test_probe(void)
{
	static const char *const yes[] = { "{\"weight_map\"", " \n{\n  \"metadata\": {", "{\"x\": 1, \"weight_map\": {" };
	static const char *const no[] = { "", "{", "{}", "{\"name\": \"metadata\"}", "x {\"weight_map\"", "[\"weight_map\"]" };

	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
		ok_msg(shard_index_probe((const uint8_t *)yes[i], strlen(yes[i])), "an index: %s", yes[i]);
	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		ok_msg(!shard_index_probe((const uint8_t *)no[i], strlen(no[i])), "none: %s", no[i]);
}

static int
remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st, (void)flag, (void)ftw;
	return remove(path);
}

int
main(void)
{
	if (mkdtemp(dir) == NULL)
		tap_bail("no folder");
	test_order();
	test_refused();
	test_pipe();
	test_many();
	test_bin();
	test_write();
	test_probe();
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return tap_done();
}
