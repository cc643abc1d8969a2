/*
 * Python's grammar of regular expressions is parsed and written anew as PCRE2's. What is emitted uses as little of
 * PCRE2's syntax as possible: literals, classes made of ranges and \p{..}, numbered groups, and options in (?i:...)
 * only. The result depends on no PCRE2 option but UTF, and on the newline being LF.
 */
#include "text/pyre.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/num.h"
#include "base/str.h"
#include "base/text.h"
#include "base/xalloc.h"

struct pyre_name {
	struct str name; /* in the pattern */
	size_t group;
};

struct pyre_parsed {
	struct buf pcre;
	size_t groups; /* capturing ones */
	struct pyre_name *names;
	size_t nnames;
};

/* Reading by Python's tokens: a backslash and what follows it are one. */
struct pyre_tokens {
	struct str s;
	size_t at;
	struct pyre_error *why;
};

/* The flags of a pattern that decide what is emitted. */
enum pyre_flag {
	PYRE_I = 1,
	PYRE_M = 2,
	PYRE_S = 4,
	PYRE_X = 8,
	PYRE_A = 16,
	PYRE_U = 32,
};

/* How many characters something matches; PYRE_WIDE stands for all that is wider. */
#define PYRE_WIDE ((uint64_t)1 << 40)

struct pyre_width {
	uint64_t lo, hi;
};

struct pyre_capture {
	struct pyre_width width;
	bool closed;
};

enum { PYRE_MAX_GROUP = 65535 }; /* PCRE2's */

struct pyre_parser {
	struct pyre_tokens t;
	struct pyre_parsed *to;
	struct pyre_capture *groups; /* [0] is unused */
	size_t ngroups, capgroups, capnames;
	size_t lookbehind;  /* first group inside the outermost lookbehind that is open; 0: none is */
	size_t ref, ref_at; /* highest group that a conditional names, and where */
	unsigned nesting;
};

struct pyre_escape {
	enum { PYRE_LITERAL, PYRE_CATEGORY } kind;
	uint32_t c; /* literal: code point; category: one of dDsSwW */
};

static int parse_sequence(struct pyre_parser *p, unsigned *flags, bool first, struct pyre_width *total);
static int parse_alternatives(struct pyre_parser *p, unsigned *flags, bool top, struct pyre_width *width);

__attribute__((format(printf, 3, 4))) static int
bad(struct pyre_error *why, size_t offset, const char *fmt, ...)
{
	va_list ap;

	why->offset = offset;
	va_start(ap, fmt);
	vsnprintf(why->reason, sizeof(why->reason), fmt, ap);
	va_end(ap);
	return -1;
}

static size_t
char_len(struct str s, size_t at)
{
	size_t n = at < s.len ? utf8_len((const uint8_t *)s.p + at, s.len - at) : 0;

	return n == 0 && at < s.len ? 1 : n;
}

/* Empty at the end. */
static struct str
peek(const struct pyre_tokens *t)
{
	size_t n = char_len(t->s, t->at);

	if (n == 1 && t->s.p[t->at] == '\\')
		n += char_len(t->s, t->at + 1);
	return str_n(t->s.p + t->at, n);
}

static struct str
take(struct pyre_tokens *t)
{
	struct str token = peek(t);

	t->at += token.len;
	return token;
}

/* Of a token that is one character. */
static uint32_t
code_point(struct str token)
{
	return utf8_decode((const uint8_t *)token.p, token.len);
}

/* Takes it if it is c. */
static bool
match_token(struct pyre_tokens *t, char c)
{
	struct str token = peek(t);

	if (token.len != 1 || token.p[0] != c)
		return false;
	t->at++;
	return true;
}

/* Python's isidentifier; any non-ASCII letter will do. */
static bool
is_name(struct str name)
{
	for (size_t i = 0; i < name.len; i++) {
		unsigned char c = (unsigned char)name.p[i];

		if (c < 0x80 && c != '_' && ((c | 0x20) < 'a' || (c | 0x20) > 'z') && (c < '0' || c > '9' || i == 0))
			return false;
	}
	return name.len > 0;
}

/* The text up to the terminator, which is taken; -1 and why if either is missing. */
static int
take_until(struct pyre_tokens *t, char terminator, const char *what, struct str *out)
{
	size_t start = t->at;
	struct str token;

	do {
		token = take(t);
		if (token.len == 0 && t->at == start)
			return bad(t->why, start, "missing %s", what);
		if (token.len == 0)
			return bad(t->why, start, "missing %c, unterminated name", terminator);
	} while (token.len != 1 || token.p[0] != terminator);
	*out = str_n(t->s.p + start, t->at - 1 - start);
	return out->len > 0 ? 0 : bad(t->why, start, "missing %s", what);
}

static unsigned
digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return (unsigned)(c - '0');
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10) : 16;
}

/* Up to max digits of base 8, 10 or 16; returns how many were taken. */
static size_t
take_digits(struct pyre_tokens *t, unsigned base, size_t max, uint64_t *value)
{
	size_t n = 0;

	*value = 0;
	while (n < max && t->at < t->s.len && digit_value(t->s.p[t->at]) < base) {
		if (!num_mul(*value, base, value) || !num_add(*value, digit_value(t->s.p[t->at]), value))
			*value = UINT64_MAX;
		t->at++;
		n++;
	}
	return n;
}

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

static void
emit_category(struct buf *out, uint32_t letter, unsigned flags)
{
	buf_addf(out, "[%s]", category(letter, flags));
}

/* A word on one side only. Python (before 3.14) has no \B in an empty text. */
static void
emit_boundary(struct buf *out, bool negated, unsigned flags)
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

