/* table: reads whole files, and the tables of pickles that tests/torch/test_pickle_scan.py --table writes. */
#ifndef LNN_TESTS_TABLE_H
#define LNN_TESTS_TABLE_H

#include "base/buf.h"
#include "tap.h"

static void
table_read(const char *path, struct buf *text)
{
	FILE *f = fopen(path, "r");
	size_t n;

	if (f == NULL)
		tap_bail(path);
	while ((n = fread(buf_reserve(text, 4096), 1, 4096, f)) > 0)
		text->len += n;
	fclose(f);
}

/* The next row of a table: a line, and the lines after it that begin with a tab. */
static bool
table_any(struct str *rest, struct str *row)
{
	struct str line;

	if (!str_split(rest, '\n', row))
		return false;
	while (rest->len > 0 && rest->p[0] == '\t') {
		str_split(rest, '\n', &line);
		row->len = (size_t)(line.p + line.len - row->p);
	}
	return true;
}

/* The next row that is neither a comment nor the name of a part. */
__attribute__((unused)) static bool
table_row(struct str *rest, struct str *row)
{
	while (table_any(rest, row))
		if (row->len > 0 && row->p[0] != '#' && row->p[0] != '=')
			return true;
	return false;
}

/* The value of the row =NAME of the table. */
static struct str
table_part(struct str table, struct str name)
{
	struct str row, key;

	while (table_any(&table, &row))
		if (str_split(&row, '\t', &key) && key.len == name.len + 1 && key.p[0] == '=' &&
		    memcmp(key.p + 1, name.p, name.len) == 0)
			return row;
	tap_bail("the table names a part that it does not have");
	return row;
}

/* Adds text with \n, \0, \xNN and ${NAME} (the part of that name) replaced. A new line with a tab is left out. */
__attribute__((unused)) static void
table_bytes(struct str table, struct str text, struct buf *out)
{
	const char *p = text.p, *end = text.p + text.len;

	while (p < end) {
		if (*p == '\n' || *p == '\t') {
			p++;
		} else if (*p == '$') {
			const char *close = memchr(p, '}', (size_t)(end - p));

			table_bytes(table, table_part(table, str_n(p + 2, (size_t)(close - p - 2))), out);
			p = close + 1;
		} else if (*p == '\\' && p[1] == 'x') {
			char digits[3] = { p[2], p[3], '\0' };

			buf_addc(out, (char)strtoul(digits, NULL, 16));
			p += 4;
		} else if (*p == '\\') {
			buf_addc(out, p[1] == 'n' ? '\n' : '\0');
			p += 2;
		} else {
			buf_addc(out, *p++);
		}
	}
}

#endif
