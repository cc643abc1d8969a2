/*
 * --stats: figures of each tensor's values; --check: CRCs and values that should not be there.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/xalloc.h"
#include "common/progress.h"
#include "common/columns.h"
#include "modes.h"
#include "stats/figures.h"

/* Figures of all rows, in the order of rows. */
static int
take_figures(struct job *j, bool crcs, struct figures *f, struct err *e)
{
	struct figures_opts o = { .tick = progress_tick, .crcs = crcs };
	const struct tensor **tensors = xcalloc(j->rows.n + 1, sizeof(const struct tensor *));
	int rc;

	for (size_t i = 0; i < j->rows.n; i++)
		tensors[i] = j->rows.v[i].t;
	o.pool = pool_new(tool_settings.jobs);
	progress_start("reading");
	rc = figures_take(f, j->input.ckpt, tensors, j->rows.n, &o, e);
	progress_end();
	pool_free(o.pool);
	free(tensors);
	return rc;
}

/* ---- --stats */

static bool
has_figures(const struct row *row)
{
	return row->t->storage != STORAGE_NONE && moments_known(row->t->dtype);
}

enum { FIGURES = 5 };

static const char *const figure_names[FIGURES] = { "min", "max", "mean", "std", "norm" };

/* min, max, mean, std, norm; NaN where there is none. */
static void
figures_of(const struct moments *m, double *v)
{
	v[0] = m->finite ? m->min : (double)NAN;
	v[1] = m->finite ? m->max : (double)NAN;
	v[2] = moments_mean(m);
	v[3] = moments_std(m);
	v[4] = moments_norm(m);
}

static void
json_stats(struct job *j, const struct row *row, const struct moments *m)
{
	const uint64_t counts[] = { m->zeros, m->nans, m->pinf, m->ninf };
	static const char *const names[] = { "zeros", "nan", "posinf", "neginf" };
	struct json_writer *w = &j->in->json;
	double v[FIGURES];

	json_begin_inline_object(w);
	json_key(w, "name");
	json_put_str(w, row->name);
	json_key(w, "dtype");
	json_put_cstr(w, dtype_name(row->t->dtype));
	json_key(w, "numel");
	json_put_u64(w, row->numel);
	figures_of(m, v);
	for (size_t i = 0; i < FIGURES; i++) {
		json_key(w, figure_names[i]);
		if (has_figures(row))
			json_put_double(w, v[i]);
		else
			json_put_null(w);
	}
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		json_key(w, names[i]);
		if (has_figures(row))
			json_put_u64(w, counts[i]);
		else
			json_put_null(w);
	}
	json_end_object(w);
	if (j->in->o->format == FORMAT_JSONL)
		json_finish(w);
	inspect_drain(j->in);
}

static int
tsv_stats(struct job *j, const struct row *row, const struct moments *m, struct err *e)
{
	struct out *out = &j->in->out;
	double v[FIGURES];
	char text[32];

	if (inspect_put_name(j, row->name, e) < 0)
		return -1;
	out_printf(out, "\t%s\t%" PRIu64, dtype_name(row->t->dtype), row->numel);
	figures_of(m, v);
	for (size_t i = 0; i < FIGURES; i++) {
		num_repr(v[i], text);
		out_printf(out, "\t%s", has_figures(row) ? text : "-");
	}
	if (has_figures(row))
		out_printf(out, "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\n", m->zeros, m->nans, m->pinf, m->ninf);
	else
		out_puts(out, "\t-\t-\t-\t-\n");
	return 0;
}

static const struct table_column columns[] = {
	{ "name", false, true, STYLE_NAME },     { "dtype", false, false, STYLE_PLAIN },
	{ "elements", true, false, STYLE_PLAIN }, { "min", true, false, STYLE_PLAIN },
	{ "max", true, false, STYLE_PLAIN },     { "mean", true, false, STYLE_PLAIN },
	{ "std", true, false, STYLE_PLAIN },     { "norm", true, false, STYLE_PLAIN },
	{ "zeros", true, false, STYLE_PLAIN },   { "nan", true, false, STYLE_BAD },
	{ "inf", true, false, STYLE_BAD },
};

