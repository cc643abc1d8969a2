/*
 * keymap: declarative maps from the tensor names of a checkpoint to those of a model, lnn-keymap(5).
 *
 * For each name the rules are tried in order, and the first one that fits is applied. A rule keeps or skips the tensor, or gives it
 * one or several new names. Its ops change the tensor (keyops.h). The map must live until the plan has been written.
 */
#ifndef LNN_PLAN_KEYMAP_H
#define LNN_PLAN_KEYMAP_H

#include "model/config.h"
#include "model/model.h"
#include "plan/plan.h"

struct keymap;

/* The sources of a map's variables and conditions. Both may be NULL. */
struct keymap_env {
	const struct config *config;
	const struct model *model;
};

/* Reads a map. Fails with ERR_INPUT "FILE:LINE:COLUMN: ...". The caller frees the result. */
int keymap_load(struct keymap **out, const char *file, struct str text, struct err *err);

/* Loads a built-in map. An unknown name is ERR_USAGE, which lists the known names. */
int keymap_builtin(struct keymap **out, const char *name, struct err *err);

void keymap_free(struct keymap *k); /* may be NULL */

const char *keymap_name(const struct keymap *k);

/* The properties of a map. */
struct keymap_head {
	struct str name;
	/* names of the inputs that it needs; empty: a single input without a name, or any inputs if any_input is set */
	const struct str *inputs;
	size_t ninputs;
	bool any_input;    /* inputs: any, which accepts inputs of any name */
	bool interpolates; /* linnaeus's loader interpolates tables when it loads this kind of checkpoint */
	const char *text;  /* YAML text of a built-in map; NULL for other maps */
};

const struct keymap_head *keymap_head(const struct keymap *k);

/*
 * Applies a map to the living entries of p. Inputs are identified by their labels. If the map has target: same_shape, mapped
 * entries that the model lacks or has in another shape are dropped (noted in the report, and counted in one warning), and the
 * entries are sorted into the model's order. A map can be applied only once, because its rules then refer to p. Fails with
 * ERR_USAGE if a required description or config is missing.
 */
int keymap_apply(struct keymap *k, struct plan *p, const struct keymap_env *env, struct err *err);

struct keymap_counts {
	uint64_t zeros; /* number of rows of zeros that ops inserted */
	/* number of summed tensors that are not floating-point and differ between inputs; valid after the output is written */
	uint64_t unequal;
};

void keymap_count(const struct keymap *k, struct keymap_counts *n);

#endif
