/*
 * Inputs that fail at any byte, for every container. The error must be that of the system, and must not say that the contents
 * are wrong or that the input ends. Inputs that end at any byte are tested, too.
 */
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "pickle/machine.h"
#include "format/format.h"
#include "format/pickles.h"
#include "tap.h"

enum { STEP = 7 }; /* between the first and the last bytes, not every place is tried */

/*
 * A stream that gives n bytes and then fails. The other end of a socket pair is closed before it has read the data that
 * were sent to it.
 */
static struct source *
broken(const char *p, size_t n)
{
	struct source *src = NULL;
	struct err err = ERR_INIT;
	int fds[2] = { -1, -1 };

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0 || write(fds[0], "x", 1) != 1)
		tap_bail("no sockets");
	if (n > 0 && write(fds[1], p, n) != (ssize_t)n)
		tap_bail("the socket accepts too few bytes");
	close(fds[1]);
	if (source_fd(&src, fds[0], "broken", NULL, &err) < 0)
		tap_bail(err.msg);
	return src;
}

static struct source *
ends(const char *p, size_t n)
{
	struct source *src = NULL;
	struct err err = ERR_INIT;
	int fds[2] = { -1, -1 };

	if (pipe(fds) < 0 || (n > 0 && write(fds[1], p, n) != (ssize_t)n))
		tap_bail("no pipe");
	close(fds[1]);
	if (source_fd(&src, fds[0], "cut", NULL, &err) < 0)
		tap_bail(err.msg);
	return src;
}

/* Opens the checkpoint and reads every storage in order and the rest of the input. */
static int
read_all(struct source *src, struct err *err)
{
	struct ckpt *c = NULL;
	struct statedict sd;
	int rc = format_open(&c, src, NULL, err);
	uint8_t bytes[4096];

	if (rc == 0) {
		rc = statedict_open(&sd, c, NULL, err);
		statedict_release(&sd);
	}
	for (uint32_t i = 0; rc == 0 && i < c->nstorages; i++) {
		uint64_t size = c->storages[i].nbytes, n;
		bool known;
		uint32_t crc;

		rc = ckpt_locate(c, i, err);
		for (uint64_t at = 0; rc == 0 && at < size; at += n) {
			n = size - at < sizeof(bytes) ? size - at : sizeof(bytes);
			rc = ckpt_next(c, i, at, bytes, (size_t)n, err);
		}
		if (rc == 0)
			rc = ckpt_crc(c, i, &crc, &known, err);
		if (rc == 0)
			rc = ckpt_done(c, i, err);
	}
	if (rc == 0)
		rc = ckpt_finish(c, err);
	ckpt_close(c);
	return rc;
}

/* Reads the last storage first, so that the bytes before it must be kept. */
static int
read_backwards(struct source *src, struct err *err)
{
	struct ckpt *c = NULL;
	int rc = format_open(&c, src, NULL, err);
	uint8_t bytes[4096];

	for (uint32_t i = rc == 0 ? c->nstorages : 0; rc == 0 && i-- > 0;) {
		uint64_t n = c->storages[i].nbytes < sizeof(bytes) ? c->storages[i].nbytes : sizeof(bytes);

		rc = ckpt_read(c, i, 0, bytes, (size_t)n, err);
	}
	if (rc == 0)
		rc = ckpt_finish(c, err);
	ckpt_close(c);
	return rc;
}

static int
each(void *arg, struct pickle_part *part, struct err *err)
{
	struct vtree *t = vtree_new();
	struct pickle_place place = { .src = part->src, .off = part->off, .limit = part->limit };
	uint32_t root;
	int rc = pickle_decode(t, &place, NULL, &root, err);

	(void)arg;
	part->end = place.end;
	vtree_free(t);
	return rc;
}

static int
look_at_pickles(struct source *src, struct err *err)
{
	struct pickles_visit v = { .src = src, .each = each };

	return pickles_each(&v, err);
}

static void
read_file(const char *path, struct buf *b)
{
	struct source *src;
	struct err err = ERR_INIT;
	uint64_t size;

	buf_clear(b);
	if (source_open(&src, path, NULL, &err) < 0 || source_size(src, &size, &err) < 0 ||
	    source_read(src, 0, buf_reserve(b, (size_t)size), (size_t)size, &err) < 0)
		tap_bail(err.msg);
	b->len = (size_t)size;
	source_close(src);
}

static bool
fails_with(struct source *src, int (*way)(struct source *, struct err *), enum err_code code, const char *what, size_t n)
{
	struct err err = ERR_INIT;
	int rc = way(src, &err);

	source_close(src);
	if (rc < 0 && err.code == code)
		return true;
	tap_note("%s, %zu bytes: %s", what, n, rc < 0 ? err.msg : "no error");
	return false;
}

/* Lets the input fail, and with cuts end, at every byte. Functions that read only the pickles ignore where the input ends. */
static void
everywhere(const char *name, int (*way)(struct source *, struct err *), const char *how, bool cuts)
{
	struct buf b = BUF_INIT;
	char path[128];
	struct err err = ERR_INIT;
	struct source *src;
	bool good = true;

	snprintf(path, sizeof(path), "tests/fixtures/%s", name);
	read_file(path, &b);
	src = ends(b.p, b.len);
	if (!ok_msg(way(src, &err) == 0, "%s, %s: the whole input is read", name, how))
		tap_note("%s", err.msg);
	source_close(src);
	for (size_t n = 0; n < b.len; n += n < 300 || b.len - n < 300 ? 1 : STEP)
		good = fails_with(broken(b.p, n), way, ERR_SYSTEM, name, n) && good;
	ok_msg(good, "%s, %s: a failure at any byte gives the error of the system", name, how);
	good = true;
	for (size_t n = 0; cuts && n < b.len; n += n < 300 || b.len - n < 300 ? 1 : STEP)
		good = fails_with(ends(b.p, n), way, ERR_INPUT, name, n) && good;
	if (cuts)
		ok_msg(good, "%s, %s: an input that ends at any byte is refused", name, how);
	buf_release(&b);
}

int
main(void)
{
	static const char *const names[] = { "tiny.pth",      "deflated.pth", "reordered.pth", "legacy.pth",
					     "protocol4.pth", "qtensor.pth",  "bigendian.pth", "tiny.safetensors" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		everywhere(names[i], read_all, "in order", true);
		everywhere(names[i], read_backwards, "backwards", true);
	}
	everywhere("tiny.pth", look_at_pickles, "its pickles", false);
	everywhere("deflated.pth", look_at_pickles, "its pickles", false);
	everywhere("legacy.pth", look_at_pickles, "its pickles", false);
	return tap_done();
}
