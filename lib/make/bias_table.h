/*
 * bias_table: the maker that resamples a relative position bias table to another grid, or changes its layout (position/table.h).
 * plan/tables.h finds these tables and decides what is made of them.
 */
#ifndef LNN_MAKE_BIAS_TABLE_H
#define LNN_MAKE_BIAS_TABLE_H

#include "make/make.h"
#include "position/picture.h"
#include "position/table.h"

struct make_bias_table {
	struct make make;
	struct table_job job;    /* while make.waits is set, from, from_grid and to may be guesses; the number of rows is exact */
	struct make_input index; /* the table's relative_position_index; make.waits may point to it */
	bool grid_given;         /* job.from_grid was given by the user */
	bool to_as_from;         /* when job.from is learned, job.to becomes the same */
	/* the layout cannot be determined: the table is copied, and job.from is meaningless but for its size */
	bool unknown;
	table_show *show; /* receives the numbers before and after; may be NULL */
	void *show_arg;
};

/* Returns a new maker. All members except make are zero; the caller sets them before the first use. */
struct make_bias_table *make_bias_table(struct arena *a);

/* What a relative_position_index says about its table. */
struct bias_index {
	uint32_t tensor;          /* the index buffer, in the checkpoint */
	uint64_t rows;            /* rows of the table */
	const struct grid *known; /* the table's grid if the user has given it; else NULL */
	struct layout layout;     /* layout and grid are set by bias_index_read */
	struct grid grid;
};

/* Reads the buffer. Returns 1 and sets layout and grid; 0 if the buffer belongs to no known layout; -1 on error. */
int bias_index_read(struct ckpt *c, struct bias_index *x, struct err *err);

/*
 * Handles an index buffer of t that belongs to no known layout. If a copy of t is enough, marks t as unknown and returns 0.
 * Otherwise returns -1 with an error about file.
 */
int bias_index_strange(const char *file, struct make_bias_table *t, struct err *err);

#endif
