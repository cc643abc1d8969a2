/* pickle_decode: every opcode, the results of reductions, and refusals. The pickles are written by hand. */
#include "pickle/machine.h"

#include <unistd.h>

#include "base/buf.h"
#include "base/num.h"
#include "tap.h"

#define BYTES(literal) literal, sizeof(literal) - 1

static void show(struct buf *b, const struct vtree *t, uint32_t h, int depth);

static void
show_items(struct buf *b, const struct vtree *t, uint32_t h, const char *open, const char *close, int depth)
{
	buf_adds(b, open);
	for (size_t i = 0; i < value_len(t, h); i++) {
		buf_adds(b, i ? "," : "");
		show(b, t, value_item(t, h, i), depth - 1);
	}
	buf_adds(b, close);
}

static void
show_text(struct buf *b, const char *mark, struct str s)
{
	buf_addf(b, "%s'", mark);
	for (size_t i = 0; i < s.len; i++) {
		if (s.p[i] < ' ' || s.p[i] > '~')
			buf_addf(b, "\\%02x", (unsigned char)s.p[i]);
		else
			buf_addc(b, s.p[i]);
	}
	buf_addc(b, '\'');
}

static void
show_object(struct buf *b, const struct vtree *t, uint32_t h, int depth)
{
	static const char *const how[] = { "reduce", "newobj", "newobj_ex", "obj" };
	const struct vobject *o = value_object(t, h);

	buf_addf(b, "<%s ", how[o->how]);
	show(b, t, o->callable, depth - 1);
	show(b, t, o->args, depth - 1);
	if (o->kwargs != VALUE_ABSENT)
		show(b, t, o->kwargs, depth - 1);
	if (o->appended != VALUE_ABSENT) {
		buf_adds(b, " appended");
		show(b, t, o->appended, depth - 1);
	}
	if (o->items != VALUE_ABSENT) {
		buf_adds(b, " items");
		show(b, t, o->items, depth - 1);
	}
	if (o->state != VALUE_ABSENT) {
		buf_adds(b, " state ");
		show(b, t, o->state, depth - 1);
	}
	buf_addc(b, '>');
}

static void
show_dict(struct buf *b, const struct vtree *t, uint32_t h, int depth)
{
	buf_adds(b, value_ordered(t, h) ? "O{" : "{");
	for (size_t i = 0; i < value_len(t, h); i++) {
		buf_adds(b, i ? "," : "");
		show(b, t, value_key(t, h, i), depth - 1);
		buf_addc(b, ':');
		show(b, t, value_val(t, h, i), depth - 1);
	}
	buf_addc(b, '}');
	if (value_state(t, h) != VALUE_ABSENT) {
		buf_adds(b, " state ");
		show(b, t, value_state(t, h), depth - 1);
	}
}

static void
show(struct buf *b, const struct vtree *t, uint32_t h, int depth)
{
	char number[32];
	uint32_t index = 0;

	if (depth == 0) {
		buf_adds(b, "...");
		return;
	}
	switch (value_kind(t, h)) {
	case VALUE_NONE: buf_adds(b, "None"); break;
	case VALUE_BOOL: buf_adds(b, value_bool(t, h) ? "True" : "False"); break;
	case VALUE_INT: buf_addf(b, "%" PRId64, value_int(t, h)); break;
	case VALUE_BIGINT: show_text(b, "big", value_text(t, h)); break;
	case VALUE_FLOAT: num_repr(value_float(t, h), number), buf_adds(b, number); break;
	case VALUE_STR: show_text(b, "", value_text(t, h)); break;
	case VALUE_PYSTR: show_text(b, "s", value_text(t, h)); break;
	case VALUE_BYTES: show_text(b, "b", value_text(t, h)); break;
	case VALUE_BYTEARRAY: show_text(b, "a", value_text(t, h)); break;
	case VALUE_TUPLE: show_items(b, t, h, "(", ")", depth); break;
	case VALUE_LIST: show_items(b, t, h, "[", "]", depth); break;
	case VALUE_SET: show_items(b, t, h, "S{", "}", depth); break;
	case VALUE_FROZENSET: show_items(b, t, h, "F{", "}", depth); break;
	case VALUE_PERSID: show_items(b, t, h, "P<", ">", depth); break;
	case VALUE_DICT: show_dict(b, t, h, depth); break;
	case VALUE_GLOBAL:
		buf_addstr(b, value_module(t, h));
		buf_addc(b, '.');
		buf_addstr(b, value_name(t, h));
		break;
	case VALUE_OBJECT: show_object(b, t, h, depth); break;
	case VALUE_LEAF:
		buf_addf(b, "leaf%d:", (int)value_leaf(t, h, &index));
		buf_addf(b, "%" PRIu32, index);
		break;
	}
}

