#include "plan/cast.h"

#include "make/cast.h"
#include "tensor/boxes.h"
#include "tensor/convert.h"

/* Does t keep floating parts of another dtype than to, when it is cast or left? */
static bool
keeps_parts(const struct tensor *t, bool cast, enum dtype to)
{
	bool all = cast && boxes_count(t) == 0; /* a cast of data leaves what stands beside it */

	for (size_t i = 0; !all && t->more != NULL && i < t->more->nparts; i++) {
		const struct tensor_part *part = &t->more->parts[i];

		if (part->tensor != NULL && dtype_is_float(part->dtype) && part->dtype != to &&
		    !(cast && str_eqc(part->name, "data")))
			return true;
	}
	return false;
}

size_t
plan_cast(struct plan *p, enum dtype to)
{
	const char *by = arena_printf(&p->arena, "--dtype %s", dtype_name(to));
	struct make *m = make_cast(&p->arena, to);
	struct str kept = STR_LIT("");
	const struct plan_entry *left = NULL;
	size_t n = 0, nkept = 0, nleft = 0;

	for (size_t i = 0; i < p->nentries; i++) {
		struct plan_entry *en = &p->entries[i];
		const struct tensor *t = en->alive ? plan_tensor(p, en) : NULL;
		bool wanted = t != NULL && dtype_is_float(t->dtype) && t->dtype != to, cast;

		if (t == NULL)
			continue;
		/* one without data of its own is cast only where it is an item of the state dict itself */
		cast = wanted && convert_castable(t->dtype, to) &&
		       (boxes_count(t) > 0 ||
			(plan_source(p, en)->inside == 0 && t->more != NULL && t->more->cast != TENSOR_CAST_NOT));
		if (keeps_parts(t, cast, to)) {
			kept = nkept++ == 0 ? en->name : kept;
		} else if (wanted && !cast) {
			left = nleft++ == 0 ? en : left;
		}
		if (!cast)
			continue;
		plan_make(p, en, m, by);
		n++;
	}
	if (nleft > 0)
		diag_warn(p->diag, "%.*s%s: %s cannot be converted; left as it is", STR_ARG(left->name),
			  nleft > 1 ? " and others" : "", dtype_name(plan_tensor(p, left)->dtype));
	if (nkept > 0)
		diag_warn(p->diag, "%zu %s of parts that --dtype %s leaves as they are (%.*s)", nkept,
			  nkept == 1 ? "tensor is made" : "tensors are made", dtype_name(to), STR_ARG(kept));
	return n;
}
