/*
 * --summary: reports what a checkpoint is and what its bytes are used for.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/text.h"
#include "base/xalloc.h"
#include "common/human.h"
#include "globals.h"
#include "tensor/boxes.h"
#include "tensor/place.h"
#include "values.h"

/*
 * Limits for the text form: items of a list, and tensors that are listed one by one if they are directly in the root. JSON has
 * everything.
 */
enum { SHOWN = 20, DIRECT_SHOWN = 8 };

/* A range of bytes in a storage; or, in ties, an entry of the state dict that uses the storage. */
struct span {
	uint32_t storage;
	uint64_t first, end;
};

struct summary {
	struct job *j;
	const struct ckpt *c;
	struct holding all, kinds[DTYPE_COUNT];
	/* entries whose storage several names use: first is the index of the entry; sorted by storage, then entry */
	struct span *ties;
	size_t nties, groups;
	uint64_t stored, unused; /* bytes of all storages, and those that belong to no tensor */
	uint64_t optimizer;      /* bytes of optimizer states */
	uint32_t root;           /* handle of the dict that the root is or wraps */
	struct holding *holds;   /* by key of the root; NULL if the root is no dict */
	size_t nkeys, direct;    /* number of keys of the root, and of those that are tensors */
	struct load_verdict verdict;
};

/* ---- collecting */

static void
count(struct summary *s)
{
	for (size_t i = 0; i < s->j->rows.n; i++) {
		const struct row *row = &s->j->rows.v[i];
		const struct holding one = { 1, tensor_count(row->t), row->nbytes };

		holding_add(&s->kinds[row->t->dtype], &one);
		holding_add(&s->all, &one);
	}
}

static int
by_place(const void *a, const void *b)
{
	const struct span *x = a, *y = b;
	const int c = (x->storage > y->storage) - (x->storage < y->storage);

	return c != 0 ? c : (x->first > y->first) - (x->first < y->first);
}

static void
find_ties(struct summary *s)
{
	const struct rows *r = &s->j->rows;
	uint32_t *looks = xcalloc((size_t)s->c->nstorages + 1, sizeof(*looks));

	s->ties = xcalloc(r->n + 1, sizeof(*s->ties));
	for (size_t i = 0; i < r->n; i++)
		if (r->v[i].t->storage != STORAGE_NONE && r->v[i].nbytes > 0)
			s->groups += ++looks[r->v[i].t->storage] == 2;
	for (size_t i = 0; i < r->n; i++) {
		const uint32_t storage = r->v[i].t->storage;

		if (storage != STORAGE_NONE && r->v[i].nbytes > 0 && looks[storage] > 1)
			s->ties[s->nties++] = (struct span){ storage, r->v[i].entry, 0 };
	}
	qsort(s->ties, s->nties, sizeof(*s->ties), by_place);
	free(looks);
}

/* Is tie i the last one of its storage? */
static bool
ends_group(const struct summary *s, size_t i)
{
	return i + 1 == s->nties || s->ties[i].storage != s->ties[i + 1].storage;
}

static struct str
name_of(const struct summary *s, size_t i)
{
	return s->j->input.sd.entries[s->ties[i].first].name;
}

/* Returns the range of bytes of a box. */
static struct span
span_of(const struct summary *s, const struct tensor *t, const struct box *box)
{
	struct tensor part = { .offset = box->offset, .shape = box->size, .stride = box->stride, .ndim = t->ndim };
	uint64_t size = dtype_size(t->dtype), first, end;

	tensor_span(&part, &first, &end);
	/* Elements of float6 are not whole bytes. Such a tensor always has a storage of its own. */
	return size ? (struct span){ box->storage, first * size, end * size }
		    : (struct span){ box->storage, 0, s->c->storages[box->storage].nbytes };
}

