#include "text/yaml.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/num.h"
#include "base/strmap.h"
#include "base/text.h"
#include "base/xalloc.h"

/* ---- parsing */

struct builder {
	struct arena *arena;
	const char *file;
	struct str input;
	yaml_parser_t parser;
	struct strmap names;          /* maps names of anchors to indices in anchors */
	const struct ynode **anchors; /* NULL while the node is still open */
	size_t nanchors, capanchors;
	const struct ynode **stack; /* finished children of open nodes */
	size_t n, cap;
	size_t nodes; /* number of nodes made so far; merged pairs and aliases count */
	struct err *err;
};

static unsigned
from_one(size_t n)
{
	return n >= UINT32_MAX ? UINT32_MAX : (unsigned)n + 1;
}

#define fail(b, mark, ...) err_line((b)->err, (b)->file, from_one((mark).line), from_one((mark).column), __VA_ARGS__)

/* Returns the length of the line break at s.p[i], or 0. YAML 1.1 has CR LF, CR, LF, NEL, LS and PS. */
static size_t
line_break(struct str s, size_t i)
{
	if (s.p[i] == '\r')
		return i + 1 < s.len && s.p[i + 1] == '\n' ? 2 : 1;
	if (s.p[i] == '\n')
		return 1;
	if (s.len - i >= 2 && memcmp(s.p + i, "\xc2\x85", 2) == 0)
		return 2;
	if (s.len - i >= 3 && (memcmp(s.p + i, "\xe2\x80\xa8", 3) == 0 || memcmp(s.p + i, "\xe2\x80\xa9", 3) == 0))
		return 3;
	return 0;
}

