/*
 * kernel: matrices that bring the weight of an input layer [out, channels, height, width] to other channels, or to another
 * patch size. Each works along one dimension. Formulas: lib/position/README.md, section 4.
 */
#ifndef LNN_POSITION_KERNEL_H
#define LNN_POSITION_KERNEL_H

#include <stdbool.h>
#include <stddef.h>

/*
 * m is [to][from]. To one channel: the sum of all. thirds: the sums of neighbouring groups of three, for to * 3 == from.
 * Else the channels are repeated, cut to the new number, and multiplied by from / to.
 */
void kernel_channels(double *m, size_t from, size_t to, bool thirds);

/*
 * m is [to][from]: the pseudo-inverse of W^T, where W is the matrix that resizes an axis from from to to samples by bicubic
 * with antialias (FlexiViT). Where to >= from, a resized image and the new kernel have the product of the old ones.
 */
void kernel_patch(double *m, size_t from, size_t to);

#endif
