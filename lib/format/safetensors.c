/*
 * Reads safetensors: a length, a JSON header, and tensors that tile the rest of the file. The rules are those of the reference
 * reader (lib/format/README.md, section 6.2). In addition these are refused: a duplicate name, an entry that is not an object, more
 * dimensions than torch allows, and packed types whose last dimension does not fill whole bytes.
 */
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/limits.h"
#include "base/num.h"
#include "base/strmap.h"
#include "base/xalloc.h"
#include "text/json_read.h"
#include "format/format.h"

/* The header of a stream is read in pieces of this size, because its stated length may be wrong. */
enum { HEADER_PIECE = 1 << 20 };

/* An entry of the header. */
struct header_entry {
	struct str name;
	uint64_t begin, end;   /* offsets in the data */
	const uint64_t *shape; /* in items of dtype, followed by the strides; in the arena */
	uint32_t at;           /* offset of its name in the header */
	uint8_t dtype, ndim;
};

struct safetensors {
	struct buf header; /* names point into it */
	uint64_t data;     /* offset of the data */
	uint64_t total;    /* required size of the file */
};

struct parser {
	struct ckpt *c;
	struct json_reader json;
	struct header_entry *entries;
	size_t n, cap;
	struct strmap names; /* its keys are those of entries */
	bool has_meta;
	char code[16]; /* last dtype that was looked up, because the next one is likely the same */
	size_t code_len;
	enum dtype dtype;
};

/* ---- the header */

