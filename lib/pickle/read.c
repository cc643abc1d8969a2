#include "pickle/read.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

/* A long text is read in pieces that begin with this size and double. */
enum { PIECE = 1 << 20 };

static const char *const names[256] = {
	[OP_MARK] = "MARK",
	[OP_STOP] = "STOP",
	[OP_POP] = "POP",
	[OP_POP_MARK] = "POP_MARK",
	[OP_DUP] = "DUP",
	[OP_FLOAT] = "FLOAT",
	[OP_INT] = "INT",
	[OP_BININT] = "BININT",
	[OP_BININT1] = "BININT1",
	[OP_LONG] = "LONG",
	[OP_BININT2] = "BININT2",
	[OP_NONE] = "NONE",
	[OP_PERSID] = "PERSID",
	[OP_BINPERSID] = "BINPERSID",
	[OP_REDUCE] = "REDUCE",
	[OP_STRING] = "STRING",
	[OP_BINSTRING] = "BINSTRING",
	[OP_SHORT_BINSTRING] = "SHORT_BINSTRING",
	[OP_UNICODE] = "UNICODE",
	[OP_BINUNICODE] = "BINUNICODE",
	[OP_APPEND] = "APPEND",
	[OP_BUILD] = "BUILD",
	[OP_GLOBAL] = "GLOBAL",
	[OP_DICT] = "DICT",
	[OP_EMPTY_DICT] = "EMPTY_DICT",
	[OP_APPENDS] = "APPENDS",
	[OP_GET] = "GET",
	[OP_BINGET] = "BINGET",
	[OP_INST] = "INST",
	[OP_LONG_BINGET] = "LONG_BINGET",
	[OP_LIST] = "LIST",
	[OP_EMPTY_LIST] = "EMPTY_LIST",
	[OP_OBJ] = "OBJ",
	[OP_PUT] = "PUT",
	[OP_BINPUT] = "BINPUT",
	[OP_LONG_BINPUT] = "LONG_BINPUT",
	[OP_SETITEM] = "SETITEM",
	[OP_TUPLE] = "TUPLE",
	[OP_EMPTY_TUPLE] = "EMPTY_TUPLE",
	[OP_SETITEMS] = "SETITEMS",
	[OP_BINFLOAT] = "BINFLOAT",
	[OP_BINBYTES] = "BINBYTES",
	[OP_SHORT_BINBYTES] = "SHORT_BINBYTES",
	[OP_PROTO] = "PROTO",
	[OP_NEWOBJ] = "NEWOBJ",
	[OP_EXT1] = "EXT1",
	[OP_EXT2] = "EXT2",
	[OP_EXT4] = "EXT4",
	[OP_TUPLE1] = "TUPLE1",
	[OP_TUPLE2] = "TUPLE2",
	[OP_TUPLE3] = "TUPLE3",
	[OP_NEWTRUE] = "NEWTRUE",
	[OP_NEWFALSE] = "NEWFALSE",
	[OP_LONG1] = "LONG1",
	[OP_LONG4] = "LONG4",
	[OP_SHORT_BINUNICODE] = "SHORT_BINUNICODE",
	[OP_BINUNICODE8] = "BINUNICODE8",
	[OP_BINBYTES8] = "BINBYTES8",
	[OP_EMPTY_SET] = "EMPTY_SET",
	[OP_ADDITEMS] = "ADDITEMS",
	[OP_FROZENSET] = "FROZENSET",
	[OP_NEWOBJ_EX] = "NEWOBJ_EX",
	[OP_STACK_GLOBAL] = "STACK_GLOBAL",
	[OP_MEMOIZE] = "MEMOIZE",
	[OP_FRAME] = "FRAME",
	[OP_BYTEARRAY8] = "BYTEARRAY8",
	[OP_NEXT_BUFFER] = "NEXT_BUFFER",
	[OP_READONLY_BUFFER] = "READONLY_BUFFER",
};

const char *
pickle_opname(uint8_t op)
{
	return names[op];
}

void
pickle_reader_init(struct pickle_reader *r, struct source *src, uint64_t off, uint64_t limit)
{
	*r = (struct pickle_reader){ .src = src, .base = off, .limit = limit, .start = off, .op_off = off };
	r->p = (const uint8_t *)"";
	buf_init(&r->line);
}

