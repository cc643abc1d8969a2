/*
 * Layouts of tables. The index buffers for 2x2 tokens are written by hand. Those for other grids are made from lists of
 * coordinates.
 */
#include "position/layout.h"

#include "position/stage.h"
#include "tap.h"

static void
test_parse(void)
{
	static const char *const same[] = { "auto", "grid", "first:1", "first:3", "last:1", "last:65536", "metaformer" };
	static const char *const bad[] = { "",       "First",  "first:",  "first:0",      "first:-1", "first:65537",
					   "grid:0", "auto:1", "last:1:", "metaformer:1", "last: 1",  "last:99999999999999999999" };
	struct layout l = { LAYOUT_AUTO, 9 };
	char text[LAYOUT_TEXT];

	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
		struct err err = ERR_INIT;

		ok(layout_parse(str_c(same[i]), &l, &err) == 0);
		layout_print(l, text);
		is_str(text, same[i], "a layout is printed as it was read");
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct err err = ERR_INIT;

		ok_msg(layout_parse(str_c(bad[i]), &l, &err) == -1 && err.code == ERR_USAGE && strstr(err.msg, "metaformer"),
		       "\"%s\" is refused", bad[i]);
	}
	for (size_t i = 0; i < 2; i++) {
		struct err err = ERR_INIT;

		ok(layout_parse(str_c(i ? "last" : "first"), &l, &err) == 0 && l.extra == 1);
		ok(l.kind == (i ? LAYOUT_LAST : LAYOUT_FIRST));
	}
}

static void
test_grid_parse(void)
{
	static const char *const bad[] = {
		"", "x", "14", "14x", "x14", "0x3", "3x0", "4097x1", "14x14x14", "14X14", "1 x1", "-1x1"
	};
	struct grid g = { 0, 0 };
	struct err err = ERR_INIT;

	ok(grid_parse(str_c("14x7"), &g, &err) == 0 && g.h == 14 && g.w == 7);
	ok(grid_parse(str_c("4096x1"), &g, &err) == 0 && g.h == 4096 && g.w == 1);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		err_clear(&err);
		ok_msg(grid_parse(str_c(bad[i]), &g, &err) == -1 && err.code == ERR_USAGE, "grid \"%s\" is refused", bad[i]);
	}
}

/* Number of rows, requested layout, known grid (or 0), then the expected layout (or NULL) and grid. */
static const struct fit {
	uint64_t rows;
	const char *layout;
	struct grid known;
	const char *expected;
	struct grid grid;
} fit_cases[] = {
	{ 729, "grid", { 0, 0 }, "grid", { 14, 14 } },
	{ 730, "first", { 0, 0 }, "first:1", { 14, 14 } },
	{ 730, "last", { 0, 0 }, "last:1", { 14, 14 } },
	{ 730, "metaformer", { 0, 0 }, "metaformer", { 14, 14 } },
	{ 732, "last:3", { 0, 0 }, "last:3", { 14, 14 } },
	{ 1, "grid", { 0, 0 }, "grid", { 1, 1 } },
	{ 2, "first", { 0, 0 }, "first:1", { 1, 1 } },
	{ 729, "auto", { 0, 0 }, "grid", { 14, 14 } },
	{ 730, "auto", { 0, 0 }, "first:1", { 14, 14 } },
	{ 732, "auto", { 0, 0 }, "last:3", { 14, 14 } },
	{ 67092481, "grid", { 0, 0 }, "grid", { 4096, 4096 } },
	{ 67125249, "grid", { 0, 0 }, NULL, { 0, 0 } }, /* (2 * 4097 - 1) squared */
	{ 45, "grid", { 3, 5 }, "grid", { 3, 5 } },
	{ 46, "auto", { 3, 5 }, "first:1", { 3, 5 } },
	{ 45, "auto", { 3, 5 }, "grid", { 3, 5 } },
	{ 48, "auto", { 3, 5 }, "last:3", { 3, 5 } },
	{ 47, "auto", { 3, 5 }, NULL, { 0, 0 } },
	{ 47, "first:2", { 3, 5 }, "first:2", { 3, 5 } },
	{ 49, "grid", { 3, 5 }, NULL, { 0, 0 } },
	{ 49, "first", { 0, 0 }, NULL, { 0, 0 } },
	{ 196, "grid", { 0, 0 }, NULL, { 0, 0 } }, /* 14 squared: even */
	{ 731, "auto", { 0, 0 }, NULL, { 0, 0 } },
	{ 45, "auto", { 0, 0 }, NULL, { 0, 0 } },
	{ 0, "auto", { 0, 0 }, NULL, { 0, 0 } },
	{ 0, "grid", { 0, 0 }, NULL, { 0, 0 } },
	{ 1, "first", { 0, 0 }, NULL, { 0, 0 } },
	{ 3, "last:3", { 0, 0 }, NULL, { 0, 0 } },
	{ UINT64_MAX, "auto", { 0, 0 }, NULL, { 0, 0 } },
	{ UINT64_MAX, "first", { 3, 5 }, NULL, { 0, 0 } },
};

