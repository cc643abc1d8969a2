#include "text/finder.h"

#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/num.h"
#include "base/strmap.h"
#include "base/xalloc.h"
#include "text/pyre_priv.h"

/*
 * Limits: entries of a table, and bytes of stored sets of steps. Beyond them all states are forgotten, and found again.
 */
enum { ENTRIES_MAX = 1 << 20, BYTES_MAX = 8 << 20 };

/*
 * Limit of the total work. It is a free amount plus, for each name, about the time that PCRE2 would take. If an automaton of
 * regular expressions needs more, it is given up.
 */
enum { WORK_FREE = 1 << 20, WORK_PER_PATTERN = 32 };

/* The kind of byte before the current position. */
enum before { BEFORE_NONE, BEFORE_OTHER, BEFORE_WORD };

/* A set of steps: the positions that patterns have reached. Every pattern may also begin at every byte; this is not stored. */
struct finder_state {
	const uint32_t *ops; /* sorted indices of ops */
	size_t n;
	enum before before;
};

/* The patterns found on a transition, and the row of the next state. */
struct finder_hit {
	const uint32_t *ids;
	size_t n;
	uint32_t row;
};

/* Symbols before the first byte and after the last byte of a name. */
enum { SYMBOL_BEGIN = 256, SYMBOL_END, SYMBOLS };

/* A node of the trie. It represents a prefix of one or more texts. */
struct trie_node {
	uint32_t child, sibling;
	uint32_t fail;   /* the node of the longest proper suffix that is also a prefix of a text */
	uint32_t report; /* the first node in the chain of fail links at which a text ends; 0: none */
	uint32_t hit;    /* 1 + index in hits of the first text that ends here; 0: none */
	uint32_t row;    /* row of the node in the table; 0: none */
	uint16_t class;  /* class of the last symbol of the prefix */
	uint64_t seen;   /* number of the last name in which the node was reported */
};

struct trie_hit {
	uint32_t id, next;
};

/* The Aho-Corasick automaton of all texts. The time for a name is proportional to its length and does not depend on the texts. */
struct trie {
	struct trie_node *nodes; /* 0 is the root */
	size_t n, cap;
	struct trie_hit *hits;
	size_t nhits, caphits;
	uint16_t class_of[SYMBOLS]; /* 0: in no text */
	uint16_t width;             /* classes */
	/* Set when the first name is searched. */
	uint32_t *next;   /* by row and class: 0 if not computed; 2 * the row of the next node, + 1 if report() is needed */
	uint32_t *states; /* by row / width: the node of the row; row 0 is unused */
	size_t nstates, capstates;
	uint64_t names;
};

struct automaton {
	struct pyre_op *ops;
	uint32_t *owner; /* by op: the id of its pattern */
	size_t nops, capops, capowner;
	uint32_t *starts; /* the first op of each pattern */
	size_t n, cap;
	size_t nmatches; /* number of ops that are PYRE_MATCH */
	/* Set when it starts: all bytes that no pattern distinguishes form one class; the end of the name is the last class. */
	bool words; /* true if there is a PYRE_WORD or PYRE_INNER */
	uint8_t class_of[256], sample[256];
	unsigned width;
	struct finder_state *states; /* number 0 is unused, 1 is the initial state */
	size_t nstates, capstates;
	uint32_t *next; /* by state and class: 0 if not computed; 2 * the row of a state; or 2 * the number of a hit + 1 */
	struct finder_hit *hits;
	size_t nhits, caphits;
	struct strmap by_ops; /* maps a set of ops to the number of its state */
	struct arena arena;
	uint64_t work, names;
	unsigned resets;
	/* used while a transition is computed */
	uint32_t *mark, generation; /* mark: by op, the generation in which it was reached */
	uint32_t *stack, *list, *found;
	size_t nlist, nfound;
};

struct finder {
	struct trie texts;
	struct automaton regexes;
	const struct pyre **res; /* by id: the regular expression; NULL if the pattern is a text */
	size_t n, cap;
	struct str name;
	bool scanned;
	uint64_t *found, *ask;   /* bits by id: the pattern is found; PCRE2 must be asked */
	uint64_t *never, *regex; /* bits by id: a regular expression without program; any regular expression */
};

