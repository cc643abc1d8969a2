#include "plan/keyops.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/xalloc.h"
#include "io/source.h"
#include "make/cast.h"
#include "make/input_layer.h"
#include "make/join.h"
#include "make/rows.h"
#include "make/view.h"
#include "model/keys.h"
#include "model/list.h"
#include "tensor/convert.h"

/* The maximum size of a result in bytes. */
#define RESULT_MAX ((uint64_t)1 << 56)

/* The forms of an op's value in YAML. */
enum op_value {
	OP_NUMBER,  /* N */
	OP_NUMBERS, /* [N, ...] */
	OP_SIZES,   /* {DIM: N, ...}, stored as two numbers each */
	OP_RANGES,  /* {DIM: [N, N], ...}, stored as three numbers each */
	OP_TRUE,    /* true */
	OP_FILE,    /* the name of a file that lists rows */
	OP_SCALAR,  /* a floating-point number */
	OP_DTYPE,
	OP_WEIGHTS, /* {INPUT: W, ...}, or the word mean */
};

struct op_kind {
	const char *name;
	enum op_value value;
	int (*apply)(const struct keyop *op, struct keyops_tensor *t, struct err *err);
};

struct keyop {
	const struct op_kind *kind;
	int64_t *v; /* numbers of the value */
	size_t n;
	int64_t *sizes; /* sizes of split; NULL: equal parts */
	size_t nsizes;
	uint64_t *rows, zeros; /* rows: by row of the result, its source or ROWS_ZERO; zeros: number of ROWS_ZERO */
	size_t nrows;
	uint64_t highest; /* the highest source in rows */
	enum dtype dtype;
	struct make_weights *weights; /* weights of sum and scale */
};

/* ---- checks */

/* Finds dimension d of t. A negative d counts from the end. */
static int
find_dim(const struct keyops_tensor *t, int64_t d, unsigned *dim, struct err *err)
{
	if (d < -(int64_t)t->form.ndim || d >= (int64_t)t->form.ndim)
		return err_set(err, ERR_INPUT, "there is no dimension %lld", (long long)d);
	*dim = (unsigned)(d < 0 ? d + t->form.ndim : d);
	return 0;
}

/* Checks that the tensor can have size n along dim. */
static int
check_size(const struct keyops_tensor *t, unsigned dim, uint64_t n, struct err *err)
{
	uint64_t bytes = 16;
	bool fits = true;

	for (unsigned d = 0; fits && d < t->form.ndim; d++)
		fits = num_mul(bytes, d == dim ? n : t->form.shape[d] > 0 ? t->form.shape[d] : 1, &bytes) && bytes <= RESULT_MAX;
	return fits ? 0 : err_set(err, ERR_INPUT, "a size of %" PRIu64 " is too large", n);
}

static int
check_float(const struct keyops_tensor *t, struct err *err)
{
	enum dtype dtype = (enum dtype)t->form.dtype;

	if (dtype_is_float(dtype) && convert_known(dtype))
		return 0;
	return err_set(err, ERR_INPUT, "a floating tensor was expected, not %s", dtype_name(dtype));
}

static int
check_zeros(const struct keyops_tensor *t, struct err *err)
{
	if (t->form.dtype != DTYPE_FLOAT8_E8M0FNU)
		return 0;
	return err_set(err, ERR_INPUT, "float8_e8m0fnu has no zeros");
}

static int
add(struct keyops_tensor *t, struct make *m)
{
	make_append(&t->chain, t->arena, m);
	if (m->kind->shape != NULL)
		m->kind->shape(m, &t->form);
	return 0;
}

static int
add_view(struct keyops_tensor *t, const struct view *v)
{
	return add(t, make_view(t->arena, v));
}

/* ---- ops */

