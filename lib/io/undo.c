#include "io/undo.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/xalloc.h"
#include "io/crc32.h"
#include "io/fd.h"
#include "io/sink.h"

/* ---- the list of writes */

void
undo_release(struct undo_edit *u)
{
	free(u->writes);
	free(u->cuts);
	free(u->holes);
	arena_release(&u->arena);
	*u = (struct undo_edit){ 0 };
}

void
undo_write(struct undo_edit *u, uint64_t off, struct str bytes)
{
	*xpush(u->writes, u->nwrites, u->cap_writes) = (struct undo_bytes){ off, arena_str(&u->arena, bytes) };
}

/* ---- the journal */

/*
 * The journal consists of the magic bytes, the length and CRC-32 of what follows, struct undo_numbers, the ranges to be cut out,
 * the ranges whose old bytes are saved, and these bytes. Once the edit is committed, the mark follows. All numbers are
 * little-endian with eight bytes.
 */
static const char magic[] = "LNNUNDO1", mark[] = "LNNDONE1";
enum { MAGIC = 8, PROLOGUE = MAGIC + 16, SAMPLES = 2, SAMPLE_MIN = 512, SAMPLE_MAX = 4096 };
#define JOURNAL_MAX ((uint64_t)1 << 29)

/* Bytes that the edit does not change. Recovery uses them to identify the file. */
struct undo_sample {
	uint64_t off, len, crc;
};

struct undo_numbers {
	uint64_t size, insert, guard_at, guard_old, guard_new, guard_bad, ncuts, nold, inode, time;
	struct undo_sample samples[SAMPLES];
};

enum { NUMBERS = sizeof(struct undo_numbers) / 8 };

/* The contents of a journal, and the state of an edit or a recovery. */
struct undo_job {
	const char *path;
	char *journal, *folder; /* path of the journal, and its folder */
	int fd;
	union {
		struct undo_numbers n;
		uint64_t numbers[NUMBERS];
	} u;
	struct undo_range *cuts;
	struct undo_bytes *old; /* saved bytes; offsets are those of the old file */
	bool committed;
	struct buf text;
};

static void
job_init(struct undo_job *j, const char *path, int fd)
{
	const int dir = (int)path_folder(path);
	struct buf b = BUF_INIT;

	*j = (struct undo_job){ .path = path, .fd = fd, .text = BUF_INIT };
	buf_addf(&b, "%.*s.%s.lnn-undo", dir, path, path + dir);
	j->journal = b.p;
	j->folder = dir > 0 ? xstrndup(path, (size_t)dir) : xstrdup(".");
}

static void
job_release(struct undo_job *j)
{
	free(j->journal);
	free(j->folder);
	free(j->cuts);
	free(j->old);
	buf_release(&j->text);
}

static int
broken(const struct undo_job *j, const char *what, struct err *err)
{
	return err_sys(err, j->path, "the edit in place: cannot %s", what);
}

static int
sync_folder(const struct undo_job *j, struct err *err)
{
	int fd = fd_open(j->folder, O_RDONLY | O_DIRECTORY), rc;

	rc = fd < 0 || fd_sync(fd) < 0 ? broken(j, "sync its folder", err) : 0;
	if (fd >= 0)
		close(fd);
	return rc;
}

static int
sync_file(const struct undo_job *j, struct err *err)
{
	return fd_sync(j->fd) < 0 ? broken(j, "sync it", err) : 0;
}

static int
put(const struct undo_job *j, uint64_t off, struct str bytes, struct err *err)
{
	return fd_pwrite(j->fd, bytes.p, bytes.len, (off_t)off) < 0 ? broken(j, "write", err) : 0;
}

/* Writes value to the guard and syncs. */
static int
put_guard(const struct undo_job *j, uint64_t value, struct err *err)
{
	uint8_t p[UNDO_GUARD];

	put_le64(p, value);
	return put(j, j->u.n.guard_at, str_n((const char *)p, sizeof(p)), err) < 0 ? -1 : sync_file(j, err);
}

static int
get(const struct undo_job *j, uint64_t off, void *p, size_t n, struct err *err)
{
	ssize_t got = fd_pread(j->fd, p, n, (off_t)off);

	if (got < 0)
		return broken(j, "read", err);
	return (size_t)got < n ? err_input(err, j->path, "the edit in place: the file has become shorter") : 0;
}

