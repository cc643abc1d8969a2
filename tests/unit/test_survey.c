/* Figures, compared with values computed by hand or in long double, and for many orders of elements; digests; comparisons. */
#include "tap.h"

#include "base/cursor.h"
#include "base/xalloc.h"
#include "stats/figures.h"
#include "tensor/convert.h"

static uint64_t state = 88172645463325252u;

/* xorshift64 (Marsaglia), in [-1, 1). */
static double
any(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (double)(int64_t)state / 9223372036854775808.0;
}

static bool
same_moments(const struct moments *a, const struct moments *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* A vector of FIPS 180-2, and lines that are sorted by their bytes. */
static void
digests(void)
{
	const uint64_t shape[] = { 2, 3 };
	const struct tensor t = { .dtype = DTYPE_FLOAT16, .shape = shape, .ndim = 2 };
	struct str lines[] = { str_c("bc"), str_c("a") };
	struct digest d = digest_of(&(struct str)STR_LIT("abc"), 1), none = { .known = false };
	struct buf b = BUF_INIT;

	digest_put(&b, &d);
	is_str(b.p, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "the digest of abc is that of FIPS 180-2");
	none = digest_of(lines, 2);
	ok_msg(memcmp(&none, &d, sizeof(d)) == 0, "a digest of lines takes them in sorted order");
	buf_clear(&b);
	d = digest_of(NULL, 0);
	none = (struct digest){ .known = false };
	digest_line(&b, str_c("a\tb"), &t, &d);
	digest_line(&b, str_c("c"), &t, &none);
	is_str(b.p,
	       "a\\tb\tfloat16\t[2,3]\te3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n"
	       "c\tfloat16\t[2,3]\t-\n",
	       "digest lines have name, dtype, shape and digest");
	buf_release(&b);
}

/* The bytes of n elements as a file has them. Allocated. */
static void *
stored(enum dtype t, const void *x, size_t n)
{
	const size_t size = dtype_size(t), item = dtype_info(t)->class == DTYPE_CLASS_COMPLEX ? size / 2 : size;
	void *bytes = xreallocn(NULL, n + 1, size);

	memcpy(bytes, x, n * size);
	tap_le(bytes, n * size / item, item);
	return bytes;
}

static struct moments
moments_of(enum dtype t, const void *x, size_t n)
{
	void *bytes = stored(t, x, n);
	struct moments m = MOMENTS_INIT;

	moments_add(&m, t, bytes, n, false);
	free(bytes);
	return m;
}

static void
few_values(void)
{
	const float x[] = { 1, 2, 3, 4, 0, -0.0f };
	struct moments m = moments_of(DTYPE_FLOAT32, x, 6);

	ok_msg(moments_count(&m) == 6 && m.zeros == 2 && m.min == 0 && m.max == 4, "min, max, zeros of 1 2 3 4 0 -0");
	ok_msg(fabs(moments_mean(&m) - 10.0 / 6) < 1e-15, "mean 10/6");
	ok_msg(fabs(moments_std(&m) - sqrt((30 - 100.0 / 6) / 5)) < 1e-15, "std with N-1");
	ok_msg(fabs(moments_norm(&m) - sqrt(30)) < 1e-15, "norm is the root of 30");
	m = moments_of(DTYPE_FLOAT32, x, 1);
	ok_msg(isnan(moments_std(&m)) && moments_mean(&m) == 1, "a single value has no std");
	m = moments_of(DTYPE_FLOAT32, x, 0);
	ok_msg(moments_norm(&m) == 0 && isnan(moments_mean(&m)), "no values have norm 0 and no mean");
}

static void
special_values(void)
{
	const double x[] = { NAN, 3, INFINITY, -5, -INFINITY, NAN };
	const uint8_t b[] = { 0, 1, 255, 0 };
	const int64_t i[] = { -3, 0, 9 };
	const float z[] = { 3, 4, NAN, 1, 1, INFINITY, 0, -0.0f };
	struct moments m = moments_of(DTYPE_FLOAT64, x, 6);

	ok_msg(m.nans == 2 && m.pinf == 1 && m.ninf == 1 && m.finite == 2 && m.min == -5 && m.max == 3 && moments_mean(&m) == -1,
	       "values that are not finite are counted and left out");
	m = moments_of(DTYPE_BOOL, b, 4);
	ok_msg(m.zeros == 2 && m.max == 1 && moments_mean(&m) == 0.5, "bool counts as 0 and 1 for every byte");
	m = moments_of(DTYPE_INT64, i, 3);
	ok_msg(m.min == -3 && m.max == 9 && moments_mean(&m) == 2 && m.zeros == 1, "int64");
	m = moments_of(DTYPE_COMPLEX64, z, 4);
	ok_msg(m.max == 5 && m.min == 0 && m.zeros == 1 && m.nans == 1 && m.pinf == 1 && m.finite == 2,
	       "complex numbers count with their absolute values");
	ok_msg(!moments_known(DTYPE_QUINT8) && !moments_known(DTYPE_FLOAT4_E2M1FN_X2) && moments_known(DTYPE_FLOAT8_E8M0FNU),
	       "the right types have figures");
}

/* Compares figures with sums in long double, at every length around that of a block. */
static void
lengths(void)
{
	const size_t most = 3 * MOMENTS_BLOCK + 5;
	double *x = xreallocn(NULL, most, sizeof(*x));
	bool good = true;

	for (size_t i = 0; i < most; i++)
		x[i] = 1e5 + any();
	for (size_t n = 1; n <= most; n += n > 20 && n % 1000 < 990 ? 37 : 1) {
		struct moments m = moments_of(DTYPE_FLOAT64, x, n);
		long double sum = 0, squares = 0, mean;
		double min = x[0], max = x[0];

		for (size_t i = 0; i < n; i++) {
			sum += x[i] - 1e5L;
			min = x[i] < min ? x[i] : min;
			max = x[i] > max ? x[i] : max;
		}
		mean = sum / (long double)n;
		for (size_t i = 0; i < n; i++)
			squares += (x[i] - 1e5L - mean) * (x[i] - 1e5L - mean);
		good = good && m.min == min && m.max == max && m.finite == n && fabsl(moments_mean(&m) - 1e5L - mean) < 2e-11L &&
		       (n == 1 || fabsl(moments_std(&m) - sqrtl(squares / (long double)(n - 1))) < 1e-14L);
	}
	ok_msg(good, "figures of all lengths around a block agree with long double");
	free(x);
}

/* All numbers of a type of 16 bits in the order of their codes, so that infinities and NaNs occur in few blocks. */
static void
all_codes(enum dtype t, unsigned mantissa, double largest)
{
	const uint64_t special = (uint64_t)1 << mantissa;
	uint16_t *code = xreallocn(NULL, 65536, sizeof(*code));
	double *x = xreallocn(NULL, 65536, sizeof(*x));
	long double squares = 0;
	struct moments m, wide, found = MOMENTS_INIT;

	for (size_t i = 0; i < 65536; i++)
		code[i] = (uint16_t)i;
	m = moments_of(t, code, 65536);
	ok_msg(m.nans == 2 * (special - 1) && m.pinf == 1 && m.ninf == 1 && m.zeros == 2 && m.finite == 65536 - 2 * special,
	       "%s: counts", dtype_name(t));
	ok_msg(m.min == -largest && m.max == largest && fabs(moments_mean(&m)) < 1e-16 * largest, "%s: min, max and mean are right",
	       dtype_name(t));
	tap_le(code, 65536, 2);
	convert_decode(t, code, 65536, x);
	for (size_t i = 0; i < 65536; i++)
		squares += isfinite(x[i]) ? (long double)x[i] * x[i] : 0;
	ok_msg(fabsl(moments_norm(&m) / sqrtl(squares) - 1) < 1e-15L, "%s: the norm agrees with long double", dtype_name(t));
	wide = moments_of(DTYPE_FLOAT64, x, 65536);
	ok_msg(same_moments(&m, &wide), "%s: the figures have the same bits as those of float64", dtype_name(t));
	moments_add(&found, t, code, 65536, true);
	ok_msg(found.nans == m.nans && found.pinf == 1 && found.ninf == 1 && moments_count(&found) == 65536,
	       "%s: values that are all not finite are counted", dtype_name(t));
	free(code);
	free(x);
}

/* A single number that is not finite must be found at many places among numbers with a large exponent. */
static void
special_places(void)
{
	static const enum dtype types[] = { DTYPE_FLOAT64, DTYPE_FLOAT32, DTYPE_FLOAT16, DTYPE_BFLOAT16, DTYPE_FLOAT8_E5M2 };
	const double special[] = { NAN, INFINITY, -INFINITY }, large = 49152;
	const size_t n = MOMENTS_BLOCK + 24;
	unsigned char *bytes = xreallocn(NULL, n, 8);

	for (size_t k = 0; k < sizeof(types) / sizeof(types[0]); k++) {
		const enum dtype t = types[k];
		bool good = true;

		for (size_t i = 0; i < n; i++)
			(void)convert_encode(t, &large, 1, bytes + i * dtype_size(t));
		for (size_t i = 0; i < n; i += 13) {
			struct moments m = MOMENTS_INIT;

			(void)convert_encode(t, &special[i % 3], 1, bytes + i * dtype_size(t));
			moments_add(&m, t, bytes, n, true);
			good = good && m.nans == (i % 3 == 0) && m.pinf == (i % 3 == 1) && m.ninf == (i % 3 == 2) &&
			       moments_count(&m) == n;
			(void)convert_encode(t, &large, 1, bytes + i * dtype_size(t));
		}
		ok_msg(good, "%s: a single number that is not finite is found anywhere", dtype_name(t));
	}
	free(bytes);
}

/* Numbers of standard deviation 1/sqrt(3) around many means, with NaNs between them, compared with sums in long double. */
static void
means(void)
{
	const size_t n = 2 * MOMENTS_BLOCK;
	double *x = xreallocn(NULL, n, sizeof(*x));
	bool good = true;

	for (double about = 0.125; about < 1e9; about *= 2) {
		struct moments m;
		long double sum = 0, squares = 0, count = 0;

		for (size_t i = 0; i < n; i++) {
			x[i] = i % 100 == 7 ? (double)NAN : about + any();
			sum += isnan(x[i]) ? 0 : x[i];
			count += !isnan(x[i]);
		}
		for (size_t i = 0; i < n; i++)
			squares += isnan(x[i]) ? 0 : (x[i] - sum / count) * (x[i] - sum / count);
		m = moments_of(DTYPE_FLOAT64, x, n);
		good = good && m.nans == 41 && fabsl(moments_mean(&m) - sum / count) <= 2e-16L * about + 1e-16L &&
		       fabsl(moments_std(&m) - sqrtl(squares / (count - 1))) < 1e-15L;
	}
	ok_msg(good, "figures with means near to and far from 0 agree with long double");
	free(x);
}

/* ---- a checkpoint in memory, whose storages follow each other as in safetensors */

static const struct ckpt_ops ops = { .name = "memory" };

struct fake {
	struct source *src;
	struct ckpt *c;
};

static struct fake
fake_new(const void *bytes, size_t len, uint32_t nstorages, const uint64_t *sizes)
{
	struct fake f = { .src = source_memory(bytes, len, "memory") };
	uint64_t at = 0;

	f.c = ckpt_new(f.src, NULL);
	f.c->ops = &ops;
	f.c->storages = arena_calloc(&f.c->arena, nstorages, sizeof(*f.c->storages));
	f.c->nstorages = nstorages;
	for (uint32_t i = 0; i < nstorages; i++) {
		f.c->storages[i] = (struct storage){
			.nbytes = sizes[i], .packed = sizes[i], .offset = at, .dtype = DTYPE_UINT8, .flags = STORAGE_CRC
		};
		at += sizes[i];
	}
	return f;
}

static void
fake_free(struct fake *f)
{
	ckpt_close(f->c);
	source_close(f->src);
}

static struct tensor
tensor_of(struct fake *f, enum dtype t, uint32_t storage, const uint64_t *shape, unsigned ndim)
{
	struct tensor x = { .storage = storage, .dtype = (uint8_t)t };

	tensor_set_shape(&x, &f->c->arena, shape, ndim);
	return x;
}

/* True if the figures of a tensor over these bytes have the same bits as m. */
static bool
figures_are(const unsigned char *bytes, uint64_t size, const uint64_t *shape, const uint64_t *strides, const struct moments *m)
{
	struct fake k = fake_new(bytes, (size_t)size, 1, &size);
	struct tensor t = tensor_of(&k, DTYPE_FLOAT32, 0, shape, 2);
	const struct tensor *list[] = { &t };
	struct figures_opts o = { .measured = 1 };
	struct err err = ERR_INIT;
	struct figures f;
	bool same;

	t.stride = strides;
	same = figures_take(&f, k.c, list, 1, &o, &err) == 0 && same_moments(&f.moments[0], m);
	figures_release(&f);
	fake_free(&k);
	return same;
}

/* Several units of elements in order, compared with the same elements stored in another order with suitable strides. */
static void
orders(void)
{
	const size_t n = 9 * MOMENTS_UNIT + 4323, wide = n / 3;
	const uint64_t rows[] = { 3, wide }, columns[] = { wide, 3 };
	unsigned char *bytes = xreallocn(NULL, n, 4), *turned = xreallocn(NULL, n, 4);
	struct moments whole = MOMENTS_INIT, m;

	for (size_t i = 0; i < n; i++) {
		double v = i % 1000 == 7 ? (double)NAN : any();

		(void)convert_encode(DTYPE_FLOAT32, &v, 1, bytes + 4 * i);
	}
	for (size_t i = 0, k; i < n; i += k) {
		k = n - i < MOMENTS_UNIT ? n - i : MOMENTS_UNIT;
		m = (struct moments)MOMENTS_INIT;
		moments_add(&m, DTYPE_FLOAT32, bytes + 4 * i, k, false);
		moments_join(&whole, &m);
	}
	ok_msg(whole.nans == (n + 992) / 1000 && moments_count(&whole) == n, "every element counts once");
	ok_msg(figures_are(bytes, 4 * n, rows, (const uint64_t[]){ wide, 1 }, &whole),
	       "elements in order give the same bits as units one by one");
	for (size_t i = 0; i < n; i++)
		memcpy(turned + 4 * (i % wide * 3 + i / wide), bytes + 4 * i, 4);
	ok_msg(figures_are(turned, 4 * n, rows, (const uint64_t[]){ 1, 3 }, &whole),
	       "few long rows that are stored as columns give the same bits");
	for (size_t i = 0; i < n; i++)
		memcpy(turned + 4 * (i % 3 * wide + i / 3), bytes + 4 * i, 4);
	ok_msg(figures_are(turned, 4 * n, columns, (const uint64_t[]){ 1, wide }, &whole),
	       "many short rows that are stored as columns give the same bits");
	free(bytes);
	free(turned);
}

static void
figures(void)
{
	static const uint64_t sizes[] = { 600 * 700 * 4, 0, 12, 8 }, shape[] = { 600, 700 }, turned[] = { 700, 600 };
	static const uint64_t none[] = { 0 }, three[] = { 3 }, strides[] = { 1, 700 };
	const size_t len = 600 * 700 * 4 + 20;
	unsigned char *bytes = xmalloc(len);
	struct err err = ERR_INIT;
	struct figures_opts o = { .crcs = true, .measured = 5, .hashed = 3 };
	struct figures f, g;
	struct tensor t[5];
	const struct tensor *list[5];
	struct fake k;
	uint32_t crc;

	for (size_t i = 0; i < len / 4; i++) {
		double v = any();

		(void)convert_encode(DTYPE_FLOAT32, &v, 1, bytes + 4 * i);
	}
	k = fake_new(bytes, len, 4, sizes);
	t[0] = tensor_of(&k, DTYPE_FLOAT32, 2, three, 1);
	t[1] = tensor_of(&k, DTYPE_FLOAT32, 0, turned, 2);
	t[1].stride = strides;
	t[2] = tensor_of(&k, DTYPE_FLOAT32, 1, none, 1);
	t[3] = tensor_of(&k, DTYPE_FLOAT32, 0, shape, 2);
	t[4] = tensor_of(&k, DTYPE_FLOAT32, STORAGE_NONE, shape, 2);
	for (size_t i = 0; i < 5; i++)
		list[i] = &t[i];
	k.c->storages[3].flags = 0;
	ok_msg(figures_take(&f, k.c, list, 5, &o, &err) == 0, "figures of five tensors are taken");
	ok_msg(f.has_crc[2] && !f.has_crc[3], "a CRC is computed if the storage states one");
	ok_msg(moments_count(&f.moments[0]) == 3 && moments_count(&f.moments[1]) == 420000 && moments_count(&f.moments[2]) == 0 &&
		       moments_count(&f.moments[3]) == 420000 && moments_count(&f.moments[4]) == 0,
	       "every element of each tensor counts once");
	ok_msg(f.moments[1].min == f.moments[3].min && f.moments[1].max == f.moments[3].max &&
		       fabs(moments_norm(&f.moments[1]) - moments_norm(&f.moments[3])) < 1e-10,
	       "a matrix and its transpose");
	crc = 0xffffffff;
	for (size_t i = 600 * 700 * 4; i < 600 * 700 * 4 + 12; i++) {
		crc ^= bytes[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
	}
	ok_msg(f.crc[2] == ~crc && f.crc[1] == 0, "the CRC equals one that is computed bit by bit");
	o.pool = pool_new(3);
	ok_msg(figures_take(&g, k.c, list, 5, &o, &err) == 0 && memcmp(f.moments, g.moments, 5 * sizeof(*f.moments)) == 0 &&
		       memcmp(f.crc, g.crc, 4 * sizeof(*f.crc)) == 0,
	       "three threads give the same bits");
	pool_free(o.pool);
	figures_release(&f);
	figures_release(&g);
	fake_free(&k);
	free(bytes);
}

static struct difference
compare(enum dtype ta, const void *a, enum dtype tb, const void *b, uint64_t n, struct compare_opts o)
{
	const uint64_t sa = n * dtype_size(ta), sb = n * dtype_size(tb);
	void *stored_a = stored(ta, a, n), *stored_b = stored(tb, b, n);
	struct fake ka = fake_new(stored_a, (size_t)sa, 1, &sa), kb = fake_new(stored_b, (size_t)sb, 1, &sb);
	struct tensor x = tensor_of(&ka, ta, 0, &n, 1), y = tensor_of(&kb, tb, 0, &n, 1);
	struct compare_pair p = { &x, &y };
	struct figures_opts fo = { .compare = &o, .pairs = &p, .npairs = 1 };
	struct difference d = { 0 };
	struct err err = ERR_INIT;
	struct figures figures;

	o.here = ka.c;
	o.there = kb.c;
	if (figures_take(&figures, ka.c, NULL, 0, &fo, &err) < 0)
		d.differing = UINT64_MAX;
	else
		d = figures.differences[0];
	figures_release(&figures);
	fake_free(&ka);
	fake_free(&kb);
	free(stored_a);
	free(stored_b);
	return d;
}

static void
comparisons(void)
{
	const double a[] = { 1, NAN, INFINITY, -0.0, 5 }, b[] = { 1, NAN, INFINITY, 0.0, 5.5 };
	const float f[] = { 1, NAN, INFINITY, 0, 5 };
	const int64_t i[] = { INT64_MAX, INT64_MIN }, j[] = { INT64_MAX - 1, INT64_MIN };
	const uint8_t q[] = { 1, 2 }, r[] = { 1, 3 };
	const float z[] = { 0, 0 }, w[] = { 3, 4 };
	struct compare_opts exact = { .nan_equal = true }, loose = { .atol = 0.5, .nan_equal = true }, differ = { .atol = 1 };
	struct difference d = compare(DTYPE_FLOAT64, a, DTYPE_FLOAT64, b, 5, exact);

	ok_msg(d.comparable && d.differing == 1 && d.largest == 0.5, "one element differs by 0.5; NaN, Inf and -0 are equal");
	ok_msg(compare(DTYPE_FLOAT64, a, DTYPE_FLOAT64, b, 5, loose).differing == 0, "atol 0.5 accepts a difference of 0.5");
	d = compare(DTYPE_FLOAT64, a, DTYPE_FLOAT64, b, 5, differ);
	ok_msg(d.differing == 1 && isnan(d.largest), "NaNs differ without nan_equal");
	ok_msg(compare(DTYPE_FLOAT64, a, DTYPE_FLOAT64, a, 5, differ).differing == 1,
	       "a tensor with NaN differs from itself without nan_equal");
	ok_msg(compare(DTYPE_FLOAT64, a, DTYPE_FLOAT32, f, 5, exact).differing == 0,
	       "tensors of other dtypes are compared by value");
	d = compare(DTYPE_INT64, i, DTYPE_INT64, j, 2, exact);
	ok_msg(d.differing == 1 && d.largest == 1, "integers are compared exactly beyond the precision of double");
	d = compare(DTYPE_QINT8, q, DTYPE_QINT8, r, 2, exact);
	ok_msg(d.comparable && d.bytes && d.differing == 1, "quantised tensors are compared by their bytes");
	ok_msg(!compare(DTYPE_QINT8, q, DTYPE_INT8, r, 2, exact).comparable,
	       "quantised tensors are not comparable with other types");
	d = compare(DTYPE_COMPLEX64, z, DTYPE_COMPLEX64, w, 1, exact);
	ok_msg(d.differing == 1 && d.largest == 5, "complex numbers differ by the absolute value of the difference");
}

int
main(void)
{
	digests();
	few_values();
	special_values();
	lengths();
	all_codes(DTYPE_FLOAT16, 10, 65504);
	all_codes(DTYPE_BFLOAT16, 7, 0x1.fep127);
	special_places();
	means();
	orders();
	figures();
	comparisons();
	return tap_done();
}
