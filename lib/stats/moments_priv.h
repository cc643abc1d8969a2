/*
 * moments_priv: the loops over the elements of one block, for vectors of WIDTH doubles. moments.c includes this file once for each
 * width, with FOR(name), TARGET, WIDTH, LESSER, GREATER, LESSER_F and GREATER_F defined, the last two for vectors of floats. All
 * widths give the same bits, because lane l of LANES always sums elements l, l + LANES, ... NaNs are ignored everywhere.
 * ADD_SQUARE(sum, v) is for doubles that were floats, whose squares are exact: it may round once or twice.
 */
#ifndef LNN_STATS_MOMENTS_PRIV_H
#define LNN_STATS_MOMENTS_PRIV_H

/* Statistics of a block. If it has no numbers, min is infinite. */
struct spread {
	double sum, squares, min, max;
	uint64_t numbers, zeros;
};

static double
add_lanes(const double *v)
{
	return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

/* The results of each lane. */
struct lanes {
	double sum[LANES], squares[LANES], min[LANES], max[LANES];
};

static struct spread
join_lanes(const struct lanes *t)
{
	struct spread s = { .sum = add_lanes(t->sum), .squares = add_lanes(t->squares), .min = INFINITY, .max = -INFINITY };

	for (size_t l = 0; l < LANES; l++) {
		s.min = t->min[l] < s.min ? t->min[l] : s.min;
		s.max = t->max[l] > s.max ? t->max[l] : s.max;
	}
	return s;
}

/*
 * Defines a function that tells whether one of MOMENTS_BLOCK little-endian words has all bits of the exponent set. If so, adding
 * the lowest exponent bit carries into the sign bit. The constant trip count allows compilers to vectorise the loop.
 */
#define HAS_EXPONENT(bits)                                                                           \
	static TARGET bool FOR(has_exponent_##bits)(const unsigned char *p, uint##bits##_t exponent) \
	{                                                                                            \
		const uint##bits##_t lowest = (uint##bits##_t)(exponent & (~exponent + 1));          \
		uint##bits##_t word, sums = 0;                                                       \
                                                                                                     \
		for (size_t i = 0; i < MOMENTS_BLOCK; i++) {                                         \
			memcpy(&word, p + i * sizeof(word), sizeof(word));                           \
			sums |= (uint##bits##_t)((le##bits##toh(word) & exponent) + lowest);         \
		}                                                                                    \
		return sums >> ((bits)-1) != 0;                                                      \
	}

#endif

#ifdef WIDTH

typedef double FOR(vec) __attribute__((vector_size(8 * WIDTH)));
typedef int64_t FOR(mask) __attribute__((vector_size(8 * WIDTH)));
/* A vector of the same size has twice as many floats. */
typedef float FOR(floats) __attribute__((vector_size(8 * WIDTH)));
typedef int32_t FOR(ints) __attribute__((vector_size(8 * WIDTH)));
typedef uint32_t FOR(codes) __attribute__((vector_size(8 * WIDTH)));

enum { FOR(VECS) = LANES / WIDTH, FOR(HALVES) = LANES / (2 * WIDTH) };

/* Computes the statistics of n doubles. n is a multiple of LANES. */
static TARGET struct spread
FOR(spread_double)(const unsigned char *p, size_t n)
{
	FOR(vec) sum[FOR(VECS)] = { { 0 } }, squares[FOR(VECS)] = { { 0 } }, lo[FOR(VECS)], hi[FOR(VECS)], v;
	FOR(mask) numbers = { 0 }, zeros = { 0 }, number;
	struct lanes t;
	struct spread s;

	for (size_t l = 0; l < FOR(VECS); l++) {
		lo[l] = (FOR(vec)){ 0 } + INFINITY;
		hi[l] = (FOR(vec)){ 0 } - INFINITY;
	}
	for (size_t i = 0; i < n; i += LANES) {
		for (size_t l = 0; l < FOR(VECS); l++) {
			memcpy(&v, p + 8 * (i + WIDTH * l), sizeof(v));
			number = v == v;
			numbers -= number;
			zeros -= v == (FOR(vec)){ 0 };
			lo[l] = LESSER(v, lo[l]);
			hi[l] = GREATER(v, hi[l]);
			v = (FOR(vec))((FOR(mask))v & number);
			sum[l] += v;
			squares[l] += v * v;
		}
	}
	memcpy(t.sum, sum, sizeof(sum));
	memcpy(t.squares, squares, sizeof(squares));
	memcpy(t.min, lo, sizeof(lo));
	memcpy(t.max, hi, sizeof(hi));
	s = join_lanes(&t);
	for (size_t l = 0; l < WIDTH; l++) {
		s.numbers += (uint64_t)numbers[l];
		s.zeros += (uint64_t)zeros[l];
	}
	return s;
}

/* Load a vector of floats from elements of three types: float32, bfloat16 and float16. */
static inline TARGET
FOR(floats) FOR(load_float)(const unsigned char *p)
{
	FOR(floats) v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline TARGET
FOR(floats) FOR(load_bfloat)(const unsigned char *p)
{
	return (FOR(floats))((FOR(codes))CODES(p) << 16);
}

/*
 * A float with the exponent bits of a float16 is 2^112 times too small. Values that are not finite have the highest exponent in
 * both types.
 */
static inline TARGET
FOR(floats) FOR(load_half)(const unsigned char *p)
{
#ifdef HALVES
	return HALVES(p);
#else
	FOR(codes) code = (FOR(codes))CODES(p), size = (code & 0x7fff) << 13;
	FOR(floats) v = (FOR(floats))size * 0x1p112f;

	return (FOR(floats))((FOR(codes))v | ((FOR(codes))((FOR(ints))size >= 31 << 23) & 0x7f800000) | (code & 0x8000) << 16);
#endif
}

/* Computes the statistics of n elements of size bytes, which load converts to floats. n is a multiple of LANES. */
static inline TARGET __attribute__((always_inline)) struct spread
FOR(spread_floats)(const unsigned char *p, size_t n, size_t size, FOR(floats) (*load)(const unsigned char *p))
{
	FOR(vec) sum[FOR(VECS)] = { { 0 } }, squares[FOR(VECS)] = { { 0 } }, v;
	FOR(floats) lo[FOR(HALVES)], hi[FOR(HALVES)], f;
	FOR(ints) numbers = { 0 }, zeros = { 0 }, number;
	float least[LANES], most[LANES];
	struct lanes t;
	struct spread s;

	for (size_t l = 0; l < FOR(HALVES); l++) {
		lo[l] = (FOR(floats)){ 0 } + INFINITY;
		hi[l] = (FOR(floats)){ 0 } - INFINITY;
	}
	for (size_t i = 0; i < n; i += LANES) {
		for (size_t l = 0; l < FOR(HALVES); l++) {
			f = load(p + size * (i + 2 * WIDTH * l));
			number = f == f;
			numbers -= number;
			zeros -= f == (FOR(floats)){ 0 };
			lo[l] = LESSER_F(f, lo[l]);
			hi[l] = GREATER_F(f, hi[l]);
			f = (FOR(floats))((FOR(ints))f & number);
			v = LOWER(f);
			sum[2 * l] += v;
			squares[2 * l] = ADD_SQUARE(squares[2 * l], v);
			v = UPPER(f);
			sum[2 * l + 1] += v;
			squares[2 * l + 1] = ADD_SQUARE(squares[2 * l + 1], v);
		}
	}
	memcpy(t.sum, sum, sizeof(sum));
	memcpy(t.squares, squares, sizeof(squares));
	memcpy(least, lo, sizeof(lo));
	memcpy(most, hi, sizeof(hi));
	for (size_t l = 0; l < LANES; l++) {
		t.min[l] = least[l];
		t.max[l] = most[l];
	}
	s = join_lanes(&t);
	for (size_t l = 0; l < 2 * WIDTH; l++) {
		s.numbers += (uint64_t)numbers[l];
		s.zeros += (uint64_t)zeros[l];
	}
	return s;
}

static TARGET struct spread
FOR(spread_float)(const unsigned char *p, size_t n)
{
	return FOR(spread_floats)(p, n, 4, FOR(load_float));
}

static TARGET struct spread
FOR(spread_bfloat)(const unsigned char *p, size_t n)
{
	return FOR(spread_floats)(p, n, 2, FOR(load_bfloat));
}

static TARGET struct spread
FOR(spread_half)(const unsigned char *p, size_t n)
{
	return FOR(spread_floats)(p, n, 2, FOR(load_half));
}

/*
 * Returns the sum of the squared distances from mean of n doubles. n is a multiple of LANES. Sets *rest to the sum of the
 * distances.
 */
static TARGET double
FOR(distances)(const double *x, size_t n, double mean, double *rest)
{
	FOR(vec) squares[FOR(VECS)] = { { 0 } }, sum[FOR(VECS)] = { { 0 } }, v;
	double lanes[LANES];

	for (size_t i = 0; i < n; i += LANES) {
		for (size_t l = 0; l < FOR(VECS); l++) {
			memcpy(&v, x + i + WIDTH * l, sizeof(v));
			v -= mean;
			v = (FOR(vec))((FOR(mask))v & (v == v));
			sum[l] += v;
			squares[l] += v * v;
		}
	}
	memcpy(lanes, sum, sizeof(lanes));
	*rest = add_lanes(lanes);
	memcpy(lanes, squares, sizeof(lanes));
	return add_lanes(lanes);
}

HAS_EXPONENT(16)
HAS_EXPONENT(32)
HAS_EXPONENT(64)

#undef FOR
#undef TARGET
#undef WIDTH
#undef LESSER
#undef GREATER
#undef LESSER_F
#undef GREATER_F
#undef LOWER
#undef UPPER
#undef CODES
#undef ADD_SQUARE

#endif
