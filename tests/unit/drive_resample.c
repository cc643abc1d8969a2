/*
 * Makes the functions that only compute available to the tests against torch. Numbers are read from standard input and
 * written to standard output in the machine's byte order (little-endian).
 *
 *   drive_resample resample METHOD h w heads H W     float64 to float64
 *   drive_resample table FROM hxw TO HxW heads METHOD   float64 to float64
 *   drive_resample cast FROM TO                      "lost N" on standard error
 *   drive_resample layout N ROWS                     int64 index; prints "LAYOUT hxw" or "none"
 *
 * METHOD is bicubic, bicubic-corners, bicubic-antialias, bilinear or
 * bilinear-corners.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/num.h"
#include "base/xalloc.h"
#include "position/layout.h"
#include "position/resample.h"
#include "position/table.h"
#include "tensor/convert.h"

static int
fail(const char *what)
{
	fprintf(stderr, "drive_resample: %s\n", what);
	return 2;
}

static struct buf
read_all(void)
{
	struct buf b = BUF_INIT;
	size_t n;

	do {
		char *p = buf_reserve(&b, 1 << 16);

		n = fread(p, 1, 1 << 16, stdin);
		b.len += n;
	} while (n > 0);
	return b;
}

static bool
method_of(const char *text, enum resample_method *method)
{
	struct str rest = str_c(text), name;

	str_split(&rest, '-', &name);
	return resample_method_by(name, rest.p != NULL && str_eqc(rest, "corners"), rest.p != NULL && str_eqc(rest, "antialias"),
				  method);
}

static size_t
number(const char *text)
{
	uint64_t n;

	return num_u64(str_c(text), &n) ? (size_t)n : 0;
}

/* Reads n doubles into allocated memory. Returns NULL if the input has another length. */
static double *
read_doubles(size_t n)
{
	struct buf b = read_all();
	double *p = NULL;

	if (b.len == n * sizeof(*p)) {
		p = xmalloc(b.len);
		memcpy(p, b.p, b.len);
	}
	buf_release(&b);
	return p;
}

static int
drive_resample(char **a)
{
	size_t h = number(a[1]), w = number(a[2]), heads = number(a[3]), H = number(a[4]), W = number(a[5]);
	enum resample_method method;
	double *in, *out;

	if (!method_of(a[0], &method) || h * w * heads * H * W == 0)
		return fail("bad arguments");
	in = read_doubles(h * w * heads);
	if (in == NULL)
		return fail("bad input");
	out = xcalloc(H * W * heads, sizeof(*out));
	resample(in, (struct cells){ h, w }, out, (struct cells){ H, W }, heads, method);
	fwrite(out, sizeof(*out), H * W * heads, stdout);
	free(in);
	free(out);
	return 0;
}

static int
drive_table(char **a)
{
	struct err err = ERR_INIT;
	struct table_job job = { .heads = number(a[4]) };
	double *in, *out;

	if (layout_parse(str_c(a[0]), &job.from, &err) != 0 || grid_parse(str_c(a[1]), &job.from_grid, &err) != 0 ||
	    layout_parse(str_c(a[2]), &job.to, &err) != 0 || grid_parse(str_c(a[3]), &job.to_grid, &err) != 0 ||
	    table_check(&job, &err) != 0)
		return fail(err.msg);
	if (!method_of(a[5], &job.method))
		return fail("bad method");
	in = read_doubles((size_t)table_rows_in(&job) * job.heads);
	if (in == NULL)
		return fail("bad input");
	out = xcalloc((size_t)table_rows_out(&job) * job.heads, sizeof(*out));
	table_convert(in, out, &job);
	fwrite(out, sizeof(*out), (size_t)table_rows_out(&job) * job.heads, stdout);
	free(in);
	free(out);
	return 0;
}

static int
drive_cast(char **a)
{
	enum dtype from = dtype_by_name(str_c(a[0])), to = dtype_by_name(str_c(a[1]));
	struct buf b = read_all();
	size_t n;
	void *out;

	if (!convert_castable(from, to)) {
		buf_release(&b);
		return fail("no such cast");
	}
	n = b.len / dtype_size(from);
	out = xcalloc(n, dtype_size(to));
	fprintf(stderr, "lost %" PRIu64 "\n", convert_cast(from, b.p, to, n, out));
	fwrite(out, dtype_size(to), n, stdout);
	free(out);
	buf_release(&b);
	return 0;
}

static int
drive_layout(char **a)
{
	struct buf b = read_all();
	size_t n = number(a[0]);
	int64_t *index = xcalloc(n * n, sizeof(*index));
	struct layout layout;
	struct grid grid;
	char text[LAYOUT_TEXT];
	bool good = n > 0 && b.len == n * n * sizeof(*index);

	if (good) {
		memcpy(index, b.p, b.len);
		if (layout_from_index(index, n, number(a[1]), NULL, &layout, &grid)) {
			layout_print(layout, text);
			printf("%s %ux%u\n", text, grid.h, grid.w);
		} else {
			puts("none");
		}
	}
	free(index);
	buf_release(&b);
	return good ? 0 : fail("bad input");
}

int
main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int arguments;
		int (*drive)(char **arguments);
	} all[] = {
		{ "resample", 6, drive_resample },
		{ "table", 6, drive_table },
		{ "cast", 2, drive_cast },
		{ "layout", 2, drive_layout },
	};

	for (size_t i = 0; argc > 1 && i < sizeof(all) / sizeof(all[0]); i++) {
		if (strcmp(argv[1], all[i].name) == 0 && argc == all[i].arguments + 2) {
			int status = all[i].drive(argv + 2);

			return fflush(stdout) == 0 ? status : fail("cannot write");
		}
	}
	return fail("unknown arguments");
}