static int
apply_join(const struct keyop *op, struct keyops_tensor *t, struct err *err)
{
	uint64_t *sizes = arena_calloc(t->arena, t->nmore, sizeof(*sizes)), total;
	struct make_parts parts = { t->more, sizes, t->nmore };
	unsigned dim;

	if (find_dim(t, op->v[0], &dim, err) < 0)
		return -1;
	total = t->form.shape[dim];
	for (unsigned i = 0; i < t->nmore; i++) {
		struct make_form other = t->forms[i];

		if (other.dtype != t->form.dtype)
			return err_set(err, ERR_INPUT, "%s and %s cannot be joined", dtype_name((enum dtype)t->form.dtype),
				       dtype_name((enum dtype)other.dtype));
		if (other.ndim == t->form.ndim) {
			sizes[i] = other.shape[dim];
			total += sizes[i];
			other.shape[dim] = t->form.shape[dim];
		}
		if (!shape_eq(other.shape, other.ndim, t->form.shape, t->form.ndim))
			return err_set(err, ERR_INPUT, "the shapes differ in more than dimension %u", dim);
	}
	if (check_size(t, dim, total, err) < 0)
		return -1;
	return add(t, make_join(t->arena, &t->form, dim, &parts));
}

/* Restricts a view to elements [low, high) of a dimension. */
static void
view_cut(struct view *v, unsigned dim, uint64_t low, uint64_t high)
{
	v->offset += low * (uint64_t)v->stride[dim];
	v->shape[dim] = high - low;
}

static int
apply_split(const struct keyop *op, struct keyops_tensor *t, struct err *err)
{
	uint64_t low = 0, sum = 0, size;
	struct view v;
	unsigned dim;

	if (find_dim(t, op->v[0], &dim, err) < 0)
		return -1;
	view_all(&v, &t->form);
	size = v.shape[dim];
	if (op->sizes == NULL) {
		if (size % t->parts != 0)
			return err_set(err, ERR_INPUT, "%" PRIu64 " are not %zu equal parts", size, t->parts);
		view_cut(&v, dim, size / t->parts * t->part, size / t->parts * (t->part + 1));
		return add_view(t, &v);
	}
	for (size_t i = 0; i < op->nsizes; i++) {
		low += i < t->part ? (uint64_t)op->sizes[i] : 0;
		sum += (uint64_t)op->sizes[i];
	}
	if (op->nsizes != t->parts || sum != size)
		return err_set(err, ERR_INPUT, "%zu sizes with a sum of %" PRIu64 " for %zu names and %" PRIu64, op->nsizes, sum,
			       t->parts, size);
	view_cut(&v, dim, low, low + (uint64_t)op->sizes[t->part]);
	return add_view(t, &v);
}

static int
apply_slice(const struct keyop *op, struct keyops_tensor *t, struct err *err)
{
	struct view v;
	unsigned dim;

	view_all(&v, &t->form);
	for (size_t i = 0; i < op->n; i += 3) {
		if (find_dim(t, op->v[i], &dim, err) < 0)
			return -1;
		if (op->v[i + 1] < 0 || op->v[i + 1] >= op->v[i + 2] || (uint64_t)op->v[i + 2] > v.shape[dim])
			return err_set(err, ERR_INPUT, "[%lld, %lld] is not a range inside dimension %u", (long long)op->v[i + 1],
				       (long long)op->v[i + 2], dim);
		view_cut(&v, dim, (uint64_t)op->v[i + 1], (uint64_t)op->v[i + 2]);
	}
	return add_view(t, &v);
}

static int
apply_pad(const struct keyop *op, struct keyops_tensor *t, struct err *err)
{
	unsigned dim;

	for (size_t i = 0; i < op->n; i += 2) {
		uint64_t size = (uint64_t)op->v[i + 1];

		if (find_dim(t, op->v[i], &dim, err) < 0 || check_zeros(t, err) < 0)
			return -1;
		if (op->v[i + 1] < 0 || size < t->form.shape[dim])
			return err_set(err, ERR_INPUT, "%lld is smaller than dimension %u", (long long)op->v[i + 1], dim);
		if (check_size(t, dim, size, err) < 0)
			return -1;
		add(t, make_pad(t->arena, &t->form, dim, size));
	}
	return 0;
}

