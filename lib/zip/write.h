/*
 * zip_write: writes archives byte for byte as torch does. The writer only moves
 * forward. Records are stored and aligned to 64 bytes, and a descriptor after
 * the contents has sizes and CRC. Facts: lib/format/README.md, sections 2.3 and
 * 2.4.
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
	uint64_t base;    /* offset in out where the archive begins */
	struct zip_written *written;
	size_t n, cap;
	uint64_t data; /* offset in the archive where the contents of the open record begin */
};

static inline void
zip_writer_init(struct zip_writer *z, struct sink *out)
{
	*z = (struct zip_writer){ .out = out, .base = sink_at(out) };
}

void zip_writer_release(struct zip_writer *z);

/* Returns the current offset in the archive. */
static inline uint64_t
zip_writer_at(const struct zip_writer *z)
{
	return sink_at(z->out) - z->base;
}

/* Returns the size of a record with size bytes of contents whose header is at offset header. */
uint64_t zip_record_size(uint64_t header, size_t name_len, uint64_t size);

/* The size of a record that is known only at its end. Such a record has 1 to 0xfffffffe bytes. */
#define ZIP_SIZE_LATER (UINT64_MAX - 1)

/*
 * zip_record_begin writes what precedes the contents. The caller then writes the contents to out. zip_record_end writes what
 * follows.
 */
int zip_record_begin(struct zip_writer *z, struct str name, uint64_t size, struct err *err);
int zip_record_end(struct zip_writer *z, uint32_t crc, struct err *err);

/* Writes the name of record i to name, which is empty before. */
typedef void zip_namer(void *arg, size_t i, struct buf *name);

/* Writes the central directory and the end records. */
int zip_directory(struct zip_writer *z, zip_namer *namer, void *arg, struct err *err);

#endif