/* If the folder is not synced, a crash may bring the journal back. Recovery would then repeat what is already done. */
static int
remove_journal(const struct undo_job *j, struct err *err)
{
	struct err ignored = ERR_INIT;

	if (unlink(j->journal) < 0)
		return broken(j, "remove its journal", err);
	(void)sync_folder(j, &ignored);
	return 0;
}

/* ---- identifying the file */

/* All bytes of the file from offset from on are shifted by len. len 0 means no shift. */
struct undo_shift {
	uint64_t from, len;
};

static int
sample_crc(const struct undo_job *j, const struct undo_sample *s, const struct undo_shift *shift, uint64_t *crc)
{
	size_t len = (size_t)s->len, here = 0; /* bytes before the shift */
	char p[SAMPLE_MAX];

	if (s->len > sizeof(p))
		return -1;
	if (s->off < shift->from)
		here = shift->from - s->off < len ? (size_t)(shift->from - s->off) : len;
	if (fd_pread(j->fd, p, here, (off_t)s->off) != (ssize_t)here ||
	    fd_pread(j->fd, p + here, len - here, (off_t)(s->off + here + shift->len)) != (ssize_t)(len - here))
		return -1;
	*crc = crc32_add(0, p, len);
	return 0;
}

/*
 * Uses the start of [off, end) as the first sample and the end of it as the last one, unless the range is short and the sample is
 * better already.
 */
static void
offer_sample(struct undo_job *j, uint64_t off, uint64_t end)
{
	uint64_t len = end - off < SAMPLE_MAX ? end - off : SAMPLE_MAX;
	struct undo_sample *s = j->u.n.samples;

	if (off <= j->u.n.guard_at && j->u.n.guard_at < end)
		return;
	if (s[0].len < SAMPLE_MIN && len > s[0].len)
		s[0] = (struct undo_sample){ .off = off, .len = len };
	if (len >= SAMPLE_MIN || len > s[1].len)
		s[1] = (struct undo_sample){ .off = end - len, .len = len };
}

/* Samples the start of the first unchanged range and the end of the last one. */
static void
choose_samples(struct undo_job *j)
{
	uint64_t end = 0, limit = j->u.n.ncuts > 0 ? j->cuts[0].off : j->u.n.size;

	for (size_t i = 0; i < j->u.n.nold && j->old[i].off <= limit; i++) {
		if (j->old[i].off > end)
			offer_sample(j, end, j->old[i].off);
		end = j->old[i].off + j->old[i].bytes.len;
	}
	if (end < limit)
		offer_sample(j, end, limit);
}

/* ---- writing the journal */

static int
by_offset(const void *a, const void *b)
{
	const struct undo_bytes *x = a, *y = b;

	return (x->off > y->off) - (x->off < y->off);
}

/* Returns the range of the old file that a write overwrites. */
static struct undo_range
covered(const struct undo_edit *u, const struct undo_bytes *w)
{
	uint64_t from = w->off > u->insert ? w->off - u->insert : 0, to = w->off + w->bytes.len;

	to = to > u->insert ? to - u->insert : 0;
	if (from <= u->guard_at && to > u->guard_at)
		from = u->guard_at + UNDO_GUARD;
	return (struct undo_range){ from, to > from ? to - from : 0 };
}

static int
keep_old(struct undo_job *j, struct undo_edit *u, struct err *err)
{
	uint8_t guard[UNDO_GUARD];

	for (size_t i = 0; i < u->nwrites; i++) {
		struct undo_range r = covered(u, &u->writes[i]);
		char *p = arena_bytes(&u->arena, (size_t)r.len);

		if (get(j, r.off, p, (size_t)r.len, err) < 0)
			return -1;
		if (r.len > 0)
			j->old[j->u.n.nold++] = (struct undo_bytes){ r.off, str_n(p, (size_t)r.len) };
	}
	if (get(j, u->guard_at, guard, sizeof(guard), err) < 0)
		return -1;
	j->u.n.guard_old = get_le64(guard);
	return 0;
}

static void
put_journal(struct undo_job *j)
{
	struct buf body = BUF_INIT;

	for (size_t i = 0; i < NUMBERS; i++)
		buf_le64(&body, j->u.numbers[i]);
	for (size_t i = 0; i < j->u.n.ncuts; i++) {
		buf_le64(&body, j->cuts[i].off);
		buf_le64(&body, j->cuts[i].len);
	}
	for (size_t i = 0; i < j->u.n.nold; i++) {
		buf_le64(&body, j->old[i].off);
		buf_le64(&body, j->old[i].bytes.len);
	}
	for (size_t i = 0; i < j->u.n.nold; i++)
		buf_addstr(&body, j->old[i].bytes);
	buf_add(&j->text, magic, MAGIC);
	buf_le64(&j->text, body.len);
	buf_le64(&j->text, crc32_add(0, body.p, body.len));
	buf_addstr(&j->text, buf_str(&body));
	buf_release(&body);
}

