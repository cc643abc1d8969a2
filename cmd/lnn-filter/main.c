/*
 * lnn-filter: chooses tensors by rules, or assigns them to parameter groups.
 */
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "common/option.h"
#include "common/tool.h"
#include "filter.h"

enum {
	OPT_CONFIG = 1, OPT_CONFIG_DIR, OPT_PATH, OPT_EXPR, OPT_MODEL, OPT_REFERENCE, OPT_INVERT, OPT_COUNT, OPT_QUIET,
	OPT_GROUP, OPT_FIRST, OPT_BUFFERS, OPT_ALLOW_EMPTY, OPT_METADATA, OPT_EXPLAIN, OPT_INSPECT, OPT_LINT, OPT_FORMAT,
	OPT_MAX,
};

static const struct option_entry entries[] = {
	OPTION_HEADING("The rule:"),
	{ "config", 'c', OPTION_ARG, "FILE", "experiment file; its OPTIMIZER.PARAMETER_GROUPS if nothing else is said",
	  OPT_CONFIG },
	{ "path", 'p', OPTION_ARG, "PATH", "rule or groups at this dotted path of the file", OPT_PATH },
	{ "expr", 'e', OPTION_ARG, "RULE", "rule given here, as YAML", OPT_EXPR },
	{ "config-dir", 0, OPTION_ARG, "DIR", "where MODEL.BASE is looked up (else $CONFIG_DIR)", OPT_CONFIG_DIR },
	{ "model", 'm', OPTION_ARG, "MODEL", "description: a file or mFormerV0, mFormerV1; repeatable", OPT_MODEL },
	{ "reference", 'r', OPTION_ARG, "CKPT", "checkpoint that initialization rules compare with", OPT_REFERENCE },
	{ "buffers", 0, OPTION_NOARG, NULL, "let rules see buffers, too", OPT_BUFFERS },
	OPTION_HEADING("Output:"),
	{ "invert-match", 'v', OPTION_NOARG, NULL, "lines that do not match", OPT_INVERT },
	{ "count", 0, OPTION_NOARG, NULL, "how many, instead of which", OPT_COUNT },
	{ "quiet", 'q', OPTION_NOARG, NULL, "print nothing, stop at the first match", OPT_QUIET },
	{ "group", 'g', OPTION_ARG, "GROUP", "lines of this group, without the column", OPT_GROUP },
	{ "first-match", 0, OPTION_NOARG, NULL, "a name belongs to the first of its groups only", OPT_FIRST },
	{ "metadata", 0, OPTION_NOARG, NULL, "lines with the entries of parameter_groups_metadata", OPT_METADATA },
	{ "explain", 0, OPTION_NOARG, NULL, "every line with what decided it", OPT_EXPLAIN },
	{ "inspect", 0, OPTION_NOARG, NULL, "what training would do with the list", OPT_INSPECT },
	{ "format", 0, OPTION_ARG, "FORMAT", "of --inspect: table or json", OPT_FORMAT },
	{ "max", 0, OPTION_ARG, "N", "names a group that --inspect shows (10)", OPT_MAX },
	{ "lint", 0, OPTION_NOARG, NULL, "what is wrong or odd about the rules", OPT_LINT },
	OPTION_OUTPUT("FILE", "write to FILE instead of standard output"),
	OPTION_HEADING("Input:"),
	OPTION_KEY("state dict at this dotted path of a checkpoint"),
	OPTION_NULL("names end in NUL, in and out"),
	{ "allow-empty", 0, OPTION_NOARG, NULL, "an empty list is no error", OPT_ALLOW_EMPTY },
	OPTION_VERBOSE("say how many buffers were passed over"),
	OPTION_COLOR,
	OPTION_HELP,
	OPTION_VERSION,
	OPTION_END,
};

static int
set_mode(struct filter_options *o, enum filter_mode mode, struct err *e)
{
	if (o->mode != MODE_LINES && o->mode != mode)
		return err_set(e, ERR_USAGE, "one of --metadata, --explain, --inspect and --lint at a time");
	o->mode = mode;
	return 0;
}

static int
set_format(struct filter_options *o, const char *arg, struct err *e)
{
	static const char *const names[] = { "table", "json", NULL };
	int which = 0;

	if (option_choice("--format", arg, names, &which, e) < 0)
		return -1;
	o->json = which == 1;
	o->format_given = true;
	return 0;
}