/* ---- texts */

static uint32_t
find_child(const struct trie *t, uint32_t node, unsigned class)
{
	uint32_t at = t->nodes[node].child;

	while (at != 0 && t->nodes[at].class != class)
		at = t->nodes[at].sibling;
	return at;
}

static uint32_t
add_child(struct trie *t, uint32_t node, unsigned symbol)
{
	uint16_t *class = &t->class_of[symbol];
	struct trie_node new = { .sibling = t->nodes[node].child };
	uint32_t at;

	if (*class == 0)
		*class = t->width++;
	at = find_child(t, node, *class);
	if (at != 0)
		return at;
	new.class = *class;
	*xpush(t->nodes, t->n, t->cap) = new;
	return t->nodes[node].child = (uint32_t)t->n - 1;
}

static void
add_hit(struct trie *t, uint32_t node, uint32_t id)
{
	*xpush(t->hits, t->nhits, t->caphits) = (struct trie_hit){ id, t->nodes[node].hit };
	t->nodes[node].hit = (uint32_t)t->nhits;
}

/* Adds a text below node, with the symbols that must follow the text according to where. */
static void
add_text(struct trie *t, uint32_t node, struct str text, enum finder_where where, uint32_t id)
{
	static const unsigned edges[] = { '.', '_', SYMBOL_END };

	for (size_t i = 0; i < text.len; i++)
		node = add_child(t, node, (uint8_t)text.p[i]);
	if (where == FINDER_END)
		node = add_child(t, node, SYMBOL_END);
	if (where < FINDER_COMPONENT || text.len == 0 || !isalnum((unsigned char)text.p[text.len - 1])) {
		add_hit(t, node, id);
		return;
	}
	for (size_t i = 0; i < 3; i++)
		add_hit(t, add_child(t, node, edges[i]), id);
}

/* Returns the node that follows node for a symbol of this class. */
static uint32_t
go(const struct trie *t, uint32_t node, unsigned class)
{
	uint32_t child;

	while ((child = find_child(t, node, class)) == 0 && node != 0)
		node = t->nodes[node].fail;
	return child;
}

/* Sets fail and report of all nodes, in breadth-first order. */
static void
link_nodes(struct trie *t)
{
	struct trie_node *v = t->nodes;
	uint32_t *queue = xreallocn(NULL, t->n, sizeof(*queue));
	size_t tail = 0;

	queue[tail++] = 0;
	for (size_t head = 0; head < tail; head++) {
		const uint32_t up = queue[head];

		for (uint32_t at = v[up].child; at != 0; at = v[at].sibling) {
			const uint32_t fail = up == 0 ? 0 : go(t, v[up].fail, v[at].class);

			v[at].fail = fail;
			v[at].report = fail != 0 && v[fail].hit != 0 ? fail : v[fail].report;
			queue[tail++] = at;
		}
	}
	free(queue);
}

/* Removes all rows except that of the root. */
static void
forget_rows(struct trie *t)
{
	for (size_t i = 1; i < t->nstates; i++)
		t->nodes[t->states[i]].row = 0;
	memset(t->next, 0, t->capstates * t->width * sizeof(*t->next));
	t->states[1] = 0;
	t->nodes[0].row = t->width;
	t->nstates = 2;
}

static void
start_trie(struct trie *t)
{
	link_nodes(t);
	t->capstates = 16;
	t->states = xcalloc(t->capstates, sizeof(*t->states));
	t->next = xcalloc(t->capstates * t->width, sizeof(*t->next));
	forget_rows(t);
}

/* Gives a node a row. */
static void
add_row(struct trie *t, uint32_t node)
{
	const size_t old = t->capstates;

	if (t->nstates * t->width >= ENTRIES_MAX)
		forget_rows(t);
	if (t->nstates == old) {
		t->capstates *= 2;
		t->states = xreallocn(t->states, t->capstates, sizeof(*t->states));
		t->next = xreallocn(t->next, t->capstates * t->width, sizeof(*t->next));
		memset(t->next + old * t->width, 0, old * t->width * sizeof(*t->next));
	}
	t->nodes[node].row = (uint32_t)t->nstates * t->width;
	t->states[t->nstates++] = node;
}

