#include "pickle/value.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Keys compared in one search at most; only a tree made for the purpose needs more. */
enum { PATH_WORK_MAX = 1 << 26 };

uint32_t
value_get(const struct vtree *t, uint32_t d, struct str key)
{
	if (value_kind(t, d) != VALUE_DICT)
		return VALUE_ABSENT;
	for (size_t i = value_len(t, d); i-- > 0;) {
		uint32_t k = value_key(t, d, i);

		if (value_is_text(t, k) && str_eq(value_text(t, k), key))
			return value_val(t, d, i);
	}
	return VALUE_ABSENT;
}

/* A key as it is written in a path; room has 24 bytes. False if the key has no such form. */
static bool
key_text(const struct vtree *t, uint32_t k, char *room, struct str *text)
{
	int n;

	if (value_is_text(t, k)) {
		*text = value_text(t, k);
		return true;
	}
	if (value_kind(t, k) != VALUE_INT)
		return false;
	n = snprintf(room, 24, "%" PRId64, value_int(t, k));
	*text = str_n(room, n < 0 ? 0 : (size_t)n);
	return true;
}

/* Is s the beginning of path up to its end or to a dot? */
static bool
leads(struct str path, struct str s)
{
	return s.len <= path.len && (s.len == path.len || path.p[s.len] == '.') &&
	       (s.len == 0 || memcmp(path.p, s.p, s.len) == 0);
}

struct search {
	const struct vtree *t;
	uint64_t work;
};

/* Index of the pair whose key is the longest that leads path and is shorter than below; the last of equals. */
static size_t
longest(struct search *s, uint32_t d, struct str path, size_t below, size_t *len)
{
	size_t best = SIZE_MAX, n = value_len(s->t, d);
	char room[24];
	struct str text;

	for (size_t i = n; i-- > 0 && s->work < PATH_WORK_MAX; s->work++) {
		if (!key_text(s->t, value_key(s->t, d, i), room, &text) || text.len >= below)
			continue;
		if ((best == SIZE_MAX || text.len > *len) && leads(path, text)) {
			best = i;
			*len = text.len;
		}
	}
	return best;
}

static uint32_t
sequence_item(const struct vtree *t, uint32_t h, struct str part)
{
	size_t index = 0, n = value_len(t, h);

	if (part.len == 0 || part.len > 10 || (part.len > 1 && part.p[0] == '0'))
		return VALUE_ABSENT;
	for (size_t i = 0; i < part.len; i++) {
		if (part.p[i] < '0' || part.p[i] > '9')
			return VALUE_ABSENT;
		index = index * 10 + (size_t)(part.p[i] - '0');
	}
	return index < n ? value_item(t, h, index) : VALUE_ABSENT;
}

/* The dict or list that an object of a subclass of one carries; any other h as it is. */
static uint32_t
carried(const struct vtree *t, uint32_t h)
{
	const struct vobject *o;

	if (value_kind(t, h) != VALUE_OBJECT)
		return h;
	o = value_object(t, h);
	return o->items != VALUE_ABSENT ? o->items : o->appended != VALUE_ABSENT ? o->appended : h;
}

/* path is what is left, never the end itself; each step takes at least a component, so the depth is bounded by the caller. */
static uint32_t
search(struct search *s, uint32_t h, struct str path, unsigned depth)
{
	size_t below = SIZE_MAX, len = 0, i;
	enum value_kind kind;
	uint32_t found;

	if (depth == 0)
		return VALUE_ABSENT;
	h = carried(s->t, h);
	kind = value_kind(s->t, h);
	if (kind == VALUE_LIST || kind == VALUE_TUPLE) {
		const char *dot = path.len == 0 ? NULL : memchr(path.p, '.', path.len);
		struct str part = dot == NULL ? path : str_n(path.p, (size_t)(dot - path.p));

		found = sequence_item(s->t, h, part);
		if (found == VALUE_ABSENT || dot == NULL)
			return found;
		return search(s, found, str_from(path, part.len + 1), depth - 1);
	}
	if (kind != VALUE_DICT)
		return VALUE_ABSENT;
	while ((i = longest(s, h, path, below, &len)) != SIZE_MAX) {
		found = value_val(s->t, h, i);
		if (len < path.len)
			found = search(s, found, str_from(path, len + 1), depth - 1);
		if (found != VALUE_ABSENT)
			return found;
		below = len;
	}
	return VALUE_ABSENT;
}

uint32_t
value_path(const struct vtree *t, uint32_t h, struct str path)
{
	struct search s = { t, 0 };

	return path.len == 0 ? h : search(&s, h, path, 1000);
}
