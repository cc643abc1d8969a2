/* pickle_weights: what the functions and classes that weights_only accepts do with the arguments they get. */
#include "pickle/weights_call.h"

#include <string.h>

#include "base/num.h"

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
	{ "device", call_device },
	{ "_get_layout", call_layout },
};

static bool
call_named(struct call *c, const struct pickle_allowed *a)
{
	struct str name = str_c(a->name);

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		if (str_eqc(name, calls[i].name))
			return calls[i].call(c);
	return weights_make(c, a);
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
	case ALLOWED_DEVICE: return weights_tensor_class(&c, &a);
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
