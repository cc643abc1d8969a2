#include "plan/keymap.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/embedded.h"
#include "base/limits.h"
#include "base/num.h"
#include "base/xalloc.h"
#include "model/keys.h"
#include "plan/keyops.h"
#include "plan/unused.h"
#include "tensor/boxes.h"
#include "text/finder.h"
#include "text/yaml.h"

enum { KEYMAP_INDEXES = 4, KEYMAP_TERMS = 8 };

/* A number, or a name that stands for the value of a variable or index. */
struct km_term {
	bool negative;
	struct str name; /* p is NULL if the term is number */
	int64_t number;
};

/* A sum of terms. */
struct km_expr {
	struct km_term terms[KEYMAP_TERMS];
	unsigned n;
	const struct ynode *at;
};

/* A piece of a pattern or template: literal text, or an expression in braces. */
struct km_piece {
	struct str literal;  /* p is NULL for an expression */
	struct km_expr expr; /* in a pattern: one term, the name of an index */
};

struct km_text {
	struct km_piece *pieces;
	size_t n;
	bool open; /* pattern that ends in a dot: the rest of the name is appended to the new name */
	struct str source;
	const char *why; /* pattern, while its rule is applied: the rule with this alternative, for the report */
};

/*
 * An index with the values [low, high). If it occurs in the rule's from, it is matched; otherwise it takes every value (fan-out).
 */
struct km_index {
	struct str name;
	struct km_expr low, high;
	bool bounded;
};

enum km_what { KM_MAP, KM_SKIP, KM_KEEP };

struct km_rule {
	const struct ynode *at;
	const char *text;     /* text for messages: "from blocks.{i}." */
	struct str input;     /* p is NULL: any input */
	struct km_text *from; /* alternative patterns */
	size_t nfrom;
	const struct str *contains; /* texts that a name must all contain */
	size_t ncontains;
	struct str starts; /* p is NULL if the rule has no starts */
	struct pyre *regex;
	struct pyre_sub **subs; /* regex: replacements, parallel to to */
	struct km_text *to;
	size_t nto;
	struct str when; /* name of a variable; p is NULL: the rule always applies */
	struct km_index indexes[KEYMAP_INDEXES];
	unsigned nindexes;
	enum km_what what;
	struct keyops ops;
	bool optional;          /* join: the rule is skipped if some of its names are missing */
	struct plan_rule *rule; /* set while the map is applied */
};

struct km_variable {
	struct str name;
	const struct ynode *at;
	const struct ynode *config, *index, *blocks, *has, *fallback;
	bool known;
	int64_t value;
};

/* Links a key of the lookup to a rule. */
struct km_link {
	uint32_t rule, next; /* next: index of the next link plus one; 0 ends */
};

/*
 * Finds the rules that may fit a name. Patterns without braces are looked up literally. Patterns with indexes are looked up by
 * their shape, in which # stands for each run of digits. Patterns that end in a dot are looked up in the same way by prefixes of
 * the name. Rules without from have a pattern in the finder.
 */
struct km_lookup {
	struct strmap exact, shapes; /* from key to the index of its first link plus one */
	struct km_link *links;
	size_t nlinks, caplinks, longest; /* longest: length of the longest key that ends in a dot */
	struct finder *finder;
	uint32_t *by_pattern; /* by id of the finder: index of the rule */
	size_t npatterns, cap_patterns;
	uint32_t *found; /* indices of the rules that may fit the present name, in order */
	size_t nfound, cap_found;
	struct buf key;
};

struct keymap {
	struct arena arena;
	struct km_lookup lookup;
	const char *file;
	struct keymap_head head;
	bool builtin, same_shape, drop_unmapped;
	struct km_variable *variables;
	size_t nvariables;
	struct km_rule *rules;
	size_t nrules;
	const char *unmapped; /* set while the map is applied: text for names that no rule fits, for the report */
	uint64_t values;      /* set while the map is applied: number of values that indexes took */
};

static const struct km_variable *
variable(const struct keymap *k, struct str name)
{
	for (size_t i = 0; i < k->nvariables; i++)
		if (str_eq(k->variables[i].name, name))
			return &k->variables[i];
	return NULL;
}

/* Returns the position of the index with this name in r->indexes, or -1 if the rule has none. */
static int
index_named(const struct km_rule *r, struct str name)
{
	for (unsigned i = 0; i < r->nindexes; i++)
		if (str_eq(r->indexes[i].name, name))
			return (int)i;
	return -1;
}

/* ---- reading: expressions and texts with braces */

static struct str
trim(struct str s)
{
	while (s.len > 0 && s.p[0] == ' ')
		s = str_from(s, 1);
	while (s.len > 0 && s.p[s.len - 1] == ' ')
		s.len--;
	return s;
}

static bool
is_word(struct str s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!((s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] >= 'A' && s.p[i] <= 'Z') || s.p[i] == '_' ||
		      (i > 0 && s.p[i] >= '0' && s.p[i] <= '9')))
			return false;
	return s.len > 0;
}

static bool
add_term(struct km_expr *x, struct str s, bool negative)
{
	struct km_term *t = &x->terms[x->n];
	uint64_t v;

	s = trim(s);
	if (x->n == KEYMAP_TERMS)
		return false;
	*t = (struct km_term){ .negative = negative };
	if (num_u64(s, &v) && v <= INT32_MAX)
		t->number = (int64_t)v;
	else if (is_word(s))
		t->name = s;
	else
		return false;
	x->n++;
	return true;
}

static int
expr_parse(struct km_expr *x, struct str s, const struct ynode *at, struct err *err)
{
	size_t start = 0, i;
	bool negative = false;

	x->n = 0;
	x->at = at;
	for (i = 0; i <= s.len; i++) {
		if (i < s.len && s.p[i] != '+' && s.p[i] != '-')
			continue;
		if (!add_term(x, str_n(s.p + start, i - start), negative))
			return ynode_fail(at, err, "{%.*s}: a sum of numbers and variables was expected", STR_ARG(s));
		negative = i < s.len && s.p[i] == '-';
		start = i + 1;
	}
	return 0;
}

static int
text_parse(struct keymap *k, struct km_text *t, struct str s, const struct ynode *at, struct err *err)
{
	struct km_piece *piece;
	long open, close;

	t->pieces = arena_calloc(&k->arena, s.len + 1, sizeof(*t->pieces));
	t->n = 0;
	t->source = s;
	t->open = s.len > 0 && s.p[s.len - 1] == '.';
	while (s.len > 0) {
		open = str_find(s, str_c("{"), 0);
		if (open != 0) {
			t->pieces[t->n++].literal = str_n(s.p, open < 0 ? s.len : (size_t)open);
			s = str_from(s, open < 0 ? s.len : (size_t)open);
			continue;
		}
		close = str_find(s, str_c("}"), 0);
		if (close < 0)
			return ynode_fail(at, err, "%.*s: a closing brace is missing", STR_ARG(at->text));
		piece = &t->pieces[t->n++];
		if (expr_parse(&piece->expr, str_n(s.p + 1, (size_t)close - 1), at, err) != 0)
			return -1;
		s = str_from(s, (size_t)close + 1);
	}
	return 0;
}

/* ---- rules */

static const char *const rule_keys[] = { "input", "from", "contains", "starts", "regex",    "to",
					 "when",  "skip", "keep",     "ops",    "optional", NULL };

/* Reads a scalar or a list of scalars. */
static int
texts(struct keymap *k, const struct ynode *n, const char *what, struct str **out, size_t *count, struct err *err)
{
	if (n->kind == YN_SCALAR && !ynode_is_null(n)) {
		*out = arena_calloc(&k->arena, 1, sizeof(**out));
		(*out)[0] = n->text;
		*count = 1;
		return 0;
	}
	if (ynode_strings(n, what, &k->arena, out, count, err) != 0)
		return -1;
	return *count > 0 ? 0 : ynode_fail(n, err, "%s: an empty list", what);
}