static int entry_fail(const struct parser *p, const struct header_entry *t, struct err *err, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Sets "FILE: at byte N: tensor NAME: ...", where N is the offset of the entry. */
static int
entry_fail(const struct parser *p, const struct header_entry *t, struct err *err, const char *fmt, ...)
{
	char text[800];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return err_at(err, p->c->file, 8 + t->at, "tensor '%.*s': %s", STR_ARG(t->name), text);
}

/* Returns the text of the last token, copied if needed. */
static struct str
keep_text(struct parser *p)
{
	return p->json.borrowed ? p->json.text : arena_str(&p->c->arena, p->json.text);
}

/* Skips a value of an unknown key. The reference reader must be able to represent it. */
static int
skip_value(struct parser *p, struct err *err)
{
	unsigned depth = 0;

	do {
		switch (json_next(&p->json, err)) {
		case JSON_ERROR: return -1;
		case JSON_OBJECT:
		case JSON_ARRAY:
			if (++depth > SAFETENSORS_NESTING_MAX - 2) /* the value is two levels below the top */
				return json_fail(&p->json, err, "nested more than %d deep", SAFETENSORS_NESTING_MAX);
			break;
		case JSON_OBJECT_END:
		case JSON_ARRAY_END: depth--; break;
		case JSON_NUMBER:
			/* The header ends in a NUL, so strtod can read the number in place. */
			if (isinf(strtod(p->json.text.p, NULL)))
				return json_fail(&p->json, err, "number out of range");
			break;
		default: break;
		}
	} while (depth > 0 || p->json.token == JSON_KEY);
	return 0;
}

static int
parse_dtype(struct parser *p, struct header_entry *t, struct err *err)
{
	struct str code;

	if (json_expect(&p->json, JSON_STRING, "dtype", err) < 0)
		return -1;
	code = p->json.text;
	if (p->code_len == 0 || !str_eq(code, str_n(p->code, p->code_len))) {
		p->dtype = dtype_by_safetensors(code);
		if (p->dtype == DTYPE_UNKNOWN)
			return json_fail(&p->json, err, "tensor '%.*s' has the unknown dtype '%.*s'", STR_ARG(t->name),
					 STR_ARG(code));
		p->code_len = code.len < sizeof(p->code) ? code.len : 0;
		memcpy(p->code, code.p, p->code_len);
	}
	t->dtype = (uint8_t)p->dtype;
	return 0;
}

static int
parse_count(struct parser *p, const char *what, uint64_t *v, struct err *err)
{
	if (p->json.token != JSON_NUMBER)
		return json_fail(&p->json, err, "%s must be numbers, not %s", what, json_what(p->json.token));
	if (!json_u64(p->json.text, v))
		return json_fail(&p->json, err, "%s must be whole numbers from 0 to 2^64-1, not %.*s", what, STR_ARG(p->json.text));
	return 0;
}

/* Parses [n, n, ...] with at most max numbers. */
static int
parse_counts(struct parser *p, const char *what, uint64_t *v, unsigned max, unsigned *n, struct err *err)
{
	enum json_token token;

	*n = 0;
	if (json_expect(&p->json, JSON_ARRAY, what, err) < 0)
		return -1;
	while ((token = json_next(&p->json, err)) != JSON_ARRAY_END) {
		if (token == JSON_ERROR)
			return -1;
		if (*n == max)
			return json_fail(&p->json, err, "%s: more than %u numbers", what, max);
		if (parse_count(p, what, &v[*n], err) < 0)
			return -1;
		++*n;
	}
	return 0;
}

static int
parse_offsets(struct parser *p, struct header_entry *t, struct err *err)
{
	uint64_t v[2];
	unsigned n;

	if (parse_counts(p, "data_offsets", v, 2, &n, err) < 0)
		return -1;
	if (n != 2)
		return json_fail(&p->json, err, "data_offsets: two numbers expected, not %u", n);
	t->begin = v[0];
	t->end = v[1];
	return 0;
}

/*
 * Computes the bytes of a shape as the header counts it. Multiplies in the order of the reference reader, so that both overflow for
 * the same shapes.
 */
static int
shape_bytes(const struct parser *p, const struct header_entry *t, const uint64_t *shape, unsigned ndim, uint64_t *bytes,
	    struct err *err)
{
	const struct dtype_info *info = dtype_info(t->dtype);
	uint64_t bits = 1;
	bool fits = true;

	for (unsigned i = 0; i < ndim && fits; i++)
		fits = num_mul(bits, shape[i], &bits);
	if (!fits || !num_mul(bits, info->bits / info->pack, &bits))
		return entry_fail(p, t, err, "its size overflows");
	if (bits % 8 != 0)
		return entry_fail(p, t, err, "%s elements that do not fill whole bytes", info->safetensors);
	*bytes = bits / 8;
	return 0;
}

/* Checks the shape and copies it to the arena. */
static int
take_shape(struct parser *p, struct header_entry *t, uint64_t *shape, unsigned ndim, struct err *err)
{
	const struct dtype_info *info = dtype_info(t->dtype);
	struct tensor view = { .dtype = t->dtype };
	uint64_t bytes = 0;

	if (shape_bytes(p, t, shape, ndim, &bytes, err) < 0)
		return -1;
	if (t->end < t->begin)
		return entry_fail(p, t, err, "its data ends at %" PRIu64 ", before it begins at %" PRIu64, t->end, t->begin);
	if (t->end - t->begin != bytes)
		return entry_fail(p, t, err, "its shape takes %" PRIu64 " bytes, its data_offsets span %" PRIu64, bytes,
				  t->end - t->begin);
	if (info->pack > 1) {
		if (ndim == 0 || shape[ndim - 1] % info->pack != 0)
			return entry_fail(p, t, err, "the last dimension of %s must be a multiple of %u", info->safetensors,
					  info->pack);
		shape[ndim - 1] /= info->pack;
	}
	tensor_set_shape(&view, &p->c->arena, shape, ndim);
	t->shape = view.shape;
	t->ndim = view.ndim;
	return 0;
}

enum { FIELD_DTYPE = 1, FIELD_SHAPE = 2, FIELD_OFFSETS = 4, FIELD_ALL = 7 };

static unsigned
field_of(struct str key)
{
	if (str_eqc(key, "dtype"))
		return FIELD_DTYPE;
	if (str_eqc(key, "shape"))
		return FIELD_SHAPE;
	return str_eqc(key, "data_offsets") ? FIELD_OFFSETS : 0;
}

static int
parse_fields(struct parser *p, struct header_entry *t, struct err *err)
{
	uint64_t shape[TENSOR_NDIM_MAX];
	unsigned ndim = 0, seen = 0, field;
	enum json_token token;
	int r;

	while ((token = json_next(&p->json, err)) == JSON_KEY) {
		field = field_of(p->json.text);
		if (seen & field)
			return json_fail(&p->json, err, "tensor '%.*s': the field %.*s occurs twice", STR_ARG(t->name),
					 STR_ARG(p->json.text));
		seen |= field;
		switch (field) {
		case FIELD_DTYPE: r = parse_dtype(p, t, err); break;
		case FIELD_SHAPE: r = parse_counts(p, "shape", shape, TENSOR_NDIM_MAX, &ndim, err); break;
		case FIELD_OFFSETS: r = parse_offsets(p, t, err); break;
		default: r = skip_value(p, err); break;
		}
		if (r < 0)
			return -1;
	}
	if (token == JSON_ERROR)
		return -1;
	if (seen != FIELD_ALL)
		return entry_fail(p, t, err, "the field %s is missing",
				  !(seen & FIELD_DTYPE)   ? "dtype"
				  : !(seen & FIELD_SHAPE) ? "shape"
							  : "data_offsets");
	return take_shape(p, t, shape, ndim, err);
}

static int
parse_tensor(struct parser *p, struct err *err)
{
	struct header_entry *t;
	uint64_t first;

	p->names.lent = p->entries = xgrow(p->entries, p->n, &p->cap, sizeof(*p->entries));
	t = &p->entries[p->n];
	memset(t, 0, sizeof(*t));
	t->name = keep_text(p);
	t->at = (uint32_t)p->json.start;
	if (!strmap_add(&p->names, t->name, p->n)) {
		strmap_get(&p->names, t->name, &first);
		return entry_fail(p, t, err, "the name occurs twice, first at byte %" PRIu64, 8 + (uint64_t)p->entries[first].at);
	}
	if (json_expect(&p->json, JSON_OBJECT, "a tensor's entry", err) < 0 || parse_fields(p, t, err) < 0)
		return -1;
	p->n++;
	return 0;
}

/* Returns the index of a key of __metadata__. A duplicate key overwrites the earlier one. */
static size_t
meta_place(struct parser *p, struct strmap *seen, struct str key)
{
	struct ckpt *c = p->c;
	uint64_t i;

	if (strmap_get(seen, key, &i))
		return (size_t)i;
	strmap_add(seen, key, c->nmeta);
	ckpt_add_meta(c, key, str_n("", 0));
	return c->nmeta - 1;
}

static int
parse_meta(struct parser *p, struct err *err)
{
	struct strmap seen = STRMAP_INIT;
	enum json_token token;
	size_t i;
	int rc = 0;

	if (p->has_meta)
		return json_fail(&p->json, err, "__metadata__ occurs twice");
	p->has_meta = true;
	if (json_next(&p->json, err) == JSON_NULL)
		return 0;
	if (p->json.token != JSON_OBJECT)
		return json_fail(&p->json, err, "__metadata__ must be an object, not %s", json_what(p->json.token));
	while (rc == 0 && (token = json_next(&p->json, err)) != JSON_OBJECT_END) {
		if (token == JSON_ERROR) {
			rc = -1;
			break;
		}
		i = meta_place(p, &seen, keep_text(p));
		rc = json_expect(&p->json, JSON_STRING, "a value of __metadata__", err);
		if (rc == 0)
			p->c->meta_values[i] = keep_text(p);
	}
	strmap_release(&seen);
	return rc;
}

static int
parse_header(struct parser *p, const struct buf *header, struct err *err)
{
	enum json_token token;

	json_begin(&p->json, p->c->file, 8, header->p, header->len);
	if (json_expect(&p->json, JSON_OBJECT, "the header", err) < 0)
		return -1;
	while ((token = json_next(&p->json, err)) == JSON_KEY)
		if ((str_eqc(p->json.text, "__metadata__") ? parse_meta(p, err) : parse_tensor(p, err)) < 0)
			return -1;
	return token == JSON_ERROR || json_next(&p->json, err) == JSON_ERROR ? -1 : 0;
}

/* ---- from entries to tensors */

/* Orders by data offsets, then by position in the header. */
static int
compare(const void *a, const void *b)
{
	const struct header_entry *x = a, *y = b;

	if (x->begin != y->begin)
		return x->begin < y->begin ? -1 : 1;
	if (x->end != y->end)
		return x->end < y->end ? -1 : 1;
	return x->at < y->at ? -1 : x->at > y->at;
}

static void
sort(struct parser *p)
{
	size_t i = 1;

	while (i < p->n && compare(&p->entries[i - 1], &p->entries[i]) <= 0)
		i++;
	if (i >= p->n)
		return;
	qsort(p->entries, p->n, sizeof(*p->entries), compare);
	strmap_release(&p->names);
	p->names = (struct strmap){ .lent = p->entries, .stride = sizeof(*p->entries) };
	(void)strmap_fill(&p->names, p->n);
}

/* Checks that every byte of the data belongs to exactly one tensor. *size is the end of the last one. */
static int
check_tiling(const struct parser *p, uint64_t *size, struct err *err)
{
	uint64_t at = 0;

	for (size_t i = 0; i < p->n; i++) {
		const struct header_entry *t = &p->entries[i];

		if (t->begin > at)
			return entry_fail(p, t, err,
					  "there is a hole before it: its data begins at %" PRIu64
					  ", the data before it ends at %" PRIu64,
					  t->begin, at);
		if (t->begin < at)
			return entry_fail(p, t, err,
					  "it overlaps '%.*s': its data begins at %" PRIu64 ", but that tensor ends at %" PRIu64,
					  STR_ARG(p->entries[i - 1].name), t->begin, at);
		at = t->end;
	}
	*size = at;
	return 0;
}

static void
fill_tables(struct parser *p, uint64_t data)
{
	struct ckpt *c = p->c;
	size_t n = p->n;

	c->storages = arena_alloc(&c->arena, n * sizeof(*c->storages));
	c->tensors = arena_alloc(&c->arena, n * sizeof(*c->tensors));
	c->names = arena_alloc(&c->arena, n * sizeof(*c->names));
	for (size_t i = 0; i < n; i++) {
		const struct header_entry *t = &p->entries[i];
		bool typed = dtype_info(t->dtype)->storage != NULL;

		c->names[i] = t->name;
		c->tensors[i] = (struct tensor){
			.shape = t->shape,
			.stride = t->shape + t->ndim,
			.storage = (uint32_t)i,
			.wrap = VALUE_ABSENT,
			.dtype = t->dtype,
			.ndim = t->ndim,
		};
		c->storages[i] = (struct storage){
			.key = STR_LIT(""),
			.nbytes = t->end - t->begin,
			.packed = t->end - t->begin,
			.offset = data + t->begin,
			.dtype = typed ? t->dtype : DTYPE_UINT8,
			.untyped = !typed,
		};
	}
	c->nstorages = c->ntensors = (uint32_t)n;
	c->by_name = p->names;
	c->by_name.lent = c->names;
	c->by_name.stride = sizeof(*c->names);
	strmap_init(&p->names);
}

/* ---- shards of a distributed checkpoint, whose tensors are boxes of larger ones: lib/format/README.md, section 8 */

static int
parse_low(struct parser *p, struct tensor *t, struct err *err)
{
	struct tensor_more *more = arena_calloc(&p->c->arena, 1, sizeof(*more));
	uint64_t low[TENSOR_NDIM_MAX];
	enum json_token token;
	unsigned n = 0;

	if (json_expect(&p->json, JSON_OBJECT, "a tensor's entry", err) < 0)
		return -1;
	while ((token = json_next(&p->json, err)) == JSON_KEY) {
		bool offsets = str_eqc(p->json.text, "saved_offsets");

		if ((offsets ? parse_counts(p, "saved_offsets", low, TENSOR_NDIM_MAX, &n, err) : json_skip(&p->json, err)) < 0)
			return -1;
	}
	if (token == JSON_ERROR)
		return -1;
	if (n != t->ndim)
		return json_fail(&p->json, err, "%u saved_offsets of a tensor with %u dimensions", n, t->ndim);
	more->low = memcpy(arena_alloc(&p->c->arena, n * sizeof(*low)), low, n * sizeof(*low));
	t->more = more;
	return 0;
}

static int
parse_sharding(struct parser *p, struct str text, struct err *err)
{
	struct ckpt *c = p->c;
	char *file = arena_printf(&c->arena, "%s: " CKPT_SHARDING_KEY, c->file);
	enum json_token token;
	uint64_t i;
	int rc;

	json_release(&p->json);
	json_begin(&p->json, file, 0, text.p, text.len);
	rc = json_expect(&p->json, JSON_OBJECT, "it", err);
	while (rc == 0 && (token = json_next(&p->json, err)) != JSON_OBJECT_END) {
		if (token == JSON_ERROR)
			rc = -1;
		else
			rc = strmap_get(&c->by_name, p->json.text, &i) ? parse_low(p, &c->tensors[i], err)
								       : json_skip(&p->json, err);
	}
	c->boxed = true;
	return rc;
}

/* ---- the file */

static int
read_header(struct ckpt *c, struct safetensors *s, struct err *err)
{
	struct source *src = c->src;
	uint64_t n, size;
	uint8_t first[8];
	size_t piece;

	if (source_read(src, 0, first, 8, err) < 0)
		return -1;
	n = get_le64(first);
	if (n > SAFETENSORS_HEADER_MAX)
		return err_at(err, c->file, 0, "a safetensors header of %" PRIu64 " bytes; the limit is %" PRIu64, n,
			      SAFETENSORS_HEADER_MAX);
	if (!source_is_stream(src)) {
		if (source_size(src, &size, err) < 0)
			return -1;
		if (n > size - 8)
			return err_input(err, c->file,
					 "cut off: the safetensors header ends at byte %" PRIu64 ", the file at byte %" PRIu64,
					 8 + n, size);
	}
	while (s->header.len < n) {
		piece = n - s->header.len < HEADER_PIECE ? (size_t)n - s->header.len : HEADER_PIECE;
		if (source_take(src, 8 + s->header.len, buf_reserve(&s->header, piece), piece, err) < 0)
			return -1;
		s->header.len += piece;
	}
	s->data = 8 + n;
	return 0;
}

/* The size of a file is checked at once, that of a stream at its end. */
static int
check_size(const struct ckpt *c, const struct safetensors *s, uint64_t size, struct err *err)
{
	if (size < s->total)
		return err_input(err, c->file,
				 "cut off: the tensors end at byte %" PRIu64 ", the input at byte %" PRIu64 SALVAGE_HINT, s->total,
				 size);
	if (size > s->total)
		return err_at(err, c->file, s->total, "bytes follow that belong to no tensor");
	return 0;
}

static int
parse(struct ckpt *c, struct safetensors *s, struct err *err)
{
	struct parser p = { .c = c, .names = { .stride = sizeof(*p.entries) } };
	uint64_t size = 0;
	int rc;

	rc = parse_header(&p, &s->header, err);
	if (rc == 0) {
		sort(&p);
		rc = check_tiling(&p, &size, err);
	}
	if (rc == 0 && !num_add(s->data, size, &s->total))
		rc = err_input(err, c->file, "the tensors' sizes add up to more than 2^64 bytes");
	if (rc == 0)
		fill_tables(&p, s->data);
	for (size_t i = 0; rc == 0 && i < c->nmeta; i++)
		if (str_eqc(c->meta_keys[i], CKPT_SHARDING_KEY))
			rc = parse_sharding(&p, c->meta_values[i], err);
	free(p.entries);
	strmap_release(&p.names);
	json_release(&p.json);
	return rc;
}

static int
pass(struct ckpt *c, uint32_t from, uint32_t to, struct err *err)
{
	struct safetensors *s = c->priv;

	(void)from, (void)err;
	source_forget(c->src, to < c->nstorages ? c->storages[to].offset : s->total);
	return 0;
}

static int
finish(struct ckpt *c, struct err *err)
{
	struct safetensors *s = c->priv;
	uint64_t size;
	uint8_t more;
	size_t got;

	if (!source_is_stream(c->src))
		return source_verify(c->src, err);
	/* One byte after the tensors suffices to detect excess. The size is requested only if the stream has ended. */
	source_forget(c->src, s->total);
	if (source_read_some(c->src, s->total, &more, 1, &got, err) < 0)
		return -1;
	size = s->total + 1;
	if (got == 0 && source_size(c->src, &size, err) < 0)
		return -1;
	return check_size(c, s, size, err);
}

static void
close_it(struct ckpt *c)
{
	struct safetensors *s = c->priv;

	if (s == NULL)
		return;
	buf_release(&s->header);
	free(s);
}

static const struct ckpt_ops ops = {
	.name = "safetensors",
	.pass = pass,
	.finish = finish,
	.close = close_it,
};

static int
open_it(struct ckpt *c, struct err *err)
{
	struct safetensors *s = xcalloc(1, sizeof(*s));
	uint64_t size;

	c->ops = &ops;
	c->priv = s;
	if (read_header(c, s, err) < 0 || parse(c, s, err) < 0)
		return -1;
	if (source_is_stream(c->src) || c->salvage != SALVAGE_NOT)
		return 0;
	return source_size(c->src, &size, err) < 0 ? -1 : check_size(c, s, size, err);
}

/*
 * Accepts a plausible length followed by an object. A length beyond the limit is accepted if the rest looks like a header, so that
 * the message can name the limit. (Like the reference reader, this accepts white space before the object.)
 */
static bool
probe(const uint8_t *head, size_t n)
{
	uint64_t len;
	size_t i = 8;

	if (n < 9)
		return false;
	len = get_le64(head);
	if (len > SAFETENSORS_HEADER_MAX)
		return len >> 48 == 0 && head[8] == '{' && n > 9 && head[9] == '"';
	while (i < n && i < 8 + len && (head[i] == ' ' || head[i] == '\t' || head[i] == '\r' || head[i] == '\n'))
		i++;
	return len >= 2 && i < n && i < 8 + len && head[i] == '{';
}

const struct format_reader format_safetensors = { "safetensors", probe, open_it };
