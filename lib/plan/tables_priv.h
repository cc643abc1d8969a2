/*
 * tables_priv: what the files of the kinds of position tables share.
 *
 * To add a kind NAME: an entry of enum position_kind with its line in position/kind.c; lib/plan/table_NAME.c, which defines
 * const struct table_kind table_kind_NAME; and a line in TABLE_KINDS below.
 */
#ifndef LNN_PLAN_TABLES_PRIV_H
#define LNN_PLAN_TABLES_PRIV_H

#include "base/strmap.h"
#include "make/sheet.h"
#include "plan/tables.h"

/* In the order of enum position_kind. */
#define TABLE_KINDS(X) \
	X(bias)        \
	X(bias3)       \
	X(embed)       \
	X(offsets)     \
	X(axis)

/* A patch embedding, and what belongs to it because it shares more of its name with it than with any other one. */
struct table_image {
	const struct tensor *patch; /* NULL: what belongs to none */
	bool cls, dist;             /* tokens beside it */
	bool known;                 /* its table of embeddings goes from one grid to the other */
	struct grid from, to;
};

/* A table that is planned. */
struct table_case {
	struct plan_entry *en;
	const struct tensor *tensor;
	const struct entry *target; /* of the description, with a shape; NULL: none */
	struct table_image *image;
	enum position_kind kind;
	enum position_order order;
	bool named; /* --match says that it is a table */
	bool probe; /* only image's grids are asked for: nothing is said, made or counted */
};

/* Something to be said of several tables: of the first, with how many others there are. */
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
	bool *stale; /* by origin: buffers that go */
	struct table_image *images;
	size_t nimages;
	struct strmap near; /* beginnings of names to images */
	struct table_case *cases;
	size_t ncases, cap_cases;
	bool named[POSITION_KINDS];   /* --match names tables of the kind */
	bool uneven[POSITION_KINDS];  /* tables of the kind have several sizes */
	struct table_remark *remarks; /* in the arena of the plan */
};

struct table_kind {
	/* Puts a maker on the table, leaves it, or fails. */
	int (*plan)(struct tables *t, struct table_case *c, struct err *err);
};

#define TABLE_DECLARE(name) extern const struct table_kind table_kind_##name;
TABLE_KINDS(TABLE_DECLARE)
#undef TABLE_DECLARE

/* ERR_INPUT "FILE: NAME: what". */
int tables_refuse(const struct plan *p, const struct plan_entry *en, struct err *err, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Says something of a table when all are planned; once of all of which the same is to be said. */
void tables_remark(struct tables *t, const struct table_case *c, enum diag_level level, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Notes that a table keeps its size. why is static. Returns 0. */
int tables_leave(struct tables *t, const struct table_case *c, const char *why);

/*
 * The table cannot be understood. It is left, or refused where it is certain that it should have been resized: the user
 * named it, or the description lists another shape.
 */
int tables_misfit(struct tables *t, const struct table_case *c, const char *why, struct err *err);

/* The method for a table, and how many extra rows are expected. False if --like has nothing for the kind. */
bool tables_method(const struct tables *t, enum position_kind kind, struct like_rule *rule);

/* Does the description list a shape for the table that differs from its own in dimensions of mask (bits) at most? */
bool tables_target_fits(const struct table_case *c, unsigned mask);

/* The grid of a token for every patch of the image. Warns where that is not exact. */
struct grid tables_image_grid(struct tables *t, const struct table_case *c, struct grid patch);

/*
 * The new grid of a table that has the grid `from` and which the description does not list: that of the embeddings beside it,
 * if it has their grid, or --grid. Returns 1 and sets *to, 0 if the table is left, -1 after an error. axis: 0 both, else
 * h or w alone counts, as 'h' and 'w'.
 */
int tables_beside(struct tables *t, const struct table_case *c, struct grid from, int axis, struct grid *to, struct err *err);

/* Checks the sheet that c becomes, of which job, from, to and shape are set, and puts it on the entry if it changes. */
int tables_sheet(struct tables *t, struct table_case *c, struct make_sheet *s, struct err *err);

/* Is there a token_embedding.weight beside it? Then it is a table of text. */
bool tables_beside_token(const struct plan *p, const struct plan_entry *en);

/* Marks the buffers beside a table of the input that no longer fit it. */
void tables_stale(struct tables *t, const struct plan_entry *en);

#endif
