/*
 * zip_directory: reads archives through their central directory. zip/forward.h reads the headers one by one. Facts:
 * lib/format/README.md, sections 2.3 to 2.6; PKWARE's APPNOTE for the fields.
 *
 * An archive that two readers could see differently is refused: overlapping or duplicate entries, names that differ only in case, a
 * local header whose name or method differs from the directory. Gaps and differing CRC or size fields are only reported to diag.
 */
#ifndef LNN_ZIP_DIRECTORY_H
#define LNN_ZIP_DIRECTORY_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/diag.h"
#include "base/err.h"
#include "base/str.h"
#include "base/strmap.h"
#include "io/source.h"
#include "zip/forward.h"

struct zip_dir {
	struct arena arena;
	struct zip_entry *entries; /* in the order of the directory */
	size_t n;
	struct strmap by_name; /* name in lower case -> index */
	uint64_t start, end;   /* offsets of the directory */
	bool cut_off;          /* zip_open failed because the input does not end with a directory */
};

/* Reads the directory at the end of src and all local headers, and compares them. A stream is read to its end first. */
int zip_open(struct zip_dir *d, struct source *src, const struct diag *diag, struct err *e);

/* Reads only the directory of an archive that zip_open has accepted. Local headers are not read, so the entries' data is 0. */
int zip_list(struct zip_dir *d, struct source *src, struct err *e);
void zip_release(struct zip_dir *d); /* also needed after a failed zip_open, zip_open_damaged or zip_scan (zip/scan.h) */

/*
 * Reads the directory of a damaged archive, without any comparison. If a local header does not tell where the data of an entry
 * begins, the data is assumed to end where the next record begins. The CRC of an entry may come from its descriptor or from the
 * directory.
 */
int zip_open_damaged(struct zip_dir *d, struct source *src, struct err *e);

/* Adds a copy of *t to d. Returns false if d has an entry of that name. *cap is the capacity of d->entries. */
bool zip_dir_add(struct zip_dir *d, const struct zip_entry *t, size_t *cap);

/* Finds an entry by name, ignoring ASCII case as torch does. Returns NULL if there is none. */
const struct zip_entry *zip_find(const struct zip_dir *d, struct str name);

/*
 * Checks the end records at off, after a directory of n entries from start to off, and reads on to the end of the input. Bytes
 * after the end records are reported to diag.
 */
int zip_tail(struct source *src, uint64_t off, uint64_t start, uint64_t n, const struct diag *diag, struct err *e);

#endif
