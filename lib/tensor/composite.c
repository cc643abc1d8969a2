#include "tensor/composite.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "tensor/boxes.h"
#include "tensor/convert.h"
#include "tensor/tree.h"

/*
 * The depth to which a call is searched. All searches of a state dict together visit at most VISITS_FREE values plus VISITS_MAX for
 * each node of the tree.
 */
enum { DEPTH_MAX = 24, VISITS_MAX = 8, VISITS_FREE = 1 << 16 };

struct reading {
	struct composites *all;
	const struct ckpt *c;
	const struct vtree *t;
	struct arena *arena;
	struct tensor *tensor;
	struct tensor_more more;
	struct tensor_part *parts;
	size_t cap;
	struct buf path; /* path of the part that is looked for, relative to the tensor */
	bool shaped;     /* dtype and shape are known */
};

static void *
keep(struct arena *a, const void *p, size_t n)
{
	void *copy = arena_alloc(a, n > 0 ? n : 1);

	if (n > 0)
		memcpy(copy, p, n);
	return copy;
}

static bool
is_too_much(const struct reading *r)
{
	return r->all->visits > (uint64_t)VISITS_MAX * vtree_count(r->t) + VISITS_FREE;
}

/* ---- parts */

static struct tensor_part *
add_part(struct reading *r, struct str name, enum dtype dtype)
{
	r->all->visits += name.len / 64; /* long names use memory, so they count as visits */
	*xpush(r->parts, r->more.nparts, r->cap) =
		(struct tensor_part){ .name = arena_str(r->arena, name), .dtype = (uint8_t)dtype };
	return &r->parts[r->more.nparts - 1];
}

static void
add_tensor(struct reading *r, struct str name, const struct tensor *tensor)
{
	add_part(r, name, (enum dtype)tensor->dtype)->tensor = tensor;
}

/* Adds a number in a call as a part, a tensor without dimensions. Values of other kinds are ignored. */
static void
add_number(struct reading *r, const char *name, uint32_t h)
{
	struct tensor_part *part;
	uint64_t bits;
	double d;

	if (value_kind(r->t, h) == VALUE_FLOAT) {
		d = value_float(r->t, h);
		memcpy(&bits, &d, sizeof(bits));
		part = add_part(r, str_c(name), DTYPE_FLOAT64);
	} else if (value_kind(r->t, h) == VALUE_INT) {
		bits = (uint64_t)value_int(r->t, h);
		part = add_part(r, str_c(name), DTYPE_INT64);
	} else {
		return;
	}
	for (unsigned i = 0; i < 8; i++)
		part->scalar[i] = (unsigned char)(bits >> 8 * i);
}

/* Adds all tensors below h, each named by its path. */
static void
add_below(struct reading *r, uint32_t h, unsigned depth)
{
	const struct vobject *o = value_object(r->t, h);
	uint32_t index, c;
	size_t len = r->path.len;

	r->all->visits++;
	if (h == VALUE_ABSENT || depth == 0 || is_too_much(r))
		return;
	if (tree_is_tensor(r->t, h, &index)) {
		add_tensor(r, buf_str(&r->path), &r->c->tensors[index]);
		return;
	}
	if (o != NULL) {
		add_below(r, o->args, depth - 1);
		add_below(r, o->state, depth - 1);
		return;
	}
	c = tree_container(r->t, h);
	for (size_t i = 0; c != VALUE_ABSENT && i < value_len(r->t, c); i++) {
		if (len > 0)
			buf_addc(&r->path, '.');
		tree_put_key(&r->path, r->t, c, i);
		add_below(r, tree_child(r->t, c, i), depth - 1);
		r->path.len = len;
	}
}

/* Adds the tensors below h. If h is a tensor, its name is name; otherwise names are paths below name. */
static void
add_named(struct reading *r, const char *name, uint32_t h)
{
	r->path.len = 0;
	buf_adds(&r->path, name);
	add_below(r, h, DEPTH_MAX);
	r->path.len = 0;
}

/* ---- calls and their arguments */

