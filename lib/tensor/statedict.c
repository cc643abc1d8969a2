#include "tensor/ckpt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/num.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "pickle/pickle.h"
#include "tensor/statedict_walk.h"

/* ---- the tree */

/* A module of a TorchScript archive: its attributes are the dict of its state. */
static bool
is_script(const struct vtree *t, const struct vobject *o)
{
	return value_kind(t, o->callable) == VALUE_GLOBAL && str_starts(value_module(t, o->callable), str_c("__torch__")) &&
		o->state != VALUE_ABSENT && value_kind(t, o->state) == VALUE_DICT;
}

/* The container h is: itself, or the dict or list that an object of a subclass of one carries; else VALUE_ABSENT. */
static uint32_t
container_of(const struct vtree *t, uint32_t h)
{
	const struct vobject *o;

	switch (value_kind(t, h)) {
	case VALUE_DICT:
	case VALUE_LIST:
	case VALUE_TUPLE:
		return h;
	case VALUE_OBJECT:
		o = value_object(t, h);
		if (is_script(t, o))
			return o->state;
		return o->items != VALUE_ABSENT ? o->items : o->appended;
	default:
		return VALUE_ABSENT;
	}
}

uint32_t
walk_child(const struct vtree *t, uint32_t container, size_t i)
{
	return value_kind(t, container) == VALUE_DICT ? value_val(t, container, i) : value_item(t, container, i);
}

bool
walk_is_tensor(const struct vtree *t, uint32_t h, uint32_t *index)
{
	return value_leaf(t, h, index) == LEAF_TENSOR;
}

/* A call of torch's that makes something like a tensor, which stayed an object. */
static bool
is_composite(const struct vtree *t, uint32_t h)
{
	const struct vobject *o;
	struct str module, name;

	if (value_kind(t, h) != VALUE_OBJECT)
		return false;
	o = value_object(t, h);
	if (o->how != HOW_REDUCE || value_kind(t, o->callable) != VALUE_GLOBAL)
		return false;
	module = value_module(t, o->callable);
	name = value_name(t, o->callable);
	if (str_eqc(module, "torch._utils"))
		return str_starts(name, str_c("_rebuild_"));
	return (str_eqc(module, "torch._tensor") || str_eqc(module, "torch.tensor")) &&
		str_starts(name, str_c("_rebuild_from_type"));
}

/* 1 if h is, or contains, something of a tensor; 0 if not; -1 if it is nested too deeply. */
static int
holds_tensor(struct walk *w, uint32_t h, unsigned depth)
{
	uint32_t c, index;
	size_t i, n;
	int found = 0;

	if (walk_is_tensor(w->t, h, &index) || is_composite(w->t, h))
		return 1;
	c = container_of(w->t, h);
	if (c == VALUE_ABSENT || c >= w->nodes)
		return 0;
	if (w->seen[c] != UNSEEN)
		return w->seen[c] == WITH;
	if (depth >= PICKLE_DEPTH_MAX)
		return err_input(w->e, w->sd->ckpt->file, "containers are nested more than %d deep", PICKLE_DEPTH_MAX);
	w->seen[c] = OPEN;
	n = value_len(w->t, c);
	/* All children, so that each is known when the walk comes to it. */
	for (i = 0; i < n; i++) {
		int r = holds_tensor(w, walk_child(w->t, c, i), depth + 1);

		if (r < 0)
			return -1;
		found |= r;
	}
	w->seen[c] = found ? WITH : WITHOUT;
	return found;
}

/* ---- names */

/* Names are UTF-8. Bytes and strings of Python 2 need not be: then those beyond ASCII are escaped. */
static void
put_text(struct buf *b, struct str text)
{
	if (utf8_valid(text)) {
		buf_addstr(b, text);
		return;
	}
	for (size_t i = 0; i < text.len; i++) {
		if ((unsigned char)text.p[i] < 0x80)
			buf_addc(b, text.p[i]);
		else
			buf_addf(b, "\\x%02x", (unsigned char)text.p[i]);
	}
}

