#include "common/option.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "common/out.h"

/* Where the help of an option begins, and where lines end. */
enum { HELP_COLUMN = 26, HELP_WIDTH = 79 };

/* What getopt_long finds is a letter, or the id of a name above this. */
enum { NAMED = 256 };

#ifndef LNN_VERSION
#define LNN_VERSION "unknown"
#endif

static bool
is_option(const struct option_entry *o)
{
	return o->name != NULL;
}

static bool
is_end(const struct option_entry *o)
{
	return o->name == NULL && o->id == OPTION_ID_END;
}

/* ---- help and version ---- */

/* Words of text from column on, broken before HELP_WIDTH; later lines are indented. */
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
	if (entry->has_arg == OPTION_ARG)
		buf_addf(&b, "=%s", entry->arg);
	else if (entry->has_arg == OPTION_MAYBE)
		buf_addf(&b, "[=%s]", entry->arg);
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
	out_printf(o, "Usage: %s %s\n", tool_name(), p->usage);
	wrap(o, p->summary, 0, 0);
	for (const struct option_entry *entry = p->entries; !is_end(entry); entry++) {
		if (is_option(entry))
			help_entry(o, entry);
		else
			out_printf(o, "\n%s\n", entry->help);
	}
	if (p->footer != NULL)
		out_printf(o, "\n%s\n", p->footer);
}

static void
version(struct out *o)
{
	out_printf(o, "%s (lnn-tools) %s\n", tool_name(), LNN_VERSION);
	out_puts(o, "MIT licence. There is no warranty.\n");
}

/* Prints one of the two and ends the program. */
static __attribute__((noreturn)) void
inform(const struct program *p, int id)
{
	struct err e = ERR_INIT;
	struct out o;
	int status = TOOL_DONE;

	if (out_open(&o, NULL, &e) < 0)
		exit(tool_fail(&e));
	if (id == OPTION_ID_HELP)
		help(&o, p);
	else
		version(&o);
	if (out_end(&o, &e) < 0)
		status = tool_fail(&e);
	exit(status);
}

/* ---- parsing ---- */

static int
usage_error(struct err *e, const char *what, const char *option, size_t len)
{
	return err_set(e, ERR_USAGE, "%s '%.*s'; try '%s --help'", what, (int)len, option, tool_name());
}

/*
 * getopt_long would take any beginning of a name that is the only one to begin so. Scripts that rely on it break when
 * an option is added, so a long option must stand there in full.
 */
static int
check_name(const struct program *p, const char *typed, struct err *e)
{
	size_t len = strcspn(typed, "=");
	struct str name = str_n(typed + 2, len - 2), full = { NULL, 0 };
	unsigned starts = 0;
	struct nearest near;

	nearest_init(&near, name);
	for (const struct option_entry *o = p->entries; !is_end(o); o++) {
		if (!is_option(o))
			continue;
		if (str_eqc(name, o->name))
			return 0;
		nearest_try(&near, str_c(o->name));
		if (str_starts(str_c(o->name), name)) {
			starts++;
			full = str_c(o->name);
		}
	}
	if (starts == 1)
		return err_set(e, ERR_USAGE, "option '%.*s' is not abbreviated: write '--%.*s'", (int)len, typed,
			       STR_ARG(full));
	if (nearest_found(&near))
		return err_set(e, ERR_USAGE, "no such option '%.*s' (did you mean '--%.*s'?); try '%s --help'", (int)len,
			       typed, STR_ARG(near.best), tool_name());
	return usage_error(e, "no such option", typed, len);
}

/* What getopt complained of: a letter or name that is not there, an argument missing or too much. */
static int
complain(const struct program *p, int complaint, int found, const char *typed, struct err *e)
{
	for (const struct option_entry *o = p->entries; !is_end(o); o++) {
		if (!is_option(o) || (found >= NAMED ? o->id != found - NAMED : o->letter == 0 || o->letter != found))
			continue;
		if (complaint == ':')
			return err_set(e, ERR_USAGE, "option '--%s' needs an argument (%s); try '%s --help'", o->name,
				       o->arg, tool_name());
		return err_set(e, ERR_USAGE, "option '--%s' takes no argument; try '%s --help'", o->name, tool_name());
	}
	if (found > ' ' && found < 0x7f) {
		char letter[3] = { '-', (char)found, '\0' };

		return usage_error(e, "no such option", letter, 2);
	}
	return usage_error(e, "no such option", typed, strlen(typed));
}

static int
apply_shared(const struct program *p, struct tool_settings *t, int id, const char *arg, struct err *e)
{
	uint64_t jobs;

	switch (id) {
	case OPTION_ID_HELP:
	case OPTION_ID_VERSION: inform(p, id);
	case OPTION_ID_QUIET: t->quiet = true; return 0;
	case OPTION_ID_VERBOSE: t->verbose = true; return 0;
	case OPTION_ID_NULL: t->null = true; return 0;
	case OPTION_ID_COLOR: return option_when("--color", arg, &t->color, e);
	case OPTION_ID_PROGRESS: return option_when("--progress", arg, &t->progress, e);
	case OPTION_ID_OUTPUT: t->output = arg; return 0;
	case OPTION_ID_KEY: t->key = arg; return 0;
	case OPTION_ID_JOBS:
		if (option_u64("--jobs", arg, 1, 256, &jobs, e) < 0)
			return -1;
		t->jobs = (unsigned)jobs;
		return 0;
	default: return err_set(e, ERR_USAGE, "an option that nobody handles");
	}
}

/* A command line being read. */
struct parsing {
	const struct program *p;
	struct option *longs; /* getopt's tables */
	char *shorts;
	void *opts;
	struct operands *operands;
};

