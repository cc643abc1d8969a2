/* offsets: [heads, h*w], one number for each pair of absolute offsets, as in attention_biases of LeViT and TinyViT. */
#include "plan/tables_priv.h"

/* Sets *grid to the grid with this number of cells. It is *known if known is not NULL, else a square. */
static bool
grid_of(uint64_t cells, const struct grid *known, struct grid *grid)
{
	*grid = known != NULL ? *known : grid_square(cells);
	return grid->h > 0 && (uint64_t)grid->h * grid->w == cells;
}

static int
plan(struct tables *t, struct table_case *c, struct err *err)
{
	static const char shape_why[] = "[heads, h*w] was expected, of a square grid unless --from-grid gives another";
	const uint64_t *shape = c->tensor->shape;
	const bool listed = tables_target_fits(c, 2);
	struct make_sheet *s = make_sheet(&t->p->arena);
	int rc;

	if (c->tensor->ndim != 2 || !grid_of(shape[1], t->o->from_grid, &s->from))
		return tables_misfit(t, c, shape_why, err);
	if (listed && !grid_of(c->target->shape[1], t->o->grid, &s->to) && !grid_of(c->target->shape[1], NULL, &s->to))
		return tables_misfit(t, c, "its shape in the description fits no square grid; --grid HxW sets the grid", err);
	rc = listed ? 1 : tables_beside(t, c, s->from, 0, &s->to, err);
	if (rc <= 0)
		return rc;
	s->job = (struct sheet_job){ .outer = shape[0], .inner = 1, .from = { s->from.h, s->from.w }, .to = { s->to.h, s->to.w } };
	s->shape[0] = shape[0];
	s->shape[1] = (uint64_t)s->to.h * s->to.w;
	return tables_sheet(t, c, s, err);
}

const struct table_kind table_kind_offsets = { plan };
