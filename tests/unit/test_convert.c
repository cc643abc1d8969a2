/*
 * Number conversion. The reference is a list of all numbers of a type, made with ldexp from sign, exponent and mantissa.
 * The value of a code is looked up there, and the right code for a number is that of the nearest number in the list.
 */
#include "tensor/convert.h"

#include <float.h>

#include "base/cursor.h"
#include "tap.h"

struct type {
	enum dtype dtype;
	int exponent, mantissa, bias; /* stored bits */
	bool infinite;                /* the highest exponent stands for infinities and NaN */
	bool unsigned_zero;           /* there is no -0; its code is the only NaN */
};

static const struct type types[] = {
	{ DTYPE_FLOAT16, 5, 10, 15, true, false },       { DTYPE_BFLOAT16, 8, 7, 127, true, false },
	{ DTYPE_FLOAT8_E4M3FN, 4, 3, 7, false, false },  { DTYPE_FLOAT8_E5M2, 5, 2, 15, true, false },
	{ DTYPE_FLOAT8_E4M3FNUZ, 4, 3, 8, false, true }, { DTYPE_FLOAT8_E5M2FNUZ, 5, 2, 16, false, true },
};
#define TYPES (sizeof(types) / sizeof(types[0]))

static unsigned
bits_of(const struct type *t)
{
	return (unsigned)(1 + t->exponent + t->mantissa);
}

static double
meaning(const struct type *t, unsigned code)
{
	unsigned sign = 1u << (bits_of(t) - 1), size = code & (sign - 1);
	int e = (int)(size >> t->mantissa), m = (int)(size & ((1u << t->mantissa) - 1));
	double v;

	if (t->unsigned_zero && code == sign)
		return (double)NAN;
	if (!t->unsigned_zero && e == (1 << t->exponent) - 1) {
		if (!t->infinite && m != (1 << t->mantissa) - 1)
			v = ldexp(m + (1 << t->mantissa), e - t->bias - t->mantissa);
		else
			v = t->infinite && m == 0 ? (double)INFINITY : (double)NAN;
	} else if (e == 0) {
		v = ldexp(m, 1 - t->bias - t->mantissa);
	} else {
		v = ldexp(m + (1 << t->mantissa), e - t->bias - t->mantissa);
	}
	return code & sign ? -v : v;
}

static bool
same(double a, double b)
{
	return (isnan(a) && isnan(b)) || (a == b && !signbit(a) == !signbit(b));
}

static void
put_code(uint8_t *p, unsigned size, unsigned i, unsigned code)
{
	if (size == 1)
		p[i] = (uint8_t)code;
	else
		put_le16(p + 2 * (size_t)i, (uint16_t)code);
}

static unsigned
get_code(const uint8_t *p, unsigned size, size_t i)
{
	return size == 1 ? p[i] : get_le16(p + 2 * i);
}

static void
test_decode_all(const struct type *t)
{
	unsigned size = dtype_size(t->dtype), codes = 1u << bits_of(t), wrong = 0, wrong32 = 0, changed = 0;
	uint8_t *items = malloc(codes * size), *back = malloc(codes * size);
	double *out = malloc(codes * sizeof(*out));
	float *out32 = malloc(codes * sizeof(*out32));

	if (items == NULL || back == NULL || out == NULL || out32 == NULL)
		tap_bail("no memory");
	for (unsigned i = 0; i < codes; i++)
		put_code(items, size, i, i);
	convert_decode(t->dtype, items, codes, out);
	convert_cast(t->dtype, items, DTYPE_FLOAT32, codes, out32);
	tap_le(out32, codes, 4);
	for (unsigned i = 0; i < codes; i++) {
		wrong += !same(out[i], meaning(t, i));
		wrong32 += !same((double)out32[i], meaning(t, i));
	}
	is_uint(wrong, 0, "every code is decoded to the right double");
	is_uint(wrong32, 0, "every code is cast to the right float32");
	is_uint(convert_encode(t->dtype, out, codes, back), 0, "no number is lost on the way to double and back");
	for (unsigned i = 0; i < codes; i++)
		changed += get_code(back, size, i) != i && !isnan(out[i]);
	is_uint(changed, 0, "double and back gives the same codes");
	tap_le(out32, codes, 4);
	is_uint(convert_cast(DTYPE_FLOAT32, out32, t->dtype, codes, back), 0, "no number is lost on the way to float32 and back");
	for (unsigned i = changed = 0; i < codes; i++)
		changed += get_code(back, size, i) != i && !isnan(out[i]);
	is_uint(changed, 0, "float32 and back gives the same codes");
	for (unsigned i = changed = 0; i < codes; i++)
		changed += isnan(out[i]) && !isnan(meaning(t, get_code(back, size, i)));
	is_uint(changed, 0, "NaN stays NaN");
	free(items);
	free(back);
	free(out);
	free(out32);
}

