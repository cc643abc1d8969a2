#include "format/torch_zip.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/limits.h"
#include "base/xalloc.h"
#include "format/readers.h"

static bool
probe(const uint8_t *head, size_t n)
{
	return n >= 4 && get_le32(head) == ZIP_SIG_LOCAL;
}

/* ---- small records */

int
torch_check_version(struct ckpt *c, struct str text, struct err *e)
{
	unsigned v = 0;
	size_t i = 0;

	/* As torch does: strtoull, whatever follows. */
	while (i < text.len && (text.p[i] == ' ' || (text.p[i] >= '\t' && text.p[i] <= '\r')))
		i++;
	i += i < text.len && text.p[i] == '+';
	for (; i < text.len && text.p[i] >= '0' && text.p[i] <= '9' && v < 1000; i++)
		v = v * 10 + (unsigned)(text.p[i] - '0');
	if (v < 1 || v > 10)
		return err_input(e, c->file, "its record 'version' holds no version from 1 to 10, so torch refuses it");
	return 0;
}

int
torch_check_byteorder(struct ckpt *c, struct str text, bool *big, struct err *e)
{
	*big = str_eqc(text, "big");
	if (!*big && !str_eqc(text, "little"))
		return err_input(e, c->file, "its record 'byteorder' is neither little nor big");
	return 0;
}

const char *
torch_writer(bool format_version, bool byteorder, bool version_first)
{
	if (format_version)
		return "torch 2.7 or later";
	if (version_first)
		return byteorder ? "lnn-tools" : NULL;
	return byteorder ? "torch 2.1 to 2.6" : "torch 1.6 to 2.0";
}

struct str
torch_below(struct str root, struct str name)
{
	if (name.len <= root.len || !str_starts(name, root) || name.p[root.len] != '/')
		return str_n(NULL, 0);
	return str_from(name, root.len + 1);
}

/* ---- a storage's bytes */

static int
read_deflated(struct ckpt *c, uint32_t storage, uint64_t off, void *p, size_t n, struct err *e)
{
	struct torch_zip *z = c->priv;
	const struct storage *s = &c->storages[storage];
	uint8_t skipped[4096];
	size_t part;

	if (z->inflate == NULL || z->inflating != storage || zip_inflate_at(z->inflate) > off) {
		zip_inflate_free(z->inflate);
		z->inflate = zip_inflate_new(c->src, s->offset, s->packed, s->nbytes, s->key);
		z->inflating = storage;
	}
	while (zip_inflate_at(z->inflate) < off) {
		uint64_t left = off - zip_inflate_at(z->inflate);

		part = left < sizeof(skipped) ? (size_t)left : sizeof(skipped);
		if (zip_inflate_read(z->inflate, skipped, part, e) < 0)
			return -1;
	}
	return zip_inflate_read(z->inflate, p, n, e);
}

int
torch_read(struct ckpt *c, uint32_t storage, uint64_t off, void *p, size_t n, struct err *e)
{
	struct torch_zip *z = c->priv;
	const struct storage *s = &c->storages[storage];
	int r;

	if (!(s->flags & STORAGE_DEFLATED))
		return source_read(c->src, s->offset + off, p, n, e);
	pthread_mutex_lock(&z->lock);
	r = read_deflated(c, storage, off, p, n, e);
	pthread_mutex_unlock(&z->lock);
	return r;
}

void
torch_close(struct ckpt *c)
{
	struct torch_zip *z = c->priv;

	if (z == NULL)
		return;
	torch_forward_free(z->forward);
	zip_inflate_free(z->inflate);
	pthread_mutex_destroy(&z->lock);
}

static const struct ckpt_ops torch_ops = { .name = "torch", .read = torch_read, .close = torch_close };
static const struct ckpt_ops script_ops = { .name = "torchscript", .read = torch_read, .close = torch_close };

/* ---- through the directory */

struct opening {
	struct ckpt *c;
	struct zip_dir dir;
	struct buf name; /* scratch */
	uint64_t version_at;
	bool byteorder, format_version;
	struct err *e;
};

/* The record root/FIRST SECOND, or NULL. */
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

