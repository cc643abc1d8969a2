/*
 * report: the JSON document of lnn-ckpt-adapt --report, which says what was done with every tensor and why. lnn-ckpt-adapt(1)
 * describes its schema.
 */
#ifndef LNN_PLAN_REPORT_H
#define LNN_PLAN_REPORT_H

#include "base/buf.h"
#include "plan/loadcheck.h"
#include "plan/plan.h"

struct report_counts {
	size_t kept;      /* output tensors without MAKE_NEW makers */
	size_t dropped;   /* input tensors without an output */
	size_t resampled; /* new output tensors that are resampled position tables */
	size_t made;      /* other new output tensors */
	size_t others;    /* written entries that are not tensors */
};

void plan_count(const struct plan *p, struct report_counts *n);

/* Appends the document to out. load may be NULL or not done. */
void plan_report(const struct plan *p, const struct load_check *load, struct buf *out);

#endif
