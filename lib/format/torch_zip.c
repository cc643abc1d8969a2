/*
 * torch_zip: reads files of torch.save since 1.6, and TorchScript archives. They are zips whose records are in one folder, ROOT.
 * ROOT/data.pkl is the object, ROOT/data/KEY holds the bytes of a storage, and ROOT/version and ROOT/byteorder hold what their
 * names say. A file is read through the directory at its end. A pipe is read forward through the local header of each record,
 * provided that the records are in the order in which torch writes them. The directory is then compared with the records that were
 * read. Facts: lib/format/README.md, sections 2 and 3.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/limits.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "format/format.h"
#include "format/rebuild.h"
#include "io/crc32.h"
#include "zip/directory.h"
#include "zip/inflate.h"

/* The most bytes that are read of version, byteorder and similar records. */
enum { TORCH_SMALL = 128 };

/* The largest size of record .data/lnn that is read. */
enum { OWN_MAX = 16 << 20 };

/* A record that was read on a stream. */
struct seen {
	uint64_t header;
	uint64_t packed, size;
	uint32_t crc;
	uint32_t storage; /* STORAGE_NONE: the record is no storage */
	uint32_t name;    /* index of its name in others, unless it is a storage */
	uint16_t method;
};

/* A stream that is read through its local headers. */
struct torch_stream {
	struct ckpt *c;
	struct str *root;  /* points to root of the torch_zip */
	struct seen *seen; /* in the order of the stream */
	size_t n, cap;
	struct str *others; /* names of records that are no storages */
	size_t nothers, others_cap;
	uint32_t *crcs; /* CRCs of the bytes of index records; by number of others */
	size_t crcs_cap;
	struct strmap folded; /* names in lower case, mapped to indices in others */
	struct strmap keys;   /* maps storage keys to numbers by first use */
	uint32_t *place;      /* maps numbers by first use to storages; NULL until the order is known */
	uint32_t *record;     /* by storage: index of its record in seen; UINT32_MAX if it has not come yet */
	uint8_t *done;        /* by storage: it will not be read again */
	uint64_t at;          /* offset of the next header or, if pending, of the last record's descriptor */
	bool pending, wide;
	bool sizes_differ; /* the header of the last record and its tensors state different sizes; stated is that of the header */
	uint64_t stated;
	bool at_directory;
	bool forgets;                            /* bytes that are not needed any more may be forgotten */
	bool all_crcs;                           /* check the CRCs of all records */
	size_t low;                              /* records before this one are not needed */
	size_t outside;                          /* number of records outside the root */
	size_t differing;                        /* number of records with contradicting CRCs or sizes */
	bool version, byteorder, format_version; /* these records have come */
	struct buf name;                         /* name in the last header */
	struct buf lower;                        /* a name in lower case */
	struct zip_local local;
};

struct torch_zip {
	struct str root;              /* root folder of the archive; in the arena of the ckpt */
	struct torch_stream *forward; /* NULL if the archive is read through the directory */
	struct zip_unpacker unpacker;
};

static bool
probe(const uint8_t *head, size_t n)
{
	return n >= 4 && get_le32(head) == ZIP_SIG_LOCAL;
}

/* ---- small records */

/* Checks the contents of small records. Errors name the record. */
static int
check_version(struct ckpt *c, struct str text, struct err *err)
{
	unsigned v = 0;
	size_t i = 0;

	/* Parses like torch: strtoull, ignoring what follows the number. */
	while (i < text.len && (text.p[i] == ' ' || (text.p[i] >= '\t' && text.p[i] <= '\r')))
		i++;
	i += i < text.len && text.p[i] == '+';
	for (; i < text.len && text.p[i] >= '0' && text.p[i] <= '9' && v < 1000; i++)
		v = v * 10 + (unsigned)(text.p[i] - '0');
	if (v < 1 || v > 10)
		return err_input(err, c->file, "its record 'version' holds no version from 1 to 10, so torch refuses it");
	return 0;
}

static int
check_byteorder(struct ckpt *c, struct str text, bool *big, struct err *err)
{
	*big = str_eqc(text, "big");
	if (!*big && !str_eqc(text, "little"))
		return err_input(err, c->file, "its record 'byteorder' is neither little nor big");
	return 0;
}

/*
 * Returns the program that wrote a file. It is derived from facts that are visible on a pipe, too: whether the records
 * .format_version and byteorder exist, and whether version precedes the storages.
 */
static const char *
writer_of(bool format_version, bool byteorder, bool version_first)
{
	if (format_version)
		return "torch 2.7 or later";
	if (version_first)
		return byteorder ? "lnn-tools" : NULL;
	return byteorder ? "torch 2.1 to 2.6" : "torch 1.6 to 2.0";
}

/* Returns the part of a record's name after "ROOT/". p is NULL if the record is not below root. */
static struct str
below_root(struct str root, struct str name)
{
	if (name.len <= root.len || !str_starts(name, root) || name.p[root.len] != '/')
		return str_n(NULL, 0);
	return str_from(name, root.len + 1);
}

/* Computes the CRC of a range of the source. On a stream the range must still be kept. */
static int
range_crc(struct source *src, uint64_t off, uint64_t n, uint32_t *crc, struct err *err)
{
	char piece[16 * 1024];

	*crc = 0;
	for (size_t some; n > 0; off += some, n -= some) {
		some = n < sizeof(piece) ? (size_t)n : sizeof(piece);
		if (source_read(src, off, piece, some, err) < 0)
			return -1;
		*crc = crc32_add(*crc, piece, some);
	}
	return 0;
}

static bool
is_mark(struct str what)
{
	return str_eqc(what, "version") || str_eqc(what, ".data/version") || str_eqc(what, "byteorder") ||
	       str_eqc(what, ".format_version") || str_eqc(what, ".storage_alignment") || str_eqc(what, CKPT_RECORD);
}

/* Returns true if the record belongs to the index, so that the tensors depend on it. what is its name below the root. */
static bool
is_index(struct str what)
{
	return is_mark(what) || str_eqc(what, "data.pkl");
}

/* ---- reading storages */

static void
stream_free(struct torch_stream *f)
{
	if (f == NULL)
		return;
	free(f->seen);
	free(f->others);
	free(f->crcs);
	strmap_release(&f->folded);
	strmap_release(&f->keys);
	free(f->place);
	free(f->record);
	free(f->done);
	buf_release(&f->name);
	buf_release(&f->lower);
	free(f);
}

static int
read_storage(struct ckpt *c, uint32_t storage, uint64_t off, void *p, size_t n, struct err *err)
{
	struct torch_zip *z = c->priv;
	const struct storage *s = &c->storages[storage];
	const struct zip_entry t = { .name = s->key,
				     .data = s->offset,
				     .packed = s->packed,
				     .size = s->nbytes,
				     .method = s->flags & STORAGE_DEFLATED ? ZIP_DEFLATED : ZIP_STORED };

	return zip_unpacker_read(&z->unpacker, &t, off, p, n, err);
}

static void
close_zip(struct ckpt *c)
{
	struct torch_zip *z = c->priv;

	if (z == NULL)
		return;
	stream_free(z->forward);
	zip_unpacker_release(&z->unpacker);
}

static int
missing(struct ckpt *c, uint32_t storage, struct err *err)
{
	return err_input(err, c->file, "its record 'data/%.*s' is missing", STR_ARG(c->storages[storage].key));
}

