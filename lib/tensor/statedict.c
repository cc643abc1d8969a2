#include "tensor/ckpt.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "pickle/machine.h"
#include "tensor/composite.h"
#include "tensor/place.h"
#include "tensor/tree.h"

struct walk {
	struct statedict *sd;
	struct tensor_tree tree;                      /* zeroed but for nodes where there is none (safetensors) */
	size_t cap;                                   /* of sd->entries */
	size_t cap_made, cap_containers, cap_insides; /* of arrays of sd */
	struct sd_inside at; /* of the item being looked at; parent is VALUE_ABSENT outside of containers */
	struct composites composites;
	struct buf path; /* dotted path of the container being walked, with its dot */
	uint64_t text;   /* bytes of names made so far */
	size_t misfits;  /* tensors that torch refuses, and the first */
	struct str misfit;
	struct err *e;
};

/* ---- names */

/* The dotted name of item i of container, below w->path. */
static struct str
entry_name(struct walk *w, uint32_t container, size_t i)
{
	struct str name;
	size_t len = w->path.len;

	if (len == 0 && value_kind(w->tree.t, container) == VALUE_DICT &&
	    value_kind(w->tree.t, value_key(w->tree.t, container, i)) == VALUE_STR)
		return value_text(w->tree.t, value_key(w->tree.t, container, i));
	tree_put_key(&w->path, w->tree.t, container, i);
	name = arena_str(&w->sd->arena, buf_str(&w->path));
	w->text += name.len;
	w->path.len = len;
	return name;
}

/* ---- entries */

/* Appends an entry; refuses a name that is there, and more names than the file can stand for. */
static int
add_entry(struct walk *w, struct str name, enum sd_kind kind, uint32_t tensor, uint32_t value)
{
	struct statedict *sd = w->sd;
	struct buf shown = BUF_INIT;

	if (!strmap_add(&sd->by_name, name, sd->n)) {
		text_show(&shown, name);
		err_input(w->e, sd->ckpt->file, "the name '%.*s' occurs twice in the state dict", STR_ARG(buf_str(&shown)));
		buf_release(&shown);
		return -1;
	}
	/* The same container may be reached on many paths: names must not outgrow what the file can hold. */
	if (sd->n >= 4 * (size_t)w->tree.nodes + 1024 || w->text > 64 * (uint64_t)w->tree.nodes + ((uint64_t)64 << 20))
		return err_input(w->e, sd->ckpt->file, "shared containers stand for more names than the file has values");
	sd->entries = xgrow(sd->entries, sd->n, &w->cap, sizeof(*sd->entries));
	sd->entries[sd->n] = (struct sd_entry){ .name = name, .kind = kind, .tensor = tensor, .value = value };
	if (w->at.parent != VALUE_ABSENT) {
		*xpush(sd->insides, sd->ninsides, w->cap_insides) = w->at;
		sd->entries[sd->n].inside = (uint32_t)sd->ninsides & 0x3fffffffu;
	}
	sd->n++;
	return 0;
}

/* Says of the entry added last what call makes of it; t is its tensor so far. */
static int
describe(struct walk *w, uint32_t call, const struct tensor *t)
{
	struct statedict *sd = w->sd;
	int made;

	sd->composites = xgrow(sd->composites, sd->ncomposites, &w->cap_made, sizeof(*sd->composites));
	sd->composites[sd->ncomposites] = *t;
	made = composite_read(&w->composites, call, &sd->composites[sd->ncomposites], w->e);
	if (made == 2 && w->misfits++ == 0)
		w->misfit = sd->entries[sd->n - 1].name;
	if (made > 0)
		sd->entries[sd->n - 1].made = (uint32_t)++sd->ncomposites;
	return made < 0 ? -1 : 0;
}

static int
add_tensor(struct walk *w, struct str name, uint32_t index, uint32_t h)
{
	const struct tensor *t = &w->sd->ckpt->tensors[index];

	if (add_entry(w, name, SD_TENSOR, index, h) < 0)
		return -1;
	return t->wrap != VALUE_ABSENT ? describe(w, t->wrap, t) : 0;
}

