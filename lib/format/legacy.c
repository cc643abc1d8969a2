/*
 * legacy: reads files of torch.save before 1.6. They consist of five pickles (magic number, protocol version, a description of the
 * machine, the object, the list of storage keys), followed by the number of elements and the bytes of each storage. All sizes
 * follow from the pickles, so the file can be read forward. The data is little-endian whatever the third pickle says. Facts:
 * lib/format/README.md, section 4.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cursor.h"
#include "base/num.h"
#include "base/xalloc.h"
#include "pickle/machine.h"
#include "format/format.h"
#include "format/rebuild.h"

enum { PROTOCOL = 1001, COUNT_SIZE = 8, DRAIN = 1 << 16 };

static const uint8_t magic[] = { 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19 };
static const char magic_text[] = "L119547037146038801333356L\n.";

struct legacy {
	uint64_t *offset; /* offset of each storage's bytes; in the arena */
	uint64_t end;     /* offset after the last storage */
};

/* ---- the pickles */

/* Decodes the pickle at *at into a new tree, and moves *at past it. The caller frees the tree, also after a failure. */
static int
decode(struct ckpt *c, uint64_t *at, struct vtree **tree, uint32_t *root, struct err *err)
{
	struct pickle_place place = { .src = c->src, .off = *at, .limit = UINT64_MAX };
	int rc;

	*tree = vtree_new();
	rc = pickle_decode(*tree, &place, NULL, root, err);
	*at = place.end;
	return rc;
}

static bool
is_magic(const struct vtree *t, uint32_t root)
{
	struct str s;

	if (value_kind(t, root) != VALUE_BIGINT)
		return false;
	s = value_text(t, root);
	if (s.len < sizeof(magic) || memcmp(s.p, magic, sizeof(magic)) != 0)
		return false;
	for (size_t i = sizeof(magic); i < s.len; i++)
		if (s.p[i] != 0)
			return false;
	return true;
}

/* Reads the magic number, the protocol version and the description of the machine, which is ignored. */
static int
read_preamble(struct ckpt *c, uint64_t *at, struct err *err)
{
	struct vtree *tree;
	uint64_t start = *at, version;
	uint32_t root;
	int rc;

	rc = decode(c, at, &tree, &root, err);
	if (rc == 0 && !is_magic(tree, root))
		rc = err_at(err, c->file, start, "this is not torch's magic number");
	vtree_free(tree);
	if (rc < 0)
		return -1;
	start = *at;
	rc = decode(c, at, &tree, &root, err);
	if (rc == 0 && (!value_u64(tree, root, &version) || version != PROTOCOL))
		rc = err_at(err, c->file, start, "the protocol version of this torch file is not %d, the only one known", PROTOCOL);
	vtree_free(tree);
	if (rc < 0)
		return -1;
	start = *at;
	rc = decode(c, at, &tree, &root, err);
	if (rc == 0 && value_kind(tree, root) != VALUE_DICT)
		rc = err_at(err, c->file, start, "a dict that describes the machine was expected");
	vtree_free(tree);
	return rc;
}

/* Returns a storage key as it is in persistent ids. If h is a number, *key is its decimal digits in buf digits. */
static bool
key_text(const struct vtree *t, uint32_t h, struct buf *digits, struct str *key)
{
	uint64_t v;

	if (value_is_text(t, h)) {
		*key = value_text(t, h);
		return true;
	}
	if (!value_u64(t, h, &v))
		return false;
	buf_clear(digits);
	buf_u64(digits, v);
	*key = buf_str(digits);
	return true;
}

/* The fifth pickle, a list of the storage keys in the order of the file. */
struct key_list {
	struct ckpt *c;
	const struct strmap *keys; /* maps storage keys to numbers by first use */
	const struct vtree *tree;
	uint32_t list;
	uint64_t start;  /* offset of the pickle */
	uint32_t *place; /* by number of first use: position in the file; UINT32_MAX until it is found in the list */
};

static int
place_key(const struct key_list *l, size_t i, struct str key, struct err *err)
{
	uint64_t index;

	if (!strmap_get(l->keys, key, &index))
		return err_at(err, l->c->file, l->start,
			      "storage '%.*s' is listed, but nothing refers to it, so that its size is unknown", STR_ARG(key));
	if (l->place[index] != UINT32_MAX)
		return err_at(err, l->c->file, l->start, "storage '%.*s' is listed twice", STR_ARG(key));
	l->place[index] = (uint32_t)i;
	return 0;
}

