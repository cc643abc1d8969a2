#include "write/seal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/strmap.h"
#include "base/xalloc.h"
#include "plan/container.h"
#include "tensor/boxes.h"
#include "tensor/composite.h"
#include "tensor/convert.h"
#include "tensor/tree.h"
#include "text/json_write.h"

/* The chain of tensors outside the state dict. It is static because sealed outputs point to it. */
static const struct make_chain no_makers;

/* A tensor of the output. Its index in seal.out is its index in manifest.tensors. */
struct seal_tensor {
	uint32_t input, tensor;        /* the source: a tensor of an input's checkpoint */
	uint32_t next;                 /* another output tensor made of the same source by other makers; UINT32_MAX: none */
	uint32_t wrap;                 /* handle in the output's tree of the call around the tensor, or VALUE_ABSENT */
	struct plan_entry *entry;      /* NULL for a tensor outside the state dict, or inside a composite tensor */
	const struct make_chain *edit; /* makers of the entry, or of the composite tensor that contains this one */
	const struct make_chain *make; /* edit, with seal_opts.views appended if the two differ */
};

/* A storage of an input that the pickle refers to directly, not through a tensor. */
struct seal_storage {
	uint32_t input, storage;
	uint32_t out; /* index of the output storage; UINT32_MAX: none yet */
};

/* Argument of a copier's leaf function. */
struct seal_leaves {
	struct seal *l;
	uint32_t input;
	const uint32_t *edited;        /* by tensor: one of the EDIT_ values below; NULL if nothing is edited in place */
	const struct make_chain *make; /* applied to the floating-point parts of composite tensors */
};

/* Copies composite tensors of one input and applies makers to their parts. */
struct seal_parts {
	struct seal_leaves leaves;
	struct value_copier copier;
};

/*
 * The containers of one input that are written whole. They are copied to a separate tree, edited there, and copied from there to
 * the output. In this tree, leaf i below the number of the input's tensors is tensor i of the input; a larger leaf is that number
 * plus the index of an output tensor.
 */
struct seal_containers {
	struct seal_leaves leaves;
	struct vtree *tree;          /* the separate tree; NULL: the input has no such container */
	struct value_copier in, out; /* from the input to tree, and from tree to the output */
	struct seal_removal *removals;
	size_t n, cap;
};

/* A dropped item of a container in seal_containers.tree. */
struct seal_removal {
	uint32_t parent, item;
};

/* Values of seal_leaves.edited. EDIT_TENSOR + i stands for output tensor i. */
enum { EDIT_NONE = 0, EDIT_DROP = 1, EDIT_TENSOR = 2 };

struct seal {
	struct plan *p;
	struct seal_opts o;
	struct plan_containers containers;
	bool apart; /* no container is written whole */

	/* These members are kept from file to file. After a file, only the elements that it has set are reset. */
	uint32_t **tensors;           /* by input and tensor: the first seal_tensor made of it, or UINT32_MAX */
	uint32_t **storages;          /* by input and storage: index in loose, or UINT32_MAX; NULL until the input needs one */
	struct seal_leaves *leaves;   /* by input; arguments of copiers */
	struct value_copier *copiers; /* by input; they copy into the tree of the output */
	uint32_t *all;                /* all living entries, if the plan is not split */
	size_t nall;

	/* These members belong to the present file. */
	struct sealed *s;
	uint32_t file;
	const uint32_t *entries; /* entries of the file, including modules */
	size_t nentries;
	struct seal_tensor *out;
	size_t nout, cap_out;
	struct seal_storage *loose;
	size_t nloose, cap_loose;
	struct seal_parts **parts; /* in the order in which they were needed; one for each pair of input and makers */
	size_t nparts, cap_parts;
	struct err wrap_err; /* the first failure to copy the call around a tensor */
};

static struct ckpt *
ckpt_of(const struct seal *l, uint32_t input)
{
	return l->p->inputs[input].sd->ckpt;
}

static const struct tensor *
tensor_of(const struct seal *l, const struct seal_tensor *x)
{
	return &ckpt_of(l, x->input)->tensors[x->tensor];
}

static const struct storage *
storage_of(const struct seal *l, const struct seal_tensor *x)
{
	return &ckpt_of(l, x->input)->storages[tensor_of(l, x)->storage];
}

/* ---- collecting the tensors of the output */

static bool
is_plain(const struct tensor *t)
{
	return t->more == NULL || t->more->nboxes == 0;
}

/* Does seal_opts.views apply to t: does t cover only a part of its storage, and does no maker give it a new one? */
static bool
is_view(const struct seal *l, uint32_t input, const struct tensor *t, const struct make_chain *make)
{
	return l->o.views != NULL && l->o.writer->shares && is_plain(t) && boxes_count(t) == 1 &&
	       (make_traits(make) & MAKE_ANY_NEW) == 0 && !tensor_covers(t, ckpt_of(l, input)->storages[t->storage].nbytes);
}

/* Adds a tensor to the output and returns its index in seal.out. */
static uint32_t
add_tensor(struct seal *l, const struct make_input *in, const struct make_chain *edit, struct plan_entry *en)
{
	struct seal_tensor x = { in->input, in->tensor, UINT32_MAX, VALUE_ABSENT, en, edit, edit };
	struct make_chain *with;

	if (is_view(l, in->input, &ckpt_of(l, in->input)->tensors[in->tensor], edit)) {
		with = arena_alloc(&l->s->arena, sizeof(*with));
		*with = *edit;
		make_append(with, &l->s->arena, l->o.views);
		x.make = with;
	}
	*xpush(l->out, l->nout, l->cap_out) = x;
	return (uint32_t)l->nout - 1;
}

/*
 * Can names of one tensor that have the chains a and b share one output tensor? Yes if both chains give the same result. Also yes
 * if both make a new tensor and no maker has MAKE_APART: then the first name's chain makes it for both.
 */
static bool
made_alike(const struct make_chain *a, const struct make_chain *b)
{
	unsigned x = make_traits(a), y = make_traits(b);

	return make_same(a, b) || ((x & y & MAKE_ANY_NEW) != 0 && ((x | y) & MAKE_ANY_APART) == 0);
}

/*
 * Returns the index of the output tensor made of an input's tensor, and adds it first if needed. edit and en are as in struct
 * seal_tensor. The call around a tensor, with the tensors in it (such as the scales of a quantised tensor), is copied too.
 */
static uint32_t
find_tensor(struct seal *l, const struct make_input *in, const struct make_chain *edit, struct plan_entry *en)
{
	const struct tensor *t = &ckpt_of(l, in->input)->tensors[in->tensor];
	uint32_t *first = &l->tensors[in->input][in->tensor], at, copied;

	for (at = *first; at != UINT32_MAX; at = l->out[at].next)
		if (made_alike(l->out[at].edit, edit))
			return at;
	at = add_tensor(l, in, edit, en);
	l->out[at].next = *first;
	*first = at;
	if (t->wrap != VALUE_ABSENT) {
		copied = value_copy(&l->copiers[in->input], t->wrap, &l->wrap_err);
		l->out[at].wrap = copied;
	}
	return at;
}

static uint32_t
find_storage(struct seal *l, uint32_t input, uint32_t storage)
{
	size_t size = ckpt_of(l, input)->nstorages * sizeof(**l->storages);
	uint32_t *at;

	if (l->storages[input] == NULL)
		l->storages[input] = memset(xmalloc(size), 0xff, size);
	at = &l->storages[input][storage];
	if (*at != UINT32_MAX)
		return *at;
	*at = (uint32_t)l->nloose;
	*xpush(l->loose, l->nloose, l->cap_loose) = (struct seal_storage){ input, storage, UINT32_MAX };
	return *at;
}

/* Implements value_copier.leaf for tensors and storages. */
static uint32_t
take_leaf(void *arg, enum value_leaf kind, uint32_t index)
{
	struct seal_leaves *v = arg;

	if (kind == LEAF_STORAGE)
		return find_storage(v->l, v->input, index);
	if (v->edited != NULL && v->edited[index] == EDIT_DROP)
		return LEAF_DROP;
	if (v->edited != NULL && v->edited[index] >= EDIT_TENSOR)
		return v->edited[index] - EDIT_TENSOR;
	return find_tensor(v->l, &(struct make_input){ v->input, index }, &no_makers, NULL);
}

/* ---- composite tensors */

/* Returns the dtype that make gives to elements of dtype, or dtype itself if make does not apply to it. */
static enum dtype
edited_dtype(const struct make_chain *make, enum dtype dtype)
{
	struct make_form form = { .dtype = (uint8_t)dtype };

	if (!dtype_is_float(dtype))
		return dtype;
	make_shape(make, &form);
	return convert_castable(dtype, (enum dtype)form.dtype) ? (enum dtype)form.dtype : dtype;
}

/*
 * Implements value_copier.leaf for parts of composite tensors. Makers are applied to a part if they change its dtype. Their other
 * effects have no meaning for parts.
 */
