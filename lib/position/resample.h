/*
 * resample: tables of numbers on a grid, brought to another grid.
 *
 * Double precision, separable, width first and height second, as torch does it
 * for float64. Formulas: lib/position/README.md, section 1; the letters are those there.
 * The result depends on nothing but the arguments, to the bit. That of B0 and
 * B1 is torch's (on processors with AVX2), the others differ in the last places.
 * The geometric methods are for offsets between tokens, whose middle is 0: sides are odd there.
 */
#ifndef LNN_POSITION_RESAMPLE_H
#define LNN_POSITION_RESAMPLE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

enum resample_method {
	RESAMPLE_BICUBIC,           /* B0: A = -0.75, half-pixel centres, edge samples repeated */
	RESAMPLE_BICUBIC_CORNERS,   /* B1: the same kernel, corner samples on corner samples */
	RESAMPLE_BICUBIC_ANTIALIAS, /* BA: A = -0.5, the kernel widened when shrinking, window cut at the edge */
	RESAMPLE_BILINEAR,          /* L0: half-pixel centres */
	RESAMPLE_BILINEAR_CORNERS,  /* L1 */
	RESAMPLE_BICUBIC_OFFSET,    /* BS: as B0 for a scale of (N + 0.1) / S */
	RESAMPLE_GEOMETRIC,         /* G and GS: cubic splines over cells whose distances grow geometrically */
	RESAMPLE_GEOMETRIC_LINEAR,  /* G and GL: straight lines over the same cells */
};

/* Sides of a grid, counted in cells, not in tokens. */
struct cells {
	size_t h, w;
};

/*
 * in is [height][width][heads] with the sides of from, out with those of to, row-major; they do not overlap. The caller
 * has seen to it that all sizes are > 0, that height * width * heads doubles can be had, for from and for to, and that
 * resample_can. If both axes keep their lengths, all is copied. If one does, it is left alone bit for bit, but the geometric
 * methods and BS change it as their projects do. A head whose numbers are all the same stays so (torch's does not quite).
 */
void resample(const double *in, struct cells from, double *out, struct cells to, size_t heads, enum resample_method method);

/* False if a side has too few cells for the method: splines need four. */
bool resample_can(enum resample_method method, struct cells from);

/* Is the method one for offsets between tokens alone? */
bool resample_is_geometric(enum resample_method method);

/* The method of --method with --align-corners and --antialias; false if there is no such one. */
bool resample_method_by(struct str name, bool align_corners, bool antialias, enum resample_method *method);

/* "bicubic", "bicubic, align_corners", "geometric-linear", ... */
const char *resample_method_name(enum resample_method method);

#endif
