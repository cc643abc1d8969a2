#include "base/text.h"

#include <limits.h>
#include <string.h>

#include "base/num.h"

size_t
utf8_len(const uint8_t *p, size_t n)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	uint32_t c;
	size_t len, i;

	if (n == 0)
		return 0;
	if (p[0] < 0x80)
		return 1;
	len = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : p[0] >= 0xc2 ? 2 : 0;
	if (len == 0 || p[0] > 0xf4 || n < len)
		return 0;
	c = p[0] & (0xffu >> (len + 1));
	for (i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3fu);
	}
	if (c < least[len] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	return len;
}

size_t
utf8_end(struct str s, size_t from)
{
	const uint8_t *p = (const uint8_t *)s.p;
	uint64_t word;
	size_t n;

	for (size_t i = from; i < s.len; i += n) {
		for (; s.len - i >= 8; i += 8) {
			memcpy(&word, p + i, 8);
			if ((word & 0x8080808080808080u) != 0)
				break;
		}
		n = i < s.len ? utf8_len(p + i, s.len - i) : 1;
		if (n == 0)
			return i;
	}
	return s.len;
}

bool
utf8_valid(struct str s)
{
	return utf8_end(s, 0) == s.len;
}

void
utf8_put(struct buf *b, uint32_t c)
{
	char out[4];
	size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4, i;

	for (i = n; i-- > 1; c >>= 6)
		out[i] = (char)(unsigned char)(0x80 | (c & 0x3f));
	out[0] = (char)(unsigned char)(n == 1 ? c : (0xf00u >> n & 0xffu) | c);
	buf_add(b, out, n);
}

uint32_t
utf8_decode(const uint8_t *p, size_t len)
{
	uint32_t c = len == 1 ? p[0] : p[0] & (0xffu >> (len + 1));

	for (size_t i = 1; i < len; i++)
		c = c << 6 | (p[i] & 0x3fu);
	return c;
}

bool
utf8_steers(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0x200e ||
	       c == 0x200f || c == 0x61c || c == 0xfeff;
}

static void
hex(struct buf *b, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		buf_addf(b, "\\x%02x", p[i]);
}

/* A line of only spaces would count as blank. */
static bool
all_spaces(struct str s)
{
	size_t n = 0;

	while (n < s.len && s.p[n] == ' ')
		n++;
	return n > 0 && n == s.len;
}

/* Returns true for printable ASCII without a backslash, which nearly every name is. */
static bool
is_plain(struct str name)
{
	unsigned special = 0;

	for (size_t i = 0; i < name.len; i++)
		special |= (unsigned)((unsigned char)(name.p[i] - 0x20) > 0x7e - 0x20) | (unsigned)(name.p[i] == '\\');
	return special == 0 && name.len > 0 && name.p[0] != '#' && name.p[0] != ' ';
}

void
text_escape(struct buf *b, struct str name)
{
	bool blank = all_spaces(name);
	const uint8_t *p = (const uint8_t *)name.p;
	size_t i = 0, n, start = 0;
	uint32_t c;

	if (is_plain(name)) {
		buf_addstr(b, name);
		return;
	}
	if (name.len == 0)
		buf_adds(b, "\\e");
	for (; i < name.len; i += n) {
		n = utf8_len(p + i, name.len - i);
		c = n == 0 ? 0 : utf8_decode(p + i, n);
		if (n > 0 && c != '\\' && !(c == '#' && i == 0) && !(blank && i == 0) && c >= 0x20 && !(c >= 0x7f && c < 0xa0))
			continue;
		buf_add(b, p + start, i - start);
		n = n == 0 ? 1 : n;
		start = i + n;
		if (p[i] == '\t' || p[i] == '\n' || p[i] == '\r' || p[i] == '\\' || p[i] == '#') {
			buf_addc(b, '\\');
			buf_addc(b, p[i] == '\t' ? 't' : p[i] == '\n' ? 'n' : p[i] == '\r' ? 'r' : name.p[i]);
		} else {
			hex(b, p + i, n);
		}
	}
	if (name.len > 0)
		buf_add(b, p + start, i - start);
}

int
text_map(char c, const char *from, const char *to)
{
	const char *hit = c != '\0' ? strchr(from, c) : NULL;

	return hit != NULL ? (unsigned char)to[hit - from] : -1;
}

bool
text_unescape(struct buf *b, struct str f)
{
	if (str_eqc(f, "\\e"))
		return true;
	for (; f.len > 0; f = str_from(f, 1)) {
		int c = (unsigned char)f.p[0];

		if (c == '\\') {
			f = str_from(f, 1);
			c = f.len == 0 ? -1 : text_map(f.p[0], "tnr\\#", "\t\n\r\\#");
			if (f.len > 0 && f.p[0] == 'x') {
				f = str_from(f, 1);
				c = (int)num_hex(f, 2);
				f = str_from(f, 1);
			}
		}
		if (c < 0)
			return false;
		buf_addc(b, (char)(unsigned char)c);
	}
	return true;
}

