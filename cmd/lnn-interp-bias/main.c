/*
 * lnn-interp-bias: relative position bias tables to another image size.
 */
#include <stdlib.h>

#include "common/option.h"
#include "common/tool.h"
#include "interp.h"

enum { OPT_MODEL = 1, OPT_MATCH, OPT_KEEP_INDEX, OPT_DROP_REST, OPT_TO, OPT_DRY_RUN, OPT_SHOW };

static const struct option_entry entries[] = {
	OPTION_HEADING("New size:"),
	BIAS_ENTRIES_SIZE,
	{ "model", 'm', OPTION_ARG, "MODEL", "take the layout to write from a description", OPT_MODEL },
	OPTION_HEADING("How:"),
	BIAS_ENTRIES_METHOD,
	{ "match", 0, OPTION_ARG, "REGEX", "which tensors are tables", OPT_MATCH },
	{ "keep-index", 0, OPTION_NOARG, NULL, "keep relative_position_index buffers", OPT_KEEP_INDEX },
	{ "show", 0, OPTION_NOARG, NULL, "draw the tables before and after", OPT_SHOW },
	OPTION_HEADING("Input and output:"),
	OPTION_KEY("state dict at this dotted path"),
	OPTION_OUTPUT("FILE", "write to FILE instead of standard output"),
	{ "to", 0, OPTION_ARG, "FORMAT", "torch or safetensors (default: suffix of -o, input)", OPT_TO },
	{ "drop-rest", 0, OPTION_NOARG, NULL, "write the state dict only", OPT_DROP_REST },
	{ "dry-run", 'n', OPTION_NOARG, NULL, "list what would be written", OPT_DRY_RUN },
	OPTION_JOBS("threads"),
	OPTION_QUIET("no warnings, no summary"),
	OPTION_VERBOSE("say more"),
	OPTION_COLOR,
	OPTION_PROGRESS,
	OPTION_HELP,
	OPTION_VERSION,
	OPTION_END,
};

static int
apply(void *opts, int id, const char *arg, struct err *e)
{
	struct interp_options *o = opts;

	switch (id) {
	case OPT_MODEL: strs_add(&o->models, arg); return 0;
	case OPT_MATCH: o->match = arg; return 0;
	case OPT_KEEP_INDEX: o->keep_index = true; return 0;
	case OPT_DROP_REST: o->drop_rest = true; return 0;
	case OPT_TO: o->to = arg; return 0;
	case OPT_DRY_RUN: o->dry_run = true; return 0;
	case OPT_SHOW: o->show = true; return 0;
	default: return bias_apply(&o->bias, id, arg, e);
	}
}

static const struct program program = {
	.usage = "[--img-size N | --grid HxW] [options] [CKPT]",
	.summary = "Resizes relative position bias tables; everything else passes through.",
	.entries = entries,
	.most_operands = 1,
	.apply = apply,
};

int
main(int argc, char **argv)
{
	struct interp_options o = { .bias = BIAS_OPTIONS_INIT };
	struct operands operands = OPERANDS_INIT;
	struct err e = ERR_INIT;
	int status = TOOL_DONE;

	tool_start("lnn-interp-bias");
	if (option_parse(&program, argc, argv, &o, &operands, &e) != 0 ||
	    interp_run(&o, operands.n > 0 ? operands.v[0] : NULL, &e) != 0)
		status = tool_fail(&e);
	bias_release(&o.bias);
	strs_release(&o.models);
	free(operands.v);
	return status;
}
