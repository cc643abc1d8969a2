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

/* Size of the longest message. When escaped, each byte may take four. */
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

/* Ends the program by this signal with its default action. */
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

/* This function must not allocate. */
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
		/*
		 * Signals that the parent process ignored (nohup) stay ignored. SIGPIPE is an exception: if the reader of the
		 * output is gone, the program always ends quietly.
		 */
		if (signals[i] != SIGPIPE && sigaction(signals[i], NULL, &old) == 0 && old.sa_handler == SIG_IGN)
			continue;
		sigaction(signals[i], &sa, NULL);
	}
	/* Exceeding the file size limit then becomes an ordinary write error. */
	signal(SIGXFSZ, SIG_IGN);
}

/*
 * Opens descriptors 0, 1 and 2 if the program was started without them. Otherwise the next file opened would be taken for one of
 * them. The replacement has the wrong access mode, so that using it fails.
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
 * Prints "NAME: KIND: TEXT" in one write, so that lines of several programs in a pipeline do not mix. tool_start reserves the
 * buffer, because memory must not run out after the output is in place.
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
tool_fail(const struct err *err)
{
	if (err->code == ERR_SYSTEM && err->sysno == EPIPE) {
		tool_clear();
		atomic_emergency();
		die_by(SIGPIPE);
	}
	if (err->code != ERR_ANSWER || err->msg[0] != '\0')
		say("", err->msg[0] != '\0' ? err->msg : "failed");
	return err->code == ERR_ANSWER ? TOOL_NO : TOOL_TROUBLE;
}

int
tool_worst(int a, int b)
{
	return a > b ? a : b;
}