void
text_show(struct buf *b, struct str s)
{
	const uint8_t *p = (const uint8_t *)s.p;
	size_t i, n;

	for (i = 0; i < s.len; i += n) {
		n = utf8_len(p + i, s.len - i);
		if (n > 0 && !utf8_steers(utf8_decode(p + i, n))) {
			buf_add(b, p + i, n);
			continue;
		}
		n = n == 0 ? 1 : n;
		hex(b, p + i, n);
	}
}

size_t
text_width(struct str s)
{
	size_t width = 0;

	for (size_t i = 0; i < s.len; i++)
		width += ((unsigned char)s.p[i] & 0xc0) != 0x80;
	return width;
}

enum { DISTANCE_MAX = 255 };

static unsigned
least3(unsigned a, unsigned b, unsigned c)
{
	a = a < b ? a : b;
	return a < c ? a : c;
}

unsigned
text_distance(struct str a, struct str b, unsigned limit)
{
	unsigned rows[3][DISTANCE_MAX + 1], *prev2 = rows[0], *prev = rows[1], *row = rows[2], *t, best;
	size_t i, j, gap = a.len > b.len ? a.len - b.len : b.len - a.len;

	if (gap > limit || b.len > DISTANCE_MAX)
		return limit + 1;
	for (j = 0; j <= b.len; j++)
		prev[j] = prev2[j] = (unsigned)j;
	for (i = 1; i <= a.len; i++) {
		row[0] = best = (unsigned)i;
		for (j = 1; j <= b.len; j++) {
			row[j] = least3(prev[j] + 1, row[j - 1] + 1, prev[j - 1] + (a.p[i - 1] != b.p[j - 1]));
			if (i > 1 && j > 1 && a.p[i - 1] == b.p[j - 2] && a.p[i - 2] == b.p[j - 1] && prev2[j - 2] + 1 < row[j])
				row[j] = prev2[j - 2] + 1;
			best = row[j] < best ? row[j] : best;
		}
		if (best > limit)
			return limit + 1;
		t = prev2;
		prev2 = prev;
		prev = row;
		row = t;
	}
	return prev[b.len] > limit ? limit + 1 : prev[b.len];
}

void
nearest_init(struct nearest *n, struct str query)
{
	*n = (struct nearest){ .query = query, .score = UINT_MAX };
	for (size_t i = 0; i < query.len && i < DISTANCE_MAX; i++)
		n->letters[query.p[i] & 31]++;
}

/*
 * Returns a lower bound of the edit distance from query to candidate. One edit removes at most one surplus letter and adds at most
 * one missing letter.
 */
static unsigned
least_distance(const struct nearest *n, struct str candidate)
{
	short left[32];
	unsigned more = 0, fewer = 0;

	if (candidate.len > DISTANCE_MAX || n->query.len > DISTANCE_MAX)
		return 0;
	memcpy(left, n->letters, sizeof(left));
	for (size_t i = 0; i < candidate.len; i++)
		left[candidate.p[i] & 31]--;
	for (size_t i = 0; i < 32; i++) {
		more += left[i] > 0 ? (unsigned)left[i] : 0;
		fewer += left[i] < 0 ? (unsigned)-left[i] : 0;
	}
	return more > fewer ? more : fewer;
}

void
nearest_try(struct nearest *n, struct str candidate)
{
	size_t len = n->query.len > candidate.len ? n->query.len : candidate.len;
	unsigned limit = (unsigned)(len < 4 ? 1 : len < 24 ? len / 3 : 8), d = UINT_MAX, score = UINT_MAX, ends;

	if (candidate.len == 0)
		return; /* an empty name is of no use in a message */
	if (n->score / 2 < limit)
		limit = n->score / 2;
	if (least_distance(n, candidate) <= limit)
		d = text_distance(n->query, candidate, limit);
	if (d <= limit)
		score = 2 * d;
	if (n->query.len >= 4 && candidate.len >= 4 && (str_ends(n->query, candidate) || str_ends(candidate, n->query))) {
		ends = 1 + (unsigned)(n->query.len > candidate.len ? 0 : 1);
		/* At equal distance, a candidate with an edited letter is preferred to one that leaves a part out. */
		score = score < 2 * ends + 1 ? score : 2 * ends + 1;
	}
	if (score < n->score) {
		n->score = score;
		n->best = candidate;
	}
}

bool
nearest_found(const struct nearest *n)
{
	return n->score != UINT_MAX;
}
