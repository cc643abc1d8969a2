#include "tensor/place.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "pickle/machine.h"

enum { PLACES_SHOWN = 8 };

/* ---- messages */

/* Escapes b, which contains keys from the file, for use in a message. A NUL would end the message. */
static const char *
shown(struct buf *b)
{
	struct buf text = BUF_INIT;

	text_show(&text, buf_str(b));
	buf_release(b);
	*b = text;
	return b->len > 0 ? b->p : "";
}

/* Collects the dotted paths of the outermost containers that directly contain tensors. */
struct place_list {
	struct tensor_tree *tree;
	struct buf path; /* path of the container being visited, with a dot at the end */
	struct buf text;
	unsigned count;
};

static void
put_quoted(struct buf *b, struct str path)
{
	buf_adds(b, b->len > 0 ? ", '" : "'");
	buf_addstr(b, path);
	buf_addc(b, '\'');
}

static void
list_places(struct place_list *p, uint32_t h, unsigned depth)
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
				put_quoted(&p->text, str_n(p->path.p, len > 0 ? len - 1 : 0));
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

/* Returns true if h looks like a pickled nn.Module, but lacks what is needed to read it as one. */
static bool
is_module(const struct vtree *t, uint32_t h)
{
	const struct vobject *o;

	if (value_kind(t, h) != VALUE_OBJECT)
		return false;
	o = value_object(t, h);
	return !tree_is_module(t, h) && value_get(t, o->state, str_c("_parameters")) != VALUE_ABSENT;
}

/* Returns true if an item of h is such a module, and appends its key to key. */
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
whole_module(const struct tensor_tree *tree, const char *where, struct err *err)
{
	return err_input(err, tree->file,
			 "%s is a whole pickled nn.Module, not a state dict: load it in a program that has its classes and "
			 "save module.state_dict()",
			 where);
}

/* Returns true if an item of h is a tensor. */
static bool
has_tensor(const struct vtree *t, uint32_t h)
{
	uint32_t c = tree_container(t, h), index;

	for (size_t i = 0; c != VALUE_ABSENT && i < value_len(t, c); i++)
		if (tree_is_tensor(t, tree_child(t, c, i), &index))
			return true;
	return false;
}

enum { CLASS_DEPTH = 4 };

/*
 * Searches depth levels for an object that is made of tensors. Returns the class of the first one and appends its path to path, or
 * returns VALUE_ABSENT.
 */
static uint32_t
find_class(const struct vtree *t, uint32_t h, struct buf *path, unsigned depth)
{
	const struct vobject *o = value_object(t, h);
	uint32_t c = tree_container(t, h), found = VALUE_ABSENT;
	size_t len = path->len;

	if (o != NULL && value_kind(t, o->callable) == VALUE_GLOBAL && (has_tensor(t, o->args) || has_tensor(t, o->state)))
		return o->callable;
	for (size_t i = 0; depth > 0 && c != VALUE_ABSENT && i < value_len(t, c); i++) {
		buf_adds(path, len > 0 ? "." : "");
		tree_put_key(path, t, c, i);
		found = find_class(t, tree_child(t, c, i), path, depth - 1);
		if (found != VALUE_ABSENT)
			return found;
		path->len = len;
	}
	return VALUE_ABSENT;
}

/* Reports that there are no tensors. If an object of some class holds tensors, the message names the class. */
static int
nowhere(const struct tensor_tree *tree, const char *where, struct err *err)
{
	struct buf path = BUF_INIT;
	uint32_t class = find_class(tree->t, tree->root, &path, CLASS_DEPTH);

	if (tree_is_script(tree->t, tree->root))
		err_input(err, tree->file, "the TorchScript module has no tensors");
	else if (class == VALUE_ABSENT)
		err_input(err, tree->file, "there are no tensors at %s, and none elsewhere in it", where);
	else
		err_input(err, tree->file,
			  "there are no tensors at %s: an object of the class '%.*s.%.*s' holds them (at '%s'); load it in a "
			  "program that has this class and save its tensors in a dict",
			  where, STR_ARG(value_module(tree->t, class)), STR_ARG(value_name(tree->t, class)), shown(&path));
	buf_release(&path);
	return -1;
}

