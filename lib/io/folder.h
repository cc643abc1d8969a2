/*
 * folder: a folder that appears under its name only when all its files are there. Files are written into a sibling,
 * .NAME.XXXXXX, which is renamed in the end.
 */
#ifndef LNN_IO_FOLDER_H
#define LNN_IO_FOLDER_H

#include "base/err.h"

struct folder;

/* path (a slash at its end does not count) must not exist, or be an empty folder. One at a time. */
int folder_open(struct folder **out, const char *path, struct err *e);

/* Where to write its files meanwhile; borrowed. */
const char *folder_path(const struct folder *f);

/* Exactly one of these ends it. After a failed commit the sibling is gone and path as it was. */
int folder_commit(struct folder *f, struct err *e);
void folder_abort(struct folder *f);

/* Removes the sibling and the files in it; only async-signal-safe calls. */
void folder_emergency(void);

#endif
