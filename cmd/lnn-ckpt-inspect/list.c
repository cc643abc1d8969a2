/*
 * The tensor list in its formats.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cursor.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "common/columns.h"
#include "inspect.h"
#include "model/list.h"
#include "model/model.h"
#include "modes.h"
#include "rows.h"
#include "tensor/composite.h"

/* With --long: by storage, which entry of the state dict looks at it first. */
struct sharing {
	size_t *first; /* SIZE_MAX: none */
	bool *shared;
};

struct list {
	struct job *j;
	const struct statedict *sd;
	struct sharing sharing;
	struct buf line;
};

static void
find_sharing(struct list *l)
{
	const struct ckpt *c = l->sd->ckpt;

	l->sharing.first = xreallocn(NULL, (size_t)c->nstorages + 1, sizeof(*l->sharing.first));
	l->sharing.shared = xcalloc((size_t)c->nstorages + 1, sizeof(*l->sharing.shared));
	for (uint32_t i = 0; i < c->nstorages; i++)
		l->sharing.first[i] = SIZE_MAX;
	for (size_t i = 0; i < l->sd->n; i++) {
		const struct tensor *t = sd_tensor(l->sd, &l->sd->entries[i]);

		if (t == NULL || t->storage == STORAGE_NONE)
			continue;
		if (l->sharing.first[t->storage] == SIZE_MAX)
			l->sharing.first[t->storage] = i;
		else
			l->sharing.shared[t->storage] = true;
	}
}

/* An earlier tensor that looks at the same storage. */
static bool
shares(const struct list *l, const struct row *row, struct str *with)
{
	size_t first;

	if (row->t->storage == STORAGE_NONE || !l->sharing.shared[row->t->storage])
		return false;
	first = l->sharing.first[row->t->storage];
	*with = l->sd->entries[first].name;
	return first != row->entry;
}

/* Where the first element is in the file; false if it is packed, or nowhere. */
static bool
offset_of(const struct list *l, const struct row *row, uint64_t *offset)
{
	const struct storage *s;

	if (row->t->storage == STORAGE_NONE)
		return false;
	s = &l->sd->ckpt->storages[row->t->storage];
	if ((s->flags & STORAGE_DEFLATED) || s->offset == OFFSET_UNKNOWN)
		return false;
	*offset = s->offset + row->t->offset * dtype_size(row->t->dtype);
	return true;
}

static const char *
shard_of(const struct list *l, const struct row *row)
{
	const struct ckpt *c = l->sd->ckpt;

	if (c->nshards == 0 || row->t->storage == STORAGE_NONE)
		return NULL;
	return c->shards[c->storages[row->t->storage].shard];
}

/* On a stream places are known once the data went by. */
static int
locate_all(const struct list *l, struct err *e)
{
	struct ckpt *c = l->sd->ckpt;

	for (uint32_t i = 0; i < c->nstorages; i++) {
		if (ckpt_locate(c, i, e) < 0 || (source_is_stream(c->src) && ckpt_done(c, i, e) < 0))
			return -1;
	}
	return 0;
}

static struct entry
entry_of(const struct row *row)
{
	struct entry entry = entry_named(row->name);

	entry.dtype = row->t->dtype;
	entry.has_shape = true;
	entry.shape = row->t->shape;
	entry.ndim = row->t->ndim;
	return entry;
}

/* ---- TSV and names */

static void
put_long(struct list *l, const struct row *row)
{
	struct buf *b = &l->line;
	uint64_t offset;
	struct str with;

	buf_addf(b, "\tnumel=%" PRIu64 "\tnbytes=%" PRIu64 "\toffset=", row->numel, row->nbytes);
	if (offset_of(l, row, &offset))
		buf_u64(b, offset);
	else
		buf_addc(b, '-');
	buf_adds(b, "\tstrides=");
	shape_put(b, row->t->stride, row->t->ndim);
	if (row->t->storage != STORAGE_NONE)
		buf_addf(b, "\tstorage=%" PRIu32, row->t->storage);
	if (shares(l, row, &with)) {
		buf_adds(b, "\tshares=");
		text_escape(b, with);
	}
	if (shard_of(l, row) != NULL) {
		buf_adds(b, "\tfile=");
		text_escape(b, str_c(shard_of(l, row)));
	}
	if (row->t->more != NULL && row->t->more->nparts > 0) {
		buf_adds(b, "\tparts=");
		composite_put_parts(b, row->t);
	}
}

/* On a terminal nothing but text, TABs and the newline; the fields of a list have no controls anyway. */
static void
put_shown(struct out *out, struct str line)
{
	struct buf b = BUF_INIT;
	struct str field;

	if (!out->tty) {
		out_write(out, line.p, line.len);
		return;
	}
	line.len--;
	for (bool first = true; str_split(&line, '\t', &field); first = false) {
		if (!first)
			buf_addc(&b, '\t');
		text_show(&b, field);
	}
	buf_addc(&b, '\n');
	out_write(out, b.p, b.len);
	buf_release(&b);
}

