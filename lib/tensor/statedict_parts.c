#include "tensor/statedict_walk.h"

#include <stdio.h>

static int
add_part(struct walk *w, struct str name, const char *part, uint32_t tensor, uint32_t value)
{
	struct buf b = BUF_INIT;
	struct str s;

	buf_addstr(&b, name);
	buf_addc(&b, '.');
	buf_adds(&b, part);
	s = arena_str(&w->sd->arena, buf_str(&b));
	w->text += s.len;
	buf_release(&b);
	return walk_add(w, s, SD_PART, tensor, value);
}

/* What the parts of a call are called: by function (and layout), in the order in which its arguments have them. */
static const char *const coo_parts[] = { "indices", "values" };
static const char *const csr_parts[] = { "crow_indices", "col_indices", "values" };
static const char *const csc_parts[] = { "ccol_indices", "row_indices", "values" };
static const char *const nested_parts[] = { "buffer", "sizes", "strides", "offsets" };
static const char *const channel_parts[] = { "scales", "zero_points" };

static bool
mentions(const struct vtree *t, uint32_t h, const char *text, unsigned depth)
{
	const struct vobject *o;
	size_t i;

	if (value_is_text(t, h))
		return str_eqc(value_text(t, h), text);
	if (depth == 0)
		return false;
	if (value_kind(t, h) == VALUE_TUPLE) {
		for (i = 0; i < value_len(t, h) && i < 4; i++) {
			if (mentions(t, value_item(t, h, i), text, depth - 1))
				return true;
		}
	}
	if (value_kind(t, h) == VALUE_OBJECT) {
		o = value_object(t, h);
		return mentions(t, o->args, text, depth - 1);
	}
	return false;
}

static void
part_names(const struct vtree *t, uint32_t call, const char *const **names, size_t *n)
{
	const struct vobject *o = value_object(t, call);
	struct str name = value_kind(t, o->callable) == VALUE_GLOBAL ? value_name(t, o->callable) : str_c("");

	*names = coo_parts;
	*n = 0;
	if (str_eqc(name, "_rebuild_sparse_tensor") || str_eqc(name, "_rebuild_sparse_csr_tensor")) {
		*n = 3;
		if (mentions(t, o->args, "torch.sparse_coo", 4))
			*n = 2;
		else if (mentions(t, o->args, "torch.sparse_csc", 4) || mentions(t, o->args, "torch.sparse_bsc", 4))
			*names = csc_parts;
		else
			*names = csr_parts;
	} else if (str_eqc(name, "_rebuild_nested_tensor")) {
		*names = nested_parts;
		*n = 4;
	} else if (str_eqc(name, "_rebuild_qtensor")) {
		*names = channel_parts;
		*n = 2;
	}
}

struct parts {
	struct str name;
	const char *const *names;
	size_t nnames, count;
	uint32_t visits; /* bounded: lists may be reached on many paths */
};

static int
walk_parts(struct walk *w, struct parts *p, uint32_t h, unsigned depth)
{
	const struct vobject *o;
	uint32_t index;
	size_t i;
	char number[24];

	if (depth == 0 || h == VALUE_ABSENT || p->visits++ > w->tree.nodes)
		return 0;
	if (tree_is_tensor(w->tree.t, h, &index)) {
		snprintf(number, sizeof(number), "part%zu", p->count);
		return add_part(w, p->name, p->count < p->nnames ? p->names[p->count++] : (p->count++, number), index, h);
	}
	switch (value_kind(w->tree.t, h)) {
	case VALUE_DICT:
	case VALUE_LIST:
	case VALUE_TUPLE:
		for (i = 0; i < value_len(w->tree.t, h); i++) {
			if (walk_parts(w, p, tree_child(w->tree.t, h, i), depth - 1) < 0)
				return -1;
		}
		return 0;
	case VALUE_OBJECT:
		o = value_object(w->tree.t, h);
		return walk_parts(w, p, o->args, depth - 1) < 0 ? -1 : walk_parts(w, p, o->state, depth - 1);
	default:
		return 0;
	}
}

/* The tensors inside a call, to this depth of tuples and dicts. */
enum { PART_DEPTH = 8 };

int
walk_add_parts(struct walk *w, struct str name, uint32_t call)
{
	struct parts p = { .name = name };

	if (call == VALUE_ABSENT || value_kind(w->tree.t, call) != VALUE_OBJECT)
		return 0;
	part_names(w->tree.t, call, &p.names, &p.nnames);
	return walk_parts(w, &p, call, PART_DEPTH);
}
