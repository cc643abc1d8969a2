#include "stats/compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/cursor.h"
#include "base/xalloc.h"
#include "tensor/boxes.h"
#include "tensor/convert.h"

enum { BLOCK = 1024 };

struct comparison {
	const struct compare_opts *o;
	struct difference *out;
	struct difference *slots;
};

/* ---- one unit */

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

static int
make(void *arg, const struct pass_unit *u, unsigned slot, struct err *e)
{
	struct comparison *w = arg;
	struct difference *d = &w->slots[slot];
	enum dtype a = u->item->t->dtype, b = u->item->other->dtype;
	bool exact = dtype_info(a)->class == DTYPE_CLASS_INT || dtype_info(a)->class == DTYPE_CLASS_BOOL;

	(void)e;
	*d = (struct difference){ .comparable = true };
	if (a == b && (w->o->nan_equal || exact || !has_values(a, b)) && memcmp(u->p, u->q, u->n * dtype_size(a)) == 0)
		return 0;
	if (!has_values(a, b))
		*d = (struct difference){ true, 1, (double)NAN };
	else if (is_complex(a))
		compare_complex(w->o, u, d);
	else if (a == b && (a == DTYPE_INT64 || a == DTYPE_UINT64))
		compare_integers(w->o, u, d);
	else
		compare_numbers(w->o, u, d);
	return 0;
}

static int
take(void *arg, const struct pass_unit *u, unsigned slot, struct err *e)
{
	struct comparison *w = arg;
	struct difference *sum = &w->out[u->item->tag];
	const struct difference *d = &w->slots[slot];

	(void)e;
	if (isnan(d->largest)) {
		sum->differing = 1;
		sum->largest = d->largest;
		return 0;
	}
	sum->differing += d->differing;
	sum->largest = d->largest > sum->largest ? d->largest : sum->largest;
	return 0;
}

/* ---- all */

static bool
is_comparable(const struct compare_pair *p)
{
	if (boxes_count(p->a) == 0 || boxes_count(p->b) == 0)
		return boxes_count(p->a) == boxes_count(p->b);
	if (dtype_size(p->a->dtype) == 0 || dtype_size(p->b->dtype) == 0)
		return false;
	return has_values(p->a->dtype, p->b->dtype) || p->a->dtype == p->b->dtype;
}

int
compare_tensors(const struct compare_pair *pairs, size_t n, const struct compare_opts *o, struct difference *out,
		struct err *e)
{
	struct comparison w = { .o = o, .out = out };
	struct pass p = { .c = o->here, .other = o->there, .pool = o->pool, .tick = o->tick, .make = make, .take = take,
			  .arg = &w };
	struct pass_item *items = xcalloc(n + 1, sizeof(*items));
	size_t k = 0;
	int rc;

	for (size_t i = 0; i < n; i++) {
		out[i] = (struct difference){ .comparable = is_comparable(&pairs[i]) };
		if (!out[i].comparable || boxes_count(pairs[i].a) == 0)
			continue;
		items[k] = pass_tensor(pairs[i].a, i);
		items[k++].other = pairs[i].b;
	}
	w.slots = xcalloc(pool_slots(o->pool), sizeof(*w.slots));
	rc = pass_run(&p, items, k, e);
	free(w.slots);
	free(items);
	return rc;
}
