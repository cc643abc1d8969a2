/*
 * report: what lnn-ckpt-inspect can be asked for. A report is a file with a const struct report, and a line in REPORTS.
 */
#ifndef LNN_REPORT_H
#define LNN_REPORT_H

#include "inspect.h"

#define OPTIONS struct inspect_opts

/* What must be there before a report is made. */
enum {
	NEEDS_PICKLES = 1,  /* the input as it is, before a checkpoint is made of it; alone: nothing else */
	NEEDS_INDEX = 2,    /* an open checkpoint */
	NEEDS_DICT = 4,     /* its state dict, and the chosen rows of it */
	NEEDS_FIGURES = 8,  /* moments of the rows in job.data, once data_take was called */
	NEEDS_SPECIAL = 64, /* of moments at least how many elements are not finite; with --fail-on=zero all of them */
	NEEDS_CRCS = 16,    /* CRCs of all storages, likewise */
	NEEDS_DIGESTS = 32, /* digests of the rows, likewise */
};

/* Which words of --format a report obeys. */
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
	struct option_entry option; /* that asks for it; the list has none */
	unsigned needs;             /* NEEDS_* */
	unsigned takes;             /* TAKES_*; 0: the report has a form of its own */
	enum record_form piped;     /* without --format, where there is no terminal; TSV if not set */
	bool alone;                 /* does not combine with other reports */
	bool single;                /* of one operand only */
	bool names_rows;            /* prints the names of the rows */
	size_t size;                /* of its state, which is zeroed for each operand */
	/* Called before any data is read, and, if it NEEDS_PICKLES, before a checkpoint is opened. May be NULL. */
	int (*prepare)(void *state, struct job *j, struct err *err);
	/* Prints; job_begin_report is due first. A negative answer is a job_status(j, TOOL_NO). */
	int (*run)(void *state, struct job *j, struct err *err);
	void (*release)(void *state); /* also of a state that is zero; may be NULL */
};

/* Every report, in the order in which they are printed. */
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