static void
decode(struct source *src, uint64_t limit, const struct pickle_hooks *hooks, struct buf *out)
{
	struct vtree *t = vtree_new();
	struct err err = ERR_INIT;
	struct pickle_place place = { .src = src, .limit = limit };
	uint32_t root;

	buf_clear(out);
	if (pickle_decode(t, &place, hooks, &root, &err) < 0)
		buf_adds(out, err.msg);
	else
		show(out, t, root, 6);
	vtree_free(t);
}

/* Decodes the pickle from memory, with the end of its record known, and from a pipe. */
static void
gives(const char *p, size_t n, const char *expected)
{
	struct source *src = source_memory(p, n, "mem");
	struct buf out = BUF_INIT;
	struct err err = ERR_INIT;
	int fds[2];

	decode(src, UINT64_MAX, NULL, &out);
	is_str(out.p, expected, expected);
	decode(src, n, NULL, &out);
	ok_msg(strcmp(out.p, expected) == 0 || strstr(out.p, "record") != NULL,
	       "the result is the same with the end of the record known");
	source_close(src);
	if (pipe(fds) < 0 || write(fds[1], p, n) != (ssize_t)n)
		tap_bail("no pipe");
	close(fds[1]);
	ok(source_fd(&src, fds[0], "mem", NULL, &err) == 0);
	decode(src, UINT64_MAX, NULL, &out);
	ok_msg(strcmp(out.p, expected) == 0, "the result is the same from a pipe");
	source_close(src);
	buf_release(&out);
}

static void
literals(void)
{
	gives(BYTES("N."), "None");
	gives(BYTES("\x80\2\x88."), "True");
	gives(BYTES("\x80\2\x89."), "False");
	gives(BYTES("I00\n."), "False");
	gives(BYTES("I01\n."), "True");
	gives(BYTES("I-17\n."), "-17");
	gives(BYTES("J\xff\xff\xff\xff."), "-1");
	gives(BYTES("J\xff\xff\xff\x7f."), "2147483647");
	gives(BYTES("K\xff."), "255");
	gives(BYTES("M\1\2."), "513");
	gives(BYTES("L12L\n."), "12");
	gives(BYTES("L9223372036854775807L\n."), "9223372036854775807");
	gives(BYTES("L-9223372036854775808L\n."), "-9223372036854775808");
	gives(BYTES("L18446744073709551616L\n."), "big'\\00\\00\\00\\00\\00\\00\\00\\00\\01'");
	gives(BYTES("L-18446744073709551616\n."), "big'\\00\\00\\00\\00\\00\\00\\00\\00\\ff'");
	gives(BYTES("\x8a\0."), "0");
	gives(BYTES("\x8a\1\xff."), "-1");
	gives(BYTES("\x8a\2\xff\0."), "255");
	gives(BYTES("\x8a\2\x80\xff."), "-128");
	gives(BYTES("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."), "big'l\\fc\\9cF\\f9 j\\a8P\\19'");
	gives(BYTES("\x8b\3\0\0\0\1\0\0."), "1");
	gives(BYTES("F-1.5e3\n."), "-1500.0");
	gives(BYTES("Finf\n."), "inf");
	gives(BYTES("G\x3f\xf0\0\0\0\0\0\0."), "1.0");
	gives(BYTES("S'a\\n\\x41\\101\\q\\''\n."), "s'a\\0aAA\\q''");
	gives(BYTES("T\2\0\0\0\xff\0."), "s'\\ff\\00'");
	gives(BYTES("U\3abc."), "s'abc'");
	gives(BYTES("Va\xe9\\u20ac\\U0001f600\\\\u0041\\ud800\n."), "'a\\c3\\a9\\e2\\82\\ac\\f0\\9f\\98\\80\\\\u0041\\ed\\a0\\80'");
	gives(BYTES("X\3\0\0\0\xed\xa0\x80."), "'\\ed\\a0\\80'");
	gives(BYTES("\x8c\2hi."), "'hi'");
	gives(BYTES("\x8d\2\0\0\0\0\0\0\0hi."), "'hi'");
	gives(BYTES("C\2\0\xff."), "b'\\00\\ff'");
	gives(BYTES("B\1\0\0\0z."), "b'z'");
	gives(BYTES("\x8e\1\0\0\0\0\0\0\0z."), "b'z'");
	gives(BYTES("\x96\1\0\0\0\0\0\0\0z."), "a'z'");
}

