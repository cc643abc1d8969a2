/*
 * Would torch's weights_only unpickler take the pickle? The scan looks at a machine's stack before an opcode is executed,
 * and puts in place of what a call would return a leaf that says what that is.
 *
 * The rules are those of Unpickler.load in torch/_weights_only_unpickler.py (PyTorch 2.6 to 2.13) and of
 * persistent_load in torch/serialization.py, checked against PyTorch 2.13 by tests/torch/test_pickle_scan.py.
 * Calls are followed with the arguments that torch.save writes. The answer to any others is that we do not know.
 */
#include "pickle/scan.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/num.h"
#include "base/strmap.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "pickle/machine.h"

/* ---- what values are */

/*
 * A letter says what a value is. Plain data: N None, b bool, i integer, f float, s text, y bytes, Y bytearray, t tuple,
 * l list, d dict or OrderedDict, e set, g global, ? anything else. Made by calls: S storage, T dense tensor, P parameter,
 * O tensor of an old class such as FloatTensor, U any other tensor, C Counter, z Size, L layout, o other object.
 */
struct made {
	char type;
	bool grad, complex;  /* elements can have gradients; are complex */
	unsigned size, each; /* storage: bytes of an element; elements that these bytes hold */
	uint64_t numel;      /* storage */
	const char *name;    /* of the storage's class, the old class or the layout */
};

/* Globals looked up recently, by node: a checkpoint calls the same few for every tensor. */
enum { WEIGHTS_RECENT = 16 };

struct weights {
	struct pickle_machine *m; /* of the present opcode */
	unsigned wraps;           /* calls within calls that are being looked at */
	bool legacy;              /* ids of the legacy stream: six parts */
	uint64_t looked;          /* values that keys and attributes had us look at */
	struct strmap keys;       /* of persistent ids and views: which of stored they named first */
	struct made *stored;
	size_t stored_n, stored_cap;
	struct made *made;        /* by the index of a leaf */
	size_t made_n, made_cap;
	struct made result;       /* what the opcode will leave on the stack; type 0: what the machine leaves */
	bool unknown;             /* the first objection is that we do not know; only globals and opcodes are looked at now */
	char why[512];            /* the first objection */
	struct {
		uint32_t node; /* 0: none */
		struct pickle_allowed allowed;
	} recent[WEIGHTS_RECENT];
};

static bool call(struct weights *w, uint32_t callable, uint32_t args);

/* Sets why torch refuses the pickle; returns false. */
__attribute__((format(printf, 2, 3))) static bool
refuse(struct weights *w, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(w->why, sizeof(w->why), fmt, ap);
	va_end(ap);
	w->unknown = false;
	return false;
}

/* Sets why nobody can tell here: the thing is none that torch.save writes. Returns false. */
static bool
doubt(struct weights *w, const char *name, const char *what)
{
	refuse(w, "%s %s: torch.save writes nothing of the kind", name, what);
	w->result.type = 0;
	w->unknown = true;
	return false;
}

/* Python's name of its type, for messages. */
static const char *
type_name(const struct weights *w, uint32_t h)
{
	static const char *const names[] = { "NoneType", "bool", "int", "int", "float", "str", "str", "bytes", "bytearray",
		"tuple", "list", "dict", "set", "frozenset", "global", "object", "object", "object of torch" };

	return names[value_kind(w->m->t, h)];
}

/* What a call made; of plain data, nothing. */
static struct made
made_of(const struct weights *w, uint32_t h)
{
	uint32_t index = 0;

	if (value_kind(w->m->t, h) != VALUE_LEAF)
		return (struct made){ .type = 0 };
	value_leaf(w->m->t, h, &index);
	return w->made[index];
}

static char
type_of(const struct weights *w, uint32_t h)
{
	static const char types[] = "NbiifssyYtlde?g??";
	enum value_kind kind = value_kind(w->m->t, h);

	return kind == VALUE_LEAF ? made_of(w, h).type : types[kind];
}

/* pickle_allowed of the global h; false, too, if it is none. */
static bool
is_allowed(struct weights *w, uint32_t h, struct pickle_allowed *a)
{
	size_t i = h % WEIGHTS_RECENT;

	*a = (struct pickle_allowed){ .kind = ALLOWED_NOT };
	if (value_kind(w->m->t, h) != VALUE_GLOBAL)
		return false;
	if (w->recent[i].node != h) {
		w->recent[i].node = h;
		pickle_allowed(value_module(w->m->t, h), value_name(w->m->t, h), &w->recent[i].allowed);
	}
	*a = w->recent[i].allowed;
	return a->kind != ALLOWED_NOT;
}

/* Values looked at for each byte of the pickle at most: an honest one never needs half of it. */
enum { LOOK_FACTOR = 16, LOOK_FREE = 4096 };

/* May n more values be looked at? A pickle can name one large dict or tuple as often as it has bytes. */
static bool
may_look(struct weights *w, uint64_t n)
{
	uint64_t read = w->m->in.base + w->m->in.at - w->m->in.start;

	w->looked += n;
	return w->looked <= read * LOOK_FACTOR + LOOK_FREE;
}

/* The most parts of a key, tuples within tuples included, and how deep these may be. */
enum { KEY_PARTS = 10000, KEY_DEPTH = 400 };

