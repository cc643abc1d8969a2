/*
 * inspect: what the parts of lnn-ckpt-inspect share: its options, the run, and one operand.
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

/* In the order of the names that --format takes. */
enum inspect_format { FORMAT_TABLE, FORMAT_TSV, FORMAT_NAMES, FORMAT_JSON, FORMAT_JSONL, FORMAT_MODEL, FORMAT_AUTO };

enum dump_form { DUMP_TEXT, DUMP_NPY, DUMP_RAW, DUMP_UNSAID };

/* What --check --fail-on names, in the order of its words. */
enum { FAIL_NAN = 1, FAIL_INF = 2, FAIL_ZERO = 4 };

struct inspect_opts {
	struct tool_settings common;
	unsigned reports; /* bits of report_table */
	enum inspect_format format;
	enum rows_order sort;
	bool invert, longer, fold, values, renames, suggest;
	uint64_t depth;   /* --tree=DEPTH; UINT64_MAX: all */
	const char *path; /* --get, --dump */
	const char *target_key;
	enum dump_form dump_as;
	unsigned fail_on;  /* FAIL_*; 0: not given */
	double atol, rtol; /* below 0: not given */
	enum { NAN_EQUAL, NAN_DIFFER, NAN_UNSAID } nans;
	struct strs exprs, against, strip;
};

struct inspect {
	const struct inspect_opts *o;
	struct out out;
	struct record record;
	struct pyre **exprs;
	size_t operands;
	unsigned needs;  /* of all chosen reports: NEEDS_* of report.h */
	bool names_only; /* -0 or --format=names */
	bool combined;   /* several reports */
	int status;      /* so far */
};

/* The one reading of a checkpoint's data that all reports share. */
struct data {
	/* Set by --against before the reading: tensors to be compared with those of another checkpoint. */
	struct ckpt *there;
	struct compare_pair *pairs;
	size_t npairs;
	const struct tensor **hashed; /* likewise: tensors of which it needs the digests */
	size_t nhashed;
	/* Known afterwards: moments and digests by row, digests of what is hashed behind these, differences by pair. */
	struct figures figures;
	bool taken;
};

/* One operand. */
struct job {
	struct inspect *in;
	struct record *record;       /* of in */
	const struct report *report; /* that is being made */
	struct input input;          /* input.ckpt is NULL if no checkpoint could be opened, input.sd.ckpt if no state dict */
	struct rows rows;            /* chosen by -e and -v, in the order of --sort */
	const char *file;
	struct err failure; /* why no checkpoint could be opened */
	struct data data;
	void **states; /* of the chosen reports, by number */
	bool begun;    /* something was printed */
	bool open;     /* a report was begun and not ended */
	bool finished;
};

/*
 * Says what stands before a report: the file, if there are several, and the report, if there are several. To be called
 * before anything of a report is printed, and as late as the report can still fail.
 */
void job_begin_report(struct job *j);

/* Raises the exit status of the run. */
void job_status(struct job *j, int status);

/* Reads a stream to its end and holds what can be known only there against what was read. At most once. */
int job_finish(struct job *j, struct err *err);

/*
 * Reads the data, once: later calls do nothing. known is called, if this call reads, when the moments of the first n
 * rows are known, each time that n grows. It may be NULL.
 */
int data_take(struct job *j, int (*known)(void *arg, size_t n, struct err *err), void *arg, struct err *err);

/* The digest of tensor i of those hashed. */
const struct digest *data_digest(const struct job *j, size_t i);

/* Opens what --against names (against.c). other is open afterwards if that is a checkpoint; both are to be released. */
int job_open_target(const struct job *j, struct model *model, struct input *other, struct err *err);

/* Digests of tensors of what job_open_target opened, which are in f then. */
int job_hash(const struct job *j, const struct input *other, const struct tensor *const *tensors, size_t n, struct figures *f,
	     struct err *err);

int inspect_run(const struct inspect_opts *o, const struct operands *operands, struct err *err, int *status);

#endif
