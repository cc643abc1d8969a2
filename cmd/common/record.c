#include "common/record.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "common/human.h"
#include "tensor/tensor.h"

/* COLUMN_WIDE columns are omitted if the terminal has fewer columns than this. */
enum { WIDE = 100 };

/* Spaces between two columns of a table; the least width of a column that shrinks; the number of rows that determine the widths. */
enum { GAP = 2, SHRUNK_MIN = 12, HEAD = 1000 };

/* The least size in bytes of the pieces in which JSON is passed on. */
enum { DRAIN = 1 << 15 };

/* A table cell that has not been printed yet. */
struct record_held {
	size_t at, len; /* position in r->held */
	size_t width;
	enum out_style style;
};

struct cell
cell_word(const char *s)
{
	return s != NULL ? cell_text(str_c(s)) : cell_unknown();
}

void
record_init(struct record *r, struct out *out, bool pretty)
{
	*r = (struct record){ .out = out, .text = BUF_INIT };
	json_writer_init(&r->json, &r->text, pretty);
}

void
record_release(struct record *r)
{
	buf_release(&r->text);
	buf_release(&r->held);
	free(r->cells);
}

bool
record_is_json(const struct record *r)
{
	return r->form == RECORD_JSON || r->form == RECORD_JSONL;
}

bool
record_is_early(const struct record *r)
{
	return r->form != RECORD_TABLE && r->form != RECORD_JSON;
}

void
record_drain(struct record *r, bool all)
{
	if (r->text.len == 0 || (!all && r->text.len < DRAIN))
		return;
	out_write(r->out, r->text.p, r->text.len);
	buf_clear(&r->text);
}

int
record_check_name(const struct record *r, struct str name, struct err *err)
{
	struct buf b = BUF_INIT;

	if (r->form != RECORD_LINES && r->form != RECORD_TSV)
		return 0;
	if (name.len == 0 || memchr(name.p, '\0', name.len) == NULL)
		return 0;
	text_show(&b, name);
	err_input(err, r->file, "the name %.200s contains a NUL byte: only JSON can show it", b.p);
	buf_release(&b);
	return -1;
}

/* ---- JSON */

static void
json_value(struct json_writer *w, enum record_type type, const struct cell *cell)
{
	if (cell->state != CELL_SET) {
		json_put_null(w);
		return;
	}
	switch (type) {
	case RECORD_TEXT: json_put_str(w, cell->text); break;
	case RECORD_COUNT: json_put_u64(w, cell->count); break;
	case RECORD_REAL: json_put_double(w, cell->real); break;
	case RECORD_BOOL: json_put_bool(w, cell->count != 0); break;
	case RECORD_SHAPE: json_put_sizes(w, cell->shape, cell->count); break;
	case RECORD_RAW: json_put_raw(w, cell->text); break;
	case RECORD_TEXTS:
		json_begin_inline_array(w);
		for (uint64_t i = 0; i < cell->count; i++)
			json_put_str(w, cell->texts[i]);
		json_end_array(w);
		break;
	}
}

/* Returns the column of the table that is shown at index k. */
static const struct record_column *
column(const struct record *r, size_t k)
{
	return &r->table->columns[r->columns[k]];
}

static void
json_row(struct record *r, const struct cell *cells)
{
	const bool unnamed = r->table->columns[0].name == NULL;

	if (!unnamed)
		json_begin_inline_object(&r->json);
	for (size_t k = 0; k < r->ncolumns; k++) {
		const struct record_column *c = column(r, k);
		const struct cell *cell = &cells[r->columns[k]];

		if (cell->state != CELL_NONE)
			json_value(unnamed ? &r->json : json_key(&r->json, c->name), c->type, cell);
	}
	if (!unnamed)
		json_end_object(&r->json);
	if (r->form == RECORD_JSONL)
		json_finish(&r->json);
	record_drain(r, false);
}

/* ---- lines */

static bool
is_left_out(const struct record_column *c, const struct cell *cell)
{
	return cell->state == CELL_NONE || (cell->state == CELL_UNKNOWN && (c->flags & COLUMN_QUIET)) ||
	       (cell->state == CELL_SET && (c->flags & COLUMN_TIMES) && cell->count == 1);
}

