#include "plan/tables.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/num.h"
#include "base/xalloc.h"
#include "tensor/boxes.h"
#include "tensor/convert.h"
#include "text/json_read.h"
#include "text/json_write.h"

static const struct str table_part = STR_LIT("relative_position_bias_table");
static const struct str index_part = STR_LIT("relative_position_index");

/* What an input or output states of a table. LAYOUT_AUTO: nothing. */
struct table_mark {
	struct layout layout;
	struct grid grid;
	uint64_t heads;
};

/* The buffer beside the table, among all names of its input (also those that a step has dropped). */
static const struct sd_entry *
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
	return found == NULL || found->kind != SD_TENSOR ? NULL : found;
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

/* ---- what inputs state of tables */

static int
read_side(struct json_reader *r, uint32_t *side, struct err *err)
{
	uint64_t n;

	if (json_expect(r, JSON_NUMBER, "a side of a grid", err) < 0)
		return -1;
	if (!num_u64(r->text, &n) || n == 0 || n > GRID_MAX)
		return json_fail(r, err, "a side of a grid is from 1 to %d", GRID_MAX);
	*side = (uint32_t)n;
	return 0;
}

static int
read_grid(struct json_reader *r, struct grid *grid, struct err *err)
{
	if (json_expect(r, JSON_ARRAY, "a grid", err) < 0 || read_side(r, &grid->h, err) < 0 ||
	    read_side(r, &grid->w, err) < 0)
		return -1;
	return json_expect(r, JSON_ARRAY_END, "the end of a grid", err);
}

static int
read_member(struct json_reader *r, struct table_mark *mark, struct err *err)
{
	struct err why = ERR_INIT;

	if (str_eqc(r->text, "grid"))
		return read_grid(r, &mark->grid, err);
	if (str_eqc(r->text, "layout")) {
		if (json_expect(r, JSON_STRING, "a layout", err) < 0)
			return -1;
		return layout_parse(r->text, &mark->layout, &why) < 0 ? json_fail(r, err, "%s", why.msg) : 0;
	}
	if (!str_eqc(r->text, "heads"))
		return json_skip(r, err);
	if (json_expect(r, JSON_NUMBER, "a number of heads", err) < 0)
		return -1;
	return num_u64(r->text, &mark->heads) ? 0 : json_fail(r, err, "a number of heads was expected");
}

static int
read_mark(struct json_reader *r, struct table_mark *mark, struct err *err)
{
	enum json_token token;

	if (json_expect(r, JSON_OBJECT, "what is stated of a table", err) < 0)
		return -1;
	while ((token = json_next(r, err)) == JSON_KEY)
		if (read_member(r, mark, err) < 0)
			return -1;
	return token == JSON_OBJECT_END ? 0 : -1;
}

static int
read_marks(struct plan_input *in, struct arena *a, struct json_reader *r, struct err *err)
{
	struct table_mark *mark;
	enum json_token token;

	if (json_expect(r, JSON_OBJECT, "what is stated of tables", err) < 0)
		return -1;
	while ((token = json_next(r, err)) == JSON_KEY) {
		mark = arena_calloc(a, 1, sizeof(*mark));
		if (!strmap_add(&in->marks, arena_str(a, r->text), (uintptr_t)mark))
			return json_fail(r, err, "a table is named twice");
		if (read_mark(r, mark, err) < 0)
			return -1;
	}
	return token == JSON_OBJECT_END && json_next(r, err) == JSON_END ? 0 : -1;
}

/* The marks of an input, which are read when they are first asked for. A stream is read up to its first tensor. */
static int
marks_of(struct plan *p, struct plan_input *in, struct err *err)
{
	struct ckpt *c = in->sd->ckpt;
	struct json_reader r;
	struct str text;
	int rc;

	if (in->marked)
		return 0;
	if (ckpt_tables(c, &text, err) < 0)
		return -1;
	in->marked = true;
	if (text.len == 0)
		return 0;
	json_begin(&r, arena_printf(&p->arena, "%s: what it states of bias tables", c->file), 0, text.p, text.len);
	rc = read_marks(in, &p->arena, &r, err);
	json_release(&r);
	return rc;
}

