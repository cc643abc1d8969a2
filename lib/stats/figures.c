/*
 * The data is divided into items: a tensor, possibly with another tensor to compare it with, or all bytes of a storage. Items are
 * processed in the order of their storages. They are divided into units, which threads work on.
 */
#include "stats/figures.h"

#include <math.h>
#include <nettle/sha2.h>
#include <stdlib.h>
#include <string.h>

#include "base/cursor.h"
#include "base/num.h"
#include "base/xalloc.h"
#include "io/crc32.h"
#include "tensor/boxes.h"
#include "tensor/composite.h"
#include "tensor/convert.h"

/* The tag or pair of an item that has none. */
#define NONE SIZE_MAX

/* Approximate size in bytes of a unit of raw bytes, or of a tensor whose elements must be gathered. */
enum { SLAB = 4 << 20 };

/* Bytes read at a time when the whole unit is not needed in memory. They stay in the processor's cache. */
enum { PIECE = 128 << 10 };

/* The maximum of MOMENTS_UNITs in a unit. */
enum { UNIT_MOMENTS = 16 };

/* Size in bytes of the largest element. */
enum { ITEM_MAX = 16 };

enum { GIVES_MOMENTS = 1, GIVES_DIGEST = 2, GIVES_CRC = 4 };

struct item {
	uint32_t storage;           /* storage of the item; for a tensor in several boxes, the last of their storages */
	const struct tensor *t;     /* a tensor with data; NULL: the item is the bytes of the storage */
	const struct tensor *other; /* the tensor of the same shape in the other checkpoint; NULL: nothing is compared */
	size_t tag, pair;           /* index of the moments and the digest, and of the difference, that the item contributes to */
	unsigned gives;             /* set of GIVES_* */
	bool whole;                 /* one thread makes all units, in order; take is called once, after the last unit */
	uint64_t first;             /* number of the item's first piece of work */
	uint64_t count, each, unit; /* elements (bytes for a storage): in all, in a piece of work, in a unit */
};

/*
 * A part of an item in memory: elements (or bytes) [first, first + n). All units of a tensor except the last have the same number
 * of elements, a multiple of MOMENTS_UNIT.
 */
struct unit {
	const struct item *item;
	uint64_t first;
	size_t n;
	void *p, *q; /* elements of the tensor; q: those of the other tensor, or NULL */
	bool stored; /* the bytes at p are one run of the storage, unchanged */
	bool last;   /* the last unit of the item */
};

/* The state of a thread: its present unit, the buffers of the unit, and the results for it. */
struct slot {
	struct unit unit;
	unsigned char *p, *q;
	size_t cap, qcap;
	struct moments m[UNIT_MOMENTS];
	struct difference d[UNIT_MOMENTS];
	bool skipped[UNIT_MOMENTS]; /* by difference: the bytes are equal, so the sums were not computed */
	uint32_t crc;
	struct sha256_ctx sha; /* digest of the item up to the unit, if the item is whole */
};

/* Elements of a tensor of the other checkpoint whose bytes equal those of the pair's first tensor. */
struct skipped {
	size_t pair;
	const struct tensor *other;
	uint64_t from, to;
};

/* State of one tensor. */
struct tensor_run {
	size_t parts;   /* index of the digest of its first part */
	size_t waiting; /* number of items that are not finished */
};

struct figures_run {
	struct figures *f;
	struct ckpt *c, *there;
	const struct figures_opts *o;
	const struct tensor *const *tensors;
	struct tensor_run *runs; /* by tensor */
	size_t *owners;          /* by digest of a part, minus n: the tensor that the part belongs to */
	struct slot *slots;
	struct sha256_ctx sha; /* digest of the item that take is receiving, if the item is not whole */
	size_t n, known;
	struct item *items;
	size_t nitems, cap;
	size_t nsorted;       /* number of items, from the first, that are sorted by tensor */
	uint64_t done, total; /* in bytes */
	uint32_t storage;     /* on a stream: all storages before this one are finished */
	bool stream;
	struct skipped *skipped;
	size_t nskipped, cap_skipped;
};

/* ---- comparing */

/* Elements compared at a time. */
enum { BLOCK = 1024 };

static void
note(struct difference *d, double by)
{
	d->differing++;
	d->largest = num_larger(d->largest, by);
}

/* Adds one pair of real numbers to the sums. NaNs that agree are left out. */
static void
add_to_sums(const struct compare_opts *o, double a, double b, struct difference *d)
{
	if (o->nan_equal && isnan(a) && isnan(b))
		return;
	d->unbounded = d->unbounded || !isfinite(a) || !isfinite(b);
	d->distance += (a - b) * (a - b);
	d->here += a * a;
	d->there += b * b;
	d->product += a * b;
}

