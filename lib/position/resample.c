#include "position/resample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

/*
 * Bicubic (B0, B1) gives torch's float64 result bit for bit, as torch's builds for AVX2 and later compute it. The compiler of these
 * builds fuses some multiplications with additions. This file uses fma() for exactly those operations, and fma() rounds once on
 * every processor. Which operations are fused was determined with impulses, one sample at a time. For the other methods torch's
 * order of operations depends on the number of channels; the mean difference is one or two eps of the largest number.
 */
struct tap {
	size_t from; /* index of a source sample */
	double weight;
};

/* The weighted source samples that one target sample is made of. */
struct taps {
	struct tap *tap;
	size_t count;
};

struct resample_axis {
	struct taps *taps; /* one element for each target sample */
	struct tap *pool;
	size_t from;
	double *at;     /* geometric: coordinates of the source samples; else NULL */
	double *spline; /* for splines: the source samples, followed by their second derivatives; else NULL */
};

/* The cubic kernel with a = -0.75: cubic_near for 0 <= t <= 1, cubic_far for 1 <= t <= 2. */
static double
cubic_near(double t)
{
	return fma(1.25, t, -2.25) * t * t + 1;
}

static double
cubic_far(double t)
{
	return fma(fma(-0.75, t, 3.75), t, -6) * t + 3;
}

/* The cubic kernel with a = -0.5. All multiply-add pairs are fused. */
static double
cubic_smooth(double t)
{
	t = fabs(t);
	if (t < 1)
		return fma(fma(1.5, t, -2.5) * t, t, 1);
	return t < 2 ? fma(fma(fma(-0.5, t, 2.5), t, -4), t, 2) : 0;
}

static size_t
clamp_index(double at, size_t from)
{
	if (at <= 0)
		return 0;
	return at >= (double)(from - 1) ? from - 1 : (size_t)at;
}

/* Locates target sample i in the source. Sets *f to the preceding source sample and returns the distance from it, 0 to 1. */
static double
locate(size_t i, size_t from, size_t to, enum resample_method method, double *f)
{
	double s;

	if (method == RESAMPLE_BICUBIC_CORNERS || method == RESAMPLE_BILINEAR_CORNERS)
		s = to == 1 ? 0 : (double)(from - 1) / (double)(to - 1) * (double)i;
	else if (method == RESAMPLE_BICUBIC_OFFSET)
		s = fma(1 / (((double)to + 0.1) / (double)from), (double)i + 0.5, -0.5);
	else
		s = fma((double)from / (double)to, (double)i + 0.5, -0.5);
	if (method == RESAMPLE_BILINEAR)
		s = fmax(s, 0);
	/* torch takes the floor of a float32: a coordinate just below a sample counts as the sample. */
	*f = fmin((double)floorf((float)s), (double)(from - 1));
	return fmin(fmax(s - *f, 0), 1);
}

static size_t
taps_cubic(struct tap *tap, size_t i, size_t from, size_t to, enum resample_method method)
{
	double f, t = locate(i, from, to, method, &f), u = 1 - t;

	tap[0] = (struct tap){ clamp_index(f - 1, from), cubic_far(t + 1) };
	tap[1] = (struct tap){ clamp_index(f, from), cubic_near(t) };
	tap[2] = (struct tap){ clamp_index(f + 1, from), cubic_near(u) };
	tap[3] = (struct tap){ clamp_index(f + 2, from), cubic_far(u + 1) };
	return 4;
}

static size_t
taps_linear(struct tap *tap, size_t i, size_t from, size_t to, enum resample_method method)
{
	double f, t = locate(i, from, to, method, &f);

	tap[0] = (struct tap){ clamp_index(f, from), 1 - t };
	tap[1] = (struct tap){ clamp_index(f + 1, from), t };
	return 2;
}

