#include "plan/report.h"

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "text/json_write.h"

/* The living entries of each origin. Those of origin o are entries[begin[o]] up to entries[begin[o + 1]]. */
struct families {
	size_t *entries, *begin;
};

static void
families_init(struct families *f, const struct plan *p)
{
	size_t n = 0;

	/* Counts are kept two places ahead: placing the entries then moves each begin to its final value. */
	f->begin = xcalloc(p->norigins + 2, sizeof(*f->begin));
	for (size_t i = 0; i < p->nentries; i++) {
		const struct plan_entry *en = &p->entries[i];

		for (unsigned k = 0; en->alive && k <= plan_made(en)->nalso; k++, n++)
			f->begin[(k == 0 ? en->origin : plan_made(en)->also[k - 1]) + 2]++;
	}
	f->entries = xreallocn(NULL, n, sizeof(*f->entries));
	for (size_t o = 2; o < p->norigins + 2; o++)
		f->begin[o] += f->begin[o - 1];
	for (size_t i = 0; i < p->nentries; i++) {
		const struct plan_entry *en = &p->entries[i];

		for (unsigned k = 0; en->alive && k <= plan_made(en)->nalso; k++)
			f->entries[f->begin[(k == 0 ? en->origin : plan_made(en)->also[k - 1]) + 1]++] = i;
	}
}

/* Is a new tensor counted as made, not as resampled? Makers with a section resample. */
static bool
is_made(const struct plan_entry *en)
{
	for (unsigned i = 0; i < plan_makers(en)->n; i++)
		if (plan_makers(en)->v[i]->kind->section != NULL)
			return false;
	return true;
}

void
plan_count(const struct plan *p, struct report_counts *n)
{
	bool made;

	*n = (struct report_counts){ 0 };
	for (const struct plan_entry *en = plan_next(p, NULL); en != NULL; en = plan_next(p, en)) {
		made = (make_traits(plan_makers(en)) & MAKE_ANY_EFFECT) != 0;
		n->made += made && is_made(en);
		n->resampled += made && !is_made(en);
		n->others += plan_source(p, en)->kind == SD_OTHER;
		n->kept += !made && plan_source(p, en)->kind != SD_OTHER;
	}
	for (size_t i = 0; i < p->norigins; i++)
		if (p->origins[i].entry != NULL && p->origins[i].outputs == 0 && p->origins[i].entry->kind != SD_OTHER)
			n->dropped++;
}

static void
put_action(struct json_writer *w, const char *action, const char *by)
{
	json_begin_inline_object(w);
	json_put_cstr(json_key(w, "action"), action);
	json_put_cstr(json_key(w, "by"), by);
	json_end_object(w);
}

static void
put_input(struct json_writer *w, const struct plan *p, const struct plan_origin *o, const struct families *f)
{
	size_t origin = (size_t)(o - p->origins), i;

	json_begin_object(w);
	json_put_cstr(json_key(w, "file"), p->inputs[o->input].sd->ckpt->file);
	json_put_str(json_key(w, "name"), o->entry->name);
	json_begin_array(json_key(w, "actions"));
	if (o->acts == NULL)
		put_action(w, plan_act_name(&(struct plan_act){ .action = PLAN_KEPT }), NULL);
	for (const struct plan_act *a = o->acts; a != NULL; a = a->next)
		put_action(w, plan_act_name(a), a->by);
	json_end_array(w);
	json_begin_inline_array(json_key(w, "outputs"));
	for (i = f->begin[origin]; i < f->begin[origin + 1]; i++)
		json_put_str(w, p->entries[f->entries[i]].name);
	json_end_array(w);
	json_end_object(w);
}

/* dtype and shape are null if the output is no plain tensor. */
static void
put_output(struct json_writer *w, const struct plan *p, const struct plan_entry *en)
{
	uint64_t shape[TENSOR_NDIM_MAX];
	enum dtype dtype;
	unsigned ndim;

	plan_shape(p, en, &dtype, shape, &ndim);
	json_begin_object(w);
	json_put_str(json_key(w, "name"), en->name);
	json_put_cstr(json_key(w, "dtype"), dtype == DTYPE_UNKNOWN ? NULL : dtype_name(dtype));
	json_key(w, "shape");
	if (dtype == DTYPE_UNKNOWN)
		json_put_null(w);
	else
		json_put_sizes(w, shape, ndim);
	json_begin_inline_array(json_key(w, "from"));
	json_put_str(w, plan_source(p, en)->name);
	for (unsigned i = 0; i < plan_made(en)->nalso; i++)
		json_put_str(w, p->origins[plan_made(en)->also[i]].entry->name);
	json_end_array(w);
	json_end_object(w);
}