static void
containers(void)
{
	gives(BYTES(")."), "()");
	gives(BYTES("K\1\x85."), "(1)");
	gives(BYTES("K\1K\2\x86."), "(1,2)");
	gives(BYTES("K\1K\2K\3\x87."), "(1,2,3)");
	gives(BYTES("(K\1K\2K\3K\4t."), "(1,2,3,4)");
	gives(BYTES("(t."), "()");
	gives(BYTES("((l(dt."), "([],{})");
	gives(BYTES("(K\1K\2l."), "[1,2]");
	gives(BYTES("]K\1aK\2a."), "[1,2]");
	gives(BYTES("](K\1K\2K\3e."), "[1,2,3]");
	gives(BYTES("(K\1K\2d."), "{1:2}");
	gives(BYTES("}K\1K\2s."), "{1:2}");
	gives(BYTES("}(K\1K\2K\1K\3u."), "{1:2,1:3}");
	gives(BYTES("\x8f(K\1K\2\x90."), "S{1,2}");
	gives(BYTES("(K\1K\2\x91."), "F{1,2}");
	gives(BYTES("]q\0(K\1h\0e."), "[1,[1,[1,[1,[1,[...,...]]]]]]");
	gives(BYTES("K\1K\0020."), "1");
	gives(BYTES("K\1(0."), "1");
	gives(BYTES("K\1(K\2K\0031."), "1");
	gives(BYTES("K\0012\x86."), "(1,1)");
	gives(BYTES("K\7p5\n0g5\n."), "7");
	gives(BYTES("K\7r\xff\xff\xff\3770j\xff\xff\xff\xff."), "7");
	gives(BYTES("K\7\x94K\x08\x94\x86h\0h\1\x86\x86."), "((7,8),(7,8))");
	gives(BYTES("K\7q\5K\x08\2240h\1."), "8");
	gives(BYTES("\x80\4\x95\1\0\0\0\0\0\0\0N."), "None");
	gives(BYTES("N.trailing"), "None");
}

