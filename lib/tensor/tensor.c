#include "tensor/tensor.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/num.h"

bool
tensor_numel(const struct tensor *t, uint64_t *numel)
{
	uint64_t n = 1;

	for (unsigned i = 0; i < t->ndim; i++)
		if (!num_mul(n, t->shape[i], &n))
			return false;
	*numel = n;
	return true;
}

uint64_t
tensor_count(const struct tensor *t)
{
	uint64_t n;

	return tensor_numel(t, &n) ? n : 0;
}

uint64_t
tensor_nbytes(const struct tensor *t)
{
	uint64_t n;

	return dtype_bytes((enum dtype)t->dtype, tensor_count(t), &n) ? n : 0;
}

bool
tensor_contiguous(const struct tensor *t)
{
	uint64_t expected = 1;
	unsigned i;

	if (tensor_count(t) == 0)
		return true;
	for (i = t->ndim; i-- > 0;) {
		if (t->shape[i] != 1 && t->stride[i] != expected)
			return false;
		expected *= t->shape[i];
	}
	return true;
}

struct axis {
	uint64_t stride, size;
};

static int
axis_cmp(const void *a, const void *b)
{
	const struct axis *x = a, *y = b;

	return (x->stride > y->stride) - (x->stride < y->stride);
}

bool
tensor_covers(const struct tensor *t, uint64_t nbytes)
{
	struct axis axes[TENSOR_NDIM_MAX];
	uint64_t expected = 1;
	size_t n = 0, i;

	if (tensor_nbytes(t) != nbytes)
		return false;
	if (nbytes == 0)
		return true;
	if (t->offset != 0)
		return false;
	for (i = 0; i < t->ndim; i++) {
		if (t->shape[i] != 1)
			axes[n++] = (struct axis){ t->stride[i], t->shape[i] };
	}
	qsort(axes, n, sizeof(axes[0]), axis_cmp);
	for (i = 0; i < n; i++) {
		if (axes[i].stride != expected)
			return false;
		expected *= axes[i].size;
	}
	return true;
}

void
tensor_span(const struct tensor *t, uint64_t *first, uint64_t *end)
{
	unsigned i;

	*first = *end = 0;
	if (tensor_count(t) == 0)
		return;
	*first = t->offset;
	*end = t->offset + 1;
	for (i = 0; i < t->ndim; i++)
		*end += (t->shape[i] - 1) * t->stride[i];
}

/* Computes the index after the last element of a non-empty tensor. Returns false on overflow. */
static bool
span_end(const struct tensor *t, uint64_t *end)
{
	uint64_t reach;
	unsigned i;

	*end = t->offset;
	for (i = 0; i < t->ndim; i++)
		if (!num_mul(t->shape[i] - 1, t->stride[i], &reach) || !num_add(*end, reach, end))
			return false;
	return num_add(*end, 1, end);
}

int
tensor_check(const struct tensor *t, uint64_t nbytes, struct err *err)
{
	uint64_t count, bytes, end;
	const char *name = dtype_name((enum dtype)t->dtype);

	if (t->ndim > TENSOR_NDIM_MAX)
		return err_set(err, ERR_INPUT, "%u dimensions (at most %d are possible)", t->ndim, TENSOR_NDIM_MAX);
	if (!tensor_numel(t, &count) || count > INT64_MAX)
		return err_set(err, ERR_INPUT, "its shape has more elements than can be counted");
	if (!dtype_bytes((enum dtype)t->dtype, count, &bytes) || bytes > INT64_MAX)
		return err_set(err, ERR_INPUT, "%llu elements of %s do not fill whole bytes", (unsigned long long)count, name);
	if (count == 0)
		return 0;
	if (!span_end(t, &end) || !dtype_bytes((enum dtype)t->dtype, end, &bytes))
		return err_set(err, ERR_INPUT, "its offset and strides reach beyond 2^64 bytes");
	if (bytes > nbytes)
		return err_set(err, ERR_INPUT, "it reaches to byte %llu of a storage that has %llu", (unsigned long long)bytes,
			       (unsigned long long)nbytes);
	return 0;
}