static uint32_t
arg(const struct reading *r, uint32_t args, size_t i)
{
	return i < value_len(r->t, args) ? value_item(r->t, args, i) : VALUE_ABSENT;
}

/* Reads a global such as torch.float32. */
static enum dtype
read_dtype(const struct reading *r, uint32_t h)
{
	return str_eqc(value_module(r->t, h), "torch") ? dtype_by_name(value_name(r->t, h)) : DTYPE_UNKNOWN;
}

/* Reads the shape: a tuple of sizes, or a torch.Size with one. */
static bool
read_size(struct reading *r, uint32_t h, enum dtype dtype)
{
	const struct vobject *o = value_object(r->t, h);
	uint64_t shape[TENSOR_NDIM_MAX], count;
	size_t n;

	if (o != NULL && value_is_global(r->t, o->callable, "torch", "Size"))
		h = arg(r, o->args, 0);
	n = value_len(r->t, h);
	if ((value_kind(r->t, h) != VALUE_TUPLE && value_kind(r->t, h) != VALUE_LIST) || n > TENSOR_NDIM_MAX)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!value_u64(r->t, value_item(r->t, h, i), &shape[i]))
			return false;
	/* Refuses sizes that no tensor can have. */
	if (!tensor_numel(&(struct tensor){ .shape = shape, .ndim = (uint8_t)n }, &count) || count > INT64_MAX / 16)
		return false;
	tensor_set_shape(r->tensor, r->arena, shape, (unsigned)n);
	r->tensor->dtype = (uint8_t)dtype;
	r->shaped = true;
	return true;
}

/* Reads a layout such as "torch.sparse_coo", as text or in a call of _get_layout. The result lacks "torch.". */
static struct str
read_layout(const struct reading *r, uint32_t h)
{
	const struct vobject *o = value_object(r->t, h);
	struct str text;

	if (o != NULL)
		h = arg(r, o->args, 0);
	text = value_text(r->t, h);
	return str_starts(text, str_c("torch.")) ? str_from(text, sizeof("torch.") - 1) : text;
}

static struct str
read_device(const struct reading *r, uint32_t h)
{
	const struct vobject *o = value_object(r->t, h);

	return value_text(r->t, o != NULL ? arg(r, o->args, 0) : h);
}

static const struct tensor *
part_named(const struct reading *r, const char *name)
{
	for (size_t i = 0; i < r->more.nparts; i++)
		if (str_eqc(r->parts[i].name, name))
			return r->parts[i].tensor;
	return NULL;
}

/* arguments: layout, then (indices, values, size, ...) or (compressed, plain, values, size) */
static void
read_sparse(struct reading *r, uint32_t args)
{
	static const char *const names[][3] = { { "indices", "values", NULL },
						{ "crow_indices", "col_indices", "values" },
						{ "ccol_indices", "row_indices", "values" } };
	uint32_t data = arg(r, args, 1);
	const struct tensor *values;
	unsigned kind = 1, n = 3;

	r->more.layout = read_layout(r, arg(r, args, 0));
	r->more.cast = TENSOR_CAST_PARTS;
	if (str_eqc(r->more.layout, "sparse_coo")) {
		kind = 0;
		n = 2;
	} else if (str_eqc(r->more.layout, "sparse_csc") || str_eqc(r->more.layout, "sparse_bsc")) {
		kind = 2;
	}
	for (unsigned i = 0; i < n; i++)
		add_named(r, names[kind][i], arg(r, data, i));
	values = part_named(r, "values");
	(void)read_size(r, arg(r, data, n), values != NULL ? (enum dtype)values->dtype : DTYPE_UNKNOWN);
}

/* arguments: buffer, sizes, strides, offsets */
static void
read_nested(struct reading *r, uint32_t args)
{
	static const char *const names[] = { "buffer", "sizes", "strides", "offsets" };

	r->more.layout = str_c("nested");
	r->more.cast = TENSOR_CAST_PARTS;
	for (unsigned i = 0; i < 4; i++)
		add_named(r, names[i], arg(r, args, i));
}