static uint32_t
take_part(void *arg, enum value_leaf kind, uint32_t index)
{
	const struct seal_leaves *v = arg;
	enum dtype dtype;

	if (kind == LEAF_STORAGE)
		return take_leaf(arg, kind, index);
	dtype = (enum dtype)ckpt_of(v->l, v->input)->tensors[index].dtype;
	return find_tensor(v->l, &(struct make_input){ v->input, index },
			   edited_dtype(v->make, dtype) != dtype ? v->make : &no_makers, NULL);
}

/* Implements value_copier.global: a dtype named in the call of a composite tensor becomes the dtype of the edited parts. */
static struct str
take_global(void *arg, struct str module, struct str name)
{
	const struct seal_leaves *v = arg;

	return str_eqc(module, "torch") && dtype_is_float(dtype_by_name(name))
		       ? str_c(dtype_name(edited_dtype(v->make, dtype_by_name(name))))
		       : name;
}

/* Returns the copier for composite tensors of an input whose parts are edited by make. */
static struct value_copier *
parts_copier(struct seal *l, uint32_t input, const struct make_chain *make)
{
	struct seal_parts *k;

	for (size_t i = 0; i < l->nparts; i++)
		if (l->parts[i]->leaves.input == input && make_same(l->parts[i]->leaves.make, make))
			return &l->parts[i]->copier;
	l->parts = xgrow(l->parts, l->nparts, &l->cap_parts, sizeof(struct seal_parts *));
	k = l->parts[l->nparts++] = xcalloc(1, sizeof(*k));
	k->leaves = (struct seal_leaves){ .l = l, .input = input, .make = make };
	k->copier = (struct value_copier){
		.leaf = take_part, .global = take_global, .arg = &k->leaves, .dst = l->s->tree, .src = ckpt_of(l, input)->tree
	};
	return &k->copier;
}

/* ---- containers that are written whole */

static uint32_t
keep_leaf(void *arg, enum value_leaf kind, uint32_t index)
{
	(void)arg;
	(void)kind;
	return index;
}

/* Implements value_copier.leaf of seal_containers.out. */
static uint32_t
take_edited(void *arg, enum value_leaf kind, uint32_t index)
{
	const struct seal_leaves *v = arg;
	uint32_t n = ckpt_of(v->l, v->input)->ntensors;

	return kind == LEAF_TENSOR && index >= n ? index - n : take_leaf(arg, kind, index);
}

static void
open_containers(struct seal *l, uint32_t input, struct seal_containers *k)
{
	k->leaves = (struct seal_leaves){ .l = l, .input = input };
	k->tree = vtree_new();
	k->in = (struct value_copier){ .leaf = keep_leaf, .dst = k->tree, .src = ckpt_of(l, input)->tree };
	k->out = (struct value_copier){ .leaf = take_edited, .arg = &k->leaves, .dst = l->s->tree, .src = k->tree };
}

static void
close_containers(const struct seal *l, struct seal_containers *k)
{
	for (uint32_t i = 0; i < l->p->ninputs; i++) {
		if (k[i].tree == NULL)
			continue;
		value_copier_release(&k[i].in);
		value_copier_release(&k[i].out);
		vtree_free(k[i].tree);
		free(k[i].removals);
	}
	free(k);
}

/* Applies the edit of an entry to the container that contains it. */
static void
edit_item(struct seal *l, struct seal_containers *k, struct plan_entry *en)
{
	const struct sd_entry *src = plan_source(l->p, en);
	const struct sd_inside *at = &plan_input_of(l->p, en)->sd->insides[src->inside - 1];
	uint32_t parent = value_copied(&k->in, at->parent), input = k->leaves.input, tensor;

	if (parent == VALUE_ABSENT)
		return;
	if (!en->alive) {
		*xpush(k->removals, k->n, k->cap) = (struct seal_removal){ parent, at->item };
	} else if (src->kind == SD_TENSOR) {
		tensor = find_tensor(l, &(struct make_input){ input, src->tensor }, plan_makers(en), en);
		value_put(k->tree, parent, at->item, value_new_leaf(k->tree, LEAF_TENSOR, ckpt_of(l, input)->ntensors + tensor));
	}
}

static int
by_parent(const void *a, const void *b)
{
	const struct seal_removal *x = a, *y = b;

	return (x->parent > y->parent) - (x->parent < y->parent);
}

static void
remove_items(struct seal_containers *k)
{
	if (k->n > 0)
		qsort(k->removals, k->n, sizeof(*k->removals), by_parent);
	for (size_t i = 0, next; i < k->n; i = next) {
		const uint32_t parent = k->removals[i].parent;
		bool *gone = xcalloc(value_len(k->tree, parent), sizeof(*gone));

		for (next = i; next < k->n && k->removals[next].parent == parent; next++)
			gone[k->removals[next].item] = true;
		value_remove(k->tree, parent, gone);
		free(gone);
	}
}

/* Returns the container of entry i if it is written whole, else NULL. */
static const struct plan_container *
container_of(const struct seal *l, size_t i)
{
	return l->apart ? NULL : plan_container_of(l->p, &l->containers, i);
}

/*
 * Returns the containers of the present file by input, or NULL if none is written whole. The caller frees them with
 * close_containers.
 */
static struct seal_containers *
edit_containers(struct seal *l, struct err *err)
{
	struct seal_containers *k;
	struct plan *p = l->p;

	if (l->containers.n == 0 || l->apart)
		return NULL;
	k = xcalloc(p->ninputs, sizeof(*k));
	for (size_t i = 0; i < l->nentries; i++) {
		const struct plan_container *c = container_of(l, l->entries[i]);

		if (c == NULL || c->first != l->entries[i])
			continue;
		if (k[c->input].tree == NULL)
			open_containers(l, c->input, &k[c->input]);
		(void)value_copy(&k[c->input].in, p->inputs[c->input].sd->containers[c->number].value, err);
		for (size_t item = c->low; item < c->high; item++)
			if (container_of(l, item) == c)
				edit_item(l, &k[c->input], &p->entries[item]);
	}
	for (uint32_t i = 0; i < p->ninputs; i++)
		remove_items(&k[i]);
	return k;
}

static uint32_t
copy_container(struct seal *l, struct seal_containers *k, const struct plan_container *c, struct err *err)
{
	uint32_t h = l->p->inputs[c->input].sd->containers[c->number].value;

	return value_copy(&k[c->input].out, value_copied(&k[c->input].in, h), err);
}

/* Gives one warning for all containers whose tensors become separate entries. */
static void
warn_apart(const struct seal *l)
{
	const struct plan_container *c, *example = NULL;
	size_t n = 0;

	for (size_t i = 0; i < l->containers.n; i++) {
		c = &l->containers.v[i];
		if (c->first == SIZE_MAX || (c->whole && !l->apart))
			continue;
		example = n++ == 0 ? c : example;
	}
	if (n > 0)
		diag_warn(l->p->diag, "%zu %s of the state dict %s taken apart: what it holds becomes entries of their own (%.*s)",
			  n, n == 1 ? "container" : "containers", n == 1 ? "is" : "are",
			  STR_ARG(l->p->inputs[example->input].sd->containers[example->number].name));
}

/* ---- building a new state dict */

static int
add_entry(struct seal *l, uint32_t dict, struct plan_entry *en, struct err *err)
{
	struct vtree *t = l->s->tree;
	const struct sd_entry *src = plan_source(l->p, en);
	uint32_t input = l->p->origins[en->origin].input, val;

	/* In SEAL_KEPT, the object of a tensor may also be referred to from outside the state dict. It is copied as that object. */
	if (src->kind == SD_TENSOR && l->o.shape != SEAL_KEPT)
		val = value_new_leaf(t, LEAF_TENSOR,
				     find_tensor(l, &(struct make_input){ input, src->tensor }, plan_makers(en), en));
	else if (plan_makers(en)->n > 0)
		val = value_copy(parts_copier(l, input, plan_makers(en)), src->value, err);
	else
		val = value_copy(&l->copiers[input], src->value, err);
	if (val == VALUE_ABSENT)
		return err->code == ERR_NONE ? 0 : -1;
	value_set(t, dict, value_new_text(t, VALUE_STR, en->name), val);
	return 0;
}

