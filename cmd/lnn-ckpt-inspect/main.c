/*
 * lnn-ckpt-inspect: prints what a checkpoint contains.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "report.h"

static const char *const formats[] = { "table", "tsv", "names", "json", "jsonl", "model", NULL };
static const char *const sorts[] = { "file", "name", "natural", "size", NULL };
static const char *const dump_forms[] = { "text", "npy", "raw", NULL };
static const char *const nan_words[] = { "equal", "differ", NULL };
static const char *const findings[] = { "nan", "inf", "zero", NULL };

/* Parses the list of findings for --fail-on. The bits are in the order of the words. */
static int
read_fail_on(const struct option_entry *o, void *place, const char *arg, struct err *err)
{
	const struct option_entry one = { .name = o->name, .words = findings };
	unsigned *bits = place, which;
	struct str rest = str_c(arg), word;
	char text[16];

	*bits = 0;
	while (str_split(&rest, ',', &word)) {
		snprintf(text, sizeof(text), "%.*s", (int)(word.len < 15 ? word.len : 15), word.p);
		if (option_word(&one, text, &which, err) < 0)
			return -1;
		*bits |= 1u << which;
	}
	return 0;
}

static int
read_tolerance(const struct option_entry *o, void *place, const char *arg, struct err *err)
{
	double *out = place;

	if (option_double(o, arg, out, err) < 0)
		return -1;
	return *out >= 0 ? 0 : err_set(err, ERR_USAGE, "--%s %s: a number of at least 0 was expected", o->name, arg);
}

static int
read_report(const struct option_entry *o, void *opts, const char *arg, struct err *err)
{
	((struct inspect_opts *)opts)->reports |= 1u << o->value;
	return option_store(&report_table[o->value]->option, opts, arg, err);
}

/* The options before those of the reports. make_entries builds the whole table. */
static const struct option_entry before_reports[] = {
	OPTION_HEADING("The list of tensors:"),
	OPTION_WORD("format", "FORMAT", "table, tsv, names, json, jsonl or model", format, formats),
	OPTION_WORD("sort", "ORDER", "file (default), name, natural or size", sort, sorts),
	OPTION_TEXTS("expr", 'e', "REGEX", "only names that match one of the -e", exprs),
	OPTION_FLAG("invert-match", 'v', "only names that match none of the -e", invert),
	OPTION_FLAG("long", 'l', "add elements, bytes, offset, strides, sharing", longer),
	OPTION_FLAG("fold", 0, "one line for layers that differ only in a number", fold),
	OPTION_HEADING("Reports instead of the list; several may be combined:"),
};

static const struct option_entry behind_reports[] = {
	OPTION_HEADING("For reports:"),
	OPTION_READ("fail-on", "LIST", "what --check looks for: nan,inf (default), zero", OPTION_AT(fail_on, unsigned), 0,
		    read_fail_on),
	OPTION_WORD("dump-as", "FORM", "text (default), npy or raw", dump_as, dump_forms),
	OPTION_TEXTS("strip-prefix", 0, "P", "--against: names without P; repeatable", strip),
	OPTION_TEXT("target-key", 0, "PATH", "--against: state dict of the target at PATH", target_key),
	OPTION_FLAG("renames", 0, "--against: pair other names by equal contents", renames),
	OPTION_FLAG("values", 0, "--against: compare contents, too", values),
	OPTION_READ("atol", "A", "--values: accept differences up to A (0)", OPTION_AT(atol, double), 0, read_tolerance),
	OPTION_READ("rtol", "R", "--values: plus R times the target's value (0)", OPTION_AT(rtol, double), 0, read_tolerance),
	OPTION_WORD("nan", "HOW", "--values: two NaNs are equal (default) or differ", nans, nan_words),
	OPTION_HEADING("Common:"),
	OPTION_KEY("state dict at this dotted path"),
	OPTION_RANKS,
	OPTION_OUTPUT("FILE", "write to FILE instead of standard output"),
	OPTION_NULL("names end in NUL"),
	OPTION_JOBS("threads"),
	OPTION_QUIET("no warnings, no closing counts"),
	OPTION_VERBOSE("say more"),
	OPTION_COLOR,
	OPTION_PROGRESS,
	OPTION_ENDING,
};

enum { BEFORE = sizeof(before_reports) / sizeof(before_reports[0]), BEHIND = sizeof(behind_reports) / sizeof(behind_reports[0]) };

static void
make_entries(struct option_entry entries[BEFORE + REPORT_COUNT + BEHIND])
{
	size_t n = BEFORE;

	memcpy(entries, before_reports, sizeof(before_reports));
	for (int i = 0; i < REPORT_COUNT; i++) {
		const struct report *r = report_table[i];

		if (r->option.name == NULL)
			continue;
		entries[n] = r->option;
		entries[n].kind = OPTION_IS_READ;
		entries[n].at = 0;
		entries[n].value = (unsigned)i;
		entries[n++].read = read_report;
	}
	memcpy(entries + n, behind_reports, sizeof(behind_reports));
}

/* ---- options that exclude each other */

static bool
has(const struct inspect_opts *o, unsigned report)
{
	return (o->reports >> report & 1) != 0;
}