static void
objects(void)
{
	gives(BYTES("cos\nsystem\n."), "os.system");
	gives(BYTES("\x8c\2os\x8c\6system\x93."), "os.system");
	gives(BYTES("cm\nf\n(K\1tR."), "<reduce m.f(1)>");
	gives(BYTES("cm\nC\n)\x81}X\1\0\0\0aK\1sb."), "<newobj m.C() state {'a':1}>");
	gives(BYTES("cm\nC\n)}X\1\0\0\0aK\1s\x92."), "<newobj_ex m.C(){'a':1}>");
	gives(BYTES("cm\nC\n)R(K\1K\2eK\3K\4sNb."), "<reduce m.C() appended[1,2] items{3:4} state None>");
	gives(BYTES("(cm\nC\nK\1o."), "<reduce m.C(1)>");
	gives(BYTES("(K\1im\nC\n."), "<reduce m.C(1)>");
	gives(BYTES("(cm\nC\no."), "<obj m.C()>");
	gives(BYTES("(im\nC\n."), "<obj m.C()>");
	gives(BYTES("(](K\1eic__builtin__\nset\n."), "<reduce c__builtin__.set([1])>");
	gives(BYTES("(](K\1ei__builtin__\nset\n."), "S{1}");
	gives(BYTES("cm\nC\n)}\x92."), "<newobj m.C()>");
	gives(BYTES("K\1Q."), "P<1>");
	gives(BYTES("Pabc\n."), "P<'abc'>");
	gives(BYTES("ccollections\nOrderedDict\n)R."), "O{}");
	gives(BYTES("ccollections\nOrderedDict\n)\x81."), "O{}");
	gives(BYTES("ccollections\nOrderedDict\n)RK\1K\2s}K\3K\4sb."), "O{1:2} state {3:4}");
	gives(BYTES("ccollections\nOrderedDict\n]]U\1aaK\1aa\x85R."), "O{s'a':1}");
	gives(BYTES("ccollections\nOrderedDict\n](U\1aK\1ta\x85R."), "O{s'a':1}");
	gives(BYTES("ccollections\nOrderedDict\n]K\1a\x85R."), "<reduce collections.OrderedDict([1])>");
	gives(BYTES("ccollections\nOrderedDict\n]]U\1aaK\1aa\x85\x81."), "<newobj collections.OrderedDict([[s'a',1]])>");
	gives(BYTES("c_codecs\nencode\nX\3\0\0\0a\xc3\xbfX\6\0\0\0latin1\x86R."), "b'a\\ff'");
	gives(BYTES("c_codecs\nencode\nX\1\0\0\0aX\6\0\0\0latin1\x86R."), "b'a'");
	gives(BYTES("c_codecs\nencode\nX\1\0\0\0aX\6\0\0\0rot_13\x86R."), "<reduce _codecs.encode('a','rot_13')>");
	gives(BYTES("c_codecs\nencode\nX\3\0\0\0\xe2\x82\xacX\6\0\0\0latin1\x86R."),
	      "<reduce _codecs.encode('\\e2\\82\\ac','latin1')>");
	gives(BYTES("c__builtin__\nbytes\n)R."), "b''");
	gives(BYTES("c__builtin__\nset\n](K\1K\2e\x85R."), "S{1,2}");
	gives(BYTES("cbuiltins\nfrozenset\n](K\1K\2e\x85R."), "F{1,2}");
	gives(BYTES("c__builtin__\nset\n]K\1a\x85\x81."), "<newobj __builtin__.set([1])>");
	gives(BYTES("c__builtin__\nbytearray\nX\2\0\0\0\xc3\xbfX\7\0\0\0latin-1\x86R."), "a'\\ff'");
	gives(BYTES("c__builtin__\nbytearray\nC\1x\x85R."), "a'x'");
	gives(BYTES("ccopy_reg\n_reconstructor\n(cm\nC\nc__builtin__\nobject\nNtR."),
	      "<reduce copy_reg._reconstructor(m.C,__builtin__.object,None)>");
	gives(BYTES("c__builtin__\ncomplex\nG\0\0\0\0\0\0\0\0G\x3f\xf0\0\0\0\0\0\0\x86R."),
	      "<reduce __builtin__.complex(0.0,1.0)>");
}

