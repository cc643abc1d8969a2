/*
 * manifest: what is going to be written: every name, shape and size, before the first
 * byte is. plan/ makes it, format writers emit it.
 */
#ifndef LNN_TENSOR_MANIFEST_H
#define LNN_TENSOR_MANIFEST_H

#include "base/arena.h"
#include "pickle/value.h"
#include "tensor/tensor.h"

struct manifest_storage {
	uint64_t nbytes;
	uint8_t dtype;   /* class of the storage */
	uint8_t untyped; /* written as UntypedStorage (then dtype is DTYPE_UINT8) */
};

struct manifest {
	struct manifest_storage *storages; /* in the order in which their bytes will come */
	uint32_t nstorages;
	struct tensor *tensors; /* storage: index into storages above; wrap: handle in tree */
	uint32_t ntensors;
	struct str *names;      /* safetensors: of the tensors, parallel; NULL for torch */
	const struct vtree *tree; /* torch: the object to pickle; its leaves number tensors and storages above */
	uint32_t root;
	const struct str *meta_keys, *meta_values; /* safetensors __metadata__ */
	size_t nmeta;
	struct str tables; /* torch: contents of the record .data/lnn (plan/tables.h); empty: there is none */
};

#endif