static void
count_cell(struct table *t, uint64_t n)
{
	char text[HUMAN_SIZE];

	table_cellc(t, n == 0 ? "." : human_count(n, text));
}

/* On a terminal of 80 columns figures go before what the list says, too, and are shorter. */
enum { WIDE = 100 };

static void
table_stats(struct table *t, bool wide, const struct row *row, const struct moments *m)
{
	char text[HUMAN_SIZE];
	double v[FIGURES];

	table_cell(t, row->name);
	table_cellc(t, wide ? dtype_name(row->t->dtype) : "");
	table_cellc(t, wide ? human_count(row->numel, text) : "");
	figures_of(m, v);
	for (size_t i = 0; i < FIGURES; i++) {
		if (has_figures(row) && !isnan(v[i]))
			table_cellf(t, "%.*g", wide ? 5 : 4, v[i]);
		else
			table_cellc(t, "-");
	}
	count_cell(t, m->zeros);
	count_cell(t, m->nans);
	count_cell(t, m->pinf + m->ninf);
}

static int
put_stats(struct job *j, const struct figures *f, struct err *e)
{
	const struct rows *r = &j->rows;
	struct table t;
	int rc = 0;

	if (j->in->o->format == FORMAT_TABLE)
		table_init(&t, columns, sizeof(columns) / sizeof(columns[0]));
	for (size_t i = 0; i < r->n && rc == 0 && !out_failed(&j->in->out); i++) {
		if (j->in->o->format == FORMAT_TABLE)
			table_stats(&t, j->in->out.width >= WIDE, &r->v[i], &f->moments[i]);
		else if (inspect_json(j->in))
			json_stats(j, &r->v[i], &f->moments[i]);
		else
			rc = tsv_stats(j, &r->v[i], &f->moments[i], e);
	}
	if (j->in->o->format == FORMAT_TABLE) {
		table_print(&t, &j->in->out);
		table_release(&t);
	}
	return rc;
}

int
stats_run(struct job *j, struct err *e)
{
	struct figures f;
	int rc = take_figures(j, false, &f, e);

	if (rc == 0 && j->in->o->format == FORMAT_JSON) {
		inspect_begin(j);
		json_key(&j->in->json, "key");
		json_put_str(&j->in->json, j->input.sd.key);
		json_key(&j->in->json, "tensors");
		json_begin_array(&j->in->json);
	}
	if (rc == 0 && !inspect_json(j->in)) {
		inspect_heading(j);
		if (j->in->o->format == FORMAT_TSV)
			out_puts(&j->in->out, "#name\tdtype\tnumel\tmin\tmax\tmean\tstd\tnorm\tzeros\tnan\tposinf\tneginf\n");
	}
	if (rc == 0)
		rc = put_stats(j, &f, e);
	if (rc == 0 && j->in->o->format == FORMAT_JSON) {
		json_end_array(&j->in->json);
		inspect_end(j);
	}
	figures_release(&f);
	return rc;
}

/* ---- --check */

struct check {
	struct job *j;
	uint64_t findings, storages, without;
	bool failed; /* with the error set */
	struct err *e;
};

/* One line, or one object of "findings": the tensor (or storage), what, how many elements. */
static void
finding(struct check *c, struct str name, const char *what, uint64_t count)
{
	struct json_writer *w = &c->j->in->json;
	struct out *out = &c->j->in->out;

	c->findings++;
	if (inspect_json(c->j->in)) {
		json_begin_inline_object(w);
		json_key(w, "name");
		json_put_str(w, name);
		json_key(w, "finding");
		json_put_cstr(w, what);
		json_key(w, "count");
		json_put_u64(w, count);
		json_end_object(w);
		if (c->j->in->o->format == FORMAT_JSONL)
			json_finish(w);
		inspect_drain(c->j->in);
		return;
	}
	if (c->failed || inspect_put_name(c->j, name, c->e) < 0) {
		c->failed = true;
		return;
	}
	out_putc(out, '\t');
	out_style(out, STYLE_BAD);
	out_puts(out, what);
	out_style(out, STYLE_PLAIN);
	if (count > 0)
		out_printf(out, "\t%" PRIu64, count);
	out_putc(out, '\n');
}

