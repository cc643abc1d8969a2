#include "tensor/convert.h"

#include <math.h>
#include <string.h>

#include "tensor/smallfloat.h"

/*
 * Conversions work on blocks. Bytes are copied into a block, a function
 * converts all BLOCK items into another block, and the result is copied out.
 * Constant trip counts let the compiler vectorise the loops at -O2.
 */
#define BLOCK 256

union block {
	uint8_t u8[BLOCK];
	uint16_t u16[BLOCK];
	uint32_t u32[BLOCK];
	uint64_t u64[BLOCK];
	float f32[BLOCK];
	double f64[BLOCK];
};

static uint32_t
float_bits(float v)
{
	uint32_t u;

	memcpy(&u, &v, sizeof(u));
	return u;
}

static float
bits_float(uint32_t u)
{
	float v;

	memcpy(&v, &u, sizeof(v));
	return v;
}

/* ---- floats of 8 and 16 bits ---- */

static inline __attribute__((always_inline)) void
small_decode_block(const union block *in, union block *out, struct small f)
{
	for (unsigned i = 0; i < BLOCK; i++)
		out->f64[i] = small_decode(f.bits == 8 ? in->u8[i] : in->u16[i], f);
}

static inline __attribute__((always_inline)) uint64_t
small_encode_block(const union block *in, union block *out, struct small f)
{
	uint64_t lost = 0;

	for (unsigned i = 0; i < BLOCK; i++) {
		uint64_t code = small_encode(in->f64[i], f, &lost);

		if (f.bits == 8)
			out->u8[i] = (uint8_t)code;
		else
			out->u16[i] = (uint16_t)code;
	}
	return lost;
}

/* ---- float8_e8m0fnu: powers of two from 2^-127 up, and NaN ---- */

static void
decode_e8m0(const union block *in, union block *out)
{
	for (unsigned i = 0; i < BLOCK; i++)
		out->f64[i] = in->u8[i] == 255 ? (double)NAN : bits_double((uint64_t)(in->u8[i] + 1023 - 127) << 52);
}

/* A value halfway between two powers of two is rounded up, as in torch. */
static uint64_t
encode_e8m0(const union block *in, union block *out)
{
	uint64_t lost = 0;

	for (unsigned i = 0; i < BLOCK; i++) {
		uint64_t bits = double_bits(in->f64[i]), size = bits & ~DOUBLE_SIGN;
		uint64_t exponent = (size + ((uint64_t)1 << 51)) >> 52;
		uint8_t code;

		if (exponent < 1023 - 127)
			code = 0;
		else
			code = exponent > 1023 + 127 ? 255 : (uint8_t)(exponent - (1023 - 127));
		lost += size < DOUBLE_INF && (code == 255 || size == 0 || bits != size);
		out->u8[i] = code;
	}
	return lost;
}

/* ---- float32 and float64 ---- */

static void
decode_f32(const union block *in, union block *out)
{
	for (unsigned i = 0; i < BLOCK; i++)
		out->f64[i] = (double)in->f32[i];
}

static uint64_t
encode_f32(const union block *in, union block *out)
{
	uint64_t lost = 0;

	for (unsigned i = 0; i < BLOCK; i++)
		out->f32[i] = (float)in->f64[i];
	for (unsigned i = 0; i < BLOCK; i++)
		lost += (out->u32[i] & 0x7fffffff) == 0x7f800000 && isfinite(in->f64[i]);
	return lost;
}

/* ---- float32 to and from 16 bits, without converting to double ---- */

static uint64_t
f32_to_bfloat(const union block *in, union block *out)
{
	uint32_t lost = 0;

	for (unsigned i = 0; i < BLOCK; i++) {
		uint32_t u = in->u32[i], size = u & 0x7fffffff;
		uint32_t near = (u + 0x7fff + (u >> 16 & 1)) >> 16, nan = u >> 16 | 0x40;

		lost += (uint32_t)((near & 0x7fff) == 0x7f80) & (uint32_t)(size < 0x7f800000);
		out->u16[i] = (uint16_t)(size > 0x7f800000 ? nan : near);
	}
	return lost;
}

static void
bfloat_to_f32(const union block *in, union block *out)
{
	for (unsigned i = 0; i < BLOCK; i++)
		out->u32[i] = (uint32_t)in->u16[i] << 16;
}

