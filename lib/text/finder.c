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
 * Limits of an automaton: entries of the table, and bytes of stored sets of steps. Beyond them it forgets all states and starts
 * again.
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

/* A text that is not yet part of the automaton. */
struct finder_text {
	struct str text;
	uint32_t id;
	enum finder_where where;
};

/* The owner of an op that several texts share. */
#define SHARED UINT32_MAX

struct automaton {
	struct pyre_op *ops;
	uint32_t *owner; /* by op: the id of its pattern, or SHARED */
	size_t nops, capops, capowner;
	uint32_t *starts; /* first ops of patterns; texts that share their first bytes have one */
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
	struct automaton texts, regexes;
	struct finder_text *pending; /* npending texts; freed when their automaton is made */
	size_t npending, cap_pending;
	struct arena arena;      /* bytes of the pending texts */
	const struct pyre **res; /* by id; NULL for a text */
	size_t n, cap;
	struct str name;
	bool scanned;
	uint64_t *found, *ask;   /* bits by id: the pattern is found; PCRE2 must be asked */
	uint64_t *never, *regex; /* bits by id: a regular expression without program; any regular expression */
};

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

static void
add_bytes(struct automaton *a, uint32_t owner, struct str bytes)
{
	struct pyre_op op = { .kind = PYRE_SET };

	for (size_t i = 0; i < bytes.len; i++)
		pyre_set_add(op.set, (uint8_t)bytes.p[i]);
	add_op(a, owner, op);
}

/* Adds ops that match at the beginning or end of the name, or match one of these bytes. */
static void
add_edge(struct automaton *a, uint32_t owner, enum pyre_kind edge, const char *bytes)
{
	add_op(a, owner, (struct pyre_op){ .kind = PYRE_SPLIT, .to = 3 });
	add_op(a, owner, (struct pyre_op){ .kind = edge });
	add_op(a, owner, (struct pyre_op){ .kind = PYRE_JUMP, .to = 2 });
	add_bytes(a, owner, str_c(bytes));
}

size_t
finder_text(struct finder *s, struct str text, enum finder_where where)
{
	const size_t id = new_id(s, NULL);

	*xpush(s->pending, s->npending, s->cap_pending) = (struct finder_text){ arena_str(&s->arena, text), (uint32_t)id, where };
	return id;
}

/* Returns what must precede a text. Texts with equal openings share their first ops. */
static enum pyre_kind
opening(enum finder_where where)
{
	return where == FINDER_COMPONENT ? PYRE_SPLIT : where == FINDER_START || where == FINDER_FIRST ? PYRE_BEGIN : PYRE_SET;
}

static void
add_opening(struct automaton *a, enum pyre_kind kind)
{
	if (kind == PYRE_BEGIN)
		add_op(a, SHARED, (struct pyre_op){ .kind = PYRE_BEGIN });
	else if (kind == PYRE_SPLIT)
		add_edge(a, SHARED, PYRE_BEGIN, ".");
}

/* Adds what must follow a text. */
static void
add_end(struct automaton *a, const struct finder_text *t)
{
	if (t->where == FINDER_END)
		add_op(a, t->id, (struct pyre_op){ .kind = PYRE_END });
	else if (t->where >= FINDER_COMPONENT && t->text.len > 0 && isalnum((unsigned char)t->text.p[t->text.len - 1]))
		add_edge(a, t->id, PYRE_END, "._");
	add_op(a, t->id, (struct pyre_op){ .kind = PYRE_MATCH });
}

/* Adds n sorted texts, whose first alike bytes are equal, as a trie. The ops for those bytes exist already. */
static void
add_trie(struct automaton *a, const struct finder_text *t, size_t n, size_t alike)
{
	while (n > 0) {
		const size_t split = a->nops;
		const bool ends = t->text.len == alike;
		size_t same = 1;

		while (!ends && same < n && t[same].text.p[alike] == t->text.p[alike])
			same++;
		if (same < n)
			add_op(a, SHARED, (struct pyre_op){ .kind = PYRE_SPLIT });
		if (ends)
			add_end(a, t);
		else
			add_bytes(a, SHARED, str_n(t->text.p + alike, 1));
		if (!ends && same == n) {
			alike++;
			continue;
		}
		if (!ends)
			add_trie(a, t, same, alike + 1);
		if (same < n)
			a->ops[split].to = (int32_t)(a->nops - split);
		t += same;
		n -= same;
	}
}

static int
by_text(const void *a, const void *b)
{
	const struct finder_text *x = a, *y = b;
	const int kind = (int)opening(x->where) - (int)opening(y->where);

	return kind != 0 ? kind : str_cmp(x->text, y->text);
}

static void
make_texts(struct finder *s)
{
	struct finder_text *t = s->pending;

	if (s->npending > 0)
		qsort(t, s->npending, sizeof(*t), by_text);
	for (size_t i = 0, n; i < s->npending; i += n) {
		const enum pyre_kind kind = opening(t[i].where);

		for (n = 1; i + n < s->npending && opening(t[i + n].where) == kind; n++)
			;
		begin_pattern(&s->texts);
		add_opening(&s->texts, kind);
		add_trie(&s->texts, t + i, n, 0);
	}
	free(s->pending);
	s->pending = NULL;
	s->npending = 0;
	arena_release(&s->arena);
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

static void
set_bit(uint64_t *bits, size_t id)
{
	bits[id / 64] |= (uint64_t)1 << (id % 64);
}

/* Runs the automaton over name, and sets the bits of the patterns that it finds. */
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
	automaton_release(&s->texts);
	automaton_release(&s->regexes);
	arena_release(&s->arena);
	free(s->pending);
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

	if (s->found == NULL) {
		make_texts(s);
		make_bits(s);
	}
	memset(s->found, 0, bytes);
	if (s->texts.n > 0)
		run(&s->texts, s->name, s->found);
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
