/*
 * tensor: a view of a storage, as a checkpoint's index describes it. Plain values; no bytes.
 */
#ifndef LNN_TENSOR_TENSOR_H
#define LNN_TENSOR_TENSOR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/str.h"
#include "tensor/dtype.h"

/* Not (yet) known, or none. */
#define STORAGE_NONE UINT32_MAX
#define OFFSET_UNKNOWN UINT64_MAX

enum storage_flag {
	STORAGE_CRC = 1,        /* crc is that of the (unpacked) contents, as the source states it */
	STORAGE_BIG_ENDIAN = 2, /* items are stored big-endian */
	STORAGE_DEFLATED = 4,   /* must be unpacked: cannot be copied as a range of the source */
};

/* A run of bytes in the source that tensors look at. */
struct storage {
	struct str key;  /* the source's name for it: record key; empty in safetensors */
	uint64_t nbytes; /* unpacked */
	uint64_t offset; /* absolute offset of its (packed) first byte; OFFSET_UNKNOWN until located on a stream */
	uint64_t packed; /* bytes it takes in the source; == nbytes unless STORAGE_DEFLATED */
	uint32_t crc;
	uint32_t shard;   /* which file of a sharded set; else 0 */
	uint8_t dtype;    /* enum dtype of its class; DTYPE_UINT8 for an untyped storage */
	uint8_t untyped;  /* an UntypedStorage: dtype says nothing of its items */
	uint8_t flags;    /* enum storage_flag */
	uint8_t location; /* where torch puts it: ckpt.locations[location] */
};

enum tensor_flag {
	TENSOR_CONJ = 1,          /* the logical value is the conjugate of what is stored */
	TENSOR_NEG = 2,           /* ... the negation */
	TENSOR_PARAMETER = 4,     /* pickled as a Parameter */
	TENSOR_REQUIRES_GRAD = 8, /* as pickled */
	TENSOR_QUANTISED = 16,    /* made by _rebuild_qtensor: wrap is its call */
	TENSOR_WRAPPED = 32,      /* made by another call (subclass, Python attributes): wrap is that call */
};

/*
 * A block of a tensor's elements that lie in one storage (tensor/boxes.h). Its arrays have a number for each dimension of
 * the tensor.
 */
struct box {
	const uint64_t *low; /* its first index */
	const uint64_t *size;
	const uint64_t *stride; /* in elements of the storage */
	uint64_t offset;        /* of its first element, in elements from the storage's start */
	uint32_t storage;
};

struct tensor;

/* A part of a tensor that is made of several (tensor/composite.h). */
struct tensor_part {
	struct str name;             /* "indices", "scale", "_local_tensor" */
	const struct tensor *tensor; /* NULL: a single number, in scalar */
	uint8_t dtype;               /* enum dtype */
	unsigned char scalar[8];     /* little-endian item of dtype: float64 or int64 */
};

/* How a cast to another floating dtype is done. */
enum tensor_cast {
	TENSOR_CAST_NOT,   /* not at all: the class decides, or there is no such tensor */
	TENSOR_CAST_PARTS, /* parts of its dtype are cast */
	TENSOR_CAST_CALL,  /* and the call that makes it names the dtype */
};

/* What a tensor has that is not plain: boxes, or parts. */
struct tensor_more {
	const struct box *boxes; /* see boxes_make */
	size_t nboxes;
	const uint64_t *low; /* NULL, or the first index of the box of a larger tensor that this one is */
	const struct tensor_part *parts;
	size_t nparts;
	/* What it is, in torch's words; empty where there is nothing to say. */
	struct str layout;     /* "sparse_coo" */
	struct str device;     /* "meta" */
	struct str quantized;  /* "per_tensor", "per_channel" */
	struct str placements; /* "Shard(0)" */
	uint8_t cast;          /* enum tensor_cast */
};

struct tensor {
	uint64_t offset;                /* of the first element, in elements of dtype, from the storage's start */
	const uint64_t *shape;          /* ndim sizes */
	const uint64_t *stride;         /* ndim strides in elements; with boxes those of a row-major tensor */
	const struct tensor_more *more; /* NULL for a plain tensor, which is one box: the view of its storage */
	uint32_t storage;               /* index into the checkpoint's storages; STORAGE_NONE: no data, or boxes */
	uint32_t wrap;                  /* the call to write back (handle in the checkpoint's tree), or VALUE_ABSENT */
	uint8_t dtype;                  /* enum dtype */
	uint8_t ndim;
	uint8_t flags; /* enum tensor_flag */
};

/*
 * Number of elements; false if it does not fit, also if a size of 0 comes only after sizes whose product does not: torch and
 * safetensors multiply in this order and refuse such shapes. A scalar has 1.
 */
bool tensor_numel(const struct tensor *t, uint64_t *numel);

/* Elements and bytes of a tensor whose geometry was checked (tensor_check). */
uint64_t tensor_count(const struct tensor *t);
uint64_t tensor_nbytes(const struct tensor *t);

/* Are the elements in row-major order without gaps? (Sizes of 1 and empty tensors do not matter.) */
bool tensor_contiguous(const struct tensor *t);

/* Does it look at every byte of a storage of nbytes exactly once, whatever the order (contiguous, transposed, channels_last)? */
bool tensor_covers(const struct tensor *t, uint64_t nbytes);

/* First element and one past the last that it touches, in elements of the storage; both 0 for an empty tensor. */
void tensor_span(const struct tensor *t, uint64_t *first, uint64_t *end);

/*
 * Checks with overflow checks that every element lies in a storage of nbytes (and that
 * the number of elements and bytes fits): ERR_SET on why, "NAME: ..." is added by the caller. 0 or -1.
 */
int tensor_check(const struct tensor *t, uint64_t nbytes, struct err *e);

/* Fills shape and stride (row-major) of t with copies in a. */
void tensor_set_shape(struct tensor *t, struct arena *a, const uint64_t *shape, unsigned ndim);

/* The same for elements in Fortran's order, in which the first index runs fastest. */
void tensor_set_fortran(struct tensor *t, struct arena *a, const uint64_t *shape, unsigned ndim);

/* t with copies of its shape and strides in a. */
struct tensor tensor_copy(const struct tensor *t, struct arena *a);

bool tensor_same_shape(const struct tensor *a, const struct tensor *b);
bool shape_eq(const uint64_t *a, unsigned na, const uint64_t *b, unsigned nb);

struct buf;
/* "[3,4]", "[]" */
void shape_put(struct buf *b, const uint64_t *shape, unsigned ndim);
/* The reverse: "[3,4]", "[ 3, 4 ]", into shape (TENSOR_NDIM_MAX places); false if s is no shape. */
bool shape_parse(struct str s, uint64_t *shape, unsigned *ndim);

#endif
