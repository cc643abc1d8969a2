/*
 * lnn-ckpt-inspect: what is in a checkpoint.
 */
#include <stdio.h>
#include <stdlib.h>

#include "common/option.h"
#include "common/tool.h"
#include "inspect.h"

enum {
	OPT_FORMAT = 1, OPT_SORT, OPT_EXPR, OPT_INVERT, OPT_LONG, OPT_FOLD, OPT_SUMMARY, OPT_TREE, OPT_REST, OPT_GET,
	OPT_STATS, OPT_CHECK, OPT_FAIL_ON, OPT_GLOBALS, OPT_AGAINST, OPT_STRIP, OPT_VALUES, OPT_ATOL, OPT_RTOL, OPT_NAN,
	OPT_DUMP, OPT_DUMP_AS,
};

static const struct option_entry entries[] = {
	OPTION_HEADING("The list of tensors:"),
	{ "format", 0, OPTION_ARG, "FORMAT", "table, tsv, names, json, jsonl or model", OPT_FORMAT },
	{ "sort", 0, OPTION_ARG, "ORDER", "file (default), name, natural or size", OPT_SORT },
	{ "expr", 'e', OPTION_ARG, "REGEX", "only names that match, here or in another -e", OPT_EXPR },
	{ "invert-match", 'v', OPTION_NOARG, NULL, "only names that match no -e", OPT_INVERT },
	{ "long", 'l', OPTION_NOARG, NULL, "add elements, bytes, offset, strides, sharing", OPT_LONG },
	{ "fold", 0, OPTION_NOARG, NULL, "one line for layers that differ in a number only", OPT_FOLD },
	OPTION_HEADING("Instead of the list:"),
	{ "summary", 0, OPTION_NOARG, NULL, "format, writer, what the file holds, dtypes, sharing", OPT_SUMMARY },
	{ "tree", 0, OPTION_MAYBE, "DEPTH", "tensors, elements and bytes by component of the names", OPT_TREE },
	{ "rest", 0, OPTION_NOARG, NULL, "what is beside the tensors, as JSON", OPT_REST },
	{ "get", 0, OPTION_ARG, "PATH", "one value of that (--get epoch)", OPT_GET },
	{ "stats", 0, OPTION_NOARG, NULL, "min, max, mean, std, norm, zeros, NaN, Inf", OPT_STATS },
	{ "check", 0, OPTION_NOARG, NULL, "CRCs, and values that are not finite", OPT_CHECK },
	{ "fail-on", 0, OPTION_ARG, "LIST", "what --check looks for: nan,inf (default), zero", OPT_FAIL_ON },
	{ "globals", 0, OPTION_NOARG, NULL, "what pickles name; would weights_only load it?", OPT_GLOBALS },
	{ "dump", 0, OPTION_ARG, "NAME", "contents of one tensor", OPT_DUMP },
	{ "dump-as", 0, OPTION_ARG, "FORM", "text (default), npy or raw", OPT_DUMP_AS },
	OPTION_HEADING("Comparison:"),
	{ "against", 0, OPTION_ARG, "TARGET", "what loading into a model would say; or a CKPT", OPT_AGAINST },
	{ "strip-prefix", 0, OPTION_ARG, "P", "names without P; repeatable", OPT_STRIP },
	{ "values", 0, OPTION_NOARG, NULL, "compare contents, too", OPT_VALUES },
	{ "atol", 0, OPTION_ARG, "A", "values may differ by A (0)", OPT_ATOL },
	{ "rtol", 0, OPTION_ARG, "R", "and by R times the target's (0)", OPT_RTOL },
	{ "nan", 0, OPTION_ARG, "HOW", "two NaNs are equal (default) or differ", OPT_NAN },
	OPTION_HEADING("Common:"),
	OPTION_KEY("state dict at this dotted path"),
	OPTION_OUTPUT("FILE", "write to FILE instead of standard output"),
	OPTION_NULL("names end in NUL"),
	OPTION_JOBS("threads"),
	OPTION_QUIET("no warnings, no closing counts"),
	OPTION_VERBOSE("say more"),
	OPTION_COLOR,
	OPTION_PROGRESS,
	OPTION_HELP,
	OPTION_VERSION,
	OPTION_END,
};

