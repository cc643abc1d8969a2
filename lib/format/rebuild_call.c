#include "format/rebuild_call.h"

#include <stdlib.h>
#include <string.h>

#include "base/num.h"

/* A call being understood. */
struct call {
	struct rebuild *r;
	struct vtree *t;
	uint32_t args;
	uint64_t off;     /* of the opcode */
	struct tensor tensor;
	uint32_t form;    /* args as they stand in a wrap (rebuild.h), or None for a plain tensor */
	struct err *e;
};

/* Returns 1 when c->tensor and c->form are made, 0 to leave the call an object, -1 on error. */
typedef int maker(struct call *c);

static maker make_old, make_v2, make_v3, make_quantised, make_parameter, make_with_state, make_typed;

static const struct rebuild_function {
	const char *module, *name;
	maker *make;
	uint8_t min, max; /* number of arguments */
} functions[] = {
	{ "torch._utils", "_rebuild_tensor_v2", make_v2, 6, 7 },
	{ "torch._utils", "_rebuild_tensor_v3", make_v3, 7, 8 },
	{ "torch._utils", "_rebuild_tensor", make_old, 4, 4 },
	{ "torch._utils", "_rebuild_parameter", make_parameter, 3, 3 },
	{ "torch._utils", "_rebuild_parameter_with_state", make_with_state, 4, 4 },
	{ "torch._utils", "_rebuild_qtensor", make_quantised, 7, 7 },
	{ "torch._tensor", "_rebuild_from_type_v2", make_typed, 4, 4 },
	{ "torch._tensor", "_rebuild_from_type", make_typed, 4, 4 },
	{ "torch.tensor", "_rebuild_from_type_v2", make_typed, 4, 4 },
	{ "torch.tensor", "_rebuild_from_type", make_typed, 4, 4 },
	{ "torch.nn.parameter", "Parameter", make_parameter, 1, 2 },
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
	/* BUILD does not say where it is. */
	return c->off == 0 ? err_input(c->e, c->r->where, "a tensor of the pickle %s", what)
			   : err_at(c->e, c->r->where, c->off, "a tensor of the pickle %s", what);
}

static uint32_t
arg(const struct call *c, size_t i)
{
	return value_item(c->t, c->args, i);
}

/* ---- geometry */

/* A tuple or list, or a torch.Size of one. */
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

	for (i = 0; i < n; i++) {
		if (!value_u64(c->t, value_item(c->t, h, i), &out[i]))
			return fail(c, "has a size or stride that is no number >= 0");
	}
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

/* Storage, offset, size and stride, as they stand in four values; dtype UNKNOWN takes that of the storage. */
static int
read_tensor(struct call *c, const uint32_t part[4], enum dtype dtype)
{
	struct tensor *t = &c->tensor;
	const struct storage *s;
	struct err why = ERR_INIT;
	uint64_t first;

	*t = (struct tensor){ .wrap = VALUE_ABSENT };
	if (!rebuild_storage(c->r, c->t, part[0], &t->storage, &first))
		return fail(c, "has no storage");
	if (!value_u64(c->t, part[1], &t->offset))
		return fail(c, "has no valid storage offset");
	if (read_geometry(c, part[2], part[3]) < 0)
		return -1;
	s = &c->r->c->storages[t->storage];
	t->dtype = (uint8_t)(dtype != DTYPE_UNKNOWN ? dtype : (enum dtype)s->dtype);
	/* A view begins at an element of its storage's type, the tensor at one of its own. */
	if (first != 0 && t->dtype != s->dtype)
		return fail(c, "sees part of a storage as another type");
	if (!num_add(t->offset, first, &t->offset))
		return fail(c, "has no valid storage offset");
	if (tensor_check(t, s->nbytes, &why) == 0)
		return 0;
	return c->off == 0 ? err_input(c->e, c->r->where, "a tensor of storage '%.*s': %s", STR_ARG(s->key), why.msg)
			   : err_at(c->e, c->r->where, c->off, "a tensor of storage '%.*s': %s", STR_ARG(s->key), why.msg);
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
	/* torch fails on others; their elements are their own conjugates. */
	if (truth(c->t, h, "conj") && dtype_info(c->tensor.dtype)->class == DTYPE_CLASS_COMPLEX)
		c->tensor.flags |= TENSOR_CONJ;
	if (truth(c->t, h, "neg"))
		c->tensor.flags |= TENSOR_NEG;
}