static int check_records(struct ckpt *c, struct err *err);

static const struct ckpt_ops torch_ops = {
	.name = "torch",
	.locate = missing,
	.read = read_storage,
	.close = close_zip,
	.records = check_records,
};
static const struct ckpt_ops script_ops = {
	.name = "torchscript",
	.locate = missing,
	.read = read_storage,
	.close = close_zip,
	.records = check_records,
};

/* ---- reading through the directory */

struct opening {
	struct ckpt *c;
	struct zip_dir dir;
	struct buf name; /* scratch buffer */
	uint64_t version_at;
	bool byteorder, format_version;
	bool constants; /* the pickle being decoded is constants.pkl, whose storages are in constants/ */
	struct err *err;
};

/* Returns the record root/FIRST SECOND (concatenated), or NULL. */
static const struct zip_entry *
find(struct opening *o, const char *first, struct str second)
{
	const struct torch_zip *z = o->c->priv;

	buf_clear(&o->name);
	buf_addstr(&o->name, z->root);
	buf_addc(&o->name, '/');
	buf_adds(&o->name, first);
	buf_addstr(&o->name, second);
	return zip_find(&o->dir, buf_str(&o->name));
}

static const struct zip_entry *
find_c(struct opening *o, const char *name)
{
	return find(o, name, str_c(""));
}

/* Reads the first bytes of a record, at most TORCH_SMALL. */
static int
read_small(struct opening *o, const struct zip_entry *t, char *buffer, struct str *text)
{
	struct torch_zip *z = o->c->priv;

	*text = str_n(buffer, t->size < TORCH_SMALL ? (size_t)t->size : TORCH_SMALL);
	return zip_unpacker_read(&z->unpacker, t, 0, buffer, text->len, o->err);
}

/* Sets the error for torch.export files, and returns -1. */
static int
fail_exported(const struct opening *o)
{
	return err_input(o->err, o->c->file,
			 "it is a program of torch.export (.pt2): torch.export.load gives its state_dict, which can be saved");
}

static int
find_root(struct opening *o)
{
	struct torch_zip *z = o->c->priv;
	const char *slash;
	struct str first;
	size_t i, outside = 0;

	if (o->dir.n == 0)
		return err_input(o->err, o->c->file, "it is an empty zip, not a checkpoint");
	first = o->dir.entries[0].name;
	if (zip_find(&o->dir, str_c("serialized_exported_program.json")) != NULL)
		return fail_exported(o);
	slash = first.len > 0 ? memchr(first.p, '/', first.len) : NULL;
	if (slash == NULL)
		return err_input(o->err, o->c->file, "it is a zip, but not torch's: record '%.*s' is not in a folder",
				 STR_ARG(first));
	z->root = arena_str(&o->c->arena, str_n(first.p, (size_t)(slash - first.p)));
	for (i = 0; i < o->dir.n; i++)
		outside += below_root(z->root, o->dir.entries[i].name).p == NULL;
	if (outside > 0)
		diag_warn(o->c->diag, "%s: %zu of its records are outside the folder '%.*s': torch.load refuses such a file",
			  o->c->file, outside, STR_ARG(z->root));
	return 0;
}

/* Refuses zips that torch writes but that are no checkpoints. */
static int
check_purpose(struct opening *o)
{
	if (find_c(o, ".data/extern_modules") != NULL)
		return err_input(o->err, o->c->file,
				 "it is a torch.package, which holds code: take the state dict out of its module and save that");
	return find_c(o, "archive_format") != NULL ? fail_exported(o) : 0;
}

/* Unpacks a record in pieces. The stated size is not trusted until the bytes arrive. */
static int
unpack(struct opening *o, const struct zip_entry *t, struct buf *b)
{
	struct zip_inflate *z;
	int rc = 0;

	if (zip_check_unpacked(o->c->src, t, o->err) < 0)
		return -1;
	z = zip_inflate_new(o->c->src, t->data, t->packed, t->size, t->name);
	while (rc == 0 && b->len < t->size) {
		size_t n = t->size - b->len < 1 << 20 ? (size_t)(t->size - b->len) : 1 << 20;

		rc = zip_inflate_read(z, buf_reserve(b, n), n, o->err);
		b->len += rc == 0 ? n : 0;
	}
	zip_inflate_free(z);
	return rc;
}

/*
 * Returns true if crc is one of the CRCs that the zip states. The header or descriptor may contradict the directory, of which the
 * user is warned. A CRC of 0 states nothing.
 */
static bool
is_stated(uint32_t crc, uint32_t here, uint32_t listed)
{
	return (here == 0 && listed == 0) || crc == here || crc == listed;
}

/* Returns the name below the root, or the whole name of a record that is elsewhere. */
static struct str
short_name(struct str root, struct str name)
{
	const struct str below = below_root(root, name);

	return below.p != NULL ? below : name;
}

static int
unpacked_crc(struct source *src, const struct zip_entry *t, uint32_t *crc, struct err *err)
{
	struct zip_inflate *z = zip_inflate_new(src, t->data, t->packed, t->size, t->name);
	char piece[16 * 1024];
	int rc = 0;

	*crc = 0;
	for (uint64_t left = t->size, n; rc == 0 && left > 0; left -= n) {
		n = left < sizeof(piece) ? left : sizeof(piece);
		rc = zip_inflate_read(z, piece, (size_t)n, err);
		*crc = rc == 0 ? crc32_add(*crc, piece, (size_t)n) : 0;
	}
	zip_inflate_free(z);
	return rc;
}

/* Compares the CRC of a record with its bytes. */
static int
check_record(struct opening *o, const struct zip_entry *t)
{
	const struct torch_zip *z = o->c->priv;
	uint32_t crc = 0;
	int rc;

	if (t->crc == 0 && t->listed == 0)
		return 0;
	if (t->method == ZIP_STORED)
		rc = range_crc(o->c->src, t->data, t->size, &crc, o->err);
	else
		rc = unpacked_crc(o->c->src, t, &crc, o->err);
	if (rc == 0 && !is_stated(crc, t->crc, t->listed))
		ckpt_damaged(o->c, short_name(z->root, t->name));
	return rc;
}

/* Keeps the contents of record .data/lnn. */
static int
keep_own(struct ckpt *c, uint64_t at, uint64_t size, struct err *err)
{
	char *buffer = arena_alloc(&c->arena, (size_t)size + 1);

	if (source_read(c->src, at, buffer, (size_t)size, err) < 0)
		return -1;
	c->note = str_n(buffer, (size_t)size);
	(void)str_split(&c->note, '\n', &c->tables);
	return 0;
}