/* The window ends at the edges of the source. Its weights are divided by their sum. */
static size_t
taps_antialias(struct tap *tap, size_t i, size_t from, size_t to)
{
	double scale = (double)from / (double)to, m = fmax(scale, 1), centre = scale * ((double)i + 0.5);
	double low = centre - 2 * m + 0.5, high = centre + 2 * m + 0.5, sum = 0;
	size_t lo = low > 0 ? (size_t)low : 0, hi = high < (double)from ? (size_t)high : from;

	for (size_t j = lo; j < hi; j++) {
		tap[j - lo] = (struct tap){ j, cubic_smooth(((double)j - centre + 0.5) * (1 / m)) };
		sum += tap[j - lo].weight;
	}
	for (size_t j = lo; j < hi; j++)
		tap[j - lo].weight /= sum;
	return hi - lo;
}

/* ---- the geometric grid (README, section 1, G) */

/*
 * Computes the coordinates of 2 * half + 1 samples. The middle one is at 0 and its neighbours at 1 and -1. Each further distance is
 * q times the previous one. q is chosen so that the outermost sample is at target, as far as q's limits permit.
 */
static void
geometric_coordinates(double *at, size_t half, size_t target)
{
	double left = 1.01, right = 1.5, q = 1, d = 0;

	while (right - left > 1e-6) {
		q = (left + right) / 2;
		if ((1 - pow(q, (double)half)) / (1 - q) > (double)target)
			right = q;
		else
			left = q;
	}
	at[half] = 0;
	for (size_t k = 1; k <= half; k++) {
		d += pow(q, (double)(k - 1));
		at[half + k] = d;
		at[half - k] = -d;
	}
}

/*
 * Returns the coordinate of target sample i, which is i - to / 2, clamped to the range of the samples. Sets *f to the source sample
 * before it.
 */
static double
geometric_locate(const double *at, size_t i, size_t from, size_t to, size_t *f)
{
	const size_t middle = to / 2;
	double t = fmin(fmax((double)i - (double)middle, at[0]), at[from - 1]);
	size_t low = 0, high = from - 1;

	while (high - low > 1) {
		size_t mid = (low + high) / 2;

		if (at[mid] <= t)
			low = mid;
		else
			high = mid;
	}
	*f = low;
	return t;
}

/* Splines also use the second derivatives, which follow the samples: that of sample f has index from + f. */
static size_t
taps_geometric(struct tap *tap, const struct resample_axis *axis, size_t i, size_t to, bool spline)
{
	size_t from = axis->from, f;
	double t, h, a, b;

	if (from == 1) {
		tap[0] = (struct tap){ 0, 1 };
		return 1;
	}
	t = geometric_locate(axis->at, i, from, to, &f);
	h = axis->at[f + 1] - axis->at[f];
	a = (axis->at[f + 1] - t) / h;
	b = (t - axis->at[f]) / h;
	tap[0] = (struct tap){ f, a };
	tap[1] = (struct tap){ f + 1, b };
	if (!spline)
		return 2;
	tap[2] = (struct tap){ from + f, (a * a * a - a) * h * h / 6 };
	tap[3] = (struct tap){ from + f + 1, (b * b * b - b) * h * h / 6 };
	return 4;
}

/* Fills row with the coefficients of sample j's equation, for the second derivatives at j - 1, j and j + 1. */
static void
spline_equation(const double *at, size_t n, size_t j, double *row)
{
	double h = at[j] - at[j - 1], k = at[j + 1] - at[j];

	row[0] = h;
	row[1] = 2 * (h + k);
	row[2] = k;
	/* Not-a-knot condition: the third derivative is continuous at the second sample and at the last but one. */
	if (j == 1) {
		row[1] += h * (h + k) / k;
		row[2] -= h * h / k;
	}
	if (j == n - 2) {
		row[1] += k * (h + k) / h;
		row[0] -= k * k / h;
	}
}

/*
 * Computes the second derivatives m at an end from those of the two nearest samples. ratio is the distance to the first of these,
 * divided by the distance between the two.
 */
