#include "pickle/pickle.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/xalloc.h"
#include "pickle/machine.h"

static pickle_handler *const handlers[256] = {
	[OP_MARK] = pickle_op_mark,
	[OP_STOP] = pickle_op_stop,
	[OP_POP] = pickle_op_pop,
	[OP_POP_MARK] = pickle_op_pop_mark,
	[OP_DUP] = pickle_op_dup,
	[OP_FLOAT] = pickle_op_float,
	[OP_INT] = pickle_op_int,
	[OP_BININT] = pickle_op_binint,
	[OP_BININT1] = pickle_op_binint1,
	[OP_LONG] = pickle_op_long,
	[OP_BININT2] = pickle_op_binint2,
	[OP_NONE] = pickle_op_none,
	[OP_PERSID] = pickle_op_persid,
	[OP_BINPERSID] = pickle_op_binpersid,
	[OP_REDUCE] = pickle_op_reduce,
	[OP_STRING] = pickle_op_string,
	[OP_BINSTRING] = pickle_op_binstring,
	[OP_SHORT_BINSTRING] = pickle_op_short_binstring,
	[OP_UNICODE] = pickle_op_unicode,
	[OP_BINUNICODE] = pickle_op_binunicode,
	[OP_APPEND] = pickle_op_append,
	[OP_BUILD] = pickle_op_build,
	[OP_GLOBAL] = pickle_op_global,
	[OP_DICT] = pickle_op_dict,
	[OP_EMPTY_DICT] = pickle_op_empty_dict,
	[OP_APPENDS] = pickle_op_appends,
	[OP_GET] = pickle_op_get,
	[OP_BINGET] = pickle_op_binget,
	[OP_INST] = pickle_op_inst,
	[OP_LONG_BINGET] = pickle_op_long_binget,
	[OP_LIST] = pickle_op_list,
	[OP_EMPTY_LIST] = pickle_op_empty_list,
	[OP_OBJ] = pickle_op_obj,
	[OP_PUT] = pickle_op_put,
	[OP_BINPUT] = pickle_op_binput,
	[OP_LONG_BINPUT] = pickle_op_long_binput,
	[OP_SETITEM] = pickle_op_setitem,
	[OP_TUPLE] = pickle_op_tuple,
	[OP_EMPTY_TUPLE] = pickle_op_empty_tuple,
	[OP_SETITEMS] = pickle_op_setitems,
	[OP_BINFLOAT] = pickle_op_binfloat,
	[OP_BINBYTES] = pickle_op_binbytes,
	[OP_SHORT_BINBYTES] = pickle_op_short_binbytes,
	[OP_PROTO] = pickle_op_proto,
	[OP_NEWOBJ] = pickle_op_newobj,
	[OP_EXT1] = pickle_op_ext,
	[OP_EXT2] = pickle_op_ext,
	[OP_EXT4] = pickle_op_ext,
	[OP_TUPLE1] = pickle_op_tuple1,
	[OP_TUPLE2] = pickle_op_tuple2,
	[OP_TUPLE3] = pickle_op_tuple3,
	[OP_NEWTRUE] = pickle_op_newtrue,
	[OP_NEWFALSE] = pickle_op_newfalse,
	[OP_LONG1] = pickle_op_long1,
	[OP_LONG4] = pickle_op_long4,
	[OP_SHORT_BINUNICODE] = pickle_op_short_binunicode,
	[OP_BINUNICODE8] = pickle_op_binunicode8,
	[OP_BINBYTES8] = pickle_op_binbytes8,
	[OP_EMPTY_SET] = pickle_op_empty_set,
	[OP_ADDITEMS] = pickle_op_additems,
	[OP_FROZENSET] = pickle_op_frozenset,
	[OP_NEWOBJ_EX] = pickle_op_newobj_ex,
	[OP_STACK_GLOBAL] = pickle_op_stack_global,
	[OP_MEMOIZE] = pickle_op_memoize,
	[OP_FRAME] = pickle_op_frame,
	[OP_BYTEARRAY8] = pickle_op_bytearray8,
	[OP_NEXT_BUFFER] = pickle_op_next_buffer,
	[OP_READONLY_BUFFER] = pickle_op_readonly_buffer,
};

