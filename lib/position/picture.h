/*
 * picture: the numbers of a position table on their way to somebody who draws them.
 *
 * Number (y, x) of a head or channel is v[(y * cells.w + x) * cell_step + head * head_step + channel * channel_step]. Where
 * there are several channels, a cell is drawn as their norm.
 */
#ifndef LNN_POSITION_PICTURE_H
#define LNN_POSITION_PICTURE_H

#include "base/str.h"
#include "position/layout.h"
#include "position/resample.h"

struct table_picture {
	struct str name;
	bool after;         /* resized; else as it was */
	struct grid grid;   /* in tokens; w is 0 where there is one axis */
	const char *layout; /* of a bias table; else empty */
	const double *v;
	struct cells cells;
	size_t heads, head_step, channels, channel_step, cell_step;
};

/* Everything is borrowed until it returns. */
typedef void table_show(void *arg, const struct table_picture *p);

#endif
