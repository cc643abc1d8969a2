#include "plan/unused.h"

#include <string.h>

/*
 * To find what a rule that matched nothing was probably meant to match, components of the names are compared with the literal text
 * of the rule. A pattern is usually one or two components long.
 */

static struct str
trim(struct str s)
{
	while (s.len > 0 && (s.p[s.len - 1] == '.' || s.p[s.len - 1] == '_'))
		s.len--;
	return s;
}

struct str
plan_regex_literal(struct plan *p, struct str regex)
{
	char *text = arena_alloc(&p->arena, regex.len + 1);
	struct str best = { text, 0 };
	size_t n = 0, start = 0;
	bool literal;
	char c;

	for (size_t i = 0; i <= regex.len; i++) {
		c = i < regex.len ? regex.p[i] : '|';
		literal = strchr("^$*+?{}[]()|\\", c) == NULL;
		if (c == '\\' && i + 1 < regex.len && strchr(".-_/", regex.p[i + 1]) != NULL) {
			c = regex.p[++i];
			literal = true;
		} else if (c == '\\') {
			i++;
		}
		if (literal) {
			text[n++] = c;
			continue;
		}
		if (n - start > best.len)
			best = str_n(text + start, n - start);
		start = n;
	}
	return best;
}

/* Tries every run of as many components of name as the literal has. */
static void
try_name(struct nearest *n, struct str name, size_t components, struct str *whole)
{
	size_t start = 0, end, dots, i;
	struct str run;

	for (;;) {
		for (end = start, dots = 0; end < name.len; end++)
			if (name.p[end] == '.' && ++dots == components)
				break;
		run = str_n(name.p + start, end - start);
		i = n->score;
		nearest_try(n, run);
		if (n->score < i)
			*whole = name;
		for (; start < name.len && name.p[start] != '.'; start++)
			;
		if (start >= name.len)
			return;
		start++;
	}
}

/* The maximum number of rules that are treated one by one. */
enum { RULES_LISTED = 5 };

static bool
is_unused(const struct plan_rule *r)
{
	return r->matched == 0 && !r->quiet;
}

/* Finds the nearest input name, or the nearest present name of a living entry. */
static void
find_nearest(const struct plan *p, struct plan_rule *r, bool input)
{
	struct str literal = trim(r->literal), whole = { NULL, 0 };
	size_t components = 1, i;
	struct nearest n;

	if (literal.len == 0)
		return;
	for (i = 0; i < literal.len; i++)
		components += literal.p[i] == '.';
	nearest_init(&n, literal);
	for (i = 0; input && i < p->norigins; i++)
		if (p->origins[i].entry != NULL)
			try_name(&n, p->origins[i].entry->name, components, &whole);
	for (const struct plan_entry *en = plan_next(p, NULL); !input && en != NULL; en = plan_next(p, en))
		try_name(&n, en->name, components, &whole);
	if (nearest_found(&n))
		r->nearest[r->nnearest++] = whole;
}

void
plan_find_nearest(struct plan *p, size_t first, bool input)
{
	size_t unused = 0;

	for (size_t i = 0; i < p->nrules && unused < RULES_LISTED; i++) {
		if (!is_unused(p->rules[i]))
			continue;
		unused++;
		if (i >= first)
			find_nearest(p, p->rules[i], input);
	}
}

/* Gives one warning that counts the near misses, with an example. */
static void
warn_near_misses(const struct plan *p)
{
	const struct plan_near_miss *m = NULL;
	size_t n = 0;

	for (size_t i = p->nmisses; i-- > 0;) {
		m = plan_misses(p, &p->misses[i]) ? &p->misses[i] : m;
		n += m == &p->misses[i];
	}
	if (m != NULL)
		diag_warn(p->diag, "%zu %s a drop pattern but not at a component boundary, and %s kept (%.*s for %s)", n,
			  n == 1 ? "name contains" : "names contain", n == 1 ? "is" : "are", STR_ARG(m->name), m->pattern);
}

/* Warns of r. n is the number of unused rules. */
static void
warn_unused(const struct plan *p, const struct plan_rule *r, size_t n)
{
	struct buf b = BUF_INIT;

	if (n > RULES_LISTED)
		buf_addf(&b, " and %zu other rules (--verbose lists them)", n - 1);
	buf_adds(&b, ": matched nothing");
	if (r->nnearest > 0)
		buf_addf(&b, "; the nearest name is %.*s", STR_ARG(r->nearest[0]));
	diag_warn(p->diag, "%s%s", r->text, b.p);
	buf_release(&b);
}

size_t
plan_unused(struct plan *p)
{
	size_t failures = 0, n = 0, told = 0;

	for (size_t i = 0; i < p->nrules; i++)
		n += is_unused(p->rules[i]);
	for (size_t i = 0; i < p->nrules; i++) {
		const struct plan_rule *r = p->rules[i];

		if (r->matched > 0)
			continue;
		failures += !r->optional;
		if (r->quiet || (n > RULES_LISTED && told > 0))
			diag_verbose(p->diag, "%s: matched nothing", r->text);
		else
			warn_unused(p, r, n);
		told += !r->quiet;
	}
	warn_near_misses(p);
	return failures;
}
