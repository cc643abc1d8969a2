/*
 * file_set: the files that a checkpoint lies in, a few of which are open at a time. A file that is opened again must be
 * the one it was; one that is closed must not have changed while it was open. Several threads may use a set.
 *
 * A set that is not given by its index is handed to its reader as a text (source_text) that lies beside the files: a line
 * that says what they are, then a line for each name.
 */
#ifndef LNN_FORMAT_FILE_SET_H
#define LNN_FORMAT_FILE_SET_H

#include <pthread.h>

#include "base/arena.h"
#include "io/source.h"
#include "tensor/ckpt.h"

struct file_list {
	struct str what;    /* the first line */
	const char **names; /* of the files */
	const char **paths; /* where they are */
	uint32_t n;
};

/* Reads such a text; all of the list is in a. What was not made by source_text is refused. */
int file_list_read(struct file_list *l, struct source *src, struct arena *a, struct err *err);

struct file_set {
	struct file_set_file *files; /* by number */
	uint32_t n;
	struct file_set_file **open; /* those that are open */
	size_t nopen, open_cap;
	uint64_t clock;
	const char *file;                       /* what the messages are about; borrowed */
	void (*closing)(void *arg, uint32_t i); /* NULL, or called before file i is closed; nobody uses it then */
	void *arg;
	pthread_mutex_t lock; /* of everything here */
};

/* The paths stay the caller's, and must live as long. No file is opened. */
void file_set_init(struct file_set *f, const char *const *paths, uint32_t n, const char *file);
void file_set_release(struct file_set *f); /* also of a zeroed one */

const char *file_set_path(const struct file_set *f, uint32_t i);

/* Opens file i if it is closed, perhaps closing another, and keeps it open until file_set_put. */
int file_set_get(struct file_set *f, uint32_t i, struct source **src, struct err *err);
void file_set_put(struct file_set *f, uint32_t i);

/*
 * Operations (struct ckpt_ops) of checkpoints whose priv begins with a file_set, and whose storages are ranges of the files
 * of that number (storage.shard).
 */
int file_set_read(struct ckpt *c, uint32_t storage, uint64_t off, void *p, size_t n, struct err *err);
struct source *file_set_range(struct ckpt *c, uint32_t storage);
int file_set_finish(struct ckpt *c, struct err *err);

#endif