static int
apply_rows(const struct keyop *op, struct keyops_tensor *t, struct err *err)
{
	if (t->form.ndim == 0)
		return err_set(err, ERR_INPUT, "a scalar has no rows");
	if (op->zeros < op->nrows && op->highest >= t->form.shape[0])
		return err_set(err, ERR_INPUT, "there is no row %" PRIu64, op->highest);
	if (check_size(t, 0, op->nrows, err) < 0 || (op->zeros > 0 && check_zeros(t, err) < 0))
		return -1;
	return add(t, make_rows(t->arena, op->rows, op->nrows));
}

/* Finds the dimensions that the value lists. Each may occur once. */
static int
find_dims(const struct keyop *op, const struct keyops_tensor *t, unsigned *dims, struct err *err)
{
	bool seen[TENSOR_NDIM_MAX] = { false };

	for (size_t i = 0; i < op->n; i++) {
		if (i >= t->form.ndim)
			return err_set(err, ERR_INPUT, "more dimensions than it has");
		if (find_dim(t, op->v[i], &dims[i], err) < 0)
			return -1;
		if (seen[dims[i]])
			return err_set(err, ERR_INPUT, "dimension %u is named twice", dims[i]);
		seen[dims[i]] = true;
	}
	return 0;
}

static int
add_permuted(struct keyops_tensor *t, const unsigned *dims)
{
	struct view all, v;

	view_all(&all, &t->form);
	v = all;
	for (unsigned d = 0; d < all.ndim; d++) {
		v.shape[d] = all.shape[dims[d]];
		v.stride[d] = all.stride[dims[d]];
	}
	return add_view(t, &v);
}

static int
apply_permute(const struct keyop *op, struct keyops_tensor *t, struct err *err)
{
	unsigned dims[TENSOR_NDIM_MAX];

	if (find_dims(op, t, dims, err) < 0)
		return -1;
	if (op->n != t->form.ndim)
		return err_set(err, ERR_INPUT, "all %u dimensions must be named", t->form.ndim);
	return add_permuted(t, dims);
}

/* Works like torch's t(): a vector stays unchanged. */
static int
apply_transpose(const struct keyop *op, struct keyops_tensor *t, struct err *err)
{
	static const unsigned dims[] = { 1, 0 };

	(void)op;
	if (t->form.ndim > 2)
		return err_set(err, ERR_INPUT, "at most two dimensions can be transposed; permute says their order");
	return t->form.ndim < 2 ? 0 : add_permuted(t, dims);
}

static int
apply_flip(const struct keyop *op, struct keyops_tensor *t, struct err *err)
{
	unsigned dims[TENSOR_NDIM_MAX];
	struct view v;

	if (find_dims(op, t, dims, err) < 0)
		return -1;
	view_all(&v, &t->form);
	for (size_t i = 0; make_count(&t->form) > 0 && i < op->n; i++) {
		v.offset += (v.shape[dims[i]] - 1) * (uint64_t)v.stride[dims[i]];
		v.stride[dims[i]] = -v.stride[dims[i]];
	}
	return add_view(t, &v);
}

static int
apply_reshape(const struct keyop *op, struct keyops_tensor *t, struct err *err)
{
	uint64_t shape[TENSOR_NDIM_MAX], count = make_count(&t->form), n = 1;
	size_t open = SIZE_MAX;
	bool fits = op->n <= TENSOR_NDIM_MAX;
	struct view v;

	for (size_t i = 0; fits && i < op->n; i++) {
		shape[i] = (uint64_t)op->v[i];
		if (op->v[i] == -1 && open == SIZE_MAX)
			open = i;
		else
			fits = op->v[i] >= 0 && num_mul(n, shape[i], &n) && n <= RESULT_MAX;
	}
	if (fits && open != SIZE_MAX) {
		fits = n > 0 && count % n == 0;
		shape[open] = fits ? count / n : 0;
		n = fits ? count : 0;
	}
	if (!fits || n != count)
		return err_set(err, ERR_INPUT, "%" PRIu64 " elements do not have that shape", count);
	view_all(&v, &t->form);
	view_set_shape(&v, shape, (unsigned)op->n);
	return add_view(t, &v);
}

