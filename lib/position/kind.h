/*
 * kind: the kinds of position tables, and what the loaders of other projects do with them.
 * Facts: lib/position/README.md, sections 5 and 6.
 */
#ifndef LNN_POSITION_KIND_H
#define LNN_POSITION_KIND_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "position/resample.h"

/* In the order in which they are planned: the new grid of embeddings tells that of tables beside them. */
enum position_kind {
	POSITION_BIAS,    /* [rows, heads], a row for each offset between two tokens, and extra rows */
	POSITION_BIAS3,   /* [heads, 2h-1, 2w-1] */
	POSITION_EMBED,   /* a row or a cell for each token, and rows of further tokens first */
	POSITION_OFFSETS, /* [heads, h*w], a number for each pair of absolute offsets */
	POSITION_AXIS,    /* [2n-1, C], of one axis */
	POSITION_KINDS,   /* how many there are */
};

/* Bits 1 << kind. */
#define POSITION_ALL ((1u << POSITION_KINDS) - 1)

/* The order of a table of embeddings with four dimensions. */
enum position_order { ORDER_UNKNOWN, ORDER_CHW, ORDER_HWC };

const char *position_kind_name(enum position_kind kind);

/* Ends of names of patch embeddings, the surest first. The last one has other uses, too. */
enum { POSITION_PATCHES = 6 };
extern const char *const position_patches[POSITION_PATCHES];

/* The kind that a tensor of this name and number of dimensions is of. */
bool position_kind_of(struct str name, unsigned ndim, enum position_kind *kind);

/*
 * May a table of the kind be made one of the other shape? Only its grid may be another one: not the heads, the channels, or the
 * number of rows before the grid of an embedding, which are held against squares.
 */
bool position_can_resize(enum position_kind kind, const uint64_t *from, const uint64_t *to, unsigned ndim);

/* Reads "embed" or "embed:chw". order may be NULL: then none is allowed. ERR_USAGE lists the kinds. */
int position_kind_parse(struct str text, enum position_kind *kind, enum position_order *order, struct err *err);

/* Adds the bits of "bias,embed" to *kinds. ERR_USAGE otherwise. */
int position_kinds_parse(struct str text, unsigned *kinds, struct err *err);

/* What a project does with tables of a kind: the method, and how many extra rows it expects; last in bias, first in embed. */
struct like_rule {
	int method; /* enum resample_method, or -1: the project has no such tables */
	uint8_t least, most;
};

enum { LIKE_ANY = 255 };

struct like {
	const char *name;
	struct like_rule kinds[POSITION_KINDS];
};

/* ERR_USAGE lists the names there are. */
int like_by_name(const char *name, const struct like **like, struct err *err);

/* What is done without --like. */
extern const struct like like_default;

#endif
