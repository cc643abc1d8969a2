#include "survey/moments.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "base/xalloc.h"
#include "tensor/convert.h"

/* Numbers summed side by side: lane l has elements l, l + LANES, ... of a block. */
enum { LANES = 8 };

bool
moments_known(enum dtype t)
{
	return convert_known(t) || dtype_info(t)->class == DTYPE_CLASS_COMPLEX;
}

/* ---- one block */


/* Two doubles at a time, as every x86-64 and aarch64 has them. Compilers that lack registers for it make do. */
typedef double pair __attribute__((vector_size(16)));
typedef int64_t pair_mask __attribute__((vector_size(16)));

enum { PAIRS = LANES / 2 };

static inline pair
pair_at(const double *x)
{
	pair p;

	memcpy(&p, x, sizeof(p));
	return p;
}

/* Lane by lane: a where a < b, else b. */
static inline pair
lesser(pair a, pair b)
{
#ifdef __SSE2__
	return _mm_min_pd(a, b);
#else
	pair_mask m = a < b;

	return (pair)(((pair_mask)a & m) | ((pair_mask)b & ~m));
#endif
}

/* a where a > b, else b. */
static inline pair
greater(pair a, pair b)
{
#ifdef __SSE2__
	return _mm_max_pd(a, b);
#else
	pair_mask m = a > b;

	return (pair)(((pair_mask)a & m) | ((pair_mask)b & ~m));
#endif
}

static double
add_lanes(const pair *v)
{
	pair sum = (v[0] + v[2]) + (v[1] + v[3]);

	return sum[0] + sum[1];
}

/* Of a whole block; x - x is 0 for finite x and NaN for others, and so is the sum of these. */
static double
sum_block(const double *x, bool *finite)
{
	pair sum[PAIRS] = { { 0 } }, bad[PAIRS] = { { 0 } }, v;

	for (size_t i = 0; i < MOMENTS_BLOCK; i += LANES) {
		for (size_t l = 0; l < PAIRS; l++) {
			v = pair_at(x + i + 2 * l);
			sum[l] += v;
			bad[l] += v - v;
		}
	}
	*finite = add_lanes(bad) == 0;
	return add_lanes(sum);
}

static double
distances(const double *x, double mean)
{
	pair sum[PAIRS] = { { 0 } }, from = { mean, mean }, v;

	for (size_t i = 0; i < MOMENTS_BLOCK; i += LANES) {
		for (size_t l = 0; l < PAIRS; l++) {
			v = pair_at(x + i + 2 * l) - from;
			sum[l] += v * v;
		}
	}
	return add_lanes(sum);
}

/* Also counts zeros. */
static uint64_t
extremes(const double *x, double *min, double *max)
{
	pair lo[PAIRS], hi[PAIRS], v;
	pair_mask zeros[PAIRS] = { { 0 } };

	for (size_t l = 0; l < PAIRS; l++)
		lo[l] = hi[l] = pair_at(x + 2 * l);
	for (size_t i = 0; i < MOMENTS_BLOCK; i += LANES) {
		for (size_t l = 0; l < PAIRS; l++) {
			v = pair_at(x + i + 2 * l);
			lo[l] = lesser(v, lo[l]);
			hi[l] = greater(v, hi[l]);
			zeros[l] -= v == (pair){ 0, 0 };
		}
	}
	for (size_t l = 1; l < PAIRS; l++) {
		lo[0] = lesser(lo[l], lo[0]);
		hi[0] = greater(hi[l], hi[0]);
		zeros[0] += zeros[l];
	}
	*min = lo[0][1] < lo[0][0] ? lo[0][1] : lo[0][0];
	*max = hi[0][1] > hi[0][0] ? hi[0][1] : hi[0][0];
	return (uint64_t)(zeros[0][0] + zeros[0][1]);
}

/* n finite values at x, which has room for a whole block; sum is theirs. What is missing is filled up by the first. */
static struct moments
finite_block(double *x, size_t n, double sum)
{
	struct moments m = { .finite = n };

	if (n == 0)
		return m;
	for (size_t i = n; i < MOMENTS_BLOCK; i++)
		x[i] = x[0];
	m.zeros = extremes(x, &m.min, &m.max);
	if (x[0] == 0)
		m.zeros -= MOMENTS_BLOCK - n;
	m.mean = sum / (double)n;
	for (size_t i = n; i < MOMENTS_BLOCK; i++)
		x[i] = m.mean;
	m.m2 = distances(x, m.mean);
	return m;
}