static int
patterns(struct keymap *k, const struct ynode *n, const char *what, struct km_text **out, size_t *count, struct err *err)
{
	struct str *list;

	if (texts(k, n, what, &list, count, err) != 0)
		return -1;
	*out = arena_calloc(&k->arena, *count, sizeof(**out));
	for (size_t i = 0; i < *count; i++)
		if (text_parse(k, &(*out)[i], list[i], n->kind == YN_SEQ ? n->items[i] : n, err) != 0)
			return -1;
	return 0;
}

static int
flag(const struct ynode *map, const char *key, bool *out, struct err *err)
{
	const struct ynode *n = ymap_get(map, key);

	*out = false;
	if (n == NULL || ynode_bool(n, out))
		return 0;
	return ynode_fail(n, err, "%s: true or false was expected", key);
}

static int
regex(struct keymap *k, struct km_rule *r, const struct ynode *n, const struct ynode *to, struct err *err)
{
	struct pyre_error why;
	struct str *list;
	size_t i;

	if (n->kind != YN_SCALAR)
		return ynode_fail(n, err, "regex: a scalar was expected, not %s", ynode_what(n));
	if (pyre_compile(n->text, &r->regex, &why) != 0)
		return ynode_fail(n, err, "regex: at byte %zu: %s", why.offset, why.reason);
	if (to == NULL)
		return 0;
	if (texts(k, to, "to", &list, &r->nto, err) != 0)
		return -1;
	r->subs = arena_calloc(&k->arena, r->nto, sizeof(*r->subs));
	for (i = 0; i < r->nto; i++)
		if (pyre_sub_compile(r->regex, list[i], &r->subs[i], &why) != 0)
			return ynode_fail(to, err, "to: at byte %zu: %s", why.offset, why.reason);
	return 0;
}

static int
bound(const struct ynode *range, size_t i, struct km_expr *x, struct err *err)
{
	const struct ynode *n = range->items[i];

	if (n->kind != YN_SCALAR)
		return ynode_fail(n, err, "a number or a sum of variables was expected, not %s", ynode_what(n));
	return expr_parse(x, n->text, n, err);
}

/* Reads an index with its range. Any key that a rule does not know is taken for an index. */
static int
index_of(struct km_rule *r, const struct ypair *pair, struct err *err)
{
	struct km_index *x = &r->indexes[r->nindexes];

	if (!is_word(pair->key->text) || pair->key->text.len > 2 || pair->value->kind != YN_SEQ || pair->value->n != 2) {
		struct buf b = BUF_INIT;

		keys_suggest(&b, pair->key->text, rule_keys);
		ynode_fail(pair->key, err, "%.*s: unknown key in a rule of a key map%s (an index is one letter with [LOW, HIGH])",
			   STR_ARG(pair->key->text), b.p == NULL ? "" : b.p);
		buf_release(&b);
		return -1;
	}
	if (r->nindexes == KEYMAP_INDEXES)
		return ynode_fail(pair->key, err, "more than %d indexes in a rule", KEYMAP_INDEXES);
	*x = (struct km_index){ .name = pair->key->text, .bounded = true };
	r->nindexes++;
	return bound(pair->value, 0, &x->low, err) != 0 || bound(pair->value, 1, &x->high, err) != 0 ? -1 : 0;
}

static int
indexes(struct km_rule *r, const struct ynode *map, struct err *err)
{
	for (size_t i = 0; i < map->n; i++)
		if (!keys_known(map->pairs[i].key->text, rule_keys) && index_of(r, &map->pairs[i], err) != 0)
			return -1;
	return 0;
}

/* Declares the indexes in a pattern. An index without a range matches any number. */
static int
declare(struct km_rule *r, const struct km_text *from, const struct ynode *at, struct err *err)
{
	struct str name;

	for (size_t i = 0; i < from->n; i++) {
		if (from->pieces[i].literal.p != NULL)
			continue;
		name = from->pieces[i].expr.terms[0].name;
		if (from->pieces[i].expr.n != 1 || name.p == NULL)
			return ynode_fail(at, err, "from: only an index is allowed in braces");
		if (index_named(r, name) >= 0)
			continue;
		if (r->nindexes == KEYMAP_INDEXES)
			return ynode_fail(at, err, "more than %d indexes in a rule", KEYMAP_INDEXES);
		r->indexes[r->nindexes++] = (struct km_index){ .name = name };
	}
	return 0;
}

/* Checks that every name in a sum is a variable, or with_indexes one of the rule's indexes. */
static int
check_sum(const struct keymap *k, const struct km_rule *r, const struct km_expr *x, bool with_indexes, struct err *err)
{
	for (unsigned n = 0; n < x->n; n++) {
		const struct str name = x->terms[n].name;

		if (name.p != NULL && !(with_indexes && index_named(r, name) >= 0) && variable(k, name) == NULL)
			return ynode_fail(x->at, err, "%.*s: no such variable or index", STR_ARG(name));
	}
	return 0;
}

static int
check_sums(const struct keymap *k, const struct km_rule *r, struct err *err)
{
	for (size_t i = 0; i < r->nindexes; i++)
		if (r->indexes[i].bounded &&
		    (check_sum(k, r, &r->indexes[i].low, false, err) != 0 || check_sum(k, r, &r->indexes[i].high, false, err) != 0))
			return -1;
	for (size_t i = 0; r->to != NULL && i < r->nto; i++)
		for (size_t j = 0; j < r->to[i].n; j++)
			if (r->to[i].pieces[j].literal.p == NULL && check_sum(k, r, &r->to[i].pieces[j].expr, true, err) != 0)
				return -1;
	return 0;
}

static bool
has_input(const struct keymap *k, struct str name)
{
	for (size_t i = 0; i < k->head.ninputs; i++)
		if (str_eq(k->head.inputs[i], name))
			return true;
	return false;
}

static bool
mentions(const struct km_text *to, struct str index)
{
	for (size_t i = 0; i < to->n; i++)
		for (unsigned n = 0; n < to->pieces[i].expr.n; n++)
			if (to->pieces[i].literal.p == NULL && to->pieces[i].expr.terms[n].name.p != NULL &&
			    str_eq(to->pieces[i].expr.terms[n].name, index))
				return true;
	return false;
}

/* Checks that all patterns of a join match whole names and have the same indexes. */
static int
check_join(const struct km_rule *r, struct err *err)
{
	const struct ynode *from = ymap_get(r->at, "from");

	if (r->nfrom == 0)
		return ynode_fail(r->at, err, "join: the names must be in from");
	for (size_t i = 0; i < r->nfrom; i++) {
		if (r->from[i].open)
			return ynode_fail(from, err, "join: from must have whole names, not %.*s", STR_ARG(r->from[i].source));
		for (unsigned k = 0; k < r->nindexes; k++)
			if (mentions(&r->from[i], r->indexes[k].name) != mentions(&r->from[0], r->indexes[k].name))
				return ynode_fail(from, err, "join: all names must have the same indexes, not %.*s",
						  STR_ARG(r->from[i].source));
	}
	return 0;
}

