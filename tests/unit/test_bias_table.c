/*
 * Whole tables: which row goes where. The numbers of the grid are tested in test_bias_resample.c and against torch.
 */
#include "position/table.h"

#include "tap.h"

#define HEADS 2
#define ROWS 256

static const struct grid small = { 2, 3 }, big = { 4, 3 }; /* 3x5 = 15 cells, 7x5 = 35 cells */

static struct table_job
job_of(const char *from, struct grid from_grid, const char *to, struct grid to_grid)
{
	struct table_job job = { .from_grid = from_grid, .to_grid = to_grid, .heads = HEADS, .method = RESAMPLE_BICUBIC };
	struct err err = ERR_INIT;

	if (layout_parse(str_c(from), &job.from, &err) != 0 || layout_parse(str_c(to), &job.to, &err) != 0)
		tap_bail(err.msg);
	return job;
}

/* Row r has the values r and r + 1000. */
static void
fill(double *rows)
{
	for (size_t i = 0; i < ROWS; i++) {
		rows[i * HEADS] = (double)i;
		rows[i * HEADS + 1] = (double)i + 1000;
	}
}

/*
 * The grid is not changed. expected lists the input rows of the output as pairs of first row and number of rows. A number
 * of 0 ends it.
 */
static const struct move {
	const char *from, *to;
	size_t expected[3][2];
	bool copy;
} moves[] = {
	{ "grid", "grid", { { 0, 15 }, { 0, 0 } }, true },
	{ "first", "first", { { 0, 16 }, { 0, 0 } }, true },
	{ "last:3", "last:3", { { 0, 18 }, { 0, 0 } }, true },
	{ "metaformer", "metaformer", { { 0, 16 }, { 0, 0 } }, true },
	{ "first", "last", { { 1, 15 }, { 0, 1 }, { 0, 0 } }, false },
	{ "last", "first", { { 15, 1 }, { 0, 15 }, { 0, 0 } }, false },
	{ "metaformer", "last", { { 0, 15 }, { 0, 1 }, { 0, 0 } }, false },
	{ "metaformer", "first", { { 0, 1 }, { 0, 15 }, { 0, 0 } }, false },
	{ "last", "metaformer", { { 0, 16 }, { 0, 0 } }, false },
	{ "first", "metaformer", { { 1, 15 }, { 0, 1 }, { 0, 0 } }, false },
	{ "first:3", "last:3", { { 3, 15 }, { 0, 3 }, { 0, 0 } }, false },
	{ "last:2", "first:2", { { 15, 2 }, { 0, 15 }, { 0, 0 } }, false },
};

static void
test_moves(void)
{
	double in[ROWS * HEADS], out[ROWS * HEADS], moved[ROWS * HEADS];

	fill(in);
	for (size_t i = 0; i < sizeof(moves) / sizeof(moves[0]); i++) {
		const struct move *m = &moves[i];
		struct table_job job = job_of(m->from, small, m->to, small);
		struct err err = ERR_INIT;
		size_t at = 0;
		bool good = table_check(&job, &err) == 0 && table_is_move(&job) && table_is_copy(&job) == m->copy;

		table_convert(in, out, &job);
		table_move(in, moved, HEADS * sizeof(*in), &job);
		for (size_t k = 0; k < 3 && m->expected[k][1] != 0; k++)
			for (size_t r = 0; r < m->expected[k][1]; r++, at++)
				good = good && out[at * HEADS] == (double)(m->expected[k][0] + r) &&
				       out[at * HEADS + 1] == (double)(m->expected[k][0] + r + 1000);
		good = good && at == table_rows_out(&job) && memcmp(out, moved, at * HEADS * sizeof(*out)) == 0;
		ok_msg(good, "%s to %s, same grid", m->from, m->to);
	}
}