/* Can it be a key? Counters and what is too large to say count as what cannot. */
static bool
hashable(const struct weights *w, uint32_t h, unsigned depth, unsigned *parts)
{
	char type = type_of(w, h);

	if (type != 't')
		return strchr("NbifsygSTPUzLo", type) != NULL;
	for (size_t i = 0; i < value_len(w->m->t, h); i++)
		if (depth == 0 || (*parts)-- == 0 || !hashable(w, value_item(w->m->t, h, i), depth - 1, parts))
			return false;
	return true;
}

static bool
is_key(struct weights *w, uint32_t h)
{
	unsigned parts = KEY_PARTS;

	return hashable(w, h, KEY_DEPTH, &parts) && may_look(w, KEY_PARTS - parts);
}

/* ---- arguments */

static bool fits(struct weights *w, char letter, uint32_t h);

/* Attributes that every tensor has, and that cannot be set, or not to anything. */
static const char *const own_attributes[] = { "H", "T", "__class__", "__cuda_array_interface__", "__dict__", "__weakref__",
	"_base", "_cdata", "_grad", "_grad_fn", "_has_symbolic_sizes_strides", "_python_dispatch", "_version", "data", "device",
	"dtype", "grad", "grad_dtype", "grad_fn", "imag", "is_cpu", "is_cuda", "is_ipu", "is_leaf", "is_maia", "is_meta",
	"is_mkldnn", "is_mps", "is_mtia", "is_nested", "is_quantized", "is_sparse", "is_sparse_csr", "is_vulkan", "is_xla",
	"is_xpu", "itemsize", "layout", "mH", "mT", "name", "names", "nbytes", "ndim", "output_nr", "real", "requires_grad",
	"retains_grad", "shape" };

/* The text of the value if the list has it; else NULL. */
static const char *
listed(const struct weights *w, uint32_t h, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (str_eqc(value_text(w->m->t, h), list[i]))
			return list[i];
	return NULL;
}

#define LISTED(w, h, list) listed(w, h, list, sizeof(list) / sizeof((list)[0]))

/* What an attribute costs of the values that may be looked at: its name is compared with all of own_attributes. */
enum { ATTRIBUTE_COST = 8 };

/* A dict of attributes, or None. */
static bool
is_attributes(struct weights *w, uint32_t h)
{
	const struct vtree *t = w->m->t;

	if (type_of(w, h) == 'd' && !may_look(w, (uint64_t)value_len(t, h) * ATTRIBUTE_COST))
		return false;
	for (size_t i = 0; type_of(w, h) == 'd' && i < value_len(t, h); i++)
		if (type_of(w, value_key(t, h, i)) != 's' || LISTED(w, value_key(t, h, i), own_attributes) != NULL)
			return false;
	return strchr("dN", type_of(w, h)) != NULL;
}

/* A tuple of values that each fit the letter, no longer than the sizes of a tensor can be. */
static bool
all_fit(struct weights *w, char letter, uint32_t h)
{
	if (value_len(w->m->t, h) > TENSOR_NDIM_MAX)
		return false;
	for (size_t i = 0; i < value_len(w->m->t, h); i++)
		if (!fits(w, letter, value_item(w->m->t, h, i)))
			return false;
	return type_of(w, h) == 't';
}

/*
 * Is h what the letter of a pattern stands for? Beside those of types: u integer from 0, n tuple of such, I tuple of
 * integers, D dtype, A any tensor, T dense tensor or parameter, h a dict or None, c the text "cpu", x a state.
 */
static bool
fits(struct weights *w, char letter, uint32_t h)
{
	const struct vtree *t = w->m->t;
	struct pickle_allowed a;
	uint64_t v;

	switch (letter) {
	case 'u': return value_u64(t, h, &v) && v <= INT64_MAX;
	case 'n': return all_fit(w, 'u', h);
	case 'I': return all_fit(w, 'i', h);
	case 'D': return is_allowed(w, h, &a) && a.kind == ALLOWED_DTYPE;
	case 'A': return strchr("TPOU", type_of(w, h)) != NULL;
	case 'T': return strchr("TP", type_of(w, h)) != NULL;
	case 'h': return strchr("dN", type_of(w, h)) != NULL;
	case 'c': return type_of(w, h) == 's' && str_eqc(value_text(t, h), "cpu");
	case 'x':
		if (type_of(w, h) != 't')
			return is_attributes(w, h);
		return value_len(t, h) == 2 && is_attributes(w, value_item(t, h, 0)) && is_attributes(w, value_item(t, h, 1));
	default: return type_of(w, h) == letter;
	}
}

/* Is tuple what the pattern says? Behind a bar the parts may be left out. Of two n the lengths are the same. */
static bool
match(struct weights *w, const char *pattern, uint32_t tuple)
{
	const struct vtree *t = w->m->t;
	bool optional = false;
	size_t i = 0, n = value_len(t, tuple), rank = SIZE_MAX;

	if (type_of(w, tuple) != 't')
		return false;
	for (; *pattern != '\0'; pattern++) {
		uint32_t part = value_item(t, tuple, i);

		if (*pattern == '|') {
			optional = true;
			continue;
		}
		if (i++ == n)
			return optional;
		if (!fits(w, *pattern, part) || (*pattern == 'n' && rank != SIZE_MAX && value_len(t, part) != rank))
			return false;
		if (*pattern == 'n')
			rank = value_len(t, part);
	}
	return i == n;
}

