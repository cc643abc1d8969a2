/*
 * fd: system calls on descriptors, retried until they are complete. EINTR is
 * never an error. A non-blocking descriptor is waited for.
 */
#ifndef LNN_IO_FD_H
#define LNN_IO_FD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Like open with O_CLOEXEC and mode 0666. */
int fd_open(const char *path, int flags);

/* Reads n bytes at pos, or fewer at the end of the file. Returns their number, or -1 with errno set. */
ssize_t fd_pread(int fd, void *p, size_t n, off_t pos);

/* Writes all n bytes at pos. Returns 0, or -1 with errno set. */
int fd_pwrite(int fd, const void *p, size_t n, off_t pos);

/* Calls fsync. A file that does not support fsync counts as synced. Returns 0, or -1 with errno set. */
int fd_sync(int fd);

/* Returns true if a failed call should be repeated; waits first if errno is EAGAIN. events are those of poll. */
bool fd_retry(int fd, short events);

#endif
