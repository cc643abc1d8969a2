/*
 * lnn-filter: selects tensors by rules, or assigns them to parameter groups.
 */
#include <string.h>

#include "filter.h"

#define OPTIONS struct filter_options

static const char *const formats[] = { "table", "json", NULL };

static int
read_mode(const struct option_entry *o, void *place, const char *arg, struct err *err)
{
	enum filter_mode *mode = place;

	(void)arg;
	if (*mode != MODE_LINES && *mode != o->value)
		return err_set(err, ERR_USAGE, "--metadata, --explain, --inspect and --lint do not go together");
	*mode = (enum filter_mode)o->value;
	return 0;
}

static int
read_expr(const struct option_entry *o, void *place, const char *arg, struct err *err)
{
	const char **expr = place;

	(void)o;
	if (*expr != NULL)
		return err_set(err, ERR_USAGE, "-e is given twice: one rule joins both: {TYPE: or, FILTERS: [RULE, RULE]}");
	*expr = arg;
	return 0;
}

static int
read_max(const struct option_entry *o, void *opts, const char *arg, struct err *err)
{
	struct filter_options *f = opts;

	f->max_given = true;
	return option_u64(o, arg, &f->max, err);
}

#define OPTION_MODE(name, help, which) OPTION_READ(name, NULL, help, OPTION_AT(mode, unsigned), which, read_mode)

static const struct option_entry entries[] = {
	OPTION_HEADING("The rule:"),
	OPTION_TEXT("config", 'c', "FILE", "experiment file (default rule: its OPTIMIZER.PARAMETER_GROUPS)", config),
	OPTION_TEXT("path", 'p', "PATH", "rule or groups at this dotted path of the file", path),
	{ "expr", 'e', "RULE", "rule given here, as YAML", OPTION_IS_READ, OPTION_AT(expr, const char *), 0, NULL, 0, 0,
	  read_expr },
	OPTION_TEXT("config-dir", 0, "DIR", "where MODEL.BASE is looked up (else $CONFIG_DIR)", config_dir),
	OPTION_TEXTS("model", 'm', "MODEL", "description: a file or mFormerV0, mFormerV1; repeatable", models),
	OPTION_TEXT("reference", 'r', "CKPT", "checkpoint that initialization rules compare with", reference),
	OPTION_FLAG("buffers", 0, "let rules see buffers, too", buffers),
	OPTION_HEADING("Output:"),
	OPTION_FLAG("invert-match", 'v', "lines that do not match", invert),
	OPTION_FLAG("count", 0, "print the number of lines only", count),
	OPTION_FLAG("quiet", 'q', "print nothing, stop at the first match", quiet),
	OPTION_TEXT("group", 'g', "GROUP", "lines of this group, without the group column", group),
	OPTION_FLAG("first-match", 0, "a name belongs to the first of its groups only", first),
	OPTION_MODE("metadata", "lines with the entries of parameter_groups_metadata", MODE_METADATA),
	OPTION_MODE("explain", "every line with the reason for its verdict", MODE_EXPLAIN),
	OPTION_MODE("inspect", "what training would do with the list", MODE_INSPECT),
	OPTION_WORD("format", "FORMAT", "--inspect: table or json", format, formats),
	{ "max", 0, "N", "--inspect: show up to N names a group (10)", OPTION_IS_READ, 0, 0, NULL, 0, UINT64_MAX, read_max },
	OPTION_MODE("lint", "report mistakes and leftovers in the rules", MODE_LINT),
	OPTION_OUTPUT("FILE", "write to FILE instead of standard output"),
	OPTION_HEADING("Input:"),
	OPTION_KEY("state dict at this dotted path of a checkpoint"),
	OPTION_RANKS,
	OPTION_NULL("names end in NUL, in and out"),
	OPTION_FLAG("allow-empty", 0, "accept an empty list", allow_empty),
	OPTION_VERBOSE("say how many buffers were passed over"),
	OPTION_COLOR,
	OPTION_ENDING,
};

/* Refuses options that exclude each other. */
static int
check_options(const struct filter_options *o, struct err *err)
{
	static const char *const names[] = { NULL, "--metadata", "--explain", "--inspect", "--lint" };

	if (o->format != FORMAT_AUTO && o->mode != MODE_INSPECT)
		return err_set(err, ERR_USAGE, "--format needs --inspect");
	if (o->max_given && o->mode != MODE_INSPECT)
		return err_set(err, ERR_USAGE, "--max needs --inspect");
	if (o->path && o->config == NULL)
		return err_set(err, ERR_USAGE, "-p %s needs the file with that path (-c CONFIG)", o->path);
	if (o->mode == MODE_LINES)
		return 0;
	if (o->invert)
		return err_set(err, ERR_USAGE, "-v does not go with %s", names[o->mode]);
	if (o->mode != MODE_METADATA && (o->count || o->quiet))
		return err_set(err, ERR_USAGE, "%s does not go with %s", o->count ? "--count" : "-q", names[o->mode]);
	if (o->mode != MODE_EXPLAIN && o->group)
		return err_set(err, ERR_USAGE, "-g does not go with %s", names[o->mode]);
	return 0;
}

/*
 * Runs the program. Returns 0 with *status TOOL_DONE, TOOL_NO or, if an operand could not be read, TOOL_TROUBLE. Returns -1 on
 * other errors.
 */
static int
run(void *opts, const struct operands *operands, int *status, struct err *err)
{
	const struct filter_options *o = opts;
	static int (*const modes[])(struct filter *, const struct operands *, int *, struct err *) = {
		lines_run, metadata_run, explain_run, inspect_run, lint_run,
	};
	struct filter f;
	struct err late = ERR_INIT;
	const bool file = o->common.output && strcmp(o->common.output, "-") != 0;
	int rc;

	memset(&f, 0, sizeof(f));
	f.o = o;
	rc = check_options(o, err);
	if (rc == 0)
		rc = filter_setup(&f, operands, err);
	if (rc == 0)
		rc = modes[o->mode](&f, operands, status, err);
	if (f.out.sink && (!file || (rc == 0 && *status != TOOL_TROUBLE)) && out_end(&f.out, rc == 0 ? err : &late) < 0)
		rc = -1;
	filter_release(&f);
	return rc;
}

static const struct program program = {
	.name = "lnn-filter",
	.usage = "[-c CONFIG] [-p PATH] [-e RULE] [options] [LIST|CKPT|MODEL]...",
	.summary = "Prints the lines of a tensor list that a rule chooses, or the parameter group that each belongs to.",
	.examples = { "lnn-filter -e '{TYPE: name, PATTERNS: [head]}' model.pth",
		      "lnn-filter -c exp.yaml -m model.yaml --inspect model.pth" },
	.status = "0 something was chosen, 1 nothing was (--lint: a finding), 2 an error",
	.entries = entries,
	.most_operands = SIZE_MAX,
	.run = run,
};

int
main(int argc, char **argv)
{
	struct filter_options o = { .max = 10, .format = FORMAT_AUTO };

	return option_main(&program, argc, argv, &o);
}
