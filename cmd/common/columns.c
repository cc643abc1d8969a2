#include "common/columns.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "base/xalloc.h"

/* Blanks between two columns; the least width of a column that shrinks. */
enum { GAP = 2, SHRUNK_MIN = 12 };

struct columns_cell {
	size_t at, len; /* in text */
	size_t width;
	enum out_style style;
};

void
columns_begin(struct columns *c, struct out *out, const struct column *v, size_t n)
{
	*c = (struct columns){ .out = out, .v = v, .n = n < COLUMNS_MAX ? n : COLUMNS_MAX, .text = BUF_INIT };
}

/* ---- widths */

static size_t
title_width(const struct columns *c, size_t column)
{
	return text_width(str_c(c->v[column].title));
}

static bool
says_nothing(const struct columns *c, const struct columns_cell *cell)
{
	return cell->len == 0 || (cell->len == 1 && c->text.p[cell->at] == '.');
}

/* The widest column that may shrink gives way, step by step, until all columns fit. */
static void
shrink(struct columns *c, size_t sum)
{
	while (sum > c->out->width) {
		size_t widest = SIZE_MAX;

		for (size_t i = 0; i < c->n; i++) {
			if ((c->v[i].flags & COLUMN_SHRINKS) && (widest == SIZE_MAX || c->width[i] > c->width[widest]))
				widest = i;
		}
		if (widest == SIZE_MAX || c->width[widest] <= SHRUNK_MIN)
			return;
		c->width[widest]--;
		sum--;
	}
}

/* Sets the widths from the cells that are held. The first column is always there, and so are all in an empty table. */
static void
measure(struct columns *c)
{
	bool says[COLUMNS_MAX] = { false };
	size_t sum = 0;

	for (size_t i = 0; i < c->ncells; i++) {
		size_t column = i % c->n;

		if (c->cells[i].width > c->width[column])
			c->width[column] = c->cells[i].width;
		says[column] = says[column] || !says_nothing(c, &c->cells[i]);
	}
	for (size_t i = 0; i < c->n; i++) {
		if (!says[i] && i > 0 && c->ncells > 0) {
			c->width[i] = 0;
			continue;
		}
		if (title_width(c, i) > c->width[i])
			c->width[i] = title_width(c, i);
		sum += c->width[i] + (i > 0 ? GAP : 0);
	}
	shrink(c, sum);
}

/* ---- printing */

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
put_cut(struct out *out, struct str s, size_t width)
{
	struct str head = part(s, (width - 3) / 2, false), tail = part(s, width - 3 - (width - 3) / 2, true);

	out_write(out, head.p, head.len);
	out_puts(out, "...");
	out_write(out, tail.p, tail.len);
}

static void
put_blanks(struct out *out, size_t n)
{
	if (n > 0)
		out_printf(out, "%*s", (int)n, "");
}

static bool
is_last(const struct columns *c, size_t column)
{
	for (size_t i = column + 1; i < c->n; i++) {
		if (c->width[i] > 0)
			return false;
	}
	return true;
}

/* One cell of a line; the last one ends it. */
static void
put_cell(const struct columns *c, size_t column, struct str s, size_t width, enum out_style style)
{
	const unsigned flags = c->v[column].flags;
	const size_t limit = c->width[column];
	const bool cut = width > limit && (flags & COLUMN_SHRINKS) && c->out->width != SIZE_MAX;
	const size_t fill = width < limit ? limit - width : 0;

	if (limit == 0)
		return;
	put_blanks(c->out, (column > 0 ? GAP : 0) + (flags & COLUMN_RIGHT ? fill : 0));
	if (style != STYLE_PLAIN)
		out_style(c->out, style);
	if (cut)
		put_cut(c->out, s, limit);
	else
		out_write(c->out, s.p, s.len);
	if (style != STYLE_PLAIN)
		out_style(c->out, STYLE_PLAIN);
	if (is_last(c, column))
		out_putc(c->out, '\n');
	else if (!(flags & COLUMN_RIGHT))
		put_blanks(c->out, fill);
}

static void
put_titles(const struct columns *c)
{
	for (size_t i = 0; i < c->n; i++)
		put_cell(c, i, str_c(c->v[i].title), title_width(c, i), STYLE_BOLD);
}

static void
put_row(const struct columns *c, const struct columns_cell *cells)
{
	for (size_t i = 0; i < c->n; i++) {
		struct str s = str_n(c->text.p + cells[i].at, cells[i].len);
		enum out_style style = cells[i].style != STYLE_PLAIN ? cells[i].style : c->v[i].style;

		put_cell(c, i, s, cells[i].width, str_eqc(s, ".") ? STYLE_PLAIN : style);
	}
}

/* A column that was left out is shown from here on if a row has something in it. */
static void
reveal(struct columns *c)
{
	bool revealed = false;

	for (size_t i = 0; i < c->n; i++) {
		if (c->width[i] > 0 || says_nothing(c, &c->cells[i]))
			continue;
		c->width[i] = c->cells[i].width > title_width(c, i) ? c->cells[i].width : title_width(c, i);
		revealed = true;
	}
	if (revealed)
		put_titles(c);
}

/* Prints whole rows that are held. */
static void
flush(struct columns *c)
{
	if (!c->measured) {
		measure(c);
		put_titles(c);
		c->measured = true;
	} else if (c->ncells > 0) {
		reveal(c);
	}
	for (size_t i = 0; i + c->n <= c->ncells && !out_failed(c->out); i += c->n)
		put_row(c, &c->cells[i]);
	c->ncells = 0;
	buf_clear(&c->text);
}

void
columns_cell(struct columns *c, struct str text, enum out_style style)
{
	struct columns_cell *cell;

	c->cells = xgrow(c->cells, c->ncells, &c->cap, sizeof(*c->cells));
	cell = &c->cells[c->ncells++];
	cell->at = c->text.len;
	text_show(&c->text, text);
	cell->len = c->text.len - cell->at;
	cell->width = text_width(str_n(c->text.p + cell->at, cell->len));
	cell->style = style;
	if (c->ncells % c->n == 0 && (c->measured || c->ncells == c->n * COLUMNS_HEAD))
		flush(c);
}

void
columns_cellf(struct columns *c, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	columns_cell(c, str_c(text), STYLE_PLAIN);
}

void
columns_release(struct columns *c)
{
	buf_release(&c->text);
	free(c->cells);
	*c = (struct columns){ 0 };
}

void
columns_end(struct columns *c)
{
	if (c->n > 0)
		flush(c);
	columns_release(c);
}