static void
spline_end(double *m, const double *near, const double *far, double ratio, size_t width)
{
	for (size_t c = 0; c < width; c++)
		m[c] = (1 + ratio) * near[c] - ratio * far[c];
}

/*
 * Computes the second derivatives m of the splines through y. Both are [n][width]. The tridiagonal equations are solved by
 * elimination.
 */
static void
spline_solve(const double *at, size_t n, const double *y, double *m, size_t width)
{
	double *upper = xcalloc(n, sizeof(*upper)), row[3];

	for (size_t j = 1; j + 1 < n; j++) {
		const double *y1 = y + j * width, h = at[j] - at[j - 1], k = at[j + 1] - at[j];
		double *m1 = m + j * width, pivot;

		spline_equation(at, n, j, row);
		pivot = j == 1 ? row[1] : row[1] - row[0] * upper[j - 1];
		upper[j] = row[2] / pivot;
		for (size_t c = 0; c < width; c++) {
			double bend = 6 * ((y1[c + width] - y1[c]) / k - (y1[c] - y1[c - width]) / h);

			m1[c] = (j == 1 ? bend : bend - row[0] * m1[c - width]) / pivot;
		}
	}
	for (size_t j = n - 2; j-- > 1;)
		for (size_t c = 0; c < width; c++)
			m[j * width + c] -= upper[j] * m[(j + 1) * width + c];
	free(upper);
	spline_end(m, m + width, m + 2 * width, (at[1] - at[0]) / (at[2] - at[1]), width);
	spline_end(m + (n - 1) * width, m + (n - 2) * width, m + (n - 3) * width, (at[n - 1] - at[n - 2]) / (at[n - 2] - at[n - 3]),
		   width);
}

/* ---- axes */

static size_t
taps_of(struct tap *tap, const struct resample_axis *axis, size_t i, size_t to, enum resample_method method)
{
	switch (method) {
	case RESAMPLE_BICUBIC:
	case RESAMPLE_BICUBIC_OFFSET:
	case RESAMPLE_BICUBIC_CORNERS: return taps_cubic(tap, i, axis->from, to, method);
	case RESAMPLE_BICUBIC_ANTIALIAS: return taps_antialias(tap, i, axis->from, to);
	case RESAMPLE_GEOMETRIC:
	case RESAMPLE_GEOMETRIC_LINEAR: return taps_geometric(tap, axis, i, to, method == RESAMPLE_GEOMETRIC);
	case RESAMPLE_BILINEAR:
	case RESAMPLE_BILINEAR_CORNERS: break;
	}
	return taps_linear(tap, i, axis->from, to, method);
}

/* width is the number of values in each sample. */
static void
axis_init(struct resample_axis *axis, size_t from, size_t to, size_t width, enum resample_method method)
{
	/* An antialiasing window has at most 4 * max(from / to, 1) + 1 samples. */
	size_t most = method == RESAMPLE_BICUBIC_ANTIALIAS ? 4 * (from / to + 1) + 2 : 4, n = 0;

	*axis = (struct resample_axis){ .from = from };
	axis->taps = xcalloc(to, sizeof(*axis->taps));
	axis->pool = xcalloc(to, most * sizeof(*axis->pool));
	if (resample_is_geometric(method)) {
		axis->at = xcalloc(from, sizeof(*axis->at));
		geometric_coordinates(axis->at, from / 2, to / 2);
	}
	if (method == RESAMPLE_GEOMETRIC)
		axis->spline = xcalloc(2 * from, width * sizeof(*axis->spline));
	for (size_t i = 0; i < to; i++) {
		axis->taps[i].tap = axis->pool + n;
		axis->taps[i].count = taps_of(axis->pool + n, axis, i, to, method);
		n += axis->taps[i].count;
	}
}

