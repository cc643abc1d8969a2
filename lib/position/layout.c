#include "position/layout.h"

#include <stdio.h>

#include "base/num.h"

#define EXTRA_MAX 65536

static const struct {
	const char *name;
	enum layout_kind kind;
	uint32_t extra;
	bool counted; /* the name may be followed by :N */
} kinds[] = {
	{ "auto", LAYOUT_AUTO, 0, false },
	{ "grid", LAYOUT_GRID, 0, false },
	{ "first", LAYOUT_FIRST, 1, true },
	{ "last", LAYOUT_LAST, 1, true },
	{ "metaformer", LAYOUT_METAFORMER, 1, false },
};

int
layout_parse(struct str s, struct layout *layout, struct err *err)
{
	struct str rest = s, name;
	uint64_t extra = 1;
	bool counted;

	str_split(&rest, ':', &name);
	counted = rest.p != NULL;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (!str_eqc(name, kinds[i].name))
			continue;
		if (counted && (!kinds[i].counted || !num_u64(rest, &extra) || extra == 0 || extra > EXTRA_MAX))
			break;
		*layout = (struct layout){ kinds[i].kind, counted ? (uint32_t)extra : kinds[i].extra };
		return 0;
	}
	return err_set(err, ERR_USAGE,
		       "\"%.*s\" is not a layout; the layouts are auto, first, first:N, last, last:N, grid and metaformer "
		       "(N from 1 to %d)",
		       STR_ARG(s), EXTRA_MAX);
}

void
layout_print(struct layout layout, char *out)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (kinds[i].kind != layout.kind)
			continue;
		if (kinds[i].counted)
			snprintf(out, LAYOUT_TEXT, "%s:%u", kinds[i].name, layout.extra);
		else
			snprintf(out, LAYOUT_TEXT, "%s", kinds[i].name);
		return;
	}
	snprintf(out, LAYOUT_TEXT, "unknown");
}

bool
layout_eq(struct layout a, struct layout b)
{
	return a.kind == b.kind && a.extra == b.extra;
}

static bool
side_parse(struct str s, uint32_t *side)
{
	uint64_t n;

	if (!num_u64(s, &n) || n == 0 || n > GRID_MAX)
		return false;
	*side = (uint32_t)n;
	return true;
}

int
grid_parse(struct str s, struct grid *grid, struct err *err)
{
	struct str rest = s, first;
	struct grid g;

	str_split(&rest, 'x', &first);
	if (!side_parse(first, &g.h) || rest.p == NULL || !side_parse(rest, &g.w))
		return err_set(err, ERR_USAGE,
			       "\"%.*s\" is not a grid; a grid is HxW in tokens, as in 14x14, with sides from 1 to %d", STR_ARG(s),
			       GRID_MAX);
	*grid = g;
	return 0;
}

bool
grid_eq(struct grid a, struct grid b)
{
	return a.h == b.h && a.w == b.w;
}

struct grid
grid_square(uint64_t tokens)
{
	uint64_t low = 0, high = 2 * GRID_MAX;

	while (low + 1 < high) {
		uint64_t mid = (low + high) / 2;

		if (mid * mid <= tokens)
			low = mid;
		else
			high = mid;
	}
	if (low * low != tokens)
		low = 0;
	return (struct grid){ (uint32_t)low, (uint32_t)low };
}

/* Returns the side in tokens of the square grid that has this number of cells, or 0 if there is none. */
static uint32_t
square_side(uint64_t cells)
{
	uint32_t side = grid_square(cells).h;

	return side % 2 == 1 ? (side + 1) / 2 : 0;
}

static bool
fits(struct layout layout, uint64_t rows, const struct grid *known, struct grid *grid)
{
	uint32_t side;

	if (rows <= layout.extra)
		return false;
	if (known != NULL) {
		*grid = *known;
		return layout_rows(layout, *known) == rows;
	}
	side = square_side(rows - layout.extra);
	*grid = (struct grid){ side, side };
	return side != 0;
}

/* Odd squares are 1 modulo 8, so a number of rows matches at most one of the layouts tried. */
static bool
fit_auto(struct layout *layout, uint64_t rows, const struct grid *known, struct grid *grid)
{
	static const struct layout tried[] = { { LAYOUT_FIRST, 1 }, { LAYOUT_GRID, 0 }, { LAYOUT_LAST, 3 } };

	for (size_t i = 0; i < sizeof(tried) / sizeof(tried[0]); i++) {
		if (fits(tried[i], rows, known, grid)) {
			*layout = tried[i];
			return true;
		}
	}
	return false;
}