static int
no_tensors(struct tensor_tree *tree, const struct place *place, struct err *err)
{
	struct place_list p = { .tree = tree, .path = BUF_INIT, .text = BUF_INIT };
	char where[600] = "the root";

	buf_addstr(&p.path, place->key);
	if (place->key.len > 0)
		snprintf(where, sizeof(where), "'%s'", shown(&p.path));
	buf_clear(&p.path);
	if (is_module(tree->t, place->value)) {
		whole_module(tree, where, err);
	} else if (tree_holds(tree, tree->root, err) >= 0) {
		list_places(&p, tree->root, 0);
		if (p.count > 0) {
			err_input(err, tree->file, "there are no tensors at %s; there are some at %s%s (-k PATH chooses)", where,
				  shown(&p.text), p.count > PLACES_SHOWN ? ", ..." : "");
		} else if (find_module(tree->t, tree->root, &p.text)) {
			snprintf(where, sizeof(where), "'%s'", shown(&p.text));
			whole_module(tree, where, err);
		} else {
			nowhere(tree, where, err);
		}
	}
	buf_release(&p.path);
	buf_release(&p.text);
	return -1;
}

/* NEAREST_TRIED: keys per container compared with a missing key. NEAREST_DEPTH: levels searched. */
enum { NEAREST_TRIED = 1000, NEAREST_DEPTH = 3 };

/* Offers the dotted paths of the items of container to near, and recursively those in items that hold tensors. */
static void
offer_paths(const struct tensor_tree *tree, uint32_t container, struct str path, struct arena *arena, struct nearest *near)
{
	struct buf one = BUF_INIT;
	size_t n = value_len(tree->t, container), depth = 0;
	uint32_t below;

	for (size_t i = 0; i < path.len; i++)
		depth += path.p[i] == '.';
	for (size_t i = 0; i < n && i < NEAREST_TRIED; i++) {
		buf_clear(&one);
		buf_addstr(&one, path);
		tree_put_key(&one, tree->t, container, i);
		nearest_try(near, arena_str(arena, buf_str(&one)));
		below = tree_holder(tree, tree_child(tree->t, container, i));
		buf_addc(&one, '.');
		if (below != VALUE_ABSENT && n <= PLACES_SHOWN && depth + 1 < NEAREST_DEPTH)
			offer_paths(tree, below, buf_str(&one), arena, near);
	}
	buf_release(&one);
}

/* Reports that there is no key. The message lists the keys of the root and suggests the nearest path. */
static int
no_place(struct tensor_tree *tree, struct str key, struct err *err)
{
	struct buf keys = BUF_INIT;
	uint32_t root = tree_container(tree->t, tree->root);
	size_t i, n = root == VALUE_ABSENT ? 0 : value_len(tree->t, root);
	struct arena arena = ARENA_INIT;
	struct err ignored = ERR_INIT;
	struct nearest near;

	nearest_init(&near, key);
	if (n > 0 && tree_holds(tree, tree->root, &ignored) >= 0)
		offer_paths(tree, root, str_c(""), &arena, &near);

	for (i = 0; i < n && i < PLACES_SHOWN; i++) {
		buf_adds(&keys, i ? ", " : "");
		tree_put_key(&keys, tree->t, root, i);
	}
	buf_adds(&keys, n > PLACES_SHOWN ? ", ..." : "");
	if (nearest_found(&near)) {
		buf_adds(&keys, "; did you mean ");
		buf_addstr(&keys, near.best);
		buf_addc(&keys, '?');
	}
	if (n > 0)
		err_input(err, tree->file, "there is no '%.*s' in it; its root has %s", STR_ARG(key), shown(&keys));
	else
		err_input(err, tree->file, "there is no '%.*s' in it", STR_ARG(key));
	arena_release(&arena);
	buf_release(&keys);
	return -1;
}

/* ---- entries */

enum entry_class {
	ENTRY_OTHER,  /* has no tensor, or only tensors that do not count */
	ENTRY_TENSOR, /* a tensor directly in the container */
	ENTRY_CANDIDATE,
	ENTRY_OPTIMIZER,
};

/* Returns h if it is a dict, the dict that an object of a subclass of dict carries, or VALUE_ABSENT. */
static uint32_t
dict_of(const struct vtree *t, uint32_t h)
{
	uint32_t c = value_kind(t, h) == VALUE_OBJECT ? value_object(t, h)->items : h;

	return c != VALUE_ABSENT && value_kind(t, c) == VALUE_DICT ? c : VALUE_ABSENT;
}

static bool
key_contains(const struct vtree *t, uint32_t key, const char *text)
{
	return key != VALUE_ABSENT && value_is_text(t, key) && str_contains(value_text(t, key), str_c(text));
}