static int
put_line(struct list *l, const struct row *row, struct err *e)
{
	struct inspect *in = l->j->in;
	struct entry entry = in->o->format == FORMAT_NAMES ? entry_named(row->name) : entry_of(row);

	buf_clear(&l->line);
	if (tool_settings.null) {
		if (list_put(&l->line, &entry, true, e) < 0)
			return -1;
		out_write(&in->out, l->line.p, l->line.len);
		return 0;
	}
	if (list_put_fields(&l->line, &entry, e) < 0)
		return -1;
	if (in->o->format != FORMAT_NAMES) {
		composite_put(&l->line, row->t);
		if (row->count > 1)
			buf_addf(&l->line, "\tcount=%" PRIu64, row->count);
		if (in->o->longer)
			put_long(l, row);
	}
	buf_addc(&l->line, '\n');
	put_shown(&in->out, buf_str(&l->line));
	return 0;
}

static int
put_lines(struct list *l, struct err *e)
{
	const struct rows *r = &l->j->rows;
	struct err own = ERR_INIT;

	if (!tool_settings.null)
		inspect_heading(l->j);
	for (size_t i = 0; i < r->n && !out_failed(&l->j->in->out); i++) {
		if (put_line(l, &r->v[i], &own) < 0)
			return err_input(e, l->j->file, "%s", own.msg);
	}
	return 0;
}

/* ---- JSON */

static void
json_shape(struct json_writer *w, const uint64_t *v, unsigned n)
{
	json_begin_inline_array(w);
	for (unsigned i = 0; i < n; i++)
		json_put_u64(w, v[i]);
	json_end_array(w);
}

static void
json_long(const struct list *l, const struct row *row, struct json_writer *w)
{
	uint64_t offset;
	struct str with;

	json_key(w, "offset");
	if (offset_of(l, row, &offset))
		json_put_u64(w, offset);
	else
		json_put_null(w);
	json_key(w, "strides");
	json_shape(w, row->t->stride, row->t->ndim);
	json_key(w, "storage");
	if (row->t->storage != STORAGE_NONE)
		json_put_u64(w, row->t->storage);
	else
		json_put_null(w);
	json_key(w, "shares");
	if (shares(l, row, &with))
		json_put_str(w, with);
	else
		json_put_null(w);
	if (shard_of(l, row) != NULL) {
		json_key(w, "file");
		json_put_cstr(w, shard_of(l, row));
	}
}

static void
json_part(const struct tensor_part *part, struct json_writer *w)
{
	json_begin_inline_object(w);
	json_key(w, "name");
	json_put_str(w, part->name);
	json_key(w, "dtype");
	json_put_cstr(w, dtype_name(part->dtype));
	json_key(w, "shape");
	json_shape(w, part->tensor != NULL ? part->tensor->shape : NULL, part->tensor != NULL ? part->tensor->ndim : 0);
	if (part->tensor != NULL && part->tensor->storage != STORAGE_NONE) {
		json_key(w, "storage");
		json_put_u64(w, part->tensor->storage);
	} else if (part->tensor == NULL) {
		json_key(w, "value");
		if (part->dtype == DTYPE_INT64)
			json_put_i64(w, (int64_t)get_le64(part->scalar));
		else
			json_put_double(w, composite_number(part));
	}
	json_end_object(w);
}

/* What a tensor with parts is. */
static void
json_more(const struct tensor_more *m, struct json_writer *w)
{
	const struct {
		const char *key;
		struct str text;
	} said[] = { { "layout", m->layout }, { "device", m->device }, { "quantized", m->quantized },
		     { "placements", m->placements } };

	for (size_t i = 0; i < sizeof(said) / sizeof(said[0]); i++) {
		if (said[i].text.len == 0)
			continue;
		json_key(w, said[i].key);
		json_put_str(w, said[i].text);
	}
	json_key(w, "parts");
	json_begin_array(w);
	for (size_t i = 0; i < m->nparts; i++)
		json_part(&m->parts[i], w);
	json_end_array(w);
}

static void
json_row(const struct list *l, const struct row *row)
{
	struct json_writer *w = &l->j->in->json;

	json_begin_inline_object(w);
	json_key(w, "name");
	json_put_str(w, row->name);
	json_key(w, "dtype");
	json_put_cstr(w, dtype_name(row->t->dtype));
	json_key(w, "shape");
	json_shape(w, row->t->shape, row->t->ndim);
	json_key(w, "numel");
	json_put_u64(w, row->numel);
	json_key(w, "nbytes");
	json_put_u64(w, row->nbytes);
	if (l->j->in->o->fold) {
		json_key(w, "count");
		json_put_u64(w, row->count);
	}
	if (l->j->in->o->longer)
		json_long(l, row, w);
	if (row->t->more != NULL)
		json_more(row->t->more, w);
	json_end_object(w);
}

static void
put_json(struct list *l)
{
	struct inspect *in = l->j->in;
	const struct rows *r = &l->j->rows;
	const bool lines = in->o->format == FORMAT_JSONL;

	if (!lines) {
		inspect_begin(l->j);
		json_key(&in->json, "key");
		json_put_str(&in->json, l->sd->key);
		json_key(&in->json, "tensors");
		json_begin_array(&in->json);
	}
	for (size_t i = 0; i < r->n && !out_failed(&in->out); i++) {
		json_row(l, &r->v[i]);
		if (lines)
			json_finish(&in->json);
		inspect_drain(in);
	}
	if (!lines) {
		json_end_array(&in->json);
		inspect_end(l->j);
	}
}