/* Does the kind belong to this section? Several kinds may share a section. */
static bool
has_section(const struct make_kind *kind, const char *section)
{
	return kind->section != NULL && strcmp(kind->section, section) == 0;
}

static bool
is_first_of_section(const struct make_kind *const *kind)
{
	const struct make_kind *const *other = make_kinds;

	while (!has_section(*other, (*kind)->section))
		other++;
	return other == kind;
}

/* Writes one list for each section, with its makers in the order of the edits. */
static void
put_makers(struct json_writer *w, const struct plan *p)
{
	for (const struct make_kind *const *kind = make_kinds; *kind != NULL; kind++) {
		if ((*kind)->section == NULL || !is_first_of_section(kind))
			continue;
		json_begin_array(json_key(w, (*kind)->section));
		for (size_t i = 0; i < p->ndescribed; i++) {
			const struct make *m = p->described[i];

			if (!has_section(m->kind, (*kind)->section))
				continue;
			json_begin_object(w);
			m->kind->report(m, w);
			json_end_object(w);
		}
		json_end_array(w);
	}
}

static void
put_names(struct json_writer *w, const char *key, const struct str *names, size_t n)
{
	json_begin_array(json_key(w, key));
	for (size_t i = 0; i < n; i++)
		json_put_str(w, names[i]);
	json_end_array(w);
}

static void
put_load(struct json_writer *w, const struct plan *p, const struct load_check *c)
{
	uint64_t shape[TENSOR_NDIM_MAX];
	const struct plan_entry *en;
	enum dtype dtype;
	unsigned ndim;

	json_key(w, "load");
	if (c == NULL || !c->done) {
		json_put_null(w);
		return;
	}
	json_begin_object(w);
	put_names(w, "missing_keys", c->missing, c->nmissing);
	put_names(w, "unexpected_keys", c->unexpected, c->nunexpected);
	json_begin_array(json_key(w, "mismatched"));
	for (size_t i = 0; i < c->nmismatched; i++) {
		en = &p->entries[c->mismatched[i].entry];
		plan_shape(p, en, &dtype, shape, &ndim);
		json_begin_object(w);
		json_put_str(json_key(w, "name"), c->mismatched[i].target->name);
		json_put_sizes(json_key(w, "checkpoint_shape"), shape, ndim);
		json_put_sizes(json_key(w, "model_shape"), c->mismatched[i].target->shape, c->mismatched[i].target->ndim);
		json_end_object(w);
	}
	json_end_array(w);
	json_end_object(w);
}

static void
put_unused(struct json_writer *w, const struct plan *p)
{
	json_begin_array(json_key(w, "unused_rules"));
	for (size_t i = 0; i < p->nrules; i++) {
		if (p->rules[i]->matched > 0)
			continue;
		json_begin_object(w);
		json_put_cstr(json_key(w, "rule"), p->rules[i]->text);
		put_names(w, "nearest", p->rules[i]->nearest, p->rules[i]->nnearest);
		json_end_object(w);
	}
	json_end_array(w);
}

static void
put_misses(struct json_writer *w, const struct plan *p)
{
	json_begin_array(json_key(w, "near_misses"));
	for (size_t i = 0; i < p->nmisses; i++) {
		if (!plan_misses(p, &p->misses[i]))
			continue;
		json_begin_inline_object(w);
		json_put_cstr(json_key(w, "pattern"), p->misses[i].pattern);
		json_put_str(json_key(w, "name"), p->misses[i].name);
		json_end_object(w);
	}
	json_end_array(w);
}

void
plan_report(const struct plan *p, const struct load_check *load, struct buf *out)
{
	struct json_writer w;
	struct families f;
	size_t i;

	json_writer_init(&w, out, true);
	families_init(&f, p);
	json_begin_object(&w);
	json_put_u64(json_key(&w, "schema"), 1);
	json_begin_array(json_key(&w, "inputs"));
	for (i = 0; i < p->norigins; i++)
		if (p->origins[i].entry != NULL)
			put_input(&w, p, &p->origins[i], &f);
	json_end_array(&w);
	json_begin_array(json_key(&w, "outputs"));
	for (const struct plan_entry *en = plan_next(p, NULL); en != NULL; en = plan_next(p, en))
		put_output(&w, p, en);
	json_end_array(&w);
	put_makers(&w, p);
	put_load(&w, p, load);
	put_unused(&w, p);
	put_misses(&w, p);
	json_end_object(&w);
	json_finish(&w);
	free(f.entries);
	free(f.begin);
}
