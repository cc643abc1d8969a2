/*
 * filter: state shared by the parts of lnn-filter: options, compiled rules, and the list that is being filtered.
 */
#ifndef LNN_FILTER_FILTER_H
#define LNN_FILTER_FILTER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/option.h"
#include "common/out.h"
#include "common/tool.h"
#include "model/config.h"
#include "model/model.h"
#include "operand.h"
#include "rule/groups.h"
#include "rule/rule.h"

struct filter;
typedef int filter_each(struct filter *f, const struct operand_item *item, struct err *err);

enum filter_mode { MODE_LINES, MODE_METADATA, MODE_EXPLAIN, MODE_INSPECT, MODE_LINT };

struct filter_options {
	struct tool_settings common;
	const char *config, *config_dir, *path, *expr, *reference, *group;
	struct strs models;
	enum filter_mode mode;
	bool invert, count, quiet, first, buffers, allow_empty;
	enum { FORMAT_TABLE, FORMAT_JSON, FORMAT_AUTO } format;
	bool max_given;
	uint64_t max; /* number of names that --inspect shows */
};

struct filter {
	const struct filter_options *o;
	struct arena arena;
	struct config config;
	const struct ynode *experiment; /* root of the experiment file; NULL without -c */
	const struct ynode *node;       /* node of the rule or the groups; NULL with --metadata */
	bool whole;                     /* node is OPTIMIZER.PARAMETER_GROUPS of the experiment */
	enum rule_form form;
	struct model model, reference;
	bool has_model;
	struct rules *rules;
	const struct rule *rule;    /* with FORM_RULE */
	struct groups groups;       /* with FORM_GROUPS; for --inspect and --lint also with FORM_RULE */
	const struct rule *exclude; /* rule for what GradNorm excludes; for --inspect and --lint */
	struct subject subject;
	struct operand first; /* the first operand, opened early because it may be a description that rules need */
	struct out out;
	uint64_t buffers;  /* number of buffers that were skipped */
	uint64_t hits;     /* number of lines selected, assigned, ... */
	uint64_t findings; /* number of findings of --lint */
	struct err why;    /* error of a rule, to which filter_fail adds the position; otherwise empty */
	filter_each *each; /* function of the present filter_run; work is its argument */
	void *work;
};

/* ---- setup.c */

/*
 * Finds and compiles the rules that the options name, and opens the first operand and the output. The caller must call
 * filter_release even after an error.
 */
int filter_setup(struct filter *f, const struct operands *operands, struct err *err);
void filter_release(struct filter *f);

/* Are the groups in use? In an experiment a missing ENABLED means false, as in linnaeus. */
bool filter_enabled(const struct filter *f);

/* Returns the value at a dotted path of the experiment, or NULL if there is none or it is null. */
const struct ynode *filter_get(const struct filter *f, const char *path);

/* ---- run.c */

/*
 * Calls each for every item of every operand, with f->subject set to the item and f->work set to work. Buffers are skipped unless
 * --buffers is given. each returns 0, 1 to stop, or -1. Unreadable operands are reported immediately and skipped; *status becomes
 * the worst status.
 */
int filter_run(struct filter *f, const struct operands *operands, filter_each *each, void *work, int *status, struct err *err);

/* Sets the error "FILE:LINE: NAME: WHY" and clears why. Returns -1. */
int filter_fail(const struct operand_item *item, struct err *why, struct err *err);
/* Appends "FILE:LINE: NAME". */
void filter_where(const struct operand_item *item, struct buf *b);

/* Prints the line of an item as it was read. */
void filter_put(struct filter *f, const struct operand_item *item);

/* ---- one function for each mode; each may raise *status to TOOL_NO */
int lines_run(struct filter *f, const struct operands *operands, int *status, struct err *err);
int metadata_run(struct filter *f, const struct operands *operands, int *status, struct err *err);
int explain_run(struct filter *f, const struct operands *operands, int *status, struct err *err);
int inspect_run(struct filter *f, const struct operands *operands, int *status, struct err *err);
int lint_run(struct filter *f, const struct operands *operands, int *status, struct err *err);

#endif
