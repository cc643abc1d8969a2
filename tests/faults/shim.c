/*
 * A preloaded library that makes system calls fail or move fewer bytes, or that changes a file while the program runs.
 *
 *	LNN_FAULT=CALL:K:ERRNO   the K-th call (from 1) of CALL fails with ERRNO;
 *	                         K "odd": every other call, the first included
 *	LNN_FAULT=CALL:K:CHANGE  before the K-th call LNN_FAULT_FILE is changed, one of
 *	                         cut: its second half is removed; empty: all of it is removed
 *	                         grow: bytes are appended
 *	                         alter: bytes at LNN_FAULT_AT are changed
 *	                         swap: FILE.new gets its name; remove: it is unlinked
 *	LNN_FAULT=CALL:K:kill    the K-th call ends the process, as kill -9 does
 *	LNN_FAULT_MARK=FILE      bytes are added to FILE when the fault has happened
 *	LNN_FAULT_LOG=FILE       the name of each call but malloc is added to FILE, one a line
 *	LNN_FAULT_SHORT=N        no call moves more than N bytes
 *
 * CALL is one of the names below. These are all calls of the programs that the system can refuse (tests/bats/faults.bats compares the
 * list with their symbols). Calls on standard error do not fail. malloc includes calloc and realloc. Processes that the program starts
 * are treated in the same way, each with its own count.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#undef open
#undef open64
#undef realpath

enum change { NONE, CUT, EMPTY, GROW, ALTER, SWAP, REMOVE, KILL };

static const struct {
	const char *name;
	enum change value;
} changes[] = {
	{ "cut", CUT },   { "empty", EMPTY },   { "grow", GROW }, { "alter", ALTER },
	{ "swap", SWAP }, { "remove", REMOVE }, { "kill", KILL },
};

static const struct {
	const char *name;
	int value;
} errnos[] = {
	{ "EIO", EIO },       { "ENOSPC", ENOSPC }, { "EINTR", EINTR },           { "EACCES", EACCES }, { "EMFILE", EMFILE },
	{ "EDQUOT", EDQUOT }, { "EPIPE", EPIPE },   { "EINVAL", EINVAL },         { "EXDEV", EXDEV },   { "ENOSYS", ENOSYS },
	{ "EAGAIN", EAGAIN }, { "ENOMEM", ENOMEM }, { "EROFS", EROFS },           { "EPERM", EPERM },   { "EBADF", EBADF },
	{ "ENOENT", ENOENT }, { "EFBIG", EFBIG },   { "EOPNOTSUPP", EOPNOTSUPP },
};

static struct {
	bool ready, odd;
	char call[32];
	unsigned long k, count;
	int error;
	enum change change;
	size_t shorter;
	const char *mark, *log;
} fault;

static void
prepare(void)
{
	const char *spec = getenv("LNN_FAULT"), *s = getenv("LNN_FAULT_SHORT"), *colon;

	fault.ready = true;
	fault.mark = getenv("LNN_FAULT_MARK");
	fault.log = getenv("LNN_FAULT_LOG");
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
	for (size_t i = 0; colon != NULL && i < sizeof(changes) / sizeof(changes[0]); i++) {
		if (strcmp(colon + 1, changes[i].name) == 0)
			fault.change = changes[i].value;
	}
}

/* Appends to a file without the functions that this library replaces. */
static void
append(const char *path, const char *p, size_t n)
{
	long fd = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND, 0666);

	if (fd < 0)
		abort();
	syscall(SYS_write, fd, p, n);
	syscall(SYS_close, fd);
}

static void
change(enum change what)
{
	const char *file = getenv("LNN_FAULT_FILE"), *at = getenv("LNN_FAULT_AT");
	char other[4096];
	struct stat st;
	long fd;

	if (what == KILL)
		syscall(SYS_kill, syscall(SYS_getpid), 9);
	if (file == NULL || syscall(SYS_newfstatat, AT_FDCWD, file, &st, 0) < 0)
		abort();
	switch (what) {
	case CUT: syscall(SYS_truncate, file, st.st_size / 2); break;
	case EMPTY: syscall(SYS_truncate, file, (off_t)0); break;
	case GROW: append(file, "more", 4); break;
	case ALTER:
		fd = syscall(SYS_openat, AT_FDCWD, file, O_WRONLY);
		syscall(SYS_pwrite64, fd, "\x55\xaa\x5a", 3, (off_t)strtol(at ? at : "0", NULL, 10));
		syscall(SYS_close, fd);
		break;
	case SWAP:
		snprintf(other, sizeof(other), "%s.new", file);
		syscall(SYS_renameat2, AT_FDCWD, other, AT_FDCWD, file, 0);
		break;
	case REMOVE: syscall(SYS_unlinkat, AT_FDCWD, file, 0); break;
	case KILL:
	case NONE: break;
	}
}

