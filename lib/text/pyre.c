/*
 * A pattern is checked against Python's grammar and translated for PCRE2 token by token. The translation uses as little of PCRE2's
 * syntax as possible: literals, classes of ranges and \p{..}, and numbered groups.
 */
#include "text/pyre.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/num.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "text/pyre_priv.h"

enum {
	REPEAT_MAX = 65535, /* limit of PCRE2 */
	DEPTH_LIMIT = 1000000,
	JIT_STACK_MIN = 32 << 10,
	JIT_STACK_MAX = 4 << 20,
};

#define REPEAT_NO_END UINT64_MAX

/*
 * PCRE2 10.42 may look for a match in the wrong places, and so miss it, if the pattern has lookarounds, or alternatives of which one
 * can match the empty text, or repeats an item that can match the empty text. Without this search it tries every place.
 */
#define FAULTY_START PCRE2_NO_START_OPTIMIZE

struct pyre_group {
	struct str name; /* a part of the pattern; empty if the group has no name */
	bool closed;
};

struct pyre {
	struct str pattern;        /* copy owned by re */
	struct pyre_group *groups; /* [0] is the whole match */
	size_t ngroups, capgroups;
	struct pyre_op *ops; /* the program; nops is 0 if there is none */
	size_t nops;
	pcre2_code *code;
	struct pyre_machine *machine;
};

/* Memory for searches. The first search allocates it, because finder.c matches most patterns without PCRE2. */
struct pyre_machine {
	pcre2_match_data *data;
	pcre2_match_context *context;
	pcre2_jit_stack *stack;
};

/* Splits a pattern into Python's tokens: one character, or a backslash and one character. */
struct pyre_tokens {
	struct str s;
	size_t at;
	struct pyre_error *why;
};

/* The start of a lookbehind, as an offset in the translation and in the pattern. */
struct pyre_behind {
	size_t out, at;
};

struct pyre_parser {
	struct pyre_tokens t;
	struct pyre *re; /* receives the groups */
	struct buf out;
	uint32_t flags;                /* options of PCRE2 */
	unsigned nesting, lookbehinds; /* number of open groups and of open lookbehinds */
	struct pyre_behind *behinds;   /* all lookbehinds */
	size_t nbehinds, capbehinds;
	struct pyre_op *ops; /* the program written so far */
	size_t nops, capops;
	bool irregular; /* the pattern cannot be expressed as a program */
	bool empty;     /* the item parsed last can match the empty text */
};

/* The item that a quantifier repeats. */
struct pyre_item {
	enum { ITEM_NONE, ITEM_AT, ITEM_REPEAT, ITEM_OTHER } kind; /* ITEM_AT: a position, such as ^ $ \b */
	size_t op;                                                 /* offset of the item in the program */
	bool empty;                                                /* the item can match the empty text */
};

/* This flag marks a category. The letter of the category takes the place of a character. */
enum { CATEGORY = 1 << 24 };

static int parse_alternatives(struct pyre_parser *p);

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

/* Returns the length of the character at an offset, 0 at the end. A byte that is not UTF-8 counts as a character. */
static size_t
char_len(struct str s, size_t at)
{
	size_t n = at < s.len ? utf8_len((const uint8_t *)s.p + at, s.len - at) : 0;

	return n == 0 && at < s.len ? 1 : n;
}

/* Returns the next token, or an empty one at the end. */
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

/* Returns the code point of a token that is one character. */
static uint32_t
code_point(struct str token)
{
	return utf8_decode((const uint8_t *)token.p, token.len);
}

/* Takes the next token if it is c. */
static bool
match_token(struct pyre_tokens *t, char c)
{
	struct str token = peek(t);

	if (token.len != 1 || token.p[0] != c)
		return false;
	t->at++;
	return true;
}

