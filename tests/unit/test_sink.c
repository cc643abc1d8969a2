/*
 * sink: files appear whole or not at all, held bytes are written last, and every pair of source and sink copies the same
 * bytes.
 */
#include "io/atomic.h"
#include "io/sink.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

#include "tap.h"

enum { SIZE = 3000000 };

static unsigned char data[SIZE], back[SIZE + 1];
static char folder[] = "/tmp/lnn-test-sink-XXXXXX";
static struct err e = ERR_INIT;

/* Writes text to a new file of that name. */
static void
put(const char *name, const void *p, size_t n)
{
	FILE *f = fopen(name, "w");

	if (f == NULL || fwrite(p, 1, n, f) != n || fclose(f) != 0)
		tap_bail("cannot write a file");
}

/* True if the file has these contents. */
static bool
holds(const char *name, const void *p, size_t n)
{
	FILE *f = fopen(name, "r");
	size_t got;

	if (f == NULL)
		return false;
	got = fread(back, 1, sizeof(back), f);
	fclose(f);
	return got == n && memcmp(back, p, n) == 0;
}

static mode_t
mode_of(const char *name)
{
	struct stat st;

	return stat(name, &st) == 0 ? st.st_mode & 07777 : 0;
}

/* Number of names in the folder. */
static int
names(const char *where)
{
	DIR *d = opendir(where);
	int n = -2;

	while (d != NULL && readdir(d) != NULL)
		n++;
	if (d != NULL)
		closedir(d);
	return n;
}

static struct sink *
file_sink(const char *name)
{
	struct sink *s;

	err_clear(&e);
	if (sink_file(&s, name, &e) < 0)
		tap_bail(e.msg);
	return s;
}

static void
test_file(void)
{
	struct sink *s = file_sink("new");
	struct stat st;

	is_str(sink_name(s), "new", "a sink has the name under which it was opened");
	ok(sink_write(s, "hello ", 6, &e) == 0 && sink_write(s, "world", 5, &e) == 0);
	is_uint(sink_at(s), 11, "the position counts buffered bytes");
	ok(access("new", F_OK) < 0 && names(".") == 1);
	ok(sink_commit(s, &e) == 0 && holds("new", "hello world", 11) && names(".") == 1);
	is_uint(mode_of("new"), 0666 & ~022, "the mode of a new file is 0666 less umask");

	s = file_sink("new");
	ok(sink_write(s, data, SIZE, &e) == 0);
	ok_msg(holds("new", "hello world", 11), "the old file stays until commit");
	sink_abort(s);
	ok_msg(holds("new", "hello world", 11) && names(".") == 1, "the old file stays after abort");
	sink_abort(NULL);

	chmod("new", 0640);
	s = file_sink("./new");
	ok(sink_write(s, data, SIZE, &e) == 0 && sink_flush(s, &e) == 0 && sink_commit(s, &e) == 0);
	ok(holds("new", data, SIZE));
	is_uint(mode_of("new"), 0640, "the mode of a replaced file is kept");

	ok(symlink("new", "link") == 0 && symlink("sub/target", "dangling") == 0 && mkdir("sub", 0777) == 0);
	s = file_sink("link");
	ok(sink_write(s, "1", 1, &e) == 0 && sink_commit(s, &e) == 0);
	ok_msg(lstat("link", &st) == 0 && S_ISLNK(st.st_mode) && holds("new", "1", 1), "a link is followed");
	s = file_sink("dangling");
	ok(sink_write(s, "2", 1, &e) == 0 && names("sub") == 1 && sink_commit(s, &e) == 0);
	ok_msg(lstat("dangling", &st) == 0 && S_ISLNK(st.st_mode) && holds("sub/target", "2", 1),
	       "a link to a missing file is followed");
	ok(symlink("loop", "loop") == 0 && sink_file(&s, "loop", &e) == -1 && e.sysno == ELOOP);
	unlink("loop");
	unlink("link");
	unlink("dangling");
	unlink("sub/target");
	rmdir("sub");
	unlink("new");
	is_int(names("."), 0, "no file is left in the folder");
}