/* Writes _metadata with each module under its present path. If two modules now have one path, the later one is written. */
static int
add_modules(struct seal *l, uint32_t dict, struct err *err)
{
	struct vtree *t = l->s->tree;
	const struct plan *p = l->p;
	uint32_t modules = VALUE_ABSENT, val, state;
	struct strmap last = STRMAP_INIT;
	const struct plan_entry *en;
	struct str path;
	uint64_t at;
	size_t i;

	for (i = l->nentries; i-- > 0;)
		if (p->entries[l->entries[i]].module && p->entries[l->entries[i]].meta_value != VALUE_ABSENT)
			strmap_add(&last, p->entries[l->entries[i]].name, i);
	for (i = 0; i < l->nentries; i++) {
		en = &p->entries[l->entries[i]];
		if (!en->module || en->meta_value == VALUE_ABSENT || !strmap_get(&last, en->name, &at) || at != i)
			continue;
		val = value_copy(&l->copiers[p->origins[en->origin].input], en->meta_value, err);
		if (val == VALUE_ABSENT)
			break;
		if (modules == VALUE_ABSENT)
			modules = value_new_ordered(t);
		path = en->name;
		if (path.len > 0 && path.p[path.len - 1] == '.')
			path.len--;
		value_set(t, modules, value_new_text(t, VALUE_STR, path), val);
	}
	strmap_release(&last);
	if (i < l->nentries)
		return -1;
	if (modules != VALUE_ABSENT) {
		state = value_new_seq(t, VALUE_DICT);
		value_set(t, state, value_new_text(t, VALUE_STR, str_c("_metadata")), modules);
		value_set_state(t, dict, state);
	}
	return 0;
}

static uint32_t
state_dict(struct seal *l, struct err *err)
{
	const struct statedict *sd = l->p->inputs[0].sd;
	bool ordered = sd->ordered || sd->ckpt->tree == NULL || sd->metadata != VALUE_ABSENT;
	uint32_t dict = ordered ? value_new_ordered(l->s->tree) : value_new_seq(l->s->tree, VALUE_DICT);
	struct seal_containers *k = edit_containers(l, err);
	struct plan *p = l->p;
	int rc = 0;

	if ((l->o.shape == SEAL_KEPT || l->o.shape == SEAL_IN_PLACE) && sd->place != VALUE_ABSENT && !sd->module)
		value_copier_seed(&l->copiers[0], sd->place, dict);
	for (size_t i = 0; rc == 0 && i < l->nentries; i++) {
		size_t entry = l->entries[i];
		const struct plan_container *c = container_of(l, entry);

		if (p->entries[entry].module || (c != NULL && c->first != entry))
			continue;
		if (c != NULL)
			value_set(l->s->tree, dict, value_new_text(l->s->tree, VALUE_STR, c->key), copy_container(l, k, c, err));
		else
			rc = add_entry(l, dict, &p->entries[entry], err);
	}
	if (k != NULL)
		close_containers(l, k);
	if (rc != 0)
		return VALUE_ABSENT;
	return ordered && add_modules(l, dict, err) != 0 ? VALUE_ABSENT : dict;
}

/* ---- values that are carried along the state dict */

static bool
is_carried(struct seal *l, struct str key, bool *asked)
{
	const struct seal_opts *o = &l->o;

	for (size_t i = 0; i < o->ncarry; i++) {
		if (str_eq(o->carry[i], key)) {
			asked[i] = true;
			return true;
		}
	}
	return o->carry_all;
}

/* Is key the first component of the dotted path, with further components after it? If so, sets *rest to these. */
static bool
leads_on(struct str path, struct str key, struct str *rest)
{
	if (!str_starts(path, key) || path.len <= key.len || path.p[key.len] != '.')
		return false;
	*rest = str_from(path, key.len + 1);
	return true;
}

/*
 * Carries one entry of a dict of the first input along the state dict. path leads from this dict to the state dict. The state dict
 * itself is not carried. Of a dict on the way to it, the other entries are carried. An entry with another key that is the very dict
 * of the state dict (an EMA that was never separated) is carried unchanged.
 */
static int
carry_entry(struct seal *l, uint32_t root, uint32_t key, uint32_t val, struct str path, struct err *err)
{
	const struct statedict *sd = l->p->inputs[0].sd;
	const struct vtree *src = sd->ckpt->tree;
	struct vtree *t = l->s->tree;
	const bool text = value_is_text(src, key);
	uint32_t copied, i, there = VALUE_ABSENT;
	struct str rest;

	if (text && tree_is_module(src, val) && leads_on(path, value_text(src, key), &rest))
		return 0; /* a module on the way to the state dict: nothing beside the state dict is kept */
	if (tree_container(src, val) == sd->place && (!text || str_eq(path, value_text(src, key))))
		return 0;
	if (text && value_kind(src, val) == VALUE_DICT && leads_on(path, value_text(src, key), &rest)) {
		/* The output's state dict may be inside this dict already (--under with dots). */
		there = value_get(t, root, value_text(src, key));
		copied = there != VALUE_ABSENT     ? there
			 : value_ordered(src, val) ? value_new_ordered(t)
						   : value_new_seq(t, VALUE_DICT);
		for (i = 0; i < value_len(src, val); i++)
			if (carry_entry(l, copied, value_key(src, val, i), value_val(src, val, i), rest, err) != 0)
				return -1;
	} else {
		copied = value_copy(&l->copiers[0], val, err);
	}
	if (copied == VALUE_ABSENT || there != VALUE_ABSENT)
		return err->code == ERR_NONE ? 0 : -1;
	key = text ? value_new_text(t, VALUE_STR, value_text(src, key)) : value_copy(&l->copiers[0], key, err);
	if (key == VALUE_ABSENT)
		return err->code == ERR_NONE ? 0 : -1;
	value_set(t, root, key, copied);
	return 0;
}

/* Reports that none of the n root entries of c is called key. */
static int
nothing_to_carry(const struct ckpt *c, struct str key, size_t n, struct err *err)
{
	struct nearest near;

	nearest_init(&near, key);
	for (size_t i = 0; i < n; i++)
		if (value_is_text(c->tree, value_key(c->tree, c->root, i)))
			nearest_try(&near, value_text(c->tree, value_key(c->tree, c->root, i)));
	return err_set(err, ERR_INPUT, "%s: nothing to carry: no %.*s at its root%s%.*s%s", c->file, STR_ARG(key),
		       nearest_found(&near) ? "; did you mean " : "", STR_ARG(near.best), nearest_found(&near) ? "?" : "");
}

static int
carry(struct seal *l, uint32_t root, struct err *err)
{
	const struct statedict *sd = l->p->inputs[0].sd;
	const struct vtree *src = sd->ckpt->tree;
	const struct seal_opts *o = &l->o;
	bool *asked = xcalloc(o->ncarry, sizeof(*asked)), text;
	uint32_t from = sd->ckpt->root, key;
	size_t i, n = src == NULL || value_kind(src, from) != VALUE_DICT || from == sd->place ? 0 : value_len(src, from);
	int rc = 0;

	for (i = 0; rc == 0 && i < n; i++) {
		key = value_key(src, from, i);
		text = value_is_text(src, key); /* other keys are carried by --carry-all only */
		if (text ? !is_carried(l, value_text(src, key), asked) : !o->carry_all)
			continue;
		if (text && o->nbelow == 0 && str_eq(value_text(src, key), o->under) &&
		    tree_container(src, value_val(src, from, i)) != sd->place)
			rc = err_set(err, ERR_USAGE,
				     "%s: cannot carry %.*s: the state dict is written there; name another place with "
				     "--under",
				     sd->ckpt->file, STR_ARG(o->under));
		else
			rc = carry_entry(l, root, key, value_val(src, from, i), sd->key, err);
	}
	for (i = 0; rc == 0 && i < o->ncarry; i++)
		if (!asked[i])
			rc = nothing_to_carry(sd->ckpt, o->carry[i], n, err);
	free(asked);
	return rc;
}

static int
build_tree(struct seal *l, struct err *err)
{
	struct vtree *t = l->s->tree;
	uint32_t dict = state_dict(l, err), root;

	if (dict == VALUE_ABSENT)
		return -1;
	l->s->m.root = dict;
	if (l->o.shape != SEAL_UNDER)
		return 0;
	for (size_t i = l->o.nbelow; i-- > 0; dict = root) {
		root = value_new_seq(t, VALUE_DICT);
		value_set(t, root, value_new_text(t, VALUE_STR, l->o.below[i]), dict);
	}
	root = value_new_seq(t, VALUE_DICT);
	value_set(t, root, value_new_text(t, VALUE_STR, l->o.under), dict);
	l->s->m.root = root;
	return carry(l, root, err);
}

/* ---- the first input's object, edited in place */

/* Wraps inner in dicts along path, which leads from value from of the first input's tree to the state dict. */
static uint32_t
put_below(struct seal *l, uint32_t from, struct str path, uint32_t inner)
{
	const struct vtree *src = ckpt_of(l, 0)->tree;
	struct vtree *t = l->s->tree;
	struct str key, rest;
	uint32_t dict;

	if (path.len == 0)
		return inner;
	key = value_path_key(src, from, path);
	rest = str_from(path, key.len < path.len ? key.len + 1 : path.len);
	inner = put_below(l, value_path(src, from, key), rest, inner);
	dict = value_new_seq(t, VALUE_DICT);
	value_set(t, dict, value_new_text(t, VALUE_STR, key), inner);
	return dict;
}