/* Computes the entry of the table for a row and a class. It is not stored if its row was removed meanwhile. */
static uint32_t
find_entry(struct trie *t, uint32_t row, unsigned class)
{
	const uint32_t from = t->states[row / t->width], to = go(t, from, class);
	uint32_t entry;

	if (t->nodes[to].row == 0)
		add_row(t, to);
	entry = 2 * t->nodes[to].row + ((to != 0 && t->nodes[to].hit != 0) || t->nodes[to].report != 0);
	if (t->nodes[from].row == row)
		t->next[row + class] = entry;
	return entry;
}

static void
set_bit(uint64_t *bits, size_t id)
{
	bits[id / 64] |= (uint64_t)1 << (id % 64);
}

/* Sets the bits of the texts that end at node or along its report links. Stops at a node that was already seen in this name. */
static void
report(struct trie *t, uint32_t node, uint64_t *bits)
{
	while (t->nodes[node].seen != t->names) {
		t->nodes[node].seen = t->names;
		for (uint32_t i = t->nodes[node].hit; i != 0; i = t->hits[i - 1].next)
			set_bit(bits, t->hits[i - 1].id);
		node = t->nodes[node].report;
	}
}

static inline uint32_t
move(struct trie *t, uint32_t row, unsigned class, uint64_t *bits)
{
	uint32_t entry = t->next[row + class];

	if (entry == 0)
		entry = find_entry(t, row, class);
	if (entry % 2 != 0)
		report(t, t->states[entry / 2 / t->width], bits);
	return entry / 2;
}

/* Sets the bits of the texts that are found in a name. */
static void
find_texts(struct trie *t, struct str name, uint64_t *bits)
{
	uint32_t row;

	if (t->next == NULL)
		start_trie(t);
	t->names++;
	report(t, 0, bits);
	row = move(t, t->width, t->class_of[SYMBOL_BEGIN], bits);
	for (size_t i = 0; i < name.len; i++)
		row = move(t, row, t->class_of[(uint8_t)name.p[i]], bits);
	(void)move(t, row, t->class_of[SYMBOL_END], bits);
}

static void
trie_release(struct trie *t)
{
	free(t->nodes);
	free(t->hits);
	free(t->next);
	free(t->states);
}

/* ---- patterns */

static size_t
new_id(struct finder *s, const struct pyre *re)
{
	*xpush(s->res, s->n, s->cap) = re;
	return s->n - 1;
}

static void
begin_pattern(struct automaton *a)
{
	*xpush(a->starts, a->n, a->cap) = (uint32_t)a->nops;
}

static void
add_op(struct automaton *a, uint32_t owner, struct pyre_op op)
{
	size_t n = a->nops;

	*xpush(a->owner, n, a->capowner) = owner;
	*xpush(a->ops, a->nops, a->capops) = op;
	a->nmatches += op.kind == PYRE_MATCH;
	a->words = a->words || op.kind == PYRE_WORD || op.kind == PYRE_INNER;
}

size_t
finder_text(struct finder *s, struct str text, enum finder_where where)
{
	const size_t id = new_id(s, NULL);
	struct trie *t = &s->texts;

	if (t->n == 0) {
		*xpush(t->nodes, t->n, t->cap) = (struct trie_node){ .hit = 0 };
		t->width = 1;
	}
	if (where == FINDER_ANYWHERE || where == FINDER_END)
		add_text(t, 0, text, where, (uint32_t)id);
	else
		add_text(t, add_child(t, 0, SYMBOL_BEGIN), text, where, (uint32_t)id);
	if (where == FINDER_COMPONENT)
		add_text(t, add_child(t, 0, '.'), text, where, (uint32_t)id);
	return id;
}

size_t
finder_regex(struct finder *s, const struct pyre *re)
{
	const size_t id = new_id(s, re);
	size_t n;
	const struct pyre_op *ops = pyre_program(re, &n);

	if (n > 0)
		begin_pattern(&s->regexes);
	for (size_t i = 0; i < n; i++)
		add_op(&s->regexes, (uint32_t)id, ops[i]);
	return id;
}

