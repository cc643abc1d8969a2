/*
 * Rank files of DTensors: a number of four bytes, the first file of that many bytes, the second. What two files are joined to
 * holds together and can be copied.
 */
#include <sys/mman.h>

#include "fuzz.h"

#include "base/cursor.h"
#include "format/box_set.h"

static int
put_file(const uint8_t *data, size_t size)
{
	int fd = memfd_create("rank", MFD_CLOEXEC);

	promise(fd >= 0 && write(fd, data, size) == (ssize_t)size, "there is space for a file");
	return fd;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf text = BUF_INIT, out = BUF_INIT;
	uint32_t crc = 0;
	size_t first;
	int one, two;

	if (size < 6)
		return 0;
	first = get_le32(data) % (size - 4);
	one = put_file(data + 4, first);
	two = put_file(data + 4 + first, size - 4 - first);
	buf_addf(&text, BOX_SET_RANKS "%d\n%d\n", one, two);
	fuzz_accept(source_text(&text, "/proc/self/fd/set"), "torch", &out, &crc, NULL);
	buf_release(&out);
	close(one);
	close(two);
	return 0;
}
