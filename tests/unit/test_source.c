/*
 * source: the same bytes whether they come from a file, from memory, or down a
 * pipe whose writer gives 1, 7 or 4096 bytes at a time; what waits beyond the
 * window; what is said when the input ends too early.
 */
#include "io/source.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tap.h"

enum { SIZE = 300000 };

static unsigned char data[SIZE];
static char said[4096];
static char folder[] = "/tmp/lnn-test-source-XXXXXX";
static char path[64];

static void
hear(void *arg, enum diag_level level, const char *msg)
{
	(void)arg;
	snprintf(said, sizeof(said), "%d:%s", (int)level, msg);
}

static const struct diag diag = { hear, NULL };

/* Bytes that are written in the smallest pieces: more than the window of a look. Behind them pieces of 7 are small enough. */
enum { SMALLEST = 100000 };

/* A child that writes all of data in pieces; the reading end of its pipe (or socket). */
static int
writer(size_t piece, bool sock, pid_t *child)
{
	int fds[2];

	if ((sock ? socketpair(AF_UNIX, SOCK_STREAM, 0, fds) : pipe(fds)) < 0)
		tap_bail("no pipe");
	*child = fork();
	if (*child == 0) {
		close(fds[0]);
		for (size_t at = 0, n; at < SIZE; at += n) {
			n = at >= SMALLEST && piece == 1 ? 7 : piece;
			n = n < SIZE - at ? n : SIZE - at;

			if (write(fds[1], data + at, n) != (ssize_t)n)
				_exit(1);
		}
		_exit(0);
	}
	close(fds[1]);
	return fds[0];
}

static struct source *
from_writer(size_t piece, uint64_t window, pid_t *child)
{
	struct source_opts opts = { folder, &diag, window };
	struct err e = ERR_INIT;
	struct source *s;

	if (source_fd(&s, writer(piece, false, child), "pipe", &opts, &e) < 0)
		tap_bail(e.msg);
	return s;
}

static void
reap(pid_t child)
{
	int status;

	if (waitpid(child, &status, 0) != child)
		tap_bail("a child is lost");
}

static bool
reads(struct source *s, uint64_t off, size_t n)
{
	unsigned char *p = malloc(n + 1);
	struct err e = ERR_INIT;
	bool good;

	p[n] = 0x5a;
	good = source_read(s, off, p, n, &e) == 0 && memcmp(p, data + off, n) == 0 && p[n] == 0x5a;
	if (e.code != ERR_NONE)
		tap_note("%s", e.msg);
	free(p);
	return good;
}

static bool
takes(struct source *s, uint64_t off, size_t n)
{
	unsigned char *p = malloc(n + 1);
	struct err e = ERR_INIT;
	bool good = source_take(s, off, p, n, &e) == 0 && memcmp(p, data + off, n) == 0;

	free(p);
	return good;
}

static bool
looks(struct source *s, uint64_t off, size_t expected, size_t expect)
{
	struct err e = ERR_INIT;
	const uint8_t *p;
	size_t got;

	return source_look(s, off, expected, &p, &got, &e) == 0 && got == expect && memcmp(p, data + off, got) == 0;
}

