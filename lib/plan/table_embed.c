/*
 * embed: one row for each token, [1, P+h*w, C] or [P+h*w, C], of which the first P belong to tokens outside the image; or one cell
 * for each token, [1, h, w, C] or [1, C, h, w].
 */
#include "plan/tables_priv.h"

#include <inttypes.h>
#include <string.h>

/* Is this a table for text, whose size may be a square number by chance? */
static bool
is_text(const struct plan *p, const struct plan_entry *en)
{
	static const char *const places[] = { "text", "text_model", "language_model" };
	struct str rest = en->name, part;

	while (str_split(&rest, '.', &part))
		if (rest.p != NULL && str_in(part, places))
			return true;
	return tables_beside_token(p, en);
}

/* Is there a square grid of at least 2x2 cells? Sets *grid to it. */
static bool
square(uint64_t cells, struct grid *grid)
{
	*grid = grid_square(cells);
	return grid->h >= 2;
}

/* Finds a number of extra rows from 0 to 2 after which the rest is a square grid. Returns false if there is none. */
static bool
prefix_by_square(uint64_t rows, uint64_t *prefix, struct grid *grid)
{
	for (*prefix = 0; *prefix <= 2 && *prefix < rows; ++*prefix)
		if (square(rows - *prefix, grid))
			return true;
	return false;
}

/* ---- the new grid */

/* Sets *grid to the grid that --grid or the image size requests. Returns false if neither is given. */
static bool
asked_grid(struct tables *t, const struct table_case *c, struct grid *grid)
{
	const struct tensor *patch = c->image->patch;

	if (t->o->grid != NULL)
		*grid = *t->o->grid;
	else if (t->o->image.h != 0 && patch != NULL)
		*grid = tables_image_grid(t, c, (struct grid){ (uint32_t)patch->shape[2], (uint32_t)patch->shape[3] });
	else
		return false;
	return true;
}

static uint64_t
cells_of(struct grid g)
{
	return (uint64_t)g.h * g.w;
}

/* ---- tables of rows */

enum { PREFIX_MAX = 16 }; /* the maximum number of rows that are assumed to belong to other tokens */

struct embed_rows {
	/* present number of rows, and the number in the description; 0: the description does not list the table */
	uint64_t rows, target;
	uint64_t prefix;
	struct grid from, to, asked;
	bool has_asked;
};

/* Checks the number of rows before the grid against the tokens of the model. Returns -1 if it cannot be right. */
static int
check_tokens(struct tables *t, const struct table_case *c, const struct embed_rows *r, struct err *err)
{
	const unsigned tokens = c->image->cls + c->image->dist;

	if (r->prefix == tokens)
		return 0;
	if (r->prefix > 0)
		return tables_refuse(t->p, c->en, err,
				     "%" PRIu64 " %s before a grid of %" PRIu32 "x%" PRIu32
				     ", but %u class and distillation tokens; --prefix-tokens N sets the number of extra rows",
				     r->prefix, r->prefix == 1 ? "row" : "rows", r->from.h, r->from.w, tokens);
	tables_remark(t, c, DIAG_NOTICE,
		      "%" PRIu32 "x%" PRIu32 " rows are all taken as the image's; the extra %s no row (--prefix-tokens N if not)",
		      r->from.h, r->from.w, tokens == 1 ? "token has" : "tokens have");
	return 0;
}

/* Determines the prefix and the present grid. Returns 1, 0 if the table is left unchanged, -1 after an error. */
static int
present_grid(struct tables *t, const struct table_case *c, struct embed_rows *r, struct err *err)
{
	static const char none[] = "its rows minus 0, 1 or 2 are not a square; give --prefix-tokens N or --from-grid HxW";
	const struct grid *known = t->o->from_grid;
	const uint64_t cells = known == NULL ? 0 : cells_of(*known);
	const uint64_t left =
		r->has_asked && r->target > 0 && r->target >= cells_of(r->asked) ? r->target - cells_of(r->asked) : UINT64_MAX;
	bool found, guessed = false;

	if (known != NULL)
		r->from = *known;
	if (t->o->prefix != NULL || left <= PREFIX_MAX) {
		r->prefix = t->o->prefix != NULL ? *t->o->prefix : left;
		found = r->prefix < r->rows &&
			(known == NULL ? square(r->rows - r->prefix, &r->from) : r->rows - r->prefix == cells);
	} else {
		guessed = true;
		r->prefix = r->rows - cells;
		found = known == NULL ? prefix_by_square(r->rows, &r->prefix, &r->from) : r->rows >= cells && r->prefix <= 2;
	}
	if (!found && (t->o->prefix != NULL || known != NULL) && !c->probe)
		return tables_refuse(t->p, c->en, err, "%" PRIu64 " rows contradict --prefix-tokens and --from-grid", r->rows);
	if (!found)
		return tables_misfit(t, c, none, err);
	return guessed && check_tokens(t, c, r, err) < 0 ? -1 : 1;
}

