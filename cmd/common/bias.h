/*
 * bias: the position table options that lnn-interp-bias and lnn-ckpt-adapt share, and the messages about the tables.
 */
#ifndef LNN_COMMON_BIAS_H
#define LNN_COMMON_BIAS_H

#include <stdbool.h>

#include "position/stage.h"
#include "common/option.h"
#include "write/seal.h"
#include "plan/tables.h"

struct bias_options {
	struct grid image;           /* in pixels; sides are 0 if it is not given */
	struct grid grid, from_grid; /* in tokens; sides are 0 if it is not given */
	struct stages stages;
	struct layout layout, to;
	const char *method; /* NULL: the default method of each kind of table */
	bool align_corners, antialias, has_prefix, keep_index;
	uint64_t prefix;
	const struct like *like;
	struct table_match *matches;
	size_t nmatches, cap_matches;
	unsigned kinds; /* set of table kinds; 0: all kinds */
};

/* clang-format off */
enum bias_option {
	BIAS_IMG_SIZE, BIAS_GRID, BIAS_FROM_GRID, BIAS_STAGE, BIAS_LAYOUT, BIAS_TO_LAYOUT, BIAS_LIKE, BIAS_MATCH, BIAS_KINDS,
	BIAS_PREFIX,
};

/* Entries for OPTIONS (common/option.h), whose struct must have a member bias. */
#define BIAS_ENTRIES_SIZE                                                                 \
	BIAS_READ("img-size", "N|HxW", "new image size in pixels", BIAS_IMG_SIZE),        \
	BIAS_READ("grid", "HxW", "new grid in tokens, for every table", BIAS_GRID),       \
	BIAS_READ("stage", "SUB=RATIO", "pixels per token where names contain SUB", BIAS_STAGE), \
	BIAS_READ("layout", "L", "auto, first[:N], last[:N], grid or metaformer", BIAS_LAYOUT), \
	BIAS_READ("to-layout", "L", "layout to write", BIAS_TO_LAYOUT)

#define BIAS_ENTRIES_METHOD                                                               \
	BIAS_READ("from-grid", "HxW", "present grid, for tables that are not square", BIAS_FROM_GRID), \
	BIAS_READ("prefix-tokens", "N", "number of embedding rows before the image's", BIAS_PREFIX), \
	BIAS_READ("like", "NAME", "follow timm, swin, beit, deit, mae, dinov2, ...", BIAS_LIKE), \
	OPTION_TEXT("method", 0, "M", "bicubic, bilinear, geometric, geometric-linear", bias.method), \
	OPTION_FLAG("align-corners", 0, "corner samples stay at the corners", bias.align_corners), \
	OPTION_FLAG("antialias", 0, "widen the kernel when shrinking (bicubic)", bias.antialias), \
	BIAS_READ("match", "REGEX", "more names of tables; REGEX=KIND says the kind", BIAS_MATCH),       \
	OPTION_FLAG("keep-index", 0, "keep index buffers and masks", bias.keep_index)

#define BIAS_READ(name, arg, help, which) \
	{ name, 0, arg, help, OPTION_IS_READ, OPTION_AT(bias, struct bias_options), which, NULL, 0, 65536, bias_read }
/* clang-format on */

/* Implements struct option_entry.read; place points to the struct bias_options. */
int bias_read(const struct option_entry *entry, void *place, const char *arg, struct err *err);

/* Frees what bias_read has allocated. */
void bias_release(struct bias_options *o);

/*
 * Converts the options to t; the caller sets t's model. t borrows from o. Fails with ERR_USAGE for options that exclude each other.
 */
int bias_resolve(const struct bias_options *o, struct tables_opts *t, struct err *err);

/* Prints a line about each table on standard error: name, grids, heads, layout. */
void bias_report(const struct plan *p);

/* Appends "position tables: 5 resampled, 7 fit already; left alone: NAME and 3 others (WHY)". */
void bias_closing(const struct tables_tally *tally, struct buf *b);

/* Fails with ERR_ANSWER if a size was requested and no table has it now. */
int bias_verdict(const struct tables_tally *tally, const struct tables_opts *o, const char *file, struct err *err);

/*
 * Gives one warning if tensors outside the state dict (optimizer, EMA copy) are written with the old shape of a resized table.
 * Training could not be resumed from such a file.
 */
void bias_warn_rest(const struct plan *p, const struct sealed *s);

#endif
