#include "plan/cast.h"

#include "tensor/convert.h"

size_t
plan_cast(struct plan *p, enum dtype to)
{
	const char *by = arena_printf(&p->arena, "--dtype %s", dtype_name(to));
	const struct tensor *t;
	struct plan_entry *en;
	size_t n = 0;

	for (size_t i = 0; i < p->nentries; i++) {
		en = &p->entries[i];
		t = en->alive ? plan_tensor(p, en) : NULL;
		if (t == NULL || !dtype_is_float(t->dtype) || t->dtype == to)
			continue;
		if (!convert_castable(t->dtype, to)) {
			diag_warn(p->diag, "%.*s: %s cannot be converted; left as it is", STR_ARG(en->name),
				  dtype_name(t->dtype));
			continue;
		}
		en->dtype = (uint8_t)to;
		plan_note(p, en, PLAN_CAST, by);
		n++;
	}
	return n;
}
