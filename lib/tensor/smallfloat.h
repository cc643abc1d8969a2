/*
 * smallfloat: converts single floats of 8 and 16 bits that consist of sign,
 * exponent and mantissa. The format is an argument and everything is inlined,
 * so with a constant format it costs nothing at run time.
 */
#ifndef LNN_TENSOR_SMALLFLOAT_H
#define LNN_TENSOR_SMALLFLOAT_H

#include <math.h>
#include <stdint.h>
#include <string.h>

enum small_kind {
	SMALL_IEEE, /* infinities and NaNs use the highest exponent */
	SMALL_FN,   /* no infinity; NaN is all ones; values that are too large become the largest number */
	SMALL_FNUZ, /* no infinity and no -0; NaN has the code of -0 */
};

struct small {
	enum small_kind kind;
	unsigned bits, mantissa; /* bits: of an item; mantissa: stored bits of the mantissa */
	int bias;
};

static const struct small half = { SMALL_IEEE, 16, 10, 15 };
static const struct small bfloat = { SMALL_IEEE, 16, 7, 127 };
static const struct small e4m3fn = { SMALL_FN, 8, 3, 7 };
static const struct small e5m2 = { SMALL_IEEE, 8, 2, 15 };
static const struct small e4m3fnuz = { SMALL_FNUZ, 8, 3, 8 };
static const struct small e5m2fnuz = { SMALL_FNUZ, 8, 2, 16 };

static inline uint64_t
double_bits(double v)
{
	uint64_t u;

	memcpy(&u, &v, sizeof(u));
	return u;
}

static inline double
bits_double(uint64_t u)
{
	double v;

	memcpy(&v, &u, sizeof(v));
	return v;
}

#define DOUBLE_INF ((uint64_t)0x7ff << 52)
#define DOUBLE_SIGN ((uint64_t)1 << 63)

/* Returns the code of an infinity or, in types without infinities, the code after the largest number. */
static inline uint64_t
small_top(struct small f)
{
	uint64_t sign = (uint64_t)1 << (f.bits - 1);

	switch (f.kind) {
	case SMALL_IEEE: break;
	case SMALL_FN: return sign - 1;
	case SMALL_FNUZ: return sign;
	}
	return (sign - 1) >> f.mantissa << f.mantissa;
}

static inline __attribute__((always_inline)) double
small_decode(uint64_t code, struct small f)
{
	uint64_t sign = (uint64_t)1 << (f.bits - 1), size = code & (sign - 1), bits;

	if (f.kind == SMALL_FNUZ && code == sign)
		return (double)NAN;
	bits = size << (52 - f.mantissa);
	if (f.kind != SMALL_FNUZ && size >= small_top(f))
		bits |= DOUBLE_INF;
	else if (size >> f.mantissa == 0)
		bits = double_bits((double)size * bits_double((uint64_t)(1024 - f.bias - (int)f.mantissa) << 52));
	else
		bits += (uint64_t)(1023 - f.bias) << 52;
	return bits_double(bits | (code & sign) << (64 - f.bits));
}

static inline __attribute__((always_inline)) uint64_t
small_encode(double v, struct small f, uint64_t *lost)
{
	const unsigned cut = 52 - f.mantissa;
	const uint64_t top = small_top(f), sign = (uint64_t)1 << (f.bits - 1);
	const uint64_t least = (uint64_t)(1024 - f.bias) << 52; /* smallest normal number */
	const uint64_t magic = least + ((uint64_t)cut << 52);   /* the last place of doubles near it is the step of subnormals */
	uint64_t bits = double_bits(v), size = bits & ~DOUBLE_SIGN, negative = bits >> 63 ? sign : 0, code;

	if (size > DOUBLE_INF)
		return f.kind == SMALL_FNUZ ? sign : negative | top | 1u << (f.mantissa - 1) | (size << 12) >> (64 - f.mantissa);
	if (size < least)
		code = double_bits(bits_double(size) + bits_double(magic)) - magic;
	else
		code = (size - ((uint64_t)(1023 - f.bias) << 52) + (((uint64_t)1 << (cut - 1)) - 1) + (size >> cut & 1)) >> cut;
	if (code >= top) {
		*lost += size < DOUBLE_INF || f.kind == SMALL_FN;
		if (f.kind == SMALL_FNUZ)
			return sign;
		return negative | (f.kind == SMALL_FN ? top - 1 : top);
	}
	return f.kind == SMALL_FNUZ && code == 0 ? 0 : negative | code;
}

#endif
