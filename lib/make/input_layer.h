/*
 * input_layer: the makers that adapt the weight of an input layer, [out, channels, height, width], to another number of channels or
 * another patch size (position/kernel.h).
 */
#ifndef LNN_MAKE_INPUT_LAYER_H
#define LNN_MAKE_INPUT_LAYER_H

#include "make/make.h"

/*
 * Return a maker for a tensor of form in. Return NULL if the tensor is not the weight of an input layer, or is too large; the error
 * says what was expected. For thirds see kernel_channels.
 */
struct make *make_channels(struct arena *a, const struct make_form *in, uint64_t n, bool thirds, struct err *err);
/* axis is 2 for the height, 3 for the width. */
struct make *make_patch(struct arena *a, const struct make_form *in, unsigned axis, uint64_t n, struct err *err);

#endif
