#include "io/crc32.h"

#include <string.h>
#include <sys/types.h>
#include <zlib.h>

#if defined(__x86_64__) && defined(__GNUC__)
#define FOLDING 1
#include <immintrin.h>
#else
#define FOLDING 0
#endif

#if FOLDING

/*
 * A CRC is the remainder of the message, a polynomial over GF(2), modulo P. Bytes may therefore be replaced by others that are
 * congruent modulo P: 16 bytes can be replaced, d bits further on, by their two halves multiplied by x^(d + 64) mod P and x^d mod
 * P. (V. Gopal et al., Fast CRC computation for generic polynomials using PCLMULQDQ, Intel 2009.) In reflected order the constants
 * are x^(d + 32) and x^(d - 32), mirrored and shifted by one. tests/unit/test_crc32.c compares the result with zlib.
 */
#define FOLD_128_LOW 0x1e88ef372LL /* d = 1024 */
#define FOLD_128_HIGH 0x14a7fe880LL
#define FOLD_64_LOW 0x154442bd4LL /* d = 512 */
#define FOLD_64_HIGH 0x1c6e41596LL
#define FOLD_16_LOW 0x1751997d0LL /* d = 128 */
#define FOLD_16_HIGH 0x0ccaa009eLL

__attribute__((target("pclmul"))) static inline __m128i
load(const unsigned char *p)
{
	return _mm_loadu_si128((const __m128i *)(const void *)p);
}

/* Returns next plus the value congruent to acc at the position of next. */
__attribute__((target("pclmul"))) static inline __m128i
fold(__m128i acc, __m128i next, __m128i k)
{
	__m128i low = _mm_clmulepi64_si128(acc, k, 0x00), high = _mm_clmulepi64_si128(acc, k, 0x11);

	return _mm_xor_si128(_mm_xor_si128(low, high), next);
}

/* n must be a positive multiple of 64. */
__attribute__((target("pclmul"))) static uint32_t
add_folding(uint32_t crc, const unsigned char *p, size_t n)
{
	const __m128i far = _mm_set_epi64x(FOLD_64_HIGH, FOLD_64_LOW);
	const __m128i near = _mm_set_epi64x(FOLD_16_HIGH, FOLD_16_LOW);
	__m128i a = load(p), b = load(p + 16), c = load(p + 32), d = load(p + 48);
	unsigned char rest[16];

	/* The CRC so far is added to the first bytes. zlib stores it inverted. */
	a = _mm_xor_si128(a, _mm_cvtsi32_si128((int)~crc));
	for (p += 64, n -= 64; n > 0; p += 64, n -= 64) {
		a = fold(a, load(p), far);
		b = fold(b, load(p + 16), far);
		c = fold(c, load(p + 32), far);
		d = fold(d, load(p + 48), far);
	}
	a = fold(fold(fold(a, b, near), c, near), d, near);
	/* The last 16 bytes have the CRC of the whole input if the CRC starts from zeros. */
	_mm_storeu_si128((__m128i *)(void *)rest, a);
	return (uint32_t)crc32(0xffffffff, rest, sizeof(rest));
}

__attribute__((target("avx2,vpclmulqdq"))) static inline __m256i
load_wide(const unsigned char *p)
{
	return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

/* Folds both 128-bit halves independently. */
__attribute__((target("avx2,vpclmulqdq"))) static inline __m256i
fold_wide(__m256i acc, __m256i next, __m256i k)
{
	__m256i low = _mm256_clmulepi64_epi128(acc, k, 0x00), high = _mm256_clmulepi64_epi128(acc, k, 0x11);

	return _mm256_xor_si256(_mm256_xor_si256(low, high), next);
}

/* n must be a positive multiple of 128. */
__attribute__((target("avx2,vpclmulqdq"))) static uint32_t
add_folding_wide(uint32_t crc, const unsigned char *p, size_t n)
{
	const __m256i far = _mm256_set_epi64x(FOLD_128_HIGH, FOLD_128_LOW, FOLD_128_HIGH, FOLD_128_LOW);
	__m256i acc[4];
	unsigned char rest[128];

	for (size_t i = 0; i < 4; i++)
		acc[i] = load_wide(p + 32 * i);
	acc[0] = _mm256_xor_si256(acc[0], _mm256_set_epi32(0, 0, 0, 0, 0, 0, 0, (int)~crc));
	for (p += 128, n -= 128; n > 0; p += 128, n -= 128)
		for (size_t i = 0; i < 4; i++)
			acc[i] = fold_wide(acc[i], load_wide(p + 32 * i), far);
	/* The 128 bytes in acc have the CRC of all bytes. */
	memcpy(rest, acc, sizeof(rest));
	return add_folding(0xffffffff, rest, sizeof(rest));
}

#endif

uint32_t
crc32_add(uint32_t crc, const void *p, size_t n)
{
	const unsigned char *bytes = p;

#if FOLDING
	if (n >= 256 && __builtin_cpu_supports("vpclmulqdq") && __builtin_cpu_supports("avx2")) {
		size_t whole = n & ~(size_t)127;

		crc = add_folding_wide(crc, bytes, whole);
		bytes += whole;
		n -= whole;
	}
	if (n >= 64 && __builtin_cpu_supports("pclmul")) {
		size_t whole = n & ~(size_t)63;

		crc = add_folding(crc, bytes, whole);
		bytes += whole;
		n -= whole;
	}
#endif
	if (n == 0)
		return crc;
	return (uint32_t)crc32_z(crc, bytes, n);
}

uint32_t
crc32_join(uint32_t first, uint32_t second, uint64_t second_len)
{
	return (uint32_t)crc32_combine(first, second, (z_off_t)second_len);
}
