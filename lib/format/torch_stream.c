#include "format/torch_forward.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

/* ---- ops */

static struct torch_forward *
forward_of(const struct ckpt *c)
{
	return ((const struct torch_zip *)c->priv)->forward;
}

static int
missing(const struct ckpt *c, uint32_t storage, struct err *e)
{
	return err_input(e, c->file, "its record 'data/%.*s' is missing", STR_ARG(c->storages[storage].key));
}

static int
locate(struct ckpt *c, uint32_t storage, struct err *e)
{
	struct torch_forward *f = forward_of(c);

	while (f->record[storage] == UINT32_MAX) {
		if (f->at_directory)
			return missing(c, storage, e);
		if (torch_forward_next(f, e) < 0)
			return -1;
	}
	return 0;
}

static int
crc(struct ckpt *c, uint32_t storage, uint32_t *value, bool *known, struct err *e)
{
	struct torch_forward *f = forward_of(c);

	if (locate(c, storage, e) < 0)
		return -1;
	if (f->record[storage] == f->n - 1 && torch_forward_settle(f, e) < 0)
		return -1;
	*value = f->seen[f->record[storage]].crc;
	*known = *value != 0 || c->storages[storage].nbytes == 0;
	return 0;
}

static int
done(struct ckpt *c, uint32_t storage, struct err *e)
{
	struct torch_forward *f = forward_of(c);

	f->done[storage] = 1;
	torch_forward_forget(f);
	return f->record[storage] == f->n - 1 ? torch_forward_settle(f, e) : 0;
}

/* ---- the directory against what was seen */

static bool
is_mark(struct str what)
{
	return str_eqc(what, "version") || str_eqc(what, ".data/version") || str_eqc(what, "byteorder") ||
		str_eqc(what, ".format_version") || str_eqc(what, ".storage_alignment");
}

/* Does a record say what the tensors are? what: its name below the root. */
static bool
says(struct str what)
{
	return is_mark(what) || str_eqc(what, "data.pkl");
}

static int
by_header(const void *key, const void *entry)
{
	const uint64_t *header = key;
	const struct seen *s = entry;

	return (*header > s->header) - (*header < s->header);
}

struct comparing {
	struct torch_forward *f;
	uint8_t *matched; /* by record */
	struct buf name, own;
	size_t next;      /* the record expected */
};

static int
compare_entry(struct comparing *k, const struct zip_entry *t, uint64_t off, struct err *e)
{
	struct torch_forward *f = k->f;
	const char *file = f->c->file;
	const struct seen *s = k->next < f->n ? &f->seen[k->next] : NULL;
	size_t i;

	if ((s == NULL || s->header != t->header) && f->seen != NULL)
		s = bsearch(&t->header, f->seen, f->n, sizeof(*f->seen), by_header);
	if (s == NULL)
		return err_at(e, file, off, "the zip's directory lists '%.*s' at byte %" PRIu64 ", where there is no record",
			STR_ARG(t->name), t->header);
	i = (size_t)(s - f->seen);
	buf_clear(&k->own);
	torch_forward_name(f, i, &k->own);
	if (!str_eq(t->name, buf_str(&k->own)) || k->matched[i])
		return err_at(e, file, off, "the zip's directory calls record '%.*s' '%.*s': readers would see two archives",
			STR_ARG(buf_str(&k->own)), STR_ARG(t->name));
	if (t->size != s->size || t->packed != s->packed)
		return err_at(e, file, off, "the zip's directory says that '%.*s' has %" PRIu64 " bytes, but it has %" PRIu64,
			STR_ARG(t->name), t->size, s->size);
	if (t->method != s->method)
		return err_at(e, file, off, "the zip's directory gives record '%.*s' another packing method",
			STR_ARG(t->name));
	f->differing += t->crc != s->crc;
	k->matched[i] = 1;
	k->next = i + 1;
	return 0;
}

/* Records that the directory does not have: those that say nothing are passed over, as gaps are. */
static int
check_unlisted(const struct comparing *k, struct err *e)
{
	const struct torch_forward *f = k->f;
	uint64_t first = 0;
	size_t i, n = 0;

	for (i = f->n; i-- > 0;) {
		const struct seen *s = &f->seen[i];

		if (k->matched[i])
			continue;
		if (s->storage != STORAGE_NONE || says(torch_below(*f->root, f->others[s->name])))
			return err_at(e, f->c->file, f->at, "the zip's directory lacks a record that came: readers would see two "
				"archives");
		first = s->header;
		n++;
	}
	if (n > 0)
		diag_warn(f->c->diag, "%s: %zu gaps between the records of the zip, the first at byte %" PRIu64, f->c->file, n,
			first);
	return 0;
}

