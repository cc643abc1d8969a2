#include "bias/resample.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

/*
 * A weighted mean is computed as x[base] + sum of w[j] * (x[j] - x[base]): the
 * weights add up to 1, so that is the same, and a constant comes out exact
 * although the rounded weights rarely add up to 1 exactly. It also leaves one
 * multiplication less per cell.
 */
struct tap {
	size_t from; /* index of a source sample */
	double weight;
};

/* How one sample of an axis is made: base, and the taps beside it. */
struct taps {
	size_t base;
	size_t first, count; /* in the axis' pool */
};

struct axis {
	struct taps *taps; /* one per target sample */
	struct tap *pool;
};

/* The cubic kernel with parameter a at t >= 0, evaluated in torch's order. */
static double
cubic_near(double t, double a)
{
	return ((a + 2) * t - (a + 3)) * t * t + 1;
}

static double
cubic_far(double t, double a)
{
	return ((a * t - 5 * a) * t + 8 * a) * t - 4 * a;
}

static double
cubic(double t, double a)
{
	t = fabs(t);
	if (t < 1)
		return cubic_near(t, a);
	return t < 2 ? cubic_far(t, a) : 0;
}

static size_t
clamp_index(double at, size_t from)
{
	if (at <= 0)
		return 0;
	return at >= (double)(from - 1) ? from - 1 : (size_t)at;
}

/* Source coordinate of target sample i. */
static double
coordinate(size_t i, size_t from, size_t to, bool corners)
{
	if (!corners)
		return (double)from / (double)to * ((double)i + 0.5) - 0.5;
	return to == 1 ? 0 : (double)(from - 1) / (double)(to - 1) * (double)i;
}

static size_t
taps_cubic(struct taps *taps, struct tap *pool, size_t i, size_t from, size_t to, bool corners)
{
	const double a = -0.75;
	double s = coordinate(i, from, to, corners), f = floor(s), t = s - f;

	taps->base = clamp_index(f, from);
	pool[0] = (struct tap){ clamp_index(f - 1, from), cubic_far(t + 1, a) };
	pool[1] = (struct tap){ clamp_index(f + 1, from), cubic_near(1 - t, a) };
	pool[2] = (struct tap){ clamp_index(f + 2, from), cubic_far(2 - t, a) };
	return 3;
}

static size_t
taps_linear(struct taps *taps, struct tap *pool, size_t i, size_t from, size_t to, bool corners)
{
	double s = fmax(coordinate(i, from, to, corners), 0), f = floor(s);

	taps->base = clamp_index(f, from);
	pool[0] = (struct tap){ clamp_index(f + 1, from), s - f };
	return 1;
}

/* The window is cut at the edges and its weights are divided by their sum. */
static size_t
taps_antialias(struct taps *taps, struct tap *pool, size_t i, size_t from, size_t to)
{
	double scale = (double)from / (double)to, m = fmax(scale, 1), centre = scale * ((double)i + 0.5);
	double low = centre - 2 * m + 0.5, high = centre + 2 * m + 0.5, sum = 0;
	size_t lo = low > 0 ? (size_t)low : 0, hi = high < (double)from ? (size_t)high : from, n = 0;

	taps->base = clamp_index(centre, from);
	for (size_t j = lo; j < hi; j++) {
		double w = cubic(((double)j - centre + 0.5) * (1 / m), -0.5);

		sum += w;
		if (j != taps->base)
			pool[n++] = (struct tap){ j, w };
	}
	for (size_t k = 0; k < n; k++)
		pool[k].weight /= sum;
	return n;
}

static size_t
taps_of(struct taps *taps, struct tap *pool, size_t i, size_t from, size_t to, enum resample_method method)
{
	switch (method) {
	case RESAMPLE_BICUBIC:
	case RESAMPLE_BICUBIC_CORNERS: return taps_cubic(taps, pool, i, from, to, method == RESAMPLE_BICUBIC_CORNERS);
	case RESAMPLE_BICUBIC_ANTIALIAS: return taps_antialias(taps, pool, i, from, to);
	case RESAMPLE_BILINEAR:
	case RESAMPLE_BILINEAR_CORNERS: break;
	}
	return taps_linear(taps, pool, i, from, to, method == RESAMPLE_BILINEAR_CORNERS);
}

static void
axis_init(struct axis *axis, size_t from, size_t to, enum resample_method method)
{
	/* An antialiased window is at most 4 * max(from / to, 1) + 1 wide. */
	size_t most = method == RESAMPLE_BICUBIC_ANTIALIAS ? 4 * (from / to + 1) + 2 : 4, n = 0;

	axis->taps = xcalloc(to, sizeof(*axis->taps));
	axis->pool = xcalloc(to, most * sizeof(*axis->pool));
	for (size_t i = 0; i < to; i++) {
		struct taps *t = &axis->taps[i];

		t->first = n;
		t->count = taps_of(t, axis->pool + n, i, from, to, method);
		n += t->count;
	}
}

