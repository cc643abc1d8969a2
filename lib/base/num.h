/* num: overflow-checked arithmetic, and numbers in text. */
#ifndef LNN_BASE_NUM_H
#define LNN_BASE_NUM_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

/* Returns true and sets *out, or returns false if the result overflows. */
static inline bool
num_add(uint64_t a, uint64_t b, uint64_t *out)
{
	return !__builtin_add_overflow(a, b, out);
}

static inline bool
num_mul(uint64_t a, uint64_t b, uint64_t *out)
{
	return !__builtin_mul_overflow(a, b, out);
}

/* Returns the larger of a and b; NaN if either is NaN. */
static inline double
num_larger(double a, double b)
{
	return isnan(a) || a > b ? a : b;
}

/* Compare two uint32_t or uint64_t, for qsort and bsearch. */
int num_cmp32(const void *a, const void *b);
int num_cmp64(const void *a, const void *b);

/* Rounds a up to a multiple of align, which is a power of two. */
uint64_t num_align(uint64_t a, uint64_t align);

/* Returns the value of c as a hexadecimal digit, or 16 if it is none. */
unsigned num_digit(char c);

/* Returns the value of the n hexadecimal digits at the start of s, or UINT32_MAX if s does not start with n of them. */
uint32_t num_hex(struct str s, size_t n);

/* Parses all of s: decimal digits for u64, Python's float syntax for double (5e-5, 1., inf, nan). */
bool num_u64(struct str s, uint64_t *out);
bool num_double(struct str s, double *out);

/*
 * Parses a size as on the command line. 5GB, 5MB and 5kB are decimal; 5GiB, 5G,
 * 5M and 5K are binary; a number without unit is in bytes.
 */
bool num_size(struct str s, uint64_t *out);

/* Writes the shortest decimal text that reads back as v, in Python's repr form. out has 32 bytes. */
void num_repr(double v, char *out);

#endif
