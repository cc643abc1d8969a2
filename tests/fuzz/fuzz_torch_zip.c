/* Torch zips, from a file and through a pipe: fuzz_container in fuzz.h has the rules. */
#include "fuzz.h"

#include "zip/directory.h"

/* On a pipe a stored record ends where its CRC matches, so every CRC must be right. */
static bool
sound(const uint8_t *data, size_t size)
{
	struct source *src = source_memory(data, size, "zip");
	struct zip_dir d;
	struct err err = ERR_INIT;
	bool good = zip_open(&d, src, ZIP_COMPARED, NULL, &err) == 0;

	for (size_t i = 0; good && i < d.n; i++)
		good = d.entries[i].method != ZIP_STORED ||
		       crc32_add(0, data + d.entries[i].data, (size_t)d.entries[i].size) == d.entries[i].crc;
	zip_release(&d);
	source_close(src);
	return good;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size >= 4 && memcmp(data, "PK\3\4", 4) == 0)
		fuzz_container(data, size, "torch", sound(data, size));
	return 0;
}
