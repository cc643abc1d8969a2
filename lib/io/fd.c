#include "io/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>

bool
fd_retry(int fd, short events)
{
	struct pollfd p = { fd, events, 0 };

	if (errno == EINTR)
		return true;
	if (errno != EAGAIN)
		return false;
	return poll(&p, 1, -1) >= 0 || errno == EINTR;
}

int
fd_open(const char *path, int flags)
{
	int fd;

	while ((fd = open(path, flags | O_CLOEXEC, 0666)) < 0 && errno == EINTR)
		;
	return fd;
}
