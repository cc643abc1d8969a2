/*
 * stream: the part of a source that reads a pipe forward. Its bytes lie, in
 * this order, in a spool file (only if more waits than the window may hold), in
 * the window in memory, and in the descriptor.
 */
#ifndef LNN_IO_STREAM_H
#define LNN_IO_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/diag.h"
#include "base/err.h"

/* Read ahead at most, so that the bulk of the data need not pass through the window. */
#define STREAM_AHEAD ((size_t)64 << 10)

struct stream {
	int fd;
	bool pipe, eof;
	const char *name, *spool_dir; /* borrowed */
	const struct diag *diag;
	uint64_t pos;       /* bytes that came from fd */
	uint64_t forgotten; /* bytes below are not wanted */
	uint64_t keep;      /* bytes below are not passed by (source_keep) */
	uint8_t *win;       /* bytes pos - len .. pos - 1, from win + start on */
	size_t cap, start, len, limit;
	int spool;          /* -1, or the file with the spool_len bytes before the window */
	uint64_t spool_len, spool_skip; /* the first skip bytes of the file are forgotten */
	int null;           /* /dev/null, where a pipe's unwanted bytes go; -1 until needed */
	uint8_t *shown;     /* for stream_look into the spool */
};

void stream_init(struct stream *s, int fd, const char *name);
void stream_release(struct stream *s);

/* Up to n bytes at off, fewer only at the end. With take, bytes below off + n are forgotten. */
int stream_read(struct stream *s, uint64_t off, void *p, size_t n, size_t *got, bool take, struct err *e);
int stream_look(struct stream *s, uint64_t off, size_t want, const uint8_t **p, size_t *got, struct err *e);
int stream_size(struct stream *s, uint64_t *size, struct err *e);
void stream_forget(struct stream *s, uint64_t off);

/* Does the descriptor stand at off or before it with nothing to be kept on the way to off + len? */
bool stream_passes(const struct stream *s, uint64_t off, uint64_t len);

/* Takes what is unwanted before off out of the descriptor. */
int stream_skip(struct stream *s, uint64_t off, struct err *e);

#endif