static void
refused(void)
{
	gives(BYTES(""), "mem: at byte 0: the input ends within a pickle");
	gives(BYTES("K\1"), "mem: at byte 2: the input ends within a pickle");
	gives(BYTES("hello."), "mem: at byte 0: BINGET: memo entry 101 was never stored");
	gives(BYTES("\x80\2<html>"), "mem: at byte 2: byte 0x3c is not a pickle opcode");
	gives(BYTES("<html>"), "mem: at byte 0: a pickle cannot begin with byte 0x3c");
	gives(BYTES("J\1\2"), "mem: at byte 0: BININT: the input ends within the pickle");
	gives(BYTES("X\xff\xff\xff\xff"), "mem: at byte 0: BINUNICODE: the input ends within the pickle");
	gives(BYTES("\x8d\xff\xff\xff\xff\xff\xff\xff\xff"), "mem: at byte 0: BINUNICODE8: the input ends within the pickle");
	gives(BYTES("\x96\0\0\0\0\0\1\0\0abc"), "mem: at byte 0: BYTEARRAY8: the input ends within the pickle");
	gives(BYTES("\x8b\0\0\0\x80"), "mem: at byte 0: LONG4: a negative length");
	gives(BYTES("T\0\0\0\x80"), "mem: at byte 0: BINSTRING: a negative length");
	gives(BYTES("X\2\0\0\0\xc3("), "mem: at byte 0: BINUNICODE: the text is not UTF-8");
	gives(BYTES("I010\n."), "mem: at byte 0: INT: \"010\" is not a decimal number");
	gives(BYTES("I\n."), "mem: at byte 0: INT: \"\" is not a decimal number");
	gives(BYTES("I12"), "mem: at byte 0: INT: the input ends within the pickle");
	gives(BYTES("F1.x\n."), "mem: at byte 0: FLOAT: \"1.x\" is not a number");
	gives(BYTES("Sabc\n."), "mem: at byte 0: STRING: the text is not in quotes");
	gives(BYTES("S'a\\x1'\n."), "mem: at byte 0: STRING: an escape in the text has no meaning");
	gives(BYTES("Va\\u12\n."), "mem: at byte 0: UNICODE: an escape in the text has no meaning");
	gives(BYTES("V\\U00110000\n."), "mem: at byte 0: UNICODE: an escape in the text has no meaning");
	gives(BYTES("."), "mem: at byte 0: STOP: the stack is empty");
	gives(BYTES("K\1(."), "mem: at byte 3: STOP: there is a mark where a value is expected");
	gives(BYTES("K\1t."), "mem: at byte 2: TUPLE: there is no mark on the stack");
	gives(BYTES("K\1\x86."), "mem: at byte 2: TUPLE2: fewer than 2 values are on the stack");
	gives(BYTES("K\1(K\1\x86."), "mem: at byte 5: TUPLE2: fewer than 2 values are on the stack above the last mark");
	gives(BYTES("K\1K\2a."), "mem: at byte 4: APPEND: its target is neither a list nor an object");
	gives(BYTES("]K\1K\2s."), "mem: at byte 5: SETITEM: its target is neither a dict nor an object");
	gives(BYTES("}(K\1u."), "mem: at byte 4: SETITEMS: a key without a value");
	gives(BYTES("](K\1\x90."), "mem: at byte 4: ADDITEMS: its target is neither a set nor an object");
	gives(BYTES("cos\nsystem\n}b."), "mem: at byte 12: BUILD: its target cannot have a state");
	gives(BYTES("}}b."), "mem: at byte 2: BUILD: its target cannot have a state");
	gives(BYTES("K\1K\2\x93."), "mem: at byte 4: STACK_GLOBAL: the module or the name is not text");
	gives(BYTES("cm\nf\nK\1R."), "mem: at byte 7: REDUCE: the arguments are not a tuple");
	gives(BYTES("(o."), "mem: at byte 1: OBJ: nothing is above the mark");
	gives(BYTES("\x82\1."), "mem: at byte 0: EXT1: extension codes mean something only to the program that wrote them");
	gives(BYTES("\x97."), "mem: at byte 0: NEXT_BUFFER: the pickle needs buffers that were kept apart from it");
	gives(BYTES("N\x98."), "mem: at byte 1: READONLY_BUFFER: the pickle needs buffers that were kept apart from it");
	gives(BYTES("\x80\6N."), "mem: at byte 0: PROTO: protocol 6 is newer than 5, the newest known");
	gives(BYTES("Np4294967296\n."), "mem: at byte 1: PUT: \"4294967296\" is not a memo index");
	gives(BYTES("c\xff\nf\n."), "mem: at byte 0: GLOBAL: a name that is not UTF-8");
	gives(BYTES("(im\n\xff\n."), "mem: at byte 1: INST: a name that is not UTF-8");
	gives(BYTES("cm\n"), "mem: at byte 0: GLOBAL: the input ends within the pickle");
}

/*
 * One object (memo 1) is passed again and again to a function that copies it. When the copies have become larger than the
 * pickle, further calls stay calls. made: the kind of the first result.
 */
static void
copies(struct str callable, const struct buf *args, enum value_kind made, const char *what)
{
	struct buf b = BUF_INIT;
	struct vtree *t = vtree_new();
	struct source *src;
	struct err err = ERR_INIT;
	uint32_t root;

	buf_addc(&b, '(');
	buf_addstr(&b, callable);
	buf_add(&b, "q\0", 2);
	buf_add(&b, args->p, args->len);
	buf_adds(&b, "q\1");
	for (int i = 0; i < 2000; i++)
		buf_add(&b, "h\0h\1R", 5);
	buf_adds(&b, "t.");
	src = source_memory(b.p, b.len, "mem");
	ok_msg(pickle_decode(t, &(struct pickle_place){ .src = src, .limit = UINT64_MAX }, NULL, &root, &err) == 0,
	       "%s, 2000 times: %s", what, err.msg);
	ok_msg(value_kind(t, value_item(t, root, 2)) == made, "the first call gives a copy");
	ok_msg(value_kind(t, value_item(t, root, 2001)) == VALUE_OBJECT, "the last call stays a call");
	source_close(src);
	vtree_free(t);
	buf_release(&b);
}

