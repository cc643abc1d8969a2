/* pickle_encode: its bytes, derived by hand from the table of opcodes; leaves; failures. */
#include "pickle/machine.h"
#include "pickle/writer.h"

#include "base/buf.h"
#include "tap.h"

#define BYTES(literal) literal, sizeof(literal) - 1

static int
add(void *arg, const void *p, size_t n, struct err *err)
{
	(void)err;
	buf_add(arg, p, n);
	return 0;
}

/* Checks that pickle_encode writes root as PROTO 2, these bytes and STOP. */
static void
writes(const struct vtree *t, uint32_t root, const struct pickle_leaves *leaves, const char *expected, size_t n, const char *what)
{
	struct buf out = BUF_INIT;
	struct err err = ERR_INIT;

	if (pickle_encode(t, root, leaves, add, &out, &err) < 0)
		tap_note("%s", err.msg);
	if (!ok_msg(out.len == n + 3 && memcmp(out.p, "\x80\2", 2) == 0 && memcmp(out.p + 2, expected, n) == 0 &&
			    out.p[n + 2] == '.',
		    "%s", what)) {
		for (size_t i = 0; i < out.len && i < 200; i++)
			printf("%s%02x", i ? " " : "# ", (unsigned char)out.p[i]);
		putchar('\n');
	}
	buf_release(&out);
}

static uint32_t
text(struct vtree *t, enum value_kind kind, const char *s, size_t n)
{
	return value_new_text(t, kind, str_n(s, n));
}

static void
integers(struct vtree *t)
{
	static const struct {
		int64_t v;
		const char *bytes;
		size_t n;
	} all[] = {
		{ 0, BYTES("K\0") },
		{ 255, BYTES("K\xff") },
		{ 256, BYTES("M\0\1") },
		{ 65535, BYTES("M\xff\xff") },
		{ 65536, BYTES("J\0\0\1\0") },
		{ -1, BYTES("J\xff\xff\xff\xff") },
		{ INT32_MAX, BYTES("J\xff\xff\xff\x7f") },
		{ INT32_MIN, BYTES("J\0\0\0\x80") },
		{ (int64_t)INT32_MAX + 1, BYTES("\x8a\5\0\0\0\x80\0") },
		{ (int64_t)INT32_MIN - 1, BYTES("\x8a\5\xff\xff\xff\x7f\xff") },
		{ INT64_MAX, BYTES("\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f") },
		{ INT64_MIN, BYTES("\x8a\x08\0\0\0\0\0\0\0\x80") },
	};
	char name[32];

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		snprintf(name, sizeof(name), "%" PRId64, all[i].v);
		writes(t, value_new_int(t, all[i].v), NULL, all[i].bytes, all[i].n, name);
	}
	writes(t, text(t, VALUE_BIGINT, BYTES("\0\0\0\0\0\0\0\0\1")), NULL, BYTES("\x8a\x09\0\0\0\0\0\0\0\0\1"), "2^64");
}

