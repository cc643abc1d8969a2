/*
 * rebuild and torch_pickle: the tensors that calls in a pickle make. Expected values are in tests/fixtures/rebuilt.tsv, which
 * real PyTorch wrote. Each tensor is then written by us. The output must load with weights_only=True and read back equal.
 */
#include "base/xalloc.h"
#include "format/scan.h"
#include "zip/directory.h"
#include "zip/write.h"
#include "format/format.h"
#include "format/rebuild.h"
#include "io/crc32.h"
#include "table.h"
#include "tap.h"

static struct err e;

/* ---- files */

static void
put_record(struct zip_writer *z, const char *name, struct str data)
{
	if (zip_record_begin(z, str_c(name), data.len, &e) < 0 || sink_write(z->out, data.p, data.len, &e) < 0 ||
	    zip_record_end(z, crc32_add(0, data.p, data.len), &e) < 0)
		tap_bail(e.msg);
}

static const char *const records[] = { "archive/data.pkl", "archive/byteorder", "archive/data/0",     "archive/data/1",
				       "archive/data/2",   "archive/data/3",    "archive/data/empty", "archive/version" };

static void
namer(void *arg, size_t i, struct buf *name)
{
	(void)arg;
	buf_adds(name, records[i]);
}

/* The zip to which the answers in the table belong. */
static void
wrap(struct str pickle, struct buf *out)
{
	static const char zeros[16];
	char counting[16];
	struct sink *sink = sink_memory(out, "made");
	struct zip_writer z;

	for (unsigned i = 0; i < sizeof(counting); i++)
		counting[i] = (char)i;
	buf_clear(out);
	zip_writer_init(&z, sink);
	put_record(&z, records[0], pickle);
	put_record(&z, records[1], str_c("little"));
	put_record(&z, records[2], str_n(counting, sizeof(counting)));
	for (size_t i = 3; i < 6; i++)
		put_record(&z, records[i], str_n(zeros, sizeof(zeros)));
	put_record(&z, records[6], str_n("", 0));
	put_record(&z, records[7], str_c("3\n"));
	if (zip_directory(&z, namer, NULL, &e) < 0 || sink_commit(sink, &e) < 0)
		tap_bail(e.msg);
	zip_writer_release(&z);
}

/* Copies c with the torch writer. */
static int
write_again(struct ckpt *c, struct buf *out)
{
	struct manifest m = {
		.tensors = c->tensors, .ntensors = c->ntensors, .nstorages = c->nstorages, .tree = c->tree, .root = c->root
	};
	struct sink *sink = sink_memory(out, "again");
	const struct format_writer *f = format_writer("torch");
	struct writer w = { .priv = NULL };
	uint8_t bytes[64];
	int rc;

	buf_clear(out);
	m.storages = xcalloc((size_t)c->nstorages + 1, sizeof(*m.storages));
	for (uint32_t i = 0; i < c->nstorages; i++)
		m.storages[i] = (struct manifest_storage){ c->storages[i].nbytes, c->storages[i].dtype, c->storages[i].untyped };
	rc = f->check(&m, &e) < 0 ? -1 : writer_begin(&w, f, &m, sink, &e);
	for (uint32_t i = 0; rc == 0 && i < c->nstorages; i++) {
		size_t n = (size_t)c->storages[i].nbytes;

		if (ckpt_read(c, i, 0, bytes, n, &e) < 0 || writer_storage(&w, i, &e) < 0 || sink_write(sink, bytes, n, &e) < 0 ||
		    writer_stored(&w, i, crc32_add(0, bytes, n), &e) < 0)
			rc = -1;
	}
	if (rc == 0)
		rc = writer_finish(&w, &e);
	if (w.format != NULL)
		writer_release(&w);
	free(m.storages);
	if (rc == 0)
		return sink_commit(sink, &e);
	sink_abort(sink);
	return -1;
}

/* ---- the facts of a tensor */

