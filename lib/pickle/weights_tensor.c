/* pickle_weights: what the functions and classes that make tensors do with the arguments that weights_only gives them. */
#include "pickle/weights_call.h"

#include <string.h>

#include "base/limits.h"
#include "base/num.h"

/* ---- sizes */

/* A list or tuple of integers, not negative, or a torch.Size of such. */
static bool
sizes(const struct call *c, size_t i)
{
	const struct vtree *t = c->w->m->t;
	uint32_t h = weights_size(c->w, arg(c, i));
	uint64_t v;

	if (is(c, i) == THING_SIZE && h == VALUE_ABSENT)
		return true;
	if (is(c, i) != THING_SIZE && !sequence(is(c, i)))
		return false;
	for (size_t j = 0; j < value_len(t, h); j++)
		if (!value_u64(t, value_item(t, h, j), &v) || v > INT64_MAX)
			return false;
	return true;
}

/* What torch.Size made of a sequence: a list is copied, for it may grow; VALUE_ABSENT is one that is longer than any shape. */
static uint32_t
frozen(const struct call *c, uint32_t h)
{
	struct vtree *t = c->w->m->t;
	uint32_t items[TENSOR_NDIM_MAX];
	size_t n = h == VALUE_ABSENT ? 0 : value_len(t, h);

	if (h == VALUE_ABSENT || value_kind(t, h) != VALUE_LIST)
		return h;
	if (n > TENSOR_NDIM_MAX)
		return VALUE_ABSENT;
	for (size_t i = 0; i < n; i++)
		items[i] = value_item(t, h, i);
	return value_new_tuple(t, items, n);
}

static bool
call_size(struct call *c)
{
	struct vtree *t = c->w->m->t;
	bool good = c->n == 0 || (c->n == 1 && (is(c, 0) == THING_SIZE || sequence(is(c, 0))));
	uint32_t h = c->n == 0 ? value_new_tuple(t, NULL, 0) : weights_size(c->w, arg(c, 0));
	enum thing part;

	for (size_t i = 0; good && h != VALUE_ABSENT && i < value_len(t, h); i++) {
		part = weights_thing(c->w, value_item(t, h, i));
		good = part == THING_INT || part == THING_BOOL;
	}
	c->w->made_size = good ? frozen(c, h) : VALUE_ABSENT;
	return good ? gives(c, THING_SIZE, false) : odd(c, "torch.Size");
}

/* ---- tensors */

static bool
is_tensor(enum thing thing)
{
	return thing == THING_TENSOR || thing == THING_PARAMETER;
}

static bool
dtype_of(const struct call *c, size_t i, struct pickle_allowed *a)
{
	return weights_allowed(c->w, arg(c, i), a) && a->kind == ALLOWED_DTYPE;
}

/* Do the elements of a tensor (storage, offset, size, stride, all from argument 0 on) lie within its storage? */
static bool
inside(const struct call *c, const struct weights_storage *s, unsigned size)
{
	const struct vtree *t = c->w->m->t;
	uint64_t last, n, stride, bytes, row = 1;
	uint32_t shape = weights_size(c->w, arg(c, 2)), steps = weights_size(c->w, arg(c, 3));
	size_t dims, strides;

	if (shape == VALUE_ABSENT || steps == VALUE_ABSENT)
		return true;
	dims = value_len(t, shape);
	strides = value_len(t, steps);
	/* Without strides the elements lie one behind the other. */
	if ((dims != strides && strides != 0) || !value_u64(t, arg(c, 1), &last))
		return false;
	for (size_t i = 0; i < dims; i++)
		if (value_u64(t, value_item(t, shape, i), &n) && n == 0)
			return true;
	for (size_t i = dims; i-- > 0;) {
		if (!value_u64(t, value_item(t, shape, i), &n))
			return false;
		if (strides == 0)
			stride = row;
		else if (!value_u64(t, value_item(t, steps, i), &stride))
			return false;
		if (!num_mul(row, n, &row) || !num_mul(n - 1, stride, &n) || !num_add(last, n, &last))
			return false;
	}
	return num_add(last, 1, &n) && num_mul(n / s->each + (n % s->each != 0), size, &bytes) && bytes <= s->numel * s->size;
}

/* requires_grad at argument i, for elements that can or cannot have gradients. */
static bool
gradient(const struct call *c, size_t i, bool grad)
{
	if (is(c, i) != THING_BOOL)
		return weights_no(c->w, "requires_grad is a %s", weights_type(c->w, arg(c, i)));
	if (value_bool(c->w->m->t, arg(c, i)) && !grad)
		return weights_no(c->w, "only Tensors of floating point dtype can require gradients");
	return true;
}

/* Nothing, or what is known: {'conj': True}, of complex elements only, {'neg': True}. */
static bool
metadata(const struct call *c, size_t i, bool complex)
{
	const struct vtree *t = c->w->m->t;
	bool good = true;

	if (i >= c->n || weights_empty(c->w, arg(c, i)))
		return true;
	if (is(c, i) != THING_DICT && is(c, i) != THING_ORDERED)
		return false;
	for (size_t j = 0; good && j < value_len(t, arg(c, i)); j++) {
		uint32_t key = value_key(t, arg(c, i), j), value = value_val(t, arg(c, i), j);

		good = weights_thing(c->w, key) == THING_STR && value_kind(t, value) == VALUE_BOOL &&
		       (complex || !value_bool(t, value) || !str_eqc(value_text(t, key), "conj"));
	}
	return good;
}