/* A key that is no text, in Python's words; only such keys need to be told apart that occur. */
static void
put_key(struct buf *b, const struct vtree *t, uint32_t key, unsigned depth)
{
	char repr[32];
	size_t i;

	switch (value_kind(t, key)) {
	case VALUE_STR:
	case VALUE_PYSTR:
	case VALUE_BYTES:
	case VALUE_BYTEARRAY:
		put_text(b, value_text(t, key));
		break;
	case VALUE_INT:
		buf_addf(b, "%lld", (long long)value_int(t, key));
		break;
	case VALUE_BOOL:
		buf_adds(b, value_bool(t, key) ? "True" : "False");
		break;
	case VALUE_FLOAT:
		num_repr(value_float(t, key), repr);
		buf_adds(b, repr);
		break;
	case VALUE_TUPLE:
		buf_addc(b, '(');
		for (i = 0; i < value_len(t, key) && i < 16 && depth < 4; i++) {
			if (i > 0)
				buf_adds(b, ", ");
			put_key(b, t, value_item(t, key, i), depth + 1);
		}
		buf_addc(b, ')');
		break;
	default:
		buf_adds(b, value_kind(t, key) == VALUE_NONE ? "None" : "?");
	}
}

static void
put_component(struct buf *b, const struct vtree *t, uint32_t container, size_t i)
{
	if (value_kind(t, container) == VALUE_DICT)
		put_key(b, t, value_key(t, container, i), 0);
	else
		buf_u64(b, i);
}

/* The dotted name of item i of container, below w->path. */
static struct str
entry_name(struct walk *w, uint32_t container, size_t i)
{
	struct str name;
	size_t len = w->path.len;

	if (len == 0 && value_kind(w->t, container) == VALUE_DICT &&
		value_kind(w->t, value_key(w->t, container, i)) == VALUE_STR)
		return value_text(w->t, value_key(w->t, container, i));
	put_component(&w->path, w->t, container, i);
	name = arena_str(&w->sd->arena, buf_str(&w->path));
	w->text += name.len;
	w->path.len = len;
	return name;
}

/* ---- entries */

int
walk_add(struct walk *w, struct str name, enum sd_kind kind, uint32_t tensor, uint32_t value)
{
	struct statedict *sd = w->sd;
	struct buf shown = BUF_INIT;

	if (!strmap_add(&sd->by_name, name, sd->n)) {
		text_show(&shown, name);
		err_input(w->e, sd->ckpt->file, "the name '%.*s' occurs twice in the state dict",
			STR_ARG(buf_str(&shown)));
		buf_release(&shown);
		return -1;
	}
	/* The same container may be reached on many paths: names must not outgrow what the file can hold. */
	if (sd->n >= 4 * (size_t)w->nodes + 1024 || w->text > 64 * (uint64_t)w->nodes + ((uint64_t)64 << 20))
		return err_input(w->e, sd->ckpt->file, "shared containers stand for more names than the file has values");
	sd->entries = xgrow(sd->entries, sd->n, &w->cap, sizeof(*sd->entries));
	sd->entries[sd->n++] = (struct sd_entry){ name, kind, tensor, value };
	return 0;
}

static int walk_container(struct walk *w, uint32_t container, unsigned depth);

static int
walk_value(struct walk *w, uint32_t h, uint32_t container, size_t i, unsigned depth)
{
	struct str name;
	uint32_t index, inner;
	size_t len = w->path.len;
	int r;

	if (walk_is_tensor(w->t, h, &index)) {
		name = entry_name(w, container, i);
		if (walk_add(w, name, SD_TENSOR, index, h) < 0)
			return -1;
		return walk_add_parts(w, name, w->sd->ckpt->tensors[index].wrap);
	}
	if (is_composite(w->t, h)) {
		name = entry_name(w, container, i);
		if (walk_add(w, name, SD_COMPOSITE, 0, h) < 0)
			return -1;
		return walk_add_parts(w, name, h);
	}
	inner = container_of(w->t, h);
	if (inner == VALUE_ABSENT || inner >= w->nodes || w->seen[inner] != WITH)
		return walk_add(w, entry_name(w, container, i), SD_OTHER, 0, h);
	put_component(&w->path, w->t, container, i);
	buf_addc(&w->path, '.');
	w->seen[inner] = OPEN; /* a cycle ends here: while it is open it is nobody's child */
	r = walk_container(w, inner, depth + 1);
	w->seen[inner] = WITH;
	w->path.len = len;
	return r;
}

static int
walk_container(struct walk *w, uint32_t container, unsigned depth)
{
	size_t i, n = value_len(w->t, container);

	if (depth >= PICKLE_DEPTH_MAX)
		return err_input(w->e, w->sd->ckpt->file, "containers are nested more than %d deep", PICKLE_DEPTH_MAX);
	for (i = 0; i < n; i++) {
		if (walk_value(w, walk_child(w->t, container, i), container, i, depth) < 0)
			return -1;
	}
	return 0;
}

