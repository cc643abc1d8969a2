/*
 * figures: the moments of many tensors, and the CRCs of the storages that they look at, in one pass.
 */
#ifndef LNN_STATS_FIGURES_H
#define LNN_STATS_FIGURES_H

#include "stats/pass.h"

struct figures_opts {
	struct pool *pool;  /* may be NULL */
	void (*tick)(void *arg, uint64_t done, uint64_t total); /* may be NULL */
	bool crcs;          /* compute the CRC-32 of every storage */
};

struct figures {
	struct moments *moments; /* by tensor */
	uint32_t *crc;           /* by storage; NULL unless asked for */
};

/*
 * Of n tensors of c; those without data and those of a dtype that is not moments_known are left empty. f is to be
 * released in either case. On a stream, ckpt_finish is still due.
 */
int figures_take(struct figures *f, struct ckpt *c, const struct tensor *const *tensors, size_t n,
		 const struct figures_opts *o, struct err *e);
void figures_release(struct figures *f);

#endif
