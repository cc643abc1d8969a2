#include "model/model.h"

#include <string.h>

#include "base/text.h"
#include "model/keys.h"

void
model_init(struct model *m)
{
	memset(m, 0, sizeof(*m));
	arena_init(&m->arena);
	strmap_init(&m->by_name);
	m->handling.interpolate_rel_pos_bias = -1;
	m->handling.supports_module_prefix = -1;
	m->handling.strict = -1;
}

void
model_release(struct model *m)
{
	strmap_release(&m->by_name);
	arena_release(&m->arena);
	memset(m, 0, sizeof(*m));
}

const struct entry *
model_find(const struct model *m, struct str name)
{
	uint64_t i;

	return strmap_get(&m->by_name, name, &i) ? &m->entries[i] : NULL;
}

const struct model_list *
model_drop_params(const struct model *m, bool compat)
{
	const struct model_handling *h = &m->handling;

	return compat && h->drop_params_compat.given ? &h->drop_params_compat : &h->drop_params;
}

static void
drop_state_dict(struct model *m)
{
	strmap_release(&m->by_name);
	strmap_init(&m->by_name);
	m->entries = NULL;
	m->n = 0;
	m->has_state_dict = true;
}

void
model_load_statedict(struct model *m, const struct statedict *sd)
{
	drop_state_dict(m);
	m->entries = arena_calloc(&m->arena, sd->n ? sd->n : 1, sizeof(*m->entries));
	for (size_t i = 0; i < sd->n; i++) {
		const struct sd_entry *from = &sd->entries[i];
		const struct tensor *t = sd_tensor(sd, from);
		struct entry *e = &m->entries[m->n];
		struct tensor copy;

		if (t == NULL)
			continue;
		*e = entry_named(arena_str(&m->arena, from->name));
		copy = *t;
		tensor_set_shape(&copy, &m->arena, t->shape, t->ndim);
		e->shape = copy.shape;
		e->ndim = t->ndim;
		e->has_shape = true;
		e->dtype = t->dtype;
		strmap_add(&m->by_name, e->name, m->n++);
	}
}

/* ---- writing */

static void
put_entry(struct buf *out, const struct entry *e)
{
	if (e->has_shape) {
		buf_adds(out, ", shape: [");
		for (unsigned i = 0; i < e->ndim; i++) {
			buf_adds(out, i ? ", " : "");
			buf_u64(out, e->shape[i]);
		}
		buf_addc(out, ']');
	}
	if (e->dtype != DTYPE_UNKNOWN)
		buf_addf(out, ", dtype: %s", dtype_name(e->dtype));
	if (e->layer_type.p) {
		buf_adds(out, ", layer_type: ");
		yaml_put_scalar(out, e->layer_type);
	}
	if (entry_is_buffer(e))
		buf_adds(out, ", kind: buffer");
	else if (e->kind == ENTRY_PARAMETER)
		buf_adds(out, ", kind: parameter");
	if (e->requires_grad != GRAD_UNKNOWN)
		buf_addf(out, ", requires_grad: %s", e->requires_grad ? "true" : "false");
	buf_adds(out, "}\n");
}

static void
put_list(struct buf *out, const struct model_list *list)
{
	buf_addc(out, '[');
	for (size_t i = 0; i < list->n; i++) {
		buf_adds(out, i ? ", " : "");
		yaml_put_scalar(out, list->items[i]);
	}
	buf_adds(out, "]\n");
}

static void
put_groups(struct buf *out, const struct model *m)
{
	buf_adds(out, m->ngroups ? "parameter_groups_metadata:\n" : "parameter_groups_metadata: {}\n");
	for (size_t i = 0; i < m->ngroups; i++) {
		const struct model_group *g = &m->groups[i];

		if (i == 0 || !str_eq(g->category, m->groups[i - 1].category)) {
			buf_adds(out, "  ");
			yaml_put_scalar(out, g->category);
			buf_adds(out, g->key.p ? ":\n" : ": ");
		}
		if (g->key.p) {
			buf_adds(out, "    ");
			yaml_put_scalar(out, g->key);
			buf_adds(out, ": ");
		}
		put_list(out, &g->patterns);
	}
}

static void
put_flag(struct buf *out, const char *key, int flag)
{
	if (flag >= 0)
		buf_addf(out, "  %s: %s\n", key, flag ? "true" : "false");
}

static void
put_handling(struct buf *out, const struct model_handling *h)
{
	const struct {
		const char *key;
		const struct model_list *list;
	} lists[] = {
		{ "drop_buffers", &h->drop_buffers },
		{ "drop_params", &h->drop_params },
		{ "drop_params_compat", &h->drop_params_compat },
	};
	size_t start;

	buf_adds(out, "pretrained_ckpt_handling_metadata:");
	start = out->len;
	buf_addc(out, '\n');
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		if (!lists[i].list->given)
			continue;
		buf_addf(out, "  %s: ", lists[i].key);
		put_list(out, lists[i].list);
	}
	put_flag(out, "interpolate_rel_pos_bias", h->interpolate_rel_pos_bias);
	if (h->layout.p) {
		buf_adds(out, "  relative_position_bias: {layout: ");
		yaml_put_scalar(out, h->layout);
		buf_adds(out, "}\n");
	}
	put_flag(out, "supports_module_prefix", h->supports_module_prefix);
	put_flag(out, "strict", h->strict);
	if (out->len == start + 1) {
		out->len = start;
		buf_adds(out, " {}\n");
	}
}

int
model_write(const struct model *m, struct buf *out, struct err *err)
{
	struct shown shown;

	if (m->name.p) {
		buf_adds(out, "name: ");
		yaml_put_scalar(out, m->name);
		buf_addc(out, '\n');
	}
	if (m->has_state_dict)
		buf_adds(out, m->n ? "state_dict:\n" : "state_dict: []\n");
	for (size_t i = 0; i < m->n; i++) {
		buf_adds(out, "  - {name: ");
		if (!yaml_put_scalar(out, m->entries[i].name))
			return err_set(err, ERR_INPUT, "the name %s is not UTF-8: YAML cannot say it",
				       keys_show(&shown, m->entries[i].name));
		put_entry(out, &m->entries[i]);
	}
	if (m->has_groups)
		put_groups(out, m);
	if (m->handling.given)
		put_handling(out, &m->handling);
	return 0;
}
