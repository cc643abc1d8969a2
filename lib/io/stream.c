#include "io/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/xalloc.h"
#include "io/fd.h"
#include "io/source.h"

/* Once there is a spool file, what is added to it goes in pieces of this size. */
#define SPOOL_PIECE ((size_t)4 << 20)

static size_t
at_most(uint64_t n, size_t most)
{
	return n < most ? (size_t)n : most;
}

void
stream_init(struct stream *s, int fd, const char *name)
{
	struct stat st;

	memset(s, 0, sizeof(*s));
	s->fd = fd;
	s->name = name;
	s->spool = s->null = -1;
	s->pipe = fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode);
	/* A larger pipe means fewer changes between the two programs; where it is not allowed, the old one does. */
	if (s->pipe && fcntl(fd, F_GETPIPE_SZ) < 1 << 20)
		(void)fcntl(fd, F_SETPIPE_SZ, 1 << 20);
}

void
stream_release(struct stream *s)
{
	if (s->fd >= 0)
		close(s->fd);
	if (s->spool >= 0)
		close(s->spool);
	if (s->null >= 0)
		close(s->null);
	free(s->win);
	free(s->shown);
}

/* The offsets at which window and spool begin. */
static uint64_t
win_off(const struct stream *s)
{
	return s->pos - s->len;
}

static uint64_t
spool_off(const struct stream *s)
{
	return win_off(s) - s->spool_len;
}

/* Drops what is forgotten. */
static void
trim(struct stream *s)
{
	uint64_t off = s->forgotten, n;

	if (s->spool_len > 0 && off > spool_off(s)) {
		n = off - spool_off(s);
		n = n < s->spool_len ? n : s->spool_len;
		s->spool_len -= n;
		s->spool_skip += n;
		/* An emptied file is used again from its beginning; giving its blocks back is a courtesy. */
		if (s->spool_len == 0) {
			(void)fallocate(s->spool, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)s->spool_skip);
			s->spool_skip = 0;
		}
	}
	if (s->spool_len == 0 && off > win_off(s)) {
		n = off - win_off(s);
		n = n < s->len ? n : s->len;
		s->start += (size_t)n;
		s->len -= (size_t)n;
	}
	if (s->len == 0)
		s->start = 0;
}

/* A window worth making smaller. */
enum { LARGE = 2 << 20 };

/* Room for n more bytes behind the window's contents. */
static uint8_t *
room(struct stream *s, size_t n)
{
	bool shrink = s->cap > LARGE && s->len + n < s->cap / 8;

	if ((shrink || s->cap - s->start - s->len < n) && s->start > 0) {
		memmove(s->win, s->win + s->start, s->len);
		s->start = 0;
	}
	/* A window that had to hold a large pickle is small again once that is forgotten. */
	if (shrink) {
		s->cap /= 4;
		s->win = xreallocn(s->win, s->cap, 1);
	}
	if (s->cap - s->len < n) {
		s->cap = s->len + n > 2 * s->cap ? s->len + n : 2 * s->cap;
		s->win = xreallocn(s->win, s->cap, 1);
	}
	return s->win + s->start + s->len;
}

static int
spool_error(const struct stream *s, struct err *e)
{
	return err_sys(e, s->name, "cannot keep the stream in a temporary file in %s (TMPDIR names the folder)",
		       s->spool_dir);
}

static int
spool_open(struct stream *s, struct err *e)
{
	char *path;
	size_t size;

	do
		s->spool = open(s->spool_dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	while (s->spool < 0 && errno == EINTR);
	if (s->spool < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT || errno == EINVAL)) {
		size = strlen(s->spool_dir) + sizeof("/lnn-spool-XXXXXX");
		path = xmalloc(size);
		strcat(strcpy(path, s->spool_dir), "/lnn-spool-XXXXXX");
		s->spool = mkostemp(path, O_CLOEXEC);
		if (s->spool >= 0 && unlink(path) < 0) {
			close(s->spool);
			s->spool = -1;
		}
		free(path);
	}
	if (s->spool < 0)
		return spool_error(s, e);
	diag_verbose(s->diag, "%s: more than %zu MiB have to wait: they are kept in an unlinked temporary file in %s",
		     s->name, s->limit >> 20, s->spool_dir);
	return 0;
}

/* Moves the window's contents to the end of the spool file. */
static int
spill(struct stream *s, struct err *e)
{
	size_t done = 0;

	if (s->spool < 0 && spool_open(s, e) < 0)
		return -1;
	while (done < s->len) {
		ssize_t n = pwrite(s->spool, s->win + s->start + done, at_most(s->len - done, SOURCE_REQUEST),
				   (off_t)(s->spool_skip + s->spool_len + done));
		if (n >= 0)
			done += (size_t)n;
		else if (!fd_retry(s->spool, POLLOUT))
			return spool_error(s, e);
	}
	s->spool_len += s->len;
	s->len = s->start = 0;
	if (s->limit > SPOOL_PIECE) {
		s->limit = SPOOL_PIECE;
		free(s->win);
		s->win = NULL;
		s->cap = 0;
	}
	return 0;
}

/* Reads up to n bytes from the descriptor to p. */
static int
fetch(struct stream *s, void *p, size_t n, size_t *got, struct err *e)
{
	ssize_t r = fd_read(s->fd, p, n);

	*got = 0;
	if (r < 0)
		return err_sys(e, s->name, "read error");
	s->eof = r == 0;
	s->pos += (uint64_t)r;
	*got = (size_t)r;
	return 0;
}