static bool
is_letter(uint32_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Like Python's isidentifier, except that every non-ASCII character counts as a letter. */
static bool
is_name(struct str name)
{
	for (size_t i = 0; i < name.len; i++) {
		unsigned char c = (unsigned char)name.p[i];

		if (c < 0x80 && c != '_' && !is_letter(c) && (c < '0' || c > '9' || i == 0))
			return false;
	}
	return name.len > 0;
}

/* Takes a name and the terminator. Returns -1 with why set if either is missing. */
static int
take_until(struct pyre_tokens *t, char terminator, struct str *out)
{
	size_t start = t->at;
	struct str token;

	do {
		token = take(t);
		if (token.len == 0)
			return bad(t->why, start, "missing %c, unterminated name", terminator);
	} while (token.len != 1 || token.p[0] != terminator);
	*out = str_n(t->s.p + start, t->at - 1 - start);
	return out->len > 0 ? 0 : bad(t->why, start, "missing group name");
}

/* Takes up to max digits of base 8, 10 or 16, and returns their number. */
static size_t
take_digits(struct pyre_tokens *t, unsigned base, size_t max, uint64_t *value)
{
	size_t n = 0;

	*value = 0;
	while (n < max && t->at < t->s.len && num_digit(t->s.p[t->at]) < base) {
		if (*value <= UINT32_MAX)
			*value = *value * base + num_digit(t->s.p[t->at]);
		t->at++;
		n++;
	}
	return n;
}

/*
 * Reads a group number \1 to \99, whose backslash is at start. Like Python, reads three octal digits, or a leading zero, as an
 * octal escape, which is not supported.
 */
static int
take_group_number(struct pyre_tokens *t, size_t start, uint64_t *group)
{
	t->at = start + 1;
	if (take_digits(t, 8, 3, group) == 3 || t->s.p[start + 1] == '0')
		return bad(t->why, start, "octal escapes are not supported");
	t->at = start + 1;
	take_digits(t, 10, 2, group);
	return 0;
}

#define WORD "\\p{L}\\p{N}_"

/*
 * Returns the members of Python's category as contents of a PCRE2 class, or NULL if letter is no category. \w is str.isalnum() or
 * _: letters and numbers, but no marks, unlike \w of newer PCRE2 releases. \s is str.isspace(), with the separators 1C to 1F. \d is
 * Nd.
 */
static const char *
category(uint32_t letter)
{
	switch (letter) {
	case 'd': return "\\p{Nd}";
	case 'D': return "\\P{Nd}";
	case 's':
		return "\\x{9}-\\x{d}\\x{1c}-\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"
		       "\\x{205f}\\x{3000}";
	case 'S':
		return "\\x{0}-\\x{8}\\x{e}-\\x{1b}\\x{21}-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}"
		       "\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{10ffff}";
	case 'w': return WORD;
	case 'W': /* all categories that are not in \w; of connectors (Pc) all but _ */
		return "\\p{C}\\p{M}\\p{S}\\p{Z}\\p{Pd}\\p{Ps}\\p{Pe}\\p{Pi}\\p{Pf}\\p{Po}\\x{203f}\\x{2040}\\x{2054}"
		       "\\x{fe33}\\x{fe34}\\x{fe4d}-\\x{fe4f}\\x{ff3f}";
	default: return NULL;
	}
}

/* A word character on exactly one side. In Python before 3.14, \B does not match the empty text. */
#define BOUNDARY "(?:(?<=[" WORD "])(?![" WORD "])|(?<![" WORD "])(?=[" WORD "]))"
#define NO_BOUNDARY "(?!\\A\\z)(?:(?<=[" WORD "])(?=[" WORD "])|(?<![" WORD "])(?![" WORD "]))"

/* Writes letters and digits as they are, other characters by number, so that nothing is taken for syntax. */
static void
emit_char(struct buf *out, uint32_t c)
{
	if (c & CATEGORY)
		buf_adds(out, category(c & ~(uint32_t)CATEGORY));
	else if (is_letter(c) || (c >= '0' && c <= '9'))
		buf_addc(out, (char)c);
	else
		buf_addf(out, "\\x{%x}", (unsigned)c);
}

/* ---- the program, which is written in parallel with the translation */

static void
emit_op(struct pyre_parser *p, struct pyre_op op)
{
	if (p->nops >= PYRE_OPS_MAX)
		p->irregular = true;
	else
		*xpush(p->ops, p->nops, p->capops) = op;
}

/* Inserts an op before op number at. */
static void
insert_op(struct pyre_parser *p, size_t at, struct pyre_op op)
{
	emit_op(p, op);
	if (p->irregular)
		return;
	memmove(p->ops + at + 1, p->ops + at, (p->nops - 1 - at) * sizeof(op));
	p->ops[at] = op;
}

static bool
in_category(uint32_t letter, unsigned c)
{
	const bool digit = c >= '0' && c <= '9';

	switch (letter) {
	case 'd': return digit;
	case 's': return (c >= '\t' && c <= '\r') || (c >= 0x1c && c <= ' ');
	case 'w': return digit || is_letter(c) || c == '_';
	default: return !in_category(letter + ('a' - 'A'), c);
	}
}

/*
 * Adds the ASCII part of a range, or of a category, to a set. Under (?i) some non-ASCII characters match ASCII letters, so such a
 * range makes the pattern irregular.
 */
static void
add_range(struct pyre_parser *p, uint64_t *set, uint32_t lo, uint32_t hi)
{
	const bool any_case = p->flags & PCRE2_CASELESS;

	p->irregular = p->irregular || (any_case && !(hi & CATEGORY) && hi >= 0x80);
	for (unsigned c = 0; c < 0x80; c++) {
		if (lo & CATEGORY ? !in_category(lo & ~(uint32_t)CATEGORY, c) : c < lo || c > hi)
			continue;
		pyre_set_add(set, c);
		if (any_case && is_letter(c))
			pyre_set_add(set, c ^ ('a' - 'A'));
	}
}

static void
emit_set(struct pyre_parser *p, uint32_t lo, uint32_t hi)
{
	struct pyre_op op = { .kind = PYRE_SET };

	add_range(p, op.set, lo, hi);
	emit_op(p, op);
}

/* Repeats the ops from at on min to max times. */
static void
repeat_ops(struct pyre_parser *p, size_t at, uint64_t min, uint64_t max)
{
	const size_t len = p->nops - at;
	const bool endless = max == REPEAT_NO_END;
	const uint64_t copies = endless ? min + (min == 0) : max;
	struct pyre_op *body;

	if (copies * (len + 1) > PYRE_OPS_MAX)
		p->irregular = true;
	if (p->irregular)
		return;
	body = xreallocn(NULL, len + 1, sizeof(*body));
	if (len > 0)
		memcpy(body, p->ops + at, len * sizeof(*body));
	p->nops = at;
	for (uint64_t i = 0; i < copies; i++) {
		if (i >= min)
			emit_op(p, (struct pyre_op){ .kind = PYRE_SPLIT, .to = (int32_t)((copies - i) * (len + 1)) + endless });
		for (size_t k = 0; k < len; k++)
			emit_op(p, body[k]);
	}
	if (endless && min == 0)
		emit_op(p, (struct pyre_op){ .kind = PYRE_JUMP, .to = -(int32_t)len - 1 });
	else if (endless)
		emit_op(p, (struct pyre_op){ .kind = PYRE_SPLIT, .to = -(int32_t)len });
	free(body);
}

/*
 * Called before another alternative. The one before it begins at *start and gets a split in front and a jump behind. *jumps is the
 * last jump; each jump holds the previous one until join_ops.
 */
static void
split_ops(struct pyre_parser *p, size_t *start, size_t *jumps)
{
	insert_op(p, *start, (struct pyre_op){ .kind = PYRE_SPLIT, .to = (int32_t)(p->nops - *start) + 2 });
	emit_op(p, (struct pyre_op){ .kind = PYRE_JUMP, .to = (int32_t)*jumps });
	*jumps = p->nops;
	*start = p->nops;
}

/* Called after the last alternative: lets all jumps lead here. */
static void
join_ops(struct pyre_parser *p, size_t jumps)
{
	while (jumps > 0 && !p->irregular) {
		struct pyre_op *op = &p->ops[jumps - 1];

		jumps = (size_t)op->to;
		op->to = (int32_t)(p->nops - (size_t)(op - p->ops));
	}
}

/* ---- escapes, classes, groups */

static int
hex_escape(struct pyre_tokens *t, size_t start, size_t digits, uint32_t *c)
{
	uint64_t v;
	bool complete = take_digits(t, 16, digits, &v) == digits;
	struct str text = str_n(t->s.p + start, t->at - start);

	if (!complete)
		return bad(t->why, start, "incomplete escape %.*s", STR_ARG(text));
	if (v > 0x10ffff)
		return bad(t->why, start, "bad escape %.*s", STR_ARG(text));
	if (v >= 0xd800 && v <= 0xdfff)
		return bad(t->why, start, "%.*s is a surrogate, which no text holds", STR_ARG(text));
	*c = (uint32_t)v;
	return 0;
}

/* Decodes an escape of a character or category, in or outside a class. token has been taken. */
static int
parse_char_escape(struct pyre_tokens *t, struct str token, uint32_t *c)
{
	size_t start = t->at - token.len;
	int control;

	if (token.len < 2)
		return bad(t->why, start, "bad escape (end of pattern)");
	*c = code_point(str_from(token, 1));
	control = text_map(token.p[1], "afnrtv", "\a\f\n\r\t\v");
	if (control >= 0)
		*c = (uint32_t)control;
	else if (category(*c) != NULL)
		*c |= CATEGORY;
	else if (*c == 'x' || *c == 'u' || *c == 'U')
		return hex_escape(t, start, *c == 'x' ? 2 : *c == 'u' ? 4 : 8, c);
	else if (*c == 'N')
		return bad(t->why, start, "\\N{NAME} is not supported: write \\uXXXX");
	else if (*c >= '0' && *c <= '7')
		return bad(t->why, start, "octal escapes are not supported");
	else if (is_letter(*c) || *c == '8' || *c == '9')
		return bad(t->why, start, "bad escape %.*s", STR_ARG(token));
	return 0;
}

/* Takes a member of the class that begins at open. */
static int
parse_member(struct pyre_tokens *t, size_t open, uint32_t *c)
{
	struct str token = take(t);

	if (token.len == 0)
		return bad(t->why, open, "unterminated character set");
	if (token.p[0] == '\\' && !str_eqc(token, "\\b"))
		return parse_char_escape(t, token, c);
	*c = token.p[0] == '\\' ? '\b' : code_point(token);
	return 0;
}

/* Parses a class after its [. */
static int
parse_class(struct pyre_parser *p)
{
	struct pyre_tokens *t = &p->t;
	struct buf *out = &p->out;
	struct pyre_op op = { .kind = PYRE_SET };
	size_t open = t->at - 1, start;
	const bool negated = match_token(t, '^');
	uint32_t lo, hi;

	buf_adds(out, negated ? "[^" : "[");
	for (bool any = false; !any || !match_token(t, ']'); any = true) {
		start = t->at;
		if (parse_member(t, open, &lo) < 0)
			return -1;
		emit_char(out, lo);
		add_range(p, op.set, lo, lo);
		if (!match_token(t, '-'))
			continue;
		if (str_eqc(peek(t), "]")) {
			emit_char(out, '-');
			add_range(p, op.set, '-', '-');
			continue;
		}
		if (parse_member(t, open, &hi) < 0)
			return -1;
		if (((lo | hi) & CATEGORY) || hi < lo)
			return bad(t->why, start, "bad character range %.*s", (int)(t->at - start), t->s.p + start);
		buf_addc(out, '-');
		emit_char(out, hi);
		add_range(p, op.set, lo, hi);
	}
	buf_addc(out, ']');
	for (size_t i = 0; negated && i < 2; i++)
		op.set[i] = ~op.set[i];
	emit_op(p, op);
	return 0;
}

/* Returns the number of the group with that name, or 0 if there is none. */
static size_t
group_named(const struct pyre *re, struct str name)
{
	for (size_t i = 1; name.len > 0 && i < re->ngroups; i++)
		if (str_eq(re->groups[i].name, name))
			return i;
	return 0;
}

/* Writes a back reference to a group, which must be closed. */
static int
emit_reference(struct pyre_parser *p, uint64_t group, size_t offset)
{
	if (!p->re->groups[group].closed)
		return bad(p->t.why, offset, "cannot refer to an open group");
	if (p->lookbehinds > 0)
		return bad(p->t.why, offset, "references inside a lookbehind are not supported");
	buf_addf(&p->out, "\\g{%llu}", (unsigned long long)group);
	p->irregular = p->empty = true;
	return 0;
}

/* Parses the contents of a group and its closing parenthesis. The opening one is at start. */
static int
parse_body(struct pyre_parser *p, size_t start)
{
	if (parse_alternatives(p) < 0)
		return -1;
	if (!match_token(&p->t, ')'))
		return bad(p->t.why, start, "missing ), unterminated subpattern");
	buf_addc(&p->out, ')');
	return 0;
}

static int
parse_capture(struct pyre_parser *p, size_t start, struct str name)
{
	size_t group = p->re->ngroups, old = group_named(p->re, name);

	if (old != 0)
		return bad(p->t.why, (size_t)(name.p - p->t.s.p), "redefinition of group name %.*s as group %zu; was group %zu",
			   STR_ARG(name), group, old);
	*xpush(p->re->groups, p->re->ngroups, p->re->capgroups) = (struct pyre_group){ name, false };
	buf_addc(&p->out, '(');
	if (parse_body(p, start) < 0)
		return -1;
	p->re->groups[group].closed = true;
	return 0;
}

/* Parses (?P<name>...) and (?P=name) after the P. */
static int
parse_named(struct pyre_parser *p, size_t start)
{
	struct pyre_tokens *t = &p->t;
	bool define = match_token(t, '<');
	size_t at = t->at + !define, group;
	struct str name;

	if (!define && !match_token(t, '='))
		return bad(t->why, start + 1, "unknown extension ?P%.*s", STR_ARG(peek(t)));
	if (take_until(t, define ? '>' : ')', &name) < 0)
		return -1;
	if (!is_name(name))
		return bad(t->why, at, "bad character in group name %.*s", STR_ARG(name));
	if (define)
		return parse_capture(p, start, name);
	group = group_named(p->re, name);
	if (group == 0)
		return bad(t->why, at, "unknown group name %.*s", STR_ARG(name));
	return emit_reference(p, group, at);
}

/*
 * Parses (?=...) (?!...) (?<=...) (?<!...). token is the first one after (?. As in Python, all alternatives of a lookbehind must
 * have the same width. Where they are in an inner group, PCRE2 checks that.
 */
static int
parse_lookaround(struct pyre_parser *p, size_t start, struct str token)
{
	bool behind = token.p[0] == '<';

	if (behind)
		token = take(&p->t);
	if (!str_eqc(token, "=") && !str_eqc(token, "!"))
		return bad(p->t.why, start + 1, "unknown extension ?<%.*s", STR_ARG(token));
	if (behind)
		*xpush(p->behinds, p->nbehinds, p->capbehinds) = (struct pyre_behind){ p->out.len, start };
	buf_addf(&p->out, "(?%s%c(?:", behind ? "<" : "", token.p[0]);
	p->irregular = true;
	p->lookbehinds += behind;
	if (parse_body(p, start) < 0)
		return -1;
	p->lookbehinds -= behind;
	p->empty = true;
	p->flags |= FAULTY_START;
	buf_addc(&p->out, ')');
	return 0;
}

/* Parses (?ims), flags for the whole pattern. token is the first one after (?. Returns 1, because there is nothing to match. */
static int
parse_flags(struct pyre_parser *p, size_t start, struct str token)
{
	uint32_t flags = 0;

	for (; token.len == 1 && token.p[0] && strchr("ims", token.p[0]); token = take(&p->t))
		flags |= token.p[0] == 'i' ? PCRE2_CASELESS : token.p[0] == 'm' ? PCRE2_MULTILINE : PCRE2_DOTALL;
	if (str_eqc(token, ":") || str_eqc(token, "-"))
		return bad(p->t.why, start, "flags for a part of a pattern, as in (?i:...), are not supported");
	if (flags == 0 || !str_eqc(token, ")"))
		return bad(p->t.why, start + 1, "unknown extension ?%.*s; flags other than i, m and s are not supported",
			   STR_ARG(token));
	if (p->out.len > 0)
		return bad(p->t.why, start, "global flags not at the start of the expression");
	p->flags |= flags;
	return 1;
}

/* Parses a group after its (. Returns 0, or 1 if it is flags, which match nothing. */
static int
parse_group(struct pyre_parser *p)
{
	size_t start = p->t.at - 1;
	struct str token;

	if (!match_token(&p->t, '?'))
		return parse_capture(p, start, str_n(NULL, 0));
	token = take(&p->t);
	if (token.len == 0)
		return bad(p->t.why, p->t.at, "unexpected end of pattern");
	switch (token.p[0]) {
	case 'P': return parse_named(p, start);
	case ':': buf_adds(&p->out, "(?:"); return parse_body(p, start);
	case '=':
	case '!':
	case '<': return parse_lookaround(p, start, token);
	case '#':
	case '>':
	case '(': return bad(p->t.why, start, "(?%c is not supported", token.p[0]);
	default: return parse_flags(p, start, token);
	}
}

/* Writes a position, which matches no character. Always returns 0. */
static int
emit_position(struct pyre_parser *p, const char *text, enum pyre_kind kind, struct pyre_item *item)
{
	buf_adds(&p->out, text);
	emit_op(p, (struct pyre_op){ .kind = kind });
	item->kind = ITEM_AT;
	p->empty = true;
	p->flags |= text[0] == '(' ? FAULTY_START : 0;
	return 0;
}

static int
parse_escape(struct pyre_parser *p, struct str token, struct pyre_item *item)
{
	size_t start = p->t.at - token.len;
	uint64_t group;
	uint32_t c;

	switch (token.p[1]) {
	case 'A': return emit_position(p, "\\A", PYRE_BEGIN, item);
	case 'Z': return emit_position(p, "\\z", PYRE_END, item);
	case 'b': return emit_position(p, BOUNDARY, PYRE_WORD, item);
	case 'B': return emit_position(p, NO_BOUNDARY, PYRE_INNER, item);
	default: break;
	}
	if (token.p[1] >= '0' && token.p[1] <= '9') {
		if (take_group_number(&p->t, start, &group) < 0)
			return -1;
		if (group >= p->re->ngroups)
			return bad(p->t.why, start + 1, "invalid group reference %llu", (unsigned long long)group);
		return emit_reference(p, group, start);
	}
	if (parse_char_escape(&p->t, token, &c) < 0)
		return -1;
	buf_adds(&p->out, c & CATEGORY ? "[" : "");
	emit_char(&p->out, c);
	buf_adds(&p->out, c & CATEGORY ? "]" : "");
	emit_set(p, c, c);
	return 0;
}

/* Parses the counts of {m,n} after the brace. Returns 1 if it is a quantifier, 0 if it is literal text. */
static int
parse_braces(struct pyre_tokens *t, uint64_t *min, uint64_t *max)
{
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
	if ((lo && *min > REPEAT_MAX) || (hi && *max > REPEAT_MAX))
		return bad(t->why, brace, "the repetition number is too large (at most %d)", REPEAT_MAX);
	if (hi == 0)
		*max = REPEAT_NO_END;
	else if (*max < *min)
		return bad(t->why, brace + 1, "min repeat greater than max repeat");
	return 1;
}

/* Parses a quantifier of *item whose first character c was taken. Returns 1, or 0 if c is a brace that is literal text. */
static int
parse_repeat(struct pyre_parser *p, char c, struct pyre_item *item)
{
	size_t start = p->t.at - 1;
	uint64_t min = c == '+', max = c == '?' ? 1 : REPEAT_NO_END;
	int rc = c == '{' ? parse_braces(&p->t, &min, &max) : 1;

	if (rc <= 0)
		return rc;
	if (item->kind == ITEM_NONE || item->kind == ITEM_AT)
		return bad(p->t.why, start, "nothing to repeat");
	if (item->kind == ITEM_REPEAT)
		return bad(p->t.why, start, "multiple repeat");
	if (match_token(&p->t, '+'))
		return bad(p->t.why, start, "possessive quantifiers, as in a++, are not supported");
	/* PCRE2 10.42 has a bug: the contents of X{0} mislead its search for possible match starts. */
	if (max == 0)
		return bad(p->t.why, start, "{0} is not supported");
	/* After an empty match of the item, Python repeats it only up to min times, PCRE2 up to max times. */
	if (item->empty && max != REPEAT_NO_END && max > min + 1)
		return bad(p->t.why, start, "{%llu,%llu} after an item that can match the empty text is not supported",
			   (unsigned long long)min, (unsigned long long)max);
	if (min > 1 && item->empty)
		p->flags |= FAULTY_START;
	buf_addf(&p->out, max == REPEAT_NO_END ? "{%llu,}" : "{%llu,%llu}", (unsigned long long)min, (unsigned long long)max);
	buf_adds(&p->out, match_token(&p->t, '?') ? "?" : "");
	repeat_ops(p, item->op, min, max);
	item->kind = ITEM_REPEAT;
	item->empty = item->empty || min == 0;
	return 1;
}

/*
 * Parses anything but a quantifier. Its first token was taken. Returns 0 and sets *item, or returns 1 if there is nothing to match.
 * (?m)^ and (?m)$ are written as lookarounds, because PCRE2's own (?m)^ differs at the very end.
 */
static int
parse_atom(struct pyre_parser *p, struct str token, struct pyre_item *item)
{
	bool lines = p->flags & PCRE2_MULTILINE;

	*item = (struct pyre_item){ ITEM_OTHER, p->nops, false };
	p->empty = false;
	switch (token.p[0]) {
	case '\\': return parse_escape(p, token, item);
	case '(': return parse_group(p);
	case '[': return parse_class(p);
	case '^': return emit_position(p, lines ? "(?<![^\\n])" : "\\A", PYRE_BEGIN, item);
	case '$': return emit_position(p, lines ? "(?![^\\n])" : "$", PYRE_END, item);
	case '.':
		buf_addc(&p->out, '.');
		emit_set(p, 0, 0x7f);
		return 0;
	default:
		emit_char(&p->out, code_point(token));
		emit_set(p, code_point(token), code_point(token));
		return 0;
	}
}

/* Parses items up to the next |, the next ), or the end. */
static int
parse_sequence(struct pyre_parser *p)
{
	struct pyre_item last = { ITEM_NONE, 0, true }, next;
	struct str token;
	bool empty = true; /* all items before last can match the empty text */
	int rc;

	for (;;) {
		token = peek(&p->t);
		if (token.len == 0 || token.p[0] == '|' || token.p[0] == ')') {
			p->empty = empty && last.empty;
			return 0;
		}
		take(&p->t);
		rc = token.p[0] && strchr("*+?{", token.p[0]) ? parse_repeat(p, token.p[0], &last) : 0;
		if (rc == 0) {
			rc = parse_atom(p, token, &next);
			next.empty = p->empty;
			empty = empty && (rc != 0 || last.empty);
			last = rc == 0 ? next : last;
		}
		if (rc < 0)
			return -1;
	}
}

/* Parses alternatives: a|b|c. */
static int
parse_alternatives(struct pyre_parser *p)
{
	size_t start = p->nops, jumps = 0;
	bool empty;

	if (p->nesting++ >= PYRE_NESTING_MAX)
		return bad(p->t.why, p->t.at, "groups nested deeper than %d levels", PYRE_NESTING_MAX);
	if (parse_sequence(p) < 0)
		return -1;
	empty = p->empty;
	while (match_token(&p->t, '|')) {
		buf_addc(&p->out, '|');
		split_ops(p, &start, &jumps);
		if (parse_sequence(p) < 0)
			return -1;
		empty = empty || p->empty;
		p->flags |= empty ? FAULTY_START : 0;
	}
	p->empty = empty;
	join_ops(p, jumps);
	p->nesting--;
	return 0;
}

static int
parse_pattern(struct pyre_parser *p)
{
	struct str s = p->t.s;

	if (!utf8_valid(s))
		return bad(p->t.why, utf8_end(s, 0), "invalid UTF-8");
	if (parse_alternatives(p) < 0)
		return -1;
	return p->t.at < s.len ? bad(p->t.why, p->t.at, "unbalanced parenthesis") : 0;
}

/*
 * PCRE2 allocates little memory, and only after the pattern was checked. If it fails, memory is exhausted, and xmalloc ends the
 * program.
 */
static void *
checked(void *p)
{
	return p != NULL ? p : xmalloc(SIZE_MAX);
}

static int
compile_code(struct pyre *re, struct pyre_parser *p)
{
	const struct str text = buf_str(&p->out);
	pcre2_compile_context *context = checked(pcre2_compile_context_create(NULL));
	uint32_t options = p->flags | PCRE2_UTF | PCRE2_MATCH_INVALID_UTF | PCRE2_NEVER_BACKSLASH_C;
	PCRE2_UCHAR reason[120];
	PCRE2_SIZE offset = 0;
	int error = 0;

	pcre2_set_newline(context, PCRE2_NEWLINE_LF);
#if PCRE2_MAJOR == 10 && PCRE2_MINOR >= 43
	pcre2_set_max_varlookbehind(context, 0);
#endif
	re->code = pcre2_compile((PCRE2_SPTR)text.p, text.len, options, &error, &offset, context);
	pcre2_compile_context_free(context);
	while (p->nbehinds > 1 && p->behinds[p->nbehinds - 1].out > offset)
		p->nbehinds--;
	if (re->code == NULL && error == PCRE2_ERROR_LOOKBEHIND_NOT_FIXED_LENGTH && p->nbehinds > 0)
		return bad(p->t.why, p->behinds[p->nbehinds - 1].at, "look-behind requires fixed-width pattern");
	if (re->code == NULL) {
		pcre2_get_error_message(error, reason, sizeof(reason));
		return bad(p->t.why, 0, "beyond what PCRE2 can do: %s", (const char *)reason);
	}
	return 0;
}

static void
make_ready(const struct pyre *re)
{
	struct pyre_machine *m = re->machine;

	pcre2_jit_compile(re->code, PCRE2_JIT_COMPLETE); /* if this fails, matching is only slower */
	m->data = checked(pcre2_match_data_create_from_pattern(re->code, NULL));
	m->context = checked(pcre2_match_context_create(NULL));
	m->stack = checked(pcre2_jit_stack_create(JIT_STACK_MIN, JIT_STACK_MAX, NULL));
	pcre2_jit_stack_assign(m->context, NULL, m->stack);
	pcre2_set_match_limit(m->context, PYRE_MATCH_MAX);
	pcre2_set_depth_limit(m->context, DEPTH_LIMIT);
}

int
pyre_compile(struct str pattern, struct pyre **out, struct pyre_error *why)
{
	struct pyre *re = xcalloc(1, sizeof(*re));
	struct pyre_parser p = { .re = re, .out = BUF_INIT };
	int rc;

	re->machine = xcalloc(1, sizeof(*re->machine));
	re->pattern = str_n(xstrndup(pattern.p ? pattern.p : "", pattern.len), pattern.len);
	*xpush(re->groups, re->ngroups, re->capgroups) = (struct pyre_group){ .closed = false };
	buf_adds(&p.out, "");
	p.t = (struct pyre_tokens){ re->pattern, 0, why };
	rc = parse_pattern(&p);
	if (rc == 0)
		rc = compile_code(re, &p);
	emit_op(&p, (struct pyre_op){ .kind = PYRE_MATCH });
	re->nops = p.irregular ? 0 : p.nops;
	re->ops = xreallocn(p.ops, re->nops, sizeof(*p.ops));
	buf_release(&p.out);
	free(p.behinds);
	if (rc < 0)
		pyre_free(re);
	else
		*out = re;
	return rc;
}

void
pyre_free(struct pyre *re)
{
	if (re == NULL)
		return;
	pcre2_match_data_free(re->machine->data);
	pcre2_match_context_free(re->machine->context);
	pcre2_jit_stack_free(re->machine->stack);
	free(re->machine);
	pcre2_code_free(re->code);
	free(re->ops);
	free(re->groups);
	free((char *)(uintptr_t)re->pattern.p);
	free(re);
}

const struct pyre_op *
pyre_program(const struct pyre *re, size_t *n)
{
	*n = re->nops;
	return re->nops > 0 ? re->ops : NULL;
}

static int
match(const struct pyre *re, struct str subject, size_t from, uint32_t options, struct err *err)
{
	PCRE2_UCHAR reason[120];
	int rc;

	if (re->machine->data == NULL)
		make_ready(re);
	rc = pcre2_match(re->code, (PCRE2_SPTR)(subject.p ? subject.p : ""), subject.len, from, options, re->machine->data,
			 re->machine->context);
	if (rc >= 0)
		return 1;
	if (rc == PCRE2_ERROR_NOMATCH)
		return 0;
	if (rc == PCRE2_ERROR_MATCHLIMIT || rc == PCRE2_ERROR_DEPTHLIMIT || rc == PCRE2_ERROR_HEAPLIMIT ||
	    rc == PCRE2_ERROR_JIT_STACKLIMIT)
		return err_set(err, ERR_INPUT, "regular expression %.*s needs too many steps for %.*s", STR_ARG(re->pattern),
			       STR_ARG(subject));
	pcre2_get_error_message(rc, reason, sizeof(reason));
	return err_set(err, ERR_INPUT, "regular expression %.*s: %s", STR_ARG(re->pattern), (const char *)reason);
}

/* Returns the span of a group in the last match. */
static struct pyre_span
span_of(const struct pyre *re, size_t group)
{
	const PCRE2_SIZE *v = pcre2_get_ovector_pointer(re->machine->data);

	if (group >= pcre2_get_ovector_count(re->machine->data) || v[2 * group] == PCRE2_UNSET)
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

/* A replacement is a list of pieces. Each is text followed by a group; the last one may have no group. */
struct pyre_piece {
	size_t start, end; /* offsets in text */
	size_t group;      /* PYRE_UNSET if there is none */
};

struct pyre_sub {
	const struct pyre *re;
	struct buf text;
	struct pyre_piece *pieces;
	size_t n, cap;
};

static int
add_piece(struct pyre_sub *sub, uint64_t group, size_t offset, struct pyre_error *why)
{
	size_t start = sub->n > 0 ? sub->pieces[sub->n - 1].end : 0;

	if (group != PYRE_UNSET && group >= sub->re->ngroups)
		return bad(why, offset, "invalid group reference %llu", (unsigned long long)group);
	*xpush(sub->pieces, sub->n, sub->cap) = (struct pyre_piece){ start, sub->text.len, (size_t)group };
	return 0;
}

/* Parses \g<1> or \g<name> after the g. */
static int
named_group(struct pyre_sub *sub, struct pyre_tokens *t)
{
	struct str name;
	uint64_t group;
	size_t at;

	if (!match_token(t, '<'))
		return bad(t->why, t->at, "missing <");
	at = t->at;
	if (take_until(t, '>', &name) != 0)
		return -1;
	if (is_name(name)) {
		group = group_named(sub->re, name);
		if (group == 0)
			return bad(t->why, at, "unknown group name %.*s", STR_ARG(name));
	} else if (!num_u64(name, &group)) {
		return bad(t->why, at, "bad character in group name %.*s", STR_ARG(name));
	}
	return add_piece(sub, group, at, t->why);
}

static int
sub_escape(struct pyre_sub *sub, struct pyre_tokens *t, struct str token)
{
	size_t start = t->at - token.len;
	uint64_t group;
	int c;

	if (token.len < 2)
		return bad(t->why, start, "bad escape (end of pattern)");
	if (token.p[1] == 'g')
		return named_group(sub, t);
	if (token.p[1] >= '0' && token.p[1] <= '9')
		return take_group_number(t, start, &group) < 0 ? -1 : add_piece(sub, group, start + 1, t->why);
	c = text_map(token.p[1], "abfnrtv\\", "\a\b\f\n\r\t\v\\");
	if (c < 0 && is_letter((unsigned char)token.p[1]))
		return bad(t->why, start, "bad escape %.*s", STR_ARG(token));
	if (c >= 0)
		buf_addc(&sub->text, (char)c);
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
	int rc = 0;

	sub->re = re;
	buf_adds(&sub->text, "");
	while (rc == 0 && (token = take(&t)).len > 0) {
		if (token.p[0] == '\\')
			rc = sub_escape(sub, &t, token);
		else
			buf_addstr(&sub->text, token);
	}
	if (rc == 0)
		rc = add_piece(sub, PYRE_UNSET, 0, why);
	if (rc != 0)
		pyre_sub_free(sub);
	else
		*out = sub;
	return rc;
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
		/* After an empty match, the next one must be longer or start later. */
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