/* What every kind of source can do, if nothing is forgotten. */
static void
check_all(struct source *s, const char *what)
{
	unsigned char p[16];
	struct err e = ERR_INIT;
	uint64_t size = 0;
	size_t got;

	ok_msg(looks(s, 0, 4, 4), "%s: a look at the start", what);
	ok_msg(looks(s, 10, 30000, 30000), "%s: a longer look", what);
	ok_msg(looks(s, 70000, 100000, SOURCE_LOOK_MAX), "%s: a look is at most SOURCE_LOOK_MAX", what);
	ok_msg(reads(s, 1, 100), "%s: a read at the start", what);
	ok_msg(reads(s, 100000, 150000), "%s: a read in the middle", what);
	ok_msg(reads(s, 5, 0), "%s: a read of nothing", what);
	ok_msg(looks(s, SIZE - 10, 100, 10), "%s: a look beyond the end shows what is there", what);
	ok_msg(looks(s, SIZE, 100, 0) && looks(s, SIZE, 0, 0), "%s: a look at the end shows nothing", what);
	ok_msg(source_size(s, &size, &e) == 0 && size == SIZE, "%s: the size", what);
	ok_msg(reads(s, 0, SIZE), "%s: all of it", what);
	ok_msg(source_read_some(s, SIZE - 5, p, sizeof(p), &got, &e) == 0 && got == 5, "%s: some at the end", what);
	ok_msg(source_read_some(s, UINT64_MAX - 3, p, sizeof(p), &got, &e) == 0 && got == 0, "%s: far out", what);
	ok_msg(source_read(s, SIZE - 5, p, 16, &e) == -1 && e.code == ERR_INPUT, "%s: cut off", what);
	ok_msg(strstr(e.msg, "cut off: 11 more bytes expected at byte 300000") != NULL, "%s: says where", what);
	err_clear(&e);
	ok_msg(source_read(s, SIZE + 5, p, 16, &e) == -1, "%s: beyond the end", what);
	ok_msg(strstr(e.msg, "cut off: it ends at byte 300000, 21 bytes too early") != NULL, "%s: says where", what);
	err_clear(&e);
	ok_msg(source_verify(s, &e) == 0, "%s: is as it was", what);
}

static void
test_regular(void)
{
	struct err e = ERR_INIT;
	struct source *s;
	struct stat st;
	int fd;

	if (!ok(source_open(&s, path, NULL, &e) == 0))
		tap_bail(e.msg);
	ok(!source_is_stream(s));
	is_str(source_name(s), path, "a source is called what it was opened as");
	stat(path, &st);
	ok(source_is_file(s, st.st_dev, st.st_ino));
	ok(!source_is_file(s, st.st_dev, st.st_ino + 1));
	check_all(s, "file");
	source_forget(s, 1000);
	ok_msg(reads(s, 0, 10), "a file forgets nothing");
	/* A file that changes. */
	fd = open(path, O_WRONLY | O_APPEND);
	ok(write(fd, "x", 1) == 1);
	ok(source_verify(s, &e) == -1 && strstr(e.msg, "changed while it was read") != NULL);
	err_clear(&e);
	ok_msg(looks(s, SIZE, 4, 0), "what a file grew by is not seen");
	ok(ftruncate(fd, SIZE - 100000) == 0);
	err_clear(&e);
	ok(source_read(s, SIZE - 100010, said, 20, &e) == -1 && e.code == ERR_INPUT);
	ok(strstr(e.msg, "at byte 200000: the file became shorter while it was read") != NULL);
	close(fd);
	source_close(s);
}

static void
test_offset(void)
{
	struct err e = ERR_INIT;
	int fd = open(path, O_RDONLY);
	unsigned char p[10];
	struct source *s;
	uint64_t size;

	lseek(fd, 1000, SEEK_SET);
	ok(source_fd(&s, fd, "standard input", NULL, &e) == 0);
	ok(source_size(s, &size, &e) == 0 && size == SIZE - 1000);
	ok(source_read(s, 5, p, 10, &e) == 0 && memcmp(p, data + 1005, 10) == 0);
	source_close(s);
	fd = open(path, O_RDONLY);
	lseek(fd, SIZE + 1000, SEEK_SET);
	ok(source_fd(&s, fd, "standard input", NULL, &e) == 0);
	ok(source_size(s, &size, &e) == 0 && size == 0);
	source_close(s);
}

static void
test_refused(void)
{
	struct err e = ERR_INIT;
	struct source *s;
	int fd;

	ok(source_open(&s, "/nonexistent/file", NULL, &e) == -1 && e.code == ERR_SYSTEM && e.sysno == ENOENT);
	is_str(e.msg, "/nonexistent/file: cannot open: No such file or directory", "a file that is not there");
	err_clear(&e);
	ok(source_open(&s, "/tmp", NULL, &e) == -1);
	is_str(e.msg, "/tmp: is a directory", "a directory");
	err_clear(&e);
	fd = open("/dev/null", O_WRONLY);
	if (ok(source_fd(&s, fd, "null", NULL, &e) == 0)) {
		ok(source_read_some(s, 0, said, 1, &(size_t){ 0 }, &e) == -1 && e.sysno == EBADF);
		is_str(e.msg, "null: read error: Bad file descriptor", "a descriptor for writing only");
		source_close(s);
	}
	err_clear(&e);
	ok_msg(source_open(&s, "/dev/null", NULL, &e) == 0 && looks(s, 0, 10, 0), "nothing");
	source_close(s);
	ok_msg(source_open(&s, "/proc/self/status", NULL, &e) == 0, "a file of size 0 that has contents");
	ok(source_read(s, 0, said, 5, &e) == 0 && memcmp(said, "Name:", 5) == 0);
	source_close(s);
	source_close(NULL);
}