static int
make_journal(struct undo_job *j, struct undo_edit *u, struct err *err)
{
	const struct undo_shift none = { 0, 0 };
	struct stat st;

	if (fstat(j->fd, &st) < 0)
		return broken(j, "read", err);
	if ((uint64_t)st.st_size != u->size)
		return err_input(err, j->path, "it has changed since it was read");
	j->u.n = (struct undo_numbers){ .size = u->size,
					.insert = u->insert,
					.guard_at = u->guard_at,
					.guard_new = u->guard,
					.guard_bad = u->bad,
					.ncuts = u->ncuts,
					.inode = st.st_ino,
					.time = (uint64_t)st.st_mtim.tv_sec };
	j->cuts = xreallocn(NULL, u->ncuts, sizeof(*j->cuts));
	if (u->ncuts > 0)
		memcpy(j->cuts, u->cuts, u->ncuts * sizeof(*j->cuts));
	j->old = xreallocn(NULL, u->nwrites, sizeof(*j->old));
	if (keep_old(j, u, err) < 0)
		return -1;
	if (j->u.n.nold > 0)
		qsort(j->old, j->u.n.nold, sizeof(*j->old), by_offset);
	choose_samples(j);
	for (size_t i = 0; i < SAMPLES; i++)
		if (sample_crc(j, &j->u.n.samples[i], &none, &j->u.n.samples[i].crc) < 0)
			return broken(j, "read", err);
	put_journal(j);
	if (j->text.len > JOURNAL_MAX)
		return err_input(err, j->path, "its index is too large to be edited in place: -o FILE");
	return 0;
}

/* Opens a sink for the journal. Nobody may read the journal who may not read the file. */
static int
open_journal(const struct undo_job *j, struct sink **out, struct err *err)
{
	struct stat st;
	mode_t mask;
	int rc;

	if (fstat(j->fd, &st) < 0)
		return broken(j, "read", err);
	mask = umask(~st.st_mode & 0777);
	rc = sink_file(out, j->journal, err);
	umask(mask);
	return rc;
}

static int
write_journal(const struct undo_job *j, struct err *err)
{
	struct sink *out;

	if (open_journal(j, &out, err) < 0)
		return -1;
	if (sink_write(out, j->text.p, j->text.len, err) < 0) {
		sink_abort(out);
		return -1;
	}
	if (sink_commit(out, err) < 0)
		return -1;
	if (sync_folder(j, err) < 0) {
		(void)unlink(j->journal);
		return -1;
	}
	return 0;
}

/* Appends the mark to the journal, or removes it. */
static int
set_mark(struct undo_job *j, bool committed, struct err *err)
{
	int fd = fd_open(j->journal, O_WRONLY), rc = fd < 0 ? -1 : 0;

	j->committed = true; /* after a failure, the mark may or may not be there */
	if (rc == 0)
		rc = committed ? fd_pwrite(fd, mark, MAGIC, (off_t)j->text.len) : ftruncate(fd, (off_t)j->text.len);
	if (rc == 0)
		rc = fd_sync(fd);
	if (rc < 0)
		broken(j, "write its journal", err);
	else
		j->committed = committed;
	if (fd >= 0)
		close(fd);
	return rc;
}

/* ---- reading the journal */

static int
garbage(const struct undo_job *j, struct err *err)
{
	return err_input(err, j->path,
			 "%s beside it is not a valid undo journal of an edit in place: if the file itself is in order, "
			 "remove the journal",
			 j->journal);
}

