#include "io/atomic.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/xalloc.h"
#include "io/fd.h"

enum { MAX_OPEN = 16, MAX_LINKS = 40, RANDOM_CHARS = 6, SYNCED_SINGLY = 16 };

struct atomic {
	char *name;   /* as the user gave it, without trailing slashes */
	char *path;   /* like name, but for a file with symbolic links followed */
	char *parent; /* the folder that path is in */
	size_t slot;
};

/*
 * The existing temporaries. A signal handler reads this array, so a path is complete before it is marked as used. Signals are
 * blocked while a temporary is created.
 */
static struct temporary {
	volatile sig_atomic_t used;
	bool folder;
	char path[PATH_MAX];
} slots[MAX_OPEN];
static pthread_mutex_t slots_lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- removing temporaries */

/* Offsets in the kernel's getdents64 entry (inode, offset, length, type, name). readdir is not safe in a signal handler. */
enum { ENTRY_LENGTH = 16, ENTRY_NAME = 19 };

static void
empty_folder(int fd)
{
	char buf[4096];
	unsigned short len;
	long n, at;

	while ((n = syscall(SYS_getdents64, fd, buf, sizeof(buf))) > 0) {
		for (at = 0; at < n; at += len) {
			memcpy(&len, buf + at + ENTRY_LENGTH, sizeof(len));
			unlinkat(fd, buf + at + ENTRY_NAME, 0);
		}
	}
}

static void
remove_temporary(const struct temporary *t)
{
	int fd;

	if (!t->folder) {
		unlink(t->path);
		return;
	}
	fd = open(t->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0) {
		empty_folder(fd);
		close(fd);
	}
	rmdir(t->path);
}

void
atomic_emergency(void)
{
	for (size_t i = 0; i < MAX_OPEN; i++)
		if (slots[i].used)
			remove_temporary(&slots[i]);
}

/* ---- names */

/*
 * Returns path with symbolic links in its last component followed. The final target need not exist. Returns NULL with errno set on
 * failure.
 */
static char *
follow(const char *path)
{
	char *p = xstrdup(path), *next;
	char target[PATH_MAX];
	ssize_t n = 0;

	for (int i = 0; i < MAX_LINKS; i++) {
		size_t dir = path_folder(p);

		n = readlink(p, target, sizeof(target));
		if (n < 0)
			break;
		if ((size_t)n == sizeof(target))
			break;
		if (n > 0 && target[0] == '/')
			dir = 0;
		next = xmalloc(dir + (size_t)n + 1);
		memcpy(next, p, dir);
		memcpy(next + dir, target, (size_t)n);
		next[dir + (size_t)n] = '\0';
		free(p);
		p = next;
	}
	/* EINVAL: p is no symbolic link. ENOENT: p does not exist yet. */
	if (n < 0 && (errno == EINVAL || errno == ENOENT))
		return p;
	if (n >= 0)
		errno = ELOOP;
	free(p);
	return NULL;
}

static void
random_name(char *p)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
	static unsigned counter;
	unsigned char r[RANDOM_CHARS];

	if (getrandom(r, sizeof(r), GRND_NONBLOCK) != (ssize_t)sizeof(r)) {
		unsigned seed = (unsigned)getpid() * 2654435761u + ++counter;

		for (size_t i = 0; i < sizeof(r); i++)
			r[i] = (unsigned char)((seed = seed * 1103515245u + 12345u) >> 16);
	}
	for (size_t i = 0; i < sizeof(r); i++)
		p[i] = letters[r[i] % (sizeof(letters) - 1)];
}

/* ---- creating temporaries */

