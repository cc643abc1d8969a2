/* safetensors, from a file and through a pipe: fuzz_container in fuzz.h has the rules. */
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size >= 9 && (data[8] == '{' || memchr(" \t\r\n", data[8], 4) != NULL))
		fuzz_container(data, size, "safetensors", true);
	return 0;
}
