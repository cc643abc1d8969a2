/*
 * list: the tensor list, which is the default report, and --digest, which prints the list with digests.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cursor.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "model/model.h"
#include "report.h"
#include "tensor/boxes.h"
#include "tensor/composite.h"
#include "values.h"

struct list {
	struct job *j;
	const struct statedict *sd;
	size_t *first;    /* --long: by storage, the first entry of the state dict that uses it; SIZE_MAX: none */
	uint32_t located; /* number of storages, from the first, whose offsets are known */
	bool digests;
};

static void
find_sharing(struct list *l)
{
	const struct ckpt *c = l->sd->ckpt;

	l->first = xreallocn(NULL, (size_t)c->nstorages + 1, sizeof(*l->first));
	for (uint32_t i = 0; i < c->nstorages; i++)
		l->first[i] = SIZE_MAX;
	for (size_t i = 0; i < l->sd->n; i++) {
		const struct tensor *t = sd_tensor(l->sd, &l->sd->entries[i]);

		if (t == NULL || t->storage == STORAGE_NONE)
			continue;
		if (l->first[t->storage] == SIZE_MAX)
			l->first[t->storage] = i;
	}
}

/* Returns the name of an earlier tensor that shares the storage of a row. */
static struct cell
shares(const struct list *l, const struct row *row)
{
	size_t first;

	if (row->t->storage == STORAGE_NONE)
		return cell_unknown();
	first = l->first[row->t->storage];
	return first != row->entry ? cell_text(l->sd->entries[first].name) : cell_unknown();
}

/* Returns the offset of the first element in the file. It is unknown if the storage is compressed or the tensor has no data. */
static struct cell
offset_of(const struct list *l, const struct row *row)
{
	const struct storage *s;

	if (row->t->storage == STORAGE_NONE)
		return cell_unknown();
	s = &l->sd->ckpt->storages[row->t->storage];
	if ((s->flags & STORAGE_DEFLATED) || s->offset == OFFSET_UNKNOWN)
		return cell_unknown();
	return cell_count(s->offset + row->t->offset * dtype_size(row->t->dtype));
}

/* Returns the file of a sharded set that contains a row. */
static struct cell
shard_of(const struct list *l, const struct row *row)
{
	const struct ckpt *c = l->sd->ckpt;

	if (c->nshards == 0 || row->t->storage == STORAGE_NONE)
		return (struct cell){ 0 };
	return cell_word(c->shards[c->storages[row->t->storage].shard]);
}

/*
 * Determines the offsets of all storages before end. On a stream an offset is known only after the data has been read, so the rows
 * printed so far are flushed first.
 */
static int
locate(struct list *l, uint32_t end, struct err *err)
{
	struct ckpt *c = l->sd->ckpt;

	/* In a file, determining unknown offsets would require searching the data. */
	if (!source_is_stream(c->src))
		return 0;
	if (l->located < end && out_flush_is_due(l->j->record->out)) {
		record_drain(l->j->record, true);
		out_flush(l->j->record->out);
	}
	for (; l->located < end; l->located++)
		if (ckpt_locate(c, l->located, err) < 0 || ckpt_done(c, l->located, err) < 0)
			return -1;
	return 0;
}

static size_t
n_tensors(const struct statedict *sd)
{
	size_t n = 0;

	for (size_t i = 0; i < sd->n; i++)
		n += sd->entries[i].kind != SD_OTHER;
	return n;
}

/* ---- names */

static int
put_names(struct list *l, struct err *err)
{
	struct out *out = &l->j->in->out;
	const char end = l->j->in->o->common.null ? '\0' : '\n';
	struct buf line = BUF_INIT;
	int rc = 0;

	for (size_t i = 0; i < l->j->rows.n && rc == 0 && !out_failed(out); i++) {
		struct str name = l->j->rows.v[i].name;

		rc = record_check_name(l->j->record, name, err);
		buf_clear(&line);
		if (l->j->in->o->common.null)
			buf_addstr(&line, name);
		else
			text_escape(&line, name);
		out_plain(out, buf_str(&line));
		out_putc(out, end);
	}
	buf_release(&line);
	return rc;
}

/* ---- rows */