/* ---- calls */

struct weights_call;

/* A call that torch.save writes. */
struct weights_form {
	const char *name, *pattern;
	char made;   /* plain data are what the machine makes of them */
	int element; /* the argument that says what the elements are; -1: the result has none */
	int grad;    /* requires_grad, which is true if it is left out; -1: none */
	bool (*check)(const struct weights_call *c); /* what else has to be; may change the result */
};

/* A call whose arguments fit the pattern of form. */
struct weights_call {
	struct weights *w;
	const struct weights_form *form;
	uint32_t args;
	size_t n;
};

static bool
doubtful(const struct weights_call *c, const char *what)
{
	return doubt(c->w, c->form->name, what);
}

static uint32_t
arg(const struct weights_call *c, size_t i)
{
	return value_item(c->w->m->t, c->args, i);
}

/* The last element of a tensor (storage, offset, sizes, strides, all from argument 0 on), plus 1; 0 if there are none. */
static bool
extent(const struct weights_call *c, uint64_t *end)
{
	const struct vtree *t = c->w->m->t;
	uint64_t n = 0, stride = 0, count = 1;

	value_u64(t, arg(c, 1), end);
	for (size_t i = 0; i < value_len(t, arg(c, 2)); i++) {
		value_u64(t, value_item(t, arg(c, 2), i), &n);
		value_u64(t, value_item(t, arg(c, 3), i), &stride);
		if (!num_mul(count, n, &count) || (count > 0 && (!num_mul(n - 1, stride, &n) || !num_add(*end, n, end))))
			return false;
	}
	*end = count == 0 ? 0 : *end + 1;
	return true;
}

/* Do its elements, of size bytes, lie within the storage? */
static bool
inside(const struct weights_call *c, unsigned size)
{
	struct made s = made_of(c->w, arg(c, 0));
	uint64_t end, bytes;

	if (s.each > 0 && extent(c, &end) && num_mul(end / s.each + (end % s.each != 0), size, &bytes) && bytes <= s.numel * s.size)
		return true;
	return refuse(c->w, "%s: the tensor does not lie within its storage", c->form->name);
}

/* What torch.save says of conjugate and negative tensors: a dict of truth values. v3 has a dtype before it. */
static bool
check_tensor(const struct weights_call *c)
{
	const struct vtree *t = c->w->m->t;
	bool v3 = c->form->element != 0;
	uint32_t metadata = arg(c, v3 ? 7 : 6);

	/* v3 makes an empty tensor first. One with gradients could not be given its storage. */
	if (v3 && value_bool(t, arg(c, 4)))
		return refuse(c->w, "%s: a leaf Variable that requires grad is being used in an in-place operation", c->form->name);
	if (value_len(t, metadata) > 2)
		return doubtful(c, "with so much metadata");
	for (size_t i = 0; i < value_len(t, metadata); i++) {
		struct str key = value_text(t, value_key(t, metadata, i));
		bool conj = str_eqc(key, "conj") && c->w->result.complex, neg = str_eqc(key, "neg") && c->w->result.grad;

		if (type_of(c->w, value_val(t, metadata, i)) != 'b' || (!conj && !neg))
			return doubtful(c, "with such metadata");
	}
	return true;
}

/* scheme, scales, zero points, axis: one of each for every index of the axis. */
static bool
is_by_channel(const struct weights_call *c, uint32_t how)
{
	const struct vtree *t = c->w->m->t;
	uint32_t scheme = value_item(t, how, 0);
	uint64_t axis = 0;

	if (!value_is_global(t, scheme, "torch", "per_channel_affine") &&
	    !value_is_global(t, scheme, "torch", "per_channel_affine_float_qparams"))
		return false;
	return match(c->w, "gTTu", how) && value_u64(t, value_item(t, how, 3), &axis) && axis < value_len(t, arg(c, 2));
}

static bool
check_quantised(const struct weights_call *c)
{
	const struct vtree *t = c->w->m->t;
	uint32_t how = arg(c, 4);
	bool by_tensor = value_is_global(t, value_item(t, how, 0), "torch", "per_tensor_affine");

	return ((by_tensor ? match(c->w, "gfi", how) : is_by_channel(c, how)) && made_of(c->w, arg(c, 0)).name[0] == 'Q') ||
	       doubtful(c, "with such a quantiser");
}

static bool
check_sparse(const struct weights_call *c)
{
	const char *layout = made_of(c->w, arg(c, 0)).name;
	bool coo;

	if (layout == NULL)
		return doubtful(c, "with such a layout");
	coo = strcmp(layout, "torch.sparse_coo") == 0;
	c->w->result.grad = made_of(c->w, value_item(c->w->m->t, arg(c, 1), coo ? 1 : 2)).grad;
	return (strncmp(layout, "torch.sparse_", 13) == 0 && match(c->w, coo ? "TTz|b" : "TTTz", arg(c, 1))) ||
	       doubtful(c, "with such parts");
}

