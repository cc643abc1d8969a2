/*
 * lnn-ckpt-inspect: what is in a checkpoint.
 */
#include <stdlib.h>

#include "common/option.h"
#include "common/tool.h"
#include "inspect.h"

enum { OPT_FORMAT = 1, OPT_SORT, OPT_EXPR, OPT_INVERT, OPT_LONG, OPT_FOLD };

static const struct option_entry entries[] = {
	OPTION_HEADING("The list of tensors:"),
	{ "format", 0, OPTION_ARG, "FORMAT", "table, tsv, names, json, jsonl or model", OPT_FORMAT },
	{ "sort", 0, OPTION_ARG, "ORDER", "file (default), name, natural or size", OPT_SORT },
	{ "expr", 'e', OPTION_ARG, "REGEX", "only names that match, here or in another -e", OPT_EXPR },
	{ "invert-match", 'v', OPTION_NOARG, NULL, "only names that match no -e", OPT_INVERT },
	{ "long", 'l', OPTION_NOARG, NULL, "add elements, bytes, offset, strides, sharing", OPT_LONG },
	{ "fold", 0, OPTION_NOARG, NULL, "one line for layers that differ in a number only", OPT_FOLD },
	OPTION_HEADING("Common:"),
	OPTION_KEY("state dict at this dotted path"),
	OPTION_OUTPUT("FILE", "write to FILE instead of standard output"),
	OPTION_NULL("names end in NUL"),
	OPTION_JOBS("threads"),
	OPTION_QUIET("no warnings"),
	OPTION_VERBOSE("say more"),
	OPTION_COLOR,
	OPTION_PROGRESS,
	OPTION_HELP,
	OPTION_VERSION,
	OPTION_END,
};

static int
choice(const char *option, const char *arg, const char *const *names, int *which, struct err *e)
{
	return option_choice(option, arg, names, which, e);
}

static int
apply(void *opts, int id, const char *arg, struct err *e)
{
	static const char *const formats[] = { "table", "tsv", "names", "json", "jsonl", "model", NULL };
	static const char *const sorts[] = { "file", "name", "natural", "size", NULL };
	struct options *o = opts;
	int which = 0, rc = 0;

	switch (id) {
	case OPT_FORMAT:
		rc = choice("--format", arg, formats, &which, e);
		o->format = (enum format)which;
		return rc;
	case OPT_SORT:
		rc = choice("--sort", arg, sorts, &which, e);
		o->sort = (enum sort)which;
		return rc;
	case OPT_EXPR: strs_add(&o->exprs, arg); return 0;
	case OPT_INVERT: o->invert = true; return 0;
	case OPT_LONG: o->longer = true; return 0;
	case OPT_FOLD: o->fold = true; return 0;
	default: return err_set(e, ERR_USAGE, "unknown option");
	}
}

static const struct program program = {
	.usage = "[options] [CKPT]...",
	.summary = "Shows what is in checkpoints: torch (zip and legacy), safetensors, sharded sets.",
	.footer = "Status: 0 done, 1 a negative answer, 2 trouble.",
	.entries = entries,
	.most_operands = SIZE_MAX,
	.apply = apply,
};

int
main(int argc, char **argv)
{
	struct options o = { .format = FORMAT_AUTO, .depth = UINT64_MAX };
	struct operands operands = OPERANDS_INIT;
	struct err e = ERR_INIT;
	int status = TOOL_DONE;

	tool_start("lnn-ckpt-inspect");
	if (option_parse(&program, argc, argv, &o, &operands, &e) < 0 || inspect_run(&o, &operands, &e, &status) < 0)
		status = tool_fail(&e);
	strs_release(&o.exprs);
	strs_release(&o.against);
	strs_release(&o.strip);
	free(operands.v);
	return status;
}
