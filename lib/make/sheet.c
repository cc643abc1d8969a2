#include "make/sheet.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "position/layout.h"
#include "tensor/convert.h"

/* ---- jobs */

static bool
side_known(size_t side)
{
	return side > 0 && side < 2 * GRID_MAX;
}

/* Cannot overflow, because the sides have been checked. */
static bool
too_many(const struct sheet_job *job, struct cells cells)
{
	uint64_t rows = job->prefix + (uint64_t)cells.h * cells.w;

	return job->outer > TABLE_MAX || job->inner > TABLE_MAX || job->prefix > TABLE_MAX ||
	       job->outer * job->inner > TABLE_MAX / rows;
}

static bool
is_copy(const struct sheet_job *job)
{
	return job->from.h == job->to.h && job->from.w == job->to.w;
}

int
sheet_check(const struct sheet_job *job, struct err *err)
{
	struct cells f = job->from, t = job->to;

	if (!side_known(f.h) || !side_known(f.w) || !side_known(t.h) || !side_known(t.w))
		return err_set(err, ERR_USAGE, "%zux%zu cells to %zux%zu: expected sides from 1 to %d", f.h, f.w, t.h, t.w,
			       2 * GRID_MAX - 1);
	if (too_many(job, f) || too_many(job, t))
		return err_set(err, ERR_USAGE, "%zux%zu cells to %zux%zu: more than %llu numbers", f.h, f.w, t.h, t.w,
			       (unsigned long long)TABLE_MAX);
	if (is_copy(job))
		return 1;
	if (!resample_can(job->method, f))
		return err_set(err, ERR_USAGE, "method %s needs 4x4 cells or more, not %zux%zu", resample_method_name(job->method),
			       f.h, f.w);
	return 0;
}

static uint64_t
sheet_count(const struct sheet_job *job, struct cells cells)
{
	return job->outer * (job->prefix + (uint64_t)cells.h * cells.w) * job->inner;
}

static void
sheet_convert(const double *in, double *out, const struct sheet_job *job)
{
	size_t extra = (size_t)(job->prefix * job->inner), inner = (size_t)job->inner;

	for (uint64_t i = 0; i < job->outer; i++) {
		if (extra > 0)
			memcpy(out, in, extra * sizeof(*out));
		resample(in + extra, job->from, out + extra, job->to, inner, job->method);
		in += extra + job->from.h * job->from.w * inner;
		out += extra + job->to.h * job->to.w * inner;
	}
}

/* ---- making the result */

static const struct make_sheet *
of(const struct make *m)
{
	return (const struct make_sheet *)m;
}

struct make_sheet *
make_sheet(struct arena *a)
{
	struct make_sheet *s = arena_calloc(a, 1, sizeof(*s));

	s->make.kind = &make_kind_sheet;
	return s;
}

static void
shape(const struct make *m, struct make_form *form)
{
	memcpy(form->shape, of(m)->shape, form->ndim * sizeof(*form->shape));
}

static enum dtype
carries(const struct make *m, enum dtype in)
{
	(void)m;
	(void)in;
	return DTYPE_FLOAT64;
}

static bool
idle(const struct make *m)
{
	return is_copy(&of(m)->job);
}

static bool
same(const struct make *a, const struct make *b)
{
	const struct sheet_job *x = &of(a)->job, *y = &of(b)->job;

	return x->outer == y->outer && x->prefix == y->prefix && x->inner == y->inner && x->from.h == y->from.h &&
	       x->from.w == y->from.w && x->to.h == y->to.h && x->to.w == y->to.w && x->method == y->method;
}

/* Room for the input as doubles and for the result. The stored bytes of the input use the room of the result first. */
static uint64_t
memory(const struct make *m, const struct make_form *in)
{
	uint64_t from = make_count(in), to = sheet_count(&of(m)->job, of(m)->job.to);

	return sizeof(double) * (from + (from > to ? from : to));
}

static void
show(const struct make_sheet *s, const double *v, bool after)
{
	const struct sheet_job *j = &s->job;
	const struct cells cells = after ? j->to : j->from;
	const bool norms = s->kind == POSITION_EMBED || s->kind == POSITION_AXIS;
	const size_t plane = (j->prefix + cells.h * cells.w) * j->inner;
	struct table_picture p = { s->make.name,
				   after,
				   after ? s->to : s->from,
				   "",
				   v + j->prefix * j->inner,
				   cells,
				   norms ? 1 : j->outer,
				   plane,
				   1,
				   1,
				   j->inner };

	if (norms) {
		p.channels = j->inner > 1 ? j->inner : j->outer;
		p.channel_step = j->inner > 1 ? 1 : plane;
	}
	if (s->show != NULL)
		s->show(s->show_arg, &p);
}

static int
begin(struct make_stage *s, struct err *err)
{
	const struct make_sheet *sheet = of(s->make);
	const struct make_span all = make_whole(s);
	double *in = s->state, *out = in + all.n;

	if (make_read(s, 0, &all, out, err) < 0)
		return -1;
	convert_decode(s->from, out, all.n, in);
	sheet_convert(in, out, &sheet->job);
	show(sheet, in, false);
	show(sheet, out, true);
	convert_doubles(out, make_count(&s->out));
	return 0;
}

static int
run(const struct make_stage *s, const struct make_span *span, void *out, struct err *err)
{
	const double *made = (const double *)s->state + make_count(&s->in);

	(void)err;
	memcpy(out, made + span->first, span->n * sizeof(*made));
	return 0;
}

/* ---- reports */

static void
describe(const struct make *m, char *text)
{
	const struct make_sheet *s = of(m);
	char extra[64] = "";

	if (s->job.prefix > 0)
		snprintf(extra, sizeof(extra), ", %" PRIu64 " extra %s first", s->job.prefix, s->job.prefix == 1 ? "row" : "rows");
	if (s->to.w == 0)
		snprintf(text, MAKE_TEXT, "%" PRIu32 " -> %" PRIu32 " tokens, %s%s", s->from.h, s->to.h,
			 position_kind_name(s->kind), idle(m) ? " (copied: it fits already)" : "");
	else
		snprintf(text, MAKE_TEXT, "%" PRIu32 "x%" PRIu32 " -> %" PRIu32 "x%" PRIu32 " tokens, %s%s%s", s->from.h, s->from.w,
			 s->to.h, s->to.w, position_kind_name(s->kind), extra, idle(m) ? " (copied: it fits already)" : "");
}

static void
report(const struct make *m, struct json_writer *w)
{
	const struct make_sheet *s = of(m);

	json_put_str(json_key(w, "name"), m->name);
	json_put_cstr(json_key(w, "kind"), position_kind_name(s->kind));
	make_put_grid(w, "from_grid", s->from.h, s->from.w);
	make_put_grid(w, "to_grid", s->to.h, s->to.w);
	json_put_u64(json_key(w, "prefix_tokens"), s->job.prefix);
	json_put_cstr(json_key(w, "method"), resample_method_name(s->job.method));
}

const struct make_kind make_kind_sheet = {
	.name = "position table",
	.action = "resampled",
	.section = "tables",
	.flags = MAKE_NEW,
	.shape = shape,
	.carries = carries,
	.memory = memory,
	.idle = idle,
	.same = same,
	.begin = begin,
	.run = run,
	.describe = describe,
	.report = report,
};
