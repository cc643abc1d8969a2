/*
 * tool: what the four programs share: the name in front of messages, signals,
 * running out of memory, exit status. All messages on standard error are printed here.
 * A program's main is option_main (option.h), which calls tool_start, tool_configure and tool_fail.
 */
#ifndef LNN_COMMON_TOOL_H
#define LNN_COMMON_TOOL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/diag.h"
#include "base/err.h"

/* Exit status. */
enum { TOOL_DONE = 0, TOOL_NO = 1, TOOL_TROUBLE = 2 };

enum tool_when { WHEN_AUTO, WHEN_ALWAYS, WHEN_NEVER };

/*
 * What the shared options said. Every program's options begin with this struct; option_main (option.h) writes it, and
 * nothing changes it afterwards.
 */
struct tool_settings {
	bool quiet, verbose, null;
	bool ranks; /* --ranks */
	enum tool_when color, progress;
	uint64_t jobs;      /* -j; 1 if not given */
	const char *output; /* -o; NULL if not given */
	const char *key;    /* -k; NULL if not given */
};

/*
 * To be called first. Descriptors 0, 1, 2 exist from then on. INT, TERM, HUP and PIPE remove the temporary files of
 * open sinks and end the program by that signal; so does running out of memory, with one line and status 2.
 */
void tool_start(const char *name);

const char *tool_name(void);

/* Takes over what concerns messages, and --ranks: -q, --verbose, --color, --progress. option_main calls it once. */
void tool_configure(const struct tool_settings *s);

/* --ranks: files with the number of a rank in their names stand for those of all ranks. */
bool tool_joins_ranks(void);

/* Is output to fd coloured? --color, NO_COLOR, TERM and the terminal decide. */
bool tool_color(int fd);

/* Is a progress line shown? --progress, -q and the terminal decide. */
bool tool_progress(void);

/* clear is called before anything is written to the terminal (tool_clear): it takes a progress line away. */
void tool_clear_with(void (*clear)(void));
void tool_clear(void);

/* "NAME: MESSAGE", a line of this level. */
void tool_say(enum diag_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* "NAME: warning: MESSAGE"; nothing with -q. */
#define tool_warn(...) tool_say(DIAG_WARNING, __VA_ARGS__)

/* "NAME: MESSAGE", only with --verbose. */
#define tool_verbose(...) tool_say(DIAG_VERBOSE, __VA_ARGS__)

/* "NAME: MESSAGE": a summary; nothing with -q. */
#define tool_summary(...) tool_say(DIAG_NOTICE, __VA_ARGS__)

/* For the library: warnings and remarks go the same way. */
const struct diag *tool_diag(void);

/*
 * Prints the one line that ends the program, "NAME: MESSAGE", and gives the exit status: TOOL_NO for ERR_ANSWER
 * (whose empty message prints nothing), else TOOL_TROUBLE. If the reader of our output has closed the pipe, exits
 * silently as if by SIGPIPE.
 */
int tool_fail(const struct err *e);

/* The worse of two exit statuses. */
int tool_worst(int a, int b);

#endif
