/*
 * undo: editing a regular file in place. After a crash at any moment, a reader finds the old file, the new file, or a file that it
 * refuses.
 *
 * Some bytes of the file, the guard, decide whether readers accept it. undo_apply works in this order and syncs after each step:
 *
 * 1. Write the undo journal .NAME.lnn-undo beside the file. It holds the old bytes of everything that will change, and what
 *    identifies the file (its size, and checksums of bytes that do not change).
 * 2. Make the guard bad.
 * 3. Insert space at the beginning, and write the new bytes.
 * 4. If ranges are to be cut out, mark the journal as committed. From then on recovery finishes the edit instead of undoing
 *    it. Cut the ranges out.
 * 5. Write the new value of the guard.
 * 6. Let the caller check the result.
 * 7. Remove the journal. After that, release disk space that is no longer used.
 *
 * If a step fails, the edit is undone at once. A crash leaves the journal, from which undo_recover restores the old file or
 * finishes the edit.
 */
#ifndef LNN_IO_UNDO_H
#define LNN_IO_UNDO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/diag.h"
#include "base/err.h"
#include "base/str.h"

struct undo_range {
	uint64_t off, len;
};

struct undo_bytes {
	uint64_t off;
	struct str bytes;
};

enum { UNDO_GUARD = 8 }; /* size of the guard in bytes */

/* An edit of a file. The caller adds the ranges, and the writes with undo_write. */
struct undo_edit {
	struct arena arena;
	uint64_t size;             /* size of the file */
	uint64_t block;            /* block size of its file system */
	uint64_t insert;           /* bytes to insert at the beginning of the file: whole blocks */
	struct undo_bytes *writes; /* writes, at offsets after the insertion; none overlaps another or the guard */
	size_t nwrites, cap_writes;
	uint64_t guard_at;       /* offset of the guard, the same before and after the insertion */
	uint64_t guard, bad;     /* new value of the guard, and one that readers refuse; little-endian */
	struct undo_range *cuts; /* ranges to cut out, in order: whole blocks, or up to the end of the file. Not with insert. */
	size_t ncuts, cap_cuts;
	struct undo_range *holes; /* ranges whose disk space is released at the end */
	size_t nholes, cap_holes;
};

void undo_release(struct undo_edit *u);

/* Adds bytes to be written. They are copied. */
void undo_write(struct undo_edit *u, uint64_t off, struct str bytes);

/*
 * Edits the file path, which is open as fd for reading and writing. verify is called when the new file is complete; if it fails,
 * the edit is undone. Signals are blocked until all is done.
 */
int undo_apply(int fd, const char *path, struct undo_edit *u, int (*verify)(void *arg, struct err *err), void *arg,
	       struct err *err);

/*
 * Restores the old file as described in the journal of path or, if the edit was committed, finishes it and sets *finished. Fails
 * with ERR_INPUT and changes nothing if there is no journal, or if it is damaged or belongs to another file.
 */
int undo_recover(const char *path, bool *finished, struct err *err);

/*
 * Fails with ERR_INPUT if path has a journal, or a damaged one. A journal that belongs to another file is only reported to diag,
 * unless strict is set: then it is an error, too. Costs one system call if there is no journal.
 */
int undo_notice(const char *path, bool strict, const struct diag *diag, struct err *err);

#endif
