/*
 * pickle_machine: one pickle being executed, opcode by opcode, into plain data.
 * pickle_decode runs it strictly; pickle_scan looks at the stack between steps
 * and asks for leniency, so that it sees as much of a malicious pickle as can be.
 */
#ifndef LNN_PICKLE_MACHINE_H
#define LNN_PICKLE_MACHINE_H

#include "pickle/pickle.h"
#include "pickle/memo.h"
#include "pickle/read.h"

struct pickle_machine {
	struct vtree *t;
	struct pickle_reader in;
	struct pickle_hooks hooks;
	uint32_t *stack;
	size_t depth, stack_cap;
	uint32_t *marks; /* depths */
	size_t marks_n, marks_cap;
	size_t fence;    /* depth at the last mark: nothing below may be taken */
	struct pickle_memo memo;
	uint32_t steps;  /* opcodes executed */
	uint64_t copied; /* slots and bytes that rewriting a reduction as plain data has copied */
	bool lenient;    /* what Python would refuse is passed over where the stack stays in step */
	char passed_over[512]; /* what that was the last time, for whom it concerns to empty */
	uint32_t named;  /* the global that was named last */
	bool stopped;
	uint32_t root;
};

void pickle_machine_init(struct pickle_machine *m, struct vtree *t, struct source *src, uint64_t off, uint64_t limit,
	const struct pickle_hooks *hooks);
void pickle_machine_release(struct pickle_machine *m);

/* One opcode in two steps, so that one can look at m->in.op before it is executed. */
int pickle_machine_fetch(struct pickle_machine *m, struct err *e);
int pickle_machine_execute(struct pickle_machine *m, struct err *e);

/* ---- shared by the files of the machine */

typedef int pickle_handler(struct pickle_machine *m, struct err *e);

/* pickle_literal.c: constants, numbers and texts. */
pickle_handler pickle_op_none, pickle_op_newtrue, pickle_op_newfalse, pickle_op_int, pickle_op_long, pickle_op_binint,
	pickle_op_binint1, pickle_op_binint2, pickle_op_long1, pickle_op_long4, pickle_op_float, pickle_op_binfloat,
	pickle_op_string, pickle_op_binstring, pickle_op_short_binstring, pickle_op_unicode, pickle_op_short_binunicode,
	pickle_op_binunicode, pickle_op_binunicode8, pickle_op_short_binbytes, pickle_op_binbytes, pickle_op_binbytes8,
	pickle_op_bytearray8;

/* pickle_container.c: the stack, the memo and containers. */
pickle_handler pickle_op_proto, pickle_op_frame, pickle_op_stop, pickle_op_mark, pickle_op_pop, pickle_op_pop_mark,
	pickle_op_dup, pickle_op_get, pickle_op_binget, pickle_op_long_binget, pickle_op_put, pickle_op_binput,
	pickle_op_long_binput, pickle_op_memoize, pickle_op_empty_tuple, pickle_op_tuple1, pickle_op_tuple2, pickle_op_tuple3,
	pickle_op_tuple, pickle_op_empty_list, pickle_op_list, pickle_op_append, pickle_op_appends, pickle_op_empty_dict,
	pickle_op_dict, pickle_op_setitem, pickle_op_setitems, pickle_op_empty_set, pickle_op_frozenset, pickle_op_additems;

/* pickle_object.c: globals, objects and persistent ids. */
pickle_handler pickle_op_global, pickle_op_stack_global, pickle_op_inst, pickle_op_obj, pickle_op_reduce,
	pickle_op_newobj, pickle_op_newobj_ex, pickle_op_build, pickle_op_persid, pickle_op_binpersid, pickle_op_ext,
	pickle_op_next_buffer, pickle_op_readonly_buffer;

int pickle_stack_grow(struct pickle_machine *m, struct err *e);
void pickle_underflow(const struct pickle_machine *m, struct err *e);

static inline int
pickle_push(struct pickle_machine *m, uint32_t h, struct err *e)
{
	if (m->depth == m->stack_cap && pickle_stack_grow(m, e) < 0)
		return -1;
	m->stack[m->depth++] = h;
	return 0;
}

static inline int
pickle_pop(struct pickle_machine *m, uint32_t *h, struct err *e)
{
	if (m->depth == m->fence) {
		pickle_underflow(m, e);
		return -1;
	}
	*h = m->stack[--m->depth];
	return 0;
}

/* The place of the top of the stack. */
static inline int
pickle_top(struct pickle_machine *m, uint32_t **top, struct err *e)
{
	if (m->depth == m->fence) {
		pickle_underflow(m, e);
		return -1;
	}
	*top = &m->stack[m->depth - 1];
	return 0;
}

/* What lies above the last mark, borrowed until the next push; the mark is taken away. */
int pickle_pop_mark(struct pickle_machine *m, const uint32_t **items, size_t *n, struct err *e);

/* 0 when lenient, else -1 with the message set. */
int pickle_refuse(struct pickle_machine *m, struct err *e, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Is callable(*args) one of the reductions that denote plain data (OrderedDict, bytes, sets)? Then it is made. */
bool pickle_plain(struct pickle_machine *m, uint32_t callable, uint32_t args, uint32_t *out);

/* UTF-8 as Python writes it: lone surrogates may occur. */
bool pickle_utf8(struct str s);

/* Two's complement, little-endian, of any length: VALUE_INT or VALUE_BIGINT. The bytes are copied if need be. */
uint32_t pickle_long(struct vtree *t, const uint8_t *p, size_t n);

#endif
