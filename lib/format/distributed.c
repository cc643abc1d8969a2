/*
 * distributed: reads a folder of torch.distributed.checkpoint as one checkpoint. The metadata (dcp_metadata.h) gives names, shapes,
 * boxes and the tree. Each box becomes a storage, which is located in its file at the first access. A box is stored as a whole
 * checkpoint of its own (torch zip), or in a safetensors file. Values that are not tensors are read
 * when ckpt_fill asks for them. Facts: lib/format/README.md, section 8.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "format/dcp_metadata.h"
#include "format/file_set.h"
#include "format/format.h"
#include "io/crc32.h"
#include "tensor/boxes.h"

/* An item of at most this size is read into memory as a whole. */
enum { SMALL = 64 << 10 };

/* A part of a file that is opened as a checkpoint of its own. */
struct dcp_piece {
	struct source *src;
	struct ckpt *ckpt;
	char *bytes; /* contents of a small piece; or NULL */
	char *name;
	uint64_t base; /* offset in the file */
};

/* The position in the tree of a value that was not read. parent is VALUE_ABSENT if there is no such value, or it was read. */
struct dcp_spot {
	uint32_t parent, item;
};

/* The state of building the tree, tensors and storages of a checkpoint from the names in its metadata. */
struct assembly {
	struct ckpt *c;
	struct distributed *d;
	struct tensor *tensors;
	struct storage *storages;
	size_t ntensors, nstorages, cap_tensors, cap_storages, cap_item, cap_proved;
	uint32_t *values;       /* by name: handle of its value in the tree */
	struct dcp_spot *spots; /* by name */
	uint64_t *left;         /* by file: number of bytes from which no value was read */
	struct err *err;
};

struct distributed {
	struct file_set files; /* must be first, for the operations of file_set */
	struct assembly a;
	struct dcp_metadata m;
	uint64_t *sizes;      /* by file; UINT64_MAX if it is missing */
	size_t *item;         /* by storage: index in the metadata of the item that is the storage or contains it */
	struct err fault;     /* first error that is known without reading tensors and keeps some from being read */
	pthread_mutex_t lock; /* protects the members below, and locating */
	uint32_t ordered;     /* storage whose elements are in elements, in row-major order; STORAGE_NONE if none */
	unsigned char *elements;
	bool *proved; /* by storage: its crc was set by prove_item and can be checked */
};

/* Returns the name that a storage belongs to. */
static const struct dcp_name *
name_of(const struct distributed *d, uint32_t storage)
{
	return &d->m.names[d->m.items[d->item[storage]].name];
}

/* ---- files */

/* Notes the first fault. In salvage mode faults are ignored; the values that they concern cannot be read. */
static void
fault(const struct ckpt *c, const struct err *why)
{
	struct distributed *d = c->priv;

	if (d->fault.code == ERR_NONE && c->salvage == SALVAGE_NOT)
		d->fault = *why;
}

/* Determines the sizes of all files. A missing file is a fault. */
static void
list_files(struct ckpt *c, struct distributed *d)
{
	const char **paths = arena_calloc(&c->arena, d->m.nfiles, sizeof(*paths));
	const int dir = (int)path_folder(c->file);
	struct stat st;

	d->sizes = xcalloc(d->m.nfiles + 1, sizeof(*d->sizes));
	for (size_t i = 0; i < d->m.nfiles; i++) {
		struct err why = ERR_INIT;

		paths[i] = arena_printf(&c->arena, "%.*s%s", dir, c->file, d->m.files[i]);
		d->sizes[i] = stat(paths[i], &st) == 0 && S_ISREG(st.st_mode) ? (uint64_t)st.st_size : UINT64_MAX;
		if (d->sizes[i] == UINT64_MAX) {
			err_input(&why, c->file, "the file '%s' is missing", paths[i]);
			fault(c, &why);
		}
	}
	file_set_init(&d->files, paths, (uint32_t)d->m.nfiles, c->file);
	c->shards = d->m.files;
	c->nshards = (uint32_t)d->m.nfiles;
}

/* Appends a description such as "tensor 'x', box [2,3] at [0,0]". */
static void
put_item(struct buf *b, const struct distributed *d, const struct dcp_item *item)
{
	const struct dcp_name *n = &d->m.names[item->name];

	buf_addf(b, "%s '%.*s'", n->tensor ? "tensor" : "value", STR_ARG(n->name));
	if (!n->tensor)
		return;
	buf_adds(b, ", box ");
	shape_put(b, item->size, n->ndim);
	buf_adds(b, " at ");
	shape_put(b, item->low, n->ndim);
}

