/*
 * stage: by how much an image is shrunk where a table is used, told by the
 * tensor's name (--stage SUBSTRING=RATIO of lnn-interp-bias(1)).
 */
#ifndef LNN_POSITION_STAGE_H
#define LNN_POSITION_STAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "position/layout.h"

struct stage_rule {
	struct str part; /* borrowed: it lives as long as the list */
	uint32_t ratio;  /* pixels per token and side, > 0 */
};

/* The user's rules, in the order given. The built-in ones are tried after them. */
struct stages {
	struct stage_rule *rules;
	size_t count, cap;
};

#define STAGES_INIT        \
	{                  \
		NULL, 0, 0 \
	}

void stages_release(struct stages *s);

/* Reads "SUBSTRING=RATIO" and adds it (the last = counts); the text is borrowed. ERR_USAGE if it is not that. */
int stages_add(struct stages *s, struct str text, struct err *err);

/*
 * The ratio of the first rule whose substring is in name, else of stage_3, stage3 (16), stage_4, stage4 (32), else 0.
 * s may be NULL.
 */
uint32_t stages_ratio(const struct stages *s, struct str name);

/*
 * The grid of an image of so many pixels: floor(image / ratio) tokens a side, which may be 0 or above GRID_MAX: the caller
 * checks. *exact says whether nothing was cut off.
 */
struct grid grid_of_image(struct grid image, struct grid ratio, bool *exact);

#endif
