/*
 * tensor and state dict: geometry computed by hand, and trees built node by node, including hostile ones.
 */
#include "tensor/ckpt.h"
#include "tensor/composite.h"

#include "base/buf.h"
#include "base/xalloc.h"
#include "tap.h"

static struct err e;

/* ---- geometry */

static struct tensor
view(enum dtype dtype, uint64_t offset, unsigned ndim, const uint64_t *shape, const uint64_t *stride)
{
	return (struct tensor){ .dtype = (uint8_t)dtype,
				.offset = offset,
				.ndim = (uint8_t)ndim,
				.shape = shape,
				.stride = stride,
				.wrap = VALUE_ABSENT };
}

static bool
fits(const struct tensor *t, uint64_t nbytes)
{
	err_clear(&e);
	return tensor_check(t, nbytes, &e) == 0;
}

static void
test_check(void)
{
	static const uint64_t big = (uint64_t)1 << 32;
	const uint64_t s34[] = { 3, 4 }, row[] = { 4, 1 }, column[] = { 1, 3 }, none[] = { 0, 0 }, s05[] = { 0, 5 };
	const uint64_t huge[] = { big, big, big }, huge0[] = { big, big, big, 0 }, zero[] = { big, 0, big, big };
	const uint64_t ones[] = { 1, 1, 1, 1 };
	const uint64_t far[] = { UINT64_MAX, 1 }, half[] = { (uint64_t)1 << 62, 1 };
	struct tensor t = view(DTYPE_FLOAT32, 0, 2, s34, row);
	uint64_t n;

	ok(fits(&t, 48) && !fits(&t, 47));
	t = view(DTYPE_FLOAT32, 1, 2, s34, row);
	ok(fits(&t, 52) && !fits(&t, 51));
	t = view(DTYPE_FLOAT32, 0, 2, s34, none);
	ok_msg(fits(&t, 4) && !fits(&t, 3), "an expanded tensor needs its one element");
	t = view(DTYPE_FLOAT64, 99, 2, s05, far);
	ok_msg(fits(&t, 0), "an empty tensor needs no bytes, even at a large offset");
	t = view(DTYPE_FLOAT64, 0, 0, NULL, NULL);
	ok(fits(&t, 8) && !fits(&t, 7));
	is_uint(tensor_count(&t), 1, "a scalar has one element");
	t = view(DTYPE_UINT8, 0, 3, huge, ones);
	ok(!fits(&t, UINT64_MAX) && !tensor_numel(&t, &n));
	t = view(DTYPE_UINT8, 0, 4, huge0, ones);
	ok_msg(!fits(&t, 0) && !tensor_numel(&t, &n),
	       "a 0 after too large a product of sizes is refused, as by torch and safetensors");
	t = view(DTYPE_UINT8, 0, 4, zero, ones);
	ok(fits(&t, 0) && tensor_numel(&t, &n) && n == 0);
	t = view(DTYPE_UINT8, 0, 2, s34, far);
	ok(!fits(&t, UINT64_MAX));
	t = view(DTYPE_FLOAT32, 0, 2, s34, half);
	ok(!fits(&t, UINT64_MAX));
	t = view(DTYPE_FLOAT32, UINT64_MAX, 2, s34, row);
	ok(!fits(&t, UINT64_MAX));
	t = view(DTYPE_UNKNOWN, 0, 2, s34, row);
	ok(!fits(&t, 48));
	t = view(DTYPE_FLOAT32, 0, 65, NULL, NULL);
	ok(!fits(&t, 48));
	t = view(DTYPE_FLOAT32, 0, 2, s34, column);
	ok(fits(&t, 48) && !tensor_contiguous(&t) && tensor_covers(&t, 48));
}

/* The text in a list for a tensor with parts. */
static void
put_field(struct buf *b, const char *key, struct str value)
{
	if (value.len > 0)
		buf_addf(b, "\t%s=%.*s", key, STR_ARG(value));
}

