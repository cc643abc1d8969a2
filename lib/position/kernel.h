/*
 * kernel: matrices that adapt the weight of an input layer, [out, channels, height, width], to another number of channels or
 * another patch size. Each matrix works along one dimension. Formulas: lib/position/README.md, section 4.
 */
#ifndef LNN_POSITION_KERNEL_H
#define LNN_POSITION_KERNEL_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Fills m, [to][from]. If to is 1, the channels are summed. With thirds, which requires to * 3 == from, neighbouring groups of
 * three channels are summed. Otherwise the channels are repeated, cut to the new number, and multiplied by from / to.
 */
void kernel_channels(double *m, size_t from, size_t to, bool thirds);

/*
 * Fills m, [to][from], with the pseudo-inverse of W^T, where W is the matrix that resizes an axis from "from" to "to" samples by
 * bicubic interpolation with antialiasing (FlexiViT). If to >= from, the product of a resized image and the new kernel is that of
 * the original image and kernel.
 */
void kernel_patch(double *m, size_t from, size_t to);

#endif
