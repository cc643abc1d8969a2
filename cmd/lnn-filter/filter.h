/*
 * filter: what the parts of lnn-filter share: options, compiled rules, and the list that goes through them.
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
typedef int filter_each(struct filter *f, const struct operand_item *item, struct err *e);

enum filter_mode { MODE_LINES, MODE_METADATA, MODE_EXPLAIN, MODE_INSPECT, MODE_LINT };

struct filter_options {
	struct tool_settings common;
	const char *config, *config_dir, *path, *expr, *reference, *group;
	struct strs models;
	enum filter_mode mode;
	bool invert, count, quiet, first, buffers, allow_empty;
	enum { FORMAT_TABLE, FORMAT_JSON, FORMAT_AUTO } format;
	bool max_given;
	uint64_t max; /* names to show in --inspect */
};

struct filter {
	const struct filter_options *o;
	struct arena arena;
	struct config config;
	const struct ynode *experiment; /* root of the config; NULL without -c */
	const struct ynode *node;       /* of the rule or the groups; NULL with --metadata */
	bool whole;                     /* node is the experiment's OPTIMIZER.PARAMETER_GROUPS */
	enum rule_form form;
	struct model model, reference;
	bool has_model;
	struct rules *rules;
	const struct rule *rule;    /* FORM_RULE */
	struct groups groups;       /* FORM_GROUPS, or with --inspect and --lint */
	const struct rule *exclude; /* GradNorm's; --inspect, --lint */
	struct subject subject;
	struct operand first; /* the first operand: it may be a description that rules look at */
	struct out out;
	uint64_t buffers;  /* passed over */
	uint64_t hits;     /* lines selected, assigned, ... */
	uint64_t findings; /* --lint */
	struct err why;    /* of rules, until filter_fail has said where; empty in between */
	filter_each *each; /* of the mode that runs, see filter_run; with its work */
	void *work;
};

/* ---- setup.c */

/* Finds and compiles what the options name, opens the first operand and the output. filter_release is due in any case. */
int filter_setup(struct filter *f, const struct operands *operands, struct err *e);
void filter_release(struct filter *f);

/* Are the groups made use of? ENABLED that is absent is false in an experiment, as for linnaeus. */
bool filter_enabled(const struct filter *f);

/* The value at a dotted path of the experiment; NULL if there is none or it is null. */
const struct ynode *filter_get(const struct filter *f, const char *path);

/* ---- run.c */

/*
 * Gives every item of every operand to each, with f->subject set to it; buffers are passed over unless they are asked
 * for. each returns 0, 1 to stop, or -1. An operand that cannot be read is told of at once and
 * the next one taken;
 * *status becomes the worst. work is f->work meanwhile.
 */
int filter_run(struct filter *f, const struct operands *operands, filter_each *each, void *work, int *status, struct err *e);

/* Sets "FILE:LINE: NAME: WHY", and clears why. */
int filter_fail(const struct operand_item *item, struct err *why, struct err *e);
/* "FILE:LINE: NAME" */
void filter_where(const struct operand_item *item, struct buf *b);

/* Writes the item as it came. */
void filter_put(struct filter *f, const struct operand_item *item);

/* ---- one for each mode; *status is set to TOOL_DONE or TOOL_NO */
int lines_run(struct filter *f, const struct operands *operands, int *status, struct err *e);
int metadata_run(struct filter *f, const struct operands *operands, int *status, struct err *e);
int explain_run(struct filter *f, const struct operands *operands, int *status, struct err *e);
int inspect_run(struct filter *f, const struct operands *operands, int *status, struct err *e);
int lint_run(struct filter *f, const struct operands *operands, int *status, struct err *e);

#endif