/* Fills edited. All names of a tensor must agree, since an edit in place changes the object that they share. */
static int
edit_tensors(struct seal *l, uint32_t *edited, struct err *err)
{
	const struct ckpt *c = ckpt_of(l, 0);
	struct plan_entry **owners = xcalloc(c->ntensors, sizeof(struct plan_entry *)), *en;
	uint32_t tensor;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < l->p->nentries; i++) {
		en = &l->p->entries[i];
		if (en->module || plan_source(l->p, en)->kind != SD_TENSOR)
			continue;
		tensor = plan_source(l->p, en)->tensor;
		if (owners[tensor] != NULL &&
		    (owners[tensor]->alive != en->alive || !made_alike(plan_makers(owners[tensor]), plan_makers(en))))
			rc = err_input(err, c->file, "'%.*s' and '%.*s' are one tensor, of which only one name is to change",
				       STR_ARG(owners[tensor]->name), STR_ARG(en->name));
		owners[tensor] = en;
		edited[tensor] = EDIT_DROP;
		if (en->alive)
			edited[tensor] = find_tensor(l, &(struct make_input){ 0, tensor }, plan_makers(en), en) + EDIT_TENSOR;
	}
	free(owners);
	return rc;
}

static int
edit_tree(struct seal *l, struct err *err)
{
	const struct statedict *sd = l->p->inputs[0].sd;
	uint32_t *edited = xcalloc(sd->ckpt->ntensors, sizeof(*edited)), root = VALUE_ABSENT;
	struct seal_leaves leaves = { .l = l, .edited = edited };
	struct value_copier copier = { .leaf = take_leaf, .arg = &leaves, .dst = l->s->tree, .src = sd->ckpt->tree };

	if (edit_tensors(l, edited, err) == 0)
		root = value_copy(&copier, l->o.drop_rest ? sd->place : sd->ckpt->root, err);
	value_copier_release(&copier);
	free(edited);
	if (root == VALUE_ABSENT)
		return -1;
	l->s->m.root = l->o.drop_rest ? put_below(l, sd->ckpt->root, sd->key, root) : root;
	return 0;
}

/* A module whose state dict is edited is replaced by the state dict itself: a pickled module cannot express other names. */
static int
replace_module(struct seal *l, struct err *err)
{
	const struct statedict *sd = l->p->inputs[0].sd;
	uint32_t dict = state_dict(l, err);

	if (dict == VALUE_ABSENT)
		return -1;
	l->s->m.root = put_below(l, sd->ckpt->root, sd->key, dict);
	l->o.carry_all = true;
	return l->o.drop_rest || sd->key.len == 0 ? 0 : carry(l, l->s->m.root, err);
}

/* Returns true if a tensor has another name than in the input, or is written under several names. */
static bool
has_new_names(const struct seal *l)
{
	const struct plan_entry *en = l->p->entries;

	for (size_t i = 0; i < l->p->nentries; i++, en++)
		if (en->alive && !en->module &&
		    (l->p->origins[en->origin].outputs > 1 || !str_eq(en->name, plan_source(l->p, en)->name)))
			return true;
	return false;
}

/* Writes the whole object, with a new state dict in the place of the old one. */
static int
rename_tree(struct seal *l, struct err *err)
{
	const struct statedict *sd = l->p->inputs[0].sd;
	uint32_t dict = state_dict(l, err);

	if (dict == VALUE_ABSENT)
		return -1;
	l->s->m.root =
		l->o.drop_rest ? put_below(l, sd->ckpt->root, sd->key, dict) : value_copy(&l->copiers[0], sd->ckpt->root, err);
	return 0;
}

/* Builds the tree of the output, and adds the tensors and storages that it refers to. */
static int
make_tree(struct seal *l, struct err *err)
{
	l->s->m.tree = l->s->tree;
	if (l->o.shape == SEAL_KEPT)
		return rename_tree(l, err);
	if (l->o.shape != SEAL_IN_PLACE || ckpt_of(l, 0)->tree == NULL)
		return build_tree(l, err);
	if (l->p->inputs[0].sd->module)
		return replace_module(l, err);
	return has_new_names(l) ? rename_tree(l, err) : edit_tree(l, err);
}

/* ---- safetensors: names and metadata instead of a tree */

static int
composite(const struct plan *p, const struct plan_entry *en, struct err *err)
{
	return err_input(err, plan_file(p, en),
			 "%.*s: not a plain tensor (sparse, quantised, a DTensor or without data); safetensors cannot hold it; "
			 "drop it or use --to torch%s",
			 STR_ARG(en->name), composite_way(sd_tensor(plan_input_of(p, en)->sd, plan_source(p, en))));
}

/* Lists the tensors for a container without a tree. Each name gets a tensor of its own. */
static int
list_tensors(struct seal *l, struct err *err)
{
	struct str example = STR_LIT("");
	uint64_t others = 0;
	struct plan_entry *en;

	for (size_t i = 0; i < l->nentries; i++) {
		en = &l->p->entries[l->entries[i]];
		if (en->module)
			continue;
		if (plan_source(l->p, en)->kind == SD_OTHER) {
			example = others++ == 0 ? en->name : example;
			plan_note(l->p, en, PLAN_DROPPED, NULL, "safetensors holds tensors only");
			continue;
		}
		if (plan_source(l->p, en)->kind != SD_TENSOR)
			return composite(l->p, en, err);
		add_tensor(l, &(struct make_input){ l->p->origins[en->origin].input, plan_source(l->p, en)->tensor },
			   plan_makers(en), en);
	}
	if (others > 0 && l->file == 0)
		diag_warn(l->p->diag, "%llu %s left out of safetensors (%.*s)", (unsigned long long)others,
			  others == 1 ? "entry of the state dict is not a tensor and is"
				      : "entries of the state dict are not tensors and are",
			  STR_ARG(example));
	return 0;
}

/* Returns the present names of the first input's tensors, by entry of its state dict. The name of a dropped entry is empty. */
static struct str *
present_names(const struct plan *p)
{
	const struct statedict *sd = p->inputs[0].sd;
	struct str *names = xcalloc(sd->n, sizeof(*names));

	for (size_t i = p->nentries; i-- > 0;)
		if (p->entries[i].alive && !p->entries[i].module && p->origins[p->entries[i].origin].input == 0)
			names[plan_source(p, &p->entries[i]) - sd->entries] = p->entries[i].name;
	return names;
}

/* Returns the value of CKPT_SHARDING_KEY in __metadata__: where each tensor begins in the whole one. torch requires it. */
static struct str
sharding_info(struct seal *l)
{
	const struct tensor *t;
	struct json_writer w;
	struct buf b = BUF_INIT;

	json_writer_init(&w, &b, false);
	json_begin_object(&w);
	for (size_t i = 0; i < l->nout; i++) {
		t = tensor_of(l, &l->out[i]);
		json_begin_object(json_key_str(&w, l->out[i].entry->name));
		json_begin_array(json_key(&w, "saved_offsets"));
		for (unsigned k = 0; k < t->ndim; k++)
			json_put_u64(&w, t->more != NULL && t->more->low != NULL ? t->more->low[k] : 0);
		json_end_array(&w);
		json_end_object(&w);
	}
	json_end_object(&w);
	return arena_take(&l->s->arena, &b);
}

static void
add_meta(struct manifest *m, struct str key, struct str value)
{
	m->meta_keys[m->nmeta] = key;
	m->meta_values[m->nmeta++] = value;
}

static void
edit_meta(struct manifest *m, const struct plan_meta *edit)
{
	size_t i = 0;

	while (i < m->nmeta && !str_eq(m->meta_keys[i], edit->key))
		i++;
	if (edit->drop) {
		m->nmeta -= i < m->nmeta;
		for (; i < m->nmeta; i++) {
			m->meta_keys[i] = m->meta_keys[i + 1];
			m->meta_values[i] = m->meta_values[i + 1];
		}
	} else if (i < m->nmeta) {
		m->meta_values[i] = edit->value;
	} else {
		add_meta(m, edit->key, edit->value);
	}
}

/* Fills __metadata__. Names in it become those of the output. A name that is tied to a dropped entry is dropped, too. */
static void
flat_metadata(struct seal *l)
{
	const struct plan *p = l->p;
	const struct statedict *sd = p->inputs[0].sd;
	const struct ckpt *c = sd->ckpt;
	struct manifest *m = &l->s->m;
	struct str *names = c->nmeta > 0 ? present_names(p) : NULL;
	size_t tie = 0; /* next module entry; the entries for ties are in the order of __metadata__ */

	m->meta_keys = arena_calloc(&l->s->arena, c->nmeta + p->nmeta + 3, sizeof(*m->meta_keys));
	m->meta_values = arena_calloc(&l->s->arena, c->nmeta + p->nmeta + 3, sizeof(*m->meta_values));
	for (size_t i = 0; i < c->nmeta; i++) {
		const struct sd_entry *tied = statedict_find(sd, c->meta_values[i]);

		if (tied != NULL) {
			while (!p->entries[tie].module || p->origins[p->entries[tie].origin].input != 0)
				tie++;
			if (names[tied - sd->entries].p != NULL)
				add_meta(m, p->entries[tie].name, names[tied - sd->entries]);
			tie++;
		} else if (str_eqc(c->meta_keys[i], CKPT_SHARDING_KEY)) {
			add_meta(m, c->meta_keys[i], sharding_info(l));
		} else if (!str_eqc(c->meta_keys[i], CKPT_TABLES_KEY) && !str_eqc(c->meta_keys[i], CKPT_NOTE_KEY)) {
			add_meta(m, c->meta_keys[i], c->meta_values[i]);
		}
	}
	if (c->nmeta == 0 && l->o.shape != SEAL_KEPT)
		add_meta(m, str_c("format"), str_c("pt"));
	if (p->tables.len > 0)
		add_meta(m, str_c(CKPT_TABLES_KEY), p->tables);
	for (size_t i = 0; i < p->nmeta; i++)
		edit_meta(m, &p->meta[i]);
	if (p->note.len > 0)
		add_meta(m, str_c(CKPT_NOTE_KEY), p->note);
	free(names);
}