/* Works like torch's flatten(): the dimensions from the first number to the second become one. */
static int
apply_flatten(const struct keyop *op, struct keyops_tensor *t, struct err *err)
{
	uint64_t shape[TENSOR_NDIM_MAX];
	unsigned first, last, n = 0;
	struct view v;

	if (find_dim(t, op->v[0], &first, err) < 0 || find_dim(t, op->v[1], &last, err) < 0)
		return -1;
	if (first > last)
		return err_set(err, ERR_INPUT, "dimension %u is behind dimension %u", first, last);
	for (unsigned d = 0; d < t->form.ndim; d++) {
		if (d <= first || d > last)
			shape[n++] = t->form.shape[d];
		else if (!num_mul(shape[n - 1], t->form.shape[d], &shape[n - 1]))
			return err_set(err, ERR_INPUT, "a dimension would exceed 2^64");
	}
	view_all(&v, &t->form);
	view_set_shape(&v, shape, n);
	return add_view(t, &v);
}

static int
apply_channels(const struct keyop *op, struct keyops_tensor *t, struct err *err)
{
	struct make *m = make_channels(t->arena, &t->form, (uint64_t)op->v[0], false, err);

	return m == NULL ? -1 : add(t, m);
}

static int
apply_patch(const struct keyop *op, struct keyops_tensor *t, struct err *err)
{
	struct make *m;

	for (unsigned i = 0; i < 2; i++) {
		m = make_patch(t->arena, &t->form, 2 + i, (uint64_t)op->v[i], err);
		if (m == NULL)
			return -1;
		add(t, m);
	}
	return 0;
}

static int
apply_scale(const struct keyop *op, struct keyops_tensor *t, struct err *err)
{
	if (check_float(t, err) < 0)
		return -1;
	return add(t, make_sum(t->arena, op->weights, NULL, 0, (enum dtype)t->form.dtype));
}

static int
apply_dtype(const struct keyop *op, struct keyops_tensor *t, struct err *err)
{
	if (check_float(t, err) < 0)
		return -1;
	return t->form.dtype == op->dtype ? 0 : add(t, make_cast(t->arena, op->dtype));
}

static int
apply_sum(const struct keyop *op, struct keyops_tensor *t, struct err *err)
{
	bool floating = check_float(t, &(struct err)ERR_INIT) == 0;

	if (!floating && dtype_is_float((enum dtype)t->form.dtype))
		return check_float(t, err);
	for (unsigned i = 0; i < t->nmore; i++) {
		const struct make_form *other = &t->forms[i];
		struct keyops_tensor tensor = { .form = *other };

		if (!shape_eq(other->shape, other->ndim, t->form.shape, t->form.ndim))
			return err_set(err, ERR_INPUT, "the shapes differ between inputs");
		if (floating ? check_float(&tensor, &(struct err)ERR_INIT) < 0 : other->dtype != t->form.dtype)
			return err_set(err, ERR_INPUT, "%s and %s cannot be added", dtype_name((enum dtype)t->form.dtype),
				       dtype_name((enum dtype)other->dtype));
	}
	return add(t, make_sum(t->arena, op->weights, t->more, t->nmore, (enum dtype)t->form.dtype));
}

static const struct op_kind kinds[] = {
	{ "join", OP_NUMBER, apply_join },         { "split", OP_NUMBER, apply_split },
	{ "slice", OP_RANGES, apply_slice },       { "pad", OP_SIZES, apply_pad },
	{ "rows", OP_FILE, apply_rows },           { "permute", OP_NUMBERS, apply_permute },
	{ "transpose", OP_TRUE, apply_transpose }, { "reshape", OP_NUMBERS, apply_reshape },
	{ "flatten", OP_NUMBERS, apply_flatten },  { "flip", OP_NUMBERS, apply_flip },
	{ "channels", OP_NUMBER, apply_channels }, { "patch", OP_NUMBERS, apply_patch },
	{ "scale", OP_SCALAR, apply_scale },       { "dtype", OP_DTYPE, apply_dtype },
	{ "sum", OP_WEIGHTS, apply_sum },
};

