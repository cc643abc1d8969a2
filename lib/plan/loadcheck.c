#include "plan/loadcheck.h"

#include "plan/container.h"

static const struct str tracked = STR_LIT("num_batches_tracked");

bool
load_shape_fits(const uint64_t *a, unsigned na, const uint64_t *b, unsigned nb)
{
	return shape_eq(a, na, b, nb) || (nb == 0 && na == 1 && a[0] == 1);
}

bool
load_forgives(struct str name, const struct vtree *t, uint32_t meta)
{
	const uint32_t version = meta == VALUE_ABSENT ? VALUE_ABSENT : value_get(t, meta, str_c("version"));

	if (!str_ends(name, tracked) || (name.len > tracked.len && name.p[name.len - tracked.len - 1] != '.'))
		return false;
	return version == VALUE_ABSENT || value_kind(t, version) != VALUE_INT || value_int(t, version) < 2;
}

/* Calls load_forgives with the metadata that the plan has for the module of name ("bn1." of "bn1.num_batches_tracked"). */
static bool
is_forgiven(const struct plan *p, const struct strmap *modules, struct str name)
{
	const struct plan_entry *en;
	uint64_t i;

	if (!str_ends(name, tracked) || !strmap_get(modules, str_n(name.p, name.len - tracked.len), &i))
		return load_forgives(name, NULL, VALUE_ABSENT);
	en = &p->entries[i];
	return load_forgives(name, plan_input_of(p, en)->sd->ckpt->tree, en->meta_value);
}

/* Maps the keys and the modules of the output to entries. */
static void
map_entries(const struct plan *p, const struct plan_containers *k, struct strmap *names, struct strmap *modules)
{
	const struct plan_container *in;

	for (size_t i = p->nentries; i-- > 0;) {
		if (!p->entries[i].alive)
			continue;
		in = plan_container_of(p, k, i);
		strmap_add(p->entries[i].module ? modules : names, in != NULL ? in->key : p->entries[i].name, i);
	}
}

/* Does the shape of an output entry fit its target? */
static bool
fits(const struct plan *p, const struct plan_entry *en, const struct entry *target)
{
	uint64_t shape[TENSOR_NDIM_MAX];
	enum dtype dtype;
	unsigned ndim;

	if (!target->has_shape)
		return true;
	plan_shape(p, en, &dtype, shape, &ndim);
	return load_shape_fits(shape, ndim, target->shape, target->ndim);
}

/* Returns the model's entry for a key, or NULL. An entry inside a container has no key of its own. */
static const struct entry *
target_of(const struct model *m, struct str key)
{
	const struct entry *target = model_find(m, key);

	return target != NULL && !target->inside ? target : NULL;
}

static void
check_outputs(struct load_check *c, struct plan *p, const struct plan_containers *k, const struct model *m, bool drop_mismatched)
{
	const struct plan_container *in;
	const struct entry *target;
	struct plan_entry *en;
	struct str key;
	bool other;

	for (size_t i = 0; i < p->nentries; i++) {
		en = &p->entries[i];
		in = plan_container_of(p, k, i);
		if (!en->alive || en->module || (in != NULL && in->first != i))
			continue;
		/* load_state_dict sees a container as a single key. */
		key = in != NULL ? in->key : en->name;
		target = target_of(m, key);
		other = plan_source(p, en)->kind == SD_OTHER;
		if (in != NULL && (target != NULL || strmap_get(&m->by_container, key, NULL)))
			c->matched++;
		else if (target == NULL || (other && target->has_shape))
			c->unexpected[c->nunexpected++] = key;
		else if (other)
			c->matched++;
		else if (!fits(p, en, target) && drop_mismatched)
			plan_drop(p, en, PLAN_DROPPED, "--drop-mismatched");
		else if (!fits(p, en, target))
			c->mismatched[c->nmismatched++] = (struct load_mismatch){ i, target };
		else
			c->matched++;
	}
}

/* Returns true if __metadata__ ties the name of target to a tensor that is written and fits. */
static bool
is_tied(const struct plan *p, const struct strmap *modules, const struct entry *target)
{
	const struct plan_entry *en;
	const struct plan_origin *o;
	const struct tensor *t;
	uint64_t i;

	if (!strmap_get(modules, target->name, &i) || p->entries[i].meta_value != VALUE_ABSENT)
		return false;
	en = &p->entries[i];
	o = &p->origins[en->tied];
	t = sd_tensor(plan_input_of(p, en)->sd, o->entry);
	return o->outputs > 0 && t != NULL &&
	       (!target->has_shape || load_shape_fits(t->shape, t->ndim, target->shape, target->ndim));
}

static void
check_targets(struct load_check *c, const struct plan *p, const struct plan_containers *k, const struct model *m, bool ties)
{
	struct strmap names = STRMAP_INIT, modules = STRMAP_INIT;

	map_entries(p, k, &names, &modules);
	for (size_t i = 0; i < m->n; i++) {
		const struct str name = m->entries[i].name;

		if (m->entries[i].inside || strmap_get(&names, name, NULL))
			continue;
		if (ties && is_tied(p, &modules, &m->entries[i]))
			c->matched++;
		else if (!is_forgiven(p, &modules, name))
			c->missing[c->nmissing++] = name;
	}
	for (size_t i = 0; i < m->ncontainers; i++)
		if (!strmap_get(&names, m->containers[i], NULL))
			c->missing[c->nmissing++] = m->containers[i];
	strmap_release(&names);
	strmap_release(&modules);
}

void
load_check(struct load_check *c, struct plan *p, const struct model *m, bool drop_mismatched, bool ties)
{
	struct plan_containers k;

	*c = (struct load_check){ .done = m->has_state_dict };
	if (!c->done)
		return;
	plan_containers(p, &k);
	c->missing = arena_calloc(&p->arena, m->n + m->ncontainers, sizeof(*c->missing));
	c->unexpected = arena_calloc(&p->arena, p->nentries, sizeof(*c->unexpected));
	c->mismatched = arena_calloc(&p->arena, p->nentries, sizeof(*c->mismatched));
	check_outputs(c, p, &k, m, drop_mismatched);
	check_targets(c, p, &k, m, ties);
	plan_containers_release(&k);
}