static int
check_ops(const struct keymap *k, const struct km_rule *r, struct err *err)
{
	if (r->ops.n > 0 && r->what == KM_SKIP)
		return ynode_fail(r->at, err, "a rule with skip cannot have ops");
	if (r->optional && !r->ops.joins)
		return ynode_fail(r->at, err, "optional needs join");
	if (r->ops.sums && k->head.ninputs < 2 && !k->head.any_input)
		return ynode_fail(r->at, err, "sum: the map must have several inputs");
	for (size_t i = 0; i < (r->ops.inputs == NULL ? 0 : r->ops.ninputs); i++)
		if (!has_input(k, r->ops.inputs[i]))
			return ynode_fail(r->at, err, "sum: %.*s: not one of the map's inputs", STR_ARG(r->ops.inputs[i]));
	return r->ops.joins ? check_join(r, err) : 0;
}

static int
check_rule(const struct keymap *k, const struct km_rule *r, struct err *err)
{
	int ways = (r->nfrom > 0) + (r->regex != NULL) + (r->ncontains > 0) + (r->starts.p != NULL);

	if (ways != 1)
		return ynode_fail(r->at, err, "a rule needs exactly one of from, regex, contains and starts");
	if (r->what == KM_MAP && r->nto == 0)
		return ynode_fail(r->at, err, "a rule needs to, skip: true or keep: true");
	if (r->what != KM_MAP && r->nto > 0)
		return ynode_fail(r->at, err, "a rule with to neither skips nor keeps");
	if (r->what == KM_MAP && (r->ncontains > 0 || r->starts.p != NULL))
		return ynode_fail(r->at, err, "contains and starts only go with skip or keep");
	if (r->input.p != NULL && !has_input(k, r->input))
		return ynode_fail(ymap_get(r->at, "input"), err, "%.*s: not one of the map's inputs", STR_ARG(r->input));
	if (r->when.p != NULL && variable(k, r->when) == NULL)
		return ynode_fail(ymap_get(r->at, "when"), err, "%.*s: no such variable", STR_ARG(r->when));
	return check_ops(k, r, err) != 0 ? -1 : check_sums(k, r, err);
}

static int
scalar(const struct ynode *map, const char *key, struct str *out, struct err *err)
{
	const struct ynode *n = ymap_get(map, key);

	*out = (struct str){ NULL, 0 };
	if (n == NULL)
		return 0;
	if (n->kind != YN_SCALAR || ynode_is_null(n))
		return ynode_fail(n, err, "%s: a scalar was expected, not %s", key, ynode_what(n));
	*out = n->text;
	return 0;
}

static const char *
rule_text(struct keymap *k, const struct ynode *map)
{
	static const char *const ways[] = { "from", "regex", "contains", "starts" };
	const struct ynode *n;

	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		n = ymap_get(map, ways[i]);
		if (n != NULL && n->kind == YN_SEQ && n->n > 0)
			n = n->items[0];
		if (n != NULL && n->kind == YN_SCALAR)
			return arena_printf(&k->arena, "key map %.*s: %s %.*s", STR_ARG(k->head.name), ways[i], STR_ARG(n->text));
	}
	return "key map";
}

static int
read_rule(struct keymap *k, struct km_rule *r, const struct ynode *map, struct err *err)
{
	const struct ynode *from, *contains, *re, *to, *ops = ymap_get(map, "ops");
	bool skip, keep;
	size_t i;

	if (map->kind != YN_MAP)
		return ynode_fail(map, err, "a rule is a map, not %s", ynode_what(map));
	*r = (struct km_rule){ .at = map, .text = rule_text(k, map) };
	from = ymap_get(map, "from");
	contains = ymap_get(map, "contains");
	re = ymap_get(map, "regex");
	to = ymap_get(map, "to");
	if (ops != NULL && keyops_read(&r->ops, &k->arena, k->file, ops, err) != 0)
		return -1;
	if (indexes(r, map, err) != 0 || flag(map, "skip", &skip, err) != 0 || flag(map, "keep", &keep, err) != 0 ||
	    flag(map, "optional", &r->optional, err) != 0 || scalar(map, "input", &r->input, err) != 0 ||
	    scalar(map, "when", &r->when, err) != 0 || scalar(map, "starts", &r->starts, err) != 0)
		return -1;
	r->what = skip ? KM_SKIP : keep ? KM_KEEP : KM_MAP;
	if (from != NULL && patterns(k, from, "from", &r->from, &r->nfrom, err) != 0)
		return -1;
	for (i = 0; i < r->nfrom; i++)
		if (declare(r, &r->from[i], from, err) != 0)
			return -1;
	if (contains != NULL) {
		struct str *list;

		if (texts(k, contains, "contains", &list, &r->ncontains, err) != 0)
			return -1;
		r->contains = list;
	}
	if (re != NULL ? regex(k, r, re, to, err) != 0 : to != NULL && patterns(k, to, "to", &r->to, &r->nto, err) != 0)
		return -1;
	return check_rule(k, r, err);
}

/* ---- variables */

static int
read_variable(struct km_variable *v, const struct ypair *pair, struct err *err)
{
	static const char *const keys[] = { "config", "at", "blocks", "has", "default", NULL };
	static const char *const texts_of[] = { "config", "blocks", "has", NULL };
	const struct ynode *m = pair->value;
	struct str text;

	*v = (struct km_variable){ .name = pair->key->text, .at = pair->key };
	if (!is_word(v->name))
		return ynode_fail(pair->key, err, "%.*s: a variable's name has letters, digits and _ only", STR_ARG(v->name));
	if (m->kind != YN_MAP)
		return ynode_fail(m, err, "a variable is a map, not %s", ynode_what(m));
	if (keys_check(m, keys, "a variable of a key map", err) != 0)
		return -1;
	for (size_t i = 0; texts_of[i] != NULL; i++)
		if (scalar(m, texts_of[i], &text, err) != 0)
			return -1;
	v->config = ymap_get(m, "config");
	v->index = ymap_get(m, "at");
	v->blocks = ymap_get(m, "blocks");
	v->has = ymap_get(m, "has");
	v->fallback = ymap_get(m, "default");
	return 0;
}

static int
read_variables(struct keymap *k, const struct ynode *map, struct err *err)
{
	if (map == NULL)
		return 0;
	if (map->kind != YN_MAP)
		return ynode_fail(map, err, "variables: a map was expected, not %s", ynode_what(map));
	k->variables = arena_calloc(&k->arena, map->n, sizeof(*k->variables));
	for (; k->nvariables < map->n; k->nvariables++)
		if (read_variable(&k->variables[k->nvariables], &map->pairs[k->nvariables], err) != 0)
			return -1;
	return 0;
}

/* ---- finding the rules that may fit a name */

/* Appends text to a key. Each run of digits becomes one #. *run says whether the key so far ends in such a run, and is updated. */
static void
put_shape(struct buf *b, struct str text, bool *run)
{
	for (size_t i = 0; i < text.len; i++) {
		const bool digit = text.p[i] >= '0' && text.p[i] <= '9';

		if (!digit || !*run)
			buf_addc(b, digit ? '#' : text.p[i]);
		*run = digit;
	}
}

static void
add_key(struct keymap *k, struct strmap *map, struct str key, size_t rule)
{
	struct km_lookup *l = &k->lookup;
	struct km_link *link = xpush(l->links, l->nlinks, l->caplinks);
	uint64_t head;

	*link = (struct km_link){ (uint32_t)rule, 0 };
	if (key.len > 0 && key.p[key.len - 1] == '.' && key.len > l->longest)
		l->longest = key.len;
	if (strmap_add(map, arena_str(&k->arena, key), l->nlinks))
		return;
	/* The first link of a key stays first. */
	strmap_get(map, key, &head);
	link->next = l->links[head - 1].next;
	l->links[head - 1].next = (uint32_t)l->nlinks;
}

