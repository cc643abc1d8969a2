/*
 * source: files, memory and pipes whose writers give 1, 7 or 4096 bytes at a time have the same bytes. Bytes beyond the window
 * are kept in a temporary file. An input that ends too early gives an error.
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

/* So many bytes are written in the smallest pieces: more than the window of a look. After them, pieces have 7 bytes or more. */
enum { SMALLEST = 100000 };

/* Starts a child that writes all of data in pieces. Returns the reading end of its pipe or socket. */
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
	struct err err = ERR_INIT;
	struct source *s;

	if (source_fd(&s, writer(piece, false, child), "pipe", &opts, &err) < 0)
		tap_bail(err.msg);
	return s;
}

static void
reap(pid_t child)
{
	int status;

	if (waitpid(child, &status, 0) != child)
		tap_bail("a child cannot be waited for");
}

static bool
reads(struct source *s, uint64_t off, size_t n)
{
	unsigned char *p = malloc(n + 1);
	struct err err = ERR_INIT;
	bool good;

	p[n] = 0x5a;
	good = source_read(s, off, p, n, &err) == 0 && memcmp(p, data + off, n) == 0 && p[n] == 0x5a;
	if (err.code != ERR_NONE)
		tap_note("%s", err.msg);
	free(p);
	return good;
}

static bool
takes(struct source *s, uint64_t off, size_t n)
{
	unsigned char *p = malloc(n + 1);
	struct err err = ERR_INIT;
	bool good = source_take(s, off, p, n, &err) == 0 && memcmp(p, data + off, n) == 0;

	free(p);
	return good;
}

static bool
looks(struct source *s, uint64_t off, size_t expected, size_t expect)
{
	struct err err = ERR_INIT;
	const uint8_t *p;
	size_t got;

	return source_look(s, off, expected, &p, &got, &err) == 0 && got == expect && memcmp(p, data + off, got) == 0;
}

/* Tests that every kind of source must pass if nothing is forgotten. */
static void
check_all(struct source *s, const char *what)
{
	unsigned char p[16];
	struct err err = ERR_INIT;
	uint64_t size = 0;
	size_t got;

	ok_msg(looks(s, 0, 4, 4), "%s: a look at the start", what);
	ok_msg(looks(s, 10, 30000, 30000), "%s: a longer look", what);
	ok_msg(looks(s, 70000, 100000, SOURCE_LOOK_MAX), "%s: a look is at most SOURCE_LOOK_MAX", what);
	ok_msg(reads(s, 1, 100), "%s: a read at the start", what);
	ok_msg(reads(s, 100000, 150000), "%s: a read in the middle", what);
	ok_msg(reads(s, 5, 0), "%s: a read of nothing", what);
	ok_msg(looks(s, SIZE - 10, 100, 10), "%s: a look beyond the end shows the last bytes", what);
	ok_msg(looks(s, SIZE, 100, 0) && looks(s, SIZE, 0, 0), "%s: a look at the end shows nothing", what);
	ok_msg(source_size(s, &size, &err) == 0 && size == SIZE, "%s: the size", what);
	ok_msg(reads(s, 0, SIZE), "%s: a read of everything", what);
	ok_msg(source_read_some(s, SIZE - 5, p, sizeof(p), &got, &err) == 0 && got == 5,
	       "%s: source_read_some at the end gives the last bytes", what);
	ok_msg(source_read_some(s, UINT64_MAX - 3, p, sizeof(p), &got, &err) == 0 && got == 0,
	       "%s: source_read_some far beyond the end gives nothing", what);
	ok_msg(source_read(s, SIZE - 5, p, 16, &err) == -1 && err.code == ERR_INPUT, "%s: a read across the end fails", what);
	ok_msg(strstr(err.msg, "cut off: 11 more bytes expected at byte 300000") != NULL,
	       "%s: the error says how many bytes are missing", what);
	err_clear(&err);
	ok_msg(source_read(s, SIZE + 5, p, 16, &err) == -1, "%s: a read beyond the end fails", what);
	ok_msg(strstr(err.msg, "cut off: it ends at byte 300000, 21 bytes too early") != NULL,
	       "%s: the error says where the input ends", what);
	err_clear(&err);
	ok_msg(source_verify(s, &err) == 0, "%s: source_verify finds no change", what);
}

