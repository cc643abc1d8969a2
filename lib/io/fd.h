/*
 * fd: system calls on descriptors, repeated as often as it takes. EINTR is
 * never an error, and a descriptor that somebody made non-blocking is waited for.
 */
#ifndef LNN_IO_FD_H
#define LNN_IO_FD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Like open with O_CLOEXEC and mode 0666. */
int fd_open(const char *path, int flags);

/* All n bytes, unless the file ends before: how many there were; -1 with errno set. */
ssize_t fd_pread(int fd, void *p, size_t n, off_t pos);

/* Writes all n bytes at pos. 0, or -1 with errno set. */
int fd_pwrite(int fd, const void *p, size_t n, off_t pos);

/* fsync, which some file systems do not have for some files: then there is nothing to do. 0, or -1 with errno set. */
int fd_sync(int fd);

/* After a failed call: waits if errno is EAGAIN, and says whether to try again. events as poll has them. */
bool fd_retry(int fd, short events);

#endif
