/*
 * file_set: the files of a checkpoint, of which only a few are open at a time. A file that is reopened must be the same file as
 * before. A file that is closed must not have changed while it was open. Several threads may use a set.
 *
 * A set without an index file is given to its reader as a text (source_text) with a path in the folder of the files. The first line
 * names the kind of set, and each further line names a file.
 */
#ifndef LNN_FORMAT_FILE_SET_H
#define LNN_FORMAT_FILE_SET_H

#include <pthread.h>

#include "base/arena.h"
#include "io/source.h"
#include "tensor/ckpt.h"

struct file_list {
	struct str what;    /* the first line */
	const char **names; /* names of the files */
	const char **paths; /* paths of the files */
	uint32_t n;
};

/* Reads such a text. The list is allocated from a. A source that source_text did not make is refused. */
int file_list_read(struct file_list *l, struct source *src, struct arena *a, struct err *err);

struct file_set {
	struct file_set_file *files; /* by number */
	uint32_t n;
	struct file_set_file **open; /* the open files */
	size_t nopen, open_cap;
	uint64_t clock;
	const char *file;                       /* name for messages; borrowed */
	void (*closing)(void *arg, uint32_t i); /* called before file i is closed, when nobody uses it; may be NULL */
	void *arg;
	pthread_mutex_t lock; /* protects all members */
};

/* Initialises a set. The paths are borrowed. No file is opened. */
void file_set_init(struct file_set *f, const char *const *paths, uint32_t n, const char *file);
void file_set_release(struct file_set *f); /* f may be zeroed */

const char *file_set_path(const struct file_set *f, uint32_t i);

/* Opens file i if it is closed, which may close another file, and keeps it open until file_set_put. */
int file_set_get(struct file_set *f, uint32_t i, struct source **src, struct err *err);
void file_set_put(struct file_set *f, uint32_t i);

/*
 * Operations (struct ckpt_ops) of checkpoints whose priv begins with a file_set, and whose storages are ranges of file number
 * storage.shard.
 */
int file_set_read(struct ckpt *c, uint32_t storage, uint64_t off, void *p, size_t n, struct err *err);
struct source *file_set_range(struct ckpt *c, uint32_t storage);
int file_set_finish(struct ckpt *c, struct err *err);

#endif
