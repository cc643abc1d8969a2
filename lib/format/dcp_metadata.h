/*
 * dcp_metadata: what .metadata of a distributed checkpoint says, or several __R.metadata: the names of the state dict with
 * their paths, the boxes of each tensor, and where each box and each other value is stored. Nothing else is read.
 * Facts: lib/format/README.md, section 8.
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
 * A folder is handed to its reader as a text (source_text) with the name that .metadata has, or would have: this line, and
 * then a line for each metadata in the folder.
 */
#define DCP_FOLDER "torch.distributed.checkpoint folder\n"

/*
 * A step of a path: the key of a dict, or the index of a list. Keys that are one object in the metadata have one address:
 * in a state dict they are one object, too.
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
	bool tensor;          /* shape, ndim and dtype are those of a tensor; else it is another value */
	uint32_t listed;      /* 1 + the last metadata that lists it */
	size_t first, nitems; /* its items */
};

/* A box of a tensor, or another value, and where it is stored. */
struct dcp_item {
	const uint64_t *low, *size; /* NULL of another value */
	uint64_t offset, length;    /* of its bytes in the file */
	uint32_t name, file;
	uint32_t source; /* which metadata says so */
};

struct dcp_metadata {
	struct arena arena;
	struct dcp_name *names; /* in the order of the state dict */
	size_t nnames, cap_names;
	struct dcp_item *items; /* by name; those of a name by their first index, then by source */
	size_t nitems, cap_items;
	const char **files; /* names of files beside the metadata */
	size_t nfiles, cap_files;
	struct strmap by_name, by_file;
	struct str transform; /* of the items that are packed; empty if none is */
	uint32_t sources;     /* metadata added */
};

void dcp_metadata_init(struct dcp_metadata *m);
void dcp_metadata_release(struct dcp_metadata *m);

/*
 * Adds one metadata, all of src. ERR_INPUT if it is not as torch writes it, or contradicts itself or those before it. That
 * boxes fit together is not looked at.
 */
int dcp_metadata_add(struct dcp_metadata *m, struct source *src, struct err *err);

/* Puts the items in order, once all were added. */
void dcp_metadata_sort(struct dcp_metadata *m);

#endif
