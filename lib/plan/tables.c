#include "plan/tables.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/xalloc.h"
#include "tensor/boxes.h"
#include "tensor/convert.h"

static const struct str table_part = STR_LIT("relative_position_bias_table");
static const struct str index_part = STR_LIT("relative_position_index");

/* The buffer beside the table, among all names of its input (also those that a step has dropped). */
static uint32_t
find_index(const struct plan *p, const struct plan_entry *en)
{
	const struct statedict *sd = plan_input_of(p, en)->sd;
	struct str name = plan_source(p, en)->name;
	const struct sd_entry *found;
	struct buf b = BUF_INIT;
	const char *dot;
	long at;

	at = str_find(name, table_part, 0);
	if (at < 0) {
		dot = memrchr(name.p, '.', name.len);
		at = dot == NULL ? 0 : dot + 1 - name.p;
	}
	buf_add(&b, name.p, (size_t)at);
	buf_addstr(&b, index_part);
	found = statedict_find(sd, buf_str(&b));
	buf_release(&b);
	return found == NULL || found->kind != SD_TENSOR ? UINT32_MAX : found->tensor;
}

static int
wrong(const struct plan *p, const struct plan_entry *en, struct err *e, const char *what)
{
	return err_input(e, plan_file(p, en), "%.*s: %s", STR_ARG(en->name), what);
}

/* Adds file and tensor to an error that names neither. */
static int
with_name(const struct plan *p, const struct plan_entry *en, const struct err *inner, struct err *e)
{
	if (e->code == ERR_NONE) {
		err_set(e, inner->code, "%s: %.*s: %s", plan_file(p, en), STR_ARG(en->name), inner->msg);
		e->sysno = inner->sysno;
	}
	return -1;
}

/* ---- one table's job */

/* Is there a grid of so many cells that leaves at least one of n tokens over? */
static bool
grid_possible(uint64_t cells, uint64_t n)
{
	for (uint64_t a = 1; a * a <= cells; a += 2)
		if (cells % a == 0 && cells / a % 2 == 1 && (a + 1) / 2 * ((cells / a + 1) / 2) < n)
			return true;
	return false;
}

/*
 * Could the index buffer, by its size, be that of another number of extra rows than the table's rows suggest? A grid that
 * is no square may have as many cells. Only then must it be read before the output can be laid out.
 */
static bool
doubtful(const struct ckpt *c, const struct tables_opts *o, const struct make_bias_table *t)
{
	uint64_t n = c->tensors[t->index.tensor].shape[0], rows = table_rows_in(&t->job);

	if (o->from_grid != NULL || o->layout.kind != LAYOUT_AUTO)
		return false;
	if (t->job.from.kind == LAYOUT_GRID)
		return n != (uint64_t)t->job.from_grid.h * t->job.from_grid.w;
	return t->job.from.extra == 1 ? rows > 3 && grid_possible(rows - 3, n) : grid_possible(rows - 1, n);
}

static void
warn_guess(const struct plan *p, const struct plan_entry *en, struct layout layout)
{
	char text[LAYOUT_TEXT];

	layout_print(layout, text);
	diag_warn(p->diag,
		  "%s: %.*s: no relative_position_index beside it; layout taken as %s (--layout says otherwise)",
		  plan_file(p, en), STR_ARG(en->name), text);
}

/* Takes layout and grid of the input from the index buffer. why: what kept them from being guessed; NULL: nothing. */
static int
from_index(struct plan *p, const struct plan_entry *en, const struct tables_opts *o, struct make_bias_table *t,
	   const struct err *why, struct err *e)
{
	struct ckpt *c = plan_input_of(p, en)->sd->ckpt;
	struct bias_index x = { .tensor = t->index.tensor,
				.rows = plan_tensor(p, en)->shape[0],
				.known = o->from_grid };
	int found = bias_index_read(c, &x, e);

	if (found < 0)
		return -1;
	if (found == 0 && why != NULL)
		return with_name(p, en, why, e);
	if (found == 0) {
		bias_index_warn(c, t);
		return 0;
	}
	t->job.from = x.layout;
	t->job.from_grid = x.grid;
	return 0;
}

