/*
 * shard_index: the index of a sharded set, as Hugging Face libraries write it:
 * {"metadata": {"total_size": N}, "weight_map": {"NAME": "FILE", ...}}. The files lie beside it.
 * Facts: lib/format/README.md, section 7.
 */
#ifndef LNN_FORMAT_SHARD_INDEX_H
#define LNN_FORMAT_SHARD_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/strmap.h"
#include "io/source.h"

struct shard_index {
	struct buf text; /* the JSON; names point into it */
	struct arena arena;
	struct str *names; /* in the order of the weight_map */
	uint32_t *shard;   /* parallel: which of files */
	uint32_t n;
	struct strmap by_name; /* to index in names */
	const char **files;    /* in the order of first appearance; no folder in front */
	const char **paths;    /* parallel: where they are */
	uint32_t nfiles;
};

/* Does head (of n bytes) begin like an index? */
bool shard_index_probe(const uint8_t *head, size_t n);

/*
 * Reads the index in src, which must have been opened by its path, or made (source_text): the shards lie beside it.
 * Refused: a name that occurs twice, file names with a folder in them, an empty weight_map. The shards are not looked
 * at. x is to be released in either case.
 */
int shard_index_read(struct shard_index *x, struct source *src, struct err *e);
void shard_index_release(struct shard_index *x);

/* NAME-0000k-of-0000nSUFFIX, as the files of a set without an index are called. */
struct shard_name {
	struct str base, suffix; /* NAME, SUFFIX: empty, or with a dot */
	uint32_t k, n;           /* 1 <= k <= n */
};

bool shard_name_parse(const char *name, struct shard_name *out);

/* The text of an index: name i lies in files[i]. Names are UTF-8. total_size: bytes of all tensors, shared ones counted once. */
void shard_index_write(struct buf *b, const struct str *names, const char *const *files, size_t n, uint64_t total_size);

#endif
