/*
 * lnn-ckpt-inspect: what is in a checkpoint.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"

enum {
	OPT_FORMAT = 1, OPT_SORT, OPT_EXPR, OPT_INVERT, OPT_LONG, OPT_FOLD, OPT_FAIL_ON, OPT_STRIP, OPT_VALUES, OPT_ATOL,
	OPT_RTOL, OPT_NAN, OPT_DUMP_AS, OPT_REPORT, /* and the number of the report */
};

/* The options of the reports stand between these two, see make_entries. */
static const struct option_entry before_reports[] = {
	OPTION_HEADING("The list of tensors:"),
	{ "format", 0, OPTION_ARG, "FORMAT", "table, tsv, names, json, jsonl or model", OPT_FORMAT },
	{ "sort", 0, OPTION_ARG, "ORDER", "file (default), name, natural or size", OPT_SORT },
	{ "expr", 'e', OPTION_ARG, "REGEX", "only names that match, here or in another -e", OPT_EXPR },
	{ "invert-match", 'v', OPTION_NOARG, NULL, "only names that match no -e", OPT_INVERT },
	{ "long", 'l', OPTION_NOARG, NULL, "add elements, bytes, offset, strides, sharing", OPT_LONG },
	{ "fold", 0, OPTION_NOARG, NULL, "one line for layers that differ in a number only", OPT_FOLD },
	OPTION_HEADING("Reports instead of the list; several may be combined:"),
};

