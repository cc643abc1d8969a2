/*
 * composite: tensors that a checkpoint makes of other tensors: sparse, quantised, nested and jagged ones, those on the
 * meta device (which have no data), DTensors and other subclasses.
 *
 * Such a tensor is one entry of the state dict. It has a dtype and the full shape that torch gives it; struct
 * tensor_more says what else it is and which parts it has. A pickle holds it as a call (torch._utils._rebuild_...), which
 * stays an object of the value tree and is written back as it is.
 *
 * What torch does not say without reading contents is told as follows: the shape of a nested or jagged tensor, and dtype
 * and shape of a call that is not known, are those of its first part.
 */
#ifndef LNN_TENSOR_COMPOSITE_H
#define LNN_TENSOR_COMPOSITE_H

#include "tensor/ckpt.h"

/* What reading the composites of one state dict shares. */
struct composites {
	const struct ckpt *c;
	struct arena *arena; /* for all that is made */
	uint64_t visits;     /* values looked at; 0 at first */
};

/*
 * Fills t for call, an object of the tree that makes a tensor: either one that stayed an object (tree_is_composite; t has no
 * storage yet), or the wrap of a tensor with data, of which t is then a copy. 1, or 2 if t is quantised per channel with
 * another number of scales or zero points than channels, which torch refuses; 0 if that tensor is a plain one all the
 * same, as a Parameter, and t is unchanged; -1 for a file whose tensors share their parts so often that they cannot be
 * listed. Parts borrow the tensors of the checkpoint.
 */
int composite_read(struct composites *all, uint32_t call, struct tensor *t, struct err *err);

/* The entry whose tensor has a part of this name ("s" for "s.indices"), and the part; NULL if there is none. */
const struct sd_entry *composite_owner(const struct statedict *sd, struct str name, const struct tensor_part **part);

/* The number of a part that is no tensor. */
double composite_number(const struct tensor_part *part);

/* Appends the parts, as "indices:int64[2,3],values:float32[3]". */
void composite_put_parts(struct buf *b, const struct tensor *t);

#endif