/* func, type, args, state: func(*args) as type, with attributes from state. */
static bool
check_typed(const struct weights_call *c)
{
	struct weights *w = c->w;
	char type[PICKLE_GLOBAL_TEXT];
	bool good;

	/* One that calls another of its kind is never written, and could go on for as long as the file is. */
	if (w->wraps == TENSOR_WRAPS_MAX)
		return doubtful(c, "in so many others");
	w->wraps++;
	good = call(w, arg(c, 0), arg(c, 2));
	w->wraps--;
	if (!good)
		return false;
	pickle_python3(value_module(w->m->t, arg(c, 1)), value_name(w->m->t, arg(c, 1)), type);
	return (strchr("TPU", w->result.type) != NULL &&
		       (strcmp(type, "torch.Tensor") == 0 || strcmp(type, "torch.nn.parameter.Parameter") == 0)) ||
	       doubtful(c, "of such a type");
}

static bool
check_device(const struct weights_call *c)
{
	static const char *const types[] = { "cpu", "cuda", "ipu", "xpu", "mkldnn", "opengl", "opencl", "ideep", "hip", "ve",
		"fpga", "maia", "xla", "lazy", "vulkan", "mps", "meta", "hpu", "mtia", "privateuseone" };
	uint64_t index = 0;

	value_u64(c->w->m->t, arg(c, 1), &index);
	return (LISTED(c->w, arg(c, 0), types) != NULL && index < 128) || doubtful(c, "of such a name");
}

static bool
check_layout(const struct weights_call *c)
{
	static const char *const layouts[] = { "torch.strided", "torch.sparse_coo", "torch.sparse_csr", "torch.sparse_csc",
		"torch.sparse_bsr", "torch.sparse_bsc", "torch.jagged", "torch._mkldnn" };

	c->w->result.name = LISTED(c->w, arg(c, 0), layouts);
	return c->w->result.name != NULL || doubtful(c, "of such a name");
}

/* set(list) and OrderedDict(list of pairs), which Python 2 wrote with lists for pairs. */
static bool
check_keys(const struct weights_call *c)
{
	const struct vtree *t = c->w->m->t;
	bool pairs = c->form->made == 'd';

	for (size_t i = 0; i < value_len(t, arg(c, 0)); i++) {
		uint32_t key = value_item(t, arg(c, 0), i);

		if (pairs && (strchr("tl", type_of(c->w, key)) == NULL || value_len(t, key) != 2))
			return doubtful(c, "of what are no pairs");
		if (!is_key(c->w, pairs ? value_item(t, key, 0) : key))
			return doubtful(c, "with such a key");
	}
	return true;
}

static const struct weights_form forms[] = {
	{ "OrderedDict", "|l", 'd', -1, -1, check_keys },
	{ "_rebuild_tensor_v2", "Sunnbh|h", 'T', 0, 4, check_tensor },
	{ "_rebuild_tensor_v3", "SunnbhD|h", 'T', 6, 4, check_tensor },
	{ "_rebuild_tensor", "Sunn", 'T', 0, -1, NULL },
	{ "_rebuild_parameter", "Abh", 'P', 0, 1, NULL },
	{ "_rebuild_parameter_with_state", "Abhx", 'P', 0, 1, NULL },
	{ "Parameter", "A|b", 'P', 0, 1, NULL },
	{ "_rebuild_from_type_v2", "ggtx", 'U', -1, -1, check_typed },
	{ "_rebuild_qtensor", "Sunntbh", 'U', 0, 5, check_quantised },
	{ "_rebuild_sparse_tensor", "Lt", 'U', -1, -1, check_sparse },
	{ "_rebuild_meta_tensor_no_storage", "Dnnb", 'U', 0, 3, NULL },
	{ "_rebuild_nested_tensor", "TTTT", 'U', 0, -1, NULL },
	{ "_rebuild_device_tensor_from_cpu_tensor", "TDcb", 'U', 1, 3, NULL },
	{ "Tensor", "", 'U', -1, -1, NULL },
	{ "Counter", "|d", 'C', -1, -1, NULL },
	{ "Size", "n", 'z', -1, -1, NULL },
	{ "Size", "I", 'o', -1, -1, NULL },
	{ "complex", "ff", 'o', -1, -1, NULL },
	{ "device", "s|u", 'o', -1, -1, check_device },
	{ "_get_layout", "s", 'L', -1, -1, check_layout },
	{ "set", "|l", 'e', -1, -1, check_keys },
	{ "encode", "ss", 'y', -1, -1, NULL },
	{ "bytearray", "|y", 'Y', -1, -1, NULL },
	{ "bytearray", "ss", 'Y', -1, -1, NULL },
};

/* The elements of a storage or tensor, or those that a dtype names. */
static struct made
elements(struct weights *w, uint32_t h)
{
	struct made m = made_of(w, h);
	struct pickle_allowed a;

	if (is_allowed(w, h, &a))
		m = (struct made){ .size = a.size, .grad = a.grad, .complex = str_starts(str_c(a.name), str_c("complex")) };
	return m;
}