enum { FOLDED = 1, LONG = 2, DIGEST = 4 };

static const struct record_column columns[] = {
	{ "name", NULL, RECORD_TEXT, IN_ALL, COLUMN_NAME, 0, STYLE_PLAIN },
	{ "dtype", NULL, RECORD_TEXT, IN_ALL, 0, 0, STYLE_PLAIN },
	{ "shape", NULL, RECORD_SHAPE, IN_ALL, 0, 0, STYLE_PLAIN },
	{ "layout", NULL, RECORD_TEXT, IN_TSV, COLUMN_KEYED, 0, STYLE_PLAIN },
	{ "device", NULL, RECORD_TEXT, IN_TSV, COLUMN_KEYED, 0, STYLE_PLAIN },
	{ "quantized", NULL, RECORD_TEXT, IN_TSV, COLUMN_KEYED, 0, STYLE_PLAIN },
	{ "placements", NULL, RECORD_TEXT, IN_TSV, COLUMN_KEYED, 0, STYLE_PLAIN },
	{ "count", "", RECORD_COUNT, IN_TEXT, COLUMN_TIMES | COLUMN_KEYED, FOLDED, STYLE_DIM },
	{ "numel", "elements", RECORD_COUNT, IN_TEXT, COLUMN_KEYED, LONG, STYLE_PLAIN },
	{ "nbytes", "bytes", RECORD_COUNT, IN_TEXT, COLUMN_KEYED, LONG, STYLE_PLAIN },
	{ "numel", NULL, RECORD_COUNT, IN_JSON, 0, 0, STYLE_PLAIN },
	{ "nbytes", NULL, RECORD_COUNT, IN_JSON, 0, 0, STYLE_PLAIN },
	{ "count", NULL, RECORD_COUNT, IN_JSON, 0, FOLDED, STYLE_PLAIN },
	{ "offset", NULL, RECORD_COUNT, IN_ALL, COLUMN_KEYED, LONG, STYLE_PLAIN },
	{ "strides", NULL, RECORD_SHAPE, IN_ALL, COLUMN_KEYED, LONG, STYLE_PLAIN },
	{ "storage", NULL, RECORD_COUNT, IN_TSV | IN_JSON, COLUMN_KEYED | COLUMN_QUIET, LONG, STYLE_PLAIN },
	{ "shares", "shares with", RECORD_TEXT, IN_ALL, COLUMN_KEYED | COLUMN_QUIET | COLUMN_SHRINKS, LONG, STYLE_DIM },
	{ "file", NULL, RECORD_TEXT, IN_TSV | IN_JSON, COLUMN_KEYED, LONG, STYLE_PLAIN },
	{ "layout", NULL, RECORD_TEXT, IN_JSON, 0, 0, STYLE_PLAIN },
	{ "device", NULL, RECORD_TEXT, IN_JSON, 0, 0, STYLE_PLAIN },
	{ "quantized", NULL, RECORD_TEXT, IN_JSON, 0, 0, STYLE_PLAIN },
	{ "placements", NULL, RECORD_TEXT, IN_JSON, 0, 0, STYLE_PLAIN },
	{ "parts", NULL, RECORD_RAW, IN_TSV, COLUMN_KEYED, LONG, STYLE_PLAIN },
	{ "parts", NULL, RECORD_RAW, IN_JSON, 0, 0, STYLE_PLAIN },
	{ "boxes", NULL, RECORD_RAW, IN_TSV, COLUMN_KEYED, LONG, STYLE_PLAIN },
	{ "boxes", NULL, RECORD_RAW, IN_JSON, 0, 0, STYLE_PLAIN },
	{ "sha256", NULL, RECORD_TEXT, IN_ALL, COLUMN_KEYED, DIGEST, STYLE_DIM },
};
/*
 * Indices in columns: the first column of those that TSV and JSON have separately, the first of those that --long fills in, and so
 * on.
 */
enum { TSV_MORE = 3, LONG_FIRST = 13, JSON_MORE = 18, TSV_PARTS = 22, JSON_PARTS, TSV_BOXES, JSON_BOXES, SHA256, COLUMNS };

static const struct record_table table = { .member = "tensors", .columns = columns, .n = COLUMNS };

