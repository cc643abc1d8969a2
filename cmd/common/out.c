#include "common/out.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"
#include "common/file.h"
#include "common/tool.h"

/* Without a terminal, output is passed to the sink in pieces of this size. */
#define PIECE ((size_t)64 << 10)

static size_t
terminal_width(void)
{
	const char *columns = getenv("COLUMNS");
	struct winsize w;
	long n = columns != NULL ? strtol(columns, NULL, 10) : 0;

	if (n > 0)
		return (size_t)n;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 0)
		return w.ws_col;
	return 80;
}

int
out_open(struct out *o, const char *path, struct err *err)
{
	memset(o, 0, sizeof(*o));
	buf_init(&o->buf);
	err_clear(&o->err);
	if (file_output(path, FILE_TEXT, NULL, 0, &o->sink, err) < 0)
		return -1;
	o->tty = (path == NULL || strcmp(path, "-") == 0) && isatty(STDOUT_FILENO);
	o->color = tool_color(o->tty ? STDOUT_FILENO : -1);
	o->width = o->tty ? terminal_width() : SIZE_MAX;
	return 0;
}

/* Passes the buffer to the sink. */
static void
pass(struct out *o)
{
	if (o->buf.len > 0 && o->err.code == ERR_NONE)
		(void)sink_write(o->sink, o->buf.p, o->buf.len, &o->err);
	buf_clear(&o->buf);
}

void
out_flush(struct out *o)
{
	pass(o);
	if (o->err.code == ERR_NONE)
		(void)sink_flush(o->sink, &o->err);
}

bool
out_flush_is_due(struct out *o)
{
	struct timespec t;
	double now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	now = (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
	if (o->flushed != 0 && now - o->flushed < 0.1)
		return false;
	o->flushed = now;
	return true;
}

/* Flushes if necessary after something was added. line says that it contained a newline. */
static void
added(struct out *o, bool line)
{
	if (o->tty && line) {
		tool_clear();
		out_flush(o);
	} else if (o->buf.len >= PIECE) {
		pass(o);
	}
}

int
out_end(struct out *o, struct err *err)
{
	int rc;

	pass(o);
	buf_release(&o->buf);
	rc = file_end(o->sink, out_failed(o) ? -1 : 0, err);
	if (rc < 0 && err->code == ERR_NONE)
		*err = o->err;
	o->sink = NULL;
	return rc;
}

void
out_abort(struct out *o)
{
	buf_release(&o->buf);
	sink_abort(o->sink);
	o->sink = NULL;
}

bool
out_failed(const struct out *o)
{
	return o->err.code != ERR_NONE;
}

void
out_write(struct out *o, const void *p, size_t n)
{
	buf_add(&o->buf, p, n);
	added(o, o->tty && n > 0 && memchr(p, '\n', n) != NULL);
}

void
out_puts(struct out *o, const char *s)
{
	out_write(o, s, strlen(s));
}

void
out_putc(struct out *o, char c)
{
	buf_addc(&o->buf, c);
	added(o, c == '\n');
}

void
out_printf(struct out *o, const char *fmt, ...)
{
	const size_t at = o->buf.len;
	va_list ap;

	va_start(ap, fmt);
	buf_vaddf(&o->buf, fmt, ap);
	va_end(ap);
	added(o, str_find(str_from(buf_str(&o->buf), at), str_c("\n"), 0) >= 0);
}

void
out_show(struct out *o, struct str name)
{
	text_show(&o->buf, name);
	added(o, false);
}

void
out_plain(struct out *o, struct str text)
{
	if (o->tty)
		out_show(o, text);
	else
		out_write(o, text.p, text.len);
}

void
out_field(struct out *o, struct str name)
{
	text_escape(&o->buf, name);
	added(o, false);
}

void
out_style(struct out *o, enum out_style style)
{
	static const char *const codes[] = { "\033[0m", "\033[1m", "\033[2m", "\033[32m", "\033[33m", "\033[31m", "\033[36m" };

	if (o->color)
		buf_adds(&o->buf, codes[style]);
}