/* Returns the array that tap.from indexes: the samples of in, for splines followed by their second derivatives. */
static const double *
axis_samples(const struct resample_axis *axis, const double *in, size_t width)
{
	if (axis->spline == NULL)
		return in;
	memcpy(axis->spline, in, axis->from * width * sizeof(*in));
	spline_solve(axis->at, axis->from, in, axis->spline + axis->from * width, width);
	return axis->spline;
}

static void
axis_release(struct resample_axis *axis)
{
	free(axis->taps);
	free(axis->pool);
	free(axis->at);
	free(axis->spline);
}

/*
 * mix computes one target sample of n numbers from source samples that are stride numbers apart. The loops advance in steps of
 * STEP, so that compilers vectorise them at -O2. mix is inlined into mix_any and mix_avx2, which differ only in the instructions
 * that they may use.
 */
#define STEP 8

static inline __attribute__((always_inline)) void
mix4(double *restrict out, const double *in, size_t stride, const struct tap *tap, size_t n)
{
	const double *restrict a = in + tap[0].from * stride, *restrict b = in + tap[1].from * stride;
	const double *restrict c = in + tap[2].from * stride, *restrict d = in + tap[3].from * stride;
	const double p = tap[0].weight, q = tap[1].weight, r = tap[2].weight, s = tap[3].weight;
	size_t i = 0;

	for (; i + STEP <= n; i += STEP)
		for (size_t k = i; k < i + STEP; k++)
			out[k] = fma(d[k], s, fma(c[k], r, fma(a[k], p, b[k] * q)));
	for (; i < n; i++)
		out[i] = fma(d[i], s, fma(c[i], r, fma(a[i], p, b[i] * q)));
}

static inline __attribute__((always_inline)) void
mix_first(double *restrict out, const double *restrict x, double w, size_t n)
{
	size_t i = 0;

	for (; i + STEP <= n; i += STEP)
		for (size_t k = i; k < i + STEP; k++)
			out[k] = x[k] * w;
	for (; i < n; i++)
		out[i] = x[i] * w;
}

static inline __attribute__((always_inline)) void
mix_more(double *restrict out, const double *restrict x, double w, size_t n)
{
	size_t i = 0;

	for (; i + STEP <= n; i += STEP)
		for (size_t k = i; k < i + STEP; k++)
			out[k] = fma(x[k], w, out[k]);
	for (; i < n; i++)
		out[i] = fma(x[i], w, out[i]);
}

static inline __attribute__((always_inline)) void
mix(double *restrict out, const double *in, size_t stride, const struct taps *taps, size_t n)
{
	const struct tap *tap = taps->tap;

	if (taps->count == 4) {
		mix4(out, in, stride, tap, n);
		return;
	}
	mix_first(out, in + tap[0].from * stride, tap[0].weight, n);
	for (size_t k = 1; k < taps->count; k++)
		mix_more(out, in + tap[k].from * stride, tap[k].weight, n);
}

typedef void mix_fn(double *restrict out, const double *in, size_t stride, const struct taps *taps, size_t n);

static void
mix_any(double *restrict out, const double *in, size_t stride, const struct taps *taps, size_t n)
{
	mix(out, in, stride, taps, n);
}

#ifdef __x86_64__
__attribute__((target("avx2,fma"))) static void
mix_avx2(double *restrict out, const double *in, size_t stride, const struct taps *taps, size_t n)
{
	mix(out, in, stride, taps, n);
}
#endif

static mix_fn *
mix_choose(void)
{
#ifdef __x86_64__
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
		return mix_avx2;
#endif
	return mix_any;
}

/* Resizes the width. in is [from.h][from.w][heads]; out is [from.h][w][heads]. */
static void
resample_width(const double *in, struct cells from, double *out, size_t w, size_t heads, enum resample_method method)
{
	mix_fn *mixer = mix_choose();
	struct resample_axis axis;

	axis_init(&axis, from.w, w, heads, method);
	for (size_t y = 0; y < from.h; y++) {
		const double *row = axis_samples(&axis, in + y * from.w * heads, heads);

		for (size_t x = 0; x < w; x++)
			mixer(out + (y * w + x) * heads, row, heads, &axis.taps[x], heads);
	}
	axis_release(&axis);
}

