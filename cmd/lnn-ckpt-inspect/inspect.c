#include "inspect.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "common/file.h"
#include "common/progress.h"
#include "report.h"
#include "tensor/place.h"

#define REPORT_ADDRESS(name) &report_##name,
const struct report *const report_table[REPORT_COUNT] = { REPORTS(REPORT_ADDRESS) };

static bool
is_chosen(const struct inspect *in, size_t i)
{
	return (in->o->reports >> i & 1) != 0;
}

void
job_status(struct job *j, int status)
{
	j->in->status = tool_worst(j->in->status, status);
}

/* ---- headings and documents */

static enum record_form
form_of(const struct inspect *in, const struct report *report)
{
	switch (in->o->format) {
	case FORMAT_TABLE: return RECORD_TABLE;
	case FORMAT_TSV: return RECORD_TSV;
	case FORMAT_JSON: return RECORD_JSON;
	case FORMAT_JSONL: return RECORD_JSONL;
	case FORMAT_AUTO: return in->out.tty && report->takes != 0 && !in->names_only ? RECORD_TABLE : report->piped;
	default: return RECORD_LINES;
	}
}

/* Prints "# TEXT" as a line. */
static void
put_heading(struct out *out, const char *text)
{
	out_style(out, STYLE_BOLD);
	out_puts(out, "# ");
	out_show(out, str_c(text));
	out_style(out, STYLE_PLAIN);
	out_putc(out, '\n');
}

/* Begins the JSON object of an operand. */
static void
begin_document(struct job *j)
{
	struct record *r = j->record;

	json_begin_object(&r->json);
	record_member(r, "schema", RECORD_COUNT, cell_count(1));
	record_member(r, "file", RECORD_TEXT, cell_word(j->file));
	if (j->input.ckpt != NULL && j->in->needs != NEEDS_PICKLES)
		record_member(r, "format", RECORD_TEXT, cell_word(j->input.ckpt->ops->name));
}

void
job_begin_report(struct job *j)
{
	const bool lines = !record_is_json(j->record);

	if (!j->begun && lines && j->in->operands > 1 && j->report->takes != 0 && !j->in->o->common.null)
		put_heading(&j->in->out, j->file);
	else if (!j->begun && j->record->form == RECORD_JSON)
		begin_document(j);
	j->begun = j->open = true;
	if (!j->in->combined)
		return;
	if (lines) {
		put_heading(&j->in->out, j->report->option.name);
	} else {
		json_begin_object(json_key(&j->record->json, j->report->option.name));
	}
}

static void
end_document(struct job *j)
{
	if (!j->begun || j->open || j->record->form != RECORD_JSON)
		return;
	json_end_object(&j->record->json);
	if (j->in->operands < 2)
		json_finish(&j->record->json);
}

/* ---- one operand: its data */

static size_t
nrows(const struct job *j)
{
	return j->in->needs & (NEEDS_FIGURES | NEEDS_SPECIAL | NEEDS_DIGESTS) ? j->rows.n : 0;
}

const struct digest *
data_digest(const struct job *j, size_t i)
{
	return &j->data.figures.digests[nrows(j) + i];
}

/* known: is called during the reading when the data of the first n rows is complete, each time with a larger n; may be NULL. */
static int
take(struct job *j, int (*known)(void *arg, size_t n, struct err *err), void *arg, struct err *err)
{
	const struct inspect_opts *o = j->in->o;
	const size_t n = nrows(j);
	struct data *d = &j->data;
	struct compare_opts compare = { .here = j->input.ckpt,
					.there = d->there,
					.atol = fmax(o->atol, 0),
					.rtol = fmax(o->rtol, 0),
					.nan_equal = o->nans != NAN_DIFFER };
	struct figures_opts f = { .tick = progress_tick,
				  .crcs = (j->in->needs & NEEDS_CRCS) != 0,
				  .pairs = d->pairs,
				  .npairs = d->npairs,
				  .known = known,
				  .known_arg = arg,
				  .measured = j->in->needs & (NEEDS_FIGURES | NEEDS_SPECIAL) ? n : 0,
				  .special = !(j->in->needs & NEEDS_FIGURES) && !(o->fail_on & FAIL_ZERO),
				  .hashed = d->nhashed + (j->in->needs & NEEDS_DIGESTS ? n : 0) };
	const struct tensor **tensors;
	int rc;

	if (d->taken)
		return 0;
	d->taken = true;
	tensors = xcalloc(n + d->nhashed + 1, sizeof(const struct tensor *));
	for (size_t i = 0; i < n; i++)
		tensors[i] = j->rows.v[i].t;
	for (size_t i = 0; i < d->nhashed; i++)
		tensors[n + i] = d->hashed[i];
	f.compare = d->there != NULL ? &compare : NULL;
	f.pool = pool_new((unsigned)o->common.jobs);
	progress_start(n == 0 ? "comparing" : "reading");
	rc = figures_take(&d->figures, j->input.ckpt, tensors, n + d->nhashed, &f, err);
	progress_end();
	pool_free(f.pool);
	free(tensors);
	return rc;
}

