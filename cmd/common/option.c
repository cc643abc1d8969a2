#include "common/option.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "common/out.h"

/* The column where the help of an option begins, and the width of lines. */
enum { HELP_COLUMN = 26, HELP_WIDTH = 79 };

#ifndef LNN_VERSION
#define LNN_VERSION "unknown"
#endif

const char *const option_when[] = { "auto", "always", "never", NULL };

/* ---- help and version ---- */

/* Prints text from column on. Breaks lines before HELP_WIDTH and indents all but the first. */
static void
wrap(struct out *o, const char *text, size_t column, size_t indent)
{
	struct str rest = str_c(text), word;
	bool first = true;

	while (str_split(&rest, ' ', &word)) {
		size_t width = text_width(word);

		if (!first && column + 1 + width > HELP_WIDTH) {
			out_printf(o, "\n%*s", (int)indent, "");
			column = indent;
		} else if (!first) {
			out_putc(o, ' ');
			column++;
		}
		out_write(o, word.p, word.len);
		column += width;
		first = false;
	}
	out_putc(o, '\n');
}

static void
help_entry(struct out *o, const struct option_entry *entry)
{
	struct buf b = BUF_INIT;

	if (entry->letter != 0)
		buf_addf(&b, "  -%c, --%s", entry->letter, entry->name);
	else
		buf_addf(&b, "      --%s", entry->name);
	if (entry->arg != NULL)
		buf_addf(&b, "%s%s", entry->arg[0] == '[' ? "" : "=", entry->arg);
	out_write(o, b.p, b.len);
	if (b.len + 2 > HELP_COLUMN) {
		out_putc(o, '\n');
		b.len = 0;
	}
	out_printf(o, "%*s", (int)(HELP_COLUMN - b.len), "");
	wrap(o, entry->help, HELP_COLUMN, HELP_COLUMN);
	buf_release(&b);
}

static void
help(struct out *o, const struct program *p)
{
	out_printf(o, "Usage: %s %s\n", p->name, p->usage);
	wrap(o, p->summary, 0, 0);
	for (const struct option_entry *entry = p->entries; entry->kind != OPTION_IS_END; entry++) {
		if (entry->kind == OPTION_IS_HEADING)
			out_printf(o, "\n%s\n", entry->help);
		else
			help_entry(o, entry);
	}
	out_printf(o, "\nExamples:\n  %s\n  %s\n\nStatus: %s.\nManual: man %s\n", p->examples[0], p->examples[1], p->status,
		   p->name);
}

/* Prints the help or the version, and exits. */
static __attribute__((noreturn)) void
inform(const struct program *p, enum option_kind what)
{
	struct err err = ERR_INIT;
	struct out o;

	if (out_open(&o, NULL, &err) < 0)
		exit(tool_fail(&err));
	if (what == OPTION_IS_HELP)
		help(&o, p);
	else
		out_printf(&o, "%s (lnn-tools) %s\nMIT licence. There is no warranty.\n", p->name, LNN_VERSION);
	exit(out_end(&o, &err) < 0 ? tool_fail(&err) : TOOL_DONE);
}

/* ---- arguments ---- */

int
option_u64(const struct option_entry *o, const char *arg, uint64_t *out, struct err *err)
{
	if (!num_u64(str_c(arg), out))
		return err_set(err, ERR_USAGE, "--%s: '%s' is not a whole number", o->name, arg);
	if (*out < o->least || *out > o->most)
		return err_set(err, ERR_USAGE, "--%s: %s is not between %llu and %llu", o->name, arg, (unsigned long long)o->least,
			       (unsigned long long)o->most);
	return 0;
}

int
option_double(const struct option_entry *o, const char *arg, double *out, struct err *err)
{
	return num_double(str_c(arg), out) ? 0 : err_set(err, ERR_USAGE, "--%s: '%s' is not a number", o->name, arg);
}

