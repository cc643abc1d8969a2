/*
 * pickle_machine: an interpreter for Python pickles, protocols 0 to 5. It executes a pickle opcode by opcode and builds plain data
 * (value.h). It never imports classes or calls functions.
 *
 * pickle_decode is strict by default. In lenient mode it continues after most errors that Python would raise, so that as much as
 * possible of a malicious pickle is seen. Hooks may inspect the machine between opcodes.
 */
#ifndef LNN_PICKLE_MACHINE_H
#define LNN_PICKLE_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/strmap.h"
#include "io/source.h"
#include "pickle/opcode.h"
#include "pickle/value.h"

/* The position of a pickle in a source. */
struct pickle_place {
	struct source *src;
	uint64_t off;
	uint64_t limit; /* end of its record; UINT64_MAX if not known */
	uint64_t end;   /* result: the offset after STOP or, after an error in lenient mode, of the last opcode */
};

struct pickle_machine;

enum { PICKLE_LATER = 1024 };

/* A call in a pickle. */
struct pickle_call {
	uint32_t callable, args;
	uint64_t off; /* absolute offset of the opcode */
};

/* The most dimensions of a pickle_plain. */
enum { PICKLE_PLAIN_NDIM = 8 };

/*
 * A call as torch.save writes it for nearly every tensor:
 *
 *	callable(persistent id (word, class, key, location, numel), offset, shape, stride, grad, hooks())
 *
 * The names without a number or text are handles of values that the memo keeps.
 */
struct pickle_plain {
	uint32_t callable, word, class, location, hooks;
	struct str key; /* borrowed until the next read */
	uint64_t numel, offset, shape[PICKLE_PLAIN_NDIM], stride[PICKLE_PLAIN_NDIM];
	uint8_t ndim;
	bool grad;
};

/*
 * Functions of the caller; each may be NULL. persid, reduce, build and plain return 1
 * if they handled the value (and set *out), 0 to get the default node, and -1
 * on error.
 */
struct pickle_hooks {
	/* Handles a persistent id. id is the handle of its value. */
	int (*persid)(void *arg, struct vtree *t, uint32_t id, uint32_t *out, struct err *err);
	/*
	 * Handles callable(*args) of REDUCE, and of NEWOBJ, which means the same for the classes that matter. Calls that yield
	 * OrderedDict, bytes, bytearray, set or frozenset are handled before and not passed.
	 */
	int (*reduce)(void *arg, struct vtree *t, const struct pickle_call *call, uint32_t *out, struct err *err);
	/*
	 * Handles BUILD with its state on a leaf made by another hook (old FloatTensor + BUILD). If it returns 0, the pickle is
	 * refused.
	 */
	int (*build)(void *arg, struct vtree *t, uint32_t target, uint32_t state, struct err *err);
	/*
	 * Returns a value that represents a Python 2 str, bytes or a bytearray of n >= PICKLE_LATER bytes at off of the source. The
	 * bytes are not read. The limit of the pickle must be known.
	 */
	uint32_t (*later)(void *arg, struct vtree *t, enum value_kind kind, uint64_t off, uint64_t n);
	/*
	 * Handles a whole call, of which no value was made and none is used elsewhere. If it returns 0, the opcodes of the call are
	 * executed one by one.
	 */
	int (*plain)(void *arg, struct vtree *t, const struct pickle_plain *call, uint32_t *out, struct err *err);
	void *arg;
	/* Called before and after each opcode m->in.op. If after() returns -1, decoding ends. */
	void (*before)(void *arg, struct pickle_machine *m);
	int (*after)(void *arg, struct pickle_machine *m);
	/* The hooks call value_consume (value.h) on arguments that they no longer need. */
	bool consumes;
	bool lenient; /* lenient mode: continue after errors that leave the stack consistent */
};

/*
 * Decodes one pickle up to its STOP. hooks may be NULL. On a stream, bytes after STOP are read ahead at most, but not consumed.
 * Errors name the file and the offset of the opcode.
 */
int pickle_decode(struct vtree *t, struct pickle_place *place, const struct pickle_hooks *hooks, uint32_t *root, struct err *err);

/* An opcode; see PICKLE_OPS. */
struct pickle_opcode {
	const char *name; /* as in pickletools */
	int (*run)(struct pickle_machine *m, struct err *err);
	uint8_t width, kind, takes;
};

/* Reads a pickle opcode by opcode. */
struct pickle_reader {
	struct source *src;
	uint64_t base;    /* offset of p[0] */
	const uint8_t *p; /* window; borrowed until the next look at the source */
	size_t at, len;
	uint64_t limit; /* the pickle ends at or before this offset */
	uint64_t start, op_off;
	uint8_t op;
	struct buf line;
};

/*
 * The entries that PUT opcodes have stored. Small indices are in an array; scattered ones are in a map, so that a huge index costs
 * no more than a small one.
 */
struct pickle_memo {
	uint32_t *dense; /* VALUE_ABSENT for unused entries */
	size_t size;
	struct strmap far; /* maps other indices to positions in values */
	uint32_t *values;
	size_t nvalues, cap, count; /* count: number of stored entries */
};

/* The memo entries that a pickle reads again, as a bit per entry. */
struct pickle_recall {
	bool known; /* false: any entry may be read again */
	uint8_t *bits;
	size_t size;     /* size of bits in bytes */
	uint32_t stored; /* number of entries stored */
};

struct pickle_machine {
	struct vtree *t;
	struct pickle_reader in;
	struct pickle_hooks hooks;
	uint32_t *stack;
	size_t depth, stack_cap;
	uint32_t *marks; /* stack depths at which marks were set */
	size_t marks_n, marks_cap;
	size_t fence; /* depth at the last mark; values below it cannot be popped */
	struct pickle_memo memo;
	struct pickle_recall recall;
	const char *name; /* name of the opcode being executed; NULL if the byte is no opcode */
	uint8_t width, kind;
	const uint8_t *arg; /* argument of the opcode: width bytes; for a line see line */
	struct str line;
	const uint32_t *items; /* operands of the opcode, n handles */
	size_t n;
	uint32_t steps;        /* number of opcodes executed */
	uint64_t copied;       /* slots and bytes copied so far for calls that became plain data */
	char passed_over[512]; /* last error that was skipped in lenient mode; the hook that reads it empties it */
	uint32_t other;        /* last called global whose module makes no plain data */
	uint32_t named;        /* the global that was named last */
	bool stopped;
	uint32_t root;
};

#endif
