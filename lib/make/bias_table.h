/*
 * bias_table: the maker that brings a relative position bias table to another grid or layout (position/table.h). Which
 * tensors are such tables, and what becomes of them, is found by plan/tables.h.
 */
#ifndef LNN_MAKE_BIAS_TABLE_H
#define LNN_MAKE_BIAS_TABLE_H

#include "make/make.h"
#include "position/picture.h"
#include "position/table.h"

struct make_bias_table {
	struct make make;
	struct table_job job;    /* where make.waits is set, from, from_grid and to may be a guess; sizes are not */
	struct make_input index; /* its relative_position_index, to which make.waits may point */
	bool grid_given;         /* job.from_grid is the user's word */
	bool to_as_from;         /* job.to follows job.from when that is learnt */
	bool unknown;            /* nothing tells the layout: the table is copied, and job.from only has the right size */
	table_show *show;        /* gets the numbers before and after; may be NULL */
	void *show_arg;
};

/* A table whose members but make are zero; they are set before the first use. */
struct make_bias_table *make_bias_table(struct arena *a);

/* What a relative_position_index says of its table. */
struct bias_index {
	uint32_t tensor;          /* of the checkpoint */
	uint64_t rows;            /* of the table */
	const struct grid *known; /* of the table, where the user has said it; else NULL */
	struct layout layout;     /* set by bias_index_read */
	struct grid grid;
};

/* Returns 1 and sets layout and grid; 0 if the buffer is that of no known layout; -1 after an error. */
int bias_index_read(struct ckpt *c, struct bias_index *x, struct err *err);

/*
 * The index buffer of t is that of no known layout. Returns 0 and makes t unknown where a copy will do; else -1 and an
 * error of file.
 */
int bias_index_strange(const char *file, struct make_bias_table *t, struct err *err);

#endif
