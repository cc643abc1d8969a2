#include "format/rebuild.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "format/rebuild_call.h"

/* A storage leaf of the legacy format that begins inside its storage. */
struct rebuild_view {
	uint32_t leaf, storage;
	uint64_t offset; /* elements */
};

void
rebuild_init(struct rebuild *r, struct ckpt *c, bool legacy)
{
	memset(r, 0, sizeof(*r));
	r->c = c;
	r->legacy = legacy;
	r->where = c->file;
	r->class = r->callable = VALUE_ABSENT;
	strmap_init(&r->keys);
}

void
rebuild_release(struct rebuild *r)
{
	/* Without rebuild_finish the arrays of c are still ours. */
	if (r->storage_cap > 0) {
		free(r->c->storages);
		r->c->storages = NULL;
		r->c->nstorages = 0;
	}
	if (r->tensor_cap > 0) {
		free(r->c->tensors);
		r->c->tensors = NULL;
		r->c->ntensors = 0;
	}
	free(r->leaves);
	free(r->views);
	strmap_release(&r->keys);
	memset(r, 0, sizeof(*r));
}

/* Moves storage i to place[i], in place: along each cycle of the permutation. */
static void
permute(struct storage *s, const uint32_t *place, uint32_t n)
{
	uint8_t *moved = xcalloc(n, 1);
	uint32_t i, at;

	for (i = 0; i < n; i++) {
		struct storage held = s[i], next;

		if (moved[i])
			continue;
		at = i;
		do {
			at = place[at];
			next = s[at];
			s[at] = held;
			held = next;
			moved[at] = 1;
		} while (at != i);
	}
	free(moved);
}

/* The arguments of all the calls that became tensors are most of the tree. */
static void
compact(struct ckpt *c)
{
	uint32_t **roots = xreallocn(NULL, (size_t)c->ntensors + 1, sizeof(*roots)), i;
	size_t n = 0;

	roots[n++] = &c->root;
	for (i = 0; i < c->ntensors; i++)
		if (c->tensors[i].wrap != VALUE_ABSENT)
			roots[n++] = &c->tensors[i].wrap;
	vtree_compact(c->tree, roots, n);
	free(roots);
}

int
rebuild_finish(struct rebuild *r, const uint32_t *place, struct err *e)
{
	struct ckpt *c = r->c;
	uint32_t i;

	if (r->hollow > 0)
		return err_input(e, c->file, "%" PRIu32 " tensors of its pickle have no data", r->hollow);
	if (place != NULL) {
		permute(c->storages, place, c->nstorages);
		for (i = 0; i < c->nstorages; i++)
			value_set_leaf(c->tree, r->leaves[i], place[i]);
		for (i = 0; i < c->ntensors; i++)
			c->tensors[i].storage = place[c->tensors[i].storage];
		for (i = 0; i < r->nviews; i++)
			value_set_leaf(c->tree, r->views[i].leaf, place[r->views[i].storage]);
	}
	c->owned[0] = c->storages;
	c->owned[1] = c->tensors;
	r->storage_cap = r->tensor_cap = 0;
	compact(c);
	return 0;
}

/* ---- storages */

struct id {
	enum dtype dtype;
	bool untyped;
	struct str key;
	uint64_t numel, nbytes;
};

static int
bad_id(const struct rebuild *r, const char *what, struct err *e)
{
	return err_input(e, r->c->file, "a persistent id of its pickle %s", what);
}

/* Keys are text; in some files integers or bytes. */
static bool
key_text(struct vtree *t, uint32_t h, struct str *key)
{
	switch (value_kind(t, h)) {
	case VALUE_STR:
	case VALUE_PYSTR:
	case VALUE_BYTES:
		*key = value_text(t, h);
		return true;
	case VALUE_INT:
		*key = str_c(arena_printf(vtree_arena(t), "%" PRId64, value_int(t, h)));
		return true;
	default:
		return false;
	}
}

static int
read_class(struct rebuild *r, const struct vtree *t, uint32_t h, struct id *id, struct err *e)
{
	struct str name = value_name(t, h);

	if (h == r->class) {
		id->untyped = r->class_untyped;
		id->dtype = r->class_dtype;
		return 0;
	}
	id->untyped = str_eqc(name, "UntypedStorage");
	/* torch goes by the name alone, whatever the module. */
	id->dtype = id->untyped ? DTYPE_UINT8 : dtype_by_storage(name);
	if (value_kind(t, h) == VALUE_GLOBAL && id->dtype != DTYPE_UNKNOWN) {
		r->class = h;
		r->class_untyped = id->untyped;
		r->class_dtype = id->dtype;
		return 0;
	}
	return err_input(e, r->c->file, "storage '%.*s' is of the unknown class '%.*s.%.*s'", STR_ARG(id->key),
		STR_ARG(value_module(t, h)), STR_ARG(name));
}