static void
json_part(const struct tensor_part *part, struct json_writer *w)
{
	const struct tensor *t = part->tensor;

	json_begin_inline_object(w);
	json_put_str(json_key(w, "name"), part->name);
	json_put_cstr(json_key(w, "dtype"), dtype_name(part->dtype));
	json_put_sizes(json_key(w, "shape"), t != NULL ? t->shape : NULL, t != NULL ? t->ndim : 0);
	if (t != NULL && t->storage != STORAGE_NONE) {
		json_put_u64(json_key(w, "storage"), t->storage);
	} else if (t == NULL) {
		json_key(w, "value");
		if (part->dtype == DTYPE_INT64)
			json_put_i64(w, (int64_t)get_le64(part->scalar));
		else
			json_put_double(w, composite_number(part));
	}
	json_end_object(w);
}

static void
put_json_parts(struct buf *b, const struct tensor_more *m, bool pretty)
{
	struct json_writer w;

	json_writer_init(&w, b, pretty);
	json_begin_inline_array(&w);
	for (size_t i = 0; i < m->nparts; i++)
		json_part(&m->parts[i], &w);
	json_end_array(&w);
}

/* Returns the file of a box if the checkpoint has several files, else "". */
static const char *
box_file(const struct list *l, const struct box *box)
{
	const struct ckpt *c = l->sd->ckpt;

	return c->nshards > 0 ? c->shards[c->storages[box->storage].shard] : "";
}

/* Does the list show boxes for t? A tensor that is itself a box of a larger tensor is shown with that box. */
static bool
has_boxes(const struct tensor *t)
{
	return t->more->nboxes > 0 || t->more->low != NULL;
}

static struct box
box_of(const struct tensor *t, size_t i)
{
	struct box box = boxes_get(t, i);

	if (t->more->low != NULL)
		box.low = t->more->low;
	return box;
}

/* Extracts the rank from a file name such as "__3_0.distcp", "shard-00004-..." or "..._rank_3.pt", which all mean rank 3. */
static bool
file_rank(const char *file, uint32_t *rank)
{
	if (sscanf(file, "shard-%5" SCNu32 "-", rank) == 1 && *rank > 0) {
		--*rank;
		return true;
	}
	while (sscanf(file, "__%9" SCNu32 "_", rank) != 1 && sscanf(file, "rank_%9" SCNu32, rank) != 1)
		if (*file++ == '\0')
			return false;
	return true;
}

/* Writes "[2,3]@[0,0]:FILE,...". */
static void
put_boxes(const struct list *l, const struct tensor *t, struct buf *b)
{
	for (size_t i = 0; i < boxes_count(t); i++) {
		const struct box box = box_of(t, i);

		buf_adds(b, i > 0 ? "," : "");
		shape_put(b, box.size, t->ndim);
		buf_addc(b, '@');
		shape_put(b, box.low, t->ndim);
		if (l->sd->ckpt->nshards == 0)
			continue;
		buf_addc(b, ':');
		text_escape(b, str_c(box_file(l, &box)));
	}
}

static void
put_json_boxes(const struct list *l, const struct tensor *t, struct buf *b)
{
	struct json_writer w;
	uint32_t rank;

	json_writer_init(&w, b, l->j->record->json.pretty);
	json_begin_inline_array(&w);
	for (size_t i = 0; i < boxes_count(t); i++) {
		const struct box box = box_of(t, i);

		json_begin_inline_object(&w);
		json_put_sizes(json_key(&w, "low"), box.low, t->ndim);
		json_put_sizes(json_key(&w, "shape"), box.size, t->ndim);
		json_put_u64(json_key(&w, "storage"), box.storage);
		json_put_cstr(json_key(&w, "file"), box_file(l, &box));
		if (file_rank(box_file(l, &box), &rank))
			json_put_u64(json_key(&w, "rank"), rank);
		json_end_object(&w);
	}
	json_end_array(&w);
}

