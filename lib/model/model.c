#include "model/model.h"

#include <stdlib.h>
#include <string.h>

#include "base/embedded.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "model/keys.h"
#include "model/list.h"

#define NOT_SAID                                                                           \
	{                                                                                  \
		.interpolate_rel_pos_bias = -1, .supports_module_prefix = -1, .strict = -1 \
	}

void
model_init(struct model *m)
{
	*m = (struct model){ .arena = ARENA_INIT, .by_name = STRMAP_INIT, .by_container = STRMAP_INIT, .handling = NOT_SAID };
}

void
model_release(struct model *m)
{
	strmap_release(&m->by_name);
	strmap_release(&m->by_container);
	arena_release(&m->arena);
	memset(m, 0, sizeof(*m));
}

const struct entry *
model_find(const struct model *m, struct str name)
{
	uint64_t i;

	return strmap_get(&m->by_name, name, &i) ? &m->entries[i] : NULL;
}

/* ---- reading a description */

static const char *const sections[] = {
	"name", "state_dict", "parameters", "buffers", "parameter_groups_metadata", "pretrained_ckpt_handling_metadata", NULL,
};

static int
read_list(struct model *m, const struct ynode *node, const char *what, struct model_list *list, struct err *err)
{
	struct str *items;

	list->given = true;
	list->at = node;
	if (ynode_is_null(node)) {
		list->items = NULL;
		list->n = 0;
		return 0;
	}
	if (node->kind != YN_SEQ)
		return ynode_fail(node, err, "%s: must be a list of name patterns, not %s", what, ynode_what(node));
	if (ynode_strings(node, what, &m->arena, &items, &list->n, err) < 0)
		return -1;
	list->items = items;
	return 0;
}

static int
read_flag(const struct ynode *map, const char *key, int *out, struct err *err)
{
	const struct ynode *node = ymap_get(map, key);
	bool flag;

	if (ynode_is_null(node))
		return 0;
	if (!ynode_bool(node, &flag))
		return keys_wrong(node, key, "true or false", err);
	*out = flag;
	return 0;
}

/* Reads the text at a key, if it exists. expected is used in the error message. */
static int
read_text(const struct ynode *map, const char *key, const char *expected, struct str *out, struct err *err)
{
	const struct ynode *node = ymap_get(map, key);

	if (ynode_is_null(node))
		return 0;
	if (node->kind != YN_SCALAR)
		return keys_wrong(node, key, expected, err);
	*out = node->text;
	return 0;
}

/* ---- state dict */

static int
read_shape(struct model *m, const struct ynode *node, struct entry *e, struct err *err)
{
	uint64_t *shape;

	if (ynode_is_null(node))
		return 0;
	if (node->kind != YN_SEQ)
		return ynode_fail(node, err, "shape: must be a list of sizes, not %s", ynode_what(node));
	if (node->n > TENSOR_NDIM_MAX)
		return ynode_fail(node, err, "shape: a tensor has at most %d dimensions", TENSOR_NDIM_MAX);
	shape = arena_calloc(&m->arena, node->n ? node->n : 1, sizeof(*shape));
	for (size_t i = 0; i < node->n; i++) {
		int64_t size;

		if (!ynode_int(node->items[i], &size) || size < 0)
			return ynode_fail(node->items[i], err, "shape: a size is a whole number from 0 on");
		shape[i] = (uint64_t)size;
	}
	e->shape = shape;
	e->ndim = (uint8_t)node->n;
	e->has_shape = true;
	return 0;
}

static int
read_dtype(const struct ynode *node, struct entry *e, struct err *err)
{
	struct nearest near;
	struct shown shown;
	struct buf hint = BUF_INIT;

	if (ynode_is_null(node))
		return 0;
	if (node->kind != YN_SCALAR)
		return ynode_fail(node, err, "dtype: must be a name such as float32, not %s", ynode_what(node));
	e->dtype = (uint8_t)dtype_by_name(node->text);
	if (e->dtype != DTYPE_UNKNOWN)
		return 0;
	nearest_init(&near, node->text);
	for (int t = DTYPE_UNKNOWN + 1; t < DTYPE_COUNT; t++)
		nearest_try(&near, str_c(dtype_name((enum dtype)t)));
	keys_suggest_nearest(&hint, &near);
	ynode_fail(node, err, "dtype: there is no %s%s", keys_show(&shown, node->text), hint.len ? hint.p : "");
	buf_release(&hint);
	return -1;
}

