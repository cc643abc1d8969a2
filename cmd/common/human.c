#include "common/human.h"

#include <stdio.h>

/* Formats n with three digits, divided by step as often as necessary. Each division moves on to the next unit. */
static const char *
three_digits(uint64_t n, double step, const char *const *units, char *out)
{
	double v = (double)n;
	size_t i = 0;

	while (v >= 999.5 && units[i + 1] != NULL) {
		v /= step;
		i++;
	}
	snprintf(out, HUMAN_SIZE, "%.*f%s", i == 0 ? 0 : v < 9.995 ? 2 : v < 99.95 ? 1 : 0, v, units[i]);
	return out;
}

const char *
human_count(uint64_t n, char out[HUMAN_SIZE])
{
	static const char *const units[] = { "", "k", "M", "G", "T", "P", "E", NULL };

	return three_digits(n, 1000, units, out);
}

const char *
human_bytes(uint64_t n, char out[HUMAN_SIZE])
{
	static const char *const units[] = { " B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB", NULL };

	return three_digits(n, 1024, units, out);
}
