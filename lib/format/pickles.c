#include "format/pickles.h"

#include <string.h>

#include "base/buf.h"
#include "zip/directory.h"
#include "zip/inflate.h"
#include "format/format.h"

/* ---- zip */

static bool
is_object(struct str name)
{
	const char *slash = name.len > 0 ? memchr(name.p, '/', name.len) : NULL;

	return slash != NULL && str_eqc_nocase(str_from(name, (size_t)(slash - name.p) + 1), "data.pkl");
}

/* Names of pickles in TorchScript's debug information end in _pkl. */
static bool
is_pickle_name(struct str name)
{
	return name.len >= 4 &&
	       (str_eqc_nocase(str_from(name, name.len - 4), ".pkl") || str_eqc_nocase(str_from(name, name.len - 4), "_pkl"));
}

/* Ignores damage of the file, which callers look for, but passes system errors on. */
static int
failed(const struct err *own, struct err *err)
{
	if (own->code != ERR_SYSTEM)
		return 0;
	*err = *own;
	return -1;
}

/* Unpacks as much as possible of a record that may be damaged. Returns -1 only if the file cannot be read. */
static int
unpack(struct pickles_visit *f, const struct zip_entry *t, struct buf *b, struct err *err)
{
	struct zip_inflate *z = zip_inflate_new(f->src, t->data, t->packed, t->size, t->name);
	struct err own = ERR_INIT;
	size_t n;

	while (b->len < t->size) {
		n = t->size - b->len < 1 << 16 ? (size_t)(t->size - b->len) : 1 << 16;
		if (zip_inflate_read(z, buf_reserve(b, n), n, &own) < 0)
			break;
		b->len += n;
	}
	zip_inflate_free(z);
	return failed(&own, err);
}

static int
deflated(struct pickles_visit *f, const struct zip_entry *t, struct pickle_part *part, struct err *err)
{
	struct buf b = BUF_INIT;
	int rc;

	if (zip_check_unpacked(f->src, t, err) < 0)
		return -1;
	if (unpack(f, t, &b, err) < 0) {
		buf_release(&b);
		return -1;
	}
	part->src = source_memory(b.p, b.len, source_name(f->src));
	part->off = 0;
	part->limit = b.len;
	part->unpacked = true;
	rc = f->each(f->arg, part, err);
	source_close(part->src);
	buf_release(&b);
	return rc;
}

static int
record(struct pickles_visit *f, const struct zip_entry *t, struct err *err)
{
	struct pickle_part part = { .src = f->src, .off = t->data, .limit = t->data + t->size, .object = is_object(t->name) };
	struct buf name = BUF_INIT;
	int rc;

	buf_addstr(&name, t->name);
	part.record = name.len > 0 ? name.p : "";
	rc = t->method == ZIP_DEFLATED ? deflated(f, t, &part, err) : f->each(f->arg, &part, err);
	buf_release(&name);
	return rc;
}

/*
 * Visits the first record of a zip without a directory. In zips written by torch it is data.pkl, and only STOP tells where it ends.
 */
static int
first_record(struct pickles_visit *f, struct err *err)
{
	struct err own = ERR_INIT;
	struct zip_local l;
	struct buf name = BUF_INIT;
	int rc = 0;

	f->kind = PICKLES_CUT;
	if (zip_local(f->src, 0, &l, &name, &own) == 0 && l.entry.method == ZIP_STORED && is_pickle_name(l.entry.name)) {
		struct pickle_part part = {
			.src = f->src, .record = name.p, .off = l.entry.data, .limit = UINT64_MAX, .object = is_object(l.entry.name)
		};

		rc = f->each(f->arg, &part, err);
	} else {
		rc = failed(&own, err);
	}
	buf_release(&name);
	return rc;
}

static int
each_record(struct pickles_visit *f, struct err *err)
{
	struct err own = ERR_INIT;
	struct zip_dir dir;
	int rc = zip_open(&dir, f->src, ZIP_COMPARED, NULL, &own);

	if (rc < 0) {
		zip_release(&dir);
		return failed(&own, err) < 0 ? -1 : first_record(f, err);
	}
	f->kind = PICKLES_ZIP;
	for (size_t i = 0; i < dir.n; i++)
		if (str_ends(dir.entries[i].name, str_c("/constants.pkl")))
			f->kind = PICKLES_SCRIPT;
	for (size_t i = 0; rc == 0 && i < dir.n; i++)
		if (is_pickle_name(dir.entries[i].name))
			rc = record(f, &dir.entries[i], err);
	zip_release(&dir);
	return rc;
}

/* ---- files without records */

static int
each_legacy(struct pickles_visit *f, struct err *err)
{
	static const char *const names[] = { "pickle 1 of 5", "pickle 2 of 5", "pickle 3 of 5", "pickle 4 of 5", "pickle 5 of 5" };
	uint64_t at = 0;

	f->kind = PICKLES_LEGACY;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct pickle_part part = {
			.src = f->src, .record = names[i], .off = at, .limit = UINT64_MAX, .legacy = i == 3, .object = i == 3
		};

		if (f->each(f->arg, &part, err) < 0)
			return -1;
		if (part.end <= at)
			break;
		at = part.end;
	}
	return 0;
}

static int
whole_file(struct pickles_visit *f, struct err *err)
{
	struct pickle_part part = { .src = f->src, .record = "", .limit = UINT64_MAX, .object = true };

	f->kind = PICKLES_BARE;
	if (source_size(f->src, &part.limit, err) < 0)
		return -1;
	return f->each(f->arg, &part, err);
}

/* Returns true if src is a stream whose first record is the pickle of the object. */
static bool
object_leads(struct source *src)
{
	struct err ignored = ERR_INIT;
	struct buf name = BUF_INIT;
	struct zip_local l;
	bool leads = source_is_stream(src) && zip_local(src, 0, &l, &name, &ignored) == 0 && l.entry.method == ZIP_STORED &&
		     is_object(l.entry.name);

	buf_release(&name);
	return leads;
}

int
pickles_each(struct pickles_visit *v, struct err *err)
{
	const uint8_t *head;
	size_t n;

	if (v->object && object_leads(v->src))
		return first_record(v, err);
	if (source_look(v->src, 0, FORMAT_PROBE, &head, &n, err) < 0)
		return -1;
	v->kind = PICKLES_NONE;
	if (format_torch_zip.probe(head, n))
		return each_record(v, err);
	if (format_legacy.probe(head, n))
		return each_legacy(v, err);
	if (format_safetensors.probe(head, n) || format_sharded.probe(head, n))
		return 0;
	return whole_file(v, err);
}