/* The code nearest to v >= 0, ties to the even code; the code after that of the largest number if v is too large. */
static unsigned
nearest_code(const struct type *t, double v, unsigned largest)
{
	unsigned low = 0, high = largest;
	double below, above;

	if (v >= meaning(t, largest)) {
		below = meaning(t, largest);
		above = below + (below - meaning(t, largest - 1));
		low = largest;
	} else {
		while (high - low > 1) {
			unsigned mid = (low + high) / 2;

			if (meaning(t, mid) <= v)
				low = mid;
			else
				high = mid;
		}
		below = meaning(t, low);
		above = meaning(t, low + 1);
	}
	if (v - below == above - v)
		return low + (low & 1);
	return v - below < above - v ? low : low + 1;
}

/* True if got is the right code for v. */
static bool
is_right(const struct type *t, double v, unsigned got, unsigned largest, uint64_t *lost)
{
	unsigned code = nearest_code(t, fabs(v), largest), sign = 1u << (bits_of(t) - 1);
	bool over = code > largest;

	*lost += over;
	if (over && t->dtype == DTYPE_FLOAT8_E4M3FN)
		return got == (v < 0 ? largest | sign : largest);
	if (over && !t->infinite)
		return isnan(meaning(t, got));
	if (over)
		return same(meaning(t, got), v < 0 ? -(double)INFINITY : (double)INFINITY);
	if (signbit(v) && !(t->unsigned_zero && code == 0))
		code |= sign;
	return got == code;
}

/* Numbers at and next to the middle of all neighbours, and the codes themselves: up to 6 for each code. */
static size_t
make_numbers(const struct type *t, unsigned largest, double *v)
{
	size_t n = 0;

	for (unsigned code = 0; code <= largest; code++) {
		double a = meaning(t, code), step = meaning(t, code ? code : 1) - meaning(t, code ? code - 1 : 0), mid;

		if (code < largest)
			step = meaning(t, code + 1) - a;
		mid = a + step / 2;
		v[n++] = a + step / 4;
		v[n++] = mid;
		v[n++] = nextafter(mid, 0);
		v[n++] = -nextafter(mid, DBL_MAX);
		v[n++] = -mid;
		v[n++] = a + 7 * step / 8;
	}
	return n;
}

