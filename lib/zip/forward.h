/*
 * zip_forward: reads the headers of a zip one at a time, front to back. zip/directory.h reads whole archives, zip/inflate.h the
 * contents of deflated records. Facts: lib/format/README.md, sections 2.3 to 2.6; PKWARE's APPNOTE for the fields.
 */
#ifndef LNN_ZIP_FORWARD_H
#define LNN_ZIP_FORWARD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "io/source.h"

enum { ZIP_STORED = 0, ZIP_DEFLATED = 8 };
enum { ZIP_FLAG_DESCRIPTOR = 0x0008, ZIP_FLAG_UTF8 = 0x0800 };

/* Sizes of the fixed parts of headers, in bytes. */
enum { ZIP_LOCAL = 30, ZIP_CENTRAL = 46, ZIP_END = 22, ZIP_END64 = 56, ZIP_LOCATOR = 20 };

enum {
	ZIP_SIG_LOCAL = 0x04034b50,
	ZIP_SIG_DESCRIPTOR = 0x08074b50,
	ZIP_SIG_CENTRAL = 0x02014b50,
	ZIP_SIG_END64 = 0x06064b50,
	ZIP_SIG_LOCATOR = 0x07064b50,
	ZIP_SIG_END = 0x06054b50,
};

/*
 * The name, below the archive's root folder, of a local header that marks unused space in an archive edited in place (zip/patch.h).
 * The directory does not list it.
 */
#define ZIP_FREE ".data/free"

struct zip_entry {
	struct str name;
	uint64_t header; /* offset of the local header */
	uint64_t data;   /* offset of the contents */
	uint64_t packed, size;
	uint32_t crc, listed; /* crc: from the local header or descriptor; listed: from the directory (0 in a local header) */
	uint16_t flags;
	uint16_t method; /* ZIP_STORED or ZIP_DEFLATED */
};

struct zip_local {
	struct zip_entry entry; /* name is in the caller's buf; packed, size and crc are those of the header and may be 0 */
	bool wide;              /* has a zip64 block, so its descriptor has 24 bytes */
	bool sized;             /* states the sizes: it announces no descriptor, or states them nevertheless */
};

/* Returns true if l marks unused space (ZIP_FREE). */
bool zip_is_free(const struct zip_local *l);

/* Reads the local header at off. */
int zip_local(struct source *src, uint64_t off, struct zip_local *l, struct buf *name, struct err *err);

struct zip_descriptor {
	uint32_t crc;
	uint64_t packed, size;
	uint64_t end; /* offset after the descriptor */
};

/* Reads the data descriptor, which must have a signature, at off. */
int zip_descriptor(struct source *src, uint64_t off, bool wide, struct zip_descriptor *d, struct err *err);

enum zip_sign { ZIP_SIGN_OTHER, ZIP_SIGN_LOCAL, ZIP_SIGN_CENTRAL, ZIP_SIGN_END };

/* Tells which record begins at off. */
int zip_sign(struct source *src, uint64_t off, enum zip_sign *sign, struct err *err);

/* Reads the directory entry at off; t->data is left 0. *next is the offset after the entry. name stores the name. */
int zip_central(struct source *src, uint64_t off, struct zip_entry *t, struct buf *name, uint64_t *next, struct err *err);

#endif