/* Creates the temporary for path in slot. Returns a file's descriptor, 0 for a folder, or -1 with errno set. */
static int
create(struct temporary *slot, const char *path, mode_t mode)
{
	size_t dir = path_folder(path), len = strlen(path + dir);
	int fd = -1;

	/* NAME is cut if .NAME.XXXXXX would exceed NAME_MAX. */
	if (len > NAME_MAX - 2 - RANDOM_CHARS)
		len = NAME_MAX - 2 - RANDOM_CHARS;
	if (len == 0) {
		errno = ENOENT;
		return -1;
	}
	if (dir + len + 2 + RANDOM_CHARS >= sizeof(slot->path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	snprintf(slot->path, sizeof(slot->path), "%.*s.%.*s.", (int)dir, path, (int)len, path + dir);
	for (int tries = 0; tries < 100; tries++) {
		random_name(slot->path + dir + len + 2);
		slot->path[dir + len + 2 + RANDOM_CHARS] = '\0';
		fd = slot->folder ? mkdir(slot->path, mode) : open(slot->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
		if (fd >= 0 || (errno != EEXIST && errno != EINTR))
			break;
	}
	if (fd >= 0)
		slot->used = 1;
	return fd;
}

/* Creates a temporary for path and takes over path. On failure returns NULL with errno set, and path is still the caller's. */
static struct atomic *
make_temporary(const char *name, char *path, bool folder, mode_t mode, int *fd)
{
	sigset_t all, before;
	struct atomic *a;
	size_t i = 0;
	int saved;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_mutex_lock(&slots_lock);
	while (i < MAX_OPEN && slots[i].used)
		i++;
	errno = EMFILE;
	*fd = -1;
	if (i < MAX_OPEN) {
		slots[i].folder = folder;
		*fd = create(&slots[i], path, mode);
	}
	saved = errno;
	pthread_mutex_unlock(&slots_lock);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = saved;
	if (*fd < 0)
		return NULL;
	a = xcalloc(1, sizeof(*a));
	a->name = xstrdup(name);
	a->path = path;
	a->parent = path_folder(path) > 0 ? xstrndup(path, path_folder(path)) : xstrdup(".");
	a->slot = i;
	return a;
}

/* Gives fd the owner and the mode of the file that it will replace. */
static int
take_over(int fd, const struct stat *old)
{
	struct stat st;
	mode_t mode = old->st_mode & 07777;

	if (fstat(fd, &st) < 0)
		return -1;
	/* If the owner cannot be kept, the new file must not have the set-id bits of the old one. */
	if ((st.st_uid != old->st_uid || st.st_gid != old->st_gid) && fchown(fd, old->st_uid, old->st_gid) < 0)
		mode &= 0777;
	return fchmod(fd, mode);
}

static int
open_error(const char *name, struct err *err)
{
	return err_sys(err, name, "cannot open for writing");
}

/* Opens a FIFO, a device or another file that is not regular. */
static int
open_direct(const char *name, int *fd, struct err *err)
{
	*fd = fd_open(name, O_WRONLY | O_NOCTTY);
	return *fd < 0 ? open_error(name, err) : 0;
}

int
atomic_file(struct atomic **out, int *fd, const char *path, struct err *err)
{
	struct atomic *a;
	struct stat st;
	bool exists = stat(path, &st) == 0;
	char *real;

	*out = NULL;
	*fd = -1;
	if (!exists && errno != ENOENT)
		return open_error(path, err);
	if (exists && S_ISDIR(st.st_mode))
		return err_input(err, path, "is a directory");
	if (exists && !S_ISREG(st.st_mode))
		return open_direct(path, fd, err);
	if (exists && faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) < 0)
		return open_error(path, err);
	real = exists ? realpath(path, NULL) : follow(path);
	if (real == NULL)
		return open_error(path, err);
	a = make_temporary(path, real, false, exists ? 0600 : 0666, fd);
	if (a == NULL) {
		err_sys(err, path, "cannot create a temporary file beside it");
		free(real);
		return -1;
	}
	if (exists && take_over(*fd, &st) < 0) {
		err_sys(err, path, "cannot keep its mode");
		close(*fd);
		atomic_abort(a);
		return -1;
	}
	*out = a;
	return 0;
}

/* Succeeds if path does not exist or is an empty folder. */
static int
check_free(const char *path, struct err *err)
{
	struct dirent *d;
	DIR *dir = opendir(path);
	int rc = 0;

	if (dir == NULL)
		return errno == ENOENT ? 0 : err_sys(err, path, "cannot be made the folder");
	errno = 0;
	while (rc == 0 && (d = readdir(dir)) != NULL)
		if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
			rc = err_set(err, ERR_SYSTEM, "%s: the folder is not empty", path);
	if (rc == 0 && errno != 0)
		rc = err_sys(err, path, "cannot be made the folder");
	closedir(dir);
	return rc;
}

int
atomic_folder(struct atomic **out, const char *path, struct err *err)
{
	size_t len = strlen(path);
	char *name;
	int fd;

	while (len > 1 && path[len - 1] == '/')
		len--;
	name = xstrndup(path, len);
	*out = NULL;
	if (check_free(name, err) == 0) {
		*out = make_temporary(name, name, true, 0777, &fd);
		if (*out == NULL)
			err_sys(err, name, "cannot make a folder beside it");
	}
	if (*out == NULL)
		free(name);
	return *out == NULL ? -1 : 0;
}

const char *
atomic_path(const struct atomic *a)
{
	return slots[a->slot].path;
}

/* ---- commit and abort */

static void
release(struct atomic *a)
{
	slots[a->slot].used = 0;
	free(a->path);
	free(a->parent);
	free(a->name);
	free(a);
}

void
atomic_abort(struct atomic *a)
{
	remove_temporary(&slots[a->slot]);
	release(a);
}

/* Syncs the file or folder at path. Messages call it name. */
static int
sync_path(const char *path, const char *name, struct err *err)
{
	int fd = fd_open(path, O_RDONLY), rc;

	if (fd < 0)
		return err_sys(err, name, "cannot be opened to be synced");
	rc = fd_sync(fd);
	if (rc < 0)
		err_sys(err, name, "cannot be synced");
	close(fd);
	return rc;
}

/*
 * Asks the file system to write all its files at once. Errors are ignored here, because each file is synced afterwards; that then
 * has little left to do and reports errors. For 3,000 files this takes a third of the time. It also waits for files of other
 * programs.
 */
static void
sync_at_once(const char *folder)
{
	int fd = fd_open(folder, O_RDONLY | O_DIRECTORY);

	if (fd < 0)
		return;
	(void)syncfs(fd);
	close(fd);
}

/* Syncs all files in a folder one by one. From SYNCED_SINGLY files on, calls sync_at_once first. */
static int
sync_files(const char *path, const char *name, struct err *err)
{
	DIR *dir = opendir(path);
	struct buf file = BUF_INIT;
	struct dirent *d;
	unsigned n = 0;
	int rc = 0;

	if (dir == NULL)
		return err_sys(err, name, "cannot be opened to be synced");
	errno = 0;
	while (rc == 0 && (d = readdir(dir)) != NULL) {
		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		if (++n == SYNCED_SINGLY)
			sync_at_once(path);
		buf_clear(&file);
		buf_addf(&file, "%s/%s", path, d->d_name);
		rc = sync_path(file.p, name, err);
		errno = 0;
	}
	if (rc == 0 && errno != 0)
		rc = err_sys(err, name, "cannot be read to be synced");
	closedir(dir);
	buf_release(&file);
	return rc;
}

int
atomic_commit(struct atomic *a, struct err *err)
{
	const struct temporary *t = &slots[a->slot];
	struct err ignored = ERR_INIT;
	int rc = t->folder && (sync_files(t->path, a->name, err) < 0 || sync_path(t->path, a->name, err) < 0) ? -1 : 0;

	if (rc == 0 && rename(t->path, a->path) < 0)
		rc = err_sys(err, a->name, t->folder ? "cannot be moved to its place" : "cannot rename the temporary file");
	if (rc < 0) {
		atomic_abort(a);
		return -1;
	}
	slots[a->slot].used = 0;
	/*
	 * Syncs the parent folder, so that the rename survives a crash. A failure is ignored: the file or folder is already
	 * complete under its name.
	 */
	(void)sync_path(a->parent, a->parent, &ignored);
	release(a);
	return 0;
}
