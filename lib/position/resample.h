/*
 * resample: resizes tables of numbers on a grid to another grid.
 *
 * Computes in double precision, first along the width, then along the height, as torch does for float64. Formulas:
 * lib/position/README.md, section 1, which also defines the names B0, B1 and so on. The result depends only on the arguments, bit
 * for bit. B0 and B1 equal torch's results on processors with AVX2; the other methods differ from torch's in the last digits. The
 * geometric methods apply to offsets between tokens, with offset 0 in the middle; their sides are odd.
 */
#ifndef LNN_POSITION_RESAMPLE_H
#define LNN_POSITION_RESAMPLE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

enum resample_method {
	RESAMPLE_BICUBIC,           /* B0: A = -0.75, half-pixel centres, edge samples repeated */
	RESAMPLE_BICUBIC_CORNERS,   /* B1: the kernel of B0; the corner samples of both grids coincide */
	RESAMPLE_BICUBIC_ANTIALIAS, /* BA: A = -0.5, the kernel widened when shrinking, window cut at the edge */
	RESAMPLE_BILINEAR,          /* L0: half-pixel centres */
	RESAMPLE_BILINEAR_CORNERS,  /* L1: the corner samples of both grids coincide */
	RESAMPLE_BICUBIC_OFFSET,    /* BS: like B0, but with a scale of (N + 0.1) / S */
	RESAMPLE_GEOMETRIC,         /* G and GS: cubic splines over cells at geometrically growing distances */
	RESAMPLE_GEOMETRIC_LINEAR,  /* G and GL: linear interpolation over the cells of RESAMPLE_GEOMETRIC */
};

/* Sides of a grid in cells, not in tokens. */
struct cells {
	size_t h, w;
};

/*
 * Resizes in, [from.h][from.w][heads], to out, [to.h][to.w][heads]. Both are row-major and must not overlap. The caller has checked
 * that all sizes are > 0, that both arrays fit in memory, and that resample_can is true. If both axes keep their lengths, the
 * numbers are copied. If one axis does, it is not resampled; the geometric methods and BS do resample it, as their projects do. A
 * head whose numbers are all equal stays exactly constant, which torch does not quite guarantee.
 */
void resample(const double *in, struct cells from, double *out, struct cells to, size_t heads, enum resample_method method);

/* Does the grid have enough cells for the method? Splines need four on each side. */
bool resample_can(enum resample_method method, struct cells from);

/* Is this a method for offsets between tokens only? */
bool resample_is_geometric(enum resample_method method);

/* Finds the method for --method, --align-corners and --antialias. Returns false if the combination does not exist. */
bool resample_method_by(struct str name, bool align_corners, bool antialias, enum resample_method *method);

/* Returns a name such as "bicubic", "bicubic, align_corners" or "geometric-linear". */
const char *resample_method_name(enum resample_method method);

#endif
