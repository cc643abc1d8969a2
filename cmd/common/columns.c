#include "common/columns.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "base/xalloc.h"

/* Columns are this far apart; a shrunk one keeps at least so much. */
enum { GAP = 2, SHRUNK_MIN = 12 };

struct table_cell {
	size_t at, len; /* in text */
	size_t width;
};

void
table_init(struct table *t, const struct table_column *columns, size_t n)
{
	memset(t, 0, sizeof(*t));
	t->columns = columns;
	t->ncolumns = n < TABLE_COLUMNS ? n : TABLE_COLUMNS;
	buf_init(&t->text);
}

void
table_release(struct table *t)
{
	buf_release(&t->text);
	free(t->cells);
	memset(t, 0, sizeof(*t));
}

void
table_cell(struct table *t, struct str text)
{
	struct table_cell *c;

	t->cells = xgrow(t->cells, t->ncells, &t->cap, sizeof(*t->cells));
	c = &t->cells[t->ncells++];
	c->at = t->text.len;
	text_show(&t->text, text);
	c->len = t->text.len - c->at;
	c->width = text_width(str_n(t->text.p + c->at, c->len));
}

void
table_cellc(struct table *t, const char *text)
{
	table_cell(t, str_c(text));
}

void
table_cellf(struct table *t, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	table_cell(t, str_c(text));
}

/* A cell that says nothing: empty, or the dot that stands for none. */
static bool
is_nothing(const struct table *t, const struct table_cell *c)
{
	return c->len == 0 || (c->len == 1 && t->text.p[c->at] == '.');
}

/* The widths of all columns, those that shrink made to fit; 0 of one that says nothing, which is left out. */
static void
measure(const struct table *t, size_t most, size_t *width)
{
	size_t sum = 0, shrinking = 0;
	bool says[TABLE_COLUMNS] = { false };

	for (size_t i = 0; i < t->ncells; i++) {
		size_t *w = &width[i % t->ncolumns];

		*w = t->cells[i].width > *w ? t->cells[i].width : *w;
		says[i % t->ncolumns] = says[i % t->ncolumns] || !is_nothing(t, &t->cells[i]);
	}
	for (size_t i = 0; i < t->ncolumns; i++) {
		size_t title = t->columns[i].title ? text_width(str_c(t->columns[i].title)) : 0;

		if (!says[i] && i > 0 && t->ncells > 0) {
			width[i] = 0;
			continue;
		}
		width[i] = width[i] > title ? width[i] : title;
		sum += width[i] + (i > 0 ? GAP : 0);
		shrinking += t->columns[i].shrinks;
	}
	/* The widest of those that shrink gives way, column by column, until all fits. */
	while (sum > most && shrinking > 0) {
		size_t widest = SIZE_MAX;

		for (size_t i = 0; i < t->ncolumns; i++) {
			if (t->columns[i].shrinks && (widest == SIZE_MAX || width[i] > width[widest]))
				widest = i;
		}
		if (widest == SIZE_MAX || width[widest] <= SHRUNK_MIN)
			break;
		width[widest]--;
		sum--;
	}
}

/* The bytes of s that take at most width columns, from its start or (from_end) up to its end. */
static struct str
part(struct str s, size_t width, bool from_end)
{
	/* A character has at most four bytes; combining ones beyond that are cut. */
	size_t n = s.len < 4 * width ? s.len : 4 * width;

	while (n > 0) {
		struct str p = from_end ? str_n(s.p + s.len - n, n) : str_n(s.p, n);
		bool whole = from_end ? ((unsigned char)p.p[0] & 0xc0) != 0x80 :
				      n == s.len || ((unsigned char)s.p[n] & 0xc0) != 0x80;

		if (whole && text_width(p) <= width)
			return p;
		n--;
	}
	return str_n(s.p, 0);
}

static void
put_text(struct out *o, struct str s, size_t width, size_t limit)
{
	struct str head, tail;

	if (width <= limit) {
		out_write(o, s.p, s.len);
		return;
	}
	head = part(s, (limit - 3) / 2, false);
	tail = part(s, limit - 3 - (limit - 3) / 2, true);
	out_write(o, head.p, head.len);
	out_puts(o, "...");
	out_write(o, tail.p, tail.len);
}

static void
put_cell(const struct table *t, struct out *o, size_t i, struct str s, size_t width, const size_t *limits, bool title)
{
	const struct table_column *c = &t->columns[i];
	enum out_style style = title ? STYLE_BOLD : str_eqc(s, ".") ? STYLE_PLAIN : c->style;
	size_t limit = limits[i], shown = width < limit ? width : limit;
	bool last = true;

	if (limit == 0 && i > 0)
		return;
	for (size_t k = i + 1; k < t->ncolumns; k++)
		last = last && limits[k] == 0;
	if (i > 0)
		out_printf(o, "%*s", GAP, "");
	if (c->right && shown < limit)
		out_printf(o, "%*s", (int)(limit - shown), "");
	if (style != STYLE_PLAIN)
		out_style(o, style);
	put_text(o, s, width, limit);
	if (style != STYLE_PLAIN)
		out_style(o, STYLE_PLAIN);
	/* No blanks at the end of a line. */
	if (!c->right && !last && shown < limit)
		out_printf(o, "%*s", (int)(limit - shown), "");
	if (last)
		out_putc(o, '\n');
}

void
table_print(const struct table *t, struct out *o)
{
	size_t width[TABLE_COLUMNS] = { 0 };
	bool titled = false;

	if (t->ncolumns == 0)
		return;
	measure(t, o->width, width);
	for (size_t i = 0; i < t->ncolumns; i++)
		titled = titled || t->columns[i].title != NULL;
	for (size_t i = 0; titled && i < t->ncolumns; i++) {
		struct str s = str_c(t->columns[i].title ? t->columns[i].title : "");

		put_cell(t, o, i, s, text_width(s), width, true);
	}
	for (size_t i = 0; i < t->ncells && !out_failed(o); i++) {
		const struct table_cell *c = &t->cells[i];

		put_cell(t, o, i % t->ncolumns, str_n(t->text.p + c->at, c->len), c->width, width, false);
	}
}

/* Three digits of v with the unit for each thousand (or 1024) of it. */
static void
three_digits(double v, double step, const char *const *units, char *out)
{
	size_t i = 0;

	while (v >= 999.5 && units[i + 1] != NULL) {
		v /= step;
		i++;
	}
	snprintf(out, HUMAN_SIZE, "%.*f%s", v < 9.995 ? 2 : v < 99.95 ? 1 : 0, v, units[i]);
}

const char *
human_count(uint64_t n, char out[HUMAN_SIZE])
{
	static const char *const units[] = { "", "k", "M", "G", "T", "P", "E", NULL };

	if (n < 1000)
		snprintf(out, HUMAN_SIZE, "%u", (unsigned)n);
	else
		three_digits((double)n, 1000, units, out);
	return out;
}

const char *
human_bytes(uint64_t n, char out[HUMAN_SIZE])
{
	static const char *const units[] = { " B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB", NULL };

	if (n < 1000)
		snprintf(out, HUMAN_SIZE, "%u B", (unsigned)n);
	else
		three_digits((double)n, 1024, units, out);
	return out;
}
