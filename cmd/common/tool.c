#include "common/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "base/xalloc.h"
#include "io/atomic.h"

/* The longest text of a message; shown, each byte may take four. */
enum { TEXT_MAX = 2048 };

static const char *prog = "lnn-tools";
static struct tool_settings voice;
static void (*clear_line)(void);
static struct buf line = BUF_INIT;
static pthread_mutex_t line_lock = PTHREAD_MUTEX_INITIALIZER;

const char *
tool_name(void)
{
	return prog;
}

void
tool_configure(const struct tool_settings *s)
{
	voice = *s;
}

bool
tool_joins_ranks(void)
{
	return voice.ranks;
}

bool
tool_color(int fd)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	if (voice.color != WHEN_AUTO)
		return voice.color == WHEN_ALWAYS;
	return isatty(fd) && (no == NULL || no[0] == '\0') && term != NULL && strcmp(term, "dumb") != 0;
}

bool
tool_progress(void)
{
	return voice.progress == WHEN_ALWAYS || (voice.progress == WHEN_AUTO && !voice.quiet && isatty(STDERR_FILENO));
}

void
tool_clear_with(void (*clear)(void))
{
	clear_line = clear;
}

void
tool_clear(void)
{
	if (clear_line != NULL)
		clear_line();
}

/* Ends the program by this signal, as if it had never been caught. */
static void
die_by(int sig)
{
	sigset_t set;

	signal(sig, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, sig);
	raise(sig);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void
on_signal(int sig)
{
	atomic_emergency();
	die_by(sig);
}

/* Nothing here may allocate. */
static void
on_out_of_memory(size_t size)
{
	char text[160];
	int n;

	atomic_emergency();
	n = snprintf(text, sizeof(text), "%.80s: out of memory (%zu bytes were asked for)\n", prog, size);
	if (n > 0 && write(STDERR_FILENO, text, (size_t)n) < 0)
		_exit(TOOL_TROUBLE);
	_exit(TOOL_TROUBLE);
}

static void
catch_signals(void)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGXCPU, SIGPIPE };
	struct sigaction sa, old;

	memset(&sa, 0, sizeof(sa));
	sa.sa_handler = on_signal;
	sigfillset(&sa.sa_mask);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		/* What a parent ignored (nohup) stays ignored, but a reader that went away always ends us quietly. */
		if (signals[i] != SIGPIPE && sigaction(signals[i], NULL, &old) == 0 && old.sa_handler == SIG_IGN)
			continue;
		sigaction(signals[i], &sa, NULL);
	}
	/* A file size limit is a write error like others. */
	signal(SIGXFSZ, SIG_IGN);
}

/*
 * A program may be started without some of the three; the next file opened would then be taken for it. What stands in
 * fails when it is used.
 */
static void
open_standard(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
			_exit(TOOL_TROUBLE);
}

void
tool_start(const char *name)
{
	prog = name;
	open_standard();
	catch_signals();
	xalloc_handler(on_out_of_memory);
	(void)buf_reserve(&line, 4 * TEXT_MAX + 256);
}

/*
 * "NAME: KIND: TEXT" in one write, so that lines of several programs in a pipeline do not mix. The buffer holds
 * every line from the start (tool_start): when the output is in its place, no lack of memory may turn up.
 */
static void
say(const char *kind, const char *text)
{
	pthread_mutex_lock(&line_lock);
	buf_clear(&line);
	buf_adds(&line, prog);
	buf_adds(&line, ": ");
	buf_adds(&line, kind);
	text_show(&line, str_c(text));
	buf_addc(&line, '\n');
	tool_clear();
	for (size_t at = 0; at < line.len;) {
		ssize_t n = write(STDERR_FILENO, line.p + at, line.len - at);

		if (n < 0 && errno != EINTR)
			break;
		at += n > 0 ? (size_t)n : 0;
	}
	pthread_mutex_unlock(&line_lock);
}

void
tool_say(enum diag_level level, const char *fmt, ...)
{
	char text[TEXT_MAX];
	va_list ap;

	if (level == DIAG_VERBOSE ? !voice.verbose : voice.quiet)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	say(level == DIAG_WARNING ? "warning: " : "", text);
}

static void
hear(void *arg, enum diag_level level, const char *msg)
{
	(void)arg;
	tool_say(level, "%s", msg);
}

const struct diag *
tool_diag(void)
{
	static const struct diag diag = { hear, NULL };

	return &diag;
}

int
tool_fail(const struct err *e)
{
	if (e->code == ERR_SYSTEM && e->sysno == EPIPE) {
		tool_clear();
		atomic_emergency();
		die_by(SIGPIPE);
	}
	if (e->code != ERR_ANSWER || e->msg[0] != '\0')
		say("", e->msg[0] != '\0' ? e->msg : "failed");
	return e->code == ERR_ANSWER ? TOOL_NO : TOOL_TROUBLE;
}

int
tool_worst(int a, int b)
{
	return a > b ? a : b;
}