/*
 * The mark of the table that en comes from, in its input. Returns 1 and sets *mark if there is one whose rows and heads
 * are those of the table, 0 if there is none, -1 after an error.
 */
static int
find_mark(struct plan *p, const struct plan_entry *en, struct table_mark *mark, struct err *err)
{
	struct plan_input *in = &p->inputs[p->origins[en->origin].input];
	const struct tensor *t = plan_tensor(p, en);
	uint64_t at;

	if (marks_of(p, in, err) < 0)
		return -1;
	if (!strmap_get(&in->marks, plan_source(p, en)->name, &at))
		return 0;
	*mark = *(const struct table_mark *)(uintptr_t)at;
	return mark->layout.kind != LAYOUT_AUTO && mark->grid.h > 0 && t->ndim == 2 && t->shape[1] == mark->heads &&
	       t->shape[0] == layout_rows(mark->layout, mark->grid);
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

/* What tells the layout of a table, or fails to. */
enum telling {
	TOLD,      /* something does */
	STRANGE,   /* the index buffer is that of no known layout */
	AMBIGUOUS, /* there is no buffer, and several layouts have so many rows */
};

/* A table whose layout nothing tells is copied, if nothing more is asked. */
static int
without_layout(const struct plan *p, const struct plan_entry *en, struct make_bias_table *t, enum telling telling,
	       struct err *e)
{
	if (telling == STRANGE)
		return bias_index_strange(plan_file(p, en), t, e);
	if (t->to_as_from && table_is_copy(&t->job)) {
		t->unknown = true;
		return 0;
	}
	return wrong(p, en, e,
		     "no relative_position_index beside it tells its layout, and first, last and metaformer have as many "
		     "rows; say which it is with --layout");
}

/*
 * Takes layout and grid of the input from the index buffer. why: what kept them from being guessed; NULL: nothing.
 * Returns an enum telling, or -1.
 */
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
	if (found == 0)
		return STRANGE;
	t->job.from = x.layout;
	t->job.from_grid = x.grid;
	return TOLD;
}

/* The origin of another entry of the same input: the origins of an input have the order of its entries. */
static struct plan_origin *
origin_of(const struct plan *p, const struct plan_entry *en, const struct sd_entry *other)
{
	return &p->origins[en->origin + (other - plan_source(p, en))];
}

/* Layout and grid of the input. Returns an enum telling, or -1. */
static int
from_side(struct plan *p, struct plan_entry *en, const struct tables_opts *o, struct make_bias_table *t, struct err *e)
{
	struct ckpt *c = plan_input_of(p, en)->sd->ckpt;
	const struct sd_entry *index = o->layout.kind == LAYOUT_AUTO ? find_index(p, en) : NULL;
	uint64_t rows = plan_tensor(p, en)->shape[0];
	struct err inner = ERR_INIT;
	struct table_mark mark;
	bool usable, fit, at_once;
	int marked;

	t->job.from = o->layout;
	t->index.input = p->origins[en->origin].input;
	t->index.tensor = index == NULL ? UINT32_MAX : index->tensor;
	t->grid_given = o->from_grid != NULL;
	usable = index != NULL && bias_index_usable(&c->tensors[index->tensor]);
	fit = layout_fit(&t->job.from, rows, o->from_grid, &t->job.from_grid, "--from-grid", &inner) == 0;
	if (!usable && o->layout.kind == LAYOUT_AUTO && o->from_grid == NULL) {
		marked = find_mark(p, en, &mark, e);
		if (marked < 0)
			return -1;
		if (marked > 0) {
			t->job.from = mark.layout;
			t->job.from_grid = mark.grid;
			return TOLD;
		}
	}
	if (!usable && !fit)
		return with_name(p, en, &inner, e);
	/* whether a table of the same size changes decides whether its buffer goes */
	at_once = usable && o->same_size && origin_of(p, en, index)->outputs > 0;
	if (!fit || at_once || (usable && doubtful(c, o, t)))
		return from_index(p, en, o, t, fit ? NULL : &inner, e);
	if (usable && t->job.from.kind != LAYOUT_GRID)
		t->make.waits = &t->index;
	return o->layout.kind == LAYOUT_AUTO && !usable && t->job.from.kind == LAYOUT_FIRST ? AMBIGUOUS : TOLD;
}

