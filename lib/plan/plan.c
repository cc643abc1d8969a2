#include "plan/plan.h"

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

void
plan_init(struct plan *p, const struct diag *diag)
{
	*p = (struct plan){ .diag = diag };
	arena_init(&p->arena);
}

void
plan_release(struct plan *p)
{
	for (uint32_t i = 0; i < p->ninputs; i++)
		strmap_release(&p->inputs[i].marks);
	free(p->inputs);
	free(p->origins);
	free(p->entries);
	free(p->rules);
	free(p->misses);
	free(p->described);
	arena_release(&p->arena);
	plan_init(p, NULL);
}

struct plan_entry *
plan_append(struct plan *p, struct plan_entry en)
{
	*xpush(p->entries, p->nentries, p->cap_entries) = en;
	return &p->entries[p->nentries - 1];
}

/* Adds an origin and its entry. */
static struct plan_entry *
add_entry(struct plan *p, uint32_t input, const struct sd_entry *src, struct str name)
{
	const uint32_t origin = (uint32_t)p->norigins;

	*xpush(p->origins, p->norigins, p->cap_origins) = (struct plan_origin){ .input = input, .outputs = 1, .entry = src };
	return plan_append(p, (struct plan_entry){ .name = name, .origin = origin, .alive = true });
}

static void
add_modules(struct plan *p, uint32_t input, const struct statedict *sd)
{
	const struct vtree *t = sd->ckpt->tree;
	struct plan_entry *en;
	struct str path;
	uint32_t key;

	if (sd->metadata == VALUE_ABSENT)
		return;
	for (size_t i = 0; i < value_len(t, sd->metadata); i++) {
		key = value_key(t, sd->metadata, i);
		if (!value_is_text(t, key))
			continue;
		path = value_text(t, key);
		if (path.len > 0)
			path = arena_join(&p->arena, path, str_c("."));
		en = add_entry(p, input, NULL, path);
		en->module = true;
		en->meta_value = value_val(t, sd->metadata, i);
	}
}

/*
 * Adds the names of tied tensors that a safetensors file omits. In __metadata__ the omitted names are keys, and the names in the
 * file are their values. first is the origin of the first entry of sd.
 */
static void
add_ties(struct plan *p, uint32_t input, const struct statedict *sd, uint32_t first)
{
	const struct ckpt *c = sd->ckpt;
	const struct sd_entry *tied;
	struct plan_entry *en;

	for (size_t i = 0; i < c->nmeta; i++) {
		tied = statedict_find(sd, c->meta_values[i]);
		if (tied == NULL)
			continue;
		en = add_entry(p, input, NULL, c->meta_keys[i]);
		en->module = true;
		en->meta_value = VALUE_ABSENT;
		en->tied = first + (uint32_t)(tied - sd->entries);
	}
}

void
plan_add_input(struct plan *p, struct statedict *sd, const char *label)
{
	size_t cap = p->cap_inputs;
	uint32_t input = p->ninputs, first = (uint32_t)p->norigins;

	p->inputs = xgrow(p->inputs, p->ninputs, &cap, sizeof(*p->inputs));
	p->cap_inputs = (uint32_t)cap;
	p->inputs[p->ninputs++] = (struct plan_input){ .sd = sd, .label = label, .marks = STRMAP_INIT };
	if (input == 0) {
		xfit(p->origins, sd->n, p->cap_origins);
		xfit(p->entries, sd->n, p->cap_entries);
	}
	for (size_t i = 0; i < sd->n; i++)
		add_entry(p, input, &sd->entries[i], sd->entries[i].name);
	add_modules(p, input, sd);
	add_ties(p, input, sd, first);
}

struct plan_rule *
plan_rule_new(struct plan *p, struct str literal, const char *fmt, ...)
{
	struct plan_rule *r = arena_calloc(&p->arena, 1, sizeof(*r));
	va_list ap;

	va_start(ap, fmt);
	r->text = arena_vprintf(&p->arena, fmt, ap);
	va_end(ap);
	r->literal = arena_str(&p->arena, literal);
	p->rules = xgrow(p->rules, p->nrules, &p->cap_rules, sizeof(struct plan_rule *));
	p->rules[p->nrules++] = r;
	return r;
}

