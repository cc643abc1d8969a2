/*
 * sheet: the maker that brings a position table other than bias to another grid (position/sheet.h). Which tensors are such
 * tables, and what becomes of them, is found by plan/tables.h.
 */
#ifndef LNN_MAKE_SHEET_H
#define LNN_MAKE_SHEET_H

#include "make/bias_table.h"
#include "make/make.h"
#include "position/kind.h"
#include "position/sheet.h"

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

#endif