static void
add_elements(struct ckpt *c, const struct tensor *t, unsigned d, uint64_t at, struct buf *out)
{
	size_t size = dtype_size((enum dtype)t->dtype);
	uint8_t one[16];

	for (uint64_t i = 0; d < t->ndim && i < t->shape[d]; i++)
		add_elements(c, t, d + 1, at + i * t->stride[d], out);
	if (d < t->ndim)
		return;
	if (ckpt_read(c, t->storage, at * size, one, size, &e) < 0)
		tap_bail(e.msg);
	for (size_t i = 0; i < size; i++)
		buf_addf(out, "%02x", one[i]);
}

/* The facts in the form of the table, without the type. */
static void
facts(struct ckpt *c, const struct tensor *t, struct buf *out)
{
	static const struct {
		unsigned flag;
		const char *name;
	} flags[] = { { TENSOR_REQUIRES_GRAD, "grad" }, { TENSOR_CONJ, "conj" }, { TENSOR_NEG, "neg" } };
	size_t start;

	buf_clear(out);
	buf_addf(out, "%s\t%s", dtype_name((enum dtype)t->dtype), t->ndim == 0 ? "scalar" : "");
	for (unsigned i = 0; i < t->ndim; i++)
		buf_addf(out, "%s%" PRIu64, i ? "x" : "", t->shape[i]);
	buf_addc(out, '\t');
	start = out->len;
	for (size_t i = 0; i < 3; i++)
		if (t->flags & flags[i].flag)
			buf_addf(out, "%s%s", out->len > start ? "," : "", flags[i].name);
	buf_adds(out, out->len > start ? "\t" : "-\t");
	start = out->len;
	add_elements(c, t, 0, t->offset, out);
	buf_adds(out, out->len > start ? "" : "-");
}

/* The facts of the tensor at the root, or the kind of the root, or the reason of a refusal. */
static struct ckpt *
look(struct source *src, struct buf *out)
{
	struct ckpt *c = NULL;
	uint32_t index;

	err_clear(&e);
	buf_clear(out);
	if (format_open(&c, src, &(struct format_opts){ .diag = NULL }, &e) < 0) {
		buf_addf(out, "refused: %s", e.msg);
		return NULL;
	}
	if (value_leaf(c->tree, c->root, &index) == LEAF_TENSOR)
		facts(c, &c->tensors[index], out);
	else
		buf_adds(out, value_kind(c->tree, c->root) == VALUE_OBJECT ? "a call" : "something else");
	return c;
}

/* Pickles that torch.save never writes. They are refused, or carried as calls. */
static const struct {
	const char *name, *answer;
} others[] = {
	{ "no strides", "refused: made: at byte 202: a tensor of the pickle has another number of strides than of dimensions" },
	/* a class that is called without arguments */
	{ "Parameter of nothing", "refused: made: 1 tensors of its pickle have no data" },
	{ "FloatTensor", "refused: made: 1 tensors of its pickle have no data" },
	{ "DoubleTensor as a parameter", "refused: made: 1 tensors of its pickle have no data" },
	{ "HalfTensor as a parameter", "refused: made: 1 tensors of its pickle have no data" },
	{ "BFloat16Tensor as a parameter", "refused: made: 1 tensors of its pickle have no data" },
	/* a tensor that gets a second storage */
	{ "BUILD a tensor wrongly", "refused: made: at byte 204: BUILD: its target cannot have a state" },
	{ "BUILD a parameter", "refused: made: at byte 342: BUILD: its target cannot have a state" },
	{ "old FloatTensor, no state", "refused: made: at byte 88: BUILD: its target cannot have a state" },
	/* carried unchanged */
	{ "Tensor", "a call" },
	{ "Tensor by NEWOBJ", "a call" },
	{ "Parameter of None", "a call" },
	{ "device from CPU", "a call" },
	{ "device from CPU, gradient", "a call" },
	{ "from type, of its kind", "a call" },
	{ "from type, of its kind by another spelling", "a call" },
	{ "from type, sixteen of its kind", "a call" },
	{ "dotted name of an allowed one", "a call" },
};