static void
test_pipes(void)
{
	static const size_t pieces[] = { 1, 7, 4096, SIZE };
	static const uint64_t windows[] = { 0, 100000, 1000, 1 };
	char what[64];

	for (size_t i = 0; i < 4; i++) {
		for (size_t j = 0; j < 4; j++) {
			pid_t child;
			struct source *s = from_writer(pieces[i], windows[j], &child);

			snprintf(what, sizeof(what), "pipe, %zu at a time, window %d", pieces[i], (int)windows[j]);
			ok_msg(source_is_stream(s), "%s: is a stream", what);
			said[0] = '\0';
			check_all(s, what);
			ok_msg((said[0] != '\0') == (j > 0), "%s: spooling is told", what);
			source_close(s);
			reap(child);
		}
	}
}

/* A reader that forgets needs no spool file, however small the window. */
static void
test_forget(void)
{
	struct err e = ERR_INIT;
	pid_t child;
	struct source *s = from_writer(4096, 70000, &child);
	const uint8_t *p;
	uint64_t off = 0, size;
	bool good = true;
	size_t got;

	said[0] = '\0';
	while (good && off < SIZE) {
		good = source_look(s, off, 1000, &p, &got, &e) == 0 && got > 0 && memcmp(p, data + off, got) == 0;
		off += got;
		source_forget(s, off);
	}
	ok_msg(good && off == SIZE, "a stream read forward");
	is_str(said, "", "without a spool file");
	ok(source_read(s, 10, said, 5, &e) == -1 && strstr(e.msg, "at byte 10: these bytes") != NULL);
	err_clear(&e);
	ok(source_size(s, &size, &e) == 0 && size == SIZE);
	source_close(s);
	reap(child);

	s = from_writer(7, 1000, &child);
	ok_msg(looks(s, 0, 10, 10), "a look, then a leap");
	source_forget(s, 200000);
	ok_msg(reads(s, 200000, 50000), "what follows a leap");
	source_forget(s, UINT64_MAX);
	ok_msg(source_size(s, &size, &e) == 0 && size == SIZE, "all forgotten, the size is known");
	source_close(s);
	reap(child);

	/* Forgotten in the midst of what is spooled. */
	s = from_writer(4096, 1000, &child);
	ok(reads(s, 0, 250000));
	source_forget(s, 100000);
	ok(reads(s, 100000, 100000) && looks(s, 120000, 50, 50));
	source_forget(s, 249990);
	ok(reads(s, 249990, 50010));
	source_forget(s, SIZE);
	ok(looks(s, SIZE, 1, 0));
	source_close(s);
	reap(child);
}

static void
test_take(void)
{
	struct err e = ERR_INIT;
	char p[100];
	pid_t child;
	struct source *s = from_writer(4096, 0, &child);

	ok(looks(s, 0, 30, 30));
	ok_msg(takes(s, 30, 100), "take a little");
	ok_msg(source_read(s, 129, p, 1, &e) == -1, "it is gone");
	err_clear(&e);
	ok_msg(takes(s, 200, 200000), "take much");
	ok_msg(reads(s, 200200, 10) && reads(s, 200200, 10), "read twice what follows");
	ok_msg(takes(s, 200205, 10), "take from what is there");
	ok(source_take(s, SIZE - 10, p, 20, &e) == -1 && strstr(e.msg, "cut off: 10 more bytes") != NULL);
	source_close(s);
	reap(child);
}

