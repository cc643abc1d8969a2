/*
 * --against: what load_state_dict would say, and whether dtypes and values are those of another checkpoint.
 */
#include "against.h"
#include "rows.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "base/xalloc.h"
#include "common/file.h"
#include "common/models.h"
#include "common/progress.h"
#include "format/format.h"
#include "modes.h"
#include "plan/loadcheck.h"

/* ---- the other side */

/* Opens the target as a checkpoint if it is one; else it is the description. */
static int
open_other(struct against *a, const char *name, struct err *e)
{
	struct source *src;
	const uint8_t *head;
	size_t n;

	if (file_input(name, FILE_BINARY, &src, e) < 0)
		return -1;
	if (source_look(src, 0, SOURCE_LOOK_MAX, &head, &n, e) < 0) {
		source_close(src);
		return -1;
	}
	a->is_ckpt = format_is_no_text(head, n < FORMAT_PROBE ? n : FORMAT_PROBE) ||
		     (n > 0 && head[0] == '{' && str_contains(str_n((const char *)head, n), str_c("\"weight_map\"")));
	if (a->is_ckpt)
		return input_open_source(&a->other, src, NULL, e);
	return models_load_source(&a->model, src, e);
}

static int
open_target(struct against *a, struct err *e)
{
	const struct strs *names = &a->j->in->o->against;

	a->target = names->v[0];
	if (names->n > 1 || models_knows(names->v[0])) {
		if (models_load(&a->model, names->v, names->n, e) < 0)
			return -1;
	} else if (open_other(a, names->v[0], e) < 0)
		return -1;
	if (a->is_ckpt)
		model_load_statedict(&a->model, &a->other.sd);
	if (!a->model.has_state_dict)
		return err_input(e, a->target, "the description lists no state dict: there is nothing to compare with");
	if (a->j->in->o->values && !a->is_ckpt)
		return err_set(e, ERR_USAGE, "--values: a checkpoint is needed to compare with, %s is a description", a->target);
	if (a->j->in->o->values && source_is_stream(a->other.src))
		return err_set(e, ERR_USAGE, "--values: %s must be a file, not a stream", a->target);
	return 0;
}

/* ---- names */

static struct str
strip(const struct options *o, struct str name)
{
	bool again = true;

	while (again) {
		again = false;
		for (size_t i = 0; i < o->strip.n; i++) {
			struct str p = str_c(o->strip.v[i]);

			if (p.len > 0 && str_starts(name, p)) {
				name = str_from(name, p.len);
				again = true;
			}
		}
	}
	return name;
}

static int
map_names(struct against *a, struct err *e)
{
	const struct statedict *sd = &a->j->input.sd;
	bool yes;

	a->names = xcalloc(sd->n + 1, sizeof(*a->names));
	for (size_t i = 0; i < sd->n; i++) {
		struct str name = strip(a->j->in->o, sd->entries[i].name);

		if (rows_chosen(a->j->in, name, &yes, e) < 0)
			return -1;
		if (!yes)
			continue;
		a->names[i] = name;
		if (!strmap_add(&a->ours, name, i))
			return err_input(e, a->j->file, "%.*s: two tensors have this name once the prefix is off", STR_ARG(name));
	}
	return 0;
}

/* "bn1." to what _metadata says of module bn1. */
static void
map_modules(struct against *a)
{
	const struct statedict *sd = &a->j->input.sd;
	const struct vtree *t = sd->ckpt->tree;
	struct buf b = BUF_INIT;

	for (size_t i = 0; sd->metadata != VALUE_ABSENT && i < value_len(t, sd->metadata); i++) {
		uint32_t key = value_key(t, sd->metadata, i);

		if (!value_is_text(t, key))
			continue;
		buf_clear(&b);
		buf_addstr(&b, value_text(t, key));
		if (b.len > 0)
			buf_addc(&b, '.');
		(void)strmap_add(&a->modules, strip(a->j->in->o, arena_str(&a->arena, buf_str(&b))), value_val(t, sd->metadata, i));
	}
	buf_release(&b);
}

static bool
forgiven(const struct against *a, struct str name)
{
	const struct vtree *t = a->j->input.ckpt->tree;
	const struct str tracked = STR_LIT("num_batches_tracked");
	uint64_t module;
	uint32_t h = VALUE_ABSENT;

	if (!str_ends(name, tracked))
		return false;
	if (strmap_get(&a->modules, str_n(name.p, name.len - tracked.len), &module))
		h = value_get(t, (uint32_t)module, str_c("version"));
	if (h == VALUE_ABSENT || value_kind(t, h) != VALUE_INT)
		return load_forgives(name, false, 0);
	return load_forgives(name, true, value_int(t, h));
}

/* ---- comparing */

static struct finding *
add(struct against *a, enum differing what, struct str name)
{
	a->v = xgrow(a->v, a->n, &a->cap, sizeof(*a->v));
	a->v[a->n] = (struct finding){ .what = what, .name = name };
	a->counts[what]++;
	return &a->v[a->n++];
}

