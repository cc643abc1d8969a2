/*
 * option: the command line, described by a table from which parsing and the text of --help are made. An entry gives the type of an
 * option and the member of the program's options that it is stored in. Parsing only fills that struct and runs nothing else. Only
 * --help and --version end the program at once.
 *
 *	#define OPTIONS struct filter_options
 *
 *	static const struct option_entry entries[] = {
 *		OPTION_HEADING("The rule:"),
 *		OPTION_TEXT("path", 'p', "PATH", "rule or groups at this dotted path of the file", path),
 *		OPTION_FLAG("buffers", 0, "let rules see buffers, too", buffers),
 *		OPTION_HEADING("Common:"),
 *		OPTION_OUTPUT("FILE", "write to FILE"),
 *		OPTION_COLOR,
 *		OPTION_ENDING,
 *	};
 */
#ifndef LNN_COMMON_OPTION_H
#define LNN_COMMON_OPTION_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "common/tool.h"

enum option_kind {
	OPTION_IS_END,
	OPTION_IS_HEADING,
	OPTION_IS_BARE,   /* stores nothing in the program's options */
	OPTION_IS_FLAG,   /* a bool, which is set to true */
	OPTION_IS_VALUE,  /* an enum, which is set to value */
	OPTION_IS_WORD,   /* an enum, which is set to the index of the argument in words */
	OPTION_IS_TEXT,   /* a const char *, borrowed from argv */
	OPTION_IS_TEXTS,  /* a struct strs, to which the argument is appended */
	OPTION_IS_NUMBER, /* a uint64_t from least to most */
	OPTION_IS_READ,   /* the argument is parsed by read */
	OPTION_IS_HELP,
	OPTION_IS_VERSION,
};

/* NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): members are in the order in which tables give them */
struct option_entry {
	const char *name; /* long name without dashes */
	int letter;       /* short option, or 0 */
	const char *arg;  /* name of the argument in --help; NULL: no argument; "[=ARG]": the argument is optional */
	const char *help; /* text for --help, wrapped to fit 80 columns; for a heading, the heading */
	enum option_kind kind;
	size_t at;                /* offset of the member in the program's options */
	unsigned value;           /* value for OPTION_IS_VALUE; also available to read */
	const char *const *words; /* allowed words, then NULL */
	uint64_t least, most;
	/* Parses arg and stores it at place, which is the member at offset at. arg is NULL if an optional argument is missing. */
	int (*read)(const struct option_entry *o, void *place, const char *arg, struct err *err);
};

/* A list of borrowed strings that an option collects. */
struct strs {
	const char **v;
	size_t n, cap;
};

/* The offset of a member of OPTIONS, which must have this type. */
/* NOLINTNEXTLINE(bugprone-macro-parentheses): options and type are types */
#define OPTION_AT_IN(options, member, type) _Generic(((options *)NULL)->member, type : offsetof(options, member))
#define OPTION_AT(member, type) OPTION_AT_IN(OPTIONS, member, type)
#define OPTION_SHARED(member, type) OPTION_AT_IN(struct tool_settings, member, type)

/* clang-format off */
#define OPTION_END { NULL, 0, NULL, NULL, OPTION_IS_END, 0, 0, NULL, 0, 0, NULL }
#define OPTION_HEADING(text) { NULL, 0, NULL, text, OPTION_IS_HEADING, 0, 0, NULL, 0, 0, NULL }
#define OPTION_BARE(name, help) { name, 0, NULL, help, OPTION_IS_BARE, 0, 0, NULL, 0, 0, NULL }
#define OPTION_FLAG_AT(name, letter, help, at) { name, letter, NULL, help, OPTION_IS_FLAG, at, 0, NULL, 0, 0, NULL }
#define OPTION_FLAG(name, letter, help, member) OPTION_FLAG_AT(name, letter, help, OPTION_AT(member, bool))
#define OPTION_VALUE(name, help, member, value) \
	{ name, 0, NULL, help, OPTION_IS_VALUE, OPTION_AT(member, unsigned), value, NULL, 0, 0, NULL }
#define OPTION_WORD_AT(name, arg, help, at, words) { name, 0, arg, help, OPTION_IS_WORD, at, 0, words, 0, 0, NULL }
#define OPTION_WORD(name, arg, help, member, words) OPTION_WORD_AT(name, arg, help, OPTION_AT(member, unsigned), words)
#define OPTION_TEXT_AT(name, letter, arg, help, at) { name, letter, arg, help, OPTION_IS_TEXT, at, 0, NULL, 0, 0, NULL }
#define OPTION_TEXT(name, letter, arg, help, member) \
	OPTION_TEXT_AT(name, letter, arg, help, OPTION_AT(member, const char *))