void
plan_note(struct plan *p, const struct plan_entry *en, enum plan_action action, const struct make_kind *made, const char *by)
{
	struct plan_origin *o = &p->origins[en->origin];
	struct plan_act *act;

	if (o->last != NULL && o->last->action == action && o->last->made == made && o->last->by == by)
		return;
	act = arena_alloc(&p->arena, sizeof(*act));
	*act = (struct plan_act){ .action = action, .made = made, .by = by };
	if (o->last == NULL)
		o->acts = act;
	else
		o->last->next = act;
	o->last = act;
}

/* Removes the notes about makers of a kind. */
static void
unnote(struct plan *p, const struct plan_entry *en, const struct make_kind *kind)
{
	struct plan_origin *o = &p->origins[en->origin];
	struct plan_act **at = &o->acts;

	o->last = NULL;
	while (*at != NULL) {
		if ((*at)->action == PLAN_MADE && (*at)->made == kind) {
			*at = (*at)->next;
			continue;
		}
		o->last = *at;
		at = &(*at)->next;
	}
}

/* Copies the present dtype and shape of an entry. */
static const struct tensor *
present_result(struct plan *p, const struct plan_entry *en, const struct tensor *t)
{
	struct tensor *result = arena_alloc(&p->arena, sizeof(*result));
	uint64_t shape[TENSOR_NDIM_MAX];
	enum dtype dtype;
	unsigned ndim;

	plan_shape(p, en, &dtype, shape, &ndim);
	*result = *t;
	result->dtype = (uint8_t)dtype;
	tensor_set_shape(result, &p->arena, shape, ndim);
	return result;
}

const struct plan_made *
plan_made(const struct plan_entry *en)
{
	static const struct plan_made copied;

	return en->module || en->made == NULL ? &copied : en->made;
}

void
plan_make(struct plan *p, struct plan_entry *en, struct make *m, const char *by)
{
	struct plan_made *made = arena_alloc(&p->arena, sizeof(*made));
	const struct tensor *t = plan_tensor(p, en);

	*made = *plan_made(en);
	make_append(&made->make, &p->arena, m);
	en->made = made;
	if (t != NULL && (made->result != NULL || (m->kind->flags & MAKE_NEW) != 0))
		made->result = present_result(p, en, t);
	plan_note(p, en, PLAN_MADE, m->kind, by);
	for (unsigned i = 0; i < made->nalso && m->nmore > 0; i++)
		plan_note(p, &(struct plan_entry){ .origin = made->also[i] }, PLAN_MADE, m->kind, by);
}

void
plan_describe(struct plan *p, struct make *m)
{
	p->described = xgrow(p->described, p->ndescribed, &p->cap_described, sizeof(struct make *));
	p->described[p->ndescribed++] = m;
}

int
plan_learn(struct plan *p, const struct plan_entry *en, struct make *m, struct err *err)
{
	if (m->waits == NULL)
		return 0;
	if (m->kind->learn(m, p->inputs[m->waits->input].sd->ckpt, err) < 0)
		return -1;
	if (m->kind->idle != NULL && m->kind->idle(m))
		unnote(p, en, m->kind);
	return 0;
}

int
plan_learn_all(struct plan *p, struct err *err)
{
	for (size_t i = 0; i < p->nentries; i++) {
		const struct plan_entry *en = &p->entries[i];
		const struct make_chain *make = plan_makers(en);

		for (unsigned k = 0; en->alive && k < make->n; k++)
			if (plan_learn(p, en, make->v[k], err) < 0)
				return -1;
	}
	return 0;
}

bool
plan_misses(const struct plan *p, const struct plan_near_miss *m)
{
	return p->origins[m->origin].outputs > 0;
}

