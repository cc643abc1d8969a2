/*
 * Reads a set of files whose tensors are boxes of larger ones. A shard states the first index of each box, and the shape of a
 * tensor is the extent of all its boxes. A DTensor states its shape, its placements and the position of the rank in the mesh, from
 * which its box follows. In rank files, tensors that are no DTensors must be equal in all files; those of the first file are used.
 * Facts: lib/format/README.md, section 8.
 */
#include "format/box_set.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/num.h"
#include "base/xalloc.h"
#include "format/file_set.h"
#include "format/format.h"
#include "pickle/writer.h"
#include "tensor/boxes.h"
#include "tensor/tree.h"

enum { MESH_AXES_MAX = 8 };

/* The placement of a DTensor along one axis of its mesh. */
struct mesh_axis {
	enum { AXIS_REPLICATE, AXIS_SHARD, AXIS_STRIDED } kind;
	uint64_t dim, factor;
	uint64_t at, n; /* at: coordinate of the rank; n: number of coordinates */
};

/* The mesh of a DTensor and its placements. */
struct mesh {
	struct mesh_axis axes[MESH_AXES_MAX];
	unsigned naxes;
	uint64_t ranks; /* number of ranks in the mesh */
};

struct set_name {
	struct str name;
	struct tensor tensor; /* the whole tensor; a plain one if it has no boxes */
	bool boxed;
	uint32_t files; /* number of files that have it */
};

struct set_box {
	uint32_t name, file;
	struct box box;
	struct mesh *mesh; /* for a DTensor */
};

struct box_set {
	struct file_set files; /* must be first, for the operations of file_set */
	bool ranks;
};

/* State while the files are joined. */
struct joining {
	struct ckpt *c;
	struct box_set *s;
	uint32_t file;
	struct ckpt *sub; /* the current file */
	struct set_name *names;
	struct set_box *boxes;
	struct storage *storages;
	uint32_t *storage; /* by storage of sub: its number in storages, or STORAGE_NONE */
	uint32_t *joined;  /* by node of sub's tree: 1 + number of the name if the node is a DTensor */
	uint32_t *plain;   /* by tensor of sub: 1 + number of its name if it is no DTensor */
	size_t nnames, cap_names, nboxes, cap_boxes, nstorages, cap_storages;
	struct buf rest; /* values of the first file that are no tensors, as a pickle */
	size_t differ;   /* number of other files whose values differ from rest */
	bool lost;
	struct strmap by_name;
	struct err *err;
};

static int
bad(const struct joining *j, struct str name, const char *what)
{
	return err_input(j->err, file_set_path(&j->s->files, j->file), "tensor '%.*s': %s", STR_ARG(name), what);
}

/* ---- storages */

/* Gets the number of storage i of the current file, and adds it if it is new. */
static int
take_storage(struct joining *j, uint32_t i, uint32_t *number)
{
	struct storage *s;
	bool known;

	*number = j->storage[i];
	if (*number != STORAGE_NONE)
		return 0;
	if (j->sub->salvage == SALVAGE_NOT && ckpt_locate(j->sub, i, j->err) < 0)
		return -1;
	if (j->sub->storages[i].flags & STORAGE_DEFLATED)
		return err_input(j->err, j->sub->file, "a tensor in it is deflated, which is not supported in a set of files");
	j->storages = xgrow(j->storages, j->nstorages, &j->cap_storages, sizeof(*j->storages));
	s = &j->storages[j->nstorages];
	*s = j->sub->storages[i];
	s->key = arena_str(&j->c->arena, s->key);
	s->shard = j->file;
	if (ckpt_crc(j->sub, i, &s->crc, &known, j->err) < 0)
		return -1;
	s->flags = (uint8_t)((s->flags & ~STORAGE_CRC) | (known ? STORAGE_CRC : 0));
	*number = j->storage[i] = (uint32_t)j->nstorages++;
	return 0;
}

/* ---- meshes */

