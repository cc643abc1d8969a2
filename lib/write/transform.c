#include "write/transform.h"

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "io/crc32.h"
#include "plan/tables.h"
#include "tensor/boxes.h"
#include "tensor/convert.h"

enum { PIECE = 1 << 20, CAST_PIECE = 256 << 10 }; /* bytes read at a time: to be copied, to be cast */

static struct ckpt *
ckpt_of(const struct transform_ctx *ctx, uint32_t input)
{
	return ctx->plan->inputs[input].sd->ckpt;
}

static int
emit(struct transform_ctx *ctx, const void *p, size_t n, uint32_t *crc, struct err *e)
{
	if (crc != NULL)
		*crc = crc32_add(*crc, p, n);
	return sink_write(ctx->out, p, n, e);
}

/* ---- copy */

/* Packed bytes must pass through memory. */
static int
copy_unpacked(struct transform_ctx *ctx, const struct transform *t, uint32_t *crc, struct err *e)
{
	unsigned char *piece = xmalloc(PIECE);
	uint64_t at = t->off, end = t->off + t->len;
	size_t n;
	int rc = 0;

	for (; rc == 0 && at < end; at += n) {
		n = end - at < PIECE ? (size_t)(end - at) : PIECE;
		rc = ckpt_read(ckpt_of(ctx, t->input), t->storage, at, piece, n, e);
		if (rc == 0)
			rc = emit(ctx, piece, n, crc, e);
	}
	free(piece);
	return rc;
}

/*
 * The CRC of a whole storage is what its source states, also where it is known only now, behind the bytes (of a stream):
 * the output is the same from a file and from a pipe.
 */
static int
stated_crc(struct transform_ctx *ctx, const struct transform *t, bool computed, uint32_t *crc, struct err *e)
{
	struct ckpt *c = ckpt_of(ctx, t->input);
	uint32_t stated;
	bool known;

	if (ckpt_crc(c, t->storage, &stated, &known, e) != 0)
		return -1;
	if (computed && known && stated != *crc)
		diag_warn(ctx->plan->diag, "%s: the CRC of storage '%.*s' is not that of its bytes", c->file,
			  STR_ARG(c->storages[t->storage].key));
	if (known)
		*crc = stated;
	return 0;
}

static int
run_copy(struct transform_ctx *ctx, const struct transform *t, uint32_t *crc, struct err *e)
{
	struct ckpt *c = ckpt_of(ctx, t->input);
	const struct storage *s = &c->storages[t->storage];
	bool whole = crc != NULL && t->off == 0 && t->len == s->nbytes, stated = whole && (s->flags & STORAGE_CRC);
	struct source *src;
	uint64_t offset;

	if (t->len == 0)
		return 0;
	if (ckpt_locate(c, t->storage, e) != 0)
		return -1;
	src = ckpt_range(c, t->storage, &offset);
	if (src == NULL)
		return copy_unpacked(ctx, t, crc, e);
	if (ctx->again)
		source_keep(src, offset + s->nbytes);
	if (sink_copy(ctx->out, src, offset + t->off, t->len, stated ? NULL : crc, e) != 0)
		return -1;
	return whole ? stated_crc(ctx, t, !stated, crc, e) : 0;
}

/* ---- cast */

struct cast {
	struct transform_ctx *ctx;
	const struct transform *t;
	struct ckpt *c;
	uint64_t first;            /* byte of the storage */
	uint64_t items, each;      /* in all, in a piece */
	size_t from, to;           /* item sizes */
	unsigned char **in, **out; /* by slot */
	uint64_t *lost;
	uint32_t *crc;
};

static uint64_t
piece_items(const struct cast *k, uint64_t i)
{
	uint64_t left = k->items - i * k->each;

	return left < k->each ? left : k->each;
}

