#include "tensor/boxes.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/num.h"
#include "base/xalloc.h"
#include "tensor/convert.h"

/*
 * WINDOW: bytes read at once for scattered elements. DIRECT: runs of at least this many bytes are read directly to their
 * destination. RUN_MIN: shorter runs always fill a whole window.
 */
enum { WINDOW = 1 << 20, DIRECT = 64 << 10, RUN_MIN = 512 };

/* ---- boxes */

size_t
boxes_count(const struct tensor *t)
{
	return t->more != NULL && t->more->nboxes > 0 ? t->more->nboxes : t->storage != STORAGE_NONE;
}

struct box
boxes_get(const struct tensor *t, size_t i)
{
	static const uint64_t zeros[TENSOR_NDIM_MAX];

	if (t->more != NULL && t->more->nboxes > 0)
		return t->more->boxes[i];
	return (struct box){ zeros, t->shape, t->stride, t->offset, t->storage };
}

/* Returns a box as a tensor of its own. */
static struct tensor
box_tensor(const struct tensor *t, const struct box *box)
{
	struct tensor part = *t;

	part.offset = box->offset;
	part.shape = box->size;
	part.stride = box->stride;
	part.storage = box->storage;
	part.more = NULL;
	return part;
}

/* ---- ranges */

struct boxes_range
boxes_whole(const struct tensor *t)
{
	return (struct boxes_range){ .tensor = t, .to = tensor_count(t) };
}

/* Returns the bytes of n elements. For types without whole bytes, n must be a multiple of 8. */
static uint64_t
bytes_of(const struct tensor *t, uint64_t n)
{
	unsigned size = dtype_size(t->dtype);

	return size > 0 ? n * size : n / 8 * dtype_info(t->dtype)->bits;
}

uint64_t
boxes_bytes(const struct boxes_range *r)
{
	return bytes_of(r->tensor, r->to - r->from);
}

/* Like boxes_stored, but the elements may be stored in the other byte order. */
static bool
is_run(const struct boxes_range *r, uint32_t *storage, uint64_t *offset)
{
	const struct tensor *t = r->tensor;
	struct box box;

	if (boxes_count(t) != 1 || (t->flags & (TENSOR_CONJ | TENSOR_NEG)))
		return false;
	box = boxes_get(t, 0);
	if (!tensor_contiguous(&(struct tensor){ .shape = box.size, .stride = box.stride, .ndim = t->ndim }))
		return false;
	*storage = box.storage;
	*offset = bytes_of(t, box.offset + r->from);
	return true;
}

static bool
is_turned(const struct ckpt *c, const struct tensor *t, uint32_t storage)
{
	return (c->storages[storage].flags & STORAGE_BIG_ENDIAN) && dtype_size(t->dtype) != 1;
}

bool
boxes_stored(const struct ckpt *c, const struct boxes_range *r, uint32_t *storage, uint64_t *offset)
{
	return is_run(r, storage, offset) && !is_turned(c, r->tensor, *storage);
}

bool
boxes_stacked(const struct ckpt *c, const struct tensor *t)
{
	uint64_t row = 0;
	size_t n = t->more != NULL ? t->more->nboxes : 0;

	if (t->ndim == 0 || dtype_size(t->dtype) == 0 || (t->flags & (TENSOR_CONJ | TENSOR_NEG)))
		return false;
	for (size_t i = 0; i < n; row += t->more->boxes[i++].size[0]) {
		const struct box *box = &t->more->boxes[i];
		struct tensor part = box_tensor(t, box);

		if (box->low[0] != row || !shape_eq(box->size + 1, t->ndim - 1u, t->shape + 1, t->ndim - 1u) ||
		    !tensor_contiguous(&part) || is_turned(c, t, box->storage))
			return false;
	}
	return n > 0;
}

/* A rectangular part of a tensor. */
struct region {
	uint64_t low[TENSOR_NDIM_MAX], size[TENSOR_NDIM_MAX];
};

/* ---- checking */

/*
 * State of check_cover. It halves the region of the tensor at an edge of a box until a single box fills the region. A box that lies
 * across the cut is checked on both sides. A grid is cut without such boxes, so it takes n log n steps.
 */
struct cover {
	const struct tensor *t;
	struct region at;
	const char *file;
	struct str name; /* name of the tensor; empty if messages do not name it */
	struct err *err;
};

