/*
 * record: the writer of all reports that consist of rows. A report declares its columns and passes each row once. The rows are
 * printed as an aligned table, as lines with TABs, or as JSON.
 *
 *	static const struct record_column columns[] = {
 *		{ .name = "name", .type = RECORD_TEXT, .in = IN_ALL, .flags = COLUMN_NAME },
 *		{ .name = "numel", .title = "elements", .type = RECORD_COUNT, .in = IN_ALL },
 *	};
 *	static const struct record_table tensors = { "tensors", columns, 2, .titles = true };
 *
 *	record_rows(r, &tensors, 0);
 *	for each tensor: rc = record_row(r, (const struct cell[]){ cell_text(name), cell_count(numel) }, err);
 *	record_rows_end(r);
 *	record_note(r, STYLE_DIM, "%zu tensors", n);        the closing line, for lines and tables
 *	record_member(r, "tensors", cell_count(n));         a member of the JSON object, for JSON
 *
 * Rows of TSV and JSONL are printed immediately. The first thousand rows of a table are held, because they determine the widths of
 * its columns; later rows are printed immediately. A column that is empty in all rows so far is omitted. If a later row has a value
 * in it, the titles are printed again with that column. The empty text and "." count as empty. The caller opens and closes the JSON
 * object that the members belong to, with r->json.
 */
#ifndef LNN_COMMON_RECORD_H
#define LNN_COMMON_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "common/out.h"
#include "text/json_write.h"

enum record_form {
	RECORD_TSV,   /* fields separated by TABs; titles and closing lines begin with '#' */
	RECORD_LINES, /* fields separated by TABs; closing lines have no prefix */
	RECORD_TABLE, /* an aligned table with titles */
	RECORD_JSON,  /* a single document */
	RECORD_JSONL, /* rows only, one object on each line */
};

enum record_type {
	RECORD_TEXT,
	RECORD_COUNT,
	RECORD_REAL,
	RECORD_BOOL,
	RECORD_SHAPE,
	RECORD_TEXTS, /* several texts */
	RECORD_RAW,   /* text that is neither escaped nor quoted */
};

/* The forms that contain a column. IN_TSV includes lines, and IN_JSON includes JSONL. */
enum { IN_TABLE = 1, IN_TSV = 2, IN_JSON = 4, IN_TEXT = IN_TABLE | IN_TSV, IN_ALL = 7 };

enum { COLUMNS_MAX = 32 };

enum {
	COLUMN_RIGHT = 1,    /* aligned to the right; numbers always are */
	COLUMN_SHRINKS = 2,  /* shortened in the middle (with "...") if the terminal is too narrow */
	COLUMN_NAME = 4,     /* name of a tensor: shrinks, has STYLE_NAME, and a NUL in it is an error in lines */
	COLUMN_KEYED = 8,    /* lines contain "NAME=VALUE" */
	COLUMN_QUIET = 16,   /* an unknown cell is omitted from lines and tables; otherwise it is "-" */
	COLUMN_TIMES = 32,   /* a factor: "x3" in a table; omitted from lines and tables if it is 1 */
	COLUMN_HUMAN = 64,   /* three digits and a unit in a table */
	COLUMN_DOTTED = 128, /* 0 is "." in a table */
	COLUMN_WIDE = 256,   /* omitted from a table on a terminal of less than 100 columns */
	COLUMN_BYTES = 512,  /* three digits and a unit of bytes in a table */
	COLUMN_SPELT = 1024, /* NaN and Infinity are written as in JSON */
};

struct record_column {
	const char *name;  /* name in JSON and TSV; NULL: in JSON each row is this value alone, not an object */
	const char *title; /* title in a table; NULL: name */
	enum record_type type;
	unsigned in;    /* set of IN_* */
	unsigned flags; /* set of COLUMN_* */
	unsigned when;  /* the column is shown only if the options passed to record_rows have all of these bits */
	enum out_style style;
};

