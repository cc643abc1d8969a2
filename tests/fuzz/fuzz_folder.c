/*
 * Folders of distributed checkpoints. The input has the length of the metadata in four bytes, the metadata, and a file of items,
 * which the metadata calls 1000. Values are read place by place. The checkpoint must stay consistent and can be copied.
 */
#include "fuzz.h"

#include "base/cursor.h"
#include "format/dcp_metadata.h"

enum { METADATA = 999, ITEMS = 1000 };

static void
put(const uint8_t *data, size_t size, int number)
{
	int fd = fuzz_file(data, size);

	promise(dup2(fd, number) == number && close(fd) == 0, "a file gets its number");
}

static void
judge(struct ckpt *c)
{
	struct buf out = BUF_INIT;
	struct sink *sink = sink_memory(&out, "copy");
	struct err err = ERR_INIT;
	struct statedict sd;
	uint32_t unread = c->nunread, crc = 0;
	int rc;

	if (fuzz_statedict(c, &sd))
		statedict_release(&sd);
	promise(c->nunread == unread, "opening a state dict reads no value");
	rc = ckpt_fill(c, str_c(""), 1, &err);
	fuzz_judge(rc, &err);
	err_clear(&err);
	rc = ckpt_fill(c, str_c(""), SIZE_MAX, &err);
	fuzz_judge(rc, &err);
	err_clear(&err);
	promise(c->nunread == 0, "all values are read");
	fuzz_geometry(c);
	if (fuzz_statedict(c, &sd))
		statedict_release(&sd);
	if (fuzz_contents(c) <= FUZZ_CONTENTS) {
		rc = fuzz_copy(c, "torch", sink, &crc, &err);
		fuzz_judge(rc, &err);
	}
	sink_abort(sink);
	buf_release(&out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf text = BUF_INIT;
	struct ckpt *c = NULL;
	struct err err = ERR_INIT;
	struct source *src;
	size_t first;
	int rc;

	if (size < 6)
		return 0;
	first = get_le32(data) % (size - 4);
	put(data + 4, first, METADATA);
	put(data + 4 + first, size - 4 - first, ITEMS);
	buf_addf(&text, DCP_FOLDER "%d\n", METADATA);
	src = source_text(&text, "/proc/self/fd/set");
	rc = format_open(&c, src, &(struct format_opts){ NULL, NULL, SALVAGE_NOT }, &err);
	fuzz_judge(rc, &err);
	if (rc == 0)
		judge(c);
	ckpt_close(c);
	source_close(src);
	close(METADATA);
	close(ITEMS);
	return 0;
}
