#include "common/bias.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/strmap.h"
#include "common/tool.h"

int
bias_grid(const struct option_entry *o, void *place, const char *arg, struct err *e)
{
	(void)o;
	return grid_parse(str_c(arg), place, e);
}

int
bias_layout(const struct option_entry *o, void *place, const char *arg, struct err *e)
{
	(void)o;
	return layout_parse(str_c(arg), place, e);
}

int
bias_stage(const struct option_entry *o, void *place, const char *arg, struct err *e)
{
	(void)o;
	return stages_add(place, str_c(arg), e);
}

int
bias_settle(const struct bias_options *o, struct tables_opts *t, struct err *e)
{
	const char *method = o->method == NULL ? "bicubic" : o->method;

	if (o->img_size != 0 && o->grid.h != 0)
		return err_set(e, ERR_USAGE, "--img-size and --grid both say the new size; give one");
	if (!resample_method_by(str_c(method), o->align_corners, o->antialias, &t->method))
		return err_set(
			e, ERR_USAGE,
			"--method %s%s%s: no such method; bicubic goes with either of --align-corners and --antialias, "
			"bilinear with --align-corners",
			method, o->align_corners ? " --align-corners" : "", o->antialias ? " --antialias" : "");
	t->img_size = (uint32_t)o->img_size;
	t->grid = o->grid.h != 0 ? &o->grid : NULL;
	t->from_grid = o->from_grid.h != 0 ? &o->from_grid : NULL;
	t->stages = &o->stages;
	t->layout = o->layout;
	t->to = o->to;
	return 0;
}

void
bias_report(const struct plan *p)
{
	const struct make *m;
	char text[MAKE_TEXT];

	for (size_t i = 0; i < p->ndescribed; i++) {
		m = p->described[i];
		m->kind->describe(m, text);
		tool_summary("%.*s: %s", STR_ARG(m->name), text);
	}
}

/* A shape as bytes. */
static struct str
shape_key(const uint64_t *shape, unsigned ndim)
{
	return str_n((const char *)shape, ndim * sizeof(*shape));
}

/* The shapes that tensors had whose shape is changed, each with the first entry that had it. */
static void
map_old_shapes(const struct plan *p, struct strmap *map)
{
	uint64_t shape[TENSOR_NDIM_MAX];
	const struct tensor *t;
	enum dtype dtype;
	unsigned ndim;

	for (size_t i = 0; i < p->nentries; i++) {
		if ((make_traits(&p->entries[i].make) & MAKE_ANY_NEW) == 0)
			continue;
		t = plan_tensor(p, &p->entries[i]);
		plan_shape(p, &p->entries[i], &dtype, shape, &ndim);
		if (!shape_eq(t->shape, t->ndim, shape, ndim))
			strmap_add(map, shape_key(t->shape, t->ndim), i);
	}
}

void
bias_warn_rest(const struct plan *p, const struct sealed *s)
{
	const struct plan_entry *example = NULL;
	struct strmap old = STRMAP_INIT;
	unsigned n = 0;
	uint64_t i;

	map_old_shapes(p, &old);
	for (size_t k = 0; k < s->nrest; k++) {
		if (!strmap_get(&old, shape_key(s->rest[k]->shape, s->rest[k]->ndim), &i))
			continue;
		n++;
		example = &p->entries[i];
	}
	strmap_release(&old);
	if (example != NULL)
		tool_warn("%u %s outside the state dict (optimizer, EMA copy) still %s the old shape of %.*s: resuming "
			  "from the result would fail",
			  n, n == 1 ? "tensor" : "tensors", n == 1 ? "has" : "have", STR_ARG(example->name));
}
