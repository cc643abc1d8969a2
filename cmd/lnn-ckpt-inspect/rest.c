/*
 * --rest: prints everything that is not a tensor as JSON. --get: prints one scalar of it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "model/keys.h"
#include "pickle/machine.h"
#include "report.h"
#include "tensor/tree.h"
#include "values.h"

struct rest {
	struct job *j;
	const struct ckpt *c;
	const struct vtree *t;
	struct json_writer *w;
	char **path; /* by node: path where it was first written; NULL if it was not written yet */
	struct arena paths;
	struct buf at; /* path of the value that is being written */
	bool in_dict;  /* inside the state dict, whose tensors are omitted */
	struct err *err;
};

static int put(struct rest *r, uint32_t h, unsigned depth);

static void
put_base64(struct buf *b, struct str s)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	buf_addc(b, '"');
	for (size_t i = 0; i < s.len; i += 3) {
		uint32_t v = (uint32_t)(uint8_t)s.p[i] << 16;

		v |= i + 1 < s.len ? (uint32_t)(uint8_t)s.p[i + 1] << 8 : 0;
		v |= i + 2 < s.len ? (uint8_t)s.p[i + 2] : 0;
		buf_addc(b, digits[v >> 18]);
		buf_addc(b, digits[v >> 12 & 63]);
		buf_addc(b, i + 1 < s.len ? digits[v >> 6 & 63] : '=');
		buf_addc(b, i + 2 < s.len ? digits[v & 63] : '=');
	}
	buf_addc(b, '"');
}

static void
put_bytes(struct rest *r, const char *key, struct str s)
{
	struct buf b = BUF_INIT;

	put_base64(&b, s);
	json_begin_inline_object(r->w);
	json_put_raw(json_key(r->w, key), buf_str(&b));
	json_end_object(r->w);
	buf_release(&b);
}

static void
put_leaf(struct rest *r, uint32_t h)
{
	struct record *record = r->j->record;
	uint32_t index;
	const bool is_tensor = value_leaf(r->t, h, &index) == LEAF_TENSOR;

	json_begin_inline_object(r->w);
	json_begin_inline_object(json_key(r->w, is_tensor ? "$tensor" : "$storage"));
	if (is_tensor) {
		const struct tensor *t = &r->c->tensors[index];

		record_member(record, "dtype", RECORD_TEXT, cell_word(dtype_name(t->dtype)));
		record_member(record, "shape", RECORD_SHAPE, cell_shape(t->shape, t->ndim));
	} else {
		const struct storage *s = &r->c->storages[index];

		record_member(record, "dtype", RECORD_TEXT, cell_word(s->untyped ? NULL : dtype_name(s->dtype)));
		record_member(record, "nbytes", RECORD_COUNT, cell_count(s->nbytes));
	}
	json_end_object(r->w);
	json_end_object(r->w);
}

/* Writes the value h at the component part below the present path. part is borrowed for the call. */
static int
put_at(struct rest *r, struct str part, uint32_t h, unsigned depth)
{
	size_t len = r->at.len;
	int rc;

	if (len > 0)
		buf_addc(&r->at, '.');
	buf_addstr(&r->at, part);
	rc = put(r, h, depth + 1);
	r->at.len = len;
	return rc;
}

static int
put_numbered(struct rest *r, size_t i, uint32_t h, unsigned depth)
{
	char text[24];

	snprintf(text, sizeof(text), "%zu", i);
	return put_at(r, str_c(text), h, depth);
}

/* Can values of this kind be reached more than once, or contain themselves? */
static bool
repeats(enum value_kind kind)
{
	return kind == VALUE_LIST || kind == VALUE_DICT || kind == VALUE_SET || kind == VALUE_FROZENSET || kind == VALUE_TUPLE ||
	       kind == VALUE_OBJECT;
}

/* Are the items all scalars, and few enough for one line? */
static bool
is_flat(const struct rest *r, uint32_t h)
{
	size_t n = value_len(r->t, h);

	for (size_t i = 0; i < n; i++)
		if (n > 16 || repeats(value_kind(r->t, value_item(r->t, h, i))) ||
		    value_text(r->t, value_item(r->t, h, i)).len > 60)
			return false;
	return true;
}

static int
put_items(struct rest *r, uint32_t h, unsigned depth)
{
	size_t n = value_len(r->t, h);
	uint32_t index;
	int rc = 0;

	json_open(r->w, '[', is_flat(r, h));
	for (size_t i = 0; rc == 0 && i < n; i++) {
		uint32_t item = value_item(r->t, h, i);

		if (!r->in_dict || value_leaf(r->t, item, &index) != LEAF_TENSOR)
			rc = put_numbered(r, i, item, depth);
	}
	json_end_array(r->w);
	return rc;
}

