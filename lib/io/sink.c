#include "io/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/xalloc.h"
#include "io/atomic.h"
#include "io/crc32.h"
#include "io/fd.h"

/* The size of the write buffer. */
#define SINK_BUFFER ((size_t)128 << 10)

/* The least number of new bytes for which the kernel is told to start writing a file to disk. */
#define SINK_BEGIN ((uint64_t)8 << 20)

enum sink_kind { SINK_FILE, SINK_FD, SINK_MEMORY };

struct sink {
	enum sink_kind kind;
	char *name;
	int fd;
	bool borrowed;                   /* fd is not closed by abort */
	bool regular;                    /* fd is a regular file */
	bool ranges, sendfiles, splices; /* ways to copy that have not failed yet */
	bool failed;
	struct atomic *atomic; /* of a SINK_FILE; NULL if the file is part of a folder */
	struct buf *memory;    /* of a SINK_MEMORY; NULL if it only counts */
	uint64_t at, hold;
	uint64_t passed;  /* bytes written to fd */
	uint64_t leaving; /* of a SINK_FILE: bytes that the kernel was told to write to disk */
	char *buf;        /* len bytes not written yet; they come before the held bytes */
	size_t len;
	struct buf held;
	char *piece; /* buffer of copy_through; kept, because fresh memory costs as much as the copy */
};

static struct sink *
sink_new(enum sink_kind kind, const char *name)
{
	struct sink *s = xcalloc(1, sizeof(*s));

	s->kind = kind;
	s->name = xstrdup(name);
	s->fd = -1;
	s->hold = UINT64_MAX;
	s->ranges = s->sendfiles = s->splices = true;
	return s;
}

static void
sink_free(struct sink *s)
{
	if (s->fd >= 0 && !s->borrowed)
		close(s->fd);
	buf_release(&s->held);
	free(s->buf);
	free(s->piece);
	free(s->name);
	free(s);
}

int
sink_fd(struct sink **out, int fd, const char *name, struct err *err)
{
	struct stat st;

	*out = NULL;
	if (fstat(fd, &st) < 0)
		return err_sys(err, name, "cannot write");
	*out = sink_new(SINK_FD, name);
	(*out)->fd = fd;
	(*out)->borrowed = true;
	(*out)->regular = S_ISREG(st.st_mode);
	if (S_ISFIFO(st.st_mode) && fcntl(fd, F_GETPIPE_SZ) < 1 << 20)
		(void)fcntl(fd, F_SETPIPE_SZ, 1 << 20);
	return 0;
}

int
sink_file(struct sink **out, const char *path, struct err *err)
{
	struct atomic *r = NULL;
	int fd;

	*out = NULL;
	if (atomic_file(&r, &fd, path, err) < 0)
		return -1;
	if (r == NULL) {
		if (sink_fd(out, fd, path, err) < 0) {
			close(fd);
			return -1;
		}
		(*out)->borrowed = false;
		return 0;
	}
	*out = sink_new(SINK_FILE, path);
	(*out)->fd = fd;
	(*out)->regular = true;
	(*out)->atomic = r;
	return 0;
}

int
sink_part(struct sink **out, const char *path, struct err *err)
{
	int fd = fd_open(path, O_WRONLY | O_CREAT | O_EXCL);

	*out = NULL;
	if (fd < 0)
		return err_sys(err, path, "cannot open for writing");
	*out = sink_new(SINK_FILE, path);
	(*out)->fd = fd;
	(*out)->regular = true;
	return 0;
}

struct sink *
sink_memory(struct buf *b, const char *name)
{
	struct sink *s = sink_new(SINK_MEMORY, name);

	s->memory = b;
	return s;
}

const char *
sink_name(const struct sink *s)
{
	return s->name;
}

uint64_t
sink_at(const struct sink *s)
{
	return s->at;
}

void
sink_hold(struct sink *s, uint64_t at)
{
	if (s->atomic == NULL)
		s->hold = at;
}

/* Sets "write error" with errno, and returns -1. */
static int
write_error(struct sink *s, struct err *err)
{
	s->failed = true;
	return err_sys(err, s->name, "write error");
}

/*
 * Counts n bytes written to fd. From time to time tells the kernel to start writing the file to disk, because it will be synced in
 * the end. (If writing starts only at fsync, a GiB takes half as long again.)
 */
static void
count_passed(struct sink *s, size_t n)
{
	s->passed += n;
	if (s->kind != SINK_FILE || s->passed - s->leaving < SINK_BEGIN)
		return;
	/* This is only a hint: if it fails, fsync writes everything. */
	(void)sync_file_range(s->fd, (off_t)s->leaving, (off_t)(s->passed - s->leaving), SYNC_FILE_RANGE_WRITE);
	s->leaving = s->passed;
}

/* Writes all n bytes, in requests of at most SOURCE_REQUEST. Returns -1 with errno set on failure. */
static int
write_all(int fd, const void *p, size_t n)
{
	const char *from = p;

	while (n > 0) {
		ssize_t r = write(fd, from, n < SOURCE_REQUEST ? n : SOURCE_REQUEST);

		if (r >= 0) {
			from += r;
			n -= (size_t)r;
		} else if (!fd_retry(fd, POLLOUT)) {
			return -1;
		}
	}
	return 0;
}

