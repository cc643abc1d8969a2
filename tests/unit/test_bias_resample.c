/*
 * Resampling. Expected values are those of lib/position/README.md, section 1, from torch and scipy. Properties that every
 * method has are tested, too.
 */
#include "position/resample.h"

#include "tap.h"

static const enum resample_method methods[] = { RESAMPLE_BICUBIC, RESAMPLE_BICUBIC_CORNERS, RESAMPLE_BICUBIC_ANTIALIAS,
						RESAMPLE_BILINEAR, RESAMPLE_BILINEAR_CORNERS };
#define METHODS (sizeof(methods) / sizeof(methods[0]))

static const size_t sizes[][4] = { { 1, 1, 1, 1 },  { 1, 1, 7, 5 },     { 7, 5, 1, 1 },  { 3, 9, 5, 4 },    { 2, 2, 3, 3 },
				   { 5, 5, 13, 2 }, { 27, 27, 47, 47 }, { 25, 1, 3, 1 }, { 13, 7, 13, 11 }, { 40, 3, 6, 3 } };
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

/* Pseudo-random numbers in [-1, 1). */
static double
noise(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return (double)(int64_t)*state * 0x1p-63;
}

static double *
table(size_t cells, size_t heads)
{
	double *p = malloc(cells * heads * sizeof(*p));

	if (p == NULL)
		tap_bail("no memory");
	return p;
}

static double *
table_noise(size_t cells, size_t heads, uint64_t seed)
{
	double *p = table(cells, heads);

	for (size_t i = 0; i < cells * heads; i++)
		p[i] = noise(&seed);
	return p;
}

static void
check_impulse(enum resample_method method, size_t n, const double *expected, size_t known)
{
	const double x[5] = { 0, 0, 1, 0, 0 };
	double across[9], down[9];
	bool good = true;

	resample(x, (struct cells){ 1, 5 }, across, (struct cells){ 1, n }, 1, method);
	resample(x, (struct cells){ 5, 1 }, down, (struct cells){ n, 1 }, 1, method);
	for (size_t i = 0; i < n; i++) {
		double w = expected[i < known ? i : n - 1 - i];

		good = good && fabs(across[i] - w) < 6e-9 && across[i] == down[i];
	}
	ok_msg(good, "impulse of 5 to %zu, %s", n, resample_method_name(method));
}

static void
test_impulses(void)
{
	static const double b0_3[] = { -0.05555556, 1, -0.05555556 };
	static const double b0_7[] = { 0, -0.10495627, 0.30758017, 1, 0.30758017, -0.10495627, 0 };
	static const double b1_9[] = { 0, -0.09375, 0, 0.59375, 1, 0.59375, 0, -0.09375, 0 };
	static const double ba_9[] = { 0, -0.03448276, -0.04365621, 0.48559671, 1 };

	check_impulse(RESAMPLE_BICUBIC, 3, b0_3, 3);
	check_impulse(RESAMPLE_BICUBIC, 7, b0_7, 7);
	check_impulse(RESAMPLE_BICUBIC_CORNERS, 9, b1_9, 9);
	check_impulse(RESAMPLE_BICUBIC_ANTIALIAS, 9, ba_9, 5);
}

static void
test_matrix(void)
{
	static const struct {
		enum resample_method method;
		double row[7];
	} all[] = {
		{ RESAMPLE_BICUBIC, { .48007378, .16389090, .10453850, .50495627, .86329973, .57304354, .04076703 } },
		{ RESAMPLE_BICUBIC_CORNERS, { .52407407, .11550069, .07908093, .48518519, .83923182, .64852538, .1 } },
		{ RESAMPLE_BICUBIC_ANTIALIAS, { .43804965, .20032075, .14625312, .50138504, .83319739, .54327775, .05627034 } },
		{ RESAMPLE_BILINEAR, { .4, .24489796, .23061224, .48571429, .74081633, .52448980, .1 } },
		{ RESAMPLE_BILINEAR_CORNERS, { .46666667, .22222222, .22222222, .46666667, .71111111, .58888889, .1 } },
	};
	double z[25], out[49];

	for (int i = 0; i < 25; i++)
		z[i] = (7 * (i / 5) + 3 * (i % 5) + i / 5 * (i % 5)) % 11 / 10.0;
	for (size_t k = 0; k < sizeof(all) / sizeof(all[0]); k++) {
		bool good = true;

		resample(z, (struct cells){ 5, 5 }, out, (struct cells){ 7, 7 }, 1, all[k].method);
		for (int i = 0; i < 7; i++)
			good = good && fabs(out[7 + i] - all[k].row[i]) < 6e-9;
		ok_msg(good, "5x5 to 7x7, %s, row 1", resample_method_name(all[k].method));
	}
}

