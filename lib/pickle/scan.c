/*
 * Would torch's weights_only unpickler take the pickle? The scan looks at a machine's stack before an opcode is executed,
 * and puts in place of what a call would return a leaf that says what that is.
 *
 * The rules are those of Unpickler.load in torch/_weights_only_unpickler.py (PyTorch 2.6 to 2.13) and of
 * persistent_load in torch/serialization.py, checked against PyTorch 2.13 by tests/torch/test_pickle_scan.py.
 */
#include "pickle/scan.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/num.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "pickle/machine.h"

/* What a value is to Python. The first follow enum value_kind. */
enum pytype {
	PY_NONE,
	PY_BOOL,
	PY_INT,
	PY_FLOAT,
	PY_STR,
	PY_BYTES,
	PY_BYTEARRAY,
	PY_TUPLE,
	PY_LIST,
	PY_DICT,
	PY_ORDERED,
	PY_SET,
	PY_FROZENSET,
	PY_GLOBAL,
	PY_OTHER,
	/* made by calls */
	PY_STORAGE,
	PY_TENSOR,
	PY_PARAMETER,
	PY_COUNTER,
	PY_COMPLEX,
	PY_SIZE,
	PY_DEVICE,
	PY_LAYOUT,
};

struct weights_storage {
	uint64_t numel;
	unsigned size;
	bool grad, complex;
	unsigned each; /* elements a byte holds, of types smaller than one; else 1 */
};

/* Globals looked up recently, by node: a checkpoint calls the same few for every tensor. */
enum { WEIGHTS_RECENT = 16 };

struct weights {
	struct pickle_machine *m; /* of the present opcode */
	unsigned wraps;        /* calls within calls that are being looked at */
	bool legacy;           /* ids of the legacy stream: six parts */
	struct weights_storage *storages;
	size_t storages_n, storages_cap;
	uint32_t *sizes;       /* tuples that became torch.Size */
	size_t sizes_n, sizes_cap;
	uint32_t made_size;    /* the one that is being made; VALUE_ABSENT: longer than any shape */
	struct weights_storage asked; /* by the persistent id that is being looked at */
	enum pytype made;       /* what the opcode will leave on the stack; PY_OTHER: what the machine leaves */
	bool made_grad;        /* a tensor of floating or complex elements */
	char why[512];         /* of the first refusal */
	char path[PICKLE_GLOBAL_TEXT];
	struct {
		uint32_t node; /* 0: none */
		struct pickle_allowed allowed;
	} recent[WEIGHTS_RECENT];
};

static bool call(struct weights *w, uint32_t callable, uint32_t args);
static bool new_object(struct weights *w, uint32_t callable, uint32_t args);
static bool set_storage(struct weights *w, uint32_t state);

/* The arguments of one call. */
struct weights_call {
	struct weights *w;
	uint32_t args;
	size_t n;
};

/*
 * Leaves that stand for what calls made: index is the type, with this bit for a tensor that can have gradients; of a
 * torch.Size, above it, the place in sizes, counted from 1.
 */
enum { LEAF_GRAD = 0x100, LEAF_SIZE = 9, LEAF_SIZES_MAX = 1 << 22 };

/* Parts of a tuple that are looked at to see whether it can be a key. */
enum { HASH_WORK = 10000 };

static void
weights_init(struct weights *w, bool legacy)
{
	*w = (struct weights){ .legacy = legacy, .made = PY_OTHER };
}

static void
weights_release(struct weights *w)
{
	free(w->storages);
	free(w->sizes);
}

/* Sets why; returns false. */
__attribute__((format(printf, 2, 3))) static bool
refuse(struct weights *w, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(w->why, sizeof(w->why), fmt, ap);
	va_end(ap);
	return false;
}

/* ---- values */

static enum pytype
type_of(const struct weights *w, uint32_t h)
{
	const struct vtree *t = w->m->t;
	uint32_t index = 0;

	switch (value_kind(t, h)) {
	case VALUE_NONE: return PY_NONE;
	case VALUE_BOOL: return PY_BOOL;
	case VALUE_INT:
	case VALUE_BIGINT: return PY_INT;
	case VALUE_FLOAT: return PY_FLOAT;
	case VALUE_STR:
	case VALUE_PYSTR: return PY_STR;
	case VALUE_BYTES: return PY_BYTES;
	case VALUE_BYTEARRAY: return PY_BYTEARRAY;
	case VALUE_TUPLE: return PY_TUPLE;
	case VALUE_LIST: return PY_LIST;
	case VALUE_DICT: return value_ordered(t, h) ? PY_ORDERED : PY_DICT;
	case VALUE_SET: return PY_SET;
	case VALUE_FROZENSET: return PY_FROZENSET;
	case VALUE_GLOBAL: return PY_GLOBAL;
	case VALUE_LEAF: return value_leaf(t, h, &index) == LEAF_STORAGE ? PY_STORAGE : (enum pytype)(index & 0xff);
	case VALUE_OBJECT:
	case VALUE_PERSID: break;
	}
	return PY_OTHER;
}

/* Python's name of its type, for messages. */
static const char *
type_name(const struct weights *w, uint32_t h)
{
	static const char *const names[] = { "NoneType", "bool", "int", "float", "str", "bytes", "bytearray", "tuple", "list",
		"dict", "collections.OrderedDict", "set", "frozenset", "a global", "an object", "torch.storage.TypedStorage",
		"torch.Tensor", "torch.nn.parameter.Parameter", "collections.Counter", "complex", "torch.Size", "torch.device",
		"torch.layout" };

	return names[type_of(w, h)];
}