static void
test_fit(void)
{
	for (size_t i = 0; i < sizeof(fit_cases) / sizeof(fit_cases[0]); i++) {
		const struct fit *f = &fit_cases[i];
		struct err err = ERR_INIT;
		struct layout l = { LAYOUT_AUTO, 0 };
		struct grid g = { 77, 77 };
		char text[LAYOUT_TEXT];
		int got;

		layout_parse(str_c(f->layout), &l, &err);
		got = layout_fit(&l, f->rows, f->known.h ? &f->known : NULL, &g, "--from-grid", &err);
		layout_print(l, text);
		if (f->expected == NULL)
			ok_msg(got == -1 && err.code == ERR_INPUT && strstr(err.msg, "expected") && g.h == 77,
			       "%" PRIu64 " rows, %s: %s", f->rows, f->layout, err.msg);
		else
			ok_msg(got == 0 && strcmp(text, f->expected) == 0 && grid_eq(g, f->grid) && layout_rows(l, g) == f->rows,
			       "%" PRIu64 " rows, %s: %s of %ux%u", f->rows, f->layout, f->expected, f->grid.h, f->grid.w);
	}
}

/* ---- index buffers ---- */

static void
check_index(const int64_t *index, size_t n, uint64_t rows, const char *expected, struct grid grid, const char *what)
{
	struct layout l = { LAYOUT_AUTO, 0 };
	struct grid g = { 0, 0 };
	char text[LAYOUT_TEXT];
	bool good = layout_from_index(index, n, rows, NULL, &l, &g);

	layout_print(l, text);
	if (expected == NULL)
		ok_msg(!good && l.kind == LAYOUT_AUTO && g.h == 0, "no layout: %s", what);
	else if (!ok_msg(good && strcmp(text, expected) == 0 && grid_eq(g, grid), "%s of %ux%u: %s", expected, grid.h, grid.w,
			 what))
		tap_note("got %s of %ux%u", text, g.h, g.w);
}