/* Writes n bytes to fd. */
static int
pass(struct sink *s, const void *p, size_t n, struct err *err)
{
	if (write_all(s->fd, p, n) < 0)
		return write_error(s, err);
	count_passed(s, n);
	return 0;
}

/* Sets the error for a write after a failed write. */
static int
failed_before(const struct sink *s, struct err *err)
{
	return err_set(err, ERR_SYSTEM, "%s: an earlier write failed", s->name);
}

int
sink_flush(struct sink *s, struct err *err)
{
	size_t n = s->len;

	if (s->failed)
		return failed_before(s, err);
	s->len = 0;
	return n > 0 ? pass(s, s->buf, n, err) : 0;
}

int
sink_write(struct sink *s, const void *p, size_t n, struct err *err)
{
	const char *from = p;
	size_t now = n, part;

	if (s->failed)
		return failed_before(s, err);
	if (s->at >= s->hold)
		now = 0;
	else if (now > s->hold - s->at)
		now = (size_t)(s->hold - s->at);
	s->at += n;
	if (now < n)
		buf_add(&s->held, from + now, n - now);
	if (s->kind == SINK_MEMORY) {
		if (s->memory != NULL && now > 0)
			buf_add(s->memory, from, now);
		return 0;
	}
	if (s->buf == NULL)
		s->buf = xmalloc(SINK_BUFFER);
	/* The buffer is always filled completely, so that fd gets whole blocks. Whole blocks of large input bypass the buffer. */
	while (now > 0) {
		if (s->len == 0 && now >= SINK_BUFFER) {
			size_t whole = now - now % SINK_BUFFER;

			if (pass(s, from, whole, err) < 0)
				return -1;
			from += whole;
			now -= whole;
			continue;
		}
		part = SINK_BUFFER - s->len;
		part = now < part ? now : part;
		memcpy(s->buf + s->len, from, part);
		s->len += part;
		from += part;
		now -= part;
		if (s->len == SINK_BUFFER && sink_flush(s, err) < 0)
			return -1;
	}
	return 0;
}

/* Writes the held bytes. */
static int
release(struct sink *s, struct err *err)
{
	if (s->held.len == 0)
		return 0;
	if (s->kind == SINK_MEMORY) {
		if (s->memory != NULL)
			buf_add(s->memory, s->held.p, s->held.len);
		return 0;
	}
	return pass(s, s->held.p, s->held.len, err);
}

int
sink_commit(struct sink *s, struct err *err)
{
	int fd = s->fd, status = 0;

	if (sink_flush(s, err) < 0 || release(s, err) < 0)
		status = -1;
	if (status == 0 && s->atomic != NULL && fd_sync(s->fd) < 0)
		status = write_error(s, err);
	/* A close that fails with EINTR has closed the descriptor nevertheless. */
	s->fd = -1;
	if (fd >= 0 && close(fd) < 0 && errno != EINTR && status == 0)
		status = write_error(s, err);
	if (s->atomic != NULL) {
		if (status == 0)
			status = atomic_commit(s->atomic, err);
		else
			atomic_abort(s->atomic);
	}
	sink_free(s);
	return status;
}

void
sink_abort(struct sink *s)
{
	if (s == NULL)
		return;
	if (s->atomic != NULL)
		atomic_abort(s->atomic);
	sink_free(s);
}

/* The size of pieces copied through memory, a multiple of SINK_BUFFER. Larger pieces would not stay in the processor's cache. */
#define PIECE ((size_t)1 << 20)

/* The page size for copies by the kernel. */
enum { PAGE = 4096 };

/* Ranges up to this size are copied with source_look, which reads nearby bytes too. */
enum { SMALL_RANGE = 16 * 1024 };

/* The most bytes of one copy by the kernel, so that count_passed is called often enough. */
#define KERNEL_PIECE ((uint64_t)64 << 20)

/* Copies a small range of n bytes. Other small ranges often follow nearby, so that one read of source_look serves many. */
static int
copy_small(struct sink *s, struct source *src, uint64_t off, size_t n, uint32_t *crc, struct err *err)
{
	const uint8_t *p;
	size_t got;

	if (source_look(src, off, n, &p, &got, err) < 0)
		return -1;
	if (got < n) {
		char end[SMALL_RANGE];

		return source_read(src, off, end, n, err); /* reports the error */
	}
	if (crc != NULL)
		*crc = crc32_add(*crc, p, n);
	return sink_write(s, p, n, err);
}

/* A copy of bytes off .. end - 1 of src to s. */
struct copying {
	struct sink *s;
	struct source *src;
	uint64_t off, end;
	uint32_t *crc; /* updated with the bytes; may be NULL */
};

/*
 * Returns the address in s->piece to which the next bytes are read. Some processors (AMD Zen 3) take eight times as long for
 * the kernel's copies if the destination is 1 to 31 bytes after the source, modulo PAGE.
 */