/* Returns a field of an object or of a state. The state is a dict, or a pair of a dict (or None) and a dict of slots. */
static uint32_t
field(const struct vtree *t, uint32_t object, const char *name)
{
	const struct vobject *o = value_object(t, object);
	uint32_t state = o == NULL ? object : o->state, h = value_get(t, state, str_c(name));

	for (size_t i = 0; h == VALUE_ABSENT && value_kind(t, state) == VALUE_TUPLE && i < value_len(t, state) && i < 2; i++)
		h = value_get(t, value_item(t, state, i), str_c(name));
	return h;
}

static int
read_axis(const struct joining *j, struct str name, uint32_t placement, struct mesh_axis *a)
{
	const struct vtree *t = j->sub->tree;
	const struct vobject *o = value_object(t, placement);
	struct str class = o == NULL ? str_c("") : value_name(t, o->callable);

	*a = (struct mesh_axis){ .kind = str_eqc(class, "Replicate") ? AXIS_REPLICATE
					 : str_eqc(class, "Shard")   ? AXIS_SHARD
								     : AXIS_STRIDED };
	if (a->kind == AXIS_STRIDED && !str_eqc(class, "_StridedShard"))
		return bad(j, name,
			   str_eqc(class, "Partial") || str_eqc(class, "_Partial")
				   ? "its placement is Partial: the ranks have summands, and adding them is not supported"
				   : "it has a placement of an unknown kind");
	if (a->kind != AXIS_REPLICATE && !value_u64(t, field(t, placement, "dim"), &a->dim))
		return bad(j, name, "its placement has no dimension");
	if (a->kind == AXIS_STRIDED && !value_u64(t, field(t, placement, "split_factor"), &a->factor))
		return bad(j, name, "its placement has no split_factor");
	return 0;
}

/* Returns the ranks of a mesh as a tuple or list. The name of the field depends on the version of torch. */
static uint32_t
ranks_of(const struct vtree *t, uint32_t mesh)
{
	uint32_t ranks = field(t, mesh, "_flatten_rank_map");

	return ranks != VALUE_ABSENT ? ranks : field(t, mesh, "_flatten_mesh_list");
}

static int
check_ranks(const struct joining *j, struct str name, uint32_t ranks)
{
	uint64_t rank;

	for (size_t i = 0; i < value_len(j->sub->tree, ranks); i++) {
		if (!value_u64(j->sub->tree, value_item(j->sub->tree, ranks, i), &rank))
			return bad(j, name, "its mesh has a rank that is not a number");
		if (rank >= j->s->files.n)
			return err_input(j->err, j->c->file, "rank %" PRIu64 " is missing: it has a part of tensor '%.*s'", rank,
					 STR_ARG(name));
	}
	return 0;
}

/* Returns the call that makes a DTensor, without the calls that wrap it in a Parameter. */
static uint32_t
dtensor_of(const struct vtree *t, uint32_t call)
{
	const struct vobject *o = value_object(t, call);

	for (unsigned i = 0;
	     o != NULL && i < TENSOR_WRAPS_MAX && str_starts(value_name(t, o->callable), str_c("_rebuild_parameter")); i++) {
		call = value_item(t, o->args, 0);
		o = value_object(t, call);
	}
	return call;
}

static int
read_mesh(struct joining *j, const struct sd_entry *en, struct mesh *m)
{
	const struct vtree *t = j->sub->tree;
	const struct vobject *o = value_object(t, dtensor_of(t, en->value));
	uint32_t spec = o == NULL ? VALUE_ABSENT : field(t, value_item(t, o->args, 3), "_spec");
	uint32_t mesh = field(t, spec, "mesh"), placements = field(t, spec, "placements"), ranks = ranks_of(t, mesh);
	uint32_t at = field(t, mesh, "_coordinate_on_dim");

	m->naxes = (unsigned)value_len(t, placements);
	m->ranks = value_len(t, ranks);
	if (m->naxes == 0 || value_len(t, placements) > MESH_AXES_MAX || value_len(t, at) != m->naxes || m->ranks == 0)
		return bad(j, en->name, "its position in the mesh is missing");
	for (unsigned i = 0; i < m->naxes; i++) {
		if (read_axis(j, en->name, value_item(t, placements, i), &m->axes[i]) < 0)
			return -1;
		if (!value_u64(t, value_item(t, at, i), &m->axes[i].at) || m->axes[i].at >= m->ranks)
			return bad(j, en->name, "its position in the mesh is not a number inside the mesh");
	}
	return check_ranks(j, en->name, ranks);
}