/* ---- the automaton */

/* Splits every class that is partly in set: the bytes in set get a new class. */
static void
refine(struct automaton *a, const uint64_t *set)
{
	unsigned all[256] = { 0 }, in[256] = { 0 }, fresh[256] = { 0 };

	for (unsigned c = 0; c < 256; c++) {
		all[a->class_of[c]]++;
		in[a->class_of[c]] += pyre_set_has(set, c);
	}
	for (unsigned c = 0; c < 256; c++) {
		const unsigned class = a->class_of[c];

		if (!pyre_set_has(set, c) || in[class] == all[class])
			continue;
		if (fresh[class] == 0)
			fresh[class] = a->width++;
		a->class_of[c] = (uint8_t)fresh[class];
	}
}

static bool
is_word(unsigned c)
{
	return c < 0x80 && (isalnum((int)c) || c == '_');
}

/* Forgets all states but the initial one. */
static void
reset(struct automaton *a)
{
	strmap_release(&a->by_ops);
	arena_release(&a->arena);
	a->nhits = 0;
	a->nstates = 2;
	a->resets++;
	memset(a->next, 0, a->capstates * a->width * sizeof(*a->next));
	a->states[1] = (struct finder_state){ NULL, 0, BEFORE_NONE };
}

/* Returns true if set is a single byte that was seen before. Otherwise notes it. */
static bool
is_known(uint64_t *single, const uint64_t *set)
{
	bool known = true;
	int n = 0;

	for (int i = 0; i < 4; i++) {
		n += __builtin_popcountll(set[i]);
		known = known && (set[i] & ~single[i]) == 0;
	}
	for (int i = 0; n == 1 && i < 4; i++)
		single[i] |= set[i];
	return n == 1 && known;
}

static void
make_classes(struct automaton *a)
{
	uint64_t word[4] = { 0 }, last[4] = { 0 }, single[4] = { 0 };

	a->width = 1;
	for (unsigned c = 0; c < 256; c++)
		if (a->words && is_word(c))
			pyre_set_add(word, c);
	refine(a, word);
	for (size_t i = 0; i < a->nops; i++) {
		if (a->ops[i].kind != PYRE_SET || memcmp(last, a->ops[i].set, sizeof(last)) == 0 || is_known(single, a->ops[i].set))
			continue;
		memcpy(last, a->ops[i].set, sizeof(last));
		refine(a, last);
	}
	for (unsigned c = 0; c < 256; c++)
		a->sample[a->class_of[c]] = (uint8_t)c;
	a->width++;
}

static void
start(struct automaton *a)
{
	make_classes(a);
	a->capstates = 16;
	a->states = xcalloc(a->capstates, sizeof(*a->states));
	a->next = xcalloc(a->capstates * a->width, sizeof(*a->next));
	a->mark = xcalloc(a->nops, sizeof(*a->mark));
	a->stack = xcalloc(a->nops + 1, 2 * sizeof(*a->stack));
	a->list = xcalloc(a->nops + 1, sizeof(*a->list));
	a->found = xcalloc(a->nmatches, sizeof(*a->found));
	reset(a);
}

static void
automaton_release(struct automaton *a)
{
	void *const all[] = { a->ops, a->owner, a->starts, a->states, a->next, a->hits, a->mark, a->stack, a->list, a->found };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		free(all[i]);
	strmap_release(&a->by_ops);
	arena_release(&a->arena);
	memset(a, 0, sizeof(*a));
}

/*
 * Returns true if a position op of this kind matches between two bytes. after is the kind of the next byte, or BEFORE_NONE at the
 * end.
 */
static bool
passes(enum pyre_kind kind, enum before before, enum before after)
{
	switch (kind) {
	case PYRE_BEGIN: return before == BEFORE_NONE;
	case PYRE_END: return after == BEFORE_NONE;
	case PYRE_WORD: return (before == BEFORE_WORD) != (after == BEFORE_WORD);
	default: return (before == BEFORE_WORD) == (after == BEFORE_WORD) && before + after != BEFORE_NONE;
	}
}

