/*
 * --globals: lists the globals that the pickles of a file name, and reports whether torch would load it with weights_only=True.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "base/xalloc.h"
#include "format/scan.h"
#include "common/file.h"
#include "format/dcp_metadata.h"
#include "format/file_set.h"
#include "format/pickles.h"
#include "format/shard_index.h"
#include "globals.h"

/* A global, with the place where a record first names it. */
struct named {
	struct str text; /* "module.name" */
	const char *record;
	uint64_t off, count;
	enum pickle_verdict verdict;
	bool computed;
	unsigned pickle; /* number of the pickle after STOP that names it; 0: the record's first pickle */
};

struct globals {
	struct job *j;
	struct arena arena;
	struct strmap map;
	struct named *v;
	size_t n, cap, unsafe;
	const char *shard;  /* name of the present file of a set, or "" */
	const char *record; /* record that is being scanned */
	size_t objects;     /* number of pickles from which torch.load would make an object */
	bool refused;
	bool unknown;      /* refused because it cannot be determined whether torch would load it */
	const char *why;   /* the reason; NULL unless refused */
	char imports[256]; /* pickle_scan.imports of the first object's pickle */
	bool has_off;
	uint64_t why_off, extra;
	unsigned more;
	bool nowhere; /* imports has a class of TorchScript, which cannot be imported */
	bool brief;   /* only the verdict is needed */
	bool broken;  /* the pickle of an object is malformed */
	bool damaged; /* the container is damaged, so there may be more pickles */
};

/* ---- scanning */

static int
found(void *arg, const struct pickle_found *f, struct err *err)
{
	struct globals *g = arg;
	struct buf key = BUF_INIT;
	struct named *n;
	uint64_t at;
	size_t len;

	(void)err;
	if (f->ref == REF_COMPUTED) {
		buf_addf(&key, "(computed at byte %" PRIu64 ")", f->off);
	} else {
		buf_addstr(&key, f->module);
		buf_addc(&key, '.');
		buf_addstr(&key, f->name);
	}
	len = key.len;
	buf_addc(&key, '\0');
	buf_adds(&key, g->record);
	buf_le32(&key, f->pickle);
	g->unsafe += f->verdict == GLOBAL_UNSAFE;
	if (strmap_get(&g->map, buf_str(&key), &at)) {
		g->v[at].count++;
		buf_release(&key);
		return 0;
	}
	g->v = xgrow(g->v, g->n, &g->cap, sizeof(*g->v));
	n = &g->v[g->n];
	*n = (struct named){ .record = g->record,
			     .off = f->off,
			     .count = 1,
			     .verdict = f->verdict,
			     .computed = f->ref == REF_COMPUTED,
			     .pickle = f->pickle };
	n->text = arena_str(&g->arena, buf_str(&key));
	(void)strmap_add(&g->map, n->text, g->n++);
	n->text.len = len;
	buf_release(&key);
	return 0;
}

/* Notes a reason why torch would not load the file. The first reason is kept, but a definite one replaces an uncertain one. */
static void
refuse(struct globals *g, const char *record, const char *why, bool has_off, uint64_t off)
{
	if (g->refused && !g->unknown)
		return;
	g->refused = true;
	g->unknown = false;
	g->why = arena_printf(&g->arena, "%s%s%s", record, record[0] ? ": " : "", why);
	g->has_off = has_off;
	g->why_off = off;
}

static int
scan(void *arg, struct pickle_part *part, struct err *err)
{
	struct globals *g = arg;
	struct pickle_scan s = {
		.found = g->brief ? NULL : found, .arg = g, .legacy = part->legacy, .rest = !g->brief && part->limit != UINT64_MAX
	};

	if (g->brief && !part->object && part->limit != UINT64_MAX)
		return 0;
	g->record = arena_printf(&g->arena, "%s%s%s", g->shard, g->shard[0] ? ": " : "", part->record);
	if (pickle_scan(&s, part->src, part->off, part->limit, err) < 0)
		return -1;
	part->end = s.broken ? 0 : s.end;
	if (part->object && g->objects == 0) {
		snprintf(g->imports, sizeof(g->imports), "%s", s.imports);
		g->nowhere = s.nowhere;
	}
	g->objects += part->object;
	g->extra += s.extra;
	g->more += s.more;
	/* torch reads all pickles of a legacy stream, but only the object's pickle of a zip. */
	if (!s.loads && (part->object || part->limit == UINT64_MAX) && !(s.unknown && g->refused)) {
		refuse(g, part->unpacked ? "its data.pkl, unpacked" : "", s.why, true, s.why_off);
		g->unknown = s.unknown;
	}
	g->broken = g->broken || (s.broken && part->object);
	return 0;
}