struct record_table {
	const char *member; /* name of the array of rows in the JSON object */
	const struct record_column *columns;
	size_t n;    /* at most COLUMNS_MAX */
	bool titles; /* TSV begins with a line of titles */
	bool sparse; /* an aligned table without rows has no titles */
};

enum cell_state {
	CELL_NONE,    /* omitted, even from JSON */
	CELL_UNKNOWN, /* "-", or null in JSON */
	CELL_SET,
};

/* A value of the column's type. Texts and shapes are borrowed until record_row returns. */
struct cell {
	enum cell_state state;
	enum out_style style; /* overrides the column's style unless it is STYLE_PLAIN */
	uint64_t count;       /* a count, a number of sizes or texts, or whether a bool is true */
	union {
		struct str text;
		const struct str *texts;
		const uint64_t *shape;
		double real;
	};
};

#define cell_text(s) ((struct cell){ .state = CELL_SET, .text = (s) })
#define cell_count(n) ((struct cell){ .state = CELL_SET, .count = (n) })
#define cell_real(v) ((struct cell){ .state = CELL_SET, .real = (v) })
#define cell_bool(yes) ((struct cell){ .state = CELL_SET, .count = (yes) })
#define cell_shape(sizes, n) ((struct cell){ .state = CELL_SET, .count = (n), .shape = (sizes) })
#define cell_texts(v, n) ((struct cell){ .state = CELL_SET, .count = (n), .texts = (v) })
#define cell_unknown() ((struct cell){ .state = CELL_UNKNOWN })
struct cell cell_word(const char *s); /* NULL gives an unknown cell */

struct record {
	struct out *out;         /* borrowed */
	enum record_form form;   /* set by the caller before each report */
	const char *file;        /* name of the input for messages; set by the caller */
	struct json_writer json; /* writes everything that is not a table; record_drain must be called from time to time */
	bool facts;              /* set by the caller: members are lines of TSV, and each line begins with the name of its member */
	/* private */
	struct buf text; /* output of json */
	const struct record_table *table;
	size_t nrows;
	unsigned char columns[COLUMNS_MAX]; /* indices in table->columns of the columns shown */
	size_t ncolumns;
	/* for RECORD_TABLE: */
	size_t width[COLUMNS_MAX]; /* by index in columns; 0: omitted */
	bool measured;
	struct buf held; /* texts of the held cells, one after the other */
	struct record_held *cells;
	size_t ncells, cap;
};

/* pretty selects indented JSON. */
void record_init(struct record *r, struct out *out, bool pretty);
void record_release(struct record *r);

bool record_is_json(const struct record *r);  /* RECORD_JSON or RECORD_JSONL */
bool record_is_early(const struct record *r); /* are rows printed immediately (RECORD_TSV, LINES or JSONL)? */

/* Begins the rows of a table. options selects columns by their member when. */
void record_rows(struct record *r, const struct record_table *table, unsigned options);

/*
 * Adds a row, with one cell for each column of the table, whether it is shown or not. Fails with ERR_INPUT for a name that the form
 * cannot represent.
 */
int record_row(struct record *r, const struct cell *cells, struct err *err);
void record_rows_end(struct record *r);

/*
 * Writes a member of the JSON object, or a line of TSV if facts is set and the value is known. Other forms, including JSONL, omit
 * it.
 */
void record_member(struct record *r, const char *name, enum record_type type, struct cell value);

/*
 * Prints a closing line of tables and lines. In TSV it begins with "# ". style applies to text but not to rest, which may be NULL.
 */
void record_note(struct record *r, enum out_style style, const char *text, const char *rest);

/* Passes the output of r->json to r->out if there is much of it, or in any case if all is set. */
void record_drain(struct record *r, bool all);

/* Fails with ERR_INPUT if name contains a NUL and the form is RECORD_LINES or RECORD_TSV. */
int record_check_name(const struct record *r, struct str name, struct err *err);

#endif
