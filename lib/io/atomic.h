/*
 * atomic: files and folders that appear under their names whole or not at all.
 *
 * The calling sequence:
 *
 * 1. atomic_file creates a temporary file .NAME.XXXXXX beside the file that it is for, and opens it. atomic_folder
 *    creates a temporary folder in the same way.
 * 2. The caller writes: to the descriptor, or files into the folder that atomic_path names.
 * 3. The caller syncs and closes the descriptor of a file, or closes those of files in the folder.
 * 4. atomic_commit syncs the files of a folder, renames the temporary to its name and syncs the folder that it is in.
 *    atomic_abort removes the temporary. Exactly one of the two ends every struct atomic.
 *
 * A program that is about to end by a signal or for lack of memory calls atomic_emergency, which removes the temporaries
 * of all files and folders that are neither committed nor aborted.
 */
#ifndef LNN_IO_ATOMIC_H
#define LNN_IO_ATOMIC_H

#include "base/err.h"

struct atomic;

/*
 * Opens *fd for writing. Symbolic links are followed. The mode and, where the system allows it, the owner of an existing
 * file are taken over; a file that may not be written is not replaced. Where path is a FIFO or a device, that is opened
 * itself and *out is NULL.
 */
int atomic_file(struct atomic **out, int *fd, const char *path, struct err *err);

/* path must not exist, or be an empty folder. Slashes at its end do not count. */
int atomic_folder(struct atomic **out, const char *path, struct err *err);

/* The temporary file or folder; borrowed. */
const char *atomic_path(const struct atomic *a);

/* Frees a. After a failure the temporary is gone, and what had the name before still has it. */
int atomic_commit(struct atomic *a, struct err *err);

/* Frees a. Removes the temporary file, or the temporary folder and the files in it. */
void atomic_abort(struct atomic *a);

/* Only async-signal-safe calls. */
void atomic_emergency(void);

#endif
