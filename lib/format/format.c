#include "format/format.h"

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

#define ENTRY(name) &(name),
static const struct format_reader *const readers[] = { FORMAT_READERS(ENTRY) };
#undef ENTRY

#define ENTRY(name) &(name),
static const struct format_writer *const writers[] = { FORMAT_WRITERS(ENTRY) };
#undef ENTRY

static const struct format_reader *
find_reader(const uint8_t *head, size_t n)
{
	size_t i;

	for (i = 0; i < sizeof(readers) / sizeof(readers[0]); i++)
		if (readers[i]->probe(head, n))
			return readers[i];
	return NULL;
}

/* ---- files that are often mistaken for checkpoints */

static const struct foreign {
	size_t at;
	const char *magic;
	size_t len;
	const char *hint;
} foreign[] = {
#define MAGIC(at, text) at, text, sizeof(text) - 1
	{ MAGIC(0, "\x1f\x8b"), "it is compressed by gzip: unpack it first (zcat FILE | ...)" },
	{ MAGIC(0, "\xfd"
		   "7zXZ"),
	  "it is compressed by xz: unpack it first (xzcat FILE | ...)" },
	{ MAGIC(0, "(\xb5/\xfd"), "it is compressed by zstd: unpack it first (zstdcat FILE | ...)" },
	{ MAGIC(0, "BZh"), "it is compressed by bzip2: unpack it first (bzcat FILE | ...)" },
	{ MAGIC(0, "version https://git-lfs"), "it is a Git LFS pointer, not the file itself: git lfs pull fetches it" },
	{ MAGIC(0, "PK\5\6"), "it is an empty zip, not a checkpoint" },
	{ MAGIC(0, "GGUF"), "it is a GGUF file, which is not supported: use the original checkpoint" },
	{ MAGIC(0, "\x89HDF\r\n\x1a\n"), "it is an HDF5 file (Keras?), which is not supported" },
	{ MAGIC(0, "\xff\xd8\xff"), "it is a JPEG image, not a checkpoint" },
	{ MAGIC(0, "\x89PNG\r\n\x1a\n"), "it is a PNG image, not a checkpoint" },
	{ MAGIC(0, "PYTORCH1"), "it is from a preview release of PyTorch, which no later one can load" },
	{ MAGIC(257, "ustar"), "it is a tar, perhaps of torch before 0.1.10: load and save it again with an old torch" },
	{ MAGIC(0, "119547037146038801333356L"), "it is a torch file in pickle protocol 0 or 1: save it again with protocol 2" },
#undef MAGIC
};

static bool
is_page(const uint8_t *head, size_t n)
{
	static const char *const begins[] = { "<!doctype html", "<html", "<?xml" };
	struct str s = str_n((const char *)head, n);

	while (s.len > 0 && (s.p[0] == ' ' || s.p[0] == '\n' || s.p[0] == '\r' || s.p[0] == '\t'))
		s = str_from(s, 1);
	for (size_t i = 0; i < sizeof(begins) / sizeof(begins[0]); i++) {
		size_t len = strlen(begins[i]);

		if (s.len >= len && str_eqc_nocase(str_n(s.p, len), begins[i]))
			return true;
	}
	return false;
}

static bool
is_pickle(const uint8_t *head, size_t n)
{
	return n >= 3 && head[0] == 0x80 && head[1] >= 2 && head[1] <= 5;
}

/*
 * Returns true for a protobuf whose field 1 is a small number, the version of ONNX, and whose field 2 is a text, the name of the
 * writing program.
 */
static bool
is_onnx(const uint8_t *head, size_t n)
{
	return n > 5 && head[0] == 0x08 && head[1] > 0 && head[1] < 32 && head[2] == 0x12 && head[3] < 64 && head[4] >= ' ' &&
	       head[4] < 0x7f;
}

static bool
is_distributed(const uint8_t *head, size_t n)
{
	static const char module[] = "torch.distributed.checkpoint.metadata";

	return is_pickle(head, n) && memmem(head, n, module, sizeof(module) - 1) != NULL;
}

const char *
format_foreign(const uint8_t *head, size_t n)
{
	size_t i;

	for (i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
		const struct foreign *f = &foreign[i];

		if (n >= f->at + f->len && memcmp(head + f->at, f->magic, f->len) == 0)
			return f->hint;
	}
	if (is_onnx(head, n))
		return "it is an ONNX model, which is not supported: use the checkpoint that it was exported from";
	if (is_distributed(head, n))
		return "it is the .metadata of a distributed checkpoint, which holds no tensors itself: give the folder";
	if (is_page(head, n))
		return "it is a web page, HTML or XML, and not the file (a download link that needs a login?)";
	return NULL;
}

