#include "pickle/out.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/cursor.h"
#include "base/limits.h"
#include "pickle/read.h"

/* Bytes that are passed on at once. */
enum { OUT_BUFFER = 64 * 1024 };

int
pickle_out_fail(struct pickle_out *o, const char *fmt, ...)
{
	char what[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	o->failed = true;
	return err_set(o->e, ERR_INPUT, "%s", what);
}

static void
pass_on(struct pickle_out *o, const void *p, size_t n)
{
	if (n > 0 && !o->failed && o->write(o->arg, p, n, o->e) < 0)
		o->failed = true;
}

void
pickle_out_flush(struct pickle_out *o)
{
	pass_on(o, o->buf.p, o->buf.len);
	buf_clear(&o->buf);
}

void
pickle_out_bytes(struct pickle_out *o, const void *p, size_t n)
{
	if (o->counting)
		return;
	if (n >= OUT_BUFFER) {
		pickle_out_flush(o);
		pass_on(o, p, n);
		return;
	}
	buf_add(&o->buf, p, n);
	if (o->buf.len >= OUT_BUFFER)
		pickle_out_flush(o);
}

void
pickle_op(struct pickle_out *o, unsigned char opcode)
{
	pickle_out_bytes(o, &opcode, 1);
}

/* ---- memo */

static void
memo_op(struct pickle_out *o, unsigned char near, unsigned char far, uint32_t number)
{
	uint8_t raw[5];

	raw[0] = number < 256 ? near : far;
	put_le32(raw + 1, number);
	pickle_out_bytes(o, raw, number < 256 ? 2 : 5);
}

uint32_t
pickle_out_put(struct pickle_out *o)
{
	memo_op(o, OP_BINPUT, OP_LONG_BINPUT, o->memo);
	return o->memo++;
}

void
pickle_out_get(struct pickle_out *o, uint32_t number)
{
	memo_op(o, OP_BINGET, OP_LONG_BINGET, number);
}

/* Writes a GET if the text or global in o->key was written before. */
static bool
known(struct pickle_out *o)
{
	uint64_t number;

	if (!strmap_get(&o->texts, buf_str(&o->key), &number))
		return false;
	pickle_out_get(o, (uint32_t)number);
	return true;
}

/* key lives as long as o. */
static void
remember(struct pickle_out *o, struct str key)
{
	strmap_add(&o->texts, key, pickle_out_put(o));
}

/* ---- numbers */

void
pickle_out_long(struct pickle_out *o, struct str s)
{
	uint8_t raw[5];

	if (s.len > INT32_MAX) {
		pickle_out_fail(o, "an integer of %zu bytes is too long for a pickle", s.len);
		return;
	}
	raw[0] = s.len < 256 ? OP_LONG1 : OP_LONG4;
	put_le32(raw + 1, (uint32_t)s.len);
	pickle_out_bytes(o, raw, s.len < 256 ? 2 : 5);
	pickle_out_bytes(o, s.p, s.len);
}

void
pickle_out_int(struct pickle_out *o, int64_t v)
{
	uint8_t raw[8];
	size_t n = 8;

	put_le64(raw, (uint64_t)v);
	if (v >= 0 && v <= 0xff) {
		pickle_op(o, OP_BININT1);
		pickle_out_bytes(o, raw, 1);
	} else if (v >= 0 && v <= 0xffff) {
		pickle_op(o, OP_BININT2);
		pickle_out_bytes(o, raw, 2);
	} else if (v >= INT32_MIN && v <= INT32_MAX) {
		pickle_op(o, OP_BININT);
		pickle_out_bytes(o, raw, 4);
	} else {
		while (raw[n - 1] == (v < 0 ? 0xff : 0) && (raw[n - 2] & 0x80) == (raw[n - 1] & 0x80))
			n--;
		pickle_out_long(o, str_n((const char *)raw, n));
	}
}

void
pickle_int(struct pickle_out *o, uint64_t v)
{
	uint8_t raw[9] = { 0 };

	if (v <= INT64_MAX) {
		pickle_out_int(o, (int64_t)v);
		return;
	}
	put_le64(raw, v);
	pickle_out_long(o, str_n((const char *)raw, sizeof(raw)));
}

void
pickle_out_float(struct pickle_out *o, double d)
{
	uint8_t raw[9];
	uint64_t bits;

	memcpy(&bits, &d, sizeof(bits));
	raw[0] = OP_BINFLOAT;
	for (size_t i = 0; i < 8; i++)
		raw[1 + i] = (uint8_t)(bits >> (56 - 8 * i));
	pickle_out_bytes(o, raw, sizeof(raw));
}

/* ---- texts */

static bool
unicode_head(struct pickle_out *o, uint64_t len)
{
	uint8_t raw[5];

	if (len > UINT32_MAX) {
		pickle_out_fail(o, "a text of %llu bytes is too long for pickle protocol 2", (unsigned long long)len);
		return false;
	}
	raw[0] = OP_BINUNICODE;
	put_le32(raw + 1, (uint32_t)len);
	pickle_out_bytes(o, raw, sizeof(raw));
	return true;
}

void
pickle_out_unicode(struct pickle_out *o, struct str s)
{
	if (unicode_head(o, s.len))
		pickle_out_bytes(o, s.p, s.len);
}

void
pickle_out_latin1(struct pickle_out *o, struct str s)
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
		pickle_out_bytes(o, raw, raw[0] < 0x80 ? 1 : 2);
	}
}

