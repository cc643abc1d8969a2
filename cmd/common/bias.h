/*
 * bias: the options that lnn-interp-bias and lnn-ckpt-adapt have in common for relative position bias tables, and
 * what is said of the tables afterwards.
 */
#ifndef LNN_COMMON_BIAS_H
#define LNN_COMMON_BIAS_H

#include <stdbool.h>

#include "position/stage.h"
#include "common/option.h"
#include "write/seal.h"
#include "plan/tables.h"

struct bias_options {
	uint64_t img_size; /* 0: not given */
	struct grid grid, from_grid;
	bool has_grid, has_from_grid;
	struct stages stages;
	struct layout layout, to;
	const char *method; /* NULL: bicubic */
	bool align_corners, antialias;
};

/* LAYOUT_AUTO is 0. */
#define BIAS_OPTIONS_INIT \
	{                 \
		0         \
	}

/* Ids of the entries below: BIAS_FIRST .. BIAS_LAST. */
enum {
	BIAS_FIRST = 0x1000,
	BIAS_IMG_SIZE = BIAS_FIRST,
	BIAS_GRID,
	BIAS_STAGE,
	BIAS_LAYOUT,
	BIAS_TO_LAYOUT,
	BIAS_METHOD,
	BIAS_ALIGN_CORNERS,
	BIAS_ANTIALIAS,
	BIAS_FROM_GRID,
	BIAS_LAST = BIAS_FROM_GRID,
};

#define BIAS_ENTRIES_SIZE                                                                                        \
	{ "img-size", 0, OPTION_ARG, "N", "new image size in pixels", BIAS_IMG_SIZE },                           \
		{ "grid", 0, OPTION_ARG, "HxW", "new grid in tokens, for every table", BIAS_GRID },              \
		{ "stage", 0, OPTION_ARG, "SUB=RATIO", "pixels per token where names contain SUB", BIAS_STAGE }, \
		{ "layout", 0, OPTION_ARG, "L", "auto, first[:N], last[:N], grid or metaformer", BIAS_LAYOUT },  \
	{                                                                                                        \
		"to-layout", 0, OPTION_ARG, "L", "layout to write", BIAS_TO_LAYOUT                               \
	}

#define BIAS_ENTRIES_METHOD                                                                                           \
	{ "from-grid", 0, OPTION_ARG, "HxW", "present grid, for tables that are not square", BIAS_FROM_GRID },        \
		{ "method", 0, OPTION_ARG, "M", "bicubic (default) or bilinear", BIAS_METHOD },                       \
		{ "align-corners", 0, OPTION_NOARG, NULL, "corner samples stay at the corners", BIAS_ALIGN_CORNERS }, \
	{                                                                                                             \
		"antialias", 0, OPTION_NOARG, NULL, "widen the kernel when shrinking (bicubic)", BIAS_ANTIALIAS       \
	}

/* Notes one option whose id is in the range above; texts are borrowed from argv. */
int bias_apply(struct bias_options *o, int id, const char *arg, struct err *e);
void bias_release(struct bias_options *o);

/* Fills t (whose match, model and index are the caller's); t borrows from o. ERR_USAGE for options that do not go together. */
int bias_settle(const struct bias_options *o, struct tables_opts *t, struct err *e);

/* A line for each table on standard error: name, grids, heads, layout. */
void bias_report(const struct plan *p);

/*
 * One warning if tensors outside the state dict (optimizer, EMA copy) that go along still have a resized table's old
 * shape: resuming from the result would fail.
 */
void bias_warn_rest(const struct plan *p, const struct sealed *s);

#endif