/* Cuts a dimension by torch's rule: n pieces of ceil(size / n), of which the last ones may be shorter or empty. */
static void
cut(const struct mesh_axis *a, uint64_t *low, uint64_t *size)
{
	uint64_t piece = *size / a->n + (*size % a->n != 0), begin = a->at * piece;

	begin = begin < *size ? begin : *size;
	*low += begin;
	*size = *size - begin < piece ? *size - begin : piece;
}

/*
 * Computes the box of a rank. The axes of the mesh cut one after the other. A strided axis cuts what is left by the later axes of
 * the same dimension; its factor is the number of their pieces.
 */
static int
place_box(const struct joining *j, const struct set_name *n, const struct mesh *m, uint64_t *low, uint64_t *size)
{
	const struct mesh_axis *a;
	uint64_t pieces;

	memset(low, 0, n->tensor.ndim * sizeof(*low));
	memcpy(size, n->tensor.shape, n->tensor.ndim * sizeof(*size));
	for (unsigned i = 0; i < m->naxes; i++)
		if (m->axes[i].kind != AXIS_REPLICATE && m->axes[i].dim >= n->tensor.ndim)
			return bad(j, n->name, "its placement names a dimension that it does not have");
	for (unsigned i = 0; i < m->naxes; i++)
		if (m->axes[i].kind == AXIS_SHARD)
			cut(&m->axes[i], &low[m->axes[i].dim], &size[m->axes[i].dim]);
	for (unsigned i = m->naxes; i-- > 0;) {
		a = &m->axes[i];
		pieces = 1;
		for (unsigned k = i + 1; a->kind == AXIS_STRIDED && k < m->naxes; k++)
			pieces *= m->axes[k].kind != AXIS_REPLICATE && m->axes[k].dim == a->dim ? m->axes[k].n : 1;
		if (a->kind == AXIS_STRIDED && pieces != a->factor)
			return bad(j, n->name, "the split_factor of its placement contradicts its mesh");
		if (a->kind == AXIS_STRIDED)
			cut(a, &low[a->dim], &size[a->dim]);
	}
	return 0;
}

/* ---- names */

static struct set_name *
find_name(struct joining *j, struct str name)
{
	uint64_t i;

	if (strmap_get(&j->by_name, name, &i))
		return &j->names[i];
	if (j->s->ranks && j->file > 0)
		return NULL;
	name = arena_str(&j->c->arena, name);
	strmap_add(&j->by_name, name, j->nnames);
	*xpush(j->names, j->nnames, j->cap_names) = (struct set_name){ .name = name };
	return &j->names[j->nnames - 1];
}

/* Compares a further box of a name with the first one. shape is the shape of the whole tensor, or NULL. */
static int
same_kind(const struct joining *j, const struct set_name *n, const struct tensor *t, const uint64_t *shape)
{
	if (t->dtype != n->tensor.dtype || t->ndim != n->tensor.ndim)
		return bad(j, n->name, "another file has it with another dtype or number of dimensions");
	if (shape != NULL && !shape_eq(shape, t->ndim, n->tensor.shape, n->tensor.ndim))
		return bad(j, n->name, "another file has it with another shape");
	return 0;
}

