/*
 * zip_write: archives byte for byte as torch's writer makes them: forward only,
 * records stored and aligned to 64 bytes, sizes and CRC in a descriptor behind
 * the contents. Facts: lib/format/README.md, sections 2.3 and 2.4.
 */
#ifndef LNN_ZIP_WRITE_H
#define LNN_ZIP_WRITE_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "io/sink.h"

enum { ZIP_ALIGN = 64 };

struct zip_written {
	uint64_t header, size;
	uint32_t crc;
};

struct zip_writer {
	struct sink *out; /* borrowed */
	uint64_t base;    /* where the archive begins in out */
	struct zip_written *written;
	size_t n, cap;
	uint64_t data; /* where the contents of the open record begin in the archive */
};

static inline void
zip_writer_init(struct zip_writer *z, struct sink *out)
{
	*z = (struct zip_writer){ .out = out, .base = sink_at(out) };
}

void zip_writer_release(struct zip_writer *z);

/* The offset in the archive. */
static inline uint64_t
zip_writer_at(const struct zip_writer *z)
{
	return sink_at(z->out) - z->base;
}

/* Bytes that come before and behind the contents of a record whose header begins at offset header. */
uint64_t zip_before(uint64_t header, size_t name_len, uint64_t size);
uint64_t zip_behind(uint64_t header, uint64_t size);

/* A record that is not empty and smaller than 0xffffffff bytes, but how large is known at its end only. */
#define ZIP_SIZE_LATER (UINT64_MAX - 1)

/* Writes what comes before the contents; the caller then writes these to out; then what comes behind. */
int zip_record_begin(struct zip_writer *z, struct str name, uint64_t size, struct err *e);
int zip_record_end(struct zip_writer *z, uint32_t crc, struct err *e);

/* Puts the name of record i into name, which is empty when this is called. */
typedef void zip_namer(void *arg, size_t i, struct buf *name);

/* The central directory and the end records. */
int zip_directory(struct zip_writer *z, zip_namer *namer, void *arg, struct err *e);

#endif