static int
add_composite(struct walk *w, struct str name, uint32_t h)
{
	struct tensor t = { .storage = STORAGE_NONE, .wrap = h };

	return add_entry(w, name, SD_COMPOSITE, 0, h) < 0 ? -1 : describe(w, h, &t);
}

struct spot;
static int walk_container(struct walk *w, struct spot *at);

/* The item of the state dict whose entries come next. */
static void
add_container(struct walk *w, struct str name, uint32_t h)
{
	struct statedict *sd = w->sd;

	sd->containers = xgrow(sd->containers, sd->ncontainers, &w->cap_containers, sizeof(*sd->containers));
	w->at.container = (uint32_t)sd->ncontainers;
	sd->containers[sd->ncontainers++] = (struct sd_container){ name, h };
}

/*
 * The place of an item in the state dict. Modules in modules stand for their tensors; what else a module of TorchScript has is
 * no entry.
 */
struct spot {
	uint32_t container;
	size_t item;
	unsigned depth;
	bool script; /* the container is that of a module of TorchScript */
	bool nested; /* ... that of an item of the state dict */
};

/* inner is the item h, or what that carries. */
static int
walk_inner(struct walk *w, uint32_t inner, const struct spot *at, uint32_t h)
{
	struct spot below = { .container = inner,
			      .depth = at->depth + 1,
			      .script = tree_is_script(w->tree.t, h),
			      .nested = at->nested || !tree_is_module(w->tree.t, h) };
	size_t len = w->path.len;
	int r;

	tree_put_key(&w->path, w->tree.t, at->container, at->item);
	buf_addc(&w->path, '.');
	w->tree.seen[inner] = TREE_OPEN; /* a cycle ends here: while it is open it is nobody's child */
	r = walk_container(w, &below);
	w->tree.seen[inner] = TREE_WITH;
	w->path.len = len;
	if (!at->nested)
		w->at.parent = VALUE_ABSENT;
	return r;
}

static int
walk_value(struct walk *w, uint32_t h, const struct spot *at)
{
	bool module = tree_is_module(w->tree.t, h), kept = at->nested && module && !tree_is_script(w->tree.t, h);
	uint32_t index, inner;

	if (at->nested) {
		w->at.parent = at->container;
		w->at.item = (uint32_t)at->item;
	}
	if (tree_is_tensor(w->tree.t, h, &index))
		return add_tensor(w, entry_name(w, at->container, at->item), index, h);
	if (tree_is_composite(w->tree.t, h))
		return add_composite(w, entry_name(w, at->container, at->item), h);
	if (at->script && !module)
		return 0;
	/* A container is written back with the modules in it. */
	inner = kept ? VALUE_ABSENT : tree_holder(&w->tree, h);
	if (inner == VALUE_ABSENT)
		return module && !kept ? 0 : add_entry(w, entry_name(w, at->container, at->item), SD_OTHER, 0, h);
	if (!at->nested && !module)
		add_container(w, entry_name(w, at->container, at->item), h);
	return walk_inner(w, inner, at, h);
}

static int
walk_container(struct walk *w, struct spot *at)
{
	size_t n = value_len(w->tree.t, at->container);

	if (at->depth >= PICKLE_DEPTH_MAX)
		return err_input(w->e, w->sd->ckpt->file, "containers are nested more than %d deep", PICKLE_DEPTH_MAX);
	for (at->item = 0; at->item < n; at->item++)
		if (walk_value(w, tree_child(w->tree.t, at->container, at->item), at) < 0)
			return -1;
	return 0;
}