/* ---- the functions */

static int
make_old(struct call *c)
{
	return read_args(c, DTYPE_UNKNOWN) < 0 ? -1 : 1;
}

static int
make_v2(struct call *c)
{
	if (read_args(c, DTYPE_UNKNOWN) < 0)
		return -1;
	read_grad(c, arg(c, 4));
	read_metadata(c, arg(c, 6));
	return 1;
}

static int
make_v3(struct call *c)
{
	enum dtype dtype = dtype_by_name(value_name(c->t, arg(c, 6)));

	if (!str_eqc(value_module(c->t, arg(c, 6)), "torch") || dtype == DTYPE_UNKNOWN || !dtype_info(dtype)->torch)
		return 0;
	if (read_args(c, dtype) < 0)
		return -1;
	read_grad(c, arg(c, 4));
	read_metadata(c, arg(c, 7));
	return 1;
}

static int
make_quantised(struct call *c)
{
	uint32_t none = value_new_none(c->t), form[7] = { none, none, none, none }, index;
	uint64_t first;
	enum dtype dtype;

	if (!rebuild_storage(c->r, c->t, arg(c, 0), &index, &first))
		return fail(c, "has no storage");
	dtype = (enum dtype)c->r->c->storages[index].dtype;
	/* Several elements share a byte, row by row: not what a view can say. Such a tensor stays a call. */
	if (dtype == DTYPE_QUINT4X2 || dtype == DTYPE_QUINT2X4)
		return 0;
	if (read_args(c, DTYPE_UNKNOWN) < 0)
		return -1;
	read_grad(c, arg(c, 5));
	for (index = 4; index < 7; index++)
		form[index] = arg(c, index);
	c->form = value_new_tuple(c->t, form, 7);
	c->tensor.flags |= TENSOR_QUANTISED;
	return 1;
}

/* The first argument is a tensor already made: what is around it goes into the form. */
static int
make_around(struct call *c, size_t nargs)
{
	uint32_t form[4], index;
	size_t i;

	if (value_leaf(c->t, arg(c, 0), &index) != LEAF_TENSOR)
		return 0;
	c->tensor = c->r->c->tensors[index];
	if (c->tensor.storage == STORAGE_NONE)
		return 0;
	form[0] = c->tensor.wrap != VALUE_ABSENT ? c->tensor.wrap : value_new_none(c->t);
	for (i = 1; i < nargs; i++)
		form[i] = arg(c, i);
	c->tensor.wrap = VALUE_ABSENT;
	c->form = value_new_tuple(c->t, form, nargs);
	c->tensor.flags |= TENSOR_PARAMETER;
	read_grad(c, arg(c, 1));
	return 1;
}

static int
make_parameter(struct call *c)
{
	uint32_t full[3];

	if (value_len(c->t, c->args) < 3) { /* the class itself was called */
		full[0] = arg(c, 0);
		full[1] = value_len(c->t, c->args) == 2 ? arg(c, 1) : value_new_bool(c->t, true);
		full[2] = value_new_ordered(c->t);
		c->args = value_new_tuple(c->t, full, 3);
	}
	return make_around(c, 3);
}

static int
make_with_state(struct call *c)
{
	return make_around(c, 4);
}

static int
make_typed(struct call *c)
{
	const struct rebuild_function *f;
	uint32_t form[4] = { arg(c, 0), arg(c, 1), 0, arg(c, 3) }, outer = c->args;
	int took;

	c->args = arg(c, 2);
	f = value_kind(c->t, c->args) == VALUE_TUPLE ? find_function(c->t, form[0]) : NULL;
	if (f == NULL || f->make == make_typed || !takes(f, value_len(c->t, c->args)))
		return 0;
	took = f->make(c);
	c->args = outer;
	if (f->make == make_parameter) /* also of the class itself: the form is that function's */
		form[0] = value_new_global(c->t, str_c("torch._utils"), str_c("_rebuild_parameter"));
	form[2] = c->form;
	c->form = value_new_tuple(c->t, form, 4);
	return took;
}

/* ---- hooks */

