#include "format/salvage.h"

#include <stdlib.h>

#include "base/xalloc.h"
#include "tensor/boxes.h"
#include "tensor/tree.h"

/* ---- storages */

static enum salvage_state
read_storage(struct ckpt *c, uint32_t i)
{
	struct storage *s = &c->storages[i];
	struct err ignored = ERR_INIT;
	uint32_t crc, stated;
	bool known;

	if (s->nbytes == 0 && s->offset == OFFSET_UNKNOWN)
		s->offset = 0; /* no bytes to look for */
	if (ckpt_read_crc(c, i, &crc, &ignored) < 0)
		return SALVAGE_MISSING;
	if (s->nbytes == 0)
		return SALVAGE_WHOLE;
	if (ckpt_crc(c, i, &stated, &known, &ignored) < 0 || !known)
		return SALVAGE_UNPROVED;
	return stated == crc ? SALVAGE_WHOLE : SALVAGE_DAMAGED;
}

void
salvage_read(struct salvage *s, struct ckpt *c)
{
	*s = (struct salvage){ .c = c, .states = xcalloc((size_t)c->nstorages + 1, 1), .loses = c->ndamaged + c->nlost > 0 };
	for (uint32_t i = 0; i < c->nstorages; i++) {
		s->states[i] = (uint8_t)read_storage(c, i);
		if (s->states[i] >= SALVAGE_DAMAGED)
			s->loses = true;
		else
			s->saved += c->storages[i].nbytes;
	}
}

void
salvage_release(struct salvage *s)
{
	free(s->states);
	s->states = NULL;
}

/* ---- values */

/* State while lost values are removed. */
struct taking {
	struct salvage *s;
	struct vtree *t; /* NULL if there is no tree */
	const struct diag *diag;
	uint32_t nodes;
	uint8_t *reached; /* by node: 0 if not known, else 1 + the worst state of what it refers to */
	bool *walked;     /* by node: the container has been searched */
	struct buf path;
};

static enum salvage_state reaches(struct taking *k, uint32_t h, unsigned depth);

static enum salvage_state
worse(enum salvage_state a, enum salvage_state b)
{
	return a > b ? a : b;
}

static enum salvage_state
tensor_state(struct taking *k, const struct tensor *t, unsigned depth)
{
	enum salvage_state state = k->s->c->ndamaged > 0 ? SALVAGE_UNPROVED : SALVAGE_WHOLE;

	for (size_t i = 0; i < boxes_count(t); i++)
		state = worse(state, (enum salvage_state)k->s->states[boxes_get(t, i).storage]);
	return t->wrap == VALUE_ABSENT ? state : worse(state, reaches(k, t->wrap, depth + 1));
}

/* Returns the worst state of what a value refers to, at any depth; for an object, of its arguments. */
static enum salvage_state
look_into(struct taking *k, uint32_t h, unsigned depth)
{
	const struct vobject *o = value_object(k->t, h);
	enum salvage_state state = SALVAGE_WHOLE;
	uint32_t index;

	switch (value_leaf(k->t, h, &index)) {
	case LEAF_TENSOR: return tensor_state(k, &k->s->c->tensors[index], depth);
	case LEAF_STORAGE: return (enum salvage_state)k->s->states[index];
	default: break;
	}
	if (o != NULL)
		return worse(reaches(k, o->args, depth + 1), reaches(k, o->kwargs, depth + 1));
	for (size_t i = 0; i < value_len(k->t, h); i++)
		state = worse(state, reaches(k, tree_child(k->t, h, i), depth + 1));
	return state;
}

static enum salvage_state
reaches(struct taking *k, uint32_t h, unsigned depth)
{
	enum salvage_state state;

	if (h >= k->nodes || depth > PICKLE_DEPTH_MAX)
		return SALVAGE_WHOLE;
	if (k->reached[h] == 0) {
		k->reached[h] = 1 + SALVAGE_WHOLE; /* ends cycles */
		state = look_into(k, h, depth);
		k->reached[h] = (uint8_t)(1 + state);
	}
	return (enum salvage_state)(k->reached[h] - 1);
}