/* x[j] = (7j mod 11)/10 is resampled from n to m in the last of two columns. Expected values are from torch, scipy and numpy. */
static void
test_vectors(void)
{
	static const struct {
		enum resample_method method;
		size_t n, m;
		double expected[27];
	} all[] = {
		{ RESAMPLE_BICUBIC_OFFSET,
		  37,
		  16,
		  { .51058510, .98428899, .32694685, .17567883, .49898675, .69823619, .93287589, .75878230, .10931145, .19137070,
		    .40983911, .64385022, .90199504, .47327736, -.00928428, .34259994 } },
		{ RESAMPLE_GEOMETRIC, 13, 27, { .00000299, .70895134,  .95725936,  .88990166, .65185284, .38808749, .24358023,
						.36192243, .72475182,  1.00203976, .90173629, .41841846, .2,        .9,
						.5,        .09654017,  .33964741,  .79528141, .79560379, .48508443, .19779374,
						.03933320, -.00341731, .05540811,  .20167538, .42125040, .69999908 } },
		{ RESAMPLE_GEOMETRIC_LINEAR, 13, 27, { .00000055, .18310209, .36620363, .54930517, .67578536, .53896990, .40215445,
						       .37931592, .69239526, .99590932, .76197304, .50589951, .2,        .9,
						       .5,        .19410049, .38345282, .79284131, .62422586, .44532338, .29784555,
						       .16103010, .02421464, .15069483, .33379637, .51689791, .69999945 } },
		{ RESAMPLE_GEOMETRIC_LINEAR,
		  13,
		  13,
		  { .10125510, .66117095, .34104098, .98819615, .59603924, .2, .9, .5, .10396076, .77934326, .42345199, .03882905,
		    .59874490 } },
		{ RESAMPLE_GEOMETRIC_LINEAR,
		  27,
		  13,
		  { .44213994, .16795084, .77654801, .38819615, .00693133, .7, .3, 1, .60396076, .21180385, .85895902, .53882905,
		    .15786006 } },
	};
	double x[5 * 37], out[7 * 37];

	for (size_t k = 0; k < sizeof(all) / sizeof(all[0]); k++) {
		const size_t n = all[k].n, m = all[k].m;
		bool good = true;

		/* Five columns become seven. Samples in a row are equal, so that only the column matters. */
		for (size_t i = 0; i < 5 * n; i++)
			x[i] = (double)(7 * (i / 5) % 11) / 10;
		resample(x, (struct cells){ n, 5 }, out, (struct cells){ m, 7 }, 1, all[k].method);
		for (size_t i = 0; i < m; i++)
			for (size_t j = 0; j < 7; j++)
				good = good && fabs(out[7 * i + j] - all[k].expected[i]) < 6e-9;
		ok_msg(good, "%zu to %zu, %s", n, m, resample_method_name(all[k].method));
	}
}