/* ---- checks on names */

static int
key_collision(const struct plan *p, const struct plan_entry *en, const struct plan_container *c, struct err *err)
{
	return err_set(err, ERR_INPUT, "%s: %.*s and the container %.*s would both be written as %.*s", plan_file(p, en),
		       STR_ARG(plan_source(p, en)->name), STR_ARG(p->inputs[c->input].sd->containers[c->number].name),
		       STR_ARG(c->key));
}

static int
check_names(const struct seal *l, struct err *err)
{
	const struct plan *p = l->p;
	struct strmap seen = STRMAP_INIT;
	uint64_t other, tensors = 0;
	int rc = plan_map_names(p, &seen, err);

	for (const struct plan_entry *en = plan_next(p, NULL); en != NULL; en = plan_next(p, en))
		tensors += plan_source(p, en)->kind != SD_OTHER;
	for (size_t i = 0; rc == 0 && !l->apart && i < l->containers.n; i++) {
		const struct plan_container *c = &l->containers.v[i];

		if (c->whole && c->first != SIZE_MAX && !strmap_add(&seen, c->key, c->first) && strmap_get(&seen, c->key, &other))
			rc = key_collision(p, &p->entries[other], c, err);
	}
	strmap_release(&seen);
	if (rc == 0 && tensors == 0 && p->note.len == 0)
		rc = err_set(err, ERR_ANSWER, "no tensor is left to write");
	return rc;
}

/* ---- assigning tensors to storages */

/*
 * If the container shares storages, tensors that share an input's storage also share an output's storage, except those that are
 * given a storage of their own. If it does not, every tensor has its own storage.
 */

/* A tensor of the output that is to be assigned a storage. */
struct seal_place {
	uint32_t number; /* index in seal.out */
	uint32_t input, storage;
	bool own;        /* gets a storage of its own */
	uint64_t offset; /* in bytes; orders the tensors of one storage */
};

struct seal_places {
	struct seal *l;
	struct seal_place *all;
	size_t n;
};

/* If x is an unchanged run of the elements of its tensor, sets *run to it and returns true. Else *run is the whole tensor. */
static bool
run_of(const struct seal *l, const struct seal_tensor *x, struct boxes_range *run)
{
	struct make_form form;

	*run = boxes_whole(tensor_of(l, x));
	make_form_of(&form, run->tensor);
	if (!make_gathers(x->make, &form, &run->from))
		return false;
	make_shape(x->make, &form);
	run->to = run->from + make_count(&form);
	return true;
}

static struct make_form
form_of(const struct seal *l, const struct seal_tensor *x)
{
	struct make_form form;

	make_form_of(&form, tensor_of(l, x));
	make_shape(x->make, &form);
	return form;
}

/*
 * Must a tensor be moved to a storage of its own? Makers that work on each element alone can be applied to a whole storage if the
 * storage has the tensor's dtype. The elements of an untyped storage have the dtype of the tensors in it.
 */
static bool
leaves_storage(const struct seal *l, const struct seal_tensor *x)
{
	const struct tensor *t = tensor_of(l, x);
	const struct storage *s;

	if (!l->o.writer->shares || (make_traits(x->make) & MAKE_ALL_EACH) == 0 || !is_plain(t))
		return true;
	s = storage_of(l, x);
	if (x->make->n == 0 && (s->flags & STORAGE_BIG_ENDIAN) == 0)
		return false;
	return s->untyped || s->dtype != t->dtype;
}

/* Gives tensors with makers storages of their own, unless all tensors that stay in the shared storage have the same makers. */
static void
part_mixed(struct seal_places *pl, size_t from, size_t to)
{
	const struct make_chain *first = NULL;
	const struct seal_tensor *x;
	bool mixed = false;

	for (size_t i = from; i < to; i++) {
		x = &pl->l->out[pl->all[i].number];
		if (pl->all[i].own)
			continue;
		mixed = mixed || (first != NULL && !make_same(first, x->make));
		first = x->make;
	}
	for (size_t i = from; mixed && i < to; i++)
		if (pl->l->out[pl->all[i].number].make->n > 0)
			pl->all[i].own = true;
}

static int
by_source(const void *a, const void *b)
{
	const struct seal_place *x = a, *y = b;

	if (x->input != y->input)
		return x->input < y->input ? -1 : 1;
	if (x->storage != y->storage)
		return x->storage < y->storage ? -1 : 1;
	if (x->own != y->own)
		return x->own ? 1 : -1;
	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	return x->number < y->number ? -1 : x->number > y->number;
}

static void
sort_places(struct seal_place *all, size_t n)
{
	size_t i = 1;

	while (i < n && by_source(&all[i - 1], &all[i]) < 0)
		i++;
	if (i < n) /* qsort needs the same amount of memory once more */
		qsort(all, n, sizeof(*all), by_source);
}

/* Returns the end of the run of tensors, from index from on, that share one storage. */
static size_t
group_end(const struct seal_places *pl, size_t from)
{
	size_t i = from;

	while (i < pl->n && pl->all[i].input == pl->all[from].input && pl->all[i].storage == pl->all[from].storage)
		i++;
	return i;
}

static void
list_places(struct seal_places *pl)
{
	struct seal *l = pl->l;
	const struct seal_tensor *x;
	const struct tensor *t;
	struct boxes_range run;
	struct box box;
	size_t i, j;

	pl->all = xreallocn(NULL, l->nout, sizeof(*pl->all));
	for (i = 0; i < l->nout; i++) {
		x = &l->out[i];
		t = tensor_of(l, x);
		if (boxes_count(t) == 0) { /* a tensor without data: on the meta device, or made of parts */
			l->s->m.tensors[i] = *t;
			continue;
		}
		box = boxes_get(t, 0);
		(void)run_of(l, x, &run);
		pl->all[pl->n++] = (struct seal_place){ (uint32_t)i, x->input, box.storage, leaves_storage(l, x),
							(box.offset + run.from) * dtype_size(t->dtype) };
	}
	sort_places(pl->all, pl->n);
	for (i = 0; i < pl->n; i = j) {
		j = group_end(pl, i);
		part_mixed(pl, i, j);
		sort_places(pl->all + i, j - i);
	}
}

/* ---- storages of the output */

/* Returns the position of a storage in the order of its source. */
static uint32_t
rank_of(const struct seal *l, uint32_t input, uint32_t storage)
{
	const uint32_t *rank = ckpt_of(l, input)->rank;

	return rank != NULL ? rank[storage] : storage;
}

/* Returns the storage of the input that an output reads and whose rank_of is highest. */
static uint32_t
last_read(const struct seal *l, const struct sealed_output *out)
{
	uint32_t last = out->storage, storage;

	for (unsigned i = 0; out->made != NULL && i < out->made->make->n; i++) {
		const struct make *m = out->made->make->v[i];

		for (unsigned k = 0; k < m->nmore; k++) {
			storage = boxes_get(&ckpt_of(l, m->more[k].input)->tensors[m->more[k].tensor], 0).storage;
			if (m->more[k].input == out->input && rank_of(l, out->input, storage) > rank_of(l, out->input, last))
				last = storage;
		}
	}
	return last;
}

static uint32_t
add_storage(struct seal *l, const struct manifest_storage *ms, const struct sealed_output *out)
{
	uint32_t i = l->s->m.nstorages++;

	l->s->m.storages[i] = *ms;
	l->s->outputs[i] = *out;
	return i;
}

static const struct sealed_made *
new_made(const struct seal *l, const struct tensor *t, const struct make_chain *make)
{
	struct sealed_made *made = arena_alloc(&l->s->arena, sizeof(*made));

	*made = (struct sealed_made){ t, make };
	return made;
}

