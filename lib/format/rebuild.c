#include "format/rebuild.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/xalloc.h"

/*
 * A storage leaf of the legacy format that begins inside its storage. Until rebuild_finish its index is VIEW plus the index of its
 * rebuild_view.
 */
struct rebuild_view {
	uint32_t leaf, storage;
	uint64_t offset; /* in elements */
};

#define VIEW (UINT32_C(1) << 31)

void
rebuild_init(struct rebuild *r, struct ckpt *c, bool legacy)
{
	memset(r, 0, sizeof(*r));
	r->c = c;
	r->legacy = legacy;
	r->where = c->file;
	r->class = r->callable = r->plain.callable = VALUE_ABSENT;
	strmap_init(&r->keys);
}

void
rebuild_reserve(struct rebuild *r, size_t n)
{
	strmap_reserve(&r->keys, n);
	r->c->storages = xreallocn(NULL, n, sizeof(*r->c->storages));
	r->leaves = xreallocn(NULL, n, sizeof(*r->leaves));
	r->c->tensors = xreallocn(NULL, n, sizeof(*r->c->tensors));
	r->storage_cap = r->leaf_cap = r->tensor_cap = n;
}

void
rebuild_release(struct rebuild *r)
{
	/* Until rebuild_finish, the arrays of c are owned by r. */
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

/* Moves storage i to place[i] in place, along each cycle of the permutation. */
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

/*
 * Frees the unused nodes of the tree if there are many. Most of them are arguments of calls that became tensors. A tensor itself
 * has nodes for its name, its storage and its leaf.
 */
static void
compact(struct ckpt *c)
{
	uint32_t **roots, i;
	size_t n = 0;

	if (vtree_count(c->tree) / 3 <= c->ntensors)
		return;
	roots = xreallocn(NULL, (size_t)c->ntensors + 1, sizeof(*roots));
	roots[n++] = &c->root;
	for (i = 0; i < c->ntensors; i++)
		if (c->tensors[i].wrap != VALUE_ABSENT)
			roots[n++] = &c->tensors[i].wrap;
	vtree_compact(c->tree, roots, n);
	free(roots);
}

static uint32_t
add_tensor(struct rebuild *r, struct vtree *t, const struct tensor *tensor)
{
	struct ckpt *c = r->c;

	*xpush(c->tensors, c->ntensors, r->tensor_cap) = *tensor;
	return value_new_leaf(t, LEAF_TENSOR, c->ntensors - 1);
}

/* ---- modules: lib/format/README.md, section 3.4 */

/* Returns the value that state_dict() has for a value of a module: for a Parameter its plain tensor. */
static uint32_t
detached(struct rebuild *r, uint32_t h)
{
	const struct vtree *t = r->c->tree;
	const struct vobject *o;
	struct tensor plain;
	uint32_t index, inner;

	if (value_leaf(t, h, &index) != LEAF_TENSOR || (r->c->tensors[index].flags & TENSOR_PARAMETER) == 0)
		return h;
	plain = r->c->tensors[index];
	o = value_object(t, plain.wrap);
	if (o != NULL && !str_starts(value_name(t, o->callable), str_c("_rebuild_parameter")))
		return h;
	plain.flags &= (uint8_t)~TENSOR_PARAMETER;
	plain.flags &= (uint8_t)~TENSOR_REQUIRES_GRAD;
	inner = o == NULL ? VALUE_ABSENT : value_item(t, o->args, 0);
	plain.wrap = value_object(t, inner) == NULL ? VALUE_ABSENT : inner;
	if (plain.wrap == VALUE_ABSENT)
		plain.flags &= (uint8_t)~TENSOR_WRAPPED;
	return add_tensor(r, r->c->tree, &plain);
}

/* Adds the items of dict to contents, except None and those whose names are in without. */
static void
add_contents(struct rebuild *r, uint32_t contents, uint32_t dict, const struct strmap *without)
{
	struct vtree *t = r->c->tree;

	for (size_t i = 0; i < value_len(t, dict); i++) {
		uint32_t key = value_key(t, dict, i), val = value_val(t, dict, i);

		if (value_kind(t, val) != VALUE_NONE && !strmap_get(without, value_text(t, key), NULL))
			value_set(t, contents, key, detached(r, val));
	}
}

/* Marks the items of h as visited. Returns their number if they were visited before, else 0. */
static uint64_t
again(const struct vtree *t, uint32_t h, bool *seen)
{
	size_t n = value_len(t, h);
	bool before = n > 0 && seen[h];

	if (n > 0)
		seen[h] = true;
	return before ? n : 0;
}

/*
 * If an object has the state of a module, sets its contents: the items of its state_dict(), with submodules under their names.
 * Returns how much work had been done before for another object.
 */
static uint64_t
find_contents(struct rebuild *r, struct vobject *o, bool *seen)
{
	static const char *const parts[] = { "_parameters", "_buffers", "_modules" };
	struct vtree *t = r->c->tree;
	struct strmap none = STRMAP_INIT, transient = STRMAP_INIT;
	uint32_t dicts[3], names = value_get(t, o->state, str_c("_non_persistent_buffers_set"));
	uint64_t work = again(t, o->state, seen);

	for (size_t i = 0; i < 3; i++) {
		dicts[i] = value_get(t, o->state, str_c(parts[i]));
		if (value_kind(t, dicts[i]) != VALUE_DICT)
			return work;
	}
	for (size_t i = 0; i < value_len(t, names); i++)
		strmap_add(&transient, value_text(t, value_item(t, names, i)), 0);
	o->contents = value_new_ordered(t);
	for (size_t i = 0; i < 3; i++) {
		add_contents(r, o->contents, dicts[i], i == 1 ? &transient : &none);
		work += again(t, dicts[i], seen);
	}
	strmap_release(&transient);
	return work + again(t, names, seen);
}

/* Objects of a hostile pickle may share their states, so the work is limited. Modules that are left then stay objects. */
static void
find_modules(struct rebuild *r)
{
	const uint32_t n = vtree_count(r->c->tree);
	bool *seen = xcalloc(n, sizeof(*seen));
	uint64_t work = 0;

	for (uint32_t h = 0; h < n && work <= n; h++)
		if (value_object(r->c->tree, h) != NULL)
			work += find_contents(r, value_object(r->c->tree, h), seen);
	free(seen);
}

int
rebuild_finish(struct rebuild *r, const uint32_t *place, struct err *err)
{
	struct ckpt *c = r->c;
	uint32_t i;

	if (r->dataless > 0)
		return err_input(err, c->file, "%" PRIu32 " tensors of its pickle have no data", r->dataless);
	find_modules(r);
	if (place != NULL) {
		permute(c->storages, place, c->nstorages);
		for (i = 0; i < c->nstorages; i++)
			if (r->leaves[i] != VALUE_ABSENT)
				value_set_leaf(c->tree, r->leaves[i], place[i]);
		for (i = 0; i < c->ntensors; i++)
			c->tensors[i].storage = place[c->tensors[i].storage];
	}
	for (i = 0; i < r->nviews; i++)
		value_set_leaf(c->tree, r->views[i].leaf, place != NULL ? place[r->views[i].storage] : r->views[i].storage);
	free(c->owned[0]); /* of a tree before: that of a frozen module */
	free(c->owned[1]);
	c->owned[0] = xfit(c->storages, c->nstorages, r->storage_cap);
	c->owned[1] = xfit(c->tensors, c->ntensors, r->tensor_cap);
	r->storage_cap = r->tensor_cap = 0;
	compact(c);
	return 0;
}

/* ---- storages */

struct id {
	enum dtype dtype;
	bool untyped;
	struct str key, location;
	uint64_t numel, nbytes;
};

static int
bad_id(const struct rebuild *r, const char *what, struct err *err)
{
	return err_input(err, r->c->file, "a persistent id of its pickle %s", what);
}

/* Returns a storage key as text. In some files keys are integers or bytes. */
static bool
key_text(struct vtree *t, uint32_t h, struct str *key)
{
	switch (value_kind(t, h)) {
	case VALUE_STR:
	case VALUE_PYSTR:
	case VALUE_BYTES: *key = value_text(t, h); return true;
	case VALUE_INT: *key = str_c(arena_printf(vtree_arena(t), "%" PRId64, value_int(t, h))); return true;
	default: return false;
	}
}

static int
read_class(struct rebuild *r, const struct vtree *t, uint32_t h, struct id *id, struct err *err)
{
	struct str name = value_name(t, h);

	if (h == r->class) {
		id->untyped = r->class_untyped;
		id->dtype = r->class_dtype;
		return 0;
	}
	id->untyped = str_eqc(name, "UntypedStorage");
	/* torch only looks at the name, not the module. */
	id->dtype = id->untyped ? DTYPE_UINT8 : dtype_by_storage(name);
	if (value_kind(t, h) == VALUE_GLOBAL && id->dtype != DTYPE_UNKNOWN) {
		r->class = h;
		r->class_untyped = id->untyped;
		r->class_dtype = id->dtype;
		return 0;
	}
	return err_input(err, r->c->file, "storage '%.*s' is of the unknown class '%.*s.%.*s'", STR_ARG(id->key),
			 STR_ARG(value_module(t, h)), STR_ARG(name));
}

/* Sets the number of bytes. */
static int
measure(const struct rebuild *r, struct id *id, struct err *err)
{
	if (!dtype_bytes(id->dtype, id->numel, &id->nbytes) || id->nbytes > INT64_MAX)
		return err_input(err, r->c->file, "storage '%.*s' has 2^63 bytes or more", STR_ARG(id->key));
	return 0;
}

static int
read_id(struct rebuild *r, struct vtree *t, uint32_t h, struct id *id, struct err *err)
{
	if (!key_text(t, value_item(t, h, 2), &id->key))
		return bad_id(r, "has a storage key that is not text", err);
	if (read_class(r, t, value_item(t, h, 1), id, err) < 0)
		return -1;
	if (!value_u64(t, value_item(t, h, 4), &id->numel))
		return err_input(err, r->c->file, "storage '%.*s' has no valid number of elements", STR_ARG(id->key));
	if (measure(r, id, err) < 0)
		return -1;
	id->location = value_text(t, value_item(t, h, 3));
	return 0;
}

/* Returns the number of a location. */
static uint8_t
location_of(struct ckpt *c, struct str location)
{
	uint8_t i = 0;

	while (i < c->nlocations && !str_eq(c->locations[i], location))
		i++;
	if (i == CKPT_LOCATIONS)
		return 0;
	if (i == c->nlocations)
		c->locations[c->nlocations++] = arena_str(&c->arena, location);
	return i;
}

/* Gets the number of the storage, and adds it if its key is new. */
static int
storage_of(struct rebuild *r, const struct id *id, uint32_t *index, struct err *err)
{
	struct ckpt *c = r->c;
	const struct storage *s;
	uint64_t known;

	if (!strmap_add(&r->keys, id->key, c->nstorages)) {
		strmap_get(&r->keys, id->key, &known);
		*index = (uint32_t)known;
		s = &c->storages[known];
		if (s->nbytes != id->nbytes || s->dtype != id->dtype || s->untyped != id->untyped)
			return err_input(err, c->file, "storage '%.*s' is described in two ways", STR_ARG(id->key));
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
						.untyped = id->untyped,
						.location = location_of(c, id->location) };
	r->leaves[*index] = VALUE_ABSENT;
	return 0;
}

/* Reads the sixth item of a legacy id: None, or the part of the storage that is meant. *offset is its first element. */
static int
read_view(const struct rebuild *r, const struct vtree *t, uint32_t h, const struct id *id, uint64_t *offset, struct err *err)
{
	uint64_t size;

	*offset = 0;
	if (value_kind(t, h) == VALUE_NONE)
		return 0;
	if (value_kind(t, h) != VALUE_TUPLE || value_len(t, h) != 3 || !value_u64(t, value_item(t, h, 1), offset) ||
	    !value_u64(t, value_item(t, h, 2), &size) || *offset > id->numel || size > id->numel - *offset)
		return err_input(err, r->c->file, "a view of storage '%.*s' is outside of it", STR_ARG(id->key));
	return 0;
}

/* Makes a leaf for a storage that begins at a later element. */
static uint32_t
add_view(struct rebuild *r, struct vtree *t, uint32_t index, uint64_t offset)
{
	uint32_t leaf = value_new_leaf(t, LEAF_STORAGE, VIEW + (uint32_t)r->nviews);

	*xpush(r->views, r->nviews, r->view_cap) = (struct rebuild_view){ leaf, index, offset };
	return leaf;
}

static int
take_persid(void *arg, struct vtree *t, uint32_t h, uint32_t *out, struct err *err)
{
	struct rebuild *r = arg;
	struct id id;
	uint32_t index;
	uint64_t offset = 0;
	size_t n = value_len(t, h), expected = r->legacy ? 6 : 5;

	if (value_kind(t, h) != VALUE_TUPLE || n < 1 || !value_is_text(t, value_item(t, h, 0)))
		return bad_id(r, "is not one of torch's", err);
	if (r->legacy && str_eqc(value_text(t, value_item(t, h, 0)), "module") && n == 4) {
		*out = value_item(t, h, 1);
		return 1;
	}
	if (!str_eqc(value_text(t, value_item(t, h, 0)), "storage") || n != expected)
		return bad_id(r, "does not name a storage", err);
	if (read_id(r, t, h, &id, err) < 0 || (r->legacy && read_view(r, t, value_item(t, h, 5), &id, &offset, err) < 0))
		return -1;
	value_consume(t, h);
	if (storage_of(r, &id, &index, err) < 0)
		return -1;
	if (r->leaves[index] == VALUE_ABSENT)
		r->leaves[index] = value_new_leaf(t, LEAF_STORAGE, index);
	*out = offset == 0 ? r->leaves[index] : add_view(r, t, index, offset);
	return 1;
}

static bool
leaf_storage(const struct rebuild *r, const struct vtree *t, uint32_t h, uint32_t *index, uint64_t *first)
{
	*first = 0;
	if (value_leaf(t, h, index) != LEAF_STORAGE)
		return false;
	if (*index >= VIEW) {
		*first = r->views[*index - VIEW].offset;
		*index = r->views[*index - VIEW].storage;
	}
	return true;
}

/* ---- the functions that make tensors */

/* A call that is being converted to a tensor. */
struct call {
	struct rebuild *r;
	struct vtree *t;
	uint32_t args;
	uint64_t off; /* offset of the opcode */
	struct tensor tensor;
	uint32_t form; /* args in the form for a wrap (rebuild.h), or None for a plain tensor */
	struct err *err;
};

struct rebuild_function;

/* Returns 1 if c->tensor and c->form are set, 0 to leave the call an object, -1 on error. */
typedef int maker(struct call *c, const struct rebuild_function *f);

static maker make_plain, make_quantised, make_around, make_typed;

static const struct rebuild_function {
	const char *module, *name;
	maker *make;
	uint8_t min, max;              /* number of arguments */
	uint8_t grad, metadata, dtype; /* index of the argument; 0 if there is none */
} functions[] = {
	{ "torch._utils", "_rebuild_tensor_v2", make_plain, 6, 7, 4, 6, 0 },
	{ "torch._utils", "_rebuild_tensor_v3", make_plain, 7, 8, 4, 7, 6 },
	{ "torch._utils", "_rebuild_tensor", make_plain, 4, 4, 0, 0, 0 },
	{ "torch._utils", "_rebuild_parameter", make_around, 3, 3, 1, 0, 0 },
	{ "torch._utils", "_rebuild_parameter_with_state", make_around, 4, 4, 1, 0, 0 },
	{ "torch._utils", "_rebuild_qtensor", make_quantised, 7, 7, 5, 0, 0 },
	{ "torch._tensor", "_rebuild_from_type_v2", make_typed, 4, 4, 0, 0, 0 },
	{ "torch._tensor", "_rebuild_from_type", make_typed, 4, 4, 0, 0, 0 },
	{ "torch.tensor", "_rebuild_from_type_v2", make_typed, 4, 4, 0, 0, 0 },
	{ "torch.tensor", "_rebuild_from_type", make_typed, 4, 4, 0, 0, 0 },
	{ "torch.nn.parameter", "Parameter", make_around, 1, 2, 1, 0, 0 },
};

static const struct rebuild_function *
find_function(const struct vtree *t, uint32_t callable)
{
	struct str module = value_module(t, callable), name = value_name(t, callable);
	size_t i;

	if (value_kind(t, callable) != VALUE_GLOBAL || !str_starts(module, str_c("torch")))
		return NULL;
	for (i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
		const struct rebuild_function *f = &functions[i];

		if (str_eqc(name, f->name) && str_eqc(module, f->module))
			return f;
	}
	return NULL;
}

static bool
takes(const struct rebuild_function *f, size_t nargs)
{
	return nargs >= f->min && nargs <= f->max;
}

static int
fail(const struct call *c, const char *what)
{
	/* The offset of a BUILD is not known. */
	return c->off == 0 ? err_input(c->err, c->r->where, "a tensor of the pickle %s", what)
			   : err_at(c->err, c->r->where, c->off, "a tensor of the pickle %s", what);
}

static uint32_t
arg(const struct call *c, size_t i)
{
	return value_item(c->t, c->args, i);
}

/* ---- geometry */

/* Returns the tuple or list that h is, or that a torch.Size has as its argument. */
static uint32_t
sequence(const struct vtree *t, uint32_t h)
{
	const struct vobject *o = value_object(t, h);

	if (o != NULL && value_is_global(t, o->callable, "torch", "Size") && value_len(t, o->args) == 1)
		return value_item(t, o->args, 0);
	return h;
}

static int
read_ints(const struct call *c, uint32_t h, uint64_t *out, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (!value_u64(c->t, value_item(c->t, h, i), &out[i]))
			return fail(c, "has a size or stride that is not a number >= 0");
	return 0;
}

static int
read_geometry(struct call *c, uint32_t size, uint32_t stride)
{
	struct tensor *t = &c->tensor;
	enum value_kind a, b;
	uint64_t *ints;
	size_t n;

	size = sequence(c->t, size);
	stride = sequence(c->t, stride);
	a = value_kind(c->t, size);
	b = value_kind(c->t, stride);
	n = value_len(c->t, size);
	if ((a != VALUE_TUPLE && a != VALUE_LIST) || (b != VALUE_TUPLE && b != VALUE_LIST))
		return fail(c, "has no valid size or strides");
	if (n != value_len(c->t, stride))
		return fail(c, "has another number of strides than of dimensions");
	if (n > TENSOR_NDIM_MAX)
		return fail(c, "has more than 64 dimensions");
	ints = arena_alloc(&c->r->c->arena, (n ? 2 * n : 1) * sizeof(*ints));
	t->shape = ints;
	t->stride = ints + n;
	t->ndim = (uint8_t)n;
	return read_ints(c, size, ints, n) < 0 || read_ints(c, stride, ints + n, n) < 0 ? -1 : 0;
}

/* Reads storage, offset, size and stride from four values. If dtype is DTYPE_UNKNOWN, that of the storage is used. */
static int
read_tensor(struct call *c, const uint32_t part[4], enum dtype dtype)
{
	struct tensor *t = &c->tensor;
	const struct storage *s;
	struct err why = ERR_INIT;
	uint64_t first;

	*t = (struct tensor){ .wrap = VALUE_ABSENT };
	if (!leaf_storage(c->r, c->t, part[0], &t->storage, &first))
		return fail(c, "has no storage");
	if (!value_u64(c->t, part[1], &t->offset))
		return fail(c, "has no valid storage offset");
	if (read_geometry(c, part[2], part[3]) < 0)
		return -1;
	s = &c->r->c->storages[t->storage];
	t->dtype = (uint8_t)(dtype != DTYPE_UNKNOWN ? dtype : (enum dtype)s->dtype);
	/* A view counts elements of its storage's type; the tensor counts elements of its own type. */
	if (first != 0 && t->dtype != s->dtype)
		return fail(c, "is a view of another dtype that begins inside a storage");
	if (!num_add(t->offset, first, &t->offset))
		return fail(c, "has no valid storage offset");
	if (tensor_check(t, s->nbytes, &why) == 0)
		return 0;
	return c->off == 0 ? err_input(c->err, c->r->where, "a tensor of storage '%.*s': %s", STR_ARG(s->key), why.msg)
			   : err_at(c->err, c->r->where, c->off, "a tensor of storage '%.*s': %s", STR_ARG(s->key), why.msg);
}

static int
read_args(struct call *c, enum dtype dtype)
{
	uint32_t part[4] = { arg(c, 0), arg(c, 1), arg(c, 2), arg(c, 3) };

	c->form = value_new_none(c->t);
	return read_tensor(c, part, dtype);
}

static void
read_grad(struct call *c, uint32_t h)
{
	if (value_kind(c->t, h) == VALUE_BOOL && value_bool(c->t, h))
		c->tensor.flags |= TENSOR_REQUIRES_GRAD;
	else
		c->tensor.flags &= (uint8_t)~TENSOR_REQUIRES_GRAD;
}

static bool
truth(const struct vtree *t, uint32_t dict, const char *key)
{
	uint32_t h = value_get(t, dict, str_c(key));

	return h != VALUE_ABSENT && value_kind(t, h) == VALUE_BOOL && value_bool(t, h);
}

static void
read_metadata(struct call *c, uint32_t h)
{
	/* torch fails on other types, whose elements are their own conjugates. */
	if (truth(c->t, h, "conj") && dtype_info(c->tensor.dtype)->class == DTYPE_CLASS_COMPLEX)
		c->tensor.flags |= TENSOR_CONJ;
	if (truth(c->t, h, "neg"))
		c->tensor.flags |= TENSOR_NEG;
}

/* ---- the functions */

static int
make_plain(struct call *c, const struct rebuild_function *f)
{
	enum dtype dtype = DTYPE_UNKNOWN;

	if (f->dtype > 0) {
		dtype = dtype_by_name(value_name(c->t, arg(c, f->dtype)));
		if (!str_eqc(value_module(c->t, arg(c, f->dtype)), "torch") || !dtype_info(dtype)->torch)
			return 0;
	}
	if (read_args(c, dtype) < 0)
		return -1;
	if (f->grad > 0)
		read_grad(c, arg(c, f->grad));
	if (f->metadata > 0)
		read_metadata(c, arg(c, f->metadata));
	return 1;
}

static int
make_quantised(struct call *c, const struct rebuild_function *f)
{
	uint32_t none = value_new_none(c->t), form[7] = { none, none, none, none }, index;
	uint64_t first;
	enum dtype dtype;

	if (!leaf_storage(c->r, c->t, arg(c, 0), &index, &first))
		return fail(c, "has no storage");
	dtype = (enum dtype)c->r->c->storages[index].dtype;
	/* Several elements share a byte, row by row, which strides cannot express. Such a tensor stays a call. */
	if (dtype == DTYPE_QUINT4X2 || dtype == DTYPE_QUINT2X4)
		return 0;
	if (make_plain(c, f) < 0)
		return -1;
	for (index = 4; index < 7; index++)
		form[index] = arg(c, index);
	c->form = value_new_tuple(c->t, form, 7);
	c->tensor.flags |= TENSOR_QUANTISED;
	return 1;
}

/*
 * Handles a call whose first argument is a tensor that exists already. The other arguments go into the form. A call of the class
 * Parameter gets the form of _rebuild_parameter.
 */
static int
make_around(struct call *c, const struct rebuild_function *f)
{
	const size_t nargs = value_len(c->t, c->args);
	uint32_t form[4], index;

	if (value_leaf(c->t, arg(c, 0), &index) != LEAF_TENSOR || c->r->c->tensors[index].storage == STORAGE_NONE)
		return 0;
	c->tensor = c->r->c->tensors[index];
	form[0] = c->tensor.wrap != VALUE_ABSENT ? c->tensor.wrap : value_new_none(c->t);
	form[1] = nargs > 1 ? arg(c, 1) : value_new_bool(c->t, true);
	form[2] = nargs > 2 ? arg(c, 2) : value_new_ordered(c->t);
	form[3] = arg(c, 3);
	c->tensor.wrap = VALUE_ABSENT;
	c->form = value_new_tuple(c->t, form, f->max < 3 ? 3 : f->max);
	c->tensor.flags |= TENSOR_PARAMETER;
	read_grad(c, form[1]);
	return 1;
}

static int
make_typed(struct call *c, const struct rebuild_function *f)
{
	uint32_t form[4] = { arg(c, 0), arg(c, 1), 0, arg(c, 3) }, outer = c->args;
	int took;

	c->args = arg(c, 2);
	f = value_kind(c->t, c->args) == VALUE_TUPLE ? find_function(c->t, form[0]) : NULL;
	if (f == NULL || f->make == make_typed || !takes(f, value_len(c->t, c->args)))
		return 0;
	took = f->make(c, f);
	c->args = outer;
	if (f->make == make_around && f->max < 4) /* also for the class Parameter, because the form is that of _rebuild_parameter */
		form[0] = value_new_global(c->t, str_c("torch._utils"), str_c("_rebuild_parameter"));
	form[2] = c->form;
	c->form = value_new_tuple(c->t, form, 4);
	return took;
}

/* ---- hooks */

/* In very old files, a class is called without arguments, and BUILD sets the rest. */
static bool
is_tensor_class(const struct vtree *t, uint32_t callable, enum dtype *dtype)
{
	struct str module = value_module(t, callable), name = value_name(t, callable);

	*dtype = DTYPE_FLOAT32; /* placeholder until BUILD */
	if (str_eqc(module, "torch.nn.parameter") && str_eqc(name, "Parameter"))
		return true;
	if (!str_eqc(module, "torch") && !str_eqc(module, "torch.cuda"))
		return false;
	*dtype = dtype_by_tensor(name);
	return *dtype != DTYPE_UNKNOWN;
}

static uint32_t
add_dataless(struct rebuild *r, struct vtree *t, enum dtype dtype)
{
	static const uint64_t empty[2] = { 0, 1 };
	struct tensor tensor = { .shape = empty,
				 .stride = empty + 1,
				 .storage = STORAGE_NONE,
				 .wrap = VALUE_ABSENT,
				 .dtype = (uint8_t)dtype,
				 .ndim = 1 };

	r->dataless++;
	return add_tensor(r, t, &tensor);
}

/*
 * Handles (tensor, dtype, device, requires_grad), a tensor on another device whose copy in main memory is in the file. Returns true
 * if dtype and requires_grad are those of the copy; another dtype would need a conversion.
 */
static bool
is_copy(const struct call *c, uint32_t callable)
{
	uint32_t dtype = arg(c, 1), index;

	return value_is_global(c->t, callable, "torch._utils", "_rebuild_device_tensor_from_cpu_tensor") &&
	       value_len(c->t, c->args) == 4 && value_leaf(c->t, arg(c, 0), &index) == LEAF_TENSOR &&
	       str_eqc(value_module(c->t, dtype), "torch") &&
	       dtype_by_name(value_name(c->t, dtype)) == (enum dtype)c->r->c->tensors[index].dtype &&
	       value_kind(c->t, arg(c, 3)) == VALUE_BOOL &&
	       value_bool(c->t, arg(c, 3)) == ((c->r->c->tensors[index].flags & TENSOR_REQUIRES_GRAD) != 0);
}

static void
keep_wrap(struct call *c, uint32_t callable)
{
	struct vobject o = { HOW_REDUCE, callable, c->form, VALUE_ABSENT, VALUE_ABSENT, VALUE_ABSENT, VALUE_ABSENT, VALUE_ABSENT };
	bool quantised = str_eqc(value_name(c->t, callable), "_rebuild_qtensor");
	bool parameter =
		str_eqc(value_name(c->t, callable), "_rebuild_parameter") || str_eqc(value_name(c->t, callable), "Parameter");

	if (value_kind(c->t, c->form) == VALUE_NONE)
		return;
	if (parameter && value_kind(c->t, value_item(c->t, c->form, 0)) == VALUE_NONE)
		return; /* TENSOR_PARAMETER is sufficient */
	if (!quantised)
		c->tensor.flags |= TENSOR_WRAPPED;
	if (parameter)
		o.callable = value_new_global(c->t, str_c("torch._utils"), str_c("_rebuild_parameter"));
	c->tensor.wrap = value_new_object(c->t, &o);
}

static int
reduce(void *p, struct vtree *t, const struct pickle_call *call, uint32_t *out, struct err *err)
{
	struct rebuild *r = p;
	const uint32_t callable = call->callable, args = call->args;
	struct call c = { .r = r, .t = t, .args = args, .off = call->off, .err = err };
	const struct rebuild_function *f = r->function;
	enum dtype dtype;
	int took;

	if (callable != r->callable) {
		r->function = f = find_function(t, callable);
		r->callable = callable;
	}
	if (f != NULL && takes(f, value_len(t, args))) {
		took = f->make(&c, f);
		if (took > 0) {
			keep_wrap(&c, callable);
			if (c.tensor.wrap == VALUE_ABSENT)
				value_consume(t, args);
			*out = add_tensor(r, t, &c.tensor);
		}
		return took;
	}
	if (is_copy(&c, callable)) {
		*out = value_item(t, args, 0);
		return 1;
	}
	if (value_len(t, args) == 0 && is_tensor_class(t, callable, &dtype)) {
		*out = add_dataless(r, t, dtype);
		return 1;
	}
	return 0;
}

/* Returns true if the handles of the call are those of torch's names. */
static bool
is_torch(struct rebuild *r, const struct vtree *t, const struct pickle_plain *call)
{
	if (call->callable == r->plain.callable && call->word == r->plain.word && call->hooks == r->plain.hooks)
		return true;
	if (find_function(t, call->callable) != &functions[0] || !value_is_text(t, call->word) ||
	    !str_eqc(value_text(t, call->word), "storage") || !value_is_global(t, call->hooks, "collections", "OrderedDict"))
		return false;
	r->plain = *call;
	return true;
}

/* Makes the tensor of a plain call of _rebuild_tensor_v2. Leaves errors to the functions above, which report them. */
static int
plain(void *p, struct vtree *t, const struct pickle_plain *call, uint32_t *out, struct err *err)
{
	struct rebuild *r = p;
	struct id id = { .key = call->key, .numel = call->numel, .location = value_text(t, call->location) };
	struct tensor x = { .offset = call->offset, .shape = call->shape, .stride = call->stride, .wrap = VALUE_ABSENT };

	if (!is_torch(r, t, call))
		return 0;
	id.key = arena_str(vtree_arena(t), call->key);
	if (read_class(r, t, call->class, &id, err) < 0 || measure(r, &id, err) < 0 || storage_of(r, &id, &x.storage, err) < 0)
		goto failed;
	x.dtype = (uint8_t)id.dtype;
	x.ndim = call->ndim;
	x.flags = call->grad ? TENSOR_REQUIRES_GRAD : 0;
	if (tensor_check(&x, id.nbytes, err) < 0)
		goto failed;
	x = tensor_copy(&x, &r->c->arena);
	*out = add_tensor(r, t, &x);
	return 1;
failed:
	err_clear(err);
	return 0;
}

static int
build(void *p, struct vtree *t, uint32_t target, uint32_t state, struct err *err)
{
	struct rebuild *r = p;
	struct call c = { .r = r, .t = t, .args = state, .err = err };
	struct tensor *into;
	uint32_t index, data;
	size_t n = value_len(t, state);

	if (value_leaf(t, target, &index) != LEAF_TENSOR || value_kind(t, state) != VALUE_TUPLE)
		return 0;
	into = &r->c->tensors[index];
	if (n == 3) /* requires_grad, volatile, hooks of a tensor with data */
		return into->storage != STORAGE_NONE;
	if (into->storage != STORAGE_NONE || n < 4 || n > 5)
		return 0;
	if (n == 4 && read_args(&c, DTYPE_UNKNOWN) < 0)
		return -1;
	if (n == 5) { /* data, ..., requires_grad (item 3) */
		if (value_leaf(t, value_item(t, state, 0), &data) != LEAF_TENSOR || r->c->tensors[data].storage == STORAGE_NONE)
			return 0;
		c.tensor = r->c->tensors[data];
		c.tensor.flags |= TENSOR_PARAMETER;
		read_grad(&c, value_item(t, state, 3));
	}
	*into = c.tensor;
	r->dataless--;
	return 1;
}

struct pickle_hooks
rebuild_hooks(struct rebuild *r)
{
	return (struct pickle_hooks){ .persid = take_persid,
				      .reduce = reduce,
				      .build = build,
				      .plain = r->legacy ? NULL : plain,
				      .arg = r,
				      .consumes = !r->legacy };
}