/* Computes the bytes of storages that are outside the span of every tensor. Tensors outside the state dict count, too. */
static void
find_unused(struct summary *s)
{
	struct span *v = NULL;
	uint64_t used = 0, reach = 0;
	size_t n = 0, cap = 0;

	for (uint32_t i = 0; i < s->c->nstorages; i++)
		s->stored += s->c->storages[i].nbytes;
	for (uint32_t i = 0; i < s->c->ntensors; i++) {
		const struct tensor *t = &s->c->tensors[i];

		for (size_t k = 0; k < boxes_count(t); k++) {
			struct box box = boxes_get(t, k);

			*xpush(v, n, cap) = span_of(s, t, &box);
		}
	}
	if (n > 0)
		qsort(v, n, sizeof(*v), by_place);
	for (size_t i = 0; i < n; i++) {
		if (i == 0 || v[i].storage != v[i - 1].storage)
			reach = 0;
		if (v[i].end <= reach)
			continue;
		used += v[i].end - (v[i].first > reach ? v[i].first : reach);
		reach = v[i].end;
	}
	s->unused = s->stored > used ? s->stored - used : 0;
	free(v);
}

/* The maximum depth of nested dicts in which optimizers are searched. */
enum { OPTIMIZER_DEPTH = 4 };

/* Adds the bytes of optimizers at or below h. Each dict is visited only once. */
static void
add_optimizers(struct summary *s, uint32_t key, uint32_t h, uint8_t *visited, uint8_t *seen, unsigned depth)
{
	const struct vtree *t = s->c->tree;
	struct holding sum = { 0 };

	if (place_is_optimizer(t, key, h)) {
		values_holding(s->c, h, seen, &sum);
		s->optimizer += sum.nbytes;
		return;
	}
	if (value_kind(t, h) != VALUE_DICT || visited[h] || depth == 0)
		return;
	visited[h] = 1;
	for (size_t i = 0; i < value_len(t, h); i++)
		add_optimizers(s, value_key(t, h, i), value_val(t, h, i), visited, seen, depth - 1);
}

/* Is the value of key i of the root a tensor? */
static bool
is_direct(const struct summary *s, size_t i)
{
	uint32_t index;

	return value_leaf(s->c->tree, value_val(s->c->tree, s->root, i), &index) == LEAF_TENSOR;
}

/* Computes what each key of the root holds. An object that several keys hold is counted for the first of them. */
static void
find_keys(struct summary *s)
{
	const struct vtree *t = s->c->tree;
	uint8_t *seen;
	size_t nodes;

	if (t == NULL)
		return;
	s->root = tree_container(t, s->c->root);
	if (value_kind(t, s->root) != VALUE_DICT)
		return;
	nodes = (size_t)vtree_count(t) + 1;
	s->nkeys = value_len(t, s->root);
	s->holds = xcalloc(s->nkeys + 1, sizeof(*s->holds));
	seen = xcalloc(3, nodes);
	for (size_t i = 0; i < s->nkeys; i++) {
		values_holding(s->c, value_val(t, s->root, i), seen, &s->holds[i]);
		s->direct += is_direct(s, i);
	}
	add_optimizers(s, VALUE_ABSENT, s->c->root, seen + nodes, seen + 2 * nodes, OPTIMIZER_DEPTH);
	free(seen);
}

/* ---- JSON, and TSV, in which the first field of a line is the name of the JSON member */

#define COUNT_COLUMNS                                                                                                             \
	{ "tensors", NULL, RECORD_COUNT, IN_ALL, 0, 0, STYLE_PLAIN }, { "numel", NULL, RECORD_COUNT, IN_ALL, 0, 0, STYLE_PLAIN }, \
		{ "nbytes", NULL, RECORD_COUNT, IN_ALL, 0, 0, STYLE_PLAIN },

static const struct record_column dtype_columns[] = { { "dtype", NULL, RECORD_TEXT, IN_ALL, 0, 0, STYLE_PLAIN }, COUNT_COLUMNS };

static const struct record_column key_columns[] = { { "key", NULL, RECORD_TEXT, IN_ALL, 0, 0, STYLE_PLAIN },
						    { "type", NULL, RECORD_TEXT, IN_ALL, 0, 0, STYLE_PLAIN },
						    COUNT_COLUMNS };

