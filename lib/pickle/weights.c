#include "pickle/weights.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "base/xalloc.h"

/*
 * Leaves that stand for what calls made: index is the thing, with this bit for a tensor that can have gradients; of a
 * torch.Size, above it, the place in sizes, counted from 1.
 */
enum { LEAF_GRAD = 0x100, LEAF_SIZE = 9, LEAF_SIZES_MAX = 1 << 22 };

/* Parts of a tuple that are looked at to see whether it can be a key. */
enum { HASH_WORK = 10000 };

void
weights_init(struct weights *w, struct pickle_machine *m, bool legacy)
{
	*w = (struct weights){ .m = m, .legacy = legacy, .made = THING_OTHER };
}

void
weights_release(struct weights *w)
{
	free(w->storages);
	free(w->sizes);
}

bool
weights_no(struct weights *w, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(w->why, sizeof(w->why), fmt, ap);
	va_end(ap);
	return false;
}

/* ---- values */

enum thing
weights_thing(const struct weights *w, uint32_t h)
{
	const struct vtree *t = w->m->t;
	uint32_t index = 0;

	switch (value_kind(t, h)) {
	case VALUE_NONE: return THING_NONE;
	case VALUE_BOOL: return THING_BOOL;
	case VALUE_INT:
	case VALUE_BIGINT: return THING_INT;
	case VALUE_FLOAT: return THING_FLOAT;
	case VALUE_STR:
	case VALUE_PYSTR: return THING_STR;
	case VALUE_BYTES: return THING_BYTES;
	case VALUE_BYTEARRAY: return THING_BYTEARRAY;
	case VALUE_TUPLE: return THING_TUPLE;
	case VALUE_LIST: return THING_LIST;
	case VALUE_DICT: return value_ordered(t, h) ? THING_ORDERED : THING_DICT;
	case VALUE_SET: return THING_SET;
	case VALUE_FROZENSET: return THING_FROZENSET;
	case VALUE_GLOBAL: return THING_GLOBAL;
	case VALUE_LEAF: return value_leaf(t, h, &index) == LEAF_STORAGE ? THING_STORAGE : (enum thing)(index & 0xff);
	case VALUE_OBJECT:
	case VALUE_PERSID: break;
	}
	return THING_OTHER;
}

const char *
weights_type(const struct weights *w, uint32_t h)
{
	static const char *const names[] = { "NoneType", "bool", "int", "float", "str", "bytes", "bytearray", "tuple", "list",
		"dict", "collections.OrderedDict", "set", "frozenset", "a global", "an object", "torch.storage.TypedStorage",
		"torch.Tensor", "torch.nn.parameter.Parameter", "collections.Counter", "complex", "torch.Size", "torch.device",
		"torch.layout" };

	return names[weights_thing(w, h)];
}

bool
weights_grad(const struct weights *w, uint32_t h)
{
	uint32_t index = 0;

	return value_leaf(w->m->t, h, &index) == LEAF_TENSOR && (index & LEAF_GRAD) != 0;
}

uint32_t
weights_size(const struct weights *w, uint32_t h)
{
	uint32_t index = 0;

	if (weights_thing(w, h) != THING_SIZE)
		return h;
	value_leaf(w->m->t, h, &index);
	return index >> LEAF_SIZE == 0 ? VALUE_ABSENT : w->sizes[(index >> LEAF_SIZE) - 1];
}

bool
weights_allowed(struct weights *w, uint32_t h, struct pickle_allowed *a)
{
	size_t i = h % WEIGHTS_LATELY;

	*a = (struct pickle_allowed){ ALLOWED_NOT, NULL, 0, false };
	if (value_kind(w->m->t, h) != VALUE_GLOBAL)
		return false;
	if (w->lately[i].node != h) {
		w->lately[i].node = h;
		pickle_allowed(value_module(w->m->t, h), value_name(w->m->t, h), &w->lately[i].allowed);
	}
	*a = w->lately[i].allowed;
	return a->kind != ALLOWED_NOT;
}

const char *
weights_global(struct weights *w, uint32_t h)
{
	pickle_python3(value_module(w->m->t, h), value_name(w->m->t, h), w->path);
	return w->path;
}

static bool
hashable(const struct weights *w, uint32_t h, unsigned *work)
{
	size_t n = value_len(w->m->t, h);

	switch (weights_thing(w, h)) {
	case THING_LIST:
	case THING_DICT:
	case THING_ORDERED:
	case THING_SET:
	case THING_BYTEARRAY:
	case THING_COUNTER: return false;
	case THING_TUPLE:
		for (size_t i = 0; i < n && *work != 0; i++) {
			--*work;
			if (!hashable(w, value_item(w->m->t, h, i), work))
				return false;
		}
		return true;
	default: return true;
	}
}

bool
weights_hashable(const struct weights *w, uint32_t h)
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
	if (target == VALUE_ABSENT || weights_thing(w, target) == THING_LIST)
		return true;
	return weights_no(w, "Can only %s lists, but got %s", w->m->in.op == OP_APPEND ? "append to" : "extend",
		weights_type(w, target));
}