static int
misfit(struct layout layout, uint64_t rows, const struct grid *known, const char *option, struct err *err)
{
	unsigned long long n = rows, cells, extra = layout.extra;
	char name[LAYOUT_TEXT];

	layout_print(layout, name);
	if (known == NULL && layout.kind == LAYOUT_AUTO)
		return err_set(err, ERR_INPUT,
			       "%llu rows fit no square grid: expected an odd number squared, or 1 or 3 more; "
			       "give the grid (%s HxW) or the layout (--layout)",
			       n, option);
	if (known == NULL)
		return err_set(err, ERR_INPUT,
			       "%llu rows fit no square grid in layout %s: expected an odd number squared plus %llu; "
			       "give the grid (%s HxW) if it is not square",
			       n, name, extra, option);
	cells = grid_cells(*known);
	if (layout.kind == LAYOUT_AUTO)
		return err_set(err, ERR_INPUT,
			       "%llu rows do not fit a grid of %ux%u: expected %llu rows, or 1 or 3 more; "
			       "give the layout (--layout)",
			       n, known->h, known->w, cells);
	return err_set(err, ERR_INPUT, "%llu rows do not fit a grid of %ux%u in layout %s: expected %llu rows", n, known->h,
		       known->w, name, cells + extra);
}

int
layout_fit(struct layout *layout, uint64_t rows, const struct grid *known, struct grid *grid, const char *option, struct err *err)
{
	struct grid found;

	if (layout->kind == LAYOUT_AUTO ? !fit_auto(layout, rows, known, &found) : !fits(*layout, rows, known, &found))
		return misfit(*layout, rows, known, option, err);
	*grid = found;
	return 0;
}

/*
 * Returns the width of the grid. last points to the index of the last token with itself, which is the centre cell. Its index with
 * the token k places before it in the same row is centre + k. For the row above, dy is 1, and the index jumps to centre + 2w - 1.
 */
static uint64_t
width_of(const int64_t *last, uint64_t tokens)
{
	uint64_t k = 1;

	while (k < tokens && (uint64_t) * (last - k) - (uint64_t)*last == k)
		k++;
	return k;
}

static bool
grid_of_index(const int64_t *index, size_t n, size_t skip, const struct grid *known, struct grid *grid)
{
	uint64_t tokens = n - skip, w = width_of(index + n * n - 1, tokens), h = tokens / w;

	if (h * w != tokens || h > GRID_MAX || w > GRID_MAX)
		return false;
	/* The index of a single column equals that of a single row, so only the user can tell them apart. */
	if (h == 1 && known != NULL && known->w == 1 && known->h == w)
		*grid = *known;
	else
		*grid = (struct grid){ (uint32_t)h, (uint32_t)w };
	return true;
}

/* Checks all pairs of grid tokens. Their indices must be those of the grid alone, plus shift. */
static bool
is_grid(const int64_t *index, size_t n, size_t skip, struct grid grid, int64_t shift)
{
	const int64_t h = grid.h, w = grid.w;

	for (int64_t q = 0; q < h * w; q++) {
		const int64_t *row = index + ((size_t)q + skip) * n + skip;

		for (int64_t y = 0; y < h; y++) {
			int64_t column = (q / w - y + h - 1) * (2 * w - 1) + q % w + w - 1 + shift;

			for (int64_t x = 0; x < w; x++)
				if (*row++ != column - x)
					return false;
		}
	}
	return true;
}

/* Do all pairs with one of the first skip tokens have an index in [low, high)? */
static bool
extras_within(const int64_t *index, size_t n, size_t skip, int64_t low, int64_t high)
{
	for (size_t q = 0; q < n; q++) {
		size_t end = q < skip ? n : skip;

		for (size_t k = 0; k < end; k++)
			if (index[q * n + k] < low || index[q * n + k] >= high)
				return false;
	}
	return true;
}

bool
layout_from_index(const int64_t *index, size_t n, uint64_t rows, const struct grid *known, struct layout *layout, struct grid *grid)
{
	struct layout found = { LAYOUT_GRID, 0 };
	struct grid g;
	uint64_t cells, extra;
	size_t skip = 0;

	if (n == 0)
		return false;
	/* A grid token's index with itself is the centre. That of an extra token is an extra row, or 0. */
	while (index[skip * n + skip] != index[n * n - 1])
		skip++;
	if (!grid_of_index(index, n, skip, known, &g))
		return false;
	/* Without extra tokens, extra rows are never used. They are kept before or after the grid, depending on the shift. */
	cells = grid_cells(g);
	if (rows < cells || rows - cells > EXTRA_MAX)
		return false;
	extra = rows - cells;
	found.extra = (uint32_t)extra;
	if (extra > 0 && is_grid(index, n, skip, g, (int64_t)extra) && extras_within(index, n, skip, 0, (int64_t)extra))
		found.kind = LAYOUT_FIRST;
	else if (!is_grid(index, n, skip, g, 0))
		return false;
	else if (extra == 0 && skip == 0)
		found.kind = LAYOUT_GRID;
	else if (extra > 0 && extras_within(index, n, skip, (int64_t)cells, (int64_t)rows))
		found.kind = LAYOUT_LAST;
	else if (extra == 1 && extras_within(index, n, skip, 0, 1))
		found.kind = LAYOUT_METAFORMER;
	else
		return false;
	*layout = found;
	*grid = g;
	return true;
}