static void
make_tables(struct parsing *x)
{
	size_t n = 0, names = 0;
	char *s;

	while (!is_end(&x->p->entries[n]))
		n++;
	x->longs = xcalloc(n + 1, sizeof(*x->longs));
	x->shorts = s = xmalloc(3 * n + 3);
	/* Operands in their place, whatever POSIXLY_CORRECT says; a missing argument is told apart. */
	*s++ = '-';
	*s++ = ':';
	for (const struct option_entry *o = x->p->entries; !is_end(o); o++) {
		if (!is_option(o))
			continue;
		x->longs[names].name = o->name;
		x->longs[names].has_arg = o->has_arg == OPTION_NOARG ? no_argument :
					  o->has_arg == OPTION_ARG   ? required_argument :
								       optional_argument;
		x->longs[names++].val = o->id + NAMED;
		if (o->letter == 0)
			continue;
		*s++ = (char)o->letter;
		if (o->has_arg == OPTION_ARG)
			*s++ = ':';
	}
	*s = '\0';
}

static int
id_of(const struct program *p, int found)
{
	if (found >= NAMED)
		return found - NAMED;
	for (const struct option_entry *o = p->entries; !is_end(o); o++) {
		if (is_option(o) && o->letter == found)
			return o->id;
	}
	return -1;
}

/* Reads the next option or operand. 1: there was one; 0: there is none left; -1: error. */
static int
parse_next(struct parsing *x, int argc, char **argv, struct err *e)
{
	const char *typed = optind < argc ? argv[optind] : "";
	int found, id;

	if (strncmp(typed, "--", 2) == 0 && typed[2] != '\0' && check_name(x->p, typed, e) < 0)
		return -1;
	found = getopt_long(argc, argv, x->shorts, x->longs, NULL);
	if (found == -1)
		return 0;
	if (found == 1) {
		x->operands->v[x->operands->n++] = optarg;
		return 1;
	}
	if (found == '?' || found == ':')
		return complain(x->p, found, optopt, typed, e);
	id = id_of(x->p, found);
	if ((id >= OPTION_SHARED ? apply_shared(x->p, x->opts, id, optarg, e) : x->p->apply(x->opts, id, optarg, e)) < 0)
		return -1;
	return 1;
}

static int
parse(struct parsing *x, int argc, char **argv, struct err *e)
{
	struct operands *operands = x->operands;
	int rc;

	opterr = 0;
	optind = 1;
	do {
		rc = parse_next(x, argc, argv, e);
	} while (rc > 0);
	while (rc == 0 && optind < argc)
		operands->v[operands->n++] = argv[optind++];
	if (rc == 0 && operands->n > x->p->most_operands)
		return usage_error(e, "one operand too many:", operands->v[x->p->most_operands],
				   strlen(operands->v[x->p->most_operands]));
	return rc;
}

int
option_parse(const struct program *p, int argc, char **argv, void *opts, struct operands *operands, struct err *e)
{
	struct parsing x = { .p = p, .opts = opts, .operands = operands };
	struct tool_settings *settings = opts;
	int rc;

	settings->jobs = 1;
	operands->v = xcalloc((size_t)argc + 1, sizeof(*operands->v));
	operands->n = 0;
	make_tables(&x);
	rc = parse(&x, argc, argv, e);
	tool_configure(settings);
	free(x.longs);
	free(x.shorts);
	return rc;
}

/* ---- arguments ---- */

int
option_u64(const char *option, const char *arg, uint64_t least, uint64_t most, uint64_t *out, struct err *e)
{
	if (!num_u64(str_c(arg), out))
		return err_set(e, ERR_USAGE, "%s: '%s' is not a whole number", option, arg);
	if (*out < least || *out > most)
		return err_set(e, ERR_USAGE, "%s: %s is not between %llu and %llu", option, arg,
			       (unsigned long long)least, (unsigned long long)most);
	return 0;
}

int
option_double(const char *option, const char *arg, double *out, struct err *e)
{
	if (!num_double(str_c(arg), out))
		return err_set(e, ERR_USAGE, "%s: '%s' is not a number", option, arg);
	return 0;
}

int
option_choice(const char *option, const char *arg, const char *const *names, int *out, struct err *e)
{
	struct buf all = BUF_INIT;
	int status;

	for (int i = 0; names[i] != NULL; i++) {
		if (strcmp(arg, names[i]) == 0) {
			buf_release(&all);
			*out = i;
			return 0;
		}
		if (i > 0)
			buf_adds(&all, names[i + 1] ? ", " : " or ");
		buf_adds(&all, names[i]);
	}
	status = err_set(e, ERR_USAGE, "%s: '%s' is not %s", option, arg, all.len > 0 ? all.p : "possible");
	buf_release(&all);
	return status;
}

int
option_when(const char *option, const char *arg, enum tool_when *out, struct err *e)
{
	static const char *const names[] = { "auto", "always", "never", NULL };
	int i;

	if (option_choice(option, arg, names, &i, e) < 0)
		return -1;
	*out = (enum tool_when)i;
	return 0;
}

int
option_grid(const char *option, const char *arg, uint64_t *h, uint64_t *w, struct err *e)
{
	const uint64_t most = 1 << 20;
	struct str rest = str_c(arg), first;
	bool good = str_split(&rest, 'x', &first) && num_u64(first, h);

	if (good && rest.p == NULL)
		*w = *h;
	else
		good = good && num_u64(rest, w);
	if (!good || *h == 0 || *w == 0 || *h > most || *w > most)
		return err_set(e, ERR_USAGE, "%s: '%s' is not a grid such as 14x14", option, arg);
	return 0;
}
