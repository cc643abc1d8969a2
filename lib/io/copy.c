/*
 * sink_copy: bytes from a source to a sink, in the kernel where it can be done
 * there. Each way falls back to the next where the file systems do not have it.
 */
#include "io/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "base/xalloc.h"
#include "io/crc32.h"
#include "io/fd.h"
#include "io/sink_impl.h"

/* What passes through memory goes in pieces of this size: larger ones leave the processor's cache. */
#define PIECE ((size_t)1 << 20)

/* Pages of a file, as the kernel copies them. */
enum { PAGE = 4096 };

/* So few bytes are not worth a read of their own. */
enum { FEW = 16 * 1024 };

/* The most asked of the kernel at once; short enough for what sink_passed does. */
#define KERNEL_PIECE ((uint64_t)64 << 20)

/* Copies n bytes, a few, that others close by will follow: one read serves many. */
static int
copy_few(struct sink *s, struct source *src, uint64_t off, size_t n, uint32_t *crc, struct err *e)
{
	const uint8_t *p;
	size_t got;

	if (source_look(src, off, n, &p, &got, e) < 0)
		return -1;
	if (got < n) {
		char end[FEW];

		return source_read(src, off, end, n, e); /* which says what is wrong */
	}
	if (crc != NULL)
		*crc = crc32_add(*crc, p, n);
	return sink_write(s, p, n, e);
}

/* Copies n bytes at *off through memory and moves *off. With take the source may forget them. */
static int
copy_through(struct sink *s, struct source *src, uint64_t *off, uint64_t n, bool take, uint32_t *crc, struct err *e)
{
	size_t size = n < PIECE ? (size_t)n : PIECE;
	int status = 0;
	char *p;

	if (n <= FEW) {
		status = n > 0 ? copy_few(s, src, *off, size, crc, e) : 0;
		*off += n;
		if (take && status == 0)
			source_forget(src, *off);
		return status;
	}
	if (s->piece == NULL)
		s->piece = xmalloc(PIECE);
	p = s->piece;
	while (n > 0 && status == 0) {
		size_t some = n < size ? (size_t)n : size;

		status = (take ? source_take : source_read)(src, *off, p, some, e);
		if (status == 0) {
			if (crc != NULL)
				*crc = crc32_add(*crc, p, some);
			status = sink_write(s, p, some, e);
		}
		*off += some;
		n -= some;
	}
	return status;
}

/*
 * Do pages of the source lie on pages of the sink? If they do not the kernel writes every page in two parts, which takes
 * longer than two copies through memory.
 */
static bool
pages_meet(const struct sink *s, const struct source_raw *raw)
{
	off_t to = lseek(s->fd, 0, SEEK_CUR);

	return to < 0 || (to - raw->pos) % PAGE == 0;
}

/* Errors that belong to the sink for certain. What any other means, the read and the write of copy_through will say. */
static bool
sink_is_full(int sysno)
{
	return sysno == ENOSPC || sysno == EDQUOT || sysno == EFBIG || sysno == EPIPE;
}

typedef ssize_t (*move_fn)(const struct source_raw *raw, loff_t *pos, int to, size_t n);

static ssize_t
move_range(const struct source_raw *raw, loff_t *pos, int to, size_t n)
{
	return copy_file_range(raw->fd, pos, to, NULL, n, 0);
}

static ssize_t
move_sendfile(const struct source_raw *raw, loff_t *pos, int to, size_t n)
{
	return sendfile(to, raw->fd, pos, n);
}

static ssize_t
move_splice(const struct source_raw *raw, loff_t *pos, int to, size_t n)
{
	(void)pos;
	return splice(raw->fd, NULL, to, NULL, n, SPLICE_F_MOVE | SPLICE_F_MORE);
}

/*
 * Has the kernel move up to n bytes and counts in *done how many it did: fewer if it cannot go on this way (then *works
 * is cleared, so that it is not tried again) or if the input has ended.
 */
static int
move(struct sink *s, const struct source_raw *raw, move_fn fn, bool *works, uint64_t n, uint64_t *done, struct err *e)
{
	loff_t pos = raw->pos;

	*done = 0;
	while (*works && *done < n) {
		uint64_t left = n - *done;
		ssize_t r = fn(raw, &pos, s->fd, (size_t)(left < KERNEL_PIECE ? left : KERNEL_PIECE));

		if (r > 0) {
			*done += (uint64_t)r;
			s->at += (uint64_t)r;
			sink_passed(s, (size_t)r);
		} else if (r == 0) {
			break;
		} else if (errno == EAGAIN) {
			/* Either end may be meant. */
			*works = fd_retry(raw->fd, POLLIN) && (errno = EAGAIN, fd_retry(s->fd, POLLOUT));
		} else if (sink_is_full(errno)) {
			return sink_error(s, e);
		} else {
			*works = errno == EINTR;
		}
	}
	return 0;
}

/* The bytes of [*off, end) that the kernel can move; *off is moved on. */
static int
copy_kernel(struct sink *s, struct source *src, uint64_t *off, uint64_t end, struct err *e)
{
	struct source_raw raw;
	uint64_t done;

	if (source_raw(src, *off, end - *off, &raw, e) < 0)
		return -1;
	if (raw.fd < 0)
		return 0;
	if (copy_through(s, src, off, raw.buffered, true, NULL, e) < 0 || sink_flush(s, e) < 0)
		return -1;
	if (!raw.regular) {
		if (move(s, &raw, move_splice, &s->splices, end - *off, &done, e) < 0)
			return -1;
		source_advance(src, done);
		*off += done;
		return 0;
	}
	if (s->regular && !pages_meet(s, &raw))
		return 0;
	if (s->regular) {
		if (move(s, &raw, move_range, &s->ranges, end - *off, &done, e) < 0)
			return -1;
		*off += done;
		raw.pos += (off_t)done;
	}
	if (move(s, &raw, move_sendfile, &s->sendfiles, end - *off, &done, e) < 0)
		return -1;
	*off += done;
	return 0;
}

int
sink_copy(struct sink *s, struct source *src, uint64_t off, uint64_t len, uint32_t *crc, struct err *e)
{
	uint64_t end = off + len, free_until = end;
	struct source_raw raw;

	if (end < off)
		return err_set(e, ERR_INPUT, "%s: a range that ends beyond every file", source_name(src));
	/* What is held back stays in memory. */
	if (s->at + len > s->hold)
		free_until = s->at < s->hold ? off + (s->hold - s->at) : off;
	if (s->kind == SINK_MEMORY || s->failed || crc != NULL)
		free_until = off;
	if (free_until - off >= SINK_BUFFER && copy_kernel(s, src, &off, free_until, e) < 0)
		return -1;
	if (off == end)
		return 0;
	/* A stream that would have been passed on unkept need not be kept on this way either. */
	if (source_raw(src, off, end - off, &raw, e) < 0)
		return -1;
	return copy_through(s, src, &off, end - off, raw.passes, crc, e);
}