static void
test_encode_all(const struct type *t)
{
	unsigned size = dtype_size(t->dtype), largest = (1u << (bits_of(t) - 1)) - 1;
	size_t n, exact = 0, wrong = 0;
	uint64_t lost = 0, got, lost32 = 0;
	double *v;
	float *f;
	uint8_t *items;

	while (!isfinite(meaning(t, largest)))
		largest--;
	v = malloc(6 * ((size_t)largest + 1) * sizeof(*v));
	f = malloc(6 * ((size_t)largest + 1) * sizeof(*f));
	items = malloc(6 * ((size_t)largest + 1) * size);
	if (v == NULL || f == NULL || items == NULL)
		tap_bail("no memory");
	n = make_numbers(t, largest, v);
	got = convert_encode(t->dtype, v, n, items);
	for (size_t i = 0; i < n; i++)
		wrong += !is_right(t, v[i], get_code(items, size, i), largest, &lost);
	is_uint(wrong, 0, "numbers at and near the middle of neighbours are rounded to the right code");
	ok_msg(got == lost && lost >= 2, "%" PRIu64 " numbers are counted as too large", lost);
	for (size_t i = 0; i < n; i++) {
		f[i] = (float)v[i];
		/* The next float32 after the middle, as the next double would be rounded to the middle. */
		if (i % 6 == 2)
			f[i] = nextafterf((float)v[i - 1], 0);
		if (i % 6 == 3)
			f[i] = -nextafterf((float)v[i - 2], FLT_MAX);
		exact += isfinite(f[i]) ? 1 : 0;
	}
	tap_le(f, n, 4);
	got = convert_cast(DTYPE_FLOAT32, f, t->dtype, n, items);
	tap_le(f, n, 4);
	for (size_t i = wrong = 0; i < n; i++)
		wrong += isfinite(f[i]) && !is_right(t, (double)f[i], get_code(items, size, i), largest, &lost32);
	is_uint(wrong, 0, "numbers from float32 are rounded to the right code");
	ok_msg(got == lost32 && n - exact < 4, "%" PRIu64 " numbers from float32 are counted as too large", lost32);
	free(v);
	free(f);
	free(items);
}

static void
test_specials(const struct type *t)
{
	static const double v[] = { (double)INFINITY, -(double)INFINITY, (double)NAN, 0.0, -0.0, 1e300, -1e300,
				    1e-300,           0x1p-1074,         -1e-300 };
	float f[10];
	uint8_t items[20], from32[20];
	unsigned size = dtype_size(t->dtype);
	bool clamps = t->dtype == DTYPE_FLOAT8_E4M3FN;
	double back[10];

	for (size_t i = 0; i < 10; i++)
		f[i] = (float)v[i];
	is_uint(convert_encode(t->dtype, v, 10, items), clamps ? 4 : 2, "numbers that are too large are counted as lost");
	tap_le(f, 10, 4);
	is_uint(convert_cast(DTYPE_FLOAT32, f, t->dtype, 10, from32), clamps ? 4 : 0,
		"infinities are counted as lost only if the type clamps them");
	tap_le(f, 10, 4);
	is_mem(items, from32, 10 * (size_t)size, "special values give the same codes from float32");
	convert_decode(t->dtype, items, 10, back);
	for (size_t i = 0; i < 10; i++) {
		double expected = isinf(f[i]) && !t->infinite ? (double)NAN : (double)f[i];

		if (isinf(f[i]) && clamps)
			expected = f[i] < 0 ? -448 : 448;

		ok_msg(same(back[i], t->unsigned_zero ? expected + 0.0 : expected), "%g becomes %g", v[i], back[i]);
	}
}

/* The direct cast from float32 gives the same as the cast through double, for one float32 in 4099. */
static void
test_direct(enum dtype to)
{
	enum { N = 1024 };
	uint32_t u = 0;
	size_t wrong = 0, blocks = 0;
	bool more = true;

	while (more) {
		uint8_t in[N * 4], a[N * 2], b[N * 2];
		double wide[N];
		uint64_t lost_a, lost_b;

		for (size_t i = 0; i < N; i++) {
			put_le32(in + 4 * i, u);
			more = more && u <= UINT32_MAX - 4099;
			u += 4099;
		}
		convert_decode(DTYPE_FLOAT32, in, N, wide);
		lost_a = convert_cast(DTYPE_FLOAT32, in, to, N, a);
		lost_b = convert_encode(to, wide, N, b);
		wrong += lost_a != lost_b || memcmp(a, b, sizeof(a)) != 0;
		blocks++;
	}
	is_uint(wrong, 0, "the direct cast from float32 equals that through double");
	ok(blocks > 1000);
}