static void
plain(struct vtree *t)
{
	uint32_t h = value_new_seq(t, VALUE_LIST), s, d;

	writes(t, value_new_none(t), NULL, BYTES("N"), "None");
	writes(t, value_new_bool(t, true), NULL, BYTES("\x88"), "True");
	writes(t, value_new_float(t, 1), NULL, BYTES("G\x3f\xf0\0\0\0\0\0\0"), "1.0");
	writes(t, value_new_tuple(t, NULL, 0), NULL, BYTES(")"), "()");
	writes(t, h, NULL, BYTES("]"), "[]");
	value_append(t, h, value_new_int(t, 1));
	writes(t, h, NULL, BYTES("]K\1a"), "[1]");
	value_append(t, h, h);
	writes(t, h, NULL, BYTES("]q\0(K\1h\0e"), "a list in itself");
	s = text(t, VALUE_STR, BYTES("\xc3\xa9"));
	writes(t, s, NULL, BYTES("X\2\0\0\0\xc3\xa9"), "text");
	d = value_new_seq(t, VALUE_DICT);
	value_set(t, d, s, s);
	writes(t, d, NULL, BYTES("}X\2\0\0\0\xc3\xa9q\0h\0s"), "a text that occurs twice");
	d = value_new_ordered(t);
	value_set_state(t, d, value_new_seq(t, VALUE_DICT));
	writes(t, d, NULL, BYTES("ccollections\nOrderedDict\nq\0)R}b"), "OrderedDict with a state");
	writes(t, text(t, VALUE_PYSTR, BYTES("a")), NULL, BYTES("X\1\0\0\0a"), "a Python 2 str that is UTF-8");
	writes(t, text(t, VALUE_PYSTR, BYTES("\xff")), NULL, BYTES("U\1\xff"), "a Python 2 str that is not UTF-8");
	writes(t, text(t, VALUE_BYTES, BYTES("\xff")), NULL, BYTES("c_codecs\nencode\nq\0X\2\0\0\0\xc3\xbfX\6\0\0\0latin1q\1\x86R"),
	       "bytes");
	writes(t, text(t, VALUE_BYTES, "", 0), NULL, BYTES("c_codecs\nencode\nq\0X\0\0\0\0X\6\0\0\0latin1q\1\x86R"),
	       "empty bytes, in a form that weights_only accepts");
	writes(t, text(t, VALUE_BYTEARRAY, "", 0), NULL, BYTES("c__builtin__\nbytearray\nq\0)R"), "an empty bytearray");
	h = value_new_seq(t, VALUE_SET);
	value_append(t, h, value_new_int(t, 1));
	writes(t, h, NULL, BYTES("c__builtin__\nset\nq\0]K\1a\x85R"), "a set");
	h = value_new_seq(t, VALUE_FROZENSET);
	writes(t, h, NULL, BYTES("c__builtin__\nfrozenset\nq\0]\x85R"), "a frozenset");
	writes(t, value_new_persid(t, s), NULL, BYTES("X\2\0\0\0\xc3\xa9Q"), "a persistent id");
	writes(t, value_new_global(t, str_c("builtins"), str_c("range")), NULL, BYTES("c__builtin__\nxrange\nq\0"), "range");
	writes(t, value_new_global(t, str_c("m"), str_c("A.B")), NULL, BYTES("c__builtin__\ngetattr\nq\0cm\nA\nq\1X\1\0\0\0B\x86R"),
	       "a dotted name");
}

static void
objects(struct vtree *t)
{
	struct vobject o = { HOW_REDUCE, 0, 0, VALUE_ABSENT, VALUE_ABSENT, VALUE_ABSENT, VALUE_ABSENT, VALUE_ABSENT };
	uint32_t args[2], kw = value_new_seq(t, VALUE_DICT), h;

	o.callable = value_new_global(t, str_c("m"), str_c("C"));
	args[0] = value_new_int(t, 7);
	o.args = value_new_tuple(t, args, 1);
	writes(t, value_new_object(t, &o), NULL, BYTES("cm\nC\nq\0K\7\x85R"), "REDUCE");
	o.how = HOW_OBJ;
	writes(t, value_new_object(t, &o), NULL, BYTES("cm\nC\nq\0K\7\x85R"), "OBJ with arguments is a call");
	o.how = HOW_NEWOBJ;
	writes(t, value_new_object(t, &o), NULL, BYTES("cm\nC\nq\0K\7\x85\x81"), "NEWOBJ");
	o.how = HOW_NEWOBJ_EX;
	o.kwargs = kw;
	writes(t, value_new_object(t, &o), NULL, BYTES("cm\nC\nq\0K\7\x85\x81"), "NEWOBJ_EX without keywords");
	value_set(t, kw, text(t, VALUE_STR, BYTES("k")), value_new_none(t));
	writes(t, value_new_object(t, &o), NULL, BYTES("ccopy_reg\n__newobj_ex__\nq\0cm\nC\nq\1K\7\x85}X\1\0\0\0kNs\x87R"),
	       "NEWOBJ_EX");
	o.how = HOW_OBJ;
	o.kwargs = VALUE_ABSENT;
	o.args = value_new_tuple(t, NULL, 0);
	o.state = value_new_none(t);
	o.appended = value_new_seq(t, VALUE_LIST);
	o.items = value_new_seq(t, VALUE_DICT);
	value_append(t, o.appended, args[0]);
	value_set(t, o.items, args[0], args[0]);
	h = value_new_object(t, &o);
	writes(t, h, NULL, BYTES("(cm\nC\nq\0oK\7aK\7K\7sNb"), "OBJ, filled");
	args[0] = args[1] = h;
	writes(t, value_new_tuple(t, args, 2), NULL, BYTES("(cm\nC\nq\0oq\1K\7aK\7K\7sNbh\1\x86"), "an object that occurs twice");
}