static void
compare_number(const struct compare_opts *o, double a, double b, struct difference *d)
{
	double by = fabs(a - b);

	add_to_sums(o, a, b, d);
	if (a == b || (o->nan_equal && isnan(a) && isnan(b)))
		return;
	if (isfinite(a) && isfinite(b) && by <= o->atol + o->rtol * fabs(b))
		return;
	note(d, by);
}

/* Vectors of two doubles. Lane l sums elements l, l + 2, ... of a block. */
typedef double lanes __attribute__((vector_size(16)));
typedef int64_t lanes_mask __attribute__((vector_size(16)));

/* Compares a block that must be full, padded with zeros. If some number is not finite, returns false and leaves d unchanged. */
static bool
compare_finite(const struct compare_opts *o, const double *a, const double *b, struct difference *d)
{
	const lanes_mask magnitude = { INT64_MAX, INT64_MAX };
	lanes distance = { 0 }, here = { 0 }, there = { 0 }, product = { 0 }, bad = { 0 }, largest = { 0 }, x, y, by, tolerance;
	lanes_mask differing = { 0 }, differs;

	for (size_t i = 0; i < BLOCK; i += 2) {
		memcpy(&x, a + i, sizeof(x));
		memcpy(&y, b + i, sizeof(y));
		by = x - y;
		bad += by - by;
		distance += by * by;
		here += x * x;
		there += y * y;
		product += x * y;
		by = (lanes)((lanes_mask)by & magnitude);
		tolerance = o->atol + o->rtol * (lanes)((lanes_mask)y & magnitude);
		differs = ~(by <= tolerance);
		differing -= differs;
		by = (lanes)((lanes_mask)by & differs);
		differs = by > largest;
		largest = (lanes)(((lanes_mask)by & differs) | ((lanes_mask)largest & ~differs));
	}
	if (bad[0] + bad[1] != 0)
		return false;
	d->distance += distance[0] + distance[1];
	d->here += here[0] + here[1];
	d->there += there[0] + there[1];
	d->product += product[0] + product[1];
	d->differing += (uint64_t)(differing[0] + differing[1]);
	d->largest = num_larger(d->largest, num_larger(largest[0], largest[1]));
	return true;
}

static void
compare_block(const struct compare_opts *o, const double *a, const double *b, size_t n, struct difference *d)
{
	if (compare_finite(o, a, b, d))
		return;
	for (size_t i = 0; i < n; i++)
		compare_number(o, a[i], b[i], d);
}

/* Decodes n elements at p to doubles, and pads the block with zeros. */
static void
decode_block(enum dtype t, const unsigned char *p, size_t n, double *block)
{
	convert_decode(t, p, n, block);
	memset(block + n, 0, (BLOCK - n) * sizeof(*block));
}

/* Corresponding elements of a tensor and of the other tensor. */
struct elements {
	enum dtype ta, tb;
	const unsigned char *p, *q;
	size_t n;
};

static void
compare_numbers(const struct compare_opts *o, const struct elements *u, struct difference *d)
{
	double a[BLOCK], b[BLOCK];

	for (size_t i = 0, n; i < u->n; i += n) {
		n = u->n - i < BLOCK ? u->n - i : BLOCK;
		decode_block(u->ta, u->p + i * dtype_size(u->ta), n, a);
		decode_block(u->tb, u->q + i * dtype_size(u->tb), n, b);
		compare_block(o, a, b, n, d);
	}
}

/* Compares 64-bit integers exactly, since doubles cannot represent them all. The sums are those of the doubles. */
static void
compare_integers(const struct compare_opts *o, const struct elements *u, struct difference *d)
{
	const uint64_t flip = u->ta == DTYPE_INT64 ? (uint64_t)1 << 63 : 0;

	compare_numbers(o, u, d);
	d->differing = 0;
	d->largest = 0;
	for (size_t i = 0; i < u->n; i++) {
		uint64_t a = get_le64(u->p + 8 * i) ^ flip, b = get_le64(u->q + 8 * i) ^ flip;
		double by = (double)(a > b ? a - b : b - a), size = flip ? (double)(int64_t)(b ^ flip) : (double)b;

		if (a != b && by > o->atol + o->rtol * fabs(size))
			note(d, by);
	}
}

static enum dtype
part_of(enum dtype t)
{
	return t == DTYPE_COMPLEX128 ? DTYPE_FLOAT64 : t == DTYPE_COMPLEX64 ? DTYPE_FLOAT32 : DTYPE_FLOAT16;
}

