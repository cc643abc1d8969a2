/*
 * torch_pickle: tensors and storages of a manifest as torch pickles them. The reverse of
 * rebuild.h. Facts: FORMATS.md 1.9, 1.10.
 */
#ifndef LNN_FORMAT_TORCH_PICKLE_H
#define LNN_FORMAT_TORCH_PICKLE_H

#include "pickle/pickle.h"
#include "tensor/manifest.h"

struct torch_pickle {
	const struct manifest *m;
	/* By storage: written as UntypedStorage, as no storage class fits all its tensors. Made by torch_pickle_init. */
	uint8_t *untyped;
};

/* m is borrowed. Fails where torch has no such dtype, or a tensor has no data. p is to be released in either case. */
int torch_pickle_init(struct torch_pickle *p, const struct manifest *m, struct err *e);
void torch_pickle_release(struct torch_pickle *p);

/* The leaf of struct pickle_leaves; arg is a struct torch_pickle. */
int torch_pickle_leaf(void *arg, struct pickle_out *o, enum value_leaf kind, uint32_t index, struct err *e);

#endif