static bool
check_set_item(struct weights *w, uint32_t target, const uint32_t *pairs, size_t n)
{
	enum thing thing = weights_thing(w, target);

	if (target == VALUE_ABSENT)
		return true;
	if (thing != THING_DICT && thing != THING_ORDERED && thing != THING_COUNTER)
		return weights_no(w, "Can only %s for dict, collections.OrderedDict, collections.Counter, but got %s",
			pickle_opname(w->m->in.op), weights_type(w, target));
	for (size_t i = 0; i < n; i += 2)
		if (!weights_hashable(w, pairs[i]))
			return weights_no(w, "a %s cannot be the key of a dict", weights_type(w, pairs[i]));
	return true;
}

bool
weights_empty(const struct weights *w, uint32_t h)
{
	enum thing thing = weights_thing(w, h);

	switch (thing) {
	case THING_NONE: return true;
	case THING_BOOL: return !value_bool(w->m->t, h);
	case THING_INT: return value_kind(w->m->t, h) == VALUE_INT && value_int(w->m->t, h) == 0;
	case THING_FLOAT: return value_float(w->m->t, h) == 0;
	case THING_STR:
	case THING_BYTES: return value_text(w->m->t, h).len == 0;
	default: return thing >= THING_TUPLE && thing <= THING_FROZENSET && value_len(w->m->t, h) == 0;
	}
}

static bool
is_mapping(const struct weights *w, uint32_t h)
{
	enum thing thing = weights_thing(w, h);

	return thing == THING_DICT || thing == THING_ORDERED || thing == THING_COUNTER;
}

/* set_(*state), which takes no arguments as well; __setstate__(state) of a Parameter does not. */
static bool
check_build_tensor(struct weights *w, uint32_t target, uint32_t state)
{
	enum thing is = weights_thing(w, state);

	if (weights_thing(w, target) == THING_TENSOR && is >= THING_STR && weights_empty(w, state))
		return true;
	if (is != THING_TUPLE || value_len(w->m->t, state) != 4)
		return weights_no(w, "the state of a tensor is not (storage, offset, size, stride)");
	return weights_set(w, state);
}

static bool
check_build(struct weights *w)
{
	uint32_t state = top(w, 0), target = top(w, 1);
	enum thing is = weights_thing(w, state);

	if (target == VALUE_ABSENT)
		return true;
	switch (weights_thing(w, target)) {
	case THING_ORDERED:
		if (is_mapping(w, state) || ((is == THING_TUPLE || is == THING_LIST) && value_len(w->m->t, state) == 0))
			return true;
		return weights_no(w, "the state of an OrderedDict is a %s", weights_type(w, state));
	case THING_TENSOR:
	case THING_PARAMETER: return check_build_tensor(w, target, state);
	case THING_COUNTER:
		if (is_mapping(w, state) || weights_empty(w, state))
			return true;
		return weights_no(w, "the state of a Counter is a %s", weights_type(w, state));
	case THING_SET:
	case THING_BYTEARRAY:
	case THING_COMPLEX:
	case THING_SIZE:
	case THING_DEVICE:
		if (weights_empty(w, state))
			return true;
		return weights_no(w, "a %s can have no state", weights_type(w, target));
	default:
		return weights_no(w, "Can only build Tensor, Parameter, OrderedDict or types allowlisted via "
				     "`add_safe_globals`, but got %s", weights_type(w, target));
	}
}

static bool
is_storage_word(const struct weights *w, uint32_t h)
{
	enum thing thing = weights_thing(w, h);

	return (thing == THING_STR || thing == THING_BYTES) && str_eqc(value_text(w->m->t, h), "storage");
}

/* The class and the count of a persistent id, into asked. */
static bool
check_storage(struct weights *w, uint32_t class, uint32_t numel)
{
	struct pickle_allowed a;
	uint64_t n;

	weights_allowed(w, class, &a);
	if (a.kind == ALLOWED_UNTYPED && w->legacy)
		return weights_no(w, "a storage without element type, which torch does not read from legacy files");
	if (a.kind == ALLOWED_UNTYPED)
		w->asked = (struct weights_storage){ .size = 1, .each = 1 };
	else if (a.kind == ALLOWED_STORAGE)
		w->asked = (struct weights_storage){ .size = a.size, .grad = a.grad,
			.complex = str_starts(str_c(a.name), str_c("Complex")),
			.each = strcmp(a.name, "QUInt4x2Storage") == 0 ? 2 : strcmp(a.name, "QUInt2x4Storage") == 0 ? 4 : 1 };
	else
		return weights_no(w, "a persistent id whose second part is no class of storages");
	if (!value_u64(w->m->t, numel, &n) || n > INT64_MAX / 16)
		return weights_no(w, "a persistent id whose number of elements is no such number");
	w->asked.numel = n;
	return true;
}

