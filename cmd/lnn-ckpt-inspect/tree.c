/*
 * --tree: tensors, elements and bytes by component of the names.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/xalloc.h"
#include "common/columns.h"
#include "modes.h"

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
	struct table table;
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
	table_cell(&t->table, buf_str(&name));
	table_cellf(&t->table, "%" PRIu64, b->tensors);
	table_cellc(&t->table, human_count(b->numel, numel));
	table_cellc(&t->table, human_bytes(b->nbytes, nbytes));
	table_cellf(&t->table, "%.1f%%", share(t, b));
	buf_release(&name);
}

static const struct table_column columns[] = {
	{ "component", false, true, STYLE_NAME }, { "tensors", true, false, STYLE_PLAIN },
	{ "elements", true, false, STYLE_PLAIN }, { "bytes", true, false, STYLE_PLAIN },
	{ "share", true, false, STYLE_PLAIN },
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

	inspect_heading(t->j);
	table_init(&t->table, columns, sizeof(columns) / sizeof(columns[0]));
	do {
		put_line(t, &t->v[at]);
		at = following(t, at);
	} while (at != 0);
	table_print(&t->table, &t->j->in->out);
	table_release(&t->table);
}

/* ---- TSV: whole paths, exact numbers */

static int
put_path(struct tree *t, uint32_t at, struct err *e)
{
	uint32_t parts[DEPTH_MAX];
	struct buf path = BUF_INIT;
	size_t n = 0;
	int rc;

	for (; at != 0 && n < DEPTH_MAX; at = t->v[at].up)
		parts[n++] = at;
	for (size_t i = n; i-- > 0;) {
		buf_addstr(&path, t->v[parts[i]].name);
		if (i > 0)
			buf_addc(&path, '.');
	}
	rc = inspect_put_name(t->j, path.len ? buf_str(&path) : str_c(""), e);
	buf_release(&path);
	return rc;
}

static int
put_tsv(struct tree *t, struct err *e)
{
	uint32_t at = 0;

	inspect_heading(t->j);
	out_puts(&t->j->in->out, "#prefix\ttensors\tnumel\tnbytes\tshare\n");
	while ((at = following(t, at)) != 0) {
		const struct branch *b = &t->v[at];

		if (put_path(t, at, e) < 0)
			return -1;
		out_printf(&t->j->in->out, "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%.6f\n", b->tensors, b->numel, b->nbytes,
			   share(t, b) / 100);
	}
	return 0;
}

/* ---- JSON */

static void
begin_branch(struct tree *t, const struct branch *b)
{
	struct json_writer *w = &t->j->in->json;

	json_begin_object(w);
	json_key(w, "name");
	json_put_str(w, b->name);
	json_key(w, "tensors");
	json_put_u64(w, b->tensors);
	json_key(w, "numel");
	json_put_u64(w, b->numel);
	json_key(w, "nbytes");
	json_put_u64(w, b->nbytes);
	json_key(w, "children");
	json_begin_array(w);
}

static void
put_json(struct tree *t)
{
	struct json_writer *w = &t->j->in->json;
	uint32_t at = 0;

	inspect_begin(t->j);
	json_key(w, "key");
	json_put_str(w, t->j->input.sd.key);
	json_key(w, "tree");
	begin_branch(t, &t->v[0]);
	for (;;) {
		inspect_drain(t->j->in);
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
	inspect_end(t->j);
}

int
tree_run(struct job *j, struct err *e)
{
	struct tree t = { .j = j, .keys = ARENA_INIT, .map = STRMAP_INIT };
	int rc = 0;

	grow(&t);
	if (inspect_json(j->in))
		put_json(&t);
	else if (j->in->o->format == FORMAT_TABLE)
		put_text(&t);
	else
		rc = put_tsv(&t, e);
	strmap_release(&t.map);
	arena_release(&t.keys);
	free(t.v);
	return rc;
}