/* Writes a cell as a field of a line: with its exact value, and with names escaped. */
static void
put_exact(struct buf *b, const struct record_column *c, const struct cell *cell)
{
	char text[32];

	if (cell->state != CELL_SET) {
		buf_addc(b, '-');
		return;
	}
	switch (c->type) {
	case RECORD_TEXT: text_escape(b, cell->text); break;
	case RECORD_COUNT: buf_u64(b, cell->count); break;
	case RECORD_REAL:
		num_repr(cell->real, text);
		if (!(c->flags & COLUMN_SPELT) || isfinite(cell->real))
			buf_adds(b, text);
		else
			buf_adds(b, isnan(cell->real) ? "NaN" : cell->real < 0 ? "-Infinity" : "Infinity");
		break;
	case RECORD_BOOL: buf_adds(b, cell->count ? "true" : "false"); break;
	case RECORD_SHAPE: shape_put(b, cell->shape, (unsigned)cell->count); break;
	case RECORD_RAW: buf_addstr(b, cell->text); break;
	case RECORD_TEXTS:
		for (uint64_t i = 0; i < cell->count; i++) {
			if (i > 0)
				buf_addc(b, '\t');
			text_escape(b, cell->texts[i]);
		}
		break;
	}
}

static enum out_style
style_of(const struct record_column *c, const struct cell *cell)
{
	if (cell->style != STYLE_PLAIN)
		return cell->style;
	return c->flags & COLUMN_NAME ? STYLE_NAME : c->style;
}

/* Writes a field of a line. On a terminal, control characters in texts are escaped. */
static void
put_field(struct record *r, const struct record_column *c, const struct cell *cell)
{
	const enum out_style style = r->out->color ? style_of(c, cell) : STYLE_PLAIN;
	struct buf *b = &r->text;
	size_t start;

	if (style != STYLE_PLAIN) {
		record_drain(r, true);
		out_style(r->out, style);
	}
	if (c->flags & COLUMN_KEYED) {
		buf_adds(b, c->name);
		buf_addc(b, '=');
	}
	start = b->len;
	put_exact(b, c, cell);
	if (r->out->tty && (c->type == RECORD_TEXT || c->type == RECORD_RAW)) {
		struct buf shown = BUF_INIT;

		text_show(&shown, str_from(buf_str(b), start));
		b->len = start;
		buf_addstr(b, buf_str(&shown));
		buf_release(&shown);
	}
	if (style != STYLE_PLAIN) {
		record_drain(r, true);
		out_style(r->out, STYLE_PLAIN);
	}
}

static int
put_line(struct record *r, const struct cell *cells, struct err *err)
{
	bool first = !r->facts;

	if (r->facts)
		buf_adds(&r->text, r->table->member);
	for (size_t k = 0; k < r->ncolumns; k++) {
		const struct record_column *c = column(r, k);
		const struct cell *cell = &cells[r->columns[k]];

		if (is_left_out(c, cell))
			continue;
		if ((c->flags & COLUMN_NAME) && record_check_name(r, cell->text, err) < 0)
			return -1;
		buf_adds(&r->text, first ? "" : "\t");
		first = false;
		put_field(r, c, cell);
	}
	buf_addc(&r->text, '\n');
	record_drain(r, r->out->tty);
	return 0;
}

/* ---- tables */

/* Writes a cell of a table, rounded for a person. */
static void
put_rounded(struct buf *b, const struct record_column *c, const struct cell *cell, int digits)
{
	char text[HUMAN_SIZE];

	if (is_left_out(c, cell))
		return;
	if (c->type == RECORD_REAL && (c->flags & COLUMN_SPELT) && cell->state == CELL_SET && !isfinite(cell->real))
		put_exact(b, c, cell);
	else if (cell->state == CELL_UNKNOWN || (c->type == RECORD_REAL && isnan(cell->real)))
		buf_addc(b, '-');
	else if (c->type == RECORD_REAL)
		buf_addf(b, "%.*g", digits, cell->real);
	else if (c->type == RECORD_COUNT && (c->flags & COLUMN_DOTTED) && cell->count == 0)
		buf_addc(b, '.');
	else if (c->type == RECORD_COUNT && (c->flags & COLUMN_HUMAN))
		buf_adds(b, human_count(cell->count, text));
	else if (c->type == RECORD_COUNT && (c->flags & COLUMN_BYTES))
		buf_adds(b, human_bytes(cell->count, text));
	else if (c->flags & COLUMN_TIMES)
		buf_addf(b, "x%llu", (unsigned long long)cell->count);
	else if (c->type == RECORD_TEXT)
		buf_addstr(b, cell->text);
	else
		put_exact(b, c, cell);
}

