/*
 * boxes: the elements of a tensor, wherever they are stored.
 *
 * A tensor is made of boxes. A box is a block of the tensor (a first index and a size in each dimension) whose elements
 * lie in one storage, with strides of its own. A plain tensor is a single box, which struct tensor holds itself. A tensor
 * of a distributed checkpoint has many, in several storages and files. Boxes of one tensor are disjoint and leave no
 * hole; boxes_make verifies it.
 *
 * Elements come out in row-major order, as they are written to a file: little-endian, with conjugation and negation
 * resolved. Ranges are counted in elements of this order: rows a to b of dimension 0 are the elements from a * n to
 * b * n, where n is the number of elements of a row. A range may begin and end anywhere. (Elements of float6 types have
 * no whole number of bytes; their ranges must begin and end at a whole byte.)
 *
 * Memory: boxes_read uses a buffer of BOXES_PIECE bytes (less for smaller ranges) and a window of 1 MiB, whatever the
 * sizes, strides and cuts are. Each byte of a storage is read a few times at most.
 */
#ifndef LNN_TENSOR_BOXES_H
#define LNN_TENSOR_BOXES_H

#include "tensor/ckpt.h"

enum { BOXES_PIECE = 8 << 20 }; /* most bytes of a piece */

/* Number of boxes. 0 for a tensor without data: on the meta device, or made of parts. */
size_t boxes_count(const struct tensor *t);

/* Box i of t. Its arrays are those of the tensor. */
struct box boxes_get(const struct tensor *t, size_t i);

/*
 * Makes t, whose dtype and shape are set (tensor_set_shape), of n boxes. Checks that they lie inside its shape and inside
 * their storages, that no two have an element in common, and that every element lies in one. Boxes without elements are
 * allowed anywhere inside the shape, and left out unless there is no other. The error names the first box that is wrong and,
 * if name is not empty, the tensor. A single box that holds the elements in order makes t a plain tensor. The boxes are
 * copied to the arena of c, their arrays must lie there. n log n for grids of boxes. 0 or -1.
 */
int boxes_make(struct ckpt *c, struct tensor *t, struct str name, const struct box *boxes, size_t n, struct err *err);

/* Elements [from, to) of a tensor. */
struct boxes_range {
	const struct tensor *tensor;
	uint64_t from, to;
	bool once; /* Nobody reads these bytes again: on a stream, those of a range that is stored so are not kept. */
};

/* All elements of t, which may be read again. */
struct boxes_range boxes_whole(const struct tensor *t);

/* Bytes of the elements of a range. */
uint64_t boxes_bytes(const struct boxes_range *r);

/*
 * Calls take with the elements of r, in pieces of at most BOXES_PIECE bytes and in order. take may change the bytes. If it
 * returns < 0, boxes_read returns that.
 */
int boxes_read(struct ckpt *c, const struct boxes_range *r, int (*take)(void *arg, void *p, size_t n, struct err *err), void *arg,
	       struct err *err);

/* Reads the elements of r to p, which holds boxes_bytes. */
int boxes_fill(struct ckpt *c, const struct boxes_range *r, void *p, struct err *err);

/*
 * True if r is one run of bytes of a storage, just as boxes_read gives it: then *storage and *offset (in bytes from its
 * start) are set, and boxes_bytes of it can be copied from there.
 */
bool boxes_stored(const struct ckpt *c, const struct boxes_range *r, uint32_t *storage, uint64_t *offset);

/*
 * True if t is made of boxes, each of which is one run of bytes as boxes_read gives them, and their runs one after another
 * are all of t: a tensor that is cut along its first dimension only.
 */
bool boxes_stacked(const struct ckpt *c, const struct tensor *t);

#endif
