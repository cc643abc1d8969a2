#include "plan/names.h"

#include <stdlib.h>

#include "base/xalloc.h"
#include "model/entry.h"
#include "plan/container.h"
#include "tensor/composite.h"

/* Entries chained by name. Several entries may have one name (several inputs, fan-out). */
struct chains {
	struct strmap map;
	size_t *next; /* by entry: the next entry with the same name; SIZE_MAX ends */
};

static void
chain(struct chains *c, struct str name, size_t i)
{
	uint64_t first;

	c->next[i] = SIZE_MAX;
	if (strmap_add(&c->map, name, i))
		return;
	strmap_get(&c->map, name, &first);
	c->next[i] = c->next[first];
	c->next[first] = i;
}

/* Chains all entries that a list may name. These include values that are not tensors, so that such names can be recognised. */
static void
chains_init(struct chains *c, const struct plan *p, bool present)
{
	*c = (struct chains){ STRMAP_INIT, xreallocn(NULL, p->nentries, sizeof(*c->next)) };
	for (size_t i = 0; i < p->nentries; i++)
		if (!p->entries[i].module)
			chain(c, present ? p->entries[i].name : plan_source(p, &p->entries[i])->name, i);
}

static void
chains_release(struct chains *c)
{
	strmap_release(&c->map);
	free(c->next);
}

/* Marks the entries with a name. Adds the number of living ones to *alive. Returns false if there is no such entry. */
static bool
mark(const struct chains *c, const struct plan *p, struct str name, bool *listed, size_t *alive, size_t *example)
{
	uint64_t i;

	if (!strmap_get(&c->map, name, &i))
		return false;
	for (; i != SIZE_MAX; i = c->next[i]) {
		listed[i] = true;
		*alive += p->entries[i].alive;
		*example = i;
	}
	return true;
}

/* Finds the composite tensor that has a part with this name. */
static bool
owner_of(const struct plan *p, struct str name, struct str *owner)
{
	const struct tensor_part *part;
	const struct sd_entry *entry = NULL;

	for (uint32_t i = 0; entry == NULL && i < p->ninputs; i++)
		entry = composite_owner(p->inputs[i].sd, name, &part);
	if (entry != NULL)
		*owner = entry->name;
	return entry != NULL;
}

/* Listed names that do not exist, or whose entries were dropped before: their numbers and the first of each. */
struct unmatched {
	size_t missing, gone;
	struct str first_missing, first_gone;
	const char *gone_by; /* the rule that dropped first_gone */
};

static int
missing(const struct plan *p, const struct name_list *l, struct str name, struct err *err)
{
	struct nearest near;
	struct str owner;

	if (owner_of(p, name, &owner))
		return err_set(err, ERR_INPUT, "%s: no tensor %.*s; it is a part of %.*s", l->option, STR_ARG(name),
			       STR_ARG(owner));
	nearest_init(&near, name);
	for (size_t i = 0; i < p->nentries; i++) {
		if (p->entries[i].module)
			continue;
		nearest_try(&near, plan_source(p, &p->entries[i])->name);
		nearest_try(&near, p->entries[i].name);
	}
	if (nearest_found(&near))
		return err_set(err, ERR_INPUT, "%s: no tensor %.*s; did you mean %.*s?", l->option, STR_ARG(name),
			       STR_ARG(near.best));
	return err_set(err, ERR_INPUT, "%s: no tensor %.*s (--ignore-missing makes this a warning)", l->option, STR_ARG(name));
}

static void
warn_listed(const struct plan *p, struct buf *b, size_t n)
{
	if (n > 1)
		buf_addf(b, ", and %zu other listed %s", n - 1, n == 2 ? "name" : "names");
	diag_warn(p->diag, "%s", b->p);
	buf_clear(b);
}

/* Gives at most one warning for each kind of unmatched name. */
static void
warn_unmatched(const struct plan *p, const struct name_list *l, const struct unmatched *u)
{
	struct buf b = BUF_INIT;
	struct str owner;

	if (u->missing > 0) {
		buf_addf(&b, "%s: no tensor %.*s", l->option, STR_ARG(u->first_missing));
		if (owner_of(p, u->first_missing, &owner))
			buf_addf(&b, " (a part of %.*s)", STR_ARG(owner));
		warn_listed(p, &b, u->missing);
	}
	if (u->gone > 0) {
		buf_addf(&b, "%s: %.*s was dropped already (%s)", l->option, STR_ARG(u->first_gone), u->gone_by);
		warn_listed(p, &b, u->gone);
	}
	buf_release(&b);
}