static void
test_index_by_hand(void)
{
	static const int64_t swin[] = { 4, 3, 1, 0, 5, 4, 2, 1, 7, 6, 4, 3, 8, 7, 5, 4 };
	static const int64_t reversed[] = { 4, 5, 7, 8, 3, 4, 6, 7, 1, 2, 4, 5, 0, 1, 3, 4 };
	static const int64_t metaformer[] = { 0, 0, 0, 0, 0, 0, 4, 3, 1, 0, 0, 5, 4, 2, 1, 0, 7, 6, 4, 3, 0, 8, 7, 5, 4 };
	static const int64_t linnaeus[] = { 9, 9, 9, 9, 9, 9, 4, 3, 1, 0, 9, 5, 4, 2, 1, 9, 7, 6, 4, 3, 9, 8, 7, 5, 4 };
	static const int64_t first[] = { 0, 0, 0, 0, 0, 0, 5, 4, 2, 1, 0, 6, 5, 3, 2, 0, 8, 7, 5, 4, 0, 9, 8, 6, 5 };
	static const int64_t beit[] = { 11, 9, 9, 9, 9, 10, 4, 3, 1, 0, 10, 5, 4, 2, 1, 10, 7, 6, 4, 3, 10, 8, 7, 5, 4 };
	const struct grid g22 = { 2, 2 }, none = { 0, 0 };
	int64_t changed[25];

	check_index(swin, 4, 9, "grid", g22, "Swin");
	check_index(swin, 4, 10, "last:1", g22, "an extra row that no pair uses");
	check_index(swin, 4, 8, NULL, none, "a row too few");
	check_index(reversed, 4, 9, NULL, none, "an index of key minus query is not recognised");
	check_index(metaformer, 5, 10, "metaformer", g22, "MetaFormer");
	check_index(metaformer, 5, 9, NULL, none, "MetaFormer without its last row");
	check_index(metaformer, 5, 11, NULL, none, "MetaFormer with a row too many");
	check_index(linnaeus, 5, 10, "last:1", g22, "linnaeus");
	check_index(linnaeus, 5, 9, NULL, none, "linnaeus without its class row");
	check_index(first, 5, 10, "first:1", g22, "class row first");
	check_index(first, 5, 11, NULL, none, "class row first, a row too many");
	check_index(beit, 5, 12, "last:3", g22, "BEiT");
	check_index(beit, 5, 11, NULL, none, "BEiT, a row too few");
	for (size_t i = 0; i < 25; i++) {
		struct layout l;
		struct grid g;

		memcpy(changed, linnaeus, sizeof(changed));
		changed[i] = changed[i] == 3 ? 2 : 3;
		if (!ok_msg(!layout_from_index(changed, 5, 10, NULL, &l, &g), "linnaeus with another value at %zu", i))
			tap_note("recognised as kind %d", (int)l.kind);
	}
	memset(changed, 0x7f, sizeof(changed));
	changed[24] = INT64_MAX;
	changed[23] = INT64_MIN;
	check_index(changed, 5, 10, NULL, none, "wild values");
	changed[24] = INT64_MIN;
	check_index(changed, 5, UINT64_MAX, NULL, none, "large values and a large number of rows");
	check_index(changed, 0, 1, NULL, none, "an empty index");
}

enum { OF_GRID, OF_FIRST, OF_LAST, OF_METAFORMER, OF_BEIT };

/* The index for h x w tokens after skip other tokens, computed from the coordinates. */
static int64_t *
make_index(int of, int h, int w, int skip, size_t *n, uint64_t *rows)
{
	int64_t cells = (2 * h - 1) * (2 * w - 1), *index;
	int tokens = 0, *ys = calloc((size_t)(h * w), sizeof(int)), *xs = calloc((size_t)(h * w), sizeof(int));

	*n = (size_t)(h * w + skip);
	*rows = (uint64_t)cells + (of == OF_GRID ? 0 : of == OF_BEIT ? 3 : 1);
	index = calloc(*n * *n, sizeof(*index));
	if (index == NULL || ys == NULL || xs == NULL)
		tap_bail("no memory");
	for (int y = 0; y < h; y++)
		for (int x = 0; x < w; x++, tokens++) {
			ys[tokens] = y;
			xs[tokens] = x;
		}
	for (size_t i = 0; i < *n * *n; i++) {
		int q = (int)(i / *n) - skip, k = (int)(i % *n) - skip;
		int64_t extra = of == OF_BEIT ? cells + (q < 0 && k < 0 ? 2 : q < 0 ? 0 : 1) : of == OF_LAST ? cells : 0;

		if (q < 0 || k < 0)
			index[i] = extra;
		else
			index[i] = (ys[q] - ys[k] + h - 1) * (2 * w - 1) + xs[q] - xs[k] + w - 1 + (of == OF_FIRST);
	}
	free(ys);
	free(xs);
	return index;
}

static void
test_index_made(void)
{
	static const int grids[][2] = {
		{ 1, 2 }, { 1, 5 }, { 2, 3 }, { 3, 2 }, { 5, 3 }, { 7, 7 }, { 2, 9 }, { 9, 2 }, { 14, 14 }
	};
	static const char *const names[] = { "grid", "first:1", "last:1", "metaformer", "last:3" };

	for (size_t i = 0; i < sizeof(grids) / sizeof(grids[0]); i++) {
		const struct grid g = { (uint32_t)grids[i][0], (uint32_t)grids[i][1] };

		for (int of = OF_GRID; of <= OF_BEIT; of++) {
			int most = of == OF_GRID ? 0 : of == OF_BEIT ? 1 : 4;

			for (int skip = of == OF_GRID ? 0 : 1; skip <= most; skip++) {
				uint64_t rows;
				size_t n;
				int64_t *index = make_index(of, grids[i][0], grids[i][1], skip, &n, &rows);
				char what[64];

				snprintf(what, sizeof(what), "%d extra tokens", skip);
				check_index(index, n, rows, names[of], g, what);
				index[n * n / 2] = -1;
				check_index(index, n, rows, NULL, g, "an index with one wrong value");
				free(index);
			}
		}
	}
}

