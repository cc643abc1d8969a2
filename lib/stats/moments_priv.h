/*
 * moments_priv: the loops over one block, for vectors of WIDTH doubles. Included by moments.c once for each width
 * with FOR(name), TARGET, WIDTH, LESSER and GREATER defined; the widths give the same bits, as lane l of LANES always
 * sums elements l, l + LANES, ...
 */
#ifndef LNN_STATS_MOMENTS_PRIV_H
#define LNN_STATS_MOMENTS_PRIV_H

/* Figures of a whole block of finite values. */
struct spread {
	double min, max, m2;
	double rest; /* sum of the distances from the mean: 0 but for rounding */
	uint64_t zeros;
};

static double
add_lanes(const double *v)
{
	return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

#endif

#ifdef WIDTH

typedef double FOR(vec) __attribute__((vector_size(8 * WIDTH)));
typedef float FOR(single) __attribute__((vector_size(4 * WIDTH)));
typedef int64_t FOR(mask) __attribute__((vector_size(8 * WIDTH)));

enum { FOR(VECS) = LANES / WIDTH };

/* x - x is 0 for finite x and NaN for others, and so is the sum of these. */
static TARGET double
FOR(sum)(const double *x, bool *finite)
{
	FOR(vec) sum[FOR(VECS)] = { { 0 } }, bad[FOR(VECS)] = { { 0 } }, v;
	double lanes[LANES];

	for (size_t i = 0; i < MOMENTS_BLOCK; i += LANES) {
		for (size_t l = 0; l < FOR(VECS); l++) {
			memcpy(&v, x + i + WIDTH * l, sizeof(v));
			sum[l] += v;
			bad[l] += v - v;
		}
	}
	memcpy(lanes, bad, sizeof(lanes));
	*finite = add_lanes(lanes) == 0;
	memcpy(lanes, sum, sizeof(lanes));
	return add_lanes(lanes);
}

/* The same of floats, which become doubles in x. */
static TARGET double
FOR(sum_float)(const unsigned char *p, double *x, bool *finite)
{
	FOR(vec) sum[FOR(VECS)] = { { 0 } }, bad[FOR(VECS)] = { { 0 } }, v;
	FOR(single) f;
	double lanes[LANES];

	for (size_t i = 0; i < MOMENTS_BLOCK; i += LANES) {
		for (size_t l = 0; l < FOR(VECS); l++) {
			memcpy(&f, p + 4 * (i + WIDTH * l), sizeof(f));
			v = __builtin_convertvector(f, FOR(vec));
			memcpy(x + i + WIDTH * l, &v, sizeof(v));
			sum[l] += v;
			bad[l] += v - v;
		}
	}
	memcpy(lanes, bad, sizeof(lanes));
	*finite = add_lanes(lanes) == 0;
	memcpy(lanes, sum, sizeof(lanes));
	return add_lanes(lanes);
}

static TARGET struct spread
FOR(spread)(const double *x, double mean)
{
	FOR(vec) lo[FOR(VECS)], hi[FOR(VECS)], sum[FOR(VECS)] = { { 0 } }, rest[FOR(VECS)] = { { 0 } };
	FOR(vec) from = { 0 }, v;
	FOR(mask) zeros[FOR(VECS)] = { { 0 } };
	double low[LANES], high[LANES], lanes[LANES];
	int64_t count[LANES];
	struct spread s = { 0 };

	from += mean;
	memcpy(lo, x, sizeof(lo));
	memcpy(hi, x, sizeof(hi));
	for (size_t i = 0; i < MOMENTS_BLOCK; i += LANES) {
		for (size_t l = 0; l < FOR(VECS); l++) {
			memcpy(&v, x + i + WIDTH * l, sizeof(v));
			lo[l] = LESSER(v, lo[l]);
			hi[l] = GREATER(v, hi[l]);
			zeros[l] -= v == (FOR(vec)){ 0 };
			v -= from;
			rest[l] += v;
			sum[l] += v * v;
		}
	}
	memcpy(low, lo, sizeof(low));
	memcpy(high, hi, sizeof(high));
	memcpy(lanes, sum, sizeof(lanes));
	memcpy(count, zeros, sizeof(count));
	s.min = low[0];
	s.max = high[0];
	s.m2 = add_lanes(lanes);
	memcpy(lanes, rest, sizeof(lanes));
	s.rest = add_lanes(lanes);
	for (size_t l = 0; l < LANES; l++) {
		s.min = low[l] < s.min ? low[l] : s.min;
		s.max = high[l] > s.max ? high[l] : s.max;
		s.zeros += (uint64_t)count[l];
	}
	return s;
}

#undef FOR
#undef TARGET
#undef WIDTH
#undef LESSER
#undef GREATER

#endif
