#include "plan/suggest.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/strmap.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "text/yaml.h"

enum { NUMBERS = 12, LETTERS = 4, STEPS_MAX = 1 << 26 };

/* A name in which \x01 stands for each number that an index of a key map could match. */
struct form {
	struct str text;
	uint64_t v[NUMBERS];
	unsigned n;
};

/* A match that becomes a rule or part of a rule. */
struct map_item {
	struct form from[SUGGEST_JOIN_MAX], to[SUGGEST_JOIN_MAX];
	const struct suggest_match *m;
	struct str key; /* equal for items that one rule may cover */
	bool alone;     /* cannot share a rule with other items */
};

/* The numbers of one name of the source. */
struct instance {
	uint64_t v[NUMBERS];
	size_t next; /* next instance with the same form; SIZE_MAX ends */
};

struct map_rule {
	size_t at; /* index of the first tensor of the source, for sorting */
	struct str text;
};

struct map_writer {
	const struct suggest *s;
	struct arena arena;
	struct map_item **items;
	size_t nitems, cap_items;
	struct strmap instances; /* from a form to its first instance */
	struct instance *list;
	size_t nlist, cap_list;
	struct map_rule *rules;
	size_t nrules, cap_rules, steps; /* steps: instances examined so far */
};

/* ---- forms */

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Parses the number at the beginning of s, if an index of a key map can match it. Returns its length, or 0. */
static size_t
number(struct str s, uint64_t *v)
{
	size_t n = 0;

	while (n < s.len && is_digit(s.p[n]))
		n++;
	return n == 0 || n > 8 || (n > 1 && s.p[0] == '0') || !num_u64(str_n(s.p, n), v) ? 0 : n;
}

static void
form_of(struct arena *a, struct form *f, struct str name)
{
	struct buf b = BUF_INIT;

	f->n = 0;
	for (size_t i = 0; i < name.len;) {
		const bool inside = i > 0 && is_digit(name.p[i - 1]);
		const size_t n = inside || f->n == NUMBERS ? 0 : number(str_from(name, i), &f->v[f->n]);

		if (n > 0) {
			buf_addc(&b, '\x01'); /* names of matches do not contain this byte */
			f->n++;
		} else {
			buf_addc(&b, name.p[i]);
		}
		i += n > 0 ? n : 1;
	}
	f->text = arena_take(a, &b);
}

static void
add_instance(struct map_writer *w, struct str name)
{
	struct instance *in;
	struct form f;
	uint64_t first;

	form_of(&w->arena, &f, name);
	in = xpush(w->list, w->nlist, w->cap_list);
	memcpy(in->v, f.v, sizeof(f.v));
	in->next = SIZE_MAX;
	if (!strmap_add(&w->instances, f.text, w->nlist - 1) && strmap_get(&w->instances, f.text, &first)) {
		in->next = w->list[first].next;
		w->list[first].next = w->nlist - 1;
	}
}

/* ---- items */

static void
put_ops(const struct map_writer *w, const struct suggest_match *m, struct buf *b)
{
	const struct entry *e = &w->s->target.v[m->to[0]];
	const char *first = ", ops: [", *between = first;

	if (m->nfrom > 1 || m->nto > 1) {
		buf_addf(b, "%s{%s: %d}", between, m->nto > 1 ? "split" : "join", m->nto > 1 && m->op == SUGGEST_TRANSPOSE);
		between = ", ";
	}
	switch ((enum suggest_op)m->op) {
	case SUGGEST_COPY: break;
	case SUGGEST_RESHAPE:
		buf_addf(b, "%s{reshape: ", between);
		shape_put(b, e->shape, e->ndim);
		buf_addc(b, '}');
		break;
	case SUGGEST_TRANSPOSE: buf_addf(b, "%s{transpose: true}", between); break;
	case SUGGEST_PERMUTE: buf_addf(b, "%s{permute: [3, 2, 0, 1]}", between); break;
	}
	if (m->op != SUGGEST_COPY || between != first)
		buf_addc(b, ']');
}

