/*
 * figures: reads a checkpoint's data once and computes everything requested from it: moments and digests of tensors, CRCs of their
 * storages, and differences from tensors of another checkpoint.
 *
 * An element a of the checkpoint and b of the other one agree if they are equal or |a - b| <= atol + rtol * |b|, as in
 * torch.allclose. Two infinities of one sign are equal; two NaNs are equal if nan_equal is set; -0 equals 0. Numbers of different
 * dtypes are compared by value, as doubles; 64-bit integers of one dtype are compared exactly. For complex numbers |a - b| is the
 * absolute value of the difference. Quantised, float4, float6 and bits types have no known values: elements of these types agree if
 * their bytes are equal.
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

/* Two tensors of one shape. For composite tensors the parts are compared; their layouts and quantisation schemes must be equal. */
struct compare_pair {
	const struct tensor *a, *b;
};

struct difference {
	bool comparable;    /* false if one has no data, or if their types or parts cannot be compared */
	bool bytes;         /* a type without values has different bytes; the members below are then meaningless */
	bool unbounded;     /* there are infinities, or NaNs that do not agree */
	uint64_t differing; /* number of elements that differ; 1 if bytes is set */
	double largest;     /* the largest |a - b| of elements that differ; NaN if one of these is NaN */
	/* Sums over all elements, except NaNs that agree: |a - b|^2, |a|^2, |b|^2, and the real part of a * conj(b). */
	double distance, here, there, product;
};

struct compare_opts {
	struct ckpt *here, *there; /* the checkpoints of the tensors a and b; only here may be a stream */
	double atol, rtol;
	bool nan_equal;
};

struct figures_opts {
	struct pool *pool;                                      /* may be NULL */
	void (*tick)(void *arg, uint64_t done, uint64_t total); /* reports bytes done and their total; may be NULL */
	size_t measured;                                        /* number of tensors, from the first, whose moments are computed */
	size_t hashed;                                          /* number of tensors, up to the last, whose digests are computed */
	bool special;                       /* moments need only the counts of non-finite values, see moments_add */
	bool crcs;                          /* compute the CRC-32 of every storage, not only where reading a tensor yields it */
	const struct compare_opts *compare; /* parameters of the comparison; NULL: nothing is compared */
	const struct compare_pair *pairs;   /* npairs pairs; each a is a tensor of the checkpoint */
	size_t npairs;
	/* Called each time when moments and digests of the first n tensors are complete, with a larger n. May be NULL. */
	int (*known)(void *arg, size_t n, struct err *err);
	void *known_arg;
};

struct figures {
	struct moments *moments;        /* by tensor */
	struct digest *digests;         /* by tensor, followed by those of parts */
	uint32_t *crc;                  /* CRC-32 by storage */
	bool *has_crc;                  /* by storage: its CRC was computed, because the checkpoint may state one to compare with */
	struct difference *differences; /* by pair */
};

/*
 * Computes figures of n tensors of c. Those of tensors without data, and moments of dtypes that are not moments_known, stay empty.
 * f must be released even after an error. For streams, the caller must still call ckpt_finish on both checkpoints.
 */
int figures_take(struct figures *f, struct ckpt *c, const struct tensor *const *tensors, size_t n, const struct figures_opts *o,
		 struct err *err);
void figures_release(struct figures *f);

#endif