static const struct record_column tie_column = { NULL, NULL, RECORD_TEXTS, IN_ALL, 0, 0, STYLE_PLAIN };
static const struct record_column shard_column = { NULL, NULL, RECORD_TEXT, IN_ALL, 0, 0, STYLE_PLAIN };

static const struct record_table dtype_table = { .member = "dtypes", .columns = dtype_columns, .n = 4 };
static const struct record_table key_table = { .member = "keys", .columns = key_columns, .n = 5 };
static const struct record_table tie_table = { .member = "shared", .columns = &tie_column, .n = 1 };
static const struct record_table shard_table = { .member = "shards", .columns = &shard_column, .n = 1 };

static int
put_dtypes(const struct summary *s, struct record *r, struct err *err)
{
	int rc = 0;

	record_rows(r, &dtype_table, 0);
	for (size_t i = 0; rc == 0 && i < DTYPE_COUNT; i++) {
		const struct holding *k = &s->kinds[i];

		if (k->tensors > 0)
			rc = record_row(r,
					(struct cell[]){ cell_word(dtype_name((enum dtype)i)), cell_count(k->tensors),
							 cell_count(k->numel), cell_count(k->nbytes) },
					err);
	}
	record_rows_end(r);
	return rc;
}

static int
put_key_rows(const struct summary *s, struct record *r, struct err *err)
{
	const struct vtree *t = s->c->tree;
	struct buf b = BUF_INIT;
	int rc = 0;

	record_rows(r, &key_table, 0);
	for (size_t i = 0; rc == 0 && i < s->nkeys; i++) {
		const struct holding *h = &s->holds[i];
		uint32_t key = value_key(t, s->root, i);

		buf_clear(&b);
		values_what(&b, s->c, value_val(t, s->root, i));
		rc = record_row(r,
				(struct cell[]){ value_is_text(t, key) ? cell_text(value_text(t, key)) : cell_unknown(),
						 cell_text(buf_str(&b)), cell_count(h->tensors), cell_count(h->numel),
						 cell_count(h->nbytes) },
				err);
	}
	record_rows_end(r);
	buf_release(&b);
	return rc;
}

/* Prints a row for each storage that several names use. */
static int
put_tie_rows(const struct summary *s, struct record *r, struct err *err)
{
	struct str *names = xcalloc(s->nties + 1, sizeof(*names));
	int rc = 0;

	record_rows(r, &tie_table, 0);
	for (size_t i = 0, n = 0; rc == 0 && i < s->nties; i++) {
		names[n++] = name_of(s, i);
		if (!ends_group(s, i))
			continue;
		rc = record_row(r, (struct cell[]){ cell_texts(names, n) }, err);
		n = 0;
	}
	record_rows_end(r);
	free(names);
	return rc;
}

static int
put_shards(const struct summary *s, struct record *r, struct err *err)
{
	int rc = 0;

	record_rows(r, &shard_table, 0);
	for (uint32_t i = 0; rc == 0 && i < s->c->nshards; i++)
		rc = record_row(r, (struct cell[]){ cell_word(s->c->shards[i]) }, err);
	record_rows_end(r);
	return rc;
}

static int
put_facts(const struct summary *s, struct record *r, struct err *err)
{
	if (r->form == RECORD_TSV)
		record_member(r, "format", RECORD_TEXT, cell_word(s->c->ops->name));
	record_member(r, "writer", RECORD_TEXT, cell_word(s->c->writer));
	record_member(r, "byteorder", RECORD_TEXT, cell_word(s->c->big_endian ? "big" : "little"));
	record_member(r, "loads", RECORD_BOOL,
		      s->verdict.known && !s->verdict.unknown ? cell_bool(s->verdict.loads) : cell_unknown());
	record_member(r, "key", RECORD_TEXT, cell_text(s->j->input.sd.key));
	record_member(r, "tensors", RECORD_COUNT, cell_count(s->all.tensors));
	record_member(r, "numel", RECORD_COUNT, cell_count(s->all.numel));
	record_member(r, "nbytes", RECORD_COUNT, cell_count(s->all.nbytes));
	if (put_dtypes(s, r, err) < 0 || put_key_rows(s, r, err) < 0 || put_tie_rows(s, r, err) < 0)
		return -1;
	record_member(r, "stored_bytes", RECORD_COUNT, cell_count(s->stored));
	record_member(r, "unused_bytes", RECORD_COUNT, cell_count(s->unused));
	record_member(r, "optimizer_bytes", RECORD_COUNT, cell_count(s->optimizer));
	if (s->c->nunread > 0)
		record_member(r, "unread_values", RECORD_COUNT, cell_count(s->c->nunread));
	return s->c->nshards > 0 ? put_shards(s, r, err) : 0;
}