static void
add_from(struct keymap *k, const struct km_text *from, size_t rule)
{
	struct buf *b = &k->lookup.key;
	bool run = false;

	if (memchr(from->source.p, '{', from->source.len) == NULL) {
		add_key(k, &k->lookup.exact, from->source, rule);
		return;
	}
	buf_clear(b);
	for (size_t i = 0; i < from->n; i++)
		put_shape(b, from->pieces[i].literal.p != NULL ? from->pieces[i].literal : str_c("0"), &run);
	add_key(k, &k->lookup.shapes, buf_str(b), rule);
}

static void
lookup_init(struct keymap *k)
{
	struct km_lookup *l = &k->lookup;

	l->finder = finder_new();
	for (size_t i = 0; i < k->nrules; i++) {
		const struct km_rule *r = &k->rules[i];

		for (size_t n = 0; n < r->nfrom; n++)
			add_from(k, &r->from[n], i);
		if (r->nfrom > 0)
			continue;
		*xpush(l->by_pattern, l->npatterns, l->cap_patterns) = (uint32_t)i;
		if (r->regex != NULL)
			finder_regex(l->finder, r->regex);
		else
			finder_text(l->finder, r->starts.p != NULL ? r->starts : r->contains[0],
				    r->starts.p != NULL ? FINDER_START : FINDER_ANYWHERE);
	}
}

static void
lookup_release(struct km_lookup *l)
{
	strmap_release(&l->exact);
	strmap_release(&l->shapes);
	free(l->links);
	finder_free(l->finder);
	free(l->by_pattern);
	free(l->found);
	buf_release(&l->key);
}

static void
take_key(struct km_lookup *l, const struct strmap *map, struct str key)
{
	uint64_t at;

	if (!strmap_get(map, key, &at))
		return;
	for (; at != 0; at = l->links[at - 1].next)
		*xpush(l->found, l->nfound, l->cap_found) = l->links[at - 1].rule;
}

/* Finds the rules that may fit a name; no other rule fits. A rule may be found twice in succession. */
static void
lookup_name(struct km_lookup *l, struct str name)
{
	struct err unused = ERR_INIT;
	bool run = false;
	size_t id;

	l->nfound = 0;
	buf_clear(&l->key);
	for (size_t i = 0; i < name.len; i++) {
		put_shape(&l->key, str_n(name.p + i, 1), &run);
		if (name.p[i] != '.' || i + 1 == name.len)
			continue;
		if (i < l->longest)
			take_key(l, &l->exact, str_n(name.p, i + 1));
		if (l->key.len <= l->longest)
			take_key(l, &l->shapes, buf_str(&l->key));
	}
	take_key(l, &l->exact, name);
	take_key(l, &l->shapes, buf_str(&l->key));
	finder_name(l->finder, name);
	/* If a regular expression fails, its rule counts as found. It fails again, with an error, when it is matched. */
	for (size_t at = 0; finder_first(l->finder, at, l->npatterns - at, &id, &unused) != 0; at = id + 1)
		*xpush(l->found, l->nfound, l->cap_found) = l->by_pattern[id];
	if (l->nfound > 1)
		qsort(l->found, l->nfound, sizeof(*l->found), num_cmp32);
}

/* ---- the whole map */

static int
read_default(struct keymap *k, const struct ynode *root, struct err *err)
{
	const struct ynode *n = ymap_get(root, "default"), *target = ymap_get(root, "target");

	if (n != NULL && !(n->kind == YN_SCALAR && (str_eqc(n->text, "keep") || str_eqc(n->text, "drop"))))
		return ynode_fail(n, err, "default: keep or drop was expected");
	k->drop_unmapped = n != NULL && str_eqc(n->text, "drop");
	if (target != NULL && !(target->kind == YN_SCALAR && str_eqc(target->text, "same_shape")))
		return ynode_fail(target, err, "target: same_shape was expected");
	k->same_shape = target != NULL;
	return flag(root, "interpolates", &k->head.interpolates, err);
}

static int
read_root(struct keymap *k, const struct ynode *root, struct err *err)
{
	static const char *const keys[] = { "name", "inputs", "target", "variables", "rules", "default", "interpolates", NULL };
	const struct ynode *rules, *inputs;
	struct str *list;

	if (root->kind != YN_MAP)
		return ynode_fail(root, err, "a key map is a map, not %s", ynode_what(root));
	if (keys_check(root, keys, "a key map", err) != 0 || scalar(root, "name", &k->head.name, err) != 0)
		return -1;
	if (k->head.name.p == NULL)
		k->head.name = str_c(k->file);
	inputs = ymap_get(root, "inputs");
	k->head.any_input = inputs != NULL && inputs->kind == YN_SCALAR && str_eqc(inputs->text, "any");
	if (inputs != NULL && !k->head.any_input) {
		if (texts(k, inputs, "inputs", &list, &k->head.ninputs, err) != 0)
			return -1;
		k->head.inputs = list;
	}
	if (read_variables(k, ymap_get(root, "variables"), err) != 0 || read_default(k, root, err) != 0)
		return -1;
	rules = ymap_get(root, "rules");
	if (rules == NULL || rules->kind != YN_SEQ)
		return ynode_fail(rules == NULL ? root : rules, err, "rules: a list was expected, not %s", ynode_what(rules));
	k->rules = arena_calloc(&k->arena, rules->n, sizeof(*k->rules));
	for (; k->nrules < rules->n; k->nrules++)
		if (read_rule(k, &k->rules[k->nrules], rules->items[k->nrules], err) != 0) {
			k->nrules++; /* so that keymap_free also frees what this rule has allocated */
			return -1;
		}
	return 0;
}

int
keymap_load(struct keymap **out, const char *file, struct str text, struct err *err)
{
	struct keymap *k = xcalloc(1, sizeof(*k));
	const struct ynode *root;

	arena_init(&k->arena);
	k->file = arena_cstr(&k->arena, file);
	if (yaml_parse(&k->arena, file, text, &root, err) != 0 || read_root(k, root, err) != 0) {
		keymap_free(k);
		return -1;
	}
	*out = k;
	return 0;
}

void
keymap_free(struct keymap *k)
{
	if (k == NULL)
		return;
	for (size_t i = 0; i < k->nrules; i++) {
		for (size_t j = 0; k->rules[i].subs != NULL && j < k->rules[i].nto; j++)
			pyre_sub_free(k->rules[i].subs[j]);
		pyre_free(k->rules[i].regex);
	}
	lookup_release(&k->lookup);
	arena_release(&k->arena);
	free(k);
}

/* ---- built-in maps */

int
keymap_builtin(struct keymap **out, const char *name, struct err *err)
{
	const struct embedded *m = embedded_find(embedded_maps, embedded_maps_count, name);
	struct buf names = BUF_INIT;

	if (m != NULL) {
		if (keymap_load(out, name, str_n(m->text, m->len), err) != 0)
			return -1;
		(*out)->builtin = true;
		(*out)->head.text = m->text;
		return 0;
	}
	for (size_t i = 0; i < embedded_maps_count; i++)
		buf_addf(&names, "%s%s", i == 0 ? "" : ", ", embedded_maps[i].name);
	err_set(err, ERR_USAGE,
		"%s: no such key map; there are %s (other maps are .yaml files; some are in share/lnn-tools/keymaps)", name,
		names.p);
	buf_release(&names);
	return -1;
}

const struct keymap_head *
keymap_head(const struct keymap *k)
{
	return &k->head;
}

const char *
keymap_name(const struct keymap *k)
{
	return k->head.name.p; /* YAML scalars are followed by a NUL */
}

void
keymap_count(const struct keymap *k, struct keymap_counts *n)
{
	*n = (struct keymap_counts){ 0 };
	for (size_t i = 0; i < k->nrules; i++) {
		n->zeros += k->rules[i].ops.zeros;
		n->unequal += k->rules[i].ops.weights == NULL ? 0 : k->rules[i].ops.weights->unequal;
	}
}

