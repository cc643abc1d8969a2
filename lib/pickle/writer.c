#include "pickle/writer.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/limits.h"
#include "base/strmap.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "pickle/opcode.h"

struct pickle_out {
	const struct vtree *t;
	const struct pickle_leaves *leaves;
	int (*write)(void *arg, const void *p, size_t n, struct err *err);
	void *arg;
	struct err *err;
	bool counting, failed;
	uint32_t *state;     /* by node: 0 not reached, 1 reached once, 2 more often, else memo number + 3 (MEMO_BASE) */
	uint32_t memo;       /* next memo number */
	struct strmap texts; /* memo numbers of recurring texts and globals, by "t" or "g" and their contents */
	struct arena keys;
	struct buf key, buf;
	uint32_t path[PICKLE_DEPTH_MAX]; /* nodes that are being written, outermost first */
	unsigned depth;
	uint32_t maker; /* object whose callable or arguments are being written, or VALUE_ABSENT */
};

static void put_name(struct pickle_out *o, struct str module, struct str name);

/* The number of bytes collected before they are written. */
enum { OUT_BUFFER = 64 * 1024 };

#define fail(o, ...) ((o)->failed = true, err_set((o)->err, ERR_INPUT, __VA_ARGS__))

static void
pass_on(struct pickle_out *o, const void *p, size_t n)
{
	if (n > 0 && !o->failed && o->write(o->arg, p, n, o->err) < 0)
		o->failed = true;
}

static void
flush(struct pickle_out *o)
{
	pass_on(o, o->buf.p, o->buf.len);
	buf_clear(&o->buf);
}

static void
put_raw(struct pickle_out *o, const void *p, size_t n)
{
	if (o->counting)
		return;
	if (n >= OUT_BUFFER) {
		flush(o);
		pass_on(o, p, n);
		return;
	}
	buf_add(&o->buf, p, n);
	if (o->buf.len >= OUT_BUFFER)
		flush(o);
}

static void
put_op(struct pickle_out *o, unsigned char opcode)
{
	put_raw(o, &opcode, 1);
}

/* ---- memo */

/* Writes an opcode and a number: near with one byte, or far with four bytes. */
static void
number_op(struct pickle_out *o, unsigned char near, unsigned char far, uint32_t number)
{
	uint8_t raw[5];

	raw[0] = number < 256 ? near : far;
	put_le32(raw + 1, number);
	put_raw(o, raw, number < 256 ? 2 : 5);
}

/* Writes s after an opcode with its length: near with one byte, or far with four bytes. what is for messages. */
static int
put_counted(struct pickle_out *o, unsigned char near, unsigned char far, struct str s, const char *what)
{
	if (s.len > INT32_MAX)
		return fail(o, "%s of %zu bytes is too long for a pickle", what, s.len);
	number_op(o, near, far, (uint32_t)s.len);
	put_raw(o, s.p, s.len);
	return 0;
}

/* Stores the top of the stack in the memo and returns its memo number. */
static uint32_t
memo_put(struct pickle_out *o)
{
	number_op(o, OP_BINPUT, OP_LONG_BINPUT, o->memo);
	return o->memo++;
}

static void
memo_get(struct pickle_out *o, uint32_t number)
{
	number_op(o, OP_BINGET, OP_LONG_BINGET, number);
}

/* Writes a GET and returns true if the text or global in o->key was written before. */
static bool
known(struct pickle_out *o)
{
	uint64_t number;

	if (!strmap_get(&o->texts, buf_str(&o->key), &number))
		return false;
	memo_get(o, (uint32_t)number);
	return true;
}

/* Stores the top of the stack in the memo. key must live as long as o. */
static void
remember(struct pickle_out *o, struct str key)
{
	strmap_add(&o->texts, key, memo_put(o));
}

/* ---- numbers */

/* s is little-endian two's complement, as in VALUE_BIGINT. */
static void
put_long(struct pickle_out *o, struct str s)
{
	(void)put_counted(o, OP_LONG1, OP_LONG4, s, "an integer");
}