static void
batches(struct vtree *t)
{
	uint32_t list = value_new_seq(t, VALUE_LIST);
	struct buf expected = BUF_INIT;

	buf_addc(&expected, ']');
	for (int i = 0; i < 2001; i++) {
		value_append(t, list, value_new_none(t));
		if (i == 0 || i == 1000)
			buf_addc(&expected, '(');
		buf_addc(&expected, 'N');
		if (i == 999 || i == 1999)
			buf_addc(&expected, 'e');
	}
	buf_addc(&expected, 'a');
	writes(t, list, NULL, expected.p, expected.len, "2001 items in batches of 1000");
	buf_release(&expected);
}

struct leaves {
	const struct vtree *t;
	uint32_t inner;
	int calls;
};

static int
write_leaf(void *arg, struct pickle_out *o, enum value_leaf kind, uint32_t index, struct err *err)
{
	struct leaves *l = arg;

	l->calls++;
	if (kind != LEAF_TENSOR)
		return err_set(err, ERR_INPUT, "no tensor");
	pickle_put(o, "%g(%t%s%i", "m", "f", "cpu", str_c("x"), index == 9 ? UINT64_MAX : (uint64_t)index);
	if (pickle_value(o, l->inner, err) < 0)
		return -1;
	pickle_put(o, "tR");
	return 0;
}

static int
fail(void *arg, const void *p, size_t n, struct err *err)
{
	(void)p, (void)n;
	++*(int *)arg;
	return err_set(err, ERR_SYSTEM, "full");
}

static void
leaves(struct vtree *t)
{
	uint32_t items[4], list = value_new_seq(t, VALUE_LIST), h;
	struct leaves l = { t, list, 0 };
	struct pickle_leaves how = { write_leaf, &l };
	struct buf out = BUF_INIT;
	struct err err = ERR_INIT;
	int writes_tried = 0;

	items[0] = items[2] = value_new_leaf(t, LEAF_TENSOR, 1);
	items[1] = value_new_leaf(t, LEAF_TENSOR, 9);
	items[3] = list;
	h = value_new_tuple(t, items, 4);
	writes(t, h, &how,
	       BYTES("(cm\nf\nq\0(X\3\0\0\0cpuq\1X\1\0\0\0xK\1]q\2tRq\3"
		     "h\0(h\1X\1\0\0\0x\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\0h\2tRh\3h\2t"),
	       "leaves share memo entries");
	is_int(l.calls, 4, "each leaf is written twice: first to count references, then to write");
	ok(pickle_encode(t, items[0], NULL, add, &out, &err) < 0 && err.code == ERR_INPUT);
	err_clear(&err);
	ok(pickle_encode(t, value_new_leaf(t, LEAF_STORAGE, 0), &how, add, &out, &err) < 0);
	is_str(err.msg, "no tensor", "the error of a leaf is reported");
	err_clear(&err);
	ok(pickle_encode(t, h, &how, fail, &writes_tried, &err) < 0);
	is_str(err.msg, "full", "an error of the output is reported");
	is_int(writes_tried, 1, "nothing is written after an error");
	err_clear(&err);
	for (int i = 0; i < 300; i++)
		h = value_new_tuple(t, &h, 1);
	ok(pickle_encode(t, h, &how, add, &out, &err) < 0);
	is_str(err.msg, "objects nested more than 200 deep cannot be written", "an object that is nested too deep is refused");
	buf_release(&out);
}

