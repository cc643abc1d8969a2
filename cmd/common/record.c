#include "common/record.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "base/text.h"
#include "common/human.h"
#include "tensor/tensor.h"

/* A terminal narrower than this has no room for COLUMN_WIDE. */
enum { WIDE = 100 };

/* JSON is passed on in pieces of at least this size. */
enum { DRAIN = 1 << 15 };

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
	columns_release(&r->columns);
	buf_release(&r->text);
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
	err_input(err, r->file, "the name %.200s holds a NUL: only JSON can say it", b.p);
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

static void
json_row(struct record *r, const struct cell *cells)
{
	const struct record_column *columns = r->table->columns;
	const bool bare = columns[0].name == NULL;

	if (bare)
		json_value(&r->json, columns[0].type, &cells[0]);
	else
		json_begin_inline_object(&r->json);
	for (size_t i = 0; !bare && i < r->table->n; i++) {
		if (!r->shown[i] || cells[i].state == CELL_NONE)
			continue;
		json_value(json_key(&r->json, columns[i].name), columns[i].type, &cells[i]);
	}
	if (!bare)
		json_end_object(&r->json);
	if (r->form == RECORD_JSONL)
		json_finish(&r->json);
	record_drain(r, false);
}

/* ---- lines and tables */

static bool
is_left_out(const struct record_column *c, const struct cell *cell)
{
	return cell->state == CELL_NONE || (cell->state == CELL_UNKNOWN && (c->flags & COLUMN_QUIET)) ||
	       (cell->state == CELL_SET && (c->flags & COLUMN_TIMES) && cell->count == 1);
}

/* A cell as a field of a line: exact, and names escaped. */
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
		buf_adds(b, text);
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

/* On a terminal nothing but text gets there. */
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
	for (size_t i = 0; i < r->table->n; i++) {
		const struct record_column *c = &r->table->columns[i];

		if (!r->shown[i] || is_left_out(c, &cells[i]))
			continue;
		if ((c->flags & COLUMN_NAME) && record_check_name(r, cells[i].text, err) < 0)
			return -1;
		if (!first)
			buf_addc(&r->text, '\t');
		first = false;
		put_field(r, c, &cells[i]);
	}
	buf_addc(&r->text, '\n');
	record_drain(r, r->out->tty);
	return 0;
}

/* A cell of a table, for a person. */
static void
put_rounded(struct buf *b, const struct record_column *c, const struct cell *cell, int digits)
{
	char text[HUMAN_SIZE];

	if (is_left_out(c, cell))
		return;
	if (cell->state == CELL_UNKNOWN || (c->type == RECORD_REAL && isnan(cell->real)))
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

static void
put_cells(struct record *r, const struct cell *cells)
{
	const int digits = r->out->width >= WIDE ? 5 : 4;

	for (size_t i = 0; i < r->table->n; i++) {
		if (!r->shown[i])
			continue;
		buf_clear(&r->text);
		put_rounded(&r->text, &r->table->columns[i], &cells[i], digits);
		columns_cell(&r->columns, buf_str(&r->text), cells[i].style);
	}
	buf_clear(&r->text);
}

/* ---- rows */

static bool
is_shown(const struct record *r, const struct record_column *c, unsigned options)
{
	const unsigned in = record_is_json(r) ? IN_JSON : r->form == RECORD_TABLE ? IN_TABLE : IN_TSV;

	return (c->in & in) && (c->when & ~options) == 0 &&
	       !(in == IN_TABLE && (c->flags & COLUMN_WIDE) && r->out->width < WIDE);
}

static struct column
layout_of(const struct record_column *c)
{
	unsigned flags = c->flags & (COLUMN_RIGHT | COLUMN_SHRINKS);

	if (c->type == RECORD_COUNT || c->type == RECORD_REAL)
		flags |= COLUMN_RIGHT;
	if (c->flags & COLUMN_NAME)
		flags |= COLUMN_SHRINKS;
	return (struct column){ c->title ? c->title : c->name, flags, style_of(c, &(struct cell){ 0 }) };
}

static void
put_titles(struct record *r)
{
	bool first = true;

	for (size_t i = 0; i < r->table->n; i++) {
		if (!r->shown[i])
			continue;
		buf_addc(&r->text, first ? '#' : '\t');
		buf_adds(&r->text, r->table->columns[i].name);
		first = false;
	}
	buf_addc(&r->text, '\n');
}

void
record_rows(struct record *r, const struct record_table *table, unsigned options)
{
	size_t shown = 0;

	r->table = table;
	r->nrows = 0;
	for (size_t i = 0; i < table->n; i++) {
		r->shown[i] = is_shown(r, &table->columns[i], options);
		if (r->shown[i])
			r->layout[shown++] = layout_of(&table->columns[i]);
	}
	if (r->form == RECORD_JSON) {
		json_begin_array(json_key(&r->json, table->member));
	} else if (r->form == RECORD_TABLE) {
		columns_begin(&r->columns, r->out, r->layout, shown);
	} else if (r->form == RECORD_TSV && table->titles) {
		put_titles(r);
	}
}

int
record_row(struct record *r, const struct cell *cells, struct err *err)
{
	r->nrows++;
	if (record_is_json(r))
		json_row(r, cells);
	else if (r->form == RECORD_TABLE)
		put_cells(r, cells);
	else
		return put_line(r, cells, err);
	return 0;
}

void
record_rows_end(struct record *r)
{
	if (r->form == RECORD_JSON)
		json_end_array(&r->json);
	else if (r->form == RECORD_TABLE && r->nrows == 0 && r->table->sparse)
		columns_release(&r->columns);
	else if (r->form == RECORD_TABLE)
		columns_end(&r->columns);
	else
		record_drain(r, true);
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