static int
open_tree(struct walk *w, const struct place_ask *ask)
{
	struct statedict *sd = w->sd;
	uint32_t place, c, state, index;
	struct place found;
	struct spot at;

	if (place_find(&w->tree, ask, &sd->arena, &found, w->e) < 0)
		return -1;
	place = found.value;
	sd->key = found.key;
	sd->place = place;
	if (tree_is_tensor(w->tree.t, place, &index))
		return add_tensor(w, str_c(""), index, place);
	if (tree_is_composite(w->tree.t, place))
		return add_composite(w, str_c(""), place);
	c = tree_container(w->tree.t, place);
	sd->place = c;
	sd->module = tree_is_module(w->tree.t, place) && !tree_is_script(w->tree.t, place);
	if (value_kind(w->tree.t, c) == VALUE_DICT) {
		sd->ordered = value_ordered(w->tree.t, c);
		state = value_state(w->tree.t, c);
		if (state != VALUE_ABSENT)
			sd->metadata = value_get(w->tree.t, state, str_c("_metadata"));
		if (sd->metadata != VALUE_ABSENT && value_kind(w->tree.t, sd->metadata) != VALUE_DICT)
			sd->metadata = VALUE_ABSENT;
	}
	w->tree.seen[c] = TREE_OPEN;
	at = (struct spot){ .container = c, .script = tree_is_script(w->tree.t, place) };
	return walk_container(w, &at);
}

static int
open_flat(struct walk *w, const char *key)
{
	const struct ckpt *c = w->sd->ckpt;
	uint32_t i;

	w->tree.nodes = c->ntensors;
	if (key != NULL && key[0] != '\0')
		return err_input(w->e, c->file, "it is one flat state dict without places: -k '%s' finds nothing in it", key);
	w->sd->key = str_c("");
	for (i = 0; i < c->ntensors; i++)
		if (add_entry(w, c->names[i], SD_TENSOR, i, VALUE_ABSENT) < 0)
			return -1;
	return 0;
}

int
statedict_open(struct statedict *sd, struct ckpt *c, const char *key, struct err *e)
{
	struct place_ask ask = { .key = key, .diag = c->diag };

	return statedict_open_place(sd, c, &ask, e);
}

int
statedict_open_place(struct statedict *sd, struct ckpt *c, const struct place_ask *ask, struct err *e)
{
	struct walk w = { .sd = sd, .at = { .parent = VALUE_ABSENT }, .e = e };
	int r;

	*sd = (struct statedict){ .ckpt = c, .place = VALUE_ABSENT, .metadata = VALUE_ABSENT };
	arena_init(&sd->arena);
	w.composites = (struct composites){ .c = c, .arena = &sd->arena };
	strmap_init(&sd->by_name);
	buf_init(&w.path);
	strmap_reserve(&sd->by_name, c->ntensors);
	if (c->tree == NULL) {
		r = open_flat(&w, ask->key);
	} else {
		tree_init(&w.tree, c);
		r = open_tree(&w, ask);
	}
	if (w.misfits > 0)
		diag_warn(ask->diag,
			  "%s: %.*s%s: it has another number of scales or zero points than channels, so torch refuses it", c->file,
			  STR_ARG(w.misfit), w.misfits > 1 ? " and others" : "");
	tree_release(&w.tree);
	buf_release(&w.path);
	if (r < 0)
		statedict_release(sd);
	return r;
}

void
statedict_release(struct statedict *sd)
{
	free(sd->entries);
	free(sd->composites);
	free(sd->containers);
	free(sd->insides);
	strmap_release(&sd->by_name);
	arena_release(&sd->arena);
	*sd = (struct statedict){ .place = VALUE_ABSENT, .metadata = VALUE_ABSENT };
}

const struct sd_entry *
statedict_find(const struct statedict *sd, struct str name)
{
	uint64_t i;

	return strmap_get(&sd->by_name, name, &i) ? &sd->entries[i] : NULL;
}

const struct tensor *
sd_tensor(const struct statedict *sd, const struct sd_entry *entry)
{
	if (entry == NULL || entry->kind == SD_OTHER)
		return NULL;
	return entry->made > 0 ? &sd->composites[entry->made - 1] : &sd->ckpt->tensors[entry->tensor];
}
