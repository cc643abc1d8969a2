/*
 * adapt: load_pretrained as a filter. Options fill a struct adapt_options; adapt_run does the rest in the
 * order that lnn-ckpt-adapt(1) describes.
 */
#ifndef LNN_ADAPT_H
#define LNN_ADAPT_H

#include <stdbool.h>

#include "common/bias.h"
#include "common/emit.h"
#include "common/strs.h"
#include "model/config.h"
#include "model/model.h"
#include "plan/keymap.h"
#include "plan/loadcheck.h"

/* --strict and the like: the option, else the description. */
enum choice { CHOICE_NONE, CHOICE_YES, CHOICE_NO };

enum name_edit { NAMES_DROP, NAMES_KEEP, NAMES_RENAME };

/* An edit whose place among its like matters. */
struct name_option {
	enum name_edit what;
	const char *arg;
};

struct adapt_options {
	const char *config, *config_dir, *source, *under, *to, *dtype, *report, *print_map, *shard, *write_index;
	uint64_t max_shard_size; /* bytes; 0: not given */
	struct strs models, inputs, strip, drop_params, drop_buffers, carry, add_prefix;
	struct name_option *names; /* in the order given */
	size_t nnames, cap_names;
	struct bias_options bias;
	enum choice interpolate, strict;
	bool ddp, root, carry_all, compact, dry_run, fail_unused, drop_mismatched, ignore_missing, allow_empty, compat;
};

/* One shard of a sharded input that is adapted by itself (share.c). */
struct share {
	const char *dir;         /* where it goes */
	uint32_t number, total;
	struct strmap *elsewhere; /* all names of the set */
};

/* What is open while the program runs. */
struct adapt {
	const struct adapt_options *o;
	const struct share *share; /* or NULL */
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

/* The same without looking at what else the options might ask for; share may be NULL. */
int adapt_run_one(const struct adapt_options *o, const struct operands *operands, const struct share *share, struct err *e);

void adapt_init(struct adapt *a, const struct adapt_options *o);
void adapt_release(struct adapt *a);

/* config, descriptions, key map, checkpoints (prepare.c) */
int adapt_prepare(struct adapt *a, const struct operands *operands, struct err *e);

/* Steps 2 to 7, and 8 behind the load check (steps.c) */
int adapt_edit(struct adapt *a, struct err *e);
int adapt_prefix(struct adapt *a, struct err *e);

/* Step 9: ERR_ANSWER if the model would refuse (finish.c) */
void adapt_check(struct adapt *a);
int adapt_verdict(struct adapt *a, struct err *e);
bool adapt_refused(const struct adapt *a); /* for what the load check found, that is */

/*
 * What load_state_dict would do, in a line. Said by adapt_write at its end; after a no by the caller of adapt_verdict, when
 * the report is written: if that fails, there is one line only.
 */
void adapt_say_load(struct adapt *a, bool refused);

/* Step 10, summary and report (finish.c) */
int adapt_write(struct adapt *a, struct err *e);
int adapt_report(struct adapt *a, struct err *e);

/* Leaves word beside a shard that it is finished, in which file ("": nothing left) and which rules matched (share.c) */
int share_note(struct adapt *a, const char *file, struct err *e);

#endif
