/*
 * columns: an aligned table for a person to read.
 *
 *	columns_begin(&c, out, layout, n);
 *	for each row, for each column:
 *		columns_cell(&c, text, style);
 *	columns_end(&c);
 *
 * The first COLUMNS_HEAD rows decide how wide the columns are; they are held until then. Later rows are printed as they
 * come. A column in which no row has said anything yet is left out. If a later row says something there, the titles are
 * printed again with that column.
 */
#ifndef LNN_COMMON_COLUMNS_H
#define LNN_COMMON_COLUMNS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/str.h"
#include "common/out.h"

enum { COLUMNS_MAX = 32, COLUMNS_HEAD = 1000 };

enum {
	COLUMN_RIGHT = 1,   /* aligned to the right: numbers */
	COLUMN_SHRINKS = 2, /* cut in the middle (with "...") where a terminal is too narrow */
};

struct column {
	const char *title;
	unsigned flags;       /* COLUMN_* */
	enum out_style style; /* of its cells */
};

struct columns {
	struct out *out;            /* borrowed */
	const struct column *v;     /* borrowed */
	size_t n;
	/* private */
	size_t width[COLUMNS_MAX];  /* 0: left out */
	bool measured;
	struct buf text;            /* of the cells that are held, one after the other */
	struct columns_cell *cells;
	size_t ncells, cap;
};

/* A table of at most COLUMNS_MAX columns on out. */
void columns_begin(struct columns *c, struct out *out, const struct column *v, size_t n);

/*
 * The next cell, from left to right and from top to bottom. Control bytes are escaped (text_show). A style other than
 * STYLE_PLAIN replaces that of the column. The empty text and "." say nothing.
 */
void columns_cell(struct columns *c, struct str text, enum out_style style);
void columns_cellf(struct columns *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Prints what is still held, titles included, and frees. Nothing is cut unless out is a terminal. */
void columns_end(struct columns *c);

/* Frees without printing. Does nothing after columns_end. */
void columns_release(struct columns *c);

#endif