static void
test_regular(void)
{
	struct err err = ERR_INIT;
	struct source *s;
	struct stat st;
	int fd;

	if (!ok(source_open(&s, path, NULL, &err) == 0))
		tap_bail(err.msg);
	ok(!source_is_stream(s));
	is_str(source_name(s), path, "a source has the name under which it was opened");
	stat(path, &st);
	ok(source_is_file(s, st.st_dev, st.st_ino));
	ok(!source_is_file(s, st.st_dev, st.st_ino + 1));
	check_all(s, "file");
	source_forget(s, 1000);
	ok_msg(reads(s, 0, 10), "a file forgets nothing");
	/* A file that changes. */
	fd = open(path, O_WRONLY | O_APPEND);
	ok(write(fd, "x", 1) == 1);
	ok(source_verify(s, &err) == -1 && strstr(err.msg, "changed while it was read") != NULL);
	err_clear(&err);
	ok_msg(looks(s, SIZE, 4, 0), "bytes that were appended to a file are ignored");
	ok(ftruncate(fd, SIZE - 100000) == 0);
	err_clear(&err);
	ok(source_read(s, SIZE - 100010, said, 20, &err) == -1 && err.code == ERR_INPUT);
	ok(strstr(err.msg, "at byte 200000: the file became shorter while it was read") != NULL);
	close(fd);
	source_close(s);
}

static void
test_offset(void)
{
	struct err err = ERR_INIT;
	int fd = open(path, O_RDONLY);
	unsigned char p[10];
	struct source *s;
	uint64_t size;

	lseek(fd, 1000, SEEK_SET);
	ok(source_fd(&s, fd, "standard input", NULL, &err) == 0);
	ok(source_size(s, &size, &err) == 0 && size == SIZE - 1000);
	ok(source_read(s, 5, p, 10, &err) == 0 && memcmp(p, data + 1005, 10) == 0);
	source_close(s);
	fd = open(path, O_RDONLY);
	lseek(fd, SIZE + 1000, SEEK_SET);
	ok(source_fd(&s, fd, "standard input", NULL, &err) == 0);
	ok(source_size(s, &size, &err) == 0 && size == 0);
	source_close(s);
}

static void
test_refused(void)
{
	struct err err = ERR_INIT;
	struct source *s;
	int fd;

	ok(source_open(&s, "/nonexistent/file", NULL, &err) == -1 && err.code == ERR_SYSTEM && err.sysno == ENOENT);
	is_str(err.msg, "/nonexistent/file: cannot open: No such file or directory", "a file that does not exist is refused");
	err_clear(&err);
	ok(source_open(&s, "/tmp", NULL, &err) == -1);
	is_str(err.msg, "/tmp: is a directory", "a directory is refused");
	err_clear(&err);
	fd = open("/dev/null", O_WRONLY);
	if (ok(source_fd(&s, fd, "null", NULL, &err) == 0)) {
		ok(source_read_some(s, 0, said, 1, &(size_t){ 0 }, &err) == -1 && err.sysno == EBADF);
		is_str(err.msg, "null: read error: Bad file descriptor", "a descriptor for writing only is refused");
		source_close(s);
	}
	err_clear(&err);
	ok_msg(source_open(&s, "/dev/null", NULL, &err) == 0 && looks(s, 0, 10, 0), "nothing");
	source_close(s);
	ok_msg(source_open(&s, "/proc/self/status", NULL, &err) == 0, "a file of size 0 that has contents is opened");
	ok(source_read(s, 0, said, 5, &err) == 0 && memcmp(said, "Name:", 5) == 0);
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
			ok_msg((said[0] != '\0') == (j > 0), "%s: a message reports a temporary file", what);
			source_close(s);
			reap(child);
		}
	}
}

/* A reader that forgets needs no temporary file, even with a small window. */
static void
test_forget(void)
{
	struct err err = ERR_INIT;
	pid_t child;
	struct source *s = from_writer(4096, 70000, &child);
	const uint8_t *p;
	uint64_t off = 0, size;
	bool good = true;
	size_t got;

	said[0] = '\0';
	while (good && off < SIZE) {
		good = source_look(s, off, 1000, &p, &got, &err) == 0 && got > 0 && memcmp(p, data + off, got) == 0;
		off += got;
		source_forget(s, off);
	}
	ok_msg(good && off == SIZE, "a stream is read forward");
	is_str(said, "", "a reader that forgets needs no temporary file");
	ok(source_read(s, 10, said, 5, &err) == -1 && strstr(err.msg, "at byte 10: these bytes") != NULL);
	err_clear(&err);
	ok(source_size(s, &size, &err) == 0 && size == SIZE);
	source_close(s);
	reap(child);

	s = from_writer(7, 1000, &child);
	ok_msg(looks(s, 0, 10, 10), "a look before bytes are forgotten");
	source_forget(s, 200000);
	ok_msg(reads(s, 200000, 50000), "a read after forgotten bytes that were never read");
	source_forget(s, UINT64_MAX);
	ok_msg(source_size(s, &size, &err) == 0 && size == SIZE, "the size is known after everything is forgotten");
	source_close(s);
	reap(child);

	/* Bytes in the middle of the temporary file are forgotten. */
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
	struct err err = ERR_INIT;
	char p[100];
	pid_t child;
	struct source *s = from_writer(4096, 0, &child);

	ok(looks(s, 0, 30, 30));
	ok_msg(takes(s, 30, 100), "source_take gives a few bytes");
	ok_msg(source_read(s, 129, p, 1, &err) == -1, "bytes that were taken are forgotten");
	err_clear(&err);
	ok_msg(takes(s, 200, 200000), "source_take gives many bytes");
	ok_msg(reads(s, 200200, 10) && reads(s, 200200, 10), "bytes after the taken ones are read twice");
	ok_msg(takes(s, 200205, 10), "source_take gives bytes that were read before");
	ok(source_take(s, SIZE - 10, p, 20, &err) == -1 && strstr(err.msg, "cut off: 10 more bytes") != NULL);
	source_close(s);
	reap(child);
}

