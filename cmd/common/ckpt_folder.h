/*
 * ckpt_folder: decides which checkpoint a folder holds. It is the first of these that exists:
 *
 *  - .metadata, or all __R.metadata: a distributed checkpoint;
 *  - the only *.index.json; pytorch_model.bin.index.json is ignored beside model.safetensors.index.json;
 *  - shards with DCP_SHARDING_INFO in their __metadata__: all *.safetensors are one distributed checkpoint;
 *  - the only complete set of shards NAME-0000k-of-0000n, which needs no index;
 *  - model.safetensors;
 *  - pytorch_model.bin;
 *  - the only file that is a checkpoint with a state dict other than an optimizer's. It must not be a shard of a set. Hidden files
 *    and random states (rng_state*) are ignored.
 */
#ifndef LNN_COMMON_CKPT_FOLDER_H
#define LNN_COMMON_CKPT_FOLDER_H

#include "base/diag.h"
#include "base/err.h"
#include "io/source.h"

/*
 * Opens the checkpoint in the folder at path as a source for format_open. For a set without an index, the source is an index
 * generated for it. A notice names the file that was chosen. If no choice is possible, ERR_INPUT lists the candidates, including
 * folders one level below. The caller closes the source.
 */
int ckpt_folder_open(struct source **out, const char *path, const struct source_opts *opts, const struct diag *diag,
		     struct err *err);

/*
 * Opens the set of rank files that includes path. Their names differ in the number after the last "rank_". Sets *out to NULL
 * without an error if path has no such name. ERR_INPUT names a file that is missing.
 */
int ckpt_ranks_open(struct source **out, const char *path, const struct diag *diag, struct err *err);

#endif