#define OPTION_TEXTS(name, letter, arg, help, member) \
	{ name, letter, arg, help, OPTION_IS_TEXTS, OPTION_AT(member, struct strs), 0, NULL, 0, 0, NULL }
#define OPTION_NUMBER_AT(name, letter, arg, help, at, least, most) \
	{ name, letter, arg, help, OPTION_IS_NUMBER, at, 0, NULL, least, most, NULL }
#define OPTION_NUMBER(name, arg, help, member, least, most) \
	OPTION_NUMBER_AT(name, 0, arg, help, OPTION_AT(member, uint64_t), least, most)
#define OPTION_READ(name, arg, help, at, value, read) { name, 0, arg, help, OPTION_IS_READ, at, value, NULL, 0, 0, read }

/* The following options fill the struct tool_settings that the program's options begin with. */
#define OPTION_QUIET(help) OPTION_FLAG_AT("quiet", 'q', help, OPTION_SHARED(quiet, bool))
#define OPTION_VERBOSE(help) OPTION_FLAG_AT("verbose", 0, help, OPTION_SHARED(verbose, bool))
#define OPTION_NULL(help) OPTION_FLAG_AT("null", '0', help, OPTION_SHARED(null, bool))
#define OPTION_OUTPUT(arg, help) OPTION_TEXT_AT("output", 'o', arg, help, OPTION_SHARED(output, const char *))
#define OPTION_KEY(help) OPTION_TEXT_AT("key", 'k', "PATH", help, OPTION_SHARED(key, const char *))
#define OPTION_RANKS \
	OPTION_FLAG_AT("ranks", 0, "join the files of all ranks; name one of them", OPTION_SHARED(ranks, bool))
#define OPTION_JOBS(help) OPTION_NUMBER_AT("jobs", 'j', "N", help, OPTION_SHARED(jobs, uint64_t), 1, 256)
#define OPTION_WHEN(name, member) \
	OPTION_WORD_AT(name, "WHEN", "auto, always or never", OPTION_SHARED(member, unsigned), option_when)
#define OPTION_COLOR OPTION_WHEN("color", color)
#define OPTION_PROGRESS OPTION_WHEN("progress", progress)
#define OPTION_HELP { "help", 'h', NULL, "show this help", OPTION_IS_HELP, 0, 0, NULL, 0, 0, NULL }
#define OPTION_VERSION { "version", 'V', NULL, "show the version", OPTION_IS_VERSION, 0, 0, NULL, 0, 0, NULL }
/* clang-format on */

/* The last entries of every table. */
#define OPTION_ENDING OPTION_HELP, OPTION_VERSION, OPTION_END

extern const char *const option_when[];

/* The operands, borrowed from argv. */
struct operands {
	const char **v;
	size_t n;
};

struct program {
	const char *name;
	const char *usage;       /* the text after the name in the usage line: "[options] [CKPT]..." */
	const char *summary;     /* what the program does, in a line or two */
	const char *examples[2]; /* command lines for the end of --help */
	const char *status;      /* what the exit statuses mean */
	const struct option_entry *entries;
	size_t most_operands; /* the maximum number of operands; more are a usage error */
	/* Runs the program. *status is TOOL_DONE at first. It becomes the exit status unless run fails. */
	int (*run)(void *opts, const struct operands *operands, int *status, struct err *err);
};

/*
 * Implements main: parses the command line into opts, a struct whose first member is a struct tool_settings, runs the program and
 * reports its error. Returns the exit status. Frees the lists in opts.
 */
int option_main(const struct program *p, int argc, char **argv, void *opts);

/* Stores an option in opts. Does nothing if an optional argument is missing. */
int option_store(const struct option_entry *o, void *opts, const char *arg, struct err *err);

/* Parse an argument, for use in read. All of arg must be the number. */
int option_u64(const struct option_entry *o, const char *arg, uint64_t *out, struct err *err);
int option_double(const struct option_entry *o, const char *arg, double *out, struct err *err);

/* Sets *out to the index of arg in the words of o. The error lists the words. */
int option_word(const struct option_entry *o, const char *arg, unsigned *out, struct err *err);

#endif
