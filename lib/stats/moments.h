/*
 * moments: figures of a tensor's values, in one pass and in constant memory.
 *
 * Elements are taken in row-major order in units of MOMENTS_UNIT, units in blocks of MOMENTS_BLOCK. Of a block the sum and
 * the sum of squares are found. Where the mean is so large that their difference loses digits, the sum of squared distances
 * from the mean is found in a second pass, corrected for the rounding of the mean. Blocks are joined in their order, units
 * likewise (Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979).
 * So the figures are the same bits whatever the threads, the sizes of reads or the strides of the tensor are.
 *
 * Everything is computed in doubles. Integers beyond 2^53 are rounded to doubles. bool counts as 0 and 1. Of a complex
 * number the absolute value is taken; it is NaN if a part is, else infinite if a part is. Values that are not finite
 * are counted and left out of all other figures.
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
	uint64_t finite, zeros, nans, pinf, ninf; /* zeros are finite, too */
	double min, max;                          /* of finite values; meaningless without any */
	double mean, low;                         /* the mean is the sum of the two: more digits than a double has */
	double m2;                                /* sum of squared distances from it */
};

#define MOMENTS_INIT \
	{            \
		0    \
	}

/* Has a dtype figures? Not quantised, float4, float6 and bits types: what is stored is not the value. */
bool moments_known(enum dtype t);

/*
 * Adds n items of t, little-endian, at any alignment. t is moments_known. If more follow, n is a multiple of MOMENTS_BLOCK.
 */
void moments_add(struct moments *m, enum dtype t, const void *p, size_t n);

/*
 * Like moments_add, but several times as fast: only nans, pinf, ninf and the number of elements are counted. The other figures
 * are meaningless.
 */
void moments_add_special(struct moments *m, enum dtype t, const void *p, size_t n);

/* Joins the unit that follows. */
void moments_join(struct moments *m, const struct moments *next);

/* Elements, finite or not. */
static inline uint64_t
moments_count(const struct moments *m)
{
	return m->finite + m->nans + m->pinf + m->ninf;
}

/* NaN of nothing. */
static inline double
moments_mean(const struct moments *m)
{
	return m->finite == 0 ? (double)NAN : m->mean + m->low;
}

/* With N-1, as torch.std; NaN of fewer than two values. */
static inline double
moments_std(const struct moments *m)
{
	return m->finite < 2 ? (double)NAN : sqrt(m->m2 / (double)(m->finite - 1));
}

/* The square root of the sum of squares; 0 of nothing. */
static inline double
moments_norm(const struct moments *m)
{
	double mean = m->mean + m->low;

	return sqrt(m->m2 + (double)m->finite * mean * mean);
}

#endif