static int
find_missing(struct against *a, struct err *e)
{
	bool yes;

	for (size_t i = 0; i < a->model.n; i++) {
		const struct entry *target = &a->model.entries[i];

		if (strmap_get(&a->ours, target->name, NULL) || forgiven(a, target->name))
			continue;
		if (rows_chosen(a->j->in, target->name, &yes, e) < 0)
			return -1;
		if (yes)
			add(a, DIFF_MISSING, target->name)->theirs = target;
	}
	return 0;
}

static bool
is_other(const struct statedict *sd, struct str name)
{
	const struct sd_entry *entry = statedict_find(sd, name);

	return entry != NULL && entry->kind == SD_OTHER;
}

static void
compare_entry(struct against *a, size_t i)
{
	const struct sd_entry *entry = &a->j->input.sd.entries[i];
	const struct tensor *t = sd_tensor(&a->j->input.sd, entry);
	const struct entry *target = model_find(&a->model, a->names[i]);
	struct finding f = { .ours = t, .theirs = target };
	enum differing what;

	/* Loading finds no place for what is no tensor; but two checkpoints may both have it. */
	if (entry->kind == SD_OTHER && a->is_ckpt && is_other(&a->other.sd, a->names[i]))
		return;
	if (target == NULL || entry->kind == SD_OTHER)
		what = DIFF_UNEXPECTED;
	else if (t != NULL && target->has_shape && !load_shape_fits(t->shape, t->ndim, target->shape, target->ndim))
		what = DIFF_MISMATCHED;
	else if (t != NULL && a->is_ckpt && target->dtype != DTYPE_UNKNOWN && t->dtype != target->dtype)
		what = DIFF_DTYPE;
	else
		what = DIFF_KINDS;
	if (what == DIFF_DTYPE || what == DIFF_KINDS)
		a->matched++;
	if (what == DIFF_KINDS)
		return;
	f.what = what;
	f.name = a->names[i];
	*add(a, what, f.name) = f;
}

static void
find_others(struct against *a)
{
	for (size_t i = 0; i < a->j->input.sd.n; i++) {
		if (a->names[i].p != NULL)
			compare_entry(a, i);
	}
}

/* ---- values */

struct pairs {
	struct compare_pair *v;
	struct str *names;
	struct difference *differences;
	size_t n;
};

/* All tensors that are on both sides with the same shape. */
static void
find_pairs(const struct against *a, struct pairs *p)
{
	const struct statedict *sd = &a->j->input.sd, *other = &a->other.sd;

	p->v = xcalloc(sd->n + 1, sizeof(*p->v));
	p->names = xcalloc(sd->n + 1, sizeof(*p->names));
	p->differences = xcalloc(sd->n + 1, sizeof(*p->differences));
	for (size_t i = 0; i < sd->n; i++) {
		struct str name = a->names[i];
		const struct sd_entry *theirs = name.p != NULL ? statedict_find(other, name) : NULL;
		const struct tensor *t = sd_tensor(sd, &sd->entries[i]), *u = theirs ? sd_tensor(other, theirs) : NULL;

		if (t == NULL || u == NULL || !tensor_same_shape(t, u))
			continue;
		p->v[p->n] = (struct compare_pair){ t, u };
		p->names[p->n++] = name;
	}
}

static int
compare_values(struct against *a, struct err *e)
{
	const struct options *o = a->j->in->o;
	struct compare_opts c = { .here = a->j->input.ckpt, .there = a->other.ckpt, .atol = o->atol, .rtol = o->rtol,
				  .nan_equal = !o->nan_differs, .tick = progress_tick };
	struct pairs p = { 0 };
	int rc;

	find_pairs(a, &p);
	c.pool = pool_new(tool_settings.jobs);
	progress_start("comparing");
	rc = compare_tensors(p.v, p.n, &c, p.differences, e);
	progress_end();
	pool_free(c.pool);
	if (rc == 0)
		rc = ckpt_finish(a->other.ckpt, e);
	for (size_t i = 0; rc == 0 && i < p.n; i++) {
		struct finding *f;

		if (p.differences[i].comparable && p.differences[i].differing == 0)
			continue;
		f = add(a, DIFF_VALUES, p.names[i]);
		f->ours = p.v[i].a;
		f->difference = p.differences[i];
	}
	free(p.v);
	free(p.names);
	free(p.differences);
	return rc;
}

int
against_run(struct job *j, struct err *e)
{
	struct against a = { .j = j };
	int rc;

	model_init(&a.model);
	rc = open_target(&a, e);
	if (rc == 0)
		rc = map_names(&a, e);
	if (rc == 0) {
		map_modules(&a);
		rc = find_missing(&a, e);
	}
	if (rc == 0)
		find_others(&a);
	if (rc == 0 && j->in->o->values)
		rc = compare_values(&a, e);
	if (rc == 0)
		rc = against_put(&a, e);
	if (rc == 0 && (a.n > 0 || (a.matched == 0 && j->in->o->exprs.n > 0)))
		j->in->status = tool_worst(j->in->status, TOOL_NO);
	free(a.v);
	free(a.names);
	strmap_release(&a.ours);
	strmap_release(&a.modules);
	arena_release(&a.arena);
	input_close(&a.other);
	model_release(&a.model);
	return rc;
}
