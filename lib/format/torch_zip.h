/*
 * torch_zip: what the files of the torch zip reader share. Not for others.
 */
#ifndef LNN_FORMAT_TORCH_ZIP_H
#define LNN_FORMAT_TORCH_ZIP_H

#include <pthread.h>

#include "zip/directory.h"
#include "format/format.h"
#include "format/rebuild.h"

struct torch_forward; /* torch_forward.c: the state of a stream read through its local headers */

struct torch_zip {
	struct str root;              /* of the archive; in the arena of the ckpt */
	struct torch_forward *forward; /* NULL when read through the directory */
	pthread_mutex_t lock;         /* of the inflater, as several threads may read */
	struct zip_inflate *inflate;
	uint32_t inflating;           /* storage that inflate is at */
};

/* Contents of small records that say something: an error names the record. */
int torch_check_version(struct ckpt *c, struct str text, struct err *e);
int torch_check_byteorder(struct ckpt *c, struct str text, bool *big, struct err *e);

/* Refuses a deflated pickle that would be too many times its packed size. */
int torch_check_unpacked(const struct source *src, const struct zip_entry *t, struct err *e);

/*
 * Who wrote it, from what can be told on a pipe too: the records .format_version, byteorder, and whether version
 * stands before the storages.
 */
const char *torch_writer(bool format_version, bool byteorder, bool version_first);

/* Small records have at most this many bytes. */
enum { TORCH_SMALL = 128 };

/* The part of a record's name behind "ROOT/"; p is NULL if it is not below root. */
struct str torch_below(struct str root, struct str name);

/* Reads a storage; of a deflated one anywhere, but forward is best. An op of the ckpt. */
int torch_read(struct ckpt *c, uint32_t storage, uint64_t off, void *p, size_t n, struct err *e);

void torch_close(struct ckpt *c);

/*
 * Opens a stream forward. *took is false if it is not written as torch writes it (then nothing was forgotten, c is as it
 * was, and *why says what is in the way).
 */
int torch_forward_open(struct ckpt *c, bool *took, const char **why, struct err *e);
void torch_forward_free(struct torch_forward *f); /* may be NULL */

#endif