/* Can a dict be written as a JSON object? Its keys must be strings that do not look like our own "$..." keys. */
static bool
plain_keys(const struct rest *r, uint32_t h)
{
	size_t n = value_len(r->t, h);

	for (size_t i = 0; i < n; i++) {
		struct str s = value_text(r->t, value_key(r->t, h, i));

		if (value_kind(r->t, value_key(r->t, h, i)) != VALUE_STR || (s.len > 0 && s.p[0] == '$'))
			return false;
	}
	return true;
}

static int
put_pairs(struct rest *r, uint32_t h, unsigned depth)
{
	size_t n = value_len(r->t, h);
	int rc = 0;

	json_begin_object(r->w);
	json_begin_array(json_key(r->w, "$items"));
	for (size_t i = 0; rc == 0 && i < n; i++) {
		json_begin_array(r->w);
		rc = put_numbered(r, i, value_key(r->t, h, i), depth);
		if (rc == 0)
			rc = put_numbered(r, i, value_val(r->t, h, i), depth);
		json_end_array(r->w);
	}
	json_end_array(r->w);
	json_end_object(r->w);
	return rc;
}

static int
put_dict(struct rest *r, uint32_t h, unsigned depth)
{
	size_t n = value_len(r->t, h);
	uint32_t index;
	int rc = 0;

	if (!plain_keys(r, h))
		return put_pairs(r, h, depth);
	json_begin_object(r->w);
	for (size_t i = 0; rc == 0 && i < n; i++) {
		struct str key = value_text(r->t, value_key(r->t, h, i));
		uint32_t val = value_val(r->t, h, i);

		if (r->in_dict && value_leaf(r->t, val, &index) == LEAF_TENSOR)
			continue;
		json_key_str(r->w, key);
		rc = put_at(r, key, val, depth);
	}
	if (rc == 0 && value_state(r->t, h) != VALUE_ABSENT) {
		json_key(r->w, "$state");
		rc = put_at(r, str_c("$state"), value_state(r->t, h), depth);
	}
	json_end_object(r->w);
	return rc;
}

/* Writes the items of h as an array, which is the only member of an object. */
static int
put_wrapped(struct rest *r, const char *key, uint32_t h, unsigned depth)
{
	int rc;

	json_open(r->w, '{', is_flat(r, h));
	json_key(r->w, key);
	rc = put_items(r, h, depth);
	json_end_object(r->w);
	return rc;
}

static void
put_global(struct rest *r, uint32_t h)
{
	struct buf b = BUF_INIT;

	values_what(&b, r->c, h);
	json_put_str(r->w, buf_str(&b));
	buf_release(&b);
}

static int
put_object(struct rest *r, uint32_t h, unsigned depth)
{
	const struct vobject *o = value_object(r->t, h);
	const struct {
		const char *key;
		uint32_t h;
	} parts[] = {
		{ "args", o->args }, { "kwargs", o->kwargs }, { "state", o->state }, { "list", o->appended }, { "items", o->items }
	};
	int rc = 0;

	json_begin_object(r->w);
	json_key(r->w, "$global");
	put_global(r, h);
	for (size_t i = 0; rc == 0 && i < sizeof(parts) / sizeof(parts[0]); i++) {
		if (parts[i].h == VALUE_ABSENT)
			continue;
		json_key(r->w, parts[i].key);
		rc = put_at(r, str_c(parts[i].key), parts[i].h, depth);
	}
	json_end_object(r->w);
	return rc;
}

static void
put_int(struct rest *r, uint32_t h)
{
	struct buf b = BUF_INIT;

	values_bigint(&b, value_text(r->t, h));
	if (str_contains(buf_str(&b), str_c("x")))
		json_put_str(r->w, buf_str(&b));
	else
		json_put_raw(r->w, buf_str(&b));
	buf_release(&b);
}

static int
put_items_or_pairs(struct rest *r, uint32_t h, unsigned depth)
{
	switch (value_kind(r->t, h)) {
	case VALUE_LIST: return put_items(r, h, depth);
	case VALUE_TUPLE: return put_wrapped(r, "$tuple", h, depth);
	case VALUE_SET: return put_wrapped(r, "$set", h, depth);
	case VALUE_FROZENSET: return put_wrapped(r, "$frozenset", h, depth);
	default: return put_dict(r, h, depth);
	}
}

static int
put_container(struct rest *r, uint32_t h, unsigned depth)
{
	const bool outside = r->in_dict;
	int rc;

	r->in_dict = outside || (h == r->j->input.sd.place && r->j->input.sd.ckpt != NULL);
	rc = put_items_or_pairs(r, h, depth);
	r->in_dict = outside;
	return rc;
}