/* ---- values of variables */

/* Returns the number of blocks that the description has below a prefix, which is the largest number there plus one. */
static int64_t
count_blocks(const struct model *m, struct str prefix)
{
	int64_t most = 0;
	struct str rest, part;
	uint64_t v;

	for (size_t i = 0; i < m->n; i++) {
		if (!str_starts(m->entries[i].name, prefix))
			continue;
		rest = str_from(m->entries[i].name, prefix.len);
		if (str_split(&rest, '.', &part) && rest.p != NULL && num_u64(part, &v) && v < INT32_MAX && (int64_t)v >= most)
			most = (int64_t)v + 1;
	}
	return most;
}

static int
number(struct km_variable *v, const struct ynode *n, struct err *err)
{
	bool b;

	if (ynode_int(n, &v->value)) {
		v->known = true;
	} else if (ynode_bool(n, &b)) {
		v->value = b;
		v->known = true;
	} else {
		return ynode_fail(n, err, "%.*s: a number, or true or false, was expected, not %s", STR_ARG(v->name),
				  n->kind == YN_SCALAR ? n->text.p : ynode_what(n));
	}
	if (v->value < 0 || v->value > INT32_MAX)
		return ynode_fail(n, err, "%.*s: out of range", STR_ARG(v->name));
	return 0;
}

static int
from_config(struct km_variable *v, const struct config *c, struct err *err)
{
	const struct ynode *n = c == NULL || v->config == NULL ? NULL : config_get(c, v->config->text.p);
	int64_t at;

	if (n == NULL)
		return 0;
	if (v->index == NULL)
		return number(v, n, err);
	if (!ynode_int(v->index, &at) || at < 0)
		return ynode_fail(v->index, err, "at: a place in the list (from 0) was expected");
	if (n->kind != YN_SEQ || (size_t)at >= n->n)
		return ynode_fail(n, err, "%.*s: a list of at least %lld was expected", STR_ARG(v->config->text),
				  (long long)at + 1);
	return number(v, n->items[at], err);
}

static int
find_value(struct km_variable *v, const struct keymap_env *env, struct err *err)
{
	const struct model *m = env->model != NULL && env->model->has_state_dict ? env->model : NULL;

	v->known = false;
	if (from_config(v, env->config, err) != 0)
		return -1;
	if (!v->known && m != NULL && v->blocks != NULL) {
		v->value = count_blocks(m, v->blocks->text);
		v->known = true;
	}
	if (!v->known && m != NULL && v->has != NULL) {
		v->value = model_find(m, v->has->text) != NULL;
		v->known = true;
	}
	if (!v->known && v->fallback != NULL)
		return number(v, v->fallback, err);
	if (v->known)
		return 0;
	return err_set(err, ERR_USAGE,
		       "the key map's variable %.*s is not known: give a config (-c) or a description that lists the "
		       "state dict (-m)",
		       STR_ARG(v->name));
}

static int
find_values(struct keymap *k, const struct keymap_env *env, struct err *err)
{
	for (size_t i = 0; i < k->nvariables; i++)
		if (find_value(&k->variables[i], env, err) != 0)
			return -1;
	return 0;
}

/* ---- applying */

/* The state of applying a rule to a name. */
struct trial {
	struct keymap *k;
	struct km_rule *r;
	struct str name, rest; /* rest: what follows an open pattern */
	const char *why;       /* text of the rule for the report */
	size_t member;         /* join or sum: index of this tensor among those of the rule */
	bool bound[KEYMAP_INDEXES];
	int64_t value[KEYMAP_INDEXES];
};

/* Evaluates a sum. All indexes in it must be bound; check_sums has checked that its names exist. */
static int64_t
eval(const struct trial *t, const struct km_expr *x)
{
	int64_t sum = 0;

	for (unsigned n = 0; n < x->n; n++) {
		const struct km_term *term = &x->terms[n];
		const struct km_variable *v = variable(t->k, term->name);
		const int i = index_named(t->r, term->name);
		const int64_t value = i >= 0 ? t->value[i] : v != NULL ? v->value : term->number;

		sum += term->negative ? -value : value;
	}
	return sum;
}

/* ---- matching a rule */

/* Parses an index at the start of s. Returns its number of digits, or 0 if there is none. */
static size_t
digits(struct str s, int64_t *v)
{
	size_t n = 0;

	for (*v = 0; n < s.len && n < 9 && s.p[n] >= '0' && s.p[n] <= '9'; n++)
		*v = *v * 10 + (s.p[n] - '0');
	return n > 1 && s.p[0] == '0' ? 0 : n;
}

/* Matches the name with a pattern. If it matches, binds indexes and sets rest. */
static bool
fits_text(struct trial *t, const struct km_text *from)
{
	struct str s = t->name;
	int64_t v;
	size_t n;
	int i;

	memset(t->bound, 0, sizeof(t->bound));
	for (size_t k = 0; k < from->n; k++) {
		const struct km_piece *p = &from->pieces[k];
		const struct km_index *x;

		if (p->literal.p != NULL) {
			if (!str_starts(s, p->literal))
				return false;
			s = str_from(s, p->literal.len);
			continue;
		}
		n = digits(s, &v);
		i = index_named(t->r, p->expr.terms[0].name);
		if (n == 0 || i < 0 || (t->bound[i] && t->value[i] != v))
			return false;
		x = &t->r->indexes[i];
		if (x->bounded && (v < eval(t, &x->low) || v >= eval(t, &x->high)))
			return false;
		t->bound[i] = true;
		t->value[i] = v;
		s = str_from(s, n);
	}
	t->rest = s;
	return from->open || s.len == 0;
}

static int
fits(struct trial *t, struct str input, struct err *err)
{
	const struct km_rule *r = t->r;
	const struct km_variable *when = r->when.p != NULL ? variable(t->k, r->when) : NULL;
	int hit = 0;

	if (r->input.p != NULL && !str_eq(r->input, input))
		return 0;
	for (t->member = 0; r->ops.inputs != NULL && !str_eq(r->ops.inputs[t->member], input); t->member++)
		if (t->member == r->ops.ninputs - 1)
			return 0;
	if (when != NULL && when->value == 0)
		return 0;
	if (r->regex != NULL)
		return pyre_search(r->regex, t->name, NULL, 0, err);
	if (r->starts.p != NULL)
		return str_starts(t->name, r->starts);
	for (size_t i = 0; i < r->ncontains; i++)
		if (!str_contains(t->name, r->contains[i]))
			return 0;
	for (size_t i = 0; hit == 0 && i < r->nfrom; i++) {
		hit = fits_text(t, &r->from[i]);
		t->why = hit > 0 ? r->from[i].why : t->why;
		t->member = r->ops.joins ? i : t->member;
	}
	return r->ncontains > 0 ? 1 : hit;
}

/* ---- new names */

struct outputs {
	struct plan *p;
	size_t entry, made; /* index of the entry that is mapped; number of names given so far */
};

/* Gives a new name. The first one renames the entry; each further one appends an entry with the same origin. */
static void
give(struct outputs *o, struct str name, const char *by)
{
	struct plan *p = o->p;
	struct plan_entry *en = &p->entries[o->entry];

	if (o->made++ == 0) {
		plan_rename(p, en, name, by);
		return;
	}
	en = plan_append(p, *en);
	en->alive = true;
	en->name = arena_str(&p->arena, name);
	p->origins[en->origin].outputs++;
	plan_note(p, en, PLAN_RENAMED, NULL, by);
}

