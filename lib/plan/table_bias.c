#include "plan/tables_priv.h"

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

/* What an input or output states about a table. LAYOUT_AUTO: it states nothing. */
struct table_mark {
	struct layout layout;
	struct grid grid;
	uint64_t heads;
	size_t text; /* the number of the text, among those of the input, that has the statement */
};

/* Returns the table's index buffer. Searches all names of its input, including those that a step has dropped. */
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

/* Adds file and tensor to an error that names neither. */
static int
with_name(const struct plan *p, const struct plan_entry *en, const struct err *inner, struct err *err)
{
	if (err->code == ERR_NONE) {
		err_set(err, inner->code, "%s: %.*s: %s", plan_file(p, en), STR_ARG(en->name), inner->msg);
		err->sysno = inner->sysno;
	}
	return -1;
}

/* ---- statements of inputs */

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
	if (json_expect(r, JSON_ARRAY, "a grid", err) < 0 || read_side(r, &grid->h, err) < 0 || read_side(r, &grid->w, err) < 0)
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

/* Is the statement about this name from this text? */
static bool
is_of_text(const struct plan_input *in, struct str name, size_t text)
{
	uint64_t at;

	return strmap_get(&in->marks, name, &at) && ((const struct table_mark *)(uintptr_t)at)->text == text;
}

/* Reads the statements of one text. If several texts have a statement about a table, the first one is used. */
static int
read_marks(struct plan_input *in, size_t text, struct arena *a, struct json_reader *r, struct err *err)
{
	struct table_mark *mark;
	enum json_token token;

	if (json_expect(r, JSON_OBJECT, "what is stated of tables", err) < 0)
		return -1;
	while ((token = json_next(r, err)) == JSON_KEY) {
		mark = arena_calloc(a, 1, sizeof(*mark));
		mark->text = text;
		if (!strmap_add(&in->marks, arena_str(a, r->text), (uintptr_t)mark) && is_of_text(in, r->text, text))
			return json_fail(r, err, "a table is named twice");
		if (read_mark(r, mark, err) < 0)
			return -1;
	}
	return token == JSON_OBJECT_END && json_next(r, err) == JSON_END ? 0 : -1;
}

/* Reads the statements of an input when they are first needed. A stream is read up to its first tensor. */
static int
marks_of(struct plan *p, struct plan_input *in, struct err *err)
{
	struct ckpt *c = in->sd->ckpt;
	struct json_reader r;
	struct str rest, text;
	int rc = 0;

	if (in->marked)
		return 0;
	if (ckpt_tables(c, &rest, err) < 0)
		return -1;
	in->marked = true;
	for (size_t n = 0; rc == 0 && rest.len > 0 && str_split(&rest, '\0', &text); n++) {
		json_begin(&r, arena_printf(&p->arena, "%s: what it states of bias tables", c->file), 0, text.p, text.len);
		rc = read_marks(in, n, &p->arena, &r, err);
		json_release(&r);
	}
	return rc;
}

/*
 * Finds what the input states about the table en. Returns 1 and sets *mark if there is a statement that fits its rows and heads, 0
 * if there is none, -1 after an error.
 */
static int
find_mark(struct plan *p, const struct plan_entry *en, struct table_mark *mark, struct err *err)
{
	struct plan_input *in = &p->inputs[p->origins[en->origin].input];
	const struct tensor *t = plan_result(p, en);
	uint64_t at;

	if (marks_of(p, in, err) < 0)
		return -1;
	if (!strmap_get(&in->marks, plan_source(p, en)->name, &at))
		return 0;
	*mark = *(const struct table_mark *)(uintptr_t)at;
	return mark->layout.kind != LAYOUT_AUTO && mark->grid.h > 0 && t->ndim == 2 && t->shape[1] == mark->heads &&
	       t->shape[0] == layout_rows(mark->layout, mark->grid);
}

/* ---- the job of one table */

/* Is there a grid with this number of cells that has fewer than n tokens? */
static bool
grid_possible(uint64_t cells, uint64_t n)
{
	for (uint64_t a = 1; a * a <= cells; a += 2)
		if (cells % a == 0 && cells / a % 2 == 1 && (a + 1) / 2 * ((cells / a + 1) / 2) < n)
			return true;
	return false;
}