/* Counts a value and reports its state to diag. Returns true if it is lost. */
static bool
tell(struct taking *k, const char *what, struct str path, enum salvage_state state)
{
	static const char *const words[] = {
		[SALVAGE_UNPROVED] = "is not proved: all its bytes are there, but it has no CRC that confirms them",
		[SALVAGE_DAMAGED] = "is lost: its CRC does not match its bytes",
		[SALVAGE_MISSING] = "is lost: bytes of it are missing",
	};
	struct salvage *s = k->s;

	s->unproved += state == SALVAGE_UNPROVED;
	s->lost += state >= SALVAGE_DAMAGED;
	s->kept += state < SALVAGE_DAMAGED;
	if (state != SALVAGE_WHOLE)
		diag_warn(k->diag, "%s: %s '%.*s' %s", s->c->file, what, STR_ARG(path), words[state]);
	return state >= SALVAGE_DAMAGED;
}

static void walk(struct taking *k, uint32_t h, unsigned depth);

/* Handles an item of a container, to which k->path leads. Returns true if it is lost. */
static bool
take_item(struct taking *k, uint32_t h, unsigned depth)
{
	const struct vtree *t = k->t;
	const enum value_kind kind = value_kind(t, h);
	uint32_t index;
	bool tensor = tree_is_tensor(t, h, &index) || tree_is_composite(t, h), made = kind == VALUE_LEAF || kind == VALUE_OBJECT;
	enum salvage_state state = made ? reaches(k, h, 0) : SALVAGE_WHOLE;

	if (tensor || state >= SALVAGE_DAMAGED)
		return tell(k, tensor ? "tensor" : "value", buf_str(&k->path), state);
	walk(k, h, depth + 1);
	return false;
}

static void
take_items(struct taking *k, uint32_t place, unsigned depth)
{
	const size_t n = value_len(k->t, place), len = k->path.len;
	const bool dict = value_kind(k->t, place) == VALUE_DICT;
	bool *lost = xcalloc(n + 1, sizeof(*lost));

	for (size_t i = 0; i < n; i++) {
		if (len > 0)
			buf_addc(&k->path, '.');
		tree_put_key(&k->path, k->t, place, i);
		lost[i] = take_item(k, tree_child(k->t, place, i), depth);
		if (lost[i] && !dict)
			value_put(k->t, place, i, value_new_none(k->t));
		k->path.len = len;
	}
	if (dict)
		value_remove(k->t, place, lost);
	free(lost);
}

static void
walk(struct taking *k, uint32_t h, unsigned depth)
{
	uint32_t place;

	for (size_t i = 0; depth <= PICKLE_DEPTH_MAX; i++) {
		place = value_within(k->t, h, i);
		if (place == VALUE_ABSENT)
			break;
		if (place >= k->nodes || k->walked[place])
			continue;
		k->walked[place] = true;
		take_items(k, place, depth);
	}
}

/* ---- entry points */

static void
take_from_tree(struct taking *k)
{
	struct ckpt *c = k->s->c;

	k->nodes = vtree_count(k->t);
	k->reached = xcalloc((size_t)k->nodes + 1, 1);
	k->walked = xcalloc((size_t)k->nodes + 1, sizeof(*k->walked));
	if (take_item(k, c->root, 0))
		c->root = value_new_none(k->t);
	free(k->reached);
	free(k->walked);
}

static void
take_from_list(struct taking *k)
{
	struct ckpt *c = k->s->c;
	uint32_t kept = 0;

	for (uint32_t i = 0; i < c->ntensors; i++) {
		if (tell(k, "tensor", c->names[i], tensor_state(k, &c->tensors[i], 0)))
			continue;
		c->names[kept] = c->names[i];
		c->tensors[kept++] = c->tensors[i];
	}
	c->ntensors = kept;
}

void
salvage_take_out(struct salvage *s, const struct diag *diag)
{
	struct taking k = { .s = s, .t = s->c->tree, .diag = diag, .path = BUF_INIT };
	struct ckpt *c = s->c;

	ckpt_warn_index(c);
	for (size_t i = 0; i < c->nlost; i++)
		tell(&k, "tensor or value", c->lost[i], SALVAGE_MISSING);
	if (k.t != NULL)
		take_from_tree(&k);
	else
		take_from_list(&k);
	c->ndamaged = 0;
	buf_release(&k.path);
}
