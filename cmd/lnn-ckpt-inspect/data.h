/*
 * data: the one reading of a checkpoint's data that all reports share.
 */
#ifndef LNN_DATA_H
#define LNN_DATA_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "stats/figures.h"

struct job;

struct data {
	/* Set by --against before the reading: tensors to be compared with those of another checkpoint. */
	struct ckpt *there;
	struct compare_pair *pairs;
	size_t npairs;
	/* Known afterwards: moments by row, differences by pair. */
	struct figures figures;
	bool taken;
};

/*
 * Reads the data, once: later calls do nothing. known is called, if this call reads, when the moments of the first n
 * rows are known, each time that n grows. It may be NULL.
 */
int data_take(struct job *j, int (*known)(void *arg, size_t n, struct err *err), void *arg, struct err *err);
void data_release(struct data *d);

#endif