static void
note_gone(const struct plan *p, struct unmatched *u, struct str name, size_t entry)
{
	const struct plan_act *act = p->origins[p->entries[entry].origin].last;

	if (u->gone++ > 0)
		return;
	u->first_gone = name;
	u->gone_by = act == NULL ? "?" : act->by;
}

/* A list of tensors cannot name the other values in a container. They are kept if a tensor of the container is. */
static void
list_companions(const struct plan *p, bool *listed)
{
	const struct plan_container *of;
	struct plan_containers c;
	bool *kept;

	plan_containers(p, &c);
	kept = xcalloc(c.n + 1, sizeof(*kept));
	for (size_t i = 0; i < p->nentries; i++)
		if (listed[i] && (of = plan_container_at(p, &c, i)) != NULL)
			kept[of - c.v] = true;
	for (size_t i = 0; i < p->nentries; i++)
		if ((of = plan_container_at(p, &c, i)) != NULL && kept[of - c.v])
			listed[i] = listed[i] || plan_source(p, &p->entries[i])->kind == SD_OTHER;
	plan_containers_release(&c);
	free(kept);
}

/* Drops entries according to the list. Afterwards listed tells which entries were dropped by it. */
static void
apply(struct plan *p, const struct name_list *l, bool *listed, const char *by)
{
	for (size_t i = 0; i < p->nentries; i++) {
		listed[i] = !p->entries[i].module && p->entries[i].alive && listed[i] != l->keep;
		if (listed[i])
			plan_drop(p, &p->entries[i], PLAN_DROPPED, by);
	}
}

/* Is the weight of a buffer's module kept? */
static bool
weight_stays(const struct plan *p, const struct chains *present, size_t i, struct buf *weight)
{
	const struct str name = p->entries[i].name;
	size_t len = name.len;
	uint64_t k;

	while (len > 0 && name.p[len - 1] != '.')
		len--;
	buf_clear(weight);
	buf_add(weight, name.p, len);
	buf_adds(weight, "weight");
	if (!strmap_get(&present->map, buf_str(weight), &k))
		return false;
	for (; k != SIZE_MAX; k = present->next[k])
		if (p->entries[k].alive && p->origins[p->entries[k].origin].input == p->origins[p->entries[i].origin].input)
			return true;
	return false;
}

/*
 * Warns of dropped buffers whose module is kept. Lists of parameters lack the statistics of BatchNorm, without which its weight is
 * useless.
 */
static void
warn_buffers(const struct plan *p, const struct chains *present, const struct name_list *l, const bool *went)
{
	struct buf weight = BUF_INIT;
	size_t n = 0, first = 0;

	for (size_t i = 0; i < p->nentries; i++) {
		const struct entry en = entry_named(p->entries[i].name);

		if (went[i] && entry_is_buffer(&en) && weight_stays(p, present, i, &weight) && n++ == 0)
			first = i;
	}
	if (n > 0)
		diag_warn(p->diag,
			  "%s: %zu %s dropped though the weight of the module stays: %.*s%s "
			  "(lnn-filter --buffers lists them, too)",
			  l->option, n, n == 1 ? "buffer is" : "buffers are", STR_ARG(p->entries[first].name),
			  n == 1 ? "" : " is the first");
	buf_release(&weight);
}

int
plan_name_list(struct plan *p, const struct name_list *l, struct err *err)
{
	struct chains input, present;
	bool *listed = xcalloc(p->nentries, sizeof(*listed));
	struct unmatched u = { 0 };
	size_t i, alive, example = 0;
	int rc = 0;

	chains_init(&input, p, false);
	chains_init(&present, p, true);
	for (i = 0; rc == 0 && i < l->n; i++) {
		alive = 0;
		if (!mark(&input, p, l->names[i], listed, &alive, &example) &&
		    !mark(&present, p, l->names[i], listed, &alive, &example)) {
			if (l->elsewhere != NULL && strmap_get(l->elsewhere, l->names[i], NULL))
				continue;
			if (!l->ignore_missing)
				rc = missing(p, l, l->names[i], err);
			else if (u.missing++ == 0)
				u.first_missing = l->names[i];
		} else if (alive == 0) {
			note_gone(p, &u, l->names[i], example);
		}
	}
	if (rc == 0) {
		warn_unmatched(p, l, &u);
		if (l->keep)
			list_companions(p, listed);
		apply(p, l, listed, arena_cstr(&p->arena, l->option));
		warn_buffers(p, &present, l, listed);
	}
	chains_release(&input);
	chains_release(&present);
	free(listed);
	return rc;
}