static int
read_marks(struct opening *o)
{
	const struct zip_entry *version = find_c(o, ".data/version"), *order = find_c(o, "byteorder");
	const struct zip_entry *tables = find_c(o, CKPT_RECORD);
	char buffer[TORCH_SMALL];
	struct str text;

	if (version == NULL)
		version = find_c(o, "version");
	if (version == NULL && o->c->salvage == SALVAGE_NOT)
		return err_input(o->err, o->c->file, "it has no record 'version', so torch refuses it");
	if (o->c->salvage == SALVAGE_NOT &&
	    (check_record(o, version) < 0 || read_small(o, version, buffer, &text) < 0 || check_version(o->c, text, o->err) < 0))
		return -1;
	if (order != NULL && (check_record(o, order) < 0 || read_small(o, order, buffer, &text) < 0 ||
			      check_byteorder(o->c, text, &o->c->big_endian, o->err) < 0))
		return -1;
	if (tables != NULL && tables->method == ZIP_STORED && tables->size <= OWN_MAX &&
	    (check_record(o, tables) < 0 || keep_own(o->c, tables->data, tables->size, o->err) < 0))
		return -1;
	o->version_at = version != NULL ? version->data : UINT64_MAX;
	o->byteorder = order != NULL;
	o->format_version = find_c(o, ".format_version") != NULL || find_c(o, ".storage_alignment") != NULL;
	return 0;
}

/* In salvage mode, version is ignored. Other damaged small records are treated as missing, and reported. */
static int
read_marks_left(struct opening *o)
{
	size_t damaged = o->c->ndamaged;

	if (read_marks(o) == 0 && o->c->ndamaged == damaged)
		return 0;
	if (o->c->salvage == SALVAGE_NOT)
		return o->err->code == ERR_NONE ? 0 : -1;
	err_clear(o->err);
	o->c->tables = str_c("");
	if (o->c->ndamaged == damaged)
		ckpt_damaged(o->c, str_c("byteorder"));
	return 0;
}

/* Decodes the pickle from its unpacked bytes. */
static int
decode_unpacked(struct ckpt *c, struct rebuild *r, const struct buf *pickle, struct err *err)
{
	struct pickle_hooks hooks = rebuild_hooks(r);
	struct buf name = BUF_INIT;
	struct pickle_place place = { .limit = pickle->len };
	int rc;

	buf_addf(&name, "%s (its data.pkl, unpacked)", c->file);
	r->where = name.p;
	place.src = source_memory(pickle->p, pickle->len, name.p);
	rc = pickle_decode(c->tree, &place, &hooks, &c->root, err);
	r->where = c->file;
	source_close(place.src);
	buf_release(&name);
	return rc;
}

static int
decode(struct opening *o, struct rebuild *r)
{
	const struct zip_entry *t = find_c(o, o->constants ? "constants.pkl" : "data.pkl");
	struct pickle_hooks hooks = rebuild_hooks(r);
	struct pickle_place place = { .src = o->c->src };
	struct buf b = BUF_INIT;
	int rc;

	if (t == NULL)
		return err_input(o->err, o->c->file, "it is a zip, but not torch's: it has no record 'data.pkl'");
	if (check_record(o, t) < 0)
		return -1;
	if (t->method == ZIP_DEFLATED) {
		rc = unpack(o, t, &b);
		if (rc == 0)
			rc = decode_unpacked(o->c, r, &b, o->err);
		buf_release(&b);
		return rc;
	}
	place.off = t->data;
	place.limit = t->data + t->size;
	return pickle_decode(o->c->tree, &place, &hooks, &o->c->root, o->err);
}

/* Returns the record of a storage. torch usually lists it after that of the previous storage. */
static const struct zip_entry *
find_storage(struct opening *o, struct str key, const struct zip_entry *before)
{
	const struct zip_entry *next;
	struct str below;

	if (before != NULL && before + 1 < o->dir.entries + o->dir.n) {
		next = before + 1;
		below = below_root(((const struct torch_zip *)o->c->priv)->root, next->name);
		if (below.len == key.len + 5 && str_starts(below, str_c("data/")) && str_eq(str_from(below, 5), key))
			return next;
	}
	return find(o, o->constants ? "constants/" : "data/", key);
}

static void
place_storage(const struct ckpt *c, struct storage *s, const struct zip_entry *t)
{
	s->offset = t->data;
	s->packed = t->method == ZIP_STORED ? s->nbytes : t->packed;
	s->crc = t->crc;
	if (t->crc != 0 || t->size == 0)
		s->flags |= STORAGE_CRC;
	if (t->method == ZIP_DEFLATED)
		s->flags |= STORAGE_DEFLATED;
	if (c->big_endian)
		s->flags |= STORAGE_BIG_ENDIAN;
}

/*
 * In salvage mode: if a record is missing or has a wrong size, the offset of its storage stays unknown. If two different CRCs are
 * stated, the one that matches the bytes is used. A record whose size nothing states (zip_scan) may be longer than its tensors
 * say.
 */
static void
place_left(const struct ckpt *c, struct storage *s, const struct zip_entry *t)
{
	struct err ignored = ERR_INIT;
	uint64_t size;
	uint32_t crc;

	if (t == NULL || source_size(c->src, &size, &ignored) < 0 || t->data < t->header || t->data > size ||
	    t->packed > size - t->data || (t->size != s->nbytes && (t->crc != 0 || t->listed != 0 || t->size < s->nbytes)))
		return;
	place_storage(c, s, t);
	if (t->method == ZIP_STORED && t->crc != t->listed && t->listed != 0 &&
	    range_crc(c->src, t->data, t->size, &crc, &ignored) == 0 && crc == t->listed)
		s->crc = crc;
}

/* Finds the records of the storages. */
static int
place_storages(struct opening *o)
{
	struct ckpt *c = o->c;
	const struct zip_entry *t = NULL;

	for (uint32_t i = 0; i < c->nstorages; i++) {
		struct storage *s = &c->storages[i];

		t = find_storage(o, s->key, t);
		if (c->salvage != SALVAGE_NOT) {
			place_left(c, s, t);
			continue;
		}
		if (t == NULL)
			return missing(c, i, o->err);
		if (t->size != s->nbytes)
			return err_at(o->err, c->file, t->data,
				      "record 'data/%.*s' has %" PRIu64 " bytes, but its tensors say %" PRIu64, STR_ARG(s->key),
				      t->size, s->nbytes);
		place_storage(c, s, t);
	}
	return 0;
}

static int
by_offset(const void *a, const void *b, void *arg)
{
	const struct storage *s = arg;
	uint64_t x = s[*(const uint32_t *)a].offset, y = s[*(const uint32_t *)b].offset;

	return (x > y) - (x < y);
}

/* Returns the permutation for rebuild_finish that puts the storages in the order of the file, or NULL if they have that order. */
static uint32_t *
file_order(const struct ckpt *c)
{
	uint32_t *sorted, *place, i;

	for (i = 1; i < c->nstorages && c->storages[i - 1].offset <= c->storages[i].offset; i++)
		;
	if (i >= c->nstorages)
		return NULL;
	sorted = xreallocn(NULL, c->nstorages, sizeof(*sorted));
	place = xreallocn(NULL, c->nstorages, sizeof(*place));
	for (i = 0; i < c->nstorages; i++)
		sorted[i] = i;
	qsort_r(sorted, c->nstorages, sizeof(*sorted), by_offset, c->storages);
	for (i = 0; i < c->nstorages; i++)
		place[sorted[i]] = i;
	free(sorted);
	return place;
}

static int
read_tree(struct opening *o)
{
	struct ckpt *c = o->c;
	struct rebuild r;
	uint32_t *place;
	int status;

	c->tree = vtree_new();
	rebuild_init(&r, c, false);
	rebuild_reserve(&r, o->dir.n);
	status = decode(o, &r);
	if (status == 0)
		status = place_storages(o);
	if (status == 0) {
		place = file_order(c);
		status = rebuild_finish(&r, place, o->err);
		free(place);
	}
	rebuild_release(&r);
	return status;
}