static int scan_source(struct globals *g, struct source *src, struct err *err);

static int
scan_file(struct globals *g, const char *path, struct err *err)
{
	struct source *src;
	int rc = file_input(path, FILE_BINARY, &src, err);

	g->shard = path + path_folder(path);
	if (rc == 0) {
		rc = scan_source(g, src, err);
		source_close(src);
	}
	return rc;
}

/* Scans all shards of an index. */
static int
scan_shards(struct globals *g, struct source *src, struct err *err)
{
	struct shard_index x;
	int rc = shard_index_read(&x, src, err);

	for (uint32_t i = 0; rc == 0 && i < x.nfiles; i++)
		rc = scan_file(g, arena_cstr(&g->arena, x.paths[i]), err);
	shard_index_release(&x);
	return rc;
}

/* Scans a value of a distributed folder, which torch unpickles when it loads the folder. */
static void
scan_item(struct globals *g, const char *dir, const struct dcp_metadata *m, const struct dcp_item *item)
{
	const char *path = arena_printf(&g->arena, "%s%s", dir, m->files[item->file]);
	struct err why = ERR_INIT;
	struct source *file = NULL, *part;
	int rc = source_open(&file, path, NULL, &why);

	g->shard = arena_printf(&g->arena, "%s, '%.*s'", m->files[item->file], STR_ARG(m->names[item->name].name));
	if (rc == 0 && !source_is_stream(file)) {
		part = source_part(file, item->offset, item->length, path);
		rc = scan_source(g, part, &why);
		source_close(part);
	}
	source_close(file);
	if (rc < 0)
		refuse(g, "", why.msg, false, 0);
}

/*
 * Scans the values of a distributed folder. list names its metadata. Errors in the metadata are ignored, because opening the
 * checkpoint reports them.
 */
static void
scan_items(struct globals *g, const char *dir, const struct file_list *list)
{
	struct dcp_metadata m;
	struct err ignored = ERR_INIT;
	struct source *src;
	int rc = 0;

	dcp_metadata_init(&m);
	for (uint32_t i = 0; rc == 0 && i < list->n; i++) {
		rc = source_open(&src, list->paths[i], NULL, &ignored);
		if (rc == 0) {
			rc = dcp_metadata_add(&m, src, &ignored);
			source_close(src);
		}
	}
	dcp_metadata_sort(&m);
	for (size_t i = 0; rc == 0 && m.transform.len == 0 && i < m.nitems; i++)
		if (!m.names[m.items[i].name].tensor)
			scan_item(g, dir, &m, &m.items[i]);
	dcp_metadata_release(&m);
}

/* Scans the files that a generated source lists (common/ckpt_folder.h). */
static int
scan_listed(struct globals *g, struct source *src, struct err *err)
{
	const char *file = source_name(src), *dir = arena_printf(&g->arena, "%.*s", (int)path_folder(file), file);
	struct file_list list;
	int rc = file_list_read(&list, src, &g->arena, err);

	const bool items = rc == 0 && str_starts(str_c(DCP_FOLDER), list.what);

	if (items && g->brief)
		return 0;
	for (uint32_t i = 0; rc == 0 && i < list.n; i++)
		rc = scan_file(g, list.paths[i], err);
	if (rc == 0 && items)
		scan_items(g, dir, &list);
	return rc;
}