static int
cast_make(void *arg, uint64_t i, unsigned slot, struct err *e)
{
	struct cast *k = arg;
	uint64_t n = piece_items(k, i);

	if ((k->ctx->again ? ckpt_read : ckpt_next)(k->c, k->t->storage, k->first + i * k->each * k->from,
						    k->in[slot], (size_t)n * k->from, e) != 0)
		return -1;
	if (k->c->storages[k->t->storage].flags & STORAGE_BIG_ENDIAN)
		convert_swap(k->in[slot], n, k->t->from);
	k->lost[slot] = 0;
	if (k->t->from != k->t->to)
		k->lost[slot] = convert_cast(k->t->from, k->in[slot], k->t->to, (size_t)n, k->out[slot]);
	return 0;
}

static int
cast_take(void *arg, uint64_t i, unsigned slot, struct err *e)
{
	struct cast *k = arg;
	uint64_t n = piece_items(k, i);

	k->ctx->lost += k->lost[slot];
	return emit(k->ctx, k->t->from == k->t->to ? k->in[slot] : k->out[slot], (size_t)n * k->to, k->crc, e);
}

/* Room i for size bytes. Fresh memory for each storage would cost more than the cast. */
static unsigned char *
room(struct transform_ctx *ctx, unsigned i, size_t size)
{
	if (ctx->nrooms == 0) {
		ctx->nrooms = 2 * pool_slots(ctx->pool);
		ctx->rooms = xcalloc(ctx->nrooms, sizeof(*ctx->rooms));
	}
	return (unsigned char *)buf_room(&ctx->rooms[i], size);
}

void
transform_release(struct transform_ctx *ctx)
{
	for (unsigned i = 0; i < ctx->nrooms; i++)
		buf_release(&ctx->rooms[i]);
	free(ctx->rooms);
	ctx->rooms = NULL;
	ctx->nrooms = 0;
}

/* n items that follow each other in the storage, from byte first on. */
static int
run_cast(struct transform_ctx *ctx, const struct transform *t, uint64_t first, uint64_t n, uint32_t *crc,
	 struct err *e)
{
	struct cast k = { .ctx = ctx,
			  .t = t,
			  .c = ckpt_of(ctx, t->input),
			  .from = dtype_size(t->from),
			  .to = dtype_size(t->to),
			  .first = first,
			  .items = n,
			  .crc = crc };
	struct pool *pool = ctx->pool;
	unsigned slots, i;
	int rc;

	if (n == 0)
		return 0;
	if (ckpt_locate(k.c, t->storage, e) != 0)
		return -1;
	/* only ranges of a regular file can be read by several threads */
	if (source_is_stream(k.c->src) || ckpt_range(k.c, t->storage, &(uint64_t){ 0 }) == NULL)
		pool = NULL;
	slots = pool_slots(pool);
	k.each = CAST_PIECE / k.from;
	k.in = xcalloc(slots, sizeof(*k.in));
	k.out = xcalloc(slots, sizeof(*k.out));
	k.lost = xcalloc(slots, sizeof(*k.lost));
	for (i = 0; i < slots; i++) {
		k.in[i] = room(ctx, 2 * i, (size_t)k.each * k.from);
		k.out[i] = room(ctx, 2 * i + 1, (size_t)k.each * k.to);
	}
	rc = pool_run(pool, (k.items + k.each - 1) / k.each, cast_make, cast_take, &k, e);
	free(k.in);
	free(k.out);
	free(k.lost);
	return rc;
}

/* ---- gather */

struct gathering {
	struct transform_ctx *ctx;
	const struct transform *t;
	uint32_t *crc;
	unsigned char *cast;
	size_t cap;
};

static int
gather_take(void *arg, void *p, size_t n, struct err *e)
{
	struct gathering *g = arg;
	size_t items;

	if (g->t->from == g->t->to)
		return emit(g->ctx, p, n, g->crc, e);
	items = n / dtype_size(g->t->from);
	n = items * dtype_size(g->t->to);
	if (n > g->cap) {
		g->cast = xreallocn(g->cast, n, 1);
		g->cap = n;
	}
	g->ctx->lost += convert_cast(g->t->from, p, g->t->to, items, g->cast);
	return emit(g->ctx, g->cast, n, g->crc, e);
}