/* Prints the row of a tensor that is not plain: its kind, and its parts or boxes. */
static int
put_composite(struct list *l, const struct tensor *t, struct cell *cells, struct err *err)
{
	const struct tensor_more *m = t->more;
	const struct str said[] = { m->layout, m->device, m->quantized, m->placements };
	struct buf parts = BUF_INIT, boxes = BUF_INIT;
	int rc;

	for (size_t i = 0; i < sizeof(said) / sizeof(said[0]); i++)
		if (said[i].len > 0)
			cells[TSV_MORE + i] = cells[JSON_MORE + i] = cell_text(said[i]);
	if (record_is_json(l->j->record) && !has_boxes(t)) {
		put_json_parts(&parts, m, l->j->record->json.pretty);
		cells[JSON_PARTS] = cell_text(buf_str(&parts));
	} else if (m->nparts > 0) {
		composite_put_parts(&parts, t);
		cells[TSV_PARTS] = cell_text(buf_str(&parts));
	}
	if (has_boxes(t)) {
		(record_is_json(l->j->record) ? put_json_boxes : put_boxes)(l, t, &boxes);
		cells[TSV_BOXES] = cells[JSON_BOXES] = cell_text(buf_str(&boxes));
	}
	rc = record_row(l->j->record, cells, err);
	buf_release(&parts);
	buf_release(&boxes);
	return rc;
}

/* Returns the digest of a row. Its hex digits are in b. */
static struct cell
digest_of_row(const struct list *l, const struct row *row, struct buf *b)
{
	const struct digest *d = &l->j->data.figures.digests[row - l->j->rows.v];

	digest_put(b, d);
	return d->known ? cell_text(buf_str(b)) : cell_unknown();
}

static int
put_row(struct list *l, const struct row *row, struct err *err)
{
	const struct tensor *t = row->t;
	struct buf hex = BUF_INIT;
	int rc;
	const struct cell numel = cell_count(tensor_count(t)), nbytes = cell_count(row->nbytes), count = cell_count(row->count);
	struct cell cells[COLUMNS] = {
		cell_text(row->name),
		cell_word(dtype_name(t->dtype)),
		cell_shape(t->shape, t->ndim),
		{ 0 },
		{ 0 },
		{ 0 },
		{ 0 },
		count,
		numel,
		nbytes,
		numel,
		nbytes,
		count,
	};

	if (l->j->in->o->longer) {
		cells[LONG_FIRST] = offset_of(l, row);
		cells[LONG_FIRST + 1] = cell_shape(t->stride, t->ndim);
		cells[LONG_FIRST + 2] = t->storage != STORAGE_NONE ? cell_count(t->storage) : cell_unknown();
		cells[LONG_FIRST + 3] = shares(l, row);
		cells[LONG_FIRST + 4] = shard_of(l, row);
	}
	if (l->digests)
		cells[SHA256] = digest_of_row(l, row, &hex);
	rc = t->more != NULL ? put_composite(l, t, cells, err) : record_row(l->j->record, cells, err);
	buf_release(&hex);
	return rc;
}

static void
put_total(struct list *l)
{
	const struct rows *r = &l->j->rows;
	struct holding all = { 0 };
	struct buf text = BUF_INIT;

	for (size_t i = 0; i < r->n; i++) {
		const uint64_t n = r->v[i].count;

		holding_add(&all, &(struct holding){ n, tensor_count(r->v[i].t) * n, r->v[i].nbytes * n });
	}
	holding_put(&text, &all);
	record_note(l->j->record, STYLE_DIM, text.p, NULL);
	buf_release(&text);
}

static int
put_rows(struct list *l, struct err *err)
{
	const struct inspect_opts *o = l->j->in->o;
	struct record *r = l->j->record;
	int rc = 0;

	record_member(r, "key", RECORD_TEXT, cell_text(l->sd->key));
	record_rows(r, &table, (o->fold ? FOLDED : 0) | (o->longer ? LONG : 0));
	for (size_t i = 0; i < l->j->rows.n && rc == 0 && !out_failed(r->out); i++) {
		const uint32_t storage = l->j->rows.v[i].t->storage;

		if (o->longer && storage != STORAGE_NONE)
			rc = locate(l, storage + 1, err);
		if (rc == 0)
			rc = put_row(l, &l->j->rows.v[i], err);
	}
	record_rows_end(r);
	if (rc == 0 && r->form == RECORD_TABLE)
		put_total(l);
	return rc;
}

