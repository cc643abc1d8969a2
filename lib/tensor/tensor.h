/* tensor: a view of a storage, as the index of a checkpoint describes it. A plain value without bytes. */
#ifndef LNN_TENSOR_TENSOR_H
#define LNN_TENSOR_TENSOR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/str.h"
#include "tensor/dtype.h"

/* Markers for an unknown or absent storage or offset. */
#define STORAGE_NONE UINT32_MAX
#define OFFSET_UNKNOWN UINT64_MAX

enum storage_flag {
	STORAGE_CRC = 1,        /* crc is valid: the CRC of the (unpacked) contents, as stated by the source */
	STORAGE_BIG_ENDIAN = 2, /* items are stored big-endian */
	STORAGE_DEFLATED = 4,   /* compressed, so it cannot be copied as a range of the source */
};

/* A run of bytes in the source that tensors refer to. */
struct storage {
	struct str key;  /* name in the source: record key; empty in safetensors */
	uint64_t nbytes; /* unpacked size */
	uint64_t offset; /* absolute offset of its first (packed) byte; OFFSET_UNKNOWN until located on a stream */
	uint64_t packed; /* size in the source; differs from nbytes only if STORAGE_DEFLATED */
	uint32_t crc;
	uint32_t shard;   /* index of its file in a sharded set; else 0 */
	uint8_t dtype;    /* dtype of its storage class; DTYPE_UINT8 for an untyped storage */
	uint8_t untyped;  /* an UntypedStorage, whose dtype does not tell the dtype of its items */
	uint8_t flags;    /* enum storage_flag */
	uint8_t location; /* device on which torch puts it: index into ckpt.locations */
};

enum tensor_flag {
	TENSOR_CONJ = 1,          /* the logical value is the conjugate of the stored one */
	TENSOR_NEG = 2,           /* the logical value is the negation of the stored one */
	TENSOR_PARAMETER = 4,     /* pickled as a Parameter */
	TENSOR_REQUIRES_GRAD = 8, /* requires_grad as pickled */
	TENSOR_QUANTISED = 16,    /* made by _rebuild_qtensor; wrap is that call */
	TENSOR_WRAPPED = 32,      /* made by another call (subclass, Python attributes); wrap is that call */
};

/*
 * A block of a tensor's elements that are in one storage (tensor/boxes.h). Each array has one number per dimension of the tensor.
 */
struct box {
	const uint64_t *low; /* first index of the block in the tensor */
	const uint64_t *size;
	const uint64_t *stride; /* in elements of the storage */
	uint64_t offset;        /* offset of its first element, in elements from the start of the storage */
	uint32_t storage;
};

struct tensor;

/* A part of a composite tensor (tensor/composite.h). */
struct tensor_part {
	struct str name;             /* such as "indices", "scale", "_local_tensor" */
	const struct tensor *tensor; /* NULL if the part is a single number, in scalar */
	uint8_t dtype;               /* enum dtype */
	unsigned char scalar[8];     /* little-endian item of dtype: float64 or int64 */
};

/* How a tensor is cast to another floating dtype. */
enum tensor_cast {
	TENSOR_CAST_NOT,   /* not at all: its class decides the dtype, or there is no such tensor */
	TENSOR_CAST_PARTS, /* the parts that have its dtype are cast */
	TENSOR_CAST_CALL,  /* the parts are cast, and the call that makes it gets the new dtype */
};

/* Properties of a tensor that is not plain: boxes, or parts. */
struct tensor_more {
	const struct box *boxes; /* see boxes_make */
	size_t nboxes;
	const uint64_t *low; /* first index in the larger tensor of which this one is a box; or NULL */
	const struct tensor_part *parts;
	size_t nparts;
	/* Descriptions in torch's words; empty if not applicable. */
	struct str layout;     /* such as "sparse_coo" */
	struct str device;     /* such as "meta" */
	struct str quantized;  /* "per_tensor" or "per_channel" */
	struct str placements; /* such as "Shard(0)" */
	uint8_t cast;          /* enum tensor_cast */
};

struct tensor {
	uint64_t offset;                /* offset of the first element, in elements of dtype from the start of the storage */
	const uint64_t *shape;          /* ndim sizes */
	const uint64_t *stride;         /* ndim strides in elements; with boxes, those of a row-major tensor */
	const struct tensor_more *more; /* NULL for a plain tensor, which is one box of its storage */
	uint32_t storage;               /* index into ckpt.storages; STORAGE_NONE if it has no data, or boxes */
	uint32_t wrap;                  /* the call that is written back (handle in the checkpoint's tree), or VALUE_ABSENT */
	uint8_t dtype;                  /* enum dtype */
	uint8_t ndim;
	uint8_t flags; /* enum tensor_flag */
};

/*
 * Computes the number of elements; a scalar has 1. Returns false on overflow, even if a later size is 0: torch and safetensors
 * multiply in this order and refuse such shapes.
 */
bool tensor_numel(const struct tensor *t, uint64_t *numel);

/* The elements and bytes of a tensor that has passed tensor_check. */
uint64_t tensor_count(const struct tensor *t);
uint64_t tensor_nbytes(const struct tensor *t);

/* Returns true if the elements are in row-major order without gaps. Dimensions of size 1 and empty tensors do not matter. */
bool tensor_contiguous(const struct tensor *t);

/* Returns true if t covers every byte of a storage of nbytes exactly once, in any order (contiguous, transposed, channels_last). */
bool tensor_covers(const struct tensor *t, uint64_t nbytes);

/* Computes the first element that t uses and the end after the last one, in elements of the storage; both 0 for an empty tensor. */
void tensor_span(const struct tensor *t, uint64_t *first, uint64_t *end);

/*
 * Checks, without overflow, that every element is in a storage of nbytes, and that the number of elements and bytes fits. On
 * failure e says why; the caller adds the name. Returns 0 or -1.
 */
int tensor_check(const struct tensor *t, uint64_t nbytes, struct err *err);

/* Sets shape and row-major strides of t to copies allocated from a. */
void tensor_set_shape(struct tensor *t, struct arena *a, const uint64_t *shape, unsigned ndim);

/* Like tensor_set_shape for elements in Fortran order, in which the first index varies fastest. */
void tensor_set_fortran(struct tensor *t, struct arena *a, const uint64_t *shape, unsigned ndim);

/* Returns t with copies of its shape and strides allocated from a. */
struct tensor tensor_copy(const struct tensor *t, struct arena *a);

bool tensor_same_shape(const struct tensor *a, const struct tensor *b);
bool shape_eq(const uint64_t *a, unsigned na, const uint64_t *b, unsigned nb);

struct buf;
/* Appends a shape, such as "[3,4]" or "[]". */
void shape_put(struct buf *b, const uint64_t *shape, unsigned ndim);
/* Parses a shape, such as "[3,4]" or "[ 3, 4 ]". shape has TENSOR_NDIM_MAX elements. Returns false if s is no shape. */
bool shape_parse(struct str s, uint64_t *shape, unsigned *ndim);

#endif
