#include "io/source.h"

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
#include "io/undo.h"

/*
 * A stream is read forward. Its bytes are, in this order, in a spool file (only if more bytes are kept than the window may hold),
 * in the window in memory, and still unread in the descriptor.
 */

/* The most bytes read ahead, so that most of the data does not pass through the window. */
#define STREAM_AHEAD ((size_t)64 << 10)

struct stream {
	int fd;
	bool pipe, eof;
	const char *name, *spool_dir; /* borrowed */
	const struct diag *diag;
	uint64_t pos;       /* bytes read from fd so far */
	uint64_t forgotten; /* bytes below this offset are not needed */
	uint64_t keep;      /* bytes below this offset must not be forgotten by source_next and sink_copy (source_keep) */
	uint8_t *win;       /* bytes pos - len .. pos - 1 start at win + start */
	size_t cap, start, len, limit;
	int spool;                      /* file with the spool_len bytes before the window; -1 if there is none */
	uint64_t spool_len, spool_skip; /* the first spool_skip bytes of the file are forgotten */
	int null;                       /* /dev/null, where skipped bytes of a pipe go; -1 until needed */
	uint8_t *shown;                 /* buffer of stream_look for bytes in the spool */
};

/* A read of n bytes at off into p. If take is true, a stream forgets the bytes below off + n. */
struct request {
	uint64_t off;
	uint8_t *p;
	size_t n;
	bool take;
	size_t got; /* result: fewer than n only at the end of the input */
};

/* Reads up to n bytes. Returns their number, 0 at the end, or -1 with errno set. */
static ssize_t
read_fd(int fd, void *p, size_t n)
{
	ssize_t r;

	if (n > SOURCE_REQUEST)
		n = SOURCE_REQUEST;
	while ((r = read(fd, p, n)) < 0 && fd_retry(fd, POLLIN))
		;
	return r;
}

/* ---- streams */

/* The window's limit once there is a spool file: the size of pieces added to it. */
#define SPOOL_PIECE ((size_t)4 << 20)

static size_t
at_most(uint64_t n, size_t most)
{
	return n < most ? (size_t)n : most;
}

static void
stream_init(struct stream *s, int fd, const char *name)
{
	struct stat st;

	memset(s, 0, sizeof(*s));
	s->fd = fd;
	s->name = name;
	s->spool = s->null = -1;
	s->pipe = fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode);
	/* A larger pipe means fewer switches between the two programs. If it is not allowed, the old size is kept. */
	if (s->pipe && fcntl(fd, F_GETPIPE_SZ) < 1 << 20)
		(void)fcntl(fd, F_SETPIPE_SZ, 1 << 20);
}

static void
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

/* The offset at which the window begins. */
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