int
data_take(struct job *j, struct err *err)
{
	return take(j, NULL, NULL, err);
}

struct data_lines {
	struct job *j;
	const struct data_table *t;
	size_t next; /* row to be printed */
};

/* Prints the rows before n that are not printed yet. */
static int
put_lines(struct data_lines *l, size_t n, struct err *err)
{
	struct job *j = l->j;

	if (!j->open) {
		job_begin_report(j);
		record_member(j->record, "key", RECORD_TEXT, cell_text(j->input.sd.key));
		record_rows(j->record, l->t->table, l->t->columns);
	}
	for (; l->next < n && l->next < j->rows.n && !out_failed(j->record->out); l->next++)
		if (l->t->put(l->t->state, l->next, err) < 0)
			return -1;
	return 0;
}

/* Prints rows in large batches. Printing each row alone would evict the data from the caches of the processor. */
static int
put_known(void *arg, size_t n, struct err *err)
{
	struct record *r = ((struct data_lines *)arg)->j->record;

	if (!out_flush_is_due(r->out))
		return 0;
	if (put_lines(arg, n, err) < 0)
		return -1;
	record_drain(r, true);
	out_flush(r->out);
	return 0;
}

int
data_put(struct job *j, const struct data_table *t, struct err *err)
{
	struct data_lines l = { .j = j, .t = t };

	if (take(j, record_is_early(j->record) ? put_known : NULL, &l, err) < 0 || put_lines(&l, j->rows.n, err) < 0)
		return -1;
	record_rows_end(j->record);
	return 0;
}

/* Warns of storages that were read and whose CRC is not the stated one. Then sets the status to TOOL_NO. */
static int
data_check_crcs(struct job *j, struct err *err)
{
	struct ckpt *c = j->input.ckpt;
	bool known = false;
	uint32_t crc = 0;

	for (uint32_t i = 0; j->data.taken && i < c->nstorages; i++) {
		if (!j->data.figures.has_crc[i])
			continue;
		if (ckpt_crc(c, i, &crc, &known, err) < 0)
			return -1;
		if (!known || crc == j->data.figures.crc[i])
			continue;
		tool_warn("%s: the CRC of storage '%.*s' does not match its bytes: the file is damaged", c->file,
			  STR_ARG(c->storages[i].key));
		job_status(j, TOOL_NO);
	}
	return 0;
}

/* ---- one operand: opening */

/*
 * Reads the values outside the state dict that the reports need. --summary names the entries of the root; it ignores errors of
 * reading them.
 */
static int
read_values(const struct job *j, struct err *err)
{
	struct ckpt *c = j->input.ckpt;
	struct err ignored = ERR_INIT;

	if (is_chosen(j->in, REPORT_summary))
		(void)ckpt_fill(c, str_c(""), 1, &ignored);
	if (j->in->needs & NEEDS_VALUES)
		return ckpt_fill(c, str_c(""), SIZE_MAX, err);
	return j->in->o->path != NULL ? ckpt_fill(c, str_c(j->in->o->path), SIZE_MAX, err) : 0;
}

/* Opens the state dict. It may be absent for --rest and --get, which do not need it. */
static int
open_state_dict(struct job *j, struct err *err)
{
	/* If no rule decides which dict is the state dict, the root is shown, so that the user can choose with -k. */
	struct place_ask ask = { .key = j->in->o->common.key, .root = true, .diag = tool_diag() };
	struct err own = ERR_INIT;

	if (j->in->o->reports == 1u << REPORT_get)
		ask.diag = NULL;
	if (statedict_open_place(&j->input.sd, j->input.ckpt, &ask, &own) == 0)
		return input_check_pieces(&j->input, true, err);
	if (!(j->in->needs & NEEDS_DICT) && j->in->o->common.key == NULL) {
		statedict_release(&j->input.sd);
		j->input.sd = (struct statedict){ .ckpt = NULL };
		return 0;
	}
	*err = own;
	return -1;
}