static int
expand(struct trial *t, const struct km_text *to, struct outputs *o, struct err *err)
{
	struct buf b = BUF_INIT;
	int64_t v;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < to->n; i++) {
		if (to->pieces[i].literal.p != NULL) {
			buf_addstr(&b, to->pieces[i].literal);
			continue;
		}
		v = eval(t, &to->pieces[i].expr);
		if (v < 0)
			rc = ynode_fail(t->r->at, err, "an index of %.*s would be negative", STR_ARG(t->name));
		buf_addf(&b, "%lld", (long long)v);
	}
	buf_addstr(&b, t->rest);
	if (rc == 0)
		give(o, buf_str(&b), t->why);
	buf_release(&b);
	return rc;
}

/* Gives a name for every combination of values of the indexes from i on that the template mentions and the name did not bind. */
static int
fan_out(struct trial *t, const struct km_text *to, unsigned i, struct outputs *o, struct err *err)
{
	int64_t low, high;

	while (i < t->r->nindexes && (t->bound[i] || !mentions(to, t->r->indexes[i].name)))
		i++;
	if (i == t->r->nindexes && o->made >= KEYMAP_FAN_OUT_MAX)
		return ynode_fail(t->r->at, err, "more than %d names from one", KEYMAP_FAN_OUT_MAX);
	if (i == t->r->nindexes)
		return expand(t, to, o, err);
	if (!t->r->indexes[i].bounded)
		return ynode_fail(t->r->at, err, "%.*s: an index that is not in from needs a range",
				  STR_ARG(t->r->indexes[i].name));
	low = eval(t, &t->r->indexes[i].low);
	high = eval(t, &t->r->indexes[i].high);
	if (high - low > KEYMAP_FAN_OUT_MAX)
		return ynode_fail(t->r->at, err, "more than %d names from one", KEYMAP_FAN_OUT_MAX);
	for (t->value[i] = low; t->value[i] < high; t->value[i]++) {
		/* Nested ranges could take very long without giving any name. */
		if (t->k->values++ >= KEYMAP_VALUES_MAX)
			return ynode_fail(t->r->at, err, "the indexes take more than %d values", KEYMAP_VALUES_MAX);
		if (fan_out(t, to, i + 1, o, err) != 0)
			return -1;
	}
	return 0;
}

static int
map_entry(struct trial *t, struct outputs *o, struct err *err)
{
	const struct km_rule *r = t->r;
	struct buf b = BUF_INIT;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < r->nto; i++) {
		if (r->regex == NULL) {
			rc = fan_out(t, &r->to[i], 0, o, err);
			continue;
		}
		buf_clear(&b);
		rc = pyre_sub(r->subs[i], t->name, false, &b, NULL, err);
		if (rc == 0)
			give(o, buf_str(&b), t->why);
	}
	buf_release(&b);
	if (rc == 0 && o->made == 0)
		plan_drop(o->p, &o->p->entries[o->entry], PLAN_SKIPPED, t->why);
	return rc;
}

/* ---- tensors that are combined into one */

/* The tensors that one application of a join or sum takes. */
struct km_group {
	uint32_t *origins; /* origins in the plan, by member; UINT32_MAX: not found */
	size_t n, present, taken;
	struct km_rule *rule;
};

struct km_groups {
	struct strmap by_key;
	struct km_group *v;
	size_t n, cap;
};

/* Returns the key that all names of a group share. */
static struct str
group_key(const struct trial *t, const struct plan_entry *en, const struct plan *p, struct buf *b)
{
	buf_clear(b);
	buf_addf(b, "%zu", (size_t)(t->r - t->k->rules));
	if (t->r->ops.sums) {
		buf_addf(b, " %.*s", STR_ARG(en->name));
		return buf_str(b);
	}
	buf_addf(b, " %u", p->origins[en->origin].input);
	for (unsigned i = 0; i < t->r->nindexes; i++)
		if (t->bound[i])
			buf_addf(b, " %lld", (long long)t->value[i]);
	return buf_str(b);
}

static struct km_group *
find_group(const struct km_groups *g, const struct trial *t, const struct plan_entry *en, const struct plan *p)
{
	struct buf b = BUF_INIT;
	uint64_t at = 0;
	bool found = strmap_get(&g->by_key, group_key(t, en, p, &b), &at);

	buf_release(&b);
	return found ? &g->v[at] : NULL;
}

static void
add_member(struct km_groups *g, const struct trial *t, const struct plan_entry *en, const struct plan *p)
{
	struct km_group *group = find_group(g, t, en, p);
	struct buf b = BUF_INIT;

	if (group == NULL) {
		strmap_add(&g->by_key, arena_str(&t->k->arena, group_key(t, en, p, &b)), g->n);
		group = xpush(g->v, g->n, g->cap);
		*group = (struct km_group){ .n = t->r->ops.sums ? t->r->ops.ninputs : t->r->nfrom, .rule = t->r };
		group->origins = arena_alloc(&t->k->arena, group->n * sizeof(*group->origins));
		memset(group->origins, 0xff, group->n * sizeof(*group->origins));
		buf_release(&b);
	}
	group->present += group->origins[t->member] == UINT32_MAX;
	group->origins[t->member] = en->origin;
}

static const char *
label_of(const struct plan *p, const struct plan_entry *en)
{
	const char *label = plan_input_of(p, en)->label;

	return label == NULL ? "" : label;
}

/* Like fits, but also determines the member for a sum over all inputs, which depends on the input and not on the rule. */
static int
fits_group(struct trial *t, const struct plan *p, const struct plan_entry *en, struct err *err)
{
	int hit = fits(t, str_c(label_of(p, en)), err);

	if (t->r->ops.sums && t->r->ops.inputs == NULL)
		t->member = p->origins[en->origin].input;
	return hit;
}

static bool
is_grouping(const struct km_rule *r)
{
	return r->ops.joins || r->ops.sums;
}

/* Adds an entry to the groups of the rules that it fits, up to the first rule that is no join or sum. */
static int
find_groups_of(struct keymap *k, const struct plan *p, const struct plan_entry *en, struct km_groups *g, struct err *err)
{
	bool taken = false;

	lookup_name(&k->lookup, en->name);
	for (size_t n = 0; n < k->lookup.nfound && !taken; n++) {
		struct trial t = { .k = k, .r = &k->rules[k->lookup.found[n]], .name = en->name };
		int hit = n > 0 && t.r == &k->rules[k->lookup.found[n - 1]] ? 0 : fits_group(&t, p, en, err);

		if (hit < 0)
			return -1;
		taken = hit > 0 && !is_grouping(t.r);
		if (hit > 0 && !taken)
			add_member(g, &t, en, p);
	}
	return 0;
}

static int
find_groups(struct keymap *k, const struct plan *p, struct km_groups *g, struct err *err)
{
	size_t n = 0;

	while (n < k->nrules && !is_grouping(&k->rules[n]))
		n++;
	for (const struct plan_entry *en = plan_next(p, NULL); n < k->nrules && en != NULL; en = plan_next(p, en))
		if (find_groups_of(k, p, en, g, err) < 0)
			return -1;
	return 0;
}

/* Returns the input of a sum's member. */
static const struct plan_input *
input_of(const struct plan *p, const struct keyops *ops, size_t member)
{
	size_t i = 0;

	while (ops->inputs != NULL && i + 1 < p->ninputs && !str_eqc(ops->inputs[member], p->inputs[i].label))
		i++;
	return &p->inputs[ops->inputs == NULL ? member : i];
}

