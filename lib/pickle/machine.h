/*
 * pickle_machine: our own machine for Python pickles, protocols 0 to 5. It executes a pickle opcode by opcode and builds
 * plain data (value.h); classes are not imported, reducers not called.
 *
 * pickle_decode is strict, unless its hooks say that it is lenient: then it passes over what Python would refuse where it can,
 * so that it sees as much of a malicious pickle as possible. Hooks may look at the machine between the opcodes.
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

/* Where a pickle stands. */
struct pickle_place {
	struct source *src;
	uint64_t off;
	uint64_t limit; /* the record's end; UINT64_MAX when not known */
	uint64_t end;   /* result: the offset behind STOP, or behind what was read before an error */
};

struct pickle_machine;

enum { PICKLE_LATER = 1024 };

/* A call in a pickle. */
struct pickle_call {
	uint32_t callable, args;
	uint64_t off; /* of the opcode, absolute */
};

/*
 * What the caller adds. Each may be NULL. take_* return 1 and set *out when they
 * made a value of it, 0 to have the generic node built, -1 on error.
 */
struct pickle_hooks {
	/* A persistent id (the value id). */
	int (*persid)(void *arg, struct vtree *t, uint32_t id, uint32_t *out, struct err *e);
	/*
	 * callable(*args): called by REDUCE, and by NEWOBJ, which means the same for the classes that matter.
	 * OrderedDict, bytes, bytearray, set and frozenset are dealt with before.
	 */
	int (*reduce)(void *arg, struct vtree *t, const struct pickle_call *call, uint32_t *out, struct err *e);
	/* BUILD on a leaf made by a hook, with its state (old FloatTensor + BUILD): 1 when dealt with, 0: refused. */
	int (*build)(void *arg, struct vtree *t, uint32_t target, uint32_t state, struct err *e);
	/*
	 * A text of Python 2, bytes or a bytearray of PICKLE_LATER bytes or more, n at off of the source: what stands for it. It
	 * is not read. The pickle's limit is known.
	 */
	uint32_t (*later)(void *arg, struct vtree *t, enum value_kind kind, uint64_t off, uint64_t n);
	void *arg;
	/* Called around the execution of each opcode m->in.op. after() returns -1 to end it. */
	void (*before)(void *arg, struct pickle_machine *m);
	int (*after)(void *arg, struct pickle_machine *m);
	/* The hooks consume the arguments of what they take (value.h) as soon as they do not need them any more. */
	bool consumes;
	bool lenient; /* what Python would refuse is passed over where the stack stays in step */
};

/*
 * Decodes one pickle up to its STOP. hooks may be NULL. On a stream nothing beyond the STOP's look-ahead buffer is
 * consumed. Errors name the file and the offset of the opcode.
 */
int pickle_decode(struct vtree *t, struct pickle_place *place, const struct pickle_hooks *hooks, uint32_t *root, struct err *e);

/* An opcode; see PICKLE_OPS. */
struct pickle_opcode {
	const char *name; /* as pickletools has it */
	int (*run)(struct pickle_machine *m, struct err *e);
	uint8_t width, kind, takes;
};

/* The bytes of a pickle, opcode by opcode. */
struct pickle_reader {
	struct source *src;
	uint64_t base;    /* offset of p[0] */
	const uint8_t *p; /* borrowed from the source until it is looked at again */
	size_t at, len;
	uint64_t limit; /* the pickle ends here or before */
	uint64_t start, op_off;
	uint8_t op;
	struct buf line;
};

/*
 * What the PUTs of a pickle have stored. Indexes near each other lie in an array; an index far out costs no more than one
 * nearby.
 */
struct pickle_memo {
	uint32_t *dense; /* VALUE_ABSENT where nothing is */
	size_t size;
	struct strmap far; /* other indexes, to their places in values */
	uint32_t *values;
	size_t nvalues, cap, count; /* count: indexes stored */
};

/* Which entries of the memo a pickle reads again: a bit for each. */
struct pickle_recall {
	bool known; /* false: all may be */
	uint8_t *bits;
	size_t size;     /* bytes of bits */
	uint32_t stored; /* entries */
};

struct pickle_machine {
	struct vtree *t;
	struct pickle_reader in;
	struct pickle_hooks hooks;
	uint32_t *stack;
	size_t depth, stack_cap;
	uint32_t *marks; /* depths */
	size_t marks_n, marks_cap;
	size_t fence; /* depth at the last mark: nothing below may be taken */
	struct pickle_memo memo;
	struct pickle_recall recall;
	const char *name; /* of the opcode that is executed, NULL if there is none of that byte */
	uint8_t width, kind;
	const uint8_t *arg; /* its argument, width bytes; or a line */
	struct str line;
	const uint32_t *items; /* its operands, n of them */
	size_t n;
	uint32_t steps;        /* opcodes executed */
	uint64_t copied;       /* slots and bytes that rewriting a reduction as plain data has copied */
	char passed_over[512]; /* what was passed over last; the watcher empties it */
	uint32_t other;        /* a global of a module that makes no plain data, called last */
	uint32_t named;        /* the global that was named last */
	bool stopped;
	uint32_t root;
};

#endif
