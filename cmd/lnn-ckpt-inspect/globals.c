/*
 * --globals: what the pickles of a file name, and whether torch would load it with weights_only=True.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strmap.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "pickle/scan.h"
#include "common/file.h"
#include "common/columns.h"
#include "format/format.h"
#include "format/pickles.h"
#include "format/shard_index.h"
#include "modes.h"

/* A global of a record, where it is named first. */
struct named {
	struct str text;   /* "module.name" */
	const char *record;
	uint64_t off, count;
	enum pickle_verdict verdict;
	bool computed;
	unsigned pickle;   /* 0, or the how many-th behind STOP */
};

struct globals {
	struct job *j;
	struct arena arena;
	struct strmap map;
	struct named *v;
	size_t n, cap, unsafe;
	const char *shard;  /* of a set, or "" */
	const char *record; /* being scanned */
	size_t objects;     /* pickles that torch.load would make an object of */
	bool refused;
	char why[640];
	bool has_off;
	uint64_t why_off, extra;
	unsigned more;
	bool broken; /* a pickle of an object */
	bool damaged; /* the container, so that there may be more */
};

/* ---- looking */

static int
found(void *arg, const struct pickle_found *f, struct err *e)
{
	struct globals *g = arg;
	struct buf key = BUF_INIT;
	struct named *n;
	uint64_t at;
	size_t len;

	(void)e;
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
	*n = (struct named){ .record = g->record, .off = f->off, .count = 1, .verdict = f->verdict,
			     .computed = f->ref == REF_COMPUTED, .pickle = f->pickle };
	n->text = arena_str(&g->arena, buf_str(&key));
	(void)strmap_add(&g->map, n->text, g->n++);
	n->text.len = len;
	buf_release(&key);
	return 0;
}

/* The first reason counts. */
static void
refuse(struct globals *g, const char *record, const char *why, bool has_off, uint64_t off)
{
	if (g->refused)
		return;
	g->refused = true;
	snprintf(g->why, sizeof(g->why), "%s%s%s", record, record[0] ? ": " : "", why);
	g->has_off = has_off;
	g->why_off = off;
}

static int
scan(void *arg, struct pickle_part *part, struct err *e)
{
	struct globals *g = arg;
	struct pickle_scan s = { .found = found, .arg = g, .legacy = part->legacy, .rest = part->limit != UINT64_MAX };

	g->record = arena_printf(&g->arena, "%s%s%s", g->shard, g->shard[0] ? ": " : "", part->record);
	if (pickle_scan(&s, part->src, part->off, part->limit, e) < 0)
		return -1;
	part->end = s.broken ? 0 : s.end;
	g->objects += part->object;
	g->extra += s.extra;
	g->more += s.more;
	/* torch reads all pickles of a legacy stream, of a zip only the object's. */
	if (!s.loads && (part->object || part->limit == UINT64_MAX))
		refuse(g, part->unpacked ? "its data.pkl, unpacked" : "", s.why, true, s.why_off);
	g->broken = g->broken || (s.broken && part->object);
	return 0;
}

static int scan_source(struct globals *g, struct source *src, struct err *e);

/* The shards of an index, one after the other. */
static int
scan_shards(struct globals *g, struct source *src, struct err *e)
{
	const char **paths;
	uint32_t n;
	int rc = shard_index_list(src, &g->arena, &paths, &n, e);

	for (uint32_t i = 0; rc == 0 && i < n; i++) {
		struct source *shard;

		g->shard = strrchr(paths[i], '/') ? strrchr(paths[i], '/') + 1 : paths[i];
		rc = file_input(paths[i], FILE_BINARY, &shard, e);
		if (rc == 0)
			rc = scan_source(g, shard, e);
		if (rc == 0)
			source_close(shard);
	}
	return rc;
}

static int
scan_source(struct globals *g, struct source *src, struct err *e)
{
	enum pickles_kind kind = PICKLES_NONE;
	const uint8_t *head;
	size_t n;

	if (source_look(src, 0, SOURCE_LOOK_MAX, &head, &n, e) < 0)
		return -1;
	if (shard_index_probe(head, n))
		return scan_shards(g, src, e);
	if (pickles_each(src, NULL, &kind, scan, g, e) < 0)
		return -1;
	g->damaged = g->damaged || kind == PICKLES_CUT;
	if (kind == PICKLES_SCRIPT) {
		g->refused = false;
		refuse(g, "", "it is a TorchScript archive, which weights_only=True refuses", false, 0);
	} else if (kind == PICKLES_BARE) {
		refuse(g, "", "it is no torch file but a bare pickle (Invalid magic number)", false, 0);
	}
	return 0;
}