static int
scan_source(struct globals *g, struct source *src, struct err *err)
{
	struct pickles_visit v = { src, scan, g, g->brief, PICKLES_NONE };
	const uint8_t *head;
	size_t n;

	if (source_look(src, 0, SOURCE_LOOK_MAX, &head, &n, err) < 0)
		return -1;
	if (shard_index_probe(head, n))
		return scan_shards(g, src, err);
	if (source_is_made(src))
		return scan_listed(g, src, err);
	if (pickles_each(&v, err) < 0)
		return -1;
	g->damaged = g->damaged || v.kind == PICKLES_CUT;
	if (v.kind == PICKLES_SCRIPT) {
		g->refused = false;
		g->imports[0] = '\0';
		refuse(g, "", "it is a TorchScript archive, which weights_only=True refuses", false, 0);
	} else if (v.kind == PICKLES_BARE) {
		refuse(g, "", "it is no torch file but a plain pickle (Invalid magic number)", false, 0);
	}
	return 0;
}

/* ---- printing */

static const struct record_column columns[] = {
	{ "verdict", NULL, RECORD_TEXT, IN_TEXT, 0, 0, STYLE_PLAIN },
	{ "global", NULL, RECORD_TEXT, IN_ALL, COLUMN_SHRINKS, 0, STYLE_PLAIN },
	{ "verdict", NULL, RECORD_TEXT, IN_JSON, 0, 0, STYLE_PLAIN },
	{ "offset", NULL, RECORD_COUNT, IN_ALL, 0, 0, STYLE_PLAIN },
	{ "count", NULL, RECORD_COUNT, IN_ALL, 0, 0, STYLE_PLAIN },
	{ "record", NULL, RECORD_TEXT, IN_ALL, COLUMN_SHRINKS, 0, STYLE_PLAIN },
	{ "behind_stop", NULL, RECORD_BOOL, IN_JSON, 0, 0, STYLE_PLAIN },
	{ "behind_stop", "", RECORD_TEXT, IN_TEXT, COLUMN_QUIET, 0, STYLE_PLAIN },
};
enum { COLUMNS = sizeof(columns) / sizeof(columns[0]) };

static const struct record_table table = { "globals", columns, COLUMNS, .sparse = true };

static int
put_rows(const struct globals *g, struct err *err)
{
	static const enum out_style styles[] = { STYLE_DIM, STYLE_GOOD, STYLE_WARN, STYLE_BAD };
	struct record *r = g->j->record;

	record_rows(r, &table, 0);
	for (size_t i = 0; i < g->n && !out_failed(r->out); i++) {
		const struct named *n = &g->v[i];
		struct cell verdict = cell_word(pickle_verdict_text(n->verdict));

		struct cell cells[COLUMNS] = {
			verdict,
			cell_text(n->text),
			verdict,
			cell_count(n->off),
			cell_count(n->count),
			cell_word(n->record),
			cell_bool(n->pickle > 0),
			cell_word(n->pickle > 0 ? "behind STOP" : NULL),
		};

		cells[0].style = styles[n->verdict];
		if (record_row(r, cells, err) < 0)
			return -1;
	}
	record_rows_end(r);
	return 0;
}

static void
put_members(const struct globals *g)
{
	struct record *r = g->j->record;

	record_member(r, "loads", RECORD_BOOL, g->unknown ? cell_unknown() : cell_bool(!g->refused));
	record_member(r, "reason", RECORD_TEXT, cell_word(g->refused ? g->why : NULL));
	record_member(r, "reason_offset", RECORD_COUNT, g->refused && g->has_off ? cell_count(g->why_off) : cell_unknown());
	record_member(r, "bytes_behind_stop", RECORD_COUNT, cell_count(g->extra));
	record_member(r, "pickles_behind_stop", RECORD_COUNT, cell_count(g->more));
}

/*
 * Returns the verdict as a sentence. If the file would not load, *why gets ": " and the reason, and *imports where it would load
 * without weights_only=True.
 */