static void
all_copies(void)
{
	struct buf args = BUF_INIT;

	buf_adds(&args, "](");
	for (int i = 0; i < 2000; i++)
		buf_add(&args, "K\1K\2\x86", 5);
	buf_adds(&args, "e\x85");
	copies(str_c("ccollections\nOrderedDict\n"), &args, VALUE_DICT, "OrderedDict of pairs");
	copies(str_c("c__builtin__\nfrozenset\n"), &args, VALUE_FROZENSET, "frozenset of a list");
	buf_clear(&args);
	buf_add(&args, "X\xa0\x0f\0\0", 5);
	for (int i = 0; i < 2000; i++)
		buf_adds(&args, "\xc3\xbf");
	buf_add(&args, "X\6\0\0\0latin1\x86", 12);
	copies(str_c("c_codecs\nencode\n"), &args, VALUE_BYTES, "bytes of a text");
	copies(str_c("c__builtin__\nbytearray\n"), &args, VALUE_BYTEARRAY, "bytearray of a text");
	buf_release(&args);
}

/* One value or mark more than the limit. */
static void
full(void)
{
	static const char *const what[] = { "N", "(" }, *const why[] = { "NONE: more than 16777216 values on the stack",
									 "MARK: more than 16777216 marks" };
	char expected[100];

	for (size_t i = 0; i < 2; i++) {
		struct buf b = BUF_INIT;
		struct vtree *t = vtree_new();
		struct source *src;
		struct err err = ERR_INIT;
		uint32_t root;

		buf_fill(&b, what[i][0], 16777217);
		src = source_memory(b.p, b.len, "mem");
		ok(pickle_decode(t, &(struct pickle_place){ .src = src, .limit = UINT64_MAX }, NULL, &root, &err) < 0);
		snprintf(expected, sizeof(expected), "mem: at byte 16777216: %s", why[i]);
		is_str(err.msg, expected, why[i]);
		source_close(src);
		vtree_free(t);
		buf_release(&b);
	}
}

/* One list is passed to set() again and again. The copies together stay below the size of the pickle. */
static void
bombs(void)
{
	struct buf b = BUF_INIT;
	struct vtree *t = vtree_new();
	struct source *src;
	struct err err = ERR_INIT;
	uint32_t root;
	char digits[5000];

	buf_adds(&b, "(c__builtin__\nset\nq");
	buf_addc(&b, 0);
	buf_adds(&b, "](");
	for (int i = 0; i < 10000; i++)
		buf_add(&b, "K\1", 2);
	buf_add(&b, "e\x85q\1", 4);
	for (int i = 0; i < 10000; i++)
		buf_add(&b, "h\0h\1R", 5);
	buf_adds(&b, "t.");
	src = source_memory(b.p, b.len, "mem");
	ok(pickle_decode(t, &(struct pickle_place){ .src = src, .limit = UINT64_MAX }, NULL, &root, &err) == 0);
	is_uint(value_len(t, root), 10002, "all items are decoded");
	ok(value_kind(t, value_item(t, root, 2)) == VALUE_SET);
	ok_msg(value_kind(t, value_item(t, root, 10001)) == VALUE_OBJECT, "the last items stay calls");
	source_close(src);

	memset(digits, '9', sizeof(digits));
	buf_clear(&b);
	buf_addc(&b, 'L');
	buf_add(&b, digits, sizeof(digits));
	buf_adds(&b, "\n.");
	src = source_memory(b.p, b.len, "mem");
	ok(pickle_decode(t, &(struct pickle_place){ .src = src, .limit = UINT64_MAX }, NULL, &root, &err) < 0);
	is_str(err.msg, "mem: at byte 0: LONG: a number of more than 4300 digits", "a number of too many digits is refused");
	source_close(src);
	vtree_free(t);
	buf_release(&b);
}

