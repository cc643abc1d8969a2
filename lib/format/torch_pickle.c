#include "format/torch_pickle.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/xalloc.h"
#include "pickle/read.h"

int
torch_pickle_init(struct torch_pickle *p, const struct manifest *m, struct err *e)
{
	uint32_t i;

	p->m = m;
	p->untyped = xcalloc(m->nstorages, 1);
	for (i = 0; i < m->nstorages; i++)
		p->untyped[i] = m->storages[i].untyped || dtype_info((enum dtype)m->storages[i].dtype)->storage == NULL;
	for (i = 0; i < m->ntensors; i++) {
		const struct tensor *t = &m->tensors[i];
		const struct dtype_info *info = dtype_info((enum dtype)t->dtype);

		if (!info->torch)
			return err_set(e, ERR_INPUT, "torch has no dtype %s: safetensors can hold it", info->name);
		if (t->storage >= m->nstorages)
			return err_set(e, ERR_INPUT, "a tensor of the output has no data");
		if (t->dtype != m->storages[t->storage].dtype)
			p->untyped[t->storage] = 1;
	}
	return 0;
}

void
torch_pickle_release(struct torch_pickle *p)
{
	free(p->untyped);
	p->untyped = NULL;
}

/* A plain or wrapped tensor being written. */
struct writing {
	const struct torch_pickle *p;
	struct pickle_out *o;
	const struct tensor *t;
	struct err *e;
};

static void
put_storage(const struct torch_pickle *p, struct pickle_out *o, uint32_t i)
{
	const struct manifest_storage *s = &p->m->storages[i];
	const struct dtype_info *info = dtype_info((enum dtype)s->dtype);
	char key[16];
	int n = snprintf(key, sizeof(key), "%" PRIu32, i);

	pickle_op(o, OP_MARK);
	pickle_text(o, str_c("storage"));
	if (p->untyped[i])
		pickle_global(o, "torch.storage", "UntypedStorage");
	else
		pickle_global(o, "torch", info->storage);
	pickle_text_once(o, str_n(key, n > 0 ? (size_t)n : 0));
	pickle_text(o, str_c("cpu"));
	pickle_int(o, p->untyped[i] ? s->nbytes : s->nbytes / info->size);
	pickle_op(o, OP_TUPLE);
	pickle_op(o, OP_BINPERSID);
}

static void
put_ints(struct pickle_out *o, const uint64_t *v, unsigned n)
{
	static const unsigned char ops[] = { OP_EMPTY_TUPLE, OP_TUPLE1, OP_TUPLE2, OP_TUPLE3 };
	unsigned i;

	if (n > 3)
		pickle_op(o, OP_MARK);
	for (i = 0; i < n; i++)
		pickle_int(o, v[i]);
	pickle_op(o, n > 3 ? OP_TUPLE : ops[n]);
}

static void
put_bool(struct pickle_out *o, bool b)
{
	pickle_op(o, b ? OP_NEWTRUE : OP_NEWFALSE);
}

/* The empty OrderedDict that stands for hooks. */
static void
put_hooks(struct pickle_out *o)
{
	pickle_global(o, "collections", "OrderedDict");
	pickle_op(o, OP_EMPTY_TUPLE);
	pickle_op(o, OP_REDUCE);
}

static void
put_geometry(const struct writing *w)
{
	put_storage(w->p, w->o, w->t->storage);
	pickle_int(w->o, w->t->offset);
	put_ints(w->o, w->t->shape, w->t->ndim);
	put_ints(w->o, w->t->stride, w->t->ndim);
}

/* {'conj': True, 'neg': True}, or what of it holds. */
static void
put_metadata(struct pickle_out *o, unsigned flags)
{
	pickle_op(o, OP_EMPTY_DICT);
	if (flags & TENSOR_CONJ) {
		pickle_text(o, str_c("conj"));
		put_bool(o, true);
		pickle_op(o, OP_SETITEM);
	}
	if (flags & TENSOR_NEG) {
		pickle_text(o, str_c("neg"));
		put_bool(o, true);
		pickle_op(o, OP_SETITEM);
	}
}

/* Storages of a class give their dtype to the tensor (_v2), others do not (_v3). */
static void
put_function(const struct writing *w)
{
	pickle_global(w->o, "torch._utils",
		w->p->untyped[w->t->storage] ? "_rebuild_tensor_v3" : "_rebuild_tensor_v2");
}

