#include "format/file_set.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/xalloc.h"

/* The largest number of files that are open at once, unless more are in use. */
enum { FILES_OPEN = 32 };

struct file_set_file {
	const char *path;
	struct source *src; /* NULL while closed */
	size_t open;        /* index in file_set.open while it is open */
	bool known;         /* st is set */
	struct stat st;     /* status when it was first opened */
	unsigned users;     /* it stays open while this is not 0 */
	uint64_t used;      /* time of its last use, by file_set.clock */
};

int
file_list_read(struct file_list *l, struct source *src, struct arena *a, struct err *err)
{
	const char *file = source_name(src);
	uint64_t size = 0;
	struct str text, name;
	char *p;

	*l = (struct file_list){ .n = 0 };
	if (!source_is_made(src))
		return err_input(err, file, "it is text, not a checkpoint");
	if (source_size(src, &size, err) < 0)
		return -1;
	p = arena_alloc(a, (size_t)size + 1);
	if (source_read(src, 0, p, (size_t)size, err) < 0)
		return -1;
	text = str_n(p, (size_t)size);
	(void)str_split(&text, '\n', &l->what);
	l->names = arena_calloc(a, text.len, sizeof(*l->names));
	l->paths = arena_calloc(a, text.len, sizeof(*l->paths));
	for (; str_split(&text, '\n', &name) && name.len > 0; l->n++) {
		l->names[l->n] = arena_str(a, name).p;
		l->paths[l->n] = arena_printf(a, "%.*s%.*s", (int)path_folder(file), file, STR_ARG(name));
	}
	return 0;
}

void
file_set_init(struct file_set *f, const char *const *paths, uint32_t n, const char *file)
{
	*f = (struct file_set){ .n = n, .file = file };
	f->files = xcalloc(n, sizeof(*f->files));
	for (uint32_t i = 0; i < n; i++)
		f->files[i].path = paths[i];
	pthread_mutex_init(&f->lock, NULL);
}

const char *
file_set_path(const struct file_set *f, uint32_t i)
{
	return f->files[i].path;
}

static void
close_file(struct file_set *f, struct file_set_file *s)
{
	if (s->src == NULL)
		return;
	if (f->closing != NULL)
		f->closing(f->arg, (uint32_t)(s - f->files));
	source_close(s->src);
	s->src = NULL;
	f->open[s->open] = f->open[--f->nopen];
	f->open[s->open]->open = s->open;
}

void
file_set_release(struct file_set *f)
{
	if (f->files == NULL)
		return;
	for (uint32_t i = 0; i < f->n; i++)
		close_file(f, &f->files[i]);
	free(f->files);
	free(f->open);
	f->files = NULL;
	pthread_mutex_destroy(&f->lock);
}

/* If too many files are open, closes the least recently used one. */
static int
evict(struct file_set *f, struct err *err)
{
	struct file_set_file *oldest = NULL;
	int rc;

	if (f->nopen < FILES_OPEN)
		return 0;
	for (size_t i = 0; i < f->nopen; i++) {
		struct file_set_file *s = f->open[i];

		if (s->users == 0 && (oldest == NULL || s->used < oldest->used))
			oldest = s;
	}
	if (oldest == NULL)
		return 0;
	rc = source_verify(oldest->src, err);
	close_file(f, oldest);
	return rc;
}

static bool
same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static int
check_file(const struct file_set *f, struct file_set_file *s, const struct source *src, struct err *err)
{
	struct stat st;

	if (stat(s->path, &st) < 0)
		return err_sys(err, s->path, "cannot check that it did not change");
	if (!source_is_file(src, st.st_dev, st.st_ino) || (s->known && !same_file(&st, &s->st)))
		return err_input(err, s->path, "changed while it was read");
	s->st = st;
	s->known = true;
	if (source_is_stream(src))
		return err_input(err, f->file, "the shard '%s' is %s", s->path,
				 S_ISREG(st.st_mode) ? "empty" : "not a regular file");
	return 0;
}

static int
open_file(struct file_set *f, struct file_set_file *s, struct err *err)
{
	struct source *src;

	if (evict(f, err) < 0 || source_open(&src, s->path, NULL, err) < 0)
		return -1;
	if (check_file(f, s, src, err) < 0) {
		source_close(src);
		return -1;
	}
	s->src = src;
	s->open = f->nopen;
	f->open = xgrow(f->open, f->nopen, &f->open_cap, sizeof(struct file_set_file *));
	f->open[f->nopen++] = s;
	return 0;
}

int
file_set_get(struct file_set *f, uint32_t i, struct source **src, struct err *err)
{
	struct file_set_file *s = &f->files[i];
	int rc = 0;

	pthread_mutex_lock(&f->lock);
	if (s->src == NULL)
		rc = open_file(f, s, err);
	if (rc == 0) {
		s->used = ++f->clock;
		s->users++;
		*src = s->src;
	}
	pthread_mutex_unlock(&f->lock);
	return rc;
}

void
file_set_put(struct file_set *f, uint32_t i)
{
	pthread_mutex_lock(&f->lock);
	f->files[i].users--;
	pthread_mutex_unlock(&f->lock);
}

int
file_set_read(struct ckpt *c, uint32_t storage, uint64_t off, void *p, size_t n, struct err *err)
{
	const struct storage *s = &c->storages[storage];
	struct source *src;
	int rc;

	if (file_set_get(c->priv, s->shard, &src, err) < 0)
		return -1;
	rc = source_read(src, s->offset + off, p, n, err);
	file_set_put(c->priv, s->shard);
	return rc;
}

/* After file_set_put, the file stays open until many others have been opened. There is only one user at that time. */
struct source *
file_set_range(struct ckpt *c, uint32_t storage)
{
	struct err ignored = ERR_INIT;
	struct source *src = NULL;

	if (file_set_get(c->priv, c->storages[storage].shard, &src, &ignored) < 0)
		return NULL;
	file_set_put(c->priv, c->storages[storage].shard);
	return src;
}

/* Checks that no open file has changed. */
int
file_set_finish(struct ckpt *c, struct err *err)
{
	const struct file_set *f = c->priv;

	for (size_t i = 0; i < f->nopen; i++)
		if (source_verify(f->open[i]->src, err) < 0)
			return -1;
	return source_verify(c->src, err);
}