/* Sets err to the error why, with a description of the item. */
static int
bad_item(const struct ckpt *c, const struct dcp_item *item, const struct err *why, struct err *err)
{
	struct buf b = BUF_INIT;

	put_item(&b, c->priv, item);
	err_set(err, why->code, "%s: %.*s: %s", c->file, STR_ARG(buf_str(&b)), why->msg);
	err->sysno = why->sysno;
	buf_release(&b);
	return -1;
}

/* Notes a fault if the file ends before the item does. */
static void
check_length(const struct ckpt *c, struct distributed *d, const struct dcp_item *item)
{
	struct err why = ERR_INIT, full = ERR_INIT;
	uint64_t size = d->sizes[item->file];

	if (size == UINT64_MAX || item->offset + item->length <= size)
		return;
	err_input(&why, file_set_path(&d->files, item->file),
		  "cut off: it ends at byte %" PRIu64 ", but its items end at byte %" PRIu64, size, item->offset + item->length);
	bad_item(c, item, &why, &full);
	fault(c, &full);
}

/* ---- items */

static void
piece_close(struct dcp_piece *p)
{
	ckpt_close(p->ckpt);
	source_close(p->src);
	free(p->bytes);
	free(p->name);
}

/*
 * Opens the source of an item. A torch zip has the length of the item. A safetensors file is stored once for all its tensors and
 * extends to the end of the file.
 */
static int
open_source(struct dcp_piece *p, const struct source *file, struct source *whole, const struct dcp_item *item, struct err *err)
{
	unsigned char head[4];

	if (source_read(whole, item->offset, head, sizeof(head), err) < 0)
		return -1;
	if (memcmp(head, "PK\3\4", sizeof(head)) != 0) {
		p->src = source_part(file, item->offset, UINT64_MAX, p->name);
	} else if (item->length > SMALL) {
		p->src = source_part(file, item->offset, item->length, p->name);
	} else {
		p->bytes = xmalloc((size_t)item->length);
		if (source_read(whole, item->offset, p->bytes, (size_t)item->length, err) < 0)
			return -1;
		p->src = source_memory(p->bytes, (size_t)item->length, p->name);
	}
	return 0;
}

/* Opens an item. The caller must close it in any case, and must keep the file open until then (file_set_get). */
static int
piece_open(struct dcp_piece *p, const struct ckpt *c, const struct dcp_item *item, struct source *file, struct err *err)
{
	struct buf name = BUF_INIT;

	*p = (struct dcp_piece){ .base = item->offset };
	buf_addf(&name, "%s, from byte %" PRIu64 " on", source_name(file), item->offset);
	p->name = name.p;
	if (open_source(p, file, file, item, err) < 0 ||
	    format_open(&p->ckpt, p->src, &(struct format_opts){ c->diag, NULL, c->salvage }, err) < 0)
		return -1;
	return ckpt_check_index(p->ckpt, err);
}

/* Returns the tensor that a piece holds for a name. */
static const struct tensor *
piece_tensor(const struct dcp_piece *p, struct str name)
{
	const struct ckpt *c = p->ckpt;
	uint32_t index;

	if (c->tree != NULL)
		return value_leaf(c->tree, c->root, &index) == LEAF_TENSOR ? &c->tensors[index] : NULL;
	for (uint32_t i = 0; i < c->ntensors; i++)
		if (str_eq(c->names[i], name))
			return &c->tensors[i];
	return NULL;
}

/* Compares the header of an item with the metadata. */
static int
check_item(const struct dcp_piece *p, const struct dcp_name *n, const struct dcp_item *item, const struct tensor *t,
	   struct err *err)
{
	struct buf b = BUF_INIT;

	if (t == NULL || boxes_count(t) == 0)
		return err_input(err, p->name, "it holds no plain tensor");
	if (t->dtype != n->dtype)
		return err_input(err, p->name, "it is %s, but the metadata says %s", dtype_name(t->dtype), dtype_name(n->dtype));
	if (!shape_eq(t->shape, t->ndim, item->size, n->ndim)) {
		shape_put(&b, t->shape, t->ndim);
		err_input(err, p->name, "it has shape %.*s", STR_ARG(buf_str(&b)));
		buf_release(&b);
		return -1;
	}
	if (p->ckpt->tree != NULL && p->ckpt->storages[t->storage].nbytes != tensor_nbytes(t))
		return err_input(err, p->name, "its storage has %" PRIu64 " bytes, its elements %" PRIu64,
				 p->ckpt->storages[t->storage].nbytes, tensor_nbytes(t));
	return 0;
}