/* Adds an input's whole storage to the output. If elements change, it is read as one tensor of the given dtype. */
static uint32_t
whole_storage(struct seal *l, uint32_t input, uint32_t storage, uint8_t dtype, const struct make_chain *make)
{
	const struct storage *s = &ckpt_of(l, input)->storages[storage];
	struct manifest_storage ms = { s->nbytes, s->dtype, s->untyped };
	struct sealed_output out = { .input = input, .storage = storage };
	struct make_form form = { .dtype = dtype, .ndim = 1 };
	struct tensor *all;

	if (make->n > 0 || ((s->flags & STORAGE_BIG_ENDIAN) && dtype_size(dtype) > 1)) {
		form.shape[0] = s->nbytes / dtype_size(dtype);
		all = arena_calloc(&l->s->arena, 1, sizeof(*all));
		out.made = new_made(l, all, make);
		*all = (struct tensor){ .storage = storage, .wrap = VALUE_ABSENT, .dtype = dtype };
		tensor_set_shape(all, &l->s->arena, form.shape, 1);
		make_shape(make, &form);
		ms = (struct manifest_storage){ form.shape[0] * dtype_size(form.dtype), form.dtype,
						dtype_info(form.dtype)->storage == NULL };
	}
	return add_storage(l, &ms, &out);
}

static uint32_t
own_storage(struct seal *l, const struct seal_tensor *x)
{
	const struct tensor *t = tensor_of(l, x);
	struct boxes_range run;
	struct make_form form = form_of(l, x);
	struct manifest_storage ms = { make_count(&form) * dtype_size(form.dtype), form.dtype,
				       dtype_info(form.dtype)->storage == NULL };
	struct sealed_output out = { .input = x->input };

	if (run_of(l, x, &run) && boxes_stored(ckpt_of(l, x->input), &run, &out.storage, &out.off)) {
		ms.nbytes = boxes_bytes(&run);
	} else {
		out.storage = boxes_get(t, 0).storage;
		out.made = new_made(l, t, x->make);
	}
	if (ms.untyped && l->o.writer->shares)
		ms.dtype = DTYPE_UINT8;
	return add_storage(l, &ms, &out);
}

/* ---- tensors of the output */

/* Do a and b have the same elements and the same result? Such tensors were tied as separate objects, and stay tied. */
static bool
same_view(const struct seal *l, const struct seal_tensor *a, const struct seal_tensor *b)
{
	const struct tensor *x = tensor_of(l, a), *y = tensor_of(l, b);

	if (!is_plain(x) || !is_plain(y) || x->offset != y->offset || x->dtype != y->dtype || !tensor_same_shape(x, y) ||
	    ((x->flags ^ y->flags) & (TENSOR_CONJ | TENSOR_NEG)))
		return false;
	return memcmp(x->stride, y->stride, x->ndim * sizeof(*x->stride)) == 0 && make_same(a->make, b->make);
}

/* Returns the storage for tensor i of the group that begins at index group. shared is the storage of those that stay together. */
static uint32_t
place_one(struct seal_places *pl, size_t i, size_t group, uint32_t shared)
{
	struct seal *l = pl->l;
	const struct seal_tensor *x = &l->out[pl->all[i].number];
	size_t back;

	if (!pl->all[i].own)
		return shared;
	for (back = i; l->o.writer->shares && back-- > group && pl->all[back].own && i - back <= 64;)
		if (same_view(l, x, &l->out[pl->all[back].number]))
			return l->s->m.tensors[pl->all[back].number].storage;
	if (x->make != x->edit && x->entry != NULL)
		plan_note(l->p, x->entry, PLAN_MADE, l->o.views->kind, l->o.views_by);
	return own_storage(l, x);
}

/* Assigns storages to all tensors that share one input storage: [from, to). */
static void
place_group(struct seal_places *pl, size_t from, size_t to)
{
	struct seal *l = pl->l;
	const struct seal_tensor *x;
	struct make_form form;
	struct tensor *out;
	uint32_t shared = UINT32_MAX;

	for (size_t i = from; i < to; i++) {
		x = &l->out[pl->all[i].number];
		if (!pl->all[i].own && shared == UINT32_MAX)
			shared = whole_storage(l, x->input, pl->all[i].storage, tensor_of(l, x)->dtype, x->make);
		form = form_of(l, x);
		out = &l->s->m.tensors[pl->all[i].number];
		*out = *tensor_of(l, x);
		out->dtype = form.dtype;
		out->wrap = x->wrap;
		out->storage = place_one(pl, i, from, shared);
		if (!pl->all[i].own)
			continue;
		tensor_set_shape(out, &l->s->arena, form.shape, form.ndim);
		out->more = NULL;
		out->offset = 0;
		out->flags &= (uint8_t) ~(TENSOR_CONJ | TENSOR_NEG);
	}
}

/* Assigns output storages to those that the pickle refers to directly. A storage that is copied whole already is reused. */
static void
place_storages(struct seal *l)
{
	const struct sealed_output *t;
	uint32_t *at;

	for (uint32_t i = 0; l->nloose > 0 && i < l->s->m.nstorages; i++) {
		t = &l->s->outputs[i];
		if (t->made != NULL || t->off != 0 ||
		    l->s->m.storages[i].nbytes != ckpt_of(l, t->input)->storages[t->storage].nbytes ||
		    l->storages[t->input] == NULL)
			continue;
		at = &l->storages[t->input][t->storage];
		if (*at != UINT32_MAX && l->loose[*at].out == UINT32_MAX)
			l->loose[*at].out = i;
	}
	for (size_t i = 0; i < l->nloose; i++) {
		struct seal_storage *b = &l->loose[i];

		if (b->out == UINT32_MAX)
			b->out = whole_storage(l, b->input, b->storage, ckpt_of(l, b->input)->storages[b->storage].dtype,
					       &no_makers);
	}
}

/* ---- order of the storages */

/* Returns true if every storage is aligned in this order. If order is NULL, their present order is checked. */
static bool
is_aligned(const struct seal *l, const uint32_t *order)
{
	uint64_t at = 0;

	if (l->o.writer->pickles || l->o.shape == SEAL_KEPT)
		return true; /* the writer chooses the positions, or they are fixed */
	for (uint32_t i = 0; i < l->s->m.nstorages; i++) {
		const struct manifest_storage *ms = &l->s->m.storages[order != NULL ? order[i] : i];
		uint32_t size = dtype_size(ms->dtype);

		if (size > 1 && at % size != 0)
			return false;
		at += ms->nbytes;
	}
	return true;
}

/* Sorts storages by element size, largest first. Equal sizes keep their order. */
static void
sort_by_size(const struct seal *l, uint32_t *order)
{
	static const uint32_t sizes[] = { 16, 8, 4, 2, 1, 0 };
	uint32_t n = l->s->m.nstorages, *sorted = xreallocn(NULL, n, sizeof(*sorted)), k = 0;

	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++)
		for (uint32_t i = 0; i < n; i++)
			if (dtype_size(l->s->m.storages[order[i]].dtype) == sizes[s])
				sorted[k++] = order[i];
	memcpy(order, sorted, n * sizeof(*order));
	free(sorted);
}

static uint64_t
place_key(const struct seal *l, uint32_t input, uint32_t storage)
{
	return (uint64_t)input << 32 | rank_of(l, input, storage);
}

/* Returns the sort key of an output: the position in the source of the last storage that it reads. */
static uint64_t
output_key(const struct seal *l, uint32_t i)
{
	return place_key(l, l->s->outputs[i].input, last_read(l, &l->s->outputs[i]));
}

/* A storage that is to be assigned its place in the order. */
struct seal_rank {
	uint64_t lead; /* the lowest key of all storages of its item */
	uint32_t item;
	uint64_t key; /* place_key of its source */
	uint32_t number;
};

static int
by_rank(const void *a, const void *b)
{
	const struct seal_rank *x = a, *y = b;

	if (x->lead != y->lead)
		return x->lead < y->lead ? -1 : 1;
	if (x->item != y->item)
		return x->item < y->item ? -1 : 1;
	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return x->number < y->number ? -1 : x->number > y->number;
}

/* Sorts storages in the order of their sources, but keeps the storages of one item together. */
static void
rank(const struct seal *l, uint32_t *order)
{
	const struct manifest *m = &l->s->m;
	struct seal_rank *all = xcalloc(m->nstorages, sizeof(*all));
	uint64_t *lead = memset(xcalloc(m->nitems, sizeof(*lead)), 0xff, m->nitems * sizeof(*lead));
	uint32_t i;

	for (i = 0; i < m->nstorages; i++) {
		all[i].key = all[i].lead = output_key(l, i);
		all[i].number = i;
		if (m->item_of == NULL)
			continue;
		all[i].item = m->item_of[i];
		if (all[i].key < lead[all[i].item])
			lead[all[i].item] = all[i].key;
	}
	for (i = 0; m->item_of != NULL && i < m->nstorages; i++)
		all[i].lead = lead[all[i].item];
	if (m->nstorages > 0)
		qsort(all, m->nstorages, sizeof(*all), by_rank);
	for (i = 0; i < m->nstorages; i++)
		order[i] = all[i].number;
	free(all);
	free(lead);
}

/* Returns true if the storages are already in the order of their keys, and need not be grouped by items. */
static bool
is_ranked(const struct seal *l)
{
	for (uint32_t i = 1; i < l->s->m.nstorages; i++)
		if (output_key(l, i) < output_key(l, i - 1))
			return false;
	return l->s->m.item_of == NULL;
}