static int
compare_directory(struct torch_forward *f, struct err *e)
{
	struct comparing k = { .f = f, .name = BUF_INIT, .own = BUF_INIT };
	struct source *src = f->c->src;
	struct zip_entry t;
	enum zip_sign sign;
	uint64_t at = f->at, off;
	size_t n;
	int r = 0;

	k.matched = xcalloc(f->n, 1);
	for (n = 0; r == 0; n++) {
		r = zip_sign(src, at, &sign, e);
		if (r < 0 || sign != ZIP_SIGN_CENTRAL)
			break;
		off = at;
		r = zip_central(src, off, &t, &k.name, &at, e);
		if (r == 0)
			r = compare_entry(&k, &t, off, e);
		source_forget(src, at);
	}
	if (r == 0)
		r = check_unlisted(&k, e);
	if (r == 0)
		r = zip_tail(src, at, f->at, n, f->c->diag, e);
	free(k.matched);
	buf_release(&k.name);
	buf_release(&k.own);
	return r;
}

static int
finish(struct ckpt *c, struct err *e)
{
	struct torch_forward *f = forward_of(c);
	uint32_t i;

	memset(f->done, 1, c->nstorages);
	torch_forward_forget(f);
	while (!f->at_directory) {
		if (torch_forward_next(f, e) < 0)
			return -1;
	}
	for (i = 0; i < c->nstorages; i++) {
		if (f->record[i] == UINT32_MAX)
			return missing(c, i, e);
	}
	if (!f->version)
		return err_input(e, c->file, "it has no record 'version', so torch refuses it");
	if (compare_directory(f, e) < 0)
		return -1;
	if (f->outside > 0)
		diag_warn(c->diag, "%s: %zu of its records lie outside the folder '%.*s': torch.load refuses such a file",
			c->file, f->outside, STR_ARG(*f->root));
	if (f->differing > 0)
		diag_warn(c->diag, "%s: %zu records whose CRC or size fields differ within the zip", c->file, f->differing);
	return 0;
}

static const struct ckpt_ops stream_ops = {
	.name = "torch",
	.locate = locate,
	.read = torch_read,
	.crc = crc,
	.done = done,
	.finish = finish,
	.close = torch_close,
};

/* ---- the order of storages that are still to come */

enum order { BY_USE, BY_NUMBER, BY_TEXT };

static bool
all_numbers(const struct ckpt *c)
{
	uint32_t i;
	size_t k;

	for (i = 0; i < c->nstorages; i++) {
		struct str key = c->storages[i].key;

		if (key.len == 0 || (key.len > 1 && key.p[0] == '0'))
			return false;
		for (k = 0; k < key.len; k++) {
			if (key.p[k] < '0' || key.p[k] > '9')
				return false;
		}
	}
	return true;
}

static int
by_text(const void *a, const void *b, void *arg)
{
	const struct storage *s = arg;

	return str_cmp(s[*(const uint32_t *)a].key, s[*(const uint32_t *)b].key);
}

static int
by_number(const void *a, const void *b, void *arg)
{
	const struct storage *s = arg;
	size_t x = s[*(const uint32_t *)a].key.len, y = s[*(const uint32_t *)b].key.len;

	return x != y ? (x > y) - (x < y) : by_text(a, b, arg);
}

static void
sort(const struct ckpt *c, enum order order, uint32_t *sorted)
{
	uint32_t i;

	for (i = 0; i < c->nstorages; i++)
		sorted[i] = i;
	if (order != BY_USE)
		qsort_r(sorted, c->nstorages, sizeof(*sorted), order == BY_TEXT ? by_text : by_number, c->storages);
}

/*
 * torch sorts keys as text up to 2.6. From 2.7 on they come in order of first use, which is that of the numbers; so
 * they do in what we write, where the record version stands before the data. The first key that came (p NULL:
 * none) says when this is wrong: then the file is none of these, and any order that begins so is as good.
 */
static void
predict(const struct torch_forward *f, struct str first, uint32_t *sorted)
{
	enum order order[] = { BY_TEXT, BY_NUMBER, BY_USE };
	const struct ckpt *c = f->c;
	size_t i;

	if (f->format_version || f->version) {
		order[0] = all_numbers(c) ? BY_NUMBER : BY_USE;
		order[1] = BY_TEXT;
	}
	for (i = 0; i < 3; i++) {
		sort(c, order[i], sorted);
		if (first.p == NULL || str_eq(first, c->storages[sorted[0]].key))
			return;
	}
	sort(c, order[0], sorted);
}

