#include "io/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/xalloc.h"

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
	while (rc == 0 && (d = readdir(dir)) != NULL)
		if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
			rc = err_set(e, ERR_SYSTEM, "%s: the folder is not empty", path);
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

int
folder_open(struct folder **out, const char *path, struct err *e)
{
	struct folder *f = xcalloc(1, sizeof(*f));
	size_t len = strlen(path);
	mode_t mask;

	while (len > 1 && path[len - 1] == '/')
		len--;
	f->name = xstrndup(path, len);
	f->temp = temp_name(f->name);
	if (check_free(f->name, e) == 0 && strlen(f->temp) >= sizeof(pending))
		err_set(e, ERR_SYSTEM, "%s: the name is too long", path);
	else if (e->code == ERR_NONE && mkdtemp(f->temp) == NULL)
		err_sys(e, path, "cannot make a folder beside it");
	if (e->code != ERR_NONE) {
		free(f->name);
		free(f->temp);
		free(f);
		return -1;
	}
	mask = umask(0);
	umask(mask);
	chmod(f->temp, 0777 & ~mask);
	memcpy(pending, f->temp, strlen(f->temp) + 1);
	used = 1;
	*out = f;
	return 0;
}

const char *
folder_path(const struct folder *f)
{
	return f->temp;
}

static void
release(struct folder *f)
{
	used = 0;
	free(f->name);
	free(f->temp);
	free(f);
}

void
folder_abort(struct folder *f)
{
	remove_folder(f->temp);
	release(f);
}

static int
sync_folder(const char *path, struct err *e)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;

	if (fd < 0)
		return err_sys(e, path, "cannot be opened to be synced");
	if (fsync(fd) != 0 && errno != EINVAL)
		rc = err_sys(e, path, "cannot be synced");
	close(fd);
	return rc;
}

int
folder_commit(struct folder *f, struct err *e)
{
	const char *slash = strrchr(f->name, '/');
	char *parent = slash == NULL ? xstrdup(".") : xstrndup(f->name, (size_t)(slash - f->name) + 1);
	int rc = sync_folder(f->temp, e);

	if (rc == 0 && rename(f->temp, f->name) != 0)
		rc = err_sys(e, f->name, "cannot be put in place");
	if (rc == 0) {
		used = 0;
		rc = sync_folder(parent, e);
		release(f);
	} else {
		folder_abort(f);
	}
	free(parent);
	return rc;
}