static void
compare_complex(const struct compare_opts *o, const struct elements *u, struct difference *d)
{
	double a[2], b[2], by;
	bool nan_here, nan_there, finite;

	for (size_t i = 0; i < u->n; i++) {
		convert_decode(part_of(u->ta), u->p + i * dtype_size(u->ta), 2, a);
		convert_decode(part_of(u->tb), u->q + i * dtype_size(u->tb), 2, b);
		nan_here = isnan(a[0]) || isnan(a[1]);
		nan_there = isnan(b[0]) || isnan(b[1]);
		if (o->nan_equal && nan_here && nan_there)
			continue;
		add_to_sums(o, a[0], b[0], d);
		add_to_sums(o, a[1], b[1], d);
		finite = isfinite(a[0]) && isfinite(a[1]) && isfinite(b[0]) && isfinite(b[1]);
		by = hypot(a[0] - b[0], a[1] - b[1]);
		if ((a[0] == b[0] && a[1] == b[1]) || (finite && by <= o->atol + o->rtol * hypot(b[0], b[1])))
			continue;
		note(d, nan_here || nan_there ? (double)NAN : finite ? by : (double)INFINITY);
	}
}

static bool
is_complex(enum dtype t)
{
	return dtype_info(t)->class == DTYPE_CLASS_COMPLEX;
}

/* Can elements of these dtypes be compared by value? */
static bool
has_values(enum dtype a, enum dtype b)
{
	return (convert_known(a) && convert_known(b)) || (is_complex(a) && is_complex(b));
}

/* Compares at most MOMENTS_UNIT elements. Sets *skipped if their bytes are equal; then their sums are not computed. */
static struct difference
compare_elements(const struct compare_opts *o, const struct elements *u, bool *skipped)
{
	const enum dtype_class class = dtype_info(u->ta)->class;
	const bool exact = class == DTYPE_CLASS_INT || class == DTYPE_CLASS_BOOL, values = has_values(u->ta, u->tb);
	struct difference d = { .comparable = true };

	*skipped = u->ta == u->tb && (o->nan_equal || exact || !values) && memcmp(u->p, u->q, u->n * dtype_size(u->ta)) == 0;
	if (*skipped)
		return d;
	if (!values)
		d = (struct difference){ .comparable = true, .bytes = true, .differing = 1 };
	else if (is_complex(u->ta))
		compare_complex(o, u, &d);
	else if (u->ta == u->tb && (u->ta == DTYPE_INT64 || u->ta == DTYPE_UINT64))
		compare_integers(o, u, &d);
	else
		compare_numbers(o, u, &d);
	return d;
}

static void
compare_join(struct difference *sum, const struct difference *next)
{
	sum->bytes = sum->bytes || next->bytes;
	sum->unbounded = sum->unbounded || next->unbounded;
	sum->differing += next->differing;
	sum->largest = num_larger(sum->largest, next->largest);
	sum->distance += next->distance;
	sum->here += next->here;
	sum->there += next->there;
	sum->product += next->product;
	if (sum->bytes)
		sum->differing = 1;
}

/* ---- items */

/* Are t's elements stored as units hold them: in row-major order, little-endian, with nothing to resolve? */
static bool
is_plain(const struct ckpt *c, const struct tensor *t)
{
	struct boxes_range all = boxes_whole(t);
	uint32_t storage;
	uint64_t offset;

	return boxes_stored(c, &all, &storage, &offset);
}

/* Do t's units cover all bytes of its storage in order? */
static bool
is_whole(const struct ckpt *c, const struct tensor *t)
{
	return t->storage != STORAGE_NONE && t->offset == 0 && is_plain(c, t) && tensor_nbytes(t) == c->storages[t->storage].nbytes;
}

/* Can the checkpoint state a CRC for the storage? On a stream it may come after the data. */
static bool
may_state_crc(const struct ckpt *c, uint32_t storage)
{
	const struct ckpt_ops *ops = c->ops;

	return (c->storages[storage].flags & STORAGE_CRC) != 0 || ops->crc != NULL || ops->original != NULL ||
	       (ops->locate != NULL && source_is_stream(c->src));
}

static struct item *
add_item(struct figures_run *w, struct item item)
{
	*xpush(w->items, w->nitems, w->cap) = item;
	return &w->items[w->nitems - 1];
}

static struct item *
add_tensor(struct figures_run *w, const struct tensor *t, size_t tag)
{
	struct item it = { .t = t, .tag = tag, .pair = NONE };
	uint32_t storage;

	for (size_t i = 0; i < boxes_count(t); i++) {
		storage = boxes_get(t, i).storage;
		it.storage = storage > it.storage ? storage : it.storage;
	}
	if (!w->f->has_crc[it.storage] && may_state_crc(w->c, it.storage) && is_whole(w->c, t)) {
		w->f->has_crc[it.storage] = true;
		it.gives = GIVES_CRC;
	}
	return add_item(w, it);
}

static bool
has_parts(const struct tensor *t)
{
	return t->more != NULL && t->more->nparts > 0;
}

static bool
is_hashed(const struct figures_run *w, size_t i)
{
	return w->n - i <= w->o->hashed;
}

