/*
 * inspect: state shared by the parts of lnn-ckpt-inspect: its options, the run, and the present operand.
 */
#ifndef LNN_INSPECT_H
#define LNN_INSPECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/ckpt_in.h"
#include "common/option.h"
#include "common/out.h"
#include "common/record.h"
#include "common/tool.h"
#include "model/model.h"
#include "rows.h"
#include "stats/figures.h"
#include "text/pyre.h"

/* The formats, in the order of the words of --format. */
enum inspect_format { FORMAT_TABLE, FORMAT_TSV, FORMAT_NAMES, FORMAT_JSON, FORMAT_JSONL, FORMAT_MODEL, FORMAT_AUTO };

enum dump_form { DUMP_TEXT, DUMP_NPY, DUMP_RAW, DUMP_UNSAID };

/* The findings that --check --fail-on can name, in the order of its words. */
enum { FAIL_NAN = 1, FAIL_INF = 2, FAIL_ZERO = 4 };

struct inspect_opts {
	struct tool_settings common;
	unsigned reports; /* set of bits 1 << REPORT_* */
	enum inspect_format format;
	enum rows_order sort;
	bool invert, longer, fold, values, renames, suggest;
	uint64_t depth;   /* depth of --tree=DEPTH; UINT64_MAX: unlimited */
	const char *path; /* path of --get or --dump */
	const char *target_key;
	enum dump_form dump_as;
	unsigned fail_on;  /* set of FAIL_*; 0: not given */
	double atol, rtol; /* negative: not given */
	enum { NAN_EQUAL, NAN_DIFFER, NAN_UNSAID } nans;
	struct strs exprs, against, strip;
};

struct inspect {
	const struct inspect_opts *o;
	struct out out;
	struct record record;
	struct pyre **exprs;
	size_t operands;
	unsigned needs;  /* set of NEEDS_* (report.h) of all chosen reports */
	bool names_only; /* -0 or --format=names */
	bool combined;   /* more than one report is chosen */
	int status;      /* exit status so far */
};

/* The data of a checkpoint. It is read only once, for all reports together. */
struct data {
	/* Set by --against before the data is read: tensors to compare with those of another checkpoint. */
	struct ckpt *there;
	struct compare_pair *pairs;
	size_t npairs;
	const struct tensor **hashed; /* set by a report before the data is read: further tensors whose digests it needs */
	size_t nhashed;
	/* Results: moments and digests by row, then the digests of hashed, and the differences by pair. */
	struct figures figures;
	bool taken;
};

/* The state of processing one operand. */
struct job {
	struct inspect *in;
	struct record *record;       /* points to in->record */
	const struct report *report; /* the report that is being made */
	/* input.ckpt is NULL if no checkpoint could be opened, input.sd.ckpt is NULL if there is no state dict */
	struct input input;
	struct rows rows; /* tensors selected by -e and -v, in the order of --sort */
	const char *file;
	struct err failure; /* why no checkpoint could be opened; empty if one could */
	struct data data;
	void **states; /* states of the chosen reports, by number */
	bool begun;    /* something was printed about the operand */
	bool open;     /* a report has begun and not ended */
	bool finished;
};

/*
 * Prints the headings of a report: the file if there are several operands, and the name of the report if several are chosen. Must
 * be called before anything of a report is printed, but as late as possible, after everything that may fail.
 */
void job_begin_report(struct job *j);

/* Raises the exit status of the run to status. */
void job_status(struct job *j, int status);

/* Reads a stream to its end and checks what is only known there. Further calls do nothing. */
int job_finish(struct job *j, struct err *err);

/* Reads the data. Further calls do nothing. */
int data_take(struct job *j, struct err *err);

/* A table of a report with one line for each row of the job. put writes a line once the data of the row is known. */
struct data_table {
	const struct record_table *table;
	unsigned columns; /* as in record_rows */
	int (*put)(void *state, size_t row, struct err *err);
	void *state;
};

/* Reads the data and prints the table. If the form allows it, lines are printed as soon as their data is known. */
int data_put(struct job *j, const struct data_table *t, struct err *err);

/* Returns the digest of data.hashed[i]. */
const struct digest *data_digest(const struct job *j, size_t i);

/*
 * Opens the targets that --against names (against.c). If the target is a checkpoint, other is open afterwards. The caller must
 * release both even after an error.
 */
int job_open_target(const struct job *j, struct model *model, struct input *other, struct err *err);

/* Computes digests of tensors of the checkpoint that job_open_target opened. The results are in f. */
int job_hash(const struct job *j, const struct input *other, const struct tensor *const *tensors, size_t n, struct figures *f,
	     struct err *err);

int inspect_run(const struct inspect_opts *o, const struct operands *operands, struct err *err, int *status);

#endif
