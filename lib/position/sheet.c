#include "position/sheet.h"

#include <string.h>

#include "position/layout.h"
#include "position/table.h"

static bool
side_known(size_t side)
{
	return side > 0 && side < 2 * GRID_MAX;
}

/* No overflow: sides are known. */
static bool
too_many(const struct sheet_job *job, struct cells cells)
{
	uint64_t rows = job->prefix + (uint64_t)cells.h * cells.w;

	return job->outer > TABLE_MAX || job->inner > TABLE_MAX || job->prefix > TABLE_MAX ||
	       job->outer * job->inner > TABLE_MAX / rows;
}

int
sheet_check(const struct sheet_job *job, struct err *err)
{
	struct cells f = job->from, t = job->to;

	if (!side_known(f.h) || !side_known(f.w) || !side_known(t.h) || !side_known(t.w))
		return err_set(err, ERR_USAGE, "%zux%zu cells to %zux%zu: expected sides from 1 to %d", f.h, f.w, t.h, t.w,
			       2 * GRID_MAX - 1);
	if (too_many(job, f) || too_many(job, t))
		return err_set(err, ERR_USAGE, "%zux%zu cells to %zux%zu: more than %llu numbers", f.h, f.w, t.h, t.w,
			       (unsigned long long)TABLE_MAX);
	if (!sheet_is_copy(job) && !resample_can(job->method, f))
		return err_set(err, ERR_USAGE, "method %s needs 4x4 cells or more, not %zux%zu",
			       resample_method_name(job->method), f.h, f.w);
	return 0;
}

uint64_t
sheet_count(const struct sheet_job *job, struct cells cells)
{
	return job->outer * (job->prefix + (uint64_t)cells.h * cells.w) * job->inner;
}

bool
sheet_is_copy(const struct sheet_job *job)
{
	return job->from.h == job->to.h && job->from.w == job->to.w;
}

void
sheet_convert(const double *in, double *out, const struct sheet_job *job)
{
	size_t extra = (size_t)(job->prefix * job->inner), inner = (size_t)job->inner;

	for (uint64_t i = 0; i < job->outer; i++) {
		if (extra > 0)
			memcpy(out, in, extra * sizeof(*out));
		resample(in + extra, job->from, out + extra, job->to, inner, job->method);
		in += extra + job->from.h * job->from.w * inner;
		out += extra + job->to.h * job->to.w * inner;
	}
}