/* Parses the text of the journal; false if it is malformed. Checks that ranges lie in the file and that cuts are in order. */
static bool
parse(struct undo_job *j)
{
	struct cursor c = cursor_of(j->text.p, j->text.len);
	const uint8_t *p = cursor_bytes(&c, MAGIC);
	uint64_t len = cursor_u64(&c), crc = cursor_u64(&c), at = 0;
	struct undo_numbers *n = &j->u.n;

	if (p == NULL || memcmp(p, magic, MAGIC) != 0 || len > cursor_left(&c) || len < sizeof(j->u) ||
	    crc != crc32_add(0, j->text.p + PROLOGUE, (size_t)len))
		return false;
	p = (const uint8_t *)j->text.p + PROLOGUE + len;
	j->committed = cursor_left(&c) - len == MAGIC && memcmp(p, mark, MAGIC) == 0;
	j->text.len = PROLOGUE + (size_t)len;
	for (size_t i = 0; i < NUMBERS; i++)
		j->u.numbers[i] = cursor_u64(&c);
	if (n->ncuts > len / 16 || n->nold > len / 16 || n->size > INT64_MAX || n->insert > INT64_MAX - n->size ||
	    n->size < UNDO_GUARD || n->guard_at > n->size - UNDO_GUARD || (j->committed && n->ncuts == 0))
		return false;
	j->cuts = xcalloc((size_t)n->ncuts + 1, sizeof(*j->cuts));
	j->old = xcalloc((size_t)n->nold + 1, sizeof(*j->old));
	for (size_t i = 0; i < n->ncuts; i++) {
		j->cuts[i] = (struct undo_range){ cursor_u64(&c), cursor_u64(&c) };
		if (j->cuts[i].off < at || j->cuts[i].off > n->size || j->cuts[i].len > n->size - j->cuts[i].off)
			return false;
		at = j->cuts[i].off + j->cuts[i].len;
	}
	for (size_t i = 0; i < n->nold; i++) {
		j->old[i].off = cursor_u64(&c);
		j->old[i].bytes.len = (size_t)cursor_u64(&c);
	}
	for (size_t i = 0; i < n->nold; i++) {
		j->old[i].bytes.p = (const char *)cursor_bytes(&c, j->old[i].bytes.len);
		if (c.failed || j->old[i].off > n->size || j->old[i].bytes.len > n->size - j->old[i].off)
			return false;
	}
	return !c.failed;
}

/* Returns 1 if there is a journal, 0 if there is none. */
static int
read_journal(struct undo_job *j, struct err *err)
{
	int fd = fd_open(j->journal, O_RDONLY | O_NONBLOCK), rc = 1;
	struct stat st;
	ssize_t n = 0;

	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ENAMETOOLONG))
		return 0;
	if (fd < 0)
		return broken(j, "read its journal", err);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size > JOURNAL_MAX) {
		rc = garbage(j, err);
	} else {
		n = fd_pread(fd, buf_reserve(&j->text, (size_t)st.st_size), (size_t)st.st_size, 0);
		j->text.len = n > 0 ? (size_t)n : 0;
		if (n < 0)
			rc = broken(j, "read its journal", err);
		else if (!parse(j))
			rc = garbage(j, err);
	}
	close(fd);
	return rc;
}

/* ---- inserting and cutting out ranges, which a crash can leave half done */

/*
 * Returns the offset of the hole of len bytes that belongs at off. The file system moves the bytes after a range block by block, so
 * that after a crash the hole may be at a later offset. (A file with other holes is not edited in this way.)
 */
static uint64_t
hole_at(int fd, uint64_t off, uint64_t len)
{
	off_t size = lseek(fd, 0, SEEK_END), hole = lseek(fd, 0, SEEK_HOLE), data;

	/* Every file has a hole after its last byte. */
	if (hole < 0 || hole >= size || (uint64_t)hole <= off)
		return off;
	data = lseek(fd, hole, SEEK_DATA);
	return (uint64_t)(data < 0 ? size : data) > off + len ? (uint64_t)hole : off;
}

static int
file_size(const struct undo_job *j, uint64_t *size, struct err *err)
{
	struct stat st;

	if (fstat(j->fd, &st) < 0)
		return broken(j, "read", err);
	*size = (uint64_t)st.st_size;
	return 0;
}

/* Cuts out the len bytes at off of a file of the given size. A range that reaches the end is truncated. */
static int
take_out(const struct undo_job *j, uint64_t off, uint64_t len, uint64_t size, struct err *err)
{
	uint64_t at = off + len < size ? hole_at(j->fd, off, len) : off;
	int rc;

	if (at + len >= size)
		rc = ftruncate(j->fd, (off_t)(size - len));
	else
		rc = fallocate(j->fd, FALLOC_FL_COLLAPSE_RANGE, (off_t)at, (off_t)len);
	return rc < 0 ? broken(j, "remove a part of it (perhaps the file system cannot: -o FILE)", err) : 0;
}