/* Follows a pattern from op up to the next byte. Adds the patterns it finds to a->found, and the ops after that byte to a->list. */
static void
follow(struct automaton *a, uint32_t op, enum before before, enum before after, uint8_t byte)
{
	size_t n = 0;

	a->stack[n++] = op;
	while (n > 0) {
		const uint32_t at = a->stack[--n];
		const struct pyre_op *o = &a->ops[at];

		if (a->mark[at] == a->generation)
			continue;
		a->mark[at] = a->generation;
		a->work++;
		if (o->kind == PYRE_MATCH) {
			a->found[a->nfound++] = a->owner[at];
		} else if (o->kind == PYRE_SET) {
			if (after != BEFORE_NONE && pyre_set_has(o->set, byte))
				a->list[a->nlist++] = at + 1;
		} else {
			if (o->kind == PYRE_SPLIT || o->kind == PYRE_JUMP)
				a->stack[n++] = at + (uint32_t)o->to;
			if (o->kind == PYRE_SPLIT || (o->kind != PYRE_JUMP && passes(o->kind, before, after)))
				a->stack[n++] = at + 1;
		}
	}
}

/* Sorts the list, and drops ops of patterns that are found. They stay found whatever follows. */
static void
tidy(struct automaton *a)
{
	size_t n = 0;

	if (a->nfound == 0) {
		qsort(a->list, a->nlist, sizeof(*a->list), num_cmp32);
		return;
	}
	qsort(a->found, a->nfound, sizeof(*a->found), num_cmp32);
	for (size_t i = 0; i < a->nlist; i++)
		if (bsearch(&a->owner[a->list[i]], a->found, a->nfound, sizeof(*a->found), num_cmp32) == NULL)
			a->list[n++] = a->list[i];
	a->nlist = n;
	qsort(a->list, n, sizeof(*a->list), num_cmp32);
}

static const void *
copied(struct automaton *a, const uint32_t *v, size_t n)
{
	return n == 0 ? NULL : memcpy(arena_alloc(&a->arena, n * sizeof(*v)), v, n * sizeof(*v));
}

/* Returns the row of the state whose ops are in the list, and adds the state if it is new. */
static uint32_t
intern(struct automaton *a, enum before before)
{
	uint64_t at;

	a->list[a->nlist] = before;
	if (strmap_get(&a->by_ops, str_n((const char *)a->list, (a->nlist + 1) * sizeof(*a->list)), &at))
		return (uint32_t)at * a->width;
	if (a->nstates * a->width >= ENTRIES_MAX || a->arena.total > BYTES_MAX)
		reset(a);
	if (a->nstates == a->capstates) {
		const size_t old = a->capstates;

		a->capstates *= 2;
		a->states = xreallocn(a->states, a->capstates, sizeof(*a->states));
		a->next = xreallocn(a->next, a->capstates * a->width, sizeof(*a->next));
		memset(a->next + old * a->width, 0, old * a->width * sizeof(*a->next));
	}
	a->states[a->nstates] = (struct finder_state){ copied(a, a->list, a->nlist + 1), a->nlist, before };
	strmap_add(&a->by_ops, str_n((const char *)a->states[a->nstates].ops, (a->nlist + 1) * sizeof(*a->list)), a->nstates);
	return (uint32_t)a->nstates++ * a->width;
}

/* Computes the table entry for a row and a class. */
static uint32_t
advance(struct automaton *a, uint32_t row, unsigned class)
{
	const struct finder_state state = a->states[row / a->width];
	const bool end = class + 1 == a->width;
	const uint8_t byte = a->sample[end ? 0 : class];
	const enum before after = end ? BEFORE_NONE : a->words && is_word(byte) ? BEFORE_WORD : BEFORE_OTHER;
	const unsigned resets = a->resets;
	uint32_t entry;

	a->nlist = a->nfound = 0;
	a->generation++;
	for (size_t i = 0; i < state.n; i++)
		follow(a, state.ops[i], state.before, after, byte);
	for (size_t i = 0; i < a->n; i++)
		follow(a, a->starts[i], state.before, after, byte);
	tidy(a);
	entry = end ? 2 * a->width : 2 * intern(a, after);
	if (a->nfound > 0) {
		*xpush(a->hits, a->nhits, a->caphits) = (struct finder_hit){ copied(a, a->found, a->nfound), a->nfound, entry / 2 };
		entry = 2 * (uint32_t)(a->nhits - 1) + 1;
	}
	if (resets == a->resets)
		a->next[row + class] = entry;
	return entry;
}