/* Explains why the description's rows do not form a grid after the extra rows. */
static const char *
no_new_grid(const struct embed_rows *r)
{
	uint64_t prefix;
	struct grid grid;

	if (prefix_by_square(r->target, &prefix, &grid))
		return "the description has another number of rows before its grid, for other tokens; a key map with slice "
		       "removes rows";
	return "its rows in the description minus its extra rows are not a square; --grid HxW or --img-size HxW sets the grid";
}

/* Determines the new grid, from the description's rows if it lists the table. Returns like present_grid. */
static int
new_grid(struct tables *t, const struct table_case *c, struct embed_rows *r, struct err *err)
{
	const uint64_t cells = r->target > r->prefix ? r->target - r->prefix : 0;

	if (r->target == 0 || (r->has_asked && cells_of(r->asked) == cells)) {
		r->to = r->asked;
		return 1;
	}
	if (t->o->from_grid == NULL && r->target == r->rows)
		r->to = r->from;
	else if (!square(cells, &r->to))
		return tables_misfit(t, c, no_new_grid(r), err);
	return 1;
}

static int
plan_rows(struct tables *t, struct table_case *c, struct make_sheet *s, struct err *err)
{
	const unsigned dim = c->tensor->ndim - 2u;
	const uint64_t *shape = c->tensor->shape;
	struct embed_rows r = { .rows = shape[dim] };
	int rc;

	if (tables_target_fits(c, 1u << dim))
		r.target = c->target->shape[dim];
	r.has_asked = asked_grid(t, c, &r.asked);
	if (r.target == 0 && !r.has_asked)
		return tables_leave(t, c, "its new size is unknown; --grid HxW, --img-size N or a description sets it");
	rc = present_grid(t, c, &r, err);
	if (rc > 0)
		rc = new_grid(t, c, &r, err);
	if (rc <= 0)
		return rc;
	s->from = r.from;
	s->to = r.to;
	s->job = (struct sheet_job){ .outer = 1, .prefix = r.prefix, .inner = shape[dim + 1] };
	memcpy(s->shape, shape, c->tensor->ndim * sizeof(*shape));
	s->shape[dim] = r.prefix + cells_of(r.to);
	return 1;
}

/* ---- tables of cells */

/*
 * Determines which dimension has the channels: the one that matches the patch embedding, else the one whose size is equal in the
 * description.
 */
static enum position_order
order_of(const struct table_case *c)
{
	const uint64_t *shape = c->tensor->shape, *patch = c->image->patch == NULL ? NULL : c->image->patch->shape;
	const uint64_t *target = c->target != NULL && c->target->ndim == 4 ? c->target->shape : NULL;

	if (c->order != ORDER_UNKNOWN)
		return c->order;
	if (patch != NULL && (shape[1] == patch[0]) != (shape[3] == patch[0]))
		return shape[1] == patch[0] ? ORDER_CHW : ORDER_HWC;
	if (target != NULL && (shape[1] == target[1]) != (shape[3] == target[3]))
		return shape[1] == target[1] ? ORDER_CHW : ORDER_HWC;
	return ORDER_UNKNOWN;
}