/* ---- description */

static int
put_model(struct list *l, struct err *err)
{
	const struct rows *r = &l->j->rows;
	struct entry *entries = xcalloc(r->n + 1, sizeof(*entries));
	struct buf b = BUF_INIT;
	struct err own = ERR_INIT;
	int rc;

	for (size_t i = 0; i < r->n; i++)
		entries[i] = entry_of_tensor(r->v[i].name, r->v[i].t);
	rc = model_write(entries, r->n, &b, &own);
	if (rc == 0)
		out_write(&l->j->in->out, b.p, b.len);
	else
		err_input(err, l->j->file, "%s", own.msg);
	free(entries);
	buf_release(&b);
	return rc;
}

static int
run(void *state, struct job *j, struct err *err)
{
	struct list *l = state;

	*l = (struct list){ .j = j, .sd = &j->input.sd };
	if (j->in->o->longer)
		find_sharing(l);
	/* A document or a table is printed only after everything that may fail. */
	if (j->in->o->longer && !record_is_early(j->record) && locate(l, l->sd->ckpt->nstorages, err) < 0)
		return -1;
	if (j->in->o->fold)
		rows_fold(&j->rows);
	job_begin_report(j);
	if (j->in->o->format == FORMAT_MODEL)
		return put_model(l, err);
	return j->in->names_only ? put_names(l, err) : put_rows(l, err);
}

static void
release(void *state)
{
	free(((struct list *)state)->first);
}

/* ---- --digest */

static const char *
put_identity(const struct list *l, struct buf *b)
{
	const struct rows *r = &l->j->rows;
	struct str *lines = xcalloc(r->n + 1, sizeof(*lines));
	struct arena arena = ARENA_INIT;
	struct digest d;

	for (size_t i = 0; i < r->n; i++) {
		buf_clear(b);
		digest_line(b, r->v[i].name, r->v[i].t, &l->j->data.figures.digests[i]);
		lines[i] = arena_str(&arena, buf_str(b));
	}
	d = digest_of(lines, r->n);
	buf_clear(b);
	digest_put(b, &d);
	free(lines);
	arena_release(&arena);
	return b->p;
}

static int
put_digest(void *state, size_t i, struct err *err)
{
	struct list *l = state;

	return put_row(l, &l->j->rows.v[i], err);
}

/* The identity is printed last, after the input has been read to its end without errors. */
static int
run_digest(void *state, struct job *j, struct err *err)
{
	struct list *l = state;
	struct buf hex = BUF_INIT, text = BUF_INIT;
	const size_t n = j->rows.n, all = n_tensors(&j->input.sd);
	const char *identity;

	*l = (struct list){ .j = j, .sd = &j->input.sd, .digests = true };
	if (data_put(j, &(struct data_table){ &table, DIGEST, put_digest, l }, err) < 0 || job_finish(j, err) < 0)
		return -1;
	identity = put_identity(l, &hex);
	record_member(j->record, "of", RECORD_COUNT, cell_count(all));
	record_member(j->record, "model_sha256", RECORD_TEXT, cell_word(identity));
	buf_adds(&text, "model ");
	if (j->in->o->exprs.n > 0)
		buf_addf(&text, "(%zu of %zu %s) ", n, all, text_noun(all, "tensor"));
	buf_addf(&text, "sha256:%s", identity);
	record_note(j->record, STYLE_PLAIN, text.p, NULL);
	buf_release(&hex);
	buf_release(&text);
	return 0;
}

const struct report report_digest = {
	.option = OPTION_BARE("digest", "list with SHA-256 of contents; the model's identity"),
	.needs = NEEDS_INDEX | NEEDS_DICT | NEEDS_DIGESTS,
	.takes = TAKES_FORMS | TAKES_JSONL,
	.names_rows = true,
	.size = sizeof(struct list),
	.run = run_digest,
};

const struct report report_list = {
	.needs = NEEDS_INDEX | NEEDS_DICT,
	.takes = TAKES_FORMS | TAKES_NAMES | TAKES_JSONL | TAKES_MODEL,
	.alone = true,
	.names_rows = true,
	.size = sizeof(struct list),
	.run = run,
	.release = release,
};