static void
is_loadable(const struct buf *zip, const char *name, bool carried)
{
	struct source *src = source_memory(zip->p, zip->len, "again");
	struct pickle_scan s = { .found = NULL };
	const struct zip_entry *found;
	struct zip_dir d;

	if (zip_open(&d, src, ZIP_COMPARED, NULL, &e) < 0 || (found = zip_find(&d, str_c("archive/data.pkl"))) == NULL)
		tap_bail("the output has no data.pkl");
	if (pickle_scan(&s, src, found->data, found->data + found->size, &e) < 0)
		tap_bail(e.msg);
	/* A carried call is written unchanged, and may be one that torch.save does not write. */
	if (!ok_msg(s.loads || (carried && s.unknown), "%s: the output loads with weights_only", name))
		tap_note("%s", s.why);
	zip_release(&d);
	source_close(src);
}

static void
check(const char *name, struct str expected, struct str pickle)
{
	struct buf zip = BUF_INIT, got = BUF_INIT, again = BUF_INIT;
	struct source *src;
	struct ckpt *c;
	const char *other = NULL;

	wrap(pickle, &zip);
	src = source_memory(zip.p, zip.len, "made");
	c = look(src, &got);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (strcmp(others[i].name, name) == 0)
			other = others[i].answer;
	if (other != NULL)
		is_str(got.p, other, name);
	else if (!ok_msg(str_eq(buf_str(&got), expected), "%s", name))
		tap_note("got  %.*s\n# expected %.*s", STR_ARG(buf_str(&got)), STR_ARG(expected));
	if (c != NULL) {
		if (!ok_msg(write_again(c, &again) == 0, "%s: written again", name))
			tap_note("%s", e.msg);
		ckpt_close(c);
		source_close(src);
		/* Protocol 2 can express a name with a dot only as a call of getattr. */
		if (strstr(name, "dotted") == NULL && strstr(name, "spelling") == NULL)
			is_loadable(&again, name, other != NULL);
		src = source_memory(again.p, again.len, "again");
		c = look(src, &got);
		if (!ok_msg(str_eq(buf_str(&got), other != NULL ? str_c(other) : expected), "%s: read again", name))
			tap_note("got  %.*s\n# expected %.*s", STR_ARG(buf_str(&got)), STR_ARG(expected));
	}
	ckpt_close(c);
	source_close(src);
	buf_release(&again);
	buf_release(&got);
	buf_release(&zip);
}

static void
table(void)
{
	struct buf text = BUF_INIT, data = BUF_INIT;
	struct str rest, row, type, expected, title;
	char name[128];

	table_read("tests/fixtures/rebuilt.tsv", &text);
	rest = buf_str(&text);
	while (table_row(&rest, &row)) {
		str_split(&row, '\t', &type);
		expected = row;
		for (int i = 0; i < 4; i++)
			str_split(&row, '\t', &title);
		expected.len = (size_t)(row.p - expected.p) - 1;
		if (!str_split(&row, '\t', &title))
			tap_bail("a row of the table does not have seven columns");
		buf_clear(&data);
		table_bytes(buf_str(&text), row, &data);
		snprintf(name, sizeof(name), "%.*s", STR_ARG(title));
		check(name, expected, buf_str(&data));
	}
	ok(tap.run >= 150);
	buf_release(&data);
	buf_release(&text);
}

#define STORAGE(key, n) "(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0" key "X\3\0\0\0cpuK" n "tQ"
#define V2 "ctorch._utils\n_rebuild_tensor_v2\n"
#define HOOKS "ccollections\nOrderedDict\n)R"
#define TENSOR V2 "(" STORAGE("\x30", "\4") "K\0K\4\x85K\1\x85\x89" HOOKS "tR"

/*
 * Tensors of torch before 0.2, which were constructed empty and then got a state. Tensor.__setstate__ in torch/_tensor.py
 * defines the meaning of the state. The offsets of refusals are tested, too; data.pkl begins at byte 64.
 */