static int
set_mode(struct options *o, enum mode mode, const char *name, struct err *e)
{
	if (o->mode != MODE_LIST && o->mode != mode)
		return err_set(e, ERR_USAGE, "%s and %s: one at a time", o->mode_name, name);
	o->mode = mode;
	o->mode_name = name;
	return 0;
}

/* An option with a choice of words. */
static int
choose(struct options *o, int id, const char *arg, struct err *e)
{
	static const char *const formats[] = { "table", "tsv", "names", "json", "jsonl", "model", NULL };
	static const char *const sorts[] = { "file", "name", "natural", "size", NULL };
	static const char *const forms[] = { "text", "npy", "raw", NULL };
	static const char *const nans[] = { "equal", "differ", NULL };
	int which = 0, rc;

	switch (id) {
	case OPT_FORMAT:
		rc = option_choice("--format", arg, formats, &which, e);
		o->format = (enum format)which;
		return rc;
	case OPT_SORT:
		rc = option_choice("--sort", arg, sorts, &which, e);
		o->sort = (enum sort)which;
		return rc;
	case OPT_DUMP_AS:
		rc = option_choice("--dump-as", arg, forms, &which, e);
		o->dump_as = (enum dump_as)which;
		o->dump_as_given = true;
		return rc;
	default:
		rc = option_choice("--nan", arg, nans, &which, e);
		o->nan_differs = which == 1;
		o->tolerance_given = true;
		return rc;
	}
}

static int
fail_on(struct options *o, const char *arg, struct err *e)
{
	static const char *const names[] = { "nan", "inf", "zero", NULL };
	static const unsigned bits[] = { FAIL_NAN, FAIL_INF, FAIL_ZERO };
	struct str rest = str_c(arg), word;
	char text[16];
	int which = 0;

	o->fail_on = 0;
	o->fail_on_given = true;
	while (str_split(&rest, ',', &word)) {
		snprintf(text, sizeof(text), "%.*s", (int)(word.len < 15 ? word.len : 15), word.p);
		if (option_choice("--fail-on", text, names, &which, e) < 0)
			return -1;
		o->fail_on |= bits[which];
	}
	return 0;
}

static int
tolerance(struct options *o, const char *option, const char *arg, double *out, struct err *e)
{
	o->tolerance_given = true;
	if (option_double(option, arg, out, e) < 0)
		return -1;
	return *out >= 0 ? 0 : err_set(e, ERR_USAGE, "%s %s: a number of at least 0 was expected", option, arg);
}

/* Options that say what is to be done. */
static int
apply_mode(struct options *o, int id, const char *arg, struct err *e)
{
	switch (id) {
	case OPT_SUMMARY: return set_mode(o, MODE_SUMMARY, "--summary", e);
	case OPT_TREE:
		if (arg != NULL && option_u64("--tree", arg, 0, UINT64_MAX, &o->depth, e) < 0)
			return -1;
		return set_mode(o, MODE_TREE, "--tree", e);
	case OPT_REST: return set_mode(o, MODE_REST, "--rest", e);
	case OPT_GET: o->path = arg; return set_mode(o, MODE_GET, "--get", e);
	case OPT_STATS: return set_mode(o, MODE_STATS, "--stats", e);
	case OPT_CHECK: return set_mode(o, MODE_CHECK, "--check", e);
	case OPT_GLOBALS: return set_mode(o, MODE_GLOBALS, "--globals", e);
	case OPT_DUMP: o->path = arg; return set_mode(o, MODE_DUMP, "--dump", e);
	case OPT_AGAINST: strs_add(&o->against, arg); return set_mode(o, MODE_AGAINST, "--against", e);
	default: return err_set(e, ERR_USAGE, "unknown option");
	}
}