static bool
is_text(const uint8_t *head, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (head[i] == 0x7f ||
		    (head[i] < ' ' && head[i] != '\n' && head[i] != '\r' && head[i] != '\t' && head[i] != '\f' && head[i] != 0x1b))
			return false;
	return true;
}

static const char *
hint(const uint8_t *head, size_t n)
{
	const char *foreign_hint = format_foreign(head, n);

	if (n == 0)
		return "the input is empty (did the program before it fail?)";
	if (foreign_hint != NULL)
		return foreign_hint;
	if (is_text(head, n))
		return head[0] == '{' || head[0] == '['
			       ? "it is JSON or other text, not a checkpoint"
			       : "it is text, not a checkpoint (lnn-filter reads tensor lists, --against compares with them)";
	return "it is not a checkpoint of a known format (torch zip, torch legacy, safetensors, sharded index, "
	       ".npz, pickled arrays)";
}

bool
format_is_no_text(const uint8_t *head, size_t n)
{
	return n > 0 && (find_reader(head, n) != NULL || format_foreign(head, n) != NULL || memchr(head, '\0', n) != NULL);
}

/* Returns true for a zip whose first signature has one damaged byte. */
static bool
is_nearly_zip(const uint8_t *head, size_t n)
{
	static const uint8_t sign[] = { 'P', 'K', 3, 4 };
	unsigned same = 0;

	for (size_t i = 0; i < sizeof(sign) && i < n; i++)
		same += head[i] == sign[i];
	return same == 3;
}

int
format_open(struct ckpt **out, struct source *src, const struct format_opts *opts, struct err *err)
{
	const struct format_reader *r;
	struct ckpt *c;
	const uint8_t *head;
	size_t n;

	*out = NULL;
	if (source_look(src, 0, FORMAT_PROBE, &head, &n, err) < 0)
		return -1;
	r = find_reader(head, n);
	if (r == NULL && opts != NULL && opts->salvage != SALVAGE_NOT && is_nearly_zip(head, n))
		r = &format_torch_zip;
	if (r == NULL)
		return err_input(err, source_name(src), "%s", hint(head, n));
	c = ckpt_new(src, opts != NULL ? opts->diag : NULL);
	c->salvage = opts != NULL ? opts->salvage : SALVAGE_NOT;
	if (r->open(c, err) < 0) {
		ckpt_close(c);
		if (err->code != ERR_INPUT || !str_ends(str_c(source_name(src)), str_c(".distcp")))
			return -1;
		err_clear(err);
		return err_input(err, source_name(src), "it is a file of a distributed checkpoint: give the folder");
	}
	*out = c;
	return 0;
}

/* ---- writing */

const struct format_writer *
format_writer(const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(writers) / sizeof(writers[0]); i++)
		if (strcmp(writers[i]->name, name) == 0)
			return writers[i];
	return NULL;
}

int
writer_begin(struct writer *w, const struct format_writer *f, const struct manifest *m, struct sink *out, struct err *err)
{
	uint64_t hold;

	*w = (struct writer){ .format = f, .m = m, .out = out };
	w->priv = xcalloc(1, f->priv_size ? f->priv_size : 1);
	if (f->begin(w, err) < 0)
		return -1;
	hold = f->hold != NULL ? f->hold(w) : UINT64_MAX;
	if (hold != UINT64_MAX)
		sink_hold(out, hold);
	return 0;
}

int
writer_storage(struct writer *w, uint32_t i, struct err *err)
{
	if (i != w->next || i >= w->m->nstorages)
		return err_set(err, ERR_INPUT, "%s: storage %u is not the next one", sink_name(w->out), i);
	if (w->format->storage != NULL && w->format->storage(w, i, err) < 0)
		return -1;
	w->due = sink_at(w->out) + w->m->storages[i].nbytes;
	return 0;
}

int
writer_stored(struct writer *w, uint32_t i, uint32_t crc, struct err *err)
{
	if (i != w->next || sink_at(w->out) != w->due)
		return err_set(err, ERR_INPUT, "%s: storage %u came out with another size than announced", sink_name(w->out), i);
	w->next++;
	return w->format->stored != NULL ? w->format->stored(w, i, crc, err) : 0;
}

int
writer_finish(struct writer *w, struct err *err)
{
	if (w->next != w->m->nstorages)
		return err_set(err, ERR_INPUT, "%s: %u storages are missing", sink_name(w->out), w->m->nstorages - w->next);
	return w->format->finish != NULL ? w->format->finish(w, err) : 0;
}

void
writer_release(struct writer *w)
{
	if (w->priv != NULL && w->format->release != NULL)
		w->format->release(w);
	free(w->priv);
	w->priv = NULL;
}
