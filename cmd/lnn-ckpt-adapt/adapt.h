/*
 * adapt: load_pretrained as a filter. Options fill a struct adapt_options; adapt_run does the rest in the
 * order of SPEC.md, section 4.
 */
#ifndef LNN_ADAPT_H
#define LNN_ADAPT_H

#include <stdbool.h>

#include "common/bias.h"
#include "common/emit.h"
#include "common/strs.h"
#include "model/config.h"
#include "model/model.h"
#include "plan/edits.h"
#include "plan/keymap.h"
#include "plan/loadcheck.h"

/* --strict and the like: the option, else the description. */
enum choice { CHOICE_NONE, CHOICE_YES, CHOICE_NO };

/* An edit whose place among its like matters. */
struct name_option {
	enum { NAMES_DROP, NAMES_KEEP, NAMES_RENAME } what;
	const char *arg;
};

struct adapt_options {
	const char *config, *config_dir, *source, *under, *to, *dtype, *report, *print_map;
	struct strs models, inputs, strip, drop_params, drop_buffers, carry, add_prefix;
	struct name_option *names; /* in the order given */
	size_t nnames, cap_names;
	struct bias_options bias;
	enum choice interpolate, strict;
	bool ddp, root, carry_all, compact, dry_run, fail_unused, drop_mismatched, ignore_missing, allow_empty, compat;
};

/* What is open while the program runs. */
struct adapt {
	const struct adapt_options *o;
	struct arena arena;
	struct config config;
	bool has_config;
	struct model model;
	struct keymap *map;
	struct input *inputs;
	const char **labels; /* parallel */
	size_t ninputs;
	struct plan plan;
	struct load_check load;
	struct sealed sealed;
};

int adapt_run(const struct adapt_options *o, const struct operands *operands, struct err *e);

/* config, descriptions, key map, checkpoints (prepare.c) */
int adapt_prepare(struct adapt *a, const struct operands *operands, struct err *e);

/* Steps 2 to 7, and 8 behind the load check (steps.c) */
int adapt_edit(struct adapt *a, struct err *e);
int adapt_prefix(struct adapt *a, struct err *e);

/* Step 9: ERR_ANSWER if the model would refuse (finish.c) */
void adapt_check(struct adapt *a);
int adapt_verdict(struct adapt *a, struct err *e);

/* Step 10, summary and report (finish.c) */
int adapt_write(struct adapt *a, struct err *e);
int adapt_report(struct adapt *a, struct err *e);

#endif
