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
	struct grid grid, from_grid; /* sides of 0: not given */
	struct stages stages; /* to be released */
	struct layout layout, to;
	const char *method; /* NULL: bicubic */
	bool align_corners, antialias;
};

/* Entries for OPTIONS (common/option.h) that have a member bias. */
#define BIAS_ENTRIES_SIZE                                                                                            \
	OPTION_NUMBER("img-size", "N", "new image size in pixels", bias.img_size, 1, 1 << 20),                       \
	BIAS_READ("grid", "HxW", "new grid in tokens, for every table", grid, struct grid, bias_grid),               \
	BIAS_READ("stage", "SUB=RATIO", "pixels per token where names contain SUB", stages, struct stages, bias_stage), \
	BIAS_READ("layout", "L", "auto, first[:N], last[:N], grid or metaformer", layout, struct layout, bias_layout), \
	BIAS_READ("to-layout", "L", "layout to write", to, struct layout, bias_layout)

#define BIAS_ENTRIES_METHOD                                                                                          \
	BIAS_READ("from-grid", "HxW", "present grid, for tables that are not square", from_grid, struct grid, bias_grid), \
	OPTION_TEXT("method", 0, "M", "bicubic (default) or bilinear", bias.method),                                 \
	OPTION_FLAG("align-corners", 0, "corner samples stay at the corners", bias.align_corners),                   \
	OPTION_FLAG("antialias", 0, "widen the kernel when shrinking (bicubic)", bias.antialias)

#define BIAS_READ(name, arg, help, member, type, read) OPTION_READ(name, arg, help, OPTION_AT(bias.member, type), 0, read)

/* For struct option_entry.read. */
int bias_grid(const struct option_entry *o, void *place, const char *arg, struct err *e);
int bias_layout(const struct option_entry *o, void *place, const char *arg, struct err *e);
int bias_stage(const struct option_entry *o, void *place, const char *arg, struct err *e);

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