/* A column of tokens has the same index as a row of them. So the user decides. */
static void
test_index_column(void)
{
	const struct grid column = { 4, 1 }, row = { 1, 4 };
	struct layout l;
	struct grid g = { 0, 0 };
	uint64_t rows;
	size_t n;
	int64_t *index = make_index(OF_LAST, 4, 1, 1, &n, &rows);

	ok(layout_from_index(index, n, rows, NULL, &l, &g) && grid_eq(g, row));
	ok(layout_from_index(index, n, rows, &row, &l, &g) && grid_eq(g, row));
	ok(layout_from_index(index, n, rows, &column, &l, &g) && grid_eq(g, column));
	ok(l.kind == LAYOUT_LAST && l.extra == 1);
	free(index);
}

/* ---- stages ---- */

static void
test_stages(void)
{
	static const char *const bad[] = { "", "=", "=16", "a", "a=", "a=0", "a=-1", "a=x", "a=4294967296", "a=16px" };
	struct stages s = STAGES_INIT;
	struct err err = ERR_INIT;

	is_uint(stages_ratio(&s, str_c("stage_3.0.attn.relative_position_bias_table")), 16, "stage_3");
	is_uint(stages_ratio(&s, str_c("module.stage3.0.t")), 16, "stage3");
	is_uint(stages_ratio(&s, str_c("stage_4.0.t")), 32, "stage_4");
	is_uint(stages_ratio(&s, str_c("stage4.0.t")), 32, "stage4");
	is_uint(stages_ratio(&s, str_c("layers.2.t")), 0, "a name without a known stage has no ratio");
	is_uint(stages_ratio(&s, str_c("stage_3.stage_4")), 16, "the first stage of a name counts");
	is_uint(stages_ratio(&s, str_c("")), 0, "the empty name has no ratio");
	ok(stages_add(&s, str_c("layers.2.=16"), &err) == 0);
	ok(stages_add(&s, str_c("layers=8"), &err) == 0);
	ok(stages_add(&s, str_c("a=b=7"), &err) == 0);
	ok(stages_add(&s, str_c("stage_3=14"), &err) == 0);
	is_uint(stages_ratio(&s, str_c("layers.2.t")), 16, "the user's first stage counts");
	is_uint(stages_ratio(&s, str_c("layers.3.t")), 8, "the second");
	is_uint(stages_ratio(&s, str_c("x.a=b.t")), 7, "the last = separates name and ratio");
	is_uint(stages_ratio(&s, str_c("stage_3.0.t")), 14, "the user's stage comes before the default");
	is_uint(stages_ratio(&s, str_c("stage3.0.t")), 16, "the default stages remain");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		err_clear(&err);
		ok_msg(stages_add(&s, str_c(bad[i]), &err) == -1 && err.code == ERR_USAGE, "stage \"%s\" is refused", bad[i]);
	}
	stages_release(&s);
	ok(s.count == 0 && s.rules == NULL);
}

static void
test_image(void)
{
	bool exact = false;
	struct grid g = grid_of_image((struct grid){ 384, 384 }, (struct grid){ 16, 16 }, &exact);

	ok(g.h == 24 && g.w == 24 && exact);
	g = grid_of_image((struct grid){ 384, 384 }, (struct grid){ 32, 32 }, &exact);
	ok(g.h == 12 && g.w == 12 && exact);
	g = grid_of_image((struct grid){ 250, 250 }, (struct grid){ 32, 32 }, &exact);
	ok(g.h == 7 && g.w == 7 && !exact);
	g = grid_of_image((struct grid){ 15, 15 }, (struct grid){ 16, 16 }, &exact);
	ok(g.h == 0 && g.w == 0 && !exact);
}

int
main(void)
{
	test_parse();
	test_grid_parse();
	test_fit();
	test_index_by_hand();
	test_index_made();
	test_index_column();
	test_stages();
	test_image();
	return tap_done();
}