static void
add_item(struct map_writer *w, const struct suggest_match *m)
{
	const struct suggest *s = w->s;
	struct map_item *item = arena_calloc(&w->arena, 1, sizeof(*item));
	struct buf b = BUF_INIT;

	item->m = m;
	form_of(&w->arena, &item->from[0], s->source.v[m->from[0]].name);
	form_of(&w->arena, &item->to[0], s->target.v[m->to[0]].name);
	buf_addf(&b, "%u", m->grade);
	put_ops(w, m, &b);
	for (unsigned i = 0; i < m->nfrom; i++) {
		if (i > 0)
			form_of(&w->arena, &item->from[i], s->source.v[m->from[i]].name);
		item->alone = item->alone || item->from[i].n != item->from[0].n ||
			      memcmp(item->from[i].v, item->from[0].v, item->from[0].n * sizeof(item->from[0].v[0])) != 0;
		buf_addf(&b, " %.*s", STR_ARG(item->from[i].text));
	}
	for (unsigned i = 0; i < m->nto; i++) {
		if (i > 0)
			form_of(&w->arena, &item->to[i], s->target.v[m->to[i]].name);
		buf_addf(&b, " %.*s", STR_ARG(item->to[i].text));
	}
	item->key = arena_take(&w->arena, &b);
	*xpush(w->items, w->nitems, w->cap_items) = item;
}

/* ---- rules */

/* Items that one rule may cover. */
struct rule_group {
	struct map_item **v;
	size_t n;
	uint64_t low[NUMBERS], high[NUMBERS]; /* range of each number of from[0] */
	int letter[NUMBERS];                  /* index letter of each number; -1: the number is the same in all items */
	unsigned letters;
	bool bounded;
};

/* Returns number k of to, counted over all its names. */
static uint64_t
number_of_to(const struct map_item *item, unsigned k)
{
	unsigned i = 0;

	while (i + 1 < item->m->nto && k >= item->to[i].n)
		k -= item->to[i++].n;
	return item->to[i].v[k];
}

/* Returns number by of from[0] or, if by >= NUMBERS, number by - NUMBERS of to. */
static uint64_t
sort_number(const struct map_item *item, unsigned by)
{
	return by < NUMBERS ? item->from[0].v[by] : number_of_to(item, by - NUMBERS);
}

static int
by_order(const struct map_item *a, const struct map_item *b)
{
	return a->m->from[0] < b->m->from[0] ? -1 : a->m->from[0] > b->m->from[0];
}

static int
by_sort_number(const void *x, const void *y, void *by)
{
	const struct map_item *a = *(struct map_item *const *)x, *b = *(struct map_item *const *)y;
	const uint64_t v = sort_number(a, *(unsigned *)by), w = sort_number(b, *(unsigned *)by);

	if (v != w)
		return v < w ? -1 : 1;
	return by_order(a, b);
}

static int
by_key(const void *x, const void *y)
{
	const struct map_item *a = *(struct map_item *const *)x, *b = *(struct map_item *const *)y;
	const int rc = str_cmp(a->key, b->key);

	return rc != 0 ? rc : by_order(a, b);
}

/*
 * Returns the number of from[0] from which number k of to has the same distance in all items. Returns -1 if there is none, -2 if
 * number k of to is the same in all items.
 */
static int
find_origin(const struct rule_group *g, unsigned k)
{
	const uint64_t first = number_of_to(g->v[0], k);
	bool same = true;

	for (size_t i = 1; i < g->n; i++)
		same = same && number_of_to(g->v[i], k) == first;
	if (same)
		return -2;
	for (unsigned p = 0; p < g->v[0]->from[0].n; p++) {
		bool fits = g->letter[p] >= 0;

		for (size_t i = 1; fits && i < g->n; i++)
			fits = number_of_to(g->v[i], k) - g->v[i]->from[0].v[p] == first - g->v[0]->from[0].v[p];
		if (fits)
			return (int)p;
	}
	return -1;
}

static void
measure(struct rule_group *g)
{
	const struct form *first = &g->v[0]->from[0];

	g->letters = 0;
	g->bounded = false;
	for (unsigned p = 0; p < first->n; p++) {
		g->low[p] = g->high[p] = first->v[p];
		for (size_t i = 1; i < g->n; i++) {
			const uint64_t v = g->v[i]->from[0].v[p];

			g->low[p] = v < g->low[p] ? v : g->low[p];
			g->high[p] = v > g->high[p] ? v : g->high[p];
		}
		g->letter[p] = g->low[p] == g->high[p] ? -1 : (int)g->letters++;
	}
}

