/*
 * num: checked arithmetic and numbers in text.
 */
#ifndef LNN_BASE_NUM_H
#define LNN_BASE_NUM_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

/* True and *out set unless the result does not fit. */
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

/* The larger of two; NaN if one is. */
static inline double
num_larger(double a, double b)
{
	return isnan(a) || a > b ? a : b;
}

/* Compares two uint32_t, for qsort and bsearch. */
int num_cmp32(const void *a, const void *b);

/* a rounded up to a multiple of align, a power of two. */
uint64_t num_align(uint64_t a, uint64_t align);

/* What c stands for as a digit of base 16 or less; 16 if it is none. */
unsigned num_digit(char c);

/* The n hexadecimal digits that s begins with; UINT32_MAX if it does not. */
uint32_t num_hex(struct str s, size_t n);

/* All of s as a number: digits only; Python's float syntax for double (5e-5, 1., inf, nan). */
bool num_u64(struct str s, uint64_t *out);
bool num_double(struct str s, double *out);

/*
 * Sizes of the command line: 5GB, 5kB, 5MB are decimal; 5GiB, 5G, 5M, 5K are
 * binary; a number alone is bytes.
 */
bool num_size(struct str s, uint64_t *out);

/* Shortest decimal text that reads back as the same double, in Python's repr form; out has 32 bytes. */
void num_repr(double v, char *out);

#endif
