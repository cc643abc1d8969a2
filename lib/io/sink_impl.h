/*
 * What sink.c and copy.c know of a sink, and nobody else.
 */
#ifndef LNN_IO_SINK_IMPL_H
#define LNN_IO_SINK_IMPL_H

#include "io/replace.h"
#include "io/sink.h"

/* Small writes are gathered in pieces of this size. */
#define SINK_BUFFER ((size_t)128 << 10)

/* A file's bytes go to the disk in pieces of at least this size. */
#define SINK_BEGIN ((uint64_t)8 << 20)

enum sink_kind { SINK_FILE, SINK_FD, SINK_MEMORY };

struct sink {
	enum sink_kind kind;
	char *name;
	int fd;
	bool borrowed;           /* fd is not closed by abort */
	bool regular;            /* fd is a regular file */
	bool ranges, sendfiles, splices; /* ways to copy that have not failed yet */
	bool failed;
	struct replace *replace; /* of a SINK_FILE */
	struct buf *memory;      /* of a SINK_MEMORY; may be NULL */
	uint64_t at, hold;
	uint64_t passed;         /* bytes fd was given */
	uint64_t leaving;        /* of a SINK_FILE: bytes the disk was told to write */
	char *buf;               /* len bytes not written yet, before what is held */
	size_t len;
	struct buf held;
	char *piece;             /* of copies through memory; kept, as fresh memory costs as much as the copy */
};

/*
 * Notes that fd was given n bytes. What will be synced in the end had better begin at once: tells the kernel to write
 * what has come, if it is worth it. (A GiB that begins to be written at fsync takes half as long again.)
 */
void sink_passed(struct sink *s, size_t n);

/* Says "write error" and errno; returns -1. */
int sink_error(struct sink *s, struct err *e);

#endif
