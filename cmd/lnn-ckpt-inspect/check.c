/*
 * --check: reports damaged storages (by their CRCs) and values that weights should not have.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/text.h"
#include "report.h"

static const struct record_column columns[] = {
	{ "name", NULL, RECORD_TEXT, IN_ALL, COLUMN_NAME, 0, STYLE_PLAIN },
	{ "finding", NULL, RECORD_TEXT, IN_ALL, 0, 0, STYLE_BAD },
	{ "count", NULL, RECORD_COUNT, IN_ALL, 0, 0, STYLE_PLAIN },
};

static const struct record_table table = { "findings", columns, 3, .titles = true, .sparse = true };

struct check {
	struct job *j;
	uint64_t findings, storages, without;
};

/* Prints a finding about a tensor or a record. count is the number of elements, or 0 for a record. */
static int
put_finding(struct check *c, struct str name, const char *what, uint64_t count, struct err *err)
{
	struct record *r = c->j->record;
	struct cell cells[] = { cell_text(name), cell_word(what), cell_count(count) };

	if (count == 0 && !record_is_json(r))
		cells[2] = (struct cell){ 0 };
	c->findings++;
	return record_row(r, cells, err);
}

static int
put_storage(struct check *c, uint32_t storage, const char *what, struct err *err)
{
	const struct ckpt *k = c->j->input.ckpt;
	struct buf b = BUF_INIT;
	int rc;

	if (k->ops->describe != NULL)
		k->ops->describe(k, storage, &b);
	else
		buf_addf(&b, "data/%.*s", STR_ARG(k->storages[storage].key));
	rc = put_finding(c, buf_str(&b), what, 0, err);
	buf_release(&b);
	return rc;
}

static int
check_crcs(struct check *c, struct err *err)
{
	struct ckpt *k = c->j->input.ckpt;
	const uint32_t *found = c->j->data.figures.crc;
	bool known = false;
	uint32_t crc = 0;
	int rc = 0;

	for (uint32_t s = 0; rc == 0 && s < k->nstorages; s++) {
		rc = ckpt_crc(k, s, &crc, &known, err);
		if (rc < 0)
			break;
		c->storages += known;
		c->without += !known;
		if (known && crc != found[s])
			rc = put_storage(c, s, "crc", err);
		else if (k->ops->original != NULL && found[s] != found[k->ops->original(k, s)])
			rc = put_storage(c, s, "copy", err);
	}
	return rc;
}

/* Reports damaged records that are not storages. */
static int
check_index(struct check *c, struct err *err)
{
	const struct ckpt *k = c->j->input.ckpt;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < k->ndamaged; i++)
		rc = put_finding(c, k->damaged[i], "crc", 0, err);
	return rc;
}

static int
check_values(struct check *c, struct err *err)
{
	const unsigned given = c->j->in->o->fail_on, on = given != 0 ? given : FAIL_NAN | FAIL_INF;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < c->j->rows.n; i++) {
		const struct row *row = &c->j->rows.v[i];
		const struct moments *m = &c->j->data.figures.moments[i];

		if (m->nans > 0 && (on & FAIL_NAN))
			rc = put_finding(c, row->name, "nan", m->nans, err);
		if (rc == 0 && m->pinf + m->ninf > 0 && (on & FAIL_INF))
			rc = put_finding(c, row->name, "inf", m->pinf + m->ninf, err);
		if (rc == 0 && tensor_count(row->t) > 0 && m->zeros == tensor_count(row->t) && (on & FAIL_ZERO))
			rc = put_finding(c, row->name, "zero", m->zeros, err);
	}
	return rc;
}

static void
put_totals(const struct check *c)
{
	struct record *r = c->j->record;
	char text[128];
	int n;

	record_member(r, "tensors", RECORD_COUNT, cell_count(c->j->rows.n));
	record_member(r, "crcs", RECORD_COUNT, cell_count(c->storages));
	record_member(r, "without_crc", RECORD_COUNT, cell_count(c->without));
	record_member(r, "ok", RECORD_BOOL, cell_bool(c->findings == 0));
	if (c->j->in->o->common.quiet || c->findings > 0)
		return;
	n = snprintf(text, sizeof(text), ": %zu %s, %" PRIu64 " %s", c->j->rows.n, text_noun(c->j->rows.n, "tensor"), c->storages,
		     c->storages == 1 ? "CRC agrees" : "CRCs agree");
	if (c->without > 0)
		snprintf(text + n, sizeof(text) - (size_t)n, ", %" PRIu64 " %s", c->without,
			 c->without == 1 ? "storage states none" : "storages state none");
	record_note(r, STYLE_GOOD, "ok", text);
}

static int
prepare(void *state, struct job *j, struct err *err)
{
	(void)state;
	return ckpt_check_records(j->input.ckpt, err);
}

static int
run(void *state, struct job *j, struct err *err)
{
	struct check *c = state;
	int rc = data_take(j, err);

	c->j = j;
	/* The CRCs are in the zip directory, which is at the end of a stream. */
	if (rc == 0)
		rc = job_finish(j, err);
	if (rc < 0)
		return -1;
	job_begin_report(j);
	record_rows(j->record, &table, 0);
	rc = check_index(c, err);
	if (rc == 0)
		rc = check_crcs(c, err);
	if (rc == 0)
		rc = check_values(c, err);
	if (c->findings > 0)
		job_status(j, TOOL_NO);
	if (rc < 0)
		return -1;
	record_rows_end(j->record);
	put_totals(c);
	return 0;
}

const struct report report_check = {
	.option = OPTION_BARE("check", "CRCs, and values that are not finite"),
	.needs = NEEDS_INDEX | NEEDS_DICT | NEEDS_VALUES | NEEDS_SPECIAL | NEEDS_CRCS,
	.takes = TAKES_FORMS | TAKES_JSONL,
	.piped = RECORD_LINES,
	.names_rows = true,
	.size = sizeof(struct check),
	.prepare = prepare,
	.run = run,
};
