#include "tensor/gather.h"

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

/*
 * A block of the output is filled in memory while the source is walked in the order of its own
 * addresses: dimensions sorted by stride, the smallest innermost. A transposed matrix is so read in runs
 * instead of item by item.
 */
enum { BLOCK = 8 << 20, WINDOW = 1 << 20, RUN_MIN = 512 };

/* One dimension of a block: the step in the source and in the block, in elements. */
struct dim {
	uint64_t size, src, dst;
};

struct gather {
	struct ckpt *c;
	uint32_t storage;
	uint64_t limit; /* bytes in the storage */
	unsigned item;  /* bytes of an element */
	unsigned char *block, *window;
	uint64_t at; /* storage offset of window */
	size_t have; /* bytes in it */
	struct dim dims[TENSOR_NDIM_MAX];
	unsigned ndim;
};

/* Sorts by source stride, largest first; merges neighbours that are one run in source and block. */
static void
order_dims(struct gather *g)
{
	unsigned n = 0, i, j;
	struct dim d;

	for (i = 0; i < g->ndim; i++)
		if (g->dims[i].size != 1)
			g->dims[n++] = g->dims[i];
	for (i = 1; i < n; i++) {
		d = g->dims[i];
		for (j = i; j > 0 &&
			    (g->dims[j - 1].src < d.src || (g->dims[j - 1].src == d.src && g->dims[j - 1].dst < d.dst));
		     j--)
			g->dims[j] = g->dims[j - 1];
		g->dims[j] = d;
	}
	for (i = j = 0; i < n; i++) {
		d = g->dims[i];
		if (j > 0 && g->dims[j - 1].src == d.size * d.src && g->dims[j - 1].dst == d.size * d.dst) {
			d.size *= g->dims[j - 1].size;
			j--;
		}
		g->dims[j++] = d;
	}
	g->ndim = j;
}

/* Pointer to bytes [off, off + n) of the storage, n <= WINDOW; ahead: how much more is worth reading. */
static const unsigned char *
look(struct gather *g, uint64_t off, size_t n, size_t ahead, struct err *e)
{
	size_t want;

	if (off >= g->at && off + n <= g->at + g->have)
		return g->window + (off - g->at);
	want = ahead > n ? ahead : n;
	if (want > g->limit - off)
		want = (size_t)(g->limit - off);
	if (ckpt_read(g->c, g->storage, off, g->window, want, e) != 0)
		return NULL;
	g->at = off;
	g->have = want;
	return g->window;
}

static void
scatter(unsigned char *dst, const unsigned char *src, const struct dim *d, unsigned item)
{
	if (d->src == 1 && d->dst == 1) {
		memcpy(dst, src, d->size * item);
		return;
	}
	for (uint64_t i = 0; i < d->size; i++)
		memcpy(dst + i * d->dst * item, src + i * d->src * item, item);
}

/* The innermost dimension, in parts that fit the window. */
static int
run(struct gather *g, uint64_t src, uint64_t dst, struct dim d, uint64_t gap, struct err *e)
{
	uint64_t step = d.src ? d.src : 1, most = (WINDOW / g->item - 1) / step + 1, span;
	const unsigned char *p;
	struct dim part = d;
	size_t ahead;

	for (; d.size > 0; d.size -= part.size) {
		part.size = d.src == 0 || d.size < most ? d.size : most;
		span = ((part.size - 1) * d.src + 1) * g->item;
		ahead = span >= RUN_MIN && gap * g->item > 4 * span ? 0 : WINDOW;
		p = look(g, src * g->item, (size_t)span, ahead, e);
		if (p == NULL)
			return -1;
		scatter(g->block + dst * g->item, p, &part, g->item);
		src += part.size * d.src;
		dst += part.size * d.dst;
	}
	return 0;
}

/* Walks all dimensions but the innermost. */
static int
walk(struct gather *g, uint64_t src, struct err *e)
{
	struct dim inner = g->ndim > 0 ? g->dims[g->ndim - 1] : (struct dim){ 1, 1, 1 };
	uint64_t index[TENSOR_NDIM_MAX] = { 0 }, dst = 0;
	unsigned outer = g->ndim > 0 ? g->ndim - 1 : 0, i;

	for (;;) {
		if (run(g, src, dst, inner, outer > 0 ? g->dims[outer - 1].src : 0, e) != 0)
			return -1;
		for (i = outer; i > 0; i--) {
			src += g->dims[i - 1].src;
			dst += g->dims[i - 1].dst;
			if (++index[i - 1] < g->dims[i - 1].size)
				break;
			src -= g->dims[i - 1].src * index[i - 1];
			dst -= g->dims[i - 1].dst * index[i - 1];
			index[i - 1] = 0;
		}
		if (i == 0)
			return 0;
	}
}

