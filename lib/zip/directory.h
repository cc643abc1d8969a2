/*
 * zip_directory: reading of archives through their central directory. zip/forward.h reads the headers one by one.
 * Facts: lib/format/README.md, sections 2.3 to 2.6; PKWARE's APPNOTE for the fields.
 *
 * What two readers could see differently is refused: overlapping or duplicate
 * entries, names that differ in case only, a local header with another name or
 * method than the directory's. Gaps and differing CRC or size fields
 * are only told to diag.
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
	uint64_t start, end;   /* of the directory */
	bool cut_off;          /* zip_open failed as there is none at the end of the input */
};

/* Reads the directory at the end of src (a stream is read to its end first) and all local headers, and compares them. */
int zip_open(struct zip_dir *d, struct source *src, const struct diag *diag, struct err *e);

/*
 * The directory of an archive that zip_open has taken, without a look at the headers of its records: entries have no data.
 */
int zip_list(struct zip_dir *d, struct source *src, struct err *e);
void zip_release(struct zip_dir *d); /* also after a failed zip_open, zip_open_damaged or zip_scan (zip/scan.h) */

/*
 * The same for an archive that is damaged. Nothing is compared. Where a local header does not say where the data of an entry
 * begins, it is taken to end in front of what follows. The CRC of an entry may be that of its descriptor or the listed one.
 */
int zip_open_damaged(struct zip_dir *d, struct source *src, struct err *e);

/* Adds a record to d, unless there is one of this name. The name is copied. cap: of d->entries. */
bool zip_dir_add(struct zip_dir *d, const struct zip_entry *t, size_t *cap);

/* By name, ASCII case aside, as torch looks records up; NULL if there is none. */
const struct zip_entry *zip_find(const struct zip_dir *d, struct str name);

/*
 * What stands behind a directory of n entries that reaches from start to off, up to the end of the input. What follows
 * the end record is told to diag.
 */
int zip_tail(struct source *src, uint64_t off, uint64_t start, uint64_t n, const struct diag *diag, struct err *e);

#endif