static void
states(void)
{
	static const struct {
		const char *what, *p;
		size_t n;
		const char *answer;
	} all[] = {
#define P(literal) literal, sizeof(literal) - 1
		{ "five: data at 0, requires_grad at 3",
		  P("\x80\2"
		    "ctorch.nn.parameter\nParameter\n)R(" TENSOR "NN\x88" HOOKS "tb."),
		  "float32\t4\tgrad\t000102030405060708090a0b0c0d0e0f" },
		{ "five, without gradients",
		  P("\x80\2"
		    "ctorch\nFloatTensor\n)R(" TENSOR "NN\x89" HOOKS "tb."),
		  "float32\t4\t-\t000102030405060708090a0b0c0d0e0f" },
		{ "four, then three",
		  P("\x80\2"
		    "ctorch\nFloatTensor\n)R(" STORAGE("\x30", "\4") "K\1K\3\x85K\1\x85tb"
								     "\x89\x89" HOOKS "\x87"
								     "b."),
		  "float32\t3\t-\t0405060708090a0b0c0d0e0f" },
		{ "three of a tensor without data",
		  P("\x80\2"
		    "ctorch\nFloatTensor\n)R\x89\x89N\x87"
		    "b."),
		  "refused: made: at byte 91: BUILD: its target cannot have a state" },
		{ "five, data of another kind",
		  P("\x80\2"
		    "ctorch\nFloatTensor\n)R(NNN\x89NtbK."),
		  "refused: made: at byte 94: BUILD: its target cannot have a state" },
		{ "four, outside",
		  P("\x80\2"
		    "ctorch\nFloatTensor\n)R(" STORAGE("\x30", "\4") "K\1K\4\x85K\1\x85tb."),
		  "refused: made: a tensor of storage '0': it reaches to byte 20 of a storage that has 16" },
		{ "four, no storage",
		  P("\x80\2"
		    "ctorch\nFloatTensor\n)R(K\0K\0K\4\x85K\1\x85tb."),
		  "refused: made: a tensor of the pickle has no storage" },
		{ "no storage", P("\x80\2" V2 "(K\0K\0K\4\x85K\1\x85\x89NtR."),
		  "refused: made: at byte 113: a tensor of the pickle has no storage" },
		{ "an offset that is not a number", P("\x80\2" V2 "(" STORAGE("\x30", "\4") "NK\4\x85K\1\x85\x89NtR."),
		  "refused: made: at byte 161: a tensor of the pickle has no valid storage offset" },
		{ "quantised, no storage",
		  P("\x80\2"
		    "ctorch._utils\n_rebuild_qtensor\n(K\0K\0K\4\x85K\1\x85)\x89NtR."),
		  "refused: made: at byte 112: a tensor of the pickle has no storage" },
		{ "quantised, outside",
		  P("\x80\2"
		    "ctorch._utils\n_rebuild_qtensor\n((X\7\0\0\0storagectorch\nQInt8Storage\nX\1\0\0\0\x30"
		    "X\3\0\0\0cpuK\4tQK\1K\4\x85K\1\x85)\x89NtR."),
		  "refused: made: at byte 161: a tensor of storage '0': it reaches to byte 5 of a storage that has 4" },
		{ "a key that is not text",
		  P("\x80\2"
		    "(X\7\0\0\0storagectorch\nFloatStorage\nNX\3\0\0\0cpuK\4tQ."),
		  "refused: made: a persistent id of its pickle has a storage key that is not text" },
		{ "a storage of two sizes", P("\x80\2" STORAGE("\x30", "\4") STORAGE("\x30", "\3") "\x86."),
		  "refused: made: storage '0' is described in two ways" },
	};
	struct buf zip = BUF_INIT, got = BUF_INIT;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		struct source *src;
		struct ckpt *c;

		wrap(str_n(all[i].p, all[i].n), &zip);
		src = source_memory(zip.p, zip.len, "made");
		c = look(src, &got);
		is_str(got.p, all[i].answer, all[i].what);
		ckpt_close(c);
		source_close(src);
	}
	buf_release(&got);
	buf_release(&zip);
}

