/*
 * interp: lnn-interp-bias after its options are read. It is lnn-ckpt-adapt with a single edit, which leaves everything in its
 * place.
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

/* Runs the program. opts points to a struct interp_options. *status is not changed. */
int interp_run(void *opts, const struct operands *operands, int *status, struct err *err);

#endif