static void
test_refused(void)
{
	struct sink *s;
	char name[300];

	err_clear(&e);
	ok(sink_file(&s, "no/such/folder", &e) == -1 && s == NULL && e.sysno == ENOENT);
	is_str(e.msg, "no/such/folder: cannot create a temporary file beside it: No such file or directory",
	       "a missing folder gives a message");
	err_clear(&e);
	ok(sink_file(&s, ".", &e) == -1);
	is_str(e.msg, ".: is a directory", "a directory is refused");
	err_clear(&e);
	ok(sink_file(&s, "", &e) == -1 && e.sysno == ENOENT);
	memset(name, 'n', 255);
	name[255] = '\0';
	s = file_sink(name);
	ok_msg(sink_commit(s, &e) == 0 && access(name, F_OK) == 0, "a name of the greatest length is accepted");
	unlink(name);
	name[255] = 'n';
	name[256] = '\0';
	ok_msg(sink_file(&s, name, &e) == -1 && e.sysno == ENAMETOOLONG, "a name that is too long is refused");
	err_clear(&e);
	if (geteuid() != 0) {
		put("mine", "x", 1);
		chmod("mine", 0444);
		ok_msg(sink_file(&s, "mine", &e) == -1 && e.sysno == EACCES, "a file without write permission is refused");
		unlink("mine");
	} else {
		tap_skip("root may write everything");
	}
	is_int(names("."), 0, "no file is left in the folder");
}

static void
test_direct(void)
{
	struct sink *s = file_sink("/dev/full");

	ok(sink_write(s, "x", 1, &e) == 0 && sink_commit(s, &e) == -1);
	is_str(e.msg, "/dev/full: write error: No space left on device", "a full disk is noticed at commit");
	is_int(e.sysno, ENOSPC, "errno");
	s = file_sink("/dev/full");
	ok(sink_write(s, data, SIZE, &e) == -1 && sink_write(s, "x", 1, &e) == -1 && sink_flush(s, &e) == -1);
	is_str(e.msg, "/dev/full: write error: No space left on device", "a full disk is noticed in the middle of a file");
	ok(sink_commit(s, &e) == -1);
	s = file_sink("/dev/null");
	ok(sink_write(s, data, SIZE, &e) == 0 && sink_commit(s, &e) == 0);
	ok(access("/dev/null", W_OK) == 0);
	s = file_sink("/dev/full");
	sink_abort(s);
	err_clear(&e);
	ok(sink_fd(&s, 999, "fd", &e) == -1 && e.sysno == EBADF);
}

static void
test_hold(void)
{
	struct buf b = BUF_INIT;
	struct sink *s = sink_memory(&b, "memory");
	struct source *src = source_memory("abcdefgh", 8, "letters");

	err_clear(&e);
	sink_hold(s, 5);
	ok(sink_write(s, "123", 3, &e) == 0 && sink_copy(s, src, 2, 4, NULL, &e) == 0 && sink_flush(s, &e) == 0);
	is_uint(sink_at(s), 7, "the position counts held bytes");
	ok(b.len == 5 && memcmp(b.p, "123cd", 5) == 0);
	ok(sink_write(s, "45", 2, &e) == 0 && sink_commit(s, &e) == 0);
	ok(b.len == 9 && memcmp(b.p, "123cdef45", 9) == 0);
	buf_clear(&b);
	s = sink_memory(&b, "memory");
	sink_hold(s, 2);
	ok(sink_write(s, "123", 3, &e) == 0);
	sink_abort(s);
	ok_msg(b.len == 2, "abort drops held bytes");
	buf_release(&b);
	s = sink_memory(NULL, "count");
	ok(sink_write(s, data, SIZE, &e) == 0 && sink_copy(s, src, 0, 8, NULL, &e) == 0 && sink_at(s) == SIZE + 8);
	ok(sink_commit(s, &e) == 0);
	source_close(src);

	put("in", data, SIZE);
	ok(source_open(&src, "in", NULL, &e) == 0);
	for (uint64_t hold = SIZE - 2; hold < SIZE + 3; hold++) {
		s = file_sink("out");
		sink_hold(s, hold);
		ok(sink_write(s, data, 1, &e) == 0 && sink_copy(s, src, 1, SIZE - 1, NULL, &e) == 0);
		ok(sink_commit(s, &e) == 0 && holds("out", data, SIZE));
	}
	source_close(src);
	unlink("in");
	unlink("out");
}