/* Reads a frozen module. Its tensors are in a tuple of constants; its code refers to them as CONSTANTS.c0, c1, ... */
static int
read_constants(struct opening *o)
{
	struct ckpt *c = o->c;
	struct vtree *module = c->tree;
	uint32_t names;
	int rc;

	o->constants = true;
	rc = read_tree(o);
	vtree_free(module);
	if (rc < 0 || c->ntensors == 0)
		return rc;
	names = value_new_seq(c->tree, VALUE_DICT);
	for (size_t i = 0; i < value_len(c->tree, c->root); i++)
		value_set(c->tree, names, value_new_text(c->tree, VALUE_STR, str_c(arena_printf(&c->arena, "CONSTANTS.c%zu", i))),
			  value_item(c->tree, c->root, i));
	c->root = names;
	c->constants = true;
	return 0;
}

static void
advise_salvage(struct err *err)
{
	const struct err why = *err;

	err_clear(err);
	(void)err_set(err, why.code, "%s" SALVAGE_HINT, why.msg);
}

static int
open_directory(struct ckpt *c, struct err *err)
{
	struct opening o = { .c = c, .name = BUF_INIT, .err = err };
	int rc;

	if (c->salvage == SALVAGE_NOT)
		rc = zip_open(&o.dir, c->src, ZIP_COMPARED, c->diag, err);
	else
		rc = c->salvage == SALVAGE_INDEX ? zip_open(&o.dir, c->src, ZIP_DAMAGED, NULL, err) : zip_scan(&o.dir, c->src, err);
	if (rc < 0 && o.dir.cut_off && c->salvage == SALVAGE_NOT)
		advise_salvage(err);
	if (rc == 0)
		rc = find_root(&o);
	if (rc == 0)
		rc = check_purpose(&o);
	if (rc == 0 && find_c(&o, "constants.pkl") != NULL)
		c->ops = &script_ops;
	if (rc == 0)
		rc = read_marks_left(&o);
	if (rc == 0)
		rc = read_tree(&o);
	if (rc == 0 && c->ops == &script_ops && c->ntensors == 0 && c->nstorages == 0)
		rc = read_constants(&o);
	if (rc == 0)
		c->writer = writer_of(o.format_version, o.byteorder, c->nstorages == 0 || o.version_at < c->storages[0].offset);
	zip_release(&o.dir);
	buf_release(&o.name);
	return rc;
}

/* Checks the CRCs of records that are not checked otherwise. */
static int
check_records(struct ckpt *c, struct err *err)
{
	const struct torch_zip *z = c->priv;
	struct opening o = { .c = c, .name = BUF_INIT, .err = err };
	struct strmap keys = STRMAP_INIT;
	int rc = zip_open(&o.dir, c->src, ZIP_COMPARED, NULL, err);

	for (uint32_t i = 0; i < c->nstorages; i++)
		strmap_add(&keys, c->storages[i].key, i);
	for (size_t i = 0; rc == 0 && i < o.dir.n; i++) {
		const struct zip_entry *t = &o.dir.entries[i];
		const struct str name = short_name(z->root, t->name);

		if (is_index(name) || (str_starts(name, str_c("data/")) && strmap_get(&keys, str_from(name, 5), NULL)))
			continue;
		rc = check_record(&o, t);
	}
	strmap_release(&keys);
	zip_release(&o.dir);
	return rc;
}

/* ---- stream: reading records */

/* Appends the full name of record i to b. */
static void
stream_name(const struct torch_stream *f, size_t i, struct buf *b)
{
	const struct seen *s = &f->seen[i];

	if (s->storage == STORAGE_NONE) {
		buf_addstr(b, f->others[s->name]);
		return;
	}
	buf_addstr(b, *f->root);
	buf_adds(b, "/data/");
	buf_addstr(b, f->c->storages[s->storage].key);
}

static bool
fits(const struct seen *s, uint64_t packed, uint64_t size)
{
	return packed == s->packed && size == s->size;
}

/* Returns the length of a descriptor without signature that matches s, or 0 if the n bytes at p are none. */
static size_t
unsigned_descriptor(const struct seen *s, const uint8_t *p, size_t n)
{
	if (n >= 20 && fits(s, get_le64(p + 4), get_le64(p + 12)))
		return 20;
	return n >= 12 && fits(s, get_le32(p + 4), get_le32(p + 8)) ? 12 : 0;
}

/* Reads the descriptor of the last record if that has not been done. */
static int
stream_descriptor(struct torch_stream *f, struct err *err)
{
	struct zip_descriptor d;
	struct seen *s;
	const uint8_t *p;
	size_t got;

	if (!f->pending)
		return 0;
	s = &f->seen[f->n - 1];
	if (source_look(f->c->src, f->at, 24, &p, &got, err) < 0)
		return -1;
	f->pending = false;
	if (got < 4 || get_le32(p) != ZIP_SIG_DESCRIPTOR) { /* no signature, or no descriptor: what follows will tell */
		f->at += unsigned_descriptor(s, p, got);
		return 0;
	}
	/* The width does not always agree with the header. (The wide descriptor of an empty record also reads as a narrow one.) */
	if (got >= 24 && fits(s, get_le64(p + 8), get_le64(p + 16)))
		f->wide = true;
	else if (got >= 16 && fits(s, get_le32(p + 8), get_le32(p + 12)))
		f->wide = false;
	if (zip_descriptor(f->c->src, f->at, f->wide, &d, err) < 0)
		return -1;
	if ((s->crc != 0 && s->crc != d.crc) || !fits(s, d.packed, d.size))
		f->differing++;
	s->crc = d.crc;
	f->at = d.end;
	return 0;
}

/* Forgets bytes that are no longer needed. */
static void
stream_forget(struct torch_stream *f)
{
	const struct ckpt *c = f->c;

	if (!f->forgets)
		return;
	while (f->low < f->n && (f->seen[f->low].storage == STORAGE_NONE || f->done[f->seen[f->low].storage]))
		f->low++;
	source_forget(c->src, f->low < f->n ? c->storages[f->seen[f->low].storage].offset : f->at);
}

/* Adds the record of f->local, whose packed size is known, and moves past its data. */
static void
stream_add(struct torch_stream *f, uint64_t packed, uint64_t size, uint32_t storage)
{
	const struct zip_entry *t = &f->local.entry;

	*xpush(f->seen, f->n, f->cap) =
		(struct seen){ t->header, packed, size, t->crc, storage, (uint32_t)(f->nothers - 1), t->method };
	f->at = t->data + packed;
	f->pending = (t->flags & ZIP_FLAG_DESCRIPTOR) != 0;
	f->wide = f->local.wide;
	f->sizes_differ = false;
}

/* ---- stream: records that are no storages */

/*
 * Sets *is if the bytes at off are the descriptor of a record with that size and CRC. For a short text any CRC is accepted; a
 * damaged text is reported after the directory was read.
 */
static int
is_descriptor(struct torch_stream *f, uint64_t off, uint64_t size, uint32_t crc, bool *is, struct err *err)
{
	size_t n = f->local.wide ? 24 : 16, got;
	const uint8_t *p;

	*is = false;
	if (source_look(f->c->src, off, n, &p, &got, err) < 0)
		return -1;
	if (got < n || get_le32(p) != ZIP_SIG_DESCRIPTOR || (get_le32(p + 4) != crc && get_le32(p + 4) != 0 && size > TORCH_SMALL))
		return 0;
	*is = f->local.wide ? get_le64(p + 16) == size : get_le32(p + 12) == size;
	return 0;
}