/* Fails before anything is printed if a name cannot be represented in lines. */
static int
check_names(struct job *j, struct err *err)
{
	for (size_t i = 0; i < REPORT_COUNT && j->in->o->format != FORMAT_MODEL; i++) {
		if (!is_chosen(j->in, i) || !report_table[i]->names_rows)
			continue;
		j->record->form = form_of(j->in, report_table[i]);
		for (size_t k = 0; k < j->rows.n; k++)
			if (record_check_name(j->record, j->rows.v[k].name, err) < 0)
				return -1;
	}
	return 0;
}

static int
open_index(struct job *j, struct err *err)
{
	if (input_open_index(&j->input, j->input.src, err) < 0)
		return -1;
	if (j->in->needs == NEEDS_PICKLES)
		return 0;
	if (read_values(j, err) < 0 || open_state_dict(j, err) < 0)
		return -1;
	if (j->input.sd.ckpt == NULL)
		return 0;
	if (rows_choose(&j->rows, j->in, &j->input.sd, err) < 0 || check_names(j, err) < 0)
		return -1;
	rows_sort(&j->rows, j->in->o->sort);
	/* --against is excluded, because -e also selects names of the target there. */
	if (j->rows.n == 0 && j->in->o->exprs.n > 0 && j->in->o->reports != 1u << REPORT_against)
		job_status(j, TOOL_NO);
	return 0;
}

/* ---- one operand: reports */

static int
prepare(struct job *j, bool early, struct err *err)
{
	for (size_t i = 0; i < REPORT_COUNT; i++) {
		const struct report *report = report_table[i];

		if (!is_chosen(j->in, i) || early != ((report->needs & NEEDS_PICKLES) != 0))
			continue;
		j->states[i] = xcalloc(1, report->size + 1);
		if (report->prepare != NULL && report->prepare(j->states[i], j, err) < 0)
			return -1;
	}
	return 0;
}

/* Runs the chosen reports. If no checkpoint could be opened, runs only those that need none. */
static int
run_reports(struct job *j, struct err *err)
{
	for (size_t i = 0; i < REPORT_COUNT; i++) {
		const struct report *report = report_table[i];

		if (!is_chosen(j->in, i) || (j->failure.code != ERR_NONE && report->needs != NEEDS_PICKLES))
			continue;
		j->report = report;
		j->record->form = form_of(j->in, report);
		if (report->run(j->states[i], j, err) < 0)
			return -1;
		if (j->in->combined && j->record->form == RECORD_JSON)
			json_end_object(&j->record->json);
		else if (!record_is_json(j->record))
			record_drain(j->record, true);
		j->open = false;
		if (out_failed(&j->in->out))
			return 0;
	}
	return 0;
}

static void
release_states(struct job *j)
{
	for (size_t i = 0; i < REPORT_COUNT; i++) {
		if (j->states[i] != NULL && report_table[i]->release != NULL)
			report_table[i]->release(j->states[i]);
		free(j->states[i]);
	}
}

/*
 * Reads a stream to its end, so that damage is detected and the writing program can finish. A file must not have changed since it
 * was opened, because the reports might then mix two states.
 */
int
job_finish(struct job *j, struct err *err)
{
	int rc;

	if (j->finished)
		return 0;
	j->finished = true;
	if (j->in->needs == NEEDS_PICKLES)
		return source_verify(j->input.src, err);
	if (source_is_stream(j->input.src) && !j->data.taken)
		out_flush(&j->in->out);
	rc = j->data.taken ? ckpt_finish(j->input.ckpt, err) : input_finish(&j->input, err);
	if (rc < 0 || is_chosen(j->in, REPORT_check))
		return rc;
	ckpt_warn_index(j->input.ckpt);
	return data_check_crcs(j, err);
}

