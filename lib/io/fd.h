/*
 * fd: system calls on descriptors, repeated as often as it takes. EINTR is
 * never an error, and a descriptor that somebody made non-blocking is waited for.
 */
#ifndef LNN_IO_FD_H
#define LNN_IO_FD_H

#include <stdbool.h>

/* Like open with O_CLOEXEC and mode 0666. */
int fd_open(const char *path, int flags);

/* After a failed call: waits if errno is EAGAIN, and says whether to try again. events as poll has them. */
bool fd_retry(int fd, short events);

#endif