/* Resizes the height. in is [from][row]; out is [to][row]. */
static void
resample_height(const double *in, size_t from, double *out, size_t to, size_t row, enum resample_method method)
{
	mix_fn *mixer = mix_choose();
	struct resample_axis axis;

	axis_init(&axis, from, to, row, method);
	in = axis_samples(&axis, in, row);
	for (size_t y = 0; y < to; y++)
		mixer(out + y * row, in, row, &axis.taps[y], row);
	axis_release(&axis);
}

/* Rounded weights rarely add up to exactly 1, so constant heads are set to their constant again. */
static void
keep_constants(const double *in, size_t from, size_t heads, double *out, size_t to)
{
	for (size_t head = 0; head < heads; head++) {
		size_t i = 1;

		while (i < from && in[i * heads + head] == in[head])
			i++;
		for (size_t k = 0; i == from && k < to; k++)
			out[k * heads + head] = in[head];
	}
}

void
resample(const double *in, struct cells from, double *out, struct cells to, size_t heads, enum resample_method method)
{
	bool whole = method == RESAMPLE_BICUBIC_OFFSET || resample_is_geometric(method);
	double *half = NULL;

	if (from.h == to.h && from.w == to.w) {
		memcpy(out, in, from.h * from.w * heads * sizeof(*out));
		return;
	}
	if (from.h == to.h && !whole) {
		resample_width(in, from, out, to.w, heads, method);
	} else if (from.w == to.w && !whole) {
		resample_height(in, from.h, out, to.h, from.w * heads, method);
	} else {
		half = xmalloc(from.h * to.w * heads * sizeof(*half));
		resample_width(in, from, half, to.w, heads, method);
		resample_height(half, from.h, out, to.h, to.w * heads, method);
		free(half);
	}
	keep_constants(in, from.h * from.w, heads, out, to.h * to.w);
}

bool
resample_can(enum resample_method method, struct cells from)
{
	return method != RESAMPLE_GEOMETRIC || (from.h >= 4 && from.w >= 4);
}

bool
resample_is_geometric(enum resample_method method)
{
	return method == RESAMPLE_GEOMETRIC || method == RESAMPLE_GEOMETRIC_LINEAR;
}

/* The options that select each method, and its full name. */
static const struct {
	const char *name, *full;
	bool align_corners, antialias;
} methods[] = {
	[RESAMPLE_BICUBIC] = { "bicubic", "bicubic", false, false },
	[RESAMPLE_BICUBIC_CORNERS] = { "bicubic", "bicubic, align_corners", true, false },
	[RESAMPLE_BICUBIC_ANTIALIAS] = { "bicubic", "bicubic, antialias", false, true },
	[RESAMPLE_BILINEAR] = { "bilinear", "bilinear", false, false },
	[RESAMPLE_BILINEAR_CORNERS] = { "bilinear", "bilinear, align_corners", true, false },
	[RESAMPLE_BICUBIC_OFFSET] = { "", "bicubic, offset 0.1", false, false },
	[RESAMPLE_GEOMETRIC] = { "geometric", "geometric", false, false },
	[RESAMPLE_GEOMETRIC_LINEAR] = { "geometric-linear", "geometric-linear", false, false },
};

bool
resample_method_by(struct str name, bool align_corners, bool antialias, enum resample_method *method)
{
	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
		if (name.len > 0 && str_eqc(name, methods[i].name) && methods[i].align_corners == align_corners &&
		    methods[i].antialias == antialias) {
			*method = (enum resample_method)i;
			return true;
		}
	}
	return false;
}

const char *
resample_method_name(enum resample_method method)
{
	return (size_t)method < sizeof(methods) / sizeof(methods[0]) ? methods[method].full : "unknown";
}