int
option_word(const struct option_entry *o, const char *arg, unsigned *out, struct err *err)
{
	const char *const *words = o->words, *given = arg != NULL ? arg : "";
	struct buf all = BUF_INIT;

	for (*out = 0; words[*out] != NULL && strcmp(given, words[*out]) != 0; ++*out) {
		if (*out > 0)
			buf_adds(&all, words[*out + 1] ? ", " : " or ");
		buf_adds(&all, words[*out]);
	}
	if (words[*out] == NULL)
		err_set(err, ERR_USAGE, "--%s: '%s' is not %s", o->name, given, all.p);
	buf_release(&all);
	return words[*out] == NULL ? -1 : 0;
}

static int
add_text(struct strs *s, const char *text)
{
	*xpush(s->v, s->n, s->cap) = text;
	return 0;
}

int
option_store(const struct option_entry *o, void *opts, const char *arg, struct err *err)
{
	void *place = (char *)opts + o->at;

	if (o->arg != NULL && arg == NULL)
		return 0;
	switch (o->kind) {
	case OPTION_IS_FLAG: *(bool *)place = true; return 0;
	case OPTION_IS_VALUE: *(unsigned *)place = o->value; return 0;
	case OPTION_IS_WORD: return option_word(o, arg, place, err);
	case OPTION_IS_TEXT: *(const char **)place = arg; return 0;
	case OPTION_IS_TEXTS: return add_text(place, arg);
	case OPTION_IS_NUMBER: return option_u64(o, arg, place, err);
	default: return 0;
	}
}

/* ---- parsing ---- */

/* The state of parsing a command line. */
struct parsing {
	const struct program *p;
	char **argv;
	int argc, at;
	void *opts;
};

static int
usage_error(struct err *err, const char *what, const char *option, size_t len)
{
	return err_set(err, ERR_USAGE, "%s '%.*s'; try '%s --help'", what, (int)len, option, tool_name());
}

/* Returns the option of this name, or of this letter if letter is not 0. Returns NULL if there is none. */
static const struct option_entry *
find(const struct program *p, struct str name, int letter)
{
	for (const struct option_entry *o = p->entries; o->kind != OPTION_IS_END; o++)
		if (o->name != NULL && (letter != 0 ? o->letter == letter : str_eqc(name, o->name)))
			return o;
	return NULL;
}

/*
 * Reports that there is no option of this name, and names one that it abbreviates, or the nearest. Never suggests the opposite of what
 * was typed.
 */
static int
no_such(const struct program *p, const char *typed, size_t len, struct err *err)
{
	struct str name = str_n(typed + 2, len - 2), full = { NULL, 0 };
	struct nearest near;

	nearest_init(&near, name);
	for (const struct option_entry *o = p->entries; o->kind != OPTION_IS_END; o++) {
		if (o->name == NULL || str_starts(name, str_c("no")) != str_starts(str_c(o->name), str_c("no")))
			continue;
		nearest_try(&near, str_c(o->name));
		if (full.len == 0 && str_starts(str_c(o->name), name))
			full = str_c(o->name);
	}
	if (full.len == 0 && nearest_found(&near))
		full = near.best;
	if (full.len == 0)
		return usage_error(err, "no such option", typed, len);
	return err_set(err, ERR_USAGE, "no such option '%.*s' (did you mean '--%.*s'?); try '%s --help'", (int)len, typed,
		       STR_ARG(full), tool_name());
}

/* Stores an option. arg is its argument, or NULL: if it needs one, the next word is used. */
static int
take(struct parsing *x, const struct option_entry *o, const char *arg, struct err *err)
{
	if (arg != NULL && o->arg == NULL)
		return err_set(err, ERR_USAGE, "option '--%s' takes no argument; try '%s --help'", o->name, tool_name());
	if (o->arg != NULL && arg == NULL && o->arg[0] != '[') {
		if (x->at == x->argc)
			return err_set(err, ERR_USAGE, "option '--%s' needs an argument (%s); try '%s --help'", o->name, o->arg,
				       tool_name());
		arg = x->argv[x->at++];
	}
	if (o->kind == OPTION_IS_HELP || o->kind == OPTION_IS_VERSION)
		inform(x->p, o->kind);
	if (o->kind == OPTION_IS_READ)
		return o->read(o, (char *)x->opts + o->at, arg, err);
	return option_store(o, x->opts, arg, err);
}

