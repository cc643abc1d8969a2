/*
 * tool: what the four programs share: the prefix of messages, signals, running out of memory, exit status. All messages on standard
 * error are printed here. A program's main is option_main (option.h), which calls tool_start, tool_configure and tool_fail.
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
 * The values of the shared options. Every program's options begin with this struct. option_main (option.h) fills it, and nothing
 * changes it afterwards.
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
 * Must be called first. Ensures that descriptors 0, 1 and 2 are open. From then on, INT, TERM, HUP, XCPU and PIPE remove the
 * temporary files of open sinks and end the program by that signal. Running out of memory does so with one line and status 2.
 */
void tool_start(const char *name);

const char *tool_name(void);

/* Applies the options -q, --verbose, --color, --progress and --ranks. option_main calls it once. */
void tool_configure(const struct tool_settings *s);

/* Was --ranks given? Then a file with the number of a rank in its name stands for the files of all ranks. */
bool tool_joins_ranks(void);

/* Is output to fd coloured? --color, NO_COLOR, TERM and the terminal decide. */
bool tool_color(int fd);

/* Is a progress line shown? --progress, -q and the terminal decide. */
bool tool_progress(void);

/*
 * tool_clear_with sets a function that removes a progress line. tool_clear, which calls it, is called before anything is written to
 * the terminal.
 */
void tool_clear_with(void (*clear)(void));
void tool_clear(void);

/* Prints "NAME: MESSAGE", with "warning: " before the message for DIAG_WARNING, if -q and --verbose permit it. */
void tool_say(enum diag_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Prints "NAME: warning: MESSAGE", unless -q is given. */
#define tool_warn(...) tool_say(DIAG_WARNING, __VA_ARGS__)

/* Prints "NAME: MESSAGE" if --verbose is given. */
#define tool_verbose(...) tool_say(DIAG_VERBOSE, __VA_ARGS__)

/* Prints a summary "NAME: MESSAGE", unless -q is given. */
#define tool_summary(...) tool_say(DIAG_NOTICE, __VA_ARGS__)

/* Returns the receiver of the library's diagnostics. They are printed by tool_say. */
const struct diag *tool_diag(void);

/*
 * Prints the line "NAME: MESSAGE" that ends the program, and returns the exit status: TOOL_NO for ERR_ANSWER (nothing is printed if
 * its message is empty), else TOOL_TROUBLE. If the reader of our output has closed the pipe, exits silently as if by SIGPIPE.
 */
int tool_fail(const struct err *err);

/* Returns the worse of two exit statuses. */
int tool_worst(int a, int b);

#endif
