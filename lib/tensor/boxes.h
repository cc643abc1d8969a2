/*
 * boxes: reads the elements of a tensor, wherever they are stored.
 *
 * A tensor consists of boxes. A box is a block of the tensor (a first index and a size in each dimension) whose elements are in one
 * storage, with strides of its own. A plain tensor is a single box, which struct tensor itself describes. A tensor of a distributed
 * checkpoint has many boxes, in several storages and files. The boxes of a tensor are disjoint and cover it completely; boxes_make
 * verifies this.
 *
 * Elements are delivered in row-major order, as they are written to a file: little-endian, with conjugation and negation resolved.
 * Ranges count elements in this order: rows a to b of dimension 0 are the elements from a * n to b * n, where n is the number of
 * elements of a row. A range may begin and end anywhere, except that for float6 types, whose elements are not whole bytes, it must
 * begin and end at a whole byte.
 *
 * Memory: boxes_read uses a buffer of BOXES_PIECE bytes (less for smaller ranges) and a window of 1 MiB, whatever the sizes,
 * strides and cuts are. Each byte of a storage is read a few times at most.
 */
#ifndef LNN_TENSOR_BOXES_H
#define LNN_TENSOR_BOXES_H

#include "tensor/ckpt.h"

enum { BOXES_PIECE = 8 << 20 }; /* largest piece in bytes */

/* Returns the number of boxes. It is 0 for a tensor without data: on the meta device, or made of parts. */
size_t boxes_count(const struct tensor *t);

/* Returns box i of t. Its arrays are borrowed from t. */
struct box boxes_get(const struct tensor *t, size_t i);

/*
 * Makes t, whose dtype and shape are set (tensor_set_shape), of n boxes. Checks that they lie inside its shape and inside their
 * storages, that no two overlap, and that they cover all elements. Empty boxes are allowed anywhere inside the shape; they are
 * dropped unless there is no other. The error names the first wrong box and, if name is not empty, the tensor. A single box that
 * holds all elements in order makes t a plain tensor. The boxes are copied to the arena of c, and their arrays must be there
 * already. Takes n log n steps for a grid of boxes. Returns 0 or -1.
 */
int boxes_make(struct ckpt *c, struct tensor *t, struct str name, const struct box *boxes, size_t n, struct err *err);

/* The elements [from, to) of a tensor. */
struct boxes_range {
	const struct tensor *tensor;
	uint64_t from, to;
	bool once; /* These bytes are not read again: a stream need not keep them if the range is stored as one run. */
};

/* Returns the range of all elements of t, with once unset. */
struct boxes_range boxes_whole(const struct tensor *t);

/* Returns the size of a range in bytes. */
uint64_t boxes_bytes(const struct boxes_range *r);

/*
 * Calls take with the elements of r in order, in pieces of at most BOXES_PIECE bytes. take may modify the bytes. If it returns a
 * negative number, boxes_read returns that number.
 */
int boxes_read(struct ckpt *c, const struct boxes_range *r, int (*take)(void *arg, void *p, size_t n, struct err *err), void *arg,
	       struct err *err);

/* Reads the elements of r to p, which has space for boxes_bytes(r). */
int boxes_fill(struct ckpt *c, const struct boxes_range *r, void *p, struct err *err);

/*
 * Returns true if the bytes that boxes_read would deliver for r are one run of bytes in a storage. *storage and *offset (in bytes)
 * are its place, from which boxes_bytes(r) bytes can be copied.
 */
bool boxes_stored(const struct ckpt *c, const struct boxes_range *r, uint32_t *storage, uint64_t *offset);

/*
 * Returns true if t is cut along its first dimension only, and each of its boxes is stored as one run of bytes as boxes_read would
 * deliver it. The concatenation of these runs is then all of t.
 */
bool boxes_stacked(const struct ckpt *c, const struct tensor *t);

#endif
