/*
 * --tree: tensors, elements and bytes by component of the names.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/xalloc.h"
#include "report.h"

enum { DEPTH_MAX = 200 };

/* A component; children in the order in which the rows have them. */
struct branch {
	struct str name;   /* of the component */
	uint32_t up, next, child, last; /* indices; 0 is the root and "none" */
	uint32_t depth;
	bool leaf;         /* is a tensor itself */
	uint64_t tensors, numel, nbytes;
};

struct tree {
	struct job *j;
	struct branch *v;
	size_t n, cap;
	struct arena keys;
	struct strmap map; /* parent's index and component to index */
};

static uint32_t
branch_of(struct tree *t, uint32_t up, struct str name, struct buf *scratch)
{
	uint64_t i;

	buf_clear(scratch);
	buf_le32(scratch, up);
	buf_addstr(scratch, name);
	if (strmap_get(&t->map, buf_str(scratch), &i))
		return (uint32_t)i;
	t->v = xgrow(t->v, t->n, &t->cap, sizeof(*t->v));
	t->v[t->n] = (struct branch){ .name = name, .up = up, .depth = t->v[up].depth + 1 };
	if (t->v[up].last != 0)
		t->v[t->v[up].last].next = (uint32_t)t->n;
	else
		t->v[up].child = (uint32_t)t->n;
	t->v[up].last = (uint32_t)t->n;
	strmap_add(&t->map, arena_str(&t->keys, buf_str(scratch)), t->n);
	return (uint32_t)t->n++;
}

static void
add(struct branch *b, const struct row *row)
{
	b->tensors++;
	b->numel += row->numel;
	b->nbytes += row->nbytes;
}

static void
grow(struct tree *t)
{
	const uint64_t most = t->j->in->o->depth < DEPTH_MAX ? t->j->in->o->depth : DEPTH_MAX;
	struct buf scratch = BUF_INIT;

	t->v = xgrow(t->v, 0, &t->cap, sizeof(*t->v));
	t->v[t->n++] = (struct branch){ 0 };
	for (size_t i = 0; i < t->j->rows.n; i++) {
		struct str rest = t->j->rows.v[i].name, part;
		uint32_t at = 0;

		add(&t->v[0], &t->j->rows.v[i]);
		while (t->v[at].depth < most && str_split(&rest, '.', &part)) {
			at = branch_of(t, at, part, &scratch);
			add(&t->v[at], &t->j->rows.v[i]);
		}
		t->v[at].leaf = t->v[at].leaf || rest.p == NULL;
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

/* The branch that comes after at in the order of a listing; 0 at the end. */
static uint32_t
following(const struct tree *t, uint32_t at)
{
	if (t->v[at].child != 0)
		return t->v[at].child;
	while (at != 0 && t->v[at].next == 0)
		at = t->v[at].up;
	return at == 0 ? 0 : t->v[at].next;
}

/* The components of a table are indented; TSV has whole paths. */
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
	const double share = t->v[0].nbytes ? (double)t->v[at].nbytes / (double)t->v[0].nbytes : 0;
	const struct branch *b = &t->v[at];
	struct buf name = BUF_INIT;
	char text[32];
	int rc;

	add_name(t, at, path, &name);
	snprintf(text, sizeof(text), path ? "%.6f" : "%.1f%%", path ? share : 100 * share);
	rc = record_row(t->j->record,
			(struct cell[]){ cell_text(buf_str(&name)), cell_text(buf_str(&name)), cell_count(b->tensors),
					 cell_count(b->numel), cell_count(b->nbytes), cell_word(text) },
			err);
	buf_release(&name);
	return rc;
}

/* TSV leaves the root out. */
static int
put_rows(const struct tree *t, struct err *err)
{
	uint32_t at = 0;
	int rc = 0;

	record_rows(t->j->record, &table, 0);
	if (t->j->record->form == RECORD_TABLE)
		rc = put_row(t, 0, err);
	while (rc == 0 && (at = following(t, at)) != 0)
		rc = put_row(t, at, err);
	record_rows_end(t->j->record);
	return rc;
}

/* ---- JSON */

static void
begin_branch(struct tree *t, const struct branch *b)
{
	struct record *r = t->j->record;

	json_begin_object(&r->json);
	record_member(r, "name", RECORD_TEXT, cell_text(b->name));
	record_member(r, "tensors", RECORD_COUNT, cell_count(b->tensors));
	record_member(r, "numel", RECORD_COUNT, cell_count(b->numel));
	record_member(r, "nbytes", RECORD_COUNT, cell_count(b->nbytes));
	json_begin_array(json_key(&r->json, "children"));
}

static void
put_json(struct tree *t)
{
	struct json_writer *w = &t->j->record->json;
	uint32_t at = 0;

	record_member(t->j->record, "key", RECORD_TEXT, cell_text(t->j->input.sd.key));
	json_key(w, "tree");
	begin_branch(t, &t->v[0]);
	for (;;) {
		record_drain(t->j->record, false);
		if (t->v[at].child != 0) {
			at = t->v[at].child;
			begin_branch(t, &t->v[at]);
			continue;
		}
		while (at != 0 && t->v[at].next == 0) {
			json_end_array(w);
			json_end_object(w);
			at = t->v[at].up;
		}
		json_end_array(w);
		json_end_object(w);
		if (at == 0)
			break;
		at = t->v[at].next;
		begin_branch(t, &t->v[at]);
	}
}

/* ---- the report */

static int
run(void *state, struct job *j, struct err *err)
{
	struct tree *t = state;

	t->j = j;
	grow(t);
	job_begin_report(j);
	if (!record_is_json(j->record))
		return put_rows(t, err);
	put_json(t);
	return 0;
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