/* argument: a dict of values, offsets and more */
static void
read_jagged(struct reading *r, uint32_t args)
{
	r->more.layout = str_c("jagged");
	r->more.cast = TENSOR_CAST_PARTS;
	add_named(r, "", arg(r, args, 0));
}

/* arguments: dtype, size, stride, requires_grad */
static void
read_meta(struct reading *r, uint32_t args)
{
	r->more.device = str_c("meta");
	r->more.cast = TENSOR_CAST_CALL;
	(void)read_size(r, arg(r, args, 1), read_dtype(r, arg(r, args, 0)));
}

/* arguments: data, dtype, device, requires_grad */
static void
read_other_device(struct reading *r, uint32_t args)
{
	const struct tensor *data;

	add_named(r, "data", arg(r, args, 0));
	data = part_named(r, "data");
	r->more.device = read_device(r, arg(r, args, 2));
	if (data == NULL)
		return;
	tensor_set_shape(r->tensor, r->arena, data->shape, data->ndim);
	r->tensor->dtype = (uint8_t)read_dtype(r, arg(r, args, 1));
	r->shaped = true;
}

/* arguments: class, dtype, size, stride, offset, layout, device, requires_grad. The parts are in the state. */
static void
read_wrapper(struct reading *r, uint32_t args)
{
	struct str layout = read_layout(r, arg(r, args, 5)), device = read_device(r, arg(r, args, 6));

	r->more.layout = str_eqc(layout, "strided") ? str_c("") : layout;
	r->more.device = str_eqc(device, "meta") ? device : str_c("");
	(void)read_size(r, arg(r, args, 2), read_dtype(r, arg(r, args, 1)));
}

/* Adds the raw bytes of a storage as part "data", because one byte may hold several elements. */
static void
add_packed(struct reading *r, uint32_t storage)
{
	const struct storage *s = &r->c->storages[storage];
	struct tensor *data = arena_calloc(r->arena, 1, sizeof(*data));

	*data = (struct tensor){ .storage = storage, .wrap = VALUE_ABSENT, .dtype = DTYPE_UINT8 };
	tensor_set_shape(data, r->arena, &s->nbytes, 1);
	add_tensor(r, str_c("data"), data);
}

/* arguments: storage, offset, size, stride, parameters, requires_grad, hooks. If the tensor has data, the first four are None. */
static void
read_quantised(struct reading *r, uint32_t args)
{
	uint32_t qparams = arg(r, args, 4), storage;
	struct str scheme = value_name(r->t, arg(r, qparams, 0));

	if (value_leaf(r->t, arg(r, args, 0), &storage) == LEAF_STORAGE) {
		(void)read_size(r, arg(r, args, 2), (enum dtype)r->c->storages[storage].dtype);
		add_packed(r, storage);
	}
	r->more.quantized = str_starts(scheme, str_c("per_channel")) ? str_c("per_channel") : str_c("per_tensor");
	if (str_eqc(r->more.quantized, "per_tensor")) {
		add_number(r, "scale", arg(r, qparams, 1));
		add_number(r, "zero_point", arg(r, qparams, 2));
		return;
	}
	add_named(r, "scales", arg(r, qparams, 1));
	add_named(r, "zero_points", arg(r, qparams, 2));
	add_number(r, "axis", arg(r, qparams, 3));
}

/* Returns an attribute from a state: a dict, or a pair of a dict (or None) and a dict of slots. */
static uint32_t
attribute(const struct reading *r, uint32_t state, const char *key)
{
	uint32_t h;

	r->all->visits += value_len(r->t, state);
	if (is_too_much(r))
		return VALUE_ABSENT;
	h = value_get(r->t, state, str_c(key));
	for (size_t i = 0; h == VALUE_ABSENT && value_kind(r->t, state) == VALUE_TUPLE && i < value_len(r->t, state) && i < 2; i++)
		h = value_get(r->t, value_item(r->t, state, i), str_c(key));
	return h;
}

static void
add_state(struct reading *r, uint32_t state)
{
	if (value_kind(r->t, state) != VALUE_TUPLE || value_len(r->t, state) != 2) {
		add_named(r, "", state);
		return;
	}
	add_named(r, "", value_item(r->t, state, 0));
	add_named(r, "", value_item(r->t, state, 1));
}