static int
check_report(const struct inspect_opts *o, const struct report *r, const struct operands *operands, struct err *err)
{
	const bool combined = (o->reports & (o->reports - 1)) != 0;

	if (r->alone && combined)
		return err_set(err, ERR_USAGE, "--%s does not go with other reports", r->option.name);
	if (r->single && operands->n > 1)
		return err_set(err, ERR_USAGE, "--%s takes only one checkpoint", r->option.name);
	if (o->format == FORMAT_AUTO || (r->takes >> o->format & 1 && !(combined && o->format == FORMAT_JSONL)))
		return 0;
	if (r->takes & (r->takes - 1))
		return err_set(err, ERR_USAGE, "--format=%s does not go with %s%s", formats[o->format],
			       combined ? "several reports, such as --" : "--", r->option.name);
	return err_set(err, ERR_USAGE, "--%s has its own format: --format does not go with it%s", r->option.name,
		       r == &report_dump ? " (--dump-as)" : "");
}

/* Refuses options that require another option or report. */
static int
check_needs(const struct inspect_opts *o, struct err *err)
{
	if (!has(o, REPORT_list) && ((o->fold && !has(o, REPORT_against)) || o->longer))
		return err_set(err, ERR_USAGE, "%s does not go with --%s", o->longer ? "--long" : "--fold",
			       report_table[__builtin_ctz(o->reports)]->option.name);
	if (o->invert && o->exprs.n == 0)
		return err_set(err, ERR_USAGE, "-v needs -e REGEX, the names to leave out");
	if (o->fail_on != 0 && !has(o, REPORT_check))
		return err_set(err, ERR_USAGE, "--fail-on needs --check");
	if (o->dump_as != DUMP_UNSAID && !has(o, REPORT_dump))
		return err_set(err, ERR_USAGE, "--dump-as needs --dump");
	if (has(o, REPORT_suggest) && (o->renames || o->strip.n > 0 || o->atol >= 0 || o->rtol >= 0 || o->nans != NAN_UNSAID))
		return err_set(err, ERR_USAGE, "--suggest-map takes no other option of --against than --values and --target-key");
	if ((o->values || o->strip.n > 0) && o->against.n == 0)
		return err_set(err, ERR_USAGE, "%s needs --against", o->values ? "--values" : "--strip-prefix");
	if ((o->target_key != NULL || o->renames) && o->against.n == 0)
		return err_set(err, ERR_USAGE, "%s needs --against", o->renames ? "--renames" : "--target-key");
	if ((o->atol >= 0 || o->rtol >= 0 || o->nans != NAN_UNSAID) && !o->values)
		return err_set(err, ERR_USAGE, "--atol, --rtol and --nan need --values");
	return 0;
}

/* Refuses to replace an input by the output. */
static int
check_output(const struct inspect_opts *o, const struct operands *operands, struct err *err)
{
	struct stat in, out;

	if (o->common.output == NULL || stat(o->common.output, &out) != 0 || !S_ISREG(out.st_mode))
		return 0;
	for (size_t i = 0; i < operands->n; i++)
		if (stat(operands->v[i], &in) == 0 && in.st_dev == out.st_dev && in.st_ino == out.st_ino)
			return err_set(err, ERR_USAGE, "-o %s: the report would overwrite the checkpoint", o->common.output);
	return 0;
}

static int
check(const struct inspect_opts *o, const struct operands *operands, struct err *err)
{
	const bool names = o->format == FORMAT_AUTO || o->format == FORMAT_NAMES;

	for (unsigned i = 0; i < REPORT_COUNT; i++)
		if (has(o, i) && check_report(o, report_table[i], operands, err) < 0)
			return -1;
	if (o->format == FORMAT_MODEL && operands->n > 1)
		return err_set(err, ERR_USAGE, "--format=model takes only one checkpoint");
	if (o->common.null && !(has(o, REPORT_get) || (has(o, REPORT_list) && names)))
		return err_set(err, ERR_USAGE, "-0 goes only with a list of names or with --get");
	return check_needs(o, err) < 0 ? -1 : check_output(o, operands, err);
}

static int
run(void *opts, const struct operands *operands, int *status, struct err *err)
{
	struct inspect_opts *o = opts;

	if (o->reports == 0)
		o->reports = 1u << REPORT_list;
	if (has(o, REPORT_suggest) && o->against.n == 0)
		return err_set(err, ERR_USAGE, "--suggest-map needs the target model (--against TARGET)");
	if (has(o, REPORT_suggest))
		o->reports &= ~(1u << REPORT_against);
	if (check(o, operands, err) < 0)
		return -1;
	/* --rest has only one format, with or without --format. */
	if (has(o, REPORT_rest))
		o->format = FORMAT_JSON;
	return inspect_run(o, operands, err, status);
}

int
main(int argc, char **argv)
{
	struct inspect_opts o = {
		.format = FORMAT_AUTO, .depth = UINT64_MAX, .dump_as = DUMP_UNSAID, .nans = NAN_UNSAID, .atol = -1, .rtol = -1
	};
	struct option_entry entries[BEFORE + REPORT_COUNT + BEHIND];
	const struct program program = {
		.name = "lnn-ckpt-inspect",
		.usage = "[options] [CKPT]...",
		.summary = "Shows what is in checkpoints, without loading them.",
		.examples = { "lnn-ckpt-inspect --summary --check unknown.pth", "lnn-ckpt-inspect --against model.yaml model.pth" },
		.status = "0 done, 1 a negative answer (differs, damaged, no fit), 2 an error",
		.entries = entries,
		.most_operands = SIZE_MAX,
		.run = run,
	};
	int status;

	make_entries(entries);
	status = option_main(&program, argc, argv, &o);
	free(o.against.v);
	return status;
}
