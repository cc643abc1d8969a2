#include "plan/loadcheck.h"

#include <stdlib.h>
#include <string.h>

#include "base/strmap.h"
#include "base/xalloc.h"
#include "plan/container.h"

static const struct str tracked = STR_LIT("num_batches_tracked");

bool
load_shape_fits(const uint64_t *a, unsigned na, const uint64_t *b, unsigned nb)
{
	return shape_eq(a, na, b, nb) || (nb == 0 && na == 1 && a[0] == 1);
}

bool
load_forgives(struct str name, bool has_version, int64_t version)
{
	if (!str_ends(name, tracked))
		return false;
	if (name.len > tracked.len && name.p[name.len - tracked.len - 1] != '.')
		return false;
	return !has_version || version < 2;
}

/* The version that _metadata gives the module of name ("bn1." of "bn1.num_batches_tracked"). */
static bool
version_of(const struct plan *p, const struct strmap *modules, struct str name, int64_t *version)
{
	const struct plan_entry *en;
	const struct vtree *t;
	uint32_t h;
	uint64_t i;

	if (!strmap_get(modules, str_n(name.p, name.len - tracked.len), &i))
		return false;
	en = &p->entries[i];
	t = plan_input_of(p, en)->sd->ckpt->tree;
	h = value_get(t, en->meta_value, str_c("version"));
	if (h == VALUE_ABSENT || value_kind(t, h) != VALUE_INT)
		return false;
	*version = value_int(t, h);
	return true;
}

/* Maps the keys of the output, and its modules, to entries. */
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

/* One entry of the output against its target. False if it does not fit. */
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

/* The target that has a place for a key. */
static const struct entry *
target_of(const struct model *m, struct str key)
{
	const struct entry *target = model_find(m, key);

	return target != NULL && !target->inside ? target : NULL;
}

/* A container counts by its key, as load_state_dict sees it. */
static void
check_container(struct load_check *c, const struct model *m, struct str key)
{
	if (target_of(m, key) != NULL || strmap_get(&m->by_container, key, NULL))
		c->matched++;
	else
		c->unexpected[c->nunexpected++] = key;
}

static void
check_outputs(struct load_check *c, struct plan *p, const struct plan_containers *k, const struct model *m,
	      bool drop_mismatched)
{
	const struct plan_container *in;
	const struct entry *target;
	struct plan_entry *en;
	bool other;

	for (size_t i = 0; i < p->nentries; i++) {
		en = &p->entries[i];
		in = plan_container_of(p, k, i);
		if (!en->alive || en->module || (in != NULL && in->first != i))
			continue;
		if (in != NULL) {
			check_container(c, m, in->key);
			continue;
		}
		target = target_of(m, en->name);
		other = plan_source(p, en)->kind == SD_OTHER;
		if (target == NULL || (other && target->has_shape))
			c->unexpected[c->nunexpected++] = en->name;
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

static void
check_targets(struct load_check *c, const struct plan *p, const struct plan_containers *k, const struct model *m)
{
	struct strmap names = STRMAP_INIT, modules = STRMAP_INIT;
	int64_t version = 0;
	bool known;

	map_entries(p, k, &names, &modules);
	for (size_t i = 0; i < m->n; i++) {
		if (m->entries[i].inside || strmap_get(&names, m->entries[i].name, NULL))
			continue;
		known = str_ends(m->entries[i].name, tracked) && version_of(p, &modules, m->entries[i].name, &version);
		if (!load_forgives(m->entries[i].name, known, version))
			c->missing[c->nmissing++] = m->entries[i].name;
	}
	for (size_t i = 0; i < m->ncontainers; i++)
		if (!strmap_get(&names, m->containers[i], NULL))
			c->missing[c->nmissing++] = m->containers[i];
	strmap_release(&names);
	strmap_release(&modules);
}

void
load_check(struct load_check *c, struct plan *p, const struct model *m, bool drop_mismatched)
{
	struct plan_containers k;

	*c = (struct load_check){ .done = m->has_state_dict };
	if (!c->done)
		return;
	plan_containers(p, &k);
	c->missing = xcalloc(m->n + m->ncontainers, sizeof(*c->missing));
	c->unexpected = xcalloc(p->nentries, sizeof(*c->unexpected));
	c->mismatched = xcalloc(p->nentries, sizeof(*c->mismatched));
	check_outputs(c, p, &k, m, drop_mismatched);
	check_targets(c, p, &k, m);
	plan_containers_release(&k);
}

void
load_check_release(struct load_check *c)
{
	free(c->missing);
	free(c->unexpected);
	free(c->mismatched);
	*c = (struct load_check){ 0 };
}

static void
put_keys(struct buf *out, const char *what, const struct str *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		buf_addf(out, "%s key(s) in state_dict: \"%.*s\".\n", what, STR_ARG(names[i]));
}

static void
put_size(struct buf *out, const uint64_t *shape, unsigned ndim)
{
	buf_adds(out, "torch.Size([");
	for (unsigned i = 0; i < ndim; i++) {
		buf_adds(out, i == 0 ? "" : ", ");
		buf_u64(out, shape[i]);
	}
	buf_adds(out, "])");
}

void
load_check_words(const struct load_check *c, const struct plan *p, struct buf *out)
{
	uint64_t shape[TENSOR_NDIM_MAX];
	const struct plan_entry *en;
	enum dtype dtype;
	unsigned ndim;

	put_keys(out, "Missing", c->missing, c->nmissing);
	put_keys(out, "Unexpected", c->unexpected, c->nunexpected);
	for (size_t i = 0; i < c->nmismatched; i++) {
		en = &p->entries[c->mismatched[i].entry];
		plan_shape(p, en, &dtype, shape, &ndim);
		buf_addf(out, "size mismatch for %.*s: copying a param with shape ",
			 STR_ARG(c->mismatched[i].target->name));
		put_size(out, shape, ndim);
		buf_adds(out, " from checkpoint, the shape in current model is ");
		put_size(out, c->mismatched[i].target->shape, c->mismatched[i].target->ndim);
		buf_adds(out, ".\n");
	}
}
