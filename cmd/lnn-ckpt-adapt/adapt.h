/*
 * adapt: load_pretrained as a filter. Options fill a struct adapt_options; adapt_run does the rest, in the order of the
 * steps in lnn-ckpt-adapt(1).
 */
#ifndef LNN_ADAPT_H
#define LNN_ADAPT_H

#include <stdbool.h>

#include "common/bias.h"
#include "common/ckpt_out.h"
#include "model/config.h"
#include "model/model.h"
#include "plan/keymap.h"
#include "plan/loadcheck.h"

/* --strict and the like: the option, else the description. */
enum override { OVERRIDE_NONE, OVERRIDE_YES, OVERRIDE_NO };

enum name_edit { NAMES_DROP, NAMES_KEEP, NAMES_RENAME, META_SET, META_DROP };

/* An edit whose place among its like matters. */
struct name_option {
	enum name_edit what;
	const char *arg;
};

struct adapt_options {
	struct tool_settings common;
	const char *config, *config_dir, *source, *under, *to, *report, *print_map, *shard, *write_index, *recover;
	uint64_t max_shard_size; /* bytes; 0: not given */
	struct strs dtype, models, inputs, strip, drop_params, drop_buffers, carry, add_prefix;
	struct name_option *names; /* in the order given */
	size_t nnames, cap_names;
	struct bias_options bias;
	enum override interpolate, strict;
	bool ddp, root, carry_all, compact, dry_run, fail_unused, drop_mismatched, ignore_missing, allow_empty, compat;
	bool keep_wrappers, fit, salvage, in_place, drop_rest;
};

struct shard_job; /* shard_jobs.h */

/* What is open while the program runs. */
struct adapt {
	const struct adapt_options *o;
	const struct shard_job *job; /* the one shard that is adapted; NULL: all of the input */
	struct arena arena;
	struct config config;
	bool has_config;
	struct model model;
	struct keymap *map;
	struct input *inputs;
	const char **labels; /* parallel */
	size_t ninputs;
	int fd; /* of the file that is edited in place; -1: none */
	struct plan plan;
	struct tables_tally tables; /* of step 7 */
	struct load_check load;
	bool nothing_fits;    /* tensors are left, and the model takes none of them */
	const char *hint;     /* an option that would change that; NULL: none is known */
	const char *salvaged; /* --salvage: what the summary says of it */
	bool imperfect;       /* something is lost or not proved */
};

/* opts: a struct adapt_options; *status becomes TOOL_NO if --salvage has written less than all. */
int adapt_run(void *opts, const struct operands *operands, int *status, struct err *e);

/* The steps alone, for all of the input (job NULL) or for one shard of it. *status: see adapt_run. */
int adapt_run_steps(const struct adapt_options *o, const struct operands *operands, const struct shard_job *job, int *status,
		    struct err *e);

void adapt_init(struct adapt *a, const struct adapt_options *o);
void adapt_release(struct adapt *a);

/* ---- inputs.c */

/* Step 1: config, descriptions, key map and checkpoints are read. */
int adapt_open(struct adapt *a, const struct operands *operands, struct err *e);

/* ---- salvage.c */

/* ERR_USAGE if --salvage does not go with what else is asked for. */
int salvage_check(const struct adapt_options *o, struct err *err);

/* Opens the operand like input_open, with all that is whole in it. in is to be closed in either case. */
int salvage_input(struct adapt *a, struct input *in, const char *operand, struct err *err);

/* ---- edits.c: steps 2 to 8. Step 7 is followed by --dtype. */

int adapt_strip_prefixes(struct adapt *a, struct err *e);
int adapt_map(struct adapt *a, struct err *e);
int adapt_drop_params(struct adapt *a, struct err *e);
int adapt_drop_buffers(struct adapt *a, struct err *e);
int adapt_edit_names(struct adapt *a, struct err *e);
int adapt_check_names(const struct adapt *a, struct err *e);
int adapt_resize_tables(struct adapt *a, struct err *e);
int adapt_cast(struct adapt *a, struct err *e);
int adapt_add_prefixes(struct adapt *a, struct err *e);

/* --set-metadata and --drop-metadata. */
int adapt_edit_metadata(struct adapt *a, struct err *e);

/* ---- output.c: steps 9 and 10 */

/* Compares the names of the plan with the description. */
void adapt_check(struct adapt *a);

/* ERR_ANSWER if the model would refuse the result, or a rule matched nothing and --fail-unused is given. */
int adapt_verdict(struct adapt *a, struct err *e);

/* Prints the load check in one line. After a negative verdict the caller prints it once the report is written. */
void adapt_say_load(struct adapt *a);

/* Verdict, output, summary and report. The report is written with a negative verdict, too. */
int adapt_finish(struct adapt *a, struct err *e);

/* Writes the one output shard of a->job, with the note that it is finished. */
int adapt_finish_job(struct adapt *a, struct err *e);

#endif
