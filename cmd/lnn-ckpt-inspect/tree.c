/*
 * --tree: tensors, elements and bytes by component of the names.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/xalloc.h"
#include "common/human.h"
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
	struct columns table;
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

static double
share(const struct tree *t, const struct branch *b)
{
	return t->v[0].nbytes ? 100.0 * (double)b->nbytes / (double)t->v[0].nbytes : 0;
}

/* ---- text */

static void
put_line(struct tree *t, const struct branch *b)
{
	char numel[HUMAN_SIZE], nbytes[HUMAN_SIZE];
	struct buf name = BUF_INIT;

	buf_fill(&name, ' ', 2 * (size_t)b->depth);
	buf_addstr(&name, b->depth == 0 ? str_c("(all)") : b->name.len == 0 ? str_c("\"\"") : b->name);
	columns_cell(&t->table, buf_str(&name), STYLE_PLAIN);
	columns_cellf(&t->table, "%" PRIu64, b->tensors);
	columns_cell(&t->table, str_c(human_count(b->numel, numel)), STYLE_PLAIN);
	columns_cell(&t->table, str_c(human_bytes(b->nbytes, nbytes)), STYLE_PLAIN);
	columns_cellf(&t->table, "%.1f%%", share(t, b));
	buf_release(&name);
}

static const struct column columns[] = {
	{ "component", COLUMN_SHRINKS, STYLE_NAME }, { "tensors", COLUMN_RIGHT, STYLE_PLAIN },
	{ "elements", COLUMN_RIGHT, STYLE_PLAIN }, { "bytes", COLUMN_RIGHT, STYLE_PLAIN },
	{ "share", COLUMN_RIGHT, STYLE_PLAIN },
};

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

static void
put_text(struct tree *t)
{
	uint32_t at = 0;

	columns_begin(&t->table, &t->j->in->out, columns, sizeof(columns) / sizeof(columns[0]));
	do {
		put_line(t, &t->v[at]);
		at = following(t, at);
	} while (at != 0);
	columns_end(&t->table);
}

/* ---- TSV: whole paths, exact numbers */

static const struct record_column path_columns[] = {
	{ "prefix", NULL, RECORD_TEXT, IN_TSV, COLUMN_NAME, 0, STYLE_PLAIN },
	{ "tensors", NULL, RECORD_COUNT, IN_TSV, 0, 0, STYLE_PLAIN },
	{ "numel", NULL, RECORD_COUNT, IN_TSV, 0, 0, STYLE_PLAIN },
	{ "nbytes", NULL, RECORD_COUNT, IN_TSV, 0, 0, STYLE_PLAIN },
	{ "share", NULL, RECORD_TEXT, IN_TSV, 0, 0, STYLE_PLAIN },
};

static const struct record_table path_table = { .columns = path_columns, .n = 5, .titles = true };

static void
add_path(const struct tree *t, uint32_t at, struct buf *path)
{
	uint32_t parts[DEPTH_MAX];
	size_t n = 0;

	for (; at != 0 && n < DEPTH_MAX; at = t->v[at].up)
		parts[n++] = at;
	while (n-- > 0) {
		buf_addstr(path, t->v[parts[n]].name);
		if (n > 0)
			buf_addc(path, '.');
	}
}

static int
put_tsv(const struct tree *t, struct err *err)
{
	struct buf path = BUF_INIT;
	char text[32];
	uint32_t at = 0;
	int rc = 0;

	record_rows(t->j->record, &path_table, 0);
	while (rc == 0 && (at = following(t, at)) != 0) {
		const struct branch *b = &t->v[at];

		buf_clear(&path);
		add_path(t, at, &path);
		snprintf(text, sizeof(text), "%.6f", share(t, b) / 100);
		rc = record_row(t->j->record,
				(struct cell[]){ cell_text(buf_str(&path)), cell_count(b->tensors), cell_count(b->numel),
						 cell_count(b->nbytes), cell_word(text) },
				err);
	}
	record_rows_end(t->j->record);
	buf_release(&path);
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
	json_key(&r->json, "children");
	json_begin_array(&r->json);
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
	if (record_is_json(j->record))
		put_json(t);
	else if (j->record->form == RECORD_TABLE)
		put_text(t);
	else
		return put_tsv(t, err);
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

static int
option(struct inspect_opts *o, const char *arg, struct err *err)
{
	return arg != NULL ? option_u64("--tree", arg, 0, UINT64_MAX, &o->depth, err) : 0;
}

const struct report report_tree = {
	.name = "tree",
	.has_arg = OPTION_MAYBE,
	.arg = "DEPTH",
	.help = "tensors, elements and bytes by component of the names",
	.option = option,
	.needs = NEEDS_INDEX | NEEDS_DICT,
	.takes = TAKES_FORMS,
	.piped = RECORD_TSV,
	.names_rows = true,
	.size = sizeof(struct tree),
	.run = run,
	.release = release,
};