static void
put_int(struct pickle_out *o, int64_t v)
{
	uint8_t raw[8];
	size_t n = 8;

	put_le64(raw, (uint64_t)v);
	if (v >= 0 && v <= 0xff) {
		put_op(o, OP_BININT1);
		put_raw(o, raw, 1);
	} else if (v >= 0 && v <= 0xffff) {
		put_op(o, OP_BININT2);
		put_raw(o, raw, 2);
	} else if (v >= INT32_MIN && v <= INT32_MAX) {
		put_op(o, OP_BININT);
		put_raw(o, raw, 4);
	} else {
		while (raw[n - 1] == (v < 0 ? 0xff : 0) && (raw[n - 2] & 0x80) == (raw[n - 1] & 0x80))
			n--;
		put_long(o, str_n((const char *)raw, n));
	}
}

static void
put_uint(struct pickle_out *o, uint64_t v)
{
	uint8_t raw[9] = { 0 };

	if (v <= INT64_MAX) {
		put_int(o, (int64_t)v);
		return;
	}
	put_le64(raw, v);
	put_long(o, str_n((const char *)raw, sizeof(raw)));
}

static void
put_float(struct pickle_out *o, double d)
{
	uint8_t raw[9];
	uint64_t bits;

	memcpy(&bits, &d, sizeof(bits));
	raw[0] = OP_BINFLOAT;
	for (size_t i = 0; i < 8; i++)
		raw[1 + i] = (uint8_t)(bits >> (56 - 8 * i));
	put_raw(o, raw, sizeof(raw));
}

/* ---- strings */

static bool
unicode_head(struct pickle_out *o, uint64_t len)
{
	uint8_t raw[5];

	if (len > UINT32_MAX) {
		fail(o, "a text of %llu bytes is too long for pickle protocol 2", (unsigned long long)len);
		return false;
	}
	raw[0] = OP_BINUNICODE;
	put_le32(raw + 1, (uint32_t)len);
	put_raw(o, raw, sizeof(raw));
	return true;
}

/* Writes BINUNICODE with s, of any length that protocol 2 allows. */
static void
put_unicode(struct pickle_out *o, struct str s)
{
	if (unicode_head(o, s.len))
		put_raw(o, s.p, s.len);
}

/* Writes BINUNICODE with the text whose Latin-1 encoding is s. */
static void
put_latin1(struct pickle_out *o, struct str s)
{
	uint64_t high = 0;
	uint8_t raw[2];

	if (o->counting)
		return;
	for (size_t i = 0; i < s.len; i++)
		high += (uint8_t)s.p[i] >> 7;
	if (!unicode_head(o, s.len + high))
		return;
	for (size_t i = 0; i < s.len; i++) {
		raw[0] = (uint8_t)s.p[i];
		raw[1] = 0x80 | (raw[0] & 0x3f);
		if (raw[0] >= 0x80)
			raw[0] = 0xc0 | raw[0] >> 6;
		put_raw(o, raw, raw[0] < 0x80 ? 1 : 2);
	}
}

static void
put_recurring(struct pickle_out *o, struct str s)
{
	if (o->counting)
		return;
	buf_clear(&o->key);
	buf_addc(&o->key, 't');
	buf_addstr(&o->key, s);
	if (known(o))
		return;
	put_unicode(o, s);
	remember(o, arena_str(&o->keys, buf_str(&o->key)));
}

/* ---- globals */

/*
 * Names of globals in Python 2 and 3. For writing, they are those of Python's Lib/_compat_pickle.py that data needs; for reading,
 * those of torch/_utils.py (NAME_MAPPING, IMPORT_MAPPING). An entry with NULL names applies to all other names of the module,
 * which stay the same.
 */
