/*
 * convert: converts tensor elements (little-endian bytes, any alignment) to doubles and back.
 *
 * Encoding rounds once, to nearest, ties to even. A value beyond the largest finite one becomes an infinity. Types without
 * infinities behave as in torch 2.13: float8 *fnuz and e8m0fnu get NaN; float8_e4m3fn gets the largest value, also for infinities
 * (older torch: NaN). A NaN keeps its sign and the leading bits of its payload if the type has them. The bytes do not depend on the
 * processor.
 */
#ifndef LNN_TENSOR_CONVERT_H
#define LNN_TENSOR_CONVERT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tensor/dtype.h"

/*
 * Returns true for real types with whole bytes: float64 .. float8_*, integers, bool. float4, float6, complex, quantised and bits
 * types are not supported.
 */
bool convert_known(enum dtype t);

/* Converts n items of t to doubles. 64-bit integers above 2^53 are rounded. convert_known(t) must be true. */
void convert_decode(enum dtype t, const void *in, size_t n, double *out);

/*
 * Converts n doubles to items of t. convert_known(t) must be true. Returns the
 * number of lost values: finite values beyond the largest one. For integers,
 * lost values are those out of range (clamped) and NaN (0). For float8_e8m0fnu
 * they include zeros (which become its smallest value) and negative values
 * (their magnitude).
 */
uint64_t convert_encode(enum dtype t, const double *in, size_t n, void *out);

/* Returns true if convert_cast supports the types: any known one to a floating one. */
bool convert_castable(enum dtype from, enum dtype to);

/* Casts n items, rounded once from the stored value. Returns the number of lost values. in and out must not overlap. */
uint64_t convert_cast(enum dtype from, const void *in, enum dtype to, size_t n, void *out);

/* Reverses the bytes of each of n items of t. For complex types, reverses each part. */
void convert_swap(void *p, uint64_t n, enum dtype t);

/* Converts n doubles in place to little-endian float64. Does nothing on a little-endian processor. */
void convert_doubles(double *v, size_t n);

#endif