/* The data that the threads of a test share. */
struct end {
	int fd;
	size_t got;
};

static void *
drain(void *arg)
{
	struct end *end = arg;
	ssize_t n;

	while ((n = read(end->fd, back + end->got, sizeof(back) - end->got)) > 0)
		end->got += (size_t)n;
	close(end->fd);
	return NULL;
}

static void *
supply(void *arg)
{
	struct end *end = arg;

	for (size_t at = 0; at < SIZE;) {
		ssize_t n = write(end->fd, data + at, at % 3 == 0 ? 70001 < SIZE - at ? 70001 : SIZE - at : SIZE - at);

		if (n <= 0)
			break;
		at += (size_t)n;
	}
	close(end->fd);
	return NULL;
}

enum from { FROM_FILE, FROM_PIPE, FROM_SOCKET, FROM_MEMORY, FROM_PIPE_KEPT, FROMS };
enum to { TO_FILE, TO_PIPE, TO_SOCKET, TO_APPEND, TO_MEMORY, TOS };

static const char *const from_names[] = { "file", "pipe", "socket", "memory", "pipe whose bytes are kept" };
static const char *const to_names[] = { "file", "pipe", "socket", "file for appending", "memory" };

/* Makes an output of this kind, and the thread that reads from it, if it needs one. */
static struct sink *
make_sink(enum to to, struct buf *b, struct end *end, pthread_t *t)
{
	struct sink *s = NULL;
	int fds[2] = { -1, -1 };

	if (to == TO_FILE)
		return file_sink("out");
	if (to == TO_MEMORY)
		return sink_memory(b, "memory");
	if (to == TO_APPEND)
		fds[1] = open("out", O_WRONLY | O_APPEND | O_CREAT | O_TRUNC, 0666);
	else if ((to == TO_PIPE ? pipe(fds) : socketpair(AF_UNIX, SOCK_STREAM, 0, fds)) < 0)
		tap_bail("no pipe");
	if (sink_fd(&s, fds[1], to_names[to], &e) < 0)
		tap_bail(e.msg);
	end->fd = fds[0];
	end->got = 0;
	if (fds[0] >= 0)
		pthread_create(t, NULL, drain, end);
	return s;
}

static struct source *
make_source(enum from from, struct end *end, pthread_t *t)
{
	struct source *s = NULL;
	int fds[2];

	if (from == FROM_MEMORY)
		return source_memory(data, SIZE, "memory");
	if (from == FROM_FILE) {
		ok(source_open(&s, "in", NULL, &e) == 0);
		return s;
	}
	if ((from == FROM_SOCKET ? socketpair(AF_UNIX, SOCK_STREAM, 0, fds) : pipe(fds)) < 0)
		tap_bail("no pipe");
	end->fd = fds[1];
	pthread_create(t, NULL, supply, end);
	ok(source_fd(&s, fds[0], "pipe", NULL, &e) == 0);
	return s;
}

