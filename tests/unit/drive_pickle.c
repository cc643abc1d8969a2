/*
 * drive_pickle: for tests that know Python.
 *
 *   drive_pickle copy <PICKLES >COPIES
 *
 * Standard input is a row of pickles, each preceded by its length (4 bytes, little-endian). Standard output is, for each,
 * the length of what pickle_encode made of what pickle_decode read, and that; or length 0xffffffff, the length
 * of the message and the message. Persistent ids come out as they went in.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "codec/pickle.h"

static int
add(void *arg, const void *p, size_t n, struct err *e)
{
	(void)e;
	buf_add(arg, p, n);
	return 0;
}

static int
copy(const void *p, size_t n, struct buf *out, struct err *e)
{
	struct source *src = source_memory(p, n, "pickle");
	struct vtree *t = vtree_new(), *u = vtree_new();
	struct value_copier c = { .dst = u, .src = t };
	uint32_t root;
	uint64_t end;
	int status = pickle_decode(t, src, 0, n, NULL, &root, &end, e);

	/* By way of a copy of the tree, whose texts belong to the first. */
	if (status == 0) {
		root = value_copy(&c, root, e);
		status = root == VALUE_ABSENT ? -1 : pickle_encode(u, root, NULL, add, out, e);
	}
	value_copier_release(&c);
	vtree_free(u);
	vtree_free(t);
	source_close(src);
	return status;
}

static void
put(const char *p, size_t n)
{
	uint8_t raw[4];

	put_le32(raw, (uint32_t)n);
	if (fwrite(raw, 1, 4, stdout) != 4 || fwrite(p, 1, n, stdout) != n)
		exit(2);
}

static bool
get(struct buf *in)
{
	uint8_t raw[4];
	size_t n;

	if (fread(raw, 1, 4, stdin) != 4)
		return false;
	n = get_le32(raw);
	buf_clear(in);
	if (fread(buf_room(in, n), 1, n, stdin) != n)
		exit(2);
	in->len = n;
	return true;
}

int
main(int argc, char **argv)
{
	struct buf in = BUF_INIT, out = BUF_INIT;

	if (argc != 2 || strcmp(argv[1], "copy") != 0)
		return 2;
	while (get(&in)) {
		struct err e = ERR_INIT;

		buf_clear(&out);
		if (copy(in.p, in.len, &out, &e) == 0) {
			put(out.p, out.len);
			continue;
		}
		if (fwrite("\xff\xff\xff\xff", 1, 4, stdout) != 4)
			return 2;
		put(e.msg, strlen(e.msg));
	}
	buf_release(&in);
	buf_release(&out);
	return fflush(stdout) == 0 ? 0 : 2;
}
