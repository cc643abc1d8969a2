/* pickle_weights: what the functions and classes that weights_only accepts do with the arguments they get. */
#include "codec/pickle_weights.h"

#include <string.h>

#include "base/limits.h"
#include "base/num.h"

/* The arguments of one call. */
struct call {
	struct weights *w;
	uint32_t args;
	size_t n;
};

static uint32_t
arg(const struct call *c, size_t i)
{
	return value_item(c->w->m->t, c->args, i);
}

static enum thing
is(const struct call *c, size_t i)
{
	return i < c->n ? weights_thing(c->w, arg(c, i)) : THING_OTHER;
}

static bool
sequence(enum thing thing)
{
	return thing == THING_TUPLE || thing == THING_LIST;
}

/* A call of a kind that torch.save never writes: it fails, or nobody can tell. */
static bool
odd(const struct call *c, const char *name)
{
	return weights_no(c->w, "%s with arguments that it does not take", name);
}

static bool
gives(const struct call *c, enum thing thing, bool grad)
{
	c->w->made = thing;
	c->w->made_grad = grad;
	return true;
}

/* ---- plain things */

static bool
all_hashable(const struct call *c, uint32_t list)
{
	for (size_t i = 0; i < value_len(c->w->m->t, list); i++)
		if (!weights_hashable(c->w, value_item(c->w->m->t, list, i)))
			return false;
	return true;
}

/* OrderedDict(), OrderedDict(pairs), OrderedDict(dict). */
static bool
call_ordered(struct call *c)
{
	const struct vtree *t = c->w->m->t;
	uint32_t pair;

	if (c->n == 1 && (is(c, 0) == THING_DICT || is(c, 0) == THING_ORDERED || is(c, 0) == THING_COUNTER))
		return gives(c, THING_ORDERED, false);
	if (c->n > 1 || (c->n == 1 && !sequence(is(c, 0))))
		return odd(c, "OrderedDict");
	for (size_t i = 0; c->n == 1 && i < value_len(t, arg(c, 0)); i++) {
		pair = value_item(t, arg(c, 0), i);
		if (!sequence(weights_thing(c->w, pair)) || value_len(t, pair) != 2 ||
		    !weights_hashable(c->w, value_item(t, pair, 0)))
			return odd(c, "OrderedDict");
	}
	return gives(c, THING_ORDERED, false);
}

static bool
call_counter(struct call *c)
{
	enum thing thing = is(c, 0);

	if (c->n == 0 || (c->n == 1 && (thing == THING_DICT || thing == THING_ORDERED || thing == THING_COUNTER ||
					       thing == THING_STR || thing == THING_BYTES || thing == THING_NONE)))
		return gives(c, THING_COUNTER, false);
	if (c->n == 1 && (sequence(thing) || thing == THING_SET) && all_hashable(c, arg(c, 0)))
		return gives(c, THING_COUNTER, false);
	return odd(c, "Counter");
}

static bool
call_set(struct call *c)
{
	enum thing thing = is(c, 0);

	if (c->n == 0)
		return gives(c, THING_SET, false);
	if (c->n == 1 && sequence(thing) && all_hashable(c, arg(c, 0)))
		return gives(c, THING_SET, false);
	if (c->n == 1 && (thing == THING_SET || thing == THING_DICT || thing == THING_ORDERED || thing == THING_STR ||
				 thing == THING_BYTES || thing == THING_COUNTER))
		return gives(c, THING_SET, false);
	return odd(c, "set");
}

static bool
is_text_of(const struct call *c, size_t i, const char *const *list, size_t n)
{
	struct str s = value_text(c->w->m->t, arg(c, i));

	for (size_t j = 0; is(c, i) == THING_STR && j < n; j++)
		if (str_eqc_nocase(s, list[j]))
			return true;
	return false;
}

/* Can the text be encoded so? Only the few encodings that are written are known here. */
static bool
encodable(const struct call *c, size_t text, size_t encoding)
{
	static const char *const utf8[] = { "utf-8", "utf8" };
	static const char *const latin[] = { "latin1", "latin-1", "iso-8859-1", "iso8859-1" };
	static const char *const ascii[] = { "ascii", "us-ascii" };
	struct str s = value_text(c->w->m->t, arg(c, text));
	bool is_utf8 = encoding >= c->n || is_text_of(c, encoding, utf8, 2), is_latin = is_text_of(c, encoding, latin, 4);

	if (is(c, text) != THING_STR || (!is_utf8 && !is_latin && !is_text_of(c, encoding, ascii, 2)))
		return false;
	for (size_t i = 0; i < s.len; i++) {
		uint8_t b = (uint8_t)s.p[i];

		if (is_utf8 ? b == 0xed && i + 1 < s.len && (uint8_t)s.p[i + 1] >= 0xa0 : b >= (is_latin ? 0xc4 : 0x80))
			return false;
	}
	return true;
}