static void
emit_literal(struct buf *out, uint32_t c, unsigned flags)
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

	if (take_digits(t, 16, digits, &v) != digits)
		return bad(t->why, start, "incomplete escape %.*s", (int)(t->at - start), t->s.p + start);
	if (v > 0x10ffff)
		return bad(t->why, start, "bad escape %.*s", (int)(t->at - start), t->s.p + start);
	if (v >= 0xd800 && v <= 0xdfff)
		return bad(t->why, start, "%.*s is a surrogate, which no text holds", (int)(t->at - start),
			t->s.p + start);
	*c = (uint32_t)v;
	return 1;
}

/* \x, \u, \U and the control escapes, which mean the same in and out of classes: 1 if it is one, 0 if not. */
static int
char_escape(struct pyre_tokens *t, struct str token, uint32_t *c)
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
		return bad(t->why, t->at - token.len, "\\N{NAME} is not supported: write \\uXXXX");
	default:
		return 0;
	}
}

/* What an escape denotes inside a class; the backslash and its character are taken already and stand at token. */
static int
class_escape(struct pyre_tokens *t, struct str token, struct pyre_escape *out)
{
	size_t start = t->at - token.len;
	char c = token.p[1];
	uint64_t v;
	int r = char_escape(t, token, &out->c);

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
		take_digits(t, 8, 3, &v);
		if (v > 0377)
			return bad(t->why, start, "octal escape value %.*s outside of range 0-0o377",
				(int)(t->at - start), t->s.p + start);
		out->c = (uint32_t)v;
		return 0;
	}
	if (letter((unsigned char)c) || c == '8' || c == '9')
		return bad(t->why, start, "bad escape %.*s", STR_ARG(token));
	out->c = code_point(str_from(token, 1));
	return 0;
}