static uint64_t
f32_to_half(const union block *in, union block *out)
{
	uint32_t lost = 0;

	for (unsigned i = 0; i < BLOCK; i++) {
		uint32_t u = in->u32[i], size = u & 0x7fffffff, code;
		uint32_t near = (size + 0xfff + (size >> 13 & 1) - (112u << 23)) >> 13;
		/* The last place of 0.5 is 2^-24, the step of half's subnormals, so that the addition rounds to it. */
		uint32_t small = float_bits(bits_float(size) + 0.5f) - float_bits(0.5f);
		uint32_t nan = 0x7e00 | (size >> 13 & 0x3ff);

		code = size < 113u << 23 ? small : near;
		code = size >= 0x477ff000 ? 0x7c00 : code; /* 65520 is the tie between 65504 and 65536 */
		code = size > 0x7f800000 ? nan : code;
		lost += (uint32_t)(size >= 0x477ff000) & (uint32_t)(size < 0x7f800000);
		out->u16[i] = (uint16_t)(code | (u >> 16 & 0x8000));
	}
	return lost;
}

static void
half_to_f32(const union block *in, union block *out)
{
	for (unsigned i = 0; i < BLOCK; i++) {
		uint32_t h = in->u16[i], size = (h & 0x7fff) << 13;
		uint32_t small = float_bits(bits_float(size + (113u << 23)) - bits_float(113u << 23));
		uint32_t code = size + (112u << 23);

		code = size < 1u << 23 ? small : code;
		code = size >= 31u << 23 ? size | 0x7f800000 : code;
		out->u32[i] = code | (h & 0x8000) << 16;
	}
}

/* ---- integers ---- */

static inline __attribute__((always_inline)) uint64_t
item_get(const union block *b, unsigned i, unsigned bits)
{
	switch (bits) {
	case 8: return b->u8[i];
	case 16: return b->u16[i];
	case 32: return b->u32[i];
	default: return b->u64[i];
	}
}

static inline __attribute__((always_inline)) void
item_put(union block *b, unsigned i, unsigned bits, uint64_t v)
{
	switch (bits) {
	case 8: b->u8[i] = (uint8_t)v; break;
	case 16: b->u16[i] = (uint16_t)v; break;
	case 32: b->u32[i] = (uint32_t)v; break;
	default: b->u64[i] = v;
	}
}

/*
 * If sticky is set, an integer that does not fit a double is cut and its last
 * bit is set if the cut bits are not zero (rounding to odd). Rounding that
 * double to a shorter type then gives the correctly rounded result.
 */
static inline __attribute__((always_inline)) void
int_decode_block(const union block *in, union block *out, unsigned bits, bool is_signed, bool sticky)
{
	const uint64_t sign = (uint64_t)1 << (bits - 1);

	for (unsigned i = 0; i < BLOCK; i++) {
		uint64_t v = item_get(in, i, bits);
		bool negative = is_signed && (v & sign) != 0;

		if (negative)
			v = bits == 64 ? -v : (sign << 1) - v;
		if (sticky && v >> 53 != 0) {
			unsigned cut = 11 - (unsigned)__builtin_clzll(v);
			uint64_t rest = v & (((uint64_t)1 << cut) - 1);

			v = (v >> cut | (rest != 0)) << cut;
		}
		out->f64[i] = negative ? -(double)v : (double)v;
	}
}

static inline __attribute__((always_inline)) uint64_t
int_encode_block(const union block *in, union block *out, unsigned bits, bool is_signed)
{
	const uint64_t sign = (uint64_t)1 << (bits - 1), most = is_signed ? sign - 1 : sign | (sign - 1);
	const double end = is_signed ? (double)sign : 2 * (double)sign, low = is_signed ? -(double)sign : 0;
	uint64_t lost = 0;

	for (unsigned i = 0; i < BLOCK; i++) {
		double v = rint(in->f64[i]);
		uint64_t code;

		lost += !(v >= low && v < end);
		if (isnan(v))
			code = 0;
		else if (v >= end)
			code = most;
		else if (v < low)
			code = is_signed ? sign : 0;
		else
			code = v < 0 ? -(uint64_t)-v : (uint64_t)v;
		item_put(out, i, bits, code);
	}
	return lost;
}

