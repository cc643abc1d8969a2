/*
 * shards: sharded output: a folder of files with standard names and their index; and the work on one input shard
 * at a time, by whatever runs jobs.
 */
#ifndef LNN_ADAPT_SHARDS_H
#define LNN_ADAPT_SHARDS_H

#include "adapt.h"

/* "model-00001-of-00003.safetensors", "pytorch_model.bin" (total 1 and number 1); in a buf. */
void shard_name(struct buf *b, const struct format_writer *w, uint32_t number, uint32_t total);

/* "model.safetensors.index.json" */
const char *shard_index_name(const struct format_writer *w);

/* Does -o ask for a folder, or --max-shard-size for shards? */
bool shards_wanted(const struct adapt_options *o);

/* Writes the plan in shards into the folder -o, whole or not at all. so: as for one file. */
int shards_write(struct adapt *a, const struct seal_opts *so, struct err *e);

/* --shard K/N: adapts the input shards that are its share, each into one output shard in the folder -o. */
int shards_run_share(const struct adapt_options *o, const struct operands *operands, struct err *e);

/* --write-index DIR: the index of the shards in DIR, and the checks over all of them. */
int shards_write_index(const struct adapt_options *o, struct err *e);

#endif
