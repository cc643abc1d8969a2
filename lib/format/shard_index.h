/*
 * shard_index: the index of a sharded set, as Hugging Face libraries write it: {"metadata": {"total_size": N}, "weight_map":
 * {"NAME": "FILE", ...}}. The shards are files in the same folder. Facts: lib/format/README.md, section 7.
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
	struct buf text; /* the JSON text; names point into it */
	struct arena arena;
	struct str *names; /* in the order of the weight_map */
	uint32_t *shard;   /* by name: index of its file */
	uint32_t n;
	struct strmap by_name; /* maps names to indices in names */
	const char **files;    /* file names without folder, in the order of their first use */
	const char **paths;    /* paths of the files */
	uint32_t nfiles;
};

/* Returns true if the n bytes at head begin an index. */
bool shard_index_probe(const uint8_t *head, size_t n);

/*
 * Reads the index in src, which must have been opened by its path or made by source_text, because the shards are in its folder.
 * Refuses a duplicate name, file names with a folder, and an empty weight_map. The shards are not opened. The caller must call
 * shard_index_release in any case.
 */
int shard_index_read(struct shard_index *x, struct source *src, struct err *err);
void shard_index_release(struct shard_index *x);

/* The parts of NAME-0000k-of-0000nSUFFIX, a file name in a set without an index. */
struct shard_name {
	struct str base, suffix; /* base: NAME; suffix: SUFFIX, which is empty or begins with a dot */
	uint32_t k, n;           /* 1 <= k <= n */
};

bool shard_name_parse(const char *name, struct shard_name *out);

/*
 * Writes the text of an index: name i is in files[i]. Names must be UTF-8. total_size is the number of bytes of all tensors; shared
 * ones count once.
 */
void shard_index_write(struct buf *b, const struct str *names, const char *const *files, size_t n, uint64_t total_size);

#endif
