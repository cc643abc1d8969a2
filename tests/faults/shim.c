/*
 * A library to be preloaded that makes system calls fail, or do less than they
 * were asked.
 *
 *	LNN_FAULT=CALL:K:ERRNO   the K-th call (from 1) of CALL fails with ERRNO;
 *	                         K "odd": every other call, the first included
 *	LNN_FAULT_MARK=FILE      FILE is created when that has happened
 *	LNN_FAULT_SHORT=N        no call moves more than N bytes
 *
 * CALL is one of the names below. Nothing fails on standard error, and malloc
 * includes calloc and realloc. Other processes started from the program are
 * treated the same way, each with its own count.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#undef open
#undef open64

static const struct {
	const char *name;
	int value;
} errnos[] = {
	{ "EIO", EIO },       { "ENOSPC", ENOSPC }, { "EINTR", EINTR },   { "EACCES", EACCES },
	{ "EMFILE", EMFILE }, { "EDQUOT", EDQUOT }, { "EPIPE", EPIPE },   { "EINVAL", EINVAL },
	{ "EXDEV", EXDEV },   { "ENOSYS", ENOSYS }, { "EAGAIN", EAGAIN }, { "ENOMEM", ENOMEM },
	{ "EROFS", EROFS },   { "EPERM", EPERM },   { "EBADF", EBADF },   { "ENOENT", ENOENT },
};

static struct {
	bool ready, odd;
	char call[32];
	unsigned long k, count;
	int error;
	size_t shorter;
	const char *mark;
} fault;

static void
prepare(void)
{
	const char *spec = getenv("LNN_FAULT"), *s = getenv("LNN_FAULT_SHORT"), *colon;

	fault.ready = true;
	fault.mark = getenv("LNN_FAULT_MARK");
	fault.shorter = s != NULL ? strtoul(s, NULL, 10) : 0;
	if (spec == NULL || (colon = strchr(spec, ':')) == NULL || (size_t)(colon - spec) >= sizeof(fault.call))
		return;
	memcpy(fault.call, spec, (size_t)(colon - spec));
	fault.odd = strncmp(colon + 1, "odd", 3) == 0;
	fault.k = strtoul(colon + 1, NULL, 10);
	colon = strchr(colon + 1, ':');
	fault.error = EIO;
	for (size_t i = 0; colon != NULL && i < sizeof(errnos) / sizeof(errnos[0]); i++) {
		if (strcmp(colon + 1, errnos[i].name) == 0)
			fault.error = errnos[i].value;
	}
}

/* Shall this call of that name fail? Then errno is set. */
static bool
fails(const char *call, int fd)
{
	unsigned long n;

	if (!fault.ready)
		prepare();
	if (fd == STDERR_FILENO || strcmp(call, fault.call) != 0)
		return false;
	n = __atomic_add_fetch(&fault.count, 1, __ATOMIC_SEQ_CST);
	if (fault.odd ? n % 2 == 0 : n != fault.k)
		return false;
	if (fault.mark != NULL) {
		long fd_mark = syscall(SYS_openat, AT_FDCWD, fault.mark, O_WRONLY | O_CREAT, 0666);

		if (fd_mark >= 0)
			syscall(SYS_close, fd_mark);
	}
	errno = fault.error;
	return true;
}

static size_t
shortened(size_t n, int fd)
{
	return fault.shorter > 0 && n > fault.shorter && fd != STDERR_FILENO ? fault.shorter : n;
}

/* The function of that name behind this library. */
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t
read(int fd, void *p, size_t n)
{
	return fails("read", fd) ? -1 : REAL(read)(fd, p, shortened(n, fd));
}

ssize_t
pread64(int fd, void *p, size_t n, off64_t off)
{
	return fails("pread", fd) ? -1 : REAL(pread64)(fd, p, shortened(n, fd), off);
}

ssize_t
write(int fd, const void *p, size_t n)
{
	return fails("write", fd) ? -1 : REAL(write)(fd, p, shortened(n, fd));
}

ssize_t
pwrite64(int fd, const void *p, size_t n, off64_t off)
{
	return fails("pwrite", fd) ? -1 : REAL(pwrite64)(fd, p, shortened(n, fd), off);
}

ssize_t
copy_file_range(int in, off64_t *in_off, int out, off64_t *out_off, size_t n, unsigned flags)
{
	if (fails("copy_file_range", out))
		return -1;
	return REAL(copy_file_range)(in, in_off, out, out_off, shortened(n, out), flags);
}

ssize_t
sendfile64(int out, int in, off64_t *off, size_t n)
{
	return fails("sendfile", out) ? -1 : REAL(sendfile64)(out, in, off, shortened(n, out));
}

ssize_t
splice(int in, off64_t *in_off, int out, off64_t *out_off, size_t n, unsigned flags)
{
	return fails("splice", out) ? -1 : REAL(splice)(in, in_off, out, out_off, shortened(n, out), flags);
}

int
fsync(int fd)
{
	return fails("fsync", fd) ? -1 : REAL(fsync)(fd);
}

/* A close that fails has closed all the same. */
int
close(int fd)
{
	bool fail = fails("close", fd);
	int error = errno, status = REAL(close)(fd);

	if (!fail)
		return status;
	errno = error;
	return -1;
}

int
rename(const char *from, const char *to)
{
	return fails("rename", -1) ? -1 : REAL(rename)(from, to);
}

int
mkdir(const char *path, mode_t mode)
{
	return fails("mkdir", -1) ? -1 : REAL(mkdir)(path, mode);
}

int
open64(const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list ap;

	if ((flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE) {
		va_start(ap, flags);
		mode = va_arg(ap, mode_t);
		va_end(ap);
	}
	return fails("open", -1) ? -1 : REAL(open64)(path, flags, mode);
}

int
fstat64(int fd, struct stat64 *st)
{
	return fails("fstat", fd) ? -1 : REAL(fstat64)(fd, st);
}

int
fchmod(int fd, mode_t mode)
{
	return fails("fchmod", fd) ? -1 : REAL(fchmod)(fd, mode);
}

int
mkostemp64(char *name, int flags)
{
	return fails("mkostemp", -1) ? -1 : REAL(mkostemp64)(name, flags);
}

#ifndef NO_MALLOC

/* dlsym allocates, so these call what glibc offers beside them. */
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);

void *
malloc(size_t n)
{
	return fails("malloc", -1) ? NULL : __libc_malloc(n);
}

void *
calloc(size_t n, size_t size)
{
	return fails("malloc", -1) ? NULL : __libc_calloc(n, size);
}

void *
realloc(void *p, size_t n)
{
	return fails("malloc", -1) ? NULL : __libc_realloc(p, n);
}

#endif
