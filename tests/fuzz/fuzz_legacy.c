/* Streams of torch before 1.6, from a file and through a pipe: fuzz_container in fuzz.h has the rules. */
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > 0 && data[0] == 0x80)
		fuzz_container(data, size, "torch", true);
	return 0;
}
