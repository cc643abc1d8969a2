#include "stats/moments.h"

#include <endian.h>
#include <math.h>
#include <string.h>
#ifdef __SSE2__
#include <immintrin.h>
#endif

#include "base/xalloc.h"
#include "tensor/convert.h"

/* Number of sums that are computed side by side. Lane l sums elements l, l + LANES, ... of a block. */
enum { LANES = 8 };

bool
moments_known(enum dtype t)
{
	return convert_known(t) || dtype_info(t)->class == DTYPE_CLASS_COMPLEX;
}

/* ---- one block */

/* The analyzer of gcc 12 cannot see that a loop over vectors fills a whole block. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wanalyzer-use-of-uninitialized-value"
#endif

#include "stats/moments_priv.h"

#ifdef __SSE2__
#define LESSER(a, b) _mm_min_pd(a, b) /* a < b ? a : b, which is b if one is NaN */
#define GREATER(a, b) _mm_max_pd(a, b)
#define LESSER_F(a, b) _mm_min_ps(a, b)
#define GREATER_F(a, b) _mm_max_ps(a, b)
#else
typedef double pair __attribute__((vector_size(16)));
typedef int64_t pair_mask __attribute__((vector_size(16)));
typedef float four __attribute__((vector_size(16)));
typedef int32_t four_mask __attribute__((vector_size(16)));
#define PICK(mask, m, vec, a, b) ((vec)(((mask)(a) & (m)) | ((mask)(b) & ~(m))))
#define LESSER(a, b) PICK(pair_mask, (a) < (b), pair, a, b)
#define GREATER(a, b) PICK(pair_mask, (a) > (b), pair, a, b)
#define LESSER_F(a, b) PICK(four_mask, (a) < (b), four, a, b)
#define GREATER_F(a, b) PICK(four_mask, (a) > (b), four, a, b)
#endif
/* gcc compiles __builtin_convertvector poorly for wide vectors, so the wide version uses intrinsics. */
typedef double two_doubles __attribute__((vector_size(16)));
typedef uint32_t four_codes __attribute__((vector_size(16)));

/* Converts two of four floats, from index at on, to doubles. */
static inline two_doubles
doubles(const void *four, size_t at)
{
	float single __attribute__((vector_size(8)));

	memcpy(&single, (const float *)four + at, sizeof(single));
	return __builtin_convertvector(single, two_doubles);
}

/* Loads four 16-bit words. */
static inline four_codes
codes(const unsigned char *p)
{
	uint16_t words __attribute__((vector_size(8)));

	memcpy(&words, p, sizeof(words));
	return __builtin_convertvector(words, four_codes);
}

#define LOWER(f) doubles(&(f), 0)
#define UPPER(f) doubles(&(f), 2)
#define CODES(p) codes(p)
#define ADD_SQUARE(sum, v) ((sum) + (v) * (v))
#define FOR(name) narrow_##name
#define TARGET
#define WIDTH 2
#include "stats/moments_priv.h"

#ifdef __SSE2__
#define FOR(name) wide_##name
#if defined(__clang__) || __GNUC__ < 11 /* these cannot test the processor for f16c */
#define TARGET __attribute__((target("avx2,fma")))
#define IS_WIDE (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
#else
#define TARGET __attribute__((target("avx2,fma,f16c")))
#define IS_WIDE (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c"))
#define HALVES(p) _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(p)))
#endif
#define WIDTH 4
#define LESSER(a, b) _mm256_min_pd(a, b)
#define GREATER(a, b) _mm256_max_pd(a, b)
#define LESSER_F(a, b) _mm256_min_ps(a, b)
#define GREATER_F(a, b) _mm256_max_ps(a, b)
#define LOWER(f) _mm256_cvtps_pd(_mm256_castps256_ps128(f))
#define UPPER(f) _mm256_cvtps_pd(_mm256_extractf128_ps(f, 1))
#define ADD_SQUARE(sum, v) _mm256_fmadd_pd(v, v, sum)
#define CODES(p) _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)(p)))
#include "stats/moments_priv.h"
#define WIDE(name) (IS_WIDE ? wide_##name : narrow_##name)
#else
#define WIDE(name) narrow_##name
#endif

static double
absolute(double re, double im)
{
	return isnan(re) || isnan(im) ? (double)NAN : hypot(re, im);
}

/* Returns the dtype of the real and imaginary parts. */
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

struct moments_block {
	enum dtype t;
	const unsigned char *p;
	size_t n;
	bool decoded; /* x has the elements, padded with NaNs to a multiple of LANES */
	double x[MOMENTS_BLOCK];
};