static void
axis_release(struct axis *axis)
{
	free(axis->taps);
	free(axis->pool);
}

/* The loops below are written in steps of STEP so that compilers turn them into vector code at -O2. */
#define STEP 8

static void
mix1(double *restrict out, const double *restrict base, const double *restrict a, double w, size_t n)
{
	size_t i = 0;

	for (; i + STEP <= n; i += STEP)
		for (size_t k = i; k < i + STEP; k++)
			out[k] = base[k] + w * (a[k] - base[k]);
	for (; i < n; i++)
		out[i] = base[i] + w * (a[i] - base[i]);
}

static void
mix3(double *restrict out, const double *restrict base, const double *const from[3], const double w[3], size_t n)
{
	const double *restrict a = from[0], *restrict b = from[1], *restrict c = from[2];
	const double u = w[0], v = w[1], x = w[2];
	size_t i = 0;

	for (; i + STEP <= n; i += STEP)
		for (size_t k = i; k < i + STEP; k++)
			out[k] = base[k] + (u * (a[k] - base[k]) + v * (b[k] - base[k]) + x * (c[k] - base[k]));
	for (; i < n; i++)
		out[i] = base[i] + (u * (a[i] - base[i]) + v * (b[i] - base[i]) + x * (c[i] - base[i]));
}

static void
mix_add(double *restrict out, const double *restrict base, const double *restrict a, double w, size_t n)
{
	for (size_t i = 0; i < n; i++)
		out[i] += w * (a[i] - base[i]);
}

/* One target sample: n numbers, from source samples that lie stride numbers apart. */
static void
mix(double *out, const double *in, size_t stride, const struct axis *axis, size_t i, size_t n)
{
	const struct taps *t = &axis->taps[i];
	const struct tap *tap = axis->pool + t->first;
	const double *base = in + t->base * stride;

	if (t->count == 1) {
		mix1(out, base, in + tap[0].from * stride, tap[0].weight, n);
	} else if (t->count == 3) {
		const double *const from[3] = { in + tap[0].from * stride, in + tap[1].from * stride,
						in + tap[2].from * stride };
		const double w[3] = { tap[0].weight, tap[1].weight, tap[2].weight };

		mix3(out, base, from, w, n);
	} else {
		memset(out, 0, n * sizeof(*out));
		for (size_t k = 0; k < t->count; k++)
			mix_add(out, base, in + tap[k].from * stride, tap[k].weight, n);
		for (size_t k = 0; k < n; k++)
			out[k] += base[k];
	}
}

static void
resample_width(const double *in, size_t h, size_t w, size_t heads, double *out, size_t W, enum resample_method method)
{
	struct axis axis;

	axis_init(&axis, w, W, method);
	for (size_t y = 0; y < h; y++)
		for (size_t x = 0; x < W; x++)
			mix(out + (y * W + x) * heads, in + y * w * heads, heads, &axis, x, heads);
	axis_release(&axis);
}

static void
resample_height(const double *in, size_t h, size_t row, double *out, size_t H, enum resample_method method)
{
	struct axis axis;

	axis_init(&axis, h, H, method);
	for (size_t y = 0; y < H; y++)
		mix(out + y * row, in, row, &axis, y, row);
	axis_release(&axis);
}

void
resample(const double *in, size_t h, size_t w, size_t heads, double *out, size_t H, size_t W,
	 enum resample_method method)
{
	double *half = NULL;

	if (w != W) {
		double *to = out;

		if (h != H)
			to = half = xmalloc(h * W * heads * sizeof(*half));
		resample_width(in, h, w, heads, to, W, method);
		in = to;
	}
	if (h != H)
		resample_height(in, h, W * heads, out, H, method);
	else if (w == W)
		memcpy(out, in, h * w * heads * sizeof(*out));
	free(half);
}

bool
resample_method_by(struct str name, bool align_corners, bool antialias, enum resample_method *method)
{
	if (align_corners && antialias)
		return false;
	if (str_eqc(name, "bicubic")) {
		*method = antialias       ? RESAMPLE_BICUBIC_ANTIALIAS
			  : align_corners ? RESAMPLE_BICUBIC_CORNERS
					  : RESAMPLE_BICUBIC;
		return true;
	}
	if (!str_eqc(name, "bilinear") || antialias)
		return false;
	*method = align_corners ? RESAMPLE_BILINEAR_CORNERS : RESAMPLE_BILINEAR;
	return true;
}

const char *
resample_method_name(enum resample_method method)
{
	switch (method) {
	case RESAMPLE_BICUBIC: return "bicubic";
	case RESAMPLE_BICUBIC_CORNERS: return "bicubic, align_corners";
	case RESAMPLE_BICUBIC_ANTIALIAS: return "bicubic, antialias";
	case RESAMPLE_BILINEAR: return "bilinear";
	case RESAMPLE_BILINEAR_CORNERS: return "bilinear, align_corners";
	}
	return "unknown";
}