static void
decode_bool(const union block *in, union block *out)
{
	for (unsigned i = 0; i < BLOCK; i++)
		out->f64[i] = in->u8[i] != 0;
}

static void
encode_bool(const union block *in, union block *out)
{
	for (unsigned i = 0; i < BLOCK; i++)
		out->u8[i] = !(in->f64[i] == 0); /* NaN is true, as in torch */
}

/* ---- dispatch by dtype ---- */

static void
decode_block(enum dtype t, const union block *in, union block *out, bool sticky)
{
	switch ((int)t) {
	case DTYPE_FLOAT64: memcpy(out, in, sizeof(*out)); return;
	case DTYPE_FLOAT32: decode_f32(in, out); return;
	case DTYPE_FLOAT16: small_decode_block(in, out, half); return;
	case DTYPE_BFLOAT16: small_decode_block(in, out, bfloat); return;
	case DTYPE_FLOAT8_E4M3FN: small_decode_block(in, out, e4m3fn); return;
	case DTYPE_FLOAT8_E5M2: small_decode_block(in, out, e5m2); return;
	case DTYPE_FLOAT8_E4M3FNUZ: small_decode_block(in, out, e4m3fnuz); return;
	case DTYPE_FLOAT8_E5M2FNUZ: small_decode_block(in, out, e5m2fnuz); return;
	case DTYPE_FLOAT8_E8M0FNU: decode_e8m0(in, out); return;
	case DTYPE_INT64: int_decode_block(in, out, 64, true, sticky); return;
	case DTYPE_INT32: int_decode_block(in, out, 32, true, false); return;
	case DTYPE_INT16: int_decode_block(in, out, 16, true, false); return;
	case DTYPE_INT8: int_decode_block(in, out, 8, true, false); return;
	case DTYPE_UINT64: int_decode_block(in, out, 64, false, sticky); return;
	case DTYPE_UINT32: int_decode_block(in, out, 32, false, false); return;
	case DTYPE_UINT16: int_decode_block(in, out, 16, false, false); return;
	case DTYPE_UINT8: int_decode_block(in, out, 8, false, false); return;
	default: decode_bool(in, out);
	}
}

static uint64_t
encode_block(enum dtype t, const union block *in, union block *out)
{
	switch ((int)t) {
	case DTYPE_FLOAT64: memcpy(out, in, sizeof(*out)); return 0;
	case DTYPE_FLOAT32: return encode_f32(in, out);
	case DTYPE_FLOAT16: return small_encode_block(in, out, half);
	case DTYPE_BFLOAT16: return small_encode_block(in, out, bfloat);
	case DTYPE_FLOAT8_E4M3FN: return small_encode_block(in, out, e4m3fn);
	case DTYPE_FLOAT8_E5M2: return small_encode_block(in, out, e5m2);
	case DTYPE_FLOAT8_E4M3FNUZ: return small_encode_block(in, out, e4m3fnuz);
	case DTYPE_FLOAT8_E5M2FNUZ: return small_encode_block(in, out, e5m2fnuz);
	case DTYPE_FLOAT8_E8M0FNU: return encode_e8m0(in, out);
	case DTYPE_INT64: return int_encode_block(in, out, 64, true);
	case DTYPE_INT32: return int_encode_block(in, out, 32, true);
	case DTYPE_INT16: return int_encode_block(in, out, 16, true);
	case DTYPE_INT8: return int_encode_block(in, out, 8, true);
	case DTYPE_UINT64: return int_encode_block(in, out, 64, false);
	case DTYPE_UINT32: return int_encode_block(in, out, 32, false);
	case DTYPE_UINT16: return int_encode_block(in, out, 16, false);
	case DTYPE_UINT8: return int_encode_block(in, out, 8, false);
	default: encode_bool(in, out); return 0;
	}
}

/* Does the casts whose speed matters. Returns false for all others. */
static bool
cast_block(enum dtype from, const union block *in, enum dtype to, union block *out, uint64_t *lost)
{
	if (from == DTYPE_FLOAT32 && to == DTYPE_BFLOAT16)
		*lost += f32_to_bfloat(in, out);
	else if (from == DTYPE_FLOAT32 && to == DTYPE_FLOAT16)
		*lost += f32_to_half(in, out);
	else if (from == DTYPE_BFLOAT16 && to == DTYPE_FLOAT32)
		bfloat_to_f32(in, out);
	else if (from == DTYPE_FLOAT16 && to == DTYPE_FLOAT32)
		half_to_f32(in, out);
	else
		return false;
	return true;
}

