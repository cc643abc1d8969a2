#include "text/pyre_parse.h"

#include <string.h>

#include "base/text.h"

/*
 * What Python's categories hold, as contents of a PCRE2 class, and all the rest.
 * \w is str.isalnum() or _: letters and numbers; unlike \w of newer PCRE2 releases
 * no marks. \s is str.isspace(), with the separators 1C to 1F. \d is Nd.
 */
struct category {
	const char *in, *out;
};

#define SPACES \
	"\\x{9}-\\x{d}\\x{1c}-\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define NO_SPACES \
	"\\x{0}-\\x{8}\\x{e}-\\x{1b}\\x{21}-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}\\x{200b}-\\x{2027}" \
	"\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{10ffff}"
#define WORDS "\\p{L}\\p{N}_"
/* All other categories; of connectors (Pc) all but _. */
#define NO_WORDS \
	"\\p{C}\\p{M}\\p{S}\\p{Z}\\p{Pd}\\p{Ps}\\p{Pe}\\p{Pi}\\p{Pf}\\p{Po}\\x{203f}\\x{2040}\\x{2054}\\x{fe33}\\x{fe34}" \
	"\\x{fe4d}-\\x{fe4f}\\x{ff3f}"

/* In the order d, s, w. */
static const struct category unicode[] = {
	{ "\\p{Nd}", "\\P{Nd}" },
	{ SPACES, NO_SPACES },
	{ WORDS, NO_WORDS },
};

static const struct category ascii[] = {
	{ "0-9", "\\x{0}-\\x{2f}\\x{3a}-\\x{10ffff}" },
	{ "\\x{9}-\\x{d}\\x{20}", "\\x{0}-\\x{8}\\x{e}-\\x{1f}\\x{21}-\\x{10ffff}" },
	{ "0-9A-Z_a-z", "\\x{0}-\\x{2f}\\x{3a}-\\x{40}\\x{5b}-\\x{5e}\\x{60}\\x{7b}-\\x{10ffff}" },
};

static const char *
category(uint32_t letter, unsigned flags)
{
	const struct category *list = flags & PYRE_A ? ascii : unicode;
	uint32_t lower = letter | 0x20;
	size_t i = lower == 'd' ? 0 : lower == 's' ? 1 : 2;

	return letter == lower ? list[i].in : list[i].out;
}

void
pyre_emit_category(struct buf *out, uint32_t letter, unsigned flags)
{
	buf_addf(out, "[%s]", category(letter, flags));
}

/* A word on one side only. Python (before 3.14) has no \B in an empty text. */
void
pyre_emit_boundary(struct buf *out, bool negated, unsigned flags)
{
	const char *w = category('w', flags);

	if (negated)
		buf_addf(out, "(?!\\A\\z)(?:(?<=[%s])(?=[%s])|(?<![%s])(?![%s]))", w, w, w, w);
	else
		buf_addf(out, "(?:(?<=[%s])(?![%s])|(?<![%s])(?=[%s]))", w, w, w, w);
}

