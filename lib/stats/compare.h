/*
 * compare: tensors of one checkpoint against those of another: values, over which figures_take (figures.h) walks.
 *
 * a (here) and b (there) agree if they are equal or |a - b| <= atol + rtol * |b|, as torch.allclose has it. Two
 * infinities of one sign are equal; two NaNs are if nan_equal; -0 equals 0. Numbers of different dtypes are compared by
 * value, in doubles; 64-bit integers of one dtype exactly. Complex numbers: |a - b| is the absolute value of the
 * difference. Quantised, float4, float6 and bits types have no values here: they agree if their bytes do.
 */
#ifndef LNN_STATS_COMPARE_H
#define LNN_STATS_COMPARE_H

#include "stats/pass.h"

/* Two tensors of one shape. Of tensors with parts, the parts are compared; their layouts and schemes must be the same. */
struct compare_pair {
	const struct tensor *a, *b;
};

struct difference {
	bool comparable;    /* false: no data, or types or parts that cannot be compared with each other */
	uint64_t differing; /* elements; bytes-only types: 1 if anything differs */
	double largest;     /* |a - b|; infinite where only one is NaN or infinite; NaN for bytes-only types */
};

struct compare_opts {
	struct ckpt *here, *there; /* of the tensors a, and b. here may be a stream, there may not */
	double atol, rtol;
	bool nan_equal;
};

/*
 * Begins the comparison of a pair: sets *d, and calls add for every two tensors whose units are to be compared: the pair
 * itself, or its parts; none if they cannot be compared.
 */
void compare_begin(const struct compare_opts *o, const struct compare_pair *p, struct difference *d,
		   void (*add)(void *arg, const struct tensor *a, const struct tensor *b), void *arg);

/* The difference of one unit of a tensor that has another one. */
struct difference compare_unit(const struct compare_opts *o, const struct pass_unit *u);

/* Joins the unit that follows. */
void compare_join(struct difference *sum, const struct difference *next);

#endif