/* Layout and grid of the input. */
static int
from_side(struct plan *p, struct plan_entry *en, const struct tables_opts *o, struct make_bias_table *t, struct err *e)
{
	struct ckpt *c = plan_input_of(p, en)->sd->ckpt;
	uint64_t rows = plan_tensor(p, en)->shape[0];
	struct err inner = ERR_INIT;
	bool usable, fit;

	t->job.from = o->layout;
	t->index.input = p->origins[en->origin].input;
	t->index.tensor = o->layout.kind == LAYOUT_AUTO ? find_index(p, en) : UINT32_MAX;
	t->grid_given = o->from_grid != NULL;
	usable = t->index.tensor != UINT32_MAX && bias_index_usable(&c->tensors[t->index.tensor]);
	fit = layout_fit(&t->job.from, rows, o->from_grid, &t->job.from_grid, "--from-grid", &inner) == 0;
	if (!usable && !fit)
		return with_name(p, en, &inner, e);
	if (!fit || (usable && doubtful(c, o, t)))
		return from_index(p, en, o, t, fit ? NULL : &inner, e);
	if (usable && t->job.from.kind != LAYOUT_GRID)
		t->make.waits = &t->index;
	if (o->layout.kind == LAYOUT_AUTO && !usable && t->job.from.kind != LAYOUT_GRID)
		warn_guess(p, en, t->job.from);
	return 0;
}

/* The layout to write: the option's, else the description's, else the input's. */
static int
to_layout(const struct tables_opts *o, struct make_bias_table *t, struct err *e)
{
	struct err inner = ERR_INIT;

	t->job.to = o->to;
	if (o->to.kind == LAYOUT_AUTO && o->model != NULL && o->model->handling.layout.p != NULL) {
		if (layout_parse(o->model->handling.layout, &t->job.to, &inner) != 0)
			return o->model->handling.layout_at == NULL
				       ? err_set(e, ERR_INPUT, "%s", inner.msg)
				       : ynode_fail(o->model->handling.layout_at, e, "%s", inner.msg);
	}
	t->to_as_from = t->job.to.kind == LAYOUT_AUTO;
	if (t->to_as_from)
		t->job.to = t->job.from;
	return 0;
}

/* The table of the same name in the description, or NULL. */
static const struct entry *
target_of(const struct tables_opts *o, const struct plan_entry *en)
{
	const struct entry *target = o->model == NULL ? NULL : model_find(o->model, en->name);

	return target == NULL || !target->has_shape || target->ndim != 2 ? NULL : target;
}

/* Is nothing known of the table's new size? Says why. */
static bool
left_alone(const struct plan *p, const struct plan_entry *en, const struct tables_opts *o)
{
	if (o->grid != NULL)
		return false;
	if (o->img_size != 0 && stages_ratio(o->stages, en->name) == 0) {
		diag_warn(p->diag,
			  "%.*s: no known stage in its name; left alone (--stage SUBSTRING=RATIO says its ratio)",
			  STR_ARG(en->name));
		return true;
	}
	if (o->img_size == 0 && target_of(o, en) == NULL) {
		diag_warn(p->diag, "%.*s: the description has no table of that name to take the size from; left alone",
			  STR_ARG(en->name));
		return true;
	}
	return false;
}

static int
to_grid(struct plan *p, const struct plan_entry *en, const struct tables_opts *o, struct make_bias_table *t,
	struct err *e)
{
	const struct entry *target = target_of(o, en);
	struct err inner = ERR_INIT;
	struct layout layout = t->job.to;
	uint32_t ratio;
	bool exact;