bool
place_is_optimizer(const struct vtree *t, uint32_t key, uint32_t value)
{
	uint32_t dict = dict_of(t, value);

	if (key_contains(t, key, "optim"))
		return true;
	return dict != VALUE_ABSENT && value_get(t, dict, str_c("param_groups")) != VALUE_ABSENT;
}

static bool
is_beside(const struct vtree *t, uint32_t key)
{
	static const char *const words[] = { "sched", "rng", "scaler", "loss", "criterion", "_extra_state" };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (key_contains(t, key, words[i]))
			return true;
	return false;
}

/* Like place_is_optimizer, but caches the answer by node, because many keys may refer to one dict. */
static bool
is_optimizer_entry(const struct vtree *t, uint32_t key, uint32_t value, uint8_t *known)
{
	enum { YES = 1, NO };

	if (key_contains(t, key, "optim"))
		return true;
	if (known[value] == 0)
		known[value] = place_is_optimizer(t, VALUE_ABSENT, value) ? YES : NO;
	return known[value] == YES;
}

static enum entry_class
classify(const struct tensor_tree *tree, uint32_t key, uint32_t value, uint8_t *known)
{
	const struct vtree *t = tree->t;
	uint32_t index;

	if (tree_is_tensor(t, value, &index))
		return tree->ckpt->tensors[index].ndim == 0 || key_contains(t, key, "rng") ? ENTRY_OTHER : ENTRY_TENSOR;
	if (tree_is_composite(t, value))
		return ENTRY_TENSOR;
	if (tree_holder(tree, value) == VALUE_ABSENT)
		return ENTRY_OTHER;
	if (is_optimizer_entry(t, key, value, known))
		return ENTRY_OPTIMIZER;
	return (dict_of(t, value) == VALUE_ABSENT && !tree_is_module(t, value)) || is_beside(t, key) ? ENTRY_OTHER
												     : ENTRY_CANDIDATE;
}

/* The entries of one container, sorted by class. */
struct level {
	uint32_t container;
	size_t *candidates; /* indices of entries */
	size_t n, cap;
	size_t tensors;   /* number of tensors directly in it, not counting those after the first */
	size_t others;    /* number of other entries with tensors, such as lists and tuples */
	size_t optimizer; /* index of the first optimizer entry, or SIZE_MAX */
	size_t hidden;    /* number of entries that were not read and may be, or contain, a state dict */
	size_t foremost;  /* lowest usual_rank of the hidden entries */
	bool named;       /* a key contains model, state_dict or optim */
};

static const char *const usual_keys[] = { "model", "state_dict_ema", "state_dict" };

enum { USUAL = sizeof(usual_keys) / sizeof(usual_keys[0]) };

/* Returns the index of key in usual_keys, or USUAL if it is another key. */
static size_t
usual_rank(const struct vtree *t, uint32_t key)
{
	size_t k = 0;

	while (k < USUAL && (key == VALUE_ABSENT || !value_is_text(t, key) || !str_eqc(value_text(t, key), usual_keys[k])))
		k++;
	return k;
}

static uint32_t
level_key(const struct tensor_tree *tree, const struct level *l, size_t i)
{
	return value_kind(tree->t, l->container) == VALUE_DICT ? value_key(tree->t, l->container, i) : VALUE_ABSENT;
}

static uint32_t
level_value(const struct tensor_tree *tree, const struct level *l, size_t i)
{
	return tree_child(tree->t, l->container, i);
}

static void
level_scan(const struct tensor_tree *tree, uint32_t container, struct level *l)
{
	size_t n = value_len(tree->t, container);
	uint8_t *known = xcalloc(tree->nodes, 1);

	*l = (struct level){ .container = container, .optimizer = SIZE_MAX, .foremost = USUAL };
	for (size_t i = 0; i < n; i++) {
		uint32_t key = level_key(tree, l, i), value = level_value(tree, l, i), index;

		if (l->tensors > 0 && tree_is_tensor(tree->t, value, &index))
			continue; /* it only matters whether there is a tensor */
		l->named = l->named || key_contains(tree->t, key, "model") || key_contains(tree->t, key, "state_dict") ||
			   key_contains(tree->t, key, "optim");
		if (tree_hides(tree, value) && !is_beside(tree->t, key)) {
			l->hidden++;
			l->foremost = usual_rank(tree->t, key) < l->foremost ? usual_rank(tree->t, key) : l->foremost;
		}
		switch (classify(tree, key, value, known)) {
		case ENTRY_TENSOR: l->tensors++; break;
		case ENTRY_CANDIDATE: *xpush(l->candidates, l->n, l->cap) = i; break;
		case ENTRY_OPTIMIZER: l->optimizer = l->optimizer == SIZE_MAX ? i : l->optimizer; break;
		case ENTRY_OTHER: l->others += tree_holder(tree, value) != VALUE_ABSENT && !is_beside(tree->t, key); break;
		}
	}
	free(known);
}

