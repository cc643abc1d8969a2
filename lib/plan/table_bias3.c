/* bias3: [heads, 2h-1, 2w-1], as in MaxViT. */
#include "plan/tables_priv.h"

/* Sets *grid to the grid in tokens. Returns false if the sides cannot be those of a table. */
static bool
grid_of(const uint64_t *shape, struct grid *grid)
{
	if (shape[1] % 2 == 0 || shape[2] % 2 == 0 || shape[1] >= 2 * GRID_MAX || shape[2] >= 2 * GRID_MAX)
		return false;
	*grid = (struct grid){ (uint32_t)(shape[1] + 1) / 2, (uint32_t)(shape[2] + 1) / 2 };
	return true;
}

static int
plan(struct tables *t, struct table_case *c, struct err *err)
{
	const uint64_t *shape = c->tensor->shape;
	const bool listed = tables_target_fits(c, 6);
	struct make_sheet *s = make_sheet(&t->p->arena);

	if (c->tensor->ndim != 3 || !grid_of(shape, &s->from) || (listed && !grid_of(c->target->shape, &s->to)))
		return tables_misfit(t, c, "[heads, 2h-1, 2w-1] was expected", err);
	if (!listed && t->o->grid == NULL)
		return tables_leave(t, c, "its new size is unknown; --grid HxW or a description sets it");
	if (!listed)
		s->to = *t->o->grid;
	s->job = (struct sheet_job){ .outer = shape[0],
				     .inner = 1,
				     .from = { shape[1], shape[2] },
				     .to = { 2 * (size_t)s->to.h - 1, 2 * (size_t)s->to.w - 1 } };
	s->shape[0] = shape[0];
	s->shape[1] = s->job.to.h;
	s->shape[2] = s->job.to.w;
	return tables_sheet(t, c, s, err);
}

const struct table_kind table_kind_bias3 = { plan };
