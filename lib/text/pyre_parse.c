#include "text/pyre_parse.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/num.h"
#include "base/text.h"
#include "base/xalloc.h"

enum {
	MAX_REPEAT = 65535, /* PCRE2's */
};

#define NO_END UINT64_MAX /* of a repeat */
/* What stands before a quantifier. */
enum item {
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
	digits = pyre_digits(t, 8, 3, &v);
	if (digits == 3 || t->s.p[start + 1] == '0') {
		if (v > 0377)
			return pyre_bad(t->why, start, "octal escape value %.*s outside of range 0-0o377",
				(int)(t->at - start), t->s.p + start);
		pyre_emit_literal(&p->to->pcre, (uint32_t)v, flags);
		return 0;
	}
	t->at = start + 1;
	pyre_digits(t, 10, 2, &v);
	if (v >= p->ngroups)
		return pyre_bad(t->why, start + 1, "invalid group reference %llu", (unsigned long long)v);
	return pyre_reference(p, (size_t)v, start, flags, width);
}

static int
parse_escape(struct pyre_parser *p, struct str token, unsigned flags, enum item *item, struct pyre_width *width)
{
	struct buf *out = &p->to->pcre;
	char c = token.p[1];
	uint32_t literal;
	int r = pyre_char_escape(&p->t, token, &literal);

	*item = ITEM_OTHER;
	if (r < 0)
		return -1;
	if (r > 0) {
		pyre_emit_literal(out, literal, flags);
	} else if (c == 'A' || c == 'Z') {
		buf_adds(out, c == 'A' ? "\\A" : "\\z");
		*item = ITEM_AT;
	} else if (c == 'b' || c == 'B') {
		pyre_emit_boundary(out, c == 'B', flags);
		*item = ITEM_AT;
	} else if (c != '\0' && strchr("dDsSwW", c) != NULL) {
		pyre_emit_category(out, (unsigned char)c, flags);
	} else if (c >= '0' && c <= '9') {
		return number_escape(p, token, flags, width);
	} else {
		struct pyre_escape e;

		if (pyre_class_escape(&p->t, token, &e) != 0)
			return -1;
		pyre_emit_literal(out, e.c, flags);
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
	lo = hi = pyre_digits(t, 10, SIZE_MAX, min);
	*max = *min;
	if (pyre_match_token(t, ','))
		hi = pyre_digits(t, 10, SIZE_MAX, max);
	if (!pyre_match_token(t, '}')) {
		t->at = brace + 1;
		return 0;
	}
	if ((lo && *min > MAX_REPEAT) || (hi && *max > MAX_REPEAT))
		return pyre_bad(t->why, brace, "the repetition number is too large (at most %d)", MAX_REPEAT);
	if (hi == 0)
		*max = NO_END;
	else if (*max < *min)
		return pyre_bad(t->why, brace + 1, "min repeat greater than max repeat");
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
	bool lazy = pyre_match_token(&p->t, '?'), atomic = !lazy && pyre_match_token(&p->t, '+');

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
parse_repeat(struct pyre_parser *p, char c, enum item before, size_t item_at, struct pyre_width *last)
{
	size_t start = p->t.at - 1;
	uint64_t min = c == '+', max = c == '?' ? 1 : NO_END;
	int r = c == '{' ? parse_braces(p, &min, &max) : 1;

	if (r <= 0)
		return r;
	if (before == ITEM_NONE || before == ITEM_AT)
		return pyre_bad(p->t.why, start, "nothing to repeat");
	if (before == ITEM_REPEAT)
		return pyre_bad(p->t.why, start, "multiple repeat");
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
			token = pyre_take(&p->t);
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
parse_atom(struct pyre_parser *p, struct str token, unsigned *flags, bool first, enum item *item, struct pyre_width *width)
{
	struct buf *out = &p->to->pcre;
	int r;

	*width = (struct pyre_width){ 1, 1 };
	switch (token.p[0]) {
	case '\\':
		return parse_escape(p, token, *flags, item, width);
	case '(':
		r = pyre_group(p, flags, first, width);
		if (r == 0)
			*item = ITEM_OTHER;
		return r;
	case '[':
		*item = ITEM_OTHER;
		return pyre_class(&p->t, *flags, out);
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
		pyre_emit_literal(out, pyre_code_point(token), *flags);
		break;
	}
	*item = ITEM_OTHER;
	return 0;
}

/* Items up to the next | or ) or the end. first: global flags may stand at the beginning. */
int
pyre_sequence(struct pyre_parser *p, unsigned *flags, bool first, struct pyre_width *total)
{
	struct pyre_width last = { 0, 0 }, width;
	enum item item = ITEM_NONE;
	size_t item_at = 0, at;
	struct str token;
	int r;

	*total = last;
	for (;;) {
		token = pyre_peek(&p->t);
		if (token.len == 0 || token.p[0] == '|' || token.p[0] == ')')
			break;
		pyre_take(&p->t);
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
int
pyre_alternatives(struct pyre_parser *p, unsigned *flags, bool top, struct pyre_width *width)
{
	struct pyre_width one;
	bool first = true;

	if (p->nesting++ >= PYRE_NESTING_MAX)
		return pyre_bad(p->t.why, p->t.at, "groups nested deeper than %d levels", PYRE_NESTING_MAX);
	do {
		if (!first)
			buf_addc(&p->to->pcre, '|');
		if (pyre_sequence(p, flags, top && first, &one) != 0)
			return -1;
		width->lo = first || one.lo < width->lo ? one.lo : width->lo;
		width->hi = first || one.hi > width->hi ? one.hi : width->hi;
		first = false;
	} while (pyre_match_token(&p->t, '|'));
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
			return pyre_bad(why, i, "invalid UTF-8");
	}
	do
		token = pyre_take(&t);
	while (token.len > 0 && !str_eqc(token, "\\"));
	return token.len > 0 ? pyre_bad(why, s.len - 1, "bad escape (end of pattern)") : 0;
}

static int
parse_pattern(struct pyre_parser *p)
{
	struct pyre_width width;
	unsigned flags = 0;

	if (check_text(p->t.s, p->t.why) != 0 || pyre_alternatives(p, &flags, true, &width) != 0)
		return -1;
	if (p->t.at < p->t.s.len)
		return pyre_bad(p->t.why, p->t.at, "unbalanced parenthesis");
	if (p->ref >= p->ngroups)
		return pyre_bad(p->t.why, p->ref_at, "invalid group reference %zu", p->ref);
	return 0;
}

int
pyre_parse(struct str pattern, struct pyre_parsed *out, struct pyre_error *why)
{
	struct pyre_parser p = { .t = { str_n(pattern.p ? pattern.p : "", pattern.len), 0, why }, .to = out };
	int result;

	*out = (struct pyre_parsed){ BUF_INIT, 0, NULL, 0 };
	buf_adds(&out->pcre, "");
	p.groups = xgrow(NULL, 0, &p.capgroups, sizeof(*p.groups));
	p.groups[0] = (struct pyre_group){ { 0, 0 }, false };
	p.ngroups = 1;
	result = parse_pattern(&p);
	free(p.groups);
	if (result != 0)
		pyre_parsed_release(out);
	return result;
}

void
pyre_parsed_release(struct pyre_parsed *parsed)
{
	buf_release(&parsed->pcre);
	free(parsed->names);
	*parsed = (struct pyre_parsed){ BUF_INIT, 0, NULL, 0 };
}

size_t
pyre_parsed_group(const struct pyre_parsed *parsed, struct str name)
{
	for (size_t i = 0; i < parsed->nnames; i++)
		if (str_eq(parsed->names[i].name, name))
			return parsed->names[i].group;
	return 0;
}