/* Puts storages into the order of their sources, or of alignment. Renumbers the references to them. */
static void
arrange(struct seal *l)
{
	struct manifest *m = &l->s->m;
	uint32_t n = m->nstorages, *order = xreallocn(NULL, n, sizeof(*order)), *place = xreallocn(NULL, n, sizeof(*place)), i;
	struct manifest_storage *ms = xcalloc(n, sizeof(*ms));
	struct sealed_output *outputs = xcalloc(n, sizeof(*outputs));
	uint32_t *item_of = m->item_of == NULL ? NULL : arena_calloc(&l->s->arena, n, sizeof(*item_of));

	rank(l, order);
	if (!is_aligned(l, order))
		sort_by_size(l, order);
	for (i = 0; i < n; i++) {
		place[order[i]] = i;
		ms[i] = m->storages[order[i]];
		outputs[i] = l->s->outputs[order[i]];
		if (item_of != NULL)
			item_of[i] = m->item_of[order[i]];
	}
	for (i = 0; i < m->ntensors; i++)
		if (m->tensors[i].storage != STORAGE_NONE)
			m->tensors[i].storage = place[m->tensors[i].storage];
	for (i = 0; i < l->nloose; i++)
		l->loose[i].out = place[l->loose[i].out];
	free(m->storages);
	free(l->s->outputs);
	m->storages = ms;
	m->item_of = item_of;
	l->s->outputs = outputs;
	free(order);
	free(place);
}

static void
number_storages(const struct seal *l)
{
	uint32_t index;

	for (uint32_t h = 0; l->nloose > 0 && h < vtree_count(l->s->tree); h++)
		if (value_kind(l->s->tree, h) == VALUE_LEAF && value_leaf(l->s->tree, h, &index) == LEAF_STORAGE)
			value_set_leaf(l->s->tree, h, l->loose[index].out);
}

static void
name_all(struct seal *l)
{
	if (l->o.writer->pickles)
		return;
	l->s->m.names = arena_calloc(&l->s->arena, l->nout, sizeof(*l->s->m.names));
	for (size_t i = 0; i < l->nout; i++)
		l->s->m.names[i] = l->out[i].entry->name;
}

/* Assigns storages to all tensors. Fills the manifest and the outputs. */
static int
place_all(struct seal *l, struct err *err)
{
	struct seal_places pl = { .l = l };
	size_t i, j, most = l->nout + l->nloose;
	int rc;

	l->s->m.ntensors = (uint32_t)l->nout;
	l->s->m.tensors = arena_calloc(&l->s->arena, l->nout, sizeof(*l->s->m.tensors));
	l->s->m.storages = xcalloc(most, sizeof(*l->s->m.storages));
	l->s->outputs = xcalloc(most, sizeof(*l->s->outputs));
	list_places(&pl);
	for (i = 0; i < pl.n; i = j) {
		j = group_end(&pl, i);
		place_group(&pl, i, j);
	}
	place_storages(l);
	free(pl.all);
	rc = l->o.writer->itemise == NULL ? 0 : l->o.writer->itemise(&l->s->m, &l->s->arena, err);
	if (rc < 0)
		return -1;
	if (!is_ranked(l) || !is_aligned(l, NULL))
		arrange(l);
	for (i = 0; i < l->s->m.nstorages; i++)
		l->s->bytes += l->s->m.storages[i].nbytes;
	name_all(l);
	number_storages(l);
	return 0;
}

/* ---- steps */

struct seal_steps {
	struct seal *l;
	size_t cap_lessons, nreads, cap_reads;
	size_t nsteps;
	uint64_t *highest;        /* by output: the highest place_key of it and the outputs before it */
	struct sealed_place *low; /* by input: the first byte that the steps after the present one read */
	size_t *turns;            /* by input: the number of its ranges that the present step reads */
};

