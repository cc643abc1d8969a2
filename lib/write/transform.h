/*
 * transform: the bytes of one output storage, made from the storage or tensor of an input.
 */
#ifndef LNN_WRITE_TRANSFORM_H
#define LNN_WRITE_TRANSFORM_H

#include "base/buf.h"
#include "base/err.h"
#include "base/pool.h"
#include "io/sink.h"
#include "plan/plan.h"

enum transform_kind {
	TRANSFORM_COPY,   /* bytes [off, off + len) of the storage, as they are */
	TRANSFORM_CAST,   /* all items of the storage from one dtype to another (or the same: byte order) */
	TRANSFORM_GATHER, /* a tensor's elements in row-major order, cast if the dtypes differ */
	TRANSFORM_TABLE,  /* a relative position bias table through its job */
};

struct transform {
	uint8_t kind;     /* enum transform_kind */
	uint8_t from, to; /* enum dtype */
	uint32_t input, storage;
	uint64_t off, len;           /* TRANSFORM_COPY */
	const struct tensor *tensor; /* TRANSFORM_GATHER, _TABLE: borrowed from the input's checkpoint */
	struct plan_table *table;    /* TRANSFORM_TABLE */
};

/* Where transforms read and write, and what they count. */
struct transform_ctx {
	struct plan *plan;
	struct sink *out;
	struct pool *pool;                       /* may be NULL */
	bool again;                              /* the storage will be read again: a stream has to keep it */
	uint64_t lost;                           /* finite values that became infinite or NaN in a cast or table */
	void (*tick)(void *arg, uint64_t bytes); /* bytes of input done since the last call; may be NULL */
	void *tick_arg;
	struct buf *rooms; /* of casts, two a slot of the pool: kept from one storage to the next; transform_release */
	unsigned nrooms;
	/* A table as it was and as it is now, [rows][heads]; may be NULL. */
	void (*show)(void *arg, const struct plan_table *t, const double *before, const double *after);
	void *show_arg;
};

/*
 * Writes the bytes of t to ctx->out. crc NULL: nobody wants it. Else *crc is set to their CRC-32, taken from
 * the source for a whole copied storage where the source states it.
 */
int transform_run(struct transform_ctx *ctx, const struct transform *t, uint32_t *crc, struct err *e);

/* Frees what ctx has come to own. */
void transform_release(struct transform_ctx *ctx);

#endif