enum { NKINDS = sizeof(kinds) / sizeof(kinds[0]) };

int
keyops_apply(struct keyops *ops, struct keyops_tensor *t, struct err *err)
{
	struct err why = ERR_INIT;

	for (size_t i = 0; i < ops->n; i++) {
		struct buf was = BUF_INIT;

		shape_put(&was, t->form.shape, t->form.ndim);
		if (ops->v[i].kind->apply(&ops->v[i], t, &why) < 0)
			err_set(err, ERR_INPUT, "%s of %s: %s", ops->v[i].kind->name, was.p, why.msg);
		buf_release(&was);
		if (why.code != ERR_NONE)
			return -1;
		ops->zeros += ops->v[i].zeros;
	}
	return 0;
}

/* ---- reading */

struct op_reader {
	struct arena *arena;
	const char *file; /* file name of the map */
	struct err *err;
};

/* Reads a list of n numbers, or of any length if n is 0. */
static int
read_numbers(const struct op_reader *r, const struct ynode *node, size_t n, int64_t *v)
{
	if (node->kind != YN_SEQ || (n > 0 && node->n != n))
		return ynode_fail(node, r->err, "a list of %snumbers was expected, not %s", n == 2 ? "two " : "",
				  node->kind == YN_SEQ ? "of another length" : ynode_what(node));
	for (size_t i = 0; i < node->n; i++)
		if (!ynode_int(node->items[i], &v[i]))
			return ynode_fail(node->items[i], r->err, "a number was expected");
	return 0;
}

static int64_t *
alloc_items(const struct op_reader *r, size_t n)
{
	return arena_calloc(r->arena, n + 1, sizeof(int64_t));
}

static int
read_dims(const struct op_reader *r, struct keyop *op, const struct ynode *node)
{
	const bool ranges = op->kind->value == OP_RANGES;
	const size_t each = ranges ? 3 : 2;

	if (node->kind != YN_MAP || node->n == 0)
		return ynode_fail(node, r->err, "%s: a map from dimensions was expected, not %s", op->kind->name,
				  node->kind == YN_MAP ? "an empty one" : ynode_what(node));
	op->v = alloc_items(r, node->n * each);
	for (size_t i = 0; i < node->n; i++, op->n += each) {
		const struct ypair *pair = &node->pairs[i];
		struct ynode dim = *pair->key;

		dim.quoted = false; /* keys are always quoted in JSON */
		if (!ynode_int(&dim, &op->v[op->n]))
			return ynode_fail(pair->key, r->err, "a dimension was expected");
		if (ranges ? read_numbers(r, pair->value, 2, &op->v[op->n + 1]) < 0 : !ynode_int(pair->value, &op->v[op->n + 1]))
			return ranges ? -1 : ynode_fail(pair->value, r->err, "a number was expected");
	}
	return 0;
}

static int
add_row(struct keyop *op, const struct list_line *line, const struct source *src, size_t *cap, struct err *err)
{
	uint64_t row = ROWS_ZERO;
	bool zero = str_eqc(line->entry.name, "-");

	if (!zero && (!num_u64(line->entry.name, &row) || row >= RESULT_MAX))
		return err_input(err, source_name(src), "line %llu: the number of a row, or -, was expected",
				 (unsigned long long)line->number);
	op->zeros += zero;
	if (!zero && row > op->highest)
		op->highest = row;
	*xpush(op->rows, op->nrows, *cap) = row;
	return 0;
}

