/*
 * place: which value of a checkpoint is its state dict.
 */
#ifndef LNN_TENSOR_PLACE_H
#define LNN_TENSOR_PLACE_H

#include "tensor/tree.h"

struct place {
	uint32_t value; /* handle in the tree; VALUE_ABSENT where there is none */
	struct str key; /* dotted path from the root; empty for the root */
};

/*
 * The place at key (a dotted path), or where the state dict is usually found if key is NULL. It contains a tensor at
 * some depth, or is one. ERR_INPUT if there is no such place, or it has no tensor; the message then names places that
 * have some. place->key is borrowed from key, or is static.
 */
int place_find(struct tree *tree, const char *key, struct place *place, struct err *err);

#endif
