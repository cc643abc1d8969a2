/*
 * interp: what lnn-interp-bias does once its options are read: lnn-ckpt-adapt with one edit, in place.
 */
#ifndef LNN_INTERP_H
#define LNN_INTERP_H

#include "common/bias.h"
#include "common/strs.h"

struct interp_options {
	struct tool_settings common;
	struct bias_options bias;
	struct strs models;
	const char *match, *to;
	bool keep_index, drop_rest, dry_run, show;
};

int interp_run(const struct interp_options *o, const char *operand, struct err *e);

#endif