/* True if this call must fail. Sets errno. */
static bool
fails(const char *call, int fd)
{
	unsigned long n;

	if (!fault.ready)
		prepare();
	if (fd == STDERR_FILENO)
		return false;
	if (fault.log != NULL && strcmp(call, "malloc") != 0) {
		char line[40];
		int len = snprintf(line, sizeof(line), "%s\n", call);

		append(fault.log, line, (size_t)len);
	}
	if (strcmp(call, fault.call) != 0)
		return false;
	n = __atomic_add_fetch(&fault.count, 1, __ATOMIC_SEQ_CST);
	if (fault.odd ? n % 2 == 0 : n != fault.k)
		return false;
	if (fault.mark != NULL)
		append(fault.mark, "x", 1);
	if (fault.change != NONE) {
		change(fault.change);
		return false;
	}
	errno = fault.error;
	return true;
}

static size_t
shortened(size_t n, int fd)
{
	return fault.shorter > 0 && n > fault.shorter && fd != STDERR_FILENO ? fault.shorter : n;
}

/* The function of that name that this library replaces. */
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

int
syncfs(int fd)
{
	return fails("syncfs", fd) ? -1 : REAL(syncfs)(fd);
}

/* A close that fails has still closed the descriptor. */
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

/* Fortified programs call these instead of open. */
int __open64_2(const char *path, int flags);

int
__open64_2(const char *path, int flags)
{
	return fails("open", -1) ? -1 : REAL(open64)(path, flags);
}

int
stat64(const char *path, struct stat64 *st)
{
	return fails("stat", -1) ? -1 : REAL(stat64)(path, st);
}

off64_t
lseek64(int fd, off64_t off, int whence)
{
	return fails("lseek", fd) ? -1 : REAL(lseek64)(fd, off, whence);
}

ssize_t
readlink(const char *path, char *p, size_t n)
{
	return fails("readlink", -1) ? -1 : REAL(readlink)(path, p, n);
}

char *
realpath(const char *path, char *to)
{
	return fails("realpath", -1) ? NULL : REAL(realpath)(path, to);
}

int
access(const char *path, int mode)
{
	return fails("access", -1) ? -1 : REAL(access)(path, mode);
}

int
faccessat(int at, const char *path, int mode, int flags)
{
	return fails("faccessat", -1) ? -1 : REAL(faccessat)(at, path, mode, flags);
}

int
fchown(int fd, uid_t uid, gid_t gid)
{
	return fails("fchown", fd) ? -1 : REAL(fchown)(fd, uid, gid);
}

int
chmod(const char *path, mode_t mode)
{
	return fails("chmod", -1) ? -1 : REAL(chmod)(path, mode);
}

int
unlink(const char *path)
{
	return fails("unlink", -1) ? -1 : REAL(unlink)(path);
}

int
unlinkat(int at, const char *path, int flags)
{
	return fails("unlinkat", -1) ? -1 : REAL(unlinkat)(at, path, flags);
}

int
rmdir(const char *path)
{
	return fails("rmdir", -1) ? -1 : REAL(rmdir)(path);
}

char *
mkdtemp(char *name)
{
	return fails("mkdtemp", -1) ? NULL : REAL(mkdtemp)(name);
}

DIR *
opendir(const char *path)
{
	return fails("opendir", -1) ? NULL : REAL(opendir)(path);
}

struct dirent64 *
readdir64(DIR *d)
{
	return fails("readdir", -1) ? NULL : REAL(readdir64)(d);
}

int
nftw64(const char *path, __nftw64_func_t visit, int most, int flags)
{
	return fails("nftw", -1) ? -1 : REAL(nftw64)(path, visit, most, flags);
}

int
sync_file_range(int fd, off64_t off, off64_t n, unsigned flags)
{
	return fails("sync_file_range", fd) ? -1 : REAL(sync_file_range)(fd, off, n, flags);
}

int
ftruncate64(int fd, off64_t n)
{
	return fails("ftruncate", fd) ? -1 : REAL(ftruncate64)(fd, n);
}

int
fallocate64(int fd, int mode, off64_t off, off64_t n)
{
	return fails("fallocate", fd) ? -1 : REAL(fallocate64)(fd, mode, off, n);
}

/* All commands of fcntl that are used here take a number or nothing. */
int
fcntl64(int fd, int command, ...)
{
	va_list ap;
	long arg;

	va_start(ap, command);
	arg = va_arg(ap, long);
	va_end(ap);
	return fails("fcntl", fd) ? -1 : REAL(fcntl64)(fd, command, arg);
}

int
dup(int fd)
{
	return fails("dup", fd) ? -1 : REAL(dup)(fd);
}

int
poll(struct pollfd *p, nfds_t n, int timeout)
{
	return fails("poll", -1) ? -1 : REAL(poll)(p, n, timeout);
}

ssize_t
getrandom(void *p, size_t n, unsigned flags)
{
	return fails("getrandom", -1) ? -1 : REAL(getrandom)(p, n, flags);
}

int
pthread_create(pthread_t *t, const pthread_attr_t *attr, void *(*start)(void *), void *arg)
{
	return fails("pthread_create", -1) ? errno : REAL(pthread_create)(t, attr, start, arg);
}

#ifndef NO_MALLOC

/* dlsym allocates memory, so these functions call the internal ones of glibc. */
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