/* Values that there is room for from the beginning. */
enum { STACK_FIRST = 64 };

void
pickle_machine_init(struct pickle_machine *m, struct vtree *t, struct source *src, uint64_t off, uint64_t limit,
	const struct pickle_hooks *hooks)
{
	*m = (struct pickle_machine){ .t = t, .root = VALUE_ABSENT, .stack_cap = STACK_FIRST };
	m->stack = xcalloc(STACK_FIRST, sizeof(*m->stack));
	if (hooks != NULL)
		m->hooks = *hooks;
	pickle_reader_init(&m->in, src, off, limit);
}

void
pickle_machine_release(struct pickle_machine *m)
{
	free(m->stack);
	free(m->marks);
	pickle_memo_release(&m->memo);
	pickle_reader_release(&m->in);
}

int
pickle_machine_fetch(struct pickle_machine *m, struct err *e)
{
	return pickle_next(&m->in, e);
}

/* An opcode makes no more than a few nodes, so they need not be counted after every one. */
enum { COUNT_EVERY = 256 };

int
pickle_machine_execute(struct pickle_machine *m, struct err *e)
{
	pickle_handler *h = handlers[m->in.op];

	if (h == NULL)
		return pickle_fail(&m->in, e, m->in.op_off == m->in.start ? "no pickle begins with byte 0x%02x"
									     : "byte 0x%02x is no pickle opcode",
			m->in.op);
	if (h(m, e) < 0)
		return -1;
	if (++m->steps % COUNT_EVERY == 0 && vtree_count(m->t) > PICKLE_NODES_MAX)
		return pickle_fail(&m->in, e, "more than %d objects", PICKLE_NODES_MAX);
	return 0;
}

int
pickle_decode(struct vtree *t, struct source *src, uint64_t off, uint64_t limit, const struct pickle_hooks *hooks,
	uint32_t *root, uint64_t *end, struct err *e)
{
	struct pickle_machine m;
	int status = 0;

	pickle_machine_init(&m, t, src, off, limit, hooks);
	while (status == 0 && !m.stopped) {
		status = pickle_machine_fetch(&m, e);
		if (status == 0)
			status = pickle_machine_execute(&m, e);
	}
	*root = m.root;
	*end = pickle_reader_at(&m.in);
	pickle_machine_release(&m);
	return status;
}

/* ---- the stack */

int
pickle_stack_grow(struct pickle_machine *m, struct err *e)
{
	if (m->depth >= PICKLE_STACK_MAX)
		return pickle_fail(&m->in, e, "more than %d values on the stack", PICKLE_STACK_MAX);
	m->stack = xgrow(m->stack, m->depth, &m->stack_cap, sizeof(*m->stack));
	if (m->stack_cap > PICKLE_STACK_MAX)
		m->stack_cap = PICKLE_STACK_MAX;
	return 0;
}

void
pickle_underflow(const struct pickle_machine *m, struct err *e)
{
	pickle_fail(&m->in, e, m->depth == 0 ? "the stack is empty" : "there is a mark where a value is wanted");
}

int
pickle_pop_mark(struct pickle_machine *m, const uint32_t **items, size_t *n, struct err *e)
{
	size_t start;

	if (m->marks_n == 0)
		return pickle_fail(&m->in, e, "there is no mark on the stack");
	start = m->marks[--m->marks_n];
	m->fence = m->marks_n > 0 ? m->marks[m->marks_n - 1] : 0;
	*items = m->stack == NULL ? NULL : m->stack + start;
	*n = m->depth - start;
	m->depth = start;
	return 0;
}

int
pickle_refuse(struct pickle_machine *m, struct err *e, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(m->passed_over, sizeof(m->passed_over), fmt, ap);
	va_end(ap);
	return m->lenient ? 0 : pickle_fail(&m->in, e, "%s", m->passed_over);
}