static bool
letter(uint32_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Letters and digits as they are, all else by number: nothing here can be taken for syntax. */
static void
put_char(struct buf *out, uint32_t c)
{
	if (letter(c) || (c >= '0' && c <= '9'))
		buf_addc(out, (char)c);
	else
		buf_addf(out, "\\x{%x}", (unsigned)c);
}

/* Under (?ai) only ASCII letters have a case, which PCRE2 cannot be told: both cases are spelled out. */
static bool
ascii_case(unsigned flags)
{
	return (flags & (PYRE_A | PYRE_I)) == (PYRE_A | PYRE_I);
}

void
pyre_emit_literal(struct buf *out, uint32_t c, unsigned flags)
{
	if (ascii_case(flags) && letter(c))
		buf_addf(out, "[%c%c]", (int)c, (int)(c ^ 0x20));
	else
		put_char(out, c);
}

static void
put_range(struct buf *out, uint32_t lo, uint32_t hi)
{
	put_char(out, lo);
	if (hi != lo) {
		buf_addc(out, '-');
		put_char(out, hi);
	}
}

/* The part of lo..hi that lies in first..first+25, in the other case. */
static void
put_other_case(struct buf *out, uint32_t lo, uint32_t hi, uint32_t first)
{
	lo = lo > first ? lo : first;
	hi = hi < first + 25 ? hi : first + 25;
	if (lo <= hi)
		put_range(out, lo ^ 0x20, hi ^ 0x20);
}

static void
emit_range(struct buf *out, uint32_t lo, uint32_t hi, unsigned flags)
{
	put_range(out, lo, hi);
	if (ascii_case(flags)) {
		put_other_case(out, lo, hi, 'a');
		put_other_case(out, lo, hi, 'A');
	}
}

static int
hex_escape(struct pyre_tokens *t, struct str token, size_t digits, uint32_t *c)
{
	size_t start = t->at - token.len;
	uint64_t v;

	if (pyre_digits(t, 16, digits, &v) != digits)
		return pyre_bad(t->why, start, "incomplete escape %.*s", (int)(t->at - start), t->s.p + start);
	if (v > 0x10ffff)
		return pyre_bad(t->why, start, "bad escape %.*s", (int)(t->at - start), t->s.p + start);
	if (v >= 0xd800 && v <= 0xdfff)
		return pyre_bad(t->why, start, "%.*s is a surrogate, which no text holds", (int)(t->at - start),
			t->s.p + start);
	*c = (uint32_t)v;
	return 1;
}

int
pyre_char_escape(struct pyre_tokens *t, struct str token, uint32_t *c)
{
	static const char from[] = "afnrtv\\", to[] = "\a\f\n\r\t\v\\";
	const char *hit = token.len == 2 && token.p[1] ? strchr(from, token.p[1]) : NULL;

	if (hit != NULL) {
		*c = (uint32_t)to[hit - from];
		return 1;
	}
	switch (token.p[1]) {
	case 'x':
		return hex_escape(t, token, 2, c);
	case 'u':
		return hex_escape(t, token, 4, c);
	case 'U':
		return hex_escape(t, token, 8, c);
	case 'N':
		return pyre_bad(t->why, t->at - token.len, "\\N{NAME} is not supported: write \\uXXXX");
	default:
		return 0;
	}
}

int
pyre_class_escape(struct pyre_tokens *t, struct str token, struct pyre_escape *out)
{
	size_t start = t->at - token.len;
	char c = token.p[1];
	uint64_t v;
	int r = pyre_char_escape(t, token, &out->c);

	out->kind = PYRE_LITERAL;
	if (r != 0)
		return r < 0 ? -1 : 0;
	if (c != '\0' && strchr("dDsSwW", c) != NULL) {
		*out = (struct pyre_escape){ PYRE_CATEGORY, (uint32_t)c };
		return 0;
	}
	if (c == 'b') {
		out->c = '\b';
		return 0;
	}
	if (c >= '0' && c <= '7') {
		t->at = start + 1;
		pyre_digits(t, 8, 3, &v);
		if (v > 0377)
			return pyre_bad(t->why, start, "octal escape value %.*s outside of range 0-0o377",
				(int)(t->at - start), t->s.p + start);
		out->c = (uint32_t)v;
		return 0;
	}
	if (letter((unsigned char)c) || c == '8' || c == '9')
		return pyre_bad(t->why, start, "bad escape %.*s", STR_ARG(token));
	out->c = pyre_code_point(str_from(token, 1));
	return 0;
}

/* One member of a class, or one end of a range, whose first token was taken. */
static int
member(struct pyre_tokens *t, struct str token, struct pyre_escape *out)
{
	if (token.p[0] == '\\')
		return pyre_class_escape(t, token, out);
	*out = (struct pyre_escape){ PYRE_LITERAL, pyre_code_point(token) };
	return 0;
}

static void
emit_member(struct buf *out, struct pyre_escape e, unsigned flags)
{
	if (e.kind == PYRE_CATEGORY)
		buf_adds(out, category(e.c, flags));
	else
		emit_range(out, e.c, e.c, flags);
}

int
pyre_class(struct pyre_tokens *t, unsigned flags, struct buf *out)
{
	size_t open = t->at - 1, start;
	struct pyre_escape lo, hi;
	struct str token;
	bool any = false;

	buf_adds(out, pyre_match_token(t, '^') ? "[^" : "[");
	for (;; any = true) {
		start = t->at;
		token = pyre_take(t);
		if (token.len == 0)
			return pyre_bad(t->why, open, "unterminated character set");
		if (any && str_eqc(token, "]"))
			break;
		if (member(t, token, &lo) != 0)
			return -1;
		if (!pyre_match_token(t, '-')) {
			emit_member(out, lo, flags);
			continue;
		}
		token = pyre_take(t);
		if (token.len == 0)
			return pyre_bad(t->why, open, "unterminated character set");
		if (str_eqc(token, "]")) {
			emit_member(out, lo, flags);
			emit_range(out, '-', '-', flags);
			break;
		}
		if (member(t, token, &hi) != 0)
			return -1;
		if (lo.kind != PYRE_LITERAL || hi.kind != PYRE_LITERAL || hi.c < lo.c)
			return pyre_bad(t->why, start, "bad character range %.*s", (int)(t->at - start), t->s.p + start);
		emit_range(out, lo.c, hi.c, flags);
	}
	buf_addc(out, ']');
	return 0;
}
