/*
 * npz: reads files of numpy.savez and savez_compressed, which are zips whose records NAME.npy are arrays. Also reads a single array
 * (numpy.save), whose name is empty. Facts: lib/format/README.md, section 10.
 */
#include <string.h>

#include "base/cursor.h"
#include "base/num.h"
#include "base/xalloc.h"
#include "format/format.h"
#include "io/crc32.h"
#include "zip/directory.h"
#include "zip/inflate.h"

static const char magic[] = "\x93NUMPY";

enum {
	MAGIC = sizeof(magic) - 1,
	BEGIN = 12, /* length of the part that tells where the header ends */
	HEADER_MAX = 1 << 16,
	SUFFIX = 4, /* length of ".npy" */
};

/* The header of an array. */
struct npy {
	struct str descr; /* such as "<f4" */
	enum dtype dtype;
	uint64_t shape[TENSOR_NDIM_MAX];
	unsigned ndim;
	bool fortran;
	size_t begin;       /* offset of the dict */
	uint32_t size, crc; /* size and CRC of the whole header */
};

struct npz_record {
	const struct zip_entry *entry;
	uint32_t before; /* size of the header, which precedes the elements */
};

struct npz {
	struct zip_dir dir; /* for a single array: one entry without a name */
	struct zip_unpacker unpacker;
	struct npz_record *records; /* by storage */
};

/* ---- the header of an array: a dict as Python writes it */

/* Skips blanks, then removes word from the start of s. Returns false if it is not there. */
static bool
word(struct str *s, const char *word)
{
	while (s->len > 0 && (s->p[0] == ' ' || s->p[0] == '\n'))
		*s = str_from(*s, 1);
	if (!str_starts(*s, str_c(word)))
		return false;
	*s = str_from(*s, strlen(word));
	return true;
}

/* Parses a tuple of sizes. Python 2 wrote an L after large ones. */
static bool
shape(struct str *s, struct npy *a)
{
	size_t n;

	if (!word(s, "("))
		return false;
	for (a->ndim = 0; !word(s, ")"); a->ndim++) {
		for (n = 0; n < s->len && s->p[n] >= '0' && s->p[n] <= '9'; n++)
			;
		if (a->ndim == TENSOR_NDIM_MAX || !num_u64(str_n(s->p, n), &a->shape[a->ndim]))
			return false;
		*s = str_from(*s, n);
		(void)word(s, "L");
		(void)word(s, ",");
	}
	return true;
}

static bool
text(struct str *s, struct str *text)
{
	return word(s, "'") && str_split(s, '\'', text) && s->p != NULL;
}

static bool
parse(struct str s, struct npy *a)
{
	struct str key;
	unsigned seen = 0;

	if (!word(&s, "{"))
		return false;
	while (!word(&s, "}")) {
		if (!text(&s, &key) || !word(&s, ":"))
			return false;
		if (str_eqc(key, "descr") && text(&s, &a->descr))
			seen |= 1;
		else if (str_eqc(key, "fortran_order") && ((a->fortran = word(&s, "True")) || word(&s, "False")))
			seen |= 2;
		else if (str_eqc(key, "shape") && shape(&s, a))
			seen |= 4;
		else
			return false;
		(void)word(&s, ",");
	}
	return seen == 7;
}

/* ---- records */

/* Reports that the array t is not valid. */
static int
fail(const struct ckpt *c, const struct zip_entry *t, const char *what, struct err *err)
{
	return t->name.len == 0 ? err_input(err, c->file, "the array %s", what)
				: err_input(err, c->file, "array '%.*s' of the .npz %s", STR_ARG(t->name), what);
}

