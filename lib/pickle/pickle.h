/*
 * pickle: our own machine for Python pickles, protocols 0 to 5. It builds plain
 * data (value.h); classes are not imported, reducers not called.
 * Opcodes: Python's Lib/pickletools.py and the table in its documentation.
 */
#ifndef LNN_PICKLE_PICKLE_H
#define LNN_PICKLE_PICKLE_H

#include "base/limits.h"
#include "pickle/value.h"
#include "io/sink.h"
#include "io/source.h"

/*
 * What the caller adds. Each may be NULL. take_* return 1 and set *out when they
 * made a value of it, 0 to have the generic node built, -1 on error.
 */
struct pickle_hooks {
	/* A persistent id (the value id). */
	int (*persid)(void *arg, struct vtree *t, uint32_t id, uint32_t *out, struct err *e);
	/*
	 * callable(*args): called by REDUCE, and by NEWOBJ, which means the same for the classes that matter. off is the
	 * opcode's absolute offset. OrderedDict, bytes, bytearray, set and frozenset are dealt with before.
	 */
	int (*reduce)(void *arg, struct vtree *t, uint32_t callable, uint32_t args, uint64_t off, uint32_t *out,
		struct err *e);
	/* BUILD on a leaf made by a hook, with its state (old FloatTensor + BUILD): 1 when dealt with, 0: refused. */
	int (*build)(void *arg, struct vtree *t, uint32_t target, uint32_t state, struct err *e);
	void *arg;
};

/*
 * Decodes one pickle from src at off up to its STOP. *end is the offset behind
 * STOP. limit: the record's end (UINT64_MAX when not known). On a stream nothing beyond the
 * STOP's look-ahead buffer is consumed. Errors name the file and the offset of the opcode.
 */
int pickle_decode(struct vtree *t, struct source *src, uint64_t off, uint64_t limit, const struct pickle_hooks *hooks,
	uint32_t *root, uint64_t *end, struct err *e);

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

/* For leaf(): opcodes. Texts and globals are memoised by content. */
void pickle_op(struct pickle_out *o, unsigned char opcode);
void pickle_text(struct pickle_out *o, struct str s);             /* BINUNICODE or BINGET; for texts that recur */
void pickle_text_once(struct pickle_out *o, struct str s);        /* BINUNICODE without memo */
void pickle_int(struct pickle_out *o, uint64_t v);
void pickle_global(struct pickle_out *o, const char *module, const char *name); /* GLOBAL, or BINGET of it */
int pickle_value(struct pickle_out *o, uint32_t h, struct err *e); /* a value of the tree being encoded */

#endif
