/*
 * data: the one reading of a checkpoint's data that all reports share: figures, CRCs and differences.
 */
#ifndef LNN_DATA_H
#define LNN_DATA_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "stats/compare.h"
#include "stats/figures.h"

struct job;

struct data {
	/* Set by --against before the reading: tensors to be compared with those of another checkpoint. */
	struct ckpt *there;
	struct compare_pair *pairs;
	size_t npairs;
	/* Known afterwards. */
	struct figures figures;         /* by row */
	struct difference *differences; /* by pair */
	bool taken;
};

/* Reads the data, once: later calls do nothing. */
int data_take(struct job *j, struct err *err);
void data_release(struct data *d);

#endif
