#include "stats/moments.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#ifdef __SSE2__
#include <immintrin.h>
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

/* The analyzer of gcc 12 does not follow that a loop of vectors fills a whole block. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wanalyzer-use-of-uninitialized-value"
#endif

#include "stats/moments_priv.h"

#ifdef __SSE2__
#define LESSER(a, b) _mm_min_pd(a, b) /* a < b ? a : b */
#define GREATER(a, b) _mm_max_pd(a, b)
#else
#define LESSER(a, b) pick((a) < (b), a, b)
#define GREATER(a, b) pick((a) > (b), a, b)
typedef double pair __attribute__((vector_size(16)));
typedef int64_t pair_mask __attribute__((vector_size(16)));

static inline pair
pick(pair_mask m, pair a, pair b)
{
	return (pair)(((pair_mask)a & m) | ((pair_mask)b & ~m));
}
#endif
#define FOR(name) narrow_##name
#define TARGET
#define WIDTH 2
#include "stats/moments_priv.h"

#ifdef __SSE2__
#define FOR(name) wide_##name
#define TARGET __attribute__((target("avx2")))
#define WIDTH 4
#define LESSER(a, b) _mm256_min_pd(a, b)
#define GREATER(a, b) _mm256_max_pd(a, b)
#include "stats/moments_priv.h"

static bool
is_wide(void)
{
	return __builtin_cpu_supports("avx2");
}
#else
#define wide_sum narrow_sum
#define wide_sum_float narrow_sum_float
#define wide_spread narrow_spread

static bool
is_wide(void)
{
	return false;
}
#endif

static double
sum_block(const double *x, bool *finite)
{
	return is_wide() ? wide_sum(x, finite) : narrow_sum(x, finite);
}

static struct spread
spread_block(const double *x, double mean)
{
	return is_wide() ? wide_spread(x, mean) : narrow_spread(x, mean);
}

/* n finite values at x, which holds a whole block; sum is theirs. */
static struct moments
finite_block(double *x, size_t n, double sum)
{
	struct moments m = { .finite = n };
	struct spread s;
	double from;

	if (n == 0)
		return m;
	m.mean = sum / (double)n;
	/* What is missing is filled up by the first. */
	for (size_t i = n; i < MOMENTS_BLOCK; i++)
		x[i] = x[0];
	s = spread_block(x, m.mean);
	m.min = s.min;
	m.max = s.max;
	m.zeros = s.zeros - (x[0] == 0 ? MOMENTS_BLOCK - n : 0);
	/* not by subtraction of what was filled up, which would lose digits */
	if (n < MOMENTS_BLOCK)
		s.m2 = s.rest = 0;
	for (size_t i = 0; i < n && n < MOMENTS_BLOCK; i++) {
		from = x[i] - m.mean;
		s.m2 += from * from;
		s.rest += from;
	}
	/* The mean was rounded; what that does is known from the second pass. */
	m.m2 = s.m2 - s.rest * (s.rest / (double)n);
	m.low = s.rest / (double)n;
	return m;
}

/* Takes what is not finite out and counts it. */
static struct moments
mixed_block(double *x, size_t n)
{
	struct moments m, special = { 0 };
	size_t kept = 0;
	bool finite;

	for (size_t i = 0; i < n; i++) {
		if (isfinite(x[i]))
			x[kept++] = x[i];
		else if (isnan(x[i]))
			special.nans++;
		else if (x[i] > 0)
			special.pinf++;
		else
			special.ninf++;
	}
	for (size_t i = kept; i < MOMENTS_BLOCK; i++)
		x[i] = 0;
	m = finite_block(x, kept, sum_block(x, &finite));
	m.nans = special.nans;
	m.pinf = special.pinf;
	m.ninf = special.ninf;
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

	if (t == DTYPE_FLOAT32 && n == MOMENTS_BLOCK && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__) {
		sum = is_wide() ? wide_sum_float(p, x, &finite) : narrow_sum_float(p, x, &finite);
		return finite ? finite_block(x, n, sum) : mixed_block(x, n);
	}
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
	double n = (double)m->finite, k = (double)next->finite, between, shift, mean, part;

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
		m->low = next->low;
		m->m2 = next->m2;
		m->finite = next->finite;
		return;
	}
	m->min = next->min < m->min ? next->min : m->min;
	m->max = next->max > m->max ? next->max : m->max;
	between = (next->mean - m->mean) + (next->low - m->low);
	shift = between * (k / (n + k));
	/* What rounding takes from mean + shift goes to the low part (Knuth's two-sum). */
	mean = m->mean + shift;
	part = mean - m->mean;
	m->low += (m->mean - (mean - part)) + (shift - part);
	m->mean = mean;
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
