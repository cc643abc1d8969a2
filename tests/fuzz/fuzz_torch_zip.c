/* Torch zips, from a file and through a pipe: fuzz_container in fuzz.h says what must hold. */
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size >= 4 && memcmp(data, "PK\3\4", 4) == 0)
		fuzz_container(data, size, "torch");
	return 0;
}