static int
apply(void *opts, int id, const char *arg, struct err *e)
{
	struct options *o = opts;

	switch (id) {
	case OPT_FORMAT:
	case OPT_SORT:
	case OPT_DUMP_AS:
	case OPT_NAN: return choose(o, id, arg, e);
	case OPT_EXPR: strs_add(&o->exprs, arg); return 0;
	case OPT_INVERT: o->invert = true; return 0;
	case OPT_LONG: o->longer = true; return 0;
	case OPT_FOLD: o->fold = true; return 0;
	case OPT_FAIL_ON: return fail_on(o, arg, e);
	case OPT_STRIP: strs_add(&o->strip, arg); return 0;
	case OPT_VALUES: o->values = true; return 0;
	case OPT_ATOL: return tolerance(o, "--atol", arg, &o->atol, e);
	case OPT_RTOL: return tolerance(o, "--rtol", arg, &o->rtol, e);
	default: return apply_mode(o, id, arg, e);
	}
}

/* Options that do not go together. */
static int
check(const struct options *o, const struct operands *operands, struct err *e)
{
	if (o->mode != MODE_LIST && (o->fold || o->longer))
		return err_set(e, ERR_USAGE, "%s does not go with %s", o->fold ? "--fold" : "--long", o->mode_name);
	if (o->invert && o->exprs.n == 0)
		return err_set(e, ERR_USAGE, "-v: which names are not wanted? (-e REGEX)");
	if (o->fail_on_given && o->mode != MODE_CHECK)
		return err_set(e, ERR_USAGE, "--fail-on goes with --check");
	if (o->dump_as_given && o->mode != MODE_DUMP)
		return err_set(e, ERR_USAGE, "--dump-as goes with --dump");
	if ((o->values || o->strip.n > 0) && o->mode != MODE_AGAINST)
		return err_set(e, ERR_USAGE, "%s goes with --against", o->values ? "--values" : "--strip-prefix");
	if (o->tolerance_given && !o->values)
		return err_set(e, ERR_USAGE, "--atol, --rtol and --nan go with --values");
	if ((o->mode == MODE_DUMP || o->format == FORMAT_MODEL) && operands->n > 1)
		return err_set(e, ERR_USAGE, "%s: of one checkpoint", o->mode == MODE_DUMP ? "--dump" : "--format=model");
	if (o->mode != MODE_LIST && (o->format == FORMAT_NAMES || o->format == FORMAT_MODEL))
		return err_set(e, ERR_USAGE, "--format=%s does not go with %s", o->format == FORMAT_NAMES ? "names" : "model",
			       o->mode_name);
	if (o->format != FORMAT_AUTO &&
	    (o->mode == MODE_GET || o->mode == MODE_DUMP || (o->mode == MODE_REST && o->format != FORMAT_JSON)))
		return err_set(e, ERR_USAGE, "%s has its own form: --format does not go with it%s", o->mode_name,
			       o->mode == MODE_DUMP ? " (--dump-as)" : "");
	if (tool_settings.null && ((o->mode != MODE_LIST && o->mode != MODE_GET) ||
				   (o->format != FORMAT_AUTO && o->format != FORMAT_NAMES)))
		return err_set(e, ERR_USAGE, "-0 is for names only");
	return 0;
}

static const struct program program = {
	.usage = "[options] [CKPT]...",
	.summary = "Shows what is in checkpoints, without loading them.",
	.footer = "Status: 0 done, 1 a negative answer, 2 trouble.",
	.entries = entries,
	.most_operands = SIZE_MAX,
	.apply = apply,
};

int
main(int argc, char **argv)
{
	struct options o = { .format = FORMAT_AUTO, .depth = UINT64_MAX, .fail_on = FAIL_NAN | FAIL_INF };
	struct operands operands = OPERANDS_INIT;
	struct err e = ERR_INIT;
	int status = TOOL_DONE;

	tool_start("lnn-ckpt-inspect");
	if (option_parse(&program, argc, argv, &o, &operands, &e) < 0 || check(&o, &operands, &e) < 0 ||
	    inspect_run(&o, &operands, &e, &status) < 0)
		status = tool_fail(&e);
	strs_release(&o.exprs);
	strs_release(&o.against);
	strs_release(&o.strip);
	free(operands.v);
	return status;
}
