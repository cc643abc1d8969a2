/*
 * sink: a named output for bytes. Exactly one of sink_commit and sink_abort
 * ends it.
 *
 * A program that ends in another way must call atomic_emergency first.
 */
#ifndef LNN_IO_SINK_H
#define LNN_IO_SINK_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "io/source.h"

struct sink;

/*
 * A file that appears complete or not at all (atomic_file). It is written under a temporary name beside path; commit syncs and
 * renames it. A FIFO or device is opened and written directly.
 */
int sink_file(struct sink **out, const char *path, struct err *err);

/*
 * A new file in the temporary folder of a struct atomic, which syncs its files when it is committed and removes them when it is
 * aborted. Syncing thousands of files together is many times faster than syncing them one after the other.
 */
int sink_part(struct sink **out, const char *path, struct err *err);

/* Writes to fd. Abort does not close fd. Commit closes it, so that a late write error is reported. */
int sink_fd(struct sink **out, int fd, const char *name, struct err *err);

/* Appends to b (borrowed), or only counts the bytes if b is NULL. */
struct sink *sink_memory(struct buf *b, const char *name);

const char *sink_name(const struct sink *s);
uint64_t sink_at(const struct sink *s); /* bytes written so far */

int sink_write(struct sink *s, const void *p, size_t n, struct err *err);

/*
 * Copies len bytes of src at off. If crc is not NULL, *crc is updated with the bytes as crc32 does it (start with 0), and the bytes
 * pass through memory. If crc is NULL, the kernel moves the bytes where it can (copy_file_range, sendfile, splice).
 */
int sink_copy(struct sink *s, struct source *src, uint64_t off, uint64_t len, uint32_t *crc, struct err *err);

/*
 * Keeps the bytes from position at on in memory until commit; meant for the last few bytes. Call it before at is reached. A file
 * that appears at commit does not need it: there it does nothing.
 */
void sink_hold(struct sink *s, uint64_t at);

/* Writes the buffered bytes, except held ones. */
int sink_flush(struct sink *s, struct err *err);

/* Writes everything, syncs and renames a file, and closes it. Always frees s. After a failure nothing has been replaced. */
int sink_commit(struct sink *s, struct err *err);

/* Discards held bytes and the temporary file. Frees s, which may be NULL. */
void sink_abort(struct sink *s);

#endif
