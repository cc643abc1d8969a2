#include "make/bias_table.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "tensor/boxes.h"
#include "tensor/convert.h"

static const struct make_bias_table *
of(const struct make *m)
{
	return (const struct make_bias_table *)m;
}

struct make_bias_table *
make_bias_table(struct arena *a)
{
	struct make_bias_table *t = arena_calloc(a, 1, sizeof(*t));

	t->make.kind = &make_kind_bias_table;
	return t;
}

/* ---- the index buffer */

struct index_values {
	int64_t *v;
	size_t n;
	enum dtype dtype;
};

static int
index_take(void *arg, void *p, size_t n, struct err *err)
{
	struct index_values *x = arg;
	size_t items = n / dtype_size(x->dtype), k;
	double some[256];

	(void)err;
	for (; items > 0; items -= k) {
		k = items < 256 ? items : 256;
		convert_decode(x->dtype, p, k, some);
		for (size_t i = 0; i < k; i++)
			x->v[x->n++] = some[i] >= -1e9 && some[i] <= 1e9 ? (int64_t)some[i] : -1;
		p = (char *)p + k * dtype_size(x->dtype);
	}
	return 0;
}

int
bias_index_read(struct ckpt *c, struct bias_index *x, struct err *err)
{
	const struct tensor *t = &c->tensors[x->tensor];
	struct boxes_range all = boxes_whole(t);
	struct index_values values = { .dtype = t->dtype };
	int rc = -1;

	values.v = xreallocn(NULL, (size_t)tensor_count(t), sizeof(*values.v));
	if (boxes_read(c, &all, index_take, &values, err) == 0)
		rc = layout_from_index(values.v, (size_t)t->shape[0], x->rows, x->known, &x->layout, &x->grid);
	free(values.v);
	return rc;
}

int
bias_index_strange(const char *file, struct make_bias_table *t, struct err *err)
{
	if (table_is_copy(&t->job) && t->to_as_from) {
		t->unknown = true;
		return 0;
	}
	return err_set(err, ERR_INPUT, "%s: %.*s: its relative_position_index fits no known layout; give it with --layout", file,
		       STR_ARG(t->make.name));
}

static int
learn(struct make *m, struct ckpt *c, struct err *err)
{
	struct make_bias_table *t = (struct make_bias_table *)m;
	struct bias_index x = { t->index.tensor, table_rows_in(&t->job), &t->job.from_grid, t->job.from, t->job.from_grid };
	uint64_t rows = table_rows_out(&t->job);
	struct err why = ERR_INIT;
	int found;

	m->waits = NULL;
	found = bias_index_read(c, &x, err);
	if (found < 0)
		return -1;
	if (!found || (t->grid_given && !grid_eq(x.grid, t->job.from_grid)))
		return bias_index_strange(c->file, t, err);
	t->job.from = x.layout;
	t->job.from_grid = x.grid;
	if (t->to_as_from)
		t->job.to = x.layout;
	if (table_check(&t->job, &why) < 0)
		return err_set(err, why.code, "%s: %.*s: %s", c->file, STR_ARG(t->make.name), why.msg);
	if (table_rows_out(&t->job) != rows) /* The output was laid out for the guessed grid and layout. */
		return err_set(err, ERR_INPUT,
			       "%s: %.*s: its relative_position_index is for %ux%u tokens and %u extra rows; give these with "
			       "--from-grid and --layout",
			       c->file, STR_ARG(t->make.name), x.grid.h, x.grid.w, x.layout.extra);
	return 0;
}

/* ---- making the result */

static void
shape(const struct make *m, struct make_form *form)
{
	form->shape[0] = table_rows_out(&of(m)->job);
}

/* Rows that are only moved keep their bits; others are computed. */
static enum dtype
carries(const struct make *m, enum dtype in)
{
	return table_is_move(&of(m)->job) ? in : DTYPE_FLOAT64;
}

static bool
idle(const struct make *m)
{
	return m->waits == NULL && table_is_copy(&of(m)->job);
}

static bool
same(const struct make *a, const struct make *b)
{
	const struct table_job *x = &of(a)->job, *y = &of(b)->job;

	return layout_eq(x->from, y->from) && layout_eq(x->to, y->to) && grid_eq(x->from_grid, y->from_grid) &&
	       grid_eq(x->to_grid, y->to_grid) && x->heads == y->heads && x->method == y->method;
}

/* State: the decoded input, the result and the stored bytes of the input, one after the other. */
struct bias_state {
	unsigned char *stored, *result;
	double numbers[];
};

static size_t
numbers_in(const struct make *m)
{
	return (size_t)table_rows_in(&of(m)->job) * of(m)->job.heads;
}

