/*
 * manifest: what is going to be written: every name, shape and size, before the first
 * byte is. plan/ makes it, format writers emit it.
 */
#ifndef LNN_TENSOR_MANIFEST_H
#define LNN_TENSOR_MANIFEST_H

#include "pickle/value.h"
#include "tensor/tensor.h"

struct manifest_storage {
	uint64_t nbytes;
	uint8_t dtype;   /* class of the storage */
	uint8_t untyped; /* written as UntypedStorage (then dtype is DTYPE_UINT8) */
};

/* A step of the path to an item: a key, or in a list a position. */
struct manifest_step {
	struct str key;
	uint64_t position;
	bool is_position;
};

/* Something that is written on its own: a tensor, or a value that may hold tensors. */
struct manifest_item {
	struct str name; /* its path, joined by dots */
	const struct manifest_step *path;
	unsigned npath;
	uint32_t value;  /* handle in the tree */
	uint32_t tensor; /* UINT32_MAX: it is none */
	uint32_t bytes;  /* the item whose bytes it has: itself, or the first one of the same value */
	uint32_t nstorages;
};

/* Of a storage that no item holds. */
#define MANIFEST_NO_ITEM UINT32_MAX

struct manifest {
	struct manifest_storage *storages; /* in the order in which their bytes will come */
	uint32_t nstorages;
	struct tensor *tensors; /* storage: index into storages above; wrap: handle in tree */
	uint32_t ntensors;
	struct str *names;        /* safetensors: of the tensors, parallel; NULL for torch */
	const struct vtree *tree; /* torch: the object to pickle; its leaves number tensors and storages above */
	uint32_t root;
	struct str *meta_keys, *meta_values; /* safetensors __metadata__ */
	size_t nmeta;
	struct manifest_item *items; /* dcp: what the object is cut into */
	size_t nitems;
	uint32_t *item_of; /* by storage: the item that it belongs to; those of one item follow each other. NULL: no items */
	/* Of an edit in place: by storage, the one of the input that stays where it is, and their locations (ckpt.h). Else NULL. */
	const struct storage **kept;
	const struct str *locations;
	struct str record; /* torch: contents of the record .data/lnn (ckpt.h); empty: there is none */
};

#endif