/* Sets where the bytes of a storage are: a range of the file, or an item whose elements must be put in order. */
static int
place_storage(struct ckpt *c, uint32_t storage, struct dcp_piece *p, const struct tensor *t, struct err *err)
{
	struct boxes_range all = boxes_whole(t);
	struct storage *to = &c->storages[storage];
	const struct storage *from;
	uint64_t offset = 0;
	uint32_t at = 0;

	if (!boxes_stored(p->ckpt, &all, &at, &offset) || (p->ckpt->storages[at].flags & STORAGE_DEFLATED)) {
		to->flags |= STORAGE_DEFLATED;
		__atomic_store_n(&to->offset, p->base, __ATOMIC_RELEASE);
		return 0;
	}
	from = &p->ckpt->storages[at];
	if (ckpt_locate(p->ckpt, at, err) < 0)
		return -1;
	to->crc = from->crc;
	to->flags |= from->flags & STORAGE_CRC;
	__atomic_store_n(&to->offset, p->base + from->offset + offset, __ATOMIC_RELEASE);
	return 0;
}

/* Callback ckpt_ops.check. */
static int
check(const struct ckpt *c, struct err *err)
{
	const struct distributed *d = c->priv;

	if (d->fault.code == ERR_NONE)
		return 0;
	*err = d->fault;
	return -1;
}

/* Opens and checks the item of a storage, and finds its tensor. The caller must close p in any case. */
static int
open_item(struct ckpt *c, uint32_t storage, struct dcp_piece *p, const struct tensor **t, struct err *err)
{
	struct distributed *d = c->priv;
	const struct dcp_item *item = &d->m.items[d->item[storage]];
	const struct dcp_name *n = &d->m.names[item->name];
	struct err why = ERR_INIT;
	struct source *file;
	int rc;

	*p = (struct dcp_piece){ 0 };
	if (d->m.transform.len > 0)
		return check(c, err);
	if (file_set_get(&d->files, item->file, &file, &why) < 0)
		return bad_item(c, item, &why, err);
	rc = piece_open(p, c, item, file, &why);
	if (rc == 0) {
		*t = piece_tensor(p, n->name);
		rc = check_item(p, n, item, *t, &why);
	}
	return rc < 0 ? bad_item(c, item, &why, err) : 0;
}

static void
close_item(struct ckpt *c, uint32_t storage, struct dcp_piece *p)
{
	struct distributed *d = c->priv;

	if (p->name != NULL)
		file_set_put(&d->files, d->m.items[d->item[storage]].file);
	piece_close(p);
}

/* ---- operations */

static int
locate(struct ckpt *c, uint32_t storage, struct err *err)
{
	struct distributed *d = c->priv;
	const struct tensor *t = NULL;
	struct dcp_piece p;
	int rc = 0;

	if (!name_of(d, storage)->tensor)
		return err_input(err, c->file, "a storage is in no file of the folder");
	pthread_mutex_lock(&d->lock);
	if (c->storages[storage].offset == OFFSET_UNKNOWN) {
		rc = open_item(c, storage, &p, &t, err);
		if (rc == 0)
			rc = place_storage(c, storage, &p, t, err);
		close_item(c, storage, &p);
	}
	pthread_mutex_unlock(&d->lock);
	return rc;
}

/*
 * The stated CRC of an item is that of its bytes as stored. The elements in row-major order get a CRC of their own, which is
 * deliberately wrong if the item's CRC is wrong.
 */
static int
prove_item(struct ckpt *c, uint32_t storage, struct ckpt *item, uint32_t from, struct err *err)
{
	struct distributed *d = c->priv;
	struct storage *s = &c->storages[storage];
	uint32_t stated, crc;
	bool known;

	if (ckpt_crc(item, from, &stated, &known, err) < 0 || ckpt_read_crc(item, from, &crc, err) < 0)
		return -1;
	s->crc = crc32_add(0, d->elements, (size_t)s->nbytes) ^ (crc != stated);
	d->proved[storage] = known;
	return 0;
}

