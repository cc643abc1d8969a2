/*
 * --suggest-map: prints a key map from the names of the checkpoint to those of another model.
 */
#include <stdlib.h>

#include "base/xalloc.h"
#include "plan/keymap.h"
#include "plan/prefix.h"
#include "plan/suggest.h"
#include "report.h"

struct suggestion {
	struct job *j;
	struct model model;
	struct input other;
	struct entry *source; /* entries of the selected rows */
	size_t n;
	struct arena arena; /* digests */
	struct suggest made;
	struct plan plan; /* the plan whose names a key map of lnn-ckpt-adapt would see: without wrappers */
	bool planned, begun;
};

/* Returns the names of the state dict's entries as a key map sees them. */
static struct str *
map_names(struct suggestion *s)
{
	const struct statedict *sd = &s->j->input.sd;
	struct str *names = xcalloc(sd->n + 1, sizeof(*names));

	plan_init(&s->plan, NULL);
	s->planned = true;
	plan_add_input(&s->plan, &s->j->input.sd, NULL);
	plan_unwrap(&s->plan, NULL);
	for (size_t i = 0; i < s->plan.nentries; i++)
		if (!s->plan.entries[i].module)
			names[plan_source(&s->plan, &s->plan.entries[i]) - sd->entries] = s->plan.entries[i].name;
	return names;
}

static int
prepare(void *state, struct job *j, struct err *err)
{
	struct suggestion *s = state;
	const struct rows *rows = &j->rows;
	struct str *names;

	s->j = j;
	model_init(&s->model);
	if (job_open_target(j, &s->model, &s->other, err) < 0)
		return -1;
	names = map_names(s);
	s->source = xcalloc(rows->n + 1, sizeof(*s->source));
	j->data.hashed = j->in->o->values ? xcalloc(rows->n + 1, sizeof(const struct tensor *)) : NULL;
	for (; s->n < rows->n; s->n++) {
		s->source[s->n] = entry_of_tensor(names[rows->v[s->n].entry], rows->v[s->n].t);
		if (j->in->o->values)
			j->data.hashed[j->data.nhashed++] = rows->v[s->n].t;
	}
	free(names);
	return 0;
}

static void
set_digest(struct suggestion *s, struct entry *e, const struct digest *d)
{
	struct buf hex = BUF_INIT;

	digest_put(&hex, d);
	if (d->known)
		e->sha256 = arena_str(&s->arena, buf_str(&hex));
	buf_release(&hex);
}

/* Computes the digests of both sides. */
static int
hash(struct suggestion *s, struct err *err)
{
	const struct statedict *sd = &s->other.sd;
	const struct tensor **tensors = xcalloc(sd->n + 1, sizeof(const struct tensor *));
	struct entry **entries = xcalloc(sd->n + 1, sizeof(struct entry *));
	struct figures f = { 0 };
	uint64_t at;
	size_t n = 0;
	int rc;

	for (size_t i = 0; i < sd->n; i++)
		if (sd_tensor(sd, &sd->entries[i]) != NULL && strmap_get(&s->model.by_name, sd->entries[i].name, &at)) {
			entries[n] = &s->model.entries[at];
			tensors[n++] = sd_tensor(sd, &sd->entries[i]);
		}
	rc = job_hash(s->j, &s->other, tensors, n, &f, err);
	for (size_t i = 0; rc == 0 && i < n; i++)
		set_digest(s, entries[i], &f.digests[i]);
	figures_release(&f);
	free(tensors);
	free(entries);
	if (rc == 0)
		rc = data_take(s->j, err);
	for (size_t i = 0; rc == 0 && i < s->n; i++)
		set_digest(s, &s->source[i], data_digest(s->j, i));
	return rc;
}

/* Checks that every entry of p has the shape that the model lists for its name. Adds the number of entries to *placed. */
static int
check_plan(const struct suggestion *s, struct plan *p, size_t *placed, struct err *err)
{
	uint64_t shape[TENSOR_NDIM_MAX];
	unsigned ndim;
	enum dtype dtype;

	for (const struct plan_entry *en = plan_next(p, NULL); en != NULL; en = plan_next(p, en)) {
		const struct entry *target = model_find(&s->model, en->name);

		if (target == NULL || plan_tensor(p, en) == NULL)
			return err_set(err, ERR_INPUT, "the suggested map makes a name that the target lacks: %.*s",
				       STR_ARG(en->name));
		plan_shape(p, en, &dtype, shape, &ndim);
		if (!shape_eq(shape, ndim, target->shape, target->ndim))
			return err_set(err, ERR_INPUT, "the suggested map makes another shape than the target's: %.*s",
				       STR_ARG(en->name));
		++*placed;
	}
	return 0;
}

/* Verifies the suggested map by applying it as lnn-ckpt-adapt would. */
static int
try_map(struct suggestion *s, struct str text, size_t expected, struct err *err)
{
	const struct keymap_env env = { NULL, NULL };
	struct strmap names = STRMAP_INIT;
	struct keymap *map = NULL;
	size_t placed = 0;
	int rc = keymap_load(&map, "the suggested map", text, err);

	if (rc == 0)
		rc = keymap_apply(map, &s->plan, &env, err);
	if (rc == 0)
		rc = plan_map_names(&s->plan, &names, err);
	if (rc == 0)
		rc = check_plan(s, &s->plan, &placed, err);
	if (rc == 0 && placed != expected)
		rc = err_set(err, ERR_INPUT, "the suggested map places %zu tensors, not %zu", placed, expected);
	strmap_release(&names);
	keymap_free(map);
	return rc;
}

static int
run(void *state, struct job *j, struct err *err)
{
	struct suggestion *s = state;
	struct buf text = BUF_INIT, rest = BUF_INIT;
	size_t placed;
	int rc = j->in->o->values ? hash(s, err) : 0;

	if (rc < 0)
		return -1;
	suggest_make(&s->made, &(struct suggest_side){ s->source, s->n }, &(struct suggest_side){ s->model.entries, s->model.n });
	s->begun = true;
	placed = suggest_put(&s->made, &text, &rest);
	rc = try_map(s, buf_str(&text), placed, err);
	if (rc == 0) {
		job_begin_report(j);
		out_plain(&j->in->out, buf_str(&text));
		out_plain(&j->in->out, buf_str(&rest));
	}
	if (placed < s->model.n)
		job_status(j, TOOL_NO);
	buf_release(&text);
	buf_release(&rest);
	return rc;
}

static void
release(void *state)
{
	struct suggestion *s = state;

	if (s->begun)
		suggest_release(&s->made);
	if (s->planned)
		plan_release(&s->plan);
	free(s->source);
	arena_release(&s->arena);
	input_close(&s->other);
	model_release(&s->model);
}

const struct report report_suggest = {
	.option = OPTION_FLAG("suggest-map", 0, "--against: a key map to the target's names", suggest),
	.needs = NEEDS_INDEX | NEEDS_DICT,
	.piped = RECORD_LINES,
	.alone = true,
	.single = true,
	.size = sizeof(struct suggestion),
	.prepare = prepare,
	.run = run,
	.release = release,
};
