/*
 * pass: one walk over the bytes of a checkpoint, storage by storage in the order of the file, in pieces that threads
 * work on. What is done with a piece is the caller's; see figures.h and compare.h.
 */
#ifndef LNN_STATS_PASS_H
#define LNN_STATS_PASS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/pool.h"
#include "stats/moments.h"
#include "tensor/ckpt.h"

/* A tensor, or all bytes of a storage. */
struct pass_item {
	uint32_t storage;
	const struct tensor *t;     /* NULL: the bytes of the storage. It has data */
	const struct tensor *other; /* NULL, or a tensor of the same shape in the other checkpoint */
	size_t tag, pair;           /* the caller's */
	/* private */
	uint64_t first;             /* unit */
	uint64_t count, each;       /* elements (bytes of a storage) in all, and in a unit */
};

/* Most units of moments.h in a unit. */
enum { PASS_MOMENTS = 16 };

/*
 * A piece in memory: elements (or bytes) [first, first + n) of the item. All pieces of a tensor but the last have the
 * same number of elements, a multiple of MOMENTS_UNIT.
 */
struct pass_unit {
	const struct pass_item *item;
	uint64_t first;
	size_t n;
	void *p, *q; /* q: of the other tensor, or NULL */
	bool stored; /* p is as the storage has it, first elements from where the tensor begins */
	bool last;   /* of the item */
};

struct pass {
	struct ckpt *c, *other; /* other: NULL, or where the other tensors are. Not a stream */
	struct pool *pool;      /* may be NULL */
	void (*tick)(void *arg, uint64_t done, uint64_t total); /* may be NULL */
	void *tick_arg;
	/* Several makes run at once, each with a slot of its own; takes come in order, each after its make. */
	int (*make)(void *arg, const struct pass_unit *u, unsigned slot, struct err *e);
	int (*take)(void *arg, const struct pass_unit *u, unsigned slot, struct err *e); /* p, q are still there */
	void *arg;
};

/*
 * Walks over n items, which are put in the order of their storages. On a stream everything is done with afterwards
 * up to ckpt_finish, which is the caller's.
 */
int pass_run(struct pass *p, struct pass_item *items, size_t n, struct err *e);

/* The item that tensor t of c is; of several boxes, at the last of their storages. */
struct pass_item pass_tensor(const struct tensor *t, size_t tag);

/* Are t's elements stored as the units above have them: in row-major order, little-endian, nothing to resolve? */
bool pass_plain(const struct ckpt *c, const struct tensor *t);

#endif