/* ---- table */

static const struct table_column columns[] = {
	{ "name", false, true, STYLE_NAME },
	{ "dtype", false, false, STYLE_PLAIN },
	{ "shape", false, false, STYLE_PLAIN },
	{ "", true, false, STYLE_DIM },
	{ "elements", true, false, STYLE_PLAIN },
	{ "bytes", true, false, STYLE_PLAIN },
	{ "offset", true, false, STYLE_PLAIN },
	{ "strides", false, false, STYLE_PLAIN },
	{ "shares with", false, true, STYLE_DIM },
};

static void
table_row(const struct list *l, struct table *t, const struct row *row)
{
	const struct options *o = l->j->in->o;
	struct buf shape = BUF_INIT;
	struct str with;
	uint64_t offset;

	table_cell(t, row->name);
	table_cellc(t, dtype_name(row->t->dtype));
	shape_put(&shape, row->t->shape, row->t->ndim);
	table_cell(t, buf_str(&shape));
	if (o->fold || o->longer) {
		if (row->count > 1)
			table_cellf(t, "x%" PRIu64, row->count);
		else
			table_cellc(t, "");
	}
	if (o->longer) {
		table_cellf(t, "%" PRIu64, row->numel);
		table_cellf(t, "%" PRIu64, row->nbytes);
		if (offset_of(l, row, &offset))
			table_cellf(t, "%" PRIu64, offset);
		else
			table_cellc(t, "-");
		buf_clear(&shape);
		shape_put(&shape, row->t->stride, row->t->ndim);
		table_cell(t, buf_str(&shape));
		table_cell(t, shares(l, row, &with) ? with : str_c(""));
	}
	buf_release(&shape);
}

static void
put_total(struct list *l)
{
	const struct rows *r = &l->j->rows;
	struct out *out = &l->j->in->out;
	uint64_t tensors = 0, numel = 0, nbytes = 0;
	char count[HUMAN_SIZE], bytes[HUMAN_SIZE];

	for (size_t i = 0; i < r->n; i++) {
		tensors += r->v[i].count;
		numel += r->v[i].numel * r->v[i].count;
		nbytes += r->v[i].nbytes * r->v[i].count;
	}
	out_style(out, STYLE_DIM);
	out_printf(out, "%" PRIu64 " %s, %s elements, %s", tensors, tensors == 1 ? "tensor" : "tensors",
		   human_count(numel, count), human_bytes(nbytes, bytes));
	out_style(out, STYLE_PLAIN);
	out_putc(out, '\n');
}

static void
put_table(struct list *l)
{
	const struct options *o = l->j->in->o;
	struct table t;

	inspect_heading(l->j);
	table_init(&t, columns, o->longer ? sizeof(columns) / sizeof(columns[0]) : o->fold ? 4 : 3);
	for (size_t i = 0; i < l->j->rows.n; i++)
		table_row(l, &t, &l->j->rows.v[i]);
	table_print(&t, &l->j->in->out);
	table_release(&t);
	put_total(l);
}

/* ---- description */

static int
put_model(struct list *l, struct err *e)
{
	const struct rows *r = &l->j->rows;
	struct buf b = BUF_INIT;
	struct err own = ERR_INIT;
	struct entry *entries;
	struct model m;
	int rc;

	model_init(&m);
	entries = xcalloc(r->n ? r->n : 1, sizeof(*entries));
	for (size_t i = 0; i < r->n; i++) {
		entries[m.n++] = entry_of(&r->v[i]);
	}
	m.entries = entries;
	m.has_state_dict = true;
	rc = model_write(&m, &b, &own);
	if (rc == 0)
		out_write(&l->j->in->out, b.p, b.len);
	else
		err_input(e, l->j->file, "%s", own.msg);
	m.entries = NULL;
	m.n = 0;
	free(entries);
	model_release(&m);
	buf_release(&b);
	return rc;
}

static int
put(struct list *l, struct err *e)
{
	switch (l->j->in->o->format) {
	case FORMAT_TABLE: put_table(l); return 0;
	case FORMAT_JSON:
	case FORMAT_JSONL: put_json(l); return 0;
	case FORMAT_MODEL: return put_model(l, e);
	default: return put_lines(l, e);
	}
}

int
list_run(struct job *j, struct err *e)
{
	struct list l = { .j = j, .sd = &j->input.sd, .line = BUF_INIT };
	int rc = 0;

	if (j->in->o->longer) {
		find_sharing(&l);
		rc = locate_all(&l, e);
	}
	if (rc == 0 && j->in->o->fold)
		rows_fold(&j->rows);
	if (rc == 0)
		rc = put(&l, e);
	free(l.sharing.first);
	free(l.sharing.shared);
	buf_release(&l.line);
	return rc;
}