static void
test_float32(void)
{
	static const double v[] = { 1 + 0x1p-24,         1 + 0x1p-24 + 0x1p-52, 1 + 3 * 0x1p-24, -1 - 0x1p-24, 0x1p-150,
				    0x1p-150 + 0x1p-202, 0x1.fffffefffffffp127, 0x1.ffffffp127,  -1e300,       0x1p-1074 };
	static const float expected[] = { 1, 1 + 0x1p-23f, 1 + 0x1p-22f, -1, 0, 0x1p-149f, FLT_MAX, INFINITY, -INFINITY, 0 };
	float got[10];
	double items[10];

	is_uint(convert_encode(DTYPE_FLOAT32, v, 10, got), 2, "float32: two numbers are too large");
	tap_le(got, 10, 4);
	is_mem(got, expected, sizeof(expected), "float32: ties to even, subnormals and the largest numbers are right");
	memcpy(items, v, sizeof(v));
	tap_le(items, 10, 8);
	is_uint(convert_cast(DTYPE_FLOAT64, items, DTYPE_FLOAT32, 10, got), 2,
		"cast from float64 to float32: two numbers are too large");
	tap_le(got, 10, 4);
	is_mem(got, expected, sizeof(expected), "cast from float64 to float32: the numbers are right");
}

/* Numbers for which an intermediate rounding to float32 would give another result. */
static void
test_rounds_once(void)
{
	double v[] = { 1 + 0x1p-11 + 0x1p-40, 1 + 0x1p-8 + 0x1p-40, 1 + 0x1p-4 + 0x1p-40 };
	static const uint8_t int64[8] = { 1, 0, 0, 0, 32, 0, 0, 32 }, bf[8] = { 1, 0, 0, 0, 0, 0, 32, 32 };
	float f;
	uint8_t item[2];

	convert_encode(DTYPE_FLOAT16, &v[0], 1, item);
	is_uint(get_le16(item), 0x3c01, "float16 of 1 + 2^-11 + 2^-40");
	convert_encode(DTYPE_BFLOAT16, &v[1], 1, item);
	is_uint(get_le16(item), 0x3f81, "bfloat16 of 1 + 2^-8 + 2^-40");
	tap_le(&v[2], 1, 8);
	convert_cast(DTYPE_FLOAT64, &v[2], DTYPE_FLOAT8_E4M3FN, 1, item);
	is_uint(item[0], 0x39, "float8_e4m3fn of 1 + 2^-4 + 2^-40");
	convert_cast(DTYPE_INT64, int64, DTYPE_FLOAT32, 1, &f);
	tap_le(&f, 1, 4);
	is_near((double)f, 0x1p61 + 0x1p38, 0, "float32 of 2^61 + 2^37 + 1");
	convert_cast(DTYPE_UINT64, int64, DTYPE_FLOAT32, 1, &f);
	tap_le(&f, 1, 4);
	is_near((double)f, 0x1p61 + 0x1p38, 0, "uint64 is rounded to float32 once");
	convert_cast(DTYPE_INT64, bf, DTYPE_BFLOAT16, 1, item);
	is_uint(get_le16(item), 0x5e01, "bfloat16 of 2^61 + 2^53 + 1");
}

static void
test_e8m0(void)
{
	static const struct {
		double v;
		uint8_t code, lost;
	} all[] = {
		{ 1, 127, 0 },
		{ 1.25, 127, 0 },
		{ 1.5, 128, 0 },
		{ 2, 128, 0 },
		{ 0x1.7ffffffffffffp0, 127, 0 },
		{ 0x1p-127, 0, 0 },
		{ 0x1p-140, 0, 0 },
		{ 0, 0, 1 },
		{ -0.0, 0, 1 },
		{ -4, 129, 1 },
		{ 0x1p127, 254, 0 },
		{ 0x1.8p127, 255, 1 },
		{ 1e300, 255, 1 },
		{ (double)INFINITY, 255, 0 },
		{ (double)NAN, 255, 0 },
	};
	double out[256];
	uint8_t codes[256], back[256];
	unsigned wrong = 0;

	for (unsigned i = 0; i < 256; i++)
		codes[i] = (uint8_t)i;
	convert_decode(DTYPE_FLOAT8_E8M0FNU, codes, 256, out);
	for (int i = 0; i < 255; i++)
		wrong += out[i] != ldexp(1, i - 127);
	ok(wrong == 0 && isnan(out[255]));
	is_uint(convert_encode(DTYPE_FLOAT8_E8M0FNU, out, 256, back), 0, "float8_e8m0fnu: no number is lost");
	is_mem(back, codes, 256, "float8_e8m0fnu: double and back gives the same codes");
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		uint64_t lost = convert_encode(DTYPE_FLOAT8_E8M0FNU, &all[i].v, 1, back);

		ok_msg(back[0] == all[i].code && lost == all[i].lost, "float8_e8m0fnu of %g is %u", all[i].v, back[0]);
	}
}