static int
place_keys(const struct key_list *l, struct err *err)
{
	size_t n = value_len(l->tree, l->list);
	struct buf digits = BUF_INIT;
	struct str key;
	int rc = 0;

	for (size_t i = 0; i < n && rc == 0; i++) {
		if (key_text(l->tree, value_item(l->tree, l->list, i), &digits, &key))
			rc = place_key(l, i, key, err);
		else
			rc = err_at(err, l->c->file, l->start, "entry %zu of the list of storage keys is not a key", i);
	}
	buf_release(&digits);
	return rc;
}

static int
place_storages(const struct key_list *l, struct err *err)
{
	if (value_kind(l->tree, l->list) != VALUE_LIST)
		return err_at(err, l->c->file, l->start, "a list of storage keys was expected");
	if (place_keys(l, err) < 0)
		return -1;
	for (uint32_t i = 0; i < l->c->nstorages; i++)
		if (l->place[i] == UINT32_MAX)
			return err_at(err, l->c->file, l->start, "storage '%.*s' is missing from the list of storage keys",
				      STR_ARG(l->c->storages[i].key));
	return 0;
}

static int
read_keys(struct ckpt *c, struct rebuild *r, uint64_t *at, struct err *err)
{
	struct key_list l = { .c = c, .keys = &r->keys, .start = *at };
	struct vtree *tree;
	int rc = decode(c, at, &tree, &l.list, err);

	if (rc == 0) {
		l.tree = tree;
		l.place = xmalloc(((size_t)c->nstorages + 1) * sizeof(*l.place));
		memset(l.place, 0xff, c->nstorages * sizeof(*l.place));
		rc = place_storages(&l, err);
		if (rc == 0)
			rc = rebuild_finish(r, l.place, err);
		free(l.place);
	}
	vtree_free(tree);
	return rc;
}

static int
read_object(struct ckpt *c, uint64_t *at, struct err *err)
{
	struct pickle_place place = { .src = c->src, .off = *at, .limit = UINT64_MAX };
	struct pickle_hooks hooks;
	struct rebuild r;
	int rc;

	c->tree = vtree_new();
	rebuild_init(&r, c, true);
	hooks = rebuild_hooks(&r);
	rc = pickle_decode(c->tree, &place, &hooks, &c->root, err);
	*at = place.end;
	if (rc == 0)
		rc = read_keys(c, &r, at, err);
	rebuild_release(&r);
	return rc;
}

/* ---- the storages */

static uint64_t
storage_end(const struct ckpt *c, uint32_t i)
{
	const struct legacy *l = c->priv;

	return l->offset[i] + c->storages[i].nbytes;
}

/* Computes the offset of each storage. at is the offset after the pickles, where the first count of elements is. */
static int
place_data(struct ckpt *c, uint64_t at, struct err *err)
{
	struct legacy *l = c->priv;

	l->offset = arena_alloc(&c->arena, ((size_t)c->nstorages + 1) * sizeof(*l->offset));
	for (uint32_t i = 0; i < c->nstorages; i++) {
		struct storage *s = &c->storages[i];

		s->packed = s->nbytes;
		s->offset = OFFSET_UNKNOWN;
		if (!num_add(at, COUNT_SIZE, &l->offset[i]) || !num_add(l->offset[i], s->nbytes, &at))
			return err_input(err, c->file, "the storages' sizes add up to more than 2^64 bytes");
	}
	l->end = at;
	return 0;
}

/* Checks the number of elements that precedes each storage. After that the offset of the storage is certain. */
static int
check_count(struct ckpt *c, uint32_t i, struct err *err)
{
	struct legacy *l = c->priv;
	struct storage *s = &c->storages[i];
	unsigned size = s->untyped ? 1 : dtype_size((enum dtype)s->dtype);
	uint64_t count, expected = s->nbytes / (size ? size : 1);
	uint8_t field[COUNT_SIZE];

	if (s->offset != OFFSET_UNKNOWN)
		return 0;
	if (source_read(c->src, l->offset[i] - COUNT_SIZE, field, sizeof(field), err) < 0)
		return -1;
	count = get_le64(field);
	if (count != expected)
		return err_at(err, c->file, l->offset[i] - COUNT_SIZE,
			      "storage '%.*s' has %" PRIu64 " elements here, %" PRIu64 " where it is referred to", STR_ARG(s->key),
			      count, expected);
	s->offset = l->offset[i];
	return 0;
}

static int
check_file(struct ckpt *c, struct err *err)
{
	const struct legacy *l = c->priv;
	uint64_t size;

	if (source_size(c->src, &size, err) < 0)
		return -1;
	for (uint32_t i = 0; i < c->nstorages; i++) {
		if (l->offset[i] > size || storage_end(c, i) > size)
			return err_input(err, c->file,
					 "cut off: storage '%.*s' ends at byte %" PRIu64 ", the file at byte %" PRIu64 SALVAGE_HINT,
					 STR_ARG(c->storages[i].key), storage_end(c, i), size);
		if (check_count(c, i, err) < 0)
			return -1;
	}
	return 0;
}

