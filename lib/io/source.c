#include "io/source.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/xalloc.h"
#include "io/fd.h"
#include "io/stream.h"

/*
 * A look at a place of its own reads at least LOOK_MIN; one that goes on from the last, or begins at most LOOK_GAP
 * behind it, reads SOURCE_LOOK_MAX.
 */
enum { LOOK_MIN = 1024, LOOK_GAP = 4096 };

enum kind { REGULAR, STREAM, MEMORY };

struct source {
	enum kind kind;
	char *name, *spool_dir;
	const struct diag *diag;
	int fd;               /* REGULAR */
	off_t base;           /* REGULAR: where offset 0 is */
	uint64_t size;        /* not STREAM */
	struct stat st;       /* as it was when opened */
	const uint8_t *bytes; /* MEMORY */
	uint8_t *look;        /* REGULAR: look_len bytes at look_off */
	uint64_t look_off;
	size_t look_len;
	struct stream stream;
};

static struct source *
source_new(enum kind kind, const char *name)
{
	struct source *s = xcalloc(1, sizeof(*s));

	s->kind = kind;
	s->name = xstrdup(name);
	s->fd = -1;
	return s;
}

/* Size and start of a file that pread can read; false if it is to be read forward. */
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
		/* Size 0 may also mean that the kernel makes up the file as it is read (/proc). */
		return false;
	}
	if (end < 0)
		return false;
	s->base = here;
	s->size = end > here ? (uint64_t)(end - here) : 0;
	return true;
}

