/*
 * interp: what lnn-interp-bias does once its options are read: lnn-ckpt-adapt with one edit, in place.
 */
#ifndef LNN_INTERP_H
#define LNN_INTERP_H

#include "common/bias.h"

struct interp_options {
	struct tool_settings common;
	struct bias_options bias;
	struct strs models;
	const char *to;
	bool drop_rest, dry_run, show;
};

/* opts: a struct interp_options; *status is left as it is. */
int interp_run(void *opts, const struct operands *operands, int *status, struct err *e);

#endif
