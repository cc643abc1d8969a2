/*
 * gather: the elements of a tensor in row-major order, whatever its strides are.
 */
#ifndef LNN_TENSOR_GATHER_H
#define LNN_TENSOR_GATHER_H

#include "tensor/ckpt.h"

/*
 * Elements of a tensor in row-major order, in the machine-independent form of the output (little-endian,
 * conj and neg resolved), in pieces of at most a few MiB: for each, take(arg, bytes, n) is called in order.
 * Reads each storage byte few times, whatever the strides are.
 */
int gather_tensor(struct ckpt *c, const struct tensor *t, int (*take)(void *arg, void *p, size_t n, struct err *e),
		  void *arg, struct err *e);

/* Turns n items of dtype around (each part of a complex number by itself). */
void swap_items(void *p, uint64_t n, enum dtype t);

#endif
