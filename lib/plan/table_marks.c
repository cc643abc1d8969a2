#include "plan/table_marks.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/num.h"
#include "base/strmap.h"
#include "base/xalloc.h"
#include "make/bias_table.h"
#include "plan/tables.h"
#include "text/json_read.h"
#include "text/json_write.h"

/* What one input states. */
struct table_marks {
	struct strmap by_name; /* to index in v */
	struct table_mark *v;
	size_t n, cap;
};

/* ---- reading */

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
read_marks(struct table_marks *m, struct arena *a, struct json_reader *r, struct err *err)
{
	enum json_token token;

	if (json_expect(r, JSON_OBJECT, "what is stated of tables", err) < 0)
		return -1;
	while ((token = json_next(r, err)) == JSON_KEY) {
		m->v = xgrow(m->v, m->n, &m->cap, sizeof(*m->v));
		m->v[m->n] = (struct table_mark){ 0 };
		if (!strmap_add(&m->by_name, arena_str(a, r->text), m->n))
			return json_fail(r, err, "a table is named twice");
		if (read_mark(r, &m->v[m->n++], err) < 0)
			return -1;
	}
	return token == JSON_OBJECT_END && json_next(r, err) == JSON_END ? 0 : -1;
}

/* The marks of an input, which are read when they are first asked for. */
static int
marks_of(struct plan *p, struct plan_input *in, struct err *err)
{
	struct ckpt *c = in->sd->ckpt;
	struct json_reader r;
	struct buf what = BUF_INIT;
	struct str text;
	int rc;

	if (in->marks != NULL)
		return 0;
	if (ckpt_tables(c, &text, err) < 0)
		return -1;
	in->marks = xcalloc(1, sizeof(*in->marks));
	strmap_init(&in->marks->by_name);
	if (text.len == 0)
		return 0;
	buf_addf(&what, "%s: what it states of bias tables", c->file);
	json_begin(&r, what.p, 0, text.p, text.len);
	rc = read_marks(in->marks, &p->arena, &r, err);
	json_release(&r);
	buf_release(&what);
	return rc;
}

void
table_marks_free(struct table_marks *m)
{
	if (m == NULL)
		return;
	strmap_release(&m->by_name);
	free(m->v);
	free(m);
}

int
table_mark_find(struct plan *p, const struct plan_entry *en, struct table_mark *mark, struct err *err)
{
	struct plan_input *in = &p->inputs[p->origins[en->origin].input];
	const struct tensor *t = plan_tensor(p, en);
	uint64_t i;

	if (marks_of(p, in, err) < 0)
		return -1;
	if (!strmap_get(&in->marks->by_name, plan_source(p, en)->name, &i))
		return 0;
	*mark = in->marks->v[i];
	return mark->layout.kind != LAYOUT_AUTO && mark->grid.h > 0 && t->ndim == 2 && t->shape[1] == mark->heads &&
	       t->shape[0] == layout_rows(mark->layout, mark->grid);
}

/* ---- stating */

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
		return table_layout_now(p, en, mark, err);
	if (t->to_as_from && plan_learn(p, en, &t->make, err) < 0)
		return -1;
	if (t->unknown)
		return 0;
	*mark = (struct table_mark){ t->job.to, t->job.to_grid, t->job.heads };
	return 1;
}

int
table_marks_state(struct plan *p, struct err *err)
{
	struct buf b = BUF_INIT;
	struct json_writer w;
	struct table_mark mark;
	size_t n = 0;
	int rc = 0;

	json_writer_init(&w, &b, false);
	json_begin_object(&w);
	for (size_t i = 0; rc >= 0 && i < p->nentries; i++) {
		if (!table_needs_mark(p, &p->entries[i]))
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
