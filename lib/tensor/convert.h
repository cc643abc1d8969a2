/*
 * convert: numbers as tensors hold them (little-endian bytes, any alignment) to
 * doubles and back.
 *
 * Encoding rounds once, to nearest, ties to even. What is beyond the largest
 * finite value becomes an infinity; in the types without one as in torch 2.13,
 * namely NaN in float8 *fnuz and e8m0fnu, the largest value in float8_e4m3fn
 * (infinities too; older torch: NaN). A NaN keeps its sign and the leading bits of its
 * payload where the type has them. The bytes do not depend on the processor.
 */
#ifndef LNN_TENSOR_CONVERT_H
#define LNN_TENSOR_CONVERT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tensor/dtype.h"

/* The real types with whole bytes: float64 .. float8_*, integers, bool. Not float4, float6, complex, quantised, bits. */
bool convert_known(enum dtype t);

/* n items of t as doubles. 64-bit integers above 2^53 are rounded. t is convert_known. */
void convert_decode(enum dtype t, const void *in, size_t n, double *out);

/*
 * n doubles as items of t, which is convert_known. Returns how many were lost:
 * finite values beyond the largest one, and what was clamped. For integers: out
 * of range (clamped) or NaN (0); for float8_e8m0fnu also zeros (its smallest
 * value) and negative ones (their magnitude).
 */
uint64_t convert_encode(enum dtype t, const double *in, size_t n, void *out);

/* From any known type to a floating one. */
bool convert_castable(enum dtype from, enum dtype to);

/* n items cast, rounded once from the stored value; returns the number lost. in and out do not overlap. */
uint64_t convert_cast(enum dtype from, const void *in, enum dtype to, size_t n, void *out);

/* Reverses the bytes of each of n items of t, of a complex number those of each part. */
void convert_swap(void *p, uint64_t n, enum dtype t);

/* Makes items of float64 of n doubles, in place. On a little-endian processor they are that already. */
void convert_doubles(double *v, size_t n);

#endif