/* Reads a file of rows. A relative name is resolved against the folder of the map. */
static int
read_rows(const struct op_reader *r, struct keyop *op, const struct ynode *node)
{
	const char *path = node->text.p;
	uint64_t *own;
	struct source *src;
	struct list_reader list;
	struct list_line line;
	size_t cap = 0;
	int rc;

	if (node->kind != YN_SCALAR || node->text.len == 0)
		return ynode_fail(node, r->err, "rows: a file was expected, not %s", ynode_what(node));
	if (path[0] != '/')
		path = arena_printf(r->arena, "%.*s%s", (int)path_folder(r->file), r->file, path);
	if (source_open(&src, path, NULL, r->err) < 0)
		return -1;
	list_open(&list, src, false);
	while ((rc = list_next(&list, &line, r->err)) > 0)
		if (add_row(op, &line, src, &cap, r->err) < 0) {
			rc = -1;
			break;
		}
	if (rc == 0 && op->nrows == 0)
		rc = err_input(r->err, source_name(src), "no row in it");
	list_release(&list);
	source_close(src);
	own = arena_alloc(r->arena, op->nrows * sizeof(*own) + 1);
	if (op->nrows > 0)
		memcpy(own, op->rows, op->nrows * sizeof(*own));
	free(op->rows);
	op->rows = own;
	return rc;
}

static struct make_weights *
weights(struct arena *a, size_t n, double divisor)
{
	struct make_weights *w = arena_calloc(a, 1, sizeof(*w));
	double *v = arena_calloc(a, n, sizeof(*v));

	for (size_t i = 0; i < n; i++)
		v[i] = 1;
	w->v = v;
	w->divisor = divisor;
	return w;
}

static int
read_weight(const struct op_reader *r, const struct ynode *node, double *v)
{
	int64_t whole;

	if (ynode_int(node, &whole))
		*v = (double)whole;
	else if (!ynode_double(node, v) || !isfinite(*v))
		return ynode_fail(node, r->err, "a number was expected");
	return 0;
}

static int
read_weights(const struct op_reader *r, struct keyops *ops, struct keyop *op, const struct ynode *node)
{
	struct str *names;
	double *v;

	if (node->kind == YN_SCALAR && str_eqc(node->text, "mean"))
		return 0;
	if (node->kind != YN_MAP || node->n == 0)
		return ynode_fail(node, r->err, "sum: a map from inputs to weights, or mean, was expected, not %s",
				  ynode_what(node));
	ops->inputs = names = arena_calloc(r->arena, node->n, sizeof(*names));
	ops->ninputs = node->n;
	ops->weights = op->weights = weights(r->arena, node->n, 1);
	v = arena_calloc(r->arena, node->n, sizeof(*v));
	op->weights->v = v;
	for (size_t i = 0; i < node->n; i++) {
		names[i] = node->pairs[i].key->text;
		if (read_weight(r, node->pairs[i].value, &v[i]) < 0)
			return -1;
	}
	return 0;
}

void
keyops_weigh(struct keyops *ops, struct arena *a, size_t ninputs)
{
	if (!ops->sums || ops->inputs != NULL)
		return;
	ops->ninputs = ninputs;
	ops->weights = ops->v[0].weights = weights(a, ninputs, (double)ninputs);
}

static int
read_scale(const struct op_reader *r, struct keyop *op, const struct ynode *node)
{
	double *v = arena_calloc(r->arena, 1, sizeof(*v));

	op->weights = weights(r->arena, 1, 1);
	op->weights->v = v;
	return read_weight(r, node, v);
}

static int
read_value(const struct op_reader *r, struct keyops *ops, struct keyop *op, const struct ynode *node)
{
	bool yes;

	op->v = alloc_items(r, node->kind == YN_SEQ ? node->n : 1);
	switch (op->kind->value) {
	case OP_NUMBER:
		op->n = 1;
		return ynode_int(node, &op->v[0]) ? 0 : ynode_fail(node, r->err, "%s: a number was expected", op->kind->name);
	case OP_NUMBERS:
		op->n = node->n;
		return read_numbers(r, node, op->kind->apply == apply_patch || op->kind->apply == apply_flatten ? 2 : 0, op->v);
	case OP_SIZES:
	case OP_RANGES: return read_dims(r, op, node);
	case OP_TRUE: return ynode_bool(node, &yes) && yes ? 0 : ynode_fail(node, r->err, "%s: true was expected", op->kind->name);
	case OP_FILE: return read_rows(r, op, node);
	case OP_SCALAR: return read_scale(r, op, node);
	case OP_DTYPE:
		op->dtype = node->kind == YN_SCALAR ? dtype_by_name(node->text) : DTYPE_UNKNOWN;
		return convert_castable(DTYPE_FLOAT64, op->dtype)
			       ? 0
			       : ynode_fail(node, r->err, "dtype: a floating dtype was expected");
	case OP_WEIGHTS: break;
	}
	return read_weights(r, ops, op, node);
}