/* The arguments fit the form. Sets the result. */
static bool
call_fitting(const struct weights_call *c)
{
	const struct weights_form *f = c->form;
	struct made m = { .type = 0 };

	if (f->element >= 0)
		m = elements(c->w, arg(c, (size_t)f->element));
	c->w->result = (struct made){ .type = f->made, .grad = m.grad, .complex = m.complex };
	if (f->pattern[0] == 'S' && !inside(c, m.size))
		return false;
	if (f->grad >= 0 && !m.grad && ((size_t)f->grad >= c->n || value_bool(c->w->m->t, arg(c, (size_t)f->grad))))
		return refuse(c->w, "%s: only Tensors of floating point dtype can require gradients", f->name);
	return f->check == NULL || f->check(c);
}

static bool
call_form(struct weights *w, const char *name, uint32_t args)
{
	struct weights_call c = { w, forms, args, value_len(w->m->t, args) };

	if (w->legacy && strcmp(name, "_rebuild_nested_tensor") == 0)
		return refuse(w, "a nested tensor, whose sizes torch wants before it has read them from a legacy file");
	for (; c.form < forms + sizeof(forms) / sizeof(forms[0]); c.form++)
		if (strcmp(name, c.form->name) == 0 && match(w, c.form->pattern, args))
			return call_fitting(&c);
	return doubt(w, name, "with such arguments");
}

/* torch.FloatTensor() and the like, of torch before 0.2, which BUILD gives a storage. */
static bool
call_old_class(struct weights *w, uint32_t callable, const char *name, uint32_t args)
{
	bool grad = strstr("FloatTensor DoubleTensor HalfTensor BFloat16Tensor", name) != NULL;

	if (type_of(w, args) != 't' || value_len(w->m->t, args) != 0 || !str_eqc(value_module(w->m->t, callable), "torch") ||
	    !str_eqc(value_name(w->m->t, callable), name))
		return doubt(w, name, "with such arguments");
	w->result = (struct made){ .type = 'O', .grad = grad, .name = name };
	return true;
}

/* callable(*args); sets the result. */
static bool
call(struct weights *w, uint32_t callable, uint32_t args)
{
	struct pickle_allowed a;

	if (!is_allowed(w, callable, &a))
		return refuse(w, "Trying to call reduce for unrecognized function (a %s)", type_name(w, callable));
	switch (a.kind) {
	case ALLOWED_CALLABLE: return call_form(w, a.name, args);
	case ALLOWED_TENSOR: return call_old_class(w, callable, a.name, args);
	case ALLOWED_DEVICE:
	case ALLOWED_UNTYPED: return doubt(w, a.name, "with such arguments");
	default: return refuse(w, "%s cannot be called", a.name);
	}
}

static bool
check_newobj(struct weights *w, uint32_t callable)
{
	struct pickle_allowed a;

	if (is_allowed(w, callable, &a))
		return doubt(w, a.name, "made by NEWOBJ");
	return refuse(w, "Can only create new object for nn.Parameter or classes allowlisted via `add_safe_globals` "
			 "but got a %s", type_name(w, callable));
}

/* ---- opcodes. They see the stack as it is before them. */

/* The nth value from the top, or VALUE_ABSENT when the stack has no such value above the last mark. */
static uint32_t
top(const struct weights *w, size_t n)
{
	return w->m->depth - w->m->fence > n ? w->m->stack[w->m->depth - 1 - n] : VALUE_ABSENT;
}

/* The value below the last mark. */
static uint32_t
below_mark(const struct weights *w)
{
	size_t outer = w->m->marks_n > 1 ? w->m->marks[w->m->marks_n - 2] : 0;

	return w->m->marks_n > 0 && w->m->fence > outer ? w->m->stack[w->m->fence - 1] : VALUE_ABSENT;
}

static bool
check_append(struct weights *w, uint32_t target)
{
	if (target == VALUE_ABSENT || type_of(w, target) == 'l')
		return true;
	return refuse(w, "Can only %s lists, but got %s", w->m->in.op == OP_APPEND ? "append to" : "extend",
		type_name(w, target));
}

static bool
check_set_item(struct weights *w, uint32_t target, const uint32_t *pairs, size_t n)
{
	if (target == VALUE_ABSENT)
		return true;
	if (strchr("dC", type_of(w, target)) == NULL)
		return refuse(w, "Can only %s for dict, collections.OrderedDict, collections.Counter, but got %s",
			w->m->name, type_name(w, target));
	if (n % 2 != 0)
		return refuse(w, "a key without a value");
	for (size_t i = 0; i < n; i += 2)
		if (strchr("ldeYC", type_of(w, pairs[i])) != NULL)
			return refuse(w, "a %s cannot be the key of a dict", type_name(w, pairs[i]));
		else if (!is_key(w, pairs[i]))
			return doubt(w, "a dict", "with such a key");
	return true;
}

static bool
check_build(struct weights *w, uint32_t target, uint32_t state)
{
	static const struct weights_form set = { .name = "Tensor.set_" };
	struct weights_call c = { w, &set, state, value_len(w->m->t, state) };
	struct made old = made_of(w, target), s = made_of(w, arg(&c, 0));
	size_t n = old.type == 'O' ? strlen(old.name) - strlen("Tensor") : 0;

	if (target == VALUE_ABSENT || (value_ordered(w->m->t, target) && type_of(w, state) == 'd'))
		return true;
	if (strchr("Nbifsytldg", type_of(w, target)) != NULL && !value_ordered(w->m->t, target))
		return refuse(w, "Can only build Tensor, Parameter, OrderedDict or types allowlisted via "
				 "`add_safe_globals`, but got %s", type_name(w, target));
	if (n == 0 || !match(w, "Sunn", state) || s.name == NULL || strncmp(s.name, old.name, n) != 0 ||
	    strcmp(s.name + n, "Storage") != 0)
		return doubt(w, "a state", "for such an object");
	return inside(&c, s.size);
}

