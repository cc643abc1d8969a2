#include "plan/prefix.h"

#include "base/buf.h"
#include "base/xalloc.h"
#include "plan/unused.h"

#include <stdlib.h>

struct prefix {
	struct str text;
	const char *by;
	struct plan_rule *rule; /* NULL: nobody asked for it in particular */
};

/* The first of the prefixes that name begins with, or NULL. */
static const struct prefix *
leading(const struct prefix *list, size_t n, struct str name)
{
	for (size_t i = 0; i < n; i++)
		if (list[i].text.len > 0 && str_starts(name, list[i].text))
			return &list[i];
	return NULL;
}

static void
strip_entry(struct plan *p, struct plan_entry *en, const struct prefix *list, size_t n)
{
	const struct prefix *hit;
	struct str name = en->name;
	const char *by = NULL;

	while ((hit = leading(list, n, name)) != NULL) {
		name = str_from(name, hit->text.len);
		by = hit->by;
		if (hit->rule != NULL && !en->module) {
			hit->rule->matched++;
			hit->rule->touched++;
		}
	}
	if (by != NULL)
		plan_rename(p, en, name, by);
}

void
plan_strip_prefixes(struct plan *p, const char *const *prefixes, size_t n, bool wrappers)
{
	struct prefix *list = xcalloc(n + 2, sizeof(*list));
	size_t count = 0, first = p->nrules;

	for (size_t i = 0; i < n; i++) {
		list[count].text = str_c(prefixes[i]);
		list[count].rule = plan_rule_new(p, str_c(prefixes[i]), "--strip-prefix %s", prefixes[i]);
		list[count].by = list[count].rule->text;
		count++;
	}
	if (wrappers) {
		list[count++] = (struct prefix){ STR_LIT("module."), "module. taken off", NULL };
		list[count++] = (struct prefix){ STR_LIT("_orig_mod."), "_orig_mod. taken off", NULL };
	}
	for (size_t i = 0; i < p->nentries; i++)
		if (p->entries[i].alive)
			strip_entry(p, &p->entries[i], list, count);
	plan_find_nearest(p, first);
	free(list);
}

void
plan_strip_module_once(struct plan *p)
{
	static const struct str module = STR_LIT("module.");

	for (size_t i = 0; i < p->nentries; i++)
		if (p->entries[i].alive && str_starts(p->entries[i].name, module))
			plan_rename(p, &p->entries[i], str_from(p->entries[i].name, module.len), "module. taken off");
}

void
plan_add_prefix(struct plan *p, struct str prefix, const char *by)
{
	struct buf b = BUF_INIT;

	for (size_t i = 0; i < p->nentries; i++) {
		if (!p->entries[i].alive)
			continue;
		buf_clear(&b);
		buf_addstr(&b, prefix);
		buf_addstr(&b, p->entries[i].name);
		plan_rename(p, &p->entries[i], buf_str(&b), by);
	}
	buf_release(&b);
}