void
plan_drop(struct plan *p, struct plan_entry *en, enum plan_action action, const char *by)
{
	const struct plan_made *made = plan_made(en);

	if (!en->alive)
		return;
	plan_consume(p, en);
	plan_note(p, en, action, NULL, by);
	for (unsigned i = 0; i < made->nalso; i++) {
		p->origins[made->also[i]].outputs--;
		plan_note(p, &(struct plan_entry){ .origin = made->also[i] }, action, NULL, by);
	}
}

void
plan_consume(struct plan *p, struct plan_entry *en)
{
	en->alive = false;
	p->origins[en->origin].outputs--;
}

void
plan_rename(struct plan *p, struct plan_entry *en, struct str name, const char *by)
{
	if (str_eq(en->name, name))
		return;
	en->name = arena_str(&p->arena, name);
	plan_note(p, en, PLAN_RENAMED, NULL, by);
}

const struct sd_entry *
plan_source(const struct plan *p, const struct plan_entry *en)
{
	return p->origins[en->origin].entry;
}

const struct plan_input *
plan_input_of(const struct plan *p, const struct plan_entry *en)
{
	return &p->inputs[p->origins[en->origin].input];
}

const struct tensor *
plan_tensor(const struct plan *p, const struct plan_entry *en)
{
	const struct sd_entry *src = plan_source(p, en);

	return src == NULL ? NULL : sd_tensor(plan_input_of(p, en)->sd, src);
}

const struct tensor *
plan_result(const struct plan *p, const struct plan_entry *en)
{
	const struct tensor *result = plan_made(en)->result;

	return result != NULL ? result : plan_tensor(p, en);
}

void
plan_shape(const struct plan *p, const struct plan_entry *en, enum dtype *dtype, uint64_t *shape, unsigned *ndim)
{
	const struct tensor *t = plan_tensor(p, en);
	struct make_form form;

	*ndim = 0;
	*dtype = DTYPE_UNKNOWN;
	if (t == NULL)
		return;
	make_form_of(&form, t);
	make_shape(plan_makers(en), &form);
	*ndim = form.ndim;
	*dtype = (enum dtype)form.dtype;
	if (form.ndim > 0)
		memcpy(shape, form.shape, form.ndim * sizeof(*shape));
}

const char *
plan_file(const struct plan *p, const struct plan_entry *en)
{
	return plan_input_of(p, en)->sd->ckpt->file;
}

const char *
plan_act_name(const struct plan_act *act)
{
	static const char *const names[] = {
		[PLAN_KEPT] = "kept",
		[PLAN_RENAMED] = "renamed",
		[PLAN_DROPPED] = "dropped",
		[PLAN_SKIPPED] = "skipped",
	};

	return act->action == PLAN_MADE ? act->made->action : names[act->action];
}

/* ---- names */

static int
collision(const struct plan *p, const struct plan_entry *a, const struct plan_entry *b, struct err *err)
{
	struct str na = plan_source(p, a)->name, nb = plan_source(p, b)->name;

	return err_set(err, ERR_INPUT, "%s: %.*s and %s%s%.*s would both be written as %.*s", plan_file(p, a), STR_ARG(na),
		       plan_input_of(p, a) == plan_input_of(p, b) ? "" : plan_file(p, b),
		       plan_input_of(p, a) == plan_input_of(p, b) ? "" : ": ", STR_ARG(nb),
		       STR_ARG(a->name.len > 0 ? a->name : str_c("'' (the empty name)")));
}

struct plan_entry *
plan_next(const struct plan *p, const struct plan_entry *en)
{
	for (size_t i = en == NULL ? 0 : (size_t)(en - p->entries) + 1; i < p->nentries; i++)
		if (p->entries[i].alive && !p->entries[i].module)
			return &p->entries[i];
	return NULL;
}

int
plan_map_names(const struct plan *p, struct strmap *names, struct err *err)
{
	uint64_t other;

	for (size_t i = 0; i < p->nentries; i++) {
		const struct plan_entry *en = &p->entries[i];

		if (en->alive && !en->module && !strmap_add(names, en->name, i) && strmap_get(names, en->name, &other))
			return collision(p, &p->entries[other], en, err);
	}
	return 0;
}
