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
put_row(struct record *r, const struct row *row, const struct moments *m, struct err *err)
{
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

	for (size_t i = 3; i < COLUMNS && (boxes_count(row->t) == 0 || !moments_known(row->t->dtype)); i++)
		cells[i] = cell_unknown();
	return record_row(r, cells, err);
}

/* The state of the report. In line formats a row is printed soon after its statistics are known. */
struct stats {
	struct job *j;
	size_t next; /* the next row to be printed */
};

/* Prints the rows before n that have not been printed yet. */
static int
put_rows(struct stats *s, size_t n, struct err *err)
{
	struct record *r = s->j->record;

	if (s->next == 0) {
		job_begin_report(s->j);
		record_member(r, "key", RECORD_TEXT, cell_text(s->j->input.sd.key));
		record_rows(r, &table, 0);
	}
	for (; s->next < n && s->next < s->j->rows.n && !out_failed(r->out); s->next++)
		if (put_row(r, &s->j->rows.v[s->next], &s->j->data.figures.moments[s->next], err) < 0)
			return -1;
	return 0;
}

/* Rows are printed in batches, because printing single rows in between would evict the data from the processor's caches. */
static int
put_known(void *state, size_t n, struct err *err)
{
	struct record *r = ((struct stats *)state)->j->record;

	if (!out_flush_is_due(r->out))
		return 0;
	if (put_rows(state, n, err) < 0)
		return -1;
	record_drain(r, true);
	out_flush(r->out);
	return 0;
}

static int
run(void *state, struct job *j, struct err *err)
{
	struct stats *s = state;

	s->j = j;
	if (data_take(j, record_is_early(j->record) ? put_known : NULL, s, err) < 0)
		return -1;
	if (put_rows(s, j->rows.n, err) < 0)
		return -1;
	record_rows_end(j->record);
	return 0;
}

const struct report report_stats = {
	.option = OPTION_BARE("stats", "min, max, mean, std, norm, zeros, NaN, Inf"),
	.needs = NEEDS_INDEX | NEEDS_DICT | NEEDS_FIGURES,
	.takes = TAKES_FORMS | TAKES_JSONL,
	.names_rows = true,
	.size = sizeof(struct stats),
	.run = run,
};