static int
check_crcs(struct check *c, const struct figures *f, struct err *e)
{
	struct ckpt *k = c->j->input.ckpt;
	struct buf b = BUF_INIT;
	bool known = false;
	uint32_t crc = 0;
	int rc = 0;

	for (uint32_t s = 0; rc == 0 && s < k->nstorages; s++) {
		rc = ckpt_crc(k, s, &crc, &known, e);
		if (rc < 0)
			break;
		c->storages += known;
		c->without += !known;
		if (!known || crc == f->crc[s])
			continue;
		buf_clear(&b);
		buf_adds(&b, "data/");
		buf_addstr(&b, k->storages[s].key);
		finding(c, buf_str(&b), "crc", 0);
	}
	buf_release(&b);
	return rc;
}

static void
check_values(struct check *c, const struct figures *f)
{
	const unsigned on = c->j->in->o->fail_on;

	for (size_t i = 0; i < c->j->rows.n; i++) {
		const struct row *row = &c->j->rows.v[i];
		const struct moments *m = &f->moments[i];

		if (m->nans > 0 && (on & FAIL_NAN))
			finding(c, row->name, "nan", m->nans);
		if (m->pinf + m->ninf > 0 && (on & FAIL_INF))
			finding(c, row->name, "inf", m->pinf + m->ninf);
		if (row->numel > 0 && m->zeros == row->numel && (on & FAIL_ZERO))
			finding(c, row->name, "zero", m->zeros);
	}
}

static void
begin_check(struct check *c)
{
	if (!inspect_json(c->j->in))
		inspect_heading(c->j);
	if (c->j->in->o->format != FORMAT_JSON)
		return;
	inspect_begin(c->j);
	json_key(&c->j->in->json, "findings");
	json_begin_array(&c->j->in->json);
}

static void
end_check(const struct check *c)
{
	struct json_writer *w = &c->j->in->json;

	if (c->j->in->o->format == FORMAT_JSON) {
		json_end_array(w);
		json_key(w, "tensors");
		json_put_u64(w, c->j->rows.n);
		json_key(w, "crcs");
		json_put_u64(w, c->storages);
		json_key(w, "without_crc");
		json_put_u64(w, c->without);
		json_key(w, "ok");
		json_put_bool(w, c->findings == 0);
		inspect_end(c->j);
	} else if (!inspect_json(c->j->in) && !tool_settings.quiet && c->findings == 0) {
		out_style(&c->j->in->out, STYLE_GOOD);
		out_puts(&c->j->in->out, "ok");
		out_style(&c->j->in->out, STYLE_PLAIN);
		out_printf(&c->j->in->out, ": %zu tensors, %" PRIu64 " CRCs agree", c->j->rows.n, c->storages);
		if (c->without > 0)
			out_printf(&c->j->in->out, ", %" PRIu64 " storages state none", c->without);
		out_putc(&c->j->in->out, '\n');
	}
}

int
check_run(struct job *j, struct err *e)
{
	struct check c = { .j = j, .e = e };
	struct figures f;
	int rc = take_figures(j, true, &f, e);

	/* The end of a stream has the directory, with the CRCs. */
	if (rc == 0)
		rc = ckpt_finish(j->input.ckpt, e);
	if (rc == 0) {
		begin_check(&c);
		rc = check_crcs(&c, &f, e);
		check_values(&c, &f);
		rc = c.failed ? -1 : rc;
		if (rc == 0)
			end_check(&c);
	}
	if (c.findings > 0)
		j->in->status = tool_worst(j->in->status, TOOL_NO);
	figures_release(&f);
	return rc;
}
