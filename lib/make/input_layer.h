/*
 * input_layer: the makers that bring the weight of an input layer, [out, channels, height, width], to other channels and to
 * another patch size (position/kernel.h).
 */
#ifndef LNN_MAKE_INPUT_LAYER_H
#define LNN_MAKE_INPUT_LAYER_H

#include "make/make.h"

/*
 * Makers for a tensor of form in. NULL if it is no weight of an input layer, or too large for one; the error says what was
 * expected. thirds as in kernel_channels.
 */
struct make *make_channels(struct arena *a, const struct make_form *in, uint64_t n, bool thirds, struct err *err);
/* axis: 2 for the height, 3 for the width. */
struct make *make_patch(struct arena *a, const struct make_form *in, unsigned axis, uint64_t n, struct err *err);

#endif