/* Adds the box t that a file has of n. shape is that of the whole tensor; if it is NULL, the whole tensor grows with its boxes. */
static int
add_box(struct joining *j, struct set_name *n, const struct tensor *t, const uint64_t *shape, const uint64_t *low)
{
	struct tensor copy = tensor_copy(t, &j->c->arena);
	struct set_box b = { .name = (uint32_t)(n - j->names), .file = j->file };
	uint64_t most[TENSOR_NDIM_MAX];

	if (n->boxed && same_kind(j, n, t, shape) < 0)
		return -1;
	for (unsigned i = 0; i < t->ndim; i++) {
		most[i] = shape != NULL ? shape[i] : 0;
		if (shape == NULL && !num_add(low[i], t->shape[i], &most[i]))
			return bad(j, n->name, "its box ends beyond 2^64");
		if (shape == NULL && n->boxed && n->tensor.shape[i] > most[i])
			most[i] = n->tensor.shape[i];
	}
	n->boxed = true;
	n->tensor = (struct tensor){ .dtype = t->dtype, .storage = STORAGE_NONE, .wrap = VALUE_ABSENT };
	tensor_set_shape(&n->tensor, &j->c->arena, most, t->ndim);
	b.box = (struct box){ NULL, copy.shape, copy.stride, copy.offset, 0 };
	if (low != NULL)
		b.box.low = memcpy(arena_alloc(&j->c->arena, t->ndim * sizeof(*low)), low, t->ndim * sizeof(*low));
	*xpush(j->boxes, j->nboxes, j->cap_boxes) = b;
	return take_storage(j, t->storage, &j->boxes[j->nboxes - 1].box.storage);
}

/* ---- rank files: values that are no DTensors */

struct same_values {
	const struct joining *j;
	const struct tensor *first;
	uint64_t at; /* number of elements compared */
	bool differ;
};

/* Callback of boxes_read. */
static int
compare_piece(void *arg, void *p, size_t n, struct err *err)
{
	struct same_values *k = arg;
	uint64_t count = n / dtype_size(k->first->dtype);
	struct boxes_range same = { k->first, k->at, k->at + count, false };
	unsigned char *other = xmalloc(n);
	int rc = boxes_fill(k->j->c, &same, other, err);

	k->at += count;
	k->differ = k->differ || (rc == 0 && memcmp(p, other, n) != 0);
	free(other);
	return rc;
}

static int
compare_tensors(struct joining *j, struct set_name *n, const struct tensor *t)
{
	struct boxes_range all = boxes_whole(t);
	struct same_values k = { j, &n->tensor, 0, false };

	if (n->boxed || n->tensor.storage == STORAGE_NONE || same_kind(j, n, t, t->shape) < 0)
		return bad(j, n->name, "the file of rank 0 has something else under this name");
	j->c->storages = j->storages;
	j->c->nstorages = (uint32_t)j->nstorages;
	if (boxes_read(j->sub, &all, compare_piece, &k, j->err) < 0)
		return -1;
	return k.differ ? bad(j, n->name, "it is not a DTensor, but its values differ from those of rank 0") : 0;
}

static int
append(void *arg, const void *p, size_t n, struct err *err)
{
	(void)err;
	buf_add(arg, p, n);
	return 0;
}

/* Callback of struct pickle_leaves. Writes None, because tensors are compared separately. */
static int
hide_leaf(void *arg, struct pickle_out *o, enum value_leaf kind, uint32_t index, struct err *err)
{
	(void)arg, (void)kind, (void)index, (void)err;
	pickle_put(o, "N");
	return 0;
}

/* Replaces DTensors by leaves, whose indices start after those of the file's tensors. */
static void
put_joined(const struct joining *j)
{
	struct vtree *t = j->sub->tree;
	uint32_t count = vtree_count(t), item;

	for (uint32_t h = 0; h < count; h++) {
		enum value_kind kind = value_kind(t, h);

		for (size_t i = 0; (kind == VALUE_DICT || kind == VALUE_LIST || kind == VALUE_TUPLE) && i < value_len(t, h); i++) {
			item = tree_child(t, h, i);
			if (item < count && j->joined[item] != 0)
				value_put(t, h, i, value_new_leaf(t, LEAF_TENSOR, j->sub->ntensors + j->joined[item] - 1));
		}
	}
}

/* Callback value_copier.leaf. */
static uint32_t
give_leaf(void *arg, enum value_leaf kind, uint32_t index)
{
	struct joining *j = arg;

	if (kind == LEAF_TENSOR && index >= j->sub->ntensors)
		return index - j->sub->ntensors;
	if (kind == LEAF_TENSOR && j->plain[index] != 0)
		return j->plain[index] - 1;
	j->lost = true;
	return LEAF_DROP;
}