/* source_next keeps its bytes only if they, or bytes before them, are still needed. */
static void
test_next(void)
{
	struct err err = ERR_INIT;
	char p[100];
	pid_t child;
	struct source *s = from_writer(4096, 0, &child);

	ok_msg(source_next(s, 50, p, 100, &err) == 0 && memcmp(p, data + 50, 100) == 0,
	       "source_next reads bytes while earlier ones are not forgotten");
	ok_msg(reads(s, 0, 100) && reads(s, 100, 50), "source_next keeps bytes while earlier ones are not forgotten");
	source_forget(s, 200);
	source_keep(s, 300);
	ok_msg(source_next(s, 200, p, 100, &err) == 0 && reads(s, 200, 100), "source_next keeps bytes after source_keep");
	source_forget(s, 300);
	ok_msg(source_next(s, 300, p, 100, &err) == 0 && memcmp(p, data + 300, 100) == 0,
	       "source_next reads bytes after all earlier ones are forgotten");
	ok_msg(source_read(s, 399, p, 1, &err) == -1, "source_next then forgets its bytes");
	ok(reads(s, 400, SIZE - 400));
	source_close(s);
	reap(child);
}

static void
test_others(void)
{
	struct err err = ERR_INIT;
	struct source_opts opts = { "/nonexistent", &diag, 1000 };
	struct source *s;
	pid_t child;
	int fd = writer(4096, true, &child);

	ok(source_fd(&s, fd, "socket", NULL, &err) == 0);
	check_all(s, "socket");
	source_close(s);
	reap(child);

	fd = writer(7, false, &child);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	ok(source_fd(&s, fd, "pipe", NULL, &err) == 0);
	check_all(s, "non-blocking pipe");
	source_close(s);
	reap(child);

	ok(source_fd(&s, writer(4096, false, &child), "pipe", &opts, &err) == 0);
	ok(source_read(s, 200000, said, 10, &err) == -1 && err.code == ERR_SYSTEM);
	is_str(err.msg,
	       "pipe: cannot keep the stream in a temporary file in /nonexistent (TMPDIR names the folder): "
	       "No such file or directory",
	       "a folder for the temporary file that does not exist is an error");
	source_close(s);
	reap(child);

	s = source_memory(data, SIZE, "memory");
	ok(!source_is_stream(s) && !source_is_file(s, 0, 0));
	check_all(s, "memory");
	source_close(s);
}

/* A part of a file has its own offsets and end. It may reach beyond the end of the file. */
static void
test_part(void)
{
	struct err err = ERR_INIT;
	struct source *whole, *part;
	unsigned char got[64];
	uint64_t size = 0;

	if (source_open(&whole, path, NULL, &err) < 0)
		tap_bail("no file");
	part = source_part(whole, 1001, 50, "part");
	ok_msg(source_size(part, &size, &err) == 0 && size == 50 && !source_is_stream(part), "a part has its own size");
	ok_msg(source_read(part, 10, got, 40, &err) == 0 && memcmp(got, data + 1011, 40) == 0, "a part has its own offsets");
	ok_msg(source_read(part, 11, got, 40, &err) < 0 && err.code == ERR_INPUT, "a part has its own end");
	source_close(part);
	err_clear(&err);
	part = source_part(whole, SIZE - 5, UINT64_MAX, "part");
	ok_msg(source_size(part, &size, &err) == 0 && size == 5, "a part that reaches beyond the file ends with the file");
	source_close(part);
	part = source_part(whole, SIZE + 5, 1, "part");
	ok_msg(source_size(part, &size, &err) == 0 && size == 0, "a part after the end of the file is empty");
	source_close(part);
	ok_msg(source_read(whole, SIZE - 1, got, 1, &err) == 0, "closing a part leaves the file open");
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
	ok_msg(rmdir(folder) == 0, "no temporary file is left");
	return tap_done();
}