/* Returns the digest of a composite tensor. parts[i] is the digest of part i; it is ignored for a part that is a single number. */
static struct digest
digest_join(const struct tensor *t, const struct digest *parts)
{
	struct buf lines = BUF_INIT;
	struct digest d;
	struct str text;

	for (size_t i = 0; i < t->more->nparts; i++) {
		const struct tensor_part *part = &t->more->parts[i];
		const struct tensor number = { .dtype = part->dtype };
		struct str bytes = str_n((const char *)part->scalar, dtype_size(part->dtype));
		const struct digest scalar = digest_of(&bytes, 1);

		digest_line(&lines, part->name, part->tensor != NULL ? part->tensor : &number,
			    part->tensor != NULL ? &parts[i] : &scalar);
	}
	text = buf_str(&lines);
	d = digest_of(&text, 1);
	buf_release(&lines);
	return d;
}

/* Computes the digest of a composite tensor as soon as those of all its parts are known. */
static void
join_parts(const struct figures_run *w, size_t i)
{
	if (is_hashed(w, i) && w->runs[i].waiting == 0 && has_parts(w->tensors[i]))
		w->f->digests[i] = digest_join(w->tensors[i], &w->f->digests[w->runs[i].parts]);
}

/* Elements smaller than a byte, which safetensors allows, can only be hashed with their whole storage. */
static int
add_packed(struct figures_run *w, const struct tensor *t, size_t tag, struct err *err)
{
	struct boxes_range all = boxes_whole(t);
	uint64_t offset;
	uint32_t storage;

	if (!boxes_stored(w->c, &all, &storage, &offset) || offset != 0 || boxes_bytes(&all) != w->c->storages[storage].nbytes)
		return err_input(err, w->c->file, "a tensor of %s that is a part of its storage cannot be hashed",
				 dtype_name(t->dtype));
	add_item(w, (struct item){ .storage = storage, .tag = tag, .pair = NONE, .gives = GIVES_DIGEST, .whole = true });
	return 0;
}

/* Adds an item for the digest of t and for the results in more. Returns how many items the tensor must wait for: 0 or 1. */
static int
add_hashed(struct figures_run *w, const struct tensor *t, size_t tag, unsigned more, struct err *err)
{
	struct item *it;

	if (dtype_size(t->dtype) == 0)
		return add_packed(w, t, tag, err) < 0 ? -1 : tensor_count(t) > 0;
	if (tensor_count(t) == 0)
		w->f->digests[tag] = digest_of(NULL, 0);
	it = add_tensor(w, t, tag);
	it->gives |= GIVES_DIGEST | more;
	it->whole = true;
	return tensor_count(t) > 0;
}

static int
add_parts(struct figures_run *w, size_t i, struct err *err)
{
	const struct tensor_more *more = w->tensors[i]->more;
	int n;

	for (size_t k = 0; k < more->nparts; k++) {
		const struct tensor *part = more->parts[k].tensor;

		if (part == NULL || boxes_count(part) == 0)
			continue;
		w->owners[w->runs[i].parts + k - w->n] = i;
		n = add_hashed(w, part, w->runs[i].parts + k, 0, err);
		if (n < 0)
			return -1;
		w->runs[i].waiting += (size_t)n;
	}
	return 0;
}

static int
add_tensors(struct figures_run *w, struct err *err)
{
	int n;

	for (size_t i = 0; i < w->n; i++) {
		const struct tensor *t = w->tensors[i];
		const bool has_data = boxes_count(t) > 0, parts = has_parts(t);
		const unsigned moments = i < w->o->measured && has_data && moments_known(t->dtype) ? GIVES_MOMENTS : 0;

		if (is_hashed(w, i) && parts && add_parts(w, i, err) < 0)
			return -1;
		if (is_hashed(w, i) && has_data && !parts) {
			n = add_hashed(w, t, i, moments, err);
			if (n < 0)
				return -1;
			w->runs[i].waiting += (size_t)n;
		} else if (moments != 0) {
			w->runs[i].waiting += tensor_count(t) > 0;
			add_tensor(w, t, i)->gives |= moments;
		}
		join_parts(w, i);
	}
	return 0;
}

static int
by_tensor(const void *a, const void *b)
{
	const struct item *x = a, *y = b;

	return (x->t > y->t) - (x->t < y->t);
}

/* Adds two tensors to compare. If a is read already for its digest or moments, that item is used. */
static void
add_two(struct figures_run *w, const struct tensor *a, const struct tensor *b, size_t pair)
{
	const struct item key = { .t = a };
	struct item *it = NULL;

	if (w->nsorted > 0)
		it = bsearch(&key, w->items, w->nsorted, sizeof(*w->items), by_tensor);
	if (it == NULL || it->other != NULL)
		it = add_tensor(w, a, NONE);
	it->other = b;
	it->pair = pair;
	/* Threads may make units of this item in parallel, because differences are joined when units are taken. */
	it->whole = false;
}

static bool
is_comparable(const struct tensor *a, const struct tensor *b)
{
	if (boxes_count(a) == 0 || boxes_count(b) == 0 || dtype_size(a->dtype) == 0 || dtype_size(b->dtype) == 0)
		return false;
	return has_values(a->dtype, b->dtype) || a->dtype == b->dtype;
}

