/*
 * Rank files of DTensors, or shards of Hugging Face. The input has the length of the first file in four bytes and both files. The
 * highest bit of the length chooses shards. The joined checkpoint must be consistent and can be copied.
 */
#include "fuzz.h"

#include "base/cursor.h"
#include "format/box_set.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf text = BUF_INIT, out = BUF_INIT;
	uint32_t crc = 0, head;
	size_t first;
	int one, two;

	if (size < 6)
		return 0;
	head = get_le32(data);
	first = (head & 0x7fffffff) % (size - 4);
	one = fuzz_file(data + 4, first);
	two = fuzz_file(data + 4 + first, size - 4 - first);
	buf_addf(&text, "%s%d\n%d\n", head >> 31 ? BOX_SET_SHARDS : BOX_SET_RANKS, one, two);
	fuzz_accept(source_text(&text, "/proc/self/fd/set"), head >> 31 ? "safetensors" : "torch", &out, &crc, NULL);
	buf_release(&out);
	close(one);
	close(two);
	return 0;
}
