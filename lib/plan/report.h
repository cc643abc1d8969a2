/*
 * report: the JSON document of lnn-ckpt-adapt --report: what became of every tensor, and why. Its schema stands in
 * lnn-ckpt-adapt(1).
 */
#ifndef LNN_PLAN_REPORT_H
#define LNN_PLAN_REPORT_H

#include "base/buf.h"
#include "plan/loadcheck.h"
#include "plan/plan.h"

struct report_counts {
	size_t kept;      /* output tensors that are not new */
	size_t dropped;   /* input tensors of which no output came */
	size_t resampled; /* output tensors that are new: position tables */
	size_t made;      /* others that are new */
	size_t others;    /* entries that are no tensors, written */
};

void plan_count(const struct plan *p, struct report_counts *n);

/* Adds the document to out. load may be NULL, or not done. */
void plan_report(const struct plan *p, const struct load_check *load, struct buf *out);

#endif
