/*
 * option: the command line, described by a table from which getopt's tables and
 * the text of --help are made. Parsing only fills a struct; nothing runs
 * meanwhile (but --help and --version, which end the program).
 *
 *	static const struct option_entry entries[] = {
 *		OPTION_HEADING("What is kept:"),
 *		{ "drop-params", 0, OPTION_ARG, "P", "drop parameters that match P", OPT_DROP },
 *		OPTION_HEADING("Common:"),
 *		OPTION_OUTPUT("FILE", "write to FILE"),
 *		OPTION_COMMON,
 *		OPTION_END,
 *	};
 */
#ifndef LNN_COMMON_OPTION_H
#define LNN_COMMON_OPTION_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "common/tool.h"

enum option_arg { OPTION_NOARG, OPTION_ARG, OPTION_MAYBE /* only as --name=ARG */ };

struct option_entry {
	const char *name; /* without dashes; NULL: a heading, or with id OPTION_ID_END the end */
	int letter;       /* or 0 */
	enum option_arg has_arg;
	const char *arg;  /* what --help calls the argument */
	const char *help; /* wrapped to fit 80 columns */
	int id;           /* yours: 1 .. OPTION_SHARED - 1 */
};

/* Ids that option_parse settles itself, in the program's struct tool_settings. */
enum {
	OPTION_ID_END = 0,
	OPTION_SHARED = 0x10000,
	OPTION_ID_HEADING = OPTION_SHARED,
	OPTION_ID_HELP,
	OPTION_ID_VERSION,
	OPTION_ID_QUIET,
	OPTION_ID_VERBOSE,
	OPTION_ID_COLOR,
	OPTION_ID_PROGRESS,
	OPTION_ID_JOBS,
	OPTION_ID_OUTPUT,
	OPTION_ID_KEY,
	OPTION_ID_NULL,
};

#define OPTION_END { NULL, 0, OPTION_NOARG, NULL, NULL, OPTION_ID_END }
#define OPTION_HEADING(text) { NULL, 0, OPTION_NOARG, NULL, text, OPTION_ID_HEADING }
#define OPTION_QUIET(help) { "quiet", 'q', OPTION_NOARG, NULL, help, OPTION_ID_QUIET }
#define OPTION_VERBOSE(help) { "verbose", 0, OPTION_NOARG, NULL, help, OPTION_ID_VERBOSE }
#define OPTION_OUTPUT(arg, help) { "output", 'o', OPTION_ARG, arg, help, OPTION_ID_OUTPUT }
#define OPTION_KEY(help) { "key", 'k', OPTION_ARG, "PATH", help, OPTION_ID_KEY }
#define OPTION_JOBS(help) { "jobs", 'j', OPTION_ARG, "N", help, OPTION_ID_JOBS }
#define OPTION_NULL(help) { "null", '0', OPTION_NOARG, NULL, help, OPTION_ID_NULL }
#define OPTION_COLOR { "color", 0, OPTION_ARG, "WHEN", "auto, always or never", OPTION_ID_COLOR }
#define OPTION_PROGRESS { "progress", 0, OPTION_ARG, "WHEN", "auto, always or never", OPTION_ID_PROGRESS }
#define OPTION_HELP { "help", 0, OPTION_NOARG, NULL, "show this help", OPTION_ID_HELP }
#define OPTION_VERSION { "version", 0, OPTION_NOARG, NULL, "show the version", OPTION_ID_VERSION }

struct program {
	const char *usage;   /* "[options] [CKPT]...": what follows the name */
	const char *summary; /* what it does, in a line or two */
	const char *footer;  /* after the options; may be NULL */
	const struct option_entry *entries;
	size_t most_operands; /* more are a usage error */
	/* Notes one option in opts. arg is borrowed and lives as long as argv; NULL if there is none. */
	int (*apply)(void *opts, int id, const char *arg, struct err *e);
};

/* Borrowed from argv; v is the caller's to free. */
struct operands {
	const char **v;
	size_t n;
};

#define OPERANDS_INIT { NULL, 0 }

/* opts: a struct whose first member is a struct tool_settings. ERR_USAGE if the command line is wrong. */
int option_parse(const struct program *p, int argc, char **argv, void *opts, struct operands *operands, struct err *e);

/* Arguments of options: option is the name with dashes, for the message. All of arg must be the value. */
int option_u64(const char *option, const char *arg, uint64_t least, uint64_t most, uint64_t *out, struct err *e);
int option_double(const char *option, const char *arg, double *out, struct err *e);
int option_when(const char *option, const char *arg, enum tool_when *out, struct err *e);

/* Index of arg in names (ended by NULL); the error lists them all. */
int option_choice(const char *option, const char *arg, const char *const *names, int *out, struct err *e);

/* "HxW" (or "N", which is NxN), both at least 1. */
int option_grid(const char *option, const char *arg, uint64_t *h, uint64_t *w, struct err *e);

#endif