/* Parses "--name" or "--name=ARG". */
static int
take_long(struct parsing *x, const char *typed, struct err *err)
{
	const size_t len = strcspn(typed, "=");
	const struct option_entry *o = find(x->p, str_n(typed + 2, len - 2), 0);

	return o == NULL ? no_such(x->p, typed, len, err) : take(x, o, typed[len] == '=' ? typed + len + 1 : NULL, err);
}

/* Parses "-abc" or "-oARG". */
static int
take_letters(struct parsing *x, const char *typed, struct err *err)
{
	for (const char *s = typed + 1; *s != '\0'; s++) {
		const struct option_entry *o = find(x->p, str_n(NULL, 0), *s);
		const bool rest = o != NULL && o->arg != NULL && s[1] != '\0';
		const char letter[] = { '-', *s };

		if (o == NULL && *s > ' ' && *s < 0x7f)
			return usage_error(err, "no such option", letter, 2);
		if (o == NULL)
			return usage_error(err, "no such option", typed, strlen(typed));
		if (take(x, o, rest ? s + 1 : NULL, err) < 0)
			return -1;
		if (rest)
			break;
	}
	return 0;
}

/* Reports that there are too many operands, and suggests what one of them may have been meant for. */
static int
extra_operand(const struct parsing *x, const struct operands *operands, struct err *err)
{
	const struct tool_settings *settings = x->opts;
	const char *const *v = operands->v, *extra = v[x->p->most_operands];

	if (access(extra, F_OK) != 0 && settings->output == NULL)
		return err_set(err, ERR_USAGE, "one operand too many: '%s' (to write to that file: -o %s)", extra, extra);
	return err_set(err, ERR_USAGE,
		       "one operand too many: '%s' beside '%s' (one checkpoint is read; a set of shards is named by its folder or "
		       "its index)",
		       extra, v[0]);
}

static int
parse(struct parsing *x, struct operands *operands, struct err *err)
{
	bool plain = false; /* after "--" */
	int rc = 0;

	while (rc == 0 && x->at < x->argc) {
		const char *typed = x->argv[x->at++];

		if (plain || typed[0] != '-' || typed[1] == '\0')
			operands->v[operands->n++] = typed;
		else if (typed[1] != '-')
			rc = take_letters(x, typed, err);
		else if (typed[2] != '\0')
			rc = take_long(x, typed, err);
		else
			plain = true;
	}
	return rc == 0 && operands->n > x->p->most_operands ? extra_operand(x, operands, err) : rc;
}

static void
release_lists(const struct program *p, void *opts)
{
	for (const struct option_entry *o = p->entries; o->kind != OPTION_IS_END; o++) {
		struct strs *s = (void *)((char *)opts + o->at);

		if (o->kind != OPTION_IS_TEXTS)
			continue;
		free(s->v);
		*s = (struct strs){ 0 };
	}
}

int
option_main(const struct program *p, int argc, char **argv, void *opts)
{
	struct parsing x = { .p = p, .argv = argv, .argc = argc, .at = 1, .opts = opts };
	struct operands operands = { NULL, 0 };
	struct tool_settings *settings = opts;
	struct err err = ERR_INIT;
	int status = TOOL_DONE, rc;

	tool_start(p->name);
	operands.v = xcalloc((size_t)argc + 1, sizeof(*operands.v));
	settings->jobs = 1;
	rc = parse(&x, &operands, &err);
	tool_configure(settings);
	if (rc < 0 || p->run(opts, &operands, &status, &err) < 0)
		status = tool_fail(&err);
	release_lists(p, opts);
	free(operands.v);
	return status;
}
