/*
 * table: converts one relative position bias table to another layout and grid. Tables are [rows][heads]. Facts:
 * lib/position/README.md, section 2.
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

/* The maximum number of elements in a table, before and after a job. */
#define TABLE_MAX ((uint64_t)1 << 31)

/*
 * Checks whether a job can be done: sizes are in range, layouts are known, and the extra rows have a place in the result. Fails
 * with ERR_INPUT for errors of the input, and with ERR_USAGE for errors of the request. All other functions here require a job that
 * passed this check.
 */
int table_check(const struct table_job *job, struct err *err);

uint64_t table_rows_in(const struct table_job *job);
uint64_t table_rows_out(const struct table_job *job);

/* Does the job change nothing? Then the bytes can be copied. */
bool table_is_copy(const struct table_job *job);

/* Does the job keep the grid? Then rows are only moved, which table_move does on the stored bytes. A copy is such a job, too. */
bool table_is_move(const struct table_job *job);

/* Moves rows of row_bytes bytes, regardless of their contents. Requires table_is_move. in and out must not overlap. */
void table_move(const void *in, void *out, size_t row_bytes, const struct table_job *job);

/*
 * Does a whole job. in has table_rows_in * heads numbers, out has table_rows_out * heads; they must not overlap. Extra rows are
 * copied. metaformer keeps its class row in row 0; it is copied to the extra row of first:1, of last:1 and of a resized metaformer
 * table.
 */
void table_convert(const double *in, double *out, const struct table_job *job);

#endif
