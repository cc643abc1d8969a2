/*
 * shard_files: the files of a sharded set, of which only a few are open at a time. A file that is opened again must be
 * the one it was; one that is closed must not have changed while it was open.
 */
#ifndef LNN_FORMAT_SHARD_FILES_H
#define LNN_FORMAT_SHARD_FILES_H

#include <pthread.h>
#include <sys/stat.h>

#include "format/format.h"
#include "format/sharded.h"

/* Files open at a time. */
enum { SHARDS_OPEN = 32 };

struct shard {
	char *path;
	struct source *src; /* NULL while closed */
	struct ckpt *live;  /* over src, for what only its format's reader can give; or NULL */
	struct ckpt *index; /* its tree has texts that are still used; may be live. Its source may be closed */
	bool known;         /* st is set */
	bool indexed;       /* live was there once */
	struct stat st;     /* when first opened */
	unsigned users;     /* while not 0 it stays open */
	uint64_t used;      /* when last, by shard_files.clock */
	uint32_t first, count; /* its storages among those of the set */
};

struct shard_files {
	struct shard *shards;
	uint32_t n, nopen;
	uint64_t clock;
	const struct diag *diag;
	const char *file;     /* of the index, for messages */
	pthread_mutex_t lock; /* of everything here */
};

void shard_files_init(struct shard_files *f, const struct shard_index *x, const char *file, const struct diag *diag);
void shard_files_release(struct shard_files *f);

/* Opens shard i if it is closed, perhaps closing another, and keeps it open until shard_put. */
int shard_get(struct shard_files *f, uint32_t i, struct err *e);
void shard_put(struct shard_files *f, uint32_t i);

/* The same, and has its format's reader open it (live). The lock is held from here to shard_put_live. */
int shard_get_live(struct shard_files *f, uint32_t i, struct err *e);
void shard_put_live(struct shard_files *f);

/* Whatever is open has not changed. */
int shard_files_verify(struct shard_files *f, struct err *e);

#endif
