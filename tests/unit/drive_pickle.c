/*
 * drive_pickle: for tests that are written in Python.
 *
 *   drive_pickle copy|scan|legacy <PICKLES >ANSWERS
 *
 * Standard input is a sequence of pickles, each after its length (4 bytes, little-endian). Standard output has, for each, the
 * length of the answer and the answer. After a failure the length is 0xffffffff, and the message follows with its own length.
 *
 * copy: pickle_decode reads the pickle and pickle_encode writes it. Persistent ids are not changed.
 * scan, legacy: the result of pickle_scan in lines: "loads", "refused OFFSET WHY" or "unknown OFFSET WHY"; "global VERDICT
 * HOW OFFSET NUMBER MODULE NAME" for each global; "end END EXTRA MORE DAMAGE".
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "pickle/machine.h"
#include "pickle/writer.h"
#include "format/scan.h"

static int
add(void *arg, const void *p, size_t n, struct err *err)
{
	(void)err;
	buf_add(arg, p, n);
	return 0;
}

static int
copy(const void *p, size_t n, struct buf *out, struct err *err)
{
	struct source *src = source_memory(p, n, "pickle");
	struct vtree *t = vtree_new(), *u = vtree_new();
	struct value_copier c = { .dst = u, .src = t };
	struct pickle_place place = { .src = src, .limit = n };
	uint32_t root;
	int status = pickle_decode(t, &place, NULL, &root, err);

	/* Encodes a copy of the tree. The copy uses the texts of the first tree. */
	if (status == 0) {
		root = value_copy(&c, root, err);
		status = root == VALUE_ABSENT ? -1 : pickle_encode(u, root, NULL, add, out, err);
	}
	value_copier_release(&c);
	vtree_free(u);
	vtree_free(t);
	source_close(src);
	return status;
}

static int
found(void *arg, const struct pickle_found *f, struct err *err)
{
	static const char *const how[] = { "GLOBAL", "STACK_GLOBAL", "COMPUTED", "INST" };

	(void)err;
	buf_addf(arg, "global\t%s\t%s\t%" PRIu64 "\t%u\t", pickle_verdict_text(f->verdict), how[f->ref], f->off, f->pickle);
	buf_addstr(arg, f->module);
	buf_addc(arg, '\t');
	buf_addstr(arg, f->name);
	buf_addc(arg, '\n');
	return 0;
}

static int
scan(const void *p, size_t n, bool legacy, struct buf *out, struct err *err)
{
	struct source *src = source_memory(p, n, "pickle");
	struct buf globals = BUF_INIT;
	struct pickle_scan s = { .found = found, .arg = &globals, .rest = true, .legacy = legacy };
	int status = pickle_scan(&s, src, 0, n, err);

	if (s.loads)
		buf_adds(out, "loads\n");
	else
		buf_addf(out, "%s\t%" PRIu64 "\t%s\n", s.unknown ? "unknown" : "refused", s.why_off, s.why);
	buf_addstr(out, buf_str(&globals));
	buf_addf(out, "end\t%" PRIu64 "\t%" PRIu64 "\t%u\t%s\n", s.end, s.extra, s.more, s.broken ? s.damage : "");
	buf_release(&globals);
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
	if (fread(buf_reserve(in, n), 1, n, stdin) != n)
		exit(2);
	in->len = n;
	return true;
}

int
main(int argc, char **argv)
{
	struct buf in = BUF_INIT, out = BUF_INIT;

	const char *what = argc == 2 ? argv[1] : "";
	bool legacy = strcmp(what, "legacy") == 0;

	if (strcmp(what, "copy") != 0 && strcmp(what, "scan") != 0 && !legacy)
		return 2;
	while (get(&in)) {
		struct err err = ERR_INIT;
		int status;

		buf_clear(&out);
		status = what[0] == 'c' ? copy(in.p, in.len, &out, &err) : scan(in.p, in.len, legacy, &out, &err);
		if (status == 0) {
			put(out.p, out.len);
			continue;
		}
		if (fwrite("\xff\xff\xff\xff", 1, 4, stdout) != 4)
			return 2;
		put(err.msg, strlen(err.msg));
	}
	buf_release(&in);
	buf_release(&out);
	return fflush(stdout) == 0 ? 0 : 2;
}