static const struct {
	const char *old_module, *old_name, *module, *name;
	enum pickle_way ways;
} renamed[] = {
	{ "__builtin__", "basestring", "builtins", "str", PICKLE_READS },
	{ "__builtin__", "intern", "sys", "intern", PICKLE_READS },
	{ "__builtin__", "long", "builtins", "int", PICKLE_BOTH },
	{ "__builtin__", "reduce", "functools", "reduce", PICKLE_BOTH },
	{ "__builtin__", "unichr", "builtins", "chr", PICKLE_BOTH },
	{ "__builtin__", "unicode", "builtins", "str", PICKLE_BOTH },
	{ "__builtin__", "xrange", "builtins", "range", PICKLE_BOTH },
	{ "exceptions", "StandardError", "builtins", "Exception", PICKLE_READS },
	{ "itertools", "ifilter", "builtins", "filter", PICKLE_BOTH },
	{ "itertools", "ifilterfalse", "itertools", "filterfalse", PICKLE_BOTH },
	{ "itertools", "imap", "builtins", "map", PICKLE_BOTH },
	{ "itertools", "izip", "builtins", "zip", PICKLE_BOTH },
	{ "itertools", "izip_longest", "itertools", "zip_longest", PICKLE_BOTH },
	{ "UserDict", "IterableUserDict", "collections", "UserDict", PICKLE_BOTH },
	{ "UserList", "UserList", "collections", "UserList", PICKLE_BOTH },
	{ "UserString", "UserString", "collections", "UserString", PICKLE_BOTH },
	{ "Queue", NULL, "queue", NULL, PICKLE_READS },
	{ "StringIO", NULL, "io", NULL, PICKLE_READS },
	{ "UserDict", NULL, "collections", NULL, PICKLE_READS },
	{ "UserList", NULL, "collections", NULL, PICKLE_READS },
	{ "UserString", NULL, "collections", NULL, PICKLE_READS },
	{ "__builtin__", NULL, "builtins", NULL, PICKLE_BOTH },
	{ "_abcoll", NULL, "collections.abc", NULL, PICKLE_READS },
	{ "cPickle", NULL, "_pickle", NULL, PICKLE_WRITES },
	{ "cStringIO", NULL, "io", NULL, PICKLE_READS },
	{ "copy_reg", NULL, "copyreg", NULL, PICKLE_BOTH },
	{ "repr", NULL, "reprlib", NULL, PICKLE_READS },
	{ "whichdb", NULL, "dbm", NULL, PICKLE_READS },
};

void
pickle_rename(struct str *module, struct str *name, enum pickle_way way)
{
	for (size_t i = 0; i < sizeof(renamed) / sizeof(renamed[0]); i++) {
		const bool reads = way == PICKLE_READS;
		const char *from = reads ? renamed[i].old_name : renamed[i].name;
		const char *to = reads ? renamed[i].name : renamed[i].old_name;

		if ((renamed[i].ways & way) == 0 || (from != NULL && !str_eqc(*name, from)) ||
		    !str_eqc(*module, reads ? renamed[i].old_module : renamed[i].module))
			continue;
		*module = str_c(reads ? renamed[i].module : renamed[i].old_module);
		*name = to != NULL ? str_c(to) : *name;
		return;
	}
}

/*
 * Writes the global module.first.rest. Before protocol 4, GLOBAL takes only an attribute of a module, so getattr is called for each
 * further part. Not memoised.
 */
static void
dotted(struct pickle_out *o, struct str module, struct str first, struct str rest)
{
	struct str part;
	size_t more = 0;

	for (size_t i = 0; i < rest.len; i++)
		more += rest.p[i] == '.';
	if (more >= PICKLE_DOTS_MAX) {
		fail(o, "a global's name with more than %d dots", PICKLE_DOTS_MAX);
		return;
	}
	for (size_t i = 0; i <= more; i++)
		pickle_put(o, "%g", "builtins", "getattr");
	put_name(o, module, first);
	while (str_split(&rest, '.', &part)) {
		put_unicode(o, part);
		pickle_put(o, PICKLE_TUPLE2 "R");
	}
}