static int
read_id(struct rebuild *r, struct vtree *t, uint32_t h, struct id *id, struct err *e)
{
	if (!key_text(t, value_item(t, h, 2), &id->key))
		return bad_id(r, "has a storage key that is no text", e);
	if (read_class(r, t, value_item(t, h, 1), id, e) < 0)
		return -1;
	if (!value_u64(t, value_item(t, h, 4), &id->numel))
		return err_input(e, r->c->file, "storage '%.*s' has no valid number of elements", STR_ARG(id->key));
	if (!dtype_bytes(id->dtype, id->numel, &id->nbytes) || id->nbytes > INT64_MAX)
		return err_input(e, r->c->file, "storage '%.*s' is larger than anything can be", STR_ARG(id->key));
	return 0;
}

/* The number of the storage, made when its key is new. */
static int
storage_of(struct rebuild *r, struct vtree *t, const struct id *id, uint32_t *index, struct err *e)
{
	struct ckpt *c = r->c;
	const struct storage *s;
	uint64_t known;

	if (!strmap_add(&r->keys, id->key, c->nstorages)) {
		strmap_get(&r->keys, id->key, &known);
		*index = (uint32_t)known;
		s = &c->storages[known];
		if (s->nbytes != id->nbytes || s->dtype != id->dtype || s->untyped != id->untyped)
			return err_input(e, c->file, "storage '%.*s' is described in two ways", STR_ARG(id->key));
		return 0;
	}
	c->storages = xgrow(c->storages, c->nstorages, &r->storage_cap, sizeof(*c->storages));
	r->leaves = xgrow(r->leaves, c->nstorages, &r->leaf_cap, sizeof(*r->leaves));
	*index = c->nstorages++;
	c->storages[*index] = (struct storage){ .key = id->key,
		.nbytes = id->nbytes,
		.packed = id->nbytes,
		.offset = OFFSET_UNKNOWN,
		.dtype = (uint8_t)id->dtype,
		.untyped = id->untyped };
	r->leaves[*index] = value_new_leaf(t, LEAF_STORAGE, *index);
	return 0;
}

/* The sixth item of a legacy id: None, or where in the storage the part that is meant begins. */
static int
read_view(struct rebuild *r, struct vtree *t, uint32_t h, const struct id *id, uint32_t index, uint32_t *out,
	struct err *e)
{
	uint64_t offset, size;

	if (value_kind(t, h) == VALUE_NONE)
		return 1;
	if (value_kind(t, h) != VALUE_TUPLE || value_len(t, h) != 3 || !value_u64(t, value_item(t, h, 1), &offset) ||
		!value_u64(t, value_item(t, h, 2), &size) || offset > id->numel || size > id->numel - offset)
		return err_input(e, r->c->file, "a view of storage '%.*s' lies outside it", STR_ARG(id->key));
	if (offset == 0)
		return 1;
	*out = value_new_leaf(t, LEAF_STORAGE, index);
	r->views = xgrow(r->views, r->nviews, &r->view_cap, sizeof(*r->views));
	r->views[r->nviews++] = (struct rebuild_view){ *out, index, offset };
	return 1;
}

static int
take_persid(void *arg, struct vtree *t, uint32_t h, uint32_t *out, struct err *e)
{
	struct rebuild *r = arg;
	struct id id;
	uint32_t index;
	size_t n = value_len(t, h), wanted = r->legacy ? 6 : 5;

	if (value_kind(t, h) != VALUE_TUPLE || n < 1 || !value_is_text(t, value_item(t, h, 0)))
		return bad_id(r, "is not one of torch's", e);
	if (r->legacy && str_eqc(value_text(t, value_item(t, h, 0)), "module") && n == 4) {
		*out = value_item(t, h, 1);
		return 1;
	}
	if (!str_eqc(value_text(t, value_item(t, h, 0)), "storage") || n != wanted)
		return bad_id(r, "names no storage", e);
	if (read_id(r, t, h, &id, e) < 0 || storage_of(r, t, &id, &index, e) < 0)
		return -1;
	*out = r->leaves[index];
	return r->legacy ? read_view(r, t, value_item(t, h, 5), &id, index, out, e) : 1;
}

bool
rebuild_storage(const struct rebuild *r, const struct vtree *t, uint32_t h, uint32_t *index, uint64_t *first)
{
	size_t low = 0, high = r->nviews, mid;

	*first = 0;
	if (value_leaf(t, h, index) != LEAF_STORAGE)
		return false;
	/* Leaves get growing handles. */
	while (low < high) {
		mid = low + (high - low) / 2;
		if (r->views[mid].leaf == h) {
			*first = r->views[mid].offset;
			return true;
		}
		if (r->views[mid].leaf < h)
			low = mid + 1;
		else
			high = mid;
	}
	return true;
}

uint32_t
rebuild_add(struct rebuild *r, struct vtree *t, const struct tensor *tensor)
{
	struct ckpt *c = r->c;

	c->tensors = xgrow(c->tensors, c->ntensors, &r->tensor_cap, sizeof(*c->tensors));
	c->tensors[c->ntensors] = *tensor;
	return value_new_leaf(t, LEAF_TENSOR, c->ntensors++);
}

struct pickle_hooks
rebuild_hooks(struct rebuild *r)
{
	return (struct pickle_hooks){ take_persid, rebuild_reduce, rebuild_build, r };
}
