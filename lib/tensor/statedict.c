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
	struct tensor_tree tree;                      /* without a tree (safetensors), all but nodes is zero */
	size_t cap;                                   /* capacity of sd->entries */
	size_t cap_made, cap_containers, cap_insides; /* capacities of arrays in sd */
	struct sd_inside at; /* position of the current item; parent is VALUE_ABSENT outside of containers */
	struct composites composites;
	struct buf path; /* dotted path of the container being walked, with a dot at the end */
	uint64_t text;   /* total length of generated names */
	size_t misfits;  /* number of tensors that torch refuses */
	struct str misfit;
	struct err *err;
};

/* ---- names */

/* Returns the dotted name of item i of container, which is at w->path. */
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

/* Appends an entry. Fails if there are more names than a file of this size can have. */
static int
add_entry(struct walk *w, struct str name, enum sd_kind kind, uint32_t tensor, uint32_t value)
{
	struct statedict *sd = w->sd;

	sd->entries = xgrow(sd->entries, sd->n, &w->cap, sizeof(*sd->entries));
	sd->entries[sd->n] = (struct sd_entry){ .name = name, .kind = kind, .tensor = tensor, .value = value };
	/* Many paths may lead to the same container, so the number and length of names are limited. */
	if (sd->n >= 4 * (size_t)w->tree.nodes + 1024 || w->text > 64 * (uint64_t)w->tree.nodes + ((uint64_t)64 << 20))
		return err_input(w->err, sd->ckpt->file, "shared containers expand to more names than the file has values");
	if (w->at.parent != VALUE_ABSENT) {
		*xpush(sd->insides, sd->ninsides, w->cap_insides) = w->at;
		sd->entries[sd->n].inside = (uint32_t)sd->ninsides & 0x3fffffffu;
	}
	sd->n++;
	return 0;
}