/* Very old files: a class is called without arguments and BUILD brings the rest. */
static bool
is_tensor_class(const struct vtree *t, uint32_t callable, enum dtype *dtype)
{
	struct str module = value_module(t, callable), name = value_name(t, callable);
	char storage[32];
	size_t n = sizeof("Tensor") - 1;

	*dtype = DTYPE_FLOAT32; /* set by BUILD */
	if (str_eqc(module, "torch.nn.parameter") && str_eqc(name, "Parameter"))
		return true;
	if ((!str_eqc(module, "torch") && !str_eqc(module, "torch.cuda")) || !str_ends(name, str_c("Tensor")) ||
		name.len > 24)
		return false;
	memcpy(storage, name.p, name.len - n);
	memcpy(storage + name.len - n, "Storage", sizeof("Storage"));
	*dtype = dtype_by_storage(str_c(storage));
	return *dtype != DTYPE_UNKNOWN;
}

static uint32_t
add_hollow(struct rebuild *r, struct vtree *t, enum dtype dtype)
{
	static const uint64_t empty[2] = { 0, 1 };
	struct tensor tensor = { .shape = empty,
		.stride = empty + 1,
		.storage = STORAGE_NONE,
		.wrap = VALUE_ABSENT,
		.dtype = (uint8_t)dtype,
		.ndim = 1 };

	r->hollow++;
	return rebuild_add(r, t, &tensor);
}

/*
 * tensor, dtype, device, requires_grad: of a tensor elsewhere, whose copy in main memory is in the file. Only where that is
 * all: another dtype would be a conversion.
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
	struct vobject o = { HOW_REDUCE, callable, c->form, VALUE_ABSENT, VALUE_ABSENT, VALUE_ABSENT, VALUE_ABSENT };
	bool quantised = str_eqc(value_name(c->t, callable), "_rebuild_qtensor");
	bool parameter = str_eqc(value_name(c->t, callable), "_rebuild_parameter") ||
		str_eqc(value_name(c->t, callable), "Parameter");

	if (value_kind(c->t, c->form) == VALUE_NONE)
		return;
	if (parameter && value_kind(c->t, value_item(c->t, c->form, 0)) == VALUE_NONE)
		return; /* TENSOR_PARAMETER says it all */
	if (!quantised)
		c->tensor.flags |= TENSOR_WRAPPED;
	if (parameter)
		o.callable = value_new_global(c->t, str_c("torch._utils"), str_c("_rebuild_parameter"));
	c->tensor.wrap = value_new_object(c->t, &o);
}

int
rebuild_reduce(void *p, struct vtree *t, uint32_t callable, uint32_t args, uint64_t off, uint32_t *out, struct err *e)
{
	struct rebuild *r = p;
	struct call c = { .r = r, .t = t, .args = args, .off = off, .e = e };
	const struct rebuild_function *f = r->function;
	enum dtype dtype;
	int took;

	if (callable != r->callable) {
		r->function = f = find_function(t, callable);
		r->callable = callable;
	}
	if (f != NULL && takes(f, value_len(t, args))) {
		took = f->make(&c);
		if (took > 0) {
			keep_wrap(&c, callable);
			*out = rebuild_add(r, t, &c.tensor);
		}
		return took;
	}
	if (is_copy(&c, callable)) {
		*out = value_item(t, args, 0);
		return 1;
	}
	if (value_len(t, args) == 0 && is_tensor_class(t, callable, &dtype)) {
		*out = add_hollow(r, t, dtype);
		return 1;
	}
	return 0;
}

int
rebuild_build(void *p, struct vtree *t, uint32_t target, uint32_t state, struct err *e)
{
	struct rebuild *r = p;
	struct call c = { .r = r, .t = t, .args = state, .e = e };
	struct tensor *into;
	uint32_t index, data;
	size_t n = value_len(t, state);

	if (value_leaf(t, target, &index) != LEAF_TENSOR || value_kind(t, state) != VALUE_TUPLE)
		return 0;
	into = &r->c->tensors[index];
	if (n == 3) /* requires_grad, volatile, hooks of a tensor that has its data */
		return into->storage != STORAGE_NONE;
	if (into->storage != STORAGE_NONE || n < 4 || n > 5)
		return 0;
	if (n == 4 && read_args(&c, DTYPE_UNKNOWN) < 0)
		return -1;
	if (n == 5) { /* data, ..., requires_grad at 3 */
		if (value_leaf(t, value_item(t, state, 0), &data) != LEAF_TENSOR ||
			r->c->tensors[data].storage == STORAGE_NONE)
			return 0;
		c.tensor = r->c->tensors[data];
		c.tensor.flags |= TENSOR_PARAMETER;
		read_grad(&c, value_item(t, state, 3));
	}
	*into = c.tensor;
	r->hollow--;
	return 1;
}
