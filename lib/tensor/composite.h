/*
 * composite: tensors that a checkpoint builds from other tensors: sparse, quantised, nested and jagged tensors, tensors on the meta
 * device (which have no data), DTensors and other subclasses.
 *
 * Such a tensor is one entry of the state dict, with the dtype and full shape that torch gives it. struct tensor_more describes its
 * kind and its parts. In a pickle it is a call (torch._utils._rebuild_...). The call stays an object of the value tree and is
 * written back unchanged.
 *
 * Where the index does not tell dtype or shape, those of the first part are used: the shape of a nested or jagged tensor, and dtype
 * and shape of an unknown call.
 */
#ifndef LNN_TENSOR_COMPOSITE_H
#define LNN_TENSOR_COMPOSITE_H

#include "tensor/ckpt.h"

/* State shared by all composites of one state dict. */
struct composites {
	const struct ckpt *c;
	struct arena *arena; /* for everything that composite_read makes */
	uint64_t visits;     /* number of values visited; 0 at first */
};

/*
 * Fills t for call, an object of the tree that makes a tensor. The call either stayed an object (tree_is_composite; t has no
 * storage yet), or it wraps a tensor with data, of which t is a copy. Returns 1 if t is a composite; 2 if it is one that torch
 * refuses, because it is quantised per channel and the number of scales or zero points is not the number of channels; 0 if it is a
 * plain tensor after all, such as a Parameter, and t is unchanged; -1 if the tensors of a file share their parts so often that they
 * cannot be listed. Parts borrow the tensors of the checkpoint.
 */
int composite_read(struct composites *all, uint32_t call, struct tensor *t, struct err *err);

/*
 * Returns a suffix for messages: " (--ranks joins ...)" if t is a DTensor, of which a file has only the part of one rank; otherwise
 * "". t may be NULL.
 */
const char *composite_way(const struct tensor *t);

/* Finds the entry whose tensor has a part with this name ("s" for "s.indices"), and sets *part. Returns NULL if there is none. */
const struct sd_entry *composite_owner(const struct statedict *sd, struct str name, const struct tensor_part **part);

/* Returns the value of a part that is a number. */
double composite_number(const struct tensor_part *part);

/* Appends the parts as "indices:int64[2,3],values:float32[3]". */
void composite_put_parts(struct buf *b, const struct tensor *t);

#endif