/* Decodes p and encodes the result. */
static void
again(const char *p, size_t n, const char *expected, size_t expected_n, const char *what)
{
	struct vtree *t = vtree_new();
	struct source *src = source_memory(p, n, "mem");
	struct err err = ERR_INIT;
	struct pickle_place place = { .src = src, .limit = UINT64_MAX };
	uint32_t root;

	if (pickle_decode(t, &place, NULL, &root, &err) < 0)
		tap_bail(err.msg);
	writes(t, root, NULL, expected, expected_n, what);
	source_close(src);
	vtree_free(t);
}

/*
 * Objects that are constructed from their parts in one step, where a part refers back to the object. The bytes of tuples are
 * those of Python's pickle.dumps after pickletools.optimize. Python writes the other objects in another way: it constructs the
 * object a second time and drops that. Our bytes were unpickled with CPython 3.11 and the graph was compared with the original,
 * including identities.
 */
static void
loops(void)
{
	again(BYTES("]q\0h\0\x85q\1a0h\1."), BYTES("]q\0h\0\x85q\1a0h\1"), "a tuple in its own list");
	again(BYTES("(]q\0(h\0K\1K\2K\3tq\1aK\1K\2K\0031h\1."), BYTES("(]q\0(h\0K\1K\2K\3tq\1aK\1K\2K\0031h\1"),
	      "a tuple of four in its own list");
	again(BYTES("cm\nC\n]q\0\x85Rq\1h\0h\1a0."),
	      BYTES("cm\nC\nq\0]q\1h\0h\1\x85q\2Rq\3a0h\2"
		    "00h\3"),
	      "an object in the list that is its argument");
	again(BYTES("cm\nC\n)}X\1\0\0\0k]q\0s\x92q\1h\0h\1a0."),
	      BYTES("ccopy_reg\n__newobj_ex__\nq\0cm\nC\nq\1)}q\2X\1\0\0\0k]q\3h\0h\1)}X\1\0\0\0kh\3s\x87Rq\4as0000h\4"),
	      "an object in the list that is its keyword argument");
	again(BYTES("]q\0h\0Qa."), BYTES("]q\0h\0Qq\1a"), "a list in its persistent id");
	again(BYTES("]q\0h\0Qq\1ah\1."), BYTES("]q\0h\0Qq\1a0h\1"), "a persistent id in its own list");
	again(BYTES("\x8fq\1(cm\nC\n)\x81q\0h\1b\x90."), BYTES("c__builtin__\nset\nq\0]cm\nC\nq\1)\x81q\2h\0]h\2a\x85Rq\3ba00h\3"),
	      "a set in the state of its own item");
	again(BYTES("(cm\nC\n)\x81q\0]q\2b\x91q\1h\2h\1a0h\1."),
	      BYTES("c__builtin__\nfrozenset\nq\0]cm\nC\nq\1)\x81q\2]q\3h\0]h\2a\x85Rq\4aba00h\4"),
	      "a frozenset in the state of its own item");
}

