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
	buf_release(&f->lower);
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

static bool
fits(const struct seen *s, uint64_t packed, uint64_t size)
{
	return packed == s->packed && size == s->size;
}

/* How long a descriptor without its signature is, that says what is known of s; 0: these n bytes are none. */
static size_t
unsigned_descriptor(const struct seen *s, const uint8_t *p, size_t n)
{
	if (n >= 20 && fits(s, get_le64(p + 4), get_le64(p + 12)))
		return 20;
	return n >= 12 && fits(s, get_le32(p + 4), get_le32(p + 8)) ? 12 : 0;
}

int
torch_forward_settle(struct torch_forward *f, struct err *e)
{
	struct zip_descriptor d;
	struct seen *s;
	const uint8_t *p;
	size_t got;

	if (!f->pending)
		return 0;
	s = &f->seen[f->n - 1];
	if (source_look(f->c->src, f->at, 24, &p, &got, e) < 0)
		return -1;
	f->pending = false;
	if (got < 4 || get_le32(p) != ZIP_SIG_DESCRIPTOR) { /* without it, or missing: what follows shows it */
		f->at += unsigned_descriptor(s, p, got);
		return 0;
	}
	/* Its width is not always what the header lets expect. (Of an empty record the wide one reads as a narrow one, too.) */
	if (got >= 24 && fits(s, get_le64(p + 8), get_le64(p + 16)))
		f->wide = true;
	else if (got >= 16 && fits(s, get_le32(p + 8), get_le32(p + 12)))
		f->wide = false;
	if (zip_descriptor(f->c->src, f->at, f->wide, &d, e) < 0)
		return -1;
	if ((s->crc != 0 && s->crc != d.crc) || !fits(s, d.packed, d.size))
		f->differing++;
	s->crc = d.crc;
	f->at = d.end;
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
				return err_at(e, f->c->file, at,
					"cut off in record '%.*s' (or the descriptor that says its size is wrong: then give the "
					"checkpoint as a file)",
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

static int
twice(const struct torch_forward *f, struct str other, struct err *e)
{
	struct str name = f->local.entry.name;

	if (str_eq(name, other))
		return err_at(e, f->c->file, f->local.entry.header, "the zip has two records '%.*s'", STR_ARG(name));
	return err_at(e, f->c->file, f->local.entry.header,
		"the zip has records '%.*s' and '%.*s', which torch holds for one", STR_ARG(other), STR_ARG(name));
}

/* name in lower case, until the next call. */
static struct str
lower(struct torch_forward *f, struct str name)
{
	char *p;

	buf_clear(&f->lower);
	p = buf_room(&f->lower, name.len);
	f->lower.len = name.len;
	for (size_t i = 0; i < name.len; i++)
		p[i] = name.p[i] >= 'A' && name.p[i] <= 'Z' ? (char)(name.p[i] - 'A' + 'a') : name.p[i];
	return str_n(p, name.len);
}

/* Takes note of the name of the header just read, unless one came that is the same but for its case. */
static int
note_name(struct torch_forward *f, struct err *e)
{
	struct str key = lower(f, f->local.entry.name);
	uint64_t i;

	if (strmap_get(&f->folded, key, &i))
		return twice(f, f->others[i], e);
	strmap_add(&f->folded, arena_str(&f->c->arena, key), f->nothers);
	f->others = xgrow(f->others, f->nothers, &f->others_cap, sizeof(*f->others));
	f->others[f->nothers++] = arena_str(&f->c->arena, f->local.entry.name);
	return 0;
}

/* What stands behind "ROOT/data/", or NULL. Case is looked at in neither of them. */
static struct str
storage_key(const struct torch_forward *f, struct str name)
{
	static const char data[] = "/data/";
	size_t n = f->root->len + sizeof(data) - 1;

	if (name.len < n || !str_eq_nocase(str_n(name.p, f->root->len), *f->root) ||
		!str_eqc_nocase(str_n(name.p + f->root->len, sizeof(data) - 1), data))
		return str_n(NULL, 0);
	return str_from(name, n);
}

/* Is the name in lower case that of a storage? */
static int
check_keys(struct torch_forward *f, struct err *e)
{
	struct str key = storage_key(f, buf_str(&f->lower));
	struct buf other = BUF_INIT;

	if (key.p == NULL || !strmap_get(&f->keys, key, NULL))
		return 0;
	buf_addf(&other, "%.*s/data/%.*s", STR_ARG(*f->root), STR_ARG(key));
	twice(f, buf_str(&other), e);
	buf_release(&other);
	return -1;
}

int
torch_forward_other(struct torch_forward *f, struct err *e)
{
	return note_name(f, e) < 0 || check_keys(f, e) < 0 ? -1 : 0;
}

/* The same for a storage: its name is kept only if it has capitals, or it could not be found again. */
static int
note_storage(struct torch_forward *f, struct err *e)
{
	struct str name = f->local.entry.name, key = storage_key(f, name);
	uint64_t i;

	if (strmap_get(&f->folded, lower(f, name), &i))
		return twice(f, f->others[i], e);
	if (str_eq(storage_key(f, buf_str(&f->lower)), key))
		return 0;
	return torch_forward_other(f, e);
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
	uint64_t packed = t->packed, size = t->method == ZIP_STORED ? t->packed : t->size;

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
	} else if (t->size != size) {
		f->differing++;
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
		return twice(f, t->name, e);
	if (note_storage(f, e) < 0)
		return -1;
	if (!f->local.sized && t->method != ZIP_STORED)
		return err_at(e, f->c->file, t->header, "record '%.*s' is deflated and of unknown size, which cannot be read "
			"from a pipe here: give the checkpoint as a file", STR_ARG(t->name));
	s->offset = t->data;
	s->packed = t->method == ZIP_STORED ? s->nbytes : t->packed;
	if (t->method == ZIP_DEFLATED)
		s->flags |= STORAGE_DEFLATED;
	f->record[i] = (uint32_t)f->n;
	torch_forward_add(f, s->packed, s->nbytes, i);
	/* Whether header or tensors are right is seen at the record's end. */
	f->stated = t->size != s->nbytes ? t->size : t->packed;
	f->doubtful = f->local.sized && (t->size != s->nbytes || t->packed != s->packed);
	f->differing += f->doubtful;
	f->pending |= f->doubtful;
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
	f->doubtful = false;
}

/* ---- one after the other */

/* Where the next record should be there is none. */
static int
no_record(const struct torch_forward *f, struct err *e)
{
	const struct seen *s = f->n > 0 ? &f->seen[f->n - 1] : NULL;
	struct buf name = BUF_INIT;

	if (s == NULL)
		return err_at(e, f->c->file, f->at, "no record of a zip begins here");
	torch_forward_name(f, f->n - 1, &name);
	if (f->doubtful)
		err_at(e, f->c->file, s->header, "record '%.*s' has %" PRIu64 " bytes by its header, but its tensors say %" PRIu64,
			STR_ARG(buf_str(&name)), f->stated, s->size);
	else
		err_at(e, f->c->file, f->at, "record '%.*s' does not end here (or something lies between the records: then give "
			"the checkpoint as a file)", STR_ARG(buf_str(&name)));
	buf_release(&name);
	return -1;
}

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
		return no_record(f, e);
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
