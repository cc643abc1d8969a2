#include "tensor/ckpt.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "io/crc32.h"

/* Bytes [start, end) of a storage that were read, and their CRC. */
struct ckpt_span {
	uint64_t start, end;
	uint32_t crc;
};

/* What was read of a storage: spans in order, none of which touch. */
struct ckpt_spans {
	struct ckpt_span *v;
	uint64_t loose; /* if not 0, spans are not stored because there were too many; number of bytes read so far */
	uint16_t n, cap;
	bool closed; /* the CRC was checked, or cannot be checked */
};

struct ckpt_proof {
	pthread_mutex_t lock;     /* protects the members below, because several threads read */
	struct ckpt_spans *spans; /* by storage */
};

/*
 * SPANS_MAX: a storage with more spans is read again to check its CRC. SHORT: the CRC of shorter pieces is continued with
 * crc32_add. AGAIN: piece size when a storage is read again.
 */
enum { SPANS_MAX = 512, SHORT = 4096, AGAIN = 1 << 20 };

struct ckpt *
ckpt_new(struct source *src, const struct diag *diag)
{
	struct ckpt *c = xcalloc(1, sizeof(*c));

	c->file = source_name(src);
	c->src = src;
	c->diag = diag;
	c->root = VALUE_ABSENT;
	arena_init(&c->arena);
	return c;
}

int
ckpt_tables(struct ckpt *c, struct str *text, struct err *err)
{
	*text = str_c("");
	if (c->nstorages > 0 && c->tree != NULL && ckpt_locate(c, 0, err) < 0)
		return -1;
	if (c->tables.len > 0)
		*text = c->tables;
	for (size_t i = 0; i < c->nmeta && c->tables.len == 0; i++)
		if (str_eqc(c->meta_keys[i], CKPT_TABLES_KEY))
			*text = c->meta_values[i];
	return 0;
}

void
ckpt_close(struct ckpt *c)
{
	if (c == NULL)
		return;
	if (c->ops != NULL && c->ops->close != NULL)
		c->ops->close(c);
	vtree_free(c->tree);
	arena_release(&c->arena);
	if (c->proof != NULL) {
		for (uint32_t i = 0; i < c->nstorages; i++)
			free(c->proof->spans[i].v);
		free(c->proof->spans);
		pthread_mutex_destroy(&c->proof->lock);
		free(c->proof);
	}
	strmap_release(&c->by_name);
	free(c->done);
	free(c->damaged);
	free(c->lost);
	free(c->meta_keys);
	free(c->meta_values);
	free(c->owned[0]);
	free(c->owned[1]);
	free(c);
}

void
ckpt_add_meta(struct ckpt *c, struct str key, struct str value)
{
	size_t cap = c->meta_cap;

	c->meta_keys = xgrow(c->meta_keys, c->nmeta, &cap, sizeof(*c->meta_keys));
	c->meta_values = xgrow(c->meta_values, c->nmeta, &c->meta_cap, sizeof(*c->meta_values));
	c->meta_keys[c->nmeta] = key;
	c->meta_values[c->nmeta++] = value;
}

void
ckpt_damaged(struct ckpt *c, struct str record)
{
	*xpush(c->damaged, c->ndamaged, c->damaged_cap) = arena_str(&c->arena, record);
}

void
ckpt_lose(struct ckpt *c, struct str name)
{
	*xpush(c->lost, c->nlost, c->lost_cap) = arena_str(&c->arena, name);
}

int
ckpt_check_index(const struct ckpt *c, struct err *err)
{
	if (c->ndamaged == 0)
		return c->ops->check != NULL ? c->ops->check(c, err) : 0;
	return err_input(err, c->file, "the CRC of its record '%.*s' does not match its bytes: the file is damaged",
			 STR_ARG(c->damaged[0]));
}

int
ckpt_check_records(struct ckpt *c, struct err *err)
{
	return c->ops->records != NULL ? c->ops->records(c, err) : 0;
}

void
ckpt_warn_index(const struct ckpt *c)
{
	struct err why = ERR_INIT;

	if (c->ops->check != NULL && c->ops->check(c, &why) < 0)
		diag_warn(c->diag, "%s", why.msg);
	for (size_t i = 0; i < c->ndamaged; i++)
		diag_warn(c->diag, "%s: the CRC of its record '%.*s' does not match its bytes: the file is damaged", c->file,
			  STR_ARG(c->damaged[i]));
}

int
ckpt_fill(struct ckpt *c, struct str path, size_t levels, struct err *err)
{
	return c->nunread > 0 ? c->ops->fill(c, path, levels, err) : 0;
}