/* Makes d->elements hold the elements of a storage in row-major order. */
static int
put_in_order(struct ckpt *c, uint32_t storage, struct err *err)
{
	struct distributed *d = c->priv;
	const struct tensor *t = NULL;
	struct dcp_piece p;
	int rc;

	if (d->ordered == storage)
		return 0;
	d->ordered = STORAGE_NONE;
	rc = open_item(c, storage, &p, &t, err);
	if (rc == 0) {
		struct boxes_range all = boxes_whole(t);

		free(d->elements);
		d->elements = xmalloc((size_t)c->storages[storage].nbytes);
		rc = boxes_fill(p.ckpt, &all, d->elements, err);
		if (rc == 0)
			rc = prove_item(c, storage, p.ckpt, boxes_get(t, 0).storage, err);
	}
	close_item(c, storage, &p);
	if (rc == 0)
		d->ordered = storage;
	return rc;
}

static int
read_it(struct ckpt *c, uint32_t storage, uint64_t off, void *p, size_t n, struct err *err)
{
	struct distributed *d = c->priv;
	int rc;

	if ((c->storages[storage].flags & STORAGE_DEFLATED) == 0)
		return file_set_read(c, storage, off, p, n, err);
	pthread_mutex_lock(&d->lock);
	rc = put_in_order(c, storage, err);
	if (rc == 0)
		memcpy(p, d->elements + off, n);
	pthread_mutex_unlock(&d->lock);
	return rc;
}

static int
crc(struct ckpt *c, uint32_t storage, uint32_t *value, bool *known, struct err *err)
{
	struct distributed *d = c->priv;

	(void)err;
	pthread_mutex_lock(&d->lock);
	*value = c->storages[storage].crc;
	*known = d->proved[storage] || (c->storages[storage].flags & STORAGE_CRC) != 0;
	pthread_mutex_unlock(&d->lock);
	return 0;
}

/* Returns true if an earlier metadata file lists the same box. The copy of the first file is used. */
static bool
is_copy(const struct dcp_metadata *m, size_t item)
{
	const struct dcp_item *x = &m->items[item], *before = x - 1;
	const struct dcp_name *n = &m->names[x->name];

	return item != n->first && x->source != before->source && shape_eq(x->low, n->ndim, before->low, n->ndim) &&
	       shape_eq(x->size, n->ndim, before->size, n->ndim);
}

/* The storages of a tensor have the order of its items. */
static uint32_t
original(const struct ckpt *c, uint32_t storage)
{
	const struct distributed *d = c->priv;

	while (name_of(d, storage)->tensor && is_copy(&d->m, d->item[storage]))
		storage--;
	return storage;
}

static void
describe(const struct ckpt *c, uint32_t storage, struct buf *b)
{
	const struct distributed *d = c->priv;

	if (!name_of(d, storage)->tensor)
		buf_addf(b, "storage '%.*s' of ", STR_ARG(c->storages[storage].key));
	put_item(b, d, &d->m.items[d->item[storage]]);
}

static void
close_it(struct ckpt *c)
{
	struct distributed *d = c->priv;

	if (d == NULL)
		return;
	file_set_release(&d->files);
	dcp_metadata_release(&d->m);
	pthread_mutex_destroy(&d->lock);
	free(d->a.values);
	free(d->a.spots);
	free(d->a.left);
	free(d->sizes);
	free(d->item);
	free(d->elements);
	free(d->proved);
	free(d);
}

static int fill(struct ckpt *c, struct str path, size_t levels, struct err *err);

static const struct ckpt_ops ops = {
	.name = "distributed",
	.locate = locate,
	.read = read_it,
	.crc = crc,
	.finish = file_set_finish,
	.close = close_it,
	.range = file_set_range,
	.check = check,
	.describe = describe,
	.original = original,
	.fill = fill,
	.proves = true,
};

/* ---- tensors */

static uint32_t
add_storage(struct assembly *a, size_t item, const struct storage *s)
{
	a->d->item = xgrow(a->d->item, a->nstorages, &a->cap_item, sizeof(*a->d->item));
	a->d->proved = xgrow(a->d->proved, a->nstorages, &a->cap_proved, sizeof(*a->d->proved));
	a->d->proved[a->nstorages] = false;
	a->d->item[a->nstorages] = item;
	*xpush(a->storages, a->nstorages, a->cap_storages) = *s;
	return (uint32_t)a->nstorages - 1;
}

/* Pointers to tensors stay valid when the array grows: the old array is in the arena, and is not freed. */
static uint32_t
add_tensor(struct assembly *a, const struct tensor *t)
{
	const struct tensor *before = a->tensors;

	if (a->ntensors == a->cap_tensors) {
		a->cap_tensors += a->cap_tensors / 2 + 16;
		a->tensors = arena_calloc(&a->c->arena, a->cap_tensors, sizeof(*a->tensors));
		memcpy(a->tensors, before, a->ntensors * sizeof(*a->tensors));
	}
	a->tensors[a->ntensors] = *t;
	return (uint32_t)a->ntensors++;
}

