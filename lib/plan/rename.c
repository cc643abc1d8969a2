#include "plan/rename.h"

#include <string.h>

#include "text/pyre.h"
#include "plan/unused.h"

struct renamer {
	struct buf regex, replacement;
	bool all;
	struct pyre *re;
	struct pyre_sub *sub;
};

/* Copies s up to the next unescaped slash. \/ becomes a slash; other escapes are copied for the regular expression. */
static const char *
part(struct buf *b, const char *s)
{
	for (; *s != '\0' && *s != '/'; s++) {
		if (s[0] == '\\' && s[1] == '/')
			s++;
		else if (s[0] == '\\' && s[1] != '\0')
			buf_addc(b, *s++);
		buf_addc(b, *s);
	}
	return *s == '/' ? s + 1 : NULL;
}

static int
split(struct renamer *r, const char *spec, struct err *err)
{
	const char *s = spec;

	if (s[0] != 's' || s[1] != '/')
		return err_set(err, ERR_USAGE, "--rename %s: s/REGEX/REPLACEMENT/ was expected", spec);
	s = part(&r->regex, s + 2);
	if (s != NULL)
		s = part(&r->replacement, s);
	if (s == NULL)
		return err_set(err, ERR_USAGE, "--rename %s: a closing / is missing", spec);
	r->all = strcmp(s, "g") == 0;
	if (*s != '\0' && !r->all)
		return err_set(err, ERR_USAGE, "--rename %s: only g may follow the last /, not %s", spec, s);
	return 0;
}

static int
compile(struct renamer *r, const char *spec, struct err *err)
{
	struct pyre_error why;

	if (split(r, spec, err) != 0)
		return -1;
	if (pyre_compile(buf_str(&r->regex), &r->re, &why) != 0)
		return err_set(err, ERR_USAGE, "--rename %s: at byte %zu of the regular expression: %s", spec, why.offset,
			       why.reason);
	if (pyre_sub_compile(r->re, buf_str(&r->replacement), &r->sub, &why) != 0)
		return err_set(err, ERR_USAGE, "--rename %s: at byte %zu of the replacement: %s", spec, why.offset, why.reason);
	return 0;
}

int
plan_rename_regex(struct plan *p, const char *spec, struct err *err)
{
	struct renamer r = { .regex = BUF_INIT, .replacement = BUF_INIT };
	struct buf name = BUF_INIT;
	struct plan_rule *rule;
	struct plan_entry *en;
	size_t count, first = p->nrules;
	int rc = compile(&r, spec, err);

	rule = rc == 0 ? plan_rule_new(p, plan_regex_literal(p, buf_str(&r.regex)), "--rename %s", spec) : NULL;
	for (size_t i = 0; rc == 0 && i < p->nentries; i++) {
		en = &p->entries[i];
		if (!en->alive)
			continue;
		buf_clear(&name);
		rc = pyre_sub(r.sub, en->name, r.all, &name, &count, err);
		if (rc != 0 || count == 0)
			continue;
		if (!en->module)
			rule->matched++;
		plan_rename(p, en, buf_str(&name), rule->text);
	}
	plan_find_nearest(p, first, false);
	buf_release(&name);
	buf_release(&r.regex);
	buf_release(&r.replacement);
	pyre_sub_free(r.sub);
	pyre_free(r.re);
	return rc;
}
