#include "position/kernel.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "position/resample.h"

void
kernel_channels(double *m, size_t from, size_t to, bool thirds)
{
	memset(m, 0, from * to * sizeof(*m));
	for (size_t i = 0; i < to; i++) {
		if (to == 1 || thirds)
			for (size_t k = 0; k < (to == 1 ? from : 3); k++)
				m[i * from + i * 3 + k] = 1;
		else
			m[i * from + i % from] = (double)from / (double)to;
	}
}

/* Returns the matrix that resizes an axis, [to][from]. The caller frees it. */
static double *
resizing(size_t from, size_t to)
{
	double *unit = xcalloc(from * from, sizeof(*unit)), *w = xcalloc(to * from, sizeof(*w));

	for (size_t i = 0; i < from; i++)
		unit[i * from + i] = 1;
	resample(unit, (struct cells){ from, 1 }, w, (struct cells){ to, 1 }, from, RESAMPLE_BICUBIC_ANTIALIAS);
	free(unit);
	return w;
}

/* Returns the sum of a[i * step] * b[i * step] for i < n. */
static double
product(const double *a, const double *b, size_t n, size_t step)
{
	double sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += a[i * step] * b[i * step];
	return sum;
}

/* Replaces the lower half of the positive definite matrix g, [n][n], by its Cholesky factor. */
static void
factor(double *g, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		for (size_t j = 0; j < i; j++)
			g[i * n + j] = (g[i * n + j] - product(g + i * n, g + j * n, j, 1)) / g[j * n + j];
		g[i * n + i] = sqrt(g[i * n + i] - product(g + i * n, g + i * n, i, 1));
	}
}

/* Replaces x by the solution y of G y = x, where g is the Cholesky factor of G. The n elements of x lie step elements apart. */
static void
solve(const double *g, size_t n, double *x, size_t step)
{
	for (size_t i = 0; i < n; i++) {
		for (size_t j = 0; j < i; j++)
			x[i * step] -= g[i * n + j] * x[j * step];
		x[i * step] /= g[i * n + i];
	}
	for (size_t i = n; i-- > 0;) {
		for (size_t j = i + 1; j < n; j++)
			x[i * step] -= g[j * n + i] * x[j * step];
		x[i * step] /= g[i * n + i];
	}
}

/*
 * W, [to][from], has full rank. So the pseudo-inverse of W^T is W (W^T W)^-1 if W has at least as many rows as columns, and (W
 * W^T)^-1 W otherwise.
 */
void
kernel_patch(double *m, size_t from, size_t to)
{
	bool grows = to >= from;
	size_t n = grows ? from : to;
	double *w = resizing(from, to), *g = xcalloc(n * n, sizeof(*g));

	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j <= i; j++)
			g[i * n + j] = grows ? product(w + i, w + j, to, from) : product(w + i * from, w + j * from, from, 1);
	factor(g, n);
	for (size_t i = 0; i < (grows ? to : from); i++)
		solve(g, n, grows ? w + i * from : w + i, grows ? 1 : from);
	memcpy(m, w, to * from * sizeof(*m));
	free(w);
	free(g);
}
