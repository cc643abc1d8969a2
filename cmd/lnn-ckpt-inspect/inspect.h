/*
 * inspect: the options of lnn-ckpt-inspect and what its modes share.
 */
#ifndef LNN_INSPECT_H
#define LNN_INSPECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text/json_write.h"
#include "text/pyre.h"
#include "common/emit.h"
#include "common/option.h"
#include "common/out.h"
#include "common/strs.h"
#include "common/tool.h"

enum mode {
	MODE_LIST,
	MODE_SUMMARY,
	MODE_TREE,
	MODE_REST,
	MODE_GET,
	MODE_STATS,
	MODE_CHECK,
	MODE_GLOBALS,
	MODE_AGAINST,
	MODE_DUMP,
};

/* In the order of the names that --format takes. */
enum format { FORMAT_TABLE, FORMAT_TSV, FORMAT_NAMES, FORMAT_JSON, FORMAT_JSONL, FORMAT_MODEL, FORMAT_AUTO };

enum sort { SORT_FILE, SORT_NAME, SORT_NATURAL, SORT_SIZE };

enum dump_as { DUMP_TEXT, DUMP_NPY, DUMP_RAW };

/* What --check --fail-on names. */
enum { FAIL_NAN = 1, FAIL_INF = 2, FAIL_ZERO = 4 };

struct options {
	enum mode mode;
	const char *mode_name; /* as the user wrote it; NULL for the list */
	enum format format;
	enum sort sort;
	bool invert, longer, fold, values, nan_differs;
	uint64_t depth;        /* --tree=DEPTH; UINT64_MAX: all */
	const char *path;      /* --get, --dump */
	enum dump_as dump_as;
	bool dump_as_given;
	unsigned fail_on;      /* FAIL_* */
	bool fail_on_given, tolerance_given;
	double atol, rtol;
	struct strs exprs, against, strip;
};

/* A tensor that is to be shown. */
struct row {
	struct str name;
	const struct tensor *t;
	uint64_t numel, nbytes;
	size_t entry; /* index in the state dict */
	uint64_t count; /* how many tensors it stands for; 0: it is folded into another */
};

struct rows {
	struct row *v;
	size_t n;
	struct arena arena; /* of names made by folding */
};

/* What is there while the program runs. */
struct inspect {
	const struct options *o;
	struct out out;
	struct pyre **exprs;
	struct json_writer json;
	size_t operands;
	int status;
};

/* One operand at a time. json: a writer stands where the document of the operand belongs; see json_open. */
struct job {
	struct inspect *in;
	struct input input;
	struct rows rows;  /* chosen by -e and -v, in the order of --sort */
	const char *file;
};

bool inspect_json(const struct inspect *in); /* --format json or jsonl */

/* Passes on what the JSON writer has made if it is much. */
void inspect_drain(struct inspect *in);

/* Opens the object of an operand, with "schema", "file" and "format". */
void inspect_begin(struct job *j);
void inspect_end(struct job *j);

/* The line "# FILE" before what is said of one of several operands. */
void inspect_heading(struct job *j);

/* A mode returns 0 and lowers in->status (TOOL_NO: a negative answer), or -1. */
int inspect_run(const struct options *o, const struct operands *operands, struct err *e, int *status);

/* Puts name, or on a terminal what cannot harm it. A name with a NUL is ERR_INPUT. */
int inspect_put_name(struct job *j, struct str name, struct err *e);

#endif