/* Takes all values that are no tensors from the first file, and compares those of other files with them. */
static int
take_rest(struct joining *j)
{
	struct pickle_leaves leaves = { hide_leaf, NULL };
	struct value_copier copier = { .leaf = give_leaf, .arg = j, .texts = true, .src = j->sub->tree };
	struct buf text = BUF_INIT;
	int rc;

	put_joined(j);
	rc = pickle_encode(j->sub->tree, j->sub->root, &leaves, append, j->file == 0 ? &j->rest : &text, j->err);
	j->differ += j->file > 0 && !str_eq(buf_str(&text), buf_str(&j->rest));
	if (rc == 0 && j->file == 0) {
		copier.dst = j->c->tree = vtree_new();
		j->c->root = value_copy(&copier, j->sub->root, j->err);
		value_copier_release(&copier);
		if (j->lost)
			rc = err_input(j->err, j->sub->file, "an object of an unknown class in it holds a tensor");
	}
	buf_release(&text);
	return rc;
}

/* ---- files */

static int
take_dtensor(struct joining *j, struct set_name *n, const struct sd_entry *en, const struct tensor *t)
{
	const struct tensor *local = NULL;
	struct mesh *m = arena_calloc(&j->c->arena, 1, sizeof(*m));

	for (size_t i = 0; i < t->more->nparts; i++)
		if (str_eqc(t->more->parts[i].name, "_local_tensor"))
			local = t->more->parts[i].tensor;
	if (local == NULL || local->more != NULL || local->storage == STORAGE_NONE || local->dtype != t->dtype ||
	    local->ndim != t->ndim)
		return bad(j, en->name, "it is a DTensor without a plain local tensor");
	if (n->files > 1 && !n->boxed)
		return bad(j, en->name, "it is a DTensor here, but not in the file of rank 0");
	if (read_mesh(j, en, m) < 0 || add_box(j, n, local, t->shape, NULL) < 0)
		return -1;
	j->boxes[j->nboxes - 1].mesh = m;
	j->joined[en->value] = (uint32_t)(n - j->names) + 1;
	return 0;
}

static int
take_plain(struct joining *j, struct set_name *n, const struct sd_entry *en, const struct tensor *t)
{
	if (en->kind == SD_COMPOSITE || t->more != NULL || t->storage == STORAGE_NONE)
		return bad(j, en->name, "it is neither a DTensor nor a plain tensor");
	if (j->file > 0)
		return compare_tensors(j, n, t);
	n->tensor = tensor_copy(t, &j->c->arena);
	n->tensor.wrap = VALUE_ABSENT;
	j->plain[en->tensor] = (uint32_t)(n - j->names) + 1;
	return take_storage(j, t->storage, &n->tensor.storage);
}

static int
take_entry(struct joining *j, const struct statedict *sd, const struct sd_entry *en)
{
	static const uint64_t zeros[TENSOR_NDIM_MAX];
	const struct tensor *t = sd_tensor(sd, en);
	struct set_name *n;

	if (en->kind == SD_OTHER)
		return 0;
	n = find_name(j, en->name);
	if (n == NULL)
		return bad(j, en->name, "the file of rank 0 lacks it");
	n->files++;
	if (j->s->ranks)
		return (t->more != NULL && t->more->placements.len > 0 ? take_dtensor : take_plain)(j, n, en, t);
	if (j->sub->boxed && t->more == NULL)
		return bad(j, en->name, CKPT_SHARDING_KEY " does not have its offsets");
	return add_box(j, n, t, NULL, t->more != NULL ? t->more->low : zeros);
}