static void
test_layouts(void)
{
	const uint64_t s[] = { 2, 3, 4, 4 }, last[] = { 48, 1, 12, 3 }, first[] = { 48, 16, 4, 1 };
	const uint64_t s1[] = { 1, 5, 1 }, unused[] = { 99, 1, 77 }, s23[] = { 2, 3 }, gap[] = { 4, 1 }, same[] = { 1, 1 };
	struct tensor t = view(DTYPE_FLOAT32, 0, 4, s, last);
	uint64_t from, to;
	struct arena a;

	ok_msg(!tensor_contiguous(&t) && tensor_covers(&t, 384) && !tensor_covers(&t, 388), "channels_last");
	t = view(DTYPE_FLOAT32, 0, 4, s, first);
	ok(tensor_contiguous(&t) && tensor_covers(&t, 384));
	is_uint(tensor_nbytes(&t), 384, "bytes");
	t = view(DTYPE_FLOAT32, 0, 3, s1, unused);
	ok_msg(tensor_contiguous(&t) && tensor_covers(&t, 20), "strides of dimensions of size 1 do not matter");
	t = view(DTYPE_FLOAT32, 2, 2, s23, gap);
	ok(!tensor_contiguous(&t) && !tensor_covers(&t, 24));
	tensor_span(&t, &from, &to);
	ok(from == 2 && to == 9);
	t = view(DTYPE_FLOAT32, 0, 2, s23, same);
	ok_msg(!tensor_covers(&t, 24), "overlapping rows cover fewer bytes than their elements have");
	arena_init(&a);
	tensor_set_shape(&t, &a, s, 4);
	ok(memcmp(t.stride, first, sizeof(first)) == 0);
	tensor_set_shape(&t, &a, (const uint64_t[]){ 0, 5 }, 2);
	ok_msg(t.stride[0] == 5 && t.stride[1] == 1, "shape (0,5) has strides (5,1), as in torch");
	tensor_set_shape(&t, &a, (const uint64_t[]){ 5, 0 }, 2);
	ok_msg(t.stride[0] == 1 && t.stride[1] == 1, "shape (5,0) has strides (1,1), as in torch");
	arena_release(&a);
}

static void
test_shapes(void)
{
	static const char *const bad[] = { "",      "3",    "[",     "[3",    "[3,]",
					   "[,3]",  "[-1]", "[3;4]", "[3 4]", "[99999999999999999999]",
					   "[1.0]", "[]]" };
	uint64_t shape[TENSOR_NDIM_MAX];
	struct buf b = BUF_INIT;
	unsigned n;

	ok(shape_parse(str_c("[3,4]"), shape, &n) && n == 2 && shape[0] == 3 && shape[1] == 4);
	shape_put(&b, shape, 2);
	is_str(b.p, "[3,4]", "and back");
	ok(shape_parse(str_c(" [ 3 , 18446744073709551615 ] "), shape, &n) && n == 2 && shape[1] == UINT64_MAX);
	ok(shape_parse(str_c("[]"), shape, &n) && n == 0);
	buf_clear(&b);
	shape_put(&b, shape, 0);
	is_str(b.p, "[]", "a scalar");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ok_msg(!shape_parse(str_c(bad[i]), shape, &n), "no shape: \"%s\"", bad[i]);
	buf_clear(&b);
	buf_adds(&b, "[1");
	for (n = 1; n < 64; n++)
		buf_adds(&b, ",1");
	buf_adds(&b, "]");
	ok(shape_parse(buf_str(&b), shape, &n) && n == 64);
	b.len--;
	buf_adds(&b, ",1]");
	ok_msg(!shape_parse(buf_str(&b), shape, &n), "65 dimensions are refused");
	buf_release(&b);
}

/* ---- state dicts */

static struct ckpt *c;
static struct vtree *t;
static struct statedict sd;
static struct tensor tensors[16];

static void
fresh(void)
{
	static const uint64_t shape[] = { 2 }, stride[] = { 1 };
	static struct source *src;

	if (c != NULL)
		ckpt_close(c);
	source_close(src);
	src = source_memory("", 0, "t.pth");
	c = ckpt_new(src, NULL);
	c->tree = t = vtree_new();
	c->tensors = tensors;
	c->ntensors = 16;
	for (size_t i = 0; i < 16; i++)
		tensors[i] = view(DTYPE_FLOAT32, 0, 1, shape, stride);
}

