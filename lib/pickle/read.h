/*
 * pickle_read: the opcodes of a pickle and their arguments, read from a source.
 * The opcodes and how their arguments stand: Python's Lib/pickletools.py.
 */
#ifndef LNN_PICKLE_READ_H
#define LNN_PICKLE_READ_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "io/source.h"

enum pickle_op {
	OP_MARK = '(',
	OP_STOP = '.',
	OP_POP = '0',
	OP_POP_MARK = '1',
	OP_DUP = '2',
	OP_FLOAT = 'F',
	OP_INT = 'I',
	OP_BININT = 'J',
	OP_BININT1 = 'K',
	OP_LONG = 'L',
	OP_BININT2 = 'M',
	OP_NONE = 'N',
	OP_PERSID = 'P',
	OP_BINPERSID = 'Q',
	OP_REDUCE = 'R',
	OP_STRING = 'S',
	OP_BINSTRING = 'T',
	OP_SHORT_BINSTRING = 'U',
	OP_UNICODE = 'V',
	OP_BINUNICODE = 'X',
	OP_APPEND = 'a',
	OP_BUILD = 'b',
	OP_GLOBAL = 'c',
	OP_DICT = 'd',
	OP_EMPTY_DICT = '}',
	OP_APPENDS = 'e',
	OP_GET = 'g',
	OP_BINGET = 'h',
	OP_INST = 'i',
	OP_LONG_BINGET = 'j',
	OP_LIST = 'l',
	OP_EMPTY_LIST = ']',
	OP_OBJ = 'o',
	OP_PUT = 'p',
	OP_BINPUT = 'q',
	OP_LONG_BINPUT = 'r',
	OP_SETITEM = 's',
	OP_TUPLE = 't',
	OP_EMPTY_TUPLE = ')',
	OP_SETITEMS = 'u',
	OP_BINFLOAT = 'G',
	OP_BINBYTES = 'B',
	OP_SHORT_BINBYTES = 'C',
	OP_PROTO = 0x80,
	OP_NEWOBJ = 0x81,
	OP_EXT1 = 0x82,
	OP_EXT2 = 0x83,
	OP_EXT4 = 0x84,
	OP_TUPLE1 = 0x85,
	OP_TUPLE2 = 0x86,
	OP_TUPLE3 = 0x87,
	OP_NEWTRUE = 0x88,
	OP_NEWFALSE = 0x89,
	OP_LONG1 = 0x8a,
	OP_LONG4 = 0x8b,
	OP_SHORT_BINUNICODE = 0x8c,
	OP_BINUNICODE8 = 0x8d,
	OP_BINBYTES8 = 0x8e,
	OP_EMPTY_SET = 0x8f,
	OP_ADDITEMS = 0x90,
	OP_FROZENSET = 0x91,
	OP_NEWOBJ_EX = 0x92,
	OP_STACK_GLOBAL = 0x93,
	OP_MEMOIZE = 0x94,
	OP_FRAME = 0x95,
	OP_BYTEARRAY8 = 0x96,
	OP_NEXT_BUFFER = 0x97,
	OP_READONLY_BUFFER = 0x98,
};

/* The most bytes that pickle_take gives. */
enum { PICKLE_TAKE_MAX = 4096 };

/* Name of an opcode as pickletools has it, or NULL. */
const char *pickle_opname(uint8_t op);

struct pickle_reader {
	struct source *src;
	uint64_t base;    /* offset of p[0] */
	const uint8_t *p; /* borrowed from the source until it is looked at again */
	size_t at, len;
	uint64_t limit;   /* the pickle ends here or before */
	uint64_t start, op_off;
	uint8_t op;
	struct buf line;
};

void pickle_reader_init(struct pickle_reader *r, struct source *src, uint64_t off, uint64_t limit);
void pickle_reader_release(struct pickle_reader *r);
uint64_t pickle_reader_at(const struct pickle_reader *r);

/* Sets "FILE: at byte OFFSET OF THE OPCODE: NAME: MESSAGE"; returns -1. */
int pickle_fail(const struct pickle_reader *r, struct err *e, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Makes n bytes visible at p + at; n <= PICKLE_TAKE_MAX. */
int pickle_fill(struct pickle_reader *r, size_t n, struct err *e);

/* The next opcode, into op and op_off. */
int pickle_next(struct pickle_reader *r, struct err *e);

/* The next n bytes, n <= PICKLE_TAKE_MAX, borrowed until the next read; NULL with e set where the input ends. */
static inline const uint8_t *
pickle_take(struct pickle_reader *r, size_t n, struct err *e)
{
	if (r->len - r->at < n && pickle_fill(r, n, e) < 0)
		return NULL;
	r->at += n;
	return r->p + (r->at - n);
}

/* The next n bytes into a; memory grows only as the bytes come. */
int pickle_bytes(struct pickle_reader *r, uint64_t n, struct arena *a, struct str *out, struct err *e);

/* Bytes up to the next newline, which is taken too and left out; borrowed until the next read. */
int pickle_line(struct pickle_reader *r, struct str *out, struct err *e);

#endif