/* Returns the first output whose highest key is at least key. */
static uint32_t
first_from(const struct seal_steps *k, uint64_t key)
{
	uint32_t low = 0, high = k->l->s->m.nstorages, middle;

	while (low < high) {
		middle = low + (high - low) / 2;
		if (k->highest[middle] < key)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Schedules the reading of contents that m waits for: where the stream reaches them, or at the latest right before output. */
static void
add_lesson(struct seal_steps *k, uint32_t output, const struct plan_entry *en, struct make *m)
{
	const struct tensor *t = &ckpt_of(k->l, m->waits->input)->tensors[m->waits->tensor];
	struct sealed_lesson x = { .entry = en, .make = m };
	struct sealed *s = k->l->s;

	x.key = place_key(k->l, m->waits->input, boxes_get(t, 0).storage);
	x.before = first_from(k, x.key);
	if (x.before > output)
		x.before = output;
	*xpush(s->lessons, s->nlessons, k->cap_lessons) = x;
}

static int
by_time(const void *a, const void *b)
{
	const struct sealed_lesson *x = a, *y = b;

	if (x->before != y->before)
		return x->before < y->before ? -1 : 1;
	return (x->key > y->key) - (x->key < y->key);
}

static void
list_lessons(struct seal_steps *k)
{
	const struct sealed *s = k->l->s;
	const struct seal_tensor *x;
	uint64_t key;

	k->highest = xreallocn(NULL, s->m.nstorages, sizeof(*k->highest));
	for (uint32_t i = 0; i < s->m.nstorages; i++) {
		key = output_key(k->l, i);
		k->highest[i] = i > 0 && k->highest[i - 1] > key ? k->highest[i - 1] : key;
	}
	for (size_t i = 0; i < k->l->nout; i++) {
		x = &k->l->out[i];
		for (unsigned m = 0; m < x->make->n; m++)
			if (x->make->v[m]->waits != NULL)
				add_lesson(k, s->m.tensors[i].storage, x->entry, x->make->v[m]);
	}
	if (s->nlessons > 0)
		qsort(s->lessons, s->nlessons, sizeof(*s->lessons), by_time);
	free(k->highest);
}

static void
add_read(struct seal_steps *k, uint32_t input, uint32_t storage, uint64_t begin, uint64_t end)
{
	struct sealed *s = k->l->s;

	if (begin == end || !source_is_stream(ckpt_of(k->l, input)->src))
		return;
	*xpush(s->reads, k->nreads, k->cap_reads) =
		(struct sealed_read){ .input = input, .storage = storage, .end = end, .free_off = begin };
}

static void
read_tensor(struct seal_steps *k, uint32_t input, const struct tensor *t)
{
	uint64_t size = dtype_size(t->dtype), first, end;
	struct tensor part = *t;
	struct box box;

	for (size_t i = 0; i < boxes_count(t); i++) {
		box = boxes_get(t, i);
		part.shape = box.size;
		part.stride = box.stride;
		part.offset = box.offset;
		tensor_span(&part, &first, &end);
		if (size > 0)
			add_read(k, input, box.storage, first * size, end * size);
	}
}

static void
read_input(struct seal_steps *k, const struct make_input *in)
{
	read_tensor(k, in->input, &ckpt_of(k->l, in->input)->tensors[in->tensor]);
}

static void
read_output(struct seal_steps *k, uint32_t i)
{
	const struct sealed_output *t = &k->l->s->outputs[i];

	if (t->made == NULL) {
		add_read(k, t->input, t->storage, t->off, t->off + k->l->s->m.storages[i].nbytes);
		return;
	}
	read_tensor(k, t->input, t->made->tensor);
	for (unsigned m = 0; m < t->made->make->n; m++)
		for (unsigned n = 0; n < t->made->make->v[m]->nmore; n++)
			read_input(k, &t->made->make->v[m]->more[n]);
}

/* Lists, for each step, the bytes of streams that it reads. */
static void
list_reads(struct seal_steps *k)
{
	struct sealed *s = k->l->s;
	size_t lesson = 0;

	s->reads_end = arena_calloc(&s->arena, s->m.nstorages + s->nlessons, sizeof(*s->reads_end));
	for (uint32_t i = 0; i <= s->m.nstorages; i++) {
		for (; lesson < s->nlessons && s->lessons[lesson].before == i; lesson++) {
			read_input(k, s->lessons[lesson].make->waits);
			s->reads_end[k->nsteps++] = k->nreads;
		}
		if (i == s->m.nstorages)
			break;
		read_output(k, i);
		s->reads_end[k->nsteps++] = k->nreads;
	}
}

static bool
is_before(struct sealed_place a, struct sealed_place b)
{
	return a.storage != b.storage ? a.storage < b.storage : a.off < b.off;
}

/* Sets low to what is read after the last step: what later files read, or nothing. */
static void
start_low(struct seal_steps *k)
{
	const struct split *split = k->l->o.split;
	struct sealed *s = k->l->s;

	k->low = s->start = arena_calloc(&s->arena, k->l->p->ninputs, sizeof(*k->low));
	if (split == NULL || k->l->file == split->n) {
		for (uint32_t i = 0; i < k->l->p->ninputs; i++)
			k->low[i].storage = ckpt_of(k->l, i)->nstorages;
		return;
	}
	for (size_t i = split->later_end[k->l->file + 1]; i < split->later_end[k->l->file]; i++)
		k->low[split->later[i].input].storage = split->later[i].storage;
}

/* Computes what can be forgotten after each step, from the last step to the first. */
static void
list_frees(struct seal_steps *k)
{
	struct sealed *s = k->l->s;
	struct sealed_read *r;
	struct sealed_place begin;
	size_t from, i;

	for (size_t step = k->nsteps; step-- > 0;) {
		from = step > 0 ? s->reads_end[step - 1] : 0;
		for (i = from; i < s->reads_end[step]; i++)
			k->turns[s->reads[i].input]++;
		for (i = from; i < s->reads_end[step]; i++) {
			r = &s->reads[i];
			/* If a step reads several ranges of one input, it alternates between them. */
			r->again =
				is_before(k->low[r->input], (struct sealed_place){ r->storage, r->end }) || k->turns[r->input] > 1;
		}
		for (i = from; i < s->reads_end[step]; i++) {
			r = &s->reads[i];
			begin = (struct sealed_place){ r->storage, r->free_off };
			r->frees = is_before(begin, k->low[r->input]);
			r->free_storage = k->low[r->input].storage;
			r->free_off = k->low[r->input].off;
			k->turns[r->input] = 0;
			if (r->frees)
				k->low[r->input] = begin;
		}
	}
}

static void
order_steps(struct seal *l)
{
	struct seal_steps k = { .l = l };
	bool streams = false;

	list_lessons(&k);
	for (uint32_t i = 0; i < l->p->ninputs; i++)
		streams = streams || source_is_stream(ckpt_of(l, i)->src);
	if (!streams)
		return;
	list_reads(&k);
	start_low(&k);
	k.turns = xcalloc(l->p->ninputs, sizeof(*k.turns));
	list_frees(&k);
	free(k.turns);
}

/* ---- sealing */

static uint32_t **
absent_arrays(const struct seal *l, bool fill)
{
	uint32_t **arrays = xcalloc(l->p->ninputs, sizeof(*arrays)), n;

	for (uint32_t i = 0; fill && i < l->p->ninputs; i++) {
		n = ckpt_of(l, i)->ntensors;
		arrays[i] = xreallocn(NULL, n, sizeof(**arrays));
		memset(arrays[i], 0xff, n * sizeof(**arrays));
	}
	return arrays;
}

struct seal *
seal_new(struct plan *p, const struct seal_opts *o)
{
	struct seal *l = xcalloc(1, sizeof(*l));

	l->p = p;
	l->o = *o;
	l->tensors = absent_arrays(l, true);
	l->storages = absent_arrays(l, false);
	l->leaves = xcalloc(p->ninputs, sizeof(*l->leaves));
	l->copiers = xcalloc(p->ninputs, sizeof(*l->copiers));
	for (uint32_t i = 0; i < p->ninputs; i++) {
		l->leaves[i] = (struct seal_leaves){ .l = l, .input = i };
		l->copiers[i] = (struct value_copier){ .leaf = take_leaf, .arg = &l->leaves[i], .src = ckpt_of(l, i)->tree };
	}
	plan_containers(p, &l->containers);
	l->apart = !o->writer->pickles;
	if (o->split != NULL)
		return l;
	l->all = xreallocn(NULL, p->nentries, sizeof(*l->all));
	for (size_t i = 0; i < p->nentries; i++)
		if (p->entries[i].alive)
			l->all[l->nall++] = (uint32_t)i;
	return l;
}

void
seal_free(struct seal *l)
{
	for (uint32_t i = 0; i < l->p->ninputs; i++) {
		value_copier_release(&l->copiers[i]);
		free(l->tensors[i]);
		free(l->storages[i]);
	}
	free(l->copiers);
	free(l->leaves);
	free(l->tensors);
	free(l->storages);
	free(l->out);
	free(l->loose);
	free(l->parts);
	free(l->all);
	plan_containers_release(&l->containers);
	free(l);
}

static void
begin_file(struct seal *l, uint32_t k, struct sealed *s)
{
	const struct split *split = l->o.split;

	*s = (struct sealed){ .plan = l->p, .writer = l->o.writer, .last = split == NULL || k == split->n };
	arena_init(&s->arena);
	if (l->o.writer->pickles)
		s->tree = vtree_new();
	l->s = s;
	l->file = k;
	l->entries = split != NULL ? split->entries + split->begin[k] : l->all;
	l->nentries = split != NULL ? split->begin[k + 1] - split->begin[k] : l->nall;
	if (l->nentries > l->cap_out)
		xfit(l->out, l->nentries, l->cap_out);
	if (s->tree != NULL)
		vtree_reserve(s->tree, 2 * l->nentries + 8);
	/* The copiers remember copies by tree. The tree of the previous file is freed, and the new one may have its address. */
	for (uint32_t i = 0; l->o.writer->pickles && i < l->p->ninputs; i++)
		value_copier_reset(&l->copiers[i], s->tree);
}

static void
end_file(struct seal *l)
{
	for (size_t i = 0; i < l->nout; i++)
		l->tensors[l->out[i].input][l->out[i].tensor] = UINT32_MAX;
	for (size_t i = 0; i < l->nloose; i++)
		l->storages[l->loose[i].input][l->loose[i].storage] = UINT32_MAX;
	for (size_t i = 0; i < l->nparts; i++) {
		value_copier_release(&l->parts[i]->copier);
		free(l->parts[i]);
	}
	l->nout = l->nloose = l->nparts = 0;
	l->wrap_err = (struct err)ERR_INIT;
}

static void
note_rest(const struct seal *l)
{
	struct sealed *s = l->s;

	s->rest = arena_calloc(&s->arena, l->nout, sizeof(*s->rest));
	for (size_t i = 0; i < l->nout; i++)
		if (l->out[i].entry == NULL)
			s->rest[s->nrest++] = tensor_of(l, &l->out[i]);
}

/* Makers that need this much memory at once are announced before they run. */
enum { MEMORY_NOTED = 64 << 20 };

static void
say_memory(const struct seal *l)
{
	struct make_form form;
	uint64_t most = 0, n;

	for (size_t i = 0; i < l->nout; i++) {
		make_form_of(&form, tensor_of(l, &l->out[i]));
		n = make_memory(l->out[i].make, &form);
		most = n > most ? n : most;
	}
	if (most >= MEMORY_NOTED)
		diag_verbose(l->p->diag, "the largest tensor takes %" PRIu64 " MiB of memory while it is made", most >> 20);
}

/*
 * Checks the manifest and gives at most one warning, before anything is written. silent: no warning, because it was given for the
 * whole of a split plan, and it is no news for a file edited in place.
 */
static int
check_output(const struct sealed *s, bool silent, struct err *err)
{
	struct buf say = BUF_INIT;
	int rc = s->writer->check == NULL ? 0 : s->writer->check(&s->m, err);

	if (rc == 0 && s->writer->caveat != NULL && !silent)
		rc = s->writer->caveat(&s->m, &say, err);
	if (rc == 0 && say.len > 0)
		diag_warn(s->plan->diag, "%.*s", STR_ARG(buf_str(&say)));
	buf_release(&say);
	return rc;
}

/* Returns the text of a torch file's own record: a line on its position tables, and a second line if it is a shard of a set. */
static struct str
own_record(struct sealed *s, const struct plan *p)
{
	struct buf b = BUF_INIT;

	if (p->note.len == 0)
		return p->tables;
	buf_addstr(&b, p->tables);
	buf_addc(&b, '\n');
	buf_addstr(&b, p->note);
	return arena_take(&s->arena, &b);
}

int
seal_file(struct seal *l, uint32_t k, struct sealed *s, struct err *err)
{
	bool pickles = l->o.writer->pickles;
	int rc = k <= 1 ? check_names(l, err) : 0;

	begin_file(l, k, s);
	if (rc == 0 && k == 0 && (l->o.shape != SEAL_IN_PLACE || has_new_names(l)))
		warn_apart(l);
	if (rc == 0)
		rc = pickles ? make_tree(l, err) : list_tensors(l, err);
	if (rc == 0 && l->wrap_err.code != ERR_NONE)
		rc = err_set(err, l->wrap_err.code, "%s", l->wrap_err.msg);
	if (rc == 0)
		rc = place_all(l, err);
	if (rc == 0) {
		order_steps(l);
		say_memory(l);
	}
	if (rc == 0 && !pickles)
		flat_metadata(l);
	if (pickles)
		s->m.record = own_record(s, l->p);
	note_rest(l);
	end_file(l);
	return rc == 0 ? check_output(s, k > 0 || l->o.shape == SEAL_KEPT, err) : rc;
}

void
sealed_release(struct sealed *s)
{
	vtree_free(s->tree);
	free(s->m.storages);
	free(s->outputs);
	free(s->lessons);
	free(s->reads);
	arena_release(&s->arena);
	*s = (struct sealed){ 0 };
}