static uint32_t
leaf(uint32_t i)
{
	return value_new_leaf(t, LEAF_TENSOR, i);
}

static uint32_t
text(const char *s)
{
	return value_new_text(t, VALUE_STR, str_c(s));
}

static uint32_t
dict(void)
{
	return value_new_seq(t, VALUE_DICT);
}

static void
set(uint32_t d, const char *key, uint32_t v)
{
	value_set(t, d, text(key), v);
}

/* The names of the state dict at key, each with a letter for its kind; or the error. */
static const char *
names(uint32_t root, const char *key)
{
	static struct buf b;
	bool opened;

	c->root = root;
	err_clear(&e);
	buf_clear(&b);
	buf_adds(&b, "");
	opened = statedict_open(&sd, c, key, &e) == 0;
	if (!opened)
		return e.msg;
	for (size_t i = 0; i < sd.n; i++)
		buf_addf(&b, "%s%.*s:%c%u", i ? " " : "", STR_ARG(sd.entries[i].name), "tco"[sd.entries[i].kind],
			 sd.entries[i].tensor);
	for (size_t i = 0; i < sd.n; i++) {
		const struct tensor *made = sd_tensor(&sd, &sd.entries[i]);

		if (made == NULL || made->more == NULL || made->more->nparts == 0)
			continue;
		buf_addf(&b, "; %.*s ", STR_ARG(sd.entries[i].name));
		shape_put(&b, made->shape, made->ndim);
		put_field(&b, "layout", made->more->layout);
		put_field(&b, "device", made->more->device);
		put_field(&b, "quantized", made->more->quantized);
		put_field(&b, "placements", made->more->placements);
		buf_addc(&b, ' ');
		composite_put_parts(&b, made);
	}
	statedict_release(&sd);
	return b.p;
}

static uint32_t
call(const char *module, const char *name, const uint32_t *args, size_t n)
{
	struct vobject o = { HOW_REDUCE,
			     value_new_global(t, str_c(module), str_c(name)),
			     value_new_tuple(t, args, n),
			     VALUE_ABSENT,
			     VALUE_ABSENT,
			     VALUE_ABSENT,
			     VALUE_ABSENT,
			     VALUE_ABSENT };

	return value_new_object(t, &o);
}

static void
test_places(void)
{
	uint32_t root, model, ema;

	fresh();
	root = dict();
	model = dict();
	ema = dict();
	set(root, "epoch", value_new_int(t, 3));
	set(root, "model", model);
	set(root, "state_dict_ema", ema);
	set(model, "a.weight", leaf(0));
	set(model, "a.bias", leaf(1));
	set(model, "note", text("x"));
	set(ema, "e", leaf(2));
	is_str(names(root, NULL), "a.weight:t0 a.bias:t1 note:o0", "the state dict at model is chosen");
	is_str(names(root, "state_dict_ema"), "e:t2", "-k chooses");
	is_str(names(root, ""), "epoch:o0 model.a.weight:t0 model.a.bias:t1 model.note:o0 state_dict_ema.e:t2",
	       "the root has dotted names");
	is_str(names(root, "model.a.weight"), ":t0", "a tensor as a place has the empty name");
	is_str(names(root, "model.a"),
	       "t.pth: there is no 'model.a' in it; its root has epoch, model, state_dict_ema; did you mean model?",
	       "a place that does not exist is refused");
	is_str(names(root, "epoch"),
	       "t.pth: there are no tensors at 'epoch'; there are some at 'model', 'state_dict_ema' (-k PATH chooses)",
	       "a place without tensors is refused");
	is_str(names(leaf(5), NULL), ":t5", "a tensor as the root has the empty name");
	is_str(names(text("x"), NULL), "t.pth: there are no tensors at the root, and none elsewhere in it",
	       "a checkpoint without tensors is refused");

	root = dict();
	set(root, "model", text("resnet"));
	set(root, "w", leaf(0));
	is_str(names(root, NULL), "model:o0 w:t0", "a value at model that is not a dict is not chosen");
}