static bool
part_is_comparable(const struct tensor_part *a, const struct tensor_part *b)
{
	if (!str_eq(a->name, b->name) || (a->tensor == NULL) != (b->tensor == NULL))
		return false;
	return a->tensor == NULL || (tensor_same_shape(a->tensor, b->tensor) && is_comparable(a->tensor, b->tensor));
}

/* Do two composite tensors have the same structure and comparable parts? */
static bool
parts_are_comparable(const struct tensor_more *a, const struct tensor_more *b)
{
	if (a->nparts != b->nparts || !str_eq(a->layout, b->layout) || !str_eq(a->device, b->device) ||
	    !str_eq(a->quantized, b->quantized) || !str_eq(a->placements, b->placements))
		return false;
	for (size_t i = 0; i < a->nparts; i++)
		if (!part_is_comparable(&a->parts[i], &b->parts[i]))
			return false;
	return true;
}

/* Adds the comparison of a pair: of the tensors themselves or of their parts. Adds nothing if they cannot be compared. */
static void
add_pair(struct figures_run *w, size_t pair)
{
	const struct compare_pair *p = &w->o->pairs[pair];
	const struct tensor_more *a = p->a->more, *b = p->b->more;
	struct difference *d = &w->f->differences[pair];

	if (!has_parts(p->a) && !has_parts(p->b)) {
		d->comparable = is_comparable(p->a, p->b);
		if (d->comparable)
			add_two(w, p->a, p->b, pair);
		return;
	}
	d->comparable = has_parts(p->a) && has_parts(p->b) && parts_are_comparable(a, b);
	for (size_t i = 0; d->comparable && i < a->nparts; i++) {
		if (a->parts[i].tensor != NULL)
			add_two(w, a->parts[i].tensor, b->parts[i].tensor, pair);
		else
			compare_number(w->o->compare, composite_number(&a->parts[i]), composite_number(&b->parts[i]), d);
	}
}

static void
add_pairs(struct figures_run *w)
{
	w->nsorted = w->o->npairs > 0 ? w->nitems : 0;
	if (w->nsorted > 0)
		qsort(w->items, w->nsorted, sizeof(*w->items), by_tensor);
	for (size_t i = 0; i < w->o->npairs; i++)
		add_pair(w, i);
}

/* Adds the storages whose CRC no tensor yields. */
static void
add_storages(struct figures_run *w)
{
	for (uint32_t s = 0; w->o->crcs && s < w->c->nstorages; s++) {
		if (w->f->has_crc[s] || !may_state_crc(w->c, s))
			continue;
		add_item(w, (struct item){ .storage = s, .tag = NONE, .pair = NONE, .gives = GIVES_CRC });
		w->f->has_crc[s] = true;
	}
}

/* ---- units */

static size_t
item_size(const struct item *it)
{
	return it->t ? dtype_size(it->t->dtype) : 1;
}

/* Returns the number of elements in a unit. Units that must be gathered are large, because the storage is read again for each. */
static uint64_t
unit_size(const struct figures_run *w, const struct item *it)
{
	size_t size = item_size(it), n;

	if (it->t == NULL)
		return SLAB;
	if (is_plain(w->c, it->t) && (it->other == NULL || is_plain(w->there, it->other)))
		return MOMENTS_UNIT;
	if (it->other != NULL && dtype_size(it->other->dtype) > size)
		size = dtype_size(it->other->dtype);
	n = SLAB / (MOMENTS_UNIT * size);
	return MOMENTS_UNIT * (uint64_t)(n > UNIT_MOMENTS ? UNIT_MOMENTS : n > 0 ? n : 1);
}

/* Returns the item of a piece of work: the last non-empty item that begins at or before it. */
static const struct item *
item_of(const struct figures_run *w, uint64_t k)
{
	size_t lo = 0, hi = w->nitems;

	while (hi - lo > 1) {
		size_t mid = lo + (hi - lo) / 2;

		if (w->items[mid].first <= k)
			lo = mid;
		else
			hi = mid;
	}
	return &w->items[lo];
}

static unsigned char *
reserve(unsigned char **p, size_t *cap, size_t n)
{
	if (n > *cap) {
		*p = xreallocn(*p, n, 1);
		*cap = n;
	}
	return *p;
}

/* Reads the elements of u from a tensor of one of the checkpoints. */
static int
read_side(struct ckpt *c, const struct tensor *t, const struct unit *u, void *to, struct err *err)
{
	struct boxes_range r = { .tensor = t, .from = u->first, .to = u->first + u->n };

	return boxes_fill(c, &r, to, err);
}