static int
read_sizes(const struct op_reader *r, struct keyop *op, const struct ynode *node)
{
	op->nsizes = node->n;
	op->sizes = alloc_items(r, node->n);
	if (read_numbers(r, node, 0, op->sizes) < 0)
		return -1;
	for (size_t i = 0; i < node->n; i++)
		if (op->sizes[i] <= 0 || op->sizes[i] > INT32_MAX)
			return ynode_fail(node->items[i], r->err, "sizes: a size was expected");
	return 0;
}

static int
unknown_op(const struct ynode *key, struct err *err)
{
	const char *names[NKINDS + 1] = { NULL };
	struct buf b = BUF_INIT;

	for (size_t i = 0; i < NKINDS; i++)
		names[i] = kinds[i].name;
	keys_suggest(&b, key->text, names);
	ynode_fail(key, err, "%.*s: unknown op%s", STR_ARG(key->text), b.p == NULL ? "" : b.p);
	buf_release(&b);
	return -1;
}

/* Checks whether an op is allowed at its position in the list. */
static int
check_place(struct keyops *ops, const struct keyop *op, const struct ynode *at, struct err *err)
{
	bool first = op->kind->apply == apply_join || op->kind->apply == apply_sum;

	if (first && op != ops->v)
		return ynode_fail(at, err, "%s can only be the first op", op->kind->name);
	ops->joins = ops->joins || op->kind->apply == apply_join;
	ops->sums = ops->sums || op->kind->apply == apply_sum;
	for (const struct keyop *k = ops->v; k < op; k++)
		if (k->kind == op->kind && op->kind->apply == apply_split)
			return ynode_fail(at, err, "split can occur only once");
	return 0;
}

static int
read_op(const struct op_reader *r, struct keyops *ops, const struct ynode *node)
{
	struct keyop *op = &ops->v[ops->n];
	const struct ynode *sizes = ymap_get(node, "sizes");

	if (node->kind != YN_MAP || node->n == 0 || node->n > 2)
		return ynode_fail(node, r->err, "an op is a map of one key, not %s",
				  node->kind == YN_MAP ? "of several" : ynode_what(node));
	for (size_t i = 0; i < node->n; i++) {
		const struct ypair *pair = &node->pairs[i];
		size_t k = 0;

		if (pair->value == sizes)
			continue;
		while (k < NKINDS && !str_eqc(pair->key->text, kinds[k].name))
			k++;
		if (k == NKINDS)
			return unknown_op(pair->key, r->err);
		if (op->kind != NULL)
			return ynode_fail(pair->key, r->err, "an op is a map of one key");
		op->kind = &kinds[k];
		if (check_place(ops, op, pair->key, r->err) < 0 || read_value(r, ops, op, pair->value) < 0)
			return -1;
	}
	ops->n++;
	if (sizes == NULL)
		return 0;
	if (op->kind == NULL || op->kind->apply != apply_split)
		return ynode_fail(sizes, r->err, "sizes needs split");
	return read_sizes(r, op, sizes);
}

int
keyops_read(struct keyops *ops, struct arena *a, const char *file, const struct ynode *list, struct err *err)
{
	struct op_reader r = { a, file, err };

	*ops = (struct keyops){ 0 };
	if (list->kind != YN_SEQ || list->n == 0)
		return ynode_fail(list, err, "ops: a list of maps was expected, not %s",
				  list->kind == YN_SEQ ? "an empty one" : ynode_what(list));
	ops->v = arena_calloc(a, list->n, sizeof(*ops->v));
	for (size_t i = 0; i < list->n; i++)
		if (read_op(&r, ops, list->items[i]) < 0)
			return -1;
	return 0;
}