/* Computes the row-major strides of shape. stride has ndim elements. */
static void
set_strides(const uint64_t *shape, unsigned ndim, uint64_t *stride)
{
	uint64_t step = 1;
	unsigned i;

	/* As in torch, an empty dimension counts as one, so that (0,5) has strides (5,1). */
	for (i = ndim; i-- > 0;) {
		stride[i] = step;
		if (shape[i] > 1 && !num_mul(step, shape[i], &step))
			step = 1; /* the product can only overflow if another size is 0; then strides do not matter */
	}
}

void
tensor_set_shape(struct tensor *t, struct arena *a, const uint64_t *shape, unsigned ndim)
{
	uint64_t *copy = arena_alloc(a, (ndim ? 2 * (size_t)ndim : 1) * sizeof(*copy));

	if (ndim > 0)
		memcpy(copy, shape, ndim * sizeof(*copy));
	set_strides(copy, ndim, copy + ndim);
	t->shape = copy;
	t->stride = copy + ndim;
	t->ndim = (uint8_t)ndim;
}

void
tensor_set_fortran(struct tensor *t, struct arena *a, const uint64_t *shape, unsigned ndim)
{
	uint64_t turned[TENSOR_NDIM_MAX], strides[TENSOR_NDIM_MAX], *stride;

	for (unsigned i = 0; i < ndim; i++)
		turned[i] = shape[ndim - 1 - i];
	set_strides(turned, ndim, strides);
	tensor_set_shape(t, a, shape, ndim);
	stride = arena_alloc(a, ((size_t)ndim + 1) * sizeof(*stride));
	for (unsigned i = 0; i < ndim; i++)
		stride[i] = strides[ndim - 1 - i];
	t->stride = stride;
}

struct tensor
tensor_copy(const struct tensor *t, struct arena *a)
{
	struct tensor copy = *t;
	uint64_t *both = arena_alloc(a, (2 * (size_t)t->ndim + 1) * sizeof(*both));

	if (t->ndim > 0) {
		memcpy(both, t->shape, t->ndim * sizeof(*both));
		memcpy(both + t->ndim, t->stride, t->ndim * sizeof(*both));
	}
	copy.shape = both;
	copy.stride = both + t->ndim;
	return copy;
}

bool
shape_eq(const uint64_t *a, unsigned na, const uint64_t *b, unsigned nb)
{
	return na == nb && (na == 0 || memcmp(a, b, na * sizeof(*a)) == 0);
}

bool
tensor_same_shape(const struct tensor *a, const struct tensor *b)
{
	return shape_eq(a->shape, a->ndim, b->shape, b->ndim);
}

void
shape_put(struct buf *b, const uint64_t *shape, unsigned ndim)
{
	unsigned i;

	buf_addc(b, '[');
	for (i = 0; i < ndim; i++) {
		if (i > 0)
			buf_addc(b, ',');
		buf_u64(b, shape[i]);
	}
	buf_addc(b, ']');
}

static struct str
trim(struct str s)
{
	while (s.len > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
		s = str_from(s, 1);
	while (s.len > 0 && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t'))
		s.len--;
	return s;
}

bool
shape_parse(struct str s, uint64_t *shape, unsigned *ndim)
{
	struct str part;
	unsigned n = 0;

	s = trim(s);
	if (s.len < 2 || s.p[0] != '[' || s.p[s.len - 1] != ']')
		return false;
	s = trim(str_n(s.p + 1, s.len - 2));
	*ndim = 0;
	if (s.len == 0)
		return true;
	while (str_split(&s, ',', &part)) {
		if (n == TENSOR_NDIM_MAX || !num_u64(trim(part), &shape[n]))
			return false;
		n++;
	}
	*ndim = n;
	return true;
}
