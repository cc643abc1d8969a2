#include "format/torch_forward.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cursor.h"
#include "base/xalloc.h"
#include "io/crc32.h"

void
torch_forward_free(struct torch_forward *f)
{
	if (f == NULL)
		return;
	free(f->seen);
	free(f->others);
	strmap_release(&f->folded);
	strmap_release(&f->keys);
	free(f->place);
	free(f->record);
	free(f->done);
	buf_release(&f->name);
	free(f);
}

void
torch_forward_name(const struct torch_forward *f, size_t i, struct buf *b)
{
	const struct seen *s = &f->seen[i];

	if (s->storage == STORAGE_NONE) {
		buf_addstr(b, f->others[s->name]);
		return;
	}
	buf_addstr(b, *f->root);
	buf_adds(b, "/data/");
	buf_addstr(b, f->c->storages[s->storage].key);
}

/* ---- what comes behind a record */

int
torch_forward_settle(struct torch_forward *f, struct err *e)
{
	struct zip_descriptor d;
	struct buf name = BUF_INIT;
	struct seen *s;

	if (!f->pending)
		return 0;
	s = &f->seen[f->n - 1];
	if (zip_descriptor(f->c->src, f->at, f->wide, &d, e) < 0)
		return -1;
	if (d.packed != s->packed || d.size != s->size) {
		torch_forward_name(f, f->n - 1, &name);
		err_at(e, f->c->file, f->at, "record '%.*s' has %" PRIu64 " bytes, but its descriptor says %" PRIu64,
			STR_ARG(buf_str(&name)), s->size, d.size);
		buf_release(&name);
		return -1;
	}
	if (s->crc != 0 && s->crc != d.crc)
		f->differing++;
	s->crc = d.crc;
	f->at = d.end;
	f->pending = false;
	return 0;
}

void
torch_forward_forget(struct torch_forward *f)
{
	const struct ckpt *c = f->c;

	if (!f->forgets)
		return;
	while (f->low < f->n && (f->seen[f->low].storage == STORAGE_NONE || f->done[f->seen[f->low].storage]))
		f->low++;
	source_forget(c->src, f->low < f->n ? c->storages[f->seen[f->low].storage].offset : f->at);
}

/* ---- records that are no storages */

/* True when the bytes at off are the descriptor of a record that began size bytes before and has that CRC. */
static int
is_descriptor(struct torch_forward *f, uint64_t off, uint64_t size, uint32_t crc, bool *is, struct err *e)
{
	size_t n = f->local.wide ? 24 : 16, got;
	const uint8_t *p;

	*is = false;
	if (source_look(f->c->src, off, n, &p, &got, e) < 0)
		return -1;
	if (got < n || get_le32(p) != ZIP_SIG_DESCRIPTOR || (get_le32(p + 4) != crc && get_le32(p + 4) != 0))
		return 0;
	*is = f->local.wide ? get_le64(p + 16) == size : get_le32(p + 12) == size;
	return 0;
}

/* The size of a stored record that does not say it: it ends where a descriptor follows that fits. */
static int
find_end(struct torch_forward *f, uint64_t *size, struct err *e)
{
	uint64_t start = f->local.entry.data, at = start;
	uint32_t crc = 0;
	const uint8_t *p;
	size_t got, i;
	bool is;

	for (;;) {
		if (source_look(f->c->src, at, 4096, &p, &got, e) < 0)
			return -1;
		for (i = 0; i + 4 <= got && get_le32(p + i) != ZIP_SIG_DESCRIPTOR; i++)
			;
		crc = crc32_add(crc, p, i);
		at += i;
		if (i + 4 > got) {
			if (got < 4096)
				return err_at(e, f->c->file, at, "cut off in record '%.*s'",
					STR_ARG(f->local.entry.name));
			continue;
		}
		if (is_descriptor(f, at, at - start, crc, &is, e) < 0)
			return -1;
		if (is)
			break;
		/* A look may have moved what p shows. */
		if (source_look(f->c->src, at, 1, &p, &got, e) < 0)
			return -1;
		crc = crc32_add(crc, p, 1);
		at++;
	}
	*size = at - start;
	return 0;
}

/* What the record behind "ROOT/" says, if it is one of those that say something. */
static int
read_mark(struct torch_forward *f, struct str what, uint64_t size, struct err *e)
{
	struct ckpt *c = f->c;
	char room[TORCH_SMALL];
	struct str text = { room, size < TORCH_SMALL ? (size_t)size : TORCH_SMALL };
	bool version = str_eqc(what, "version") || str_eqc(what, ".data/version"), big;

	if (str_eqc(what, ".format_version") || str_eqc(what, ".storage_alignment"))
		f->format_version = true;
	if (!version && !str_eqc(what, "byteorder"))
		return 0;
	if (source_read(c->src, f->local.entry.data, room, text.len, e) < 0)
		return -1;
	if (version) {
		f->version = true;
		return torch_check_version(c, text, e);
	}
	if (torch_check_byteorder(c, text, &big, e) < 0)
		return -1;
	if (f->forgets && big != c->big_endian)
		return err_at(e, c->file, f->local.entry.data,
			"its record 'byteorder' says big only after the data: give it as a file, not through a pipe");
	c->big_endian = big;
	f->byteorder = true;
	return 0;
}

