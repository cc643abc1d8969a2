/*
 * file_set: the files that a checkpoint lies in, a few of which are open at a time. A file that is opened again must be
 * the one it was; one that is closed must not have changed while it was open. Several threads may use a set.
 */
#ifndef LNN_FORMAT_FILE_SET_H
#define LNN_FORMAT_FILE_SET_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "io/source.h"

struct file_set {
	struct file_set_file *files; /* by number */
	uint32_t n;
	struct file_set_file **open; /* those that are open */
	size_t nopen, open_cap;
	uint64_t clock;
	const char *file;            /* what the messages are about; borrowed */
	void (*closing)(void *arg, uint32_t i); /* NULL, or called before file i is closed; nobody uses it then */
	void *arg;
	pthread_mutex_t lock;        /* of everything here */
};

/* Takes over paths (an array of n, all from malloc). No file is opened. */
void file_set_init(struct file_set *f, char **paths, uint32_t n, const char *file);
void file_set_release(struct file_set *f); /* also of a zeroed one */

const char *file_set_path(const struct file_set *f, uint32_t i);

/* Opens file i if it is closed, perhaps closing another, and keeps it open until file_set_put. */
int file_set_get(struct file_set *f, uint32_t i, struct source **src, struct err *err);
void file_set_put(struct file_set *f, uint32_t i);

/* File i, which stays open until many others were opened; for a set with one user. NULL: file_set_get says why. */
struct source *file_set_peek(struct file_set *f, uint32_t i);

/* Whatever is open has not changed. */
int file_set_verify(struct file_set *f, struct err *err);

#endif