static void read_call(struct reading *r, uint32_t callable, uint32_t args, unsigned depth);

/* h is a tensor that exists already, the call that makes it, or None if the tensor has data. */
static void
read_inner(struct reading *r, uint32_t h, unsigned depth)
{
	const struct vobject *o = value_object(r->t, h);

	if (o != NULL && depth > 0)
		read_call(r, o->callable, o->args, depth - 1);
}

/* arguments: tensor, requires_grad, hooks, state */
static void
read_parameter(struct reading *r, uint32_t args, unsigned depth)
{
	read_inner(r, arg(r, args, 0), depth);
	add_state(r, arg(r, args, 3));
}

/* Returns the placements of a DTensor as Python shows them. */
static struct str
read_placements(struct reading *r, uint32_t state)
{
	uint32_t spec = attribute(r, state, "_spec"), list, of, detail;
	const struct vobject *o = value_object(r->t, spec);
	struct buf b = BUF_INIT;

	list = o == NULL ? VALUE_ABSENT : attribute(r, o->state, "placements");
	for (size_t i = 0; i < value_len(r->t, list) && i < TENSOR_NDIM_MAX; i++) {
		o = value_object(r->t, value_item(r->t, list, i));
		r->all->visits++;
		if (o == NULL)
			continue;
		of = attribute(r, o->state, "dim");
		detail = attribute(r, o->state, "reduce_op");
		buf_adds(&b, b.len > 0 ? "," : "");
		buf_addstr(&b, value_name(r->t, o->callable));
		buf_addc(&b, '(');
		if (value_kind(r->t, of) == VALUE_INT)
			buf_addf(&b, "%lld", (long long)value_int(r->t, of));
		buf_addstr(&b, value_text(r->t, detail));
		buf_addc(&b, ')');
	}
	return arena_take(r->arena, &b);
}

/* arguments: function, type, arguments, state */
static void
read_typed(struct reading *r, uint32_t args, unsigned depth)
{
	uint32_t state = arg(r, args, 3), local;

	read_call(r, arg(r, args, 0), arg(r, args, 2), depth);
	if (str_eqc(r->more.layout, "jagged"))
		return; /* the state repeats the same tensors */
	local = attribute(r, state, "_local_tensor");
	if (local == VALUE_ABSENT || !str_eqc(value_name(r->t, arg(r, args, 1)), "DTensor")) {
		add_state(r, state);
		return;
	}
	add_named(r, "_local_tensor", local);
	r->more.placements = read_placements(r, state);
	r->more.cast = TENSOR_CAST_CALL;
}

/* Reads one call into r. */
static void
read_call(struct reading *r, uint32_t callable, uint32_t args, unsigned depth)
{
	static const struct {
		const char *name;
		void (*read)(struct reading *r, uint32_t args);
	} calls[] = {
		{ "_rebuild_sparse_tensor", read_sparse },        { "_rebuild_sparse_csr_tensor", read_sparse },
		{ "_rebuild_nested_tensor", read_nested },        { "_rebuild_njt", read_jagged },
		{ "_rebuild_meta_tensor_no_storage", read_meta }, { "_rebuild_device_tensor_from_cpu_tensor", read_other_device },
		{ "_rebuild_wrapper_subclass", read_wrapper },    { "_rebuild_qtensor", read_quantised },
	};
	struct str name = value_name(r->t, callable);

	if (str_starts(name, str_c("_rebuild_parameter"))) {
		read_parameter(r, args, depth);
		return;
	}
	if (str_starts(name, str_c("_rebuild_from_type"))) {
		read_typed(r, args, depth);
		return;
	}
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		if (str_eqc(name, calls[i].name)) {
			calls[i].read(r, args);
			return;
		}
	}
	add_named(r, "", args);
}

