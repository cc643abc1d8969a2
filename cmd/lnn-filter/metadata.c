/* --metadata: prints the names that the patterns of parameter_groups_metadata match. */
#include "filter.h"

#include <inttypes.h>

#include "model/keys.h"

struct pattern_tally {
	const struct model *model;
	uint64_t *lines;     /* number of lines by group */
	uint64_t **patterns; /* number of names by group and pattern */
};

static void
put_title(struct filter *f, const struct model_group *g)
{
	out_field(&f->out, g->category);
	if (g->key.p) {
		out_putc(&f->out, '.');
		out_field(&f->out, g->key);
	}
	out_putc(&f->out, '\t');
}

static int
metadata_line(struct filter *f, const struct operand_item *item, struct err *err)
{
	const struct pattern_tally *t = f->work;

	(void)err;
	for (size_t i = 0; i < t->model->ngroups; i++) {
		const struct model_group *g = &t->model->groups[i];
		bool any = false;

		for (size_t k = 0; k < g->patterns.n; k++) {
			bool got = str_contains(f->subject.name, g->patterns.items[k]);

			t->patterns[i][k] += got;
			any = any || got;
		}
		if (!any)
			continue;
		f->hits++;
		t->lines[i]++;
		if (f->o->quiet || f->o->count)
			continue;
		put_title(f, g);
		filter_put(f, item);
	}
	return 0;
}

/* Warns of patterns that match nothing, and then sets the status to TOOL_NO. */
static void
dead_patterns(const struct filter *f, const struct pattern_tally *t, int *status)
{
	for (size_t i = 0; i < t->model->ngroups; i++) {
		const struct model_group *g = &t->model->groups[i];

		for (size_t k = 0; k < g->patterns.n; k++) {
			const struct ynode *at = g->patterns.at->items[k];
			struct shown shown;

			if (t->patterns[i][k])
				continue;
			*status = tool_worst(*status, TOOL_NO);
			if (!f->o->quiet)
				tool_warn("%s:%u:%u: pattern '%s' of %.*s%s%.*s matches nothing", at->file, at->line, at->column,
					  keys_show(&shown, g->patterns.items[k]), STR_ARG(g->category), g->key.p ? "." : "",
					  (int)g->key.len, g->key.p ? g->key.p : "");
		}
	}
}

int
metadata_run(struct filter *f, const struct operands *operands, int *status, struct err *err)
{
	struct arena a = ARENA_INIT;
	struct pattern_tally tally = { 0 };
	int rc;

	tally.model = f->has_model ? &f->model : &f->first.model;
	if (tally.model->ngroups == 0)
		return err_set(err, ERR_USAGE, "--metadata: no description with parameter_groups_metadata is given (-m)");
	tally.lines = arena_calloc(&a, tally.model->ngroups, sizeof(*tally.lines));
	tally.patterns = arena_calloc(&a, tally.model->ngroups, sizeof(*tally.patterns));
	for (size_t i = 0; i < tally.model->ngroups; i++)
		tally.patterns[i] = arena_calloc(&a, tally.model->groups[i].patterns.n + 1, sizeof(**tally.patterns));
	rc = filter_run(f, operands, metadata_line, &tally, status, err);
	for (size_t i = 0; rc == 0 && f->o->count && !f->o->quiet && i < tally.model->ngroups; i++) {
		put_title(f, &tally.model->groups[i]);
		out_printf(&f->out, "%" PRIu64 "\n", tally.lines[i]);
	}
	if (rc == 0)
		dead_patterns(f, &tally, status);
	arena_release(&a);
	return rc;
}