static void
put_name(struct pickle_out *o, struct str module, struct str name)
{
	const char *dot = name.len > 1 ? memchr(name.p + 1, '.', name.len - 1) : NULL;
	struct str key;
	size_t n;

	if (o->counting)
		return;
	if (memchr(module.p, '\n', module.len) != NULL || memchr(name.p, '\n', name.len) != NULL) {
		fail(o, "a global's name with a line break in it");
		return;
	}
	if (dot != NULL) {
		n = (size_t)(dot - name.p);
		dotted(o, module, str_n(name.p, n), str_from(name, n + 1));
		return;
	}
	pickle_rename(&module, &name, PICKLE_WRITES);
	buf_clear(&o->key);
	buf_addc(&o->key, 'g');
	buf_addstr(&o->key, module);
	buf_addc(&o->key, '\n');
	buf_addstr(&o->key, name);
	if (known(o))
		return;
	key = arena_str(&o->keys, buf_str(&o->key));
	put_op(o, OP_GLOBAL);
	put_raw(o, key.p + 1, key.len - 1);
	put_op(o, '\n');
	remember(o, key);
}

void
pickle_put(struct pickle_out *o, const char *what, ...)
{
	const char *module;
	va_list ap;

	va_start(ap, what);
	for (; *what != '\0'; what++) {
		if (*what != '%') {
			put_op(o, (unsigned char)*what);
			continue;
		}
		switch (*++what) {
		case 'i': put_uint(o, va_arg(ap, uint64_t)); break;
		case 's': put_unicode(o, va_arg(ap, struct str)); break;
		case 'T': put_recurring(o, va_arg(ap, struct str)); break;
		case 't': put_recurring(o, str_c(va_arg(ap, const char *))); break;
		default: module = va_arg(ap, const char *); put_name(o, str_c(module), str_c(va_arg(ap, const char *)));
		}
	}
	va_end(ap);
}

/* The most items of one APPENDS, or pairs of one SETITEMS, as they all are on the reader's stack. */
enum { BATCH = 1000 };

/* Values of o->state. In the second pass, a node in the memo has its memo number + MEMO_BASE. */
enum { REACHED_NOT, REACHED_ONCE, REACHED_OFTEN, MEMO_BASE };

/*
 * As in Python's pickler, a node enters the memo at one of two times. Lists,
 * dicts and objects enter it before they are filled, so that their contents can
 * refer to them. Tuples and results of calls can enter it only when they are
 * complete. If by then the contents have written the same node already, what
 * was written is popped and the memo entry is used instead.
 */

static void
put(struct pickle_out *o, uint32_t h)
{
	if (!o->counting && o->state[h] == REACHED_OFTEN)
		o->state[h] = memo_put(o) + MEMO_BASE;
}

/* Called when n values for node h are on the stack. If h has entered the memo meanwhile, pops them and gets h from the memo. */
static bool
replaced(struct pickle_out *o, uint32_t h, size_t n)
{
	if (o->counting || o->state[h] < MEMO_BASE)
		return false;
	while (n-- > 0)
		put_op(o, OP_POP);
	memo_get(o, o->state[h] - MEMO_BASE);
	return true;
}

/* ---- parts of containers */

/* Writes the items, or pairs, of a container. */
static int
put_items(struct pickle_out *o, uint32_t h, struct err *err)
{
	bool dict = value_kind(o->t, h) == VALUE_DICT;
	size_t n = value_len(o->t, h), batch;

	for (size_t i = 0; i < n; i += batch) {
		batch = n - i < BATCH ? n - i : BATCH;
		if (batch > 1)
			put_op(o, OP_MARK);
		for (size_t j = i; j < i + batch; j++) {
			if (dict && pickle_value(o, value_key(o->t, h, j), err) < 0)
				return -1;
			if (pickle_value(o, dict ? value_val(o->t, h, j) : value_item(o->t, h, j), err) < 0)
				return -1;
		}
		if (dict)
			put_op(o, batch > 1 ? OP_SETITEMS : OP_SETITEM);
		else
			put_op(o, batch > 1 ? OP_APPENDS : OP_APPEND);
	}
	return 0;
}

/* ---- containers */