/* If dtype and shape are unknown, takes those of the first part. */
static void
guess_shape(struct reading *r)
{
	static const uint64_t none[1];
	const struct tensor *first = r->more.nparts > 0 ? r->parts[0].tensor : NULL;

	if (r->shaped)
		return;
	r->tensor->dtype = first != NULL ? first->dtype : DTYPE_UNKNOWN;
	tensor_set_shape(r->tensor, r->arena, first != NULL ? first->shape : none, first != NULL ? first->ndim : 0);
}

/*
 * Returns false if t is quantised per channel and the number of scales or zero points is not the number of channels. torch refuses
 * such tensors.
 */
static bool
fits(const struct tensor *t)
{
	const struct tensor_more *more = t->more;
	double axis = -1;

	if (more == NULL || !str_eqc(more->quantized, "per_channel"))
		return true;
	for (size_t i = 0; i < more->nparts; i++)
		if (str_eqc(more->parts[i].name, "axis"))
			axis = composite_number(&more->parts[i]);
	if (!(axis >= 0 && axis < t->ndim)) /* axis may be NaN */
		return false;
	for (size_t i = 0; i < more->nparts; i++) {
		const struct tensor_part *part = &more->parts[i];

		if ((str_eqc(part->name, "scales") || str_eqc(part->name, "zero_points")) &&
		    (part->tensor == NULL || part->tensor->ndim != 1 || part->tensor->shape[0] != t->shape[(unsigned)axis]))
			return false;
	}
	return true;
}

int
composite_read(struct composites *all, uint32_t call, struct tensor *t, struct err *err)
{
	const struct ckpt *c = all->c;
	const struct vobject *o = value_object(c->tree, call);
	struct reading r = { .all = all, .c = c, .t = c->tree, .arena = all->arena, .tensor = t, .path = BUF_INIT };
	bool data = boxes_count(t) > 0, made;

	if (o == NULL)
		return 0;
	r.shaped = data;
	if (data)
		add_tensor(&r, str_c("data"), keep(r.arena, t, sizeof(*t)));
	read_call(&r, o->callable, o->args, DEPTH_MAX);
	made = !data || r.more.nparts > 1;
	if (made) {
		guess_shape(&r);
		r.more.parts = keep(r.arena, r.parts, r.more.nparts * sizeof(*r.parts));
		t->more = keep(r.arena, &r.more, sizeof(r.more));
	}
	free(r.parts);
	buf_release(&r.path);
	if (is_too_much(&r))
		return err_input(err, c->file, "tensors share more parts than the file has values");
	return !made ? 0 : fits(t) ? 1 : 2;
}

double
composite_number(const struct tensor_part *part)
{
	double d = 0;

	convert_decode((enum dtype)part->dtype, part->scalar, 1, &d);
	return d;
}

static const struct tensor_part *
find_part(const struct tensor *t, struct str name)
{
	for (size_t i = 0; t != NULL && t->more != NULL && i < t->more->nparts; i++)
		if (str_eq(t->more->parts[i].name, name))
			return &t->more->parts[i];
	return NULL;
}

const char *
composite_way(const struct tensor *t)
{
	return t != NULL && t->more != NULL && t->more->placements.len > 0 ? " (--ranks joins the files of all ranks)" : "";
}

const struct sd_entry *
composite_owner(const struct statedict *sd, struct str name, const struct tensor_part **part)
{
	const struct sd_entry *entry;

	for (size_t dot = name.len; dot-- > 0;) {
		if (name.p[dot] != '.')
			continue;
		entry = statedict_find(sd, str_n(name.p, dot));
		*part = find_part(sd_tensor(sd, entry), str_from(name, dot + 1));
		if (*part != NULL)
			return entry;
	}
	return NULL;
}

void
composite_put_parts(struct buf *b, const struct tensor *t)
{
	for (size_t i = 0; t->more != NULL && i < t->more->nparts; i++) {
		const struct tensor_part *part = &t->more->parts[i];

		buf_adds(b, i > 0 ? "," : "");
		text_escape(b, part->name);
		buf_addf(b, ":%s", dtype_name((enum dtype)part->dtype));
		shape_put(b, part->tensor != NULL ? part->tensor->shape : NULL, part->tensor != NULL ? part->tensor->ndim : 0);
	}
}
