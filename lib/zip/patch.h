/*
 * zip_patch: an archive that is edited in place. Records get other contents without a change of the place they take, and
 * leave the directory. The file keeps its size: what is left over is space that nothing uses, in front of which stands a
 * header with the name ROOT/.data/free, so that readers which go forward pass by.
 *
 * Contents that are too long are deflated, and filled up with empty stored blocks.
 */
#ifndef LNN_ZIP_PATCH_H
#define LNN_ZIP_PATCH_H

#include "io/source.h"
#include "io/undo.h"

/* Names are those behind ROOT/. */
struct zip_replace {
	const char *name;
	struct str bytes; /* borrowed */
	char fill;        /* what follows the contents where they are shorter */
	bool deflates;    /* may be deflated */
};

struct zip_patch {
	const struct zip_replace *records;
	size_t n;
	bool (*drops)(void *arg, struct str name); /* is this record to leave? */
	void *arg;
};

/*
 * Adds the edit of the archive src, a file, to u. ERR_INPUT where it cannot be made in place. The signature of the end record
 * is the guard.
 */
int zip_patch(struct source *src, const struct zip_patch *patch, struct undo_edit *u, struct err *err);

#endif