static int
put_tuple(struct pickle_out *o, uint32_t h, struct err *err)
{
	static const unsigned char ops[] = { OP_EMPTY_TUPLE, OP_TUPLE1, OP_TUPLE2, OP_TUPLE3 };
	size_t n = value_len(o->t, h);

	if (n > 3)
		put_op(o, OP_MARK);
	for (size_t i = 0; i < n; i++)
		if (pickle_value(o, value_item(o->t, h, i), err) < 0)
			return -1;
	if (n > 3 && !o->counting && o->state[h] >= MEMO_BASE) {
		put_op(o, OP_POP_MARK);
		return replaced(o, h, 0) ? 0 : -1;
	}
	if (replaced(o, h, n))
		return 0;
	put_op(o, n > 3 ? OP_TUPLE : ops[n]);
	put(o, h);
	return 0;
}

/*
 * Fills the container or object on top of the stack. Its contents can refer to it, so they do not count as arguments of o->maker.
 */
static int
fill(struct pickle_out *o, uint32_t items, uint32_t pairs, uint32_t state, struct err *err)
{
	uint32_t maker = o->maker;
	int rc = 0;

	o->maker = VALUE_ABSENT;
	if (items != VALUE_ABSENT)
		rc = put_items(o, items, err);
	if (rc == 0 && pairs != VALUE_ABSENT)
		rc = put_items(o, pairs, err);
	if (rc == 0 && state != VALUE_ABSENT) {
		rc = pickle_value(o, state, err);
		if (rc == 0)
			put_op(o, OP_BUILD);
	}
	o->maker = maker;
	return rc;
}

static int
put_list(struct pickle_out *o, uint32_t h, struct err *err)
{
	put_op(o, OP_EMPTY_LIST);
	put(o, h);
	return fill(o, h, VALUE_ABSENT, VALUE_ABSENT, err);
}

static int
put_dict(struct pickle_out *o, uint32_t h, struct err *err)
{
	if (value_ordered(o->t, h))
		pickle_put(o, "%g)R", "collections", "OrderedDict");
	else
		put_op(o, OP_EMPTY_DICT);
	put(o, h);
	return fill(o, VALUE_ABSENT, h, value_state(o->t, h), err);
}

/* Protocol 2 has no opcode for sets, so set(list) or frozenset(list) is written. */
static int
put_set(struct pickle_out *o, uint32_t h, struct err *err)
{
	pickle_put(o, "%g]", "builtins", value_kind(o->t, h) == VALUE_SET ? "set" : "frozenset");
	if (put_items(o, h, err) < 0)
		return -1;
	if (replaced(o, h, 2))
		return 0;
	pickle_put(o, PICKLE_TUPLE1 "R");
	put(o, h);
	return 0;
}

/* ---- strings and bytes */

/* Writes _codecs.encode(text, 'latin1'), even for empty bytes: weights_only accepts it, but not bytes(). */
static void
put_bytes(struct pickle_out *o, struct str s)
{
	pickle_put(o, "%g", "_codecs", "encode");
	put_latin1(o, s);
	pickle_put(o, "%t" PICKLE_TUPLE2 "R", "latin1");
}

static void
put_bytearray(struct pickle_out *o, struct str s)
{
	pickle_put(o, "%g", "builtins", "bytearray");
	if (s.len > 0)
		put_bytes(o, s);
	pickle_put(o, s.len > 0 ? PICKLE_TUPLE1 "R" : ")R");
}

static int
put_text(struct pickle_out *o, uint32_t h)
{
	enum value_kind kind = value_kind(o->t, h);
	struct str s = value_text(o->t, h);
	int status = 0;

	if (o->counting)
		return 0;
	if (kind == VALUE_BYTES)
		put_bytes(o, s);
	else if (kind == VALUE_BYTEARRAY)
		put_bytearray(o, s);
	else if (kind == VALUE_STR || utf8_valid(s))
		put_unicode(o, s);
	else /* a Python 2 str that is not UTF-8 keeps its bytes */
		status = put_counted(o, OP_SHORT_BINSTRING, OP_BINSTRING, s, "a string");
	put(o, h);
	return status;
}

