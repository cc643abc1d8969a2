#include "text/pyre_parse.h"

#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/xalloc.h"

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
		return pyre_bad(p->t.why, offset, "cannot refer to an open group");
	if (group >= p->lookbehind)
		return pyre_bad(p->t.why, offset, "cannot refer to group defined in the same lookbehind subpattern");
	return 0;
}

int
pyre_reference(struct pyre_parser *p, size_t group, size_t offset, unsigned flags, struct pyre_width *width)
{
	if (is_open(p, group))
		return pyre_bad(p->t.why, offset, "cannot refer to an open group");
	if (check_lookbehind(p, group, offset) != 0)
		return -1;
	if ((flags & (PYRE_I | PYRE_A)) == (PYRE_I | PYRE_A))
		buf_addf(&p->to->pcre, "(?i:\\g{%zu})", group);
	else
		buf_addf(&p->to->pcre, "\\g{%zu}", group);
	*width = p->groups[group].width;
	return 0;
}

static int
open_group(struct pyre_parser *p, struct str name, size_t name_at, size_t *group)
{
	size_t old = name.len ? pyre_parsed_group(p->to, name) : 0;

	*group = p->ngroups;
	if (old != 0)
		return pyre_bad(p->t.why, name_at, "redefinition of group name %.*s as group %zu; was group %zu",
			STR_ARG(name), *group, old);
	p->groups = xgrow(p->groups, p->ngroups, &p->capgroups, sizeof(*p->groups));
	p->groups[p->ngroups++] = (struct pyre_group){ { 0, 0 }, false };
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
	if (!pyre_match_token(&p->t, ')'))
		return pyre_bad(p->t.why, start, "missing ), unterminated subpattern");
	buf_addc(&p->to->pcre, ')');
	return 0;
}

static int
parse_body(struct pyre_parser *p, size_t start, unsigned flags, struct pyre_width *width)
{
	if (pyre_alternatives(p, &flags, false, width) != 0)
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
	p->groups[group] = (struct pyre_group){ *width, true };
	return 0;
}

/* (?P<name>...) and (?P=name), their P taken. */
static int
parse_p(struct pyre_parser *p, size_t start, unsigned flags, struct pyre_width *width)
{
	struct pyre_tokens *t = &p->t;
	bool define = pyre_match_token(t, '<');
	struct str name, token;
	size_t at, group;

	if (!define && !pyre_match_token(t, '=')) {
		at = t->at;
		token = pyre_take(t);
		if (token.len == 0)
			return pyre_bad(t->why, at, "unexpected end of pattern");
		return pyre_bad(t->why, at - 2, "unknown extension ?P%.*s", STR_ARG(token));
	}
	at = t->at;
	if (pyre_until(t, define ? '>' : ')', "group name", &name) != 0)
		return -1;
	if (!pyre_is_name(name))
		return pyre_bad(t->why, at, "bad character in group name %.*s", STR_ARG(name));
	if (define)
		return capture(p, start, name, at, flags, width);
	group = pyre_parsed_group(p->to, name);
	if (group == 0)
		return pyre_bad(t->why, at, "unknown group name %.*s", STR_ARG(name));
	return pyre_reference(p, group, at, flags, width);
}

/* (?=...) (?!...) (?<=...) (?<!...) */
static int
parse_assertion(struct pyre_parser *p, size_t start, char c, unsigned flags, struct pyre_width *width)
{
	size_t outer = p->lookbehind;
	struct str token;
	bool behind = c == '<';

	if (behind) {
		token = pyre_take(&p->t);
		if (token.len == 0)
			return pyre_bad(p->t.why, p->t.at, "unexpected end of pattern");
		c = token.p[0];
		if (c != '=' && c != '!')
			return pyre_bad(p->t.why, start + 1, "unknown extension ?<%.*s", STR_ARG(token));
		if (outer == 0)
			p->lookbehind = p->ngroups;
	}
	buf_addf(&p->to->pcre, "(?%s%c", behind ? "<" : "", c);
	if (parse_body(p, start, flags, width) != 0)
		return -1;
	p->lookbehind = outer;
	if (behind && width->lo != width->hi)
		return pyre_bad(p->t.why, start, "look-behind requires fixed-width pattern");
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

	if (pyre_until(t, ')', "group name", &name) != 0)
		return -1;
	if (pyre_is_name(name)) {
		*group = pyre_parsed_group(p->to, name);
		if (*group == 0)
			return pyre_bad(t->why, at, "unknown group name %.*s", STR_ARG(name));
	} else {
		if (!num_u64(name, &v))
			return pyre_bad(t->why, at, "bad character in group name %.*s", STR_ARG(name));
		if (v == 0)
			return pyre_bad(t->why, at, "bad group number");
		if (v > PYRE_MAX_GROUP)
			return pyre_bad(t->why, at, "invalid group reference %llu", (unsigned long long)v);
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
	if (pyre_sequence(p, &flags, false, width) != 0)
		return -1;
	if (pyre_match_token(&p->t, '|')) {
		buf_addc(&p->to->pcre, '|');
		if (pyre_sequence(p, &flags, false, &no) != 0)
			return -1;
		if (pyre_match_token(&p->t, '|'))
			return pyre_bad(p->t.why, p->t.at - 1, "conditional backref with more than two branches");
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
			return pyre_bad(t->why, t->at, "bad inline flags: cannot turn off flags 'a', 'u' and 'L'");
		if ((*flags & (PYRE_A | PYRE_U)) == (PYRE_A | PYRE_U))
			return pyre_bad(t->why, t->at, "bad inline flags: flags 'a', 'u' and 'L' are incompatible");
		*token = pyre_take(t);
	}
	if (str_eqc(*token, "L"))
		return pyre_bad(t->why, t->at, "bad inline flags: cannot %s",
			off ? "turn off flags 'a', 'u' and 'L'" : "use 'L' flag with a str pattern");
	if (*flags == 0)
		wanted = "missing flag";
	else if (token->len == 1 && token->p[0] && strchr(ends, token->p[0]))
		return 0;
	if (token->len > 0 && is_letter(token->p[0]))
		wanted = "unknown flag";
	return pyre_bad(t->why, t->at - token->len, "%s", wanted);
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
		return pyre_bad(p->t.why, start, "global flags not at the start of the expression");
	*flags |= on;
	if ((*flags & (PYRE_A | PYRE_U)) == (PYRE_A | PYRE_U))
		return pyre_bad(p->t.why, start, "ASCII and UNICODE flags are incompatible");
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
		token = pyre_take(&p->t);
		if (read_flags(p, &token, true, &off) != 0)
			return -1;
	}
	if (on & off)
		return pyre_bad(p->t.why, p->t.at - 1, "bad inline flags: flag turned on and off");
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
		token = pyre_take(&p->t);
		if (token.len == 0)
			return pyre_bad(p->t.why, start, "missing ), unterminated comment");
	} while (!str_eqc(token, ")"));
	return 1;
}

/* A group whose ( was taken: 0, or 1 if it was a comment or flags, which match nothing. */
int
pyre_group(struct pyre_parser *p, unsigned *flags, bool first, struct pyre_width *width)
{
	struct pyre_tokens *t = &p->t;
	size_t start = t->at - 1;
	struct str token;

	if (!pyre_match_token(t, '?'))
		return capture(p, start, str_n(NULL, 0), 0, *flags, width);
	token = pyre_take(t);
	if (token.len == 0)
		return pyre_bad(t->why, t->at, "unexpected end of pattern");
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
	return pyre_bad(t->why, start + 1, "unknown extension ?%.*s", STR_ARG(token));
}
