/*
 * source: a named supply of bytes, read at absolute offsets.
 *
 * A regular file is read with pread. A stream (pipe, socket, terminal) is read
 * forward: bytes stay readable from the lowest offset not yet forgotten up to
 * wherever somebody looked, in memory up to SOURCE_WINDOW bytes and beyond
 * that in an unlinked temporary file. So a reader that forgets what it is done
 * with passes any amount of data in little memory, and one that must see the
 * end first still works.
 */
#ifndef LNN_IO_SOURCE_H
#define LNN_IO_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/diag.h"
#include "base/err.h"

/* A stream's bytes kept in memory before a temporary file is used. */
#define SOURCE_WINDOW ((uint64_t)64 << 20)

/* The most bytes that source_look gives at once, and the size of read requests. */
enum { SOURCE_LOOK_MAX = 64 * 1024, SOURCE_REQUEST = 4 * 1024 * 1024 };

struct source;

struct source_opts {
	const char *spool_dir;   /* for the temporary file; NULL or empty: /tmp */
	const struct diag *diag; /* told (verbose) what is spooled and why; may be NULL */
	uint64_t window;         /* for tests: instead of SOURCE_WINDOW; 0 is SOURCE_WINDOW */
};

/*
 * Opens path for reading; the error says why not. A file whose edit in place was interrupted is refused (io/undo.h). opts may
 * be NULL. The caller closes.
 */
int source_open(struct source **out, const char *path, const struct source_opts *opts, struct err *e);

/*
 * Takes over fd (closed with the source, also when this fails); name is what messages call it. Offset 0 of a
 * regular file is where fd stands; where fd stands afterwards is unspecified.
 */
int source_fd(struct source **out, int fd, const char *name, const struct source_opts *opts, struct err *e);

/* Bytes in memory, borrowed. */
struct source *source_memory(const void *p, size_t len, const char *name);

/*
 * n bytes at off of a regular file as a source of its own, fewer at the end of the file. whole must outlive it. Offsets in
 * its messages are its own, so name should say where it lies.
 */
struct source *source_part(const struct source *whole, uint64_t off, uint64_t n, const char *name);

/* Text made for the file that name would be, which need not be there. Takes over the text. */
struct source *source_text(struct buf *text, const char *name);
bool source_is_made(const struct source *s); /* by source_text */

void source_close(struct source *s); /* s may be NULL */

const char *source_name(const struct source *s);
bool source_is_stream(const struct source *s);

/* Is s the file with this device and inode number? */
bool source_is_file(const struct source *s, dev_t dev, ino_t ino);

/*
 * Takes a stream to its end into an unnamed temporary file in the folder dir. From then on s is that file. What is no stream
 * stays as it is. Nothing of it may have been forgotten.
 */
int source_to_file(struct source *s, const char *dir, struct err *e);

/* Total size. A stream is read to its end first (what was not forgotten is kept). */
int source_size(struct source *s, uint64_t *size, struct err *e);

/*
 * Reads n bytes at off. Fewer are ERR_INPUT "cut off ...". Reading a stream below
 * what was forgotten is a programming error, reported as ERR_INPUT. On regular
 * files this may be called from several threads at once.
 */
int source_read(struct source *s, uint64_t off, void *p, size_t n, struct err *e);

/* Like source_read, but the end of the input is no error: *got is how many bytes there were. */
int source_read_some(struct source *s, uint64_t off, void *p, size_t n, size_t *got, struct err *e);

/*
 * Like source_read for a reader that goes through the input once and in order: bytes below off + n are forgotten. On a
 * stream, large reads do not pass through the window.
 */
int source_take(struct source *s, uint64_t off, void *p, size_t n, struct err *e);

/*
 * Sequential read of a part of the input. Forgets the bytes that it returns if nothing before them is still held and
 * source_keep does not ask for them; otherwise behaves like source_read.
 */
int source_next(struct source *s, uint64_t off, void *p, size_t n, struct err *e);

/*
 * Shows up to most (itself at most SOURCE_LOOK_MAX) bytes at off; *got < most only at the
 * end of the input. *p is borrowed until the next call on s. One thread only.
 */
int source_look(struct source *s, uint64_t off, size_t most, const uint8_t **p, size_t *got, struct err *e);

/*
 * Adds all bytes to text, for what is small. 1 if there are more than most: then only the beginning was read. A stream
 * forgets what it gives.
 */
int source_slurp(struct source *s, uint64_t most, struct buf *text, struct err *e);

/* How many bytes at off can be had without waiting for input: of a file all, of a stream what came along with the last look. */
uint64_t source_ready(const struct source *s, uint64_t off);

/* Bytes below off will not be read again. */
void source_forget(struct source *s, uint64_t off);

/*
 * Bytes below off will be read again, although source_next reads them or sink_copy copies them now. Both otherwise forget
 * what they pass on if all before it is forgotten. source_forget(s, off) ends this.
 */
void source_keep(struct source *s, uint64_t off);

/* Says to diag (verbose) why a stream will have to be kept, before it is. */
void source_explain(const struct source *s, const char *why);

/* A regular file must be as it was when opened (size, time of change): else ERR_INPUT "changed while it was read". */
int source_verify(struct source *s, struct err *e);

/* For sink_copy only: where bytes can be had without passing through memory. */
struct source_raw {
	int fd;       /* -1: nowhere, they must be read */
	bool regular; /* fd is read at base + offset; else it is a pipe, read where it stands */
	bool passes;  /* a stream whose bytes here need not be kept: source_take may read them */
	off_t base;
	uint64_t buffered; /* that many bytes have to be taken first (source_take) */
};

/* Asks for the bytes at off. */
int source_raw(struct source *s, uint64_t off, uint64_t len, struct source_raw *raw, struct err *e);

/* n bytes of a pipe were moved from raw.fd. They count as forgotten. */
void source_advance(struct source *s, uint64_t n);

#endif