/*
 * Judging by its size, could the index buffer belong to another number of extra rows than the table's rows suggest? A grid that is
 * not square may have the same number of rows. Only then must the buffer be read before the output can be laid out.
 */
static bool
needs_index(const struct ckpt *c, const struct tables_opts *o, const struct make_bias_table *t)
{
	uint64_t n = c->tensors[t->index.tensor].shape[0], rows = table_rows_in(&t->job);

	if (o->from_grid != NULL || o->layout.kind != LAYOUT_AUTO)
		return false;
	if (t->job.from.kind == LAYOUT_GRID)
		return n != (uint64_t)t->job.from_grid.h * t->job.from_grid.w;
	return t->job.from.extra == 1 ? rows > 3 && grid_possible(rows - 3, n) : grid_possible(rows - 1, n);
}

/* How the layout of a table was determined. */
enum telling {
	TOLD,      /* the layout is known */
	STRANGE,   /* the index buffer belongs to no known layout */
	AMBIGUOUS, /* there is no buffer, and several layouts have this number of rows */
};

/* Handles a table whose layout cannot be determined. It can be copied, if nothing else is requested. */
static int
without_layout(const struct plan *p, const struct plan_entry *en, struct make_bias_table *t, enum telling telling, struct err *err)
{
	if (telling == STRANGE)
		return bias_index_strange(plan_file(p, en), t, err);
	if (t->to_as_from && table_is_copy(&t->job)) {
		t->unknown = true;
		return 0;
	}
	return tables_refuse(p, en, err,
			     "its layout is unknown: it has no relative_position_index, and first, last and metaformer have the "
			     "same number of rows; give it with --layout");
}

/*
 * Determines layout and grid of the input from the index buffer. why is the error that prevented a guess, or NULL. Returns an enum
 * telling, or -1.
 */
static int
from_index(struct plan *p, const struct plan_entry *en, const struct tables_opts *o, struct make_bias_table *t,
	   const struct err *why, struct err *err)
{
	struct ckpt *c = plan_input_of(p, en)->sd->ckpt;
	struct bias_index x = { .tensor = t->index.tensor, .rows = plan_result(p, en)->shape[0], .known = o->from_grid };
	int found = bias_index_read(c, &x, err);

	if (found < 0)
		return -1;
	if (found == 0 && why != NULL)
		return with_name(p, en, why, err);
	if (found == 0)
		return STRANGE;
	t->job.from = x.layout;
	t->job.from_grid = x.grid;
	return TOLD;
}

/* Returns the origin of another entry of the same input. The origins of an input are in the order of its entries. */
static struct plan_origin *
origin_of(const struct plan *p, const struct plan_entry *en, const struct sd_entry *other)
{
	return &p->origins[en->origin + (other - plan_source(p, en))];
}

/* Uses what the checkpoint states about the table, if that does not contradict --from-grid. Returns like find_mark. */
static int
from_mark(struct plan *p, const struct plan_entry *en, const struct tables_opts *o, struct make_bias_table *t, struct err *err)
{
	struct table_mark mark;
	int found = o->layout.kind == LAYOUT_AUTO ? find_mark(p, en, &mark, err) : 0;

	if (found <= 0)
		return found;
	if (o->from_grid != NULL && layout_rows(mark.layout, *o->from_grid) != plan_result(p, en)->shape[0])
		return 0;
	t->job.from = mark.layout;
	t->job.from_grid = o->from_grid != NULL ? *o->from_grid : mark.grid;
	return 1;
}

/* The largest index buffer that is read has 16384 tokens, as for a grid of 128 x 128. */
enum { INDEX_SIDE_MAX = 16384 };

/* Does a tensor have the dtype and shape of a relative_position_index, and is it small enough to be read? */
static bool
bias_index_usable(const struct tensor *t)
{
	return t->storage != STORAGE_NONE && dtype_info(t->dtype)->class == DTYPE_CLASS_INT && t->ndim == 2 &&
	       t->shape[0] == t->shape[1] && t->shape[0] > 0 && t->shape[0] <= INDEX_SIDE_MAX;
}

