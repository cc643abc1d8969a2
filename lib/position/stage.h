/*
 * stage: the ratio of image pixels to tokens at a table, derived from the tensor's name (--stage SUBSTRING=RATIO of
 * lnn-interp-bias(1)).
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
	struct str part; /* borrowed; must live as long as the list */
	uint32_t ratio;  /* pixels per token along each side, > 0 */
};

/* The user's rules in the order given. The built-in rules are tried after them. */
struct stages {
	struct stage_rule *rules;
	size_t count, cap;
};

#define STAGES_INIT        \
	{                  \
		NULL, 0, 0 \
	}

void stages_release(struct stages *s);

/* Parses "SUBSTRING=RATIO", split at the last "=", and adds the rule. The text is borrowed. Fails with ERR_USAGE. */
int stages_add(struct stages *s, struct str text, struct err *err);

/*
 * Returns the ratio of the first of the user's rules whose substring is in name. If there is none, the built-in rules apply: 16 for
 * stage_3 and stage3, 32 for stage_4 and stage4. Otherwise returns 0. s may be NULL.
 */
uint32_t stages_ratio(const struct stages *s, struct str name);

/*
 * Returns the grid of an image given in pixels: floor(image / ratio) tokens per side. A side may be 0 or exceed GRID_MAX, which the
 * caller checks. *exact is set to whether the division left no remainder.
 */
struct grid grid_of_image(struct grid image, struct grid ratio, bool *exact);

#endif