/* ---- objects */

/* Writes callable and arguments, up to the opcode that creates the object. Returns 1 if h was written meanwhile. */
static int
put_made(struct pickle_out *o, uint32_t h, const struct vobject *v, struct err *err)
{
	bool none = v->kwargs == VALUE_ABSENT || value_len(o->t, v->kwargs) == 0;

	if (v->how == HOW_OBJ && value_len(o->t, v->args) == 0) {
		put_op(o, OP_MARK);
		if (pickle_value(o, v->callable, err) < 0)
			return -1;
		put_op(o, OP_OBJ);
		return 0;
	}
	if (v->how == HOW_NEWOBJ_EX && !none)
		pickle_put(o, "%g", "copyreg", "__newobj_ex__");
	if (pickle_value(o, v->callable, err) < 0 || pickle_value(o, v->args, err) < 0)
		return -1;
	if (v->how == HOW_NEWOBJ_EX && !none) {
		if (pickle_value(o, v->kwargs, err) < 0)
			return -1;
		if (replaced(o, h, 4))
			return 1;
		pickle_put(o, PICKLE_TUPLE3 "R");
		return 0;
	}
	if (replaced(o, h, 2))
		return 1;
	put_op(o, v->how == HOW_REDUCE || v->how == HOW_OBJ ? OP_REDUCE : OP_NEWOBJ);
	return 0;
}

static int
put_object(struct pickle_out *o, uint32_t h, struct err *err)
{
	const struct vobject *v = value_object(o->t, h);
	uint32_t maker = o->maker;
	int made;

	o->maker = h;
	made = put_made(o, h, v, err);
	o->maker = maker;
	if (made != 0)
		return made < 0 ? -1 : 0;
	put(o, h);
	return fill(o, v->appended, v->items, v->state, err);
}

/* Plain names are memoised by content, dotted ones as objects. */
static void
put_global(struct pickle_out *o, uint32_t h)
{
	struct str name = value_name(o->t, h);

	put_name(o, value_module(o->t, h), name);
	if (name.len > 1 && memchr(name.p + 1, '.', name.len - 1) != NULL)
		put(o, h);
}

static int
put_persid(struct pickle_out *o, uint32_t h, struct err *err)
{
	if (pickle_value(o, value_item(o->t, h, 0), err) < 0)
		return -1;
	if (replaced(o, h, 1))
		return 0;
	put_op(o, OP_BINPERSID);
	put(o, h);
	return 0;
}

static int
put_leaf(struct pickle_out *o, uint32_t h, struct err *err)
{
	uint32_t index = 0;
	enum value_leaf kind = value_leaf(o->t, h, &index);

	if (o->leaves == NULL || o->leaves->leaf == NULL)
		return fail(o, "a tensor or storage where none is allowed");
	if (o->leaves->leaf(o->leaves->arg, o, kind, index, err) < 0)
		return -1;
	if (!replaced(o, h, 1))
		put(o, h);
	return 0;
}

/* ---- the walk */

/*
 * Notes that h is reached, and returns true if it is the first time. If h is being walked, the path from h to here is a cycle: all
 * its nodes must be in the memo, or the second pass would not end.
 */
static bool
count(struct pickle_out *o, uint32_t h)
{
	if (o->state[h] == REACHED_NOT) {
		o->state[h] = REACHED_ONCE;
		return true;
	}
	o->state[h] = REACHED_OFTEN;
	for (unsigned i = o->depth; i-- > 0;) {
		if (o->path[i] != h)
			continue;
		for (unsigned j = i; j < o->depth; j++)
			o->state[o->path[j]] = REACHED_OFTEN;
		break;
	}
	return false;
}

/*
 * h is a list or dict in the memo that is still being filled, and it is reached again as an argument of an object inside it. If the
 * object's node is older than any item of the container, it was created while the container was incomplete, so a memo reference is
 * correct. Otherwise it may have been built from the contents (as list(items) is), so the container must be written in full here.
 */
