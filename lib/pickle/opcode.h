/* Opcodes of pickles, protocols 0 to 5, as in Python's Lib/pickletools.py. */
#ifndef LNN_PICKLE_OPCODE_H
#define LNN_PICKLE_OPCODE_H

/*
 * Columns: name; byte; function in machine.c; width of the argument in bytes, or of its length prefix, or LINE for a line of text;
 * kind: enum value_kind or value_how of the result, or a truth value; number of values taken from the stack, or ALL for those above
 * the last mark.
 */
/* clang-format off */
#define PICKLE_OPS(line) \
	line(MARK, '(', op_mark, 0, 0, 0) \
	line(STOP, '.', op_stop, 0, 0, 1) \
	line(POP, '0', op_pop, 0, 0, 0) \
	line(POP_MARK, '1', op_nothing, 0, 0, ALL) \
	line(DUP, '2', op_dup, 0, 0, 0) \
	line(FLOAT, 'F', op_float, LINE, 0, 0) \
	line(INT, 'I', op_decimal, LINE, VALUE_INT, 0) \
	line(BININT, 'J', op_integer, 4, 0, 0) \
	line(BININT1, 'K', op_integer, 1, 0, 0) \
	line(LONG, 'L', op_decimal, LINE, VALUE_BIGINT, 0) \
	line(BININT2, 'M', op_integer, 2, 0, 0) \
	line(NONE, 'N', op_none, 0, 0, 0) \
	line(PERSID, 'P', op_persid, LINE, 0, 0) \
	line(BINPERSID, 'Q', op_binpersid, 0, 0, 1) \
	line(REDUCE, 'R', op_call, 0, HOW_REDUCE, 2) \
	line(STRING, 'S', op_string, LINE, 0, 0) \
	line(BINSTRING, 'T', op_counted, 4, VALUE_PYSTR, 0) \
	line(SHORT_BINSTRING, 'U', op_counted, 1, VALUE_PYSTR, 0) \
	line(UNICODE, 'V', op_unicode, LINE, 0, 0) \
	line(BINUNICODE, 'X', op_counted, 4, VALUE_STR, 0) \
	line(APPEND, 'a', op_extend, 0, VALUE_LIST, 1) \
	line(BUILD, 'b', op_build, 0, 0, 1) \
	line(GLOBAL, 'c', op_global, LINE, 0, 0) \
	line(DICT, 'd', op_dict, 0, 0, ALL) \
	line(EMPTY_DICT, '}', op_collect, 0, VALUE_DICT, 0) \
	line(APPENDS, 'e', op_extend, 0, VALUE_LIST, ALL) \
	line(GET, 'g', op_get, LINE, 0, 0) \
	line(BINGET, 'h', op_get, 1, 0, 0) \
	line(INST, 'i', op_inst, LINE, 0, 0) \
	line(LONG_BINGET, 'j', op_get, 4, 0, 0) \
	line(LIST, 'l', op_collect, 0, VALUE_LIST, ALL) \
	line(EMPTY_LIST, ']', op_collect, 0, VALUE_LIST, 0) \
	line(OBJ, 'o', op_obj, 0, 0, ALL) \
	line(PUT, 'p', op_put, LINE, 0, 0) \
	line(BINPUT, 'q', op_put, 1, 0, 0) \
	line(LONG_BINPUT, 'r', op_put, 4, 0, 0) \
	line(SETITEM, 's', op_setitems, 0, 0, 2) \
	line(TUPLE, 't', op_tuple, 0, 0, ALL) \
	line(EMPTY_TUPLE, ')', op_tuple, 0, 0, 0) \
	line(SETITEMS, 'u', op_setitems, 0, 0, ALL) \
	line(BINFLOAT, 'G', op_binfloat, 8, 0, 0) \
	line(BINBYTES, 'B', op_counted, 4, VALUE_BYTES, 0) \
	line(SHORT_BINBYTES, 'C', op_counted, 1, VALUE_BYTES, 0) \
	line(PROTO, 0x80, op_proto, 1, 0, 0) \
	line(NEWOBJ, 0x81, op_call, 0, HOW_NEWOBJ, 2) \
	line(EXT1, 0x82, op_foreign, 1, true, 0) \
	line(EXT2, 0x83, op_foreign, 2, true, 0) \
	line(EXT4, 0x84, op_foreign, 4, true, 0) \
	line(TUPLE1, 0x85, op_tuple, 0, 0, 1) \
	line(TUPLE2, 0x86, op_tuple, 0, 0, 2) \
	line(TUPLE3, 0x87, op_tuple, 0, 0, 3) \
	line(NEWTRUE, 0x88, op_bool, 0, true, 0) \
	line(NEWFALSE, 0x89, op_bool, 0, false, 0) \
	line(LONG1, 0x8a, op_counted, 1, VALUE_BIGINT, 0) \
	line(LONG4, 0x8b, op_counted, 4, VALUE_BIGINT, 0) \
	line(SHORT_BINUNICODE, 0x8c, op_counted, 1, VALUE_STR, 0) \
	line(BINUNICODE8, 0x8d, op_counted, 8, VALUE_STR, 0) \
	line(BINBYTES8, 0x8e, op_counted, 8, VALUE_BYTES, 0) \
	line(EMPTY_SET, 0x8f, op_collect, 0, VALUE_SET, 0) \
	line(ADDITEMS, 0x90, op_extend, 0, VALUE_SET, ALL) \
	line(FROZENSET, 0x91, op_collect, 0, VALUE_FROZENSET, ALL) \
	line(NEWOBJ_EX, 0x92, op_newobj_ex, 0, 0, 3) \
	line(STACK_GLOBAL, 0x93, op_stack_global, 0, 0, 2) \
	line(MEMOIZE, 0x94, op_put, 0, 0, 0) \
	line(FRAME, 0x95, op_nothing, 8, 0, 0) \
	line(BYTEARRAY8, 0x96, op_counted, 8, VALUE_BYTEARRAY, 0) \
	line(NEXT_BUFFER, 0x97, op_foreign, 0, true, 0) \
	line(READONLY_BUFFER, 0x98, op_foreign, 0, false, 0)
/* clang-format on */

#define PICKLE_OP(name, byte, run, width, kind, takes) OP_##name = (byte),
enum pickle_op { PICKLE_OPS(PICKLE_OP) };
#undef PICKLE_OP

/* Opcodes that are not printable, for strings of opcodes. */
#define PICKLE_NEWOBJ "\x81"
#define PICKLE_TUPLE1 "\x85"
#define PICKLE_TUPLE2 "\x86"
#define PICKLE_TUPLE3 "\x87"
#define PICKLE_TRUE "\x88"
#define PICKLE_FALSE "\x89"

#endif