/* Determines layout and grid of the input. They are only a guess if make.waits is set. Returns an enum telling, or -1. */
static int
from_side(struct plan *p, struct plan_entry *en, const struct tables_opts *o, struct make_bias_table *t, struct err *err)
{
	struct ckpt *c = plan_input_of(p, en)->sd->ckpt;
	const struct sd_entry *index = o->layout.kind == LAYOUT_AUTO ? find_index(p, en) : NULL;
	uint64_t rows = plan_result(p, en)->shape[0];
	struct err inner = ERR_INIT;
	bool usable, fit;
	int marked;

	t->job.from = o->layout;
	t->index.input = p->origins[en->origin].input;
	t->index.tensor = index == NULL ? UINT32_MAX : index->tensor;
	t->grid_given = o->from_grid != NULL;
	usable = index != NULL && bias_index_usable(&c->tensors[index->tensor]);
	fit = layout_fit(&t->job.from, rows, o->from_grid, &t->job.from_grid, "--from-grid", &inner) == 0;
	marked = usable ? 0 : from_mark(p, en, o, t, err);
	if (marked != 0)
		return marked < 0 ? -1 : TOLD;
	if (!usable && !fit)
		return with_name(p, en, &inner, err);
	if (!fit || (usable && needs_index(c, o, t)))
		return from_index(p, en, o, t, fit ? NULL : &inner, err);
	if (usable && t->job.from.kind != LAYOUT_GRID)
		t->make.waits = &t->index;
	return o->layout.kind == LAYOUT_AUTO && !usable && t->job.from.kind == LAYOUT_FIRST ? AMBIGUOUS : TOLD;
}

/*
 * Reads the index buffer now if the table keeps its size, because then the layout decides whether the buffer is dropped. It need
 * not be read if it has one token more than a square grid: all other grids with as many cells have more tokens.
 */
static int
resolve(struct plan *p, const struct plan_entry *en, const struct tables_opts *o, struct make_bias_table *t, struct err *err)
{
	const struct ckpt *c = plan_input_of(p, en)->sd->ckpt;

	if (t->make.waits == NULL || !table_is_move(&t->job) || origin_of(p, en, find_index(p, en))->outputs == 0)
		return TOLD;
	if (t->to_as_from && c->tensors[t->index.tensor].shape[0] == (uint64_t)t->job.from_grid.h * t->job.from_grid.w + 1)
		return TOLD;
	t->make.waits = NULL;
	return from_index(p, en, o, t, NULL, err);
}

/* Checks the extra rows against what the loader of --like expects. Returns an enum telling, or -1. */
static int
obey_like(struct plan *p, const struct plan_entry *en, const struct tables_opts *o, struct make_bias_table *t, int telling,
	  struct err *err)
{
	const struct like_rule *rule = &o->like->kinds[POSITION_BIAS];
	const bool described = !t->to_as_from && o->to.kind == LAYOUT_AUTO;
	char text[LAYOUT_TEXT];

	layout_print(t->job.to, text);
	if (described && t->job.to.kind != LAYOUT_GRID && t->job.to.kind != LAYOUT_LAST)
		return tables_refuse(p, en, err, "the description's layout %s is not that of the loader of %s", text,
				     o->like->name);
	if (telling == TOLD && t->make.waits != NULL) {
		t->make.waits = NULL;
		telling = from_index(p, en, o, t, NULL, err);
	}
	if (telling == AMBIGUOUS && rule->least <= 1 && rule->most >= 1) {
		t->job.from = (struct layout){ LAYOUT_LAST, 1 };
		return TOLD;
	}
	if (telling != TOLD || (t->job.from.extra >= rule->least && t->job.from.extra <= rule->most &&
				(t->job.from.extra == 0 || t->job.from.kind == LAYOUT_LAST)))
		return telling;
	layout_print(t->job.from, text);
	return tables_refuse(p, en, err, "layout %s is not what the loader of %s expects; --layout decides", text, o->like->name);
}

/* Determines the layout to write: that of the option, else that of the description. LAYOUT_AUTO stands for that of the input. */
static int
to_layout(const struct tables_opts *o, struct make_bias_table *t, struct err *err)
{
	struct err inner = ERR_INIT;

	t->job.to = o->to;
	if (o->to.kind == LAYOUT_AUTO && o->model != NULL && o->model->handling.layout.p != NULL) {
		if (layout_parse(o->model->handling.layout, &t->job.to, &inner) != 0)
			return o->model->handling.layout_at == NULL
				       ? err_set(err, ERR_INPUT, "%s", inner.msg)
				       : ynode_fail(o->model->handling.layout_at, err, "%s", inner.msg);
	}
	t->to_as_from = t->job.to.kind == LAYOUT_AUTO;
	return 0;
}

