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

enum zip_trust {
	ZIP_COMPARED, /* all local headers are read and compared with the directory */
	ZIP_LISTED,   /* of an archive that was compared before: local headers are not read, so the entries' data is 0 */
	/*
	 * Of a damaged archive. Nothing is compared. If a local header does not tell where the data of an entry begins, the data is
	 * assumed to end where the next record begins. The CRC of an entry may come from its descriptor or from the directory.
	 */
	ZIP_DAMAGED,
};

/* Reads the directory at the end of src. A stream is read to its end first. diag may be NULL. */
int zip_open(struct zip_dir *d, struct source *src, enum zip_trust trust, const struct diag *diag, struct err *err);

/*
 * Lists what is left of an archive that is cut off or whose directory is damaged. Searches the whole input for local headers and
 * data descriptors. Fills d with the records of one folder, that of the first record, in the order of the input. If neither header
 * nor descriptor tells where a record ends, it extends to the next record or to the end of the input, and has no CRC. Fails with
 * ERR_INPUT if there is no record.
 */
int zip_scan(struct zip_dir *d, struct source *src, struct err *err);

void zip_release(struct zip_dir *d); /* also needed after a failed zip_open or zip_scan */

/* Finds an entry by name, ignoring ASCII case as torch does. Returns NULL if there is none. */
const struct zip_entry *zip_find(const struct zip_dir *d, struct str name);

/*
 * Checks the end records at off, after a directory of n entries from start to off, and reads on to the end of the input. Bytes
 * after the end records are reported to diag.
 */
int zip_tail(struct source *src, uint64_t off, uint64_t start, uint64_t n, const struct diag *diag, struct err *err);

#endif