/* Frees the space of forgotten bytes. */
static void
trim(struct stream *s)
{
	uint64_t off = s->forgotten, n;

	if (s->spool_len > 0 && off > spool_off(s)) {
		n = off - spool_off(s);
		n = n < s->spool_len ? n : s->spool_len;
		s->spool_len -= n;
		s->spool_skip += n;
		/* An empty spool file is reused from its beginning. Its disk blocks are released; a failure does no harm. */
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

static void
stream_forget(struct stream *s, uint64_t off)
{
	if (off <= s->forgotten)
		return;
	s->forgotten = off;
	trim(s);
}

/* A window of more bytes is shrunk when it is nearly empty. */
enum { LARGE = 2 << 20 };

/* Returns space for n more bytes after the window's contents. */
static uint8_t *
reserve(struct stream *s, size_t n)
{
	bool shrink = s->cap > LARGE && s->len + n < s->cap / 8;

	if ((shrink || s->cap - s->start - s->len < n) && s->start > 0) {
		memmove(s->win, s->win + s->start, s->len);
		s->start = 0;
	}
	/* A window that has held a large pickle is shrunk after the pickle is forgotten. */
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
spool_error(const struct stream *s, struct err *err)
{
	return err_sys(err, s->name, "cannot keep the stream in a temporary file in %s (TMPDIR names the folder)", s->spool_dir);
}

static int
spool_open(struct stream *s, struct err *err)
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
		return spool_error(s, err);
	diag_verbose(s->diag, "%s: more than %zu MiB must be kept for later: they go to an unlinked temporary file in %s", s->name,
		     s->limit >> 20, s->spool_dir);
	return 0;
}

/* Moves the window's contents to the end of the spool file. */
static int
spill(struct stream *s, struct err *err)
{
	if (s->spool < 0 && spool_open(s, err) < 0)
		return -1;
	if (fd_pwrite(s->spool, s->win + s->start, s->len, (off_t)(s->spool_skip + s->spool_len)) < 0)
		return spool_error(s, err);
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
fetch(struct stream *s, void *p, size_t n, size_t *got, struct err *err)
{
	ssize_t r = read_fd(s->fd, p, n);

	*got = 0;
	if (r < 0)
		return err_sys(err, s->name, "read error");
	s->eof = r == 0;
	s->pos += (uint64_t)r;
	*got = (size_t)r;
	return 0;
}

/* Reads and discards the bytes before off that are not needed. */
static int
stream_skip(struct stream *s, uint64_t off, struct err *err)
{
	uint64_t to = off < s->forgotten ? off : s->forgotten;
	size_t got;

	trim(s);
	if (s->pipe && s->null < 0 && to > s->pos + STREAM_AHEAD)
		s->null = fd_open("/dev/null", O_WRONLY);
	while (!s->eof && s->pos < to) {
		ssize_t n;

		if (!s->pipe || s->null < 0) {
			uint8_t *p = reserve(s, STREAM_AHEAD);

			if (fetch(s, p, at_most(to - s->pos, STREAM_AHEAD), &got, err) < 0)
				return -1;
			continue;
		}
		n = splice(s->fd, NULL, s->null, NULL, at_most(to - s->pos, 1 << 30), SPLICE_F_MOVE);
		if (n >= 0) {
			s->eof = n == 0;
			s->pos += (uint64_t)n;
		} else if (!fd_retry(s->fd, POLLIN)) {
			s->pipe = false; /* use read instead, which reports the error */
		}
	}
	return 0;
}

/* Reads what is needed up to offset until into window and spool, and perhaps a little more. */
static int
fill(struct stream *s, uint64_t until, struct err *err)
{
	if (stream_skip(s, until, err) < 0)
		return -1;
	while (!s->eof && s->pos < until) {
		size_t n, got;
		uint8_t *p;

		if (s->len >= s->limit && spill(s, err) < 0)
			return -1;
		n = at_most(until - s->pos, SOURCE_REQUEST);
		n = at_most(n < STREAM_AHEAD ? STREAM_AHEAD : n, s->limit - s->len);
		p = reserve(s, n);
		if (fetch(s, p, n, &got, err) < 0)
			return -1;
		s->len += got;
	}
	return 0;
}

/* Copies up to n bytes at off, which is below pos, from spool or window. *got is their number. */
static int
from_memory(struct stream *s, uint64_t off, uint8_t *p, size_t n, size_t *got, struct err *err)
{
	if (off >= win_off(s)) {
		*got = at_most(s->pos - off, n);
		memcpy(p, s->win + s->start + (off - win_off(s)), *got);
		return 0;
	}
	*got = at_most(win_off(s) - off, n);
	ssize_t r = fd_pread(s->spool, p, *got, (off_t)(s->spool_skip + (off - spool_off(s))));
	if (r < 0)
		return err_sys(err, s->name, "cannot read back what was kept in %s", s->spool_dir);
	if ((size_t)r < *got)
		return err_input(err, s->name, "the temporary file in %s was cut off", s->spool_dir);
	return 0;
}

static int
check_offset(const struct stream *s, uint64_t off, struct err *err)
{
	if (off >= s->forgotten)
		return 0;
	return err_at(err, s->name, off, "these bytes of the stream were not kept");
}

/* Reads up to n bytes at off; fewer only at the end of the stream. */
static int
stream_read(struct stream *s, struct request *r, struct err *err)
{
	size_t n = r->n < UINT64_MAX - r->off ? r->n : (size_t)(UINT64_MAX - r->off), some;

	if (check_offset(s, r->off, err) < 0)
		return -1;
	for (; r->got < n; r->got += some) {
		uint64_t at = r->off + r->got;
		uint8_t *to = r->p + r->got;
		size_t left = n - r->got;

		some = 0;
		if (r->take)
			stream_forget(s, at);
		if (at < s->pos) {
			if (from_memory(s, at, to, left, &some, err) < 0)
				return -1;
		} else if (r->take && left >= STREAM_AHEAD) {
			if (stream_skip(s, at, err) < 0)
				return -1;
			if (!s->eof && fetch(s, to, left, &some, err) < 0)
				return -1;
			stream_forget(s, s->pos);
			if (s->eof)
				break;
		} else {
			/* Reads in pieces, so that the window need not hold all n bytes at once. */
			if (fill(s, at + at_most(left, 1 << 20), err) < 0)
				return -1;
			if (at >= s->pos)
				break;
		}
	}
	if (r->take)
		stream_forget(s, r->off + r->got);
	return 0;
}

static int
stream_look(struct stream *s, uint64_t off, size_t most, const uint8_t **p, size_t *got, struct err *err)
{
	*got = 0;
	*p = (const uint8_t *)"";
	if (check_offset(s, off, err) < 0)
		return -1;
	if (most > UINT64_MAX - off)
		most = (size_t)(UINT64_MAX - off);
	trim(s);
	if (off + most > s->pos && fill(s, off + most, err) < 0)
		return -1;
	if (off >= s->pos)
		return 0;
	if (off < win_off(s)) {
		struct request r = { .off = off, .n = most };

		if (s->shown == NULL)
			s->shown = xmalloc(SOURCE_LOOK_MAX);
		*p = r.p = s->shown;
		if (stream_read(s, &r, err) < 0)
			return -1;
		*got = r.got;
		return 0;
	}
	*p = s->win + s->start + (off - win_off(s));
	*got = at_most(s->pos - off, most);
	return 0;
}

static int
stream_size(struct stream *s, uint64_t *size, struct err *err)
{
	if (fill(s, UINT64_MAX, err) < 0)
		return -1;
	*size = s->pos;
	return 0;
}

/*
 * Returns true if bytes off .. off + len - 1 need not be kept: nothing before off is still needed, and at least a part of the range
 * is unread.
 */
static bool
stream_passes(const struct stream *s, uint64_t off, uint64_t len)
{
	return s->forgotten >= off && s->keep <= off && (off >= s->pos || len > s->pos - off);
}

/* ---- sources */

/*
 * A look at an unrelated place reads at least LOOK_MIN bytes. A look that continues the last one, or begins at most LOOK_GAP bytes
 * after it, reads SOURCE_LOOK_MAX.
 */
enum { LOOK_MIN = 1024, LOOK_GAP = 4096 };

enum source_kind { REGULAR, STREAM, MEMORY };

struct source {
	enum source_kind kind;
	char *name, *spool_dir;
	const struct diag *diag;
	int fd;               /* REGULAR */
	bool part;            /* REGULAR: fd belongs to another source */
	off_t base;           /* REGULAR: file offset of byte 0 */
	uint64_t size;        /* not set for a STREAM */
	struct stat st;       /* status when it was opened */
	const uint8_t *bytes; /* MEMORY */
	struct buf text;      /* MEMORY: owner of bytes, if made */
	bool made;
	uint8_t *look; /* REGULAR: look_len bytes at look_off */
	uint64_t look_off;
	size_t look_len;
	struct stream stream;
};

static struct source *
source_new(enum source_kind kind, const char *name)
{
	struct source *s = xcalloc(1, sizeof(*s));

	s->kind = kind;
	s->name = xstrdup(name);
	s->fd = -1;
	return s;
}

/* Sets size and start of a file that pread can read. Returns false if it must be read as a stream. */
static bool
measure(struct source *s, int fd)
{
	off_t end, here = lseek(fd, 0, SEEK_CUR);

	if (here < 0)
		return false;
	if (S_ISBLK(s->st.st_mode)) {
		end = lseek(fd, 0, SEEK_END);
	} else if (S_ISREG(s->st.st_mode) && s->st.st_size > 0) {
		end = s->st.st_size;
	} else {
		/* Size 0 may also mean that the kernel generates the contents while they are read (/proc). */
		return false;
	}
	if (end < 0)
		return false;
	s->base = here;
	s->size = end > here ? (uint64_t)(end - here) : 0;
	return true;
}

int
source_fd(struct source **out, int fd, const char *name, const struct source_opts *opts, struct err *err)
{
	struct source *s;
	struct stat st;

	*out = NULL;
	if (fstat(fd, &st) < 0) {
		err_sys(err, name, "cannot read");
		close(fd);
		return -1;
	}
	if (S_ISDIR(st.st_mode)) {
		close(fd);
		return err_input(err, name, "is a directory");
	}
	s = source_new(REGULAR, name);
	s->st = st;
	s->diag = opts ? opts->diag : NULL;
	if (measure(s, fd)) {
		s->fd = fd;
	} else {
		s->kind = STREAM;
		s->spool_dir = xstrdup(opts && opts->spool_dir && opts->spool_dir[0] != '\0' ? opts->spool_dir : "/tmp");
		stream_init(&s->stream, fd, s->name);
		s->stream.spool_dir = s->spool_dir;
		s->stream.diag = s->diag;
		s->stream.limit = opts && opts->window ? (size_t)opts->window : (size_t)SOURCE_WINDOW;
	}
	*out = s;
	return 0;
}

int
source_open(struct source **out, const char *path, const struct source_opts *opts, struct err *err)
{
	int fd;

	*out = NULL;
	if (undo_notice(path, false, opts != NULL ? opts->diag : NULL, err) < 0)
		return -1;
	fd = fd_open(path, O_RDONLY | O_NOCTTY);
	if (fd < 0)
		return err_sys(err, path, "cannot open");
	return source_fd(out, fd, path, opts, err);
}

struct source *
source_memory(const void *p, size_t len, const char *name)
{
	struct source *s = source_new(MEMORY, name);

	s->bytes = p;
	s->size = len;
	return s;
}

struct source *
source_part(const struct source *whole, uint64_t off, uint64_t n, const char *name)
{
	struct source *s = source_new(REGULAR, name);

	s->fd = whole->fd;
	s->part = true;
	s->st = whole->st;
	s->base = whole->base + (off_t)off;
	s->size = off > whole->size ? 0 : n < whole->size - off ? n : whole->size - off;
	return s;
}

struct source *
source_text(struct buf *text, const char *name)
{
	struct source *s = source_memory(text->p, text->len, name);

	s->text = *text;
	s->made = true;
	*text = (struct buf)BUF_INIT;
	return s;
}

bool
source_is_made(const struct source *s)
{
	return s->made;
}

void
source_close(struct source *s)
{
	if (s == NULL)
		return;
	if (s->fd >= 0 && !s->part)
		close(s->fd);
	if (s->kind == STREAM)
		stream_release(&s->stream);
	buf_release(&s->text);
	free(s->look);
	free(s->spool_dir);
	free(s->name);
	free(s);
}

const char *
source_name(const struct source *s)
{
	return s->name;
}

bool
source_is_stream(const struct source *s)
{
	return s->kind == STREAM;
}

bool
source_is_file(const struct source *s, dev_t dev, ino_t ino)
{
	return s->kind != MEMORY && s->st.st_dev == dev && s->st.st_ino == ino;
}

int
source_size(struct source *s, uint64_t *size, struct err *err)
{
	if (s->kind == STREAM)
		return stream_size(&s->stream, size, err);
	*size = s->size;
	return 0;
}

int
source_to_file(struct source *s, const char *dir, struct err *err)
{
	struct stream *st = &s->stream;

	if (s->kind != STREAM)
		return 0;
	st->spool_dir = dir;
	if (stream_size(st, &s->size, err) < 0 || spill(st, err) < 0)
		return -1;
	s->kind = REGULAR;
	s->fd = st->spool;
	s->base = (off_t)st->spool_skip;
	st->spool = -1;
	stream_release(st);
	return fstat(s->fd, &s->st) < 0 ? err_sys(err, s->name, "cannot read") : 0;
}

/* Returns how many of n bytes at off are below the end. Not for streams. */
static size_t
present(const struct source *s, uint64_t off, size_t n)
{
	uint64_t left = off < s->size ? s->size - off : 0;

	return left < n ? (size_t)left : n;
}

/* Reads exactly n bytes of a regular file. They existed when it was opened. */
static int
read_regular(const struct source *s, uint64_t off, void *p, size_t n, struct err *err)
{
	ssize_t r = fd_pread(s->fd, p, n, s->base + (off_t)off);

	if (r < 0)
		return err_sys(err, s->name, "read error");
	if ((size_t)r < n)
		return err_at(err, s->name, off + (uint64_t)r, "the file became shorter while it was read");
	return 0;
}

static int
read_some(struct source *s, struct request *r, struct err *err)
{
	if (s->kind == STREAM)
		return stream_read(&s->stream, r, err);
	r->got = present(s, r->off, r->n);
	if (s->kind == REGULAR)
		return read_regular(s, r->off, r->p, r->got, err);
	if (r->got > 0)
		memcpy(r->p, s->bytes + r->off, r->got);
	return 0;
}

static int
read_all(struct source *s, struct request r, struct err *err)
{
	uint64_t size;
	size_t left;

	if (read_some(s, &r, err) < 0)
		return -1;
	if (r.got == r.n)
		return 0;
	left = r.n - r.got;
	if (source_size(s, &size, err) < 0)
		return -1;
	/* If off itself is beyond the end, the message names the end. */
	if (r.got == 0 && size < r.off)
		return err_input(err, s->name, "cut off: it ends at byte %" PRIu64 ", %" PRIu64 " bytes too early", size,
				 r.off - size + left);
	return err_input(err, s->name, "cut off: %zu more bytes expected at byte %" PRIu64, left, r.off + r.got);
}

int
source_read(struct source *s, uint64_t off, void *p, size_t n, struct err *err)
{
	return read_all(s, (struct request){ .off = off, .p = p, .n = n }, err);
}

int
source_read_some(struct source *s, uint64_t off, void *p, size_t n, size_t *got, struct err *err)
{
	struct request r = { .off = off, .p = p, .n = n };
	int rc = read_some(s, &r, err);

	*got = r.got;
	return rc;
}

int
source_slurp(struct source *s, uint64_t most, struct buf *text, struct err *err)
{
	const size_t start = text->len;
	size_t got;

	do {
		char *p = buf_reserve(text, SOURCE_LOOK_MAX);

		if (source_read_some(s, text->len - start, p, SOURCE_LOOK_MAX, &got, err) < 0)
			return -1;
		text->len += got;
		source_forget(s, text->len - start);
	} while (got > 0 && text->len - start <= most);
	return text->len - start > most;
}

int
source_take(struct source *s, uint64_t off, void *p, size_t n, struct err *err)
{
	return read_all(s, (struct request){ .off = off, .p = p, .n = n, .take = true }, err);
}

int
source_next(struct source *s, uint64_t off, void *p, size_t n, struct err *err)
{
	bool take = s->kind == STREAM && s->stream.forgotten >= off && s->stream.keep <= off;

	return read_all(s, (struct request){ .off = off, .p = p, .n = n, .take = take }, err);
}

static int
look_regular(struct source *s, uint64_t off, size_t most, const uint8_t **p, struct err *err)
{
	bool near = off >= s->look_off && off - s->look_off <= s->look_len + LOOK_GAP;
	size_t n;

	if (!near || off - s->look_off + most > s->look_len) {
		if (s->look == NULL)
			s->look = xmalloc(SOURCE_LOOK_MAX);
		n = present(s, off, near ? SOURCE_LOOK_MAX : most < LOOK_MIN ? LOOK_MIN : most);
		s->look_len = 0;
		if (read_regular(s, off, s->look, n, err) < 0)
			return -1;
		s->look_off = off;
		s->look_len = n;
	}
	*p = s->look + (off - s->look_off);
	return 0;
}

int
source_look(struct source *s, uint64_t off, size_t most, const uint8_t **p, size_t *got, struct err *err)
{
	if (most > 0 && off >= s->look_off && off - s->look_off <= s->look_len && most <= s->look_len - (off - s->look_off)) {
		*p = s->look + (off - s->look_off);
		*got = most;
		return 0;
	}
	if (most > SOURCE_LOOK_MAX)
		most = SOURCE_LOOK_MAX;
	if (s->kind == STREAM)
		return stream_look(&s->stream, off, most, p, got, err);
	*got = most = present(s, off, most);
	*p = (const uint8_t *)"";
	if (most == 0)
		return 0;
	if (s->kind == REGULAR)
		return look_regular(s, off, most, p, err);
	*p = s->bytes + off;
	return 0;
}

uint64_t
source_ready(const struct source *s, uint64_t off)
{
	uint64_t end = s->kind == STREAM ? s->stream.pos : s->size;

	return off < end ? end - off : 0;
}

void
source_forget(struct source *s, uint64_t off)
{
	if (s->kind == STREAM)
		stream_forget(&s->stream, off);
}

void
source_keep(struct source *s, uint64_t off)
{
	if (s->kind == STREAM && off > s->stream.keep)
		s->stream.keep = off;
}

void
source_explain(const struct source *s, const char *why)
{
	if (s->kind == STREAM)
		diag_verbose(s->diag, "%s: the stream is kept while it is read: %s", s->name, why);
}

int
source_verify(struct source *s, struct err *err)
{
	struct stat st;

	if (s->kind != REGULAR)
		return 0;
	if (fstat(s->fd, &st) < 0)
		return err_sys(err, s->name, "cannot check that it did not change");
	if (st.st_size != s->st.st_size || st.st_mtim.tv_sec != s->st.st_mtim.tv_sec || st.st_mtim.tv_nsec != s->st.st_mtim.tv_nsec)
		return err_input(err, s->name, "changed while it was read");
	return 0;
}

int
source_raw(struct source *s, uint64_t off, uint64_t len, struct source_raw *raw, struct err *err)
{
	*raw = (struct source_raw){ .fd = -1 };
	if (s->kind == REGULAR && off <= s->size && len <= s->size - off) {
		raw->fd = s->fd;
		raw->regular = true;
		raw->base = s->base;
	}
	if (s->kind == STREAM && stream_passes(&s->stream, off, len)) {
		if (stream_skip(&s->stream, off, err) < 0)
			return -1;
		raw->passes = true;
		raw->fd = s->stream.pipe ? s->stream.fd : -1;
		raw->buffered = s->stream.pos > off ? s->stream.pos - off : 0;
	}
	return 0;
}

void
source_advance(struct source *s, uint64_t n)
{
	if (s->kind != STREAM)
		return;
	s->stream.pos += n;
	stream_forget(&s->stream, s->stream.pos);
}
