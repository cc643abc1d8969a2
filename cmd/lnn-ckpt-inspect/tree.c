/*
 * --tree: prints tensors, elements and bytes by component of the names.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "report.h"
#include "values.h"

enum { DEPTH_MAX = 200 };

/* A component of names. The rows below it are one run of tree.order. */
struct branch {
	struct str name; /* the component, in the name of a row */
	struct holding sum;
	uint32_t first; /* index in tree.order of its first row; it has sum.tensors rows */
	size_t end;     /* offset in the names of its rows of the end of the component */
};

/* Only the branches on the way to the one that is printed, and their siblings, are in memory. */
struct tree {
	struct job *j;
	uint64_t depth, nbytes;
	uint32_t *order; /* indices of all rows. Rows are moved only within the run of a branch. */
	uint32_t *child; /* by index in order: the child to which the row belongs; and room for moving the rows */
	uint32_t *moved;
	/* A stack: for each open branch an element for rows that end there, and its children in the order of their first rows. */
	struct branch *v;
	size_t n, cap;
	struct strmap map; /* while a branch is split: its children after the first SEARCHED, by name */
};

/* The number of children of a branch that are compared one by one. */
enum { SEARCHED = 8 };

/* Returns the number of the child with that name. Child i is the element base + i of the stack. last is a good guess, or 0. */
static uint32_t
child_of(struct tree *t, size_t base, struct str name, uint32_t last)
{
	const size_t n = t->n - base;
	uint64_t i;

	if (last > 0 && str_eq(t->v[base + last].name, name))
		return last;
	for (i = 1; i < n && i <= SEARCHED; i++)
		if (str_eq(t->v[base + i].name, name))
			return (uint32_t)i;
	if (n > SEARCHED && strmap_get(&t->map, name, &i))
		return (uint32_t)i;
	*xpush(t->v, t->n, t->cap) = (struct branch){ .name = name };
	if (n > SEARCHED) {
		t->map.lent = t->v + base;
		t->map.stride = sizeof(*t->v);
		strmap_add(&t->map, name, n);
	}
	return (uint32_t)n;
}

/* Sorts the rows of a branch by child. Rows of one child keep their order. */
static void
move_rows(struct tree *t, size_t base, size_t first, size_t end)
{
	for (size_t i = first; i < end; i++)
		t->moved[t->v[base + t->child[i]].first++] = t->order[i];
	for (size_t i = base; i < t->n; i++)
		t->v[i].first -= (uint32_t)t->v[i].sum.tensors;
	memcpy(t->order + first, t->moved + first, (end - first) * sizeof(*t->order));
}

/* Adds the children of a branch to the stack. Their components begin at offset at in the names. */
static void
split(struct tree *t, const struct branch *b, size_t at)
{
	const size_t base = t->n, end = b->first + (size_t)b->sum.tensors;
	uint32_t next = b->first, last = 0, child;
	bool sorted = true;

	*xpush(t->v, t->n, t->cap) = (struct branch){ 0 };
	for (size_t i = b->first; i < end; i++, last = child) {
		const struct row *row = &t->j->rows.v[t->order[i]];
		struct str rest = at > row->name.len ? str_n(NULL, 0) : str_from(row->name, at), part;

		child = str_split(&rest, '.', &part) ? child_of(t, base, part, last) : 0;
		sorted = sorted && child >= last;
		t->child[i] = child;
		holding_add(&t->v[base + child].sum, &(struct holding){ 1, tensor_count(row->t), row->nbytes });
	}
	if (t->map.count > 0)
		strmap_release(&t->map);
	for (size_t i = base; i < t->n; i++) {
		t->v[i].first = next;
		t->v[i].end = at + t->v[i].name.len;
		next += (uint32_t)t->v[i].sum.tensors;
	}
	if (!sorted)
		move_rows(t, base, b->first, end);
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
add_name(const struct branch *b, size_t depth, bool path, struct buf *name)
{
	if (path) {
		buf_add(name, b->name.p + b->name.len - b->end, b->end);
		return;
	}
	buf_fill(name, ' ', 2 * depth);
	if (depth == 0 || b->name.len == 0)
		buf_adds(name, depth == 0 ? "(all)" : "\"\"");
	buf_addstr(name, b->name);
}

static int
put_row(const struct tree *t, const struct branch *b, size_t depth, struct err *err)
{
	const bool path = t->j->record->form != RECORD_TABLE;
	const double share = t->nbytes ? (double)b->sum.nbytes / (double)t->nbytes : 0;
	char text[32];
	struct cell
		cells[] = { { 0 }, { 0 }, cell_count(b->sum.tensors), cell_count(b->sum.numel), cell_count(b->sum.nbytes), { 0 } },
		shown;
	struct buf name = BUF_INIT;
	int rc;

	add_name(b, depth, path, &name);
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
put_branch(struct tree *t, const struct branch *b, size_t depth, struct err *err)
{
	struct record *r = t->j->record;
	const bool json = record_is_json(r);
	const size_t base = t->n;
	struct branch child;
	int rc = 0;

	if (json)
		begin_branch(r, b);
	else if (depth > 0 || r->form == RECORD_TABLE)
		rc = put_row(t, b, depth, err);
	if (depth < t->depth)
		split(t, b, depth > 0 ? b->end + 1 : 0);
	for (size_t i = base + 1; rc == 0 && i < t->n; i++) {
		child = t->v[i]; /* the stack may move */
		rc = put_branch(t, &child, depth + 1, err);
	}
	t->n = base;
	if (json) {
		json_end_array(&r->json);
		json_end_object(&r->json);
	}
	return rc;
}

/* ---- the report */

/* Lists the rows in their order, and makes the branch that has all of them. */
static struct branch
list_rows(struct tree *t)
{
	const struct rows *rows = &t->j->rows;
	struct branch all = { .sum = { .tensors = 0 } };

	t->order = xcalloc(3 * rows->n, sizeof(*t->order));
	t->child = t->order + rows->n;
	t->moved = t->child + rows->n;
	for (size_t i = 0; i < rows->n; i++) {
		t->order[i] = (uint32_t)i;
		holding_add(&all.sum, &(struct holding){ 1, tensor_count(rows->v[i].t), rows->v[i].nbytes });
	}
	t->nbytes = all.sum.nbytes;
	return all;
}

static int
run(void *state, struct job *j, struct err *err)
{
	struct tree *t = state;
	struct record *r = j->record;
	struct branch all;
	int rc;

	t->j = j;
	t->depth = j->in->o->depth < DEPTH_MAX ? j->in->o->depth : DEPTH_MAX;
	all = list_rows(t);
	job_begin_report(j);
	record_member(r, "key", RECORD_TEXT, cell_text(j->input.sd.key));
	if (record_is_json(r)) {
		json_key(&r->json, "tree");
		return put_branch(t, &all, 0, err);
	}
	record_rows(r, &table, 0);
	rc = put_branch(t, &all, 0, err);
	record_rows_end(r);
	return rc;
}

static void
release(void *state)
{
	struct tree *t = state;

	free(t->order);
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
