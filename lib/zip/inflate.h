/*
 * zip_inflate: the contents of a deflated record, read in order.
 */
#ifndef LNN_ZIP_INFLATE_H
#define LNN_ZIP_INFLATE_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "io/source.h"
#include "zip/forward.h"

/* Refuses a deflated record that would unpack to more than UNPACK_RATIO times its packed size. */
int zip_check_unpacked(const struct source *src, const struct zip_entry *t, struct err *e);

/*
 * Unpacks a record into out whose packed size is not known: *packed. Refuses more than UNPACK_RATIO times that.
 */
int zip_unpack(struct source *src, const struct zip_entry *t, struct buf *out, uint64_t *packed, struct err *e);

struct zip_inflate; /* reads one deflated entry in order */

/* packed bytes at off of src give size bytes; name is for messages and borrowed. */
struct zip_inflate *zip_inflate_new(struct source *src, uint64_t off, uint64_t packed, uint64_t size, struct str name);
void zip_inflate_free(struct zip_inflate *z); /* may be NULL */

/* The next n bytes. With the last one it is checked that the packed bytes end there too. */
int zip_inflate_read(struct zip_inflate *z, void *p, size_t n, struct err *e);

/* Reads records of a zip anywhere, from any thread. Of deflated ones the last is kept unpacking: forward is best. */
struct zip_unpacker {
	struct source *src;   /* borrowed */
	pthread_mutex_t lock; /* of what follows */
	struct zip_inflate *inflate;
	uint64_t data; /* where the record begins that inflate is at */
};

void zip_unpacker_init(struct zip_unpacker *u, struct source *src);
void zip_unpacker_release(struct zip_unpacker *u);
int zip_unpacker_read(struct zip_unpacker *u, const struct zip_entry *t, uint64_t off, void *p, size_t n, struct err *e);

#endif