static int
plan_cells(struct tables *t, struct table_case *c, struct make_sheet *s, struct err *err)
{
	const uint64_t *shape = c->tensor->shape;
	const enum position_order order = order_of(c);
	const unsigned first = order == ORDER_CHW ? 2 : 1;

	if (shape[0] != 1)
		return tables_misfit(t, c, "[1, h, w, channels] or [1, channels, h, w] was expected", err);
	if (order == ORDER_UNKNOWN)
		return tables_refuse(t->p, c->en, err,
				     "the dimension of the channels is unknown; --match REGEX=embed:chw or =embed:hwc sets it");
	if (shape[first] < 2 || shape[first + 1] < 2 || shape[first] > GRID_MAX || shape[first + 1] > GRID_MAX)
		return tables_misfit(t, c, "a grid of 2x2 cells or more was expected", err);
	s->from = (struct grid){ (uint32_t)shape[first], (uint32_t)shape[first + 1] };
	if (tables_target_fits(c, 3u << first) && c->target->shape[first] <= GRID_MAX && c->target->shape[first + 1] <= GRID_MAX)
		s->to = (struct grid){ (uint32_t)c->target->shape[first], (uint32_t)c->target->shape[first + 1] };
	else if (!asked_grid(t, c, &s->to))
		return tables_leave(t, c, "its new size is unknown; --grid HxW, --img-size N or a description sets it");
	s->job = (struct sheet_job){ .outer = order == ORDER_CHW ? shape[1] : 1, .inner = order == ORDER_CHW ? 1 : shape[3] };
	memcpy(s->shape, shape, 4 * sizeof(*shape));
	s->shape[first] = s->to.h;
	s->shape[first + 1] = s->to.w;
	return 1;
}

/* ---- tables of rows or cells */

/* Checks the number of extra rows against what the loader of --like expects. --prefix-tokens overrides this check. */
static int
obey_like(const struct tables *t, const struct table_case *c, const struct make_sheet *s, struct err *err)
{
	struct like_rule rule;

	if (t->o->like == NULL || t->o->prefix != NULL || c->probe || !tables_method(t, c->kind, &rule) ||
	    (s->job.prefix >= rule.least && s->job.prefix <= rule.most))
		return 0;
	return tables_refuse(t->p, c->en, err,
			     "%" PRIu64 " extra %s first: the loader of %s expects others; --prefix-tokens N allows them",
			     s->job.prefix, s->job.prefix == 1 ? "row" : "rows", t->o->like->name);
}

static bool
has_target_shape(const struct table_case *c)
{
	return c->target != NULL && shape_eq(c->target->shape, c->target->ndim, c->tensor->shape, c->tensor->ndim);
}

/*
 * Sets all members of s that depend on the shape. Returns 1, 0 if the table is left unchanged, -1 after an error. A table that has
 * the description's shape already need not be understood.
 */
static int
understand(struct tables *t, struct table_case *c, struct make_sheet *s, struct err *err)
{
	const bool fits = has_target_shape(c) && t->o->from_grid == NULL, probe = c->probe;
	struct err hidden = ERR_INIT;
	int rc;

	c->probe |= fits;
	rc = (c->tensor->ndim == 4 ? plan_cells : plan_rows)(t, c, s, fits ? &hidden : err);
	c->probe = probe;
	if (!fits || rc > 0)
		return rc;
	t->tally->fit += !probe;
	return 0;
}

/* Explains why a table is not resized although its name is that of embeddings. Returns NULL if it belongs to an image. */
static const char *
not_of_image(const struct tables *t, const struct table_case *c)
{
	if (is_text(t->p, c->en))
		return "a table of text";
	if (c->image->patch == NULL && !c->named && (c->target == NULL || has_target_shape(c)))
		return "no patch embedding of an image belongs to it";
	return NULL;
}

static int
plan(struct tables *t, struct table_case *c, struct err *err)
{
	static const char shapes[] = "[1, rows, channels], [rows, channels] or [1, h, w, channels] in some order was expected";
	const char *why = not_of_image(t, c);
	struct make_sheet *s = make_sheet(&t->p->arena);
	const struct tensor *x = c->tensor;
	int rc;

	if (why != NULL)
		return tables_leave(t, c, why);
	if (c->target != NULL && c->target->ndim != x->ndim)
		return tables_leave(t, c, "the description's has another number of dimensions");
	if (x->ndim < 2 || x->ndim > 4 || (x->ndim == 3 && x->shape[0] != 1))
		return tables_misfit(t, c, shapes, err);
	rc = understand(t, c, s, err);
	if (rc <= 0 || obey_like(t, c, s, err) < 0)
		return rc <= 0 ? rc : -1;
	c->image->known = true;
	c->image->from = s->from;
	c->image->to = s->to;
	s->job.from = (struct cells){ s->from.h, s->from.w };
	s->job.to = (struct cells){ s->to.h, s->to.w };
	return c->probe ? 0 : tables_sheet(t, c, s, err);
}

const struct table_kind table_kind_embed = { plan };