static size_t
bom_len(struct str s)
{
	return s.len >= 3 && memcmp(s.p, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
}

/*
 * Walks s up to a byte offset, or up to the line and column of until. Returns the offset reached, and its line and column in *mark.
 * (libyaml's reader reports offsets, not lines.)
 */
static size_t
walk(struct str s, size_t offset, const yaml_mark_t *until, yaml_mark_t *mark)
{
	size_t i = bom_len(s), n;

	*mark = (yaml_mark_t){ 0, 0, 0 };
	while (i < offset && i < s.len && (until == NULL || mark->line != until->line || mark->column != until->column)) {
		n = line_break(s, i);
		mark->line += n > 0;
		mark->column = n > 0 ? 0 : mark->column + 1;
		if (n == 0)
			n = utf8_len((const uint8_t *)s.p + i, s.len - i);
		i += n > 0 ? n : 1;
	}
	return i;
}

static int
fail_parser(struct builder *b)
{
	const yaml_parser_t *p = &b->parser;
	const char *problem = p->problem ? p->problem : "invalid YAML";
	yaml_mark_t mark;
	size_t i;

	if (p->error == YAML_MEMORY_ERROR)
		return err_input(b->err, b->file, "not enough memory to parse YAML");
	if (p->error == YAML_READER_ERROR) {
		if (p->encoding != YAML_UTF8_ENCODING)
			return err_at(b->err, b->file, p->problem_offset, "%s", problem);
		walk(b->input, p->problem_offset, NULL, &mark);
		if (p->problem_value != -1)
			return fail(b, mark, "%s (0x%02x)", problem, (unsigned)p->problem_value);
		return fail(b, mark, "%s", problem);
	}
	i = walk(b->input, SIZE_MAX, &p->problem_mark, &mark);
	if (strstr(problem, "cannot start any token") && i < b->input.len && b->input.p[i] == '\t')
		return fail(b, p->problem_mark, "a tab cannot indent YAML: use spaces");
	if (p->context)
		return fail(b, p->problem_mark, "%s (%s that starts at line %u)", problem, p->context,
			    from_one(p->context_mark.line));
	return fail(b, p->problem_mark, "%s", problem);
}

static int
next_event(struct builder *b, yaml_event_t *event)
{
	return yaml_parser_parse(&b->parser, event) ? 0 : fail_parser(b);
}

static void
push(struct builder *b, const struct ynode *node)
{
	*xpush(b->stack, b->n, b->cap) = node;
}

static int
count_nodes(struct builder *b, size_t n, yaml_mark_t mark)
{
	b->nodes += n;
	if (b->nodes > YAML_MAX_NODES)
		return fail(b, mark, "more than %d nodes (aliases count as what they refer to)", YAML_MAX_NODES);
	return 0;
}

static struct ynode *
new_node(struct builder *b, enum ynode_kind kind, yaml_mark_t mark)
{
	struct ynode *node = arena_alloc(b->arena, sizeof(*node));

	*node = (struct ynode){ .kind = kind,
				.height = 1,
				.expanded = 1,
				.file = b->file,
				.line = from_one(mark.line),
				.column = from_one(mark.column) };
	return node;
}

/* Adds child to the height and the node count of its parent. */
static void
account(struct ynode *node, const struct ynode *child)
{
	uint64_t sum = (uint64_t)node->expanded + child->expanded;

	node->expanded = sum > UINT32_MAX ? UINT32_MAX : (uint32_t)sum;
	if (child->height >= node->height)
		node->height = (uint16_t)(child->height + 1);
}

static void
account_pairs(struct ynode *map)
{
	map->height = 1;
	map->expanded = 1;
	for (size_t i = 0; i < map->n; i++) {
		account(map, map->pairs[i].key);
		account(map, map->pairs[i].value);
	}
}

static int
check_limits(struct builder *b, const struct ynode *node, unsigned depth, yaml_mark_t mark)
{
	if (node->expanded > YAML_MAX_NODES)
		return fail(b, mark, "more than %d nodes (aliases count as what they refer to)", YAML_MAX_NODES);
	if (depth + node->height > YAML_MAX_DEPTH)
		return fail(b, mark, "nested deeper than %d levels", YAML_MAX_DEPTH);
	return 0;
}

/* Registers an anchor while its node is still open, so that an alias to it inside the node is detected. */
static size_t
open_anchor(struct builder *b, const yaml_char_t *name)
{
	struct str key;
	uint64_t at;

	if (name == NULL)
		return SIZE_MAX;
	key = str_c((const char *)name);
	if (strmap_get(&b->names, key, &at)) {
		b->anchors[at] = NULL;
		return (size_t)at;
	}
	b->anchors = xgrow(b->anchors, b->nanchors, &b->capanchors, sizeof(*b->anchors));
	b->anchors[b->nanchors] = NULL;
	strmap_add(&b->names, arena_str(b->arena, key), b->nanchors);
	return b->nanchors++;
}

static void
close_anchor(struct builder *b, size_t anchor, const struct ynode *node)
{
	if (anchor != SIZE_MAX)
		b->anchors[anchor] = node;
}

static int
build_alias(struct builder *b, const yaml_event_t *event, unsigned depth)
{
	const char *name = (const char *)event->data.alias.anchor;
	uint64_t at;

	if (!strmap_get(&b->names, str_c(name), &at))
		return fail(b, event->start_mark, "alias *%s has no anchor before it", name);
	if (b->anchors[at] == NULL)
		return fail(b, event->start_mark, "alias *%s is inside the node that it refers to", name);
	if (count_nodes(b, 1, event->start_mark) != 0 || check_limits(b, b->anchors[at], depth, event->start_mark) != 0)
		return -1;
	push(b, b->anchors[at]);
	return 0;
}

#define YAML_TAG "tag:yaml.org,2002:"

/* Returns true for YAML's own tags. Other tags are refused: a file may contain only text, lists and maps. */
static bool
tag_known(const yaml_char_t *tag, enum ynode_kind kind)
{
	static const char *const scalar[] = { "str", "int", "float", "bool", "null", "merge", NULL };
	static const char *const seq[] = { "seq", "python/tuple", NULL };
	static const char *const map[] = { "map", NULL };
	const char *const *known = kind == YN_SCALAR ? scalar : kind == YN_SEQ ? seq : map;
	const char *name = (const char *)tag;

	if (name == NULL || strcmp(name, "!") == 0)
		return true;
	if (strncmp(name, YAML_TAG, strlen(YAML_TAG)) != 0)
		return false;
	for (; *known != NULL; known++)
		if (strcmp(name + strlen(YAML_TAG), *known) == 0)
			return true;
	return false;
}

static int
build_scalar(struct builder *b, const yaml_event_t *event, unsigned depth)
{
	const char *tag = (const char *)event->data.scalar.tag;
	size_t anchor = open_anchor(b, event->data.scalar.anchor);
	struct ynode *node;

	if (!tag_known(event->data.scalar.tag, YN_SCALAR))
		return fail(b, event->start_mark, "tag %s is not supported", tag);
	if (count_nodes(b, 1, event->start_mark) != 0)
		return -1;
	node = new_node(b, YN_SCALAR, event->start_mark);
	node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
	if (tag != NULL && strncmp(tag, YAML_TAG, strlen(YAML_TAG)) == 0)
		node->quoted = strcmp(tag, YAML_TAG "str") == 0;
	node->text = arena_str(b->arena, str_n((const char *)event->data.scalar.value, event->data.scalar.length));
	close_anchor(b, anchor, node);
	push(b, node);
	return check_limits(b, node, depth, event->start_mark);
}

/* A map under construction, searchable by key. */
struct ypairs {
	struct ypair *p;
	size_t n;
	struct strmap index; /* used only if there may be many pairs */
	bool indexed;
};

static struct ypair *
pairs_find(struct ypairs *pairs, struct str key)
{
	uint64_t at;

	if (pairs->indexed)
		return strmap_get(&pairs->index, key, &at) ? &pairs->p[at] : NULL;
	for (size_t i = 0; i < pairs->n; i++)
		if (str_eq(pairs->p[i].key->text, key))
			return &pairs->p[i];
	return NULL;
}

static void
pairs_put(struct ypairs *pairs, struct ypair pair)
{
	struct ypair *old = pairs_find(pairs, pair.key->text);

	if (old != NULL) {
		*old = pair;
		return;
	}
	if (pairs->indexed)
		strmap_add(&pairs->index, pair.key->text, pairs->n);
	pairs->p[pairs->n++] = pair;
}

static void
pairs_put_map(struct ypairs *pairs, const struct ynode *map)
{
	for (size_t i = 0; i < map->n; i++)
		pairs_put(pairs, map->pairs[i]);
}

static bool
is_merge_key(const struct ynode *key)
{
	return !key->quoted && str_eqc(key->text, "<<");
}

/* Computes the largest number of pairs that a merge value adds. Fails if it is neither a map nor a list of maps. */
static int
merge_size(struct builder *b, const struct ynode *value, size_t *size)
{
	if (value->kind == YN_MAP) {
		*size = value->n;
		return 0;
	}
	*size = 0;
	if (value->kind != YN_SEQ)
		return ynode_fail(value, b->err, "the value of a merge key << must be a map or a list of maps, not %s",
				  ynode_what(value));
	for (size_t i = 0; i < value->n; i++) {
		if (value->items[i]->kind != YN_MAP)
			return ynode_fail(value->items[i], b->err, "a merge key << takes maps only, not %s",
					  ynode_what(value->items[i]));
		*size += value->items[i]->n;
	}
	return 0;
}

/*
 * Collects the n pairs of a map from kv, where keys and values alternate. Keys must be unique. *merge is set to the value of a
 * merge key, if there is one.
 */
static int
own_pairs(struct builder *b, const struct ynode *const *kv, struct ypairs *own, size_t n, const struct ynode **merge)
{
	const struct ypair *old;

	own->p = arena_calloc(b->arena, n, sizeof(*own->p));
	own->indexed = n > 8;
	for (size_t i = 0; i < n; i++) {
		const struct ynode *key = kv[2 * i];

		if (key->kind != YN_SCALAR)
			return ynode_fail(key, b->err, "a key must be a scalar, not %s", ynode_what(key));
		old = pairs_find(own, key->text);
		if (old != NULL)
			return ynode_fail(key, b->err, "key %.*s occurs twice in one map (first in line %u)", STR_ARG(key->text),
					  old->key->line);
		if (is_merge_key(key))
			*merge = kv[2 * i + 1];
		pairs_put(own, (struct ypair){ key, kv[2 * i + 1] });
	}
	return 0;
}

/*
 * Merges pairs as PyYAML does. Merged pairs come first, and pairs of a later
 * map in a list before those of an earlier one. A key keeps the position of its
 * first occurrence and gets the value of the last one.
 */
static int
merge_pairs(struct builder *b, struct ypairs *own, const struct ynode *merge, yaml_mark_t mark)
{
	struct ypairs all = { NULL, 0, STRMAP_INIT, true };
	size_t merged;

	if (merge_size(b, merge, &merged) != 0 || count_nodes(b, merged, mark) != 0)
		return -1;
	all.p = arena_calloc(b->arena, own->n + merged, sizeof(*all.p));
	if (merge->kind == YN_MAP)
		pairs_put_map(&all, merge);
	for (size_t i = merge->kind == YN_SEQ ? merge->n : 0; i-- > 0;)
		pairs_put_map(&all, merge->items[i]);
	for (size_t i = 0; i < own->n; i++)
		if (!is_merge_key(own->p[i].key))
			pairs_put(&all, own->p[i]);
	strmap_release(&all.index);
	own->p = all.p;
	own->n = all.n;
	return 0;
}

static int
finish_map(struct builder *b, struct ynode *node, size_t from, yaml_mark_t mark)
{
	const struct ynode **kv = b->stack == NULL ? NULL : b->stack + from, *merge = NULL;
	struct ypairs pairs = { NULL, 0, STRMAP_INIT, false };
	int rc = own_pairs(b, kv, &pairs, (b->n - from) / 2, &merge);

	if (rc == 0 && merge != NULL)
		rc = merge_pairs(b, &pairs, merge, mark);
	strmap_release(&pairs.index);
	node->pairs = pairs.p;
	node->n = pairs.n;
	if (rc == 0)
		account_pairs(node);
	return rc;
}

static void
finish_seq(struct builder *b, struct ynode *node, size_t from)
{
	node->n = b->n - from;
	node->items = arena_calloc(b->arena, node->n, sizeof(const struct ynode *));
	for (size_t i = 0; i < node->n; i++) {
		node->items[i] = b->stack[from + i];
		account(node, node->items[i]);
	}
}

static int build_node(struct builder *b, const yaml_event_t *event, unsigned depth);

/* Builds nodes on the stack until the end event of the collection. */
static int
build_children(struct builder *b, unsigned depth)
{
	yaml_event_t event;
	int rc;
	bool end;

	do {
		if (next_event(b, &event) != 0)
			return -1;
		end = event.type == YAML_SEQUENCE_END_EVENT || event.type == YAML_MAPPING_END_EVENT;
		rc = end ? 0 : build_node(b, &event, depth);
		yaml_event_delete(&event);
	} while (!end && rc == 0);
	return rc;
}

static int
build_collection(struct builder *b, const yaml_event_t *event, unsigned depth)
{
	bool map = event->type == YAML_MAPPING_START_EVENT;
	const yaml_char_t *tag = map ? event->data.mapping_start.tag : event->data.sequence_start.tag;
	size_t anchor, from = b->n;
	struct ynode *node = new_node(b, map ? YN_MAP : YN_SEQ, event->start_mark);

	anchor = open_anchor(b, map ? event->data.mapping_start.anchor : event->data.sequence_start.anchor);
	if (!tag_known(tag, node->kind))
		return fail(b, event->start_mark, "tag %s is not supported", (const char *)tag);
	if (count_nodes(b, 1, event->start_mark) != 0 || check_limits(b, node, depth, event->start_mark) != 0)
		return -1;
	if (build_children(b, depth + 1) != 0)
		return -1;
	if (!map)
		finish_seq(b, node, from);
	else if (finish_map(b, node, from, event->start_mark) != 0)
		return -1;
	b->n = from;
	close_anchor(b, anchor, node);
	push(b, node);
	return check_limits(b, node, depth, event->start_mark);
}

/* Builds the node that event begins, and pushes it. depth is the number of enclosing nodes. */
static int
build_node(struct builder *b, const yaml_event_t *event, unsigned depth)
{
	switch (event->type) {
	case YAML_ALIAS_EVENT: return build_alias(b, event, depth);
	case YAML_SCALAR_EVENT: return build_scalar(b, event, depth);
	default: return build_collection(b, event, depth);
	}
}

static int
build_document(struct builder *b)
{
	yaml_event_t event;
	int rc = 0;
	bool end = false, document = false;

	while (!end && rc == 0) {
		if (next_event(b, &event) != 0)
			return -1;
		end = event.type == YAML_STREAM_END_EVENT;
		if (event.type == YAML_DOCUMENT_START_EVENT) {
			if (document)
				rc = fail(b, event.start_mark, "a second document starts here; only one is allowed");
			document = true;
		} else if (!end && event.type != YAML_STREAM_START_EVENT && event.type != YAML_DOCUMENT_END_EVENT) {
			rc = build_node(b, &event, 0);
		}
		yaml_event_delete(&event);
	}
	return rc;
}

int
yaml_parse(struct arena *a, const char *file, struct str text, const struct ynode **root, struct err *err)
{
	struct builder b = { .arena = a, .input = text, .err = err };
	int rc;

	if (text.len > YAML_MAX_BYTES)
		return err_input(err, file, "YAML of more than %d MiB", YAML_MAX_BYTES >> 20);
	b.file = arena_cstr(a, file);
	if (!yaml_parser_initialize(&b.parser))
		return err_input(err, file, "not enough memory to parse YAML");
	yaml_parser_set_input_string(&b.parser, (const unsigned char *)(text.p ? text.p : ""), text.len);
	rc = build_document(&b);
	if (rc == 0)
		*root = b.n > 0 ? b.stack[0] : new_node(&b, YN_SCALAR, (yaml_mark_t){ 0, 0, 0 });
	yaml_parser_delete(&b.parser);
	strmap_release(&b.names);
	free(b.anchors);
	free(b.stack);
	return rc;
}

/* ---- nodes */

const struct ypair *
ymap_pair(const struct ynode *map, struct str key)
{
	if (map == NULL || map->kind != YN_MAP)
		return NULL;
	for (size_t i = 0; i < map->n; i++)
		if (str_eq(map->pairs[i].key->text, key))
			return &map->pairs[i];
	return NULL;
}

const struct ynode *
ymap_get(const struct ynode *map, const char *key)
{
	const struct ypair *pair = ymap_pair(map, str_c(key));

	return pair == NULL ? NULL : pair->value;
}

const struct ynode *
ynode_path(const struct ynode *node, const char *path)
{
	struct str rest = str_c(path), part;
	const struct ypair *pair;

	if (rest.len == 0)
		return node;
	while (str_split(&rest, '.', &part)) {
		pair = ymap_pair(node, part);
		if (pair == NULL)
			return NULL;
		node = pair->value;
	}
	return node;
}

static bool
plain(const struct ynode *node)
{
	return node != NULL && node->kind == YN_SCALAR && !node->quoted;
}

static bool
one_of(struct str s, const char *const *words)
{
	for (; *words != NULL; words++)
		if (str_eqc(s, *words))
			return true;
	return false;
}

bool
ynode_is_null(const struct ynode *node)
{
	static const char *const words[] = { "", "~", "null", "Null", "NULL", "None", NULL };

	return node == NULL || (plain(node) && one_of(node->text, words));
}

bool
ynode_bool(const struct ynode *node, bool *out)
{
	static const char *const yes[] = { "true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", NULL };
	static const char *const no[] = { "false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", NULL };

	if (!plain(node))
		return false;
	if (one_of(node->text, yes)) {
		*out = true;
		return true;
	}
	if (!one_of(node->text, no))
		return false;
	*out = false;
	return true;
}

/* Parses digits of the base, with underscores between or after them. */
static bool
digits(struct str s, unsigned base, uint64_t *out)
{
	bool any = false;

	*out = 0;
	for (size_t i = 0; i < s.len; i++) {
		if (s.p[i] == '_')
			continue;
		if (num_digit(s.p[i]) >= base || !num_mul(*out, base, out) || !num_add(*out, num_digit(s.p[i]), out))
			return false;
		any = true;
	}
	return any;
}

bool
ynode_int(const struct ynode *node, int64_t *out)
{
	struct str s;
	uint64_t v;
	bool neg, ok;

	if (!plain(node) || node->text.len == 0)
		return false;
	s = node->text;
	neg = s.p[0] == '-';
	s = str_from(s, neg || s.p[0] == '+');
	if (s.len == 0 || s.p[0] == '_')
		return false;
	if (s.len > 2 && s.p[0] == '0' && (s.p[1] == 'x' || s.p[1] == 'b'))
		ok = digits(str_from(s, 2), s.p[1] == 'x' ? 16 : 2, &v);
	else
		ok = digits(s, s.len > 1 && s.p[0] == '0' ? 8 : 10, &v);
	if (!ok || v > (uint64_t)INT64_MAX + neg)
		return false;
	*out = neg ? (int64_t)(0 - v) : (int64_t)v;
	return true;
}

/* Parses .inf and .nan, each in lower, Title or UPPER case. */
static bool
special_double(struct str s, double *out)
{
	static const char *const infs[] = { ".inf", ".Inf", ".INF", NULL };
	static const char *const nans[] = { ".nan", ".NaN", ".NAN", NULL };
	bool neg = s.len > 0 && s.p[0] == '-', sign = neg || (s.len > 0 && s.p[0] == '+');

	if (!sign && one_of(s, nans)) {
		*out = (double)NAN;
		return true;
	}
	if (!one_of(str_from(s, sign), infs))
		return false;
	*out = neg ? -(double)INFINITY : (double)INFINITY;
	return true;
}

bool
ynode_double(const struct ynode *node, double *out)
{
	char text[400];
	size_t n = 0;
	int64_t i;
	double d;

	if (ynode_int(node, &i)) {
		*out = (double)i;
		return true;
	}
	if (!plain(node))
		return false;
	if (special_double(node->text, out))
		return true;
	if (node->text.len > sizeof(text))
		return false;
	for (size_t k = 0; k < node->text.len; k++) {
		char c = node->text.p[k];

		if ((c | 0x20) >= 'a' && (c | 0x20) <= 'z' && c != 'e' && c != 'E')
			return false; /* inf and nan without a dot are text */
		if (c != '_')
			text[n++] = c;
	}
	if (!num_double(str_n(text, n), &d))
		return false;
	*out = d;
	return true;
}

const char *
ynode_what(const struct ynode *node)
{
	if (node == NULL)
		return "nothing";
	if (node->kind == YN_SEQ)
		return "a list";
	if (node->kind == YN_MAP)
		return "a map";
	return ynode_is_null(node) ? "null" : "a scalar";
}

int
ynode_strings(const struct ynode *node, const char *what, struct arena *a, struct str **out, size_t *n, struct err *err)
{
	struct str *list;

	if (node->kind != YN_SEQ)
		return ynode_fail(node, err, "%s must be a list, not %s", what, ynode_what(node));
	list = arena_calloc(a, node->n, sizeof(*list));
	for (size_t i = 0; i < node->n; i++) {
		const struct ynode *item = node->items[i];

		if (item->kind != YN_SCALAR || ynode_is_null(item))
			return ynode_fail(item, err, "%s must hold text, not %s", what, ynode_what(item));
		list[i] = item->text;
	}
	*out = list;
	*n = node->n;
	return 0;
}

const struct ynode *
yaml_merge(struct arena *a, const struct ynode *base, const struct ynode *over)
{
	struct strmap index = STRMAP_INIT;
	struct ynode *map;
	uint64_t at;
	size_t i;

	if (base->kind != YN_MAP || over->kind != YN_MAP)
		return over;
	map = arena_calloc(a, 1, sizeof(*map));
	*map = *over;
	map->pairs = arena_calloc(a, base->n + over->n, sizeof(*map->pairs));
	for (map->n = 0; map->n < base->n; map->n++) {
		map->pairs[map->n] = base->pairs[map->n];
		strmap_add(&index, map->pairs[map->n].key->text, map->n);
	}
	for (i = 0; i < over->n; i++) {
		if (strmap_get(&index, over->pairs[i].key->text, &at))
			map->pairs[at] =
				(struct ypair){ over->pairs[i].key, yaml_merge(a, map->pairs[at].value, over->pairs[i].value) };
		else
			map->pairs[map->n++] = over->pairs[i];
	}
	strmap_release(&index);
	account_pairs(map);
	return map;
}

/* ---- writing */

/* Returns true for words that YAML 1.1, YAML 1.2 or some parser does not read as text. */
static bool
has_meaning(struct str s)
{
	static const char *const words[] = {
		"null", "none", "true", "false", "yes", "no", "on", "off", "y", "n", "inf", "nan", "infinity",
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (str_eqc_nocase(s, words[i]))
			return true;
	return false;
}

/*
 * Returns true if s can be written plain in every context. It begins with a letter or _, so it cannot be a number, date or
 * indicator.
 */
static bool
plain_is_safe(struct str s)
{
	for (size_t i = 0; i < s.len; i++) {
		char c = s.p[i];
		bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
		bool other = (c >= '0' && c <= '9') || c == '.' || c == '/' || c == '-' || c == '+';

		if (!letter && (i == 0 || !other))
			return false;
	}
	return s.len > 0 && !has_meaning(s);
}

/* Returns false for characters that YAML escapes, that affect a terminal, or that are invisible spaces. */
static bool
shown_raw(uint32_t c)
{
	return !utf8_steers(c) && c != 0xa0 && c != '"' && c != '\\' && (c & 0xfffe) != 0xfffe;
}

bool
yaml_put_scalar(struct buf *b, struct str s)
{
	const uint8_t *p = (const uint8_t *)s.p;
	uint32_t c;
	size_t n;

	if (!utf8_valid(s))
		return false;
	if (plain_is_safe(s)) {
		buf_addstr(b, s);
		return true;
	}
	buf_addc(b, '"');
	for (size_t i = 0; i < s.len; i += n) {
		n = utf8_len(p + i, s.len - i);
		c = utf8_decode(p + i, n);
		if (shown_raw(c))
			buf_add(b, p + i, n);
		else if (c < 0x80 && text_map((char)c, "\"\\\n\t\r", "\"\\ntr") > 0)
			buf_addf(b, "\\%c", text_map((char)c, "\"\\\n\t\r", "\"\\ntr"));
		else
			buf_addf(b, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)c);
	}
	buf_addc(b, '"');
	return true;
}