static void
put_name(struct buf *b, const struct cover *v)
{
	if (v->name.len > 0)
		buf_addf(b, "tensor '%.*s': ", STR_ARG(v->name));
}

static void
put_box(struct buf *b, const struct tensor *t, const struct box *box)
{
	shape_put(b, box->size, t->ndim);
	buf_adds(b, " at ");
	shape_put(b, box->low, t->ndim);
}

static int
bad_box(const struct cover *v, const struct box *box, const char *what, const struct box *other)
{
	struct buf b = BUF_INIT;

	put_name(&b, v);
	buf_adds(&b, "its box ");
	put_box(&b, v->t, box);
	buf_adds(&b, what);
	if (other != NULL)
		put_box(&b, v->t, other);
	err_input(v->err, v->file, "%.*s", STR_ARG(buf_str(&b)));
	buf_release(&b);
	return -1;
}

static int
hole(const struct cover *v)
{
	struct buf b = BUF_INIT;

	put_name(&b, v);
	buf_adds(&b, "no box of it holds ");
	put_box(&b, v->t, &(struct box){ .low = v->at.low, .size = v->at.size });
	err_input(v->err, v->file, "%.*s", STR_ARG(buf_str(&b)));
	buf_release(&b);
	return -1;
}

static uint64_t
box_high(const struct box *box, unsigned d)
{
	return box->low[d] + box->size[d];
}

static bool
fills(const struct cover *v, const struct box *box)
{
	for (unsigned d = 0; d < v->t->ndim; d++)
		if (box->low[d] > v->at.low[d] || box_high(box, d) < v->at.low[d] + v->at.size[d])
			return false;
	return true;
}

/* Returns an edge inside the region along dimension d that has about as many edges before as after it, or 0 if there is none. */
static uint64_t
middle_edge(const struct cover *v, const uint32_t *list, size_t n, unsigned d)
{
	uint64_t edges[256], low = v->at.low[d], high = low + v->at.size[d];
	size_t k = 0, step = n / 128 + 1;

	for (size_t i = 0; i < n; i++) {
		struct box box = boxes_get(v->t, list[i]);

		if (k + 2 > 256 || (i % step > 0 && k > 0))
			continue;
		if (box.low[d] > low && box.low[d] < high)
			edges[k++] = box.low[d];
		if (box_high(&box, d) > low && box_high(&box, d) < high)
			edges[k++] = box_high(&box, d);
	}
	qsort(edges, k, sizeof(edges[0]), num_cmp64);
	return k > 0 ? edges[k / 2] : 0;
}

static size_t
count_across(const struct cover *v, const uint32_t *list, size_t n, unsigned d, uint64_t edge)
{
	size_t across = 0;

	for (size_t i = 0; i < n; i++) {
		struct box box = boxes_get(v->t, list[i]);

		across += box.low[d] < edge && box_high(&box, d) > edge;
	}
	return across;
}

/* Returns the edge that the fewest boxes lie across, and sets *dim to its dimension. Returns 0 if there is none. */
static uint64_t
best_edge(const struct cover *v, const uint32_t *list, size_t n, unsigned *dim)
{
	size_t fewest = SIZE_MAX, across;
	uint64_t best = 0, edge;

	for (unsigned d = 0; d < v->t->ndim && fewest > 0; d++) {
		edge = middle_edge(v, list, n, d);
		if (edge == 0)
			continue;
		across = count_across(v, list, n, d, edge);
		if (across < fewest) {
			fewest = across;
			best = edge;
			*dim = d;
		}
	}
	return best;
}

static int check_cover(struct cover *v, const uint32_t *list, size_t n);

/* Checks the part of the region that along d begins at half[0] and has size half[1]. */
static int
check_half(struct cover *v, const uint32_t *list, size_t n, unsigned d, const uint64_t half[2])
{
	uint64_t low = v->at.low[d], size = v->at.size[d];
	uint32_t *some = xreallocn(NULL, n, sizeof(*some));
	size_t k = 0;
	int rc;

	for (size_t i = 0; i < n; i++) {
		struct box box = boxes_get(v->t, list[i]);

		if (box.low[d] < half[0] + half[1] && box_high(&box, d) > half[0])
			some[k++] = list[i];
	}
	v->at.low[d] = half[0];
	v->at.size[d] = half[1];
	rc = check_cover(v, some, k);
	v->at.low[d] = low;
	v->at.size[d] = size;
	free(some);
	return rc;
}