/* Decodes a pickle and describes everything that is read of it. */
static void
decoded(struct str pickle, bool at_once, struct buf *out)
{
	struct source *src = source_memory(pickle.p, pickle.len, "made");
	struct pickle_place place = { .src = src, .limit = pickle.len };
	struct ckpt *c = ckpt_new(src, NULL);
	struct rebuild r;
	struct pickle_hooks hooks;
	int rc;

	err_clear(&e);
	buf_clear(out);
	c->tree = vtree_new();
	rebuild_init(&r, c, false);
	hooks = rebuild_hooks(&r);
	if (!at_once)
		hooks.plain = NULL;
	rc = pickle_decode(c->tree, &place, &hooks, &c->root, &e);
	buf_addf(out, "%d %s %" PRIu64, rc, e.msg, place.end);
	for (uint32_t i = 0; i < c->nstorages; i++)
		buf_addf(out, "\n%.*s %s %" PRIu64 " %d", STR_ARG(c->storages[i].key), dtype_name((enum dtype)c->storages[i].dtype),
			 c->storages[i].nbytes, c->storages[i].location);
	for (uint32_t i = 0; i < c->ntensors; i++) {
		const struct tensor *t = &c->tensors[i];

		buf_addf(out, "\n%s %" PRIu32 " %" PRIu64 " %d", dtype_name((enum dtype)t->dtype), t->storage, t->offset, t->flags);
		shape_put(out, t->shape, t->ndim);
		shape_put(out, t->stride, t->ndim);
	}
	rebuild_release(&r);
	ckpt_close(c);
	source_close(src);
}

/* The first tensors of a file of torch.save, with two bytes replaced: it does not matter whether calls are read at once. */
static void
at_once(void)
{
	static const char bytes[] = "qrhjKMJXt().\x85\x88\x89\x8a\x94R\0\1\4\xff";
	struct source *src = NULL;
	struct buf pickle = BUF_INIT, one = BUF_INIT, whole = BUF_INIT;
	const size_t n = 397; /* after four tensors */
	size_t differing = 0, wrong = 0;
	const struct zip_entry *found;
	struct zip_dir d;

	if (source_open(&src, "tests/fixtures/tiny.pth", NULL, &e) < 0 || zip_open(&d, src, ZIP_COMPARED, NULL, &e) < 0 ||
	    (found = zip_find(&d, str_c("tiny/data.pkl"))) == NULL ||
	    source_read(src, found->data, buf_reserve(&pickle, n), n, &e) < 0)
		tap_bail("there is no pickle");
	pickle.len = n;
	buf_adds(&pickle, "uu.");
	decoded(buf_str(&pickle), true, &whole);
	is_str(whole.p,
	       "0  400\n0 float32 432 0\n1 float32 16 0\n2 float32 16 0\n3 float32 16 0\nfloat32 0 0 0[4,3,3,3][27,9,3,1]\nfloat32 1 0 0[4][1]\nfloat32 2 0 0[4][1]\nfloat32 3 0 0[4][1]",
	       "the pickle itself");
	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < sizeof(bytes) - 1; k++) {
			const char was[2] = { pickle.p[i], pickle.p[i + 1] };

			pickle.p[i] = bytes[k];
			pickle.p[i + 1] = k % 2 == 0 ? was[1] : bytes[(i + k) % (sizeof(bytes) - 1)];
			decoded(buf_str(&pickle), true, &one);
			decoded(buf_str(&pickle), false, &whole);
			memcpy(&pickle.p[i], was, 2);
			wrong += one.p[0] != '0';
			if (!str_eq(buf_str(&one), buf_str(&whole)) && differing++ == 0)
				tap_note("byte %zu as %02x: %s, but %s", i, (unsigned char)bytes[k], one.p, whole.p);
		}
	}
	ok(differing == 0);
	ok(wrong > n);
	zip_release(&d);
	source_close(src);
	buf_release(&pickle);
	buf_release(&one);
	buf_release(&whole);
}

int
main(void)
{
	table();
	states();
	at_once();
	return tap_done();
}
