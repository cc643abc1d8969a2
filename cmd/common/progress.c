#include "common/progress.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "common/human.h"
#include "common/tool.h"

/* Seconds before the line is first shown, and between updates. */
#define FIRST 1.0
#define BETWEEN 0.2

static struct {
	bool on, shown;
	const char *what;
	double start, last;
} now;

static double
seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void
put(const char *p, size_t n)
{
	/* Failing to show progress is not an error. */
	if (write(STDERR_FILENO, p, n) < 0)
		now.on = false;
}

/* Clears the line until the next tick. */
static void
hide(void)
{
	if (now.shown)
		put("\r\033[K", 4);
	now.shown = false;
}

void
progress_start(const char *what)
{
	now.what = what;
	now.shown = false;
	now.start = now.last = seconds();
	now.on = tool_progress();
	tool_clear_with(hide);
}

void
progress_end(void)
{
	hide();
	now.on = false;
}

/* Formats "1:02:03" or "2:03". */
static void
duration(double s, char *out, size_t size)
{
	unsigned long n = s < 359999 ? (unsigned long)(s + 0.5) : 359999;

	if (n >= 3600)
		snprintf(out, size, "%lu:%02lu:%02lu", n / 3600, n / 60 % 60, n % 60);
	else
		snprintf(out, size, "%lu:%02lu", n / 60, n % 60);
}

static int
describe(char *line, size_t size, double spent, uint64_t done, uint64_t total)
{
	char a[HUMAN_SIZE], b[HUMAN_SIZE], rate[HUMAN_SIZE], left[32];
	double speed = (double)done / spent;

	human_bytes(done, a);
	human_bytes((uint64_t)speed, rate);
	if (total == 0 || done > total || speed <= 0)
		return snprintf(line, size, "%s: %s: %s, %s/s", tool_name(), now.what, a, rate);
	duration((double)(total - done) / speed, left, sizeof(left));
	return snprintf(line, size, "%s: %s: %s of %s (%d%%), %s/s, %s left", tool_name(), now.what, a, human_bytes(total, b),
			(int)(100.0 * (double)done / (double)total), rate, left);
}

void
progress_tick(void *arg, uint64_t done, uint64_t total)
{
	char line[256] = "\r";
	struct winsize w;
	double t;
	size_t len, most = sizeof(line) - 4;
	int n;

	(void)arg;
	if (!now.on)
		return;
	t = seconds();
	if (t - now.start < FIRST || (t - now.last < BETWEEN && now.shown))
		return;
	n = describe(line + 1, most - 1, t - now.start, done, total);
	if (n < 0)
		return;
	len = strlen(line);
	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 1 && len > w.ws_col)
		len = w.ws_col;
	memcpy(line + len, "\033[K", 3);
	now.last = t;
	now.shown = true;
	put(line, len + 3);
}