int
ckpt_locate(struct ckpt *c, uint32_t storage, struct err *err)
{
	/* Several threads may locate a storage; locate() must store the offset last. */
	if (c->ops->locate == NULL || __atomic_load_n(&c->storages[storage].offset, __ATOMIC_ACQUIRE) != OFFSET_UNKNOWN)
		return 0;
	return c->ops->locate(c, storage, err);
}

struct source *
ckpt_range(struct ckpt *c, uint32_t storage, uint64_t *offset)
{
	const struct storage *s = &c->storages[storage];

	if ((s->flags & STORAGE_DEFLATED) || s->offset == OFFSET_UNKNOWN)
		return NULL;
	*offset = s->offset;
	return c->ops->range != NULL ? c->ops->range(c, storage) : c->src;
}

int
ckpt_crc(struct ckpt *c, uint32_t storage, uint32_t *crc, bool *known, struct err *err)
{
	const struct storage *s = &c->storages[storage];

	if (c->ops->crc != NULL)
		return c->ops->crc(c, storage, crc, known, err);
	*crc = s->crc;
	*known = (s->flags & STORAGE_CRC) != 0;
	return 0;
}

/* ---- checking the CRCs of storages while they are read */

void
ckpt_verify(struct ckpt *c)
{
	if (c->proof != NULL)
		return;
	c->proof = xcalloc(1, sizeof(*c->proof));
	c->proof->spans = xcalloc((size_t)c->nstorages + 1, sizeof(*c->proof->spans));
	pthread_mutex_init(&c->proof->lock, NULL);
}

bool
ckpt_verifies(const struct ckpt *c, uint32_t storage)
{
	return c->proof != NULL && ((c->storages[storage].flags & STORAGE_CRC) != 0 || c->ops->crc != NULL);
}

static void
close_spans(struct ckpt_spans *s)
{
	free(s->v);
	*s = (struct ckpt_spans){ .closed = true };
}