/* The layout to write: the option's, else the description's; LAYOUT_AUTO: that of the input. */
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
keeps_size(const struct plan *p, const struct plan_entry *en, const struct tables_opts *o)
{
	const char *outcome = o->anyway ? "it keeps its grid" : "left alone";

	if (o->same_size)
		return true;
	if (o->grid != NULL)
		return false;
	if (o->img_size != 0 && stages_ratio(o->stages, en->name) == 0) {
		diag_warn(p->diag,
			  "%.*s: no known stage in its name; %s (--stage SUBSTRING=RATIO says its ratio)",
			  STR_ARG(en->name), outcome);
		return true;
	}
	if (o->img_size == 0 && target_of(o, en) == NULL) {
		diag_warn(p->diag, "%.*s: the description has no table of that name to take the size from; %s",
			  STR_ARG(en->name), outcome);
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

/* All buffers go once there is a table to resize, but only those of changed tables if all tables keep their size. */
static void
note_stale(const struct plan *p, const struct plan_entry *en, bool *stale)
{
	const struct sd_entry *index = find_index(p, en);

	if (index != NULL)
		stale[origin_of(p, en, index) - p->origins] = true;
}

static int
plan_one(struct plan *p, struct plan_entry *en, const struct tables_opts *o, bool *stale, struct err *e)
{
	struct make_bias_table *t = make_bias_table(&p->arena);
	struct err inner = ERR_INIT;

	bool same_size;
	int telling;

	if (check_tensor(p, en, e) != 0)
		return -1;
	same_size = keeps_size(p, en, o);
	if (to_layout(o, t, e) < 0)
		return -1;
	if (same_size && (!o->anyway || t->to_as_from))
		return 0;
	t->make.name = en->name;
	t->job.heads = (size_t)plan_tensor(p, en)->shape[1];
	t->job.method = o->method;
	telling = from_side(p, en, o, t, e);
	if (telling < 0)
		return -1;
	if (t->to_as_from)
		t->job.to = t->job.from;
	t->job.to_grid = t->job.from_grid;
	if (!same_size && to_grid(p, en, o, t, e) < 0)
		return -1;
	if (telling != TOLD && without_layout(p, en, t, (enum telling)telling, e) < 0)
		return -1;
	if (table_check(&t->job, &inner) != 0)
		return with_name(p, en, &inner, e);
	t->show = o->show;
	t->show_arg = o->show_arg;
	p->described = xgrow(p->described, p->ndescribed, &p->cap_described, sizeof(struct make *));
	p->described[p->ndescribed++] = &t->make;
	if (t->make.waits == NULL && table_is_copy(&t->job))
		return 0;
	plan_make(p, en, &t->make, "relative position bias");
	note_stale(p, en, stale);
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
drop_indexes(struct plan *p, const struct tables_opts *o, const bool *stale)
{
	struct plan_entry *en;

	if (o->index == INDEX_KEEP)
		return;
	for (size_t i = 0; i < p->nentries; i++) {
		en = &p->entries[i];
		if (!en->alive || en->module || !str_contains(en->name, index_part) || plan_tensor(p, en) == NULL)
			continue;
		if (o->same_size && !stale[en->origin])
			continue;
		plan_drop(p, en, PLAN_DROPPED, "relative_position_index: rebuilt by the model");
	}
}

/* Returns 1 if there is a table, 0 if there is none, or -1. */
static int
plan_all(struct plan *p, const struct tables_opts *o, bool *stale, struct err *e)
{
	struct plan_entry *en;
	int found, any = 0;

	for (size_t i = 0; i < p->nentries; i++) {
		en = &p->entries[i];
		if (!en->alive || en->module || plan_source(p, en)->kind == SD_OTHER)
			continue;
		found = is_table(o, en->name, e);
		if (found < 0 || (found && plan_one(p, en, o, stale, e) != 0))
			return -1;
		any |= found;
	}
	return any;
}

int
plan_tables(struct plan *p, const struct tables_opts *o, struct err *e)
{
	bool *stale = xcalloc(p->norigins + 1, sizeof(*stale));
	int any = plan_all(p, o, stale, e);

	if (any > 0)
		drop_indexes(p, o, stale);
	free(stale);
	return any;
}

/* ---- what outputs state of tables */

/* Is en a bias table of the output whose index buffer is not in the output? */
static bool
needs_mark(const struct plan *p, const struct plan_entry *en)
{
	const struct sd_entry *index;

	if (!en->alive || en->module || !str_contains(plan_source(p, en)->name, table_part) || plan_tensor(p, en) == NULL ||
	    plan_tensor(p, en)->ndim != 2)
		return false;
	index = find_index(p, en);
	return index == NULL || origin_of(p, en, index)->outputs == 0;
}

/* Returns 1 and sets *mark if input tells layout and grid of the table that en is, 0 if not, -1 after an error. */
static int
layout_now(struct plan *p, const struct plan_entry *en, struct table_mark *mark, struct err *err)
{
	const struct sd_entry *index = find_index(p, en);
	struct ckpt *c = plan_input_of(p, en)->sd->ckpt;
	const uint64_t *shape = plan_tensor(p, en)->shape;
	struct bias_index x = { .rows = shape[0] };
	int found;

	if (index == NULL || !bias_index_usable(&c->tensors[index->tensor]))
		return find_mark(p, en, mark, err);
	x.tensor = index->tensor;
	found = bias_index_read(c, &x, err);
	if (found > 0)
		*mark = (struct table_mark){ x.layout, x.grid, shape[1] };
	return found;
}

static void
put_mark(struct json_writer *w, struct str name, const struct table_mark *mark)
{
	char layout[LAYOUT_TEXT];

	layout_print(mark->layout, layout);
	json_begin_object(json_key_str(w, name));
	json_put_cstr(json_key(w, "layout"), layout);
	json_begin_array(json_key(w, "grid"));
	json_put_u64(w, mark->grid.h);
	json_put_u64(w, mark->grid.w);
	json_end_array(w);
	json_put_u64(json_key(w, "heads"), mark->heads);
	json_end_object(w);
}

/* The maker that makes a bias table of en, or NULL. */
static struct make_bias_table *
maker_of(const struct plan_entry *en)
{
	for (unsigned k = en->make.n; k-- > 0;)
		if (en->make.v[k]->kind == &make_kind_bias_table)
			return (struct make_bias_table *)en->make.v[k];
	return NULL;
}

/* Returns 1 and sets *mark if the layout that en has in the output is known. */
static int
mark_of(struct plan *p, const struct plan_entry *en, struct table_mark *mark, struct err *err)
{
	struct make_bias_table *t = maker_of(en);

	if (t == NULL)
		return layout_now(p, en, mark, err);
	if (t->to_as_from && plan_learn(p, en, &t->make, err) < 0)
		return -1;
	if (t->unknown)
		return 0;
	*mark = (struct table_mark){ t->job.to, t->job.to_grid, t->job.heads };
	return 1;
}

int
tables_state(struct plan *p, struct err *err)
{
	struct buf b = BUF_INIT;
	struct json_writer w;
	struct table_mark mark;
	size_t n = 0;
	int rc = 0;

	json_writer_init(&w, &b, false);
	json_begin_object(&w);
	for (size_t i = 0; rc >= 0 && i < p->nentries; i++) {
		if (!needs_mark(p, &p->entries[i]))
			continue;
		rc = mark_of(p, &p->entries[i], &mark, err);
		if (rc > 0)
			put_mark(&w, p->entries[i].name, &mark);
		n += rc > 0;
	}
	json_end_object(&w);
	p->tables = rc < 0 || n == 0 ? str_c("") : arena_str(&p->arena, buf_str(&b));
	buf_release(&b);
	return rc < 0 ? -1 : 0;
}
