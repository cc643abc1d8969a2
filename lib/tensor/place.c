#include "tensor/place.h"

#include <stdio.h>

#include "base/text.h"
#include "pickle/pickle.h"

enum { PLACES_SHOWN = 8 };

/* ---- messages */

/* The dotted paths of the outermost containers that hold tensors themselves. */
struct places {
	struct tree *tree;
	struct buf path; /* of the container being visited, with its dot */
	struct buf text;
	unsigned count;
};

static void
list_places(struct places *p, uint32_t h, unsigned depth)
{
	const struct vtree *t = p->tree->t;
	uint32_t c = tree_holder(p->tree, h), index;
	size_t i, n, len = p->path.len;

	if (c == VALUE_ABSENT || depth >= PICKLE_DEPTH_MAX || p->count > PLACES_SHOWN)
		return;
	n = value_len(t, c);
	for (i = 0; i < n; i++) {
		if (tree_is_tensor(t, tree_child(t, c, i), &index) || tree_is_composite(t, tree_child(t, c, i))) {
			if (p->count++ < PLACES_SHOWN)
				buf_addf(&p->text, "%s'%.*s'", p->text.len ? ", " : "", (int)(len ? len - 1 : 0),
					 p->path.p ? p->path.p : "");
			return;
		}
	}
	p->tree->seen[c] = TREE_OPEN;
	for (i = 0; i < n; i++) {
		tree_put_key(&p->path, t, c, i);
		buf_addc(&p->path, '.');
		list_places(p, tree_child(t, c, i), depth + 1);
		p->path.len = len;
	}
}

/* True if h looks like a whole nn.Module. */
static bool
is_module(const struct vtree *t, uint32_t h)
{
	const struct vobject *o;

	if (value_kind(t, h) != VALUE_OBJECT)
		return false;
	o = value_object(t, h);
	return o->state != VALUE_ABSENT && value_get(t, o->state, str_c("_parameters")) != VALUE_ABSENT;
}

/* True if an item of h is a whole nn.Module; key gets its key. */
static bool
find_module(const struct vtree *t, uint32_t h, struct buf *key)
{
	uint32_t c = tree_container(t, h);
	size_t n = c == VALUE_ABSENT ? 0 : value_len(t, c);

	for (size_t i = 0; i < n; i++) {
		if (is_module(t, tree_child(t, c, i))) {
			tree_put_key(key, t, c, i);
			return true;
		}
	}
	return false;
}

static int
whole_module(const struct tree *tree, const char *where, struct err *err)
{
	return err_input(err, tree->file,
		"%s is a whole pickled nn.Module, not a state dict: load it where its classes are and save "
		"module.state_dict()", where);
}

static int
no_tensors(struct tree *tree, const struct place *place, struct err *err)
{
	struct places p = { .tree = tree, .path = BUF_INIT, .text = BUF_INIT };
	struct buf shown = BUF_INIT;
	char where[600] = "the root";

	if (place->key.len > 0)
		snprintf(where, sizeof(where), "'%.*s'", STR_ARG(place->key));
	if (is_module(tree->t, place->value))
		return whole_module(tree, where, err);
	if (tree_holds(tree, tree->root, err) < 0)
		return -1;
	list_places(&p, tree->root, 0);
	text_show(&shown, buf_str(&p.text));
	if (p.count > 0)
		err_input(err, tree->file, "there are no tensors at %s; there are some at %.*s%s (-k PATH chooses)", where,
			  STR_ARG(buf_str(&shown)), p.count > PLACES_SHOWN ? ", ..." : "");
	else if (find_module(tree->t, tree->root, &p.text)) {
		text_show(&shown, buf_str(&p.text));
		snprintf(where, sizeof(where), "'%.*s'", STR_ARG(buf_str(&shown)));
		whole_module(tree, where, err);
	} else
		err_input(err, tree->file, "there are no tensors at %s, nor anywhere else in it", where);
	buf_release(&p.path);
	buf_release(&p.text);
	buf_release(&shown);
	return -1;
}

/* Names the keys of the root. */
static int
no_place(const struct tree *tree, struct str key, struct err *err)
{
	struct buf keys = BUF_INIT, shown = BUF_INIT;
	uint32_t root = tree_container(tree->t, tree->root);
	size_t i, n = root == VALUE_ABSENT ? 0 : value_len(tree->t, root);

	for (i = 0; i < n && i < PLACES_SHOWN; i++) {
		buf_adds(&keys, i ? ", " : "");
		tree_put_key(&keys, tree->t, root, i);
	}
	text_show(&shown, buf_str(&keys));
	if (n > 0)
		err_input(err, tree->file, "there is no '%.*s' in it; its root has %.*s%s", STR_ARG(key),
			  STR_ARG(buf_str(&shown)), n > PLACES_SHOWN ? ", ..." : "");
	else
		err_input(err, tree->file, "there is no '%.*s' in it", STR_ARG(key));
	buf_release(&keys);
	buf_release(&shown);
	return -1;
}

/* ---- the choice */

static int
given(const struct tree *tree, const char *key, struct place *place, struct err *err)
{
	uint32_t root = tree_container(tree->t, tree->root);

	place->key = str_c(key);
	if (place->key.len > 0)
		place->value = value_path(tree->t, root != VALUE_ABSENT ? root : tree->root, place->key);
	return place->value == VALUE_ABSENT ? no_place(tree, place->key, err) : 0;
}

static void
usual(const struct tree *tree, struct place *place)
{
	static const char *const keys[] = { "model", "state_dict_ema", "state_dict" };
	uint32_t root = tree_container(tree->t, tree->root), h;

	for (size_t i = 0; i < 3 && root != VALUE_ABSENT; i++) {
		h = value_get(tree->t, root, str_c(keys[i]));
		if (h != VALUE_ABSENT && value_kind(tree->t, tree_container(tree->t, h)) == VALUE_DICT) {
			*place = (struct place){ h, str_c(keys[i]) };
			return;
		}
	}
}

int
place_find(struct tree *tree, const char *key, struct place *place, struct err *err)
{
	int rc;

	*place = (struct place){ tree->root, str_c("") };
	if (key == NULL)
		usual(tree, place);
	else if (given(tree, key, place, err) < 0)
		return -1;
	rc = tree_holds(tree, place->value, err);
	if (rc == 0)
		return no_tensors(tree, place, err);
	return rc < 0 ? -1 : 0;
}