static void
reverse(unsigned char *p, size_t n)
{
	unsigned char t;

	for (size_t i = 0; i < n / 2; i++) {
		t = p[i];
		p[i] = p[n - 1 - i];
		p[n - 1 - i] = t;
	}
}

void
swap_items(void *p, uint64_t n, enum dtype t)
{
	unsigned char *at = p;
	size_t part = dtype_size(t);

	if (dtype_info(t)->class == DTYPE_CLASS_COMPLEX) {
		part /= 2;
		n *= 2;
	}
	if (part > 1)
		for (uint64_t i = 0; i < n; i++)
			reverse(at + i * part, part);
}

/* Turns the sign of every part-th number over, beginning with number first. */
static void
negate(unsigned char *p, uint64_t numbers, size_t size, unsigned first, unsigned part)
{
	for (uint64_t i = first; i < numbers; i += part)
		p[i * size + size - 1] ^= 0x80;
}

/* What conj() and neg() views leave to be done. Only floating and complex tensors can have the bits set. */
static void
resolve(unsigned char *p, uint64_t n, const struct tensor *t)
{
	bool complex = dtype_info(t->dtype)->class == DTYPE_CLASS_COMPLEX;
	size_t size = dtype_size(t->dtype) / (complex ? 2 : 1);

	if (complex)
		n *= 2;
	if (t->flags & TENSOR_NEG)
		negate(p, n, size, 0, 1);
	if ((t->flags & TENSOR_CONJ) && complex)
		negate(p, n, size, 1, 2);
}

/* All n elements of t, whose first stands at src in the storage. */
static int
block(struct gather *g, const struct tensor *t, uint64_t src, uint64_t n,
      int (*take)(void *arg, void *p, size_t n, struct err *e), void *arg, struct err *e)
{
	uint64_t dst = 1;
	unsigned i;

	g->ndim = t->ndim;
	for (i = t->ndim; i-- > 0; dst *= t->shape[i])
		g->dims[i] = (struct dim){ t->shape[i], t->stride[i], dst };
	order_dims(g);
	if (walk(g, src, e) != 0)
		return -1;
	if (g->c->storages[g->storage].flags & STORAGE_BIG_ENDIAN)
		swap_items(g->block, n, t->dtype);
	if (t->flags & (TENSOR_CONJ | TENSOR_NEG))
		resolve(g->block, n, t);
	return take(arg, g->block, (size_t)(n * g->item), e);
}

/* Splits the first dimension until a block holds what is left. */
static int
blocks(struct gather *g, const struct tensor *t, unsigned d, uint64_t src,
       int (*take)(void *arg, void *p, size_t n, struct err *e), void *arg, struct err *e)
{
	uint64_t shape[TENSOR_NDIM_MAX], rows, each, n = tensor_count(t), i;
	struct tensor part = *t;

	if (n * g->item <= BLOCK)
		return block(g, t, src, n, take, arg, e);
	while (t->shape[d] == 1)
		d++;
	memcpy(shape, t->shape, t->ndim * sizeof(*shape));
	part.shape = shape;
	each = n / t->shape[d];
	rows = each * g->item > BLOCK ? 1 : BLOCK / (each * g->item);
	for (i = 0; i < t->shape[d]; i += shape[d]) {
		shape[d] = rows < t->shape[d] - i ? rows : t->shape[d] - i;
		if (blocks(g, &part, d, src + i * t->stride[d], take, arg, e) != 0)
			return -1;
	}
	return 0;
}

int
gather_tensor(struct ckpt *c, const struct tensor *t, int (*take)(void *arg, void *p, size_t n, struct err *e),
	      void *arg, struct err *e)
{
	struct gather g = { .c = c, .storage = t->storage, .item = dtype_size(t->dtype) };
	uint64_t bytes = tensor_nbytes(t);
	int rc;

	if (bytes == 0)
		return 0;
	g.limit = c->storages[t->storage].nbytes;
	g.block = xmalloc(bytes < BLOCK ? (size_t)bytes : BLOCK);
	g.window = xmalloc(WINDOW);
	rc = blocks(&g, t, 0, t->offset, take, arg, e);
	free(g.window);
	free(g.block);
	return rc;
}