static const char *
verdict_of(const struct globals *g, struct buf *why, struct buf *imports)
{
	if (!g->refused)
		return "would load with weights_only=True";
	buf_adds(why, ": ");
	text_show(why, str_c(g->why));
	if (g->has_off && !g->brief)
		buf_addf(why, " (at byte %" PRIu64 ")", g->why_off);
	if (g->imports[0] != '\0') {
		buf_addf(imports, "without it, it loads %s: ",
			 g->nowhere ? "in no program, as classes of TorchScript cannot be imported"
				    : "only where these can be imported");
		text_show(imports, str_c(g->imports));
	}
	return g->unknown ? "may or may not load with weights_only=True" : "would not load with weights_only=True";
}

static void
put_verdict(const struct globals *g)
{
	struct record *r = g->j->record;
	struct buf why = BUF_INIT, imports = BUF_INIT;
	const char *verdict = verdict_of(g, &why, &imports);
	char text[160];

	if (g->extra > 0) {
		snprintf(text, sizeof(text),
			 "%" PRIu64 " bytes after STOP, %u complete pickles among them; torch does not read them", g->extra,
			 g->more);
		record_note(r, STYLE_PLAIN, text, NULL);
	}
	if (g->refused)
		record_note(r, STYLE_BAD, verdict, why.p);
	else
		record_note(r, STYLE_GOOD, g->objects == 0 ? "there is no pickle in it" : verdict, NULL);
	if (imports.len > 0)
		record_note(r, STYLE_PLAIN, imports.p, NULL);
	buf_release(&why);
	buf_release(&imports);
}

/* ---- the report */

static int
prepare(void *state, struct job *j, struct err *err)
{
	struct globals *g = state;

	g->j = j;
	g->shard = "";
	return scan_source(g, j->input.src, err);
}

/*
 * Treats damage to the container as a reason not to load. If torch refuses the file for a reason of its own, that reason is the
 * answer, and the damage is no error of this report.
 */
static int
judge_container(struct globals *g, struct err *err)
{
	const struct err *failure = &g->j->failure;

	if (failure->code == ERR_NONE || g->j->input.ckpt != NULL)
		return 0;
	if (g->refused && !g->damaged && (g->n > 0 || !g->broken))
		return 0;
	refuse(g, "", failure->msg, false, 0);
	*err = *failure;
	return -1;
}

static int
run(void *state, struct job *j, struct err *err)
{
	struct globals *g = state;
	struct err own = ERR_INIT;
	int rc = judge_container(g, &own);

	if (g->refused || g->unsafe > 0)
		job_status(j, TOOL_NO);
	/* If the file is damaged, the globals found in it are printed before the error. */
	if (rc == 0 || g->n > 0) {
		job_begin_report(j);
		put_members(g);
		if (put_rows(g, err) < 0)
			return -1;
		put_verdict(g);
	}
	if (rc < 0)
		*err = own;
	return rc;
}

static void
release(void *state)
{
	struct globals *g = state;

	free(g->v);
	strmap_release(&g->map);
	arena_release(&g->arena);
}

/* ---- for other reports */

void
load_verdict_take(struct load_verdict *v, struct source *src)
{
	struct globals g = { .shard = "", .brief = true };
	struct err ignored = ERR_INIT;
	struct buf why = BUF_INIT;

	*v = (struct load_verdict){ .text = BUF_INIT, .imports = BUF_INIT };
	if (scan_source(&g, src, &ignored) == 0 && (g.objects > 0 || g.refused)) {
		v->known = true;
		v->loads = !g.refused;
		v->unknown = g.unknown;
		buf_adds(&v->text, verdict_of(&g, &why, &v->imports));
		buf_addstr(&v->text, buf_str(&why));
	}
	buf_release(&why);
	release(&g);
}

void
load_verdict_release(struct load_verdict *v)
{
	buf_release(&v->text);
	buf_release(&v->imports);
}

const struct report report_globals = {
	.option = OPTION_BARE("globals", "globals in pickles; would weights_only load it?"),
	.needs = NEEDS_PICKLES,
	.takes = TAKES_FORMS,
	.size = sizeof(struct globals),
	.prepare = prepare,
	.run = run,
	.release = release,
};