/* ---- after the storages */

static void
warn_trailing(const struct ckpt *c, uint64_t at, const uint8_t *p, size_t n)
{
	if (format_legacy.probe(p, n))
		diag_warn(c->diag, "%s: at byte %" PRIu64 ": another saved object follows; only the first is read", c->file, at);
	else
		diag_warn(c->diag, "%s: at byte %" PRIu64 ": bytes follow the last storage; they are ignored", c->file, at);
}

/* Warns of bytes after the last storage. A stream is read to its end. */
static int
check_end(struct ckpt *c, struct err *err)
{
	const struct legacy *l = c->priv;
	uint64_t at = l->end, size;
	const uint8_t *p;
	size_t got;

	source_forget(c->src, at);
	if (source_look(c->src, at, FORMAT_PROBE, &p, &got, err) < 0)
		return -1;
	if (got > 0)
		warn_trailing(c, at, p, got);
	if (!source_is_stream(c->src))
		return 0;
	while (got > 0) {
		at += got;
		source_forget(c->src, at);
		if (source_look(c->src, at, DRAIN, &p, &got, err) < 0)
			return -1;
	}
	if (source_size(c->src, &size, err) < 0)
		return -1;
	if (size < l->end)
		return err_input(err, c->file,
				 "cut off: the last storage ends at byte %" PRIu64 ", the input at byte %" PRIu64 SALVAGE_HINT,
				 l->end, size);
	return 0;
}

/* ---- operations */

/* On a stream, bytes before the storage are forgotten if all earlier storages were passed. */
static int
locate(struct ckpt *c, uint32_t storage, struct err *err)
{
	struct legacy *l = c->priv;

	if (check_count(c, storage, err) < 0)
		return -1;
	if (c->passed == storage)
		source_forget(c->src, l->offset[storage]);
	return 0;
}

/* Checks the counts of the passed storages one at a time, so that a stream need not keep bytes for it. */
static int
pass(struct ckpt *c, uint32_t from, uint32_t to, struct err *err)
{
	for (uint32_t i = from; i < to && c->salvage == SALVAGE_NOT; i++) {
		if (check_count(c, i, err) < 0)
			return -1;
		source_forget(c->src, storage_end(c, i));
	}
	if (to < c->nstorages && c->storages[to].offset != OFFSET_UNKNOWN)
		source_forget(c->src, c->storages[to].offset);
	return 0;
}

static int
finish(struct ckpt *c, struct err *err)
{
	if (!source_is_stream(c->src))
		return source_verify(c->src, err);
	if (pass(c, c->passed, c->nstorages, err) < 0)
		return -1;
	return check_end(c, err);
}

static void
close_it(struct ckpt *c)
{
	struct legacy *l = c->priv;

	if (l == NULL)
		return;
	free(l);
}

static const struct ckpt_ops ops = {
	.name = "torch-legacy",
	.locate = locate,
	.pass = pass,
	.finish = finish,
	.close = close_it,
};

static int
open_it(struct ckpt *c, struct err *err)
{
	struct legacy *l = xcalloc(1, sizeof(*l));
	uint64_t at = 0;

	c->ops = &ops;
	c->priv = l;
	if (read_preamble(c, &at, err) < 0 || read_object(c, &at, err) < 0 || place_data(c, at, err) < 0)
		return -1;
	if (source_is_stream(c->src)) {
		source_forget(c->src, at);
		return 0;
	}
	return c->salvage != SALVAGE_NOT ? 0 : check_file(c, err) < 0 ? -1 : check_end(c, err);
}

/*
 * Returns true if head begins with the pickled magic number: with a protocol byte and, from protocol 4 on, a frame; or as text in
 * protocols 0 and 1.
 */
static bool
probe(const uint8_t *head, size_t n)
{
	size_t at = 2;

	if (n >= sizeof(magic_text) - 1 && memcmp(head, magic_text, sizeof(magic_text) - 1) == 0)
		return true;
	if (n < 2 || head[0] != 0x80 || head[1] < 2 || head[1] > 5)
		return false;
	if (head[1] >= 4 && n > at && head[at] == 0x95)
		at += 9;
	return n > at + 2 + sizeof(magic) && head[at] == 0x8a && head[at + 1] == sizeof(magic) &&
	       memcmp(head + at + 2, magic, sizeof(magic)) == 0 && head[at + 2 + sizeof(magic)] == '.';
}

const struct format_reader format_legacy = { "torch-legacy", probe, open_it };
