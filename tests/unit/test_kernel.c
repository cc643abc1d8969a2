/*
 * Kernels of input layers: vectors from numpy's pseudo-inverse of torch's matrices, and the property that the pseudo-inverse
 * is used for: if a patch grows, the product of resized image and new kernel equals that of the old ones.
 */
#include "position/kernel.h"

#include <math.h>
#include <stdlib.h>

#include "base/xalloc.h"
#include "position/resample.h"
#include "tap.h"

static void
all_near(const double *got, const double *expected, size_t n, double most, const char *what)
{
	double worst = 0;

	for (size_t i = 0; i < n; i++)
		worst = fmax(worst, fabs(got[i] - expected[i]));
	ok_msg(worst <= most, "%s: off by %g", what, worst);
}

/* Resizes both axes of a square kernel. */
static double *
resized(const double *k, size_t from, size_t to)
{
	double *m = xcalloc(to * from, sizeof(*m)), *half = xcalloc(to * from, sizeof(*half)),
	       *out = xcalloc(to * to, sizeof(*out));

	kernel_patch(m, from, to);
	for (size_t i = 0; i < to; i++)
		for (size_t x = 0; x < from; x++)
			for (size_t j = 0; j < from; j++)
				half[i * from + x] += m[i * from + j] * k[j * from + x];
	for (size_t i = 0; i < to; i++)
		for (size_t x = 0; x < to; x++)
			for (size_t j = 0; j < from; j++)
				out[i * to + x] += m[x * from + j] * half[i * from + j];
	free(m);
	free(half);
	return out;
}

static void
test_vectors(void)
{
	static const double k[] = { 1, 2, 0, -1, 0, 3, 1, 0, 2, 0, 0, 1, -1, 1, 2, 0 };
	static const double three[] = { 1.52605082, 3.81149125, -2.17867283, 2.79862187, 1.05881543,
					1.34316814, -.78280228, 2.75965694,  .66367067 };
	static const double six[] = { .52342662, .72948056, .70908482, -.06779260, -.39628915, -.46619195 };
	static const double fourteen[] = { .06246051, .40667936, 1.09168993, .66108822,  .21274061, .89266683,  1.30398784,
					   .21954161, .86351952, .76919765,  -.03465682, .66958818, 1.23440990, .17612913 };
	double *out = resized(k, 4, 3), image[256], sum = 0;

	all_near(out, three, 9, 1e-8, "patch 4 to 3");
	free(out);
	out = resized(k, 4, 6);
	all_near(out, six, 6, 1e-8, "patch 4 to 6");
	free(out);
	for (size_t i = 0; i < 16; i++)
		for (size_t j = 0; j < 16; j++)
			image[i * 16 + j] = (double)((7 * i + 3 * j + i * j) % 11) / 10;
	out = resized(image, 16, 14);
	for (size_t i = 0; i < 196; i++)
		sum += out[i];
	all_near(out, fourteen, 14, 1e-8, "patch 16 to 14");
	all_near(&sum, &(double){ 117.21736871 }, 1, 1e-7, "its sum");
	free(out);
}

static void
test_products(void)
{
	static const size_t sizes[][2] = { { 1, 5 }, { 2, 2 }, { 7, 8 }, { 14, 16 }, { 16, 32 }, { 16, 48 } };

	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		size_t from = sizes[s][0], to = sizes[s][1];
		double *m = xcalloc(to * from, sizeof(*m)), x[16], big[48], before = 0, after = 0;

		for (size_t i = 0; i < from; i++)
			x[i] = (double)(i * i % 7) - 3;
		resample(x, (struct cells){ from, 1 }, big, (struct cells){ to, 1 }, 1, RESAMPLE_BICUBIC_ANTIALIAS);
		kernel_patch(m, from, to);
		for (size_t j = 0; j < from; j++) {
			double k = (double)(j * 5 % 11) - 4;

			before += x[j] * k;
			for (size_t i = 0; i < to; i++)
				after += big[i] * m[i * from + j] * k;
		}
		ok_msg(fabs(before - after) < 1e-9, "%zu to %zu: the product is %g, was %g", from, to, after, before);
		free(m);
	}
}

static void
is_channels(size_t from, size_t to, bool thirds, const double *expected)
{
	static const double w[] = { .5, -.25, 1, 2, 3, 5 };
	double m[36], out[6] = { 0 };

	kernel_channels(m, from, to, thirds);
	for (size_t i = 0; i < to; i++)
		for (size_t j = 0; j < from; j++)
			out[i] += m[i * from + j] * w[j];
	all_near(out, expected, to, 0, "channels");
}

static void
test_channels(void)
{
	is_channels(3, 1, false, (const double[]){ 1.25 });
	is_channels(3, 2, false, (const double[]){ .75, -.375 });
	is_channels(3, 4, false, (const double[]){ .375, -.1875, .75, .375 });
	is_channels(3, 6, false, (const double[]){ .25, -.125, .5, .25, -.125, .5 });
	is_channels(6, 2, true, (const double[]){ 1.25, 10 });
	is_channels(6, 2, false, (const double[]){ 1.5, -.75 });
}

int
main(void)
{
	test_vectors();
	test_products();
	test_channels();
	return tap_done();
}
