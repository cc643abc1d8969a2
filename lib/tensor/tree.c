#include "tensor/tree.h"

#include <stdlib.h>

#include "base/num.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "pickle/machine.h"

void
tree_init(struct tensor_tree *tree, const struct ckpt *c)
{
	*tree = (struct tensor_tree){ c, c->tree, c->file, c->root, vtree_count(c->tree), NULL };
	tree->seen = xcalloc(tree->nodes ? tree->nodes : 1, 1);
}

void
tree_release(struct tensor_tree *tree)
{
	free(tree->seen);
	tree->seen = NULL;
}

bool
tree_is_script(const struct vtree *t, uint32_t h)
{
	const struct vobject *o = value_object(t, h);

	return o != NULL && value_kind(t, o->callable) == VALUE_GLOBAL &&
	       str_starts(value_module(t, o->callable), str_c("__torch__")) && o->state != VALUE_ABSENT &&
	       value_kind(t, o->state) == VALUE_DICT;
}

bool
tree_is_module(const struct vtree *t, uint32_t h)
{
	const struct vobject *o = value_object(t, h);

	return tree_is_script(t, h) || (o != NULL && value_kind(t, o->contents) == VALUE_DICT);
}

uint32_t
tree_container(const struct vtree *t, uint32_t h)
{
	const struct vobject *o;

	switch (value_kind(t, h)) {
	case VALUE_DICT:
	case VALUE_LIST:
	case VALUE_TUPLE: return h;
	case VALUE_OBJECT:
		o = value_object(t, h);
		if (value_kind(t, o->contents) == VALUE_DICT)
			return o->contents;
		if (tree_is_script(t, h))
			return o->state;
		return o->items != VALUE_ABSENT ? o->items : o->appended;
	default: return VALUE_ABSENT;
	}
}

uint32_t
tree_child(const struct vtree *t, uint32_t container, size_t i)
{
	return value_kind(t, container) == VALUE_DICT ? value_val(t, container, i) : value_item(t, container, i);
}

bool
tree_is_tensor(const struct vtree *t, uint32_t h, uint32_t *index)
{
	return value_leaf(t, h, index) == LEAF_TENSOR;
}

bool
tree_is_composite(const struct vtree *t, uint32_t h)
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

static bool
is_unread(const struct tensor_tree *tree, uint32_t h)
{
	return tree->ckpt->nunread > 0 && h == tree->ckpt->unread;
}

/* The mark of h. */
static int
holds(struct tensor_tree *tree, uint32_t h, unsigned depth, struct err *err)
{
	uint32_t c, index;
	size_t i, n;
	int found = TREE_WITHOUT, rc;

	if (tree_is_tensor(tree->t, h, &index) || tree_is_composite(tree->t, h))
		return TREE_WITH;
	if (is_unread(tree, h))
		return TREE_HIDING;
	c = tree_container(tree->t, h);
	if (c == VALUE_ABSENT || c >= tree->nodes)
		return TREE_WITHOUT;
	if (tree->seen[c] != TREE_UNSEEN)
		return tree->seen[c];
	if (depth >= PICKLE_DEPTH_MAX)
		return err_input(err, tree->file, "containers are nested more than %d deep", PICKLE_DEPTH_MAX);
	tree->seen[c] = TREE_OPEN;
	n = value_len(tree->t, c);
	/* Visits all children, so that each is marked. */
	for (i = 0; i < n; i++) {
		rc = holds(tree, tree_child(tree->t, c, i), depth + 1, err);
		if (rc < 0)
			return -1;
		if (rc == TREE_WITH || (rc == TREE_HIDING && found == TREE_WITHOUT))
			found = rc;
	}
	tree->seen[c] = (uint8_t)found;
	return found;
}

int
tree_holds(struct tensor_tree *tree, uint32_t h, struct err *err)
{
	int rc = holds(tree, h, 0, err);

	return rc < 0 ? -1 : rc == TREE_WITH;
}

bool
tree_hides(const struct tensor_tree *tree, uint32_t h)
{
	uint32_t c = tree_container(tree->t, h);

	return is_unread(tree, h) || (c != VALUE_ABSENT && c < tree->nodes && tree->seen[c] == TREE_HIDING);
}

uint32_t
tree_holder(const struct tensor_tree *tree, uint32_t h)
{
	uint32_t c = tree_container(tree->t, h);

	return c != VALUE_ABSENT && c < tree->nodes && tree->seen[c] == TREE_WITH ? c : VALUE_ABSENT;
}

/* Names must be UTF-8. Bytes and strings of Python 2 may not be; then all their non-ASCII bytes are escaped. */
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

/* Appends a key in Python's notation. Kinds of keys that do not occur in practice need not be distinguishable. */
static void
put_key(struct buf *b, const struct vtree *t, uint32_t key, unsigned depth)
{
	char repr[32];
	size_t i;

	switch (value_kind(t, key)) {
	case VALUE_STR:
	case VALUE_PYSTR:
	case VALUE_BYTES:
	case VALUE_BYTEARRAY: put_text(b, value_text(t, key)); break;
	case VALUE_INT: buf_addf(b, "%lld", (long long)value_int(t, key)); break;
	case VALUE_BOOL: buf_adds(b, value_bool(t, key) ? "True" : "False"); break;
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
	default: buf_adds(b, value_kind(t, key) == VALUE_NONE ? "None" : "?");
	}
}

void
tree_put_key(struct buf *b, const struct vtree *t, uint32_t container, size_t i)
{
	if (value_kind(t, container) == VALUE_DICT)
		put_key(b, t, value_key(t, container, i), 0);
	else
		buf_u64(b, i);
}