static void
put_arguments(const struct writing *w, bool grad)
{
	pickle_op(w->o, OP_MARK);
	put_geometry(w);
	put_bool(w->o, grad);
	put_hooks(w->o);
	if (w->p->untyped[w->t->storage])
		pickle_global(w->o, "torch", dtype_name((enum dtype)w->t->dtype));
	if (w->t->flags & (TENSOR_CONJ | TENSOR_NEG))
		put_metadata(w->o, w->t->flags);
	pickle_op(w->o, OP_TUPLE);
}

static void
put_plain(const struct writing *w, bool grad)
{
	put_function(w);
	put_arguments(w, grad);
	pickle_op(w->o, OP_REDUCE);
}

static bool
wants_grad(const struct writing *w)
{
	return (w->t->flags & TENSOR_REQUIRES_GRAD) != 0;
}

/* ---- wraps (rebuild.h) */

static int put_wrap(const struct writing *w, uint32_t call, unsigned depth);

/* Items first .. n-1 of a form. */
static int
put_rest(const struct writing *w, uint32_t form, size_t first)
{
	size_t i, n = value_len(w->p->m->tree, form);

	for (i = first; i < n; i++) {
		if (pickle_value(w->o, value_item(w->p->m->tree, form, i), w->e) < 0)
			return -1;
	}
	return 0;
}

static int
put_form(const struct writing *w, struct str function, uint32_t form, unsigned depth)
{
	const struct vtree *tree = w->p->m->tree;
	uint32_t inner = value_item(tree, form, 0), func;

	if (depth == TENSOR_WRAPS_MAX)
		return err_set(w->e, ERR_INPUT, "a tensor is wrapped in more than %d calls", TENSOR_WRAPS_MAX);
	pickle_op(w->o, OP_MARK);
	if (str_eqc(function, "_rebuild_qtensor")) {
		put_geometry(w);
		if (put_rest(w, form, 4) < 0)
			return -1;
	} else if (str_starts(function, str_c("_rebuild_parameter"))) {
		if (value_kind(tree, inner) == VALUE_NONE)
			put_plain(w, false);
		else if (put_wrap(w, inner, depth + 1) < 0)
			return -1;
		if (put_rest(w, form, 1) < 0)
			return -1;
	} else { /* _rebuild_from_type_v2: func, type, arguments, state */
		func = inner;
		inner = value_item(tree, form, 2);
		if (value_kind(tree, inner) == VALUE_NONE)
			put_function(w);
		else if (pickle_value(w->o, func, w->e) < 0)
			return -1;
		if (pickle_value(w->o, value_item(tree, form, 1), w->e) < 0)
			return -1;
		if (value_kind(tree, inner) == VALUE_NONE)
			put_arguments(w, wants_grad(w));
		else if (put_form(w, value_name(tree, func), inner, depth + 1) < 0)
			return -1;
		if (put_rest(w, form, 3) < 0)
			return -1;
	}
	pickle_op(w->o, OP_TUPLE);
	return 0;
}

static int
put_wrap(const struct writing *w, uint32_t call, unsigned depth)
{
	const struct vobject *v = value_object(w->p->m->tree, call);

	if (v == NULL)
		return err_set(w->e, ERR_INPUT, "a tensor's wrap is no call");
	if (pickle_value(w->o, v->callable, w->e) < 0 ||
		put_form(w, value_name(w->p->m->tree, v->callable), v->args, depth) < 0)
		return -1;
	pickle_op(w->o, OP_REDUCE);
	return 0;
}

static void
put_parameter(const struct writing *w)
{
	pickle_global(w->o, "torch._utils", "_rebuild_parameter");
	put_plain(w, false);
	put_bool(w->o, wants_grad(w));
	put_hooks(w->o);
	pickle_op(w->o, OP_TUPLE3);
	pickle_op(w->o, OP_REDUCE);
}

int
torch_pickle_leaf(void *arg, struct pickle_out *o, enum value_leaf kind, uint32_t index, struct err *e)
{
	const struct torch_pickle *p = arg;
	struct writing w = { p, o, NULL, e };

	if (index >= (kind == LEAF_STORAGE ? p->m->nstorages : p->m->ntensors))
		return err_set(e, ERR_INPUT, "the output's pickle has a tensor or storage too many");
	if (kind == LEAF_STORAGE) {
		put_storage(p, o, index);
		return 0;
	}
	w.t = &p->m->tensors[index];
	if (w.t->wrap != VALUE_ABSENT && p->m->tree != NULL)
		return put_wrap(&w, w.t->wrap, 0);
	if (w.t->flags & TENSOR_PARAMETER)
		put_parameter(&w);
	else
		put_plain(&w, wants_grad(&w));
	return 0;
}
