/*
 * --tree: prints tensors, elements and bytes by component of the names.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/xalloc.h"
#include "report.h"
#include "values.h"

enum { DEPTH_MAX = 200 };

/* A component of names. Its children are in the order of the rows. */
struct branch {
	struct str name;                /* name of the component */
	uint32_t up, next, child, last; /* indices in tree.v; 0 is the root, and also means "none" */
	uint32_t children;
	uint32_t depth;
	struct holding sum;
};

struct tree {
	struct job *j;
	struct branch *v;
	size_t n, cap;
	struct arena keys;
	struct strmap map; /* from parent's index and component to index; has only children after the first SEARCHED of a parent */
};

/* The number of children of a branch that are compared one by one. */
enum { SEARCHED = 8 };

static uint32_t
branch_of(struct tree *t, uint32_t up, struct str name, struct buf *scratch)
{
	uint32_t at = t->v[up].child;
	uint64_t i;

	for (size_t k = 0; k < SEARCHED && at != 0; k++, at = t->v[at].next)
		if (str_eq(t->v[at].name, name))
			return at;
	buf_clear(scratch);
	buf_le32(scratch, up);
	buf_addstr(scratch, name);
	if (t->v[up].children > SEARCHED && strmap_get(&t->map, buf_str(scratch), &i))
		return (uint32_t)i;
	t->v = xgrow(t->v, t->n, &t->cap, sizeof(*t->v));
	t->v[t->n] = (struct branch){ .name = name, .up = up, .depth = t->v[up].depth + 1 };
	if (t->v[up].last != 0)
		t->v[t->v[up].last].next = (uint32_t)t->n;
	else
		t->v[up].child = (uint32_t)t->n;
	t->v[up].last = (uint32_t)t->n;
	if (++t->v[up].children > SEARCHED)
		strmap_add(&t->map, arena_str(&t->keys, buf_str(scratch)), t->n);
	return (uint32_t)t->n++;
}

static void
add(struct branch *b, const struct row *row)
{
	holding_add(&b->sum, &(struct holding){ 1, tensor_count(row->t), row->nbytes });
}

static void
grow(struct tree *t)
{
	const uint64_t most = t->j->in->o->depth < DEPTH_MAX ? t->j->in->o->depth : DEPTH_MAX;
	struct buf scratch = BUF_INIT;

	*xpush(t->v, t->n, t->cap) = (struct branch){ 0 };
	for (size_t i = 0; i < t->j->rows.n; i++) {
		struct str rest = t->j->rows.v[i].name, part;
		uint32_t at = 0;

		add(&t->v[0], &t->j->rows.v[i]);
		while (t->v[at].depth < most && str_split(&rest, '.', &part)) {
			at = branch_of(t, at, part, &scratch);
			add(&t->v[at], &t->j->rows.v[i]);
		}
	}
	buf_release(&scratch);
}

/* ---- tables and TSV */

static const struct record_column columns[] = {
	{ "component", NULL, RECORD_TEXT, IN_TABLE, COLUMN_NAME, 0, STYLE_PLAIN },
	{ "prefix", NULL, RECORD_TEXT, IN_TSV, COLUMN_NAME, 0, STYLE_PLAIN },
	{ "tensors", NULL, RECORD_COUNT, IN_TEXT, 0, 0, STYLE_PLAIN },
	{ "numel", "elements", RECORD_COUNT, IN_TEXT, COLUMN_HUMAN, 0, STYLE_PLAIN },
	{ "nbytes", "bytes", RECORD_COUNT, IN_TEXT, COLUMN_BYTES, 0, STYLE_PLAIN },
	{ "share", NULL, RECORD_TEXT, IN_TEXT, COLUMN_RIGHT, 0, STYLE_PLAIN },
};

static const struct record_table table = { .columns = columns, .n = 6, .titles = true };