static int
take_entries(struct joining *j)
{
	struct statedict sd;
	int rc = statedict_open(&sd, j->sub, "", j->err);

	if (rc < 0)
		return -1;
	j->storage = memset(xcalloc(j->sub->nstorages, sizeof(*j->storage)), 0xff, j->sub->nstorages * sizeof(*j->storage));
	j->joined = xcalloc(j->s->ranks ? vtree_count(j->sub->tree) : 0, sizeof(*j->joined));
	j->plain = xcalloc(j->sub->ntensors, sizeof(*j->plain));
	for (size_t i = 0; rc == 0 && i < sd.n; i++)
		rc = take_entry(j, &sd, &sd.entries[i]);
	if (rc == 0 && j->s->ranks)
		rc = take_rest(j);
	free(j->storage);
	free(j->joined);
	free(j->plain);
	statedict_release(&sd);
	return rc;
}

static int
take_file(struct joining *j, uint32_t i)
{
	struct source *src;
	int rc;

	j->file = i;
	if (file_set_get(&j->s->files, i, &src, j->err) < 0)
		return -1;
	rc = format_open(&j->sub, src, &(struct format_opts){ j->c->diag, NULL, j->c->salvage }, j->err);
	if (rc == 0)
		rc = ckpt_check_index(j->sub, j->err);
	if (rc == 0 && (j->sub->tree == NULL) == j->s->ranks)
		rc = err_input(j->err, j->sub->file, j->s->ranks ? "it is not a torch file" : "it is not a safetensors file");
	if (rc == 0)
		rc = take_entries(j);
	ckpt_close(j->sub);
	file_set_put(&j->s->files, i);
	return rc;
}

/* ---- joining the boxes */

static int
by_name(const void *a, const void *b)
{
	const struct set_box *x = a, *y = b;

	if (x->name != y->name)
		return x->name < y->name ? -1 : 1;
	return x->file < y->file ? -1 : x->file > y->file;
}

/* Determines the number of coordinates of each axis of the mesh from the coordinates of all ranks. */
static int
measure_mesh(struct joining *j, const struct set_name *n, struct set_box *boxes, size_t count)
{
	struct mesh *first = boxes[0].mesh;
	uint64_t ranks = 1, most;

	for (unsigned a = 0; a < first->naxes; a++) {
		most = 0;
		for (size_t i = 0; i < count; i++)
			if (a < boxes[i].mesh->naxes && boxes[i].mesh->axes[a].at > most)
				most = boxes[i].mesh->axes[a].at;
		for (size_t i = 0; i < count; i++)
			boxes[i].mesh->axes[a].n = most + 1;
		ranks = num_mul(ranks, most + 1, &ranks) ? ranks : 0;
	}
	for (size_t i = 0; i < count; i++)
		if (boxes[i].mesh->naxes != first->naxes || boxes[i].mesh->ranks != ranks)
			return bad(j, n->name, "the ranks of the files are not those of its mesh");
	return 0;
}

static bool
is_replica(const struct mesh *m)
{
	for (unsigned a = 0; a < m->naxes; a++)
		if (m->axes[a].kind == AXIS_REPLICATE && m->axes[a].at > 0)
			return true;
	return false;
}

/* Computes the first index of each box of a DTensor, and drops replicas. */
static int
place_boxes(struct joining *j, const struct set_name *n, struct set_box *boxes, size_t *count)
{
	uint64_t low[TENSOR_NDIM_MAX], size[TENSOR_NDIM_MAX];
	size_t kept = 0;

	if (measure_mesh(j, n, boxes, *count) < 0)
		return -1;
	for (size_t i = 0; i < *count; i++) {
		j->file = boxes[i].file;
		if (place_box(j, n, boxes[i].mesh, low, size) < 0)
			return -1;
		if (!shape_eq(size, n->tensor.ndim, boxes[i].box.size, n->tensor.ndim))
			return bad(j, n->name, "the shape of its local tensor contradicts its placements");
		boxes[i].box.low = memcpy(arena_alloc(&j->c->arena, sizeof(low)), low, sizeof(low));
		if (!is_replica(boxes[i].mesh))
			boxes[kept++] = boxes[i];
	}
	*count = kept;
	return 0;
}

