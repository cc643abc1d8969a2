/*
 * ckpt_folder: which checkpoint a folder holds. The first of these that is there:
 *
 *  - .metadata, else all __R.metadata: a distributed checkpoint;
 *  - the one *.index.json; model.safetensors.index.json goes before pytorch_model.bin.index.json;
 *  - shards with DCP_SHARDING_INFO in their __metadata__: all *.safetensors are one distributed checkpoint;
 *  - the one set of shards NAME-0000k-of-0000n that is complete without an index;
 *  - model.safetensors;
 *  - pytorch_model.bin;
 *  - the only file that is a checkpoint with a state dict that is no optimizer's. It must not be a shard of a set.
 *    Hidden files and random states (rng_state*) do not count.
 */
#ifndef LNN_COMMON_CKPT_FOLDER_H
#define LNN_COMMON_CKPT_FOLDER_H

#include "base/diag.h"
#include "base/err.h"
#include "io/source.h"

/*
 * Opens the checkpoint in the folder at path as a source for format_open; of a set without index, the source is an
 * index made for it. A notice names what was taken. ERR_INPUT names what could be meant, folders one level below
 * included. The caller closes.
 */
int ckpt_folder_open(struct source **out, const char *path, const struct source_opts *opts, const struct diag *diag,
		     struct err *err);

/*
 * Opens the set of rank files that path is one of: they differ in the number behind the last "rank_" of their names. *out is
 * NULL, without an error, if path has no such name. ERR_INPUT names a file that is missing.
 */
int ckpt_ranks_open(struct source **out, const char *path, const struct diag *diag, struct err *err);

#endif