int
torch_forward_other(struct torch_forward *f, struct err *e)
{
	struct arena *a = &f->c->arena;
	struct str name = arena_str(a, f->local.entry.name), below;
	char *folded = arena_bytes(a, name.len);
	size_t i;

	for (i = 0; i < name.len; i++)
		folded[i] = name.p[i] >= 'A' && name.p[i] <= 'Z' ? (char)(name.p[i] - 'A' + 'a') : name.p[i];
	below = torch_below(*f->root, str_n(folded, name.len));
	if (!strmap_add(&f->folded, str_n(folded, name.len), f->nothers) ||
		(below.p != NULL && str_starts(below, str_c("data/")) && strmap_get(&f->keys, str_from(below, 5), NULL)))
		return err_at(e, f->c->file, f->local.entry.header, "the zip has two records '%.*s' (or they differ in case "
			"only)", STR_ARG(name));
	f->others = xgrow(f->others, f->nothers, &f->others_cap, sizeof(*f->others));
	f->others[f->nothers++] = name;
	return 0;
}

bool
torch_forward_can(const struct torch_forward *f)
{
	return f->local.sized || f->local.entry.method == ZIP_STORED;
}

static int
take_other(struct torch_forward *f, struct str what, struct err *e)
{
	const struct zip_entry *t = &f->local.entry;
	uint64_t packed = t->packed, size = t->size;

	f->outside += what.p == NULL;
	if (!torch_forward_can(f))
		return err_at(e, f->c->file, t->header, "record '%.*s' is deflated and of unknown size, which cannot be read "
			"from a pipe here: give the checkpoint as a file", STR_ARG(t->name));
	if (torch_forward_other(f, e) < 0)
		return -1;
	if (!f->local.sized) {
		if (find_end(f, &size, e) < 0)
			return -1;
		packed = size;
	}
	if (what.p != NULL && t->method == ZIP_STORED && read_mark(f, what, size, e) < 0)
		return -1;
	torch_forward_add(f, packed, size, STORAGE_NONE);
	return 0;
}

/* ---- storages */

static int
take_storage(struct torch_forward *f, uint32_t i, struct err *e)
{
	struct storage *s = &f->c->storages[i];
	const struct zip_entry *t = &f->local.entry;

	if (f->record[i] != UINT32_MAX)
		return err_at(e, f->c->file, t->header, "the zip has two records '%.*s'", STR_ARG(t->name));
	if (f->local.sized && t->size != s->nbytes)
		return err_at(e, f->c->file, t->header, "record '%.*s' has %" PRIu64 " bytes, but its tensors say %" PRIu64,
			STR_ARG(t->name), t->size, s->nbytes);
	if (!f->local.sized && t->method != ZIP_STORED)
		return err_at(e, f->c->file, t->header, "record '%.*s' is deflated and of unknown size, which cannot be read "
			"from a pipe here: give the checkpoint as a file", STR_ARG(t->name));
	s->offset = t->data;
	s->packed = f->local.sized ? t->packed : s->nbytes;
	if (t->method == ZIP_DEFLATED)
		s->flags |= STORAGE_DEFLATED;
	f->record[i] = (uint32_t)f->n;
	torch_forward_add(f, s->packed, s->nbytes, i);
	return 0;
}

void
torch_forward_add(struct torch_forward *f, uint64_t packed, uint64_t size, uint32_t storage)
{
	const struct zip_entry *t = &f->local.entry;

	f->seen = xgrow(f->seen, f->n, &f->cap, sizeof(*f->seen));
	f->seen[f->n++] = (struct seen){ t->header, packed, size, t->crc, storage, (uint32_t)(f->nothers - 1),
		t->method };
	f->at = t->data + packed;
	f->pending = (t->flags & ZIP_FLAG_DESCRIPTOR) != 0;
	f->wide = f->local.wide;
}

/* ---- one after the other */

int
torch_forward_header(struct torch_forward *f, struct err *e)
{
	enum zip_sign sign;

	if (torch_forward_settle(f, e) < 0 || zip_sign(f->c->src, f->at, &sign, e) < 0)
		return -1;
	f->at_directory = sign == ZIP_SIGN_CENTRAL || sign == ZIP_SIGN_END;
	if (f->at_directory)
		return 0;
	if (sign == ZIP_SIGN_OTHER)
		return err_at(e, f->c->file, f->at, "neither a record of the zip nor its directory begins here");
	return zip_local(f->c->src, f->at, &f->local, &f->name, e);
}

int
torch_forward_take(struct torch_forward *f, struct err *e)
{
	struct str what = torch_below(*f->root, f->local.entry.name);
	uint64_t i;

	if (what.p != NULL && f->place != NULL && str_starts(what, str_c("data/")) &&
		strmap_get(&f->keys, str_from(what, 5), &i))
		return take_storage(f, f->place[i], e);
	return take_other(f, what, e);
}

int
torch_forward_next(struct torch_forward *f, struct err *e)
{
	if (torch_forward_header(f, e) < 0)
		return -1;
	if (!f->at_directory && torch_forward_take(f, e) < 0)
		return -1;
	torch_forward_forget(f);
	return 0;
}