/* ---- places */

enum { PLACES_SHOWN = 8 };

/* Adds the dotted paths of the outermost containers that hold tensors themselves. */
static void
list_places(struct walk *w, uint32_t h, struct buf *out, unsigned *count, unsigned depth)
{
	uint32_t c = container_of(w->t, h), index;
	size_t i, n, len = w->path.len;

	if (c == VALUE_ABSENT || c >= w->nodes || w->seen[c] != WITH || depth >= PICKLE_DEPTH_MAX ||
		*count > PLACES_SHOWN)
		return;
	n = value_len(w->t, c);
	for (i = 0; i < n; i++) {
		if (walk_is_tensor(w->t, walk_child(w->t, c, i), &index) || is_composite(w->t, walk_child(w->t, c, i))) {
			if ((*count)++ < PLACES_SHOWN)
				buf_addf(out, "%s'%.*s'", out->len ? ", " : "", (int)(len ? len - 1 : 0),
					w->path.p ? w->path.p : "");
			return;
		}
	}
	w->seen[c] = OPEN;
	for (i = 0; i < n; i++) {
		put_component(&w->path, w->t, c, i);
		buf_addc(&w->path, '.');
		list_places(w, walk_child(w->t, c, i), out, count, depth + 1);
		w->path.len = len;
	}
}

/* Does h look like a whole nn.Module? */
static bool
is_module(const struct vtree *t, uint32_t h)
{
	const struct vobject *o;

	if (value_kind(t, h) != VALUE_OBJECT)
		return false;
	o = value_object(t, h);
	return o->state != VALUE_ABSENT && value_get(t, o->state, str_c("_parameters")) != VALUE_ABSENT;
}

/* Is something in container a whole nn.Module? path gets its key. */
static bool
find_module(const struct vtree *t, uint32_t container, struct buf *path)
{
	uint32_t c = container_of(t, container);
	size_t n = c == VALUE_ABSENT ? 0 : value_len(t, c);

	for (size_t i = 0; i < n; i++) {
		if (is_module(t, walk_child(t, c, i))) {
			put_component(path, t, c, i);
			return true;
		}
	}
	return false;
}

static int
whole_module(const struct ckpt *c, const char *where, struct err *e)
{
	return err_input(e, c->file,
		"%s is a whole pickled nn.Module, not a state dict: load it where its classes are and save "
		"module.state_dict()", where);
}

static int
no_tensors(struct walk *w, uint32_t place)
{
	const struct ckpt *c = w->sd->ckpt;
	struct buf places = BUF_INIT, shown = BUF_INIT;
	unsigned count = 0;
	char where[600] = "the root";

	if (w->sd->key.len > 0)
		snprintf(where, sizeof(where), "'%.*s'", STR_ARG(w->sd->key));
	if (is_module(w->t, place))
		return whole_module(c, where, w->e);
	if (holds_tensor(w, c->root, 0) < 0)
		return -1;
	w->path.len = 0;
	list_places(w, c->root, &places, &count, 0);
	text_show(&shown, buf_str(&places));
	if (count > 0)
		err_input(w->e, c->file, "there are no tensors at %s; there are some at %.*s%s (-k PATH chooses)", where,
			STR_ARG(buf_str(&shown)), count > PLACES_SHOWN ? ", ..." : "");
	else if (find_module(w->t, c->root, &places)) {
		text_show(&shown, buf_str(&places));
		snprintf(where, sizeof(where), "'%.*s'", STR_ARG(buf_str(&shown)));
		whole_module(c, where, w->e);
	} else
		err_input(w->e, c->file, "there are no tensors at %s, nor anywhere else in it", where);
	buf_release(&places);
	buf_release(&shown);
	return -1;
}

/* The keys of the root, for one who asked for a place that is not there. */
static int
no_place(const struct ckpt *c, struct str key, struct err *e)
{
	struct buf keys = BUF_INIT, shown = BUF_INIT;
	uint32_t root = container_of(c->tree, c->root);
	size_t i, n = root == VALUE_ABSENT ? 0 : value_len(c->tree, root);

	for (i = 0; i < n && i < PLACES_SHOWN; i++) {
		buf_adds(&keys, i ? ", " : "");
		put_component(&keys, c->tree, root, i);
	}
	text_show(&shown, buf_str(&keys));
	if (n > 0)
		err_input(e, c->file, "there is no '%.*s' in it; its root has %.*s%s", STR_ARG(key),
			STR_ARG(buf_str(&shown)), n > PLACES_SHOWN ? ", ..." : "");
	else
		err_input(e, c->file, "there is no '%.*s' in it", STR_ARG(key));
	buf_release(&keys);
	buf_release(&shown);
	return -1;
}

