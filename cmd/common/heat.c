#include "common/heat.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/text.h"
#include "common/out.h"
#include "common/tool.h"
#include "io/sink.h"

/* Cells of a grid drawn at most in one direction; larger grids are thinned. */
enum { CELLS_MAX = 64, WIDTH_DEFAULT = 80, WIDTH_MIN = 10 };

void
heat_init(struct heat *h, bool to_stdout)
{
	int fd = to_stdout ? STDOUT_FILENO : STDERR_FILENO;
	struct winsize ws;

	*h = (struct heat){ .to_stdout = to_stdout, .width = WIDTH_DEFAULT };
	if (ioctl(fd, TIOCGWINSZ, &ws) == 0 && ws.ws_col > 0)
		h->width = ws.ws_col < WIDTH_MIN ? WIDTH_MIN : ws.ws_col;
	h->color = tool_wants_color(fd);
}

/* A picture: cells of one head, and the range that shades are counted in. */
struct picture {
	const double *cells; /* of all heads */
	size_t h, w, heads, head, step;
	double low, high;
};

static double
at(const struct picture *p, size_t y, size_t x)
{
	return p->cells[((y * p->step) * p->w + x * p->step) * p->heads + p->head];
}

static size_t
rows(const struct picture *p)
{
	return (p->h + p->step - 1) / p->step;
}

static size_t
columns(const struct picture *p)
{
	return (p->w + p->step - 1) / p->step;
}

/* 0 .. levels - 1; NaN is the lowest. */
static unsigned
shade(const struct picture *p, double v, unsigned levels)
{
	double f = p->high > p->low ? (v - p->low) / (p->high - p->low) : 0.5;

	if (!(f > 0))
		return 0;
	return f >= 1 ? levels - 1 : (unsigned)(f * levels);
}

/* Colours of the 256-colour cube from dark blue over green to yellow. */
static unsigned
cube(const struct picture *p, double v)
{
	static const unsigned char ramp[] = { 17, 18, 19, 20, 26, 32, 31, 37, 36, 42, 41, 77, 113, 149, 185, 221, 226 };

	return ramp[shade(p, v, sizeof(ramp))];
}

/* Two rows of cells in one line of half blocks; or in plain characters a row a line. */
static void
put_line(struct buf *b, const struct picture *p, size_t y, bool color)
{
	static const char ramp[] = " .:-=+*#%@";

	for (size_t x = 0; x < columns(p); x++) {
		if (!color) {
			buf_addc(b, ramp[shade(p, at(p, y, x), sizeof(ramp) - 1)]);
			continue;
		}
		buf_addf(b, "\033[38;5;%um", cube(p, at(p, y, x)));
		if (y + 1 < rows(p))
			buf_addf(b, "\033[48;5;%um", cube(p, at(p, y + 1, x)));
		buf_adds(b, "\xe2\x96\x80");
	}
	if (color)
		buf_adds(b, "\033[0m");
}

/* Heads [from, to) side by side. */
static void
put_row(struct heat *h, struct picture p, size_t from, size_t to)
{
	size_t y;

	for (y = 0; y < rows(&p); y += h->color ? 2 : 1) {
		for (p.head = from; p.head < to; p.head++) {
			buf_adds(&h->text, "  ");
			put_line(&h->text, &p, y, h->color);
		}
		buf_addc(&h->text, '\n');
	}
	buf_addc(&h->text, '\n');
}

static void
range(struct picture *p)
{
	size_t n = p->h * p->w * p->heads;

	p->low = HUGE_VAL;
	p->high = -HUGE_VAL;
	for (size_t i = 0; i < n; i++) {
		if (!isfinite(p->cells[i]))
			continue;
		p->low = p->cells[i] < p->low ? p->cells[i] : p->low;
		p->high = p->cells[i] > p->high ? p->cells[i] : p->high;
	}
}

/* values: a whole table; its grid begins behind the extra rows of layout first. */
static void
put_table(struct heat *h, const double *values, struct layout layout, struct grid grid, size_t heads)
{
	struct picture p = { .h = 2 * grid.h - 1, .w = 2 * grid.w - 1, .heads = heads, .step = 1 };
	size_t each, n;

	p.cells = values + (layout.kind == LAYOUT_FIRST ? layout.extra * heads : 0);
	while ((p.w + p.step - 1) / p.step > CELLS_MAX || (p.w + p.step - 1) / p.step + 2 > h->width)
		p.step++;
	range(&p);
	each = h->width / (columns(&p) + 2);
	each = each == 0 ? 1 : each;
	for (n = 0; n < heads; n += each)
		put_row(h, p, n, n + each < heads ? n + each : heads);
}

static void
put_title(struct heat *h, const char *what, struct grid grid, struct layout layout)
{
	char text[LAYOUT_TEXT];

	layout_print(layout, text);
	buf_addf(&h->text, "  %s: %" PRIu32 "x%" PRIu32 " tokens, layout %s\n\n", what, grid.h, grid.w, text);
}

void
heat_table(void *arg, const struct make_bias_table *t, const double *before, const double *after)
{
	struct heat *h = arg;

	text_show(&h->text, t->make.name);
	buf_adds(&h->text, "\n");
	put_title(h, "before", t->job.from_grid, t->job.from);
	put_table(h, before, t->job.from, t->job.from_grid, t->job.heads);
	put_title(h, "after", t->job.to_grid, t->job.to);
	put_table(h, after, t->job.to, t->job.to_grid, t->job.heads);
}

int
heat_end(struct heat *h, struct err *e)
{
	struct sink *out;
	int rc = 0, fd;

	if (e->code == ERR_NONE && h->text.len > 0) {
		fd = dup(h->to_stdout ? STDOUT_FILENO : STDERR_FILENO);
		rc = fd < 0 ? err_sys(e, "terminal", "cannot write")
			    : sink_fd(&out, fd, h->to_stdout ? "standard output" : "standard error", e);
		if (rc == 0 && sink_write(out, h->text.p, h->text.len, e) == 0)
			rc = sink_commit(out, e);
		else if (rc == 0) {
			sink_abort(out);
			rc = -1;
		}
	}
	buf_release(&h->text);
	return rc;
}