/* _rebuild_tensor and its kin; dtype is the index of that argument, 0 if the storage says it. */
static bool
rebuild(struct call *c, const char *name, size_t least, size_t most, size_t dtype)
{
	struct pickle_allowed a = { ALLOWED_NOT, NULL, 0, false };
	const struct weights_storage *s;
	uint32_t index = 0;
	bool complex;

	if (c->n < least || c->n > most || is(c, 0) != THING_STORAGE || is(c, 1) != THING_INT || !sizes(c, 2) || !sizes(c, 3))
		return odd(c, name);
	if (dtype != 0 && !dtype_of(c, dtype, &a))
		return odd(c, name);
	value_leaf(c->w->m->t, arg(c, 0), &index);
	s = &c->w->storages[index];
	if (dtype == 0) {
		a.size = s->size;
		a.grad = s->grad;
	}
	if (!inside(c, s, a.size))
		return weights_no(c->w, "%s: the tensor does not lie within its storage", name);
	if (least > 4 && !gradient(c, 4, a.grad))
		return false;
	/* It makes an empty tensor with gradients, which then may not be given its storage. */
	if (dtype != 0 && value_bool(c->w->m->t, arg(c, 4)))
		return weights_no(c->w, "%s: a leaf Variable that requires grad is being used in an in-place operation", name);
	complex = dtype == 0 ? s->complex : str_starts(str_c(a.name), str_c("complex"));
	if (most > 6 && !metadata(c, most - 1, complex))
		return odd(c, name);
	return gives(c, THING_TENSOR, a.grad);
}

bool
weights_set(struct weights *w, uint32_t state)
{
	struct call c = { w, state, value_len(w->m->t, state) };
	bool good = rebuild(&c, "Tensor.set_", 4, 4, 0);

	w->made = THING_OTHER;
	return good;
}

/* Parameter(data, requires_grad), whose requires_grad is true unless said otherwise. */
static bool
parameter(struct call *c, const char *name, size_t least, size_t most)
{
	bool grad = weights_grad(c->w, arg(c, 0)) || is(c, 0) == THING_NONE;

	if (c->n < least || c->n > most || (c->n > 0 && !is_tensor(is(c, 0)) && is(c, 0) != THING_NONE))
		return odd(c, name);
	if (c->n > 0 && c->n < 2 && !grad)
		return weights_no(c->w, "only Tensors of floating point dtype can require gradients");
	if (c->n > 1 && !gradient(c, 1, grad))
		return false;
	return gives(c, THING_PARAMETER, grad || c->n == 0);
}

static bool
state_of(const struct call *c, size_t i)
{
	const struct vtree *t = c->w->m->t;
	enum thing thing = is(c, i);

	if (thing == THING_TUPLE && value_len(t, arg(c, i)) == 2)
		return true;
	return thing == THING_NONE || thing == THING_DICT || thing == THING_ORDERED;
}

static bool
rebuild_sparse(struct call *c)
{
	const struct vtree *t = c->w->m->t;
	uint32_t data = arg(c, 1);
	size_t n = value_len(t, data);
	bool grad = weights_grad(c->w, value_item(t, data, n > 3 ? 2 : 1));

	if (c->n != 2 || is(c, 0) != THING_LAYOUT || !sequence(is(c, 1)) || (n != 3 && n != 4) ||
	    !is_tensor(weights_thing(c->w, value_item(t, data, 0))) || !is_tensor(weights_thing(c->w, value_item(t, data, 1))))
		return odd(c, "torch._utils._rebuild_sparse_tensor");
	return gives(c, THING_TENSOR, grad || weights_grad(c->w, value_item(t, data, 1)));
}

static bool
rebuild_quantised(struct call *c)
{
	const struct vtree *t = c->w->m->t;
	uint32_t how = arg(c, 4), index = 0;
	size_t n = value_len(t, how);
	bool by_tensor = value_is_global(t, value_item(t, how, 0), "torch", "per_tensor_affine");

	if (c->n != 7 || is(c, 0) != THING_STORAGE || !sizes(c, 2) || !sizes(c, 3) || is(c, 4) != THING_TUPLE ||
	    n != (by_tensor ? 3 : 4) || value_kind(t, value_item(t, how, 0)) != VALUE_GLOBAL)
		return odd(c, "torch._utils._rebuild_qtensor");
	value_leaf(t, arg(c, 0), &index);
	if (!inside(c, &c->w->storages[index], c->w->storages[index].size))
		return weights_no(c->w, "_rebuild_qtensor: the tensor does not lie within its storage");
	return gradient(c, 5, false) && gives(c, THING_TENSOR, false);
}