/* ---- text */

/* Prints a line: its label and the contents of b, which is then cleared. */
static void
put(const struct summary *s, const char *label, struct buf *b)
{
	struct out *out = &s->j->in->out;

	out_style(out, STYLE_BOLD);
	out_printf(out, "%-12s", label);
	out_style(out, STYLE_PLAIN);
	buf_addc(b, '\n');
	out_write(out, b->p, b->len);
	buf_clear(b);
}

static void
put_more(const struct summary *s, size_t n, struct buf *b)
{
	if (n <= SHOWN)
		return;
	buf_addf(b, "... and %zu more", n - SHOWN);
	put(s, "", b);
}

static void
put_key(const struct summary *s, size_t i, const char *label, struct buf *b)
{
	const struct vtree *t = s->c->tree;
	uint32_t key = value_key(t, s->root, i), val = value_val(t, s->root, i);
	const struct str name = value_is_text(t, key) ? value_text(t, key) : str_c("(a key that is no text)");
	struct buf what = BUF_INIT;

	text_show(b, name.len > 0 ? name : str_c("(the empty name)"));
	values_what(&what, s->c, val);
	buf_adds(b, ": ");
	text_show(b, buf_str(&what));
	if (value_len(t, val) > 0 && s->holds[i].tensors == 0)
		buf_addf(b, " of %zu", value_len(t, val));
	if (s->holds[i].tensors > 0) {
		buf_adds(b, ", ");
		holding_put(b, &s->holds[i]);
	}
	put(s, label, b);
	buf_release(&what);
}

/*
 * Prints the keys of the root. If it contains many tensors directly, they are summed up in one line. That line is omitted if the
 * root contains nothing else, because the line of the state dict says the same.
 */
static void
put_keys(const struct summary *s, struct buf *b)
{
	const bool fold = s->direct > DIRECT_SHOWN;
	const size_t lines = s->nkeys - (fold ? s->direct : 0);
	struct holding all = { 0 };
	size_t shown = 0;

	if (fold && lines == 0)
		return;
	for (size_t i = 0; fold && i < s->nkeys; i++)
		if (is_direct(s, i))
			holding_add(&all, &s->holds[i]);
	if (fold) {
		holding_put(b, &all);
		buf_adds(b, " under names of the root");
		put(s, "holds", b);
	}
	for (size_t i = 0; i < s->nkeys && shown < SHOWN; i++)
		if (!fold || !is_direct(s, i))
			put_key(s, i, shown++ == 0 && !fold ? "holds" : "", b);
	put_more(s, lines, b);
}

static void
put_ties(const struct summary *s, struct buf *b)
{
	for (size_t i = 0, groups = 0; i < s->nties && groups < SHOWN; i++) {
		text_show(b, name_of(s, i));
		if (ends_group(s, i))
			put(s, groups++ == 0 ? "shared" : "", b);
		else
			buf_adds(b, " = ");
	}
	put_more(s, s->groups, b);
}

static void
put_bytes(const struct summary *s, const char *name, uint64_t n, const char *what, struct buf *b)
{
	char text[HUMAN_SIZE];

	buf_adds(b, human_bytes(n, text));
	if (s->stored > 0)
		buf_addf(b, ", %.3g%% %s", 100.0 * (double)n / (double)s->stored, what);
	put(s, name, b);
}

