/*
 * A preloaded library that records each call that changes or syncs a file: a line "CALL FD A B LEN PATH" and LEN bytes after it.
 *
 *	LNN_RECORD=FILE   the file for the records
 *
 * A and B are offset and length of pwrite, mode and offset of fallocate (eight bytes with its length follow), and the length of
 * ftruncate. PATH is the name of the descriptor in /proc. For unlink and rename it is the name in the call, and the bytes after the
 * line are the new name.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static void
put(const char *p, size_t n)
{
	const char *file = getenv("LNN_RECORD");
	long fd = file == NULL ? -1 : syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND, 0666);

	if (fd < 0 || syscall(SYS_write, fd, p, n) != (long)n)
		abort();
	syscall(SYS_close, fd);
}

static void
note(const char *call, int fd, long a, long b, const void *p, size_t n, const char *path)
{
	char line[4400], link[64], name[4096] = "";

	if (fd >= 0) {
		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		if (readlink(link, name, sizeof(name) - 1) < 0)
			name[0] = '\0';
		path = name;
	}
	put(line, (size_t)snprintf(line, sizeof(line), "%s %d %ld %ld %zu %s\n", call, fd, a, b, n, path));
	if (n > 0)
		put(p, n);
}

/* The function of that name that this library replaces. */
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t
pwrite64(int fd, const void *p, size_t n, off64_t off)
{
	note("pwrite", fd, off, (long)n, p, n, NULL);
	return REAL(pwrite64)(fd, p, n, off);
}

ssize_t
write(int fd, const void *p, size_t n)
{
	if (fd > 2)
		note("write", fd, 0, (long)n, p, n, NULL);
	return REAL(write)(fd, p, n);
}

int
fsync(int fd)
{
	note("fsync", fd, 0, 0, NULL, 0, NULL);
	return REAL(fsync)(fd);
}

int
fallocate64(int fd, int mode, off64_t off, off64_t n)
{
	note("fallocate", fd, mode, off, &n, sizeof(n), NULL);
	return REAL(fallocate64)(fd, mode, off, n);
}

int
ftruncate64(int fd, off64_t n)
{
	note("ftruncate", fd, n, 0, NULL, 0, NULL);
	return REAL(ftruncate64)(fd, n);
}

int
unlink(const char *path)
{
	note("unlink", -1, 0, 0, NULL, 0, path);
	return REAL(unlink)(path);
}

int
rename(const char *from, const char *to)
{
	note("rename", -1, 0, 0, to, strlen(to), from);
	return REAL(rename)(from, to);
}