static int
read_kind(const struct ynode *node, struct entry *e, struct err *err)
{
	if (ynode_is_null(node))
		return 0;
	if (node->kind == YN_SCALAR && str_eqc(node->text, "buffer"))
		e->kind = ENTRY_BUFFER;
	else if (node->kind == YN_SCALAR && str_eqc(node->text, "parameter"))
		e->kind = ENTRY_PARAMETER;
	else
		return keys_wrong(node, "kind", "buffer or parameter", err);
	return 0;
}

static int
read_entry(struct model *m, const struct ynode *node, enum entry_kind kind, struct entry *e, struct err *err)
{
	static const char *const keys[] = { "name", "shape", "dtype", "layer_type", "kind", "requires_grad", NULL };
	const struct ynode *name = node;
	int grad = -1;

	*e = entry_named(str_c(""));
	e->kind = (uint8_t)kind;
	if (node->kind == YN_MAP) {
		if (keys_check(node, keys, "an entry of a state dict", err) < 0)
			return -1;
		name = ymap_get(node, "name");
		if (name == NULL)
			return ynode_fail(node, err, "an entry of a state dict needs a name");
	}
	if (name->kind != YN_SCALAR || ynode_is_null(name))
		return ynode_fail(name, err, "an entry of a state dict is a map with a name, not %s", ynode_what(name));
	e->name = name->text;
	if (node->kind != YN_MAP)
		return 0;
	if (read_shape(m, ymap_get(node, "shape"), e, err) < 0 || read_dtype(ymap_get(node, "dtype"), e, err) < 0 ||
	    read_kind(ymap_get(node, "kind"), e, err) < 0 || read_flag(node, "requires_grad", &grad, err) < 0)
		return -1;
	e->requires_grad = (int8_t)grad;
	return read_text(node, "layer_type", "a class name", &e->layer_type, err);
}

static int
read_entries(struct model *m, const struct ynode *list, const char *what, enum entry_kind kind, struct err *err)
{
	struct shown shown;

	if (ynode_is_null(list))
		return 0;
	if (list->kind != YN_SEQ)
		return ynode_fail(list, err, "%s: must be a list of entries, not %s", what, ynode_what(list));
	for (size_t i = 0; i < list->n; i++) {
		struct entry *e = &m->entries[m->n];

		if (read_entry(m, list->items[i], kind, e, err) < 0)
			return -1;
		if (!strmap_add(&m->by_name, e->name, m->n))
			return ynode_fail(list->items[i], err, "the name %s occurs twice", keys_show(&shown, e->name));
		m->n++;
	}
	return 0;
}

/* Replaces the state dict by an empty one with room for n entries. */
static void
begin_state_dict(struct model *m, size_t n)
{
	strmap_release(&m->by_name);
	strmap_release(&m->by_container);
	m->containers = NULL;
	m->ncontainers = m->n = 0;
	m->entries = arena_calloc(&m->arena, n + 1, sizeof(*m->entries));
}

static int
read_state_dict(struct model *m, const struct ynode *root, struct err *err)
{
	static const struct {
		const char *key;
		enum entry_kind kind;
	} lists[] = {
		{ "state_dict", ENTRY_UNKNOWN },
		{ "parameters", ENTRY_PARAMETER },
		{ "buffers", ENTRY_BUFFER },
	};
	bool given = false;
	size_t n = 0;

	for (size_t i = 0; i < 3; i++) {
		const struct ynode *node = ymap_get(root, lists[i].key);

		n += node ? node->n : 0;
		given = given || !ynode_is_null(node);
	}
	if (!given)
		return 0;
	m->has_state_dict = true;
	begin_state_dict(m, n);
	for (size_t i = 0; i < 3; i++)
		if (read_entries(m, ymap_get(root, lists[i].key), lists[i].key, lists[i].kind, err) < 0)
			return -1;
	return 0;
}

/* ---- metadata */

static int
read_groups(struct model *m, const struct ynode *map, struct err *err)
{
	size_t n = 0;

	if (ynode_is_null(map))
		return 0;
	if (map->kind != YN_MAP)
		return ynode_fail(map, err, "parameter_groups_metadata: must be a map, not %s", ynode_what(map));
	for (size_t i = 0; i < map->n; i++)
		n += map->pairs[i].value->kind == YN_MAP ? map->pairs[i].value->n : 1;
	m->has_groups = true;
	m->ngroups = 0;
	m->groups = arena_calloc(&m->arena, n + 1, sizeof(*m->groups));
	for (size_t i = 0; i < map->n; i++) {
		const struct ynode *value = map->pairs[i].value;
		struct str category = map->pairs[i].key->text;
		size_t inner = value->kind == YN_MAP ? value->n : 1;

		for (size_t k = 0; k < inner; k++) {
			struct model_group *g = &m->groups[m->ngroups];
			const struct ynode *list = value;
			struct str what = category;

			g->category = category;
			if (value->kind == YN_MAP) {
				list = value->pairs[k].value;
				what = g->key = value->pairs[k].key->text;
			}
			if (read_list(m, list, what.p, &g->patterns, err) < 0)
				return -1;
			m->ngroups++;
		}
	}
	return 0;
}