static int
settle_order(struct torch_forward *f, struct rebuild *r, struct str first, struct err *e)
{
	struct ckpt *c = f->c;
	uint32_t *sorted = xreallocn(NULL, c->nstorages, sizeof(*sorted)), i;

	if (c->nstorages > 0)
		predict(f, first, sorted);
	f->place = xreallocn(NULL, c->nstorages, sizeof(*f->place));
	f->record = xreallocn(NULL, c->nstorages, sizeof(*f->record));
	f->done = xcalloc(c->nstorages, 1);
	for (i = 0; i < c->nstorages; i++) {
		f->place[sorted[i]] = i;
		f->record[i] = UINT32_MAX;
		if (c->big_endian)
			c->storages[i].flags |= STORAGE_BIG_ENDIAN;
	}
	free(sorted);
	f->keys = r->keys;
	strmap_init(&r->keys);
	return rebuild_finish(r, f->place, e);
}

/* ---- opening */

static int
set_root(struct torch_forward *f)
{
	struct str name = f->local.entry.name;
	const char *slash = name.len > 0 ? memchr(name.p, '/', name.len) : NULL;

	if (slash == NULL)
		return -1;
	*f->root = arena_str(&f->c->arena, str_n(name.p, (size_t)(slash - name.p)));
	return 0;
}

/* A step over the records failed: the directory may show what they are. */
static int
give_up(const char **why, struct err *e)
{
	if (e->code != ERR_INPUT)
		return -1;
	err_clear(e);
	*why = "its records are not as torch writes them, so the directory at its end must be read first";
	return 0;
}

/* The pickle of the header just read; its end tells the record's size. */
static int
decode(struct torch_forward *f, struct rebuild *r, const char **why, struct err *e)
{
	struct ckpt *c = f->c;
	const struct zip_entry t = f->local.entry;
	struct pickle_hooks hooks = rebuild_hooks(r);
	uint64_t end, limit = f->local.sized ? t.data + t.packed : UINT64_MAX;
	const uint8_t *p;
	size_t got;

	if (t.method != ZIP_STORED) {
		*why = "its data.pkl is deflated";
		return 0;
	}
	if (pickle_decode(c->tree, c->src, t.data, limit, &hooks, &c->root, &end, e) < 0)
		return f->local.sized ? give_up(why, e) : -1; /* the directory may know another size */
	if (f->local.sized) {
		end = limit;
		f->differing += t.size != t.packed;
	} else {
		if (source_look(c->src, end, 4, &p, &got, e) < 0)
			return -1;
		if (got < 4 || memcmp(p, "PK\7\10", 4) != 0) {
			*why = "its data.pkl goes on behind the pickle";
			return 0;
		}
	}
	torch_forward_add(f, end - t.data, end - t.data, STORAGE_NONE);
	return 0;
}

/* From the beginning to the first storage. *why is set when it cannot be read forward. */
static int
read_head(struct torch_forward *f, struct rebuild *r, const char **why, struct err *e)
{
	struct str what;
	bool decoded = false;

	for (;;) {
		if (torch_forward_header(f, e) < 0)
			return give_up(why, e);
		if (f->at_directory)
			break;
		if (f->n == 0 && set_root(f) < 0)
			break;
		what = torch_below(*f->root, f->local.entry.name);
		if (decoded && what.p != NULL && str_starts(what, str_c("data/")))
			return 0;
		if (!torch_forward_can(f) || (f->local.entry.method != ZIP_STORED && is_mark(what))) {
			*why = "its records are deflated";
			return 0;
		}
		if (!decoded && str_eqc(what, "data.pkl")) {
			if (torch_forward_other(f, e) < 0 || decode(f, r, why, e) < 0)
				return -1;
			decoded = true;
		} else if (!decoded && !is_mark(what)) {
			break;
		} else if (torch_forward_take(f, e) < 0) {
			return give_up(why, e);
		}
		if (*why != NULL)
			return 0;
	}
	if (!decoded)
		*why = "its pickle is not at its beginning, so the directory at its end must be read first";
	return 0;
}

int
torch_forward_open(struct ckpt *c, bool *took, const char **why, struct err *e)
{
	struct torch_zip *z = c->priv;
	struct torch_forward *f = xcalloc(1, sizeof(*f));
	struct str first = { NULL, 0 };
	struct rebuild r;
	int status;

	z->forward = f;
	f->c = c;
	f->root = &z->root;
	*why = NULL;
	c->tree = vtree_new();
	rebuild_init(&r, c, false);
	status = read_head(f, &r, why, e);
	*took = status == 0 && *why == NULL;
	if (*took) {
		if (!f->at_directory)
			first = str_from(torch_below(z->root, f->local.entry.name), sizeof("data/") - 1);
		status = settle_order(f, &r, first, e);
		c->ops = &stream_ops;
		c->writer = torch_writer(f->format_version, f->byteorder, f->version);
		f->forgets = true;
		torch_forward_forget(f);
	}
	rebuild_release(&r);
	if (status == 0 && !*took) {
		torch_forward_free(f);
		z->forward = NULL;
		vtree_free(c->tree);
		c->tree = NULL;
		c->big_endian = false;
	}
	return status;
}