static struct str
title(const struct record *r, size_t k)
{
	const struct record_column *c = column(r, k);

	return str_c(c->title != NULL ? c->title : c->name);
}

static bool
says_nothing(const struct record *r, const struct record_held *cell)
{
	return cell->len == 0 || (cell->len == 1 && r->held.p[cell->at] == '.');
}

static bool
shrinks(const struct record *r, size_t k)
{
	return (column(r, k)->flags & (COLUMN_SHRINKS | COLUMN_NAME)) != 0;
}

/* Reduces the widest column that may shrink, by one at a time, until all columns fit. */
static void
shrink(struct record *r, size_t sum)
{
	for (; sum > r->out->width; sum--) {
		size_t widest = SIZE_MAX;

		for (size_t k = 0; k < r->ncolumns; k++)
			if (shrinks(r, k) && (widest == SIZE_MAX || r->width[k] > r->width[widest]))
				widest = k;
		if (widest == SIZE_MAX || r->width[widest] <= SHRUNK_MIN)
			return;
		r->width[widest]--;
	}
}

static void
widen(struct record *r, size_t k, size_t width)
{
	r->width[k] = width > r->width[k] ? width : r->width[k];
}

/*
 * Sets the widths of columns from the held cells. Omits empty columns, except the first one. A table without rows keeps all
 * columns.
 */
static void
measure(struct record *r)
{
	bool says[COLUMNS_MAX] = { false };
	size_t sum = 0;

	memset(r->width, 0, sizeof(r->width));
	for (size_t i = 0; i < r->ncells; i++) {
		widen(r, i % r->ncolumns, r->cells[i].width);
		says[i % r->ncolumns] = says[i % r->ncolumns] || !says_nothing(r, &r->cells[i]);
	}
	for (size_t k = 0; k < r->ncolumns; k++) {
		if (!says[k] && k > 0 && r->ncells > 0) {
			r->width[k] = 0;
			continue;
		}
		widen(r, k, text_width(title(r, k)));
		sum += r->width[k] + (k > 0 ? GAP : 0);
	}
	shrink(r, sum);
}