/* Adds a box as a storage that has its elements in row-major order. */
static int
add_box(struct assembly *a, size_t number, const struct tensor *t, struct box *box)
{
	const struct dcp_item *item = &a->d->m.items[number];
	struct tensor part = { .dtype = t->dtype };
	struct err why = ERR_INIT;
	struct storage s = {
		.key = a->d->m.names[item->name].name, .offset = OFFSET_UNKNOWN, .dtype = t->dtype, .shard = item->file
	};

	tensor_set_shape(&part, &a->c->arena, item->size, t->ndim);
	if (tensor_check(&part, UINT64_MAX, &why) < 0)
		return bad_item(a->c, item, &why, a->err);
	s.nbytes = s.packed = tensor_nbytes(&part);
	s.untyped = dtype_info(t->dtype)->storage == NULL;
	if (s.nbytes > item->length) {
		err_set(&why, ERR_INPUT, "%" PRIu64 " bytes cannot be in an item of %" PRIu64, s.nbytes, item->length);
		return bad_item(a->c, item, &why, a->err);
	}
	*box = (struct box){ item->low, part.shape, part.stride, 0, add_storage(a, number, &s) };
	check_length(a->c, a->d, item);
	return 0;
}

static int
assemble_tensor(struct assembly *a, uint32_t number)
{
	const struct dcp_metadata *m = &a->d->m;
	const struct dcp_name *n = &m->names[number];
	struct box *boxes = xcalloc(n->nitems + 1, sizeof(*boxes)), copy;
	struct tensor t = { .dtype = n->dtype, .wrap = VALUE_ABSENT, .storage = STORAGE_NONE };
	size_t nboxes = 0;
	int rc = 0;

	tensor_set_shape(&t, &a->c->arena, n->shape, n->ndim);
	for (size_t i = n->first; rc == 0 && i < n->first + n->nitems; i++)
		rc = is_copy(m, i) ? add_box(a, i, &t, &copy) : add_box(a, i, &t, &boxes[nboxes++]);
	a->c->storages = a->storages;
	a->c->nstorages = (uint32_t)a->nstorages;
	if (rc == 0)
		rc = boxes_make(a->c, &t, n->name, boxes, nboxes, a->err);
	free(boxes);
	if (rc == 0)
		a->values[number] = value_new_leaf(a->c->tree, LEAF_TENSOR, add_tensor(a, &t));
	return rc;
}

/* ---- values that are no tensors */

struct value_leaves {
	struct assembly *a;
	const struct dcp_piece *p;
	struct value_copier *copier;
	uint32_t first; /* number of the piece's first storage */
};

/* Callback value_copier.leaf. All storages of the piece have been added before. */
static uint32_t
take_leaf(void *arg, enum value_leaf kind, uint32_t index)
{
	const struct value_leaves *v = arg;
	struct err ignored = ERR_INIT;
	struct tensor t;

	if (kind == LEAF_STORAGE)
		return v->first + index;
	t = tensor_copy(&v->p->ckpt->tensors[index], &v->a->c->arena);
	t.storage += t.storage == STORAGE_NONE ? 0 : v->first;
	if (t.wrap != VALUE_ABSENT)
		t.wrap = value_copy(v->copier, t.wrap, &ignored);
	return add_tensor(v->a, &t);
}

static int
add_piece(struct assembly *a, const struct dcp_piece *p, const struct dcp_item *item, struct err *err)
{
	for (uint32_t i = 0; i < p->ckpt->nstorages; i++) {
		struct storage s = p->ckpt->storages[i];

		if (s.flags & STORAGE_DEFLATED)
			return err_input(err, p->name, "the tensors in it are deflated, which is not supported");
		s.key = arena_str(&a->c->arena, s.key);
		s.offset += s.offset == OFFSET_UNKNOWN ? 0 : p->base;
		s.shard = item->file;
		add_storage(a, (size_t)(item - a->d->m.items), &s);
	}
	return 0;
}

/* Checks that values do not share bytes of a file. Otherwise a small folder could need much memory. */
static int
take_bytes(struct assembly *a, const struct dcp_item *item, struct err *err)
{
	uint64_t *left = &a->left[item->file];

	if (item->length > *left)
		return err_input(err, a->d->m.files[item->file], "the values in it have more bytes than the file");
	*left -= item->length;
	return 0;
}