/* Finds the size of a stored record whose header does not state it: the record ends before a matching descriptor. */
static int
find_end(struct torch_stream *f, uint64_t *size, struct err *err)
{
	uint64_t start = f->local.entry.data, at = start;
	uint32_t crc = 0;
	const uint8_t *p;
	size_t got, i;
	bool is;

	for (;;) {
		if (source_look(f->c->src, at, 4096, &p, &got, err) < 0)
			return -1;
		for (i = 0; i + 4 <= got && get_le32(p + i) != ZIP_SIG_DESCRIPTOR; i++)
			;
		crc = crc32_add(crc, p, i);
		at += i;
		if (i + 4 > got) {
			if (got < 4096)
				return err_at(
					err, f->c->file, at,
					"cut off in record '%.*s' (or the descriptor that says its size is wrong: then give the "
					"checkpoint as a file)",
					STR_ARG(f->local.entry.name));
			continue;
		}
		if (is_descriptor(f, at, at - start, crc, &is, err) < 0)
			return -1;
		if (is)
			break;
		/* source_look in is_descriptor may have moved the bytes at p. */
		if (source_look(f->c->src, at, 1, &p, &got, err) < 0)
			return -1;
		crc = crc32_add(crc, p, 1);
		at++;
	}
	*size = at - start;
	return 0;
}

/* Reads the record if it is one of the small records. what is its name below the root. */
static int
read_mark(struct torch_stream *f, struct str what, uint64_t size, struct err *err)
{
	struct ckpt *c = f->c;
	char buffer[TORCH_SMALL];
	struct str text = { buffer, size < TORCH_SMALL ? (size_t)size : TORCH_SMALL };
	bool version = str_eqc(what, "version") || str_eqc(what, ".data/version"), big;

	if (str_eqc(what, ".format_version") || str_eqc(what, ".storage_alignment"))
		f->format_version = true;
	if (str_eqc(what, CKPT_RECORD) && size <= OWN_MAX)
		return keep_own(c, f->local.entry.data, size, err);
	if (!version && !str_eqc(what, "byteorder"))
		return 0;
	if (source_read(c->src, f->local.entry.data, buffer, text.len, err) < 0)
		return -1;
	if (version) {
		f->version = true;
		return check_version(c, text, err);
	}
	if (check_byteorder(c, text, &big, err) < 0)
		return -1;
	if (f->forgets && big != c->big_endian)
		return err_at(err, c->file, f->local.entry.data,
			      "its record 'byteorder' comes after the data and says big: give it as a file, not through a pipe");
	c->big_endian = big;
	f->byteorder = true;
	return 0;
}

static int
twice(const struct torch_stream *f, struct str other, struct err *err)
{
	struct str name = f->local.entry.name;

	if (str_eq(name, other))
		return err_at(err, f->c->file, f->local.entry.header, "the zip has two records '%.*s'", STR_ARG(name));
	return err_at(err, f->c->file, f->local.entry.header,
		      "the zip has records '%.*s' and '%.*s', which are the same name to torch", STR_ARG(other), STR_ARG(name));
}

/* Returns name in lower case, valid until the next call. */
static struct str
lower(struct torch_stream *f, struct str name)
{
	char *p;

	buf_clear(&f->lower);
	p = buf_reserve(&f->lower, name.len);
	f->lower.len = name.len;
	for (size_t i = 0; i < name.len; i++)
		p[i] = name.p[i] >= 'A' && name.p[i] <= 'Z' ? (char)(name.p[i] - 'A' + 'a') : name.p[i];
	return str_n(p, name.len);
}

/* Notes the name of the last header. Fails if an equal name, ignoring case, has come before. */
static int
note_name(struct torch_stream *f, struct err *err)
{
	struct str key = lower(f, f->local.entry.name);
	uint64_t i;

	if (strmap_get(&f->folded, key, &i))
		return twice(f, f->others[i], err);
	strmap_add(&f->folded, arena_str(&f->c->arena, key), f->nothers);
	f->crcs = xgrow(f->crcs, f->nothers, &f->crcs_cap, sizeof(*f->crcs));
	f->crcs[f->nothers] = 0;
	*xpush(f->others, f->nothers, f->others_cap) = arena_str(&f->c->arena, f->local.entry.name);
	return 0;
}

/* Returns the part after "ROOT/data/", ignoring case, or NULL. */
static struct str
storage_key(const struct torch_stream *f, struct str name)
{
	static const char data[] = "/data/";
	size_t n = f->root->len + sizeof(data) - 1;

	if (name.len < n || !str_eqc_nocase(str_n(name.p, f->root->len), f->root->p) ||
	    !str_eqc_nocase(str_n(name.p + f->root->len, sizeof(data) - 1), data))
		return str_n(NULL, 0);
	return str_from(name, n);
}

/* Fails if the name in lower case is that of a storage. */
static int
check_keys(struct torch_stream *f, struct err *err)
{
	struct str key = storage_key(f, buf_str(&f->lower));
	struct buf other = BUF_INIT;

	if (key.p == NULL || !strmap_get(&f->keys, key, NULL))
		return 0;
	buf_addf(&other, "%.*s/data/%.*s", STR_ARG(*f->root), STR_ARG(key));
	twice(f, buf_str(&other), err);
	buf_release(&other);
	return -1;
}

/* Notes the name of the last header, which is no storage. Refuses a name that has come before, or that is a storage's. */
static int
stream_note_other(struct torch_stream *f, struct err *err)
{
	return note_name(f, err) < 0 || check_keys(f, err) < 0 ? -1 : 0;
}

/* Like stream_note_other for a storage. Its name is only kept if it contains capitals; other names are found through the keys. */
static int
note_storage(struct torch_stream *f, struct err *err)
{
	struct str name = f->local.entry.name, key = storage_key(f, name);
	uint64_t i;

	if (strmap_get(&f->folded, lower(f, name), &i))
		return twice(f, f->others[i], err);
	if (str_eq(storage_key(f, buf_str(&f->lower)), key))
		return 0;
	return stream_note_other(f, err);
}

/* Returns true if the record can be skipped. A deflated record whose size follows in a descriptor cannot. */
static bool
stream_can_pass(const struct torch_stream *f)
{
	return f->local.sized || f->local.entry.method == ZIP_STORED;
}

static int
take_other(struct torch_stream *f, struct str what, struct err *err)
{
	const struct zip_entry *t = &f->local.entry;
	uint64_t packed = t->packed, size = t->method == ZIP_STORED ? t->packed : t->size;

	f->outside += what.p == NULL;
	if (!stream_can_pass(f))
		return err_at(err, f->c->file, t->header,
			      "record '%.*s' is deflated and of unknown size, which cannot be read "
			      "from a pipe here: give the checkpoint as a file",
			      STR_ARG(t->name));
	if (stream_note_other(f, err) < 0)
		return -1;
	if (!f->local.sized) {
		if (find_end(f, &size, err) < 0)
			return -1;
		packed = size;
	} else if (t->size != size) {
		f->differing++;
	}
	if (what.p != NULL && t->method == ZIP_STORED && read_mark(f, what, size, err) < 0)
		return -1;
	if ((f->all_crcs || is_mark(what)) && t->method == ZIP_STORED &&
	    range_crc(f->c->src, t->data, size, &f->crcs[f->nothers - 1], err) < 0)
		return -1;
	stream_add(f, packed, size, STORAGE_NONE);
	return 0;
}