/* Reads the header of an array into b. Texts in a point into b. */
static int
read_header(struct ckpt *c, const struct zip_entry *t, struct buf *b, struct npy *a, struct err *err)
{
	struct npz *z = c->priv;
	uint64_t size = BEGIN;
	const uint8_t *p;

	while (b->len < size) {
		size_t n = (size_t)size - b->len;

		if (size > t->size)
			return fail(c, t, "ends within its header", err);
		if (zip_unpacker_read(&z->unpacker, t, b->len, buf_reserve(b, n), n, err) < 0)
			return -1;
		b->len += n;
		p = (const uint8_t *)b->p;
		if (memcmp(p, magic, MAGIC) != 0 || p[MAGIC] < 1 || p[MAGIC] > 3)
			return fail(c, t, "does not begin as numpy writes arrays", err);
		a->begin = p[MAGIC] == 1 ? 10 : 12;
		size = a->begin + (p[MAGIC] == 1 ? get_le16(p + 8) : (uint64_t)get_le32(p + 8));
		if (size < BEGIN || size > HEADER_MAX)
			return fail(c, t, "has a header of a size that numpy never writes", err);
	}
	a->size = (uint32_t)size;
	a->crc = crc32_add(0, b->p, b->len);
	return parse(str_from(buf_str(b), a->begin), a) ? 0 : fail(c, t, "has a header that is not understood", err);
}

/* Returns 1 if the array can be a tensor, 0 if it is left out. */
static int
check_type(const struct ckpt *c, const struct zip_entry *t, struct npy *a, struct err *err)
{
	const struct str type = a->descr.len > 0 ? str_from(a->descr, 1) : a->descr;

	a->dtype = dtype_by_numpy(type);
	if (a->dtype != DTYPE_UNKNOWN)
		return 1;
	if (t->name.len > 0 && type.len > 0 && (type.p[0] == 'U' || type.p[0] == 'S')) {
		diag_warn(c->diag, "%s: array '%.*s' is text (%.*s), not a tensor: it is left out", c->file, STR_ARG(t->name),
			  STR_ARG(a->descr));
		return 0;
	}
	if (type.len > 0 && type.p[0] == 'O')
		return fail(c, t, "holds pickled Python objects, not numbers: save the file without it", err);
	return fail(c, t, "has a dtype that no tensor has", err);
}

/* Adds an array. The CRC of its elements is computed from that of the record and that of the header, which begins the record. */
static int
add_array(struct ckpt *c, const struct zip_entry *t, const struct npy *a, struct err *err)
{
	struct npz *z = c->priv;
	struct tensor *tensor = &c->tensors[c->ntensors];
	struct storage *s = &c->storages[c->ntensors];
	const bool typed = dtype_info(a->dtype)->storage != NULL;
	const uint64_t nbytes = t->size - a->size;
	uint64_t numel, need;

	*tensor = (struct tensor){ .storage = c->ntensors, .wrap = VALUE_ABSENT, .dtype = (uint8_t)a->dtype };
	(a->fortran ? tensor_set_fortran : tensor_set_shape)(tensor, &c->arena, a->shape, a->ndim);
	if (!tensor_numel(tensor, &numel) || !dtype_bytes(a->dtype, numel, &need) || need != nbytes)
		return fail(c, t, "has another number of bytes than its shape needs", err);
	*s = (struct storage){ .key = arena_str(&c->arena, str_n(t->name.p, t->name.len - (t->name.len > 0 ? SUFFIX : 0))),
			       .nbytes = nbytes,
			       .offset = t->method == ZIP_STORED ? t->data + a->size : t->data,
			       .packed = t->method == ZIP_STORED ? nbytes : t->packed,
			       .crc = t->crc ^ crc32_join(a->crc, 0, nbytes),
			       .dtype = (uint8_t)(typed ? a->dtype : DTYPE_UINT8),
			       .untyped = !typed };
	s->flags = (uint8_t)((t->crc != 0 ? STORAGE_CRC : 0) | (t->method == ZIP_DEFLATED ? STORAGE_DEFLATED : 0) |
			     (a->descr.p[0] == '>' ? STORAGE_BIG_ENDIAN : 0));
	z->records[c->ntensors] = (struct npz_record){ t, a->size };
	c->names[c->ntensors++] = s->key;
	c->nstorages = c->ntensors;
	return 0;
}

