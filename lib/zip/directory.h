/*
 * zip: reading of archives, through their central directory or forward through
 * their local headers, and inflating. No tensors here. zip/write.h writes.
 * Facts: lib/format/README.md, sections 2.3 to 2.6; PKWARE's APPNOTE for the fields.
 *
 * What two readers could see differently is refused: overlapping or duplicate
 * entries, names that differ in case only, a local header with another name or
 * method than the directory's. Gaps and differing CRC or size fields
 * are only told to diag.
 */
#ifndef LNN_ZIP_DIRECTORY_H
#define LNN_ZIP_DIRECTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/diag.h"
#include "base/err.h"
#include "base/str.h"
#include "base/strmap.h"
#include "io/source.h"

enum { ZIP_STORED = 0, ZIP_DEFLATED = 8 };
enum { ZIP_FLAG_DESCRIPTOR = 0x0008, ZIP_FLAG_UTF8 = 0x0800 };

/* Sizes of the fixed parts. */
enum { ZIP_LOCAL = 30, ZIP_CENTRAL = 46, ZIP_END = 22, ZIP_END64 = 56, ZIP_LOCATOR = 20 };

/* Signatures. */
enum {
	ZIP_SIG_LOCAL = 0x04034b50,
	ZIP_SIG_DESCRIPTOR = 0x08074b50,
	ZIP_SIG_CENTRAL = 0x02014b50,
	ZIP_SIG_END64 = 0x06064b50,
	ZIP_SIG_LOCATOR = 0x07064b50,
	ZIP_SIG_END = 0x06054b50,
};

struct zip_entry {
	struct str name;
	uint64_t header; /* offset of the local header */
	uint64_t data;   /* offset of the first byte behind it */
	uint64_t packed, size;
	uint32_t crc;
	uint16_t flags;
	uint16_t method; /* ZIP_STORED or ZIP_DEFLATED */
};

/* ---- through the central directory */

struct zip_dir {
	struct arena arena;
	struct zip_entry *entries; /* in the order of the directory */
	size_t n;
	struct strmap by_name;     /* name in lower case -> index */
	uint64_t start, end;       /* of the directory */
};

/* Reads the directory at the end of src (a stream is read to its end first) and all local headers, and compares them. */
int zip_open(struct zip_dir *d, struct source *src, const struct diag *diag, struct err *e);
void zip_release(struct zip_dir *d); /* also after a failed zip_open */

/* By name, ASCII case aside, as torch looks records up; NULL if there is none. */
const struct zip_entry *zip_find(const struct zip_dir *d, struct str name);

/* ---- forward */

struct zip_local {
	struct zip_entry entry; /* name is in the buf given; packed, size and crc as the header states them (maybe 0) */
	bool wide;              /* has a zip64 block: its descriptor is of 24 bytes */
	bool sized;             /* states sizes: it has no descriptor, or has one besides */
};

/* The local header at off. */
int zip_local(struct source *src, uint64_t off, struct zip_local *l, struct buf *name, struct err *e);

struct zip_descriptor {
	uint32_t crc;
	uint64_t packed, size;
	uint64_t end; /* offset behind it */
};

/* The data descriptor (with its signature) at off. */
int zip_descriptor(struct source *src, uint64_t off, bool wide, struct zip_descriptor *d, struct err *e);

enum zip_sign { ZIP_SIGN_OTHER, ZIP_SIGN_LOCAL, ZIP_SIGN_CENTRAL, ZIP_SIGN_END };

/* What begins at off. */
int zip_sign(struct source *src, uint64_t off, enum zip_sign *sign, struct err *e);

/* The directory's entry at off, data left 0; *next is the offset behind it. name holds the name. */
int zip_central(struct source *src, uint64_t off, struct zip_entry *t, struct buf *name, uint64_t *next,
	struct err *e);

/*
 * What stands behind a directory of n entries that reaches from start to off, up to the end of the input. What follows
 * the end record is told to diag.
 */
int zip_tail(struct source *src, uint64_t off, uint64_t start, uint64_t n, const struct diag *diag, struct err *e);

/* ---- inflating */

/* Refuses a deflated record that would unpack to more than UNPACK_RATIO times its packed size. */
int zip_check_unpacked(const struct source *src, const struct zip_entry *t, struct err *e);

struct zip_inflate; /* reads one deflated entry in order */

/* packed bytes at off of src give size bytes; name is for messages and borrowed. */
struct zip_inflate *zip_inflate_new(struct source *src, uint64_t off, uint64_t packed, uint64_t size, struct str name);
void zip_inflate_free(struct zip_inflate *z); /* may be NULL */
uint64_t zip_inflate_at(const struct zip_inflate *z); /* bytes given so far */

/* The next n bytes. With the last one it is checked that the packed bytes end there too. */
int zip_inflate_read(struct zip_inflate *z, void *p, size_t n, struct err *e);

#endif
