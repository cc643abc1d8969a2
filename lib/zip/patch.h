/*
 * zip_patch: edits an archive in place. Records can get new contents in the space of the old ones, and records can be removed from
 * the directory. The file keeps its size. A local header with the name ROOT/.data/free precedes unused space, so that forward
 * readers skip it.
 *
 * Contents that are too long are deflated, and padded with empty deflate blocks.
 */
#ifndef LNN_ZIP_PATCH_H
#define LNN_ZIP_PATCH_H

#include "io/source.h"
#include "io/undo.h"

/* A record that gets new contents. Names are relative to ROOT/. */
struct zip_replace {
	const char *name;
	struct str bytes; /* borrowed */
	char fill;        /* padding byte for contents shorter than the old ones */
	bool deflates;    /* bytes may be deflated */
};

struct zip_patch {
	const struct zip_replace *records;
	size_t n;
	bool (*drops)(void *arg, struct str name); /* returns true if the record is to be removed */
	void *arg;
};

/*
 * Adds the edit of src, which is a file, to u. Fails with ERR_INPUT if the edit cannot be made in place. The signature of the end
 * record is the guard.
 */
int zip_patch(struct source *src, const struct zip_patch *patch, struct undo_edit *u, struct err *err);

#endif
