#include "plan/drop.h"

#include <ctype.h>
#include <stdlib.h>

#include "base/xalloc.h"
#include "text/pyre.h"
#include "plan/unused.h"

/* A pattern made ready. */
struct dropper {
	const struct drop_pattern *pattern;
	struct str literal; /* DROP_COMPONENT without re: */
	struct pyre *re;    /* NULL: literal */
	struct plan_rule *rule;
};

/* Does the literal, found at, begin and end where a component pattern must? */
static bool
bounded(struct str name, struct str literal, size_t at)
{
	size_t end = at + literal.len;

	if (at > 0 && name.p[at - 1] != '.')
		return false;
	if (!isalnum((unsigned char)literal.p[literal.len - 1]))
		return true;
	return end == name.len || name.p[end] == '.' || name.p[end] == '_';
}

/* Does a name match a component pattern's literal text (with or without ^)? */
static bool
component_match(struct str pattern, struct str name)
{
	bool anchored = pattern.len > 0 && pattern.p[0] == '^';
	struct str literal = anchored ? str_from(pattern, 1) : pattern;
	long at;

	if (literal.len == 0)
		return false;
	for (at = str_find(name, literal, 0); at >= 0; at = str_find(name, literal, (size_t)at + 1)) {
		if (anchored && at > 0)
			return false;
		if (bounded(name, literal, (size_t)at))
			return true;
	}
	return false;
}

/* ---- making ready */

static int
compile(struct dropper *d, struct str regex, struct err *e)
{
	struct pyre_error why;

	if (pyre_compile(regex, &d->re, &why) == 0)
		return 0;
	return err_set(e, ERR_USAGE, "%s %.*s: at byte %zu of the regular expression: %s", d->pattern->option,
		       STR_ARG(d->pattern->text), why.offset, why.reason);
}

static int
prepare(struct plan *p, struct dropper *d, const struct drop_pattern *pattern, struct err *e)
{
	struct str text = pattern->text;
	struct buf b = BUF_INIT;
	int rc = 0;

	*d = (struct dropper){ .pattern = pattern, .literal = text };
	if (text.len == 0)
		return err_set(e, ERR_USAGE, "%s: an empty pattern", pattern->option);
	d->rule = plan_rule_new(p, text, "%s %.*s", pattern->option, STR_ARG(text));
	d->rule->optional = pattern->optional;
	if (pattern->syntax == DROP_COMPONENT && str_starts(text, str_c("re:"))) {
		d->rule->literal = plan_regex_literal(p, str_from(text, 3));
		rc = compile(d, str_from(text, 3), e);
	} else if (pattern->syntax == DROP_LINNAEUS) {
		buf_addstr(&b, text);
		if (text.p[text.len - 1] != '.')
			buf_adds(&b, "\\b");
		rc = compile(d, buf_str(&b), e);
		buf_release(&b);
	} else if (text.p[0] == '^' && pattern->syntax == DROP_COMPONENT) {
		d->literal = str_from(text, 1);
		d->rule->literal = d->literal;
		if (d->literal.len == 0)
			rc = err_set(e, ERR_USAGE, "%s ^: an empty pattern", pattern->option);
	}
	return rc;
}

/* ---- applying */

static int
matches(const struct dropper *d, struct str name, struct err *e)
{
	if (d->re != NULL)
		return pyre_search(d->re, name, NULL, 0, e);
	if (d->pattern->syntax == DROP_CONTAINS)
		return str_contains(name, d->literal);
	return component_match(d->pattern->text, name);
}

static int
drop_entry(struct plan *p, struct plan_entry *en, const struct dropper *list, size_t n, struct err *e)
{
	const struct dropper *by = NULL, *near = NULL;
	int hit;

	const bool stays = (make_traits(&en->make) & MAKE_ANY_STAYS) != 0;

	for (size_t i = 0; i < n; i++) {
		hit = list[i].pattern->described && stays ? 0 : matches(&list[i], en->name, e);
		if (hit < 0)
			return -1;
		if (hit) {
			list[i].rule->matched++;
			by = by == NULL ? &list[i] : by;
		} else if (list[i].re == NULL && str_contains(en->name, list[i].literal)) {
			near = near == NULL ? &list[i] : near;
		}
	}
	if (by != NULL) {
		by->rule->touched++;
		plan_drop(p, en, PLAN_DROPPED, by->rule->text);
	} else if (near != NULL) {
		*xpush(p->misses, p->nmisses, p->cap_misses) = (struct plan_near_miss){ near->rule->text, en->name, en->origin };
	}
	return 0;
}

int
plan_drop_patterns(struct plan *p, const struct drop_pattern *patterns, size_t n, struct err *e)
{
	struct dropper *list = xcalloc(n, sizeof(*list));
	size_t i, ready, first = p->nrules;
	int rc = 0;

	for (ready = 0; rc == 0 && ready < n; ready++)
		rc = prepare(p, &list[ready], &patterns[ready], e);
	for (i = 0; rc == 0 && n > 0 && i < p->nentries; i++)
		if (p->entries[i].alive && !p->entries[i].module)
			rc = drop_entry(p, &p->entries[i], list, n, e);
	plan_find_nearest(p, first, false);
	for (i = 0; i < ready; i++)
		pyre_free(list[i].re);
	free(list);
	return rc;
}