/* Prints text as two lines if it contains a colon: up to the colon, and the reason or names after it. */
static void
put_parts(const struct summary *s, const char *name, struct str text, struct buf *b)
{
	const long colon = str_find(text, str_c(": "), 0);

	if (text.len == 0)
		return;
	buf_addstr(b, colon < 0 ? text : str_n(text.p, (size_t)colon + 1));
	put(s, name, b);
	if (colon < 0)
		return;
	buf_addstr(b, str_from(text, (size_t)colon + 2));
	put(s, "", b);
}

/* Prints the format, the metadata and other facts about the container. */
static void
put_container(const struct summary *s, struct buf *b)
{
	const struct ckpt *c = s->c;

	buf_addf(b, "%s%s%s, %s-endian", c->ops->name, c->writer != NULL ? ", written by " : "", c->writer != NULL ? c->writer : "",
		 c->big_endian ? "big" : "little");
	put(s, "format", b);
	if (c->nshards > 0) {
		buf_u64(b, c->nshards);
		put(s, "shards", b);
	}
	put_parts(s, "load", buf_str(&s->verdict.text), b);
	put_parts(s, "", buf_str(&s->verdict.imports), b);
	put_keys(s, b);
	if (c->nunread > 0) {
		buf_addf(b, "%" PRIu32 " %s outside the state dict", c->nunread, text_noun(c->nunread, "value"));
		put(s, "not read", b);
	}
	for (size_t i = 0; i < c->nmeta && i < SHOWN; i++) {
		const struct str value = c->meta_values[i];

		text_show(b, c->meta_keys[i]);
		buf_adds(b, ": ");
		text_show(b, value.len > 200 ? str_n(value.p, 200) : value);
		put(s, i == 0 ? "metadata" : "", b);
	}
}

static void
put_text(const struct summary *s, struct buf *b)
{
	const struct str key = s->j->input.sd.key;
	char text[HUMAN_SIZE];

	put_container(s, b);
	text_show(b, key.len > 0 ? key : str_c("(the root)"));
	buf_adds(b, ": ");
	holding_put(b, &s->all);
	put(s, "state dict", b);
	for (size_t i = 0; i < DTYPE_COUNT; i++) {
		if (s->kinds[i].tensors == 0)
			continue;
		buf_addf(b, "%s: ", dtype_name((enum dtype)i));
		holding_put(b, &s->kinds[i]);
		put(s, "", b);
	}
	put_ties(s, b);
	buf_addf(b, "%s in %" PRIu32 " %s", human_bytes(s->stored, text), s->c->nstorages,
		 s->c->nstorages == 1 ? "storage" : "storages");
	put(s, "stored", b);
	put_bytes(s, "unused", s->unused, "of that belongs to no tensor", b);
	if (s->optimizer > 0)
		put_bytes(s, "optimizer", s->optimizer, "of that", b);
}

static int
prepare(void *state, struct job *j, struct err *err)
{
	struct summary *s = state;

	(void)err;
	load_verdict_take(&s->verdict, j->input.src);
	return 0;
}

static int
run(void *state, struct job *j, struct err *err)
{
	struct summary *s = state;
	struct buf text = BUF_INIT;
	int rc = 0;

	s->j = j;
	s->c = j->input.ckpt;
	count(s);
	find_ties(s);
	find_unused(s);
	find_keys(s);
	job_begin_report(j);
	if (j->record->form == RECORD_TABLE || j->record->form == RECORD_LINES) {
		put_text(s, &text);
		buf_release(&text);
		return 0;
	}
	j->record->facts = true;
	rc = put_facts(s, j->record, err);
	j->record->facts = false;
	return rc;
}

static void
release(void *state)
{
	struct summary *s = state;

	load_verdict_release(&s->verdict);
	free(s->ties);
	free(s->holds);
}

const struct report report_summary = {
	.option = OPTION_BARE("summary", "format, writer, what the file holds, dtypes, sharing"),
	.needs = NEEDS_PICKLES | NEEDS_INDEX | NEEDS_DICT,
	.takes = TAKES_FORMS,
	.piped = RECORD_LINES,
	.size = sizeof(struct summary),
	.prepare = prepare,
	.run = run,
	.release = release,
};
