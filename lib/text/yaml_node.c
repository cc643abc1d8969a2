#include "text/yaml.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/strmap.h"
#include "base/xalloc.h"

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

static unsigned
digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return (unsigned)(c - '0');
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10) : 16;
}

/* Digits of the base, with underscores between or behind them. */
static bool
digits(struct str s, unsigned base, uint64_t *out)
{
	bool any = false;

	*out = 0;
	for (size_t i = 0; i < s.len; i++) {
		if (s.p[i] == '_')
			continue;
		if (digit_value(s.p[i]) >= base || !num_mul(*out, base, out) ||
		    !num_add(*out, digit_value(s.p[i]), out))
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

/* .inf and .nan, each lower, Title or UPPER. */
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
			return false; /* inf and nan without their dot are text */
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
ynode_fail(const struct ynode *node, struct err *err, const char *fmt, ...)
{
	char msg[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	return err_line(err, node->file, node->line, node->column, "%s", msg);
}

int
ynode_strings(const struct ynode *node, const char *what, struct arena *a, struct str **out, size_t *n,
	struct err *err)
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

static void
refresh(struct ynode *map)
{
	uint64_t sum = 1;
	uint16_t height = 0;

	for (size_t i = 0; i < map->n; i++) {
		const struct ypair *pair = &map->pairs[i];

		sum += (uint64_t)pair->key->expanded + pair->value->expanded;
		height = pair->key->height > height ? pair->key->height : height;
		height = pair->value->height > height ? pair->value->height : height;
	}
	map->expanded = sum > UINT32_MAX ? UINT32_MAX : (uint32_t)sum;
	map->height = (uint16_t)(height + 1);
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
			map->pairs[at] = (struct ypair){ over->pairs[i].key,
				yaml_merge(a, map->pairs[at].value, over->pairs[i].value) };
		else
			map->pairs[map->n++] = over->pairs[i];
	}
	strmap_release(&index);
	refresh(map);
	return map;
}