static int
read_value(struct assembly *a, uint32_t number, const struct dcp_item *item, struct source *file, struct err *err)
{
	struct dcp_piece p;
	struct value_copier copier = { .leaf = take_leaf, .texts = true, .dst = a->c->tree };
	struct value_leaves v = { a, &p, &copier, (uint32_t)a->nstorages };
	int rc = piece_open(&p, a->c, item, file, err);

	if (rc == 0 && p.ckpt->tree == NULL)
		rc = err_input(err, p.name, "it is not a pickle");
	if (rc == 0)
		rc = add_piece(a, &p, item, err);
	if (rc == 0) {
		copier.src = p.ckpt->tree;
		copier.arg = &v;
		a->values[number] = value_copy(&copier, p.ckpt->root, err);
		rc = a->values[number] == VALUE_ABSENT ? -1 : 0;
		value_copier_release(&copier);
	}
	piece_close(&p);
	return rc;
}

static int
item_crc(struct assembly *a, const struct dcp_item *item, uint32_t *crc, struct err *err)
{
	struct source *file;
	char piece[4096];
	size_t n;
	int rc = file_set_get(&a->d->files, item->file, &file, err);

	*crc = 0;
	if (rc < 0)
		return -1;
	for (uint64_t at = 0; rc == 0 && at < item->length; at += n) {
		n = item->length - at < sizeof(piece) ? (size_t)(item->length - at) : sizeof(piece);
		rc = source_read(file, item->offset + at, piece, n, err);
		*crc = rc == 0 ? crc32_add(*crc, piece, n) : 0;
	}
	file_set_put(&a->d->files, item->file);
	return rc;
}

/* Compares copies of a value, which every rank may have written. torch writes equal values as equal bytes. */
static void
compare_copies(struct assembly *a, const struct dcp_name *n)
{
	const struct dcp_item *first = &a->d->m.items[n->first];
	struct err ignored = ERR_INIT;
	uint32_t crc, other;

	for (size_t i = 1; i < n->nitems; i++)
		if (item_crc(a, first, &crc, &ignored) == 0 && item_crc(a, first + i, &other, &ignored) == 0 &&
		    (crc != other || first->length != first[i].length))
			diag_warn(a->c->diag, "%s: '%.*s' differs between '%s', which is taken, and '%s'", a->c->file,
				  STR_ARG(n->name), a->d->m.files[first->file], a->d->m.files[first[i].file]);
}

/* Makes the placeholder for a value that was not read. */
static uint32_t
no_value(struct assembly *a)
{
	return value_new_persid(a->c->tree, value_new_text(a->c->tree, VALUE_STR, str_c("not read")));
}

/* Reads a value into the tree. If that fails, err describes the reason, and it becomes the fault of the checkpoint. */
static int
take_value(struct assembly *a, uint32_t number, struct err *err)
{
	const struct dcp_item *item = &a->d->m.items[a->d->m.names[number].first];
	struct err why = ERR_INIT;
	struct source *file;
	int rc = -1;

	if (a->d->m.transform.len > 0) {
		*err = a->d->fault;
		return -1;
	}
	if (take_bytes(a, item, &why) == 0 && file_set_get(&a->d->files, item->file, &file, &why) == 0) {
		rc = read_value(a, number, item, file, &why);
		file_set_put(&a->d->files, item->file);
	}
	if (rc == 0) {
		compare_copies(a, &a->d->m.names[number]);
		return 0;
	}
	bad_item(a->c, item, &why, err);
	fault(a->c, err);
	return -1;
}

/* Values are read later, when they are needed. Salvage reads them at once, because it must know which of them are lost. */
static int
assemble_value(struct assembly *a, uint32_t number)
{
	struct err why = ERR_INIT;

	check_length(a->c, a->d, &a->d->m.items[a->d->m.names[number].first]);
	a->values[number] = a->c->unread;
	if (a->c->salvage == SALVAGE_NOT) {
		a->c->nunread++;
	} else if (take_value(a, number, &why) < 0) {
		a->values[number] = VALUE_ABSENT;
		ckpt_lose(a->c, a->d->m.names[number].name);
	}
	return 0;
}

/* ---- the tree */

/* Maps parent, kind and key of a step to the child. */
struct planting {
	struct assembly *a;
	struct strmap children;
	struct strmap texts; /* maps addresses of keys to their values */
	struct buf key;
};

static int
contradiction(const struct planting *p, const struct dcp_name *n)
{
	return err_input(p->a->err, p->a->c->file, "'%.*s': its path contradicts that of another name", STR_ARG(n->name));
}