/* Returns the longest part of s that takes at most width columns: its beginning, or its end if from_end is set. */
static struct str
part(struct str s, size_t width, bool from_end)
{
	/* A character has at most four bytes. */
	size_t n = s.len < 4 * width ? s.len : 4 * width;

	while (n > 0) {
		struct str p = from_end ? str_n(s.p + s.len - n, n) : str_n(s.p, n);
		bool whole =
			from_end ? ((unsigned char)p.p[0] & 0xc0) != 0x80 : n == s.len || ((unsigned char)s.p[n] & 0xc0) != 0x80;

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

static bool
is_last(const struct record *r, size_t k)
{
	while (++k < r->ncolumns)
		if (r->width[k] > 0)
			return false;
	return true;
}

/* Prints a cell. The last one of a line also prints the newline. */
static void
put_cell(const struct record *r, size_t k, struct str s, size_t width, enum out_style style)
{
	const struct record_column *c = column(r, k);
	const bool right = (c->flags & COLUMN_RIGHT) || c->type == RECORD_COUNT || c->type == RECORD_REAL;
	const size_t limit = r->width[k], fill = width < limit ? limit - width : 0;

	if (limit == 0)
		return;
	buf_fill(&r->out->buf, ' ', (k > 0 ? GAP : 0) + (right ? fill : 0));
	if (style != STYLE_PLAIN)
		out_style(r->out, style);
	if (width > limit && shrinks(r, k) && r->out->width != SIZE_MAX)
		put_cut(r->out, s, limit);
	else
		out_write(r->out, s.p, s.len);
	if (style != STYLE_PLAIN)
		out_style(r->out, STYLE_PLAIN);
	if (is_last(r, k))
		out_putc(r->out, '\n');
	else if (!right)
		buf_fill(&r->out->buf, ' ', fill);
}

static void
put_heads(const struct record *r)
{
	for (size_t k = 0; k < r->ncolumns; k++)
		put_cell(r, k, title(r, k), text_width(title(r, k)), STYLE_BOLD);
}

/* Shows columns that were omitted so far if the held row has a value in them. */
static void
reveal(struct record *r)
{
	bool revealed = false;

	for (size_t k = 0; k < r->ncolumns && k < r->ncells; k++) {
		if (r->width[k] > 0 || says_nothing(r, &r->cells[k]))
			continue;
		widen(r, k, r->cells[k].width);
		widen(r, k, text_width(title(r, k)));
		revealed = true;
	}
	if (revealed)
		put_heads(r);
}

/* Prints the held rows. */
static void
flush(struct record *r)
{
	if (r->measured) {
		reveal(r);
	} else {
		measure(r);
		put_heads(r);
		r->measured = true;
	}
	for (size_t i = 0; i < r->ncells && !out_failed(r->out); i++) {
		const struct record_held *cell = &r->cells[i];
		const struct str s = str_n(r->held.p + cell->at, cell->len);

		put_cell(r, i % r->ncolumns, s, cell->width, str_eqc(s, ".") ? STYLE_PLAIN : cell->style);
	}
	r->ncells = 0;
	buf_clear(&r->held);
}

/* Holds a row as text. Control bytes are escaped. */
static void
hold_row(struct record *r, const struct cell *cells)
{
	const int digits = r->out->width >= WIDE ? 5 : 4;

	for (size_t k = 0; k < r->ncolumns; k++) {
		const struct cell *cell = &cells[r->columns[k]];
		const size_t at = r->held.len;

		buf_clear(&r->text);
		put_rounded(&r->text, column(r, k), cell, digits);
		text_show(&r->held, buf_str(&r->text));
		*xpush(r->cells, r->ncells, r->cap) =
			(struct record_held){ at, r->held.len - at, text_width(str_n(r->held.p + at, r->held.len - at)),
					      style_of(column(r, k), cell) };
	}
	buf_clear(&r->text);
	if (r->measured || r->ncells >= r->ncolumns * HEAD)
		flush(r);
}

/* ---- rows */

static bool
is_shown(const struct record *r, const struct record_column *c, unsigned options)
{
	const unsigned in = record_is_json(r) ? IN_JSON : r->form == RECORD_TABLE ? IN_TABLE : IN_TSV;

	return (c->in & in) && (c->when & ~options) == 0 && !(in == IN_TABLE && (c->flags & COLUMN_WIDE) && r->out->width < WIDE);
}

void
record_rows(struct record *r, const struct record_table *table, unsigned options)
{
	r->table = table;
	r->nrows = r->ncolumns = 0;
	r->measured = false;
	for (size_t i = 0; i < table->n; i++)
		if (is_shown(r, &table->columns[i], options))
			r->columns[r->ncolumns++] = (unsigned char)i;
	if (r->form == RECORD_JSON) {
		json_begin_array(json_key(&r->json, table->member));
	} else if (r->form == RECORD_TSV && table->titles) {
		for (size_t k = 0; k < r->ncolumns; k++)
			buf_addf(&r->text, "%s%s", k == 0 ? "#" : "\t", column(r, k)->name);
		buf_addc(&r->text, '\n');
	}
}

int
record_row(struct record *r, const struct cell *cells, struct err *err)
{
	r->nrows++;
	if (record_is_json(r))
		json_row(r, cells);
	else if (r->form == RECORD_TABLE)
		hold_row(r, cells);
	else
		return put_line(r, cells, err);
	return 0;
}

void
record_rows_end(struct record *r)
{
	if (r->form == RECORD_JSON)
		json_end_array(&r->json);
	else if (r->form != RECORD_TABLE)
		record_drain(r, true);
	else if (r->nrows > 0 || !r->table->sparse)
		flush(r);
}

void
record_member(struct record *r, const char *name, enum record_type type, struct cell value)
{
	const struct record_column column = { .name = name, .type = type };

	if (r->form == RECORD_JSON) {
		json_value(json_key(&r->json, name), type, &value);
	} else if (r->facts && value.state == CELL_SET) {
		buf_adds(&r->text, name);
		buf_addc(&r->text, '\t');
		put_field(r, &column, &value);
		buf_addc(&r->text, '\n');
	}
}

void
record_note(struct record *r, enum out_style style, const char *text, const char *rest)
{
	if (record_is_json(r))
		return;
	record_drain(r, true);
	if (r->form == RECORD_TSV)
		out_puts(r->out, "# ");
	out_style(r->out, style);
	out_puts(r->out, text);
	if (style != STYLE_PLAIN)
		out_style(r->out, STYLE_PLAIN);
	if (rest != NULL)
		out_puts(r->out, rest);
	out_putc(r->out, '\n');
}