static void
copy_once(enum from from, enum to to, bool with_crc)
{
	struct buf b = BUF_INIT;
	struct end in, out;
	pthread_t tin, tout;
	struct source *src;
	struct sink *s;
	const uint8_t *p;
	unsigned char again[8];
	uint32_t crc = 0;
	size_t got;
	bool good;

	err_clear(&e);
	memset(back, 0, sizeof(back));
	src = make_source(from, &in, &tin);
	s = make_sink(to, &b, &out, &tout);
	/* Looks at a header, skips a few bytes, and makes three copies of different sizes. */
	good = source_look(src, 0, 100, &p, &got, &e) == 0 && got == 100;
	if (from == FROM_PIPE_KEPT)
		source_keep(src, SIZE);
	good = good && sink_write(s, data, 100, &e) == 0;
	source_forget(src, 100);
	good = good && sink_copy(s, src, 100, 17, with_crc ? &crc : NULL, &e) == 0;
	source_forget(src, 117);
	good = good && sink_copy(s, src, 117, SIZE - 200117, with_crc ? &crc : NULL, &e) == 0;
	source_forget(src, SIZE - 200000 + 1);
	good = good && sink_write(s, data + SIZE - 200000, 1, &e) == 0;
	good = good && sink_copy(s, src, SIZE - 199999, 199999, with_crc ? &crc : NULL, &e) == 0;
	if (from == FROM_PIPE_KEPT)
		good = good && source_read(src, SIZE - 8, again, 8, &e) == 0 && memcmp(again, data + SIZE - 8, 8) == 0;
	good = good && sink_at(s) == SIZE;
	good = sink_commit(s, &e) == 0 && good;
	if (to == TO_PIPE || to == TO_SOCKET) {
		pthread_join(tout, NULL);
		good = good && out.got == SIZE && memcmp(back, data, SIZE) == 0;
	} else if (to == TO_MEMORY) {
		good = good && b.len == SIZE && memcmp(b.p, data, SIZE) == 0;
	} else {
		good = good && holds("out", data, SIZE);
	}
	if (with_crc) {
		uint32_t expected = (uint32_t)crc32(0, data + 100, SIZE - 200100);

		good = good && crc == (uint32_t)crc32(expected, data + SIZE - 199999, 199999);
	}
	if (!ok_msg(good, "copy from %s to %s%s", from_names[from], to_names[to], with_crc ? " with CRC" : ""))
		tap_note("%s", e.msg);
	source_close(src);
	if (from == FROM_PIPE || from == FROM_SOCKET || from == FROM_PIPE_KEPT)
		pthread_join(tin, NULL);
	buf_release(&b);
	unlink("out");
}

static void
test_copy(void)
{
	put("in", data, SIZE);
	for (int from = 0; from < FROMS; from++) {
		for (int to = 0; to < TOS; to++) {
			copy_once((enum from)from, (enum to)to, false);
			copy_once((enum from)from, (enum to)to, true);
		}
	}
	unlink("in");
}

/* A source that is too short gives an error of the source, and no file appears. */
static void
test_short(void)
{
	struct source *src;
	struct sink *s;
	struct end in;
	pthread_t t;

	put("in", data, SIZE);
	ok(source_open(&src, "in", NULL, &e) == 0);
	s = file_sink("out");
	ok(sink_copy(s, src, 1000, SIZE, NULL, &e) == -1);
	is_str(e.msg, "in: cut off: 1000 more bytes expected at byte 3000000", "a copy beyond the end of a file is an error");
	sink_abort(s);
	s = file_sink("out");
	ok(sink_copy(s, src, UINT64_MAX - 5, 10, NULL, &e) == -1 && e.code == ERR_INPUT);
	sink_abort(s);
	s = file_sink("out");
	ok(truncate("in", SIZE / 2) == 0 && sink_copy(s, src, 0, SIZE, NULL, &e) == -1);
	is_str(e.msg, "in: at byte 1500000: the file became shorter while it was read", "a file that shrinks is an error");
	sink_abort(s);
	source_close(src);
	err_clear(&e);
	src = make_source(FROM_PIPE, &in, &t);
	s = file_sink("out");
	ok(sink_copy(s, src, 0, SIZE + 1, NULL, &e) == -1);
	is_str(e.msg, "pipe: cut off: 1 more bytes expected at byte 3000000", "a pipe that ends too early is an error");
	sink_abort(s);
	source_close(src);
	pthread_join(t, NULL);
	unlink("in");
	is_int(names("."), 0, "no file is left in the folder");
}

