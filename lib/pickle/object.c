/* pickle: opcodes that name globals, make objects and resolve persistent ids. Nothing is imported or called. */
#include "pickle/machine.h"

/* ---- globals */

/* The global becomes the one that was named last. */
static int
name_global(struct pickle_machine *m, struct str module, struct str name, struct err *e)
{
	if (!pickle_utf8(module) || !pickle_utf8(name)) {
		if (pickle_refuse(m, e, "a name that is not UTF-8") < 0)
			return -1;
	}
	m->named = value_new_global(m->t, module, name);
	return 0;
}

static int
push_global(struct pickle_machine *m, struct str module, struct str name, struct err *e)
{
	return name_global(m, module, name, e) < 0 ? -1 : pickle_push(m, m->named, e);
}

static int
two_lines(struct pickle_machine *m, struct str *module, struct str *name, struct err *e)
{
	if (pickle_line(&m->in, module, e) < 0)
		return -1;
	*module = arena_str(vtree_arena(m->t), *module);
	if (pickle_line(&m->in, name, e) < 0)
		return -1;
	*name = arena_str(vtree_arena(m->t), *name);
	return 0;
}

int
pickle_op_global(struct pickle_machine *m, struct err *e)
{
	struct str module, name;

	return two_lines(m, &module, &name, e) < 0 ? -1 : push_global(m, module, name, e);
}

int
pickle_op_stack_global(struct pickle_machine *m, struct err *e)
{
	uint32_t module, name;

	if (pickle_pop(m, &name, e) < 0 || pickle_pop(m, &module, e) < 0)
		return -1;
	if (!value_is_text(m->t, module) || !value_is_text(m->t, name)) {
		if (pickle_refuse(m, e, "module and name are not texts") < 0)
			return -1;
	}
	return push_global(m, value_text(m->t, module), value_text(m->t, name), e);
}

/* The registry of extension codes is not part of a pickle. */
int
pickle_op_ext(struct pickle_machine *m, struct err *e)
{
	size_t n = m->in.op == OP_EXT1 ? 1 : m->in.op == OP_EXT2 ? 2 : 4;

	if (pickle_take(&m->in, n, e) == NULL)
		return -1;
	if (pickle_refuse(m, e, "extension codes mean something only to the program that wrote them") < 0)
		return -1;
	return pickle_push(m, value_new_none(m->t), e);
}

int
pickle_op_next_buffer(struct pickle_machine *m, struct err *e)
{
	if (pickle_refuse(m, e, "the pickle needs buffers that were kept apart from it") < 0)
		return -1;
	return pickle_push(m, value_new_none(m->t), e);
}

int
pickle_op_readonly_buffer(struct pickle_machine *m, struct err *e)
{
	return pickle_refuse(m, e, "the pickle needs buffers that were kept apart from it");
}

/* ---- objects */

static int
push_object(struct pickle_machine *m, enum value_how how, uint32_t callable, uint32_t args, uint32_t kwargs, struct err *e)
{
	struct vobject o = { how, callable, args, kwargs, VALUE_ABSENT, VALUE_ABSENT, VALUE_ABSENT };

	return pickle_push(m, value_new_object(m->t, &o), e);
}

/* callable(*args): plain data, what the caller of the machine makes of it, or an object. */
static int
call(struct pickle_machine *m, enum value_how how, uint32_t callable, uint32_t args, struct err *e)
{
	uint32_t made;
	int took;

	if (value_kind(m->t, args) != VALUE_TUPLE && pickle_refuse(m, e, "the arguments are no tuple") < 0)
		return -1;
	/* cls.__new__(cls, items) of these ignores the items. */
	if ((how == HOW_REDUCE || value_len(m->t, args) == 0) && pickle_plain(m, callable, args, &made))
		return pickle_push(m, made, e);
	if (m->hooks.reduce != NULL) {
		took = m->hooks.reduce(m->hooks.arg, m->t, callable, args, m->in.op_off, &made, e);
		if (took != 0)
			return took < 0 ? -1 : pickle_push(m, made, e);
	}
	return push_object(m, how, callable, args, VALUE_ABSENT, e);
}