static int
read_unit(const struct figures_run *w, struct slot *s, struct err *err)
{
	struct unit *u = &s->unit;
	const struct item *it = u->item;

	u->p = reserve(&s->p, &s->cap, u->n * item_size(it));
	u->stored = it->t == NULL || is_plain(w->c, it->t);
	if (it->t == NULL)
		return ckpt_read(w->c, it->storage, u->first, u->p, u->n, err);
	if (read_side(w->c, it->t, u, u->p, err) < 0)
		return -1;
	if (it->other == NULL)
		return 0;
	u->q = reserve(&s->q, &s->qcap, u->n * dtype_size(it->other->dtype));
	return read_side(w->there, it->other, u, u->q, err);
}

/* Adds a unit's buffer to its moments. The buffer begins after the first done elements of the unit. */
static void
find_moments(const struct figures_run *w, struct slot *s, size_t done)
{
	const struct unit *u = &s->unit;
	enum dtype dtype = u->item->t->dtype;
	const unsigned char *p = u->p;

	for (size_t i = 0, n; i < u->n; i += n, p += n * dtype_size(dtype)) {
		struct moments *m = &s->m[(done + i) / MOMENTS_UNIT];

		n = u->n - i < MOMENTS_UNIT ? u->n - i : MOMENTS_UNIT;
		moments_add(m, dtype, p, n, w->o->special);
	}
}

static void
find_differences(const struct figures_run *w, struct slot *s)
{
	const struct unit *u = &s->unit;
	struct elements e = { u->item->t->dtype, u->item->other->dtype, u->p, u->q, MOMENTS_UNIT };

	for (size_t i = 0; i * MOMENTS_UNIT < u->n; i++) {
		e.n = u->n - i * MOMENTS_UNIT < MOMENTS_UNIT ? u->n - i * MOMENTS_UNIT : MOMENTS_UNIT;
		s->d[i] = compare_elements(w->o->compare, &e, &s->skipped[i]);
		e.p += e.n * dtype_size(e.ta);
		e.q += e.n * dtype_size(e.tb);
	}
}

/* Notes that sums are missing for the elements from u->first + from on, at most MOMENTS_UNIT. Adjacent ranges are merged. */
static void
note_skipped(struct figures_run *w, const struct unit *u, uint64_t from)
{
	struct skipped *last = w->nskipped > 0 ? &w->skipped[w->nskipped - 1] : NULL, s = { u->item->pair, u->item->other, 0, 0 };

	s.from = u->first + from;
	s.to = u->first + (u->n - from < MOMENTS_UNIT ? u->n : from + MOMENTS_UNIT);
	if (last != NULL && last->pair == s.pair && last->other == s.other && last->to == s.from) {
		last->to = s.to;
		return;
	}
	*xpush(w->skipped, w->nskipped, w->cap_skipped) = s;
}

static void
join_differences(struct figures_run *w, const struct slot *s)
{
	const struct unit *u = &s->unit;

	for (size_t i = 0; i * MOMENTS_UNIT < u->n; i++) {
		compare_join(&w->f->differences[u->item->pair], &s->d[i]);
		if (s->skipped[i])
			note_skipped(w, u, i * MOMENTS_UNIT);
	}
}

static void
add_to_digest(const struct figures_run *w, struct sha256_ctx *sha, const struct unit *u)
{
	struct digest *d = &w->f->digests[u->item->tag];

	if (u->first == 0)
		sha256_init(sha);
	sha256_update(sha, u->n * item_size(u->item), u->p);
	if (!u->last)
		return;
	sha256_digest(sha, sizeof(d->sha256), d->sha256);
	d->known = true;
}

/* Adds the results of an item's next unit to those of the units before it. */
static void
join(struct figures_run *w, const struct slot *s, struct sha256_ctx *sha)
{
	const struct unit *u = &s->unit;
	uint32_t *crc = &w->f->crc[u->item->storage];

	if (u->item->gives & GIVES_CRC)
		*crc = crc32_join(*crc, s->crc, u->n * item_size(u->item));
	if (u->item->other != NULL)
		join_differences(w, s);
	if (u->item->gives & GIVES_DIGEST)
		add_to_digest(w, sha, u);
	for (size_t i = 0; u->item->gives & GIVES_MOMENTS && i * MOMENTS_UNIT < u->n; i++)
		moments_join(&w->f->moments[u->item->tag], &s->m[i]);
}

/* Reads the unit at once if its elements are needed together, else piece by piece. done elements precede the present piece. */
static int
make_pieces(const struct figures_run *w, struct slot *s, struct err *err)
{
	struct unit *u = &s->unit;
	const struct unit whole = *u;
	const struct item *it = u->item;
	const bool at_once = it->other != NULL || (it->gives & GIVES_DIGEST) || (it->t != NULL && !is_plain(w->c, it->t));
	const size_t most = at_once ? whole.n : PIECE / item_size(it);

	for (size_t done = 0; done < whole.n; done += u->n) {
		u->first = whole.first + done;
		u->n = whole.n - done < most ? whole.n - done : most;
		if (read_unit(w, s, err) < 0)
			return -1;
		if (it->gives & GIVES_CRC)
			s->crc = crc32_add(s->crc, u->p, u->n * item_size(it));
		if (it->gives & GIVES_MOMENTS)
			find_moments(w, s, done);
	}
	u->first = whole.first;
	u->n = whole.n;
	return 0;
}