/* ---- integers ---- */

static void
test_int_decode(void)
{
	static const uint8_t bytes[] = { 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	static const uint8_t low[] = { 0, 0, 0, 0, 0, 0, 0, 0x80 };
	static const struct {
		enum dtype t;
		double ones, low;
	} all[] = {
		{ DTYPE_INT64, -2, -0x1p63 }, { DTYPE_UINT64, 0x1p64, 0x1p63 },
		{ DTYPE_INT32, -2, -0x1p31 }, { DTYPE_UINT32, 4294967294.0, 0x1p31 },
		{ DTYPE_INT16, -2, -32768 },  { DTYPE_UINT16, 65534, 32768 },
		{ DTYPE_INT8, -2, -128 },     { DTYPE_UINT8, 254, 128 },
		{ DTYPE_BOOL, 1, 1 },
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		double a, b;

		convert_decode(all[i].t, bytes, 1, &a);
		convert_decode(all[i].t, low + 8 - dtype_size(all[i].t), 1, &b);
		ok_msg(a == all[i].ones && b == all[i].low, "%s: %g and %g", dtype_name(all[i].t), a, b);
	}
}

static void
test_int_encode(void)
{
	static const double v[] = { 0.5, 1.5, -1.5, -0.4, 127.5, -128.5, 1e30, -1e30, (double)NAN };
	static const int8_t i8[] = { 0, 2, -2, 0, 127, -128, 127, -128, 0 };
	static const uint8_t u8[] = { 0, 2, 0, 0, 128, 0, 255, 0, 0 }, boolean[] = { 1, 1, 1, 1, 1, 1, 1, 1, 1 };
	static const int64_t i64[] = { 0, 2, -2, 0, 128, -128, INT64_MAX, INT64_MIN, 0 };
	static const uint64_t u64[] = { 0, 2, 0, 0, 128, 0, UINT64_MAX, 0, 0 };
	static const int32_t i32[] = { 0, 2, -2, 0, 128, -128, INT32_MAX, INT32_MIN, 0 };
	static const uint32_t u32[] = { 0, 2, 0, 0, 128, 0, UINT32_MAX, 0, 0 };
	static const double w[] = { 32767.4, 32767.5, -32768.5, -32769, 65535.25, 65534.5 };
	static const int16_t i16[] = { 32767, 32767, -32768, -32768, 32767, 32767 };
	static const uint16_t u16[] = { 32767, 32768, 0, 0, 65535, 65534 };
	uint8_t out[72];

	is_uint(convert_encode(DTYPE_INT8, v, 9, out), 4, "int8: four numbers are lost");
	is_mem(out, i8, sizeof(i8), "int8: numbers are rounded to nearest, ties to even, and clamped");
	is_uint(convert_encode(DTYPE_UINT8, v, 9, out), 5, "uint8: five numbers are lost");
	is_mem(out, u8, sizeof(u8), "uint8");
	is_uint(convert_encode(DTYPE_INT64, v, 9, out), 3, "int64: three numbers are lost");
	for (size_t i = 0; i < 9; i++)
		ok_msg((int64_t)get_le64(out + 8 * i) == i64[i], "int64 of %g", v[i]);
	is_uint(convert_encode(DTYPE_UINT64, v, 9, out), 5, "uint64: five numbers are lost");
	for (size_t i = 0; i < 9; i++)
		ok_msg(get_le64(out + 8 * i) == u64[i], "uint64 of %g", v[i]);
	is_uint(convert_encode(DTYPE_INT16, w, 6, out), 4, "int16: all numbers but 32767.4 and -32768.5 are lost");
	for (size_t i = 0; i < 6; i++)
		ok_msg((int16_t)get_le16(out + 2 * i) == i16[i], "int16 of %g", w[i]);
	is_uint(convert_encode(DTYPE_UINT16, w, 6, out), 2, "uint16: the negative numbers are lost");
	for (size_t i = 0; i < 6; i++)
		ok_msg(get_le16(out + 2 * i) == u16[i], "uint16 of %g", w[i]);
	is_uint(convert_encode(DTYPE_INT32, v, 9, out), 3, "int32: three numbers are lost");
	for (size_t i = 0; i < 9; i++)
		ok_msg((int32_t)get_le32(out + 4 * i) == i32[i], "int32 of %g", v[i]);
	is_uint(convert_encode(DTYPE_UINT32, v, 9, out), 5, "uint32: five numbers are lost");
	for (size_t i = 0; i < 9; i++)
		ok_msg(get_le32(out + 4 * i) == u32[i], "uint32 of %g", v[i]);
	is_uint(convert_encode(DTYPE_BOOL, v, 9, out), 0, "bool: no number is lost");
	is_mem(out, boolean, sizeof(boolean), "bool: every number but 0 is true");
}

/* Any alignment and length; no other byte is written. */
static void
test_buffers(void)
{
	static const size_t lengths[] = { 0, 1, 2, 255, 256, 257, 700 };
	uint8_t in[4 * 700 + 1], out[2 * 700 + 3], one[2];
	unsigned wrong = 0;

	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)(i * 37 + i / 256);
	for (size_t k = 0; k < sizeof(lengths) / sizeof(lengths[0]); k++) {
		size_t n = lengths[k];

		memset(out, 0xa5, sizeof(out));
		convert_cast(DTYPE_FLOAT32, in + 1, DTYPE_BFLOAT16, n, out + 1);
		wrong += out[0] != 0xa5 || out[1 + 2 * n] != 0xa5 || out[2 + 2 * n] != 0xa5;
		for (size_t i = 0; i < n; i++) {
			convert_cast(DTYPE_FLOAT32, in + 1 + 4 * i, DTYPE_BFLOAT16, 1, one);
			wrong += memcmp(one, out + 1 + 2 * i, 2) != 0;
		}
	}
	is_uint(wrong, 0, "casts at odd addresses and of odd lengths are right");
	convert_cast(DTYPE_FLOAT16, in + 1, DTYPE_FLOAT16, 350, out);
	is_mem(out, in + 1, 700, "a cast to the same type copies");
	is_uint(convert_cast(DTYPE_FLOAT16, NULL, DTYPE_FLOAT16, 0, NULL), 0, "a cast of no elements writes nothing");
}