/* Checks that the boxes in list fill the region without overlap. All of them have elements in the region. */
static int
check_cover(struct cover *v, const uint32_t *list, size_t n)
{
	struct box first, second;
	uint64_t edge, halves[2][2];
	unsigned d = 0;

	if (n == 0)
		return hole(v);
	first = boxes_get(v->t, list[0]);
	if (n == 1 && fills(v, &first))
		return 0;
	edge = best_edge(v, list, n, &d);
	if (edge == 0) { /* no edge inside: all boxes fill the region */
		second = boxes_get(v->t, list[1]);
		return bad_box(v, &second, " overlaps the box ", &first);
	}
	halves[0][0] = v->at.low[d];
	halves[0][1] = edge - halves[0][0];
	halves[1][0] = edge;
	halves[1][1] = v->at.size[d] - halves[0][1];
	return check_half(v, list, n, d, halves[0]) < 0 ? -1 : check_half(v, list, n, d, halves[1]);
}

/* Checks that a box lies inside the tensor's shape and inside its storage. */
static int
check_box(struct cover *v, const struct ckpt *c, const struct box *box)
{
	struct tensor part = box_tensor(v->t, box);
	struct err why = ERR_INIT;

	for (unsigned d = 0; d < v->t->ndim; d++)
		if (box->low[d] > v->t->shape[d] || box->size[d] > v->t->shape[d] - box->low[d])
			return bad_box(v, box, " is outside its shape", NULL);
	if (box->storage >= c->nstorages || tensor_check(&part, c->storages[box->storage].nbytes, &why) < 0)
		return bad_box(v, box, " reaches beyond the end of its storage", NULL);
	return 0;
}

static int
check_all(const struct ckpt *c, const struct tensor *t, struct str name, struct err *err)
{
	struct cover v = { .t = t, .file = c->file, .name = name, .err = err };
	uint32_t *list;
	size_t n = boxes_count(t), k = 0;
	uint64_t count;
	int rc = 0, order = -1;

	if (!tensor_numel(t, &count))
		return err_input(err, c->file, "tensor '%.*s': its shape has more elements than can be counted", STR_ARG(name));
	list = xreallocn(NULL, n + 1, sizeof(*list));
	for (size_t i = 0; rc == 0 && i < n; i++) {
		struct box box = boxes_get(t, i);
		struct tensor part = box_tensor(t, &box);

		rc = check_box(&v, c, &box);
		if (rc < 0 || tensor_count(&part) == 0)
			continue;
		list[k++] = (uint32_t)i;
		if (order >= 0 && order != (c->storages[box.storage].flags & STORAGE_BIG_ENDIAN))
			rc = bad_box(&v, &box, " has another byte order than those before it", NULL);
		order = c->storages[box.storage].flags & STORAGE_BIG_ENDIAN;
	}
	if (rc == 0 && count > 0) {
		for (unsigned d = 0; d < t->ndim; d++)
			v.at.size[d] = t->shape[d];
		rc = check_cover(&v, list, k);
	}
	free(list);
	return rc;
}

/* If box is the whole of t and its elements are in order, makes t a plain tensor and returns true. */
static bool
make_plain(struct tensor *t, const struct box *box)
{
	struct tensor part = box_tensor(t, box);

	if (!tensor_same_shape(&part, t) || !tensor_contiguous(&part))
		return false;
	t->more = NULL;
	t->storage = box->storage;
	t->offset = box->offset;
	return true;
}

