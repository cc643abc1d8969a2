/*
 * source: a named input, read at absolute offsets.
 *
 * A regular file is read with pread. A stream (pipe, socket, terminal) is read
 * forward. Its bytes stay readable from the lowest offset that is not forgotten
 * up to the highest offset that was read. Up to SOURCE_WINDOW of these bytes
 * are kept in memory, more in an unlinked temporary file. A reader that forgets
 * what it has used can therefore process any amount of data in little memory,
 * and a reader that needs the end first still works.
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

/* The most bytes of a stream kept in memory before a temporary file is used. */
#define SOURCE_WINDOW ((uint64_t)64 << 20)

/* The most bytes of one source_look, and the size of one read request. */
enum { SOURCE_LOOK_MAX = 64 * 1024, SOURCE_REQUEST = 4 * 1024 * 1024 };

struct source;

struct source_opts {
	const char *spool_dir;   /* folder of the temporary file; NULL or empty: /tmp */
	const struct diag *diag; /* told (verbose) what is spooled and why; may be NULL */
	uint64_t window;         /* replaces SOURCE_WINDOW in tests; 0: SOURCE_WINDOW */
};

/*
 * Opens path for reading. A file whose edit in place was interrupted is refused (io/undo.h). opts may be NULL. The caller closes
 * the source.
 */
int source_open(struct source **out, const char *path, const struct source_opts *opts, struct err *err);

/*
 * Takes over fd, which is closed with the source and also if this function fails. Messages use name. Offset 0 of a regular file is
 * the current position of fd; the position afterwards is unspecified.
 */
int source_fd(struct source **out, int fd, const char *name, const struct source_opts *opts, struct err *err);

/* A source of bytes in memory, which are borrowed. */
struct source *source_memory(const void *p, size_t len, const char *name);

/*
 * n bytes at off of a regular file as a source of its own; fewer at the end of the file. whole must outlive it. Offsets in its
 * messages are relative to off, so name should say where the part lies.
 */
struct source *source_part(const struct source *whole, uint64_t off, uint64_t n, const char *name);

/* Text that was generated in place of a file called name, which need not exist. Takes over the text. */
struct source *source_text(struct buf *text, const char *name);
bool source_is_made(const struct source *s); /* true if source_text made s */

void source_close(struct source *s); /* s may be NULL */

const char *source_name(const struct source *s);
bool source_is_stream(const struct source *s);

/* Returns true if s is the file with this device and inode number. */
bool source_is_file(const struct source *s, dev_t dev, ino_t ino);

/*
 * Reads a stream to its end into an unnamed temporary file in the folder dir. From then on s is that regular file. A source that is
 * no stream is left unchanged. No byte of the stream may have been forgotten.
 */
int source_to_file(struct source *s, const char *dir, struct err *err);

/* Returns the total size. A stream is read to its end first, and what is not forgotten is kept. */
int source_size(struct source *s, uint64_t *size, struct err *err);

/*
 * Reads n bytes at off. If there are fewer, fails with ERR_INPUT "cut off ...".
 * Reading forgotten bytes of a stream is a programming error, reported as
 * ERR_INPUT. Several threads may call this at once on a regular file.
 */
int source_read(struct source *s, uint64_t off, void *p, size_t n, struct err *err);

/* Like source_read, but the end of the input is no error. *got is the number of bytes read. */
int source_read_some(struct source *s, uint64_t off, void *p, size_t n, size_t *got, struct err *err);

/* Like source_read for single-pass reads in order: forgets the bytes below off + n. On a stream, large reads bypass the window. */
int source_take(struct source *s, uint64_t off, void *p, size_t n, struct err *err);

/*
 * Sequential read of a part of the input. Forgets the bytes that it returns if everything before them is forgotten and source_keep
 * does not protect them; otherwise behaves like source_read.
 */
int source_next(struct source *s, uint64_t off, void *p, size_t n, struct err *err);

/*
 * Shows up to most bytes at off; most is cut to SOURCE_LOOK_MAX. *got < most only at the end of the input. *p is borrowed until the
 * next call on s. Not thread-safe.
 */
int source_look(struct source *s, uint64_t off, size_t most, const uint8_t **p, size_t *got, struct err *err);

/*
 * Appends the whole input, which should be small, to text. Returns 1 after reading only a beginning if the input is longer than
 * most. A stream forgets these bytes.
 */
int source_slurp(struct source *s, uint64_t most, struct buf *text, struct err *err);

/*
 * Returns how many bytes from off on are available without waiting: for a file all, for a stream those already read from its
 * descriptor.
 */
uint64_t source_ready(const struct source *s, uint64_t off);

/* Promises that bytes below off will not be read again. */
void source_forget(struct source *s, uint64_t off);

/*
 * Protects bytes below off that source_next reads or sink_copy copies now and that will be read again. Without it, both forget such
 * bytes if everything before them is forgotten. source_forget(s, off) ends the protection.
 */
void source_keep(struct source *s, uint64_t off);

/* Reports to diag (verbose) why a stream must be kept. Call it before the stream is read. */
void source_explain(const struct source *s, const char *why);

/* Fails with ERR_INPUT "changed while it was read" if a regular file's size or modification time is not that at its opening. */
int source_verify(struct source *s, struct err *err);

/* For sink_copy only: a descriptor from which the kernel can move the bytes. */
struct source_raw {
	int fd;       /* -1: there is none, the bytes must be read */
	bool regular; /* fd is read at base + offset; otherwise fd is a pipe, read at its current position */
	bool passes;  /* a stream that need not keep these bytes, so that source_take may read them */
	off_t base;
	uint64_t buffered; /* bytes that must be read first (source_take) */
};

/* Finds out how the len bytes at off can be had. */
int source_raw(struct source *s, uint64_t off, uint64_t len, struct source_raw *raw, struct err *err);

/* Informs a stream that n bytes were moved out of raw.fd. They count as forgotten. */
void source_advance(struct source *s, uint64_t n);

#endif