/* Returns how many names of a form the rule would match, or SIZE_MAX if counting would take too long. */
static size_t
count_taken(struct map_writer *w, const struct rule_group *g, const struct form *f)
{
	uint64_t at = SIZE_MAX;
	size_t n = 0;

	strmap_get(&w->instances, f->text, &at);
	for (size_t i = at; i != SIZE_MAX; i = w->list[i].next) {
		bool inside = true;

		if (w->steps++ > STEPS_MAX)
			return SIZE_MAX;
		for (unsigned p = 0; inside && p < f->n; p++)
			inside = g->letter[p] >= 0 && !g->bounded ? true
								  : w->list[i].v[p] >= g->low[p] && w->list[i].v[p] <= g->high[p];
		n += inside;
	}
	return n;
}

static bool
takes_only_its_own(struct map_writer *w, const struct rule_group *g)
{
	for (unsigned i = 0; i < g->v[0]->m->nfrom; i++)
		if (count_taken(w, g, &g->v[0]->from[i]) != g->n)
			return false;
	return true;
}

/* Returns the number by which the items must be separated first, or UINT32_MAX if one rule can cover them all. */
static unsigned
find_difference(struct map_writer *w, struct rule_group *g)
{
	const struct map_item *first = g->v[0];
	unsigned n = 0, p = 0;

	for (unsigned i = 0; i < first->m->nto; i++)
		n += first->to[i].n;
	for (unsigned k = 0; k < n; k++)
		if (find_origin(g, k) == -1)
			return NUMBERS + k;
	if (g->letters <= LETTERS && takes_only_its_own(w, g))
		return UINT32_MAX;
	g->bounded = true;
	if (g->letters <= LETTERS && takes_only_its_own(w, g))
		return UINT32_MAX;
	while (p + 1 < first->from[0].n && g->letter[p] < 0)
		p++;
	return p;
}

static const char letters[] = "ijkl";

static void
put_from(const struct rule_group *g, const struct form *f, struct buf *out)
{
	struct buf b = BUF_INIT;
	unsigned p = 0;

	for (size_t i = 0; i < f->text.len; i++) {
		if (f->text.p[i] != '\x01')
			buf_addc(&b, f->text.p[i]);
		else if (g->letter[p++] >= 0)
			buf_addf(&b, "{%c}", letters[g->letter[p - 1]]);
		else
			buf_u64(&b, f->v[p - 1]);
	}
	yaml_put_scalar(out, buf_str(&b));
	buf_release(&b);
}

/* Writes a name of to. before is the number of numbers in the names of to before it. */
static void
put_to(const struct rule_group *g, const struct form *f, unsigned before, struct buf *out)
{
	struct buf b = BUF_INIT;
	unsigned k = 0;

	for (size_t i = 0; i < f->text.len; i++) {
		int p;
		int64_t more;

		if (f->text.p[i] != '\x01') {
			buf_addc(&b, f->text.p[i]);
			continue;
		}
		p = find_origin(g, before + k);
		more = p < 0 ? 0 : (int64_t)f->v[k] - (int64_t)g->v[0]->from[0].v[p];
		if (p < 0)
			buf_u64(&b, f->v[k]);
		else if (more == 0)
			buf_addf(&b, "{%c}", letters[g->letter[p]]);
		else
			buf_addf(&b, "{%c %c %" PRId64 "}", letters[g->letter[p]], more < 0 ? '-' : '+', more < 0 ? -more : more);
		k++;
	}
	yaml_put_scalar(out, buf_str(&b));
	buf_release(&b);
}

/* Writes which names a rule matches, and their new names. */
static void
put_names(const struct rule_group *g, struct buf *b)
{
	const struct map_item *first = g->v[0];
	const struct suggest_match *m = first->m;
	unsigned before = 0;

	buf_addf(b, "from: %s", m->nfrom > 1 ? "[" : "");
	for (unsigned i = 0; i < m->nfrom; i++) {
		buf_adds(b, i > 0 ? ", " : "");
		put_from(g, &first->from[i], b);
	}
	buf_addf(b, "%s, to: %s", m->nfrom > 1 ? "]" : "", m->nto > 1 ? "[" : "");
	for (unsigned i = 0; i < m->nto; before += first->to[i++].n) {
		buf_adds(b, i > 0 ? ", " : "");
		put_to(g, &first->to[i], before, b);
	}
	buf_adds(b, m->nto > 1 ? "]" : "");
	for (unsigned p = 0; g->bounded && p < first->from[0].n; p++)
		if (g->letter[p] >= 0)
			buf_addf(b, ", %c: [%" PRIu64 ", %" PRIu64 "]", letters[g->letter[p]], g->low[p], g->high[p] + 1);
}

