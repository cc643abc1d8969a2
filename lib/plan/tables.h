/*
 * tables: the edit that finds position tables of every kind (position/kind.h) and decides what is made of them
 * (lnn-interp-bias(1)). Each kind has a file table_KIND.c; tables_priv.h says how to add one.
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
	INDEX_KEEP, /* keep buffers that no longer fit after a resize */
	INDEX_DROP, /* drop them, because the model rebuilds them */
};

/* --match REGEX[=KIND] */
struct table_match {
	struct pyre *re;
	/* the pattern gives the kind; otherwise the name decides, or it is bias, and tensors that match no pattern are no tables */
	bool has_kind;
	enum position_kind kind;
	enum position_order order;
};

/* Tables that keep their size for one reason. */
struct table_left {
	const char *why;
	struct str first; /* name of the first one */
	size_t n;
	struct table_left *next;
};

/* The result of plan_tables. */
struct tables_tally {
	size_t resized, fit;     /* number of tables that were resized, and of those that had the right size already */
	struct table_left *left; /* in the arena of the plan */
};

struct tables_opts {
	const struct table_match *matches;
	size_t nmatches;
	unsigned kinds;              /* set of kinds, with bits 1 << kind; other kinds are left unchanged */
	const struct grid *grid;     /* new grid in tokens; NULL: determined by image */
	struct grid image;           /* new image size in pixels; h is 0: determined by the shapes of model */
	bool same_size;              /* all tables keep their grids; grid, image and shapes are ignored */
	const struct stages *stages; /* the user's ratios; NULL: only the built-in ones are used */
	struct layout layout;        /* layout of the input; LAYOUT_AUTO: determined from the index buffer */
	/* present grid of tables that are not square; NULL: square, or determined from the index buffer */
	const struct grid *from_grid;
	struct layout to;        /* layout to write; LAYOUT_AUTO: that of the description, else that of the input */
	const uint64_t *prefix;  /* number of rows before the grid of embeddings; NULL: determined from the shapes */
	const struct like *like; /* rules of the project whose loader is followed; NULL: none */
	bool has_method;         /* use method; otherwise that of like, or that of the kind */
	enum resample_method method;
	/* description of the target: its layout, and its shapes, which decide for tables that it lists; may be NULL */
	const struct model *model;
	enum index_policy index;
	bool anyway;      /* a bias table that keeps its size still gets the layout to write, if one is stated */
	table_show *show; /* may be NULL */
	void *show_arg;
};

/*
 * Adds makers to the position tables among the living entries of p that change, makes reports describe all tables, and drops the
 * buffers that no longer fit. Tables that the description lists get the shape that it states. With a model but without grid and
 * image, this makes a checkpoint fit the model. Only names and shapes are needed, with two exceptions: if the layout of a bias
 * table must be read from its index buffer before the output can be laid out, or if it depends on the layout whether the buffer is
 * dropped. If information is missing, the function fails with an error that names the tensor and what was expected, or the table is
 * left unchanged and counted in tally. Returns 1 if there was a table, 0 if there was none, -1 after an error.
 */
int plan_tables(struct plan *p, const struct tables_opts *o, struct tables_tally *tally, struct err *err);

/*
 * Sets p->tables to what the output states about the layouts of bias tables that have no index buffer in the output. It is JSON:
 * {"NAME": {"layout": "last:1", "grid": [14, 14], "heads": 4}}. Safetensors files have it in __metadata__ under lnn.tables, torch
 * files in a record .data/lnn, which torch ignores. Must be called after all edits, because it uses the names of the output.
 * Layouts that are known only from an index buffer that is dropped are read from it, even from a stream.
 */
int tables_state(struct plan *p, struct err *err);

#endif
