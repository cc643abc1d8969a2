/*
 * entry: what is known about one tensor: a line of a tensor list, an entry of a model description, or a tensor of a checkpoint. It
 * is a plain value; whoever made it says how long its texts live.
 */
#ifndef LNN_MODEL_ENTRY_H
#define LNN_MODEL_ENTRY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"
#include "tensor/tensor.h"

enum entry_kind {
	ENTRY_UNKNOWN, /* not stated; see entry_is_buffer */
	ENTRY_PARAMETER,
	ENTRY_BUFFER,
};

enum entry_grad {
	GRAD_UNKNOWN = -1, /* treated as true */
	GRAD_FALSE = 0,
	GRAD_TRUE = 1,
};

struct entry {
	struct str name;
	struct str layer_type; /* class name of the module; p is NULL if unknown */
	struct str sha256;     /* SHA-256 of the contents in hex, or "-" for a tensor without data; p is NULL if unknown */
	const uint64_t *shape; /* ndim sizes */
	bool has_shape;        /* whether shape is known; a scalar has a shape with ndim 0 */
	bool inside;           /* from a checkpoint: the tensor is in a container, which load_state_dict sees only as one key */
	uint8_t ndim;
	uint8_t dtype;        /* enum dtype; DTYPE_UNKNOWN if unknown */
	uint8_t kind;         /* enum entry_kind */
	int8_t requires_grad; /* enum entry_grad */
};

/* Returns an entry of which only the name is known. */
struct entry entry_named(struct str name);

/* Returns the entry of a checkpoint's tensor. The shape is borrowed from t. */
struct entry entry_of_tensor(struct str name, const struct tensor *t);

/*
 * Is the tensor a buffer? kind decides if it is known. Otherwise buffers are integer and bool tensors, and names that end in
 * running_mean, running_var, num_batches_tracked or relative_position_index.
 */
bool entry_is_buffer(const struct entry *e);

#endif