static bool
call_encode(struct call *c)
{
	if (c->n >= 1 && (c->n <= 2 || (c->n == 3 && is(c, 2) == THING_STR)) && encodable(c, 0, 1))
		return gives(c, THING_BYTES, false);
	return odd(c, "_codecs.encode");
}

static bool
is_byte(const struct call *c, uint32_t h)
{
	uint64_t v;

	return value_kind(c->w->m->t, h) == VALUE_BOOL || (value_u64(c->w->m->t, h, &v) && v < 256);
}

static bool
call_bytearray(struct call *c)
{
	uint64_t v;
	bool good = c->n == 0 || (c->n == 1 && (is(c, 0) == THING_BYTES || is(c, 0) == THING_BYTEARRAY)) ||
		    ((c->n == 2 || (c->n == 3 && is(c, 2) == THING_STR)) && encodable(c, 0, 1));

	if (c->n == 1 && is(c, 0) == THING_INT)
		good = value_u64(c->w->m->t, arg(c, 0), &v) && v < 1 << 30;
	if (c->n == 1 && sequence(is(c, 0))) {
		good = true;
		for (size_t i = 0; good && i < value_len(c->w->m->t, arg(c, 0)); i++)
			good = is_byte(c, value_item(c->w->m->t, arg(c, 0), i));
	}
	return good ? gives(c, THING_BYTEARRAY, false) : odd(c, "bytearray");
}

static bool
number(enum thing thing)
{
	return thing == THING_INT || thing == THING_FLOAT || thing == THING_BOOL || thing == THING_COMPLEX;
}

static bool
call_complex(struct call *c)
{
	if (c->n > 2 || (c->n > 0 && !number(is(c, 0))) || (c->n > 1 && !number(is(c, 1))))
		return odd(c, "complex");
	return gives(c, THING_COMPLEX, false);
}

/* ---- torch's small things */

/* A list or tuple of integers, not negative; what was made by torch.Size counts too. */
static bool
sizes(const struct call *c, size_t i)
{
	const struct vtree *t = c->w->m->t;
	uint64_t v;

	if (is(c, i) == THING_SIZE)
		return true;
	if (!sequence(is(c, i)))
		return false;
	for (size_t j = 0; j < value_len(t, arg(c, i)); j++)
		if (!value_u64(t, value_item(t, arg(c, i), j), &v) || v > INT64_MAX)
			return false;
	return true;
}

static bool
call_size(struct call *c)
{
	const struct vtree *t = c->w->m->t;
	bool good = c->n == 0 || (c->n == 1 && (is(c, 0) == THING_SIZE || sequence(is(c, 0))));
	enum thing part;

	for (size_t i = 0; good && i < value_len(t, arg(c, 0)); i++) {
		part = weights_thing(c->w, value_item(t, arg(c, 0), i));
		good = part == THING_INT || part == THING_BOOL;
	}
	return good ? gives(c, THING_SIZE, false) : odd(c, "torch.Size");
}

static bool
call_device(struct call *c)
{
	static const char *const types[] = { "cpu", "cuda", "ipu", "xpu", "mkldnn", "opengl", "opencl", "ideep", "hip", "ve",
		"fpga", "maia", "xla", "lazy", "vulkan", "mps", "meta", "hpu", "mtia", "privateuseone" };
	struct str type = value_text(c->w->m->t, arg(c, 0)), index;
	uint64_t v;
	bool good = is(c, 0) == THING_STR && c->n <= 2, indexed = false, known = false;

	if (good && str_split(&type, ':', &index)) {
		struct str rest = type;

		type = index;
		indexed = rest.p != NULL;
		good = !indexed || (num_u64(rest, &v) && v < 128 && (rest.len == 1 || rest.p[0] != '0'));
	}
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		known = known || str_eqc(type, types[i]);
	if (c->n == 2)
		good = good && !indexed && value_u64(c->w->m->t, arg(c, 1), &v) && v < 128;
	return good && known ? gives(c, THING_DEVICE, false) : odd(c, "torch.device");
}

