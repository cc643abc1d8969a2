#include "io/folder.h"

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
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/xalloc.h"
#include "io/fd.h"

struct folder {
	char *name; /* without slashes at its end */
	char *temp;
};

/* For the signal handler: complete before it is marked as used. */
static char pending[PATH_MAX];
static volatile sig_atomic_t used;

/* Linux's getdents64 entry: inode, offset, length, type, name. readdir is not safe in a signal handler. */
enum { ENTRY_LENGTH = 16, ENTRY_NAME = 19 };

static void
empty(int fd)
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
remove_folder(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0) {
		empty(fd);
		close(fd);
	}
	rmdir(path);
}

void
folder_emergency(void)
{
	if (used)
		remove_folder(pending);
}

/* Nothing there, or an empty folder. */
static int
check_free(const char *path, struct err *e)
{
	struct dirent *d;
	DIR *dir = opendir(path);
	int rc = 0;

	if (dir == NULL)
		return errno == ENOENT ? 0 : err_sys(e, path, "cannot be made a folder of shards");
	errno = 0;
	while (rc == 0 && (d = readdir(dir)) != NULL)
		if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
			rc = err_set(e, ERR_SYSTEM, "%s: the folder is not empty", path);
	if (rc == 0 && errno != 0)
		rc = err_sys(e, path, "cannot be made a folder of shards");
	closedir(dir);
	return rc;
}

static char *
temp_name(const char *name)
{
	const char *slash = strrchr(name, '/');
	size_t dir = slash == NULL ? 0 : (size_t)(slash - name) + 1, size = strlen(name) + 10;
	char *temp = xmalloc(size);

	snprintf(temp, size, "%.*s.%s.XXXXXX", (int)dir, name, name + dir);
	return temp;
}

/*
 * Makes the sibling, with the mode that mkdir gives. Signals wait until the handler knows of it. A file system without
 * modes (EPERM) has none to be kept.
 */
static int
make_temp(struct folder *f, struct err *e)
{
	sigset_t all, before;
	mode_t mask = umask(0);
	int rc = 0;

	umask(mask);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (mkdtemp(f->temp) == NULL) {
		rc = err_sys(e, f->name, "cannot make a folder beside it");
	} else if (chmod(f->temp, 0777 & ~mask) < 0 && errno != EPERM && errno != EOPNOTSUPP) {
		rc = err_sys(e, f->name, "cannot give it its mode");
		rmdir(f->temp);
	} else {
		memcpy(pending, f->temp, strlen(f->temp) + 1);
		used = 1;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc;
}

static void
release(struct folder *f)
{
	used = 0;
	free(f->name);
	free(f->temp);
	free(f);
}

int
folder_open(struct folder **out, const char *path, struct err *e)
{
	struct folder *f = xcalloc(1, sizeof(*f));
	size_t len = strlen(path);
	int rc;

	while (len > 1 && path[len - 1] == '/')
		len--;
	f->name = xstrndup(path, len);
	f->temp = temp_name(f->name);
	rc = check_free(f->name, e);
	if (rc == 0 && strlen(f->temp) >= sizeof(pending))
		rc = err_set(e, ERR_SYSTEM, "%s: the name is too long", path);
	if (rc == 0)
		rc = make_temp(f, e);
	if (rc != 0) {
		release(f);
		return -1;
	}
	*out = f;
	return 0;
}

const char *
folder_path(const struct folder *f)
{
	return f->temp;
}

void
folder_abort(struct folder *f)
{
	remove_folder(f->temp);
	release(f);
}

/* name is what messages call it. */
static int
sync_folder(const char *path, const char *name, struct err *e)
{
	int fd = fd_open(path, O_RDONLY | O_DIRECTORY), rc;

	if (fd < 0)
		return err_sys(e, name, "cannot be opened to be synced");
	while ((rc = fsync(fd)) < 0 && errno == EINTR)
		;
	if (rc < 0 && (errno == EINVAL || errno == EOPNOTSUPP))
		rc = 0;
	if (rc < 0)
		err_sys(e, name, "cannot be synced");
	close(fd);
	return rc;
}

int
folder_commit(struct folder *f, struct err *e)
{
	const char *slash = strrchr(f->name, '/');
	char *parent = slash == NULL ? xstrdup(".") : xstrndup(f->name, (size_t)(slash - f->name) + 1);
	struct err none = ERR_INIT;
	int rc = sync_folder(f->temp, f->name, e);

	if (rc == 0 && rename(f->temp, f->name) != 0)
		rc = err_sys(e, f->name, "cannot be put in place");
	if (rc == 0) {
		/* The folder is there and whole: that a power failure could undo its name is no failure of this run. */
		(void)sync_folder(parent, parent, &none);
		release(f);
	} else {
		folder_abort(f);
	}
	free(parent);
	return rc;
}