int
stream_skip(struct stream *s, uint64_t off, struct err *e)
{
	uint64_t to = off < s->forgotten ? off : s->forgotten;
	size_t got;

	trim(s);
	if (s->pipe && s->null < 0 && to > s->pos + STREAM_AHEAD)
		s->null = fd_open("/dev/null", O_WRONLY);
	while (!s->eof && s->pos < to) {
		ssize_t n;

		if (!s->pipe || s->null < 0) {
			uint8_t *p = room(s, STREAM_AHEAD);

			if (fetch(s, p, at_most(to - s->pos, STREAM_AHEAD), &got, e) < 0)
				return -1;
			continue;
		}
		n = splice(s->fd, NULL, s->null, NULL, at_most(to - s->pos, 1 << 30), SPLICE_F_MOVE);
		if (n >= 0) {
			s->eof = n == 0;
			s->pos += (uint64_t)n;
		} else if (!fd_retry(s->fd, POLLIN)) {
			s->pipe = false; /* then it is read, and the read says what is wrong */
		}
	}
	return 0;
}

/* Gets everything below until that is wanted into window and spool, and perhaps a little more. */
static int
fill(struct stream *s, uint64_t until, struct err *e)
{
	if (stream_skip(s, until, e) < 0)
		return -1;
	while (!s->eof && s->pos < until) {
		size_t n, got;
		uint8_t *p;

		if (s->len >= s->limit && spill(s, e) < 0)
			return -1;
		n = at_most(until - s->pos, SOURCE_REQUEST);
		n = at_most(n < STREAM_AHEAD ? STREAM_AHEAD : n, s->limit - s->len);
		p = room(s, n);
		if (fetch(s, p, n, &got, e) < 0)
			return -1;
		s->len += got;
	}
	return 0;
}

/* Copies from spool or window up to n bytes at off, which is below pos; how many they were. */
static int
from_memory(struct stream *s, uint64_t off, uint8_t *p, size_t n, size_t *got, struct err *e)
{
	if (off >= win_off(s)) {
		*got = at_most(s->pos - off, n);
		memcpy(p, s->win + s->start + (off - win_off(s)), *got);
		return 0;
	}
	*got = at_most(win_off(s) - off, n);
	ssize_t r = fd_pread(s->spool, p, *got, (off_t)(s->spool_skip + (off - spool_off(s))));
	if (r < 0)
		return err_sys(e, s->name, "cannot read back what was kept in %s", s->spool_dir);
	if ((size_t)r < *got)
		return err_input(e, s->name, "the temporary file in %s was cut off", s->spool_dir);
	return 0;
}

static int
check_offset(const struct stream *s, uint64_t off, struct err *e)
{
	if (off >= s->forgotten)
		return 0;
	return err_at(e, s->name, off, "these bytes of the stream have passed already");
}

int
stream_read(struct stream *s, uint64_t off, void *p, size_t n, size_t *got, bool take, struct err *e)
{
	uint8_t *to = p;
	size_t done = 0, some;

	*got = 0;
	if (check_offset(s, off, e) < 0)
		return -1;
	if (n > UINT64_MAX - off)
		n = (size_t)(UINT64_MAX - off);
	while (done < n) {
		uint64_t at = off + done;

		if (take)
			stream_forget(s, at);
		if (at < s->pos) {
			if (from_memory(s, at, to + done, n - done, &some, e) < 0)
				return -1;
		} else if (take && n - done >= STREAM_AHEAD) {
			if (stream_skip(s, at, e) < 0)
				return -1;
			some = 0;
			if (!s->eof && fetch(s, to + done, n - done, &some, e) < 0)
				return -1;
			stream_forget(s, s->pos);
			if (s->eof)
				break;
		} else {
			/* In pieces: what is read need not all be in the window at once. */
			if (fill(s, at + at_most(n - done, 1 << 20), e) < 0)
				return -1;
			if (at >= s->pos)
				break;
			some = 0;
		}
		done += some;
	}
	if (take)
		stream_forget(s, off + done);
	*got = done;
	return 0;
}

int
stream_look(struct stream *s, uint64_t off, size_t want, const uint8_t **p, size_t *got, struct err *e)
{
	*got = 0;
	*p = (const uint8_t *)"";
	if (check_offset(s, off, e) < 0)
		return -1;
	if (want > UINT64_MAX - off)
		want = (size_t)(UINT64_MAX - off);
	trim(s);
	if (off + want > s->pos && fill(s, off + want, e) < 0)
		return -1;
	if (off >= s->pos)
		return 0;
	if (off < win_off(s)) {
		if (s->shown == NULL)
			s->shown = xmalloc(SOURCE_LOOK_MAX);
		*p = s->shown;
		return stream_read(s, off, s->shown, want, got, false, e);
	}
	*p = s->win + s->start + (off - win_off(s));
	*got = at_most(s->pos - off, want);
	return 0;
}

int
stream_size(struct stream *s, uint64_t *size, struct err *e)
{
	if (fill(s, UINT64_MAX, e) < 0)
		return -1;
	*size = s->pos;
	return 0;
}

void
stream_forget(struct stream *s, uint64_t off)
{
	if (off <= s->forgotten)
		return;
	s->forgotten = off;
	trim(s);
}

bool
stream_passes(const struct stream *s, uint64_t off, uint64_t len)
{
	return s->forgotten >= off && s->keep <= off && (off >= s->pos || len > s->pos - off);
}
