/*
 * atomic: files and folders that appear under their final names either complete or not at all.
 *
 * The calling sequence:
 *
 * 1. atomic_file creates a temporary file .NAME.XXXXXX in the folder of the final file, and opens it. atomic_folder
 *    creates a temporary folder in the same way.
 * 2. The caller writes to the descriptor, or creates files in the folder that atomic_path returns.
 * 3. The caller syncs and closes the descriptor of a file, or closes the files in the folder.
 * 4. atomic_commit syncs the files of a folder, renames the temporary to its final name and syncs the parent folder.
 *    atomic_abort removes the temporary. Every struct atomic is ended by exactly one of the two.
 *
 * A program that must end because of a signal or lack of memory calls atomic_emergency, which removes all temporaries that are
 * neither committed nor aborted.
 */
#ifndef LNN_IO_ATOMIC_H
#define LNN_IO_ATOMIC_H

#include "base/err.h"

struct atomic;

/*
 * Opens *fd for writing. Symbolic links are followed. The new file keeps the mode of an existing file and, if the system allows it,
 * the owner. An existing file without write permission is not replaced. If path is a FIFO or a device, it is opened directly and
 * *out is NULL.
 */
int atomic_file(struct atomic **out, int *fd, const char *path, struct err *err);

/* Creates the temporary folder. path must not exist or be an empty folder. Trailing slashes are ignored. */
int atomic_folder(struct atomic **out, const char *path, struct err *err);

/* Returns the path of the temporary file or folder; borrowed. */
const char *atomic_path(const struct atomic *a);

/* Frees a. On failure the temporary is removed, and an existing file or folder of that name is unchanged. */
int atomic_commit(struct atomic *a, struct err *err);

/* Frees a. Removes the temporary file, or the temporary folder and the files in it. */
void atomic_abort(struct atomic *a);

/* Makes only async-signal-safe calls. */
void atomic_emergency(void);

#endif
