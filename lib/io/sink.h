/*
 * sink: a named drain of bytes, ended by exactly one of commit and abort.
 *
 * Before the program ends in another way it calls atomic_emergency.
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
 * A file that appears whole or not at all (atomic_file): written beside path under a temporary name; commit syncs it and
 * renames it. A FIFO or device is opened and written directly.
 */
int sink_file(struct sink **out, const char *path, struct err *e);

/*
 * A new file in the temporary folder of a struct atomic, which syncs its files when it is committed and removes them when it
 * is aborted. A set of thousands of files is synced many times as fast so as one file after the other.
 */
int sink_part(struct sink **out, const char *path, struct err *e);

/* Writes to fd (not closed by abort; closed by commit, so that a late write error is seen). */
int sink_fd(struct sink **out, int fd, const char *name, struct err *e);

/* Collects in b (borrowed); or, with b NULL, only counts. */
struct sink *sink_memory(struct buf *b, const char *name);

const char *sink_name(const struct sink *s);
uint64_t sink_at(const struct sink *s); /* bytes written so far */

int sink_write(struct sink *s, const void *p, size_t n, struct err *e);

/*
 * Copies len bytes of src at off. With crc, *crc (to start with 0, or the value so far) is updated by the bytes as
 * crc32 does it and they pass through memory; without, the kernel moves them (copy_file_range, sendfile, splice) where it can.
 */
int sink_copy(struct sink *s, struct source *src, uint64_t off, uint64_t len, uint32_t *crc, struct err *e);

/* From position at on, bytes wait in memory until commit (meant for the last few). To be called before at is reached. */
void sink_hold(struct sink *s, uint64_t at);

/* Passes on what is buffered, except what is held. */
int sink_flush(struct sink *s, struct err *e);

/* Writes all, syncs and renames a file, closes. s is freed in either case; after a failure nothing was replaced. */
int sink_commit(struct sink *s, struct err *e);

/* Drops what is held and the temporary file. s is freed; may be NULL. */
void sink_abort(struct sink *s);

#endif
