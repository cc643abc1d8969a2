/*
 * columns: aligned columns for a person, and numbers as a person likes them.
 */
#ifndef LNN_COMMON_COLUMNS_H
#define LNN_COMMON_COLUMNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"
#include "common/out.h"

enum { TABLE_COLUMNS = 16 };

struct table_column {
	const char *title;    /* NULL in all columns: no title line */
	bool right;           /* numbers */
	bool shrinks;         /* cut in the middle (with "...") when a terminal is too narrow */
	enum out_style style;
};

struct table {
	const struct table_column *columns; /* borrowed */
	size_t ncolumns;
	struct buf text;        /* all cells, one after the other */
	struct table_cell *cells;
	size_t ncells, cap;
};

/* Of at most TABLE_COLUMNS columns. */
void table_init(struct table *t, const struct table_column *columns, size_t n);
void table_release(struct table *t);

/* The next cell, from left to right and from top to bottom; hostile bytes are escaped (text_show). */
void table_cell(struct table *t, struct str text);
void table_cellc(struct table *t, const char *text);
void table_cellf(struct table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Prints titles and full rows, without columns that are empty, or a dot, in all of them. Nothing is cut unless o is a terminal. */
void table_print(const struct table *t, struct out *o);

/* Characters of the longest result of the two below, with its NUL. */
enum { HUMAN_SIZE = 32 };

/* "999", "12.3k", "86.6M", "7.24G": three digits; returns out. */
const char *human_count(uint64_t n, char out[HUMAN_SIZE]);

/* "999 B", "12.3 KiB", "1.05 GiB"; returns out. */
const char *human_bytes(uint64_t n, char out[HUMAN_SIZE]);

#endif