/* Returns the key in children of a step from parent. */
static struct str
step_key(struct planting *p, uint32_t parent, const struct dcp_step *step)
{
	buf_clear(&p->key);
	buf_addf(&p->key, "%" PRIu32 "%c", parent, step->list ? '[' : '.');
	if (step->list)
		buf_u64(&p->key, step->index);
	else
		buf_addstr(&p->key, step->key);
	return buf_str(&p->key);
}

static uint32_t
text_value(struct planting *p, const struct dcp_step *step)
{
	struct str key = str_n((const char *)&step->key.p, sizeof(step->key.p));
	uint64_t known;
	uint32_t made;

	if (strmap_get(&p->texts, key, &known))
		return (uint32_t)known;
	made = value_new_text(p->a->c->tree, VALUE_STR, step->key);
	strmap_add(&p->texts, key, made);
	return made;
}

/* Puts child at a step from parent. Missing items of a list become None. */
static int
put_child(struct planting *p, uint32_t parent, const struct dcp_name *n, const struct dcp_step *step, uint32_t child)
{
	struct vtree *t = p->a->c->tree;

	if (!step->list) {
		value_set(t, parent, text_value(p, step), child);
		return 0;
	}
	if (step->index > 4 * p->a->d->m.nnames + 1024)
		return err_input(p->a->err, p->a->c->file, "'%.*s': the list that contains it has more items than there are names",
				 STR_ARG(n->name));
	while (value_len(t, parent) <= step->index)
		value_append(t, parent, value_new_none(t));
	value_put(t, parent, (size_t)step->index, child);
	return 0;
}

static int
plant(struct planting *p, uint32_t number)
{
	const struct dcp_name *n = &p->a->d->m.names[number];
	struct vtree *t = p->a->c->tree;
	uint32_t at = p->a->c->root;
	uint64_t known;

	for (size_t i = 0; i < n->nsteps; i++) {
		const struct dcp_step *step = &n->path[i];
		bool last = i + 1 == n->nsteps;
		uint32_t child = p->a->values[number];

		if (value_kind(t, at) != (step->list ? VALUE_LIST : VALUE_DICT))
			return contradiction(p, n);
		if (strmap_get(&p->children, step_key(p, at, step), &known)) {
			/* The lowest bit marks containers that paths have created. */
			if (last || (known & 1) == 0)
				return contradiction(p, n);
			at = (uint32_t)(known >> 1);
			continue;
		}
		if (!last)
			child = value_new_seq(t, step[1].list ? VALUE_LIST : VALUE_DICT);
		strmap_add(&p->children, arena_str(&p->a->c->arena, buf_str(&p->key)), (uint64_t)child << 1 | !last);
		if (put_child(p, at, n, step, child) < 0)
			return -1;
		if (child == p->a->c->unread)
			p->a->spots[number] = (struct dcp_spot){ at, (uint32_t)(step->list ? step->index : value_len(t, at) - 1) };
		at = child;
	}
	return 0;
}

static int
plant_all(struct assembly *a)
{
	struct planting p = { .a = a, .children = STRMAP_INIT, .texts = STRMAP_INIT, .key = BUF_INIT };
	int rc = 0;

	a->c->root = value_new_seq(a->c->tree, VALUE_DICT);
	for (size_t i = 0; rc == 0 && i < a->d->m.nnames; i++)
		rc = a->values[i] == VALUE_ABSENT ? 0 : plant(&p, (uint32_t)i);
	strmap_release(&p.children);
	strmap_release(&p.texts);
	buf_release(&p.key);
	return rc;
}

/* ---- reading values */

/*
 * Returns true if path is the path of the value, leads into the value, or leads to a container from which the value is at most
 * levels steps away. Also returns true if a key of the value is not UTF-8, because such a key can be written in several ways.
 */
static bool
leads(const struct dcp_name *n, struct str path, size_t levels)
{
	char digits[24];

	for (size_t i = 0; i < n->nsteps; i++) {
		struct str key = n->path[i].key;

		if (path.len == 0)
			return n->nsteps - i <= levels;
		if (n->path[i].list)
			key = str_n(digits, (size_t)snprintf(digits, sizeof(digits), "%" PRIu64, n->path[i].index));
		if (!utf8_valid(key))
			return true;
		if (!str_starts(path, key) || (path.len > key.len && path.p[key.len] != '.'))
			return false;
		path = str_from(path, path.len > key.len ? key.len + 1 : key.len);
	}
	return true;
}