/* The class and the count of a persistent id, into the result. */
static bool
check_storage(struct weights *w, uint32_t class, uint32_t numel)
{
	struct pickle_allowed a;
	uint64_t n;

	is_allowed(w, class, &a);
	if (a.kind == ALLOWED_UNTYPED && w->legacy)
		return refuse(w, "a storage without element type, which torch does not read from legacy files");
	if (a.kind == ALLOWED_TENSOR || a.kind == ALLOWED_DEVICE || strchr("STPOU", type_of(w, class)) != NULL)
		return doubt(w, "a persistent id", "with what has a dtype and is no class of storages");
	if (a.kind != ALLOWED_UNTYPED && a.kind != ALLOWED_STORAGE)
		return refuse(w, "a persistent id whose second part is no class of storages");
	if (!value_u64(w->m->t, numel, &n) || n > INT64_MAX / 16)
		return refuse(w, "a persistent id whose number of elements is no such number");
	w->result = (struct made){ .type = 'S', .name = a.name, .numel = n, .grad = a.grad, .size = a.size, .each = 1,
		.complex = str_starts(str_c(a.name), str_c("Complex")) };
	if (a.kind == ALLOWED_UNTYPED)
		w->result.size = 1;
	else if (str_starts(str_c(a.name), str_c("QUInt4x2")) || str_starts(str_c(a.name), str_c("QUInt2x4")))
		w->result.each = a.name[5] == '4' ? 2 : 4;
	return true;
}

/* A key as text; a number gets a byte before it that no text begins with. */
static struct str
key_text(struct weights *w, uint32_t key)
{
	char text[32];

	if (value_is_text(w->m->t, key))
		return value_text(w->m->t, key);
	snprintf(text, sizeof(text), "\xff%lld", (long long)value_int(w->m->t, key));
	return arena_str(vtree_arena(w->m->t), str_c(text));
}

/* torch takes what the first id of a key says; the result may not contradict that. Bytes have two classes. */
static bool
check_known(struct weights *w, uint32_t key)
{
	static const char bytes[] = "ByteStorage";
	struct made now = w->result;
	const struct made *first;
	uint64_t at = 0;

	if (strcmp(now.name, "UntypedStorage") == 0)
		now.name = bytes;
	if (strmap_add(&w->keys, key_text(w, key), w->stored_n)) {
		w->stored = xgrow(w->stored, w->stored_n, &w->stored_cap, sizeof(*w->stored));
		w->stored[w->stored_n++] = now;
		return true;
	}
	strmap_get(&w->keys, key_text(w, key), &at);
	first = &w->stored[at];
	return (first->numel == now.numel && strcmp(first->name, now.name) == 0) ||
	       doubt(w, "a persistent id", "that contradicts an earlier one");
}

/* The view of a legacy id: its key, where it begins, its elements. It limits tensors as a storage does. */
static bool
check_view(struct weights *w, uint32_t view)
{
	const struct vtree *t = w->m->t;
	uint64_t offset = 0, size = 0, end = 0;

	value_u64(t, value_item(t, view, 1), &offset);
	value_u64(t, value_item(t, view, 2), &size);
	if (!num_add(offset, size, &end) || end > w->result.numel)
		return doubt(w, "a persistent id", "with a view beyond its storage");
	w->result.numel = size;
	return check_known(w, value_item(t, view, 0));
}

static bool
check_persid(struct weights *w, uint32_t id)
{
	const struct vtree *t = w->m->t;
	size_t n = value_len(t, id), parts = w->legacy ? 6 : 5;
	uint32_t first = value_item(t, id, 0), key = value_item(t, id, 2), view = value_item(t, id, 5);
	char type = type_of(w, id);

	if (id == VALUE_ABSENT)
		return true;
	if (type == 'i')
		return refuse(w, "a persistent id that is a number: only files in tar format have those");
	if (type != 't')
		return refuse(w, "persistent_load id must be tuple or int, but got %s", type_name(w, id));
	if (type_of(w, first) == 'y' && str_eqc(value_text(t, first), "storage"))
		return doubt(w, "a persistent id", "that begins with bytes");
	if (n == 0 || type_of(w, first) != 's' || !str_eqc(value_text(t, first), "storage"))
		return refuse(w, "Only persistent_load of storage is allowed");
	if (n != parts)
		return refuse(w, "a persistent id of %zu parts instead of %zu", n, parts);
	if ((!value_is_text(t, key) && value_kind(t, key) != VALUE_INT) || type_of(w, value_item(t, id, 3)) != 's')
		return doubt(w, "a persistent id", "with such a key or place");
	if (w->legacy && strchr("Nt", type_of(w, view)) == NULL)
		return refuse(w, "a persistent id whose view is a %s", type_name(w, view));
	if (w->legacy && type_of(w, view) == 't' && !match(w, "suu", view))
		return doubt(w, "a persistent id", "with such a view");
	return check_storage(w, value_item(t, id, 1), value_item(t, id, 4)) && check_known(w, key) &&
	       (!w->legacy || type_of(w, view) != 't' || check_view(w, view));
}