/* Returns the index of the first span that ends after off. */
static unsigned
find_span(const struct ckpt_spans *s, uint64_t off)
{
	unsigned low = 0, high = s->n;

	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (s->v[middle].end > off)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

/* Returns how many of the n bytes at off are either all read before or all not. *known tells which. */
static uint64_t
same_until(const struct ckpt_spans *s, uint64_t off, uint64_t n, bool *known)
{
	unsigned k = find_span(s, off);
	uint64_t until;

	*known = k < s->n && s->v[k].start <= off;
	if (k == s->n)
		return n;
	until = *known ? s->v[k].end : s->v[k].start;
	return until - off < n ? until - off : n;
}

/* Adds a span of bytes that were not read before. The bytes are at p, or p is NULL and new.crc is their CRC. */
static void
add_span(struct ckpt_spans *s, struct ckpt_span new, const void *p)
{
	unsigned k = find_span(s, new.start);
	struct ckpt_span *before = k > 0 && s->v[k - 1].end == new.start ? &s->v[k - 1] : NULL,
			 *behind = k < s->n && s->v[k].start == new.end ? &s->v[k] : NULL;
	uint64_t n = new.end - new.start;

	if (before == NULL && behind == NULL) {
		size_t cap = s->cap;

		s->v = xgrow(s->v, s->n, &cap, sizeof(*s->v));
		s->cap = (uint16_t)cap;
		memmove(s->v + k + 1, s->v + k, (s->n++ - k) * sizeof(*s->v));
		s->v[k] = new;
		return;
	}
	if (before != NULL) {
		before->crc = p != NULL ? crc32_add(before->crc, p, (size_t)n) : crc32_join(before->crc, new.crc, n);
		before->end = new.end;
	} else {
		behind->crc = crc32_join(new.crc, behind->crc, behind->end - behind->start);
		behind->start = new.start;
	}
	if (before == NULL || behind == NULL)
		return;
	before->crc = crc32_join(before->crc, behind->crc, behind->end - behind->start);
	before->end = behind->end;
	memmove(behind, behind + 1, (--s->n - k) * sizeof(*behind));
}

static int
bad_crc(const struct ckpt *c, uint32_t storage, struct err *err)
{
	struct buf b = BUF_INIT;

	if (c->ops->describe != NULL)
		c->ops->describe(c, storage, &b);
	else
		buf_addf(&b, "storage '%.*s'", STR_ARG(c->storages[storage].key));
	err_input(err, c->nshards > 0 ? c->shards[c->storages[storage].shard] : c->file,
		  "the CRC of %.*s does not match its bytes: the file is damaged", STR_ARG(buf_str(&b)));
	buf_release(&b);
	return -1;
}

/* Compares the CRC of a storage, all of whose bytes were read, with the stated one. */
static int
prove(struct ckpt *c, uint32_t storage, uint32_t crc, struct err *err)
{
	uint32_t stated;
	bool known;

	close_spans(&c->proof->spans[storage]);
	if (ckpt_crc(c, storage, &stated, &known, err) < 0)
		return -1;
	return !known || stated == crc ? 0 : bad_crc(c, storage, err);
}

static bool
is_whole(const struct ckpt *c, uint32_t storage)
{
	const struct ckpt_spans *s = &c->proof->spans[storage];

	return s->n == 1 && s->v[0].start == 0 && s->v[0].end == c->storages[storage].nbytes;
}

/*
 * Counts n bytes read of a storage with too many spans. Once all its bytes may have been read, reads it again for its CRC. A stream
 * may have forgotten them; then the storage is not checked.
 */
static int
add_loose(struct ckpt *c, uint32_t storage, uint64_t n, struct err *err)
{
	struct ckpt_spans *s = &c->proof->spans[storage];
	uint32_t crc;

	s->loose += n;
	if (s->loose < c->storages[storage].nbytes)
		return 0;
	if (ckpt_read_crc(c, storage, &crc, err) == 0)
		return prove(c, storage, crc, err);
	if (!source_is_stream(c->src))
		return -1;
	err_clear(err);
	close_spans(s);
	return 0;
}

/* Drops the spans of a storage, so that only the number of bytes read is counted. */
static int
loosen(struct ckpt *c, uint32_t storage, struct err *err)
{
	struct ckpt_spans *s = &c->proof->spans[storage];
	uint64_t sum = 0;

	for (unsigned i = 0; i < s->n; i++)
		sum += s->v[i].end - s->v[i].start;
	free(s->v);
	*s = (struct ckpt_spans){ .loose = 0 };
	return add_loose(c, storage, sum, err);
}

/* Adds a span. If the CRC is known before the bytes or from a directory, checks it as soon as all bytes were read. */
static int
take_span(struct ckpt *c, uint32_t storage, struct ckpt_span span, const void *p, struct err *err)
{
	struct ckpt_spans *s = &c->proof->spans[storage];

	add_span(s, span, p);
	if (s->n > SPANS_MAX)
		return loosen(c, storage, err);
	if ((c->storages[storage].flags & STORAGE_CRC) != 0 && is_whole(c, storage))
		return prove(c, storage, s->v[0].crc, err);
	return 0;
}

/* Notes that n bytes at off of a storage were read and are at p. The CRCs of long pieces are computed without the lock. */
static int
note_read(struct ckpt *c, uint32_t storage, uint64_t off, const uint8_t *p, size_t n, struct err *err)
{
	const struct ckpt_spans *s;
	int rc = 0;

	if (!ckpt_verifies(c, storage))
		return 0;
	s = &c->proof->spans[storage];
	pthread_mutex_lock(&c->proof->lock);
	while (rc == 0 && n > 0 && !s->closed) {
		struct ckpt_span span = { off, off, 0 };
		bool known;
		size_t some;

		if (s->loose > 0) {
			rc = add_loose(c, storage, n, err);
			break;
		}
		some = (size_t)same_until(s, off, n, &known);
		span.end += some;

		if (!known && some > SHORT) {
			pthread_mutex_unlock(&c->proof->lock);
			span.crc = crc32_add(0, p, some);
			pthread_mutex_lock(&c->proof->lock);
			if (s->closed || s->loose > 0 || same_until(s, off, n, &known) < some)
				continue;
		} else if (!known) {
			span.crc = crc32_add(0, p, some);
		}
		if (!known)
			rc = take_span(c, storage, span, some > SHORT ? NULL : p, err);
		off += some;
		p += some;
		n -= some;
	}
	pthread_mutex_unlock(&c->proof->lock);
	return rc;
}

int
ckpt_copied(struct ckpt *c, uint32_t storage, uint64_t off, uint64_t len, uint32_t crc, struct err *err)
{
	const struct ckpt_spans *s;
	bool known;
	int rc = 0;

	if (len == 0 || !ckpt_verifies(c, storage))
		return 0;
	s = &c->proof->spans[storage];
	pthread_mutex_lock(&c->proof->lock);
	if (!s->closed && s->loose > 0)
		rc = add_loose(c, storage, len, err);
	else if (!s->closed && same_until(s, off, len, &known) == len && !known)
		rc = take_span(c, storage, (struct ckpt_span){ off, off + len, crc }, NULL, err);
	pthread_mutex_unlock(&c->proof->lock);
	return rc;
}

/* Checks storages [from, to), which will not be read again and whose records have ended. */
static int
prove_passed(struct ckpt *c, uint32_t from, uint32_t to, struct err *err)
{
	for (uint32_t i = from; c->proof != NULL && i < to; i++) {
		struct ckpt_spans *s = &c->proof->spans[i];

		if (is_whole(c, i) && prove(c, i, s->v[0].crc, err) < 0)
			return -1;
		if (s->v != NULL || s->loose > 0) /* else its memory was never touched */
			close_spans(s);
	}
	return 0;
}

/* ---- reading */

/* Locates a storage before a read of n bytes at off, and checks the range. */
static int
begin_read(struct ckpt *c, uint32_t storage, uint64_t off, size_t n, struct err *err)
{
	const struct storage *s = &c->storages[storage];

	if (off > s->nbytes || n > s->nbytes - off)
		return err_input(err, c->file, "a read beyond the end of storage %.*s", STR_ARG(s->key));
	return n == 0 ? 0 : ckpt_locate(c, storage, err);
}

static int
read_located(struct ckpt *c, uint32_t storage, uint64_t off, void *p, size_t n, struct err *err)
{
	struct source *src;
	uint64_t start;

	src = ckpt_range(c, storage, &start);
	if (c->ops->read != NULL)
		return c->ops->read(c, storage, off, p, n, err);
	if (src == NULL)
		return err_input(err, c->file, "storage %.*s cannot be read", STR_ARG(c->storages[storage].key));
	return source_read(src, start + off, p, n, err);
}

int
ckpt_read_crc(struct ckpt *c, uint32_t storage, uint32_t *crc, struct err *err)
{
	const uint64_t nbytes = c->storages[storage].nbytes;
	uint8_t *piece = xmalloc(AGAIN);
	size_t n;
	int rc = ckpt_locate(c, storage, err);

	*crc = 0;
	for (uint64_t at = 0; rc == 0 && at < nbytes; at += n) {
		n = nbytes - at < AGAIN ? (size_t)(nbytes - at) : AGAIN;
		rc = read_located(c, storage, at, piece, n, err);
		*crc = rc == 0 ? crc32_add(*crc, piece, n) : 0;
	}
	free(piece);
	return rc;
}

int
ckpt_read(struct ckpt *c, uint32_t storage, uint64_t off, void *p, size_t n, struct err *err)
{
	if (begin_read(c, storage, off, n, err) < 0)
		return -1;
	if (n == 0)
		return 0;
	return read_located(c, storage, off, p, n, err) < 0 ? -1 : note_read(c, storage, off, p, n, err);
}

int
ckpt_next(struct ckpt *c, uint32_t storage, uint64_t off, void *p, size_t n, struct err *err)
{
	struct source *src;
	uint64_t start;

	if (begin_read(c, storage, off, n, err) < 0)
		return -1;
	src = n == 0 ? NULL : ckpt_range(c, storage, &start);
	if (src == NULL || !source_is_stream(src))
		return ckpt_read(c, storage, off, p, n, err);
	return source_next(src, start + off, p, n, err) < 0 ? -1 : note_read(c, storage, off, p, n, err);
}

static int
pass_to(struct ckpt *c, uint32_t to, struct err *err)
{
	uint32_t from = c->passed;

	if (to <= from)
		return 0;
	c->passed = to;
	if (c->ops->pass != NULL && c->ops->pass(c, from, to, err) < 0)
		return -1;
	return prove_passed(c, from, to, err);
}

int
ckpt_done(struct ckpt *c, uint32_t storage, struct err *err)
{
	uint32_t to = c->passed;

	if (c->done == NULL)
		c->done = xcalloc(c->nstorages, 1);
	c->done[storage] = 1;
	while (to < c->nstorages && c->done[to])
		to++;
	return pass_to(c, to, err);
}

int
ckpt_pass(struct ckpt *c, uint32_t storage, uint64_t off, struct err *err)
{
	struct source *src;
	uint64_t start;

	if (pass_to(c, storage, err) < 0)
		return -1;
	if (off == 0 || storage != c->passed || c->ops->unordered || (c->ops->leads != NULL && !c->ops->leads(c, storage)))
		return 0;
	src = ckpt_range(c, storage, &start);
	if (src != NULL)
		source_forget(src, start + off);
	return 0;
}

int
ckpt_finish(struct ckpt *c, struct err *err)
{
	return c->ops->finish != NULL ? c->ops->finish(c, err) : source_verify(c->src, err);
}