static int
read_array(struct ckpt *c, const struct zip_entry *t, struct err *err)
{
	struct npy a = { .dtype = DTYPE_UNKNOWN };
	struct buf b = BUF_INIT;
	int rc = read_header(c, t, &b, &a, err);

	if (rc == 0)
		rc = check_type(c, t, &a, err);
	if (rc > 0)
		rc = add_array(c, t, &a, err);
	buf_release(&b);
	return rc;
}

/* ---- operations */

static int
read_storage(struct ckpt *c, uint32_t storage, uint64_t off, void *p, size_t n, struct err *err)
{
	struct npz *z = c->priv;
	const struct npz_record *r = &z->records[storage];

	return zip_unpacker_read(&z->unpacker, r->entry, r->before + off, p, n, err);
}

static void
close_it(struct ckpt *c)
{
	struct npz *z = c->priv;

	zip_unpacker_release(&z->unpacker);
	zip_release(&z->dir);
}

/* The arrays of an .npz are listed in the order of its directory. */
static const struct ckpt_ops npz_ops = { .name = "npz", .read = read_storage, .unordered = true, .close = close_it };
static const struct ckpt_ops npy_ops = { .name = "npy", .read = read_storage, .close = close_it };

static struct npz *
begin(struct ckpt *c, const struct ckpt_ops *ops)
{
	struct npz *z = arena_calloc(&c->arena, 1, sizeof(*z));

	zip_unpacker_init(&z->unpacker, c->src);
	c->priv = z;
	c->ops = ops;
	return z;
}

static int
read_arrays(struct ckpt *c, struct err *err)
{
	struct npz *z = c->priv;
	const size_t n = z->dir.n + 1;
	int rc = 0;

	z->records = arena_calloc(&c->arena, n, sizeof(*z->records));
	c->storages = arena_calloc(&c->arena, n, sizeof(*c->storages));
	c->tensors = arena_calloc(&c->arena, n, sizeof(*c->tensors));
	c->names = arena_calloc(&c->arena, n, sizeof(*c->names));
	for (size_t i = 0; rc == 0 && i < z->dir.n; i++) {
		const struct zip_entry *t = &z->dir.entries[i];

		if (c->ops == &npy_ops || str_ends(t->name, str_c(".npy")))
			rc = read_array(c, t, err);
		else
			diag_warn(c->diag, "%s: its record '%.*s' is not an array: it is left out", c->file, STR_ARG(t->name));
	}
	return rc;
}

static int
open_npz(struct ckpt *c, struct err *err)
{
	struct npz *z = begin(c, &npz_ops);

	source_explain(c->src, "the directory at the end of a .npz must be read first");
	return zip_open(&z->dir, c->src, ZIP_COMPARED, c->diag, err) < 0 ? -1 : read_arrays(c, err);
}

static int
open_npy(struct ckpt *c, struct err *err)
{
	struct npz *z = begin(c, &npy_ops);

	z->dir.entries = xcalloc(1, sizeof(*z->dir.entries));
	z->dir.entries[z->dir.n++].method = ZIP_STORED;
	return source_size(c->src, &z->dir.entries[0].size, err) < 0 ? -1 : read_arrays(c, err);
}

/* Returns true for a zip whose first record is NAME.npy. */
static bool
probe_npz(const uint8_t *head, size_t n)
{
	size_t len = n < ZIP_LOCAL || get_le32(head) != ZIP_SIG_LOCAL ? n : get_le16(head + 26);

	return ZIP_LOCAL + len <= n && str_ends(str_n((const char *)head + ZIP_LOCAL, len), str_c(".npy"));
}

static bool
probe_npy(const uint8_t *head, size_t n)
{
	return n >= MAGIC && memcmp(head, magic, MAGIC) == 0;
}

const struct format_reader format_npz = { "npz", probe_npz, open_npz };
const struct format_reader format_npy = { "npy", probe_npy, open_npy };
