/*
 * replace: a file that appears under its name only when it is complete. A
 * temporary file beside it, .NAME.XXXXXX, is renamed in the end.
 */
#ifndef LNN_IO_REPLACE_H
#define LNN_IO_REPLACE_H

#include "base/err.h"

struct replace;

/*
 * *fd is open for writing. *out is NULL where path is no regular file (FIFO, device) and was opened itself. The mode
 * and, if it may be, the owner of an existing file are taken over; a file that may not be written is not replaced.
 */
int replace_open(struct replace **out, int *fd, const char *path, struct err *e);

/* Exactly one of these ends it; fd is the caller's to close, before. After a failed commit all is as it was. */
int replace_commit(struct replace *r, struct err *e);
void replace_abort(struct replace *r);

/* Removes all temporary files there are; async-signal-safe. */
void replace_emergency(void);

#endif
