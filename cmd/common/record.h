/*
 * record: the writer behind every report that is made of rows. A report says its columns once and gives its rows once;
 * they come out as an aligned table, as lines with TABs, or as JSON.
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
 * Rows of TSV and JSONL are printed as they are given. The first thousand rows of a table decide how wide its columns are, and
 * are held until then; later rows are printed as they come. A column in which no row has said anything yet is left out. If
 * a later row says something there, the titles are printed again with that column. The empty text and "." say nothing.
 * The object that JSON members go into is opened and closed by the caller, with r->json.
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
	RECORD_TSV,   /* fields with TABs between them; titles and closing lines begin with '#' */
	RECORD_LINES, /* fields with TABs between them, and closing lines as they are */
	RECORD_TABLE, /* aligned, with titles */
	RECORD_JSON,  /* one document */
	RECORD_JSONL, /* rows only, an object on each line */
};

enum record_type {
	RECORD_TEXT,
	RECORD_COUNT,
	RECORD_REAL,
	RECORD_BOOL,
	RECORD_SHAPE,
	RECORD_TEXTS, /* several texts */
	RECORD_RAW,   /* text as it is: neither escaped nor quoted */
};

/* Which forms have a column. IN_TSV means lines, too; IN_JSON means JSONL, too. */
enum { IN_TABLE = 1, IN_TSV = 2, IN_JSON = 4, IN_TEXT = IN_TABLE | IN_TSV, IN_ALL = 7 };

enum { COLUMNS_MAX = 32 };

enum {
	COLUMN_RIGHT = 1,    /* numbers have it without it */
	COLUMN_SHRINKS = 2,  /* cut in the middle (with "...") where a terminal is too narrow */
	COLUMN_NAME = 4,     /* names a tensor: shrinks, has STYLE_NAME, and a NUL in it is an error in lines */
	COLUMN_KEYED = 8,    /* lines have "NAME=VALUE" */
	COLUMN_QUIET = 16,   /* an unknown cell is left out of lines and tables; otherwise it is "-" */
	COLUMN_TIMES = 32,   /* a factor: "x3" in a table; 1 is left out of lines and tables */
	COLUMN_HUMAN = 64,   /* three digits in a table */
	COLUMN_DOTTED = 128, /* 0 is "." in a table */
	COLUMN_WIDE = 256,   /* left out of a table on a terminal of less than 100 columns */
	COLUMN_BYTES = 512,  /* three digits and a unit of bytes in a table */
	COLUMN_SPELT = 1024, /* NaN and Infinity are spelt as in JSON */
};

struct record_column {
	const char *name;  /* in JSON and TSV; NULL: rows are this value alone in JSON, not an object */
	const char *title; /* in a table; NULL: name */
	enum record_type type;
	unsigned in;    /* IN_* */
	unsigned flags; /* COLUMN_* */
	unsigned when;  /* shown only if all of these bits are among the options given to record_rows */
	enum out_style style;
};

struct record_table {
	const char *member; /* of the JSON object: the array of rows */
	const struct record_column *columns;
	size_t n;    /* at most COLUMNS_MAX */
	bool titles; /* TSV begins with a line of titles */
	bool sparse; /* an aligned table without rows has no titles, either */
};

enum cell_state {
	CELL_NONE,    /* left out, in JSON as well */
	CELL_UNKNOWN, /* "-", in JSON null */
	CELL_SET,
};

/* A value, of the type of its column. Texts and shapes are borrowed until record_row returns. */
struct cell {
	enum cell_state state;
	enum out_style style; /* instead of the column's, unless STYLE_PLAIN */
	uint64_t count;       /* or the number of sizes or texts, or whether a bool is true */
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
struct cell cell_word(const char *s); /* NULL is unknown */

struct record {
	struct out *out;         /* borrowed */
	enum record_form form;   /* set by the caller before each report */
	const char *file;        /* for messages; set by the caller */
	struct json_writer json; /* for what is no table; record_drain is due from time to time */
	bool facts;              /* set by the caller: members are lines of TSV, and each line begins with its member */
	/* private */
	struct buf text; /* what json has made */
	const struct record_table *table;
	size_t nrows;
	unsigned char columns[COLUMNS_MAX]; /* numbers of those that are shown */
	size_t ncolumns;
	/* of a table: */
	size_t width[COLUMNS_MAX]; /* by number in columns; 0: left out */
	bool measured;
	struct buf held; /* text of the cells that are held, one after the other */
	struct record_held *cells;
	size_t ncells, cap;
};

/* pretty: JSON is indented. */
void record_init(struct record *r, struct out *out, bool pretty);
void record_release(struct record *r);

bool record_is_json(const struct record *r);  /* RECORD_JSON or RECORD_JSONL */
bool record_is_early(const struct record *r); /* rows are printed as they are given: RECORD_TSV, LINES or JSONL */

/* Begins the rows of a table. options: see struct record_column. */
void record_rows(struct record *r, const struct record_table *table, unsigned options);

/* One row: a cell for each column of the table, shown or not. ERR_INPUT for a name that the form cannot say. */
int record_row(struct record *r, const struct cell *cells, struct err *err);
void record_rows_end(struct record *r);

/* A member of the JSON object, or, with facts, a line of TSV unless it is unknown. Other forms, JSONL included, have none. */
void record_member(struct record *r, const char *name, enum record_type type, struct cell value);

/* A closing line of tables and lines. It begins with "# " in TSV. Its style ends before rest, which may be NULL. */
void record_note(struct record *r, enum out_style style, const char *text, const char *rest);

/* Passes on what r->json has made if it is much, or (all) in any case. */
void record_drain(struct record *r, bool all);

/* ERR_INPUT if name holds a NUL and lines or a list of names are to be printed. */
int record_check_name(const struct record *r, struct str name, struct err *err);

#endif