static void
test_nested(void)
{
	uint32_t root, list, inner, deep, items[2];
	char wide[80];

	fresh();
	root = dict();
	list = value_new_seq(t, VALUE_LIST);
	inner = dict();
	set(inner, "w", leaf(1));
	value_append(t, list, inner);
	value_append(t, list, leaf(2));
	value_append(t, list, value_new_int(t, 4));
	items[0] = leaf(3);
	items[1] = value_new_none(t);
	value_append(t, list, value_new_tuple(t, items, 2));
	set(root, "a", leaf(0));
	set(root, "layers", list);
	set(root, "empty", dict());
	value_set(t, root, value_new_int(t, 7), leaf(4));
	value_set(t, root, value_new_none(t), leaf(5));
	value_set(t, root, value_new_bool(t, true), leaf(6));
	value_set(t, root, value_new_float(t, 0.5), leaf(7));
	value_set(t, root, value_new_tuple(t, (uint32_t[]){ value_new_int(t, 1), text("x") }, 2), leaf(8));
	is_str(names(root, NULL),
	       "a:t0 layers.0.w:t1 layers.1:t2 layers.2:o0 layers.3.0:t3 layers.3.1:o0 empty:o0 7:t4 "
	       "None:t5 True:t6 0.5:t7 (1, x):t8",
	       "items of lists and tuples are named by index, and keys of every kind have names");
	is_str(names(list, NULL), "0.w:t1 1:t2 2:o0 3.0:t3 3.1:o0", "items of a list at the root are named by index");

	root = dict();
	set(root, "a", leaf(0));
	set(root, "a", leaf(1));
	is_str(names(root, NULL), "t.pth: the name 'a' occurs twice in the state dict", "a key that occurs twice is refused");
	root = dict();
	inner = dict();
	set(inner, "b", leaf(0));
	set(root, "a", inner);
	set(root, "a.b", leaf(1));
	is_str(names(root, ""), "t.pth: the name 'a.b' occurs twice in the state dict",
	       "a key that equals a dotted path is refused");

	root = deep = dict();
	for (int i = 0; i < 150; i++) {
		inner = dict();
		set(deep, "d", inner);
		deep = inner;
	}
	set(deep, "w", leaf(0));
	ok(strlen(names(root, "")) == 150 * 2 + 4);
	for (int i = 0; i < 100; i++) {
		inner = dict();
		set(inner, "d", root);
		root = inner;
	}
	snprintf(wide, sizeof(wide), "%s", names(root, NULL));
	ok_msg(strstr(wide, "nested more than 200 deep") != NULL, "values that are nested too deep are refused");
}

static void
test_cycles(void)
{
	uint32_t root, inner, at;

	fresh();
	root = dict();
	inner = dict();
	set(root, "self", root);
	set(root, "w", leaf(0));
	set(root, "in", inner);
	set(inner, "out", root);
	set(inner, "v", leaf(1));
	is_str(names(root, ""), "self:o0 w:t0 in.out:o0 in.v:t1", "a cycle is listed as another value");

	/* 2^40 paths to one tensor. */
	fresh();
	at = value_new_seq(t, VALUE_LIST);
	value_append(t, at, leaf(0));
	for (int i = 0; i < 40; i++) {
		inner = value_new_seq(t, VALUE_LIST);
		value_append(t, inner, at);
		value_append(t, inner, at);
		at = inner;
	}
	ok_msg(strstr(names(at, NULL), "more names than the file has values") != NULL, "a bomb of shared lists is refused");

	/* Shared lists without a tensor, inside a call. */
	fresh();
	at = value_new_seq(t, VALUE_LIST);
	for (int i = 0; i < 40; i++) {
		inner = value_new_seq(t, VALUE_LIST);
		for (int k = 0; k < 30; k++)
			value_append(t, inner, at);
		at = inner;
	}
	root = dict();
	set(root, "x", call("torch._utils", "_rebuild_sparse_tensor", &at, 1));
	is_str(names(root, NULL), "x:c0", "a bomb of shared lists inside a call is not expanded");
}