/* By hand: 2 samples 0 and 1 to 4 (L0: coordinates -0.25, 0.25, 0.75, 1.25), to 3 (L1: 0, 0.5, 1), to 1 (L0 0.5, L1 0). */
static void
test_by_hand(void)
{
	static const double x[2] = { 0, 1 }, l0[4] = { 0, 0.25, 0.75, 1 }, l1[3] = { 0, 0.5, 1 };
	double out[4];

	resample(x, (struct cells){ 1, 2 }, out, (struct cells){ 1, 4 }, 1, RESAMPLE_BILINEAR);
	is_mem(out, l0, sizeof(l0), "2 to 4, bilinear");
	resample(x, (struct cells){ 2, 1 }, out, (struct cells){ 3, 1 }, 1, RESAMPLE_BILINEAR_CORNERS);
	is_mem(out, l1, sizeof(l1), "2 to 3, bilinear with corners");
	resample(x, (struct cells){ 1, 2 }, out, (struct cells){ 1, 1 }, 1, RESAMPLE_BILINEAR);
	ok(out[0] == 0.5);
	resample(x, (struct cells){ 1, 2 }, out, (struct cells){ 1, 1 }, 1, RESAMPLE_BILINEAR_CORNERS);
	ok(out[0] == 0);
}

static void
test_constants(enum resample_method method)
{
	uint64_t seed = 1;
	bool good = true;

	for (size_t s = 0; s < SIZES; s++) {
		size_t n = sizes[s][0] * sizes[s][1], m = sizes[s][2] * sizes[s][3];
		double value = noise(&seed), *in = table(n, 3), *out = table(m, 3);

		for (size_t i = 0; i < 3 * n; i++)
			in[i] = value;
		resample(in, (struct cells){ sizes[s][0], sizes[s][1] }, out, (struct cells){ sizes[s][2], sizes[s][3] }, 3,
			 method);
		for (size_t i = 0; i < 3 * m; i++)
			good = good && memcmp(&out[i], &value, sizeof(value)) == 0;
		free(in);
		free(out);
	}
	ok_msg(good, "a constant stays the same constant, %s", resample_method_name(method));
}

/* The numbers include zeros of both signs, infinities and NaN. */
static void
test_identity(enum resample_method method)
{
	size_t n = 13 * 6 * 5;
	double *in = table_noise(13 * 6, 5, 2), *out = table(13 * 6, 5), *wide = table(13 * 9, 5);
	const double special[] = { -0.0, (double)INFINITY, (double)NAN, 0x1p-1074, 1e308 };
	bool good = true;

	resample(in, (struct cells){ 13, 6 }, wide, (struct cells){ 13, 9 }, 5, method);
	for (size_t y = 0; y < 13; y++) {
		resample(in + y * 30, (struct cells){ 1, 6 }, out, (struct cells){ 1, 9 }, 5, method);
		good = good && memcmp(out, wide + y * 45, 45 * sizeof(*out)) == 0;
	}
	ok_msg(good, "rows do not affect each other when the height stays, %s", resample_method_name(method));
	memcpy(in + 7, special, sizeof(special));
	resample(in, (struct cells){ 13, 6 }, out, (struct cells){ 13, 6 }, 5, method);
	is_mem(out, in, n * sizeof(*in), "a table of the right size is copied bit for bit");
	free(in);
	free(out);
	free(wide);
}

/* Several heads give the same bits as each head alone. */
static void
test_heads(enum resample_method method)
{
	bool good = true;

	for (size_t heads = 1; heads < 20; heads += 3) {
		double *in = table_noise(7 * 4, heads, heads), *out = table(11 * 9, heads), one[28], alone[99];

		resample(in, (struct cells){ 7, 4 }, out, (struct cells){ 11, 9 }, heads, method);
		for (size_t k = 0; k < heads; k++) {
			for (size_t i = 0; i < 28; i++)
				one[i] = in[i * heads + k];
			resample(one, (struct cells){ 7, 4 }, alone, (struct cells){ 11, 9 }, 1, method);
			for (size_t i = 0; i < 99; i++)
				good = good && memcmp(&alone[i], &out[i * heads + k], sizeof(*out)) == 0;
		}
		free(in);
		free(out);
	}
	ok_msg(good, "heads do not affect each other, %s", resample_method_name(method));
}

static void
turn_round(double *p, size_t n)
{
	for (size_t i = 0; i < n / 2; i++) {
		double v = p[i];

		p[i] = p[n - 1 - i];
		p[n - 1 - i] = v;
	}
}