int
source_fd(struct source **out, int fd, const char *name, const struct source_opts *opts, struct err *e)
{
	struct source *s;
	struct stat st;

	*out = NULL;
	if (fstat(fd, &st) < 0) {
		err_sys(e, name, "cannot read");
		close(fd);
		return -1;
	}
	if (S_ISDIR(st.st_mode)) {
		close(fd);
		return err_input(e, name, "is a directory");
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
source_open(struct source **out, const char *path, const struct source_opts *opts, struct err *e)
{
	int fd = fd_open(path, O_RDONLY | O_NOCTTY);

	*out = NULL;
	if (fd < 0)
		return err_sys(e, path, "cannot open");
	return source_fd(out, fd, path, opts, e);
}

struct source *
source_memory(const void *p, size_t len, const char *name)
{
	struct source *s = source_new(MEMORY, name);

	s->bytes = p;
	s->size = len;
	return s;
}

void
source_close(struct source *s)
{
	if (s == NULL)
		return;
	if (s->fd >= 0)
		close(s->fd);
	if (s->kind == STREAM)
		stream_release(&s->stream);
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
source_size(struct source *s, uint64_t *size, struct err *e)
{
	if (s->kind == STREAM)
		return stream_size(&s->stream, size, e);
	*size = s->size;
	return 0;
}

/* How many of n bytes at off lie below the end of what has a fixed size. */
static size_t
present(const struct source *s, uint64_t off, size_t n)
{
	uint64_t left = off < s->size ? s->size - off : 0;

	return left < n ? (size_t)left : n;
}

/* Exactly n bytes of a regular file, known to have been there when it was opened. */
static int
read_regular(const struct source *s, uint64_t off, void *p, size_t n, struct err *e)
{
	ssize_t r = fd_pread(s->fd, p, n, s->base + (off_t)off);

	if (r < 0)
		return err_sys(e, s->name, "read error");
	if ((size_t)r < n)
		return err_at(e, s->name, off + (uint64_t)r, "the file became shorter while it was read");
	return 0;
}

static int
read_some(struct source *s, uint64_t off, void *p, size_t n, size_t *got, bool take, struct err *e)
{
	if (s->kind == STREAM)
		return stream_read(&s->stream, off, p, n, got, take, e);
	*got = n = present(s, off, n);
	if (s->kind == REGULAR)
		return read_regular(s, off, p, n, e);
	if (n > 0)
		memcpy(p, s->bytes + off, n);
	return 0;
}

static int
read_all(struct source *s, uint64_t off, void *p, size_t n, bool take, struct err *e)
{
	size_t got;
	uint64_t end = off, size;

	if (read_some(s, off, p, n, &got, take, e) < 0)
		return -1;
	if (got == n)
		return 0;
	/* Where off itself lies behind the end, the end is the place to name. */
	end += got;
	if (source_size(s, &size, e) < 0)
		return -1;
	if (got == 0 && size < off)
		return err_input(e, s->name, "cut off: it ends at byte %" PRIu64 ", %" PRIu64 " bytes too early", size,
				 off - size + n);
	return err_input(e, s->name, "cut off: %zu more bytes expected at byte %" PRIu64, n - got, end);
}

int
source_read(struct source *s, uint64_t off, void *p, size_t n, struct err *e)
{
	return read_all(s, off, p, n, false, e);
}

int
source_read_some(struct source *s, uint64_t off, void *p, size_t n, size_t *got, struct err *e)
{
	return read_some(s, off, p, n, got, false, e);
}

int
source_take(struct source *s, uint64_t off, void *p, size_t n, struct err *e)
{
	return read_all(s, off, p, n, true, e);
}

int
source_next(struct source *s, uint64_t off, void *p, size_t n, struct err *e)
{
	bool take = s->kind == STREAM && s->stream.forgotten >= off && s->stream.keep <= off;

	return read_all(s, off, p, n, take, e);
}

static int
look_regular(struct source *s, uint64_t off, size_t want, const uint8_t **p, struct err *e)
{
	bool near = off >= s->look_off && off - s->look_off <= s->look_len + LOOK_GAP;
	size_t n;

	if (!near || off - s->look_off + want > s->look_len) {
		if (s->look == NULL)
			s->look = xmalloc(SOURCE_LOOK_MAX);
		n = present(s, off, near ? SOURCE_LOOK_MAX : want < LOOK_MIN ? LOOK_MIN : want);
		s->look_len = 0;
		if (read_regular(s, off, s->look, n, e) < 0)
			return -1;
		s->look_off = off;
		s->look_len = n;
	}
	*p = s->look + (off - s->look_off);
	return 0;
}

int
source_look(struct source *s, uint64_t off, size_t want, const uint8_t **p, size_t *got, struct err *e)
{
	if (want > SOURCE_LOOK_MAX)
		want = SOURCE_LOOK_MAX;
	if (s->kind == STREAM)
		return stream_look(&s->stream, off, want, p, got, e);
	*got = want = present(s, off, want);
	*p = (const uint8_t *)"";
	if (want == 0)
		return 0;
	if (s->kind == REGULAR)
		return look_regular(s, off, want, p, e);
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
		diag_verbose(s->diag, "%s: the stream is kept as it comes: %s", s->name, why);
}

int
source_verify(struct source *s, struct err *e)
{
	struct stat st;

	if (s->kind != REGULAR)
		return 0;
	if (fstat(s->fd, &st) < 0)
		return err_sys(e, s->name, "cannot check that it did not change");
	if (st.st_size != s->st.st_size || st.st_mtim.tv_sec != s->st.st_mtim.tv_sec ||
	    st.st_mtim.tv_nsec != s->st.st_mtim.tv_nsec)
		return err_input(e, s->name, "changed while it was read");
	return 0;
}

int
source_raw(struct source *s, uint64_t off, uint64_t len, struct source_raw *raw, struct err *e)
{
	struct source_raw none = { -1, false, false, -1, 0 };

	*raw = none;
	if (s->kind == REGULAR && off <= s->size && len <= s->size - off) {
		raw->fd = s->fd;
		raw->regular = true;
		raw->pos = s->base + (off_t)off;
	}
	if (s->kind == STREAM && stream_passes(&s->stream, off, len)) {
		if (stream_skip(&s->stream, off, e) < 0)
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