static int
join_name(struct joining *j, struct set_name *n, struct set_box *boxes, size_t count)
{
	struct box *list;
	int rc = 0;

	if (j->s->ranks && n->files != j->s->files.n)
		return err_input(j->err, j->c->file, "tensor '%.*s': the file of another rank lacks it", STR_ARG(n->name));
	if (!n->boxed)
		return 0;
	if (j->s->ranks)
		rc = place_boxes(j, n, boxes, &count);
	list = xcalloc(count, sizeof(*list));
	for (size_t i = 0; i < count; i++)
		list[i] = boxes[i].box;
	if (rc == 0)
		rc = boxes_make(j->c, &n->tensor, n->name, list, count, j->err);
	free(list);
	return rc;
}

static int
join(struct joining *j)
{
	struct ckpt *c = j->c;
	size_t from = 0, to;

	if (j->nboxes > 0)
		qsort(j->boxes, j->nboxes, sizeof(*j->boxes), by_name);
	c->tensors = arena_calloc(&c->arena, j->nnames, sizeof(*c->tensors));
	c->names = j->s->ranks ? NULL : arena_calloc(&c->arena, j->nnames, sizeof(*c->names));
	for (uint32_t i = 0; i < j->nnames; i++) {
		for (to = from; to < j->nboxes && j->boxes[to].name == i; to++)
			;
		if (join_name(j, &j->names[i], j->boxes + from, to - from) < 0) {
			if (j->c->salvage == SALVAGE_NOT || j->s->ranks)
				return -1;
			err_clear(j->err);
			ckpt_lose(c, j->names[i].name);
			from = to;
			continue;
		}
		from = to;
		c->tensors[c->ntensors++] = j->names[i].tensor;
		if (c->names != NULL)
			c->names[c->ntensors - 1] = j->names[i].name;
	}
	if (j->differ > 0)
		diag_warn(c->diag, "%s: values that are not tensors differ in %zu of the files; those of rank 0 are taken", c->file,
			  j->differ);
	return 0;
}

/* ---- operations */

static void
close_it(struct ckpt *c)
{
	struct box_set *s = c->priv;

	if (s != NULL)
		file_set_release(&s->files);
	free(s);
}

static int
locate(struct ckpt *c, uint32_t storage, struct err *err)
{
	return err_input(err, c->shards[c->storages[storage].shard], "a storage of it is missing");
}

static const struct ckpt_ops ops = {
	.name = "distributed",
	.locate = locate,
	.read = file_set_read,
	.finish = file_set_finish,
	.close = close_it,
	.range = file_set_range,
};

/* ---- opening */

static bool
probe(const uint8_t *head, size_t n)
{
	struct str text = str_n((const char *)head, n);

	return str_starts(text, str_c(BOX_SET_SHARDS)) || str_starts(text, str_c(BOX_SET_RANKS));
}

static int
open_it(struct ckpt *c, struct err *err)
{
	struct box_set *s = xcalloc(1, sizeof(*s));
	struct joining j = { .c = c, .s = s, .by_name = STRMAP_INIT, .err = err };
	struct file_list list;
	int rc = 0;

	c->ops = &ops;
	c->priv = s;
	if (file_list_read(&list, c->src, &c->arena, err) < 0)
		return -1;
	s->ranks = str_starts(str_c(BOX_SET_RANKS), list.what);
	c->shards = list.names;
	c->nshards = list.n;
	file_set_init(&s->files, list.paths, list.n, c->file);
	for (uint32_t i = 0; rc == 0 && i < s->files.n; i++) {
		rc = take_file(&j, i);
		if (rc < 0 && c->salvage != SALVAGE_NOT && !s->ranks) {
			diag_warn(c->diag, "%s", err->msg);
			err_clear(err);
			rc = 0;
		}
	}
	c->storages = c->owned[0] = j.storages;
	c->nstorages = (uint32_t)j.nstorages;
	if (rc == 0)
		rc = join(&j);
	free(j.names);
	free(j.boxes);
	buf_release(&j.rest);
	strmap_release(&j.by_name);
	return rc;
}

const struct format_reader format_box_set = { "distributed", probe, open_it };
