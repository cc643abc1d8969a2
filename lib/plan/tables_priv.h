/*
 * tables_priv: shared by the files for the kinds of position tables.
 *
 * To add a kind NAME: an entry of enum position_kind with its line in position/kind.c; lib/plan/table_NAME.c, which defines const
 * struct table_kind table_kind_NAME; and a line in TABLE_KINDS below.
 */
#ifndef LNN_PLAN_TABLES_PRIV_H
#define LNN_PLAN_TABLES_PRIV_H

#include "base/strmap.h"
#include "make/sheet.h"
#include "plan/tables.h"

/* The kinds, in the order of enum position_kind. */
#define TABLE_KINDS(X) \
	X(bias)        \
	X(bias3)       \
	X(embed)       \
	X(offsets)     \
	X(axis)

/*
 * An image that the model reads: its patch embedding. A tensor belongs to the image with whose patch embedding it shares the
 * longest prefix of its name.
 */
struct table_image {
	const struct tensor *patch; /* NULL for tensors that belong to no image */
	bool cls, dist;             /* whether there is a class token and a distillation token */
	bool known;                 /* the embeddings of the image are resized, and their grids are known */
	struct grid from, to;
};

/* A table to be planned. */
struct table_case {
	struct plan_entry *en;
	const struct tensor *tensor;
	const struct entry *target; /* its entry in the description, if that has a shape; NULL: none */
	struct table_image *image;
	enum position_kind kind;
	enum position_order order;
	bool named; /* a pattern of --match selected it */
	bool probe; /* only the grids of image are needed: nothing may be reported, made or counted */
};

/* A remark that may apply to several tables. It is printed for the first one, with the number of others. */
struct table_remark {
	struct table_remark *next;
	enum diag_level level;
	struct str text, first, last;
	size_t others;
};

struct tables {
	struct plan *p;
	const struct tables_opts *o;
	struct tables_tally *tally;
	bool *stale; /* by origin: buffers that no longer fit */
	struct table_image *images;
	size_t nimages;
	struct strmap near; /* from prefixes of names to indices in images */
	struct table_case *cases;
	size_t ncases, cap_cases;
	bool named[POSITION_KINDS];   /* by kind: --match selects tables of it */
	bool uneven[POSITION_KINDS];  /* by kind: its tables have several sizes */
	struct table_remark *remarks; /* in the arena of the plan */
};

struct table_kind {
	/* Adds a maker to the table, leaves it unchanged, or fails. */
	int (*plan)(struct tables *t, struct table_case *c, struct err *err);
};

#define TABLE_DECLARE(name) extern const struct table_kind table_kind_##name;
TABLE_KINDS(TABLE_DECLARE)
#undef TABLE_DECLARE

/* Fails with ERR_INPUT "FILE: NAME: what". */
int tables_refuse(const struct plan *p, const struct plan_entry *en, struct err *err, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Remembers a remark about a table. It is printed when all tables are planned, once for all tables with the same remark. */
void tables_remark(struct tables *t, const struct table_case *c, enum diag_level level, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Notes that a table keeps its size. why must be static. Returns 0. */
int tables_leave(struct tables *t, const struct table_case *c, const char *why);

/*
 * Handles a table that cannot be understood. Leaves it unchanged, or fails if it certainly should have been resized: if --match
 * selected it, or if the description lists another shape.
 */
int tables_misfit(struct tables *t, const struct table_case *c, const char *why, struct err *err);

/*
 * Determines the method for a kind and the number of extra rows that are expected. Returns false if the project of --like does not
 * support the kind.
 */
bool tables_method(const struct tables *t, enum position_kind kind, struct like_rule *rule);

/* Does the description list a shape for the table that differs from its present shape at most in the dimensions in mask (bits)? */
bool tables_target_fits(const struct table_case *c, unsigned mask);

/* Returns the grid with one token for each patch of the image. Warns if the image size is not a multiple of the patch size. */
struct grid tables_image_grid(struct tables *t, const struct table_case *c, struct grid patch);

/*
 * Determines the new grid of a table that has the grid "from" and is not listed in the description. It is the new grid of the
 * image's embeddings, if "from" is their present grid, or --grid. axis is 0 if both sides count, 'h' or 'w' if only one does.
 * Returns 1 and sets *to, 0 if the table is left unchanged, -1 after an error.
 */
int tables_beside(struct tables *t, const struct table_case *c, struct grid from, int axis, struct grid *to, struct err *err);

/* Completes and checks the sheet of c, whose job, from, to and shape are set. Adds it to the entry if it changes the table. */
int tables_sheet(struct tables *t, struct table_case *c, struct make_sheet *s, struct err *err);

/* Is there a token_embedding.weight beside the table? Then it is a table for text. */
bool tables_beside_token(const struct plan *p, const struct plan_entry *en);

/* Marks the buffers beside a table that no longer fit it. */
void tables_stale(struct tables *t, const struct plan_entry *en);

#endif
