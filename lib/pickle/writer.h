/*
 * pickle_writer: writes a value tree as a pickle of protocol 2.
 *
 * pickle_encode walks the tree twice with the same code. The first walk only counts which nodes are reached more than once. The
 * second one writes.
 */
#ifndef LNN_PICKLE_WRITER_H
#define LNN_PICKLE_WRITER_H

#include "base/err.h"
#include "base/str.h"
#include "pickle/value.h"

/*
 * Encodes the value root with protocol 2. The result loads with weights_only if its globals allow it. Nodes that are reached twice
 * are memoised, so identity and cycles are preserved. leaf() writes the opcodes of a leaf, which must leave exactly one more object
 * on the stack. It is called twice for each leaf and must do the same both times; the first time nothing is written, and
 * pickle_value only counts.
 *
 * What protocol 2 cannot express is written as CPython does it: bytes through _codecs.encode, sets through their constructors,
 * names of Python 3 as those of Python 2. There are two differences from CPython. b'' is written like other bytes, because
 * weights_only refuses bytes(). Keyword arguments of __new__ go through copyreg.__newobj_ex__, because security scanners object to
 * CPython's functools.partial and getattr. Errors: nesting over PICKLE_DEPTH_MAX, texts over 4 GiB.
 */
struct pickle_out;
struct pickle_leaves {
	int (*leaf)(void *arg, struct pickle_out *o, enum value_leaf kind, uint32_t index, struct err *err);
	void *arg;
};
int pickle_encode(const struct vtree *t, uint32_t root, const struct pickle_leaves *leaves,
		  int (*write)(void *arg, const void *p, size_t n, struct err *err), void *arg, struct err *err);

/*
 * For leaf(): writes the opcodes in what (pickle/opcode.h). It may contain %g for a global (module and name), %t for a recurring
 * string, %T for a recurring struct str, %s for a struct str that does not recur, and %i for a uint64_t. Globals and recurring
 * strings are memoised by content.
 */
void pickle_put(struct pickle_out *o, const char *what, ...);
int pickle_value(struct pickle_out *o, uint32_t h, struct err *err); /* writes a value of the tree being encoded */

/* Translates the name of a global from Python 2 to Python 3 (reads), or back (writes). */
enum pickle_way { PICKLE_READS = 1, PICKLE_WRITES = 2, PICKLE_BOTH = 3 };
void pickle_rename(struct str *module, struct str *name, enum pickle_way way);

#endif