void
pickle_reader_release(struct pickle_reader *r)
{
	buf_release(&r->line);
}

uint64_t
pickle_reader_at(const struct pickle_reader *r)
{
	return r->base + r->at;
}

int
pickle_fail(const struct pickle_reader *r, struct err *e, const char *fmt, ...)
{
	const char *name = pickle_opname(r->op);
	char what[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	if (name == NULL)
		return err_at(e, source_name(r->src), r->op_off, "%s", what);
	return err_at(e, source_name(r->src), r->op_off, "%s: %s", name, what);
}

static int
cut_off(const struct pickle_reader *r, struct err *e)
{
	return pickle_fail(r, e, "the %s ends within the pickle", r->limit == UINT64_MAX ? "input" : "record");
}

/* Shows what the source has at the present place, up to its own maximum and the limit. */
static int
look(struct pickle_reader *r, struct err *e)
{
	uint64_t at = pickle_reader_at(r), left = r->limit > at ? r->limit - at : 0;
	size_t want = left < SOURCE_LOOK_MAX ? (size_t)left : SOURCE_LOOK_MAX;

	r->base = at;
	r->at = r->len = 0;
	r->p = (const uint8_t *)"";
	return want == 0 ? 0 : source_look(r->src, at, want, &r->p, &r->len, e);
}

int
pickle_fill(struct pickle_reader *r, size_t n, struct err *e)
{
	if (look(r, e) < 0)
		return -1;
	return r->len < n ? cut_off(r, e) : 0;
}

int
pickle_next(struct pickle_reader *r, struct err *e)
{
	if (r->at == r->len && look(r, e) < 0)
		return -1;
	if (r->len == 0)
		return err_at(e, source_name(r->src), pickle_reader_at(r), "the %s ends within a pickle",
			r->limit == UINT64_MAX ? "input" : "record");
	r->op_off = pickle_reader_at(r);
	r->op = r->p[r->at++];
	return 0;
}

/* n bytes of which at least the first look does not show all. */
static int
long_bytes(struct pickle_reader *r, uint64_t n, struct arena *a, struct str *out, struct err *e)
{
	uint64_t at = pickle_reader_at(r);
	size_t have = 0, piece = PIECE, got;
	uint8_t *p = NULL;

	if (n > SIZE_MAX / 2 || at > r->limit || n > r->limit - at)
		return cut_off(r, e);
	while (have < n) {
		if (piece > n - have)
			piece = (size_t)n - have;
		p = xreallocn(p, have + piece, 1);
		if (source_read_some(r->src, at + have, p + have, piece, &got, e) < 0) {
			free(p);
			return -1;
		}
		have += got;
		if (got < piece) {
			free(p);
			return cut_off(r, e);
		}
		piece = have;
	}
	*out = arena_str(a, str_n((const char *)p, have));
	free(p);
	r->base = at + n;
	r->at = r->len = 0;
	return 0;
}

int
pickle_bytes(struct pickle_reader *r, uint64_t n, struct arena *a, struct str *out, struct err *e)
{
	char *p;

	if (r->len - r->at < n) {
		if (look(r, e) < 0)
			return -1;
		if (r->len < n)
			return long_bytes(r, n, a, out, e);
	}
	p = arena_bytes(a, (size_t)n);
	memcpy(p, r->p + r->at, (size_t)n);
	*out = str_n(p, (size_t)n);
	r->at += (size_t)n;
	return 0;
}

int
pickle_line(struct pickle_reader *r, struct str *out, struct err *e)
{
	const uint8_t *from = r->p + r->at, *end = memchr(from, '\n', r->len - r->at);

	buf_clear(&r->line);
	while (end == NULL) {
		buf_add(&r->line, from, r->len - r->at);
		r->at = r->len;
		if (look(r, e) < 0)
			return -1;
		if (r->len == 0)
			return cut_off(r, e);
		from = r->p;
		end = memchr(from, '\n', r->len);
	}
	r->at += (size_t)(end - from) + 1;
	if (r->line.len == 0) {
		*out = str_n((const char *)from, (size_t)(end - from));
		return 0;
	}
	buf_add(&r->line, from, (size_t)(end - from));
	*out = buf_str(&r->line);
	return 0;
}
