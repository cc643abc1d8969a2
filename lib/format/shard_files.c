#include "format/shard_files.h"

#include <stdlib.h>

#include "base/xalloc.h"

void
shard_files_init(struct shard_files *f, const struct shard_index *x, const char *file, const struct diag *diag)
{
	*f = (struct shard_files){ .n = x->nfiles, .file = file, .diag = diag };
	f->shards = xcalloc(x->nfiles, sizeof(*f->shards));
	for (uint32_t i = 0; i < f->n; i++)
		f->shards[i].path = shard_index_path(x, i);
	pthread_mutex_init(&f->lock, NULL);
}

/* What stays is a tree; its source is gone. */
static void
leave_index(struct shard *s)
{
	s->index->src = NULL;
	s->index->file = s->path;
}

static void
close_shard(struct shard_files *f, struct shard *s)
{
	if (s->src == NULL)
		return;
	if (s->live != s->index)
		ckpt_close(s->live);
	s->live = NULL;
	if (s->index != NULL)
		leave_index(s);
	source_close(s->src);
	s->src = NULL;
	f->nopen--;
}

void
shard_files_release(struct shard_files *f)
{
	if (f->shards == NULL)
		return;
	for (uint32_t i = 0; i < f->n; i++) {
		struct shard *s = &f->shards[i];

		close_shard(f, s);
		ckpt_close(s->index);
		free(s->path);
	}
	free(f->shards);
	f->shards = NULL;
	pthread_mutex_destroy(&f->lock);
}

/* Closes the shard that was not used for the longest time, if there are too many. */
static int
make_room(struct shard_files *f, struct err *e)
{
	struct shard *oldest = NULL;
	int r;

	if (f->nopen < SHARDS_OPEN)
		return 0;
	for (uint32_t i = 0; i < f->n; i++) {
		struct shard *s = &f->shards[i];

		if (s->src != NULL && s->users == 0 && (oldest == NULL || s->used < oldest->used))
			oldest = s;
	}
	if (oldest == NULL)
		return 0;
	r = source_verify(oldest->src, e);
	close_shard(f, oldest);
	return r;
}

static bool
same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
		a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static int
check_file(struct shard_files *f, struct shard *s, const struct source *src, struct err *e)
{
	struct stat st;

	if (stat(s->path, &st) < 0)
		return err_sys(e, s->path, "cannot check that it did not change");
	if (!source_is_file(src, st.st_dev, st.st_ino) || (s->known && !same_file(&st, &s->st)))
		return err_input(e, s->path, "changed while it was read");
	s->st = st;
	s->known = true;
	if (source_is_stream(src))
		return err_input(e, f->file, "the shard '%s' is %s", s->path,
				 S_ISREG(st.st_mode) ? "empty" : "not a regular file");
	return 0;
}

static int
open_shard(struct shard_files *f, struct shard *s, struct err *e)
{
	struct source *src;

	if (make_room(f, e) < 0 || source_open(&src, s->path, NULL, e) < 0)
		return -1;
	if (check_file(f, s, src, e) < 0) {
		source_close(src);
		return -1;
	}
	s->src = src;
	f->nopen++;
	return 0;
}

static int
get(struct shard_files *f, uint32_t i, struct err *e)
{
	struct shard *s = &f->shards[i];

	if (s->src == NULL && open_shard(f, s, e) < 0)
		return -1;
	s->used = ++f->clock;
	return 0;
}

int
shard_get(struct shard_files *f, uint32_t i, struct err *e)
{
	int r;

	pthread_mutex_lock(&f->lock);
	r = get(f, i, e);
	if (r == 0)
		f->shards[i].users++;
	pthread_mutex_unlock(&f->lock);
	return r;
}

void
shard_put(struct shard_files *f, uint32_t i)
{
	pthread_mutex_lock(&f->lock);
	f->shards[i].users--;
	pthread_mutex_unlock(&f->lock);
}

static int
get_live(struct shard_files *f, uint32_t i, struct err *e)
{
	struct shard *s = &f->shards[i];
	/* What was worth a warning has been said when it was read first. */
	struct format_opts opts = { s->indexed ? NULL : f->diag, NULL };
	const uint8_t *head;
	size_t n;

	if (get(f, i, e) < 0)
		return -1;
	if (s->live != NULL)
		return 0;
	if (source_look(s->src, 0, FORMAT_PROBE, &head, &n, e) < 0)
		return -1;
	if (shard_index_probe(head, n))
		return err_input(e, f->file, "the shard '%s' is itself an index", s->path);
	if (format_open(&s->live, s->src, &opts, e) < 0) {
		s->live = NULL;
		return -1;
	}
	s->indexed = true;
	return 0;
}

int
shard_get_live(struct shard_files *f, uint32_t i, struct err *e)
{
	int r;

	pthread_mutex_lock(&f->lock);
	r = get_live(f, i, e);
	if (r < 0)
		pthread_mutex_unlock(&f->lock);
	return r;
}

void
shard_put_live(struct shard_files *f)
{
	pthread_mutex_unlock(&f->lock);
}

int
shard_files_verify(struct shard_files *f, struct err *e)
{
	for (uint32_t i = 0; i < f->n; i++)
		if (f->shards[i].src != NULL && source_verify(f->shards[i].src, e) < 0)
			return -1;
	return 0;
}