/* A tensor whose elements can have gradients? */
static bool
has_grad(const struct weights *w, uint32_t h)
{
	uint32_t index = 0;

	return value_leaf(w->m->t, h, &index) == LEAF_TENSOR && (index & LEAF_GRAD) != 0;
}

/* What a torch.Size was made of, VALUE_ABSENT if that is not known; what is no torch.Size itself. */
static uint32_t
parts_of(const struct weights *w, uint32_t h)
{
	uint32_t index = 0;

	if (type_of(w, h) != PY_SIZE)
		return h;
	value_leaf(w->m->t, h, &index);
	return index >> LEAF_SIZE == 0 ? VALUE_ABSENT : w->sizes[(index >> LEAF_SIZE) - 1];
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

/* The name as torch has it; borrowed until the next call. */
static const char *
global_name(struct weights *w, uint32_t h)
{
	pickle_python3(value_module(w->m->t, h), value_name(w->m->t, h), w->path);
	return w->path;
}

static bool
hashable(const struct weights *w, uint32_t h, unsigned *work)
{
	size_t n = value_len(w->m->t, h);

	switch (type_of(w, h)) {
	case PY_LIST:
	case PY_DICT:
	case PY_ORDERED:
	case PY_SET:
	case PY_BYTEARRAY:
	case PY_COUNTER: return false;
	case PY_TUPLE:
		for (size_t i = 0; i < n && *work != 0; i++) {
			--*work;
			if (!hashable(w, value_item(w->m->t, h, i), work))
				return false;
		}
		return true;
	default: return true;
	}
}

/* Can it be a key? */
static bool
is_hashable(const struct weights *w, uint32_t h)
{
	unsigned work = HASH_WORK;

	return hashable(w, h, &work);
}

/* ---- the stack as it is before the opcode */

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

/* ---- opcodes */

static bool
check_append(struct weights *w, uint32_t target)
{
	if (target == VALUE_ABSENT || type_of(w, target) == PY_LIST)
		return true;
	return refuse(w, "Can only %s lists, but got %s", w->m->in.op == OP_APPEND ? "append to" : "extend",
		type_name(w, target));
}

static bool
check_set_item(struct weights *w, uint32_t target, const uint32_t *pairs, size_t n)
{
	enum pytype type = type_of(w, target);

	if (target == VALUE_ABSENT)
		return true;
	if (type != PY_DICT && type != PY_ORDERED && type != PY_COUNTER)
		return refuse(w, "Can only %s for dict, collections.OrderedDict, collections.Counter, but got %s",
			pickle_opname(w->m->in.op), type_name(w, target));
	for (size_t i = 0; i < n; i += 2)
		if (!is_hashable(w, pairs[i]))
			return refuse(w, "a %s cannot be the key of a dict", type_name(w, pairs[i]));
	return true;
}

/* False to Python, among what can be told. */
static bool
is_empty(const struct weights *w, uint32_t h)
{
	enum pytype type = type_of(w, h);

	switch (type) {
	case PY_NONE: return true;
	case PY_BOOL: return !value_bool(w->m->t, h);
	case PY_INT: return value_kind(w->m->t, h) == VALUE_INT && value_int(w->m->t, h) == 0;
	case PY_FLOAT: return value_float(w->m->t, h) == 0;
	case PY_STR:
	case PY_BYTES: return value_text(w->m->t, h).len == 0;
	default: return type >= PY_TUPLE && type <= PY_FROZENSET && value_len(w->m->t, h) == 0;
	}
}

static bool
is_mapping(const struct weights *w, uint32_t h)
{
	enum pytype type = type_of(w, h);

	return type == PY_DICT || type == PY_ORDERED || type == PY_COUNTER;
}

/* set_(*state), which takes no arguments as well; __setstate__(state) of a Parameter does not. */
static bool
check_build_tensor(struct weights *w, uint32_t target, uint32_t state)
{
	enum pytype is = type_of(w, state);

	if (type_of(w, target) == PY_TENSOR && is >= PY_STR && is_empty(w, state))
		return true;
	if (is != PY_TUPLE || value_len(w->m->t, state) != 4)
		return refuse(w, "the state of a tensor is not (storage, offset, size, stride)");
	return set_storage(w, state);
}

static bool
check_build(struct weights *w)
{
	uint32_t state = top(w, 0), target = top(w, 1);
	enum pytype is = type_of(w, state);

	if (target == VALUE_ABSENT)
		return true;
	switch (type_of(w, target)) {
	case PY_ORDERED:
		if (is_mapping(w, state) || ((is == PY_TUPLE || is == PY_LIST) && value_len(w->m->t, state) == 0))
			return true;
		return refuse(w, "the state of an OrderedDict is a %s", type_name(w, state));
	case PY_TENSOR:
	case PY_PARAMETER: return check_build_tensor(w, target, state);
	case PY_COUNTER:
		if (is_mapping(w, state) || is_empty(w, state))
			return true;
		return refuse(w, "the state of a Counter is a %s", type_name(w, state));
	case PY_SET:
	case PY_BYTEARRAY:
	case PY_COMPLEX:
	case PY_SIZE:
	case PY_DEVICE:
		if (is_empty(w, state))
			return true;
		return refuse(w, "a %s can have no state", type_name(w, target));
	default:
		return refuse(w, "Can only build Tensor, Parameter, OrderedDict or types allowlisted via "
				     "`add_safe_globals`, but got %s", type_name(w, target));
	}
}

static bool
is_storage_word(const struct weights *w, uint32_t h)
{
	enum pytype type = type_of(w, h);

	return (type == PY_STR || type == PY_BYTES) && str_eqc(value_text(w->m->t, h), "storage");
}

/* The class and the count of a persistent id, into asked. */
static bool
check_storage(struct weights *w, uint32_t class, uint32_t numel)
{
	struct pickle_allowed a;
	uint64_t n;

	is_allowed(w, class, &a);
	if (a.kind == ALLOWED_UNTYPED && w->legacy)
		return refuse(w, "a storage without element type, which torch does not read from legacy files");
	if (a.kind == ALLOWED_UNTYPED)
		w->asked = (struct weights_storage){ .size = 1, .each = 1 };
	else if (a.kind == ALLOWED_STORAGE)
		w->asked = (struct weights_storage){ .size = a.size, .grad = a.grad,
			.complex = str_starts(str_c(a.name), str_c("Complex")),
			.each = strcmp(a.name, "QUInt4x2Storage") == 0 ? 2 : strcmp(a.name, "QUInt2x4Storage") == 0 ? 4 : 1 };
	else
		return refuse(w, "a persistent id whose second part is no class of storages");
	if (!value_u64(w->m->t, numel, &n) || n > INT64_MAX / 16)
		return refuse(w, "a persistent id whose number of elements is no such number");
	w->asked.numel = n;
	return true;
}

static bool
check_persid(struct weights *w)
{
	const struct vtree *t = w->m->t;
	uint32_t id = top(w, 0);
	size_t n = value_len(t, id), want = w->legacy ? 6 : 5;
	enum pytype type = type_of(w, id);

	if (id == VALUE_ABSENT)
		return true;
	if (type != PY_TUPLE && type != PY_INT)
		return refuse(w, "persistent_load id must be tuple or int, but got %s", type_name(w, id));
	if (type == PY_INT)
		return refuse(w, "a persistent id that is a number: only files in tar format have those");
	if (n == 0 || !is_storage_word(w, value_item(t, id, 0)))
		return refuse(w, "Only persistent_load of storage is allowed");
	if (n != want)
		return refuse(w, "a persistent id of %zu parts instead of %zu", n, want);
	if (!is_hashable(w, value_item(t, id, 2)))
		return refuse(w, "a persistent id whose key is a %s", type_name(w, value_item(t, id, 2)));
	if (w->legacy && type_of(w, value_item(t, id, 5)) != PY_NONE &&
	    (type_of(w, value_item(t, id, 5)) != PY_TUPLE || value_len(t, value_item(t, id, 5)) != 3))
		return refuse(w, "a persistent id whose view is a %s", type_name(w, value_item(t, id, 5)));
	if (!check_storage(w, value_item(t, id, 1), value_item(t, id, 4)))
		return false;
	w->made = PY_STORAGE;
	return true;
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
	const char *name = pickle_opname(w->m->in.op);

	if (memchr(known, w->m->in.op, sizeof(known)) != NULL)
		return true;
	return refuse(w, "Unsupported operand %u%s%s%s", w->m->in.op, name ? " (" : "", name ? name : "", name ? ")" : "");
}

static bool
check_before(struct weights *w, struct pickle_machine *m)
{
	uint32_t pair[2];

	w->m = m;
	w->made = PY_OTHER;
	w->made_grad = false;
	pair[0] = top(w, 1);
	pair[1] = top(w, 0);
	switch (w->m->in.op) {
	case OP_APPEND: return check_append(w, top(w, 1));
	case OP_APPENDS: return check_append(w, below_mark(w));
	case OP_SETITEM: return check_set_item(w, top(w, 2), pair, 2);
	case OP_SETITEMS: return check_set_item(w, below_mark(w), w->m->stack + w->m->fence, w->m->depth - w->m->fence);
	case OP_BUILD: return check_build(w);
	case OP_REDUCE: return pair[0] == VALUE_ABSENT || call(w, pair[0], pair[1]);
	case OP_NEWOBJ: return pair[0] == VALUE_ABSENT || new_object(w, pair[0], pair[1]);
	case OP_BINPERSID: return check_persid(w);
	default: return check_opcode(w);
	}
}

/* ---- after the opcode */

static bool
check_global(struct weights *w, uint32_t h)
{
	struct pickle_allowed a;
	const char *path;

	if (is_allowed(w, h, &a))
		return true;
	path = global_name(w, h);
	if (a.blocked)
		return refuse(w, "GLOBAL %s, whose module is blocked", path);
	if (a.import != NULL)
		return refuse(w, "GLOBAL %s is allowed only where %s was imported", path, a.import);
	return refuse(w, "GLOBAL %s was not an allowed global by default", path);
}

static uint32_t
made_leaf(struct weights *w)
{
	if (w->made == PY_SIZE && w->made_size != VALUE_ABSENT && w->sizes_n < LEAF_SIZES_MAX) {
		w->sizes = xgrow(w->sizes, w->sizes_n, &w->sizes_cap, sizeof(*w->sizes));
		w->sizes[w->sizes_n++] = w->made_size;
		return value_new_leaf(w->m->t, LEAF_TENSOR, PY_SIZE | (uint32_t)w->sizes_n << LEAF_SIZE);
	}
	if (w->made != PY_STORAGE)
		return value_new_leaf(w->m->t, LEAF_TENSOR, (uint32_t)w->made | (w->made_grad ? LEAF_GRAD : 0));
	w->storages = xgrow(w->storages, w->storages_n, &w->storages_cap, sizeof(*w->storages));
	w->storages[w->storages_n] = w->asked;
	return value_new_leaf(w->m->t, LEAF_STORAGE, (uint32_t)w->storages_n++);
}

static bool
check_after(struct weights *w, struct pickle_machine *m)
{
	uint32_t *last = m->depth > m->fence ? &m->stack[m->depth - 1] : NULL;
	enum value_kind kind;

	if (last == NULL)
		return true;
	w->m = m;
	kind = value_kind(m->t, *last);
	/* What the machine makes plain data of, better stays that. */
	if (w->made != PY_OTHER && (kind == VALUE_OBJECT || kind == VALUE_PERSID))
		*last = made_leaf(w);
	if (m->in.op == OP_GLOBAL)
		return check_global(w, *last);
	if (m->in.op == OP_SHORT_BINSTRING && !utf8_valid(value_text(m->t, *last)))
		return refuse(w, "a string that is not UTF-8");
	return true;
}

static uint32_t
arg(const struct weights_call *c, size_t i)
{
	return value_item(c->w->m->t, c->args, i);
}

static enum pytype
type_at(const struct weights_call *c, size_t i)
{
	return i < c->n ? type_of(c->w, arg(c, i)) : PY_OTHER;
}

static bool
sequence(enum pytype type)
{
	return type == PY_TUPLE || type == PY_LIST;
}

/* A call of a kind that torch.save never writes: it fails, or nobody can tell. */
static bool
bad_arguments(const struct weights_call *c, const char *name)
{
	return refuse(c->w, "%s with arguments that it does not take", name);
}

static bool
gives(const struct weights_call *c, enum pytype type, bool grad)
{
	c->w->made = type;
	c->w->made_grad = grad;
	return true;
}

/* ---- sizes */

/* A list or tuple of integers, not negative, or a torch.Size of such. */
static bool
sizes(const struct weights_call *c, size_t i)
{
	const struct vtree *t = c->w->m->t;
	uint32_t h = parts_of(c->w, arg(c, i));
	uint64_t v;

	if (type_at(c, i) == PY_SIZE && h == VALUE_ABSENT)
		return true;
	if (type_at(c, i) != PY_SIZE && !sequence(type_at(c, i)))
		return false;
	for (size_t j = 0; j < value_len(t, h); j++)
		if (!value_u64(t, value_item(t, h, j), &v) || v > INT64_MAX)
			return false;
	return true;
}

/* What torch.Size made of a sequence: a list is copied, for it may grow; VALUE_ABSENT is one that is longer than any shape. */
static uint32_t
frozen(const struct weights_call *c, uint32_t h)
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
call_size(struct weights_call *c)
{
	struct vtree *t = c->w->m->t;
	bool good = c->n == 0 || (c->n == 1 && (type_at(c, 0) == PY_SIZE || sequence(type_at(c, 0))));
	uint32_t h = c->n == 0 ? value_new_tuple(t, NULL, 0) : parts_of(c->w, arg(c, 0));
	enum pytype part;

	for (size_t i = 0; good && h != VALUE_ABSENT && i < value_len(t, h); i++) {
		part = type_of(c->w, value_item(t, h, i));
		good = part == PY_INT || part == PY_BOOL;
	}
	c->w->made_size = good ? frozen(c, h) : VALUE_ABSENT;
	return good ? gives(c, PY_SIZE, false) : bad_arguments(c, "torch.Size");
}

/* ---- tensors */

static bool
is_tensor(enum pytype type)
{
	return type == PY_TENSOR || type == PY_PARAMETER;
}

static bool
dtype_of(const struct weights_call *c, size_t i, struct pickle_allowed *a)
{
	return is_allowed(c->w, arg(c, i), a) && a->kind == ALLOWED_DTYPE;
}

/* Do the elements of a tensor (storage, offset, size, stride, all from argument 0 on) lie within its storage? */
static bool
inside(const struct weights_call *c, const struct weights_storage *s, unsigned size)
{
	const struct vtree *t = c->w->m->t;
	uint64_t last, n, stride, bytes, row = 1;
	uint32_t shape = parts_of(c->w, arg(c, 2)), steps = parts_of(c->w, arg(c, 3));
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
gradient(const struct weights_call *c, size_t i, bool grad)
{
	if (type_at(c, i) != PY_BOOL)
		return refuse(c->w, "requires_grad is a %s", type_name(c->w, arg(c, i)));
	if (value_bool(c->w->m->t, arg(c, i)) && !grad)
		return refuse(c->w, "only Tensors of floating point dtype can require gradients");
	return true;
}

/* Nothing, or what is known: {'conj': True}, of complex elements only, {'neg': True}. */
static bool
metadata(const struct weights_call *c, size_t i, bool complex)
{
	const struct vtree *t = c->w->m->t;
	bool good = true;

	if (i >= c->n || is_empty(c->w, arg(c, i)))
		return true;
	if (type_at(c, i) != PY_DICT && type_at(c, i) != PY_ORDERED)
		return false;
	for (size_t j = 0; good && j < value_len(t, arg(c, i)); j++) {
		uint32_t key = value_key(t, arg(c, i), j), value = value_val(t, arg(c, i), j);

		good = type_of(c->w, key) == PY_STR && value_kind(t, value) == VALUE_BOOL &&
		       (complex || !value_bool(t, value) || !str_eqc(value_text(t, key), "conj"));
	}
	return good;
}

/* _rebuild_tensor and its kin; dtype is the index of that argument, 0 if the storage says it. */
static bool
rebuild(struct weights_call *c, const char *name, size_t least, size_t most, size_t dtype)
{
	struct pickle_allowed a = { .kind = ALLOWED_NOT };
	const struct weights_storage *s;
	uint32_t index = 0;
	bool complex;

	if (c->n < least || c->n > most || type_at(c, 0) != PY_STORAGE || type_at(c, 1) != PY_INT || !sizes(c, 2) || !sizes(c, 3))
		return bad_arguments(c, name);
	if (dtype != 0 && !dtype_of(c, dtype, &a))
		return bad_arguments(c, name);
	value_leaf(c->w->m->t, arg(c, 0), &index);
	s = &c->w->storages[index];
	if (dtype == 0) {
		a.size = s->size;
		a.grad = s->grad;
	}
	if (!inside(c, s, a.size))
		return refuse(c->w, "%s: the tensor does not lie within its storage", name);
	if (least > 4 && !gradient(c, 4, a.grad))
		return false;
	/* It makes an empty tensor with gradients, which then may not be given its storage. */
	if (dtype != 0 && value_bool(c->w->m->t, arg(c, 4)))
		return refuse(c->w, "%s: a leaf Variable that requires grad is being used in an in-place operation", name);
	complex = dtype == 0 ? s->complex : str_starts(str_c(a.name), str_c("complex"));
	if (most > 6 && !metadata(c, most - 1, complex))
		return bad_arguments(c, name);
	return gives(c, PY_TENSOR, a.grad);
}

/* tensor.set_(*state) with storage, offset, size and stride; makes nothing. */
static bool
set_storage(struct weights *w, uint32_t state)
{
	struct weights_call c = { w, state, value_len(w->m->t, state) };
	bool good = rebuild(&c, "Tensor.set_", 4, 4, 0);

	w->made = PY_OTHER;
	return good;
}

/* Parameter(data, requires_grad), whose requires_grad is true unless said otherwise. */
static bool
parameter(struct weights_call *c, const char *name, size_t least, size_t most)
{
	bool grad = has_grad(c->w, arg(c, 0)) || type_at(c, 0) == PY_NONE;

	if (c->n < least || c->n > most || (c->n > 0 && !is_tensor(type_at(c, 0)) && type_at(c, 0) != PY_NONE))
		return bad_arguments(c, name);
	if (c->n > 0 && c->n < 2 && !grad)
		return refuse(c->w, "only Tensors of floating point dtype can require gradients");
	if (c->n > 1 && !gradient(c, 1, grad))
		return false;
	return gives(c, PY_PARAMETER, grad || c->n == 0);
}

static bool
state_of(const struct weights_call *c, size_t i)
{
	const struct vtree *t = c->w->m->t;
	enum pytype type = type_at(c, i);

	if (type == PY_TUPLE && value_len(t, arg(c, i)) == 2)
		return true;
	return type == PY_NONE || type == PY_DICT || type == PY_ORDERED;
}

static bool
rebuild_sparse(struct weights_call *c)
{
	const struct vtree *t = c->w->m->t;
	uint32_t data = arg(c, 1);
	size_t n = value_len(t, data);
	bool grad = has_grad(c->w, value_item(t, data, n > 3 ? 2 : 1));

	if (c->n != 2 || type_at(c, 0) != PY_LAYOUT || !sequence(type_at(c, 1)) || (n != 3 && n != 4) ||
	    !is_tensor(type_of(c->w, value_item(t, data, 0))) || !is_tensor(type_of(c->w, value_item(t, data, 1))))
		return bad_arguments(c, "torch._utils._rebuild_sparse_tensor");
	return gives(c, PY_TENSOR, grad || has_grad(c->w, value_item(t, data, 1)));
}

static bool
rebuild_quantised(struct weights_call *c)
{
	const struct vtree *t = c->w->m->t;
	uint32_t how = arg(c, 4), index = 0;
	size_t n = value_len(t, how);
	bool by_tensor = value_is_global(t, value_item(t, how, 0), "torch", "per_tensor_affine");

	if (c->n != 7 || type_at(c, 0) != PY_STORAGE || !sizes(c, 2) || !sizes(c, 3) || type_at(c, 4) != PY_TUPLE ||
	    n != (by_tensor ? 3 : 4) || value_kind(t, value_item(t, how, 0)) != VALUE_GLOBAL)
		return bad_arguments(c, "torch._utils._rebuild_qtensor");
	value_leaf(t, arg(c, 0), &index);
	if (!inside(c, &c->w->storages[index], c->w->storages[index].size))
		return refuse(c->w, "_rebuild_qtensor: the tensor does not lie within its storage");
	return gradient(c, 5, false) && gives(c, PY_TENSOR, false);
}

static bool
rebuild_meta(struct weights_call *c)
{
	struct pickle_allowed a;
	uint32_t shape = parts_of(c->w, arg(c, 1)), strides = parts_of(c->w, arg(c, 2));

	if (c->n != 4 || !dtype_of(c, 0, &a) || !sizes(c, 1) || !sizes(c, 2) ||
	    (shape != VALUE_ABSENT && strides != VALUE_ABSENT && value_len(c->w->m->t, shape) != value_len(c->w->m->t, strides)))
		return bad_arguments(c, "torch._utils._rebuild_meta_tensor_no_storage");
	return gradient(c, 3, a.grad) && gives(c, PY_TENSOR, a.grad);
}

static bool
rebuild_nested(struct weights_call *c)
{
	if (c->w->legacy)
		return refuse(c->w, "a nested tensor, whose sizes torch wants before it has read them from a legacy file");
	for (size_t i = 0; i < 4; i++)
		if (c->n != 4 || !is_tensor(type_at(c, i)))
			return bad_arguments(c, "torch._utils._rebuild_nested_tensor");
	return gives(c, PY_TENSOR, has_grad(c->w, arg(c, 0)));
}

static bool
rebuild_on_device(struct weights_call *c)
{
	struct pickle_allowed a;

	if (c->n != 4 || !is_tensor(type_at(c, 0)) || !dtype_of(c, 1, &a) || type_at(c, 2) != PY_STR)
		return bad_arguments(c, "torch._utils._rebuild_device_tensor_from_cpu_tensor");
	return gradient(c, 3, a.grad) && gives(c, PY_TENSOR, a.grad);
}

/* func, type, args, state: func(*args) as type, with attributes from state. */
static bool
rebuild_typed(struct weights_call *c)
{
	uint32_t type = arg(c, 1);
	bool good;

	if (c->n != 4 || type_at(c, 0) != PY_GLOBAL || type_at(c, 1) != PY_GLOBAL || type_at(c, 2) != PY_TUPLE || !state_of(c, 3))
		return bad_arguments(c, "torch._tensor._rebuild_from_type_v2");
	/* One that calls another of its kind is never written, and could go on for as long as the file is. */
	if (c->w->wraps == TENSOR_WRAPS_MAX)
		return refuse(c->w, "a tensor in more than %d calls of _rebuild_from_type_v2", TENSOR_WRAPS_MAX);
	c->w->wraps++;
	good = call(c->w, arg(c, 0), arg(c, 2));
	c->w->wraps--;
	if (!good)
		return false;
	if (!is_tensor(c->w->made) || (strcmp(global_name(c->w, type), "torch.Tensor") != 0 &&
					      strcmp(global_name(c->w, type), "torch.nn.parameter.Parameter") != 0))
		return bad_arguments(c, "torch._tensor._rebuild_from_type_v2");
	if (strcmp(global_name(c->w, type), "torch.nn.parameter.Parameter") == 0)
		c->w->made = PY_PARAMETER;
	return true;
}

static bool
call_tensor_class(struct weights_call *c, const struct pickle_allowed *a)
{
	if (a->kind == ALLOWED_DEVICE)
		return refuse(c->w, "%s needs the device that it is for", a->name);
	if (c->n != 0)
		return bad_arguments(c, a->name);
	return gives(c, PY_TENSOR, str_starts(str_c(a->name), str_c("Float")) || str_eqc(str_c(a->name), "Tensor") ||
		str_starts(str_c(a->name), str_c("Double")) || str_starts(str_c(a->name), str_c("Half")) ||
		str_starts(str_c(a->name), str_c("BFloat16")));
}

static bool
call_rebuild(struct weights_call *c, const struct pickle_allowed *a)
{
	struct str name = str_c(a->name);

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
		return state_of(c, 3) ? parameter(c, a->name, 4, 4) : bad_arguments(c, a->name);
	if (str_eqc(name, "Tensor"))
		return call_tensor_class(c, a);
	return bad_arguments(c, a->name);
}

/* ---- plain things */

static bool
all_hashable(const struct weights_call *c, uint32_t list)
{
	for (size_t i = 0; i < value_len(c->w->m->t, list); i++)
		if (!is_hashable(c->w, value_item(c->w->m->t, list, i)))
			return false;
	return true;
}

/* OrderedDict(), OrderedDict(pairs), OrderedDict(dict). */
static bool
call_ordered(struct weights_call *c)
{
	const struct vtree *t = c->w->m->t;
	uint32_t pair;

	if (c->n == 1 && (type_at(c, 0) == PY_DICT || type_at(c, 0) == PY_ORDERED || type_at(c, 0) == PY_COUNTER))
		return gives(c, PY_ORDERED, false);
	if (c->n > 1 || (c->n == 1 && !sequence(type_at(c, 0))))
		return bad_arguments(c, "OrderedDict");
	for (size_t i = 0; c->n == 1 && i < value_len(t, arg(c, 0)); i++) {
		pair = value_item(t, arg(c, 0), i);
		if (!sequence(type_of(c->w, pair)) || value_len(t, pair) != 2 ||
		    !is_hashable(c->w, value_item(t, pair, 0)))
			return bad_arguments(c, "OrderedDict");
	}
	return gives(c, PY_ORDERED, false);
}

static bool
call_counter(struct weights_call *c)
{
	enum pytype type = type_at(c, 0);

	if (c->n == 0 || (c->n == 1 && (type == PY_DICT || type == PY_ORDERED || type == PY_COUNTER ||
					       type == PY_STR || type == PY_BYTES || type == PY_NONE)))
		return gives(c, PY_COUNTER, false);
	if (c->n == 1 && (sequence(type) || type == PY_SET) && all_hashable(c, arg(c, 0)))
		return gives(c, PY_COUNTER, false);
	return bad_arguments(c, "Counter");
}

static bool
call_set(struct weights_call *c)
{
	enum pytype type = type_at(c, 0);

	if (c->n == 0)
		return gives(c, PY_SET, false);
	if (c->n == 1 && sequence(type) && all_hashable(c, arg(c, 0)))
		return gives(c, PY_SET, false);
	if (c->n == 1 && (type == PY_SET || type == PY_DICT || type == PY_ORDERED || type == PY_STR ||
				 type == PY_BYTES || type == PY_COUNTER))
		return gives(c, PY_SET, false);
	return bad_arguments(c, "set");
}

static bool
is_text_of(const struct weights_call *c, size_t i, const char *const *list, size_t n)
{
	struct str s = value_text(c->w->m->t, arg(c, i));

	for (size_t j = 0; type_at(c, i) == PY_STR && j < n; j++)
		if (str_eqc_nocase(s, list[j]))
			return true;
	return false;
}

/* Can the text be encoded so? Only the few encodings that are written are known here. */
static bool
encodable(const struct weights_call *c, size_t text, size_t encoding)
{
	static const char *const utf8[] = { "utf-8", "utf8" };
	static const char *const latin[] = { "latin1", "latin-1", "iso-8859-1", "iso8859-1" };
	static const char *const ascii[] = { "ascii", "us-ascii" };
	struct str s = value_text(c->w->m->t, arg(c, text));
	bool is_utf8 = encoding >= c->n || is_text_of(c, encoding, utf8, 2), is_latin = is_text_of(c, encoding, latin, 4);

	if (type_at(c, text) != PY_STR || (!is_utf8 && !is_latin && !is_text_of(c, encoding, ascii, 2)))
		return false;
	for (size_t i = 0; i < s.len; i++) {
		uint8_t b = (uint8_t)s.p[i];

		if (is_utf8 ? b == 0xed && i + 1 < s.len && (uint8_t)s.p[i + 1] >= 0xa0 : b >= (is_latin ? 0xc4 : 0x80))
			return false;
	}
	return true;
}

static bool
call_encode(struct weights_call *c)
{
	if (c->n >= 1 && (c->n <= 2 || (c->n == 3 && type_at(c, 2) == PY_STR)) && encodable(c, 0, 1))
		return gives(c, PY_BYTES, false);
	return bad_arguments(c, "_codecs.encode");
}

static bool
is_byte(const struct weights_call *c, uint32_t h)
{
	uint64_t v;

	return value_kind(c->w->m->t, h) == VALUE_BOOL || (value_u64(c->w->m->t, h, &v) && v < 256);
}

static bool
call_bytearray(struct weights_call *c)
{
	uint64_t v;
	bool good = c->n == 0 || (c->n == 1 && (type_at(c, 0) == PY_BYTES || type_at(c, 0) == PY_BYTEARRAY)) ||
		    ((c->n == 2 || (c->n == 3 && type_at(c, 2) == PY_STR)) && encodable(c, 0, 1));

	if (c->n == 1 && type_at(c, 0) == PY_INT)
		good = value_u64(c->w->m->t, arg(c, 0), &v) && v < 1 << 30;
	if (c->n == 1 && sequence(type_at(c, 0))) {
		good = true;
		for (size_t i = 0; good && i < value_len(c->w->m->t, arg(c, 0)); i++)
			good = is_byte(c, value_item(c->w->m->t, arg(c, 0), i));
	}
	return good ? gives(c, PY_BYTEARRAY, false) : bad_arguments(c, "bytearray");
}

static bool
is_number(enum pytype type)
{
	return type == PY_INT || type == PY_FLOAT || type == PY_BOOL || type == PY_COMPLEX;
}

static bool
call_complex(struct weights_call *c)
{
	if (c->n > 2 || (c->n > 0 && !is_number(type_at(c, 0))) || (c->n > 1 && !is_number(type_at(c, 1))))
		return bad_arguments(c, "complex");
	return gives(c, PY_COMPLEX, false);
}

/* ---- torch's small things */

static bool
call_device(struct weights_call *c)
{
	static const char *const types[] = { "cpu", "cuda", "ipu", "xpu", "mkldnn", "opengl", "opencl", "ideep", "hip", "ve",
		"fpga", "maia", "xla", "lazy", "vulkan", "mps", "meta", "hpu", "mtia", "privateuseone" };
	struct str type = value_text(c->w->m->t, arg(c, 0)), index;
	uint64_t v;
	bool good = type_at(c, 0) == PY_STR && c->n <= 2, indexed = false, known = false;

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
	return good && known ? gives(c, PY_DEVICE, false) : bad_arguments(c, "torch.device");
}

static bool
call_layout(struct weights_call *c)
{
	static const char *const layouts[] = { "torch.strided", "torch.sparse_coo", "torch.sparse_csr", "torch.sparse_csc",
		"torch.sparse_bsr", "torch.sparse_bsc", "torch.jagged", "torch._mkldnn" };
	struct str s = value_text(c->w->m->t, arg(c, 0));

	for (size_t i = 0; c->n == 1 && type_at(c, 0) == PY_STR && i < sizeof(layouts) / sizeof(layouts[0]); i++)
		if (str_eqc(s, layouts[i]))
			return gives(c, PY_LAYOUT, false);
	return bad_arguments(c, "torch.serialization._get_layout");
}

/* ---- by name */

static const struct {
	const char *name;
	bool (*call)(struct weights_call *c);
} calls[] = {
	{ "OrderedDict", call_ordered },
	{ "Counter", call_counter },
	{ "set", call_set },
	{ "encode", call_encode },
	{ "bytearray", call_bytearray },
	{ "complex", call_complex },
	{ "device", call_device },
	{ "_get_layout", call_layout },
	{ "Size", call_size },
	{ "_rebuild_sparse_tensor", rebuild_sparse },
	{ "_rebuild_qtensor", rebuild_quantised },
	{ "_rebuild_meta_tensor_no_storage", rebuild_meta },
	{ "_rebuild_nested_tensor", rebuild_nested },
	{ "_rebuild_device_tensor_from_cpu_tensor", rebuild_on_device },
	{ "_rebuild_from_type_v2", rebuild_typed },
};

static bool
call_named(struct weights_call *c, const struct pickle_allowed *a)
{
	struct str name = str_c(a->name);

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		if (str_eqc(name, calls[i].name))
			return calls[i].call(c);
	return call_rebuild(c, a);
}

/* What *args takes: a tuple, a list, or of what else can be walked only that which is empty. */
static bool
arguments(const struct weights *w, uint32_t h)
{
	enum pytype type = type_of(w, h);

	return sequence(type) || (type >= PY_STR && is_empty(w, h));
}

/* callable(*args); sets made. */
static bool
call(struct weights *w, uint32_t callable, uint32_t args)
{
	struct weights_call c = { w, args, value_len(w->m->t, args) };
	struct pickle_allowed a;

	if (!is_allowed(w, callable, &a))
		return refuse(w, "Trying to call reduce for unrecognized function (a %s)", type_name(w, callable));
	if (!arguments(w, args))
		return refuse(w, "%s called with a %s for arguments", a.name, type_name(w, args));
	switch (a.kind) {
	case ALLOWED_CALLABLE: return call_named(&c, &a);
	case ALLOWED_TENSOR:
	case ALLOWED_DEVICE: return call_tensor_class(&c, &a);
	default: return refuse(w, "%s cannot be called", a.name);
	}
}

static bool
new_object(struct weights *w, uint32_t callable, uint32_t args)
{
	struct weights_call c = { w, args, value_len(w->m->t, args) };
	struct pickle_allowed a;
	struct str name;

	if (!is_allowed(w, callable, &a))
		return refuse(w, "Can only create new object for nn.Parameter or classes allowlisted via `add_safe_globals` "
				     "but got a %s", type_name(w, callable));
	if (!arguments(w, args))
		return refuse(w, "%s made with a %s for arguments", a.name, type_name(w, args));
	name = str_c(a.name);
	/* These leave what they are given to __init__, which is not called. */
	if (str_eqc(name, "OrderedDict"))
		return gives(&c, PY_ORDERED, false);
	if (str_eqc(name, "Counter"))
		return gives(&c, PY_COUNTER, false);
	if (str_eqc(name, "set"))
		return gives(&c, PY_SET, false);
	if (str_eqc(name, "bytearray"))
		return gives(&c, PY_BYTEARRAY, false);
	if (str_eqc(name, "complex") || str_eqc(name, "Size") || str_eqc(name, "device") || str_eqc(name, "Parameter") ||
	    str_eqc(name, "Tensor") || a.kind == ALLOWED_TENSOR || a.kind == ALLOWED_DEVICE)
		return call(w, callable, args);
	return refuse(w, "%s is no class of which objects can be made", a.name);
}

/* ---- the scan */

/* One pickle of the row. */
struct scanner {
	struct pickle_scan *s;
	struct weights w;
	struct err *e;       /* of the callback */
	unsigned pickle;
	bool failed;         /* the callback said so */
	bool judge;          /* the first pickle, and torch would still be reading */
	bool computed;       /* the STACK_GLOBAL that is executed has operands that are no texts */
};

/* torch stops here. */
static void
stop_judging(struct scanner *c, uint64_t off, const char *why)
{
	c->judge = false;
	c->s->loads = false;
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
		stop_judging(c, m->in.op_off, c->w.why);
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
	return op == OP_BINGET || op == OP_LONG_BINGET || op == OP_GLOBAL || op == OP_SETITEMS;
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
	if (rc == 0 && c->judge && m->passed_over[0] != '\0' && fatal(m->in.op))
		stop_judging(c, m->in.op_off, m->passed_over);
	if (rc == 0 && c->judge && !check_after(&c->w, m))
		stop_judging(c, m->in.op_off, c->w.why);
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
		stop_judging(c, off, damage);
}

/*
 * Scans one pickle; place->end is where it ended or broke off. 1 if it has a STOP; 0 if it is damaged; -1 on error.
 */
static int
scan_one(struct pickle_scan *s, struct pickle_place *place, unsigned number, struct err *e)
{
	struct vtree *t = vtree_new();
	struct scanner c = { .s = s, .e = e, .pickle = number, .judge = number == 0 };
	struct pickle_watch watch = { before, after, &c };
	struct err damage = ERR_INIT;
	int rc;

	weights_init(&c.w, s->legacy);
	rc = pickle_watch(t, place, &watch, &damage) == 0;
	if (damage.code == ERR_SYSTEM)
		*e = damage;
	if (damage.code == ERR_SYSTEM || c.failed)
		rc = -1;
	else if (rc == 0 && number == 0)
		report_damage(&c, place->end, damage.msg);
	weights_release(&c.w);
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
	s->broken = false;
	s->why[0] = s->damage[0] = '\0';
	s->why_off = s->extra = 0;
	s->more = 0;
	rc = scan_one(s, &place, 0, e);
	s->end = place.end;
	if (rc <= 0 || !s->rest)
		return rc < 0 ? -1 : 0;
	return scan_rest(s, src, limit, e);
}
