#include "model/entry.h"

#include <stddef.h>

struct entry
entry_named(struct str name)
{
	struct entry e = { .name = name, .kind = ENTRY_UNKNOWN, .requires_grad = GRAD_UNKNOWN };

	return e;
}

struct entry
entry_of_tensor(struct str name, const struct tensor *t)
{
	struct entry e = entry_named(name);

	e.dtype = t->dtype;
	e.has_shape = true;
	e.shape = t->shape;
	e.ndim = t->ndim;
	return e;
}

bool
entry_is_buffer(const struct entry *e)
{
	static const struct str ends[] = {
		STR_LIT("running_mean"),
		STR_LIT("running_var"),
		STR_LIT("num_batches_tracked"),
		STR_LIT("relative_position_index"),
	};
	enum dtype_class class = dtype_info(e->dtype)->class;

	if (e->kind != ENTRY_UNKNOWN)
		return e->kind == ENTRY_BUFFER;
	if (class == DTYPE_CLASS_INT || class == DTYPE_CLASS_BOOL)
		return true;
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		if (str_ends(e->name, ends[i]))
			return true;
	return false;
}
