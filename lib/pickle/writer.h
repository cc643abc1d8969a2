/*
 * pickle_writer: a value tree as a pickle of protocol 2.
 *
 * pickle_encode walks the tree twice with the same code: the first walk only counts which nodes are reached more than
 * once, the second writes.
 */
#ifndef LNN_PICKLE_WRITER_H
#define LNN_PICKLE_WRITER_H

#include "base/err.h"
#include "base/str.h"
#include "pickle/value.h"

/*
 * Encodes the value root as protocol 2 (loadable with weights_only where its globals allow). Nodes that are
 * reached twice are memoised, so identity and cycles survive. leaf() writes a leaf's opcodes, ending with exactly
 * one more object on the stack. It is called twice for each leaf, and must do the same both times: the first time nothing
 * is written, only pickle_value counts.
 *
 * What protocol 2 cannot say is rewritten as CPython does it: bytes through _codecs.encode, sets through their
 * constructors, names of Python 3 under those of Python 2. Otherwise than CPython b'' is written as other bytes are
 * (weights_only refuses bytes()), and keyword arguments of __new__ go through copyreg.__newobj_ex__ (CPython takes
 * functools.partial and getattr, at which scanners shy). Errors: nesting over PICKLE_DEPTH_MAX, texts over 4 GiB.
 */
struct pickle_out;
struct pickle_leaves {
	int (*leaf)(void *arg, struct pickle_out *o, enum value_leaf kind, uint32_t index, struct err *e);
	void *arg;
};
int pickle_encode(const struct vtree *t, uint32_t root, const struct pickle_leaves *leaves,
		  int (*write)(void *arg, const void *p, size_t n, struct err *e), void *arg, struct err *e);

/*
 * For leaf(): opcodes as they stand in what (pickle/opcode.h), and for %g a global (module and name), %t a text that recurs,
 * %T one of struct str, %s one that does not recur, of struct str, %i a number (uint64_t). Globals and texts that recur are
 * memoised by content.
 */
void pickle_put(struct pickle_out *o, const char *what, ...);
int pickle_value(struct pickle_out *o, uint32_t h, struct err *e); /* a value of the tree being encoded */

/* Names that pickles have as Python 2 had them: to those of Python 3 (reads), or back (writes). */
enum pickle_way { PICKLE_READS = 1, PICKLE_WRITES = 2, PICKLE_BOTH = 3 };
void pickle_rename(struct str *module, struct str *name, enum pickle_way way);

#endif