/* Sets the bits of the regular expressions that are found in a name. */
static void
run(struct automaton *a, struct str name, uint64_t *bits)
{
	uint32_t row, entry;

	if (a->next == NULL)
		start(a);
	a->names++;
	row = a->width;
	for (size_t i = 0; i <= name.len; i++) {
		const unsigned class = i < name.len ? a->class_of[(uint8_t)name.p[i]] : a->width - 1;

		entry = a->next[row + class];
		if (entry == 0)
			entry = advance(a, row, class);
		row = entry / 2;
		if (entry % 2 == 0)
			continue;
		row = a->hits[entry / 2].row;
		for (size_t k = 0; k < a->hits[entry / 2].n; k++)
			set_bit(bits, a->hits[entry / 2].ids[k]);
	}
}

/* ---- names */

struct finder *
finder_new(void)
{
	return xcalloc(1, sizeof(struct finder));
}

void
finder_free(struct finder *s)
{
	if (s == NULL)
		return;
	trie_release(&s->texts);
	automaton_release(&s->regexes);
	free(s->res);
	free(s->found);
	free(s);
}

void
finder_name(struct finder *s, struct str name)
{
	s->name = name;
	s->scanned = false;
}

static size_t
words_of(const struct finder *s)
{
	return s->n / 64 + 1;
}

static void
make_bits(struct finder *s)
{
	const size_t words = words_of(s);
	size_t n;

	s->found = xcalloc(words, 4 * sizeof(*s->found));
	s->ask = s->found + words;
	s->never = s->ask + words;
	s->regex = s->never + words;
	for (size_t i = 0; i < s->n; i++) {
		if (s->res[i] == NULL)
			continue;
		set_bit(s->regex, i);
		if (pyre_program(s->res[i], &n) == NULL)
			set_bit(s->never, i);
	}
}

/* Returns true if name is ASCII without a newline. */
static bool
is_plain(struct str name)
{
	unsigned char all = 0;

	for (size_t i = 0; i < name.len; i++)
		all |= (unsigned char)name.p[i];
	return all < 0x80 && (name.len == 0 || memchr(name.p, '\n', name.len) == NULL);
}

static void
look(struct finder *s)
{
	struct automaton *a = &s->regexes;
	const size_t bytes = words_of(s) * sizeof(*s->found);
	bool plain;

	if (s->found == NULL)
		make_bits(s);
	memset(s->found, 0, bytes);
	if (s->texts.n > 0)
		find_texts(&s->texts, s->name, s->found);
	plain = a->n > 0 && is_plain(s->name);
	memcpy(s->ask, plain ? s->never : s->regex, bytes);
	if (plain)
		run(a, s->name, s->found);
	if (a->work > WORK_FREE + WORK_PER_PATTERN * a->n * a->names)
		automaton_release(a);
	s->scanned = true;
}

int
finder_first(struct finder *s, size_t first, size_t n, size_t *id, struct err *err)
{
	size_t at = first;
	uint64_t word;
	int rc;

	if (!s->scanned)
		look(s);
	while (at < first + n) {
		word = (s->found[at / 64] | s->ask[at / 64]) >> (at % 64);
		if (word == 0) {
			at = (at / 64 + 1) * 64;
			continue;
		}
		at += (size_t)__builtin_ctzll(word);
		if (at >= first + n)
			return 0;
		*id = at;
		rc = s->found[at / 64] >> (at % 64) & 1 ? 1 : pyre_search(s->res[at], s->name, NULL, 0, err);
		if (rc != 0)
			return rc;
		at++;
	}
	return 0;
}

int
finder_found(struct finder *s, size_t id, struct err *err)
{
	return finder_first(s, id, 1, &id, err);
}
