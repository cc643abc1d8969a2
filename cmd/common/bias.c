#include "common/bias.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/tool.h"

int
bias_apply(struct bias_options *o, int id, const char *arg, struct err *e)
{
	switch (id) {
	case BIAS_IMG_SIZE: return option_u64("--img-size", arg, 1, 1 << 20, &o->img_size, e);
	case BIAS_GRID: o->has_grid = true; return grid_parse(str_c(arg), &o->grid, e);
	case BIAS_FROM_GRID: o->has_from_grid = true; return grid_parse(str_c(arg), &o->from_grid, e);
	case BIAS_STAGE: return stages_add(&o->stages, str_c(arg), e);
	case BIAS_LAYOUT: return layout_parse(str_c(arg), &o->layout, e);
	case BIAS_TO_LAYOUT: return layout_parse(str_c(arg), &o->to, e);
	case BIAS_METHOD: o->method = arg; return 0;
	case BIAS_ALIGN_CORNERS: o->align_corners = true; return 0;
	case BIAS_ANTIALIAS: o->antialias = true; return 0;
	}
	return 0;
}

void
bias_release(struct bias_options *o)
{
	stages_release(&o->stages);
}

int
bias_settle(const struct bias_options *o, struct tables_opts *t, struct err *e)
{
	const char *method = o->method == NULL ? "bicubic" : o->method;

	if (o->img_size != 0 && o->has_grid)
		return err_set(e, ERR_USAGE, "--img-size and --grid both say the new size; give one");
	if (!resample_method_by(str_c(method), o->align_corners, o->antialias, &t->method))
		return err_set(
			e, ERR_USAGE,
			"--method %s%s%s: no such method; bicubic goes with either of --align-corners and --antialias, "
			"bilinear with --align-corners",
			method, o->align_corners ? " --align-corners" : "", o->antialias ? " --antialias" : "");
	t->img_size = (uint32_t)o->img_size;
	t->grid = o->has_grid ? &o->grid : NULL;
	t->from_grid = o->has_from_grid ? &o->from_grid : NULL;
	t->stages = &o->stages;
	t->layout = o->layout;
	t->to = o->to;
	return 0;
}

void
bias_report(const struct plan *p)
{
	const struct table_job *j;
	char from[LAYOUT_TEXT], to[LAYOUT_TEXT];

	for (size_t i = 0; i < p->ntables; i++) {
		j = &p->tables[i]->job;
		layout_print(j->from, from);
		layout_print(j->to, to);
		tool_summary(
			"%.*s: %" PRIu32 "x%" PRIu32 " -> %" PRIu32 "x%" PRIu32 " tokens, %zu heads, layout %s%s%s%s",
			STR_ARG(p->tables[i]->name), j->from_grid.h, j->from_grid.w, j->to_grid.h, j->to_grid.w,
			j->heads, from, layout_eq(j->from, j->to) ? "" : " -> ", layout_eq(j->from, j->to) ? "" : to,
			table_is_copy(j) && !p->tables[i]->deduce ? " (copied: it fits already)" : "");
	}
}

static const struct plan_entry *
resized_like(const struct plan *p, const struct tensor *t)
{
	const struct plan_entry *en;

	for (size_t i = 0; i < p->nentries; i++) {
		en = &p->entries[i];
		if (en->table != NULL && table_rows_in(&en->table->job) != table_rows_out(&en->table->job) &&
		    tensor_same_shape(t, plan_tensor(p, en)))
			return en;
	}
	return NULL;
}

void
bias_warn_rest(const struct plan *p, const struct sealed *s)
{
	const struct plan_entry *example = NULL, *en;
	unsigned n = 0;

	for (size_t i = 0; p->ntables > 0 && i < s->nrest; i++) {
		en = resized_like(p, s->rest[i]);
		n += en != NULL;
		example = en != NULL ? en : example;
	}
	if (example != NULL)
		tool_warn("%u %s outside the state dict (optimizer, EMA copy) still %s the old shape of %.*s: resuming "
			  "from the result would fail",
			  n, n == 1 ? "tensor" : "tensors", n == 1 ? "has" : "have", STR_ARG(example->name));
}
