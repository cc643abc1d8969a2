/*
 * kind: the kinds of position tables, and what the loaders of other projects do with them. Facts: lib/position/README.md, sections
 * 5 and 6.
 */
#ifndef LNN_POSITION_KIND_H
#define LNN_POSITION_KIND_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "position/resample.h"

/* The kinds, in the order in which tables are planned. Embeddings come before the kinds that take their new grid from them. */
enum position_kind {
	POSITION_BIAS,    /* [rows, heads]: a row for each offset between two tokens, and extra rows */
	POSITION_BIAS3,   /* [heads, 2h-1, 2w-1] */
	POSITION_EMBED,   /* a row or a cell for each token, preceded by rows for other tokens */
	POSITION_OFFSETS, /* [heads, h*w]: a number for each pair of absolute offsets */
	POSITION_AXIS,    /* [2n-1, C]: a row for each offset along one axis */
	POSITION_KINDS,   /* number of kinds */
};

/* The set of all kinds. A set of kinds has bit 1 << kind for each of them. */
#define POSITION_ALL ((1u << POSITION_KINDS) - 1)

/* The dimension order of an embedding table with four dimensions. */
enum position_order { ORDER_UNKNOWN, ORDER_CHW, ORDER_HWC };

const char *position_kind_name(enum position_kind kind);

/* Name suffixes of patch embeddings, the most specific first. The last one is also used for other tensors. */
enum { POSITION_PATCHES = 6 };
extern const char *const position_patches[POSITION_PATCHES];

/* Sets *kind to the kind of table that a tensor of this name and number of dimensions is. Returns false if it is none. */
bool position_kind_of(struct str name, unsigned ndim, enum position_kind *kind);

/*
 * Can a table of this kind be resized from one shape to the other? Only the grid may differ. Heads, channels and, for an embedding,
 * the number of rows before the grid must be equal; embedding grids are assumed to be square.
 */
bool position_can_resize(enum position_kind kind, const uint64_t *from, const uint64_t *to, unsigned ndim);

/* Parses a kind, such as "embed" or "embed:chw". If order is NULL, a dimension order is refused. ERR_USAGE lists the kinds. */
int position_kind_parse(struct str text, enum position_kind *kind, enum position_order *order, struct err *err);

/* Parses a list of kinds, such as "bias,embed", and adds them to the set *kinds. Fails with ERR_USAGE. */
int position_kinds_parse(struct str text, unsigned *kinds, struct err *err);

/*
 * What a project does with one kind of table: its method, and how many extra rows it supports (after a bias grid, before an
 * embedding grid).
 */
struct like_rule {
	int method; /* enum resample_method, or -1: the project has no such tables */
	uint8_t least, most;
};

enum { LIKE_ANY = 255 };

struct like {
	const char *name;
	struct like_rule kinds[POSITION_KINDS];
};

/* Finds the project of this name. ERR_USAGE lists the known names. */
int like_by_name(const char *name, const struct like **like, struct err *err);

/* The rules used without --like. */
extern const struct like like_default;

#endif