static int
incomplete(const struct km_group *group, const struct trial *t, const struct plan *p, struct err *err)
{
	size_t i = 0;

	while (i + 1 < group->n && group->origins[i] != UINT32_MAX)
		i++;
	if (group->rule->ops.sums)
		return ynode_fail(group->rule->at, err, "sum: %.*s: %s has no tensor of that name", STR_ARG(t->name),
				  input_of(p, &group->rule->ops, i)->sd->ckpt->file);
	return ynode_fail(group->rule->at, err, "join: with %.*s there is no %.*s (optional: true passes the rule over)",
			  STR_ARG(t->name), STR_ARG(group->rule->from[i].source));
}

/* Fails if a group has lost some of its members to an earlier rule. */
static int
check_groups(const struct km_groups *g, const struct plan *p, struct err *err)
{
	const struct km_group *group;

	for (size_t i = 0; i < g->n; i++) {
		group = &g->v[i];
		if (group->taken > 0 && group->taken < group->n)
			return ynode_fail(group->rule->at, err, "%.*s: an earlier rule takes other tensors of its group",
					  STR_ARG(p->origins[group->origins[0]].entry->name));
	}
	return 0;
}

/* ---- ops */

static int
no_tensor(const struct trial *t, const struct plan *p, const struct plan_entry *en, struct err *err)
{
	return ynode_fail(t->r->at, err, "%s: %.*s: ops are for plain tensors with data of their size", plan_file(p, en),
			  STR_ARG(plan_source(p, en)->name));
}

/*
 * The maximum size of a tensor that is larger than its storage (by strides of 0). Makers may read whole tensors into memory, so
 * such a tensor of a small file could otherwise need any amount.
 */
enum { EXPANDED_MAX = 256 << 20 };

static bool
is_expanded(const struct plan *p, const struct plan_entry *en)
{
	const struct tensor *t = plan_tensor(p, en);

	return t->storage != STORAGE_NONE && tensor_nbytes(t) > EXPANDED_MAX &&
	       tensor_nbytes(t) > plan_input_of(p, en)->sd->ckpt->storages[t->storage].nbytes;
}

static bool
is_tensor(const struct plan *p, const struct plan_entry *en)
{
	const struct tensor *x = plan_tensor(p, en);

	return plan_source(p, en)->kind == SD_TENSOR && boxes_count(x) > 0 && dtype_size((enum dtype)x->dtype) > 0 &&
	       !is_expanded(p, en);
}

/* Fails for a sum over several streams, which would have to wait for each other. */
static int
check_streams(const struct trial *t, const struct plan *p, struct err *err)
{
	unsigned streams = 0;

	for (uint32_t i = 0; t->r->ops.sums && i < p->ninputs; i++)
		streams += source_is_stream(p->inputs[i].sd->ckpt->src);
	return streams < 2 ? 0 : ynode_fail(t->r->at, err, "sum: all inputs but one must be files, not pipes");
}

/* Lists all tensors of a group except the first one as further inputs of the makers. */
static int
take_in(struct trial *t, struct plan *p, const struct km_group *group, struct keyops_tensor *x, struct err *err)
{
	size_t n = group == NULL ? 0 : group->n - 1;
	struct make_input *more = arena_calloc(&p->arena, n, sizeof(*more));
	struct make_form *forms = arena_calloc(&t->k->arena, n, sizeof(*forms));

	for (size_t i = 0; i < n; i++) {
		const struct plan_entry en = { .origin = group->origins[i + 1] };

		if (!is_tensor(p, &en))
			return no_tensor(t, p, &en, err);
		more[i] = (struct make_input){ p->origins[en.origin].input, plan_source(p, &en)->tensor };
		make_form_of(&forms[i], plan_tensor(p, &en));
	}
	x->more = more;
	x->forms = forms;
	x->nmore = (unsigned)n;
	return n == 0 ? 0 : check_streams(t, p, err);
}

static int
change(struct trial *t, struct plan *p, struct plan_entry *en, const struct keyops_tensor *with, struct err *err)
{
	struct keyops_tensor x = *with;
	struct err why = ERR_INIT;

	make_form_of(&x.form, plan_tensor(p, en));
	if (keyops_apply(&t->r->ops, &x, &why) < 0)
		return ynode_fail(t->r->at, err, "%s: %.*s: %s", plan_file(p, en), STR_ARG(plan_source(p, en)->name), why.msg);
	for (unsigned i = 0; i < x.chain.n; i++)
		plan_make(p, en, x.chain.v[i], t->why);
	return 0;
}

/*
 * Records that makers of en also read entries that were consumed. origins are those of the entries, and live as long as the plan.
 */
static void
plan_take_in(struct plan *p, struct plan_entry *en, const uint32_t *origins, unsigned n)
{
	struct plan_made *made = arena_alloc(&p->arena, sizeof(*made));

	*made = *plan_made(en);
	made->also = origins;
	made->nalso = n;
	en->made = made;
	for (unsigned i = 0; i < n; i++)
		p->origins[origins[i]].outputs++;
}

/* Applies the rule's ops to entry i and to the entries after it, which have the same origin. */
static int
apply_ops(struct trial *t, struct plan *p, size_t i, const struct km_group *group, struct err *err)
{
	size_t n = group == NULL ? 0 : group->n - 1, parts = p->nentries - i;
	struct keyops_tensor x = { .arena = &p->arena, .parts = parts };
	uint32_t *also = arena_alloc(&p->arena, n * sizeof(*also) + 1);

	if (plan_source(p, &p->entries[i])->kind == SD_OTHER && t->r->ops.sums)
		return 0; /* a sum keeps the value of the first input */
	if (!is_tensor(p, &p->entries[i]))
		return no_tensor(t, p, &p->entries[i], err);
	if (take_in(t, p, group, &x, err) < 0)
		return -1;
	if (n > 0)
		memcpy(also, group->origins + 1, n * sizeof(*also));
	for (x.part = 0; x.part < parts; x.part++) {
		plan_take_in(p, &p->entries[i + x.part], also, (unsigned)n);
		if (change(t, p, &p->entries[i + x.part], &x, err) < 0)
			return -1;
	}
	return 0;
}

/* ---- mapping the entries */

static void
take_away(struct plan *p, struct plan_entry *en, const char *by)
{
	if (!en->module)
		plan_drop(p, en, PLAN_SKIPPED, by);
	else if (en->name.len > 0)
		en->alive = false;
}

/* Counts the rules from number n of those found on that also fit the name, but were preceded by another rule. */
static int
count_forestalled(struct trial t, size_t n, struct str input, struct err *err)
{
	int hit;

	for (; n < t.k->lookup.nfound; n++) {
		t.r = &t.k->rules[t.k->lookup.found[n]];
		if (t.r->rule->matched > 0)
			continue;
		hit = fits(&t, input, err);
		if (hit < 0)
			return -1;
		t.r->rule->matched += hit > 0;
	}
	return 0;
}

/* Does the rule of t apply to entry en? *group is set to the tensors that it takes together, or NULL. */
static int
applies(struct trial *t, const struct plan *p, const struct plan_entry *en, const struct km_groups *g, struct km_group **group,
	struct err *err)
{
	int hit = fits_group(t, p, en, err);

	*group = NULL;
	if (hit <= 0 || en->module || !is_grouping(t->r))
		return hit;
	*group = find_group(g, t, en, p);
	if (*group == NULL || (*group)->present == (*group)->n)
		return *group != NULL;
	return t->r->optional ? 0 : incomplete(*group, t, p, err);
}

