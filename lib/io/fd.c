#include "io/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

/* The largest number of bytes of one system call. */
enum { REQUEST = 4 << 20 };

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

static size_t
request(size_t n)
{
	return n < REQUEST ? n : REQUEST;
}

ssize_t
fd_pread(int fd, void *p, size_t n, off_t pos)
{
	char *to = p;
	size_t done = 0;

	while (done < n) {
		ssize_t r = pread(fd, to + done, request(n - done), pos + (off_t)done);

		if (r == 0)
			break;
		if (r > 0)
			done += (size_t)r;
		else if (!fd_retry(fd, POLLIN))
			return -1;
	}
	return (ssize_t)done;
}

int
fd_pwrite(int fd, const void *p, size_t n, off_t pos)
{
	const char *from = p;
	size_t done = 0;

	while (done < n) {
		ssize_t r = pwrite(fd, from + done, request(n - done), pos + (off_t)done);

		if (r >= 0)
			done += (size_t)r;
		else if (!fd_retry(fd, POLLOUT))
			return -1;
	}
	return 0;
}

int
fd_sync(int fd)
{
	int rc;

	while ((rc = fsync(fd)) < 0 && errno == EINTR)
		;
	return rc < 0 && (errno == EINVAL || errno == EOPNOTSUPP) ? 0 : rc;
}