static const struct option_entry behind_reports[] = {
	OPTION_HEADING("For reports:"),
	{ "fail-on", 0, OPTION_ARG, "LIST", "what --check looks for: nan,inf (default), zero", OPT_FAIL_ON },
	{ "dump-as", 0, OPTION_ARG, "FORM", "text (default), npy or raw", OPT_DUMP_AS },
	{ "strip-prefix", 0, OPTION_ARG, "P", "--against: names without P; repeatable", OPT_STRIP },
	{ "values", 0, OPTION_NOARG, NULL, "--against: compare contents, too", OPT_VALUES },
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

enum { BEFORE = sizeof(before_reports) / sizeof(before_reports[0]), BEHIND = sizeof(behind_reports) / sizeof(behind_reports[0]) };

static void
make_entries(struct option_entry entries[BEFORE + REPORT_COUNT + BEHIND])
{
	size_t n = BEFORE;

	memcpy(entries, before_reports, sizeof(before_reports));
	for (int i = 0; i < REPORT_COUNT; i++) {
		const struct report *r = report_table[i];

		if (r->name != NULL)
			entries[n++] = (struct option_entry){ r->name, 0, r->has_arg, r->arg, r->help, OPT_REPORT + i };
	}
	memcpy(entries + n, behind_reports, sizeof(behind_reports));
}

/* An option with a choice of words. */
static int
choose(struct inspect_opts *o, int id, const char *arg, struct err *e)
{
	static const char *const formats[] = { "table", "tsv", "names", "json", "jsonl", "model", NULL };
	static const char *const sorts[] = { "file", "name", "natural", "size", NULL };
	static const char *const forms[] = { "text", "npy", "raw", NULL };
	static const char *const nans[] = { "equal", "differ", NULL };
	int which = 0, rc;

	switch (id) {
	case OPT_FORMAT:
		rc = option_choice("--format", arg, formats, &which, e);
		o->format = (enum inspect_format)which;
		return rc;
	case OPT_SORT:
		rc = option_choice("--sort", arg, sorts, &which, e);
		o->sort = (enum rows_order)which;
		return rc;
	case OPT_DUMP_AS:
		rc = option_choice("--dump-as", arg, forms, &which, e);
		o->dump_as = (enum dump_form)which;
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
fail_on(struct inspect_opts *o, const char *arg, struct err *e)
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
tolerance(struct inspect_opts *o, const char *option, const char *arg, double *out, struct err *e)
{
	o->tolerance_given = true;
	if (option_double(option, arg, out, e) < 0)
		return -1;
	return *out >= 0 ? 0 : err_set(e, ERR_USAGE, "%s %s: a number of at least 0 was expected", option, arg);
}

static int
apply(void *opts, int id, const char *arg, struct err *e)
{
	struct inspect_opts *o = opts;

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
	default:
		o->reports |= 1u << (id - OPT_REPORT);
		if (report_table[id - OPT_REPORT]->option != NULL)
			return report_table[id - OPT_REPORT]->option(o, arg, e);
		return 0;
	}
}

/* ---- options that do not go together */

static bool
has(const struct inspect_opts *o, unsigned report)
{
	return (o->reports >> report & 1) != 0;
}

static int
check_report(const struct inspect_opts *o, const struct report *r, const struct operands *operands, struct err *e)
{
	static const char *const words[] = { "table", "tsv", "names", "json", "jsonl", "model" };
	const bool combined = (o->reports & (o->reports - 1)) != 0;

	if (r->alone && combined)
		return err_set(e, ERR_USAGE, "--%s stands alone: it does not go with other reports", r->name);
	if (r->single && operands->n > 1)
		return err_set(e, ERR_USAGE, "--%s: of one checkpoint", r->name);
	if (o->format == FORMAT_AUTO || (r->takes >> o->format & 1 && !(combined && o->format == FORMAT_JSONL)))
		return 0;
	if (r->takes & (r->takes - 1))
		return err_set(e, ERR_USAGE, "--format=%s does not go with %s%s", words[o->format],
			       combined ? "several reports, such as --" : "--", r->name);
	return err_set(e, ERR_USAGE, "--%s has its own form: --format does not go with it%s", r->name,
		       r == &report_dump ? " (--dump-as)" : "");
}

/* An option that only one report obeys. */
static int
check_needs(const struct inspect_opts *o, struct err *e)
{
	if (!has(o, REPORT_list) && (o->fold || o->longer))
		return err_set(e, ERR_USAGE, "%s does not go with --%s", o->fold ? "--fold" : "--long",
			       report_table[__builtin_ctz(o->reports)]->name);
	if (o->invert && o->exprs.n == 0)
		return err_set(e, ERR_USAGE, "-v: which names are not wanted? (-e REGEX)");
	if (o->fail_on_given && !has(o, REPORT_check))
		return err_set(e, ERR_USAGE, "--fail-on goes with --check");
	if (o->dump_as_given && !has(o, REPORT_dump))
		return err_set(e, ERR_USAGE, "--dump-as goes with --dump");
	if ((o->values || o->strip.n > 0) && !has(o, REPORT_against))
		return err_set(e, ERR_USAGE, "%s goes with --against", o->values ? "--values" : "--strip-prefix");
	if (o->tolerance_given && !o->values)
		return err_set(e, ERR_USAGE, "--atol, --rtol and --nan go with --values");
	return 0;
}

static int
check(const struct inspect_opts *o, const struct operands *operands, struct err *e)
{
	const bool names = o->format == FORMAT_AUTO || o->format == FORMAT_NAMES;

	for (unsigned i = 0; i < REPORT_COUNT; i++) {
		if (has(o, i) && check_report(o, report_table[i], operands, e) < 0)
			return -1;
	}
	if (o->format == FORMAT_MODEL && operands->n > 1)
		return err_set(e, ERR_USAGE, "--format=model: of one checkpoint");
	if (o->common.null && !(has(o, REPORT_get) || (has(o, REPORT_list) && names)))
		return err_set(e, ERR_USAGE, "-0 is for names only");
	return check_needs(o, e);
}

int
main(int argc, char **argv)
{
	struct inspect_opts o = { .format = FORMAT_AUTO, .depth = UINT64_MAX, .fail_on = FAIL_NAN | FAIL_INF };
	struct option_entry entries[BEFORE + REPORT_COUNT + BEHIND];
	const struct program program = {
		.usage = "[options] [CKPT]...",
		.summary = "Shows what is in checkpoints, without loading them.",
		.footer = "Status: 0 done, 1 a negative answer, 2 trouble.",
		.entries = entries,
		.most_operands = SIZE_MAX,
		.apply = apply,
	};
	struct operands operands = OPERANDS_INIT;
	struct err e = ERR_INIT;
	int status = TOOL_DONE, rc;

	tool_start("lnn-ckpt-inspect");
	make_entries(entries);
	rc = option_parse(&program, argc, argv, &o, &operands, &e);
	if (o.reports == 0)
		o.reports = 1u << REPORT_list;
	if (rc == 0)
		rc = check(&o, &operands, &e);
	/* A report with one form has it whether --format says so or not. */
	if (has(&o, REPORT_rest))
		o.format = FORMAT_JSON;
	if (rc == 0)
		rc = inspect_run(&o, &operands, &e, &status);
	if (rc < 0)
		status = tool_fail(&e);
	strs_release(&o.exprs);
	strs_release(&o.against);
	strs_release(&o.strip);
	free(operands.v);
	return status;
}
