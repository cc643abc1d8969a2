/*
 * manifest: describes an output completely, with every name, shape and size,
 * before its first byte is written. plan/ makes it, and format writers write
 * it.
 */
#ifndef LNN_TENSOR_MANIFEST_H
#define LNN_TENSOR_MANIFEST_H

#include "pickle/value.h"
#include "tensor/tensor.h"

struct manifest_storage {
	uint64_t nbytes;
	uint8_t dtype;   /* dtype of the storage class */
	uint8_t untyped; /* written as UntypedStorage (then dtype is DTYPE_UINT8) */
};

/* A step of the path to an item: a key, or a position in a list. */
struct manifest_step {
	struct str key;
	uint64_t position;
	bool is_position;
};

/* A tensor, or a value that may hold tensors, that is written on its own. */
struct manifest_item {
	struct str name; /* its path, joined by dots */
	const struct manifest_step *path;
	unsigned npath;
	uint32_t value;  /* handle in tree */
	uint32_t tensor; /* index into tensors; UINT32_MAX if the item is no tensor */
	uint32_t bytes;  /* index of the item whose bytes are used: itself, or the first item with the same value */
	uint32_t nstorages;
};

/* In item_of: the storage belongs to no item. */
#define MANIFEST_NO_ITEM UINT32_MAX

struct manifest {
	struct manifest_storage *storages; /* in the order in which their bytes will be written */
	uint32_t nstorages;
	struct tensor *tensors; /* their storage is an index into storages; their wrap is a handle in tree */
	uint32_t ntensors;
	struct str *names;        /* safetensors: names of the tensors, parallel to them; NULL for torch */
	const struct vtree *tree; /* torch: the object to pickle; its leaves are indices into tensors and storages */
	uint32_t root;
	struct str *meta_keys, *meta_values; /* safetensors __metadata__ */
	size_t nmeta;
	struct manifest_item *items; /* dcp: the items of the object */
	size_t nitems;
	uint32_t *item_of; /* by storage: its item; storages of one item are adjacent. NULL if there are no items */
	/*
	 * Edit in place: by storage, the storage of the input that stays where it is, and the locations of the input (ckpt.h). Else
	 * NULL.
	 */
	const struct storage **kept;
	const struct str *locations;
	struct str record; /* torch: contents of record .data/lnn (ckpt.h); empty if there is none */
};

#endif
