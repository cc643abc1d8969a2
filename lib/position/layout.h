/*
 * layout: which rows of a relative position bias table are the grid and which are for class and meta tokens.
 *
 * A grid of h x w tokens has (2h-1)(2w-1) cells, row-major over (dy, dx); the pair (query, key) has dy = y_query - y_key and dx =
 * x_query - x_key. Facts: lib/position/README.md, section 2.
 */
#ifndef LNN_POSITION_LAYOUT_H
#define LNN_POSITION_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

enum layout_kind {
	LAYOUT_AUTO,       /* not determined yet */
	LAYOUT_GRID,       /* the grid alone */
	LAYOUT_FIRST,      /* the first rows are extra */
	LAYOUT_LAST,       /* the last rows are extra */
	LAYOUT_METAFORMER, /* row 0 is both the class row and cell (0,0); the last row is never used */
};

struct layout {
	enum layout_kind kind;
	uint32_t extra; /* number of extra rows: N of first:N and last:N, 1 for metaformer, else 0 */
};

/* Sides of a grid in tokens. */
struct grid {
	uint32_t h, w;
};

/* The largest side accepted. It is four times that of any model in use, and small enough that products of sizes cannot overflow. */
#define GRID_MAX 4096

/* Parses auto | first[:N] | last[:N] | grid | metaformer, where N is 1 to 65536. Fails with ERR_USAGE. */
int layout_parse(struct str s, struct layout *layout, struct err *err);

/* Writes the text that layout_parse reads, always with N ("last:1"). out has LAYOUT_TEXT bytes. */
#define LAYOUT_TEXT 24
void layout_print(struct layout layout, char *out);

bool layout_eq(struct layout a, struct layout b);

/* Parses HxW in tokens. Fails with ERR_USAGE. */
int grid_parse(struct str s, struct grid *grid, struct err *err);

bool grid_eq(struct grid a, struct grid b);

/* Returns the square grid with this number of tokens, or 0x0 if there is none. */
struct grid grid_square(uint64_t tokens);

/* Number of cells: (2h-1)(2w-1). The sides are at most GRID_MAX. */
static inline uint64_t
grid_cells(struct grid grid)
{
	return (2 * (uint64_t)grid.h - 1) * (2 * (uint64_t)grid.w - 1);
}

/* Number of rows of a table: cells and extra rows. layout must not be LAYOUT_AUTO. */
static inline uint64_t
layout_rows(struct layout layout, struct grid grid)
{
	return grid_cells(grid) + layout.extra;
}

/*
 * Determines the grid of a table from its number of rows. known is the grid if the user has given it; if it is NULL, the grid is
 * assumed to be square. LAYOUT_AUTO is replaced by the layout that matches the number of rows: an odd square is grid, one more is
 * first:1, three more is last:3. These never coincide. last:1 and metaformer have as many rows as first:1, so first:1 then says
 * only how many rows are extra. Fails with ERR_INPUT; the message says what was expected, names the option that gives the grid
 * (--grid, --from-grid), and does not name the tensor.
 */
int layout_fit(struct layout *layout, uint64_t rows, const struct grid *known, struct grid *grid, const char *option,
	       struct err *err);

/*
 * Determines layout and grid from a relative_position_index. index is [n][n], rows are queries, columns are keys, for a table with
 * the given number of rows. Tokens outside the grid (class, meta) must come first. known is the user's grid or NULL; it is used
 * only to tell h x 1 from 1 x h. Every value is checked. Returns false and sets nothing if the values match no layout.
 */
bool layout_from_index(const int64_t *index, size_t n, uint64_t rows, const struct grid *known, struct layout *layout,
		       struct grid *grid);

#endif
