#include "position/table.h"

#include <string.h>

/* Positions of the parts of a table, in rows. */
struct table_parts {
	size_t grid;  /* first row of the grid */
	size_t extra; /* first extra row; for metaformer as input the class row, which is also cell (0,0) */
	size_t count; /* number of extra rows */
};

static bool
layout_known(struct layout l)
{
	switch (l.kind) {
	case LAYOUT_GRID: return l.extra == 0;
	case LAYOUT_METAFORMER: return l.extra == 1;
	case LAYOUT_FIRST:
	case LAYOUT_LAST: return l.extra > 0;
	case LAYOUT_AUTO: break;
	}
	return false;
}

static bool
side_known(uint32_t side)
{
	return side > 0 && side <= GRID_MAX;
}

static bool
too_many(struct layout layout, struct grid grid, size_t heads)
{
	return layout_rows(layout, grid) > TABLE_MAX / heads;
}

static struct cells
cells_of(struct grid grid)
{
	return (struct cells){ 2 * (size_t)grid.h - 1, 2 * (size_t)grid.w - 1 };
}

int
table_check(const struct table_job *job, struct err *err)
{
	char from[LAYOUT_TEXT], to[LAYOUT_TEXT];
	struct grid g = job->from_grid, t = job->to_grid;

	if (job->heads == 0 || !side_known(g.h) || !side_known(g.w))
		return err_set(err, ERR_INPUT, "a grid of %ux%u with %zu heads: expected sides from 1 to %d and heads", g.h, g.w,
			       job->heads, GRID_MAX);
	if (!side_known(t.h) || !side_known(t.w))
		return err_set(err, ERR_USAGE, "a new grid of %ux%u: expected sides from 1 to %d", t.h, t.w, GRID_MAX);
	layout_print(job->from, from);
	layout_print(job->to, to);
	if (!layout_known(job->from) || !layout_known(job->to))
		return err_set(err, ERR_USAGE, "layout %s to %s: both must be known", from, to);
	/* first:1, last:1 and metaformer have one extra row each; no other layout has exactly one. */
	if (job->from.extra != job->to.extra)
		return err_set(err, ERR_USAGE,
			       "layout %s cannot become %s: %u extra rows are not %u (first:1, last:1 and metaformer can be "
			       "exchanged, and layouts with equal numbers of extra rows)",
			       from, to, job->from.extra, job->to.extra);
	if (!grid_eq(g, t) && !resample_can(job->method, cells_of(g)))
		return err_set(err, ERR_USAGE, "method %s needs a grid of 3x3 tokens or more, not %ux%u",
			       resample_method_name(job->method), g.h, g.w);
	if (too_many(job->from, g, job->heads) || too_many(job->to, t, job->heads))
		return err_set(err, ERR_USAGE, "grid %ux%u to %ux%u with %zu heads: more than %llu numbers", g.h, g.w, t.h, t.w,
			       job->heads, (unsigned long long)TABLE_MAX);
	return 0;
}

uint64_t
table_rows_in(const struct table_job *job)
{
	return layout_rows(job->from, job->from_grid);
}

uint64_t
table_rows_out(const struct table_job *job)
{
	return layout_rows(job->to, job->to_grid);
}

bool
table_is_move(const struct table_job *job)
{
	return grid_eq(job->from_grid, job->to_grid);
}

bool
table_is_copy(const struct table_job *job)
{
	return table_is_move(job) && layout_eq(job->from, job->to);
}

static struct table_parts
parts_of(struct layout layout, struct grid grid, bool input)
{
	size_t cells = (size_t)grid_cells(grid);

	switch (layout.kind) {
	case LAYOUT_FIRST: return (struct table_parts){ layout.extra, 0, layout.extra };
	case LAYOUT_METAFORMER: return (struct table_parts){ 0, input ? 0 : cells, 1 };
	case LAYOUT_AUTO:
	case LAYOUT_GRID:
	case LAYOUT_LAST: break;
	}
	return (struct table_parts){ 0, cells, layout.extra };
}

static void
rows_copy(const void *in, size_t from, void *out, size_t to, size_t rows, size_t row_bytes)
{
	memcpy((char *)out + to * row_bytes, (const char *)in + from * row_bytes, rows * row_bytes);
}

void
table_move(const void *in, void *out, size_t row_bytes, const struct table_job *job)
{
	struct table_parts from = parts_of(job->from, job->from_grid, true), to = parts_of(job->to, job->to_grid, false);

	/* A metaformer table that is copied also keeps its unused last row. */
	if (table_is_copy(job)) {
		rows_copy(in, 0, out, 0, (size_t)table_rows_in(job), row_bytes);
		return;
	}
	rows_copy(in, from.grid, out, to.grid, (size_t)grid_cells(job->from_grid), row_bytes);
	rows_copy(in, from.extra, out, to.extra, from.count, row_bytes);
}

void
table_convert(const double *in, double *out, const struct table_job *job)
{
	struct table_parts from = parts_of(job->from, job->from_grid, true), to = parts_of(job->to, job->to_grid, false);

	if (table_is_move(job)) {
		table_move(in, out, job->heads * sizeof(*in), job);
		return;
	}
	resample(in + from.grid * job->heads, cells_of(job->from_grid), out + to.grid * job->heads, cells_of(job->to_grid),
		 job->heads, job->method);
	rows_copy(in, from.extra, out, to.extra, from.count, job->heads * sizeof(*in));
}
