#include "plan/drop.h"

#include <stdlib.h>

#include "base/xalloc.h"
#include "text/finder.h"
#include "plan/unused.h"

/* A compiled pattern. */
struct dropper {
	const struct drop_pattern *pattern;
	struct str literal; /* for DROP_COMPONENT without re: */
	struct pyre *re;    /* NULL for a literal pattern */
	struct plan_rule *rule;
};

/* All patterns and the finder for them. */
struct droppers {
	struct dropper *v; /* by id of the pattern in the finder */
	size_t n;
	struct finder *finder;
	size_t *near, nnear; /* indices in v of the patterns whose literals follow in the finder, to be found anywhere in a name */
};

/* ---- compiling */

static int
compile(struct dropper *d, struct str regex, struct finder *finder, struct err *err)
{
	struct pyre_error why;

	if (pyre_compile(regex, &d->re, &why) == 0) {
		finder_regex(finder, d->re);
		return 0;
	}
	return err_set(err, ERR_USAGE, "%s %.*s: at byte %zu of the regular expression: %s", d->pattern->option,
		       STR_ARG(d->pattern->text), why.offset, why.reason);
}

static int
prepare(struct plan *p, struct dropper *d, const struct drop_pattern *pattern, struct finder *finder, struct err *err)
{
	struct str text = pattern->text;
	struct buf b = BUF_INIT;
	int rc = 0;

	*d = (struct dropper){ .pattern = pattern, .literal = text };
	if (text.len == 0)
		return err_set(err, ERR_USAGE, "%s: an empty pattern", pattern->option);
	d->rule = plan_rule_new(p, text, "%s %.*s", pattern->option, STR_ARG(text));
	d->rule->optional = pattern->optional;
	if (pattern->syntax == DROP_COMPONENT && str_starts(text, str_c("re:"))) {
		d->rule->literal = plan_regex_literal(p, str_from(text, 3));
		rc = compile(d, str_from(text, 3), finder, err);
	} else if (pattern->syntax == DROP_LINNAEUS) {
		buf_addstr(&b, text);
		if (text.p[text.len - 1] != '.')
			buf_adds(&b, "\\b");
		rc = compile(d, buf_str(&b), finder, err);
		buf_release(&b);
	} else if (text.p[0] == '^' && pattern->syntax == DROP_COMPONENT) {
		d->literal = str_from(text, 1);
		d->rule->literal = d->literal;
		finder_text(finder, d->literal, FINDER_FIRST);
		if (d->literal.len == 0)
			rc = err_set(err, ERR_USAGE, "%s ^: an empty pattern", pattern->option);
	} else {
		finder_text(finder, text, pattern->syntax == DROP_COMPONENT ? FINDER_COMPONENT : FINDER_ANYWHERE);
	}
	return rc;
}

/* ---- applying */

/* Returns a pattern whose literal text the name contains, but not at a component boundary. Returns NULL if there is none. */
static const struct dropper *
near_miss(const struct droppers *d)
{
	size_t id;

	return finder_first(d->finder, d->n, d->nnear, &id, NULL) > 0 ? &d->v[d->near[id - d->n]] : NULL;
}

static int
drop_entry(struct plan *p, struct plan_entry *en, const struct droppers *d, struct err *err)
{
	const struct dropper *by = NULL, *near;
	const bool stays = (make_traits(plan_makers(en)) & MAKE_ANY_STAYS) != 0;
	size_t i;
	int hit;

	finder_name(d->finder, en->name);
	for (size_t at = 0; (hit = finder_first(d->finder, at, d->n - at, &i, err)) != 0; at = i + 1) {
		if (hit < 0)
			return -1;
		if (d->v[i].pattern->described && stays)
			continue;
		d->v[i].rule->matched++;
		by = by == NULL ? &d->v[i] : by;
	}
	if (by != NULL) {
		by->rule->touched++;
		plan_drop(p, en, PLAN_DROPPED, by->rule->text);
	} else if ((near = near_miss(d)) != NULL) {
		*xpush(p->misses, p->nmisses, p->cap_misses) = (struct plan_near_miss){ near->rule->text, en->name, en->origin };
	}
	return 0;
}

int
plan_drop_patterns(struct plan *p, const struct drop_pattern *patterns, size_t n, struct err *err)
{
	struct droppers d = { .v = xcalloc(n, sizeof(*d.v)), .finder = finder_new(), .near = xcalloc(n, sizeof(*d.near)) };
	size_t first = p->nrules;
	int rc = 0;

	for (; rc == 0 && d.n < n; d.n++)
		rc = prepare(p, &d.v[d.n], &patterns[d.n], d.finder, err);
	for (size_t i = 0; rc == 0 && i < n; i++) {
		if (d.v[i].re != NULL)
			continue;
		finder_text(d.finder, d.v[i].literal, FINDER_ANYWHERE);
		d.near[d.nnear++] = i;
	}
	for (struct plan_entry *en = plan_next(p, NULL); rc == 0 && n > 0 && en != NULL; en = plan_next(p, en))
		rc = drop_entry(p, en, &d, err);
	plan_find_nearest(p, first, false);
	finder_free(d.finder);
	for (size_t i = 0; i < d.n; i++)
		pyre_free(d.v[i].re);
	free(d.v);
	free(d.near);
	return rc;
}
