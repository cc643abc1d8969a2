#include "write/seal.h"

#include <stdlib.h>
#include <string.h>

#include "base/strmap.h"
#include "base/xalloc.h"
#include "tensor/convert.h"
#include "write/seal_priv.h"

/* The call around a tensor, and the tensors in it (scales of a quantised one), come along. */
static void
want_wrap(struct seal *l, uint32_t at, uint32_t wrap)
{
	uint32_t copied = value_copy(&l->copiers[l->wants[at].input], wrap, &l->wrap_err);

	l->wants[at].wrap = copied;
}

/* seal_want, of a tensor that becomes to. */
static uint32_t
want_as(struct seal *l, uint32_t input, uint32_t tensor, uint8_t to, struct plan_entry *entry)
{
	const struct tensor *t = &l->p->inputs[input].sd->ckpt->tensors[tensor];
	struct plan_table *table = entry == NULL ? NULL : entry->table;
	uint32_t at = l->heads[input][tensor];
	struct want *w;

	for (; at != UINT32_MAX; at = l->wants[at].next) {
		w = &l->wants[at];
		if (w->to == to && (w->entry == NULL ? NULL : w->entry->table) == table)
			return at;
		if (w->to == to && w->entry != NULL && w->entry->table != NULL && table != NULL)
			return at; /* one tensor under two names: resampled once */
	}
	l->wants = xgrow(l->wants, l->nwants, &l->cap_wants, sizeof(*l->wants));
	at = (uint32_t)l->nwants++;
	l->wants[at] = (struct want){ input, tensor, l->heads[input][tensor], VALUE_ABSENT, to, entry };
	l->heads[input][tensor] = at;
	if (t->wrap != VALUE_ABSENT)
		want_wrap(l, at, t->wrap);
	return at;
}

uint32_t
seal_want(struct seal *l, uint32_t input, uint32_t tensor, struct plan_entry *entry)
{
	uint8_t dtype = l->p->inputs[input].sd->ckpt->tensors[tensor].dtype;

	return want_as(l, input, tensor, entry != NULL && entry->dtype != DTYPE_UNKNOWN ? entry->dtype : dtype, entry);
}

/* ---- tensors of parts that are cast */

static uint32_t
cast_leaf(void *arg, enum value_leaf kind, uint32_t index)
{
	const struct seal_leaves *v = arg;
	const struct tensor *t;

	if (kind == LEAF_STORAGE)
		return seal_leaf(arg, kind, index);
	t = &v->l->p->inputs[v->input].sd->ckpt->tensors[index];
	return want_as(v->l, v->input, index, dtype_is_float(t->dtype) && convert_castable(t->dtype, v->to) ? v->to : t->dtype,
		       NULL);
}

static struct str
cast_global(void *arg, struct str module, struct str name)
{
	const struct seal_leaves *v = arg;

	return str_eqc(module, "torch") && dtype_is_float(dtype_by_name(name)) ? str_c(dtype_name(v->to)) : name;
}

struct value_copier *
seal_cast_copier(struct seal *l, uint32_t input, enum dtype to)
{
	struct seal_cast *k;

	for (size_t i = 0; i < l->ncasts; i++)
		if (l->casts[i]->input == input && l->casts[i]->leaves.to == to)
			return &l->casts[i]->copier;
	l->casts = xgrow(l->casts, l->ncasts, &l->cap_casts, sizeof(struct seal_cast *));
	k = l->casts[l->ncasts++] = xcalloc(1, sizeof(*k));
	k->input = input;
	k->leaves = (struct seal_leaves){ .l = l, .input = input, .to = (uint8_t)to };
	k->copier = (struct value_copier){ .leaf = cast_leaf, .global = cast_global, .arg = &k->leaves, .dst = l->s->tree,
					   .src = l->p->inputs[input].sd->ckpt->tree };
	return &k->copier;
}

bool
seal_writes(const struct seal *l, size_t i)
{
	return l->p->entries[i].alive && (l->o->split == NULL || l->o->split->shard[i] == l->o->shard);
}

/* ---- checks on names */

static int
collision(const struct plan *p, const struct plan_entry *a, const struct plan_entry *b, struct err *e)
{
	struct str na = plan_source(p, a)->name, nb = plan_source(p, b)->name;

	return err_set(e, ERR_INPUT, "%s: %.*s and %s%s%.*s would both be written as %.*s", plan_file(p, a),
		       STR_ARG(na), plan_input_of(p, a) == plan_input_of(p, b) ? "" : plan_file(p, b),
		       plan_input_of(p, a) == plan_input_of(p, b) ? "" : ": ", STR_ARG(nb), STR_ARG(a->name));
}

static int
check_names(const struct plan *p, struct err *e)
{
	struct strmap seen = STRMAP_INIT;
	const struct plan_entry *en;
	uint64_t other, tensors = 0;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < p->nentries; i++) {
		en = &p->entries[i];
		if (!en->alive || en->module)
			continue;
		tensors += plan_source(p, en)->kind != SD_OTHER;
		if (!strmap_add(&seen, en->name, i) && strmap_get(&seen, en->name, &other))
			rc = collision(p, &p->entries[other], en, e);
	}
	strmap_release(&seen);
	if (rc == 0 && tensors == 0)
		rc = err_set(e, ERR_ANSWER, "no tensor is left to write");
	return rc;
}

/* ---- safetensors: names and metadata instead of a tree */

static int
composite(const struct plan *p, const struct plan_entry *en, struct err *e)
{
	return err_input(e, plan_file(p, en),
			 "%.*s: not a plain tensor (sparse, quantised or without data); safetensors cannot hold it; "
			 "drop it or use --to torch",
			 STR_ARG(en->name));
}