static bool
rebuild_meta(struct call *c)
{
	struct pickle_allowed a;
	uint32_t shape = weights_size(c->w, arg(c, 1)), strides = weights_size(c->w, arg(c, 2));

	if (c->n != 4 || !dtype_of(c, 0, &a) || !sizes(c, 1) || !sizes(c, 2) ||
	    (shape != VALUE_ABSENT && strides != VALUE_ABSENT && value_len(c->w->m->t, shape) != value_len(c->w->m->t, strides)))
		return odd(c, "torch._utils._rebuild_meta_tensor_no_storage");
	return gradient(c, 3, a.grad) && gives(c, THING_TENSOR, a.grad);
}

static bool
rebuild_nested(struct call *c)
{
	if (c->w->legacy)
		return weights_no(c->w, "a nested tensor, whose sizes torch wants before it has read them from a legacy file");
	for (size_t i = 0; i < 4; i++)
		if (c->n != 4 || !is_tensor(is(c, i)))
			return odd(c, "torch._utils._rebuild_nested_tensor");
	return gives(c, THING_TENSOR, weights_grad(c->w, arg(c, 0)));
}

static bool
rebuild_on_device(struct call *c)
{
	struct pickle_allowed a;

	if (c->n != 4 || !is_tensor(is(c, 0)) || !dtype_of(c, 1, &a) || is(c, 2) != THING_STR)
		return odd(c, "torch._utils._rebuild_device_tensor_from_cpu_tensor");
	return gradient(c, 3, a.grad) && gives(c, THING_TENSOR, a.grad);
}

/* func, type, args, state: func(*args) as type, with attributes from state. */
static bool
rebuild_typed(struct call *c)
{
	uint32_t type = arg(c, 1);
	bool good;

	if (c->n != 4 || is(c, 0) != THING_GLOBAL || is(c, 1) != THING_GLOBAL || is(c, 2) != THING_TUPLE || !state_of(c, 3))
		return odd(c, "torch._tensor._rebuild_from_type_v2");
	/* One that calls another of its kind is never written, and could go on for as long as the file is. */
	if (c->w->wraps == TENSOR_WRAPS_MAX)
		return weights_no(c->w, "a tensor in more than %d calls of _rebuild_from_type_v2", TENSOR_WRAPS_MAX);
	c->w->wraps++;
	good = weights_call(c->w, arg(c, 0), arg(c, 2));
	c->w->wraps--;
	if (!good)
		return false;
	if (!is_tensor(c->w->made) || (strcmp(weights_global(c->w, type), "torch.Tensor") != 0 &&
					      strcmp(weights_global(c->w, type), "torch.nn.parameter.Parameter") != 0))
		return odd(c, "torch._tensor._rebuild_from_type_v2");
	if (strcmp(weights_global(c->w, type), "torch.nn.parameter.Parameter") == 0)
		c->w->made = THING_PARAMETER;
	return true;
}

bool
weights_tensor_class(struct call *c, const struct pickle_allowed *a)
{
	if (a->kind == ALLOWED_DEVICE)
		return weights_no(c->w, "%s needs the device that it is for", a->name);
	if (c->n != 0)
		return odd(c, a->name);
	return gives(c, THING_TENSOR, str_starts(str_c(a->name), str_c("Float")) || str_eqc(str_c(a->name), "Tensor") ||
		str_starts(str_c(a->name), str_c("Double")) || str_starts(str_c(a->name), str_c("Half")) ||
		str_starts(str_c(a->name), str_c("BFloat16")));
}

/* ---- by name */

static const struct {
	const char *name;
	bool (*call)(struct call *c);
} calls[] = {
	{ "Size", call_size },
	{ "_rebuild_sparse_tensor", rebuild_sparse },
	{ "_rebuild_qtensor", rebuild_quantised },
	{ "_rebuild_meta_tensor_no_storage", rebuild_meta },
	{ "_rebuild_nested_tensor", rebuild_nested },
	{ "_rebuild_device_tensor_from_cpu_tensor", rebuild_on_device },
	{ "_rebuild_from_type_v2", rebuild_typed },
};

bool
weights_make(struct call *c, const struct pickle_allowed *a)
{
	struct str name = str_c(a->name);

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		if (str_eqc(name, calls[i].name))
			return calls[i].call(c);
	if (str_eqc(name, "_rebuild_tensor"))
		return rebuild(c, a->name, 4, 4, 0);
	if (str_eqc(name, "_rebuild_tensor_v2"))
		return rebuild(c, a->name, 6, 7, 0);
	if (str_eqc(name, "_rebuild_tensor_v3"))
		return rebuild(c, a->name, 7, 8, 6);
	if (str_eqc(name, "Parameter"))
		return parameter(c, a->name, 0, 2);
	if (str_eqc(name, "_rebuild_parameter"))
		return parameter(c, a->name, 3, 3);
	if (str_eqc(name, "_rebuild_parameter_with_state"))
		return state_of(c, 3) ? parameter(c, a->name, 4, 4) : odd(c, a->name);
	if (str_eqc(name, "Tensor"))
		return weights_tensor_class(c, a);
	return odd(c, a->name);
}
