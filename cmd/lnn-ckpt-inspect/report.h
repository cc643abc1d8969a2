/*
 * report: the reports of lnn-ckpt-inspect. A report is a file with a const struct report, and an entry in REPORTS.
 */
#ifndef LNN_REPORT_H
#define LNN_REPORT_H

#include "inspect.h"

#define OPTIONS struct inspect_opts

/* What a report requires. */
enum {
	/* the input before it is opened as a checkpoint; if this is the only bit, the report is also made if it cannot be opened */
	NEEDS_PICKLES = 1,
	NEEDS_INDEX = 2,   /* an open checkpoint */
	NEEDS_DICT = 4,    /* its state dict and the selected rows */
	NEEDS_FIGURES = 8, /* moments of the rows, in job.data after data_take */
	/* at least the numbers of elements that are not finite, in job.data after data_take; --fail-on=zero needs all moments */
	NEEDS_SPECIAL = 64,
	NEEDS_CRCS = 16,    /* CRCs of all storages, in job.data after data_take */
	NEEDS_VALUES = 128, /* all values that are not tensors, also outside the state dict */
	NEEDS_DIGESTS = 32, /* digests of the rows, in job.data after data_take */
};

/* The formats that a report supports. */
enum {
	TAKES_TABLE = 1u << FORMAT_TABLE,
	TAKES_TSV = 1u << FORMAT_TSV,
	TAKES_NAMES = 1u << FORMAT_NAMES,
	TAKES_JSON = 1u << FORMAT_JSON,
	TAKES_JSONL = 1u << FORMAT_JSONL,
	TAKES_MODEL = 1u << FORMAT_MODEL,
	TAKES_FORMS = TAKES_TABLE | TAKES_TSV | TAKES_JSON,
};

struct report {
	struct option_entry option; /* the option that selects the report; empty for the list, which is the default */
	unsigned needs;             /* set of NEEDS_* */
	unsigned takes;             /* set of TAKES_*; 0: the report has a format of its own */
	enum record_form piped;     /* form without --format if the output is not a terminal; RECORD_TSV if not set */
	bool alone;                 /* cannot be combined with other reports */
	bool single;                /* accepts only one operand */
	bool names_rows;            /* prints the names of the rows */
	size_t size;                /* size of its state, which is cleared for each operand */
	/* Called before any data is read; if NEEDS_PICKLES is set, before the checkpoint is opened. May be NULL. */
	int (*prepare)(void *state, struct job *j, struct err *err);
	/* Prints the report, after calling job_begin_report. Calls job_status(j, TOOL_NO) for a negative answer. */
	int (*run)(void *state, struct job *j, struct err *err);
	void (*release)(void *state); /* must accept a state that is all zero; may be NULL */
};

/* All reports, in the order in which they are printed. */
#define REPORTS(X) \
	X(list)    \
	X(summary) \
	X(tree)    \
	X(globals) \
	X(digest)  \
	X(stats)   \
	X(check)   \
	X(against) \
	X(suggest) \
	X(rest)    \
	X(get)     \
	X(dump)

#define REPORT_NUMBER(name) REPORT_##name,
enum { REPORTS(REPORT_NUMBER) REPORT_COUNT };

#define REPORT_DECLARE(name) extern const struct report report_##name;
REPORTS(REPORT_DECLARE)

extern const struct report *const report_table[REPORT_COUNT];

#endif