/* Gives entry i its new names and its makers. Consumes it if it is a further member of a group. */
static int
map_names(struct trial *t, struct plan *p, size_t i, const struct km_group *group, struct err *err)
{
	struct outputs o = { p, i, 0 };

	if (group != NULL && group->origins[0] != p->entries[i].origin) {
		plan_consume(p, &p->entries[i]);
		return 0;
	}
	if (t->r->what == KM_MAP && map_entry(t, &o, err) != 0)
		return -1;
	if (t->r->ops.n == 0 || p->entries[i].module || !p->entries[i].alive)
		return 0;
	return apply_ops(t, p, i, group, err);
}

/* Maps entry i, which must be the last one. Additional outputs are appended. */
static int
apply_one(struct keymap *k, struct plan *p, size_t i, const struct km_groups *g, struct err *err)
{
	struct trial t = { .k = k, .name = p->entries[i].name };
	struct km_group *group = NULL;
	int hit = 0;
	size_t n;

	lookup_name(&k->lookup, t.name);
	for (n = 0; hit == 0 && n < k->lookup.nfound; n++) {
		t.r = &k->rules[k->lookup.found[n]];
		t.rest = (struct str){ "", 0 };
		t.why = t.r->text;
		hit = applies(&t, p, &p->entries[i], g, &group, err);
	}
	if (hit < 0)
		return -1;
	if (hit == 0 || t.r == NULL) {
		if (k->drop_unmapped)
			take_away(p, &p->entries[i], k->unmapped);
		return 0;
	}
	if (!p->entries[i].module) {
		t.r->rule->matched++;
		t.r->rule->touched++;
		if (group != NULL)
			group->taken++;
		if (count_forestalled(t, n, str_c(label_of(p, &p->entries[i])), err) != 0)
			return -1;
	}
	if (t.r->what == KM_SKIP)
		take_away(p, &p->entries[i], t.why);
	return t.r->what == KM_SKIP ? 0 : map_names(&t, p, i, group, err);
}

/* Maps all entries. The new list has each entry followed by its additional outputs. */
static int
map_entries(struct keymap *k, struct plan *p, const struct km_groups *g, struct err *err)
{
	struct plan_entry *old = p->entries;
	const size_t n = p->nentries;
	int rc = 0;

	p->entries = NULL;
	p->nentries = p->cap_entries = 0;
	for (size_t i = 0; rc == 0 && i < n; i++)
		if (plan_append(p, old[i])->alive)
			rc = apply_one(k, p, p->nentries - 1, g, err);
	free(old);
	return rc;
}

/* Returns the literal beginning of a rule's pattern, for suggesting names if the rule fits none. */
static struct str
rule_literal(const struct km_rule *r)
{
	if (r->nfrom > 0 && r->from[0].n > 0 && r->from[0].pieces[0].literal.p != NULL)
		return r->from[0].pieces[0].literal;
	return r->starts.p != NULL ? r->starts : str_c("");
}

static void
start_rules(struct keymap *k, struct plan *p)
{
	struct km_rule *r;

	for (size_t i = 0; i < k->nrules; i++) {
		r = &k->rules[i];
		keyops_weigh(&r->ops, &k->arena, p->ninputs);
		r->rule = plan_rule_new(p, rule_literal(r), "%s", r->text);
		r->text = r->rule->text; /* this text lives as long as the plan */
		for (size_t n = 0; n < r->nfrom; n++)
			r->from[n].why = r->nfrom == 1 ? r->text
						       : arena_printf(&p->arena, "key map %s: from %.*s", keymap_name(k),
								      STR_ARG(r->from[n].source));
		r->rule->optional = k->builtin;
		r->rule->quiet = k->builtin;
	}
	lookup_init(k);
}

/* ---- the target */

static const char *
misfit(struct plan *p, const struct plan_entry *en, const struct entry *target)
{
	struct buf b = BUF_INIT;
	uint64_t shape[TENSOR_NDIM_MAX];
	enum dtype dtype;
	unsigned ndim;

	plan_shape(p, en, &dtype, shape, &ndim);
	buf_addf(&b, "key map: %.*s is ", STR_ARG(en->name));
	if (target != NULL)
		shape_put(&b, target->shape, target->ndim);
	buf_adds(&b, target == NULL ? "not in the model; here it is " : " in the model and here ");
	if (dtype != DTYPE_UNKNOWN)
		shape_put(&b, shape, ndim);
	return arena_take(&p->arena, &b).p;
}

static void
check_shapes(struct plan *p, const struct model *m)
{
	const struct entry *target;
	const char *example = NULL, *why;
	uint64_t shape[TENSOR_NDIM_MAX];
	size_t misfits = 0;
	enum dtype dtype;
	unsigned ndim;

	for (struct plan_entry *en = plan_next(p, NULL); en != NULL; en = plan_next(p, en)) {
		target = model_find(m, en->name);
		plan_shape(p, en, &dtype, shape, &ndim);
		if (target != NULL && plan_tensor(p, en) != NULL &&
		    (!target->has_shape || shape_eq(shape, ndim, target->shape, target->ndim)))
			continue;
		why = misfit(p, en, target);
		example = example == NULL ? why : example;
		diag_verbose(p->diag, "%s: %.*s: %s", plan_file(p, en), STR_ARG(plan_source(p, en)->name), why);
		plan_drop(p, en, PLAN_SKIPPED, why);
		misfits++;
	}
	if (misfits > 0)
		diag_warn(p->diag, "%zu mapped %s not count (%s); --verbose lists them, --report too", misfits,
			  misfits == 1 ? "name does" : "names do", example);
}

struct model_order {
	const struct model *m;
	const struct plan_entry *entries;
};

static uint64_t
rank(const struct model *m, const struct plan_entry *en)
{
	uint64_t at;

	return !en->module && strmap_get(&m->by_name, en->name, &at) ? at : UINT64_MAX;
}

static int
by_rank(const void *a, const void *b, void *arg)
{
	size_t x = *(const size_t *)a, y = *(const size_t *)b;
	const struct model_order *o = arg;
	uint64_t rx = rank(o->m, &o->entries[x]), ry = rank(o->m, &o->entries[y]);

	if (rx != ry)
		return rx < ry ? -1 : 1;
	return x < y ? -1 : x > y;
}

static void
order_as_model(struct plan *p, const struct model *m)
{
	size_t *order = xreallocn(NULL, p->nentries, sizeof(*order)), i;
	struct plan_entry *sorted = xreallocn(NULL, p->cap_entries, sizeof(*sorted));
	struct model_order o = { m, p->entries };

	for (i = 0; i < p->nentries; i++)
		order[i] = i;
	qsort_r(order, p->nentries, sizeof(*order), by_rank, &o);
	for (i = 0; i < p->nentries; i++)
		sorted[i] = p->entries[order[i]];
	free(p->entries);
	free(order);
	p->entries = sorted;
}

int
keymap_apply(struct keymap *k, struct plan *p, const struct keymap_env *env, struct err *err)
{
	struct km_groups groups = { .by_key = STRMAP_INIT };
	size_t first = p->nrules;
	int rc;

	if (k->same_shape && (env->model == NULL || !env->model->has_state_dict))
		return err_set(err, ERR_USAGE, "the key map %s needs a description that lists the state dict (-m)", keymap_name(k));
	if (find_values(k, env, err) != 0)
		return -1;
	start_rules(k, p);
	k->unmapped = arena_printf(&p->arena, "key map %s: no rule for it", keymap_name(k));
	k->values = 0;
	rc = find_groups(k, p, &groups, err);
	if (rc == 0)
		rc = map_entries(k, p, &groups, err);
	if (rc == 0)
		rc = check_groups(&groups, p, err);
	strmap_release(&groups.by_key);
	free(groups.v);
	if (rc != 0)
		return -1;
	plan_find_nearest(p, first, true);
	if (k->same_shape) {
		check_shapes(p, env->model);
		order_as_model(p, env->model);
	}
	return 0;
}