int
pickle_op_reduce(struct pickle_machine *m, struct err *e)
{
	uint32_t callable, args;

	if (pickle_pop(m, &args, e) < 0 || pickle_pop(m, &callable, e) < 0)
		return -1;
	return call(m, HOW_REDUCE, callable, args, e);
}

int
pickle_op_newobj(struct pickle_machine *m, struct err *e)
{
	uint32_t callable, args;

	if (pickle_pop(m, &args, e) < 0 || pickle_pop(m, &callable, e) < 0)
		return -1;
	return call(m, HOW_NEWOBJ, callable, args, e);
}

int
pickle_op_newobj_ex(struct pickle_machine *m, struct err *e)
{
	uint32_t callable, args, kwargs;

	if (pickle_pop(m, &kwargs, e) < 0 || pickle_pop(m, &args, e) < 0 || pickle_pop(m, &callable, e) < 0)
		return -1;
	if (value_kind(m->t, args) != VALUE_TUPLE || value_kind(m->t, kwargs) != VALUE_DICT) {
		if (pickle_refuse(m, e, "the arguments are no tuple and dict") < 0)
			return -1;
	} else if (value_len(m->t, kwargs) == 0) {
		return call(m, HOW_NEWOBJ, callable, args, e);
	}
	return push_object(m, HOW_NEWOBJ_EX, callable, args, kwargs, e);
}

/* With arguments this is a call; without, a class is not called but its __new__. */
static int
instance(struct pickle_machine *m, uint32_t callable, const uint32_t *items, size_t n, struct err *e)
{
	uint32_t args = value_new_tuple(m->t, items, n);

	if (n > 0)
		return call(m, HOW_REDUCE, callable, args, e);
	return push_object(m, HOW_OBJ, callable, args, VALUE_ABSENT, e);
}

int
pickle_op_inst(struct pickle_machine *m, struct err *e)
{
	struct str module, name;
	const uint32_t *items;
	size_t n;

	if (two_lines(m, &module, &name, e) < 0 || pickle_pop_mark(m, &items, &n, e) < 0)
		return -1;
	if (name_global(m, module, name, e) < 0)
		return -1;
	return instance(m, m->named, items, n, e);
}

int
pickle_op_obj(struct pickle_machine *m, struct err *e)
{
	const uint32_t *items;
	size_t n;

	if (pickle_pop_mark(m, &items, &n, e) < 0)
		return -1;
	if (n == 0)
		return pickle_fail(&m->in, e, "nothing is above the mark");
	return instance(m, items[0], items + 1, n - 1, e);
}

int
pickle_op_build(struct pickle_machine *m, struct err *e)
{
	uint32_t state, *top;
	int took = 0;

	if (pickle_pop(m, &state, e) < 0 || pickle_top(m, &top, e) < 0)
		return -1;
	if (value_object(m->t, *top) != NULL || value_ordered(m->t, *top)) {
		value_set_state(m->t, *top, state);
		return 0;
	}
	if (value_kind(m->t, *top) == VALUE_LEAF && m->hooks.build != NULL)
		took = m->hooks.build(m->hooks.arg, m->t, *top, state, e);
	if (took != 0)
		return took < 0 ? -1 : 0;
	return pickle_refuse(m, e, "its target is no object that can have a state");
}

/* ---- persistent ids */

static int
persistent(struct pickle_machine *m, uint32_t id, struct err *e)
{
	uint32_t made;
	int took = 0;

	if (m->hooks.persid != NULL)
		took = m->hooks.persid(m->hooks.arg, m->t, id, &made, e);
	if (took < 0)
		return -1;
	return pickle_push(m, took > 0 ? made : value_new_persid(m->t, id), e);
}

int
pickle_op_binpersid(struct pickle_machine *m, struct err *e)
{
	uint32_t id;

	return pickle_pop(m, &id, e) < 0 ? -1 : persistent(m, id, e);
}

int
pickle_op_persid(struct pickle_machine *m, struct err *e)
{
	struct str line;

	if (pickle_line(&m->in, &line, e) < 0)
		return -1;
	line = arena_str(vtree_arena(m->t), line);
	if (!pickle_utf8(line) && pickle_refuse(m, e, "the persistent id is not UTF-8") < 0)
		return -1;
	return persistent(m, value_new_text(m->t, VALUE_STR, line), e);
}