static int
apply(void *opts, int id, const char *arg, struct err *e)
{
	struct filter_options *o = opts;

	switch (id) {
	case OPT_CONFIG: o->config = arg; return 0;
	case OPT_CONFIG_DIR: o->config_dir = arg; return 0;
	case OPT_PATH: o->path = arg; return 0;
	case OPT_EXPR: o->expr = arg; return 0;
	case OPT_MODEL:
		o->models = xgrow(o->models, o->nmodels, &o->models_cap, sizeof(*o->models));
		o->models[o->nmodels++] = arg;
		return 0;
	case OPT_REFERENCE: o->reference = arg; return 0;
	case OPT_INVERT: o->invert = true; return 0;
	case OPT_COUNT: o->count = true; return 0;
	case OPT_QUIET: o->quiet = true; return 0;
	case OPT_GROUP: o->group = arg; return 0;
	case OPT_FIRST: o->first = true; return 0;
	case OPT_BUFFERS: o->buffers = true; return 0;
	case OPT_ALLOW_EMPTY: o->allow_empty = true; return 0;
	case OPT_METADATA: return set_mode(o, MODE_METADATA, e);
	case OPT_EXPLAIN: return set_mode(o, MODE_EXPLAIN, e);
	case OPT_INSPECT: return set_mode(o, MODE_INSPECT, e);
	case OPT_LINT: return set_mode(o, MODE_LINT, e);
	case OPT_FORMAT: return set_format(o, arg, e);
	case OPT_MAX: o->max_given = true; return option_u64("--max", arg, 0, UINT64_MAX, &o->max, e);
	default: return err_set(e, ERR_USAGE, "unknown option");
	}
}

/* Options that do not go together. */
static int
check_options(const struct filter_options *o, struct err *e)
{
	static const char *const names[] = { NULL, "--metadata", "--explain", "--inspect", "--lint" };

	if (o->format_given && o->mode != MODE_INSPECT)
		return err_set(e, ERR_USAGE, "--format: only --inspect has formats");
	if (o->max_given && o->mode != MODE_INSPECT)
		return err_set(e, ERR_USAGE, "--max: only --inspect shows so many names");
	if (o->path && o->config == NULL)
		return err_set(e, ERR_USAGE, "-p %s: a path into which file? (-c CONFIG)", o->path);
	if (o->mode == MODE_LINES)
		return 0;
	if (o->invert)
		return err_set(e, ERR_USAGE, "-v does not go with %s", names[o->mode]);
	if (o->mode != MODE_METADATA && (o->count || o->quiet))
		return err_set(e, ERR_USAGE, "%s does not go with %s", o->count ? "--count" : "-q", names[o->mode]);
	if (o->mode != MODE_EXPLAIN && o->group)
		return err_set(e, ERR_USAGE, "-g does not go with %s", names[o->mode]);
	return 0;
}

/* 0 and *status is TOOL_DONE, TOOL_NO or, if some operand could not be read, TOOL_TROUBLE; -1. */
static int
run(const struct filter_options *o, const struct operands *operands, int *status, struct err *e)
{
	static int (*const modes[])(struct filter *, const struct operands *, int *, struct err *) = {
		lines_run, metadata_run, explain_run, inspect_run, lint_run,
	};
	struct filter f;
	struct err late = ERR_INIT;
	const bool file = o->common.output && strcmp(o->common.output, "-") != 0;
	int rc;

	memset(&f, 0, sizeof(f));
	f.o = o;
	rc = check_options(o, e);
	if (rc == 0)
		rc = filter_setup(&f, operands, e);
	if (rc == 0)
		rc = modes[o->mode](&f, operands, status, e);
	if (f.out.sink && (!file || (rc == 0 && *status != TOOL_TROUBLE)) && out_end(&f.out, rc == 0 ? e : &late) < 0)
		rc = -1;
	filter_release(&f);
	return rc;
}

static const struct program program = {
	.usage = "[-c CONFIG] [-p PATH] [-e RULE] [options] [LIST|CKPT|MODEL]...",
	.summary = "Prints the lines of a tensor list that a rule chooses, or the parameter group that each belongs to.",
	.footer = "Status: 0 something was chosen, 1 nothing was (--lint: a finding), 2 trouble.",
	.entries = entries,
	.most_operands = SIZE_MAX,
	.apply = apply,
};

int
main(int argc, char **argv)
{
	struct filter_options o = { .max = 10 };
	struct operands operands = OPERANDS_INIT;
	struct err e = ERR_INIT;
	int status = TOOL_DONE;

	tool_start("lnn-filter");
	if (option_parse(&program, argc, argv, &o, &operands, &e) < 0 || run(&o, &operands, &status, &e) < 0)
		status = tool_fail(&e);
	free(o.models);
	free(operands.v);
	return status;
}
