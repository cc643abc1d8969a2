/*
 * dcp_metadata: reads .metadata of a distributed checkpoint, or several __R.metadata: the names of the state dict with their paths,
 * the boxes of each tensor, and the place of each box and each other value. Nothing else is read. Facts: lib/format/README.md,
 * section 8.
 */
#ifndef LNN_FORMAT_DCP_METADATA_H
#define LNN_FORMAT_DCP_METADATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/strmap.h"
#include "io/source.h"

/*
 * The reader gets a folder as a text (source_text), whose name is the actual or assumed path of .metadata. The text is this line,
 * followed by one line for each metadata file in the folder.
 */
#define DCP_FOLDER "torch.distributed.checkpoint folder\n"

/*
 * A step of a path: the key of a dict, or the index of a list. Keys that are one object in the metadata share one address, because
 * they are one object in the state dict, too.
 */
struct dcp_step {
	struct str key;
	uint64_t index;
	bool list;
};

struct dcp_name {
	struct str name;
	const struct dcp_step *path;
	size_t nsteps;
	const uint64_t *shape;
	uint8_t ndim, dtype;
	bool tensor;          /* true for a tensor with shape, ndim and dtype; false for another value */
	uint32_t listed;      /* 1 + number of the last metadata file that lists it */
	size_t first, nitems; /* range of its items */
};

/* A box of a tensor, or another value, and its place in a file. */
struct dcp_item {
	const uint64_t *low, *size; /* NULL unless the item is a box */
	uint64_t offset, length;    /* of its bytes in the file */
	uint32_t name, file;
	uint32_t source; /* number of the metadata file that lists it */
};

struct dcp_metadata {
	struct arena arena;
	struct dcp_name *names; /* in the order of the state dict */
	size_t nnames, cap_names;
	struct dcp_item *items; /* sorted by name, first index and source */
	size_t nitems, cap_items;
	const char **files; /* names of files in the folder of the metadata */
	size_t nfiles, cap_files;
	struct strmap by_name, by_file;
	struct str transform; /* transformation of packed items; empty if no item is packed */
	uint32_t sources;     /* number of metadata files added */
};

void dcp_metadata_init(struct dcp_metadata *m);
void dcp_metadata_release(struct dcp_metadata *m);

/*
 * Adds one metadata file, which is all of src. Fails with ERR_INPUT if it is not as torch writes it, or contradicts itself or
 * earlier files. Whether boxes overlap or leave gaps is not checked.
 */
int dcp_metadata_add(struct dcp_metadata *m, struct source *src, struct err *err);

/* Sorts the items. Call it after all metadata files were added. */
void dcp_metadata_sort(struct dcp_metadata *m);

#endif