static int
make_unit(struct figures_run *w, struct slot *s, struct err *err)
{
	const struct item *it = s->unit.item;

	s->crc = 0;
	for (size_t i = 0; i * MOMENTS_UNIT < s->unit.n && it->gives & GIVES_MOMENTS; i++)
		s->m[i] = (struct moments)MOMENTS_INIT;
	if (make_pieces(w, s, err) < 0)
		return -1;
	if (it->other != NULL)
		find_differences(w, s);
	if (it->whole)
		join(w, s, &s->sha);
	return 0;
}

/* Does piece of work k, which is a unit, or all units of an item. */
static int
make(void *arg, uint64_t k, unsigned slot, struct err *err)
{
	struct figures_run *w = arg;
	struct slot *s = &w->slots[slot];
	const struct item *it = item_of(w, k);
	uint64_t first = (k - it->first) * it->each, end = it->count - first < it->each ? it->count : first + it->each;

	for (; first < end; first += it->unit) {
		const uint64_t n = end - first < it->unit ? end - first : it->unit;

		s->unit = (struct unit){ .item = it, .first = first, .n = (size_t)n, .last = first + n == it->count };
		if (make_unit(w, s, err) < 0)
			return -1;
	}
	return 0;
}

/* ---- streams: data that is finished may be forgotten */

static int
done_before(struct figures_run *w, uint32_t storage, struct err *err)
{
	for (; w->stream && w->storage < storage; w->storage++)
		if (ckpt_done(w->c, w->storage, err) < 0)
			return -1;
	return 0;
}

static int
forget(struct figures_run *w, const struct unit *u, struct err *err)
{
	const struct item *it = u->item, *end = w->items + w->nitems;
	bool is_first = it == w->items || it[-1].storage != it->storage, is_last = it + 1 == end || it[1].storage != it->storage;
	uint64_t offset, skip = it->t ? it->t->offset : 0;
	struct source *src;

	if (!w->stream)
		return 0;
	if (u->last)
		return is_last ? done_before(w, it->storage + 1, err) : 0;
	src = ckpt_range(w->c, it->storage, &offset);
	/* Bytes can be forgotten before the end of the item only if no other item reads the storage. */
	if (src == NULL || !u->stored || !is_first || !is_last)
		return 0;
	if (done_before(w, it->storage, err) < 0)
		return -1;
	source_forget(src, offset + (skip + u->first + u->n) * item_size(it));
	return 0;
}

/* ---- results */

/* Calls known if the results of more tensors from the first on are complete. */
static int
tell(struct figures_run *w, struct err *err)
{
	size_t n = w->known;

	if (w->o->known == NULL)
		return 0;
	while (n < w->n && w->runs[n].waiting == 0)
		n++;
	if (n == w->known)
		return 0;
	w->known = n;
	return w->o->known(w->o->known_arg, n, err);
}

static int
take(void *arg, uint64_t k, unsigned slot, struct err *err)
{
	struct figures_run *w = arg;
	const struct slot *s = &w->slots[slot];
	const struct unit *u = &s->unit;
	const struct item *it = u->item;
	size_t owner = it->tag;

	(void)k;
	if (!it->whole)
		join(w, s, &w->sha);
	if (u->last && owner != NONE) {
		owner = owner < w->n ? owner : w->owners[owner - w->n];
		w->runs[owner].waiting--;
		join_parts(w, owner);
		if (tell(w, err) < 0)
			return -1;
	}
	w->done += (it->each > it->unit ? it->count : u->n) * item_size(it);
	if (w->o->tick != NULL)
		w->o->tick(NULL, w->done, w->total);
	return forget(w, u, err);
}

/* ---- running everything */

static int
by_storage(const void *a, const void *b)
{
	const struct item *x = a, *y = b;

	if (x->storage != y->storage)
		return x->storage < y->storage ? -1 : 1;
	/* Raw bytes of a storage come before its tensors. */
	if ((x->t == NULL) != (y->t == NULL))
		return x->t == NULL ? -1 : 1;
	return (x->tag > y->tag) - (x->tag < y->tag);
}

/* Threads can read ranges of regular files only. Deflated storages must be unpacked in order. */
static bool
threads_can_read(const struct ckpt *c)
{
	if (source_is_stream(c->src))
		return false;
	for (uint32_t i = 0; i < c->nstorages; i++)
		if (c->storages[i].flags & STORAGE_DEFLATED)
			return false;
	return true;
}