/* ---- comparing the names below entries */

/* The sum of the hashes of all tensor names. Two entries with equal sums have the same names, in any order. */
struct name_tally {
	struct tensor_tree *tree;
	struct buf key;
	uint64_t tensors, sum;
	uint64_t visits; /* number of values visited; limited, because many paths may lead to one container */
};

static uint64_t
hash_on(uint64_t hash, struct str s)
{
	for (size_t i = 0; i < s.len; i++)
		hash = (hash ^ (unsigned char)s.p[i]) * 0x100000001b3u;
	return (hash ^ '.') * 0x100000001b3u;
}

static void
tally_add(struct name_tally *y, uint32_t h, uint64_t hash, unsigned depth)
{
	const struct vtree *t = y->tree->t;
	uint32_t c, index;

	if (tree_is_tensor(t, h, &index) || tree_is_composite(t, h)) {
		y->tensors++;
		y->sum += hash ^ (hash >> 29);
		return;
	}
	c = tree_holder(y->tree, h);
	if (c == VALUE_ABSENT || depth >= PICKLE_DEPTH_MAX)
		return;
	y->tree->seen[c] = TREE_OPEN;
	for (size_t i = 0; i < value_len(t, c) && y->visits <= 4 * (uint64_t)y->tree->nodes + 1024; i++, y->visits++) {
		buf_clear(&y->key);
		tree_put_key(&y->key, t, c, i);
		tally_add(y, tree_child(t, c, i), hash_on(hash, buf_str(&y->key)), depth + 1);
	}
	y->tree->seen[c] = TREE_WITH;
}

static struct name_tally
tally_of(struct tensor_tree *tree, uint32_t h)
{
	struct name_tally y = { .tree = tree, .key = BUF_INIT };

	tally_add(&y, h, 0xcbf29ce484222325u, 0);
	buf_release(&y.key);
	return y;
}

/* ---- text of messages */

/* Writes path quoted as one word for a shell. */
static void
put_word(struct buf *b, struct str path)
{
	bool plain = path.len > 0;

	for (size_t i = 0; i < path.len; i++)
		plain = plain && (isalnum((unsigned char)path.p[i]) || strchr("_./:@%+=,-", path.p[i]) != NULL);
	if (plain && path.p[0] != '-') {
		buf_addstr(b, path);
		return;
	}
	buf_addc(b, '\'');
	for (size_t i = 0; i < path.len; i++) {
		if (path.p[i] == '\'')
			buf_adds(b, "'\\'");
		buf_addc(b, path.p[i]);
	}
	buf_addc(b, '\'');
}

/* Appends the dotted path of entry i of the container at path. */
static void
put_path(struct buf *b, const struct tensor_tree *tree, const struct level *l, struct str path, size_t i)
{
	buf_addstr(b, path);
	if (path.len > 0)
		buf_addc(b, '.');
	tree_put_key(b, tree->t, l->container, i);
}

static void
put_choice(struct buf *b, struct str path, uint64_t tensors)
{
	buf_adds(b, b->len > 0 ? "; " : "");
	buf_addstr(b, path.len > 0 ? path : str_c("the root"));
	buf_addf(b, " (%" PRIu64 " %s): -k ", tensors, tensors == 1 ? "tensor" : "tensors");
	put_word(b, path);
}

/* Lists the candidates below path and then the root, each with its number of tensors and the option -k that selects it. */
static void
put_choices(struct buf *b, struct tensor_tree *tree, const struct level *l, struct str path)
{
	struct buf one = BUF_INIT;

	for (size_t i = 0; i < l->n && i < PLACES_SHOWN; i++) {
		buf_clear(&one);
		put_path(&one, tree, l, path, l->candidates[i]);
		put_choice(b, buf_str(&one), tally_of(tree, level_value(tree, l, l->candidates[i])).tensors);
	}
	if (l->n > PLACES_SHOWN)
		buf_addf(b, "; and %zu more", l->n - PLACES_SHOWN);
	put_choice(b, str_c(""), tally_of(tree, tree->root).tensors);
	buf_release(&one);
}

