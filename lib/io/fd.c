#include "io/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "io/source.h"

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

ssize_t
fd_read(int fd, void *p, size_t n)
{
	ssize_t r;

	if (n > SOURCE_REQUEST)
		n = SOURCE_REQUEST;
	while ((r = read(fd, p, n)) < 0 && fd_retry(fd, POLLIN))
		;
	return r;
}

ssize_t
fd_pread(int fd, void *p, size_t n, off_t pos)
{
	char *to = p;
	size_t done = 0;

	while (done < n) {
		size_t want = n - done < SOURCE_REQUEST ? n - done : SOURCE_REQUEST;
		ssize_t r = pread(fd, to + done, want, pos + (off_t)done);

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
fd_write(int fd, const void *p, size_t n)
{
	const char *from = p;

	while (n > 0) {
		ssize_t r = write(fd, from, n < SOURCE_REQUEST ? n : SOURCE_REQUEST);

		if (r >= 0) {
			from += r;
			n -= (size_t)r;
		} else if (!fd_retry(fd, POLLOUT)) {
			return -1;
		}
	}
	return 0;
}

int
fd_open(const char *path, int flags)
{
	int fd;

	while ((fd = open(path, flags | O_CLOEXEC, 0666)) < 0 && errno == EINTR)
		;
	return fd;
}