static bool
check_persid(struct weights *w)
{
	const struct vtree *t = w->m->t;
	uint32_t id = top(w, 0);
	size_t n = value_len(t, id), want = w->legacy ? 6 : 5;
	enum thing thing = weights_thing(w, id);

	if (id == VALUE_ABSENT)
		return true;
	if (thing != THING_TUPLE && thing != THING_INT)
		return weights_no(w, "persistent_load id must be tuple or int, but got %s", weights_type(w, id));
	if (thing == THING_INT)
		return weights_no(w, "a persistent id that is a number: only files in tar format have those");
	if (n == 0 || !is_storage_word(w, value_item(t, id, 0)))
		return weights_no(w, "Only persistent_load of storage is allowed");
	if (n != want)
		return weights_no(w, "a persistent id of %zu parts instead of %zu", n, want);
	if (!weights_hashable(w, value_item(t, id, 2)))
		return weights_no(w, "a persistent id whose key is a %s", weights_type(w, value_item(t, id, 2)));
	if (w->legacy && weights_thing(w, value_item(t, id, 5)) != THING_NONE &&
	    (weights_thing(w, value_item(t, id, 5)) != THING_TUPLE || value_len(t, value_item(t, id, 5)) != 3))
		return weights_no(w, "a persistent id whose view is a %s", weights_type(w, value_item(t, id, 5)));
	if (!check_storage(w, value_item(t, id, 1), value_item(t, id, 4)))
		return false;
	w->made = THING_STORAGE;
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
	return weights_no(w, "Unsupported operand %u%s%s%s", w->m->in.op, name ? " (" : "", name ? name : "", name ? ")" : "");
}

bool
weights_check(struct weights *w)
{
	uint32_t pair[2] = { top(w, 1), top(w, 0) };

	w->made = THING_OTHER;
	w->made_grad = false;
	switch (w->m->in.op) {
	case OP_APPEND: return check_append(w, top(w, 1));
	case OP_APPENDS: return check_append(w, below_mark(w));
	case OP_SETITEM: return check_set_item(w, top(w, 2), pair, 2);
	case OP_SETITEMS: return check_set_item(w, below_mark(w), w->m->stack + w->m->fence, w->m->depth - w->m->fence);
	case OP_BUILD: return check_build(w);
	case OP_REDUCE: return pair[0] == VALUE_ABSENT || weights_call(w, pair[0], pair[1]);
	case OP_NEWOBJ: return pair[0] == VALUE_ABSENT || weights_new(w, pair[0], pair[1]);
	case OP_BINPERSID: return check_persid(w);
	default: return check_opcode(w);
	}
}

/* ---- after the opcode */

static bool
check_global(struct weights *w, uint32_t h)
{
	struct str module = value_module(w->m->t, h), name = value_name(w->m->t, h);
	const char *path, *import;
	struct pickle_allowed a;

	if (weights_allowed(w, h, &a))
		return true;
	path = weights_global(w, h);
	import = pickle_needs_import(module, name);
	if (pickle_blocked(module, name))
		return weights_no(w, "GLOBAL %s, whose module is blocked", path);
	if (import != NULL)
		return weights_no(w, "GLOBAL %s is allowed only where %s was imported", path, import);
	return weights_no(w, "GLOBAL %s was not an allowed global by default", path);
}

static uint32_t
made_leaf(struct weights *w)
{
	if (w->made == THING_SIZE && w->made_size != VALUE_ABSENT && w->sizes_n < LEAF_SIZES_MAX) {
		w->sizes = xgrow(w->sizes, w->sizes_n, &w->sizes_cap, sizeof(*w->sizes));
		w->sizes[w->sizes_n++] = w->made_size;
		return value_new_leaf(w->m->t, LEAF_TENSOR, THING_SIZE | (uint32_t)w->sizes_n << LEAF_SIZE);
	}
	if (w->made != THING_STORAGE)
		return value_new_leaf(w->m->t, LEAF_TENSOR, (uint32_t)w->made | (w->made_grad ? LEAF_GRAD : 0));
	w->storages = xgrow(w->storages, w->storages_n, &w->storages_cap, sizeof(*w->storages));
	w->storages[w->storages_n] = w->asked;
	return value_new_leaf(w->m->t, LEAF_STORAGE, (uint32_t)w->storages_n++);
}

bool
weights_after(struct weights *w)
{
	uint32_t *last = w->m->depth > w->m->fence ? &w->m->stack[w->m->depth - 1] : NULL;
	enum value_kind kind;

	if (last == NULL)
		return true;
	kind = value_kind(w->m->t, *last);
	/* What the machine makes plain data of, better stays that. */
	if (w->made != THING_OTHER && (kind == VALUE_OBJECT || kind == VALUE_PERSID))
		*last = made_leaf(w);
	if (w->m->in.op == OP_GLOBAL)
		return check_global(w, *last);
	if (w->m->in.op == OP_SHORT_BINSTRING && !utf8_valid(value_text(w->m->t, *last)))
		return weights_no(w, "a string that is not UTF-8");
	return true;
}