static int
run_job(struct job *j, const char *operand, struct err *err)
{
	int rc = file_checkpoint(operand, FILE_BINARY, &j->input.src, err);

	if (rc < 0)
		return -1;
	j->file = source_name(j->input.src);
	j->record->file = j->file;
	rc = prepare(j, true, err);
	if (rc == 0 && open_index(j, &j->failure) < 0 && !(j->in->needs & NEEDS_PICKLES)) {
		*err = j->failure;
		rc = -1;
	}
	if (rc == 0 && j->failure.code == ERR_NONE)
		rc = prepare(j, false, err);
	if (rc == 0)
		rc = run_reports(j, err);
	end_document(j);
	if (rc == 0 && j->failure.code == ERR_NONE)
		return job_finish(j, err);
	if (rc == 0 && j->in->needs != NEEDS_PICKLES) {
		*err = j->failure;
		rc = -1;
	}
	return rc;
}

static int
run_operand(struct inspect *in, const char *operand, struct err *err)
{
	void *states[REPORT_COUNT] = { NULL };
	struct job j = { .in = in, .record = &in->record, .states = states };
	int rc = run_job(&j, operand, err);

	release_states(&j);
	figures_release(&j.data.figures);
	free(j.data.pairs);
	free(j.data.hashed);
	rows_release(&j.rows);
	input_close(&j.input);
	return rc;
}

/* ---- all operands */

static int
compile(struct inspect *in, struct err *err)
{
	const struct strs *exprs = &in->o->exprs;
	struct pyre_error why;

	in->exprs = xcalloc(exprs->n ? exprs->n : 1, sizeof(*in->exprs));
	for (size_t i = 0; i < exprs->n; i++)
		if (pyre_compile(str_c(exprs->v[i]), &in->exprs[i], &why) < 0)
			return err_set(err, ERR_USAGE, "-e %s: at byte %zu: %s", exprs->v[i], why.offset, why.reason);
	return 0;
}

static void
release(struct inspect *in)
{
	for (size_t i = 0; in->exprs != NULL && i < in->o->exprs.n; i++)
		pyre_free(in->exprs[i]);
	free(in->exprs);
	record_release(&in->record);
}

/* Processes all operands. An error in one is reported, and the next one is processed. */
static int
run_all(struct inspect *in, const struct operands *operands, struct err *err)
{
	const bool array = in->operands > 1 && in->o->format == FORMAT_JSON;
	int rc = 0;

	if (array)
		json_begin_array(&in->record.json);
	for (size_t i = 0; i < in->operands; i++) {
		struct err own = ERR_INIT;

		rc = run_operand(in, operands->n ? operands->v[i] : NULL, &own);
		record_drain(&in->record, true);
		if (out_failed(&in->out)) {
			*err = in->out.err;
			return -1;
		}
		if (rc == 0)
			continue;
		if (in->operands == 1) {
			*err = own;
			return -1;
		}
		out_flush(&in->out);
		in->status = tool_worst(in->status, tool_fail(&own));
	}
	if (array) {
		json_end_array(&in->record.json);
		json_finish(&in->record.json);
		record_drain(&in->record, true);
	}
	return 0;
}

static void
begin(struct inspect *in)
{
	for (size_t i = 0; i < REPORT_COUNT; i++)
		in->needs |= is_chosen(in, i) ? report_table[i]->needs : 0;
	in->combined = (in->o->reports & (in->o->reports - 1)) != 0;
	in->names_only = in->o->common.null || in->o->format == FORMAT_NAMES;
	record_init(&in->record, &in->out, in->o->format != FORMAT_JSONL);
}

int
inspect_run(const struct inspect_opts *o, const struct operands *operands, struct err *err, int *status)
{
	struct inspect in = { .o = o, .operands = operands->n ? operands->n : 1, .status = TOOL_DONE };
	const bool file = o->common.output != NULL && strcmp(o->common.output, "-") != 0;
	struct err late = ERR_INIT;
	int rc;

	begin(&in);
	rc = compile(&in, err);
	if (rc == 0)
		rc = file_operands(operands->v, operands->n, o->common.output, err);
	if (rc == 0)
		rc = out_open(&in.out, o->common.output, err);
	if (rc == 0) {
		rc = run_all(&in, operands, err);
		/* After an error, no file is created or replaced. */
		if (file && (rc < 0 || in.status == TOOL_TROUBLE))
			out_abort(&in.out);
		else if (out_end(&in.out, rc == 0 ? err : &late) < 0)
			rc = -1;
	}
	release(&in);
	*status = in.status;
	return rc;
}