/* Does the table keep its size because no new size is known? Reports the reason. */
static bool
keeps_size(struct tables *t, const struct table_case *c)
{
	const struct tables_opts *o = t->o;
	const char *outcome = o->anyway ? "it keeps its grid" : "left alone";

	if (o->same_size)
		return true;
	if (o->grid != NULL || tables_target_fits(c, 1))
		return false;
	if (o->image.h != 0 && stages_ratio(o->stages, c->en->name) != 0)
		return false;
	if (o->image.h == 0)
		tables_remark(t, c, DIAG_WARNING, "the description has no table of that name to take the size from; %s", outcome);
	else
		tables_remark(t, c, DIAG_WARNING, "no known stage in its name; %s (--stage SUBSTRING=RATIO sets its ratio)",
			      outcome);
	tables_leave(t, c, o->image.h == 0 ? "not in the description" : "no known stage in its name");
	return true;
}

/* Sets *grid to the grid that --grid or the image size requests. Returns false if neither determines it. */
static bool
asked_grid(struct tables *t, const struct table_case *c, struct grid *grid)
{
	const uint32_t ratio = stages_ratio(t->o->stages, c->en->name);

	if (t->o->grid != NULL)
		*grid = *t->o->grid;
	else if (t->o->image.h != 0 && ratio != 0)
		*grid = tables_image_grid(t, c, (struct grid){ ratio, ratio });
	else
		return false;
	return true;
}

/* Determines the new grid. The description decides if it lists the table. */
static int
to_grid(struct tables *t, const struct table_case *c, struct make_bias_table *b, struct err *err)
{
	struct err inner = ERR_INIT;
	struct layout layout = b->job.to;
	struct grid grid;
	bool asked = asked_grid(t, c, &grid);

	if (!tables_target_fits(c, 1) || (asked && layout_rows(layout, grid) == c->target->shape[0]))
		b->job.to_grid = grid;
	/* rows and layout are equal, so the grid is the same, even if it is not square */
	else if (c->target->shape[0] == table_rows_in(&b->job) && layout.extra == b->job.from.extra)
		b->job.to_grid = b->job.from_grid;
	else if (layout_fit(&layout, c->target->shape[0], NULL, &b->job.to_grid, "--grid", &inner) != 0)
		return err_set(err, ERR_INPUT, "%.*s: the description's shape: %s", STR_ARG(c->en->name), inner.msg);
	return 0;
}

static int
check_tensor(const struct plan *p, const struct plan_entry *en, struct err *err)
{
	const struct tensor *t = plan_result(p, en);

	if (t == NULL || boxes_count(t) == 0)
		return tables_refuse(p, en, err, "a table was expected, and this is no plain tensor");
	if (!dtype_is_float(t->dtype) || !convert_known(t->dtype))
		return tables_refuse(p, en, err, "a floating table was expected, not %s", dtype_name(t->dtype));
	if (t->ndim != 2)
		return tables_refuse(p, en, err, "a table of shape [rows, heads] was expected");
	if (t->shape[0] == 0 || t->shape[1] == 0)
		return tables_refuse(p, en, err, "an empty table; [rows, heads] with some of both was expected");
	if (tensor_count(t) > TABLE_MAX)
		return tables_refuse(p, en, err, "the table is larger than any relative position bias table can be");
	return 0;
}

/* Adds the maker to the entry, if the table changes or may change. */
static void
put(struct tables *t, const struct table_case *c, struct make_bias_table *b)
{
	const struct sd_entry *index = find_index(t->p, c->en);
	const bool copy = table_is_copy(&b->job);

	plan_describe(t->p, &b->make);
	t->tally->fit += table_is_move(&b->job);
	t->tally->resized += !table_is_move(&b->job);
	if (b->make.waits != NULL || !copy)
		plan_make(t->p, c->en, &b->make, "relative position bias");
	if (copy)
		return;
	tables_stale(t, c->en);
	if (index != NULL)
		t->stale[origin_of(t->p, c->en, index) - t->p->origins] = true;
}

