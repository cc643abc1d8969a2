#include "base/buf.h"
#include "base/num.h"
#include "plan/keymap_priv.h"

struct km_variable *
keymap_variable(struct keymap *k, struct str name)
{
	for (size_t i = 0; i < k->nvariables; i++)
		if (str_eq(k->variables[i].name, name))
			return &k->variables[i];
	return NULL;
}

/* How many blocks the description has below a prefix: one more than the largest number there. */
static int64_t
count_blocks(const struct model *m, struct str prefix)
{
	int64_t most = 0;
	struct str rest, part;
	uint64_t v;

	for (size_t i = 0; i < m->n; i++) {
		if (!str_starts(m->entries[i].name, prefix))
			continue;
		rest = str_from(m->entries[i].name, prefix.len);
		if (str_split(&rest, '.', &part) && rest.p != NULL && num_u64(part, &v) && v < INT32_MAX &&
		    (int64_t)v >= most)
			most = (int64_t)v + 1;
	}
	return most;
}

static int
number(struct km_variable *v, const struct ynode *n, struct err *e)
{
	bool b;

	if (ynode_int(n, &v->value)) {
		v->known = true;
	} else if (ynode_bool(n, &b)) {
		v->value = b;
		v->known = true;
	} else {
		return ynode_fail(n, e, "%.*s: a number, or true or false, was expected, not %s", STR_ARG(v->name),
				  n->kind == YN_SCALAR ? n->text.p : ynode_what(n));
	}
	if (v->value < 0 || v->value > INT32_MAX)
		return ynode_fail(n, e, "%.*s: out of range", STR_ARG(v->name));
	return 0;
}

static int
from_config(struct km_variable *v, const struct config *c, struct err *e)
{
	const struct ynode *n = c == NULL || v->config == NULL ? NULL : config_get(c, v->config->text.p);
	int64_t at;

	if (n == NULL)
		return 0;
	if (v->index == NULL)
		return number(v, n, e);
	if (!ynode_int(v->index, &at) || at < 0)
		return ynode_fail(v->index, e, "at: a place in the list (from 0) was expected");
	if (n->kind != YN_SEQ || (size_t)at >= n->n)
		return ynode_fail(n, e, "%.*s: a list of at least %lld was expected", STR_ARG(v->config->text),
				  (long long)at + 1);
	return number(v, n->items[at], e);
}

static int
settle(struct km_variable *v, const struct keymap_env *env, struct err *e)
{
	const struct model *m = env->model != NULL && env->model->has_state_dict ? env->model : NULL;

	v->known = false;
	if (from_config(v, env->config, e) != 0)
		return -1;
	if (!v->known && m != NULL && v->blocks != NULL) {
		v->value = count_blocks(m, v->blocks->text);
		v->known = true;
	}
	if (!v->known && m != NULL && v->has != NULL) {
		v->value = model_find(m, v->has->text) != NULL;
		v->known = true;
	}
	if (!v->known && v->fallback != NULL)
		return number(v, v->fallback, e);
	if (v->known)
		return 0;
	return err_set(e, ERR_USAGE,
		       "the key map's variable %.*s is not known: give a config (-c) or a description that lists the "
		       "state dict (-m)",
		       STR_ARG(v->name));
}

int
keymap_settle(struct keymap *k, const struct keymap_env *env, struct err *e)
{
	for (size_t i = 0; i < k->nvariables; i++)
		if (settle(&k->variables[i], env, e) != 0)
			return -1;
	return 0;
}