static void
test_errors(void)
{
	struct source *src;
	struct rlimit limit;
	struct sink *s;
	int fds[2];

	put("in", data, SIZE);
	err_clear(&e);
	ok(source_open(&src, "in", NULL, &e) == 0);
	s = file_sink("/dev/full");
	ok(sink_copy(s, src, 0, SIZE, NULL, &e) == -1 && e.sysno == ENOSPC);
	is_str(e.msg, "/dev/full: write error: No space left on device", "a copy to a full disk is an error");
	sink_abort(s);
	err_clear(&e);
	if (pipe(fds) < 0 || sink_fd(&s, fds[1], "pipe", &e) < 0)
		tap_bail("no pipe");
	close(fds[0]);
	ok(sink_copy(s, src, 0, SIZE, NULL, &e) == -1 && e.code == ERR_SYSTEM && e.sysno == EPIPE);
	sink_abort(s);
	close(fds[1]);
	err_clear(&e);
	/* A file that may not grow beyond a limit. The system reports it by a signal and an error. */
	signal(SIGXFSZ, SIG_IGN);
	limit.rlim_cur = 1000000;
	limit.rlim_max = RLIM_INFINITY;
	if (setrlimit(RLIMIT_FSIZE, &limit) == 0) {
		s = file_sink("out");
		ok(sink_copy(s, src, 0, SIZE, NULL, &e) == -1 && e.sysno == EFBIG);
		is_str(e.msg, "out: write error: File too large", "a copy beyond the limit is an error");
		ok(sink_commit(s, &e) == -1 && access("out", F_OK) < 0 && names(".") == 1);
		limit.rlim_cur = RLIM_INFINITY;
		setrlimit(RLIMIT_FSIZE, &limit);
	}
	source_close(src);
	unlink("in");
}

/* Another file system than that of /tmp, if there is one: copy_file_range fails there. */
static void
test_elsewhere(void)
{
	char name[64];
	struct stat here, there;
	struct source *src;
	struct sink *s;

	if (stat(".", &here) < 0 || stat("/dev/shm", &there) < 0 || here.st_dev == there.st_dev || access("/dev/shm", W_OK) < 0) {
		tap_skip("no second file system");
		return;
	}
	put("in", data, SIZE);
	snprintf(name, sizeof(name), "/dev/shm/lnn-test-%d", (int)getpid());
	s = file_sink(name);
	ok(source_open(&src, "in", NULL, &e) == 0 && sink_copy(s, src, 0, SIZE, NULL, &e) == 0);
	ok_msg(sink_commit(s, &e) == 0 && holds(name, data, SIZE), "a copy to another file system");
	source_close(src);
	unlink(name);
	unlink("in");
}

static void
test_emergency(void)
{
	struct sink *a = file_sink("a"), *b = file_sink("b");

	ok(sink_write(a, "x", 1, &e) == 0 && names(".") == 2);
	atomic_emergency();
	is_int(names("."), 0, "an emergency removes the temporary files");
	err_clear(&e);
	ok_msg(sink_commit(a, &e) == -1 && e.sysno == ENOENT, "a removed file cannot be committed");
	sink_abort(b);
	atomic_emergency();
	is_int(names("."), 0, "no file is left in the folder");
}

int
main(void)
{
	uint32_t seed = 1;

	signal(SIGPIPE, SIG_IGN);
	umask(022);
	for (size_t i = 0; i < SIZE; i++) {
		seed = seed * 1664525 + 1013904223;
		data[i] = (unsigned char)(seed >> 24);
	}
	if (mkdtemp(folder) == NULL || chdir(folder) < 0)
		tap_bail("no temporary folder");
	test_file();
	test_refused();
	test_direct();
	test_hold();
	test_copy();
	test_short();
	test_errors();
	test_elsewhere();
	test_emergency();
	ok(chdir("/") == 0 && rmdir(folder) == 0);
	return tap_done();
}
