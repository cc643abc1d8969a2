/*
 * layout: which rows of a relative position bias table are the grid and which
 * are for class and meta tokens.
 *
 * A grid of h x w tokens has (2h-1)(2w-1) cells, row-major over (dy, dx); the
 * pair (query, key) has dy = y_query - y_key. Facts:
 * lib/position/README.md, section 2.
 */
#ifndef LNN_POSITION_LAYOUT_H
#define LNN_POSITION_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

enum layout_kind {
	LAYOUT_AUTO,       /* to be found out */
	LAYOUT_GRID,       /* nothing but the grid */
	LAYOUT_FIRST,      /* the first rows are extra */
	LAYOUT_LAST,       /* the last rows are extra */
	LAYOUT_METAFORMER, /* row 0 is the class row and cell (0,0) at once; the last row is never used */
};

struct layout {
	enum layout_kind kind;
	uint32_t extra; /* rows beside the grid: N of first:N and last:N, 1 for metaformer, else 0 */
};

/* In tokens. */
struct grid {
	uint32_t h, w;
};

/* Sides from 1 to here are accepted: four times what any model in use has, and no product of sizes overflows. */
#define GRID_MAX 4096

/* auto | first[:N] | last[:N] | grid | metaformer, 1 <= N <= 65536; ERR_USAGE otherwise. */
int layout_parse(struct str s, struct layout *layout, struct err *err);

/* The text layout_parse reads, with N always given ("last:1"); out has LAYOUT_TEXT bytes. */
#define LAYOUT_TEXT 24
void layout_print(struct layout layout, char *out);

bool layout_eq(struct layout a, struct layout b);

/* HxW in tokens; ERR_USAGE otherwise. */
int grid_parse(struct str s, struct grid *grid, struct err *err);

bool grid_eq(struct grid a, struct grid b);

/* The square grid of so many tokens; 0x0 if there is none. */
struct grid grid_square(uint64_t tokens);

/* (2h-1)(2w-1), for sides up to GRID_MAX. */
static inline uint64_t
grid_cells(struct grid grid)
{
	return (2 * (uint64_t)grid.h - 1) * (2 * (uint64_t)grid.w - 1);
}

/* Rows of a table: cells and extra rows. layout is not LAYOUT_AUTO. */
static inline uint64_t
layout_rows(struct layout layout, struct grid grid)
{
	return grid_cells(grid) + layout.extra;
}

/*
 * The grid of a table with so many rows. known is the grid if the user has
 * given it, else NULL: then the grid is square. LAYOUT_AUTO is resolved by the
 * number of rows (odd square: grid; + 1: first:1; + 3: last:3, which never
 * collide). first:1 is then no more than a size: last:1 and metaformer have as many rows.
 * Errors (ERR_INPUT) say what was expected, without the tensor's name, and that the option gives the grid (--grid,
 * --from-grid).
 */
int layout_fit(struct layout *layout, uint64_t rows, const struct grid *known, struct grid *grid, const char *option,
	       struct err *err);

/*
 * Layout and grid read off a relative_position_index: index is [n][n], row
 * query, column key, for a table with so many rows; tokens that are not of the
 * grid (class, meta) come first. known as above; it matters only where h x 1
 * and 1 x h cannot be told apart. False, and nothing set, if the values are
 * those of no layout: every value is checked.
 */
bool layout_from_index(const int64_t *index, size_t n, uint64_t rows, const struct grid *known, struct layout *layout,
		       struct grid *grid);

#endif