/* The grid is resized: where it is read and written, and the extra rows. */
static const struct resize {
	const char *from, *to;
	size_t grid_in, grid_out, extra_in, extra_out, extra;
} resizes[] = {
	{ "grid", "grid", 0, 0, 0, 0, 0 },         { "first", "first", 1, 1, 0, 0, 1 },
	{ "first", "last", 1, 0, 0, 35, 1 },       { "last", "last", 0, 0, 15, 35, 1 },
	{ "last:3", "last:3", 0, 0, 15, 35, 3 },   { "last:3", "first:3", 0, 3, 15, 0, 3 },
	{ "metaformer", "last", 0, 0, 0, 35, 1 },  { "metaformer", "metaformer", 0, 0, 0, 35, 1 },
	{ "metaformer", "first", 0, 1, 0, 0, 1 },  { "first", "metaformer", 1, 0, 0, 35, 1 },
	{ "last", "metaformer", 0, 0, 15, 35, 1 },
};

static void
test_resizes(void)
{
	double in[ROWS * HEADS], out[ROWS * HEADS], grid[35 * HEADS];

	fill(in);
	for (size_t i = 0; i < ROWS * HEADS; i++)
		in[i] = in[i] * in[i] / 7 - 3 * in[i];
	for (size_t i = 0; i < sizeof(resizes) / sizeof(resizes[0]); i++) {
		const struct resize *r = &resizes[i];
		struct table_job job = job_of(r->from, small, r->to, big);
		struct err err = ERR_INIT;
		const size_t row = HEADS * sizeof(*in);
		bool good = table_check(&job, &err) == 0 && !table_is_move(&job) && !table_is_copy(&job) &&
			    table_rows_in(&job) == 15 + r->extra && table_rows_out(&job) == 35 + r->extra;

		table_convert(in, out, &job);
		resample(in + r->grid_in * HEADS, (struct cells){ 3, 5 }, grid, (struct cells){ 7, 5 }, HEADS, RESAMPLE_BICUBIC);
		good = good && memcmp(out + r->grid_out * HEADS, grid, 35 * row) == 0;
		good = good && memcmp(out + r->extra_out * HEADS, in + r->extra_in * HEADS, r->extra * row) == 0;
		ok_msg(good, "%s 2x3 to %s 4x3", r->from, r->to);
	}
}

static void
check_refused(struct table_job job, enum err_code code, const char *part, const char *what)
{
	struct err err = ERR_INIT;

	if (!ok_msg(table_check(&job, &err) == -1 && err.code == code && strstr(err.msg, part), "refused: %s", what))
		tap_note("%s", err.msg);
}

static void
test_refused(void)
{
	static const char *const changes[][2] = { { "first", "grid" },      { "grid", "last" },       { "last:3", "last" },
						  { "metaformer", "grid" }, { "grid", "metaformer" }, { "first:2", "last:3" } };
	const struct grid flat = { 0, 3 }, huge = { GRID_MAX + 1, 3 }, most = { GRID_MAX, GRID_MAX };
	struct table_job job = job_of("first", small, "first", big);
	struct err err = ERR_INIT;

	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++)
		check_refused(job_of(changes[i][0], small, changes[i][1], big), ERR_USAGE, "extra rows", changes[i][0]);
	check_refused(job_of("auto", small, "first", big), ERR_USAGE, "auto", "an unknown layout is refused");
	check_refused(job_of("first", flat, "first", big), ERR_INPUT, "0x3", "an empty grid is refused");
	check_refused(job_of("first", huge, "first", big), ERR_INPUT, "4097x3", "a grid that is too large is refused");
	check_refused(job_of("first", small, "first", flat), ERR_USAGE, "0x3", "an empty new grid is refused");
	check_refused(job_of("first", small, "first", huge), ERR_USAGE, "4097x3", "a new grid that is too large is refused");
	job.heads = 0;
	check_refused(job, ERR_INPUT, "0 heads", "no heads");
	job = job_of("first", small, "first", most);
	job.heads = 32;
	ok(table_check(&job, &err) == 0);
	job.heads = 33;
	check_refused(job, ERR_USAGE, "numbers", "too many numbers are refused");
	job.heads = SIZE_MAX;
	check_refused(job, ERR_USAGE, "numbers", "a huge number of heads is refused");
}

int
main(void)
{
	test_moves();
	test_resizes();
	test_refused();
	return tap_done();
}
