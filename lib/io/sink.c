#include "io/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/xalloc.h"
#include "io/fd.h"
#include "io/folder.h"
#include "io/replace.h"
#include "io/sink_impl.h"

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
sink_fd(struct sink **out, int fd, const char *name, struct err *e)
{
	struct stat st;

	*out = NULL;
	if (fstat(fd, &st) < 0)
		return err_sys(e, name, "cannot write");
	*out = sink_new(SINK_FD, name);
	(*out)->fd = fd;
	(*out)->borrowed = true;
	(*out)->regular = S_ISREG(st.st_mode);
	if (S_ISFIFO(st.st_mode) && fcntl(fd, F_GETPIPE_SZ) < 1 << 20)
		(void)fcntl(fd, F_SETPIPE_SZ, 1 << 20);
	return 0;
}

int
sink_file(struct sink **out, const char *path, struct err *e)
{
	struct replace *r = NULL;
	int fd;

	*out = NULL;
	if (replace_open(&r, &fd, path, e) < 0)
		return -1;
	if (r == NULL) {
		if (sink_fd(out, fd, path, e) < 0) {
			close(fd);
			return -1;
		}
		(*out)->borrowed = false;
		return 0;
	}
	*out = sink_new(SINK_FILE, path);
	(*out)->fd = fd;
	(*out)->regular = true;
	(*out)->replace = r;
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
	s->hold = at;
}

int
sink_error(struct sink *s, struct err *e)
{
	s->failed = true;
	return err_sys(e, s->name, "write error");
}

void
sink_passed(struct sink *s, size_t n)
{
	s->passed += n;
	if (s->kind != SINK_FILE || s->passed - s->leaving < SINK_BEGIN)
		return;
	/* A hint: where it is not understood, fsync does it all. */
	(void)sync_file_range(s->fd, (off_t)s->leaving, (off_t)(s->passed - s->leaving), SYNC_FILE_RANGE_WRITE);
	s->leaving = s->passed;
}

/* Passes n bytes on. */
static int
pass(struct sink *s, const void *p, size_t n, struct err *e)
{
	if (fd_write(s->fd, p, n) < 0)
		return sink_error(s, e);
	sink_passed(s, n);
	return 0;
}

/* Nothing more is written after the first failure. */
static int
failed_before(const struct sink *s, struct err *e)
{
	return err_set(e, ERR_SYSTEM, "%s: an earlier write failed", s->name);
}

int
sink_flush(struct sink *s, struct err *e)
{
	size_t n = s->len;

	if (s->failed)
		return failed_before(s, e);
	s->len = 0;
	return n > 0 ? pass(s, s->buf, n, e) : 0;
}

int
sink_write(struct sink *s, const void *p, size_t n, struct err *e)
{
	const char *from = p;
	size_t now = n, room;

	if (s->failed)
		return failed_before(s, e);
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
	/* The buffer is filled up, so that what leaves it are whole blocks; what is large does not pass through it. */
	while (now > 0) {
		if (s->len == 0 && now >= SINK_BUFFER) {
			size_t whole = now - now % SINK_BUFFER;

			if (pass(s, from, whole, e) < 0)
				return -1;
			from += whole;
			now -= whole;
			continue;
		}
		room = SINK_BUFFER - s->len;
		room = now < room ? now : room;
		memcpy(s->buf + s->len, from, room);
		s->len += room;
		from += room;
		now -= room;
		if (s->len == SINK_BUFFER && sink_flush(s, e) < 0)
			return -1;
	}
	return 0;
}

/* Passes on what was held back. */
static int
release(struct sink *s, struct err *e)
{
	if (s->held.len == 0)
		return 0;
	if (s->kind == SINK_MEMORY) {
		if (s->memory != NULL)
			buf_add(s->memory, s->held.p, s->held.len);
		return 0;
	}
	return pass(s, s->held.p, s->held.len, e);
}

/* Where nothing can be synced (a pipe, some file systems) there is nothing to be waited for. */
static int
sync_file(struct sink *s, struct err *e)
{
	while (fsync(s->fd) < 0) {
		if (errno == EINTR)
			continue;
		if (errno == EINVAL || errno == EOPNOTSUPP)
			break;
		return sink_error(s, e);
	}
	return 0;
}

int
sink_commit(struct sink *s, struct err *e)
{
	int fd = s->fd, status = 0;

	if (sink_flush(s, e) < 0 || release(s, e) < 0)
		status = -1;
	if (status == 0 && s->kind == SINK_FILE)
		status = sync_file(s, e);
	/* A close that was interrupted has closed all the same. */
	s->fd = -1;
	if (fd >= 0 && close(fd) < 0 && errno != EINTR && status == 0)
		status = sink_error(s, e);
	if (s->replace != NULL) {
		if (status == 0)
			status = replace_commit(s->replace, e);
		else
			replace_abort(s->replace);
	}
	sink_free(s);
	return status;
}

void
sink_abort(struct sink *s)
{
	if (s == NULL)
		return;
	if (s->replace != NULL)
		replace_abort(s->replace);
	sink_free(s);
}

void
sink_emergency(void)
{
	replace_emergency();
	folder_emergency();
}
