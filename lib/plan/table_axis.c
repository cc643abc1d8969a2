/* axis: [2n-1, C], one row for each offset along one axis, as in rel_pos_h and rel_pos_w of ViTDet and SAM. */
#include "plan/tables_priv.h"

static int
plan(struct tables *t, struct table_case *c, struct err *err)
{
	static const char shape_why[] = "[2n-1, channels] was expected";
	const uint64_t *shape = c->tensor->shape;
	const bool listed = tables_target_fits(c, 1), down = !str_ends(c->en->name, str_c("_w"));
	struct make_sheet *s = make_sheet(&t->p->arena);
	struct grid from, to;
	int rc;

	if (c->tensor->ndim != 2 || shape[0] % 2 == 0 || shape[0] >= 2 * GRID_MAX)
		return tables_misfit(t, c, shape_why, err);
	s->from.h = (uint32_t)(shape[0] + 1) / 2;
	from = (struct grid){ s->from.h, s->from.h };
	if (listed && (c->target->shape[0] % 2 == 0 || c->target->shape[0] >= 2 * GRID_MAX))
		return tables_misfit(t, c, shape_why, err);
	if (listed) {
		s->to.h = (uint32_t)(c->target->shape[0] + 1) / 2;
	} else {
		rc = tables_beside(t, c, from, down ? 'h' : 'w', &to, err);
		if (rc <= 0)
			return rc;
		s->to.h = down ? to.h : to.w;
	}
	s->job = (struct sheet_job){ .outer = 1, .inner = shape[1], .from = { shape[0], 1 }, .to = { 2 * (size_t)s->to.h - 1, 1 } };
	s->shape[0] = s->job.to.h;
	s->shape[1] = shape[1];
	return tables_sheet(t, c, s, err);
}

const struct table_kind table_kind_axis = { plan };