static int
read_layout(struct model_handling *h, const struct ynode *node, struct err *err)
{
	static const char *const keys[] = { "layout", NULL };

	if (ynode_is_null(node))
		return 0;
	if (node->kind != YN_MAP)
		return ynode_fail(node, err, "relative_position_bias: must be a map such as {layout: last}, not %s",
				  ynode_what(node));
	if (keys_check(node, keys, "relative_position_bias", err) < 0)
		return -1;
	h->layout_at = ymap_get(node, "layout");
	return read_text(node, "layout", "a name such as last", &h->layout, err);
}

static int
read_handling(struct model *m, const struct ynode *map, struct err *err)
{
	static const char *const keys[] = {
		"drop_buffers",
		"drop_params",
		"drop_params_compat",
		"interpolate_rel_pos_bias", /* the first three keys are parallel to lists */
		"relative_position_bias",
		"supports_module_prefix",
		"strict",
		NULL,
	};
	struct model_handling *h = &m->handling;
	struct model_list *lists[] = { &h->drop_buffers, &h->drop_params, &h->drop_params_compat };

	if (ynode_is_null(map))
		return 0;
	if (map->kind != YN_MAP)
		return ynode_fail(map, err, "pretrained_ckpt_handling_metadata: must be a map, not %s", ynode_what(map));
	if (keys_check(map, keys, "pretrained_ckpt_handling_metadata", err) < 0)
		return -1;
	*h = (struct model_handling)NOT_SAID;
	h->given = true;
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		const struct ynode *node = ymap_get(map, keys[i]);

		if (node && read_list(m, node, keys[i], lists[i], err) < 0)
			return -1;
	}
	if (read_layout(h, ymap_get(map, "relative_position_bias"), err) < 0 ||
	    read_flag(map, "interpolate_rel_pos_bias", &h->interpolate_rel_pos_bias, err) < 0 ||
	    read_flag(map, "supports_module_prefix", &h->supports_module_prefix, err) < 0)
		return -1;
	return read_flag(map, "strict", &h->strict, err);
}

int
model_load_yaml(struct model *m, const char *file, struct str text, struct err *err)
{
	const struct ynode *root;

	if (yaml_parse(&m->arena, file, text, &root, err) < 0)
		return -1;
	if (root->kind != YN_MAP)
		return ynode_fail(root, err,
				  "a model description is a map with state_dict, parameter_groups_metadata or "
				  "pretrained_ckpt_handling_metadata, not %s",
				  ynode_what(root));
	if (keys_check(root, sections, "a model description", err) < 0 || read_text(root, "name", "a text", &m->name, err) < 0 ||
	    read_state_dict(m, root, err) < 0 || read_groups(m, ymap_get(root, "parameter_groups_metadata"), err) < 0)
		return -1;
	return read_handling(m, ymap_get(root, "pretrained_ckpt_handling_metadata"), err);
}

/* ---- built-in descriptions, and recognising descriptions */

bool
model_is_builtin(const char *name)
{
	return embedded_find(embedded_models, embedded_models_count, name) != NULL;
}

int
model_load_builtin(struct model *m, const char *name, struct err *err)
{
	const struct embedded *e = embedded_find(embedded_models, embedded_models_count, name);
	struct buf names = BUF_INIT;

	if (e)
		return model_load_yaml(m, e->name, str_n(e->text, e->len), err);
	for (size_t i = 0; i < embedded_models_count; i++)
		buf_addf(&names, "%s%s", i ? ", " : "", embedded_models[i].name);
	err_set(err, ERR_USAGE, "%s: there is no such file, nor a built-in description; these are %s", name,
		names.len ? names.p : "none");
	buf_release(&names);
	return -1;
}