/* Appends the name of a branch: its indented component in a table, or its whole path in TSV. */
static void
add_name(const struct tree *t, uint32_t at, bool path, struct buf *name)
{
	const struct branch *b = &t->v[at];

	if (!path)
		buf_fill(name, ' ', 2 * (size_t)b->depth);
	else if (b->up != 0) {
		add_name(t, b->up, true, name);
		buf_addc(name, '.');
	}
	if (!path && (at == 0 || b->name.len == 0))
		buf_adds(name, at == 0 ? "(all)" : "\"\"");
	buf_addstr(name, b->name);
}

static int
put_row(const struct tree *t, uint32_t at, struct err *err)
{
	const bool path = t->j->record->form != RECORD_TABLE;
	const double share = t->v[0].sum.nbytes ? (double)t->v[at].sum.nbytes / (double)t->v[0].sum.nbytes : 0;
	const struct branch *b = &t->v[at];
	char text[32];
	struct cell
		cells[] = { { 0 }, { 0 }, cell_count(b->sum.tensors), cell_count(b->sum.numel), cell_count(b->sum.nbytes), { 0 } },
		shown;
	struct buf name = BUF_INIT;
	int rc;

	add_name(t, at, path, &name);
	snprintf(text, sizeof(text), path ? "%.6f" : "%.1f%%", path ? share : 100 * share);
	cells[5] = cell_word(text);
	shown = cell_text(buf_str(&name));
	cells[0] = shown;
	cells[1] = shown;
	rc = record_row(t->j->record, cells, err);
	buf_release(&name);
	return rc;
}

/* ---- JSON, in which branches contain their children */

static void
begin_branch(struct record *r, const struct branch *b)
{
	json_begin_object(&r->json);
	record_member(r, "name", RECORD_TEXT, cell_text(b->name));
	record_member(r, "tensors", RECORD_COUNT, cell_count(b->sum.tensors));
	record_member(r, "numel", RECORD_COUNT, cell_count(b->sum.numel));
	record_member(r, "nbytes", RECORD_COUNT, cell_count(b->sum.nbytes));
	json_begin_array(json_key(&r->json, "children"));
	record_drain(r, false);
}

/* Prints a branch and everything below it, recursively but at most DEPTH_MAX deep. TSV omits the root. */
static int
put_branch(const struct tree *t, uint32_t at, struct err *err)
{
	struct record *r = t->j->record;
	const bool json = record_is_json(r);
	int rc = 0;

	if (json)
		begin_branch(r, &t->v[at]);
	else if (at != 0 || r->form == RECORD_TABLE)
		rc = put_row(t, at, err);
	for (uint32_t child = t->v[at].child; rc == 0 && child != 0; child = t->v[child].next)
		rc = put_branch(t, child, err);
	if (json) {
		json_end_array(&r->json);
		json_end_object(&r->json);
	}
	return rc;
}

/* ---- the report */

static int
run(void *state, struct job *j, struct err *err)
{
	struct tree *t = state;

	struct record *r = j->record;
	int rc;

	t->j = j;
	grow(t);
	job_begin_report(j);
	record_member(r, "key", RECORD_TEXT, cell_text(j->input.sd.key));
	if (record_is_json(r)) {
		json_key(&r->json, "tree");
		return put_branch(t, 0, err);
	}
	record_rows(r, &table, 0);
	rc = put_branch(t, 0, err);
	record_rows_end(r);
	return rc;
}

static void
release(void *state)
{
	struct tree *t = state;

	strmap_release(&t->map);
	arena_release(&t->keys);
	free(t->v);
}

const struct report report_tree = {
	.option = OPTION_NUMBER("tree", "[=DEPTH]", "tensors, elements and bytes by component of the names", depth, 0, UINT64_MAX),
	.needs = NEEDS_INDEX | NEEDS_DICT,
	.takes = TAKES_FORMS,
	.names_rows = true,
	.size = sizeof(struct tree),
	.run = run,
	.release = release,
};
