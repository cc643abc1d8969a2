/*
 * sheet: the maker that brings a position table other than bias (position/kind.h) to another grid. Which tensors are such
 * tables, and what becomes of them, is found by plan/tables.h.
 */
#ifndef LNN_MAKE_SHEET_H
#define LNN_MAKE_SHEET_H

#include "make/bias_table.h"
#include "make/make.h"
#include "position/kind.h"
#include "position/resample.h"

/*
 * Numbers on a grid, [outer][prefix + h * w][inner], brought to another grid. The prefix is rows of inner numbers that are
 * not of the grid; they are copied.
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
	struct grid from, to; /* in tokens; w is 0 where there is one axis */
	uint64_t shape[4];    /* of the result */
	table_show *show;     /* may be NULL */
	void *show_arg;
};

/* A sheet whose members but make are zero; they are set before the first use. */
struct make_sheet *make_sheet(struct arena *a);

/* Whether the job can be done; the sizes of the input are those of a tensor. ERR_USAGE if not. */
int sheet_check(const struct sheet_job *job, struct err *err);
bool sheet_is_copy(const struct sheet_job *job);

#endif
