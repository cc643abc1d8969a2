/*
 * adapt: load_pretrained as a filter. The options fill a struct adapt_options. adapt_run then performs the steps in the order of
 * lnn-ckpt-adapt(1).
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

/* A setting that options can override: --strict and --no-strict, --interpolate and --no-interpolate. */
enum override { OVERRIDE_NONE, OVERRIDE_YES, OVERRIDE_NO };

enum name_edit { NAMES_DROP, NAMES_KEEP, NAMES_RENAME, META_SET, META_DROP };

/* One of several options whose order matters. */
struct name_option {
	enum name_edit what;
	const char *arg;
};

struct adapt_options {
	struct tool_settings common;
	const char *config, *config_dir, *source, *under, *to, *report, *print_map, *shard, *write_index, *recover;
	uint64_t max_shard_size; /* in bytes; 0: not given */
	struct strs dtype, models, inputs, strip, drop_params, drop_buffers, carry, add_prefix;
	struct name_option *names; /* in the order of the command line */
	size_t nnames, cap_names;
	struct bias_options bias;
	enum override interpolate, strict;
	bool ddp, root, carry_all, compact, dry_run, fail_unused, drop_mismatched, ignore_missing, allow_empty, compat;
	bool keep_wrappers, fit, salvage, in_place, drop_rest;
};

struct shard_job; /* defined in shard_jobs.h */

/* The state of a run. */
struct adapt {
	const struct adapt_options *o;
	const struct shard_job *job; /* the shard that is adapted; NULL: the whole input is */
	struct arena arena;
	struct config config;
	bool has_config;
	struct model model;
	struct keymap *map;
	struct input *inputs;
	const char **labels; /* parallel to inputs */
	size_t ninputs;
	int fd; /* descriptor of the file that is edited in place; -1: none */
	struct plan plan;
	struct tables_tally tables; /* tables found in step 7 */
	struct load_check load;
	bool nothing_fits;    /* there are tensors, but the model accepts none of them */
	const char *hint;     /* option that would let tensors match, for nothing_fits; NULL: none is known */
	const char *salvaged; /* --salvage: its part of the summary */
	bool imperfect;       /* --salvage: tensors were lost, or not proved to be undamaged */
};

/*
 * Runs the program. opts points to a struct adapt_options. *status becomes TOOL_NO if --salvage could not save everything, or could
 * not prove all of it to be undamaged.
 */
int adapt_run(void *opts, const struct operands *operands, int *status, struct err *err);

/* Performs the steps, for the whole input or, if job is not NULL, for one shard of it. For *status see adapt_run. */
int adapt_run_steps(const struct adapt_options *o, const struct operands *operands, const struct shard_job *job, int *status,
		    struct err *err);

void adapt_init(struct adapt *a, const struct adapt_options *o);
void adapt_release(struct adapt *a);

/* ---- inputs.c */

/* Step 1: reads the config, descriptions, key map and checkpoints. */
int adapt_open(struct adapt *a, const struct operands *operands, struct err *err);

/* ---- salvage.c */

/* Fails with ERR_USAGE if another option excludes --salvage. */
int salvage_check(const struct adapt_options *o, struct err *err);

/* Opens the operand like input_open, with only the undamaged tensors in it. The caller must close in even after an error. */
int salvage_input(struct adapt *a, struct input *in, const char *operand, struct err *err);

/* ---- edits.c: steps 2 to 8; --dtype follows step 7 */

int adapt_strip_prefixes(struct adapt *a, struct err *err);
int adapt_map(struct adapt *a, struct err *err);
int adapt_drop_params(struct adapt *a, struct err *err);
int adapt_drop_buffers(struct adapt *a, struct err *err);
int adapt_edit_names(struct adapt *a, struct err *err);
int adapt_check_names(const struct adapt *a, struct err *err);
int adapt_resize_tables(struct adapt *a, struct err *err);
int adapt_cast(struct adapt *a, struct err *err);
int adapt_add_prefixes(struct adapt *a, struct err *err);

/* Applies --set-metadata and --drop-metadata. */
int adapt_edit_metadata(struct adapt *a, struct err *err);

/* ---- output.c: steps 9 and 10 */

/* Compares the names of the plan with the description. */
void adapt_check(struct adapt *a);

/* Fails with ERR_ANSWER if the model would refuse the result, or if --fail-unused is given and a rule matched nothing. */
int adapt_verdict(struct adapt *a, struct err *err);

/* Prints the load check in one line. After a negative verdict the caller prints it once the report is written. */
void adapt_say_load(struct adapt *a);

/* Gives the verdict, and writes the output, the report and the summary. The report is written even if the verdict is negative. */
int adapt_finish(struct adapt *a, struct err *err);

/* Writes the output shard of a->job. It states that it is finished. */
int adapt_finish_job(struct adapt *a, struct err *err);

#endif
