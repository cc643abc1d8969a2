#include "stats/compare.h"

#include <math.h>
#include <string.h>

#include "base/cursor.h"
#include "tensor/boxes.h"
#include "tensor/composite.h"
#include "tensor/convert.h"

enum { BLOCK = 1024 };

static void
note(struct difference *d, double by)
{
	d->differing++;
	d->largest = by > d->largest ? by : d->largest;
}

static void
compare_number(const struct compare_opts *o, double a, double b, struct difference *d)
{
	double by = fabs(a - b);

	if (a == b || (o->nan_equal && isnan(a) && isnan(b)))
		return;
	if (isfinite(a) && isfinite(b) && by <= o->atol + o->rtol * fabs(b))
		return;
	note(d, isnan(by) ? (double)INFINITY : by);
}

static void
compare_numbers(const struct compare_opts *o, const struct pass_unit *u, struct difference *d)
{
	enum dtype ta = u->item->t->dtype, tb = u->item->other->dtype;
	const unsigned char *p = u->p, *q = u->q;
	double a[BLOCK], b[BLOCK];

	for (size_t i = 0, n; i < u->n; i += n) {
		n = u->n - i < BLOCK ? u->n - i : BLOCK;
		convert_decode(ta, p + i * dtype_size(ta), n, a);
		convert_decode(tb, q + i * dtype_size(tb), n, b);
		for (size_t k = 0; k < n; k++)
			compare_number(o, a[k], b[k], d);
	}
}

/* Integers that doubles cannot tell apart. */
static void
compare_integers(const struct compare_opts *o, const struct pass_unit *u, struct difference *d)
{
	const uint64_t flip = u->item->t->dtype == DTYPE_INT64 ? (uint64_t)1 << 63 : 0;
	const unsigned char *p = u->p, *q = u->q;

	for (size_t i = 0; i < u->n; i++) {
		uint64_t a = get_le64(p + 8 * i) ^ flip, b = get_le64(q + 8 * i) ^ flip;
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
compare_complex(const struct compare_opts *o, const struct pass_unit *u, struct difference *d)
{
	enum dtype ta = u->item->t->dtype, tb = u->item->other->dtype;
	const unsigned char *p = u->p, *q = u->q;
	double a[2], b[2], by;
	bool nans, finite;

	for (size_t i = 0; i < u->n; i++) {
		convert_decode(part_of(ta), p + i * dtype_size(ta), 2, a);
		convert_decode(part_of(tb), q + i * dtype_size(tb), 2, b);
		nans = (isnan(a[0]) || isnan(a[1])) && (isnan(b[0]) || isnan(b[1]));
		finite = isfinite(a[0]) && isfinite(a[1]) && isfinite(b[0]) && isfinite(b[1]);
		by = hypot(a[0] - b[0], a[1] - b[1]);
		if ((a[0] == b[0] && a[1] == b[1]) || (o->nan_equal && nans))
			continue;
		if (finite && by <= o->atol + o->rtol * hypot(b[0], b[1]))
			continue;
		note(d, isnan(by) ? (double)INFINITY : by);
	}
}

static bool
is_complex(enum dtype t)
{
	return dtype_info(t)->class == DTYPE_CLASS_COMPLEX;
}

/* Can be compared by value. */
static bool
has_values(enum dtype a, enum dtype b)
{
	return (convert_known(a) && convert_known(b)) || (is_complex(a) && is_complex(b));
}

struct difference
compare_unit(const struct compare_opts *o, const struct pass_unit *u)
{
	const enum dtype a = u->item->t->dtype, b = u->item->other->dtype;
	const bool exact = dtype_info(a)->class == DTYPE_CLASS_INT || dtype_info(a)->class == DTYPE_CLASS_BOOL;
	struct difference d = { .comparable = true };

	if (a == b && (o->nan_equal || exact || !has_values(a, b)) && memcmp(u->p, u->q, u->n * dtype_size(a)) == 0)
		return d;
	if (!has_values(a, b))
		d = (struct difference){ true, 1, (double)NAN };
	else if (is_complex(a))
		compare_complex(o, u, &d);
	else if (a == b && (a == DTYPE_INT64 || a == DTYPE_UINT64))
		compare_integers(o, u, &d);
	else
		compare_numbers(o, u, &d);
	return d;
}

void
compare_join(struct difference *sum, const struct difference *next)
{
	if (isnan(next->largest)) {
		sum->differing = 1;
		sum->largest = next->largest;
		return;
	}
	sum->differing += next->differing;
	sum->largest = next->largest > sum->largest ? next->largest : sum->largest;
}

/* ---- pairs */

static bool
is_comparable(const struct tensor *a, const struct tensor *b)
{
	if (boxes_count(a) == 0 || boxes_count(b) == 0 || dtype_size(a->dtype) == 0 || dtype_size(b->dtype) == 0)
		return false;
	return has_values(a->dtype, b->dtype) || a->dtype == b->dtype;
}

static bool
has_parts(const struct tensor *t)
{
	return t->more != NULL && t->more->nparts > 0;
}

static bool
part_is_comparable(const struct tensor_part *a, const struct tensor_part *b)
{
	if (!str_eq(a->name, b->name) || (a->tensor == NULL) != (b->tensor == NULL))
		return false;
	return a->tensor == NULL || (tensor_same_shape(a->tensor, b->tensor) && is_comparable(a->tensor, b->tensor));
}

/* Made in one way, of the same parts? */
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

void
compare_begin(const struct compare_opts *o, const struct compare_pair *p, struct difference *d,
	      void (*add)(void *arg, const struct tensor *a, const struct tensor *b), void *arg)
{
	const struct tensor_more *a = p->a->more, *b = p->b->more;

	*d = (struct difference){ .largest = 0 };
	if (!has_parts(p->a) && !has_parts(p->b)) {
		d->comparable = is_comparable(p->a, p->b);
		if (d->comparable)
			add(arg, p->a, p->b);
		return;
	}
	d->comparable = has_parts(p->a) && has_parts(p->b) && parts_are_comparable(a, b);
	for (size_t i = 0; d->comparable && i < a->nparts; i++) {
		if (a->parts[i].tensor != NULL)
			add(arg, a->parts[i].tensor, b->parts[i].tensor);
		else
			compare_number(o, composite_number(&a->parts[i]), composite_number(&b->parts[i]), d);
	}
}
