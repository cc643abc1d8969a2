#include "base/num.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int
num_cmp32(const void *a, const void *b)
{
	const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

int
num_cmp64(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

uint64_t
num_align(uint64_t a, uint64_t align)
{
	return (a + align - 1) & ~(align - 1);
}

unsigned
num_digit(char c)
{
	if (c >= '0' && c <= '9')
		return (unsigned)(c - '0');
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10) : 16;
}

uint32_t
num_hex(struct str s, size_t n)
{
	uint32_t v = 0;

	for (size_t i = 0; i < n; i++) {
		if (i >= s.len || num_digit(s.p[i]) > 15)
			return UINT32_MAX;
		v = v << 4 | num_digit(s.p[i]);
	}
	return v;
}

bool
num_u64(struct str s, uint64_t *out)
{
	uint64_t v = 0;

	if (s.len == 0)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		if (!num_mul(v, 10, &v) || !num_add(v, (uint64_t)(s.p[i] - '0'), &v))
			return false;
	}
	*out = v;
	return true;
}

static bool
float_chars(struct str s)
{
	size_t i, digits = 0;

	for (i = 0; i < s.len; i++) {
		if (s.p[i] >= '0' && s.p[i] <= '9')
			digits++;
		else if (strchr("+-.eE", s.p[i]) == NULL || s.p[i] == '\0')
			return false;
	}
	return digits > 0;
}

bool
num_double(struct str s, double *out)
{
	struct str t = s;
	char text[400], *end;
	bool neg = s.len > 0 && s.p[0] == '-';

	if (t.len > 0 && (t.p[0] == '-' || t.p[0] == '+'))
		t = str_from(t, 1);
	if (str_eqc_nocase(t, "inf") || str_eqc_nocase(t, "infinity")) {
		*out = neg ? -(double)INFINITY : (double)INFINITY;
		return true;
	}
	if (str_eqc_nocase(t, "nan")) {
		*out = (double)NAN;
		return true;
	}
	if (s.len >= sizeof(text) || !float_chars(s))
		return false;
	memcpy(text, s.p, s.len);
	text[s.len] = '\0';
	*out = strtod(text, &end);
	return *end == '\0';
}

bool
num_size(struct str s, uint64_t *out)
{
	static const struct {
		const char *suffix;
		uint64_t factor;
	} units[] = {
		{ "", 1 },          { "B", 1 },           { "kB", 1000 },          { "KB", 1000 },
		{ "MB", 1000000 },  { "GB", 1000000000 }, { "TB", 1000000000000 }, { "k", 1 << 10 },
		{ "K", 1 << 10 },   { "M", 1 << 20 },     { "G", 1 << 30 },        { "T", (uint64_t)1 << 40 },
		{ "KiB", 1 << 10 }, { "MiB", 1 << 20 },   { "GiB", 1 << 30 },      { "TiB", (uint64_t)1 << 40 },
	};
	size_t digits = 0;
	uint64_t v;

	while (digits < s.len && s.p[digits] >= '0' && s.p[digits] <= '9')
		digits++;
	if (!num_u64(str_n(s.p, digits), &v))
		return false;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (str_eqc(str_from(s, digits), units[i].suffix))
			return num_mul(v, units[i].factor, out);
	return false;
}

/* Adds one unit of the last digit to the decimal in text, away from zero. Returns false if that takes another digit. */
static bool
step_out(char *text)
{
	char *p = strchr(text, 'e');

	while (p-- > text) {
		if (*p == '9')
			*p = '0';
		else if (*p >= '0' && *p < '9')
			return ++*p;
	}
	return false;
}

/*
 * Returns true if v reads back from %.*e or, for a power of two, from the next decimal away from zero. Doubles lie closer together
 * below a power of two than above it, so the nearest decimal may fail there although its neighbour reads back.
 */
static bool
reads_back(double v, bool power_of_two, int precision, char *text, size_t size)
{
	snprintf(text, size, "%.*e", precision, v);
	return strtod(text, NULL) == v || (power_of_two && step_out(text) && strtod(text, NULL) == v);
}

/*
 * Makes the shortest %.*e text that reads back as v, and returns its precision. If v is no power of two and a text reads back, all
 * longer texts do too. Most computed numbers do not read back from 15 digits, so shorter texts are tried only if 15 digits do.
 */
static int
shortest(double v, char *text, size_t size)
{
	int exponent, precision = 0;
	const bool power_of_two = fabs(frexp(v, &exponent)) == 0.5;

	if (!power_of_two && !reads_back(v, false, 14, text, size))
		precision = 15;
	while (precision < 17 && !reads_back(v, power_of_two, precision, text, size))
		precision++;
	return precision;
}

void
num_repr(double v, char *out)
{
	char text[40];
	int precision, exponent;

	if (isnan(v) || isinf(v)) {
		strcpy(out, isnan(v) ? "nan" : v < 0 ? "-inf" : "inf");
		return;
	}
	precision = shortest(v, text, sizeof(text));
	exponent = atoi(strchr(text, 'e') + 1);
	if (exponent < -4 || exponent >= 16) {
		strcpy(out, text);
		return;
	}
	if (precision <= exponent)
		snprintf(out, 32, "%.1f", v);
	else
		snprintf(out, 32, "%.*f", precision - exponent, v);
}
