#include "io/replace.h"

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
#include <unistd.h>

#include "base/xalloc.h"
#include "io/fd.h"

enum { MAX_OPEN = 16, MAX_LINKS = 40, RANDOM_CHARS = 6 };

struct replace {
	char *name;   /* as the user gave it */
	char *path;   /* the same, symbolic links followed */
	char *folder; /* that path is in */
	size_t slot;
};

/*
 * The temporary files there are. A signal handler reads this: a path is complete before it is marked as used, and the
 * signals that end the program are blocked while a file comes into being.
 */
static struct slot {
	volatile sig_atomic_t used;
	char path[PATH_MAX];
} slots[MAX_OPEN];
static pthread_mutex_t slots_lock = PTHREAD_MUTEX_INITIALIZER;

void
replace_emergency(void)
{
	for (size_t i = 0; i < MAX_OPEN; i++) {
		if (slots[i].used)
			unlink(slots[i].path);
	}
}

/* The length of path's folder with the slash; 0 if it names none. */
static size_t
folder_len(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? (size_t)(slash - path) + 1 : 0;
}

/* path with symbolic links in its last component followed, also if the last of them leads nowhere; NULL with errno. */
static char *
follow(const char *path)
{
	char *p = xstrdup(path), *next;
	char target[PATH_MAX];
	ssize_t n = 0;

	for (int i = 0; i < MAX_LINKS; i++) {
		size_t dir = folder_len(p);

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
	/* EINVAL: no link. ENOENT: nothing there yet. */
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

/* Creates the temporary file for path in slot; its descriptor, or -1 with errno. */
static int
create(struct slot *slot, const char *path, mode_t mode)
{
	size_t dir = folder_len(path), len = strlen(path + dir);
	int fd = -1;

	/* .NAME.XXXXXX may not be longer than a name can be. */
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
		fd = open(slot->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
		if (fd >= 0 || (errno != EEXIST && errno != EINTR))
			break;
	}
	if (fd >= 0)
		slot->used = 1;
	return fd;
}

/* A free slot with a new file in it; the slot's index, or MAX_OPEN with errno. */
static size_t
take_slot(const char *path, mode_t mode, int *fd)
{
	sigset_t all, before;
	size_t i = 0;
	int saved;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_mutex_lock(&slots_lock);
	while (i < MAX_OPEN && slots[i].used)
		i++;
	errno = EMFILE;
	*fd = i < MAX_OPEN ? create(&slots[i], path, mode) : -1;
	saved = errno;
	pthread_mutex_unlock(&slots_lock);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = saved;
	return *fd < 0 ? MAX_OPEN : i;
}

/* Gives fd the owner and the mode of the file that it will replace. */
static int
take_over(int fd, const struct stat *old)
{
	struct stat st;
	mode_t mode = old->st_mode & 07777;

	if (fstat(fd, &st) < 0)
		return -1;
	/* Who may not give files away becomes the owner, and then no set-id bit may stay. */
	if ((st.st_uid != old->st_uid || st.st_gid != old->st_gid) && fchown(fd, old->st_uid, old->st_gid) < 0)
		mode &= 0777;
	return fchmod(fd, mode);
}

static int
open_error(const char *name, struct err *e)
{
	return err_sys(e, name, "cannot open for writing");
}

/* Opens what is no regular file itself. */
static int
open_direct(const char *name, int *fd, struct err *e)
{
	*fd = fd_open(name, O_WRONLY | O_NOCTTY);
	return *fd < 0 ? open_error(name, e) : 0;
}

int
replace_open(struct replace **out, int *fd, const char *path, struct err *e)
{
	struct replace *r;
	struct stat st;
	bool exists = stat(path, &st) == 0;
	size_t slot;
	char *real;

	*out = NULL;
	*fd = -1;
	if (!exists && errno != ENOENT)
		return open_error(path, e);
	if (exists && S_ISDIR(st.st_mode))
		return err_input(e, path, "is a directory");
	if (exists && !S_ISREG(st.st_mode))
		return open_direct(path, fd, e);
	if (exists && faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) < 0)
		return open_error(path, e);
	real = exists ? realpath(path, NULL) : follow(path);
	if (real == NULL)
		return open_error(path, e);
	slot = take_slot(real, exists ? 0600 : 0666, fd);
	if (slot == MAX_OPEN) {
		err_sys(e, path, "cannot create a temporary file beside it");
		free(real);
		return -1;
	}
	r = xcalloc(1, sizeof(*r));
	r->name = xstrdup(path);
	r->path = real;
	r->folder = folder_len(real) > 0 ? xstrndup(real, folder_len(real)) : xstrdup(".");
	r->slot = slot;
	if (exists && take_over(*fd, &st) < 0) {
		err_sys(e, path, "cannot keep its mode");
		close(*fd);
		replace_abort(r);
		return -1;
	}
	*out = r;
	return 0;
}

static void
release(struct replace *r)
{
	slots[r->slot].used = 0;
	free(r->path);
	free(r->folder);
	free(r->name);
	free(r);
}

/*
 * Makes the new name last. A failure is none of ours to report: the file is complete, under its name, and whether the
 * old or the new one is there after a power failure was never promised.
 */
static void
sync_folder(const char *folder)
{
	int fd = fd_open(folder, O_RDONLY | O_DIRECTORY);

	if (fd >= 0) {
		(void)fsync(fd);
		close(fd);
	}
}

int
replace_commit(struct replace *r, struct err *e)
{
	if (rename(slots[r->slot].path, r->path) < 0) {
		err_sys(e, r->name, "cannot rename the temporary file");
		replace_abort(r);
		return -1;
	}
	slots[r->slot].used = 0;
	sync_folder(r->folder);
	release(r);
	return 0;
}

void
replace_abort(struct replace *r)
{
	unlink(slots[r->slot].path);
	release(r);
}
