/*
 * picture: the numbers of a position table, passed to a function that draws them.
 *
 * The number at (y, x) of a head and channel is v[(y * cells.w + x) * cell_step + head * head_step + channel * channel_step]. If
 * there is more than one channel, a cell is drawn as the norm of its channels.
 */
#ifndef LNN_POSITION_PICTURE_H
#define LNN_POSITION_PICTURE_H

#include "base/str.h"
#include "position/layout.h"
#include "position/resample.h"

struct table_picture {
	struct str name;
	bool after;         /* true for the resized table, false for the original */
	struct grid grid;   /* in tokens; w is 0 for a table with one axis */
	const char *layout; /* layout of a bias table; empty for other kinds */
	const double *v;
	struct cells cells;
	size_t heads, head_step, channels, channel_step, cell_step;
};

/* Receives a picture. Everything in it is valid only until the function returns. */
typedef void table_show(void *arg, const struct table_picture *p);

#endif
