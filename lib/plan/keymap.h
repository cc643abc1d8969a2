/*
 * keymap: declarative maps from the tensor names of a checkpoint to those of a model, lnn-keymap(5).
 *
 * Rules are tried in order for each name; the first that fits decides. A rule keeps, skips, or gives one or several new
 * names. Its ops change the tensor (keyops.h). The map must live until the plan has been written.
 */
#ifndef LNN_PLAN_KEYMAP_H
#define LNN_PLAN_KEYMAP_H

#include "model/config.h"
#include "model/model.h"
#include "plan/plan.h"

struct keymap;

/* What a map's variables and conditions are taken from; both may be NULL. */
struct keymap_env {
	const struct config *config;
	const struct model *model;
};

/* Reads a map. ERR_INPUT "FILE:LINE:COLUMN: ...". The result is the caller's. */
int keymap_load(struct keymap **out, const char *file, struct str text, struct err *e);

/* A built-in map; an unknown name is ERR_USAGE and lists those there are. */
int keymap_builtin(struct keymap **out, const char *name, struct err *e);
/* The YAML of a built-in map; NULL if there is none of that name. */
const char *keymap_text(const char *name);

void keymap_free(struct keymap *k); /* may be NULL */

const char *keymap_name(const struct keymap *k);

/* What a map says of itself. */
struct keymap_head {
	struct str name;
	const struct str *inputs; /* names of the inputs that it needs; none: one input without a name, or any named ones */
	size_t ninputs;
	bool any_input;    /* inputs: any */
	bool interpolates; /* linnaeus's loader interpolates tables for this source */
};

const struct keymap_head *keymap_head(const struct keymap *k);

/*
 * Applies the map to the living entries of p. Inputs are recognised by their labels. With target: same_shape, mapped
 * entries that the model lacks or has in another shape are dropped (said in the report, counted in one warning), and
 * the entries are put into the model's order. A map is applied once: its rules then refer to p. ERR_USAGE: a
 * description or config that is missing.
 */
int keymap_apply(struct keymap *k, struct plan *p, const struct keymap_env *env, struct err *e);

struct keymap_counts {
	uint64_t zeros;   /* rows of zeros that ops put in */
	uint64_t unequal; /* tensors of sums that are not floating and differ between inputs, once the output is written */
};

void keymap_count(const struct keymap *k, struct keymap_counts *n);

#endif
