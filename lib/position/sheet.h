/*
 * sheet: numbers on a grid, [outer][prefix + h * w][inner], brought to another grid. The prefix is rows of inner numbers
 * that are not of the grid; they are copied. Every kind of position table but bias is such a sheet (position/kind.h).
 */
#ifndef LNN_POSITION_SHEET_H
#define LNN_POSITION_SHEET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "position/resample.h"

struct sheet_job {
	uint64_t outer, prefix, inner;
	struct cells from, to;
	enum resample_method method;
};

/* Whether the job can be done; the sizes of the input are those of a tensor. ERR_USAGE if not. The rest wants that it can. */
int sheet_check(const struct sheet_job *job, struct err *err);

/* Numbers of a sheet with these sides. */
uint64_t sheet_count(const struct sheet_job *job, struct cells cells);

bool sheet_is_copy(const struct sheet_job *job);

/* in has sheet_count(job, job->from) numbers, out room for those of job->to; they do not overlap. */
void sheet_convert(const double *in, double *out, const struct sheet_job *job);

#endif