void
pickle_text_once(struct pickle_out *o, struct str s)
{
	pickle_out_unicode(o, s);
}

void
pickle_text(struct pickle_out *o, struct str s)
{
	if (o->counting)
		return;
	buf_clear(&o->key);
	buf_addc(&o->key, 't');
	buf_addstr(&o->key, s);
	if (known(o))
		return;
	pickle_out_unicode(o, s);
	remember(o, arena_str(&o->keys, buf_str(&o->key)));
}

/* ---- globals */

/* Names that protocol 2 writes as Python 2 had them: Python's Lib/_compat_pickle.py, as far as data needs it. */
static const struct {
	const char *module, *name, *old_module, *old_name; /* name NULL: all others of the module */
} old_names[] = {
	{ "builtins", "range", "__builtin__", "xrange" },
	{ "builtins", "chr", "__builtin__", "unichr" },
	{ "builtins", "str", "__builtin__", "unicode" },
	{ "builtins", "int", "__builtin__", "long" },
	{ "builtins", "zip", "itertools", "izip" },
	{ "builtins", "map", "itertools", "imap" },
	{ "builtins", "filter", "itertools", "ifilter" },
	{ "builtins", NULL, "__builtin__", NULL },
	{ "itertools", "filterfalse", "itertools", "ifilterfalse" },
	{ "itertools", "zip_longest", "itertools", "izip_longest" },
	{ "functools", "reduce", "__builtin__", "reduce" },
	{ "copyreg", NULL, "copy_reg", NULL },
	{ "_pickle", NULL, "cPickle", NULL },
	{ "collections", "UserDict", "UserDict", "IterableUserDict" },
	{ "collections", "UserList", "UserList", "UserList" },
	{ "collections", "UserString", "UserString", "UserString" },
};

static void
to_old(struct str *module, struct str *name)
{
	for (size_t i = 0; i < sizeof(old_names) / sizeof(old_names[0]); i++) {
		if (!str_eqc(*module, old_names[i].module))
			continue;
		if (old_names[i].name != NULL && !str_eqc(*name, old_names[i].name))
			continue;
		*module = str_c(old_names[i].old_module);
		if (old_names[i].old_name != NULL)
			*name = str_c(old_names[i].old_name);
		return;
	}
}

/* Before protocol 4 a name is one attribute of a module; the others of a dotted name are got one after the other. No memo. */
static void
dotted(struct pickle_out *o, struct str module, struct str first, struct str rest)
{
	struct str part;
	size_t more = 0;

	for (size_t i = 0; i < rest.len; i++)
		more += rest.p[i] == '.';
	if (more >= PICKLE_DOTS_MAX) {
		pickle_out_fail(o, "a global's name with more than %d dots", PICKLE_DOTS_MAX);
		return;
	}
	for (size_t i = 0; i <= more; i++)
		pickle_global(o, "builtins", "getattr");
	pickle_out_global(o, module, first);
	while (str_split(&rest, '.', &part)) {
		pickle_out_unicode(o, part);
		pickle_op(o, OP_TUPLE2);
		pickle_op(o, OP_REDUCE);
	}
}

void
pickle_out_global(struct pickle_out *o, struct str module, struct str name)
{
	const char *dot = name.len > 1 ? memchr(name.p + 1, '.', name.len - 1) : NULL;
	struct str key;
	size_t n;

	if (o->counting)
		return;
	if (memchr(module.p, '\n', module.len) != NULL || memchr(name.p, '\n', name.len) != NULL) {
		pickle_out_fail(o, "a global's name with a line break in it");
		return;
	}
	if (dot != NULL) {
		n = (size_t)(dot - name.p);
		dotted(o, module, str_n(name.p, n), str_from(name, n + 1));
		return;
	}
	to_old(&module, &name);
	buf_clear(&o->key);
	buf_addc(&o->key, 'g');
	buf_addstr(&o->key, module);
	buf_addc(&o->key, '\n');
	buf_addstr(&o->key, name);
	if (known(o))
		return;
	key = arena_str(&o->keys, buf_str(&o->key));
	pickle_op(o, OP_GLOBAL);
	pickle_out_bytes(o, key.p + 1, key.len - 1);
	pickle_op(o, '\n');
	remember(o, key);
}

void
pickle_global(struct pickle_out *o, const char *module, const char *name)
{
	pickle_out_global(o, str_c(module), str_c(name));
}