/* The first bytes of a record, at most TORCH_SMALL. */
static int
read_small(struct opening *o, const struct zip_entry *t, char *room, struct str *text)
{
	size_t n = t->size < TORCH_SMALL ? (size_t)t->size : TORCH_SMALL;
	struct zip_inflate *z;
	int r;

	*text = str_n(room, n);
	if (t->method == ZIP_STORED)
		return source_read(o->c->src, t->data, room, n, o->e);
	z = zip_inflate_new(o->c->src, t->data, t->packed, t->size, t->name);
	r = zip_inflate_read(z, room, n, o->e);
	zip_inflate_free(z);
	return r;
}

static int
find_root(struct opening *o)
{
	struct torch_zip *z = o->c->priv;
	const char *slash;
	struct str first;
	size_t i, outside = 0;

	if (o->dir.n == 0)
		return err_input(o->e, o->c->file, "it is an empty zip, no checkpoint");
	first = o->dir.entries[0].name;
	slash = first.len > 0 ? memchr(first.p, '/', first.len) : NULL;
	if (slash == NULL)
		return err_input(o->e, o->c->file, "it is a zip, but none of torch's: record '%.*s' is in no folder%s",
			STR_ARG(first), str_ends(first, str_c(".npy")) ? " (a numpy .npz file?)" : "");
	z->root = arena_str(&o->c->arena, str_n(first.p, (size_t)(slash - first.p)));
	for (i = 0; i < o->dir.n; i++)
		outside += torch_below(z->root, o->dir.entries[i].name).p == NULL;
	if (outside > 0)
		diag_warn(o->c->diag, "%s: %zu of its records lie outside the folder '%.*s': torch.load refuses such a file",
			o->c->file, outside, STR_ARG(z->root));
	return 0;
}

static int
read_marks(struct opening *o)
{
	const struct zip_entry *version = find_c(o, ".data/version"), *order = find_c(o, "byteorder");
	char room[TORCH_SMALL];
	struct str text;

	if (version == NULL)
		version = find_c(o, "version");
	if (version == NULL)
		return err_input(o->e, o->c->file, "it has no record 'version', so torch refuses it");
	if (read_small(o, version, room, &text) < 0 || torch_check_version(o->c, text, o->e) < 0)
		return -1;
	if (order != NULL && (read_small(o, order, room, &text) < 0 ||
		torch_check_byteorder(o->c, text, &o->c->big_endian, o->e) < 0))
		return -1;
	o->version_at = version->data;
	o->byteorder = order != NULL;
	o->format_version = find_c(o, ".format_version") != NULL || find_c(o, ".storage_alignment") != NULL;
	return 0;
}

int
torch_check_unpacked(const struct source *src, const struct zip_entry *t, struct err *e)
{
	if (t->size > UNPACK_FREE && t->size / UNPACK_RATIO > t->packed)
		return err_at(e, source_name(src), t->data,
			"record '%.*s' would unpack to %" PRIu64 " bytes, more than %d times its size", STR_ARG(t->name), t->size,
			UNPACK_RATIO);
	return 0;
}

/* Unpacks a record in pieces: what it states for a size is not believed before it comes. */
static int
unpack(struct opening *o, const struct zip_entry *t, struct buf *b)
{
	struct zip_inflate *z;
	int r = 0;

	if (torch_check_unpacked(o->c->src, t, o->e) < 0)
		return -1;
	z = zip_inflate_new(o->c->src, t->data, t->packed, t->size, t->name);
	while (r == 0 && b->len < t->size) {
		size_t n = t->size - b->len < 1 << 20 ? (size_t)(t->size - b->len) : 1 << 20;

		r = zip_inflate_read(z, buf_room(b, n), n, o->e);
		b->len += r == 0 ? n : 0;
	}
	zip_inflate_free(z);
	return r;
}

static int
decode_unpacked(struct opening *o, struct rebuild *r, const struct zip_entry *t)
{
	struct pickle_hooks hooks = rebuild_hooks(r);
	struct buf b = BUF_INIT, name = BUF_INIT;
	struct source *src;
	uint64_t end;
	int status = unpack(o, t, &b);

	buf_addf(&name, "%s (its data.pkl, unpacked)", o->c->file);
	r->where = name.p;
	src = source_memory(b.p, b.len, name.p);
	if (status == 0)
		status = pickle_decode(o->c->tree, src, 0, b.len, &hooks, &o->c->root, &end, o->e);
	r->where = o->c->file;
	source_close(src);
	buf_release(&b);
	buf_release(&name);
	return status;
}