/* Values that are nested too deep, for each kind of value that contains others. */
static void
deep(struct vtree *t)
{
	enum { KINDS = 13 };
	struct vobject o;
	uint32_t global = value_new_global(t, str_c("m"), str_c("C")), none = value_new_none(t);
	uint32_t empty = value_new_tuple(t, NULL, 0);

	for (unsigned kind = 0; kind < KINDS; kind++) {
		uint32_t h = value_new_tuple(t, &none, 1), outer, four[4] = { none, none, none, none };
		struct buf out = BUF_INIT;
		struct err err = ERR_INIT;

		for (int i = 0; i < 300; i++) {
			o = (struct vobject){ HOW_NEWOBJ,   global,       empty,        VALUE_ABSENT,
					      VALUE_ABSENT, VALUE_ABSENT, VALUE_ABSENT, VALUE_ABSENT };
			four[3] = h;
			switch (kind) {
			case 0: outer = value_new_tuple(t, &h, 1); break;
			case 1: outer = value_new_tuple(t, four, 4); break;
			case 2: outer = value_new_seq(t, VALUE_LIST); break;
			case 3: outer = value_new_seq(t, VALUE_SET); break;
			case 4: outer = value_new_seq(t, VALUE_FROZENSET); break;
			case 5:
			case 6: outer = value_new_seq(t, VALUE_DICT); break;
			case 7: outer = value_new_persid(t, h); break;
			case 8: outer = value_new_ordered(t); break;
			default:
				o.how = kind == 9 ? HOW_OBJ : kind == 10 ? HOW_NEWOBJ_EX : HOW_REDUCE;
				if (kind == 9)
					o.callable = h;
				if (kind == 10)
					value_set(t, o.kwargs = value_new_seq(t, VALUE_DICT), none, h);
				if (kind == 11)
					o.args = value_new_tuple(t, &h, 1);
				if (kind == 12)
					o.state = h;
				outer = value_new_object(t, &o);
				break;
			}
			if (kind >= 2 && kind <= 4)
				value_append(t, outer, h);
			if (kind == 5)
				value_set(t, outer, h, none);
			if (kind == 6)
				value_set(t, outer, none, h);
			if (kind == 8)
				value_set_state(t, outer, h);
			h = outer;
		}
		ok_msg(pickle_encode(t, h, NULL, add, &out, &err) < 0, "nested too deep, kind %u", kind);
		is_str(err.msg, "objects nested more than 200 deep cannot be written", "the error says why");
		buf_release(&out);
	}
}

/* Texts that are longer than the output buffer, and values before and after them. */
static void
large(struct vtree *t)
{
	static char much[200000], binary[300];
	struct buf expected = BUF_INIT, out = BUF_INIT;
	struct err err = ERR_INIT;
	uint32_t list = value_new_seq(t, VALUE_LIST);
	int tried = 0;

	memset(much, 'x', sizeof(much));
	memset(binary, 0xff, sizeof(binary));
	value_append(t, list, text(t, VALUE_STR, much, sizeof(much)));
	value_append(t, list, text(t, VALUE_PYSTR, "\xff", 1));
	value_append(t, list, text(t, VALUE_PYSTR, binary, sizeof(binary)));
	for (int i = 0; i < 100; i++)
		value_append(t, list, text(t, VALUE_STR, much, 1000));
	value_append(t, list, value_new_global(t, str_c("m"), str_c("C")));
	buf_add(&expected, BYTES("](X\x40\x0d\3\0"));
	buf_add(&expected, much, sizeof(much));
	buf_add(&expected, BYTES("U\1\xffT\x2c\1\0\0"));
	buf_add(&expected, binary, sizeof(binary));
	for (int i = 0; i < 100; i++) {
		buf_add(&expected, BYTES("X\xe8\3\0\0"));
		buf_add(&expected, much, 1000);
	}
	buf_add(&expected, BYTES("cm\nC\nq"));
	buf_addc(&expected, 0);
	buf_addc(&expected, 'e');
	writes(t, list, NULL, expected.p, expected.len, "large texts");
	ok(pickle_encode(t, list, NULL, fail, &tried, &err) < 0 && err.code == ERR_SYSTEM);
	is_int(tried, 1, "after the first piece has failed, no other is written");
	buf_release(&expected);
	buf_release(&out);
}

int
main(void)
{
	struct vtree *t = vtree_new();

	integers(t);
	plain(t);
	objects(t);
	batches(t);
	leaves(t);
	loops();
	deep(t);
	large(t);
	vtree_free(t);
	return tap_done();
}