/* A file with holes cannot have ranges inserted or cut out: hole_at could not tell its holes from the moving one. */
static int
check_whole(const struct undo_job *j, struct err *err)
{
	if (j->u.n.insert == 0 && j->u.n.ncuts == 0)
		return 0;
	if (sync_file(j, err) < 0)
		return -1;
	if (lseek(j->fd, 0, SEEK_HOLE) < (off_t)j->u.n.size)
		return err_input(err, j->path, "it has holes, so nothing can be inserted or removed in place: -o FILE");
	return 0;
}

/* Returns how the bytes of the old file are shifted now. */
static struct undo_shift
shift_now(const struct undo_job *j, uint64_t size)
{
	const struct undo_numbers *n = &j->u.n;

	if (n->insert == 0 || size != n->size + n->insert)
		return (struct undo_shift){ 0, 0 };
	return (struct undo_shift){ hole_at(j->fd, 0, n->insert), n->insert };
}

/* Returns true if the file is the one of the journal, in any state that an interrupted edit may have left. */
static bool
is_file(const struct undo_job *j)
{
	const struct undo_numbers *n = &j->u.n;
	struct err ignored = ERR_INIT;
	uint64_t size = 0, possible = n->size, crc;
	struct undo_shift shift;
	size_t i = (size_t)n->ncuts;

	if (file_size(j, &size, &ignored) < 0)
		return false;
	while (j->committed && i > 0 && size != possible)
		possible -= j->cuts[--i].len;
	if (size != possible && size != n->size + n->insert)
		return false;
	shift = shift_now(j, size);
	for (i = 0; i < SAMPLES; i++)
		if (sample_crc(j, &n->samples[i], &shift, &crc) < 0 || crc != n->samples[i].crc)
			return false;
	return true;
}

/* ---- rolling back or finishing */

/* Restores the old file. Until all its bytes are back, the guard keeps readers away. */
static int
roll_back(struct undo_job *j, struct err *err)
{
	const struct undo_numbers *n = &j->u.n;
	uint64_t size = 0;

	if (put_guard(j, n->guard_bad, err) < 0 || file_size(j, &size, err) < 0)
		return -1;
	if (n->insert > 0 && size == n->size + n->insert &&
	    (take_out(j, 0, n->insert, size, err) < 0 || put_guard(j, n->guard_bad, err) < 0))
		return -1;
	for (size_t i = 0; i < n->nold; i++)
		if (put(j, j->old[i].off, j->old[i].bytes, err) < 0)
			return -1;
	if (sync_file(j, err) < 0 || put_guard(j, n->guard_old, err) < 0)
		return -1;
	return remove_journal(j, err);
}

/* Cuts out the ranges, the last one first. The size of the file tells which are already gone. */
static int
cut(const struct undo_job *j, struct err *err)
{
	uint64_t before = j->u.n.size, size = 0;

	if (file_size(j, &size, err) < 0)
		return -1;
	for (size_t i = (size_t)j->u.n.ncuts; i-- > 0; before -= j->cuts[i].len) {
		if (size != before)
			continue;
		if (take_out(j, j->cuts[i].off, j->cuts[i].len, size, err) < 0 || sync_file(j, err) < 0)
			return -1;
		size -= j->cuts[i].len;
	}
	return 0;
}

static int
finish(const struct undo_job *j, struct err *err)
{
	if (put_guard(j, j->u.n.guard_bad, err) < 0 || cut(j, err) < 0 || put_guard(j, j->u.n.guard_new, err) < 0)
		return -1;
	return remove_journal(j, err);
}

/* ---- applying an edit */

/* Does the steps from the bad guard to the new guard. */
static int
edit(struct undo_job *j, const struct undo_edit *u, struct err *err)
{
	if (put_guard(j, u->bad, err) < 0)
		return -1;
	if (u->insert > 0 && fallocate(j->fd, FALLOC_FL_INSERT_RANGE, 0, (off_t)u->insert) < 0)
		return broken(j, "insert into it (perhaps the file system cannot: -o FILE)", err);
	for (size_t i = 0; i < u->nwrites; i++)
		if (put(j, u->writes[i].off, u->writes[i].bytes, err) < 0)
			return -1;
	if (sync_file(j, err) < 0 || (u->ncuts > 0 && (set_mark(j, true, err) < 0 || cut(j, err) < 0)))
		return -1;
	return put_guard(j, u->guard, err);
}

