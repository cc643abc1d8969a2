#include "plan/fit.h"

#include "make/input_layer.h"
#include "make/view.h"
#include "plan/loadcheck.h"
#include "position/kind.h"
#include "tensor/boxes.h"

/* Are the shapes equal except for sizes of 1? */
static bool
is_reshape(const struct make_form *form, const struct entry *target)
{
	unsigned i = 0, k = 0;

	for (;; i++, k++) {
		while (i < form->ndim && form->shape[i] == 1)
			i++;
		while (k < target->ndim && target->shape[k] == 1)
			k++;
		if (i == form->ndim || k == target->ndim)
			return i == form->ndim && k == target->ndim;
		if (form->shape[i] != target->shape[k])
			return false;
	}
}

/*
 * Is target an input layer: a patch embedding by its name, or else the model's first convolution? The last name in position_patches
 * is not used, because it also occurs elsewhere.
 */
static bool
is_input_layer(const struct model *m, const struct entry *target)
{
	for (size_t i = 0; i + 1 < POSITION_PATCHES; i++)
		if (str_ends(target->name, str_c(position_patches[i])))
			return true;
	for (size_t i = 0; i < m->n; i++)
		if (m->entries[i].has_shape && m->entries[i].ndim == 4 && str_ends(m->entries[i].name, str_c(".weight")))
			return &m->entries[i] == target;
	return false;
}

static void
form_of(const struct plan *p, const struct plan_entry *en, struct make_form *form)
{
	enum dtype dtype;
	unsigned ndim;

	plan_shape(p, en, &dtype, form->shape, &ndim);
	form->dtype = (uint8_t)dtype;
	form->ndim = (uint8_t)ndim;
}

enum fit
fit_way(const struct plan *p, const struct plan_entry *en, const struct model *m, const struct entry *target)
{
	const struct tensor *t = plan_tensor(p, en);
	enum position_kind kind;
	struct make_form form;

	if (t == NULL || boxes_count(t) == 0 || dtype_size((enum dtype)t->dtype) == 0)
		return FIT_NOT;
	form_of(p, en, &form);
	if (is_reshape(&form, target))
		return FIT_RESHAPE;
	if (form.ndim == 4 && target->ndim == 4 && form.shape[0] == target->shape[0] && dtype_is_float((enum dtype)t->dtype) &&
	    is_input_layer(m, target))
		return FIT_LAYER;
	return form.ndim == target->ndim && position_kind_of(en->name, form.ndim, &kind) &&
			       position_can_resize(kind, form.shape, target->shape, form.ndim)
		       ? FIT_TABLE
		       : FIT_NOT;
}

static void
reshape(struct plan *p, struct plan_entry *en, const struct make_form *form, const struct entry *target)
{
	struct view v;

	view_all(&v, form);
	view_set_shape(&v, target->shape, target->ndim);
	plan_make(p, en, make_view(&p->arena, &v), "--fit: reshape");
}

static void
fit_layer(struct plan *p, struct plan_entry *en, struct make_form *form, const struct entry *target)
{
	struct err why = ERR_INIT;

	for (unsigned d = 1; d < 4; d++) {
		bool thirds = target->shape[1] * 3 == form->shape[1];
		struct make *m;

		if (form->shape[d] == target->shape[d])
			continue;
		m = d == 1 ? make_channels(&p->arena, form, target->shape[d], thirds, &why)
			   : make_patch(&p->arena, form, d, target->shape[d], &why);
		if (m == NULL) {
			diag_warn(p->diag, "%.*s: --fit: %s", STR_ARG(en->name), why.msg);
			return;
		}
		plan_make(p, en, m, "--fit: input layer");
		form_of(p, en, form);
	}
}

void
plan_fit(struct plan *p, const struct model *m)
{
	for (struct plan_entry *en = plan_next(p, NULL); en != NULL; en = plan_next(p, en)) {
		const struct entry *target = model_find(m, en->name);
		struct make_form form;
		enum fit way;

		if (target == NULL || target->inside || !target->has_shape)
			continue;
		form_of(p, en, &form);
		if (load_shape_fits(form.shape, form.ndim, target->shape, target->ndim))
			continue;
		way = fit_way(p, en, m, target);
		if (way == FIT_RESHAPE)
			reshape(p, en, &form, target);
		else if (way == FIT_LAYER)
			fit_layer(p, en, &form, target);
	}
}