/* Takes what is not finite out and counts it. */
static struct moments
mixed_block(double *x, size_t n)
{
	struct moments m, odd = { 0 };
	size_t kept = 0;
	bool finite;

	for (size_t i = 0; i < n; i++) {
		if (isfinite(x[i]))
			x[kept++] = x[i];
		else if (isnan(x[i]))
			odd.nans++;
		else if (x[i] > 0)
			odd.pinf++;
		else
			odd.ninf++;
	}
	for (size_t i = kept; i < MOMENTS_BLOCK; i++)
		x[i] = 0;
	m = finite_block(x, kept, sum_block(x, &finite));
	m.nans = odd.nans;
	m.pinf = odd.pinf;
	m.ninf = odd.ninf;
	return m;
}

static double
absolute(double re, double im)
{
	return isnan(re) || isnan(im) ? (double)NAN : hypot(re, im);
}

/* The type of the parts of a complex number. */
static enum dtype
part_of(enum dtype t)
{
	switch (t) {
	case DTYPE_COMPLEX128: return DTYPE_FLOAT64;
	case DTYPE_COMPLEX64: return DTYPE_FLOAT32;
	default: return DTYPE_FLOAT16;
	}
}

static void
decode(enum dtype t, const void *p, size_t n, double *x)
{
	double parts[2 * 256];
	const unsigned char *at = p;

	if (dtype_info(t)->class != DTYPE_CLASS_COMPLEX) {
		convert_decode(t, p, n, x);
		return;
	}
	for (size_t done = 0, each; done < n; done += each) {
		each = n - done < 256 ? n - done : 256;
		convert_decode(part_of(t), at + done * dtype_size(t), 2 * each, parts);
		for (size_t i = 0; i < each; i++)
			x[done + i] = absolute(parts[2 * i], parts[2 * i + 1]);
	}
}

static struct moments
block(enum dtype t, const void *p, size_t n)
{
	double x[MOMENTS_BLOCK], sum;
	bool finite;

	decode(t, p, n, x);
	for (size_t i = n; i < MOMENTS_BLOCK; i++)
		x[i] = 0;
	sum = sum_block(x, &finite);
	return finite ? finite_block(x, n, sum) : mixed_block(x, n);
}

/* ---- many */

void
moments_join(struct moments *m, const struct moments *next)
{
	double n = (double)m->finite, k = (double)next->finite, between;

	m->nans += next->nans;
	m->pinf += next->pinf;
	m->ninf += next->ninf;
	m->zeros += next->zeros;
	if (next->finite == 0)
		return;
	if (m->finite == 0) {
		m->min = next->min;
		m->max = next->max;
		m->mean = next->mean;
		m->m2 = next->m2;
		m->finite = next->finite;
		return;
	}
	m->min = next->min < m->min ? next->min : m->min;
	m->max = next->max > m->max ? next->max : m->max;
	between = next->mean - m->mean;
	m->mean += between * (k / (n + k));
	m->m2 += next->m2 + between * between * (n * (k / (n + k)));
	m->finite += next->finite;
}

struct moments
moments_unit(enum dtype t, const void *p, size_t n)
{
	struct moments m = MOMENTS_INIT, b;
	const unsigned char *at = p;

	for (size_t done = 0, each; done < n; done += each) {
		each = n - done < MOMENTS_BLOCK ? n - done : MOMENTS_BLOCK;
		b = block(t, at + done * dtype_size(t), each);
		moments_join(&m, &b);
	}
	return m;
}

uint64_t
moments_count(const struct moments *m)
{
	return m->finite + m->nans + m->pinf + m->ninf;
}

double
moments_std(const struct moments *m)
{
	return m->finite < 2 ? (double)NAN : sqrt(m->m2 / (double)(m->finite - 1));
}

double
moments_norm(const struct moments *m)
{
	return sqrt(m->m2 + (double)m->finite * m->mean * m->mean);
}

/* ---- as they come */

void
moments_feed_start(struct moments_feed *f, enum dtype t)
{
	*f = (struct moments_feed){ .dtype = t };
	f->unit = xreallocn(NULL, MOMENTS_UNIT, dtype_size(t));
}

static void
take_unit(struct moments_feed *f)
{
	struct moments m = moments_unit(f->dtype, f->unit, f->have / dtype_size(f->dtype));

	moments_join(&f->sum, &m);
	f->have = 0;
}

void
moments_feed_add(struct moments_feed *f, const void *p, size_t bytes)
{
	const size_t whole = MOMENTS_UNIT * (size_t)dtype_size(f->dtype);
	const unsigned char *at = p;

	while (bytes > 0) {
		size_t n = whole - f->have < bytes ? whole - f->have : bytes;

		memcpy(f->unit + f->have, at, n);
		f->have += n;
		at += n;
		bytes -= n;
		if (f->have == whole)
			take_unit(f);
	}
}

struct moments
moments_feed_end(struct moments_feed *f)
{
	if (f->have > 0)
		take_unit(f);
	free(f->unit);
	f->unit = NULL;
	return f->sum;
}