static int
find_place(struct statedict *sd, const char *key, uint32_t *place, struct err *e)
{
	static const char *const usual[] = { "model", "state_dict_ema", "state_dict" };
	const struct ckpt *c = sd->ckpt;
	uint32_t root = container_of(c->tree, c->root), h, inner;
	size_t i;

	*place = c->root;
	sd->key = str_c("");
	if (key != NULL) {
		sd->key = arena_str(&sd->arena, str_c(key));
		if (sd->key.len > 0)
			*place = value_path(c->tree, root != VALUE_ABSENT ? root : c->root, sd->key);
		return *place == VALUE_ABSENT ? no_place(c, sd->key, e) : 0;
	}
	for (i = 0; i < 3 && root != VALUE_ABSENT; i++) {
		h = value_get(c->tree, root, str_c(usual[i]));
		if (h == VALUE_ABSENT)
			continue;
		inner = container_of(c->tree, h);
		if (inner != VALUE_ABSENT && value_kind(c->tree, inner) == VALUE_DICT) {
			sd->key = str_c(usual[i]);
			*place = h;
			return 0;
		}
	}
	return 0;
}

static int
open_tree(struct walk *w, const char *key)
{
	struct statedict *sd = w->sd;
	uint32_t place, c, state, index;
	int holds;

	if (find_place(sd, key, &place, w->e) < 0)
		return -1;
	holds = holds_tensor(w, place, 0);
	if (holds < 0)
		return -1;
	if (!holds)
		return no_tensors(w, place);
	sd->place = place;
	if (walk_is_tensor(w->t, place, &index)) {
		if (walk_add(w, str_c(""), SD_TENSOR, index, place) < 0)
			return -1;
		return walk_add_parts(w, str_c(""), sd->ckpt->tensors[index].wrap);
	}
	if (is_composite(w->t, place)) {
		if (walk_add(w, str_c(""), SD_COMPOSITE, 0, place) < 0)
			return -1;
		return walk_add_parts(w, str_c(""), place);
	}
	c = container_of(w->t, place);
	sd->place = c;
	if (value_kind(w->t, c) == VALUE_DICT) {
		sd->ordered = value_ordered(w->t, c);
		state = value_state(w->t, c);
		if (state != VALUE_ABSENT)
			sd->metadata = value_get(w->t, state, str_c("_metadata"));
		if (sd->metadata != VALUE_ABSENT && value_kind(w->t, sd->metadata) != VALUE_DICT)
			sd->metadata = VALUE_ABSENT;
	}
	w->seen[c] = OPEN;
	return walk_container(w, c, 0);
}

static int
open_flat(struct walk *w, const char *key)
{
	const struct ckpt *c = w->sd->ckpt;
	uint32_t i;

	w->nodes = c->ntensors;
	if (key != NULL && key[0] != '\0')
		return err_input(w->e, c->file, "it is one flat state dict without places: -k '%s' finds nothing in it", key);
	w->sd->key = str_c("");
	for (i = 0; i < c->ntensors; i++) {
		if (walk_add(w, c->names[i], SD_TENSOR, i, VALUE_ABSENT) < 0)
			return -1;
	}
	return 0;
}

int
statedict_open(struct statedict *sd, struct ckpt *c, const char *key, struct err *e)
{
	struct walk w = { .sd = sd, .t = c->tree, .e = e };
	int r;

	*sd = (struct statedict){ .ckpt = c, .place = VALUE_ABSENT, .metadata = VALUE_ABSENT };
	arena_init(&sd->arena);
	strmap_init(&sd->by_name);
	buf_init(&w.path);
	strmap_reserve(&sd->by_name, c->ntensors);
	if (c->tree == NULL) {
		r = open_flat(&w, key);
	} else {
		w.nodes = vtree_count(c->tree);
		w.seen = xcalloc(w.nodes ? w.nodes : 1, 1);
		r = open_tree(&w, key);
	}
	free(w.seen);
	buf_release(&w.path);
	if (r < 0)
		statedict_release(sd);
	return r;
}

void
statedict_release(struct statedict *sd)
{
	free(sd->entries);
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
	if (entry == NULL || (entry->kind != SD_TENSOR && entry->kind != SD_PART))
		return NULL;
	return &sd->ckpt->tensors[entry->tensor];
}
