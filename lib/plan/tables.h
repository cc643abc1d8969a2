/*
 * tables: the edit that finds position tables of every kind (position/kind.h) and says what they become
 * (lnn-interp-bias(1)). What becomes of a kind is in table_KIND.c; tables_priv.h says how to add one.
 */
#ifndef LNN_PLAN_TABLES_H
#define LNN_PLAN_TABLES_H

#include "make/bias_table.h"
#include "model/model.h"
#include "plan/plan.h"
#include "position/kind.h"
#include "position/layout.h"
#include "position/stage.h"
#include "text/pyre.h"

enum index_policy {
	INDEX_KEEP, /* buffers that a new size makes stale stay */
	INDEX_DROP, /* they go: the model makes its own */
};

/* --match REGEX[=KIND] */
struct table_match {
	struct pyre *re;
	bool has_kind; /* else names decide, or it is bias, and what no pattern matches is no table */
	enum position_kind kind;
	enum position_order order;
};

/* Tables that keep their size for the same reason. */
struct table_left {
	const char *why;
	struct str first; /* name of the first one */
	size_t n;
	struct table_left *next;
};

/* What plan_tables did. */
struct tables_tally {
	size_t resized, fit;     /* tables of another size, or that have the size already */
	struct table_left *left; /* in the arena of the plan */
};

struct tables_opts {
	const struct table_match *matches;
	size_t nmatches;
	unsigned kinds;               /* bits 1 << kind; the others pass */
	const struct grid *grid;      /* new grid in tokens; NULL: by image size */
	struct grid image;            /* pixels; h is 0: from the shapes of model */
	bool same_size;               /* every table keeps its grid; grid, image and shapes are not asked */
	const struct stages *stages;  /* the user's ratios; NULL: only the built-in ones */
	struct layout layout;         /* of the input; LAYOUT_AUTO: from the index buffer */
	const struct grid *from_grid; /* tables that are not square; NULL: square, or as the index buffer says */
	struct layout to;             /* layout to write; LAYOUT_AUTO: the description's, else that of the input */
	const uint64_t *prefix;       /* rows before the grid of embeddings; NULL: found out */
	const struct like *like;      /* whose loader is followed; NULL: nobody's */
	bool has_method;              /* method counts; else that of like, or of the kind */
	enum resample_method method;
	const struct model *model; /* target: layout, and shapes, which decide where they are there; may be NULL */
	enum index_policy index;
	bool anyway;      /* a bias table that gets no new size gets the layout to write all the same, if one is stated */
	table_show *show; /* may be NULL */
	void *show_arg;
};

/*
 * Puts a maker on every position table among the living entries of p that changes, has reports describe all of them, and
 * drops the buffers that go with them. Tables that the description lists become what it says: with a model, no grid and
 * no image this is what makes a checkpoint fit. Needs names and shapes only, except where a bias table must be understood
 * from its index buffer before the output can be laid out, or where it depends on the layout whether the buffer goes.
 * What nothing tells is an error that names the tensor and what was expected, or the table is left, as tally says.
 * Returns 1 if there was a table, 0 if there was none, -1 after an error.
 */
int plan_tables(struct plan *p, const struct tables_opts *o, struct tables_tally *tally, struct err *err);

/*
 * Sets p->tables, what the output states of the layouts of its bias tables, where no index buffer tells them: JSON,
 * {"NAME": {"layout": "last:1", "grid": [14, 14], "heads": 4}}. Safetensors have it in __metadata__ under lnn.tables, torch
 * in a record .data/lnn, which torch itself does not look at. To be called when all edits are done, as names are those of
 * the output. Layouts that are known from an index buffer which goes are read, in a stream too.
 */
int tables_state(struct plan *p, struct err *err);

#endif