static int
put(struct rest *r, uint32_t h, unsigned depth)
{
	enum value_kind kind = value_kind(r->t, h);

	record_drain(r->j->record, false);
	if (depth > PICKLE_DEPTH_MAX)
		return err_input(r->err, r->c->file, "the values beside the tensors are nested more than %d deep",
				 PICKLE_DEPTH_MAX);
	if (repeats(kind) && h < vtree_count(r->t) && value_len(r->t, h) + (kind == VALUE_OBJECT) > 0) {
		if (r->path[h] != NULL) {
			json_begin_inline_object(r->w);
			record_member(r->j->record, "$ref", RECORD_TEXT, cell_word(r->path[h]));
			json_end_object(r->w);
			return 0;
		}
		r->path[h] = arena_cstr(&r->paths, r->at.len > 0 ? r->at.p : "");
	}
	switch (kind) {
	case VALUE_NONE: json_put_null(r->w); return 0;
	case VALUE_BOOL: json_put_bool(r->w, value_bool(r->t, h)); return 0;
	case VALUE_INT: json_put_i64(r->w, value_int(r->t, h)); return 0;
	case VALUE_BIGINT: put_int(r, h); return 0;
	case VALUE_FLOAT: json_put_double(r->w, value_float(r->t, h)); return 0;
	case VALUE_STR:
	case VALUE_PYSTR: json_put_str(r->w, value_text(r->t, h)); return 0;
	case VALUE_BYTES: put_bytes(r, "$bytes", value_text(r->t, h)); return 0;
	case VALUE_BYTEARRAY: put_bytes(r, "$bytearray", value_text(r->t, h)); return 0;
	case VALUE_LEAF: put_leaf(r, h); return 0;
	case VALUE_OBJECT: return put_object(r, h, depth);
	case VALUE_PERSID: return put_wrapped(r, "$persid", h, depth);
	case VALUE_GLOBAL:
		json_begin_inline_object(r->w);
		json_key(r->w, "$global");
		put_global(r, h);
		json_end_object(r->w);
		return 0;
	default: return put_container(r, h, depth);
	}
}

static void
put_metadata(struct job *j)
{
	const struct ckpt *c = j->input.ckpt;
	struct json_writer *w = &j->record->json;

	json_begin_object(w);
	if (c->nmeta > 0) {
		json_begin_object(json_key(w, "__metadata__"));
		for (size_t i = 0; i < c->nmeta; i++) {
			json_put_str(json_key_str(w, c->meta_keys[i]), c->meta_values[i]);
		}
		json_end_object(w);
	}
	json_end_object(w);
}

static int
run_rest(void *state, struct job *j, struct err *err)
{
	const struct ckpt *c = j->input.ckpt;
	struct rest *r = state;

	*r = (struct rest){ .j = j, .c = c, .t = c->tree, .w = &j->record->json, .err = err };
	job_begin_report(j);
	json_key(r->w, "rest");
	if (c->tree == NULL) {
		put_metadata(j);
		return 0;
	}
	r->path = xcalloc((size_t)vtree_count(c->tree) + 1, sizeof(*r->path));
	return put(r, c->root, 0);
}

static void
release_rest(void *state)
{
	struct rest *r = state;

	free(r->path);
	arena_release(&r->paths);
	buf_release(&r->at);
}

const struct report report_rest = {
	.option = OPTION_BARE("rest", "everything but the tensors, as JSON"),
	.needs = NEEDS_INDEX | NEEDS_VALUES,
	.takes = TAKES_JSON,
	.piped = RECORD_JSON,
	.alone = true,
	.size = sizeof(struct rest),
	.run = run_rest,
	.release = release_rest,
};

/* ---- --get */

/* The maximum number of keys that are compared with a missing one. */
enum { NEAREST_TRIED = 1000 };

static void
put_value(struct job *j, struct str text)
{
	out_plain(&j->in->out, text);
	out_putc(&j->in->out, j->in->o->common.null ? '\0' : '\n');
}

static int
put_scalar(struct job *j, uint32_t h, struct err *err)
{
	const struct vtree *t = j->input.ckpt->tree;
	struct buf b = BUF_INIT;
	char text[32];
	int rc = 0;

	switch (value_kind(t, h)) {
	case VALUE_NONE: buf_adds(&b, "null"); break;
	case VALUE_BOOL: buf_adds(&b, value_bool(t, h) ? "true" : "false"); break;
	case VALUE_INT: buf_addf(&b, "%" PRId64, value_int(t, h)); break;
	case VALUE_BIGINT: values_bigint(&b, value_text(t, h)); break;
	case VALUE_FLOAT:
		num_repr(value_float(t, h), text);
		buf_adds(&b, text);
		break;
	case VALUE_STR:
	case VALUE_PYSTR:
	case VALUE_BYTES:
	case VALUE_BYTEARRAY: buf_addstr(&b, value_text(t, h)); break;
	default:
		values_what(&b, j->input.ckpt, h);
		rc = err_input(err, j->file, "%s: is not a scalar but: %s (see --rest; --dump for tensors)", j->in->o->path, b.p);
	}
	if (rc == 0)
		put_value(j, buf_str(&b));
	buf_release(&b);
	return rc;
}