/* Ranks the storages in the order of the names. The array has the storages of values after those of tensors. */
static void
rank_storages(const struct assembly *a)
{
	uint32_t *at = xcalloc(a->d->m.nnames + 1, sizeof(*at));

	a->c->rank = a->c->owned[1] = xreallocn(a->c->rank, a->nstorages + 1, sizeof(*a->c->rank));
	for (uint32_t i = 0; i < a->nstorages; i++)
		at[name_of(a->d, i) - a->d->m.names + 1]++;
	for (size_t i = 0; i < a->d->m.nnames; i++)
		at[i + 1] += at[i];
	for (uint32_t i = 0; i < a->nstorages; i++)
		a->c->rank[i] = at[name_of(a->d, i) - a->d->m.names]++;
	free(at);
}

static void
publish(struct assembly *a)
{
	a->c->owned[0] = a->c->storages = a->storages;
	a->c->tensors = a->tensors;
	a->c->nstorages = (uint32_t)a->nstorages;
	a->c->ntensors = (uint32_t)a->ntensors;
}

/* ckpt_ops.fill. */
static int
fill(struct ckpt *c, struct str path, size_t levels, struct err *err)
{
	struct distributed *d = c->priv;
	struct assembly *a = &d->a;
	int rc = 0;

	for (uint32_t i = 0; i < d->m.nnames; i++) {
		struct dcp_spot spot = a->spots[i];
		struct err why = ERR_INIT;

		if (spot.parent == VALUE_ABSENT || !leads(&d->m.names[i], path, levels))
			continue;
		if (take_value(a, i, &why) < 0) {
			a->values[i] = no_value(a);
			*err = rc == 0 ? why : *err;
			rc = -1;
		}
		value_put(c->tree, spot.parent, spot.item, a->values[i]);
		a->spots[i].parent = VALUE_ABSENT;
		c->nunread--;
	}
	publish(a);
	rank_storages(a);
	return rc;
}

/* ---- opening */

static int
assemble(struct assembly *a)
{
	struct ckpt *c = a->c;
	int rc = 0;

	c->tree = vtree_new();
	c->unread = no_value(a);
	a->values = xcalloc(a->d->m.nnames + 1, sizeof(*a->values));
	a->spots = xmalloc((a->d->m.nnames + 1) * sizeof(*a->spots));
	for (size_t i = 0; i < a->d->m.nnames; i++) {
		a->spots[i].parent = VALUE_ABSENT;
		a->cap_tensors += a->d->m.names[i].tensor;
	}
	a->tensors = arena_calloc(&c->arena, a->cap_tensors + 1, sizeof(*a->tensors));
	a->left = xcalloc(a->d->m.nfiles + 1, sizeof(*a->left));
	memcpy(a->left, a->d->sizes, a->d->m.nfiles * sizeof(*a->left));
	for (uint32_t i = 0; rc == 0 && i < a->d->m.nnames; i++)
		rc = (a->d->m.names[i].tensor ? assemble_tensor : assemble_value)(a, i);
	if (rc == 0)
		rc = plant_all(a);
	publish(a);
	return rc;
}

static int
read_metadata(struct ckpt *c, struct distributed *d, struct err *err)
{
	struct file_list list;
	struct source *src;
	int rc = file_list_read(&list, c->src, &c->arena, err);

	for (uint32_t i = 0; rc == 0 && i < list.n; i++) {
		rc = source_open(&src, list.paths[i], NULL, err);
		if (rc == 0) {
			rc = dcp_metadata_add(&d->m, src, err);
			source_close(src);
		}
	}
	dcp_metadata_sort(&d->m);
	return rc;
}

static bool
probe(const uint8_t *head, size_t n)
{
	return n >= sizeof(DCP_FOLDER) - 1 && memcmp(head, DCP_FOLDER, sizeof(DCP_FOLDER) - 1) == 0;
}

static int
open_it(struct ckpt *c, struct err *err)
{
	struct distributed *d = xcalloc(1, sizeof(*d));

	d->a = (struct assembly){ .c = c, .d = d, .err = err };
	c->ops = &ops;
	c->priv = d;
	d->ordered = STORAGE_NONE;
	pthread_mutex_init(&d->lock, NULL);
	dcp_metadata_init(&d->m);
	if (read_metadata(c, d, err) < 0)
		return -1;
	list_files(c, d);
	if (d->m.transform.len > 0)
		err_input(&d->fault, c->file, "its items are packed by %.*s, which is not supported", STR_ARG(d->m.transform));
	return assemble(&d->a);
}

const struct format_reader format_distributed = { "distributed", probe, open_it };