static bool
call_layout(struct call *c)
{
	static const char *const layouts[] = { "torch.strided", "torch.sparse_coo", "torch.sparse_csr", "torch.sparse_csc",
		"torch.sparse_bsr", "torch.sparse_bsc", "torch.jagged", "torch._mkldnn" };
	struct str s = value_text(c->w->m->t, arg(c, 0));

	for (size_t i = 0; c->n == 1 && is(c, 0) == THING_STR && i < sizeof(layouts) / sizeof(layouts[0]); i++)
		if (str_eqc(s, layouts[i]))
			return gives(c, THING_LAYOUT, false);
	return odd(c, "torch.serialization._get_layout");
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
	size_t dims = value_len(t, arg(c, 2)), strides = value_len(t, arg(c, 3));

	if (is(c, 2) == THING_SIZE || is(c, 3) == THING_SIZE)
		return true;
	/* Without strides the elements lie one behind the other. */
	if ((dims != strides && strides != 0) || !value_u64(t, arg(c, 1), &last))
		return false;
	for (size_t i = 0; i < dims; i++)
		if (value_u64(t, value_item(t, arg(c, 2), i), &n) && n == 0)
			return true;
	for (size_t i = dims; i-- > 0;) {
		if (!value_u64(t, value_item(t, arg(c, 2), i), &n))
			return false;
		if (strides == 0)
			stride = row;
		else if (!value_u64(t, value_item(t, arg(c, 3), i), &stride))
			return false;
		if (!num_mul(row, n, &row) || !num_mul(n - 1, stride, &n) || !num_add(last, n, &last))
			return false;
	}
	return num_add(last, 1, &n) && num_mul(n, size, &bytes) && bytes <= s->numel * s->size;
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

	if (c->n != 4 || !dtype_of(c, 0, &a) || !sizes(c, 1) || !sizes(c, 2) ||
	    (is(c, 1) != THING_SIZE && is(c, 2) != THING_SIZE &&
		    value_len(c->w->m->t, arg(c, 1)) != value_len(c->w->m->t, arg(c, 2))))
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

/* torch.Tensor(), torch.FloatTensor(): empty, or of a given shape. */
static bool
call_tensor_class(struct call *c, const struct pickle_allowed *a)
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
	{ "OrderedDict", call_ordered },
	{ "Counter", call_counter },
	{ "set", call_set },
	{ "encode", call_encode },
	{ "bytearray", call_bytearray },
	{ "complex", call_complex },
	{ "Size", call_size },
	{ "device", call_device },
	{ "_get_layout", call_layout },
	{ "_rebuild_sparse_tensor", rebuild_sparse },
	{ "_rebuild_qtensor", rebuild_quantised },
	{ "_rebuild_meta_tensor_no_storage", rebuild_meta },
	{ "_rebuild_nested_tensor", rebuild_nested },
	{ "_rebuild_device_tensor_from_cpu_tensor", rebuild_on_device },
	{ "_rebuild_from_type_v2", rebuild_typed },
};

static bool
call_named(struct call *c, const struct pickle_allowed *a)
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
		return call_tensor_class(c, a);
	return odd(c, a->name);
}

/* What *args takes: a tuple, a list, or of what else can be walked only that which is empty. */
static bool
arguments(const struct weights *w, uint32_t h)
{
	enum thing thing = weights_thing(w, h);

	return sequence(thing) || (thing >= THING_STR && weights_empty(w, h));
}

bool
weights_call(struct weights *w, uint32_t callable, uint32_t args)
{
	struct call c = { w, args, value_len(w->m->t, args) };
	struct pickle_allowed a;

	if (!weights_allowed(w, callable, &a))
		return weights_no(w, "Trying to call reduce for unrecognized function (a %s)", weights_type(w, callable));
	if (!arguments(w, args))
		return weights_no(w, "%s called with a %s for arguments", a.name, weights_type(w, args));
	switch (a.kind) {
	case ALLOWED_CALLABLE: return call_named(&c, &a);
	case ALLOWED_TENSOR:
	case ALLOWED_DEVICE: return call_tensor_class(&c, &a);
	default: return weights_no(w, "%s cannot be called", a.name);
	}
}

bool
weights_new(struct weights *w, uint32_t callable, uint32_t args)
{
	struct call c = { w, args, value_len(w->m->t, args) };
	struct pickle_allowed a;
	struct str name;

	if (!weights_allowed(w, callable, &a))
		return weights_no(w, "Can only create new object for nn.Parameter or classes allowlisted via `add_safe_globals` "
				     "but got a %s", weights_type(w, callable));
	if (!arguments(w, args))
		return weights_no(w, "%s made with a %s for arguments", a.name, weights_type(w, args));
	name = str_c(a.name);
	/* These leave what they are given to __init__, which is not called. */
	if (str_eqc(name, "OrderedDict"))
		return gives(&c, THING_ORDERED, false);
	if (str_eqc(name, "Counter"))
		return gives(&c, THING_COUNTER, false);
	if (str_eqc(name, "set"))
		return gives(&c, THING_SET, false);
	if (str_eqc(name, "bytearray"))
		return gives(&c, THING_BYTEARRAY, false);
	if (str_eqc(name, "complex") || str_eqc(name, "Size") || str_eqc(name, "device") || str_eqc(name, "Parameter") ||
	    str_eqc(name, "Tensor") || a.kind == ALLOWED_TENSOR || a.kind == ALLOWED_DEVICE)
		return weights_call(w, callable, args);
	return weights_no(w, "%s is no class of which objects can be made", a.name);
}
