/*
 * plain_pickle: reads files of pickle.dump with numpy arrays, such as those of detectron2's model zoo, also from Python 2. Nothing
 * is executed. Arrays become tensors in the tree; other values are plain data. If the pickle stores the raw bytes of an array, they
 * stay in the file. Bytes that it stores otherwise (protocol 0, protocol 2 of Python 3) are decoded into memory. Facts:
 * lib/format/README.md, section 10.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "format/format.h"
#include "pickle/machine.h"

/*
 * Bytes of the file that were skipped while the pickle was decoded. The index of a storage leaf in the tree is that of its extent.
 */
struct extent {
	uint64_t off, n;
	enum value_kind kind;
};

struct plain_pickle {
	struct extent *extents;
	size_t nextents, cap;
	const char **memory; /* by storage: its bytes in memory, or NULL if they are in the file */
	size_t memory_cap, storage_cap, tensor_cap;
};

static uint32_t
pass_over(void *arg, struct vtree *t, enum value_kind kind, uint64_t off, uint64_t n)
{
	struct plain_pickle *z = arg;

	*xpush(z->extents, z->nextents, z->cap) = (struct extent){ off, n, kind };
	return value_new_leaf(t, LEAF_STORAGE, (uint32_t)z->nextents - 1);
}

/* ---- arrays */

/* An array as the pickle describes it. */
struct array {
	uint32_t shape, dtype, data;
	bool fortran;
	uint32_t axes; /* tuple that gives the order of the dimensions relative to shape; or VALUE_ABSENT */
};

static bool
is_numpy(const struct vtree *t, uint32_t h, const char *name)
{
	return str_starts(value_module(t, h), str_c("numpy")) && str_eqc(value_name(t, h), name);
}

/*
 * Recognises three forms: _reconstruct(class, (0,), b'b') with the state (version, shape, dtype, fortran, data); _frombuffer(data,
 * dtype, shape, order, axes); scalar(dtype, data).
 */
static bool
find_array(struct vtree *t, uint32_t h, struct array *a)
{
	const struct vobject *o = value_object(t, h);
	uint32_t args = o == NULL ? VALUE_ABSENT : o->args;

	a->axes = VALUE_ABSENT;
	a->fortran = false;
	if (o != NULL && is_numpy(t, o->callable, "_reconstruct") && value_len(t, o->state) == 5) {
		a->shape = value_item(t, o->state, 1);
		a->dtype = value_item(t, o->state, 2);
		a->fortran = value_int(t, value_item(t, o->state, 3)) != 0;
		a->data = value_item(t, o->state, 4);
	} else if (o != NULL && is_numpy(t, o->callable, "_frombuffer") && value_len(t, args) >= 4) {
		a->data = value_item(t, args, 0);
		a->dtype = value_item(t, args, 1);
		a->shape = value_item(t, args, 2);
		a->fortran = str_eqc(value_text(t, value_item(t, args, 3)), "F");
		a->axes = value_item(t, args, 4);
	} else if (o != NULL && is_numpy(t, o->callable, "scalar") && value_len(t, args) == 2) {
		a->shape = value_new_tuple(t, NULL, 0);
		a->dtype = value_item(t, args, 0);
		a->data = value_item(t, args, 1);
	} else {
		return false;
	}
	return true;
}

/* Reads dtype(name or class, ...) with the state (version, byte order, ...). */
static enum dtype
read_dtype(const struct vtree *t, uint32_t h, bool *big)
{
	const struct vobject *o = value_object(t, h);
	uint32_t type;

	if (o == NULL || !is_numpy(t, o->callable, "dtype"))
		return DTYPE_UNKNOWN;
	type = value_item(t, o->args, 0);
	*big = str_eqc(value_text(t, value_item(t, o->state, 1)), ">");
	if (str_starts(value_module(t, type), str_c("ml_dtypes")))
		return dtype_by_name(value_name(t, type));
	return dtype_by_numpy(value_text(t, type));
}