static char *
piece_at(const struct copying *c)
{
	const uint64_t after = (c->s->at - c->off) % PAGE;
	char *page;

	if (c->s->piece == NULL)
		c->s->piece = xmalloc(PIECE + 3 * PAGE);
	page = c->s->piece + (PAGE - (uintptr_t)c->s->piece % PAGE);
	return page + c->off % PAGE + (after > 0 && after < 32 ? 64 : 0);
}

/* Copies the next n bytes through memory. If take is true, the source forgets them. */
static int
copy_through(struct copying *c, uint64_t n, bool take, struct err *err)
{
	int rc = 0;

	if (n <= SMALL_RANGE) {
		rc = n > 0 ? copy_small(c->s, c->src, c->off, (size_t)n, c->crc, err) : 0;
		c->off += n;
		if (take && rc == 0)
			source_forget(c->src, c->off);
		return rc;
	}
	while (n > 0 && rc == 0) {
		/* The first piece fills the buffer of the sink, so that the others bypass it. */
		size_t some = PIECE - c->s->len;
		char *p = piece_at(c);

		some = n < some ? (size_t)n : some;
		rc = (take ? source_take : source_read)(c->src, c->off, p, some, err);
		if (rc == 0) {
			if (c->crc != NULL)
				*c->crc = crc32_add(*c->crc, p, some);
			rc = sink_write(c->s, p, some, err);
		}
		c->off += some;
		n -= some;
	}
	return rc;
}

/*
 * Returns true if source and sink have the same offset within a page. Otherwise the kernel writes every page in two parts, which
 * takes longer than two copies through memory.
 */
static bool
pages_meet(const struct sink *s, const struct source_raw *raw, uint64_t off)
{
	off_t to = lseek(s->fd, 0, SEEK_CUR);

	return to < 0 || (to - raw->base - (off_t)off) % PAGE == 0;
}

/*
 * Returns true for errors that certainly come from the sink. For other errors, copy_through reads and writes again and reports
 * which side fails.
 */
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
 * Lets the kernel move the bytes up to end, and advances c->off by those that it moved. It moves fewer if the input ends, or if fn
 * does not work here; then *works is cleared, so that fn is not tried again.
 */
static int
move(struct copying *c, const struct source_raw *raw, move_fn fn, bool *works, uint64_t end, struct err *err)
{
	loff_t pos = raw->base + (off_t)c->off;

	while (*works && c->off < end) {
		uint64_t left = end - c->off;
		ssize_t r = fn(raw, &pos, c->s->fd, (size_t)(left < KERNEL_PIECE ? left : KERNEL_PIECE));

		if (r > 0) {
			c->off += (uint64_t)r;
			c->s->at += (uint64_t)r;
			count_passed(c->s, (size_t)r);
		} else if (r == 0) {
			break;
		} else if (errno == EAGAIN) {
			/* EAGAIN does not tell which descriptor is not ready. */
			*works = fd_retry(raw->fd, POLLIN) && (errno = EAGAIN, fd_retry(c->s->fd, POLLOUT));
		} else if (sink_is_full(errno)) {
			return write_error(c->s, err);
		} else {
			*works = errno == EINTR;
		}
	}
	return 0;
}

/* Copies as many bytes below end as the kernel can move. */
static int
copy_kernel(struct copying *c, uint64_t end, struct err *err)
{
	struct sink *s = c->s;
	struct source_raw raw;
	uint64_t from;

	if (source_raw(c->src, c->off, end - c->off, &raw, err) < 0)
		return -1;
	if (raw.fd < 0)
		return 0;
	if (copy_through(c, raw.buffered, true, err) < 0 || sink_flush(s, err) < 0)
		return -1;
	if (!raw.regular) {
		from = c->off;
		if (move(c, &raw, move_splice, &s->splices, end, err) < 0)
			return -1;
		source_advance(c->src, c->off - from);
		return 0;
	}
	if (s->regular && !pages_meet(s, &raw, c->off))
		return 0;
	if (s->regular && move(c, &raw, move_range, &s->ranges, end, err) < 0)
		return -1;
	return move(c, &raw, move_sendfile, &s->sendfiles, end, err);
}

int
sink_copy(struct sink *s, struct source *src, uint64_t off, uint64_t len, uint32_t *crc, struct err *err)
{
	struct copying c = { s, src, off, off + len, crc };
	uint64_t free_until = c.end;
	struct source_raw raw;

	if (c.end < off)
		return err_set(err, ERR_INPUT, "%s: a range ends beyond 2^64 bytes", source_name(src));
	/* Held bytes must stay in memory. */
	if (s->at + len > s->hold)
		free_until = s->at < s->hold ? off + (s->hold - s->at) : off;
	if (s->kind == SINK_MEMORY || s->failed || crc != NULL)
		free_until = off;
	if (free_until - off >= SINK_BUFFER && copy_kernel(&c, free_until, err) < 0)
		return -1;
	if (c.off == c.end)
		return 0;
	/* If a stream does not need to keep these bytes for later readers, they are forgotten as they are copied. */
	if (source_raw(src, c.off, c.end - c.off, &raw, err) < 0)
		return -1;
	return copy_through(&c, c.end - c.off, raw.passes, err);
}
