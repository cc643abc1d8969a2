/*
 * Tensor lists: file and pipe agree, and a list that was read can be written and read again. The first byte chooses between lines
 * and records that end in NUL.
 */
#include "fuzz.h"

#include "model/list.h"

/* Writes the lines of the list with list_put. Returns their number, or -1 if one is refused. */
static long
copy(struct source *src, bool null, struct buf *out)
{
	struct list_reader r;
	struct list_line line;
	struct err err = ERR_INIT, put = ERR_INIT;
	uint64_t last = 0;
	long n = 0;
	int rc;

	list_open(&r, src, null);
	while ((rc = list_next(&r, &line, &err)) > 0) {
		promise(line.number > last, "line numbers increase");
		last = line.number;
		n++;
		err_clear(&put);
		rc = list_put(out, &line.entry, null, &put);
		fuzz_judge(rc, &put);
		if (rc < 0)
			promise(memchr(line.entry.name.p, '\0', line.entry.name.len) != NULL, "only a NUL cannot be written");
		(void)list_pending(&r);
	}
	fuzz_judge(rc, &err);
	list_release(&r);
	source_close(src);
	return rc < 0 ? -1 : n;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf one = BUF_INIT, two = BUF_INIT;
	bool null;
	long n;

	if (size == 0)
		return 0;
	null = data[0] == '0';
	data++, size--;
	n = copy(source_memory(data, size, "list"), null, &one);
	if (size <= FUZZ_PIPE)
		promise(copy(fuzz_pipe(data, size), null, &two) == n && one.len == two.len &&
				(one.len == 0 || memcmp(one.p, two.p, one.len) == 0),
			"file and pipe give the same list");
	buf_clear(&two);
	if (n > 0) {
		copy(source_memory(one.p, one.len, "again"), null, &two);
		promise(one.len == two.len && (one.len == 0 || memcmp(one.p, two.p, one.len) == 0),
			"a list that is written again has the same bytes");
	}
	buf_release(&one);
	buf_release(&two);
	return 0;
}