static bool
read_shape(const struct vtree *t, uint32_t h, uint64_t *shape, unsigned *ndim)
{
	size_t n = value_len(t, h);

	if (value_kind(t, h) != VALUE_TUPLE || n > TENSOR_NDIM_MAX)
		return false;
	*ndim = (unsigned)n;
	for (size_t i = 0; i < n; i++)
		if (!value_u64(t, value_item(t, h, i), &shape[i]))
			return false;
	return true;
}

/* Permutes the dimensions of tensor by axes. */
static bool
transpose(struct tensor *tensor, struct arena *arena, const struct vtree *t, uint32_t axes)
{
	uint64_t *turned = arena_calloc(arena, 2 * (size_t)tensor->ndim + 1, sizeof(*turned)), axis, seen = 0;

	if (value_len(t, axes) != tensor->ndim)
		return false;
	for (unsigned i = 0; i < tensor->ndim; i++) {
		if (!value_u64(t, value_item(t, axes, i), &axis) || axis >= tensor->ndim || (seen >> axis & 1) != 0)
			return false;
		seen |= (uint64_t)1 << axis;
		turned[i] = tensor->shape[axis];
		turned[tensor->ndim + i] = tensor->stride[axis];
	}
	tensor->shape = turned;
	tensor->stride = turned + tensor->ndim;
	return true;
}

/* Finds the bytes of an array. Sets *s except for its type, and *memory. Returns false if data is not bytes. */
static bool
find_bytes(const struct plain_pickle *z, const struct vtree *t, uint32_t data, struct storage *s, const char **memory)
{
	const struct str text = value_text(t, data);
	uint32_t index;

	if (value_leaf(t, data, &index) == LEAF_STORAGE) {
		*s = (struct storage){ .offset = z->extents[index].off, .nbytes = z->extents[index].n };
		*memory = NULL;
		return true;
	}
	if (value_kind(t, data) != VALUE_BYTES && value_kind(t, data) != VALUE_BYTEARRAY && value_kind(t, data) != VALUE_PYSTR)
		return false;
	*s = (struct storage){ .nbytes = text.len };
	*memory = text.p;
	return true;
}

/* Replaces the object h by a tensor if it is an array with a supported dtype. */
static int
take_array(struct ckpt *c, uint32_t h, const struct array *a, struct err *err)
{
	struct plain_pickle *z = c->priv;
	struct tensor tensor = { .storage = c->nstorages, .wrap = VALUE_ABSENT };
	uint64_t shape[TENSOR_NDIM_MAX], numel, nbytes;
	const char *memory;
	struct storage s;
	unsigned ndim;
	bool big = false;
	enum dtype dtype = read_dtype(c->tree, a->dtype, &big);

	if (dtype == DTYPE_UNKNOWN || !read_shape(c->tree, a->shape, shape, &ndim) || !find_bytes(z, c->tree, a->data, &s, &memory))
		return 0;
	tensor.dtype = (uint8_t)dtype;
	(a->fortran ? tensor_set_fortran : tensor_set_shape)(&tensor, &c->arena, shape, ndim);
	if (!tensor_numel(&tensor, &numel) || !dtype_bytes(dtype, numel, &nbytes) || nbytes != s.nbytes)
		return err_input(err, c->file, "an array of its pickle has %" PRIu64 " bytes, which contradicts its shape",
				 s.nbytes);
	if (value_kind(c->tree, a->axes) != VALUE_NONE && !transpose(&tensor, &c->arena, c->tree, a->axes))
		return err_input(err, c->file, "an array of its pickle has no valid order of its axes");
	s.key = str_c("");
	s.packed = nbytes;
	s.untyped = dtype_info(dtype)->storage == NULL;
	s.dtype = (uint8_t)(s.untyped ? DTYPE_UINT8 : dtype);
	s.flags = big ? STORAGE_BIG_ENDIAN : 0;
	z->memory = xgrow(z->memory, c->nstorages, &z->memory_cap, sizeof(*z->memory));
	z->memory[c->nstorages] = memory;
	*xpush(c->storages, c->nstorages, z->storage_cap) = s;
	*xpush(c->tensors, c->ntensors, z->tensor_cap) = tensor;
	value_replace(c->tree, h, value_new_leaf(c->tree, LEAF_TENSOR, c->ntensors - 1));
	return 0;
}