/* What comes next is kept only if something before it, or it itself, is still needed. */
static void
test_next(void)
{
	struct err e = ERR_INIT;
	char p[100];
	pid_t child;
	struct source *s = from_writer(4096, 0, &child);

	ok_msg(source_next(s, 50, p, 100, &e) == 0 && memcmp(p, data + 50, 100) == 0, "next, nothing forgotten");
	ok_msg(reads(s, 0, 100) && reads(s, 100, 50), "it is still there");
	source_forget(s, 200);
	source_keep(s, 300);
	ok_msg(source_next(s, 200, p, 100, &e) == 0 && reads(s, 200, 100), "next, but it was to be kept");
	source_forget(s, 300);
	ok_msg(source_next(s, 300, p, 100, &e) == 0 && memcmp(p, data + 300, 100) == 0, "next, all before forgotten");
	ok_msg(source_read(s, 399, p, 1, &e) == -1, "it is gone");
	ok(reads(s, 400, SIZE - 400));
	source_close(s);
	reap(child);
}

static void
test_others(void)
{
	struct err e = ERR_INIT;
	struct source_opts opts = { "/nonexistent", &diag, 1000 };
	struct source *s;
	pid_t child;
	int fd = writer(4096, true, &child);

	ok(source_fd(&s, fd, "socket", NULL, &e) == 0);
	check_all(s, "socket");
	source_close(s);
	reap(child);

	fd = writer(7, false, &child);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	ok(source_fd(&s, fd, "pipe", NULL, &e) == 0);
	check_all(s, "non-blocking pipe");
	source_close(s);
	reap(child);

	ok(source_fd(&s, writer(4096, false, &child), "pipe", &opts, &e) == 0);
	ok(source_read(s, 200000, said, 10, &e) == -1 && e.code == ERR_SYSTEM);
	is_str(e.msg,
	       "pipe: cannot keep the stream in a temporary file in /nonexistent (TMPDIR names the folder): "
	       "No such file or directory",
	       "no place for the spool file");
	source_close(s);
	reap(child);

	s = source_memory(data, SIZE, "memory");
	ok(!source_is_stream(s) && !source_is_file(s, 0, 0));
	check_all(s, "memory");
	source_close(s);
}

/* A part of a file: its own offsets and end, also where it would reach beyond the file. */
static void
test_part(void)
{
	struct err e = ERR_INIT;
	struct source *whole, *part;
	unsigned char got[64];
	uint64_t size = 0;

	if (source_open(&whole, path, NULL, &e) < 0)
		tap_bail("no file");
	part = source_part(whole, 1001, 50, "part");
	ok_msg(source_size(part, &size, &e) == 0 && size == 50 && !source_is_stream(part), "a part has its own size");
	ok_msg(source_read(part, 10, got, 40, &e) == 0 && memcmp(got, data + 1011, 40) == 0, "and its own offsets");
	ok_msg(source_read(part, 11, got, 40, &e) < 0 && e.code == ERR_INPUT, "and its own end");
	source_close(part);
	err_clear(&e);
	part = source_part(whole, SIZE - 5, UINT64_MAX, "part");
	ok_msg(source_size(part, &size, &e) == 0 && size == 5, "one that reaches beyond the file ends with it");
	source_close(part);
	part = source_part(whole, SIZE + 5, 1, "part");
	ok_msg(source_size(part, &size, &e) == 0 && size == 0, "one behind the file is empty");
	source_close(part);
	ok_msg(source_read(whole, SIZE - 1, got, 1, &e) == 0, "the file is still open");
	source_close(whole);
}

int
main(void)
{
	uint32_t seed = 1;
	FILE *f;

	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < SIZE; i++) {
		seed = seed * 1664525 + 1013904223;
		data[i] = (unsigned char)(seed >> 24);
	}
	if (mkdtemp(folder) == NULL)
		tap_bail("no temporary folder");
	snprintf(path, sizeof(path), "%s/file", folder);
	f = fopen(path, "w");
	if (f == NULL || fwrite(data, 1, SIZE, f) != SIZE || fclose(f) != 0)
		tap_bail("no temporary file");
	test_offset();
	test_part();
	test_regular();
	test_refused();
	test_pipes();
	test_forget();
	test_take();
	test_next();
	test_others();
	unlink(path);
	ok_msg(rmdir(folder) == 0, "no spool file is left");
	return tap_done();
}
