#include "base/str.h"

#include <string.h>
#include <strings.h>

struct str
str_c(const char *s)
{
	return (struct str){ s, strlen(s) };
}

struct str
str_n(const char *p, size_t len)
{
	return (struct str){ p, len };
}

bool
str_eq(struct str a, struct str b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

bool
str_eqc(struct str a, const char *b)
{
	return str_eq(a, str_c(b));
}

static char
lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

bool
str_eqc_nocase(struct str a, const char *b)
{
	if (a.len != strlen(b))
		return false;
	for (size_t i = 0; i < a.len; i++)
		if (lower(a.p[i]) != lower(b[i]))
			return false;
	return true;
}

bool
str_listed(struct str s, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (str_eqc(s, list[i]))
			return true;
	return false;
}

int
str_cmp(struct str a, struct str b)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int c = n ? memcmp(a.p, b.p, n) : 0;

	if (c != 0)
		return c;
	return (a.len > b.len) - (a.len < b.len);
}

bool
str_starts(struct str s, struct str prefix)
{
	return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.p, prefix.p, prefix.len) == 0);
}

bool
str_ends(struct str s, struct str suffix)
{
	return s.len >= suffix.len && (suffix.len == 0 || memcmp(s.p + s.len - suffix.len, suffix.p, suffix.len) == 0);
}

bool
str_contains(struct str s, struct str part)
{
	return str_find(s, part, 0) >= 0;
}

/* For a part of up to this length, searching its first byte with memchr is faster than memmem. */
enum { SHORT = 8 };

long
str_find(struct str s, struct str part, size_t from)
{
	const char *hit;

	if (from > s.len)
		return -1;
	if (part.len == 0)
		return (long)from;
	if (part.len > SHORT) {
		hit = memmem(s.p + from, s.len - from, part.p, part.len);
		return hit == NULL ? -1 : (long)(hit - s.p);
	}
	for (hit = s.p + from; part.len <= s.len - (size_t)(hit - s.p); hit++) {
		hit = memchr(hit, part.p[0], s.len - (size_t)(hit - s.p) - part.len + 1);
		if (hit == NULL)
			return -1;
		if (memcmp(hit, part.p, part.len) == 0)
			return (long)(hit - s.p);
	}
	return -1;
}

struct str
str_from(struct str s, size_t start)
{
	if (start > s.len)
		start = s.len;
	return (struct str){ s.p == NULL ? NULL : s.p + start, s.len - start };
}

static bool
digit(struct str s, size_t i)
{
	return i < s.len && s.p[i] >= '0' && s.p[i] <= '9';
}

/* Compares the numbers that start at *i and *j, and moves both indices past them. */
static int
cmp_number(struct str a, size_t *i, struct str b, size_t *j)
{
	size_t ai, bj;
	int c;

	while (digit(a, *i) && a.p[*i] == '0')
		++*i;
	while (digit(b, *j) && b.p[*j] == '0')
		++*j;
	for (ai = *i; digit(a, *i); ++*i)
		;
	for (bj = *j; digit(b, *j); ++*j)
		;
	if (*i - ai != *j - bj)
		return *i - ai < *j - bj ? -1 : 1;
	c = memcmp(a.p + ai, b.p + bj, *i - ai);
	return c;
}

int
str_cmp_natural(struct str a, struct str b)
{
	size_t i = 0, j = 0;
	int c;

	while (i < a.len && j < b.len) {
		if (digit(a, i) && digit(b, j)) {
			c = cmp_number(a, &i, b, &j);
			if (c != 0)
				return c;
		} else if (a.p[i] != b.p[j]) {
			return (unsigned char)a.p[i] < (unsigned char)b.p[j] ? -1 : 1;
		} else {
			i++;
			j++;
		}
	}
	if (i < a.len || j < b.len)
		return i < a.len ? 1 : -1;
	return str_cmp(a, b);
}

bool
str_split(struct str *rest, char sep, struct str *part)
{
	const char *end;

	if (rest->p == NULL)
		return false;
	end = rest->len ? memchr(rest->p, sep, rest->len) : NULL;
	if (end == NULL) {
		*part = *rest;
		*rest = (struct str){ NULL, 0 };
		return true;
	}
	*part = str_n(rest->p, (size_t)(end - rest->p));
	*rest = str_from(*rest, part->len + 1);
	return true;
}

size_t
path_folder(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash != NULL ? (size_t)(slash - path) + 1 : 0;
}