bool
model_probe(struct str head)
{
	struct str line;

	if (str_starts(head, str_c("\xef\xbb\xbf")))
		head = str_from(head, 3);
	while (str_split(&head, '\n', &line)) {
		while (line.len > 0 && (line.p[line.len - 1] == '\r' || line.p[line.len - 1] == ' '))
			line.len--;
		if (line.len == 0 || line.p[0] == '#')
			continue;
		if (str_eqc(line, "---") || str_starts(line, str_c("%YAML ")) || str_starts(line, str_c("%TAG ")))
			return true;
		/* Skip the beginning of a flow map, which JSON is as well. */
		while (line.len > 0 && (line.p[0] == '{' || line.p[0] == ' ' || line.p[0] == '"' || line.p[0] == '\''))
			line = str_from(line, 1);
		if (line.len == 0)
			continue;
		for (size_t i = 0; sections[i]; i++) {
			struct str key = str_c(sections[i]), rest;

			if (!str_starts(line, key))
				continue;
			rest = str_from(line, key.len);
			if (rest.len > 0 && (rest.p[0] == '"' || rest.p[0] == '\''))
				rest = str_from(rest, 1);
			if (rest.len > 0 && rest.p[0] == ':' && (rest.len == 1 || rest.p[1] == ' '))
				return true;
		}
		return false;
	}
	return false;
}

/* ---- the state dict of a checkpoint as a description */

/* Returns a copy of a list line's entry. Its texts and shape are in the arena. */
static struct entry
copied(struct arena *a, const struct entry *line)
{
	struct tensor t = { .ndim = 0 };
	struct entry e = *line;

	e.name = arena_str(a, line->name);
	if (line->layer_type.p != NULL)
		e.layer_type = arena_str(a, line->layer_type);
	if (line->sha256.p != NULL)
		e.sha256 = arena_str(a, line->sha256);
	if (line->has_shape)
		tensor_set_shape(&t, a, line->shape, line->ndim);
	e.shape = t.shape;
	return e;
}

int
model_load_list(struct model *m, struct source *src, struct err *err)
{
	struct list_reader r;
	struct list_line line;
	struct entry *all = NULL;
	size_t cap = 0;
	int rc;

	begin_state_dict(m, 0);
	m->has_state_dict = true;
	list_open(&r, src, false);
	while ((rc = list_next(&r, &line, err)) > 0) {
		all = xgrow(all, m->n, &cap, sizeof(*all));
		all[m->n] = copied(&m->arena, &line.entry);
		if (!strmap_add(&m->by_name, all[m->n].name, m->n)) {
			rc = err_input(err, r.file, "line %llu: %.*s is listed twice", (unsigned long long)line.number,
				       STR_ARG(all[m->n].name));
			break;
		}
		m->n++;
	}
	m->entries = arena_calloc(&m->arena, m->n + 1, sizeof(*m->entries));
	if (all != NULL)
		memcpy(m->entries, all, m->n * sizeof(*all));
	free(all);
	list_release(&r);
	return rc;
}

void
model_load_statedict(struct model *m, const struct statedict *sd)
{
	begin_state_dict(m, sd->n);
	m->has_state_dict = true;
	m->containers = arena_calloc(&m->arena, sd->ncontainers + 1, sizeof(*m->containers));
	for (size_t i = 0; i < sd->ncontainers; i++) {
		m->containers[i] = arena_str(&m->arena, sd->containers[i].name);
		strmap_add(&m->by_container, m->containers[i], m->ncontainers++);
	}
	for (size_t i = 0; i < sd->n; i++) {
		const struct sd_entry *from = &sd->entries[i];
		const struct tensor *t = sd_tensor(sd, from);
		struct entry *e = &m->entries[m->n];
		struct tensor copy;

		if (t == NULL)
			continue;
		*e = entry_of_tensor(arena_str(&m->arena, from->name), t);
		copy = *t;
		tensor_set_shape(&copy, &m->arena, t->shape, t->ndim);
		e->shape = copy.shape;
		e->inside = from->inside > 0;
		strmap_add(&m->by_name, e->name, m->n++);
	}
}

/* ---- writing */

static void
put_entry(struct buf *out, const struct entry *e)
{
	buf_adds(out, ", shape: [");
	for (unsigned i = 0; i < e->ndim; i++) {
		buf_adds(out, i ? ", " : "");
		buf_u64(out, e->shape[i]);
	}
	buf_addc(out, ']');
	if (e->dtype != DTYPE_UNKNOWN)
		buf_addf(out, ", dtype: %s", dtype_name(e->dtype));
	buf_adds(out, entry_is_buffer(e) ? ", kind: buffer}\n" : "}\n");
}

int
model_write(const struct entry *v, size_t n, struct buf *out, struct err *err)
{
	struct shown shown;

	buf_adds(out, n > 0 ? "state_dict:\n" : "state_dict: []\n");
	for (size_t i = 0; i < n; i++) {
		buf_adds(out, "  - {name: ");
		if (!yaml_put_scalar(out, v[i].name))
			return err_set(err, ERR_INPUT, "the name %s is not UTF-8: YAML cannot hold it",
				       keys_show(&shown, v[i].name));
		put_entry(out, &v[i]);
	}
	return 0;
}
