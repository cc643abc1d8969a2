/*
 * figures: the one reading of a checkpoint's data: the moments and digests of many tensors, the CRCs of the storages that
 * they look at, and how tensors differ from those of another checkpoint. What is asked for together is read once.
 *
 * a (here) and b (there) agree if they are equal or |a - b| <= atol + rtol * |b|, as torch.allclose has it. Two
 * infinities of one sign are equal; two NaNs are if nan_equal; -0 equals 0. Numbers of different dtypes are compared by
 * value, in doubles; 64-bit integers of one dtype exactly. Complex numbers: |a - b| is the absolute value of the
 * difference. Quantised, float4, float6 and bits types have no values here: they agree if their bytes do.
 */
#ifndef LNN_STATS_FIGURES_H
#define LNN_STATS_FIGURES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/pool.h"
#include "stats/digest.h"
#include "stats/moments.h"
#include "tensor/ckpt.h"

/* Two tensors of one shape. Of tensors with parts, the parts are compared; their layouts and schemes must be the same. */
struct compare_pair {
	const struct tensor *a, *b;
};

struct difference {
	bool comparable;    /* false: no data, or types or parts that cannot be compared with each other */
	bool bytes;         /* bytes of a type without values differ: nothing is known of the figures below */
	bool unbounded;     /* there are infinities, or NaNs that do not agree */
	uint64_t differing; /* elements; 1 if bytes */
	double largest;     /* |a - b| of those that differ; NaN where one of them is */
	/* Of all elements but NaNs that agree: the sums of |a - b|^2, |a|^2, |b|^2, and of the real part of a * conj(b). */
	double distance, here, there, product;
};

struct compare_opts {
	struct ckpt *here, *there; /* of the tensors a, and b. here may be a stream, there may not */
	double atol, rtol;
	bool nan_equal;
};

struct figures_opts {
	struct pool *pool;                                      /* may be NULL */
	void (*tick)(void *arg, uint64_t done, uint64_t total); /* may be NULL */
	size_t measured;                                        /* moments of the first so many tensors */
	size_t hashed;                                          /* digests of the last so many */
	bool special;                       /* of moments, only the counts of what is not finite are needed: moments_add_special */
	bool crcs;                          /* compute the CRC-32 of every storage; else of those that come out of one tensor */
	const struct compare_opts *compare; /* NULL: nothing is compared */
	const struct compare_pair *pairs;   /* npairs, whose a are tensors of the checkpoint */
	size_t npairs;
	/* Called when moments and digests of the first n tensors are known, each time that n grows; may be NULL. */
	int (*known)(void *arg, size_t n, struct err *err);
	void *known_arg;
};

struct figures {
	struct moments *moments;        /* by tensor */
	struct digest *digests;         /* by tensor; those behind belong to parts */
	uint32_t *crc;                  /* by storage */
	bool *has_crc;                  /* by storage: its CRC was computed, as the checkpoint may state one */
	struct difference *differences; /* by pair */
};

/*
 * Of n tensors of c; those without data and those of a dtype that is not moments_known are left empty. f is to be
 * released in either case. On a stream, ckpt_finish is still due; likewise of the other checkpoint.
 */
int figures_take(struct figures *f, struct ckpt *c, const struct tensor *const *tensors, size_t n, const struct figures_opts *o,
		 struct err *e);
void figures_release(struct figures *f);

#endif