/* Determines both sides of the job. Returns an enum telling, or -1. */
static int
both_sides(struct tables *t, const struct table_case *c, struct make_bias_table *b, bool same_size, struct err *err)
{
	struct plan_entry *en = c->en;
	int telling = from_side(t->p, en, t->o, b, err);

	if (telling >= 0 && t->o->like != NULL && t->o->layout.kind == LAYOUT_AUTO)
		telling = obey_like(t->p, en, t->o, b, telling, err);
	if (telling < 0)
		return -1;
	if (b->to_as_from)
		b->job.to = b->job.from;
	b->job.to_grid = b->job.from_grid;
	if (!same_size && to_grid(t, c, b, err) < 0)
		return -1;
	if (telling == TOLD)
		telling = resolve(t->p, en, t->o, b, err);
	if (b->to_as_from)
		b->job.to = b->job.from;
	if (same_size)
		b->job.to_grid = b->job.from_grid;
	return telling;
}

static int
plan_one(struct tables *t, struct table_case *c, struct err *err)
{
	struct make_bias_table *b = make_bias_table(&t->p->arena);
	struct err inner = ERR_INIT;
	struct like_rule rule;
	bool same_size;
	int telling;

	if (check_tensor(t->p, c->en, err) != 0)
		return -1;
	if (!tables_method(t, POSITION_BIAS, &rule))
		return tables_leave(t, c, "--like has no tables of its kind");
	same_size = keeps_size(t, c);
	if (to_layout(t->o, b, err) < 0)
		return -1;
	if (same_size && (!t->o->anyway || b->to_as_from))
		return 0;
	b->make.name = c->en->name;
	b->job.heads = (size_t)c->tensor->shape[1];
	b->job.method = (enum resample_method)rule.method;
	b->show = t->o->show;
	b->show_arg = t->o->show_arg;
	telling = both_sides(t, c, b, same_size, err);
	if (telling < 0 || (telling != TOLD && without_layout(t->p, c->en, b, (enum telling)telling, err) < 0))
		return -1;
	if (table_check(&b->job, &inner) != 0)
		return with_name(t->p, c->en, &inner, err);
	put(t, c, b);
	return 0;
}

const struct table_kind table_kind_bias = { plan_one };

/* ---- statements of outputs */

/* Is en a bias table of the output whose index buffer is not part of the output? */
static bool
needs_mark(const struct plan *p, const struct plan_entry *en)
{
	const struct sd_entry *index;

	if (!en->alive || en->module || !str_contains(plan_source(p, en)->name, table_part) || plan_result(p, en) == NULL ||
	    plan_result(p, en)->ndim != 2)
		return false;
	index = find_index(p, en);
	return index == NULL || origin_of(p, en, index)->outputs == 0;
}

/* Determines layout and grid of en from its input. Returns 1 and sets *mark, 0 if they are unknown, -1 after an error. */
static int
layout_now(struct plan *p, const struct plan_entry *en, struct table_mark *mark, struct err *err)
{
	const struct sd_entry *index = find_index(p, en);
	struct ckpt *c = plan_input_of(p, en)->sd->ckpt;
	const uint64_t *shape = plan_result(p, en)->shape;
	struct bias_index x = { .rows = shape[0] };
	int found;

	if (index == NULL || !bias_index_usable(&c->tensors[index->tensor]))
		return find_mark(p, en, mark, err);
	x.tensor = index->tensor;
	found = bias_index_read(c, &x, err);
	if (found > 0)
		*mark = (struct table_mark){ x.layout, x.grid, shape[1], 0 };
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

/* Returns the maker of en that makes a bias table, or NULL. */
static struct make_bias_table *
maker_of(const struct plan_entry *en)
{
	const struct make_chain *make = plan_makers(en);

	for (unsigned k = make->n; k-- > 0;)
		if (make->v[k]->kind == &make_kind_bias_table)
			return (struct make_bias_table *)make->v[k];
	return NULL;
}

/* Determines the layout of en in the output. Returns 1 and sets *mark, 0 if it is unknown, -1 after an error. */
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
	*mark = (struct table_mark){ t->job.to, t->job.to_grid, t->job.heads, 0 };
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