static void
test_composites(void)
{
	uint32_t root, layout, parts[3], args[5];

	fresh();
	layout = text("torch.sparse_coo");
	layout = call("torch.serialization", "_get_layout", &layout, 1);
	parts[0] = leaf(0);
	parts[1] = leaf(1);
	parts[2] = value_new_tuple(t, (uint32_t[]){ value_new_int(t, 3) }, 1);
	args[0] = layout;
	args[1] = value_new_tuple(t, parts, 3);
	root = dict();
	set(root, "s", call("torch._utils", "_rebuild_sparse_tensor", args, 2));
	set(root, "n", call("torch._utils", "_rebuild_nested_tensor", (uint32_t[]){ leaf(2), leaf(3), leaf(4), leaf(5) }, 4));
	set(root, "u", call("os", "system", (uint32_t[]){ text("true") }, 1));
	args[0] = value_new_none(t);
	args[1] = args[2] = args[3] = args[0];
	args[4] = value_new_tuple(t,
				  (uint32_t[]){ value_new_global(t, str_c("torch"), str_c("per_channel_affine")), leaf(7), leaf(8),
						value_new_int(t, 0) },
				  4);
	tensors[6].wrap = call("torch._utils", "_rebuild_qtensor", args, 5);
	set(root, "q", leaf(6));
	is_str(names(root, NULL),
	       "s:c0 n:c0 u:o0 q:t6; s [3]\tlayout=sparse_coo indices:float32[2],values:float32[2]; "
	       "n [2]\tlayout=nested buffer:float32[2],sizes:float32[2],strides:float32[2],offsets:float32[2]; "
	       "q [2]\tquantized=per_channel data:float32[2],scales:float32[2],zero_points:float32[2],axis:int64[]",
	       "composites are listed with their parts");
}

static void
test_metadata(void)
{
	uint32_t root, state, meta;

	fresh();
	root = value_new_ordered(t);
	set(root, "w", leaf(0));
	state = dict();
	meta = value_new_ordered(t);
	set(state, "_metadata", meta);
	value_set_state(t, root, state);
	c->root = root;
	err_clear(&e);
	ok(statedict_open(&sd, c, NULL, &e) == 0 && sd.ordered && sd.metadata == meta && sd.place == root);
	ok(statedict_find(&sd, str_c("w")) == &sd.entries[0] && statedict_find(&sd, str_c("v")) == NULL);
	ok(sd_tensor(&sd, &sd.entries[0]) == &tensors[0]);
	statedict_release(&sd);
}

static void
test_flat(void)
{
	struct str flat[] = { str_c("a"), str_c("b.c") };

	fresh();
	vtree_free(c->tree);
	c->tree = NULL;
	c->ntensors = 2;
	c->names = flat;
	is_str(names(VALUE_ABSENT, NULL), "a:t0 b.c:t1", "a checkpoint without a tree is a flat state dict");
	is_str(names(VALUE_ABSENT, ""), "a:t0 b.c:t1", "the root is a place of a flat state dict");
	is_str(names(VALUE_ABSENT, "model"), "t.pth: it is one flat state dict: -k 'model' finds nothing in it",
	       "a flat state dict has no other place");
}

static void
test_module(void)
{
	uint32_t module, state, parameters;

	fresh();
	module = call("my.models", "Net", NULL, 0);
	state = dict();
	parameters = value_new_ordered(t);
	set(parameters, "w", leaf(0));
	set(state, "_parameters", parameters);
	value_set_state(t, module, state);
	ok_msg(strstr(names(module, NULL), "a whole pickled nn.Module") != NULL,
	       "a whole module is refused, and the error names it");
	module = call("__torch__", "Net", NULL, 0);
	state = dict();
	set(state, "w", leaf(0));
	value_set_state(t, module, state);
	is_str(names(module, NULL), "w:t0", "a TorchScript module is a state dict");
}

int
main(void)
{
	test_check();
	test_layouts();
	test_shapes();
	test_places();
	test_nested();
	test_cycles();
	test_composites();
	test_metadata();
	test_flat();
	test_module();
	ckpt_close(c);
	return tap_done();
}