/* ---- applying the rule */

struct place_choice {
	struct tensor_tree *tree;
	const struct place_ask *ask;
	struct place place;
	struct buf path; /* path of place so far; the rule may go on below it */
	bool only;       /* a step took the only candidate */
};

/* Reports the other candidates that have the same tensor names as entry chosen. */
static void
say_others(struct place_choice *c, const struct level *l, size_t chosen)
{
	struct name_tally mine = tally_of(c->tree, level_value(c->tree, l, chosen)), other;
	struct buf taken = BUF_INIT, one = BUF_INIT, word = BUF_INIT;
	uint64_t visits = 0;
	size_t told = 0;

	put_path(&taken, c->tree, l, buf_str(&c->path), chosen);
	/* Candidates may share their contents, so the work is limited. */
	for (size_t i = 0; i < l->n && told < PLACES_SHOWN && visits <= 4 * (uint64_t)c->tree->nodes; i++) {
		other = tally_of(c->tree, level_value(c->tree, l, l->candidates[i]));
		visits += other.visits;
		if (l->candidates[i] == chosen || other.tensors != mine.tensors || other.sum != mine.sum)
			continue;
		buf_clear(&one);
		buf_clear(&word);
		put_path(&one, c->tree, l, buf_str(&c->path), l->candidates[i]);
		put_word(&word, buf_str(&one));
		diag_notice(c->ask->diag, "%s: the state dict is %s; %s was not taken; -k %s chooses it (it has the same names)",
			    c->tree->file, shown(&taken), shown(&one), shown(&word));
		told++;
	}
	buf_release(&taken);
	buf_release(&one);
	buf_release(&word);
}

/* Returns the index of the candidate whose key comes first in usual_keys, and sets *rank. SIZE_MAX: no candidate has such a key. */
static size_t
usual(const struct tensor_tree *tree, const struct level *l, size_t *rank)
{
	size_t entry = SIZE_MAX, r;

	*rank = USUAL;
	for (size_t i = 0; i < l->n; i++) {
		r = usual_rank(tree->t, level_key(tree, l, l->candidates[i]));
		if (r == USUAL || r > *rank)
			continue;
		*rank = r;
		entry = l->candidates[i];
	}
	return entry;
}

/*
 * Moves to the entry that the rule chooses. Returns 1 if it moved, 0 if the state dict is here, and -1 if the rule chooses none
 * or could choose another entry after all values are read.
 */
static int
step(struct place_choice *c, const struct level *l)
{
	size_t rank, entry = usual(c->tree, l, &rank);
	struct buf path = BUF_INIT;

	if (l->hidden > 0 && (entry == SIZE_MAX || l->foremost < rank))
		return -1;
	if (entry != SIZE_MAX && l->n > 1)
		say_others(c, l, entry);
	if (entry == SIZE_MAX) {
		if (l->n == 0)
			return 0;
		if (l->n > 1 || l->tensors > 0)
			return -1;
		entry = l->candidates[0];
		c->only = true;
	}
	put_path(&path, c->tree, l, buf_str(&c->path), entry);
	buf_release(&c->path);
	c->path = path;
	c->place.value = level_value(c->tree, l, entry);
	return 1;
}

static int
is_ambiguous(struct place_choice *c, const struct level *l, struct err *err)
{
	const char *way = c->ask->way != NULL ? c->ask->way : "";
	struct buf choices = BUF_INIT;
	int rc = 0;

	put_choices(&choices, c->tree, l, buf_str(&c->path));
	if (c->ask->root)
		diag_notice(c->ask->diag, "%s: the root is listed; which state dict is meant? %s%s", c->tree->file, shown(&choices),
			    way);
	else
		rc = err_input(err, c->tree->file, "which state dict is meant? %s%s", shown(&choices), way);
	c->place = (struct place){ c->tree->root, str_c(""), PLACE_AMBIGUOUS };
	buf_clear(&c->path);
	buf_release(&choices);
	return rc;
}

static int
is_optimizer(struct place_choice *c, struct str state, const char *what, struct err *err)
{
	struct buf word = BUF_INIT;
	int rc = 0;

	c->place.kind = PLACE_OPTIMIZER;
	put_word(&word, state);
	if (c->ask->root)
		diag_notice(c->ask->diag, "%s: %s an optimizer's state, not a state dict", c->tree->file, what);
	else
		rc = err_input(err, c->tree->file, "%s an optimizer's state, not a state dict (-k %s if that is meant)", what,
			       shown(&word));
	buf_release(&word);
	return rc;
}