int
boxes_make(struct ckpt *c, struct tensor *t, struct str name, const struct box *boxes, size_t n, struct err *err)
{
	struct tensor_more more = { .nboxes = n }, *copy;
	struct box *list = arena_alloc(&c->arena, (n + 1) * sizeof(*list));
	size_t k = 0;

	if (n > 0)
		memcpy(list, boxes, n * sizeof(*list));
	more.boxes = list;
	t->more = &more;
	t->storage = STORAGE_NONE;
	if (check_all(c, t, name, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		struct tensor part = box_tensor(t, &boxes[i]);

		if (tensor_count(&part) > 0)
			list[k++] = boxes[i];
	}
	more.nboxes = k > 0 || n == 0 ? k : 1;
	if (more.nboxes == 1 && make_plain(t, list))
		return 0;
	copy = arena_alloc(&c->arena, sizeof(*copy));
	*copy = more;
	t->more = copy;
	return 0;
}

/* ---- reading a box in the order of its storage */

/* One dimension of a block: its size, and its strides in the source and in the block, in elements. */
struct dim {
	uint64_t size, src, dst;
};

struct reader {
	struct ckpt *c;
	const struct tensor *t;
	unsigned item;         /* size of an element in bytes */
	unsigned char *block;  /* destination of a region */
	unsigned char *window; /* buffer for bytes of a storage */
	uint32_t storage;      /* storage in the window */
	uint64_t at;           /* storage offset of window */
	size_t have;           /* valid bytes in window */
	uint64_t limit;        /* storage offset after the last byte of this box */
	struct dim dims[TENSOR_NDIM_MAX];
	unsigned ndim;
	int (*take)(void *arg, void *p, size_t n, struct err *err);
	void *arg;
};

/* Sorts the dimensions by source stride, largest first, and merges neighbours that form one run in source and block. */
static void
order_dims(struct reader *r)
{
	unsigned n = 0, i, j;
	struct dim d;

	for (i = 0; i < r->ndim; i++)
		if (r->dims[i].size != 1)
			r->dims[n++] = r->dims[i];
	for (i = 1; i < n; i++) {
		d = r->dims[i];
		for (j = i; j > 0 && (r->dims[j - 1].src < d.src || (r->dims[j - 1].src == d.src && r->dims[j - 1].dst < d.dst));
		     j--)
			r->dims[j] = r->dims[j - 1];
		r->dims[j] = d;
	}
	for (i = j = 0; i < n; i++) {
		d = r->dims[i];
		if (j > 0 && r->dims[j - 1].src == d.size * d.src && r->dims[j - 1].dst == d.size * d.dst) {
			d.size *= r->dims[j - 1].size;
			j--;
		}
		r->dims[j++] = d;
	}
	r->ndim = j;
}

/* Returns a pointer to bytes [off, off + n) of the storage; n <= WINDOW. If they must be read, reads ahead bytes or more. */
static const unsigned char *
look(struct reader *r, uint64_t off, size_t n, size_t ahead, struct err *err)
{
	size_t len = ahead > n ? ahead : n;

	if (off >= r->at && off + n <= r->at + r->have)
		return r->window + (off - r->at);
	if (len > r->limit - off)
		len = (size_t)(r->limit - off);
	if (r->window == NULL)
		r->window = xmalloc(WINDOW);
	if (ckpt_read(r->c, r->storage, off, r->window, len, err) < 0)
		return NULL;
	r->at = off;
	r->have = len;
	return r->window;
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

/*
 * Copies the innermost dimension in parts that fit the window. src and dst are offsets in elements. gap is the source distance to
 * the next run.
 */
static int
run(struct reader *r, uint64_t src, uint64_t dst, uint64_t gap, struct err *err)
{
	struct dim d = r->ndim > 0 ? r->dims[r->ndim - 1] : (struct dim){ 1, 1, 1 }, part = d;
	uint64_t step = d.src ? d.src : 1, most = (WINDOW / r->item - 1) / step + 1, span;
	const unsigned char *p;
	size_t ahead;

	if (d.src == 1 && d.dst == 1 && d.size * r->item >= DIRECT)
		return ckpt_read(r->c, r->storage, src * r->item, r->block + dst * r->item, (size_t)d.size * r->item, err);
	for (; d.size > 0; d.size -= part.size) {
		part.size = d.src == 0 || d.size < most ? d.size : most;
		span = ((part.size - 1) * d.src + 1) * r->item;
		ahead = span >= RUN_MIN && gap * r->item > 4 * span ? 0 : WINDOW;
		p = look(r, src * r->item, (size_t)span, ahead, err);
		if (p == NULL)
			return -1;
		scatter(r->block + dst * r->item, p, &part, r->item);
		src += part.size * d.src;
		dst += part.size * d.dst;
	}
	return 0;
}

/* Copies all dimensions, calling run() for each row of the innermost one. */
static int
walk(struct reader *r, uint64_t src, uint64_t dst, struct err *err)
{
	uint64_t index[TENSOR_NDIM_MAX] = { 0 };
	unsigned outer = r->ndim > 0 ? r->ndim - 1 : 0, i;

	for (;;) {
		if (run(r, src, dst, outer > 0 ? r->dims[outer - 1].src : 0, err) < 0)
			return -1;
		for (i = outer; i > 0; i--) {
			src += r->dims[i - 1].src;
			dst += r->dims[i - 1].dst;
			if (++index[i - 1] < r->dims[i - 1].size)
				break;
			src -= r->dims[i - 1].src * index[i - 1];
			dst -= r->dims[i - 1].dst * index[i - 1];
			index[i - 1] = 0;
		}
		if (i == 0)
			return 0;
	}
}

/* ---- conjugation and negation */

/* Flips the sign of every part-th number, beginning with number first. */
static void
negate(unsigned char *p, uint64_t numbers, size_t size, unsigned first, unsigned part)
{
	for (uint64_t i = first; i < numbers; i += part)
		p[i * size + size - 1] ^= 0x80;
}

/* Applies the pending operations of conj() and neg() views. Only floating and complex tensors can have these flags. */
static void
resolve(const struct tensor *t, unsigned char *p, uint64_t n)
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

/* ---- regions */

static uint64_t
region_count(const struct reader *r, const struct region *g)
{
	uint64_t n = 1;

	for (unsigned i = 0; i < r->t->ndim; i++)
		n *= g->size[i];
	return n;
}

/* Copies the part of box that lies in the region to r->block. Returns its number of elements, or -1. */
static int64_t
place(struct reader *r, const struct box *box, const struct region *g, struct err *err)
{
	uint64_t src = box->offset, dst = 0, step = 1, n = 1, low, high, last;

	r->ndim = r->t->ndim;
	for (unsigned i = r->t->ndim; i-- > 0; step *= g->size[i]) {
		low = g->low[i] > box->low[i] ? g->low[i] : box->low[i];
		high = g->low[i] + g->size[i];
		if (high > box->low[i] + box->size[i])
			high = box->low[i] + box->size[i];
		if (low >= high)
			return 0;
		src += (low - box->low[i]) * box->stride[i];
		dst += (low - g->low[i]) * step;
		n *= high - low;
		r->dims[i] = (struct dim){ high - low, box->stride[i], step };
	}
	last = src;
	for (unsigned i = 0; i < r->ndim; i++)
		last += (r->dims[i].size - 1) * r->dims[i].src;
	if (r->storage != box->storage)
		r->have = 0;
	r->storage = box->storage;
	r->limit = (last + 1) * r->item;
	order_dims(r);
	return walk(r, src, dst, err) < 0 ? -1 : (int64_t)n;
}

/* Reads a region to r->block in row-major order, little-endian, with conjugation and negation resolved. */
static int
fill(struct reader *r, const struct region *g, struct err *err)
{
	const struct tensor *t = r->t;
	uint64_t count = region_count(r, g), placed = 0;
	bool big = false;
	int64_t n;

	for (size_t i = 0; i < boxes_count(t); i++) {
		struct box box = boxes_get(t, i);

		n = place(r, &box, g, err);
		if (n < 0)
			return -1;
		placed += (uint64_t)n;
		big = r->c->storages[box.storage].flags & STORAGE_BIG_ENDIAN;
	}
	if (placed != count)
		return err_input(err, r->c->file, "a tensor has elements that no file holds");
	if (big)
		convert_swap(r->block, count, t->dtype);
	if (t->flags & (TENSOR_CONJ | TENSOR_NEG))
		resolve(t, r->block, count);
	return 0;
}

/* Splits a region along dimension d and the later ones into pieces of at most BOXES_PIECE bytes, and reads each. */
static int
pieces(struct reader *r, const struct region *g, unsigned d, struct err *err)
{
	struct region part = *g;
	uint64_t n = region_count(r, g), each, rows;
	int rc;

	if (n * r->item <= BOXES_PIECE) {
		rc = fill(r, g, err);
		if (rc == 0 && r->take == NULL)
			r->block += n * r->item;
		return rc < 0 || r->take == NULL ? rc : r->take(r->arg, r->block, (size_t)(n * r->item), err);
	}
	while (g->size[d] == 1)
		d++;
	each = g->size[d] > 0 ? n / g->size[d] : 1; /* n > 0, because the region is larger than a piece */
	rows = each * r->item > BOXES_PIECE ? 1 : BOXES_PIECE / (each * r->item);
	for (uint64_t i = 0; i < g->size[d]; i += part.size[d]) {
		part.low[d] = g->low[d] + i;
		part.size[d] = rows < g->size[d] - i ? rows : g->size[d] - i;
		rc = pieces(r, &part, d, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* Reads elements [from, to) of the region from dimension d on: the end of a row, then whole rows, then the beginning of a row. */
static int
range(struct reader *r, struct region *g, unsigned d, uint64_t from, uint64_t to, struct err *err)
{
	uint64_t inner = 1, low, high;
	int rc = 0;

	for (unsigned i = d + 1; i < r->t->ndim; i++)
		inner *= r->t->shape[i];
	low = (from + inner - 1) / inner;
	high = to / inner;
	if (d == r->t->ndim)
		return pieces(r, g, 0, err);
	if (low > high || from % inner > 0) { /* the first row is incomplete */
		uint64_t row = from / inner, end = low > high ? to : low * inner;

		g->low[d] = row;
		g->size[d] = 1;
		rc = range(r, g, d + 1, from - row * inner, end - row * inner, err);
	}
	if (rc == 0 && low < high) {
		g->low[d] = low;
		g->size[d] = high - low;
		for (unsigned i = d + 1; i < r->t->ndim; i++) {
			g->low[i] = 0;
			g->size[i] = r->t->shape[i];
		}
		rc = pieces(r, g, d, err);
	}
	if (rc == 0 && low <= high && to > high * inner) {
		g->low[d] = high;
		g->size[d] = 1;
		rc = range(r, g, d + 1, 0, to - high * inner, err);
	}
	return rc;
}

static int
no_items(const struct ckpt *c, struct err *err)
{
	return err_input(err, c->file, "a tensor whose elements are no whole bytes is not stored in one run");
}

/* ---- entry points */

static int
read_pieces(struct reader *r, const struct boxes_range *all, uint32_t storage, uint64_t off, struct err *err)
{
	uint64_t left = boxes_bytes(all);
	int rc = 0;

	for (size_t n; rc == 0 && left > 0; left -= n, off += n) {
		n = left < WINDOW ? (size_t)left : WINDOW;
		rc = (all->once ? ckpt_next : ckpt_read)(r->c, storage, off, r->block, n, err);
		if (rc == 0)
			rc = r->take(r->arg, r->block, n, err);
	}
	return rc;
}

int
boxes_read(struct ckpt *c, const struct boxes_range *r, int (*take)(void *arg, void *p, size_t n, struct err *err), void *arg,
	   struct err *err)
{
	struct reader reader = { .c = c, .t = r->tensor, .item = dtype_size(r->tensor->dtype), .take = take, .arg = arg };
	uint64_t bytes = boxes_bytes(r), offset;
	struct region g = { { 0 }, { 0 } };
	unsigned char *block;
	uint32_t storage;
	int rc;

	if (bytes == 0)
		return 0;
	if (boxes_stored(c, r, &storage, &offset)) {
		reader.block = block = xmalloc(bytes < WINDOW ? (size_t)bytes : WINDOW);
		rc = read_pieces(&reader, r, storage, offset, err);
	} else if (reader.item == 0) {
		return no_items(c, err);
	} else {
		reader.block = block = xmalloc(bytes < BOXES_PIECE ? (size_t)bytes : BOXES_PIECE);
		rc = range(&reader, &g, 0, r->from, r->to, err);
	}
	free(reader.window);
	free(block);
	return rc;
}

int
boxes_fill(struct ckpt *c, const struct boxes_range *r, void *p, struct err *err)
{
	struct reader reader = { .c = c, .t = r->tensor, .item = dtype_size(r->tensor->dtype), .block = p };
	struct region g = { { 0 }, { 0 } };
	uint64_t offset;
	uint32_t storage;
	int rc;

	if (boxes_bytes(r) == 0)
		return 0;
	if (is_run(r, &storage, &offset)) {
		rc = (r->once ? ckpt_next : ckpt_read)(c, storage, offset, p, (size_t)boxes_bytes(r), err);
		if (rc == 0 && is_turned(c, r->tensor, storage))
			convert_swap(p, r->to - r->from, r->tensor->dtype);
		return rc;
	}
	if (reader.item == 0)
		return no_items(c, err);
	rc = range(&reader, &g, 0, r->from, r->to, err);
	free(reader.window);
	return rc;
}