/* The largest number of memo entries whose numbers leave gaps, and one more. */
static void
gaps(void)
{
	struct buf b = BUF_INIT, out = BUF_INIT;
	struct source *src;

	buf_addc(&b, 'N');
	for (uint32_t i = 0; i <= 1 << 20; i++) {
		if (i == 1 << 20) {
			src = source_memory(b.p, b.len, "mem");
			decode(src, UINT64_MAX, NULL, &out);
			ok_msg(strstr(out.p, "the input ends within a pickle") != NULL,
			       "the largest number of such memo entries is accepted");
			source_close(src);
		}
		buf_addc(&b, 'r');
		buf_le32(&b, 1000 + 3 * i);
	}
	buf_addc(&b, '.');
	src = source_memory(b.p, b.len, "mem");
	decode(src, UINT64_MAX, NULL, &out);
	is_str(out.p,
	       "mem: at byte 5242881: LONG_BINPUT: more than 1048576 memo entries whose numbers leave gaps, which no "
	       "pickler makes",
	       "one more");
	source_close(src);
	buf_release(&b);
	buf_release(&out);
}

/* Memo indexes that are small, large, and small again; texts that are larger than the look-ahead. */
static void
extent(void)
{
	struct buf b = BUF_INIT;
	struct vtree *t = vtree_new();
	struct source *src;
	struct err err = ERR_INIT;
	uint32_t root, index;
	struct pickle_place place = { .limit = UINT64_MAX };
	bool good = true;

	buf_addc(&b, '(');
	for (uint32_t i = 0; i < 5000; i++) {
		buf_addc(&b, 'J');
		buf_le32(&b, i);
		buf_addc(&b, 'r');
		buf_le32(&b, i < 1000 ? i : i * 858993u);
	}
	for (uint32_t i = 0; i < 5000; i++) {
		buf_addc(&b, 'j');
		buf_le32(&b, i < 1000 ? i : i * 858993u);
	}
	buf_addc(&b, 'X');
	buf_le32(&b, 3000000);
	buf_fill(&b, 'x', 3000000);
	buf_addc(&b, 'V');
	buf_fill(&b, 'y', 200000);
	buf_adds(&b, "\nt.rest");
	src = source_memory(b.p, b.len, "mem");
	place.src = src;
	ok(pickle_decode(t, &place, NULL, &root, &err) == 0);
	is_uint(place.end, b.len - 4, "the end is reported as the byte after STOP");
	for (index = 0; index < 5000; index++)
		good = good && value_item(t, root, index) == value_item(t, root, index + 5000);
	ok_msg(good, "5000 memo entries");
	is_uint(value_text(t, value_item(t, root, 10000)).len, 3000000, "a long text");
	is_uint(value_text(t, value_item(t, root, 10001)).len, 200000, "a long line");
	source_close(src);
	vtree_free(t);
	buf_release(&b);
}

static int
take_persid(void *arg, struct vtree *t, uint32_t id, uint32_t *out, struct err *err)
{
	if (value_kind(t, id) != VALUE_INT)
		return err_set(err, ERR_INPUT, "not that");
	if (value_int(t, id) == 9)
		return 0;
	*out = value_new_leaf(t, LEAF_STORAGE, (*(uint32_t *)arg)++);
	return 1;
}

static int
take_reduce(void *arg, struct vtree *t, const struct pickle_call *call, uint32_t *out, struct err *err)
{
	(void)err;
	if (!value_is_global(t, call->callable, "m", "tensor") || value_len(t, call->args) != 1)
		return 0;
	*out = value_new_leaf(t, LEAF_TENSOR, (uint32_t)call->off + (*(uint32_t *)arg)++);
	return 1;
}

static int
take_build(void *arg, struct vtree *t, uint32_t target, uint32_t state, struct err *err)
{
	(void)arg, (void)err;
	return value_leaf(t, target, NULL) == LEAF_TENSOR && value_kind(t, state) == VALUE_NONE;
}

static void
hooks(void)
{
	static const char pickle[] = "(K\1QK\011Qcm\ntensor\nK\1Q\x85RNbcm\nother\n)Rcm\ntensor\nN\x85\x81t.";
	static const char wrong[] = "]Q.", built[] = "K\1QNb.";
	struct buf out = BUF_INIT;
	uint32_t count = 0;
	struct pickle_hooks h = { .persid = take_persid, .reduce = take_reduce, .build = take_build, .arg = &count };
	struct source *src = source_memory(pickle, sizeof(pickle) - 1, "mem");

	decode(src, UINT64_MAX, &h, &out);
	is_str(out.p, "(leaf1:0,P<9>,leaf2:23,<reduce m.other()>,leaf2:50)", "hooks turn persistent ids and calls into leaves");
	source_close(src);
	src = source_memory(wrong, sizeof(wrong) - 1, "mem");
	decode(src, UINT64_MAX, &h, &out);
	is_str(out.p, "not that", "a hook's error");
	source_close(src);
	src = source_memory(built, sizeof(built) - 1, "mem");
	decode(src, UINT64_MAX, &h, &out);
	is_str(out.p, "mem: at byte 4: BUILD: its target cannot have a state", "BUILD of a leaf without a hook is refused");
	source_close(src);
	buf_release(&out);
}