static int
run_gather(struct transform_ctx *ctx, const struct transform *t, uint32_t *crc, struct err *e)
{
	struct gathering g = { .ctx = ctx, .t = t, .crc = crc };
	struct boxes_range all = boxes_whole(t->tensor);
	int rc;

	if (tensor_contiguous(t->tensor) && !(t->tensor->flags & (TENSOR_CONJ | TENSOR_NEG)))
		return run_cast(ctx, t, t->tensor->offset * dtype_size(t->from), tensor_count(t->tensor), crc, e);
	if (tensor_nbytes(t->tensor) > 0 && ckpt_locate(ckpt_of(ctx, t->input), t->storage, e) != 0)
		return -1;
	rc = boxes_read(ckpt_of(ctx, t->input), &all, gather_take, &g, e);
	free(g.cast);
	return rc;
}

/* ---- tables */

/* Rows that only change places keep their bits. */
static unsigned char *
move_table(const struct transform *t, const unsigned char *raw, size_t size)
{
	size_t bytes = (size_t)table_rows_out(&t->table->job) * t->table->job.heads * size;
	unsigned char *out = xmalloc(bytes);

	table_move(raw, out, t->table->job.heads * size, &t->table->job);
	return out;
}

/* raw is the table as stored; the result, in the output's dtype, is the caller's. */
static unsigned char *
convert_table(struct transform_ctx *ctx, const struct transform *t, const unsigned char *raw, size_t *bytes)
{
	const struct table_job *job = &t->table->job;
	size_t nin = (size_t)table_rows_in(job) * job->heads, nout = (size_t)table_rows_out(job) * job->heads;
	double *in = xreallocn(NULL, nin, sizeof(*in)), *res = xreallocn(NULL, nout, sizeof(*res));
	unsigned char *out;

	convert_decode(t->from, raw, nin, in);
	table_convert(in, res, job);
	if (ctx->show != NULL)
		ctx->show(ctx->show_arg, t->table, in, res);
	*bytes = nout * dtype_size(t->to);
	if (t->from == t->to && table_is_move(job)) {
		out = move_table(t, raw, dtype_size(t->from));
	} else {
		out = xmalloc(*bytes);
		ctx->lost += convert_encode(t->to, res, nout, out);
	}
	free(in);
	free(res);
	return out;
}

static int
run_table(struct transform_ctx *ctx, const struct transform *t, uint32_t *crc, struct err *e)
{
	struct ckpt *c = ckpt_of(ctx, t->input);
	struct boxes_range all = boxes_whole(t->tensor);
	unsigned char *in, *out;
	size_t n;
	int rc = -1;

	if (ckpt_locate(c, t->storage, e) != 0)
		return -1;
	in = xmalloc((size_t)boxes_bytes(&all));
	if (boxes_fill(c, &all, in, e) == 0 && table_resolve(ctx->plan, c, t->table, e) == 0) {
		out = convert_table(ctx, t, in, &n);
		rc = emit(ctx, out, n, crc, e);
		free(out);
	}
	free(in);
	return rc;
}

int
transform_run(struct transform_ctx *ctx, const struct transform *t, uint32_t *crc, struct err *e)
{
	if (crc != NULL)
		*crc = 0;
	switch ((enum transform_kind)t->kind) {
	case TRANSFORM_COPY: return run_copy(ctx, t, crc, e);
	case TRANSFORM_CAST:
		return run_cast(ctx, t, 0, ckpt_of(ctx, t->input)->storages[t->storage].nbytes / dtype_size(t->from),
				crc, e);
	case TRANSFORM_GATHER: return run_gather(ctx, t, crc, e);
	case TRANSFORM_TABLE: return run_table(ctx, t, crc, e);
	}
	return err_set(e, ERR_INPUT, "unknown transform");
}
