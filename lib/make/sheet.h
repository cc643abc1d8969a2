/*
 * sheet: the maker that resamples a position table other than a bias table (position/kind.h) to another grid. plan/tables.h finds
 * these tables and decides what is made of them.
 */
#ifndef LNN_MAKE_SHEET_H
#define LNN_MAKE_SHEET_H

#include "make/bias_table.h"
#include "make/make.h"
#include "position/kind.h"
#include "position/resample.h"

/*
 * Resamples numbers on a grid, [outer][prefix + h * w][inner], to another grid. The prefix consists of rows of inner numbers that
 * do not belong to the grid; they are copied.
 */
struct sheet_job {
	uint64_t outer, prefix, inner;
	struct cells from, to;
	enum resample_method method;
};

struct make_sheet {
	struct make make;
	enum position_kind kind;
	struct sheet_job job;
	struct grid from, to; /* in tokens; w is 0 for a table with one axis */
	uint64_t shape[4];    /* shape of the result */
	table_show *show;     /* may be NULL */
	void *show_arg;
};

/* Returns a new maker. All members except make are zero; the caller sets them before the first use. */
struct make_sheet *make_sheet(struct arena *a);

/*
 * Checks whether a job can be done. outer, prefix, inner and from must match an existing tensor. Returns 1 if the job changes
 * nothing, else 0. Fails with ERR_USAGE.
 */
int sheet_check(const struct sheet_job *job, struct err *err);

#endif