/* ---- stream: storages */

static int
take_storage(struct torch_stream *f, uint32_t i, struct err *err)
{
	struct storage *s = &f->c->storages[i];
	const struct zip_entry *t = &f->local.entry;

	if (f->record[i] != UINT32_MAX)
		return twice(f, t->name, err);
	if (note_storage(f, err) < 0)
		return -1;
	if (!f->local.sized && t->method != ZIP_STORED)
		return err_at(err, f->c->file, t->header,
			      "record '%.*s' is deflated and of unknown size, which cannot be read "
			      "from a pipe here: give the checkpoint as a file",
			      STR_ARG(t->name));
	s->offset = t->data;
	s->packed = t->method == ZIP_STORED ? s->nbytes : t->packed;
	if (t->method == ZIP_DEFLATED)
		s->flags |= STORAGE_DEFLATED;
	f->record[i] = (uint32_t)f->n;
	stream_add(f, s->packed, s->nbytes, i);
	/* Whether the header or the tensors are right is decided at the end of the record. */
	f->stated = t->size != s->nbytes ? t->size : t->packed;
	f->sizes_differ = f->local.sized && (t->size != s->nbytes || t->packed != s->packed);
	f->differing += f->sizes_differ;
	f->pending |= f->sizes_differ;
	return 0;
}

/* ---- stream: from record to record */

/* Reports that there is no record where the next one should begin. */
static int
no_record(const struct torch_stream *f, struct err *err)
{
	const struct seen *s = f->n > 0 ? &f->seen[f->n - 1] : NULL;
	struct buf name = BUF_INIT;

	if (s == NULL)
		return err_at(err, f->c->file, f->at, "a record of the zip should begin here");
	stream_name(f, f->n - 1, &name);
	if (f->sizes_differ)
		err_at(err, f->c->file, s->header,
		       "record '%.*s' has %" PRIu64 " bytes by its header, but its tensors say %" PRIu64, STR_ARG(buf_str(&name)),
		       f->stated, s->size);
	else
		err_at(err, f->c->file, f->at,
		       "record '%.*s' does not end here (or there are other bytes between the records: then give the "
		       "checkpoint as a file)",
		       STR_ARG(buf_str(&name)));
	buf_release(&name);
	return -1;
}

/* Reads the next header into f->local, or sets at_directory. */
static int
stream_header(struct torch_stream *f, struct err *err)
{
	enum zip_sign sign;

	if (stream_descriptor(f, err) < 0 || zip_sign(f->c->src, f->at, &sign, err) < 0)
		return -1;
	f->at_directory = sign == ZIP_SIGN_CENTRAL || sign == ZIP_SIGN_END;
	if (f->at_directory)
		return 0;
	if (sign == ZIP_SIGN_OTHER)
		return no_record(f, err);
	return zip_local(f->c->src, f->at, &f->local, &f->name, err);
}

/* Moves past the record of the last header. Small records are read. */
static int
stream_take(struct torch_stream *f, struct err *err)
{
	struct str what = below_root(*f->root, f->local.entry.name);
	uint64_t i;

	if (zip_is_free(&f->local)) {
		f->at = f->local.entry.data + f->local.entry.packed;
		f->pending = false;
		return 0;
	}
	if (what.p != NULL && f->place != NULL && str_starts(what, str_c("data/")) && strmap_get(&f->keys, str_from(what, 5), &i))
		return take_storage(f, f->place[i], err);
	return take_other(f, what, err);
}

/* Reads the next header and its record, or sets at_directory. */
static int
stream_next(struct torch_stream *f, struct err *err)
{
	if (stream_header(f, err) < 0)
		return -1;
	if (!f->at_directory && stream_take(f, err) < 0)
		return -1;
	stream_forget(f);
	return 0;
}

/* ---- stream: operations */

static struct torch_stream *
forward_of(const struct ckpt *c)
{
	return ((const struct torch_zip *)c->priv)->forward;
}

static int
stream_locate(struct ckpt *c, uint32_t storage, struct err *err)
{
	struct torch_stream *f = forward_of(c);

	while (f->record[storage] == UINT32_MAX) {
		if (f->at_directory)
			return missing(c, storage, err);
		if (stream_next(f, err) < 0)
			return -1;
	}
	return 0;
}

static int
stream_crc(struct ckpt *c, uint32_t storage, uint32_t *value, bool *known, struct err *err)
{
	struct torch_stream *f = forward_of(c);

	if (stream_locate(c, storage, err) < 0)
		return -1;
	if (f->record[storage] == f->n - 1 && stream_descriptor(f, err) < 0)
		return -1;
	*value = f->seen[f->record[storage]].crc;
	*known = *value != 0 || c->storages[storage].nbytes == 0;
	return 0;
}

static int
stream_pass(struct ckpt *c, uint32_t from, uint32_t to, struct err *err)
{
	struct torch_stream *f = forward_of(c);
	bool last = false;

	for (uint32_t i = from; i < to; i++) {
		f->done[i] = 1;
		last = last || f->record[i] == f->n - 1;
	}
	stream_forget(f);
	return last ? stream_descriptor(f, err) : 0;
}

/* Records may come in another order than the storages have. Then bytes before the storage may still be needed. */
static bool
stream_leads(struct ckpt *c, uint32_t storage)
{
	const struct torch_stream *f = forward_of(c);

	return f->forgets && f->low < f->n && f->seen[f->low].storage == storage;
}

/* ---- stream: comparing the directory with the records */

static int
by_header(const void *key, const void *entry)
{
	const uint64_t *header = key;
	const struct seen *s = entry;

	return (*header > s->header) - (*header < s->header);
}

struct comparing {
	struct torch_stream *f;
	uint8_t *matched; /* by record */
	struct buf name, own;
	size_t next; /* index of the expected record */
};

/* Compares the CRC of an index record, or of any record if all_crcs is set, with its bytes. */
static void
compare_crc(const struct torch_stream *f, const struct seen *s, uint32_t stated)
{
	const struct str what = short_name(*f->root, f->others[s->name]);
	const bool known = is_index(what) || (f->all_crcs && f->crcs[s->name] != 0);

	if (known && !is_stated(f->crcs[s->name], s->crc, stated) && (s->method == ZIP_STORED || str_eqc(what, "data.pkl")))
		ckpt_damaged(f->c, what);
}