static int
decode(struct opening *o, struct rebuild *r)
{
	const struct zip_entry *t = find_c(o, "data.pkl");
	struct pickle_hooks hooks = rebuild_hooks(r);
	uint64_t end;

	if (t == NULL)
		return err_input(o->e, o->c->file, "it is a zip, but none of torch's: it has no record 'data.pkl'");
	if (t->method == ZIP_DEFLATED)
		return decode_unpacked(o, r, t);
	return pickle_decode(o->c->tree, o->c->src, t->data, t->data + t->size, &hooks, &o->c->root, &end, o->e);
}

/* The record of a storage; torch mostly lists it behind the one before. */
static const struct zip_entry *
find_storage(struct opening *o, struct str key, const struct zip_entry *before)
{
	const struct zip_entry *next;
	struct str below;

	if (before != NULL && before + 1 < o->dir.entries + o->dir.n) {
		next = before + 1;
		below = torch_below(((const struct torch_zip *)o->c->priv)->root, next->name);
		if (below.len == key.len + 5 && str_starts(below, str_c("data/")) && str_eq(str_from(below, 5), key))
			return next;
	}
	return find(o, "data/", key);
}

/* Where the records of the storages are. */
static int
place_storages(struct opening *o)
{
	struct ckpt *c = o->c;
	const struct zip_entry *t = NULL;
	uint32_t i;

	for (i = 0; i < c->nstorages; i++) {
		struct storage *s = &c->storages[i];

		t = find_storage(o, s->key, t);
		if (t == NULL)
			return err_input(o->e, c->file, "its record 'data/%.*s' is missing", STR_ARG(s->key));
		if (t->size != s->nbytes)
			return err_at(o->e, c->file, t->data,
				"record 'data/%.*s' has %" PRIu64 " bytes, but its tensors say %" PRIu64, STR_ARG(s->key),
				t->size, s->nbytes);
		s->offset = t->data;
		s->packed = t->packed;
		s->crc = t->crc;
		if (t->crc != 0 || t->size == 0)
			s->flags |= STORAGE_CRC;
		if (t->method == ZIP_DEFLATED)
			s->flags |= STORAGE_DEFLATED;
		if (c->big_endian)
			s->flags |= STORAGE_BIG_ENDIAN;
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

/* place[i] of rebuild_finish, to have the storages in the order of the file. NULL: they are. */
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
	strmap_reserve(&r.keys, o->dir.n);
	status = decode(o, &r);
	if (status == 0)
		status = place_storages(o);
	if (status == 0) {
		place = file_order(c);
		status = rebuild_finish(&r, place, o->e);
		free(place);
	}
	rebuild_release(&r);
	return status;
}

static int
open_directory(struct ckpt *c, struct err *e)
{
	struct opening o = { .c = c, .name = BUF_INIT, .e = e };
	int r = zip_open(&o.dir, c->src, c->diag, e);

	if (r == 0)
		r = find_root(&o);
	if (r == 0 && find_c(&o, "constants.pkl") != NULL)
		c->ops = &script_ops;
	if (r == 0)
		r = read_marks(&o);
	if (r == 0)
		r = read_tree(&o);
	if (r == 0)
		c->writer = torch_writer(o.format_version, o.byteorder,
			c->nstorages == 0 || o.version_at < c->storages[0].offset);
	zip_release(&o.dir);
	buf_release(&o.name);
	return r;
}

static int
open_zip(struct ckpt *c, struct err *e)
{
	struct torch_zip *z = arena_calloc(&c->arena, 1, sizeof(*z));
	const char *why = NULL;
	bool took = false;

	pthread_mutex_init(&z->lock, NULL);
	c->priv = z;
	c->ops = &torch_ops;
	if (source_is_stream(c->src)) {
		if (torch_forward_open(c, &took, &why, e) < 0)
			return -1;
		if (took)
			return 0;
		source_explain(c->src, why);
	}
	return open_directory(c, e);
}

const struct format_reader format_torch_zip = { "torch", probe, open_zip };