static void
test_known(void)
{
	unsigned known = 0;

	for (unsigned i = 0; i < DTYPE_COUNT; i++)
		known += convert_known((enum dtype)i);
	is_uint(known, 18, "9 floating, 8 integer types and bool are known");
	ok(!convert_known(DTYPE_UNKNOWN) && !convert_known(DTYPE_COMPLEX64) && !convert_known(DTYPE_QINT8));
	ok(!convert_known(DTYPE_FLOAT4_E2M1FN_X2) && !convert_known(DTYPE_FLOAT6_E3M2) && !convert_known(DTYPE_BITS8));
	ok(convert_castable(DTYPE_BOOL, DTYPE_FLOAT16) && convert_castable(DTYPE_FLOAT64, DTYPE_FLOAT8_E5M2));
	ok(!convert_castable(DTYPE_FLOAT32, DTYPE_INT32) && !convert_castable(DTYPE_COMPLEX64, DTYPE_FLOAT32));
}

int
main(void)
{
	for (size_t i = 0; i < TYPES; i++) {
		tap_note("%s", dtype_name(types[i].dtype));
		test_decode_all(&types[i]);
		test_encode_all(&types[i]);
		test_specials(&types[i]);
	}
	test_direct(DTYPE_BFLOAT16);
	test_direct(DTYPE_FLOAT16);
	test_float32();
	test_rounds_once();
	test_e8m0();
	test_int_decode();
	test_int_encode();
	test_buffers();
	test_known();
	return tap_done();
}
