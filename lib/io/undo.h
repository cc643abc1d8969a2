/*
 * undo: a regular file that is changed where it lies. Whoever opens it, also after a crash at any moment, finds the old file,
 * the new one, or one that no reader takes.
 *
 * Some bytes of the file, the guard, decide whether readers take it. undo_apply works in this order, with a sync behind each
 * step:
 *
 * 1. The undo journal .NAME.lnn-undo is written beside the file: the old bytes of all that will change, and what tells the
 *    file from others (its size, and checksums of bytes that do not change).
 * 2. The guard is made bad.
 * 3. Room is made at the beginning, and the new bytes are written.
 * 4. If ranges are to be taken out, the journal is marked as committed. From then on recovery finishes the edit instead of
 *    undoing it. The ranges are taken out.
 * 5. The guard gets its new value.
 * 6. The caller checks the result.
 * 7. The journal is removed. After that, space that nothing uses any more is given back.
 *
 * A step that fails is undone at once. A crash leaves the journal, and undo_recover does what is due.
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

enum { UNDO_GUARD = 8 }; /* bytes of a guard */

/* An edit of a file. Ranges are added by the caller, what is written by undo_write. */
struct undo_edit {
	struct arena arena;
	uint64_t size;             /* of the file */
	uint64_t block;            /* of its file system */
	uint64_t insert;           /* bytes to be inserted at its beginning: whole blocks */
	struct undo_bytes *writes; /* what to write where, after the insertion; none covers another or the guard */
	size_t nwrites, cap_writes;
	uint64_t guard_at;       /* before the insertion, and behind it */
	uint64_t guard, bad;     /* its new value, and one that no reader takes, as little-endian numbers */
	struct undo_range *cuts; /* ranges to be taken out, in order: whole blocks, or up to the end. Not with insert. */
	size_t ncuts, cap_cuts;
	struct undo_range *holes; /* space to be given back at the end */
	size_t nholes, cap_holes;
};

void undo_release(struct undo_edit *u);

/* Adds bytes to be written; they are copied. */
void undo_write(struct undo_edit *u, uint64_t off, struct str bytes);

/*
 * Edits the file path, which fd has open for reading and writing. verify is called when the file is as it is to be; if it
 * fails, the edit is undone. Signals wait until all is done.
 */
int undo_apply(int fd, const char *path, struct undo_edit *u, int (*verify)(void *arg, struct err *err), void *arg,
	       struct err *err);

/*
 * Does what the journal of path says: the file is the old one again or, if its edit was committed, the new one (*finished).
 * ERR_INPUT if there is no journal, or if it is damaged or of another file; then the file is left as it is.
 */
int undo_recover(const char *path, bool *finished, struct err *err);

/*
 * ERR_INPUT if there is a journal of path, or something damaged in its place. A journal of another file is only told to diag,
 * unless strict: then it is an error, too. It costs one system call where there is none.
 */
int undo_notice(const char *path, bool strict, const struct diag *diag, struct err *err);

#endif
