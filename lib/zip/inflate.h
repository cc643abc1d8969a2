/* zip_inflate: unpacks the contents of deflated records. */
#ifndef LNN_ZIP_INFLATE_H
#define LNN_ZIP_INFLATE_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "io/source.h"
#include "zip/forward.h"

/* Refuses a deflated record that would unpack to more than UNPACK_RATIO times its packed size (base/limits.h). */
int zip_check_unpacked(const struct source *src, const struct zip_entry *t, struct err *err);

/* Unpacks a record of unknown packed size into out, and sets *packed. Refuses more than UNPACK_RATIO times the packed size. */
int zip_unpack(struct source *src, const struct zip_entry *t, struct buf *out, uint64_t *packed, struct err *err);

struct zip_inflate; /* unpacks one deflated record in order */

/* The packed bytes at off of src must unpack to size bytes. name is borrowed and used in messages. */
struct zip_inflate *zip_inflate_new(struct source *src, uint64_t off, uint64_t packed, uint64_t size, struct str name);
void zip_inflate_free(struct zip_inflate *z); /* z may be NULL */

/* Returns the next n bytes. Together with the last byte, checks that the packed stream ends there. */
int zip_inflate_read(struct zip_inflate *z, void *p, size_t n, struct err *err);

/*
 * Reads any range of records of a zip, from any thread. It keeps the unpacking state of one deflated record, so reading a record
 * front to back is cheapest.
 */
struct zip_unpacker {
	struct source *src;   /* borrowed */
	pthread_mutex_t lock; /* protects the members below */
	struct zip_inflate *inflate;
	uint64_t data; /* offset of the record that inflate unpacks */
};

void zip_unpacker_init(struct zip_unpacker *u, struct source *src);
void zip_unpacker_release(struct zip_unpacker *u);
int zip_unpacker_read(struct zip_unpacker *u, const struct zip_entry *t, uint64_t off, void *p, size_t n, struct err *err);

#endif