static void
put_rule(struct map_writer *w, const struct rule_group *g)
{
	static const char *const grades[] = { "guess", "likely", "sure" };
	const struct suggest_match *m = g->v[0]->m;
	struct buf b = BUF_INIT;
	const size_t tensors = g->n * m->nto;

	buf_addf(&b, "  # %zu %s, %s: %s\n  - {", tensors, text_noun(tensors, "tensor"), grades[m->grade], m->why);
	put_names(g, &b);
	put_ops(w, m, &b);
	buf_adds(&b, "}\n");
	*xpush(w->rules, w->nrules, w->cap_rules) = (struct map_rule){ m->from[0], arena_take(&w->arena, &b) };
}

/*
 * Writes one rule if it can cover all items. Otherwise separates them by the first number that prevents this, and writes rules for
 * each value.
 */
static void
put_group(struct map_writer *w, struct map_item **v, size_t n)
{
	struct rule_group g = { .v = v, .n = n };
	size_t start = 0;
	unsigned by;

	measure(&g);
	by = n == 1 ? UINT32_MAX : find_difference(w, &g);
	if (by == UINT32_MAX) {
		put_rule(w, &g);
		return;
	}
	qsort_r(v, n, sizeof(*v), by_sort_number, &by);
	for (size_t i = 1; i <= n; i++) {
		if (i == n || sort_number(v[i], by) != sort_number(v[start], by)) {
			put_group(w, v + start, i - start);
			start = i;
		}
	}
}

static int
by_at(const void *x, const void *y)
{
	const struct map_rule *a = x, *b = y;

	return a->at < b->at ? -1 : a->at > b->at;
}

static void
put_rules(struct map_writer *w)
{
	size_t start = 0;

	if (w->nitems > 0)
		qsort(w->items, w->nitems, sizeof(struct map_item *), by_key);
	for (size_t i = 1; i <= w->nitems; i++)
		if (i == w->nitems || w->items[start]->alone || !str_eq(w->items[i]->key, w->items[start]->key)) {
			put_group(w, w->items + start, i - start);
			start = i;
		}
	if (w->nrules > 0)
		qsort(w->rules, w->nrules, sizeof(*w->rules), by_at);
}

/* ---- the whole map */

static void
put_side(struct buf *b, const char *what, const struct suggest_side *side, const bool *used)
{
	for (size_t i = 0; i < side->n; i++) {
		const struct entry *e = &side->v[i];

		if (used[i])
			continue;
		buf_addf(b, "# %s ", what);
		text_escape(b, e->name);
		if (e->has_shape) {
			buf_addc(b, ' ');
			shape_put(b, e->shape, e->ndim);
		}
		buf_addc(b, '\n');
	}
}

/* Writes a comment for each tensor without a partner on the other side. */
static void
put_rest(const struct suggest *s, struct buf *b)
{
	bool *from = xcalloc(s->source.n + 1, sizeof(*from)), *to = xcalloc(s->target.n + 1, sizeof(*to));

	for (size_t i = 0; i < s->n; i++) {
		for (unsigned k = 0; k < s->v[i].nfrom; k++)
			from[s->v[i].from[k]] = true;
		for (unsigned k = 0; k < s->v[i].nto; k++)
			to[s->v[i].to[k]] = true;
	}
	put_side(b, "nothing for", &s->target, to);
	put_side(b, "unused", &s->source, from);
	free(from);
	free(to);
}

size_t
suggest_put(const struct suggest *s, struct buf *b, struct buf *rest)
{
	struct map_writer w = { .s = s, .arena = ARENA_INIT };
	size_t placed = 0;

	for (size_t i = 0; i < s->source.n; i++)
		if (s->source.v[i].name.len <= SUGGEST_NAME_MAX)
			add_instance(&w, s->source.v[i].name);
	for (size_t i = 0; i < s->n; i++) {
		add_item(&w, &s->v[i]);
		placed += s->v[i].nto;
	}
	put_rules(&w);
	buf_addf(b, "# %zu of %zu tensors have a source.\n", placed, s->target.n);
	if (s->limited)
		buf_adds(b, "# There are too many names, so only equal ones were paired.\n");
	buf_adds(b, w.nrules > 0 ? "rules:\n" : "rules: []\n");
	for (size_t i = 0; i < w.nrules; i++)
		buf_addstr(b, w.rules[i].text);
	buf_adds(b, "default: drop\n");
	put_rest(s, rest);
	free(w.items);
	free(w.list);
	free(w.rules);
	strmap_release(&w.instances);
	arena_release(&w.arena);
	return placed;
}
