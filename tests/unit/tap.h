/*
 * TAP for C unit tests. A test is a main() that makes checks and ends with `return tap_done();`, which prints the plan and
 * returns 0 if every check passed. Each check returns its verdict, so that a test can stop using an object that is broken.
 *
 * Every argument is evaluated once. Descriptions are printf formats.
 */
#ifndef LNN_TESTS_TAP_H
#define LNN_TESTS_TAP_H

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tap {
	unsigned long run;
	unsigned long failed;
};

static struct tap tap;

__attribute__((unused, format(printf, 4, 5))) static bool
tap_check(bool good, const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	tap.run++;
	tap.failed += !good;
	printf("%sok %lu - ", good ? "" : "not ", tap.run);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	if (!good)
		printf("# failed at %s:%d\n", file, line);
	fflush(stdout);
	return good;
}

/* Further explanation below a failed check. */
__attribute__((unused, format(printf, 1, 2))) static void
tap_note(const char *fmt, ...)
{
	va_list ap;

	fputs("# ", stdout);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

__attribute__((unused)) static bool
tap_int(int64_t got, int64_t expected, const char *file, int line, const char *what)
{
	bool good = tap_check(got == expected, file, line, "%s", what);

	if (!good)
		tap_note("got %" PRId64 ", expected %" PRId64, got, expected);
	return good;
}

__attribute__((unused)) static bool
tap_uint(uint64_t got, uint64_t expected, const char *file, int line, const char *what)
{
	bool good = tap_check(got == expected, file, line, "%s", what);

	if (!good)
		tap_note("got %" PRIu64 " (0x%" PRIx64 "), expected %" PRIu64 " (0x%" PRIx64 ")", got, got, expected, expected);
	return good;
}

__attribute__((unused)) static bool
tap_str(const char *got, const char *expected, const char *file, int line, const char *what)
{
	bool same = got == expected || (got && expected && strcmp(got, expected) == 0);

	tap_check(same, file, line, "%s", what);
	if (!same)
		tap_note("got \"%s\", expected \"%s\"", got ? got : "(null)", expected ? expected : "(null)");
	return same;
}

__attribute__((unused)) static bool
tap_mem(const void *got, const void *expected, size_t len, const char *file, int line, const char *what)
{
	const unsigned char *g = got, *w = expected;
	bool same = len == 0 || (got && expected && memcmp(got, expected, len) == 0);

	tap_check(same, file, line, "%s", what);
	for (size_t i = 0; !same && g && w && i < len; i++) {
		if (g[i] != w[i]) {
			tap_note("byte %zu of %zu: got 0x%02x, expected 0x%02x", i, len, g[i], w[i]);
			break;
		}
	}
	return same;
}

/* Equal within tol; NaN equals NaN, and an infinity equals itself. */
__attribute__((unused)) static bool
tap_near(double got, double expected, double tol, const char *file, int line, const char *what)
{
	bool same = (isnan(got) && isnan(expected)) || (isinf(got) && isinf(expected) && (got > 0) == (expected > 0)) ||
		    fabs(got - expected) <= tol;

	tap_check(same, file, line, "%s", what);
	if (!same)
		tap_note("got %.17g, expected %.17g within %g", got, expected, tol);
	return same;
}

/* Turns n items of size bytes between the byte order of this machine and that of files, which is little-endian. */
__attribute__((unused)) static void
tap_le(void *p, size_t n, size_t size)
{
	unsigned char *b = p;

	if (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)
		return;
	for (; n > 0; n--, b += size) {
		for (size_t i = 0; i < size / 2; i++) {
			unsigned char c = b[i];

			b[i] = b[size - 1 - i];
			b[size - 1 - i] = c;
		}
	}
}

/* A check that is skipped. It counts as passed and says why. */
__attribute__((unused)) static void
tap_skip(const char *why)
{
	printf("ok %lu # SKIP %s\n", ++tap.run, why);
}

/* Ends the whole test program as failed. */
__attribute__((unused, noreturn)) static void
tap_bail(const char *why)
{
	printf("Bail out! %s\n", why);
	exit(2);
}

__attribute__((unused)) static int
tap_done(void)
{
	printf("1..%lu\n", tap.run);
	fflush(stdout);
	return tap.failed || tap.run == 0 ? 1 : 0;
}

/* ok(cond) is described by the text of cond, ok_msg(cond, "format", ...) by the format. */
#define ok(cond) tap_check((cond), __FILE__, __LINE__, "%s", #cond)
#define ok_msg(cond, ...) tap_check((cond), __FILE__, __LINE__, __VA_ARGS__)
#define is_int(got, expected, what) tap_int((got), (expected), __FILE__, __LINE__, (what))
#define is_uint(got, expected, what) tap_uint((got), (expected), __FILE__, __LINE__, (what))
#define is_str(got, expected, what) tap_str((got), (expected), __FILE__, __LINE__, (what))
#define is_mem(got, expected, len, what) tap_mem((got), (expected), (len), __FILE__, __LINE__, (what))
#define is_near(got, expected, tol, what) tap_near((got), (expected), (tol), __FILE__, __LINE__, (what))

#endif
