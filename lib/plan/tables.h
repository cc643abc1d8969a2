/*
 * tables: the edit that finds relative position bias tables and says what they become (lnn-interp-bias(1)).
 */
#ifndef LNN_PLAN_TABLES_H
#define LNN_PLAN_TABLES_H

#include "make/bias_table.h"
#include "position/layout.h"
#include "position/stage.h"
#include "text/pyre.h"
#include "model/model.h"
#include "plan/plan.h"

enum index_policy {
	INDEX_KEEP, /* relative_position_index buffers stay */
	INDEX_DROP, /* they go: the model makes its own */
};

struct tables_opts {
	const struct pyre *match;     /* which names; NULL: those that contain relative_position_bias_table */
	const struct grid *grid;      /* new grid in tokens for every table; NULL: by image size */
	uint32_t img_size;            /* pixels; 0: from the shapes of model */
	bool same_size;               /* every table keeps its grid; grid, img_size and shapes are not asked */
	const struct stages *stages;  /* the user's ratios; NULL: only the built-in ones */
	struct layout layout;         /* of the input; LAYOUT_AUTO: from the index buffer */
	const struct grid *from_grid; /* tables that are not square; NULL: square, or as the index buffer says */
	struct layout to;             /* layout to write; LAYOUT_AUTO: the description's, else that of the input */
	enum resample_method method;
	const struct model *model; /* target: layout, and shapes if there is no size; may be NULL */
	enum index_policy index;
	bool anyway; /* a table that gets no new size gets the layout to write all the same, if one is stated */
	/* As in struct make_bias_table; may be NULL. */
	void (*show)(void *arg, const struct make_bias_table *t, const double *before, const double *after);
	void *show_arg;
};

/*
 * Puts a maker (make/bias_table.h) on every table among the living entries of p that changes, and has reports describe
 * all of them. Needs names and shapes only, except where a table that is not square must be understood from its index
 * buffer, or where it depends on the table whether the buffer goes. A table whose layout nothing tells is copied if that
 * will do, and an error if not. Errors name the tensor and what was expected. Tables of no known stage are left alone with
 * a warning.
 * Returns 1 if there was a table, 0 if there was none (then nothing is dropped either), -1 after an error.
 */
int plan_tables(struct plan *p, const struct tables_opts *o, struct err *e);

/*
 * Sets p->tables, what the output states of the layouts of its bias tables, where no index buffer tells them: JSON,
 * {"NAME": {"layout": "last:1", "grid": [14, 14], "heads": 4}}. Safetensors have it in __metadata__ under lnn.tables, torch
 * in a record .data/lnn, which torch itself does not look at. To be called when all edits are done, as names are those of
 * the output. Layouts that are known from an index buffer which goes are read, in a stream too.
 */
int tables_state(struct plan *p, struct err *err);

#endif