/* Returns true if the edit can still be undone, which is the case until a range is cut out, fully or in part. */
static bool
can_undo(struct undo_job *j)
{
	struct err ignored = ERR_INIT;
	uint64_t size = 0;

	if (!j->committed)
		return true;
	return file_size(j, &size, &ignored) == 0 && size == j->u.n.size && lseek(j->fd, 0, SEEK_HOLE) >= (off_t)size &&
	       set_mark(j, false, &ignored) == 0;
}

/* Undoes a failed edit, or finishes it if that is no longer possible. */
static void
undo(struct undo_job *j, struct err *err)
{
	const bool back = can_undo(j);
	struct err again = ERR_INIT, why = *err;
	int rc = back ? roll_back(j, &again) : finish(j, &again);

	if (back && rc == 0)
		return;
	err_clear(err);
	if (rc == 0)
		err_set(err, why.code, "%s; the edit itself is complete", why.msg);
	else
		err_set(err, why.code, "%s; the edit is incomplete: 'lnn-ckpt-adapt --recover %s' undoes or finishes it", why.msg,
			j->path);
}

static void
give_back(const struct undo_job *j, const struct undo_edit *u)
{
	for (size_t i = 0; i < u->nholes; i++)
		(void)fallocate(j->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)u->holes[i].off, (off_t)u->holes[i].len);
}

static void
hold_signals(sigset_t *before)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, before);
}

int
undo_apply(int fd, const char *path, struct undo_edit *u, int (*verify)(void *arg, struct err *err), void *arg, struct err *err)
{
	struct undo_job j;
	sigset_t before;
	int rc;

	job_init(&j, path, fd);
	hold_signals(&before);
	rc = make_journal(&j, u, err);
	if (rc == 0)
		rc = check_whole(&j, err);
	if (rc == 0)
		rc = write_journal(&j, err);
	if (rc == 0) {
		rc = edit(&j, u, err);
		if (rc == 0)
			rc = verify(arg, err);
		if (rc == 0)
			rc = remove_journal(&j, err);
		if (rc < 0)
			undo(&j, err);
	}
	if (rc == 0)
		give_back(&j, u);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	job_release(&j);
	return rc;
}

/* ---- after a crash */

static int
of_another(const struct undo_job *j, struct err *err)
{
	return err_input(err, j->path, "%s beside it is the undo journal of another file of that name: remove the journal",
			 j->journal);
}

int
undo_recover(const char *path, bool *finished, struct err *err)
{
	struct undo_job j;
	sigset_t before;
	int rc;

	job_init(&j, path, fd_open(path, O_RDWR));
	hold_signals(&before);
	rc = j.fd < 0 ? err_sys(err, path, "cannot open for writing") : read_journal(&j, err);
	if (rc == 0)
		rc = err_input(err, path, "no edit in place was interrupted here: there is no %s", j.journal);
	else if (rc > 0 && !is_file(&j))
		rc = of_another(&j, err);
	if (rc > 0)
		rc = j.committed ? finish(&j, err) : roll_back(&j, err);
	*finished = j.committed;
	if (j.fd >= 0)
		close(j.fd);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	job_release(&j);
	return rc;
}

/* Returns true if the journal still exists. An edit in progress may have ended meanwhile. */
static bool
still_there(const struct undo_job *j)
{
	return access(j->journal, F_OK) == 0;
}

static int
interrupted(const struct undo_job *j, struct err *err)
{
	return err_input(err, j->path, "an edit in place was interrupted: 'lnn-ckpt-adapt --recover %s' %s", j->path,
			 j->committed ? "finishes it" : "brings back the file as it was");
}

int
undo_notice(const char *path, bool strict, const struct diag *diag, struct err *err)
{
	struct undo_job j;
	int rc;

	job_init(&j, path, -1);
	rc = access(j.journal, F_OK) < 0 ? 0 : read_journal(&j, err);
	if (rc > 0) {
		j.fd = fd_open(path, O_RDONLY); /* blocks while an edit in progress holds its lease */
		if (j.fd < 0 || !is_file(&j))
			rc = strict ? of_another(&j, err) : 0;
		else
			rc = still_there(&j) ? interrupted(&j, err) : 0;
		if (rc == 0 && still_there(&j))
			diag_warn(diag, "%s: %s is the undo journal of another file of that name", path, j.journal);
	}
	if (j.fd >= 0)
		close(j.fd);
	job_release(&j);
	return rc;
}
