#include "text/pyre.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/num.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "text/pyre_parse.h"

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
		return pyre_bad(why, 0, "beyond what PCRE2 can do: %s", (const char *)reason);
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
	if (pyre_parse(pyre_pattern(re), &re->parsed, why) != 0 || compile_code(re, why) != 0) {
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
	pyre_parsed_release(&re->parsed);
	free(re->pattern);
	free(re);
}

struct str
pyre_pattern(const struct pyre *re)
{
	return str_n(re->pattern, re->len);
}

size_t
pyre_groups(const struct pyre *re)
{
	return re->parsed.groups;
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
			STR_ARG(pyre_pattern(re)), STR_ARG(subject));
	pcre2_get_error_message(rc, reason, sizeof(reason));
	return err_set(err, ERR_INPUT, "regular expression %.*s: %s", STR_ARG(pyre_pattern(re)), (const char *)reason);
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
struct piece {
	size_t start, end; /* in text */
	size_t group;      /* PYRE_UNSET: none */
};

struct pyre_sub {
	const struct pyre *re;
	struct buf text;
	struct piece *pieces;
	size_t n, cap;
};

static int
add_group(struct pyre_sub *sub, uint64_t group, size_t offset, struct pyre_error *why)
{
	size_t start = sub->n > 0 ? sub->pieces[sub->n - 1].end : 0;

	if (group != PYRE_UNSET && group > pyre_groups(sub->re))
		return pyre_bad(why, offset, "invalid group reference %llu", (unsigned long long)group);
	sub->pieces = xgrow(sub->pieces, sub->n, &sub->cap, sizeof(*sub->pieces));
	sub->pieces[sub->n++] = (struct piece){ start, sub->text.len, (size_t)group };
	return 0;
}

/* \g<1>, \g<name>: the g was taken. */
static int
named_group(struct pyre_sub *sub, struct pyre_tokens *t)
{
	struct str name;
	uint64_t group;
	size_t at;

	if (!pyre_match_token(t, '<'))
		return pyre_bad(t->why, t->at, "missing <");
	at = t->at;
	if (pyre_until(t, '>', "group name", &name) != 0)
		return -1;
	if (pyre_is_name(name)) {
		group = pyre_parsed_group(&sub->re->parsed, name);
		if (group == 0)
			return pyre_bad(t->why, at, "unknown group name %.*s", STR_ARG(name));
	} else if (!num_u64(name, &group)) {
		return pyre_bad(t->why, at, "bad character in group name %.*s", STR_ARG(name));
	}
	return add_group(sub, group, at, t->why);
}

/* \0, \1 .. \99, \123 octal; start is the backslash. */
static int
number(struct pyre_sub *sub, struct pyre_tokens *t, size_t start)
{
	bool zero = t->s.p[start + 1] == '0';
	size_t digits;
	uint64_t v;

	t->at = start + 1;
	digits = pyre_digits(t, 8, 3, &v);
	if (zero || digits == 3) {
		if (v > 0377)
			return pyre_bad(t->why, start, "octal escape value %.*s outside of range 0-0o377",
				(int)(t->at - start), t->s.p + start);
		utf8_put(&sub->text, (uint32_t)v);
		return 0;
	}
	t->at = start + 1;
	pyre_digits(t, 10, 2, &v);
	return add_group(sub, v, start + 1, t->why);
}

static int
escape(struct pyre_sub *sub, struct pyre_tokens *t, struct str token)
{
	static const char from[] = "abfnrtv\\", to[] = "\a\b\f\n\r\t\v\\";
	size_t start = t->at - token.len;
	const char *hit;
	char c;

	if (token.len < 2)
		return pyre_bad(t->why, start, "bad escape (end of pattern)");
	c = token.p[1];
	if (c == 'g')
		return named_group(sub, t);
	if (c >= '0' && c <= '9')
		return number(sub, t, start);
	hit = c ? strchr(from, c) : NULL;
	if (hit != NULL)
		buf_addc(&sub->text, to[hit - from]);
	else if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
		return pyre_bad(t->why, start, "bad escape %.*s", STR_ARG(token));
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
	while (result == 0 && (token = pyre_take(&t)).len > 0) {
		if (token.p[0] == '\\')
			result = escape(sub, &t, token);
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
		const struct piece *piece = &sub->pieces[i];
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