static bool
needs_whole(const struct pickle_out *o, uint32_t h)
{
	enum value_kind kind = value_kind(o->t, h);
	uint32_t limit = o->maker, count = vtree_count(o->t), part;
	unsigned i = o->depth;

	if (limit == VALUE_ABSENT || (kind != VALUE_LIST && kind != VALUE_DICT))
		return false;
	while (i > 0 && o->path[i - 1] != h)
		i--;
	if (i == 0)
		return false;
	for (size_t j = 0; j < value_len(o->t, h); j++) {
		part = kind == VALUE_LIST ? value_item(o->t, h, j) : value_val(o->t, h, j);
		if (part >= limit && part < count)
			return false;
	}
	return true;
}

static int
put_node(struct pickle_out *o, uint32_t h, struct err *err)
{
	switch (value_kind(o->t, h)) {
	case VALUE_NONE: put_op(o, OP_NONE); return 0;
	case VALUE_BOOL: put_op(o, value_bool(o->t, h) ? OP_NEWTRUE : OP_NEWFALSE); return 0;
	case VALUE_INT: put_int(o, value_int(o->t, h)); return 0;
	case VALUE_BIGINT: put_long(o, value_text(o->t, h)); return 0;
	case VALUE_FLOAT: put_float(o, value_float(o->t, h)); return 0;
	case VALUE_GLOBAL: put_global(o, h); return 0;
	case VALUE_STR:
	case VALUE_PYSTR:
	case VALUE_BYTES:
	case VALUE_BYTEARRAY: return put_text(o, h);
	case VALUE_TUPLE: return put_tuple(o, h, err);
	case VALUE_LIST: return put_list(o, h, err);
	case VALUE_DICT: return put_dict(o, h, err);
	case VALUE_SET:
	case VALUE_FROZENSET: return put_set(o, h, err);
	case VALUE_OBJECT: return put_object(o, h, err);
	case VALUE_PERSID: return put_persid(o, h, err);
	case VALUE_LEAF: return put_leaf(o, h, err);
	}
	return -1;
}

int
pickle_value(struct pickle_out *o, uint32_t h, struct err *err)
{
	enum value_kind kind = value_kind(o->t, h);
	bool fixed = h >= vtree_count(o->t) || kind == VALUE_NONE || kind == VALUE_BOOL ||
		     (kind == VALUE_TUPLE && value_len(o->t, h) == 0);
	int status;

	if (o->failed)
		return -1;
	if (fixed)
		return put_node(o, h, err);
	if (o->counting && !count(o, h))
		return 0;
	if (!o->counting && o->state[h] >= MEMO_BASE && !needs_whole(o, h)) {
		memo_get(o, o->state[h] - MEMO_BASE);
		return 0;
	}
	if (o->depth == PICKLE_DEPTH_MAX)
		return fail(o, "objects nested more than %d deep cannot be written", PICKLE_DEPTH_MAX);
	o->path[o->depth++] = h;
	status = put_node(o, h, err);
	o->depth--;
	return status;
}

int
pickle_encode(const struct vtree *t, uint32_t root, const struct pickle_leaves *leaves,
	      int (*write)(void *arg, const void *p, size_t n, struct err *err), void *arg, struct err *err)
{
	static const uint8_t proto[] = { OP_PROTO, 2 };
	struct pickle_out *o = xcalloc(1, sizeof(*o));
	int status;

	o->t = t;
	o->leaves = leaves;
	o->write = write;
	o->arg = arg;
	o->err = err;
	o->state = xcalloc(vtree_count(t), sizeof(*o->state));
	o->counting = true;
	o->maker = VALUE_ABSENT;
	status = pickle_value(o, root, err);
	o->counting = false;
	if (status == 0) {
		put_raw(o, proto, sizeof(proto));
		status = pickle_value(o, root, err);
		put_op(o, OP_STOP);
		flush(o);
	}
	if (o->failed)
		status = -1;
	free(o->state);
	strmap_release(&o->texts);
	arena_release(&o->keys);
	buf_release(&o->key);
	buf_release(&o->buf);
	free(o);
	return status;
}