/* The decision of the rule about one container. */
enum verdict { LEVEL_CHOSEN, LEVEL_DESCEND, LEVEL_AMBIGUOUS, LEVEL_OPTIMIZER };

static enum verdict
judge(struct place_choice *c, struct level *l, bool root)
{
	int rc;

	/* Items of a list have no keys, so none is a candidate unless an item is an optimizer. */
	if (value_kind(c->tree->t, l->container) != VALUE_DICT && l->optimizer == SIZE_MAX)
		l->n = 0;
	if (root && l->n + l->tensors + l->others + l->hidden == 0 && l->optimizer != SIZE_MAX)
		return LEVEL_OPTIMIZER;
	if (!root && (l->tensors > 0 || !l->named))
		return LEVEL_CHOSEN;
	rc = step(c, l);
	return rc < 0 ? LEVEL_AMBIGUOUS : rc > 0 ? LEVEL_DESCEND : LEVEL_CHOSEN;
}

/* Applies the rule to the root and then, as long as it applies, to the chosen entry. */
static int
descend(struct place_choice *c, struct err *err)
{
	const struct vtree *t = c->tree->t;
	uint32_t container = value_kind(t, c->place.value) == VALUE_OBJECT ? dict_of(t, c->place.value)
									   : tree_container(t, c->place.value),
		 opened[PICKLE_DEPTH_MAX];
	enum verdict verdict = LEVEL_DESCEND;
	struct level l = { .candidates = NULL };
	struct buf state = BUF_INIT;
	size_t n = 0;
	int rc = 0;

	while (verdict == LEVEL_DESCEND && container != VALUE_ABSENT && n < PICKLE_DEPTH_MAX) {
		free(l.candidates);
		/* A container must not be a candidate inside itself. */
		c->tree->seen[container] = TREE_OPEN;
		opened[n++] = container;
		level_scan(c->tree, container, &l);
		verdict = judge(c, &l, n == 1);
		container = dict_of(t, c->place.value);
	}
	while (n > 0)
		c->tree->seen[opened[--n]] = TREE_WITH;
	if (verdict == LEVEL_AMBIGUOUS)
		rc = is_ambiguous(c, &l, err);
	if (verdict == LEVEL_OPTIMIZER) {
		put_path(&state, c->tree, &l, str_c(""), l.optimizer);
		rc = is_optimizer(c, buf_str(&state), "its tensors are", err);
	}
	free(l.candidates);
	buf_release(&state);
	return rc;
}

static void
say_choice(const struct place_choice *c)
{
	struct buf path = BUF_INIT;

	buf_addstr(&path, buf_str(&c->path));
	diag_notice(c->ask->diag, "%s: the state dict is %s", c->tree->file, shown(&path));
	buf_release(&path);
}

static int
choose(struct place_choice *c, struct err *err)
{
	int rc = tree_holds(c->tree, c->tree->root, err);

	if (rc <= 0)
		return rc;
	if (place_is_optimizer(c->tree->t, VALUE_ABSENT, c->tree->root))
		return is_optimizer(c, str_c("state"), "it is", err);
	if (descend(c, err) < 0)
		return -1;
	if (c->only && c->path.len > 0)
		say_choice(c);
	return 0;
}

static int
given(struct tensor_tree *tree, struct str key, struct place *place, struct err *err)
{
	uint32_t root = tree_container(tree->t, tree->root);

	if (key.len > 0)
		place->value = value_path(tree->t, root != VALUE_ABSENT ? root : tree->root, key);
	return place->value == VALUE_ABSENT ? no_place(tree, key, err) : 0;
}

int
place_find(struct tensor_tree *tree, const struct place_ask *ask, struct arena *arena, struct place *place, struct err *err)
{
	struct place_choice c = { .tree = tree, .ask = ask, .place = { tree->root, str_c(""), PLACE_SURE }, .path = BUF_INIT };
	int rc;

	if (ask->key != NULL)
		buf_adds(&c.path, ask->key);
	rc = ask->key != NULL ? given(tree, buf_str(&c.path), &c.place, err) : choose(&c, err);
	c.place.key = arena_str(arena, buf_str(&c.path));
	buf_release(&c.path);
	*place = c.place;
	if (rc < 0)
		return -1;
	rc = tree_holds(tree, place->value, err);
	if (rc == 0)
		return no_tensors(tree, place, err);
	return rc < 0 ? -1 : 0;
}