/* Returns the sum of the numbers in the first argument, and consumes the arguments. */
static int
take_sum(void *arg, struct vtree *t, const struct pickle_call *call, uint32_t *out, struct err *err)
{
	const uint32_t items = value_item(t, call->args, 0);
	int64_t sum = 0;

	(void)arg;
	(void)err;
	for (size_t i = 0; i < value_len(t, items); i++)
		sum += value_int(t, value_item(t, items, i));
	value_consume(t, call->args);
	*out = value_new_float(t, (double)sum);
	return 1;
}

/* Consumed values are dropped unless the pickle needs them again. Each pickle is [f((1, 2, 3), ...), f((4, 5, 6), ...), ...]. */
static void
consuming(void)
{
	static const struct {
		const char *what, *p;
		size_t n;
		const char *expected;
		uint32_t nodes; /* in addition to the 4 of every tree, the list and the global */
	} cases[] = {
#define CASE(what, p, expected, nodes) { what, p, sizeof(p) - 1, expected, nodes }
		CASE("nothing is needed again",
		     "]q\0(cm\nf\nq\1(K\1K\2K\3tq\2]q\3\x86q\4Rq\5"
		     "h\1(K\4K\5K\6tq\6}q\7\x86q\10Rq\11e.",
		     "[6.0,15.0]", 2),
		CASE("a tuple is needed again", "]q\0(cm\nf\nq\1(K\1K\2K\3tq\2\x85q\3Rq\4h\1(K\4K\5K\6tq\5\x85q\6Rq\7h\2e.",
		     "[6.0,15.0,(1,2,3)]", 3),
		CASE("the arguments are needed again", "]q\0(cm\nf\nq\1(K\1K\2K\3tq\2\x85q\3Rq\4h\1h\3Re.", "[6.0,6.0]", 4),
		CASE("a copy of the tuple is on the stack", "](cm\nf\n\x94(K\1K\2K\3t2\x86Rh\0(K\4K\5K\6t\x85Re.", "[6.0,15.0]", 3),
		CASE("a list that holds the tuple",
		     "]q\0(]q\1(K\1K\2K\3tq\2acm\nf\nq\3h\2\x85q\4Rq\5h\3"
		     "(K\4K\5K\6t\x85Re.",
		     "[[(1,2,3)],6.0,15.0]", 4),
		CASE("memo numbers with gaps", "]q\1(cm\nf\nq\2(K\1K\2K\3tq\3\x85q\4Rq\5h\2(K\4K\5K\6t\x85Rh\3e.",
		     "[6.0,15.0,(1,2,3)]", 6),
		CASE("the pickle is cut off", "]q\0(cm\nf\nq\1(K\1K\2K\3tq\2\x85Rh", NULL, 0),
#undef CASE
	};
	struct pickle_hooks h = { .reduce = take_sum, .consumes = true };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct source *src = source_memory(cases[i].p, cases[i].n, "mem");
		struct vtree *t = vtree_new();
		struct buf out = BUF_INIT, plain = BUF_INIT;
		struct err err = ERR_INIT;
		uint32_t root;

		if (pickle_decode(t, &(struct pickle_place){ .src = src, .limit = cases[i].n }, &h, &root, &err) == 0) {
			show(&out, t, root, 6);
			is_uint(vtree_count(t), 6 + cases[i].nodes, cases[i].what);
		}
		h.consumes = false;
		decode(src, cases[i].n, &h, &plain);
		h.consumes = true;
		is_str(err.code == ERR_NONE ? out.p : err.msg, plain.p, cases[i].what);
		if (cases[i].expected != NULL)
			is_str(out.p, cases[i].expected, cases[i].what);
		vtree_free(t);
		source_close(src);
		buf_release(&out);
		buf_release(&plain);
	}
}

int
main(void)
{
	literals();
	containers();
	objects();
	refused();
	bombs();
	all_copies();
	full();
	extent();
	gaps();
	hooks();
	consuming();
	return tap_done();
}
