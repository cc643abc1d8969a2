/*
 * moments: statistics of a tensor's values, computed in one pass and in constant memory.
 *
 * Elements are processed in row-major order, in units of MOMENTS_UNIT elements, which consist of blocks of MOMENTS_BLOCK elements.
 * For a block the sum and the sum of squares are computed. If the mean is so large that subtracting loses digits, a second pass
 * computes the sum of squared distances from the mean, corrected for the rounding of the mean. Blocks are combined in order, and so
 * are units (Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979). The
 * result is therefore the same bit for bit, whatever the number of threads, the sizes of reads and the strides of the tensor.
 *
 * All computation is in doubles. Integers beyond 2^53 are rounded to doubles. bool counts as 0 and 1. A complex number is
 * represented by its absolute value, which is NaN if a part is NaN, else infinite if a part is infinite. Values that are not finite
 * are counted and excluded from all other statistics.
 */
#ifndef LNN_STATS_MOMENTS_H
#define LNN_STATS_MOMENTS_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tensor/dtype.h"

enum { MOMENTS_BLOCK = 2048, MOMENTS_UNIT = 128 * MOMENTS_BLOCK };

struct moments {
	uint64_t finite, zeros, nans, pinf, ninf; /* zeros are included in finite */
	double min, max;                          /* of finite values; meaningless if there are none */
	double mean, low;                         /* the mean is mean + low, which has more digits than a double */
	double m2;                                /* sum of squared distances from the mean */
};

#define MOMENTS_INIT \
	{            \
		0    \
	}

/*
 * Are moments defined for a dtype? They are not for quantised, float4, float6 and bits types, whose stored bits are not the value.
 */
bool moments_known(enum dtype t);

/*
 * Adds n little-endian elements of dtype t, at any alignment. t must be moments_known. If more elements follow, n must be a
 * multiple of MOMENTS_BLOCK. With special, which is several times as fast, only nans, pinf, ninf and the number of elements are
 * counted, and the other members are meaningless.
 */
void moments_add(struct moments *m, enum dtype t, const void *p, size_t n, bool special);

/* Appends the moments of the next unit. */
void moments_join(struct moments *m, const struct moments *next);

/* Returns the number of elements, finite or not. */
static inline uint64_t
moments_count(const struct moments *m)
{
	return m->finite + m->nans + m->pinf + m->ninf;
}

/* Returns the mean, or NaN if there are no finite values. */
static inline double
moments_mean(const struct moments *m)
{
	return m->finite == 0 ? (double)NAN : m->mean + m->low;
}

/* Returns the standard deviation with N-1, as torch.std does, or NaN for fewer than two finite values. */
static inline double
moments_std(const struct moments *m)
{
	return m->finite < 2 ? (double)NAN : sqrt(m->m2 / (double)(m->finite - 1));
}

/* Returns the square root of the sum of squares, which is 0 if there are no finite values. */
static inline double
moments_norm(const struct moments *m)
{
	double mean = m->mean + m->low;

	return sqrt(m->m2 + (double)m->finite * mean * mean);
}

#endif