static int
compare_entry(struct comparing *k, const struct zip_entry *t, uint64_t off, struct err *err)
{
	struct torch_stream *f = k->f;
	const char *file = f->c->file;
	const struct seen *s = k->next < f->n ? &f->seen[k->next] : NULL;
	size_t i;

	if ((s == NULL || s->header != t->header) && f->seen != NULL)
		s = bsearch(&t->header, f->seen, f->n, sizeof(*f->seen), by_header);
	if (s == NULL)
		return err_at(err, file, off, "the zip's directory lists '%.*s' at byte %" PRIu64 ", where there is no record",
			      STR_ARG(t->name), t->header);
	i = (size_t)(s - f->seen);
	buf_clear(&k->own);
	stream_name(f, i, &k->own);
	if (!str_eq(t->name, buf_str(&k->own)) || k->matched[i])
		return err_at(err, file, off, "the zip's directory names record '%.*s' '%.*s': readers would see two archives",
			      STR_ARG(buf_str(&k->own)), STR_ARG(t->name));
	if (t->size != s->size || t->packed != s->packed)
		return err_at(err, file, off, "the zip's directory says that '%.*s' has %" PRIu64 " bytes, but it has %" PRIu64,
			      STR_ARG(t->name), t->size, s->size);
	if (t->method != s->method)
		return err_at(err, file, off, "the zip's directory gives record '%.*s' another compression method",
			      STR_ARG(t->name));
	f->differing += t->crc != s->crc;
	if (s->storage == STORAGE_NONE)
		compare_crc(f, s, t->crc);
	k->matched[i] = 1;
	k->next = i + 1;
	return 0;
}

/* Handles records that the directory does not list. Those that do not matter are reported as gaps. */
static int
check_unlisted(const struct comparing *k, struct err *err)
{
	const struct torch_stream *f = k->f;
	uint64_t first = 0;
	size_t i, n = 0;

	for (i = f->n; i-- > 0;) {
		const struct seen *s = &f->seen[i];

		if (k->matched[i])
			continue;
		if (s->storage != STORAGE_NONE || is_index(below_root(*f->root, f->others[s->name])))
			return err_at(err, f->c->file, f->at,
				      "the zip's directory lacks a record that was read: readers would see two archives");
		first = s->header;
		n++;
	}
	if (n > 0)
		diag_warn(f->c->diag, "%s: %zu %s between the records of the zip, the first at byte %" PRIu64, f->c->file, n,
			  text_noun(n, "gap"), first);
	return 0;
}

static int
compare_directory(struct torch_stream *f, struct err *err)
{
	struct comparing k = { .f = f, .name = BUF_INIT, .own = BUF_INIT };
	struct source *src = f->c->src;
	struct zip_entry t;
	enum zip_sign sign;
	uint64_t at = f->at, off;
	size_t n;
	int rc = 0;

	k.matched = xcalloc(f->n, 1);
	for (n = 0; rc == 0; n++) {
		rc = zip_sign(src, at, &sign, err);
		if (rc < 0 || sign != ZIP_SIGN_CENTRAL)
			break;
		off = at;
		rc = zip_central(src, off, &t, &k.name, &at, err);
		if (rc == 0)
			rc = compare_entry(&k, &t, off, err);
		source_forget(src, at);
	}
	if (rc == 0)
		rc = check_unlisted(&k, err);
	if (rc == 0)
		rc = zip_tail(src, at, f->at, n, f->c->diag, err);
	free(k.matched);
	buf_release(&k.name);
	buf_release(&k.own);
	return rc;
}

static int
stream_finish(struct ckpt *c, struct err *err)
{
	struct torch_stream *f = forward_of(c);
	uint32_t i;

	memset(f->done, 1, c->nstorages);
	stream_forget(f);
	while (!f->at_directory)
		if (stream_next(f, err) < 0)
			return -1;
	for (i = 0; i < c->nstorages; i++)
		if (f->record[i] == UINT32_MAX)
			return missing(c, i, err);
	if (!f->version)
		return err_input(err, c->file, "it has no record 'version', so torch refuses it");
	if (compare_directory(f, err) < 0)
		return -1;
	if (f->outside > 0)
		diag_warn(c->diag, "%s: %zu of its records are outside the folder '%.*s': torch.load refuses such a file", c->file,
			  f->outside, STR_ARG(*f->root));
	if (f->differing > 0)
		diag_warn(c->diag, "%s: %zu %s whose CRC or size fields differ within the zip", c->file, f->differing,
			  text_noun(f->differing, "record"));
	return 0;
}

static int
stream_records(struct ckpt *c, struct err *err)
{
	(void)err;
	forward_of(c)->all_crcs = true;
	return 0;
}

static const struct ckpt_ops stream_ops = {
	.name = "torch",
	.records = stream_records,
	.locate = stream_locate,
	.read = read_storage,
	.crc = stream_crc,
	.pass = stream_pass,
	.leads = stream_leads,
	.finish = stream_finish,
	.close = close_zip,
};

/* ---- stream: predicting the order of the storages */

enum key_order { BY_USE, BY_NUMBER, BY_TEXT };

static bool
all_numbers(const struct ckpt *c)
{
	uint32_t i;
	size_t k;

	for (i = 0; i < c->nstorages; i++) {
		struct str key = c->storages[i].key;

		if (key.len == 0 || (key.len > 1 && key.p[0] == '0'))
			return false;
		for (k = 0; k < key.len; k++)
			if (key.p[k] < '0' || key.p[k] > '9')
				return false;
	}
	return true;
}

static int
by_text(const void *a, const void *b, void *arg)
{
	const struct storage *s = arg;

	return str_cmp(s[*(const uint32_t *)a].key, s[*(const uint32_t *)b].key);
}

static int
by_number(const void *a, const void *b, void *arg)
{
	const struct storage *s = arg;
	size_t x = s[*(const uint32_t *)a].key.len, y = s[*(const uint32_t *)b].key.len;

	return x != y ? (x > y) - (x < y) : by_text(a, b, arg);
}

static void
stream_sort(const struct ckpt *c, enum key_order order, uint32_t *sorted)
{
	uint32_t i;

	for (i = 0; i < c->nstorages; i++)
		sorted[i] = i;
	if (order != BY_USE)
		qsort_r(sorted, c->nstorages, sizeof(*sorted), order == BY_TEXT ? by_text : by_number, c->storages);
}

/*
 * Predicts the order of the storages. torch up to 2.6 sorts keys as text. From 2.7 on they come in the order of first use, which is
 * also that of their numbers. Files written by this library have that order, too; their record version precedes the data. If the
 * first key (p is NULL if there is none) contradicts the prediction, the next order is tried. If none fits, the file is from
 * another program, and any order will do.
 */
static void
predict(const struct torch_stream *f, struct str first, uint32_t *sorted)
{
	enum key_order order[] = { BY_TEXT, BY_NUMBER, BY_USE };
	const struct ckpt *c = f->c;
	size_t i;

	if (f->format_version || f->version) {
		order[0] = all_numbers(c) ? BY_NUMBER : BY_USE;
		order[1] = BY_TEXT;
	}
	for (i = 0; i < 3; i++) {
		stream_sort(c, order[i], sorted);
		if (first.p == NULL || str_eq(first, c->storages[sorted[0]].key))
			return;
	}
	stream_sort(c, order[0], sorted);
}

static int
set_order(struct torch_stream *f, struct rebuild *r, struct str first, struct err *err)
{
	struct ckpt *c = f->c;
	uint32_t *sorted = xreallocn(NULL, c->nstorages, sizeof(*sorted)), i;

	if (c->nstorages > 0)
		predict(f, first, sorted);
	f->place = xreallocn(NULL, c->nstorages, sizeof(*f->place));
	f->record = xreallocn(NULL, c->nstorages, sizeof(*f->record));
	f->done = xcalloc(c->nstorages, 1);
	for (i = 0; i < c->nstorages; i++) {
		f->place[sorted[i]] = i;
		f->record[i] = UINT32_MAX;
		if (c->big_endian)
			c->storages[i].flags |= STORAGE_BIG_ENDIAN;
	}
	free(sorted);
	f->keys = r->keys;
	strmap_init(&r->keys);
	return rebuild_finish(r, f->place, err);
}