	if (o->grid != NULL) {
		t->job.to_grid = *o->grid;
		return 0;
	}
	if (o->img_size == 0 && target != NULL) {
		/* of the same rows and layout: the same grid, be it square or not */
		if (target->shape[0] == table_rows_in(&t->job) && layout.extra == t->job.from.extra)
			t->job.to_grid = t->job.from_grid;
		else if (layout_fit(&layout, target->shape[0], NULL, &t->job.to_grid, "--grid", &inner) != 0)
			return err_set(e, ERR_INPUT, "%.*s: the description's shape: %s", STR_ARG(en->name), inner.msg);
		return 0;
	}
	ratio = stages_ratio(o->stages, en->name);
	t->job.to_grid = grid_of_image(o->img_size, ratio, &exact);
	if (!exact)
		diag_warn(p->diag, "%.*s: image size %u is no multiple of %u; %u tokens a side", STR_ARG(en->name),
			  o->img_size, ratio, t->job.to_grid.h);
	return 0;
}

static int
check_tensor(const struct plan *p, const struct plan_entry *en, struct err *e)
{
	const struct tensor *t = plan_tensor(p, en);

	if (t == NULL || boxes_count(t) == 0)
		return wrong(p, en, e, "a table was expected, and this is no plain tensor");
	if (!dtype_is_float(t->dtype) || !convert_known(t->dtype))
		return err_input(e, plan_file(p, en), "%.*s: a floating table was expected, not %s", STR_ARG(en->name),
				 dtype_name(t->dtype));
	if (t->ndim != 2)
		return wrong(p, en, e, "a table of shape [rows, heads] was expected");
	if (t->shape[0] == 0 || t->shape[1] == 0)
		return wrong(p, en, e, "an empty table; [rows, heads] with some of both was expected");
	if (tensor_count(t) > TABLE_MAX)
		return wrong(p, en, e, "the table is larger than any relative position bias table can be");
	return 0;
}

static int
plan_one(struct plan *p, struct plan_entry *en, const struct tables_opts *o, struct err *e)
{
	struct make_bias_table *t = make_bias_table(&p->arena);
	struct err inner = ERR_INIT;

	if (check_tensor(p, en, e) != 0)
		return -1;
	if (left_alone(p, en, o))
		return 0;
	t->make.name = en->name;
	t->job.heads = (size_t)plan_tensor(p, en)->shape[1];
	t->job.method = o->method;
	if (from_side(p, en, o, t, e) != 0 || to_layout(o, t, e) != 0 || to_grid(p, en, o, t, e) != 0)
		return -1;
	if (table_check(&t->job, &inner) != 0)
		return with_name(p, en, &inner, e);
	t->show = o->show;
	t->show_arg = o->show_arg;
	plan_describe(p, &t->make);
	if (t->make.waits == NULL && table_is_copy(&t->job))
		return 0;
	plan_make(p, en, &t->make, "relative position bias");
	return 0;
}

/* ---- all tables */

static int
is_table(const struct tables_opts *o, struct str name, struct err *e)
{
	if (str_contains(name, index_part))
		return 0;
	if (o->match != NULL)
		return pyre_search(o->match, name, NULL, 0, e);
	return str_contains(name, table_part);
}

static void
drop_indexes(struct plan *p, const struct tables_opts *o)
{
	struct plan_entry *en;

	if (o->index == INDEX_KEEP)
		return;
	for (size_t i = 0; i < p->nentries; i++) {
		en = &p->entries[i];
		if (!en->alive || en->module || !str_contains(en->name, index_part) || plan_tensor(p, en) == NULL)
			continue;
		plan_drop(p, en, PLAN_DROPPED, "relative_position_index: rebuilt by the model");
	}
}

int
plan_tables(struct plan *p, const struct tables_opts *o, struct err *e)
{
	struct plan_entry *en;
	bool any = false;
	int found;

	for (size_t i = 0; i < p->nentries; i++) {
		en = &p->entries[i];
		if (!en->alive || en->module || plan_source(p, en)->kind == SD_OTHER)
			continue;
		found = is_table(o, en->name, e);
		if (found < 0 || (found && plan_one(p, en, o, e) != 0))
			return -1;
		any = any || found;
	}
	if (any)
		drop_indexes(p, o);
	return any;
}