static int
flat_wants(struct seal *l, struct err *e)
{
	uint64_t others = 0;
	struct str example = STR_LIT("");
	struct plan_entry *en;

	for (size_t i = 0; i < l->p->nentries; i++) {
		en = &l->p->entries[i];
		if (!seal_writes(l, i) || en->module)
			continue;
		if (plan_source(l->p, en)->kind == SD_OTHER) {
			example = others++ == 0 ? en->name : example;
			plan_note(l->p, en, PLAN_DROPPED, "safetensors holds tensors only");
			continue;
		}
		if (plan_source(l->p, en)->kind != SD_TENSOR)
			return composite(l->p, en, e);
		/* each name is a tensor of its own */
		l->wants = xgrow(l->wants, l->nwants, &l->cap_wants, sizeof(*l->wants));
		l->wants[l->nwants++] =
			(struct want){ l->p->origins[en->origin].input,
				       plan_source(l->p, en)->tensor,
				       UINT32_MAX,
				       VALUE_ABSENT,
				       en->dtype != DTYPE_UNKNOWN ? en->dtype : plan_tensor(l->p, en)->dtype,
				       en };
	}
	if (others > 0)
		diag_warn(l->p->diag,
			  "%llu entries of the state dict are no tensors and are left out of safetensors (%.*s)",
			  (unsigned long long)others, STR_ARG(example));
	return 0;
}

static void
flat_metadata(struct seal *l)
{
	static const struct str key = STR_LIT("format"), value = STR_LIT("pt");
	const struct ckpt *c = l->p->inputs[0].sd->ckpt;

	if (c->nmeta > 0) {
		l->s->m.meta_keys = c->meta_keys;
		l->s->m.meta_values = c->meta_values;
		l->s->m.nmeta = c->nmeta;
		return;
	}
	l->s->m.meta_keys = &key;
	l->s->m.meta_values = &value;
	l->s->m.nmeta = 1;
}

/* ---- */

static void
heads_init(struct seal *l)
{
	uint32_t i, n;

	l->heads = xcalloc(l->p->ninputs, sizeof(*l->heads));
	for (i = 0; i < l->p->ninputs; i++) {
		n = l->p->inputs[i].sd->ckpt->ntensors;
		l->heads[i] = xreallocn(NULL, n, sizeof(**l->heads));
		memset(l->heads[i], 0xff, n * sizeof(**l->heads));
	}
}

static void
copiers_init(struct seal *l)
{
	l->leaves = xcalloc(l->p->ninputs, sizeof(*l->leaves));
	l->copiers = xcalloc(l->p->ninputs, sizeof(*l->copiers));
	for (uint32_t i = 0; i < l->p->ninputs; i++) {
		l->leaves[i] = (struct seal_leaves){ .l = l, .input = i };
		l->copiers[i] = (struct value_copier){ .leaf = seal_leaf,
						       .arg = &l->leaves[i],
						       .dst = l->s->tree,
						       .src = l->p->inputs[i].sd->ckpt->tree };
	}
}

static void
seal_release(struct seal *l)
{
	for (uint32_t i = 0; i < l->p->ninputs; i++)
		value_copier_release(&l->copiers[i]);
	for (size_t i = 0; i < l->ncasts; i++) {
		value_copier_release(&l->casts[i]->copier);
		free(l->casts[i]);
	}
	free(l->casts);
	free(l->copiers);
	free(l->leaves);
	for (uint32_t i = 0; i < l->p->ninputs; i++)
		free(l->heads[i]);
	free(l->heads);
	free(l->wants);
	free(l->bares);
}

static void
note_rest(const struct seal *l)
{
	struct sealed *s = l->s;
	const struct want *w;

	s->rest = arena_calloc(&s->arena, l->nwants, sizeof(*s->rest));
	for (size_t i = 0; i < l->nwants; i++) {
		w = &l->wants[i];
		if (w->entry == NULL)
			s->rest[s->nrest++] = &l->p->inputs[w->input].sd->ckpt->tensors[w->tensor];
	}
}

/* One warning, before anything is written. */
static int
check_output(const struct sealed *s, const struct format_writer *w, struct err *e)
{
	struct buf say = BUF_INIT;
	int rc = w->check == NULL ? 0 : w->check(&s->m, e);

	if (rc == 0 && w->caveat != NULL)
		rc = w->caveat(&s->m, &say, e);
	if (rc == 0 && say.len > 0)
		diag_warn(s->plan->diag, "%.*s", STR_ARG(buf_str(&say)));
	buf_release(&say);
	return rc;
}

int
plan_seal(struct plan *p, const struct seal_opts *o, struct sealed *s, struct err *e)
{
	struct seal l = { .p = p, .o = o, .s = s };
	int rc;

	*s = (struct sealed){ .plan = p };
	arena_init(&s->arena);
	if (o->writer->pickles)
		s->tree = vtree_new();
	heads_init(&l);
	copiers_init(&l);
	rc = check_names(p, e);
	if (rc == 0 && o->writer->pickles)
		rc = seal_tree(&l, e);
	else if (rc == 0)
		rc = flat_wants(&l, e);
	if (rc == 0 && l.wrap_err.code != ERR_NONE)
		rc = err_set(e, l.wrap_err.code, "%s", l.wrap_err.msg);
	if (rc == 0)
		seal_places(&l);
	if (rc == 0 && !o->writer->pickles)
		flat_metadata(&l);
	note_rest(&l);
	seal_release(&l);
	return rc == 0 ? check_output(s, o->writer, e) : rc;
}

void
sealed_release(struct sealed *s)
{
	vtree_free(s->tree);
	arena_release(&s->arena);
	*s = (struct sealed){ 0 };
}

uint64_t
sealed_bytes(const struct sealed *s)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < s->m.nstorages; i++)
		n += s->m.storages[i].nbytes;
	return n;
}