/* One member of a class, or one end of a range, whose first token was taken. */
static int
member(struct pyre_tokens *t, struct str token, struct pyre_escape *out)
{
	if (token.p[0] == '\\')
		return class_escape(t, token, out);
	*out = (struct pyre_escape){ PYRE_LITERAL, code_point(token) };
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

/* A class whose [ was taken. */
static int
parse_class(struct pyre_tokens *t, unsigned flags, struct buf *out)
{
	size_t open = t->at - 1, start;
	struct pyre_escape lo, hi;
	struct str token;
	bool any = false;

	buf_adds(out, match_token(t, '^') ? "[^" : "[");
	for (;; any = true) {
		start = t->at;
		token = take(t);
		if (token.len == 0)
			return bad(t->why, open, "unterminated character set");
		if (any && str_eqc(token, "]"))
			break;
		if (member(t, token, &lo) != 0)
			return -1;
		if (!match_token(t, '-')) {
			emit_member(out, lo, flags);
			continue;
		}
		token = take(t);
		if (token.len == 0)
			return bad(t->why, open, "unterminated character set");
		if (str_eqc(token, "]")) {
			emit_member(out, lo, flags);
			emit_range(out, '-', '-', flags);
			break;
		}
		if (member(t, token, &hi) != 0)
			return -1;
		if (lo.kind != PYRE_LITERAL || hi.kind != PYRE_LITERAL || hi.c < lo.c)
			return bad(t->why, start, "bad character range %.*s", (int)(t->at - start), t->s.p + start);
		emit_range(out, lo.c, hi.c, flags);
	}
	buf_addc(out, ']');
	return 0;
}

static bool
is_open(const struct pyre_parser *p, size_t group)
{
	return group >= p->ngroups || !p->groups[group].closed;
}

/* Inside a lookbehind only groups closed before it can be meant. */
static int
check_lookbehind(struct pyre_parser *p, size_t group, size_t offset)
{
	if (p->lookbehind == 0)
		return 0;
	if (is_open(p, group))
		return bad(p->t.why, offset, "cannot refer to an open group");
	if (group >= p->lookbehind)
		return bad(p->t.why, offset, "cannot refer to group defined in the same lookbehind subpattern");
	return 0;
}

/* A reference back to a group, which must be closed. */
static int
emit_reference(struct pyre_parser *p, size_t group, size_t offset, unsigned flags, struct pyre_width *width)
{
	if (is_open(p, group))
		return bad(p->t.why, offset, "cannot refer to an open group");
	if (check_lookbehind(p, group, offset) != 0)
		return -1;
	if ((flags & (PYRE_I | PYRE_A)) == (PYRE_I | PYRE_A))
		buf_addf(&p->to->pcre, "(?i:\\g{%zu})", group);
	else
		buf_addf(&p->to->pcre, "\\g{%zu}", group);
	*width = p->groups[group].width;
	return 0;
}

/* The group of that name, 0 if there is none. */
static size_t
group_named(const struct pyre_parsed *parsed, struct str name)
{
	for (size_t i = 0; i < parsed->nnames; i++)
		if (str_eq(parsed->names[i].name, name))
			return parsed->names[i].group;
	return 0;
}

static int
open_group(struct pyre_parser *p, struct str name, size_t name_at, size_t *group)
{
	size_t old = name.len ? group_named(p->to, name) : 0;

	*group = p->ngroups;
	if (old != 0)
		return bad(p->t.why, name_at, "redefinition of group name %.*s as group %zu; was group %zu",
			STR_ARG(name), *group, old);
	p->groups = xgrow(p->groups, p->ngroups, &p->capgroups, sizeof(*p->groups));
	p->groups[p->ngroups++] = (struct pyre_capture){ { 0, 0 }, false };
	p->to->groups = *group;
	if (name.len > 0) {
		p->to->names = xgrow(p->to->names, p->to->nnames, &p->capnames, sizeof(*p->to->names));
		p->to->names[p->to->nnames++] = (struct pyre_name){ name, *group };
	}
	return 0;
}

static int
close_paren(struct pyre_parser *p, size_t start)
{
	if (!match_token(&p->t, ')'))
		return bad(p->t.why, start, "missing ), unterminated subpattern");
	buf_addc(&p->to->pcre, ')');
	return 0;
}

static int
parse_body(struct pyre_parser *p, size_t start, unsigned flags, struct pyre_width *width)
{
	if (parse_alternatives(p, &flags, false, width) != 0)
		return -1;
	return close_paren(p, start);
}

static int
capture(struct pyre_parser *p, size_t start, struct str name, size_t name_at, unsigned flags, struct pyre_width *width)
{
	size_t group;

	if (open_group(p, name, name_at, &group) != 0)
		return -1;
	buf_addc(&p->to->pcre, '(');
	if (parse_body(p, start, flags, width) != 0)
		return -1;
	p->groups[group] = (struct pyre_capture){ *width, true };
	return 0;
}

/* (?P<name>...) and (?P=name), their P taken. */
static int
parse_p(struct pyre_parser *p, size_t start, unsigned flags, struct pyre_width *width)
{
	struct pyre_tokens *t = &p->t;
	bool define = match_token(t, '<');
	struct str name, token;
	size_t at, group;

	if (!define && !match_token(t, '=')) {
		at = t->at;
		token = take(t);
		if (token.len == 0)
			return bad(t->why, at, "unexpected end of pattern");
		return bad(t->why, at - 2, "unknown extension ?P%.*s", STR_ARG(token));
	}
	at = t->at;
	if (take_until(t, define ? '>' : ')', "group name", &name) != 0)
		return -1;
	if (!is_name(name))
		return bad(t->why, at, "bad character in group name %.*s", STR_ARG(name));
	if (define)
		return capture(p, start, name, at, flags, width);
	group = group_named(p->to, name);
	if (group == 0)
		return bad(t->why, at, "unknown group name %.*s", STR_ARG(name));
	return emit_reference(p, group, at, flags, width);
}

/* (?=...) (?!...) (?<=...) (?<!...) */
static int
parse_assertion(struct pyre_parser *p, size_t start, char c, unsigned flags, struct pyre_width *width)
{
	size_t outer = p->lookbehind;
	struct str token;
	bool behind = c == '<';

	if (behind) {
		token = take(&p->t);
		if (token.len == 0)
			return bad(p->t.why, p->t.at, "unexpected end of pattern");
		c = token.p[0];
		if (c != '=' && c != '!')
			return bad(p->t.why, start + 1, "unknown extension ?<%.*s", STR_ARG(token));
		if (outer == 0)
			p->lookbehind = p->ngroups;
	}
	buf_addf(&p->to->pcre, "(?%s%c", behind ? "<" : "", c);
	if (parse_body(p, start, flags, width) != 0)
		return -1;
	p->lookbehind = outer;
	if (behind && width->lo != width->hi)
		return bad(p->t.why, start, "look-behind requires fixed-width pattern");
	*width = (struct pyre_width){ 0, 0 };
	return 0;
}

/* The group that (?(...) asks for. */
static int
condition(struct pyre_parser *p, size_t *group)
{
	struct pyre_tokens *t = &p->t;
	size_t at = t->at;
	struct str name;
	uint64_t v;

	if (take_until(t, ')', "group name", &name) != 0)
		return -1;
	if (is_name(name)) {
		*group = group_named(p->to, name);
		if (*group == 0)
			return bad(t->why, at, "unknown group name %.*s", STR_ARG(name));
	} else {
		if (!num_u64(name, &v))
			return bad(t->why, at, "bad character in group name %.*s", STR_ARG(name));
		if (v == 0)
			return bad(t->why, at, "bad group number");
		if (v > PYRE_MAX_GROUP)
			return bad(t->why, at, "invalid group reference %llu", (unsigned long long)v);
		*group = (size_t)v;
		if (*group > p->ref) {
			p->ref = *group;
			p->ref_at = at;
		}
	}
	return check_lookbehind(p, *group, at);
}

/* (?(1)yes|no) */
static int
parse_conditional(struct pyre_parser *p, size_t start, unsigned flags, struct pyre_width *width)
{
	struct pyre_width no = { 0, 0 };
	size_t group = 0;

	if (condition(p, &group) != 0)
		return -1;
	buf_addf(&p->to->pcre, "(?(%zu)", group);
	if (parse_sequence(p, &flags, false, width) != 0)
		return -1;
	if (match_token(&p->t, '|')) {
		buf_addc(&p->to->pcre, '|');
		if (parse_sequence(p, &flags, false, &no) != 0)
			return -1;
		if (match_token(&p->t, '|'))
			return bad(p->t.why, p->t.at - 1, "conditional backref with more than two branches");
		width->hi = width->hi > no.hi ? width->hi : no.hi;
	}
	width->lo = width->lo < no.lo ? width->lo : no.lo;
	return close_paren(p, start);
}

static bool
is_letter(char c)
{
	return ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || (unsigned char)c >= 0x80;
}

static unsigned
flag_of(struct str token)
{
	static const char letters[] = "imsxau";
	const char *hit = token.len == 1 && token.p[0] ? strchr(letters, token.p[0]) : NULL;

	return hit == NULL ? 0 : 1u << (hit - letters);
}

/* Flags from *token on, until a token that is none, which is left in *token. */
static int
read_flags(struct pyre_parser *p, struct str *token, bool off, unsigned *flags)
{
	const char *wanted = off ? "missing :" : "missing -, : or )", *ends = off ? ":" : "-:)";
	struct pyre_tokens *t = &p->t;
	unsigned flag;

	while ((flag = flag_of(*token)) != 0) {
		*flags |= flag;
		if (off && (flag & (PYRE_A | PYRE_U)))
			return bad(t->why, t->at, "bad inline flags: cannot turn off flags 'a', 'u' and 'L'");
		if ((*flags & (PYRE_A | PYRE_U)) == (PYRE_A | PYRE_U))
			return bad(t->why, t->at, "bad inline flags: flags 'a', 'u' and 'L' are incompatible");
		*token = take(t);
	}
	if (str_eqc(*token, "L"))
		return bad(t->why, t->at, "bad inline flags: cannot %s",
			off ? "turn off flags 'a', 'u' and 'L'" : "use 'L' flag with a str pattern");
	if (*flags == 0)
		wanted = "missing flag";
	else if (token->len == 1 && token->p[0] && strchr(ends, token->p[0]))
		return 0;
	if (token->len > 0 && is_letter(token->p[0]))
		wanted = "unknown flag";
	return bad(t->why, t->at - token->len, "%s", wanted);
}

/* Whether PCRE2 shall fold case: under (?a) only ASCII letters have one, and these are spelled out. */
static bool
folds(unsigned flags)
{
	return (flags & (PYRE_I | PYRE_A)) == PYRE_I;
}

/* (?flags), for the whole pattern: only at its beginning. */
static int
global_flags(struct pyre_parser *p, size_t start, bool first, unsigned on, unsigned *flags)
{
	if (!first)
		return bad(p->t.why, start, "global flags not at the start of the expression");
	*flags |= on;
	if ((*flags & (PYRE_A | PYRE_U)) == (PYRE_A | PYRE_U))
		return bad(p->t.why, start, "ASCII and UNICODE flags are incompatible");
	buf_clear(&p->to->pcre);
	if (folds(*flags))
		buf_adds(&p->to->pcre, "(?i)");
	return 1;
}

/* (?flags), 1 for there is nothing to match, or (?flags-flags:...). token is the one behind the question mark. */
static int
parse_flags(struct pyre_parser *p, size_t start, struct str token, unsigned *flags, bool first, struct pyre_width *width)
{
	unsigned on = 0, off = 0, inner;

	if (!str_eqc(token, "-") && read_flags(p, &token, false, &on) != 0)
		return -1;
	if (str_eqc(token, ")"))
		return global_flags(p, start, first, on, flags);
	if (str_eqc(token, "-")) {
		token = take(&p->t);
		if (read_flags(p, &token, true, &off) != 0)
			return -1;
	}
	if (on & off)
		return bad(p->t.why, p->t.at - 1, "bad inline flags: flag turned on and off");
	inner = *flags;
	if (on & (PYRE_A | PYRE_U))
		inner &= ~(unsigned)(PYRE_A | PYRE_U);
	inner = (inner | on) & ~off;
	if (folds(inner) == folds(*flags))
		buf_adds(&p->to->pcre, "(?:");
	else
		buf_adds(&p->to->pcre, folds(inner) ? "(?i:" : "(?-i:");
	return parse_body(p, start, inner, width);
}

static int
skip_comment(struct pyre_parser *p, size_t start)
{
	struct str token;

	do {
		token = take(&p->t);
		if (token.len == 0)
			return bad(p->t.why, start, "missing ), unterminated comment");
	} while (!str_eqc(token, ")"));
	return 1;
}

/* A group whose ( was taken: 0, or 1 if it was a comment or flags, which match nothing. */
static int
parse_group(struct pyre_parser *p, unsigned *flags, bool first, struct pyre_width *width)
{
	struct pyre_tokens *t = &p->t;
	size_t start = t->at - 1;
	struct str token;

	if (!match_token(t, '?'))
		return capture(p, start, str_n(NULL, 0), 0, *flags, width);
	token = take(t);
	if (token.len == 0)
		return bad(t->why, t->at, "unexpected end of pattern");
	switch (token.p[0]) {
	case 'P':
		return parse_p(p, start, *flags, width);
	case ':':
	case '>':
		buf_addf(&p->to->pcre, "(?%c", token.p[0]);
		return parse_body(p, start, *flags, width);
	case '#':
		return skip_comment(p, start);
	case '=':
	case '!':
	case '<':
		return parse_assertion(p, start, token.p[0], *flags, width);
	case '(':
		return parse_conditional(p, start, *flags, width);
	default:
		break;
	}
	if (flag_of(token) != 0 || str_eqc(token, "-") || str_eqc(token, "L"))
		return parse_flags(p, start, token, flags, first, width);
	return bad(t->why, start + 1, "unknown extension ?%.*s", STR_ARG(token));
}

enum {
	MAX_REPEAT = 65535, /* PCRE2's */
};

#define NO_END UINT64_MAX /* of a repeat */
/* What stands before a quantifier. */
enum pyre_item {
	ITEM_NONE,
	ITEM_AT, /* a position: ^ $ \b */
	ITEM_REPEAT,
	ITEM_OTHER,
};

static uint64_t
width_add(uint64_t a, uint64_t b)
{
	return a + b > PYRE_WIDE ? PYRE_WIDE : a + b;
}

static uint64_t
width_mul(uint64_t a, uint64_t n)
{
	uint64_t v;

	return num_mul(a, n, &v) && v < PYRE_WIDE ? v : PYRE_WIDE;
}

/* \1 .. \99, or \123 octal. The first digit stands at the token's end. */
static int
number_escape(struct pyre_parser *p, struct str token, unsigned flags, struct pyre_width *width)
{
	struct pyre_tokens *t = &p->t;
	size_t start = t->at - token.len, digits;
	uint64_t v;

	t->at = start + 1;
	digits = take_digits(t, 8, 3, &v);
	if (digits == 3 || t->s.p[start + 1] == '0') {
		if (v > 0377)
			return bad(t->why, start, "octal escape value %.*s outside of range 0-0o377",
				(int)(t->at - start), t->s.p + start);
		emit_literal(&p->to->pcre, (uint32_t)v, flags);
		return 0;
	}
	t->at = start + 1;
	take_digits(t, 10, 2, &v);
	if (v >= p->ngroups)
		return bad(t->why, start + 1, "invalid group reference %llu", (unsigned long long)v);
	return emit_reference(p, (size_t)v, start, flags, width);
}

static int
parse_escape(struct pyre_parser *p, struct str token, unsigned flags, enum pyre_item *item, struct pyre_width *width)
{
	struct buf *out = &p->to->pcre;
	char c = token.p[1];
	uint32_t literal;
	int r = char_escape(&p->t, token, &literal);

	*item = ITEM_OTHER;
	if (r < 0)
		return -1;
	if (r > 0) {
		emit_literal(out, literal, flags);
	} else if (c == 'A' || c == 'Z') {
		buf_adds(out, c == 'A' ? "\\A" : "\\z");
		*item = ITEM_AT;
	} else if (c == 'b' || c == 'B') {
		emit_boundary(out, c == 'B', flags);
		*item = ITEM_AT;
	} else if (c != '\0' && strchr("dDsSwW", c) != NULL) {
		emit_category(out, (unsigned char)c, flags);
	} else if (c >= '0' && c <= '9') {
		return number_escape(p, token, flags, width);
	} else {
		struct pyre_escape e;

		if (class_escape(&p->t, token, &e) != 0)
			return -1;
		emit_literal(out, e.c, flags);
	}
	if (*item == ITEM_AT)
		*width = (struct pyre_width){ 0, 0 };
	return 0;
}

/* The counts of {m,n}, its brace taken; 1 if it is a repeat, 0 if it is text. */
static int
parse_braces(struct pyre_parser *p, uint64_t *min, uint64_t *max)
{
	struct pyre_tokens *t = &p->t;
	size_t brace = t->at - 1, lo, hi;

	if (t->at < t->s.len && t->s.p[t->at] == '}')
		return 0;
	lo = hi = take_digits(t, 10, SIZE_MAX, min);
	*max = *min;
	if (match_token(t, ','))
		hi = take_digits(t, 10, SIZE_MAX, max);
	if (!match_token(t, '}')) {
		t->at = brace + 1;
		return 0;
	}
	if ((lo && *min > MAX_REPEAT) || (hi && *max > MAX_REPEAT))
		return bad(t->why, brace, "the repetition number is too large (at most %d)", MAX_REPEAT);
	if (hi == 0)
		*max = NO_END;
	else if (*max < *min)
		return bad(t->why, brace + 1, "min repeat greater than max repeat");
	return 1;
}

/* Puts the item that was emitted from at on between open and shut. */
static void
enclose(struct buf *out, size_t at, const char *open, const char *shut)
{
	size_t n = strlen(open);

	buf_room(out, n);
	memmove(out->p + at + n, out->p + at, out->len - at);
	memcpy(out->p + at, open, n);
	out->len += n;
	buf_adds(out, shut);
}

/*
 * The quantifier for the item emitted from at on. Two forms avoid faults of
 * PCRE2 10.42: the JIT keeps groups that a failed X*+ has set, so it is written
 * (?>X*); and what stands in X{0} misleads the search for where a match may
 * start, so it is written as a definition, which is never entered either.
 */
static void
emit_repeat(struct pyre_parser *p, size_t at, uint64_t min, uint64_t max)
{
	struct buf *out = &p->to->pcre;
	bool lazy = match_token(&p->t, '?'), atomic = !lazy && match_token(&p->t, '+');

	if (max == 0) {
		enclose(out, at, "(?(DEFINE)(?:", "))");
		return;
	}
	if (max == NO_END)
		buf_addf(out, "{%llu,}", (unsigned long long)min);
	else
		buf_addf(out, "{%llu,%llu}", (unsigned long long)min, (unsigned long long)max);
	if (lazy)
		buf_addc(out, '?');
	if (atomic)
		enclose(out, at, "(?>", ")");
}

/*
 * A quantifier whose first character c was taken: 1, or 0 if it is a brace that
 * is text. What it repeats was emitted from item_at on and is as wide as *last.
 */
static int
parse_repeat(struct pyre_parser *p, char c, enum pyre_item before, size_t item_at, struct pyre_width *last)
{
	size_t start = p->t.at - 1;
	uint64_t min = c == '+', max = c == '?' ? 1 : NO_END;
	int r = c == '{' ? parse_braces(p, &min, &max) : 1;

	if (r <= 0)
		return r;
	if (before == ITEM_NONE || before == ITEM_AT)
		return bad(p->t.why, start, "nothing to repeat");
	if (before == ITEM_REPEAT)
		return bad(p->t.why, start, "multiple repeat");
	emit_repeat(p, item_at, min, max);
	last->lo = width_mul(last->lo, min);
	last->hi = max == NO_END ? (last->hi ? PYRE_WIDE : 0) : width_mul(last->hi, max);
	return 1;
}

/* Under (?x): true if token is white space, or begins a comment, which is taken as well. */
static bool
skip_verbose(struct pyre_parser *p, struct str token)
{
	if (token.p[0] == '#') {
		do
			token = take(&p->t);
		while (token.len > 0 && !str_eqc(token, "\n"));
		return true;
	}
	return token.p[0] == ' ' || (token.p[0] >= '\t' && token.p[0] <= '\r');
}

/*
 * Anything but a quantifier, its first token taken: 0 and *item, *width, or 1 if
 * there is nothing to match. Lines are spelled out: at the very end PCRE2's own (?m)^ differs.
 */
static int
parse_atom(struct pyre_parser *p, struct str token, unsigned *flags, bool first, enum pyre_item *item, struct pyre_width *width)
{
	struct buf *out = &p->to->pcre;
	int r;

	*width = (struct pyre_width){ 1, 1 };
	switch (token.p[0]) {
	case '\\':
		return parse_escape(p, token, *flags, item, width);
	case '(':
		r = parse_group(p, flags, first, width);
		if (r == 0)
			*item = ITEM_OTHER;
		return r;
	case '[':
		*item = ITEM_OTHER;
		return parse_class(&p->t, *flags, out);
	case '^':
	case '$':
		if (token.p[0] == '^')
			buf_adds(out, *flags & PYRE_M ? "(?<![^\\n])" : "\\A");
		else
			buf_adds(out, *flags & PYRE_M ? "(?![^\\n])" : "$");
		*item = ITEM_AT;
		*width = (struct pyre_width){ 0, 0 };
		return 0;
	case '.':
		buf_adds(out, *flags & PYRE_S ? "(?s:.)" : ".");
		break;
	default:
		emit_literal(out, code_point(token), *flags);
		break;
	}
	*item = ITEM_OTHER;
	return 0;
}

/* Items up to the next | or ) or the end. first: global flags may stand at the beginning. */
static int
parse_sequence(struct pyre_parser *p, unsigned *flags, bool first, struct pyre_width *total)
{
	struct pyre_width last = { 0, 0 }, width;
	enum pyre_item item = ITEM_NONE;
	size_t item_at = 0, at;
	struct str token;
	int r;

	*total = last;
	for (;;) {
		token = peek(&p->t);
		if (token.len == 0 || token.p[0] == '|' || token.p[0] == ')')
			break;
		take(&p->t);
		if ((*flags & PYRE_X) && skip_verbose(p, token))
			continue;
		if (token.len == 1 && token.p[0] && strchr("*+?{", token.p[0])) {
			r = parse_repeat(p, token.p[0], item, item_at, &last);
			if (r > 0)
				item = ITEM_REPEAT;
			if (r != 0) {
				if (r < 0)
					return -1;
				continue;
			}
		}
		at = p->to->pcre.len;
		r = parse_atom(p, token, flags, first && item == ITEM_NONE, &item, &width);
		if (r < 0)
			return -1;
		if (r == 0) {
			total->lo = width_add(total->lo, last.lo);
			total->hi = width_add(total->hi, last.hi);
			last = width;
			item_at = at;
		}
	}
	total->lo = width_add(total->lo, last.lo);
	total->hi = width_add(total->hi, last.hi);
	return 0;
}

/* a|b|c. Only at the top may *flags change. */
static int
parse_alternatives(struct pyre_parser *p, unsigned *flags, bool top, struct pyre_width *width)
{
	struct pyre_width one;
	bool first = true;

	if (p->nesting++ >= PYRE_NESTING_MAX)
		return bad(p->t.why, p->t.at, "groups nested deeper than %d levels", PYRE_NESTING_MAX);
	do {
		if (!first)
			buf_addc(&p->to->pcre, '|');
		if (parse_sequence(p, flags, top && first, &one) != 0)
			return -1;
		width->lo = first || one.lo < width->lo ? one.lo : width->lo;
		width->hi = first || one.hi > width->hi ? one.hi : width->hi;
		first = false;
	} while (match_token(&p->t, '|'));
	p->nesting--;
	return 0;
}

/* What can be said without understanding the pattern. */
static int
check_text(struct str s, struct pyre_error *why)
{
	struct pyre_tokens t = { s, 0, why };
	struct str token;

	for (size_t i = 0, n; i < s.len; i += n) {
		n = utf8_len((const uint8_t *)s.p + i, s.len - i);
		if (n == 0)
			return bad(why, i, "invalid UTF-8");
	}
	do
		token = take(&t);
	while (token.len > 0 && !str_eqc(token, "\\"));
	return token.len > 0 ? bad(why, s.len - 1, "bad escape (end of pattern)") : 0;
}

static int
parse_pattern(struct pyre_parser *p)
{
	struct pyre_width width;
	unsigned flags = 0;

	if (check_text(p->t.s, p->t.why) != 0 || parse_alternatives(p, &flags, true, &width) != 0)
		return -1;
	if (p->t.at < p->t.s.len)
		return bad(p->t.why, p->t.at, "unbalanced parenthesis");
	if (p->ref >= p->ngroups)
		return bad(p->t.why, p->ref_at, "invalid group reference %zu", p->ref);
	return 0;
}

static void
parsed_release(struct pyre_parsed *parsed)
{
	buf_release(&parsed->pcre);
	free(parsed->names);
	*parsed = (struct pyre_parsed){ BUF_INIT, 0, NULL, 0 };
}

/* pattern must outlive *out. After -1 nothing needs release. */
static int
parse(struct str pattern, struct pyre_parsed *out, struct pyre_error *why)
{
	struct pyre_parser p = { .t = { str_n(pattern.p ? pattern.p : "", pattern.len), 0, why }, .to = out };
	int result;

	*out = (struct pyre_parsed){ BUF_INIT, 0, NULL, 0 };
	buf_adds(&out->pcre, "");
	p.groups = xgrow(NULL, 0, &p.capgroups, sizeof(*p.groups));
	p.groups[0] = (struct pyre_capture){ { 0, 0 }, false };
	p.ngroups = 1;
	result = parse_pattern(&p);
	free(p.groups);
	if (result != 0)
		parsed_release(out);
	return result;
}

enum {
	DEPTH_LIMIT = 1000000,
	JIT_STACK_MIN = 32 << 10,
	JIT_STACK_MAX = 4 << 20,
};

struct pyre {
	char *pattern;
	size_t len;
	struct pyre_parsed parsed; /* its pcre is empty */
	pcre2_code *code;
	pcre2_match_data *data;
	pcre2_match_context *context;
	pcre2_jit_stack *stack;
};

static struct str
pattern_of(const struct pyre *re)
{
	return str_n(re->pattern, re->len);
}

/* PCRE2 allocates little and only for what was checked; where it fails, memory is gone for all. */
static void *
checked(void *p)
{
	return p != NULL ? p : xmalloc(SIZE_MAX);
}

static int
compile_code(struct pyre *re, struct pyre_error *why)
{
	pcre2_compile_context *context = checked(pcre2_compile_context_create(NULL));
	PCRE2_UCHAR reason[120];
	PCRE2_SIZE offset = 0;
	int error = 0;

	pcre2_set_newline(context, PCRE2_NEWLINE_LF);
	re->code = pcre2_compile((PCRE2_SPTR)re->parsed.pcre.p, re->parsed.pcre.len,
		PCRE2_UTF | PCRE2_MATCH_INVALID_UTF | PCRE2_NEVER_BACKSLASH_C, &error, &offset, context);
	pcre2_compile_context_free(context);
	if (re->code == NULL) {
		pcre2_get_error_message(error, reason, sizeof(reason));
		return bad(why, 0, "beyond what PCRE2 can do: %s", (const char *)reason);
	}
	pcre2_jit_compile(re->code, PCRE2_JIT_COMPLETE); /* without it matching is slower, nothing else */
	re->data = checked(pcre2_match_data_create_from_pattern(re->code, NULL));
	re->context = checked(pcre2_match_context_create(NULL));
	re->stack = checked(pcre2_jit_stack_create(JIT_STACK_MIN, JIT_STACK_MAX, NULL));
	pcre2_jit_stack_assign(re->context, NULL, re->stack);
	pcre2_set_match_limit(re->context, PYRE_MATCH_MAX);
	pcre2_set_depth_limit(re->context, DEPTH_LIMIT);
	return 0;
}

int
pyre_compile(struct str pattern, struct pyre **out, struct pyre_error *why)
{
	struct pyre *re = xcalloc(1, sizeof(*re));

	re->pattern = xstrndup(pattern.p ? pattern.p : "", pattern.len);
	re->len = pattern.len;
	if (parse(pattern_of(re), &re->parsed, why) != 0 || compile_code(re, why) != 0) {
		pyre_free(re);
		return -1;
	}
	buf_release(&re->parsed.pcre);
	*out = re;
	return 0;
}

void
pyre_free(struct pyre *re)
{
	if (re == NULL)
		return;
	pcre2_match_data_free(re->data);
	pcre2_match_context_free(re->context);
	pcre2_jit_stack_free(re->stack);
	pcre2_code_free(re->code);
	parsed_release(&re->parsed);
	free(re->pattern);
	free(re);
}

static int
match(const struct pyre *re, struct str subject, size_t from, uint32_t options, struct err *err)
{
	int rc = pcre2_match(re->code, (PCRE2_SPTR)(subject.p ? subject.p : ""), subject.len, from, options, re->data,
		re->context);
	PCRE2_UCHAR reason[120];

	if (rc >= 0)
		return 1;
	if (rc == PCRE2_ERROR_NOMATCH)
		return 0;
	if (rc == PCRE2_ERROR_MATCHLIMIT || rc == PCRE2_ERROR_DEPTHLIMIT || rc == PCRE2_ERROR_HEAPLIMIT ||
	    rc == PCRE2_ERROR_JIT_STACKLIMIT)
		return err_set(err, ERR_INPUT, "regular expression %.*s needs too many steps for %.*s",
			STR_ARG(pattern_of(re)), STR_ARG(subject));
	pcre2_get_error_message(rc, reason, sizeof(reason));
	return err_set(err, ERR_INPUT, "regular expression %.*s: %s", STR_ARG(pattern_of(re)), (const char *)reason);
}

/* A group's place in the last match. */
static struct pyre_span
span_of(const struct pyre *re, size_t group)
{
	const PCRE2_SIZE *v = pcre2_get_ovector_pointer(re->data);

	if (group >= pcre2_get_ovector_count(re->data) || v[2 * group] == PCRE2_UNSET)
		return (struct pyre_span){ PYRE_UNSET, PYRE_UNSET };
	return (struct pyre_span){ v[2 * group], v[2 * group + 1] };
}

int
pyre_search(const struct pyre *re, struct str subject, struct pyre_span *spans, size_t nspans, struct err *err)
{
	int found = match(re, subject, 0, 0, err);

	for (size_t i = 0; found > 0 && spans != NULL && i < nspans; i++)
		spans[i] = span_of(re, i);
	return found;
}

/* A replacement is pieces, each some text and then a group, or no group at the end. */
struct pyre_piece {
	size_t start, end; /* in text */
	size_t group;      /* PYRE_UNSET: none */
};

struct pyre_sub {
	const struct pyre *re;
	struct buf text;
	struct pyre_piece *pieces;
	size_t n, cap;
};

static int
add_group(struct pyre_sub *sub, uint64_t group, size_t offset, struct pyre_error *why)
{
	size_t start = sub->n > 0 ? sub->pieces[sub->n - 1].end : 0;

	if (group != PYRE_UNSET && group > sub->re->parsed.groups)
		return bad(why, offset, "invalid group reference %llu", (unsigned long long)group);
	sub->pieces = xgrow(sub->pieces, sub->n, &sub->cap, sizeof(*sub->pieces));
	sub->pieces[sub->n++] = (struct pyre_piece){ start, sub->text.len, (size_t)group };
	return 0;
}

/* \g<1>, \g<name>: the g was taken. */
static int
named_group(struct pyre_sub *sub, struct pyre_tokens *t)
{
	struct str name;
	uint64_t group;
	size_t at;

	if (!match_token(t, '<'))
		return bad(t->why, t->at, "missing <");
	at = t->at;
	if (take_until(t, '>', "group name", &name) != 0)
		return -1;
	if (is_name(name)) {
		group = group_named(&sub->re->parsed, name);
		if (group == 0)
			return bad(t->why, at, "unknown group name %.*s", STR_ARG(name));
	} else if (!num_u64(name, &group)) {
		return bad(t->why, at, "bad character in group name %.*s", STR_ARG(name));
	}
	return add_group(sub, group, at, t->why);
}

/* \0, \1 .. \99, \123 octal; start is the backslash. */
static int
sub_number(struct pyre_sub *sub, struct pyre_tokens *t, size_t start)
{
	bool zero = t->s.p[start + 1] == '0';
	size_t digits;
	uint64_t v;

	t->at = start + 1;
	digits = take_digits(t, 8, 3, &v);
	if (zero || digits == 3) {
		if (v > 0377)
			return bad(t->why, start, "octal escape value %.*s outside of range 0-0o377",
				(int)(t->at - start), t->s.p + start);
		utf8_put(&sub->text, (uint32_t)v);
		return 0;
	}
	t->at = start + 1;
	take_digits(t, 10, 2, &v);
	return add_group(sub, v, start + 1, t->why);
}

static int
sub_escape(struct pyre_sub *sub, struct pyre_tokens *t, struct str token)
{
	static const char from[] = "abfnrtv\\", to[] = "\a\b\f\n\r\t\v\\";
	size_t start = t->at - token.len;
	const char *hit;
	char c;

	if (token.len < 2)
		return bad(t->why, start, "bad escape (end of pattern)");
	c = token.p[1];
	if (c == 'g')
		return named_group(sub, t);
	if (c >= '0' && c <= '9')
		return sub_number(sub, t, start);
	hit = c ? strchr(from, c) : NULL;
	if (hit != NULL)
		buf_addc(&sub->text, to[hit - from]);
	else if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
		return bad(t->why, start, "bad escape %.*s", STR_ARG(token));
	else
		buf_addstr(&sub->text, token);
	return 0;
}

int
pyre_sub_compile(const struct pyre *re, struct str replacement, struct pyre_sub **out, struct pyre_error *why)
{
	struct pyre_sub *sub = xcalloc(1, sizeof(*sub));
	struct pyre_tokens t = { str_n(replacement.p ? replacement.p : "", replacement.len), 0, why };
	struct str token;
	int result = 0;

	sub->re = re;
	buf_adds(&sub->text, "");
	while (result == 0 && (token = take(&t)).len > 0) {
		if (token.p[0] == '\\')
			result = sub_escape(sub, &t, token);
		else
			buf_addstr(&sub->text, token);
	}
	if (result == 0)
		result = add_group(sub, PYRE_UNSET, 0, why);
	if (result != 0)
		pyre_sub_free(sub);
	else
		*out = sub;
	return result;
}

void
pyre_sub_free(struct pyre_sub *sub)
{
	if (sub == NULL)
		return;
	buf_release(&sub->text);
	free(sub->pieces);
	free(sub);
}

static void
expand(const struct pyre_sub *sub, struct str subject, struct buf *out)
{
	for (size_t i = 0; i < sub->n; i++) {
		const struct pyre_piece *piece = &sub->pieces[i];
		struct pyre_span span;

		buf_add(out, sub->text.p + piece->start, piece->end - piece->start);
		if (piece->group == PYRE_UNSET)
			continue;
		span = span_of(sub->re, piece->group);
		if (span.start != PYRE_UNSET)
			buf_add(out, subject.p + span.start, span.end - span.start);
	}
}

int
pyre_sub(const struct pyre_sub *sub, struct str subject, bool all, struct buf *out, size_t *count, struct err *err)
{
	size_t was = out->len, copied = 0, n = 0;
	struct pyre_span whole;
	uint32_t options = 0;
	int found;

	if (subject.p == NULL)
		subject = str_n("", 0);
	while ((found = match(sub->re, subject, copied, options, err)) > 0) {
		whole = span_of(sub->re, 0);
		buf_add(out, subject.p + copied, whole.start - copied);
		expand(sub, subject, out);
		copied = whole.end;
		n++;
		if (!all)
			break;
		/* Where an empty match was, the next one must be longer, or further on. */
		options = whole.start == whole.end ? PCRE2_NOTEMPTY_ATSTART : 0;
	}
	if (found < 0) {
		out->len = was;
		if (out->p != NULL)
			out->p[was] = '\0';
		return -1;
	}
	buf_add(out, subject.p + copied, subject.len - copied);
	if (count != NULL)
		*count = n;
	return 0;
}