/* ---- stream: opening */

static int
set_root(struct torch_stream *f)
{
	struct str name = f->local.entry.name;
	const char *slash = name.len > 0 ? memchr(name.p, '/', name.len) : NULL;

	if (slash == NULL)
		return -1;
	*f->root = arena_str(&f->c->arena, str_n(name.p, (size_t)(slash - name.p)));
	return 0;
}

/* Handles an error while records are read: the directory may tell what they are. */
static int
give_up(const char **why, struct err *err)
{
	if (err->code != ERR_INPUT)
		return -1;
	err_clear(err);
	*why = "its records are not as torch writes them, so the directory at its end must be read first";
	return 0;
}

/* Decodes the deflated pickle of the last header. The deflate stream tells where it ends. */
static int
stream_inflate(struct torch_stream *f, struct rebuild *r, struct err *err)
{
	const struct zip_entry t = f->local.entry;
	struct buf pickle = BUF_INIT;
	uint64_t packed = 0;
	int rc = zip_unpack(f->c->src, &t, &pickle, &packed, err);

	if (rc == 0)
		rc = decode_unpacked(f->c, r, &pickle, err);
	if (rc == 0) {
		f->crcs[f->nothers - 1] = crc32_add(0, pickle.p, pickle.len);
		f->differing += f->local.sized && (t.packed != packed || t.size != pickle.len);
		stream_add(f, packed, pickle.len, STORAGE_NONE);
	}
	buf_release(&pickle);
	return rc;
}

/*
 * Moves *end past NUL bytes, with which an edit in place pads a pickle that became shorter. Their number is limited like the
 * unpacked size of a deflated pickle.
 */
static int
pass_padding(const struct torch_stream *f, uint64_t *end, struct err *err)
{
	const uint64_t most = *end + UNPACK_FREE + UNPACK_RATIO * (*end - f->local.entry.data);
	const uint8_t *p;
	size_t got, n;

	do {
		if (source_look(f->c->src, *end, 4096, &p, &got, err) < 0)
			return -1;
		for (n = 0; n < got && p[n] == 0; n++)
			;
		*end += n;
	} while (n > 0 && n == got && *end < most);
	return 0;
}

/* Decodes the pickle of the last header. Its end determines the size of the record. */
static int
stream_decode(struct torch_stream *f, struct rebuild *r, const char **why, struct err *err)
{
	struct ckpt *c = f->c;
	const struct zip_entry t = f->local.entry;
	struct pickle_hooks hooks = rebuild_hooks(r);
	struct pickle_place place = { .src = c->src, .off = t.data };
	uint64_t end;
	const uint8_t *p;
	size_t got;

	if (t.method == ZIP_DEFLATED)
		return stream_inflate(f, r, err);
	place.limit = f->local.sized ? t.data + t.packed : UINT64_MAX;
	if (pickle_decode(c->tree, &place, &hooks, &c->root, err) < 0)
		return f->local.sized ? give_up(why, err) : -1; /* the directory may state another size */
	if (f->local.sized) {
		end = place.limit;
		f->differing += t.size != t.packed;
	} else {
		end = place.end;
		if (pass_padding(f, &end, err) < 0 || source_look(c->src, end, 4, &p, &got, err) < 0)
			return -1;
		if (got < 4 || memcmp(p, "PK\7\10", 4) != 0) {
			*why = "its data.pkl goes on behind the pickle";
			return 0;
		}
	}
	if (range_crc(c->src, t.data, end - t.data, &f->crcs[f->nothers - 1], err) < 0)
		return -1;
	stream_add(f, end - t.data, end - t.data, STORAGE_NONE);
	return 0;
}

/*
 * Returns true if the record is deflated so that it can only be read through the directory. A deflated data.pkl can be read,
 * because it tells where it ends.
 */
static bool
deflated_in_the_way(const struct torch_stream *f, struct str what)
{
	if (f->local.entry.method == ZIP_STORED || str_eqc(what, "data.pkl"))
		return false;
	return !stream_can_pass(f) || is_mark(what);
}

/* Reads from the beginning to the first storage. Sets *why if the stream cannot be read forward. */
static int
read_head(struct torch_stream *f, struct rebuild *r, const char **why, struct err *err)
{
	struct str what;
	bool decoded = false;

	for (;;) {
		if (stream_header(f, err) < 0)
			return give_up(why, err);
		if (f->at_directory)
			break;
		if (f->n == 0 && set_root(f) < 0)
			break;
		what = below_root(*f->root, f->local.entry.name);
		if (decoded && what.p != NULL && str_starts(what, str_c("data/")))
			return 0;
		if (deflated_in_the_way(f, what)) {
			*why = "its records are deflated";
			return 0;
		}
		if (!decoded && str_eqc(what, "data.pkl")) {
			if (stream_note_other(f, err) < 0 || stream_decode(f, r, why, err) < 0)
				return -1;
			decoded = true;
		} else if (!decoded && !is_mark(what)) {
			break;
		} else if (stream_take(f, err) < 0) {
			return give_up(why, err);
		}
		if (*why != NULL)
			return 0;
	}
	if (!decoded)
		*why = "its pickle is not at its beginning, so the directory at its end must be read first";
	return 0;
}

/*
 * Opens a stream forward. If its records are not as torch writes them, *took is false, *why tells why, nothing was forgotten and c
 * is unchanged.
 */
static int
stream_open(struct ckpt *c, bool *took, const char **why, struct err *err)
{
	struct torch_zip *z = c->priv;
	struct torch_stream *f = xcalloc(1, sizeof(*f));
	struct str first = { NULL, 0 };
	struct rebuild r;
	int status;

	z->forward = f;
	f->c = c;
	f->root = &z->root;
	*why = NULL;
	c->tree = vtree_new();
	rebuild_init(&r, c, false);
	status = read_head(f, &r, why, err);
	*took = status == 0 && *why == NULL;
	if (*took) {
		if (!f->at_directory)
			first = str_from(below_root(z->root, f->local.entry.name), sizeof("data/") - 1);
		status = set_order(f, &r, first, err);
		c->ops = &stream_ops;
		c->writer = writer_of(f->format_version, f->byteorder, f->version);
		f->forgets = true;
		stream_forget(f);
	}
	rebuild_release(&r);
	if (status == 0 && !*took) {
		stream_free(f);
		z->forward = NULL;
		vtree_free(c->tree);
		c->tree = NULL;
		c->big_endian = false;
	}
	return status;
}

/* ---- opening */

static int
open_zip(struct ckpt *c, struct err *err)
{
	struct torch_zip *z = arena_calloc(&c->arena, 1, sizeof(*z));
	const char *why = NULL;
	bool took = false;

	zip_unpacker_init(&z->unpacker, c->src);
	c->priv = z;
	c->ops = &torch_ops;
	if (source_is_stream(c->src)) {
		if (stream_open(c, &took, &why, err) < 0)
			return -1;
		if (took)
			return 0;
		source_explain(c->src, why);
	}
	return open_directory(c, err);
}

const struct format_reader format_torch_zip = { "torch", probe, open_zip };