/* Input and output are rotated by 180 degrees, or transposed. */
static void
test_symmetry(enum resample_method method)
{
	bool turned = true, transposed = true;

	for (size_t s = 0; s < SIZES; s++) {
		size_t h = sizes[s][0], w = sizes[s][1], H = sizes[s][2], W = sizes[s][3];
		double *in = table_noise(h * w, 1, s), *flat = table(h * w, 1), *a = table(H * W, 1), *b = table(H * W, 1);

		resample(in, (struct cells){ h, w }, a, (struct cells){ H, W }, 1, method);
		for (size_t i = 0; i < h * w; i++)
			flat[i % w * h + i / w] = in[i];
		resample(flat, (struct cells){ w, h }, b, (struct cells){ W, H }, 1, method);
		for (size_t i = 0; i < H * W; i++)
			transposed = transposed && fabs(a[i] - b[i % W * H + i / W]) < 1e-14;
		turn_round(in, h * w);
		resample(in, (struct cells){ h, w }, b, (struct cells){ H, W }, 1, method);
		turn_round(b, H * W);
		/* With N = 1 and aligned corners, the single sample is the first and not the middle one. */
		for (size_t i = 0; i < H * W && H > 1 && W > 1; i++)
			turned = turned && fabs(a[i] - b[i]) < 1e-12;
		free(in);
		free(flat);
		free(a);
		free(b);
	}
	ok_msg(turned, "a rotated table gives the rotated result, %s", resample_method_name(method));
	ok_msg(transposed, "a transposed table gives the transposed result, %s", resample_method_name(method));
}

/* Methods that reproduce a ramp in the interior. torch's bicubic does not: see lib/position/README.md, section 1. */
static void
test_ramp(enum resample_method method, bool corners)
{
	double x[9], out[17];
	bool good = true;

	for (size_t i = 0; i < 9; i++)
		x[i] = (double)i;
	resample(x, (struct cells){ 1, 9 }, out, (struct cells){ 1, 17 }, 1, method);
	for (size_t i = 4; i < 13; i++) {
		double expected = corners ? (double)i * 0.5 : ((double)i + 0.5) * 9 / 17 - 0.5;

		good = good && fabs(out[i] - expected) < 1e-14;
	}
	ok_msg(good, "a ramp stays a ramp in the interior, %s", resample_method_name(method));
}

static void
test_names(void)
{
	static const struct {
		const char *name;
		bool corners, antialias, good;
		enum resample_method method;
	} all[] = {
		{ "bicubic", false, false, true, RESAMPLE_BICUBIC },
		{ "bicubic", true, false, true, RESAMPLE_BICUBIC_CORNERS },
		{ "bicubic", false, true, true, RESAMPLE_BICUBIC_ANTIALIAS },
		{ "bicubic", true, true, false, RESAMPLE_BICUBIC },
		{ "bilinear", false, false, true, RESAMPLE_BILINEAR },
		{ "bilinear", true, false, true, RESAMPLE_BILINEAR_CORNERS },
		{ "bilinear", false, true, false, RESAMPLE_BICUBIC },
		{ "bilinear", true, true, false, RESAMPLE_BICUBIC },
		{ "nearest", false, false, false, RESAMPLE_BICUBIC },
		{ "", false, false, false, RESAMPLE_BICUBIC },
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		enum resample_method method = RESAMPLE_BICUBIC;
		bool good = resample_method_by(str_c(all[i].name), all[i].corners, all[i].antialias, &method);

		ok_msg(good == all[i].good && (!good || method == all[i].method), "\"%s\" corners %d antialias %d", all[i].name,
		       all[i].corners, all[i].antialias);
	}
}

int
main(void)
{
	test_impulses();
	test_matrix();
	test_vectors();
	test_by_hand();
	for (size_t i = 0; i < METHODS; i++) {
		test_constants(methods[i]);
		test_identity(methods[i]);
		test_heads(methods[i]);
		test_symmetry(methods[i]);
	}
	test_ramp(RESAMPLE_BICUBIC_ANTIALIAS, false);
	test_ramp(RESAMPLE_BILINEAR, false);
	test_ramp(RESAMPLE_BILINEAR_CORNERS, true);
	test_names();
	return tap_done();
}