/* Prints a value of the __metadata__ of safetensors. Returns false if the path names none. */
static bool
get_metadata(struct job *j)
{
	const struct ckpt *c = j->input.ckpt;
	struct str path = str_c(j->in->o->path), before = str_c("__metadata__.");

	if (str_starts(path, before))
		path = str_from(path, before.len);
	for (size_t i = 0; i < c->nmeta; i++) {
		if (!str_eq(c->meta_keys[i], path))
			continue;
		put_value(j, c->meta_values[i]);
		return true;
	}
	return false;
}

/* Returns the key of h or of its attributes that is most similar to query. It is empty if none is similar. */
static struct str
nearest_key(const struct vtree *t, uint32_t h, struct str query, struct arena *arena)
{
	struct nearest near;
	struct buf key = BUF_INIT;
	uint32_t place;

	nearest_init(&near, query);
	for (size_t i = 0; (place = value_within(t, h, i)) != VALUE_ABSENT; i++) {
		for (size_t k = 0; k < value_len(t, place) && k < NEAREST_TRIED; k++) {
			buf_clear(&key);
			tree_put_key(&key, t, place, k);
			nearest_try(&near, arena_str(arena, buf_str(&key)));
		}
	}
	buf_release(&key);
	return near.best;
}

/*
 * Appends a path that is similar to a missing one: its first missing component is replaced by the most similar key. The rest of the
 * path is kept if it then leads to a value.
 */
static void
put_nearest_path(const struct ckpt *c, struct str path, struct buf *b)
{
	struct str before = path, rest, best;
	struct arena arena = ARENA_INIT;
	uint32_t h = VALUE_ABSENT;
	size_t start;

	while (h == VALUE_ABSENT) {
		while (before.len > 0 && before.p[--before.len] != '.') {}
		h = value_path(c->tree, c->root, before);
	}
	start = before.len > 0 ? before.len + 1 : 0;
	rest = str_from(path, start);
	buf_add(b, path.p, start);
	best = nearest_key(c->tree, h, rest, &arena);
	if (best.len == 0) {
		(void)str_split(&rest, '.', &best);
		best = nearest_key(c->tree, h, best, &arena);
		buf_addstr(b, best);
		h = best.len > 0 && rest.len > 0 ? value_path(c->tree, c->root, buf_str(b)) : VALUE_ABSENT;
		best = str_c("");
		if (h != VALUE_ABSENT && value_path(c->tree, h, rest) != VALUE_ABSENT) {
			buf_addc(b, '.');
			best = rest;
		}
	}
	buf_addstr(b, best);
	if (b->len == start)
		buf_clear(b);
	arena_release(&arena);
}

static int
no_value(const struct job *j, struct err *err)
{
	const struct ckpt *c = j->input.ckpt;
	const struct str path = str_c(j->in->o->path);
	struct buf path_there = BUF_INIT, hint = BUF_INIT;
	struct nearest near;

	nearest_init(&near, path);
	for (size_t i = 0; i < c->nmeta && i < NEAREST_TRIED; i++)
		nearest_try(&near, c->meta_keys[i]);
	if (c->tree != NULL)
		put_nearest_path(c, path, &path_there);
	if (path_there.len > 0) {
		near.best = buf_str(&path_there);
		near.score = 0;
	}
	keys_suggest_nearest(&hint, &near);
	err_set(err, ERR_ANSWER, "%s: %s: there is no such value%s", j->file, j->in->o->path, hint.len > 0 ? hint.p : "");
	buf_release(&path_there);
	buf_release(&hint);
	return -1;
}

static int
run_get(void *state, struct job *j, struct err *err)
{
	const struct ckpt *c = j->input.ckpt;
	uint32_t h = c->tree ? value_path(c->tree, c->root, str_c(j->in->o->path)) : VALUE_ABSENT;

	(void)state;
	if (h != VALUE_ABSENT)
		return put_scalar(j, h, err);
	if (get_metadata(j))
		return 0;
	return no_value(j, err);
}

const struct report report_get = {
	.option = OPTION_TEXT("get", 0, "PATH", "one value beside the tensors (--get epoch)", path),
	.needs = NEEDS_INDEX,
	.piped = RECORD_LINES,
	.alone = true,
	.run = run_get,
};