static int
walk(struct figures_run *w, struct err *err)
{
	bool threads = threads_can_read(w->c) && (w->there == NULL || threads_can_read(w->there));
	unsigned slots = threads ? pool_slots(w->o->pool) : 1;
	uint64_t units = 0;
	int rc;

	qsort(w->items, w->nitems, sizeof(*w->items), by_storage);
	for (size_t i = 0; i < w->nitems; i++) {
		struct item *it = &w->items[i];

		it->first = units;
		it->count = it->t == NULL ? w->c->storages[it->storage].nbytes : tensor_count(it->t);
		it->unit = unit_size(w, it);
		it->each = it->whole && slots > 1 && it->count > it->unit ? it->count : it->unit;
		units += it->count / it->each + (it->count % it->each > 0);
		w->total += it->count * item_size(it);
	}
	w->slots = xcalloc(slots, sizeof(*w->slots));
	rc = pool_run(threads ? w->o->pool : NULL, units, make, take, w, err);
	for (unsigned i = 0; i < slots; i++) {
		free(w->slots[i].p);
		free(w->slots[i].q);
	}
	free(w->slots);
	return rc == 0 ? done_before(w, w->c->nstorages, err) : -1;
}

/* Adds elements that are equal in both checkpoints to the sums of a pair that differs in other elements. */
static int
add_skipped(struct figures_run *w, const struct skipped *s, unsigned char *bytes, struct err *err)
{
	struct difference *d = &w->f->differences[s->pair];
	struct elements u = { s->other->dtype, s->other->dtype, bytes, bytes, 0 };

	for (uint64_t i = s->from; i < s->to && d->differing > 0 && !d->bytes; i += MOMENTS_UNIT) {
		struct boxes_range r = { .tensor = s->other, .from = i, .to = s->to - i < MOMENTS_UNIT ? s->to : i + MOMENTS_UNIT };
		struct difference same = { .comparable = true };

		if (boxes_fill(w->there, &r, bytes, err) < 0)
			return -1;
		u.n = (size_t)(r.to - r.from);
		if (is_complex(u.ta))
			compare_complex(w->o->compare, &u, &same);
		else if (convert_known(u.ta))
			compare_numbers(w->o->compare, &u, &same);
		compare_join(d, &same);
	}
	return 0;
}

/*
 * The sums of equal elements are needed only for tensors that differ elsewhere. Most tensors with equal bytes somewhere have them
 * everywhere, so these elements are read again only now.
 */
static int
add_all_skipped(struct figures_run *w, struct err *err)
{
	unsigned char *bytes = w->nskipped > 0 ? xmalloc((size_t)MOMENTS_UNIT * ITEM_MAX) : NULL;
	int rc = 0;

	for (size_t i = 0; i < w->nskipped && rc == 0; i++)
		rc = add_skipped(w, &w->skipped[i], bytes, err);
	free(bytes);
	return rc;
}

/* Allocates the figures and assigns indices to the digests of parts. */
static void
begin(struct figures_run *w)
{
	struct figures *f = w->f;
	size_t digests = w->n;

	*f = (struct figures){ .moments = xcalloc(w->n + 1, sizeof(*f->moments)) };
	f->differences = xcalloc(w->o->npairs + 1, sizeof(*f->differences));
	f->crc = xcalloc((size_t)w->c->nstorages + 1, sizeof(*f->crc));
	f->has_crc = xcalloc((size_t)w->c->nstorages + 1, sizeof(*f->has_crc));
	w->runs = xcalloc(w->n + 1, sizeof(*w->runs));
	w->cap = w->n + w->o->npairs + 1;
	w->items = xcalloc(w->cap, sizeof(*w->items));
	for (size_t i = 0; i < w->n; i++) {
		w->runs[i].parts = digests;
		digests += is_hashed(w, i) && has_parts(w->tensors[i]) ? w->tensors[i]->more->nparts : 0;
	}
	f->digests = xcalloc(digests + 1, sizeof(*f->digests));
	w->owners = xcalloc(digests - w->n + 1, sizeof(*w->owners));
}

int
figures_take(struct figures *f, struct ckpt *c, const struct tensor *const *tensors, size_t n, const struct figures_opts *o,
	     struct err *err)
{
	struct figures_run w = { .f = f,
				 .c = c,
				 .there = o->compare ? o->compare->there : NULL,
				 .o = o,
				 .tensors = tensors,
				 .n = n,
				 .stream = source_is_stream(c->src) };
	int rc;

	begin(&w);
	rc = add_tensors(&w, err);
	if (rc == 0) {
		add_pairs(&w);
		add_storages(&w);
		rc = tell(&w, err);
	}
	if (rc == 0)
		rc = walk(&w, err);
	if (rc == 0)
		rc = add_all_skipped(&w, err);
	free(w.skipped);
	free(w.items);
	free(w.owners);
	free(w.runs);
	return rc;
}

void
figures_release(struct figures *f)
{
	free(f->moments);
	free(f->digests);
	free(f->crc);
	free(f->has_crc);
	free(f->differences);
	*f = (struct figures){ 0 };
}