/* Describes the tensor of the last entry from the call that makes it. t is what is known of the tensor so far. */
static int
describe(struct walk *w, uint32_t call, const struct tensor *t)
{
	struct statedict *sd = w->sd;
	int made;

	sd->composites = xgrow(sd->composites, sd->ncomposites, &w->cap_made, sizeof(*sd->composites));
	sd->composites[sd->ncomposites] = *t;
	made = composite_read(&w->composites, call, &sd->composites[sd->ncomposites], w->err);
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

/* Starts a container item of the state dict. The next entries are in it. */
static void
add_container(struct walk *w, struct str name, uint32_t h)
{
	struct statedict *sd = w->sd;

	w->at.container = (uint32_t)sd->ncontainers;
	*xpush(sd->containers, sd->ncontainers, w->cap_containers) = (struct sd_container){ name, h };
}

/*
 * The position of an item in the state dict. Nested modules are represented by their tensors. Other attributes of a TorchScript
 * module are no entries.
 */
struct spot {
	uint32_t container;
	size_t item;
	unsigned depth;
	bool script; /* the container belongs to a TorchScript module */
	bool nested; /* the container is, or is inside of, an item of the state dict */
};

/* Walks inner, which is the item h or the container that h carries. */
static int
walk_inner(struct walk *w, uint32_t inner, const struct spot *at, uint32_t h)
{
	struct spot below = { .container = inner,
			      .depth = at->depth + 1,
			      .script = tree_is_script(w->tree.t, h),
			      .nested = at->nested || !tree_is_module(w->tree.t, h) };
	size_t len = w->path.len;
	int rc;

	tree_put_key(&w->path, w->tree.t, at->container, at->item);
	buf_addc(&w->path, '.');
	w->tree.seen[inner] = TREE_OPEN; /* ends cycles: an open container is not found again */
	rc = walk_container(w, &below);
	w->tree.seen[inner] = TREE_WITH;
	w->path.len = len;
	if (!at->nested)
		w->at.parent = VALUE_ABSENT;
	return rc;
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
	/* A container is written back as a whole, including its modules. */
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
		return err_input(w->err, w->sd->ckpt->file, "containers are nested more than %d deep", PICKLE_DEPTH_MAX);
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

	if (place_find(&w->tree, ask, &sd->arena, &found, w->err) < 0)
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
		return err_input(w->err, c->file, "it is one flat state dict: -k '%s' finds nothing in it", key);
	w->sd->key = str_c("");
	for (i = 0; i < c->ntensors; i++)
		if (add_entry(w, c->names[i], SD_TENSOR, i, VALUE_ABSENT) < 0)
			return -1;
	return 0;
}

/* Makes by_name, or takes over the map of the reader. Fails if a name occurs twice. */
static int
map_names(struct statedict *sd, struct err *err)
{
	struct strmap *map = &sd->ckpt->by_name;
	const bool made = sd->ckpt->tree == NULL && map->count == sd->n;
	struct buf shown = BUF_INIT;
	size_t first;

	if (made) {
		sd->by_name = *map;
		strmap_init(map);
	}
	sd->by_name.lent = sd->entries;
	sd->by_name.stride = sizeof(*sd->entries);
	first = made ? sd->n : strmap_fill(&sd->by_name, sd->n);
	if (first == sd->n)
		return 0;
	text_show(&shown, sd->entries[first].name);
	err_input(err, sd->ckpt->file, "the name '%.*s' occurs twice in the state dict", STR_ARG(buf_str(&shown)));
	buf_release(&shown);
	return -1;
}

/* Opens the state dict. Reads no further values. */
static int
open_read(struct statedict *sd, struct ckpt *c, const struct place_ask *ask, struct err *err)
{
	struct walk w = { .sd = sd, .at = { .parent = VALUE_ABSENT }, .err = err };
	int rc;

	*sd = (struct statedict){ .ckpt = c, .place = VALUE_ABSENT, .metadata = VALUE_ABSENT };
	arena_init(&sd->arena);
	w.composites = (struct composites){ .c = c, .arena = &sd->arena };
	strmap_init(&sd->by_name);
	xfit(sd->entries, c->ntensors, w.cap);
	buf_init(&w.path);
	if (c->tree == NULL) {
		rc = open_flat(&w, ask->key);
	} else {
		tree_init(&w.tree, c);
		rc = open_tree(&w, ask);
	}
	if (rc == 0)
		rc = map_names(sd, err);
	if (w.misfits > 0)
		diag_warn(ask->diag,
			  "%s: %.*s%s: it has another number of scales or zero points than channels, so torch refuses it", c->file,
			  STR_ARG(w.misfit), w.misfits > 1 ? " and others" : "");
	tree_release(&w.tree);
	buf_release(&w.path);
	if (rc < 0)
		statedict_release(sd);
	return rc;
}

/*
 * Reads the values at the place that ask names. If the rule cannot choose a place for sure before values are read, all values
 * are read. The caller then applies the rule again, with its messages.
 */
static void
read_place(struct ckpt *c, const struct place_ask *ask)
{
	const struct place_ask quiet = { .key = ask->key, .root = true };
	struct arena arena = ARENA_INIT;
	struct err ignored = ERR_INIT;
	struct tensor_tree tree;
	struct place place;
	struct str path = str_c("");

	if (ask->key != NULL)
		(void)ckpt_fill(c, str_c(ask->key), SIZE_MAX, &ignored);
	tree_init(&tree, c);
	if (place_find(&tree, &quiet, &arena, &place, &ignored) == 0 && place.kind == PLACE_SURE)
		path = place.key;
	tree_release(&tree);
	(void)ckpt_fill(c, path, SIZE_MAX, &ignored);
	arena_release(&arena);
}

int
statedict_open_place(struct statedict *sd, struct ckpt *c, const struct place_ask *ask, struct err *err)
{
	if (c->nunread > 0)
		read_place(c, ask);
	return open_read(sd, c, ask, err);
}

int
statedict_open(struct statedict *sd, struct ckpt *c, const char *key, struct err *err)
{
	struct place_ask ask = { .key = key, .diag = c->diag };

	return open_read(sd, c, &ask, err);
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