/* Reads the skipped bytes that belong to no array. */
static int
read_rest(struct ckpt *c, struct err *err)
{
	struct plain_pickle *z = c->priv;
	const uint32_t n = vtree_count(c->tree);
	uint32_t index;

	for (uint32_t h = 0; h < n; h++) {
		const struct extent *x;
		char *bytes;

		if (value_leaf(c->tree, h, &index) != LEAF_STORAGE)
			continue;
		x = &z->extents[index];
		bytes = arena_bytes(vtree_arena(c->tree), (size_t)x->n);
		if (source_read(c->src, x->off, bytes, (size_t)x->n, err) < 0)
			return -1;
		value_replace(c->tree, h, value_new_text(c->tree, x->kind, str_n(bytes, (size_t)x->n)));
	}
	return 0;
}

static int
take_arrays(struct ckpt *c, struct err *err)
{
	uint32_t *const root = &c->root;
	const uint32_t n = vtree_count(c->tree);
	struct array a;
	int rc = 0;

	for (uint32_t h = 0; rc == 0 && h < n; h++)
		if (find_array(c->tree, h, &a))
			rc = take_array(c, h, &a, err);
	c->owned[0] = c->storages;
	c->owned[1] = c->tensors;
	vtree_compact(c->tree, &root, 1);
	return rc == 0 ? read_rest(c, err) : rc;
}

/* ---- operations */

static struct source *
range(struct ckpt *c, uint32_t storage)
{
	return ((const struct plain_pickle *)c->priv)->memory[storage] == NULL ? c->src : NULL;
}

static int
read_storage(struct ckpt *c, uint32_t storage, uint64_t off, void *p, size_t n, struct err *err)
{
	const char *memory = ((const struct plain_pickle *)c->priv)->memory[storage];

	if (memory == NULL)
		return source_read(c->src, c->storages[storage].offset + off, p, n, err);
	memcpy(p, memory + off, n);
	return 0;
}

static void
close_it(struct ckpt *c)
{
	struct plain_pickle *z = c->priv;

	free(z->memory);
	free(z->extents);
}

/* Unordered, because two tensors may share an extent. */
static const struct ckpt_ops ops = { .name = "pickle", .read = read_storage, .range = range, .unordered = true, .close = close_it };

static int
open_it(struct ckpt *c, struct err *err)
{
	struct plain_pickle *z = arena_calloc(&c->arena, 1, sizeof(*z));
	const struct pickle_hooks hooks = { .later = pass_over, .arg = z };
	struct pickle_place place = { .src = c->src };

	c->priv = z;
	c->ops = &ops;
	source_explain(c->src, "the arrays of a pickle are known at its end");
	c->tree = vtree_new();
	if (source_size(c->src, &place.limit, err) < 0 || pickle_decode(c->tree, &place, &hooks, &c->root, err) < 0 ||
	    take_arrays(c, err) < 0)
		return -1;
	if (c->ntensors == 0)
		return err_input(
			err, c->file,
			"it is a plain pickle without torch's wrapper and without arrays, and loading it may run any code: "
			"ask for a file of torch.save or safetensors");
	if (place.end < place.limit)
		diag_warn(c->diag, "%s: at byte %" PRIu64 ": bytes follow the pickle; they are ignored", c->file, place.end);
	return 0;
}

/* Accepts protocols 2 to 5, and common beginnings of arrays, lists and dicts in older protocols. */
static bool
probe(const uint8_t *head, size_t n)
{
	static const char *const begins[] = { "(dp", "(lp", "}q", "]q", "ccollections\nOrderedDict\n", "cnumpy", "ccopy_reg\n" };

	if (format_foreign(head, n) != NULL)
		return false;
	if (n >= 3 && head[0] == 0x80)
		return head[1] >= 2 && head[1] <= 5;
	for (size_t i = 0; i < sizeof(begins) / sizeof(begins[0]); i++)
		if (str_starts(str_n((const char *)head, n), str_c(begins[i])))
			return true;
	return false;
}

const struct format_reader format_plain_pickle = { "pickle", probe, open_it };