/* What the unpickler has no branch for. */
static bool
check_opcode(struct weights *w)
{
	static const uint8_t known[] = { OP_PROTO, OP_STOP, OP_MARK, OP_TUPLE, OP_TUPLE1, OP_TUPLE2, OP_TUPLE3, OP_NONE,
		OP_NEWFALSE, OP_NEWTRUE, OP_EMPTY_TUPLE, OP_EMPTY_LIST, OP_EMPTY_DICT, OP_EMPTY_SET, OP_BININT, OP_BININT1,
		OP_BININT2, OP_LONG1, OP_BINFLOAT, OP_BINUNICODE, OP_SHORT_BINSTRING, OP_APPEND, OP_APPENDS, OP_SETITEM,
		OP_SETITEMS, OP_BINPUT, OP_LONG_BINPUT, OP_BINGET, OP_LONG_BINGET, OP_GLOBAL, OP_REDUCE, OP_NEWOBJ, OP_BUILD,
		OP_BINPERSID };
	const char *name = w->m->name;

	if (memchr(known, w->m->in.op, sizeof(known)) != NULL)
		return true;
	return refuse(w, "Unsupported operand %u%s%s%s", w->m->in.op, name ? " (" : "", name ? name : "", name ? ")" : "");
}

static bool
check_before(struct weights *w, struct pickle_machine *m)
{
	uint32_t pair[2];

	w->m = m;
	w->result = (struct made){ .type = 0 };
	if (w->unknown)
		return check_opcode(w);
	pair[0] = top(w, 1);
	pair[1] = top(w, 0);
	switch (w->m->in.op) {
	case OP_APPEND: return check_append(w, top(w, 1));
	case OP_APPENDS: return check_append(w, below_mark(w));
	case OP_SETITEM: return check_set_item(w, top(w, 2), pair, 2);
	case OP_SETITEMS: return check_set_item(w, below_mark(w), w->m->stack + w->m->fence, w->m->depth - w->m->fence);
	case OP_BUILD: return check_build(w, pair[0], pair[1]);
	case OP_REDUCE: return pair[0] == VALUE_ABSENT || call(w, pair[0], pair[1]);
	case OP_NEWOBJ: return pair[0] == VALUE_ABSENT || check_newobj(w, pair[0]);
	case OP_BINPERSID: return check_persid(w, pair[1]);
	default: return check_opcode(w);
	}
}

/* ---- after the opcode */

static bool
check_global(struct weights *w, uint32_t h)
{
	struct pickle_allowed a;
	char path[PICKLE_GLOBAL_TEXT];

	if (is_allowed(w, h, &a))
		return true;
	pickle_python3(value_module(w->m->t, h), value_name(w->m->t, h), path);
	if (a.blocked)
		return refuse(w, "GLOBAL %s, whose module is blocked", path);
	if (a.import != NULL)
		return refuse(w, "GLOBAL %s is allowed only where %s was imported", path, a.import);
	return refuse(w, "GLOBAL %s was not an allowed global by default", path);
}

/* The index of a leaf for the result. What many leaves stand for is stored once every few storages. */
static uint32_t
made_index(struct weights *w)
{
	size_t i = w->made_n > 8 ? w->made_n - 8 : 0;

	for (; i < w->made_n && w->result.type != 'S'; i++)
		if (w->made[i].type == w->result.type && w->made[i].grad == w->result.grad && w->made[i].name == w->result.name)
			return (uint32_t)i;
	w->made = xgrow(w->made, w->made_n, &w->made_cap, sizeof(*w->made));
	w->made[w->made_n] = w->result;
	return (uint32_t)w->made_n++;
}

static bool
check_after(struct weights *w, struct pickle_machine *m)
{
	uint32_t *last = m->depth > m->fence ? &m->stack[m->depth - 1] : NULL;

	if (last == NULL)
		return true;
	w->m = m;
	if (w->result.type != 0 && strchr("deyY", w->result.type) == NULL)
		*last = value_new_leaf(m->t, LEAF_TENSOR, made_index(w));
	else if (w->result.type != 0 && type_of(w, *last) != w->result.type)
		return doubt(w, "a text", "in such an encoding");
	if (m->in.op == OP_GLOBAL)
		return check_global(w, *last);
	if (m->in.op == OP_SHORT_BINSTRING && !utf8_valid(value_text(m->t, *last)))
		return refuse(w, "a string that is not UTF-8");
	return true;
}

/* ---- the scan */

/* One pickle of the row. */
struct scanner {
	struct pickle_scan *s;
	struct weights w;
	struct err *e;       /* of the callback */
	unsigned pickle;
	bool failed;         /* the callback said so */
	bool judge;          /* the first pickle, and torch may still be reading */
	bool computed;       /* the STACK_GLOBAL that is executed has operands that are no texts */
};

