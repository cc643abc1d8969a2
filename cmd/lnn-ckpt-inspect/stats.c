/*
 * --stats: prints statistics of each tensor's values.
 */
#include <math.h>

#include "report.h"
#include "tensor/boxes.h"

static const struct record_column columns[] = {
	{ "name", NULL, RECORD_TEXT, IN_ALL, COLUMN_NAME, 0, STYLE_PLAIN },
	{ "dtype", NULL, RECORD_TEXT, IN_ALL, COLUMN_WIDE, 0, STYLE_PLAIN },
	{ "numel", "elements", RECORD_COUNT, IN_ALL, COLUMN_WIDE | COLUMN_HUMAN, 0, STYLE_PLAIN },
	{ "min", NULL, RECORD_REAL, IN_ALL, 0, 0, STYLE_PLAIN },
	{ "max", NULL, RECORD_REAL, IN_ALL, 0, 0, STYLE_PLAIN },
	{ "mean", NULL, RECORD_REAL, IN_ALL, 0, 0, STYLE_PLAIN },
	{ "std", NULL, RECORD_REAL, IN_ALL, 0, 0, STYLE_PLAIN },
	{ "norm", NULL, RECORD_REAL, IN_ALL, 0, 0, STYLE_PLAIN },
	{ "zeros", NULL, RECORD_COUNT, IN_ALL, COLUMN_HUMAN | COLUMN_DOTTED, 0, STYLE_PLAIN },
	{ "nan", NULL, RECORD_COUNT, IN_ALL, COLUMN_HUMAN | COLUMN_DOTTED, 0, STYLE_BAD },
	{ "inf", NULL, RECORD_COUNT, IN_TABLE, COLUMN_HUMAN | COLUMN_DOTTED, 0, STYLE_BAD },
	{ "posinf", NULL, RECORD_COUNT, IN_TSV | IN_JSON, 0, 0, STYLE_BAD },
	{ "neginf", NULL, RECORD_COUNT, IN_TSV | IN_JSON, 0, 0, STYLE_BAD },
};
enum { COLUMNS = sizeof(columns) / sizeof(columns[0]) };

static const struct record_table table = { "tensors", columns, COLUMNS, .titles = true };

static int
put_row(void *state, size_t i, struct err *err)
{
	const struct job *j = state;
	const struct row *row = &j->rows.v[i];
	const struct moments *m = &j->data.figures.moments[i];
	const double least = m->finite ? m->min : (double)NAN, most = m->finite ? m->max : (double)NAN;
	struct cell cells[COLUMNS] = {
		cell_text(row->name),
		cell_word(dtype_name(row->t->dtype)),
		cell_count(tensor_count(row->t)),
		cell_real(least),
		cell_real(most),
		cell_real(moments_mean(m)),
		cell_real(moments_std(m)),
		cell_real(moments_norm(m)),
		cell_count(m->zeros),
		cell_count(m->nans),
		cell_count(m->pinf + m->ninf),
		cell_count(m->pinf),
		cell_count(m->ninf),
	};

	for (size_t k = 3; k < COLUMNS && (boxes_count(row->t) == 0 || !moments_known(row->t->dtype)); k++)
		cells[k] = cell_unknown();
	return record_row(j->record, cells, err);
}

static int
run(void *state, struct job *j, struct err *err)
{
	(void)state;
	return data_put(j, &(struct data_table){ &table, 0, put_row, j }, err);
}

const struct report report_stats = {
	.option = OPTION_BARE("stats", "min, max, mean, std, norm, zeros, NaN, Inf"),
	.needs = NEEDS_INDEX | NEEDS_DICT | NEEDS_FIGURES,
	.takes = TAKES_FORMS | TAKES_JSONL,
	.names_rows = true,
	.run = run,
};