static void
decode_once(struct moments_block *b)
{
	if (b->decoded)
		return;
	decode(b->t, b->p, b->n, b->x);
	for (size_t i = b->n; i % LANES != 0; i++)
		b->x[i] = (double)NAN;
	b->decoded = true;
}

static struct spread
spread_block(struct moments_block *b)
{
	const bool direct = !b->decoded && b->n % LANES == 0 && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__;

	if (direct && b->t == DTYPE_FLOAT32)
		return WIDE(spread_float)(b->p, b->n);
	if (direct && b->t == DTYPE_BFLOAT16)
		return WIDE(spread_bfloat)(b->p, b->n);
	if (direct && b->t == DTYPE_FLOAT16)
		return WIDE(spread_half)(b->p, b->n);
	decode_once(b);
	return WIDE(spread_double)((const unsigned char *)b->x, b->n);
}

/* Counts infinities and replaces them by NaN. */
static void
take_out_infinities(struct moments_block *b, struct moments *m)
{
	decode_once(b);
	for (size_t i = 0; i < b->n; i++) {
		m->pinf += b->x[i] == (double)INFINITY;
		m->ninf += b->x[i] == -(double)INFINITY;
		b->x[i] = isinf(b->x[i]) ? (double)NAN : b->x[i];
	}
}

/*
 * Computes the moments of a block. If the mean is near 0, the sum of squared distances follows from the sum of squares. A larger
 * mean would lose digits in the subtraction. Then a second pass sums the squared distances from the rounded mean, and rest, the sum
 * of the distances, gives the correction for the rounding.
 */
static struct moments
find_block(struct moments_block *b)
{
	struct moments m = { 0 };
	struct spread s = spread_block(b);
	double n, rest;

	if (s.numbers > 0 && (isinf(s.min) || isinf(s.max))) {
		take_out_infinities(b, &m);
		s = spread_block(b);
	}
	m.finite = s.numbers;
	m.nans = b->n - s.numbers - m.pinf - m.ninf;
	m.zeros = s.zeros;
	if (s.numbers == 0)
		return m;
	n = (double)s.numbers;
	m.min = s.min;
	m.max = s.max;
	m.mean = s.sum / n;
	m.low = fma(-m.mean, n, s.sum) / n;
	m.m2 = s.squares - s.sum * m.mean;
	if (isfinite(s.squares) && 4 * m.m2 >= s.squares)
		return m;
	decode_once(b);
	m.m2 = WIDE(distances)(b->x, b->n, m.mean, &rest);
	m.m2 -= rest * (rest / n);
	m.low = rest / n;
	return m;
}

/* ---- values that are not finite */

/* Returns false if none of the n elements can be infinite or NaN. */
static bool
may_be_special(enum dtype t, const unsigned char *p, size_t n)
{
	const enum dtype_class class = dtype_info(t)->class;

	if (class == DTYPE_CLASS_INT || class == DTYPE_CLASS_BOOL)
		return false;
	if (n < MOMENTS_BLOCK)
		return true;
	switch ((int)t) {
	case DTYPE_FLOAT64: return WIDE(has_exponent_64)(p, (uint64_t)0x7ff << 52);
	case DTYPE_FLOAT32: return WIDE(has_exponent_32)(p, 0x7f800000);
	case DTYPE_BFLOAT16: return WIDE(has_exponent_16)(p, 0x7f80);
	case DTYPE_FLOAT16: return WIDE(has_exponent_16)(p, 0x7c00);
	default: return true;
	}
}

/* ---- blocks and units */

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
	/* The rounding error of mean + shift is added to the low part (Knuth's two-sum). */
	mean = m->mean + shift;
	part = mean - m->mean;
	m->low += (m->mean - (mean - part)) + (shift - part);
	m->mean = mean;
	m->m2 += next->m2 + between * between * (n * (k / (n + k)));
	m->finite += next->finite;
}

/* Adds a block. If exact is false, a block without the exponent of infinities and NaNs is only counted. */
static void
add_block(struct moments *m, struct moments_block *b, bool exact)
{
	struct moments next;

	if (!exact && !may_be_special(b->t, b->p, b->n)) {
		m->finite += b->n;
		return;
	}
	b->decoded = false;
	next = find_block(b);
	moments_join(m, &next);
}

void
moments_add(struct moments *m, enum dtype t, const void *p, size_t n, bool special)
{
	struct moments_block b = { .t = t, .p = p };

	for (; n > 0; n -= b.n, b.p += b.n * dtype_size(t)) {
		b.n = n < MOMENTS_BLOCK ? n : MOMENTS_BLOCK;
		add_block(m, &b, !special);
	}
}