/* Reverses the bytes of all items on a big-endian machine. */
static void
block_swap(union block *b, unsigned size)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	for (unsigned i = 0; i < BLOCK; i++) {
		if (size == 2)
			b->u16[i] = __builtin_bswap16(b->u16[i]);
		else if (size == 4)
			b->u32[i] = __builtin_bswap32(b->u32[i]);
		else if (size == 8)
			b->u64[i] = __builtin_bswap64(b->u64[i]);
	}
#else
	(void)b;
	(void)size;
#endif
}

static void
block_load(union block *b, const uint8_t *in, size_t n, unsigned size)
{
	if (n < BLOCK)
		memset(b, 0, sizeof(*b));
	memcpy(b, in, n * size);
	block_swap(b, size);
}

static void
block_store(union block *b, uint8_t *out, size_t n, unsigned size)
{
	block_swap(b, size);
	memcpy(out, b, n * size);
}

static size_t
block_items(size_t n)
{
	return n < BLOCK ? n : BLOCK;
}

bool
convert_known(enum dtype t)
{
	const struct dtype_info *info = dtype_info(t);

	return info->size != 0 && info->pack == 1 &&
	       (info->class == DTYPE_CLASS_FLOAT || info->class == DTYPE_CLASS_INT || info->class == DTYPE_CLASS_BOOL);
}

bool
convert_castable(enum dtype from, enum dtype to)
{
	return convert_known(from) && convert_known(to) && dtype_is_float(to);
}

void
convert_decode(enum dtype t, const void *in, size_t n, double *out)
{
	const unsigned size = dtype_size(t);
	const uint8_t *p = in;
	union block a, b;

	for (size_t m; n > 0; n -= m, p += m * size, out += m) {
		m = block_items(n);
		block_load(&a, p, m, size);
		decode_block(t, &a, &b, false);
		memcpy(out, &b, m * sizeof(*out));
	}
}

uint64_t
convert_encode(enum dtype t, const double *in, size_t n, void *out)
{
	const unsigned size = dtype_size(t);
	uint8_t *p = out;
	union block a, b;
	uint64_t lost = 0;

	for (size_t m; n > 0; n -= m, p += m * size, in += m) {
		m = block_items(n);
		memcpy(&a, in, m * sizeof(*in));
		for (size_t i = m; i < BLOCK; i++)
			a.f64[i] = 1; /* padding; every type can represent it */
		lost += encode_block(t, &a, &b);
		block_store(&b, p, m, size);
	}
	return lost;
}

uint64_t
convert_cast(enum dtype from, const void *in, enum dtype to, size_t n, void *out)
{
	const unsigned size = dtype_size(from), to_size = dtype_size(to);
	const uint8_t *p = in;
	uint8_t *q = out;
	union block a, b, c;
	uint64_t lost = 0;

	if (from == to) {
		if (n > 0)
			memcpy(out, in, n * size);
		return 0;
	}
	for (size_t m; n > 0; n -= m, p += m * size, q += m * to_size) {
		m = block_items(n);
		block_load(&a, p, m, size);
		if (!cast_block(from, &a, to, &c, &lost)) {
			decode_block(from, &a, &b, to != DTYPE_FLOAT64);
			for (size_t i = m; i < BLOCK; i++)
				b.f64[i] = 1;
			lost += encode_block(to, &b, &c);
		}
		block_store(&c, q, m, to_size);
	}
	return lost;
}

static void
reverse(unsigned char *p, size_t n)
{
	unsigned char t;

	for (size_t i = 0; i < n / 2; i++) {
		t = p[i];
		p[i] = p[n - 1 - i];
		p[n - 1 - i] = t;
	}
}

void
convert_swap(void *p, uint64_t n, enum dtype t)
{
	unsigned char *at = p;
	size_t part = dtype_size(t);

	if (dtype_info(t)->class == DTYPE_CLASS_COMPLEX) {
		part /= 2;
		n *= 2;
	}
	if (part > 1)
		for (uint64_t i = 0; i < n; i++)
			reverse(at + i * part, part);
}

void
convert_doubles(double *v, size_t n)
{
	if (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)
		convert_swap(v, n, DTYPE_FLOAT64);
}
