/*
 * figures: the one reading of a checkpoint's data: the moments of many tensors, the CRCs of the storages that they look
 * at, and how tensors differ from those of another checkpoint. What is asked for together is read once.
 */
#ifndef LNN_STATS_FIGURES_H
#define LNN_STATS_FIGURES_H

#include "stats/compare.h"
#include "stats/pass.h"

struct figures_opts {
	struct pool *pool;  /* may be NULL */
	void (*tick)(void *arg, uint64_t done, uint64_t total); /* may be NULL */
	bool crcs;          /* compute the CRC-32 of every storage */
	const struct compare_opts *compare; /* NULL: nothing is compared */
	const struct compare_pair *pairs;   /* npairs, whose a are tensors of the checkpoint */
	size_t npairs;
	/* Called when the moments of the first n tensors are known, each time that n grows; may be NULL. */
	int (*known)(void *arg, size_t n, struct err *err);
	void *known_arg;
};

struct figures {
	struct moments *moments; /* by tensor */
	uint32_t *crc;           /* by storage; NULL unless asked for */
	struct difference *differences; /* by pair */
};

/*
 * Of n tensors of c; those without data and those of a dtype that is not moments_known are left empty. f is to be
 * released in either case. On a stream, ckpt_finish is still due; likewise of the other checkpoint.
 */
int figures_take(struct figures *f, struct ckpt *c, const struct tensor *const *tensors, size_t n,
		 const struct figures_opts *o, struct err *e);
void figures_release(struct figures *f);

#endif
