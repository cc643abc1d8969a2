#include "common/heat.h"

#include <inttypes.h>
#include <math.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/text.h"
#include "common/file.h"
#include "common/out.h"
#include "common/tool.h"

/* The maximum number of cells in a line, beyond which a grid is thinned; the default and the least width of a terminal. */
enum { CELLS_MAX = 64, WIDTH_DEFAULT = 80, WIDTH_MIN = 10 };

void
heat_init(struct heat *h, bool to_stdout)
{
	int fd = to_stdout ? STDOUT_FILENO : STDERR_FILENO;
	struct winsize ws;

	*h = (struct heat){ .to_stdout = to_stdout, .width = WIDTH_DEFAULT };
	if (ioctl(fd, TIOCGWINSZ, &ws) == 0 && ws.ws_col > 0)
		h->width = ws.ws_col < WIDTH_MIN ? WIDTH_MIN : ws.ws_col;
	h->color = tool_color(fd);
}

/* A picture of one head: the size of its grid, the step for thinning, and the values of the lowest and highest shade. */
struct picture {
	const struct table_picture *table;
	size_t h, w, head, step;
	double low, high;
};

/* Returns the value of a cell, which is the norm if there is more than one channel. */
static double
at(const struct picture *p, size_t y, size_t x)
{
	const struct table_picture *t = p->table;
	const double *v = t->v + (y * p->step * t->cells.w + x * p->step) * t->cell_step + p->head * t->head_step;
	double sum = 0;

	for (size_t c = 0; t->channels > 1 && c < t->channels; c++)
		sum += v[c * t->channel_step] * v[c * t->channel_step];
	return t->channels > 1 ? sqrt(sum) : *v;
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

/* Returns the shade of v, from 0 to levels - 1. NaN has the lowest. */
static unsigned
shade(const struct picture *p, double v, unsigned levels)
{
	double f = p->high > p->low ? (v - p->low) / (p->high - p->low) : 0.5;

	if (!(f > 0))
		return 0;
	return f >= 1 ? levels - 1 : (unsigned)(f * levels);
}

/* Returns a colour of the 256-colour cube for v, from dark blue over green to yellow. */
static unsigned
cube(const struct picture *p, double v)
{
	static const unsigned char ramp[] = { 17, 18, 19, 20, 26, 32, 31, 37, 36, 42, 41, 77, 113, 149, 185, 221, 226 };

	return ramp[shade(p, v, sizeof(ramp))];
}

/* Draws one line: two rows of cells as half blocks in colour, or one row of cells in plain characters. */
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

/* Draws heads [from, to) side by side. */
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
	double v;

	p->low = HUGE_VAL;
	p->high = -HUGE_VAL;
	for (p->head = 0; p->head < p->table->heads; p->head++) {
		for (size_t i = 0; i < rows(p) * columns(p); i++) {
			v = at(p, i / columns(p), i % columns(p));
			if (!isfinite(v))
				continue;
			p->low = fmin(p->low, v);
			p->high = fmax(p->high, v);
		}
	}
}

static void
put_table(struct heat *h, const struct table_picture *t)
{
	struct picture p = { .table = t, .h = t->cells.h, .w = t->cells.w, .step = 1 };
	size_t each;

	while (columns(&p) > CELLS_MAX || columns(&p) + 2 > h->width)
		p.step++;
	range(&p);
	each = h->width / (columns(&p) + 2);
	each = each == 0 ? 1 : each;
	for (size_t n = 0; n < t->heads; n += each)
		put_row(h, p, n, n + each < t->heads ? n + each : t->heads);
}

void
heat_table(void *arg, const struct table_picture *p)
{
	struct heat *h = arg;

	if (!p->after) {
		text_show(&h->text, p->name);
		buf_adds(&h->text, "\n");
	}
	buf_addf(&h->text, "  %s: %" PRIu32, p->after ? "after" : "before", p->grid.h);
	if (p->grid.w > 0)
		buf_addf(&h->text, "x%" PRIu32, p->grid.w);
	buf_addf(&h->text, " tokens%s%s%s\n\n", p->layout[0] == '\0' ? "" : ", layout ", p->layout,
		 p->channels > 1 ? ", norms" : "");
	put_table(h, p);
}

int
heat_end(struct heat *h, struct err *err)
{
	struct sink *out;
	int rc = 0, fd;

	if (err->code == ERR_NONE && h->text.len > 0) {
		fd = dup(h->to_stdout ? STDOUT_FILENO : STDERR_FILENO);
		rc = fd < 0 ? err_sys(err, "terminal", "cannot write")
			    : sink_fd(&out, fd, h->to_stdout ? "standard output" : "standard error", err);
		if (rc == 0)
			rc = file_end(out, sink_write(out, h->text.p, h->text.len, err), err);
	}
	buf_release(&h->text);
	return rc;
}