/* What is wrong with the container rather than with the pickle in it. */
static int
check_container(const struct globals *g, struct source *src, struct err *e)
{
	struct source_opts sopts = { .spool_dir = getenv("TMPDIR"), .diag = tool_diag() };
	struct format_opts opts = { tool_diag(), &sopts };
	struct err own = ERR_INIT;
	struct ckpt *c;

	if (format_open(&c, src, &opts, &own) == 0) {
		ckpt_close(c);
		return 0;
	}
	/* Where torch's own reason is known that is the answer. */
	if (g->refused && !g->damaged && (g->n > 0 || !g->broken))
		return 0;
	*e = own;
	return -1;
}

/* ---- saying */

static const enum out_style styles[] = { STYLE_DIM, STYLE_GOOD, STYLE_WARN, STYLE_BAD };

static void
put_json(struct globals *g)
{
	struct json_writer *w = &g->j->in->json;

	inspect_begin(g->j);
	json_key(w, "loads");
	json_put_bool(w, !g->refused);
	json_key(w, "reason");
	json_put_cstr(w, g->refused ? g->why : NULL);
	json_key(w, "reason_offset");
	if (g->refused && g->has_off)
		json_put_u64(w, g->why_off);
	else
		json_put_null(w);
	json_key(w, "bytes_behind_stop");
	json_put_u64(w, g->extra);
	json_key(w, "pickles_behind_stop");
	json_put_u64(w, g->more);
	json_key(w, "globals");
	json_begin_array(w);
	for (size_t i = 0; i < g->n; i++) {
		const struct named *n = &g->v[i];

		json_begin_inline_object(w);
		json_key(w, "global");
		json_put_str(w, n->text);
		json_key(w, "verdict");
		json_put_cstr(w, pickle_verdict_text(n->verdict));
		json_key(w, "offset");
		json_put_u64(w, n->off);
		json_key(w, "count");
		json_put_u64(w, n->count);
		json_key(w, "record");
		json_put_cstr(w, n->record);
		json_key(w, "behind_stop");
		json_put_bool(w, n->pickle > 0);
		json_end_object(w);
		inspect_drain(g->j->in);
	}
	json_end_array(w);
	inspect_end(g->j);
}

static void
put_field(struct out *out, struct str s)
{
	if (out->tty)
		out_show(out, s);
	else
		out_field(out, s);
}

static void
put_lines(struct globals *g)
{
	struct out *out = &g->j->in->out;
	struct buf why = BUF_INIT;

	inspect_heading(g->j);
	for (size_t i = 0; i < g->n && !out_failed(out); i++) {
		const struct named *n = &g->v[i];

		out_style(out, styles[n->verdict]);
		out_puts(out, pickle_verdict_text(n->verdict));
		out_style(out, STYLE_PLAIN);
		out_putc(out, '\t');
		put_field(out, n->text);
		out_printf(out, "\t%" PRIu64 "\t%" PRIu64 "\t", n->off, n->count);
		put_field(out, str_c(n->record));
		out_puts(out, n->pickle > 0 ? "\tbehind STOP\n" : "\n");
	}
	if (g->extra > 0)
		out_printf(out, "# %" PRIu64 " bytes behind STOP, %u whole pickles among them; torch does not read them\n",
			   g->extra, g->more);
	out_puts(out, "# ");
	out_style(out, g->refused ? STYLE_BAD : STYLE_GOOD);
	if (g->objects == 0 && !g->refused)
		out_puts(out, "there is no pickle in it");
	else
		out_puts(out, g->refused ? "would not load with weights_only=True" : "would load with weights_only=True");
	out_style(out, STYLE_PLAIN);
	if (g->refused) {
		text_show(&why, str_c(g->why));
		out_puts(out, ": ");
		out_write(out, why.p, why.len);
		if (g->has_off)
			out_printf(out, " (at byte %" PRIu64 ")", g->why_off);
	}
	out_putc(out, '\n');
	buf_release(&why);
}

int
globals_run(struct job *j, struct err *e)
{
	struct globals g = { .j = j, .shard = "" };
	int rc = scan_source(&g, j->input.src, e);

	if (rc == 0) {
		struct err own = ERR_INIT;

		rc = check_container(&g, j->input.src, &own);
		if (rc < 0)
			refuse(&g, "", own.msg, false, 0);
		/* What was seen is shown even if the file is damaged; but nothing was seen in what is no such file. */
		if (rc == 0 || g.n > 0) {
			if (inspect_json(j->in))
				put_json(&g);
			else
				put_lines(&g);
		}
		if (rc < 0)
			*e = own;
	}
	if (g.refused || g.unsafe > 0)
		j->in->status = tool_worst(j->in->status, TOOL_NO);
	free(g.v);
	strmap_release(&g.map);
	arena_release(&g.arena);
	return rc;
}