/* torch stops here; or it does what we do not know, and might stop at what is behind. */
static void
stop_judging(struct scanner *c, uint64_t off, const char *why, bool unknown)
{
	c->judge = unknown;
	c->s->loads = false;
	c->s->unknown = unknown;
	c->s->why_off = off;
	snprintf(c->s->why, sizeof(c->s->why), "%.*s", (int)sizeof(c->s->why) - 1, why);
}

static void
before(void *arg, struct pickle_machine *m)
{
	struct scanner *c = arg;

	c->computed = m->in.op == OP_STACK_GLOBAL &&
		      (m->depth - m->fence < 2 || !value_is_text(m->t, m->stack[m->depth - 1]) ||
			      !value_is_text(m->t, m->stack[m->depth - 2]));
	m->passed_over[0] = '\0';
	if (c->judge && !check_before(&c->w, m))
		stop_judging(c, m->in.op_off, c->w.why, c->w.unknown);
}

static int
report(struct scanner *c, const struct pickle_machine *m, enum pickle_ref ref)
{
	struct pickle_found f = { value_module(m->t, m->named), value_name(m->t, m->named), m->in.op_off, GLOBAL_UNSAFE, ref,
		c->pickle };

	if (c->s->found == NULL)
		return 0;
	if (ref == REF_COMPUTED)
		f.module = f.name = str_n("", 0);
	else
		f.verdict = pickle_verdict(f.module, f.name);
	return c->s->found(c->s->arg, &f, c->e);
}

/* Where the machine was lenient torch is not: these opcodes leave it no way on. */
static bool
fatal(uint8_t op)
{
	return op == OP_BINGET || op == OP_LONG_BINGET || op == OP_GLOBAL;
}

static int
after(void *arg, struct pickle_machine *m)
{
	struct scanner *c = arg;
	int rc = 0;

	if (m->in.op == OP_GLOBAL)
		rc = report(c, m, REF_GLOBAL);
	else if (m->in.op == OP_STACK_GLOBAL)
		rc = report(c, m, c->computed ? REF_COMPUTED : REF_STACK_GLOBAL);
	else if (m->in.op == OP_INST)
		rc = report(c, m, REF_INST);
	c->failed = rc < 0;
	if (rc == 0 && c->judge && !c->w.unknown && m->passed_over[0] != '\0' && fatal(m->in.op))
		stop_judging(c, m->in.op_off, m->passed_over, false);
	if (rc == 0 && c->judge && !check_after(&c->w, m))
		stop_judging(c, m->in.op_off, c->w.why, c->w.unknown);
	return rc;
}

/* The result of a damaged pickle. */
static void
report_damage(struct scanner *c, uint64_t off, const char *damage)
{
	struct pickle_scan *s = c->s;

	s->broken = true;
	snprintf(s->damage, sizeof(s->damage), "%.*s", (int)sizeof(s->damage) - 1, damage);
	if (c->judge)
		stop_judging(c, off, damage, false);
}

/*
 * Scans one pickle; place->end is where it ended or broke off. 1 if it has a STOP; 0 if it is damaged; -1 on error.
 */
static int
scan_one(struct pickle_scan *s, struct pickle_place *place, unsigned number, struct err *e)
{
	struct vtree *t = vtree_new();
	struct scanner c = { .s = s, .e = e, .pickle = number, .judge = number == 0,
		.w = { .legacy = s->legacy, .keys = STRMAP_INIT } };
	struct pickle_hooks hooks = { .before = before, .after = after, .arg = &c, .lenient = true };
	uint32_t root;
	struct err damage = ERR_INIT;
	int rc;

	rc = pickle_decode(t, place, &hooks, &root, &damage) == 0;
	if (damage.code == ERR_SYSTEM)
		*e = damage;
	if (damage.code == ERR_SYSTEM || c.failed)
		rc = -1;
	else if (rc == 0 && number == 0)
		report_damage(&c, place->end, damage.msg);
	free(c.w.made);
	free(c.w.stored);
	strmap_release(&c.w.keys);
	vtree_free(t);
	return rc;
}

/* The bytes behind the first pickle: how many, and what pickles they begin with. */
static int
scan_rest(struct pickle_scan *s, struct source *src, uint64_t limit, struct err *e)
{
	struct pickle_place place = { .src = src, .off = s->end };
	int rc = 1;

	if (limit == UINT64_MAX && source_size(src, &limit, e) < 0)
		return -1;
	place.limit = limit;
	s->extra = limit > s->end ? limit - s->end : 0;
	while (rc == 1 && place.off < limit) {
		rc = scan_one(s, &place, s->more + 1, e);
		place.off = place.end;
		s->more += rc == 1;
	}
	return rc < 0 ? -1 : 0;
}

int
pickle_scan(struct pickle_scan *s, struct source *src, uint64_t off, uint64_t limit, struct err *e)
{
	struct pickle_place place = { .src = src, .off = off, .limit = limit };
	int rc;

	s->loads = true;
	s->unknown = s->broken = false;
	s->why[0] = s->damage[0] = '\0';
	s->why_off = s->extra = 0;
	s->more = 0;
	rc = scan_one(s, &place, 0, e);
	s->end = place.end;
	if (rc <= 0 || !s->rest)
		return rc < 0 ? -1 : 0;
	return scan_rest(s, src, limit, e);
}
