/*
 * table: one relative position bias table, from a layout and grid to another
 * layout and grid. Tables are [rows][heads]. Facts: lib/position/README.md, section 2.
 */
#ifndef LNN_POSITION_TABLE_H
#define LNN_POSITION_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "position/layout.h"
#include "position/resample.h"

struct table_job {
	struct layout from, to;
	struct grid from_grid, to_grid;
	size_t heads;
	enum resample_method method;
};

/* A table has at most so many numbers (of either side of a job). */
#define TABLE_MAX ((uint64_t)1 << 31)

/*
 * Whether the job can be done: sizes in range, layouts known, and extra rows
 * that have a place to go. ERR_INPUT for what the input has wrong, ERR_USAGE
 * for what was asked for. Every other function here needs a job that passed.
 */
int table_check(const struct table_job *job, struct err *err);

uint64_t table_rows_in(const struct table_job *job);
uint64_t table_rows_out(const struct table_job *job);

/* Nothing changes: copy the bytes. */
bool table_is_copy(const struct table_job *job);

/* The grid stays: rows only change places, so use table_move on the bytes (a copy is such a job, too). */
bool table_is_move(const struct table_job *job);

/* Moves rows of row_bytes bytes, whatever is in them. Only for table_is_move; in and out do not overlap. */
void table_move(const void *in, void *out, size_t row_bytes, const struct table_job *job);

/*
 * The whole job. in has table_rows_in * heads numbers, out holds
 * table_rows_out * heads; they do not overlap. Extra rows are copied. A class
 * row that metaformer keeps in row 0 goes into the extra row of first:1, last:1
 * and of a resized metaformer table.
 */
void table_convert(const double *in, double *out, const struct table_job *job);

#endif
