/*
 * entry: what is known of one tensor by name alone: a line of a tensor list, an
 * entry of a model description, or a tensor of a checkpoint. A plain value;
 * whoever made it says how long its texts live.
 */
#ifndef LNN_MODEL_ENTRY_H
#define LNN_MODEL_ENTRY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"
#include "tensor/tensor.h"

enum entry_kind {
	ENTRY_UNKNOWN, /* nobody said; see entry_is_buffer */
	ENTRY_PARAMETER,
	ENTRY_BUFFER,
};

enum entry_grad {
	GRAD_UNKNOWN = -1, /* counts as true */
	GRAD_FALSE = 0,
	GRAD_TRUE = 1,
};

struct entry {
	struct str name;
	struct str layer_type; /* class name of the module; p is NULL where it is not known */
	struct str sha256;     /* of its contents, 64 digits, or "-" for one without data; p is NULL where it is not known */
	const uint64_t *shape; /* ndim sizes */
	bool has_shape;        /* a scalar has a shape too, with ndim 0 */
	bool inside;           /* of a checkpoint: it stands in a container, which loading knows by its key alone */
	uint8_t ndim;
	uint8_t dtype;        /* enum dtype; DTYPE_UNKNOWN where it is not known */
	uint8_t kind;         /* enum entry_kind */
	int8_t requires_grad; /* enum entry_grad */
};

/* All unknown but the name. */
struct entry entry_named(struct str name);

/* A tensor of a checkpoint; the shape is borrowed from t. */
struct entry entry_of_tensor(struct str name, const struct tensor *t);

/*
 * Is it a buffer? As its kind says; else integer and bool tensors are, and names that end in
 * running_mean, running_var, num_batches_tracked or relative_position_index.
 */
bool entry_is_buffer(const struct entry *e);

#endif