static size_t
numbers_out(const struct make *m)
{
	return (size_t)table_rows_out(&of(m)->job) * of(m)->job.heads;
}

/* Cannot overflow: input and result have at most TABLE_MAX numbers each. */
static uint64_t
memory(const struct make *m, const struct make_form *in)
{
	(void)in;
	return sizeof(struct bias_state) + 2 * sizeof(double) * ((uint64_t)numbers_in(m) + numbers_out(m));
}

/* Shows a whole table v. The grid follows the extra rows if the layout puts them first. */
static void
show(const struct make_bias_table *t, const double *v, bool after)
{
	const struct layout layout = after ? t->job.to : t->job.from;
	const struct grid grid = after ? t->job.to_grid : t->job.from_grid;
	char text[LAYOUT_TEXT];
	struct table_picture p = { t->make.name, after, grid, text, v,           { 2 * (size_t)grid.h - 1, 2 * (size_t)grid.w - 1 },
				   t->job.heads, 1,     1,    0,    t->job.heads };

	if (layout.kind == LAYOUT_FIRST)
		p.v += layout.extra * t->job.heads;
	layout_print(layout, text);
	if (t->show != NULL)
		t->show(t->show_arg, &p);
}

static int
begin(struct make_stage *s, struct err *err)
{
	const struct table_job *job = &of(s->make)->job;
	size_t nin = numbers_in(s->make), nout = numbers_out(s->make);
	struct bias_state *state = s->state;
	double *in = state->numbers, *out = in + nin;
	struct make_span all = make_whole(s);

	state->stored = (unsigned char *)(out + nout);
	state->result = (unsigned char *)out;
	if (make_read(s, 0, &all, state->stored, err) < 0)
		return -1;
	convert_decode(s->from, state->stored, nin, in);
	table_convert(in, out, job);
	show(of(s->make), in, false);
	show(of(s->make), out, true);
	convert_doubles(out, nout);
	if (table_is_move(job)) {
		state->result = state->stored + nin * dtype_size(s->from);
		table_move(state->stored, state->result, job->heads * dtype_size(s->from), job);
	}
	return 0;
}

static int
run(const struct make_stage *s, const struct make_span *span, void *out, struct err *err)
{
	const struct bias_state *state = s->state;
	size_t size = dtype_size(s->to);

	(void)err;
	memcpy(out, state->result + span->first * size, span->n * size);
	return 0;
}

/* ---- reports */

/* Allocates nothing, since it is called after the output is complete. */
static void
describe(const struct make *m, char *text)
{
	const struct table_job *j = &of(m)->job;
	char from[LAYOUT_TEXT] = "unknown", to[LAYOUT_TEXT];

	if (!of(m)->unknown)
		layout_print(j->from, from);
	layout_print(j->to, to);
	snprintf(text, MAKE_TEXT, "%" PRIu32 "x%" PRIu32 " -> %" PRIu32 "x%" PRIu32 " tokens, %zu heads, layout %s%s%s%s",
		 j->from_grid.h, j->from_grid.w, j->to_grid.h, j->to_grid.w, j->heads, from,
		 layout_eq(j->from, j->to) ? "" : " -> ", layout_eq(j->from, j->to) ? "" : to,
		 idle(m) ? " (copied: it fits already)" : "");
}

static void
put_layout(struct json_writer *w, const char *key, struct layout l, bool unknown)
{
	char text[LAYOUT_TEXT] = "unknown";

	if (!unknown)
		layout_print(l, text);
	json_put_cstr(json_key(w, key), text);
}

static void
report(const struct make *m, struct json_writer *w)
{
	const struct table_job *job = &of(m)->job;

	json_put_str(json_key(w, "name"), m->name);
	json_put_cstr(json_key(w, "kind"), "bias");
	make_put_grid(w, "from_grid", job->from_grid.h, job->from_grid.w);
	make_put_grid(w, "to_grid", job->to_grid.h, job->to_grid.w);
	json_put_u64(json_key(w, "heads"), job->heads);
	put_layout(w, "from_layout", job->from, of(m)->unknown);
	put_layout(w, "to_layout", job->to, of(m)->unknown);
	json_put_cstr(json_key(w, "method"), resample_method_name(job->method));
}

const struct make_kind make_kind_bias_table = {
	.name = "bias table",
	.action = "resampled",
	.section = "tables",
	.flags = MAKE_NEW,
	.shape = shape,
	.carries = carries,
	.memory = memory,
	.learn = learn,
	.idle = idle,
	.same = same,
	.begin = begin,
	.run = run,
	.describe = describe,
	.report = report,
};
