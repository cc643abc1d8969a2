#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/embedded.h"
#include "base/num.h"
#include "base/xalloc.h"
#include "model/keys.h"
#include "plan/keymap_priv.h"

#include <stdlib.h>

/* ---- expressions and texts with braces */

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

int
km_expr_parse(struct km_expr *x, struct str s, const struct ynode *at, struct err *e)
{
	size_t start = 0, i;
	bool negative = false;

	x->n = 0;
	for (i = 0; i <= s.len; i++) {
		if (i < s.len && s.p[i] != '+' && s.p[i] != '-')
			continue;
		if (!add_term(x, str_n(s.p + start, i - start), negative))
			return ynode_fail(at, e, "{%.*s}: a sum of numbers and variables was expected", STR_ARG(s));
		negative = i < s.len && s.p[i] == '-';
		start = i + 1;
	}
	return 0;
}

int
km_text_parse(struct keymap *k, struct km_text *t, struct str s, const struct ynode *at, struct err *e)
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
			return ynode_fail(at, e, "%.*s: a closing brace is missing", STR_ARG(at->text));
		piece = &t->pieces[t->n++];
		if (km_expr_parse(&piece->expr, str_n(s.p + 1, (size_t)close - 1), at, e) != 0)
			return -1;
		s = str_from(s, (size_t)close + 1);
	}
	return 0;
}

/* ---- rules */

static const char *const rule_keys[] = { "input", "from", "contains", "starts", "regex",
					 "to",    "when", "skip",     "keep",   NULL };

/* A scalar or a list of scalars. */
static int
texts(struct keymap *k, const struct ynode *n, const char *what, struct str **out, size_t *count, struct err *e)
{
	if (n->kind == YN_SCALAR && !ynode_is_null(n)) {
		*out = arena_calloc(&k->arena, 1, sizeof(**out));
		(*out)[0] = n->text;
		*count = 1;
		return 0;
	}
	if (ynode_strings(n, what, &k->arena, out, count, e) != 0)
		return -1;
	return *count > 0 ? 0 : ynode_fail(n, e, "%s: an empty list", what);
}

static int
patterns(struct keymap *k, const struct ynode *n, const char *what, struct km_text **out, size_t *count, struct err *e)
{
	struct str *list;

	if (texts(k, n, what, &list, count, e) != 0)
		return -1;
	*out = arena_calloc(&k->arena, *count, sizeof(**out));
	for (size_t i = 0; i < *count; i++)
		if (km_text_parse(k, &(*out)[i], list[i], n->kind == YN_SEQ ? n->items[i] : n, e) != 0)
			return -1;
	return 0;
}

static int
flag(const struct ynode *map, const char *key, bool *out, struct err *e)
{
	const struct ynode *n = ymap_get(map, key);

	*out = false;
	if (n == NULL || ynode_bool(n, out))
		return 0;
	return ynode_fail(n, e, "%s: true or false was expected", key);
}

static int
regex(struct keymap *k, struct km_rule *r, const struct ynode *n, const struct ynode *to, struct err *e)
{
	struct pyre_error why;
	struct str *list;
	size_t i;

	if (n->kind != YN_SCALAR)
		return ynode_fail(n, e, "regex: a scalar was expected, not %s", ynode_what(n));
	if (pyre_compile(n->text, &r->regex, &why) != 0)
		return ynode_fail(n, e, "regex: at byte %zu: %s", why.offset, why.reason);
	if (to == NULL)
		return 0;
	if (texts(k, to, "to", &list, &r->nto, e) != 0)
		return -1;
	r->subs = arena_calloc(&k->arena, r->nto, sizeof(*r->subs));
	for (i = 0; i < r->nto; i++)
		if (pyre_sub_compile(r->regex, list[i], &r->subs[i], &why) != 0)
			return ynode_fail(to, e, "to: at byte %zu: %s", why.offset, why.reason);
	return 0;
}

static int
bound(const struct ynode *range, size_t i, struct km_expr *x, struct err *e)
{
	const struct ynode *n = range->items[i];

	if (n->kind != YN_SCALAR)
		return ynode_fail(n, e, "a number or a sum of variables was expected, not %s", ynode_what(n));
	return km_expr_parse(x, n->text, n, e);
}

/* Any key that is none of a rule's is an index with its range. */
static int
index_of(struct km_rule *r, const struct ypair *pair, struct err *e)
{
	struct km_index *x = &r->indexes[r->nindexes];

	if (!is_word(pair->key->text) || pair->key->text.len > 2 || pair->value->kind != YN_SEQ ||
	    pair->value->n != 2) {
		struct buf b = BUF_INIT;

		keys_suggest(&b, pair->key->text, rule_keys);
		ynode_fail(pair->key, e,
			   "%.*s: unknown key in a rule of a key map%s (an index is one letter with [LOW, HIGH])",
			   STR_ARG(pair->key->text), b.p == NULL ? "" : b.p);
		buf_release(&b);
		return -1;
	}
	if (r->nindexes == KEYMAP_INDEXES)
		return ynode_fail(pair->key, e, "more than %d indexes in a rule", KEYMAP_INDEXES);
	*x = (struct km_index){ .name = pair->key->text, .bounded = true };
	r->nindexes++;
	return bound(pair->value, 0, &x->low, e) != 0 || bound(pair->value, 1, &x->high, e) != 0 ? -1 : 0;
}

static int
indexes(struct km_rule *r, const struct ynode *map, struct err *e)
{
	for (size_t i = 0; i < map->n; i++)
		if (!keys_known(map->pairs[i].key->text, rule_keys) && index_of(r, &map->pairs[i], e) != 0)
			return -1;
	return 0;
}

/* An index in a pattern that has no range takes any number. */
static int
declare(struct km_rule *r, const struct km_text *from, const struct ynode *at, struct err *e)
{
	struct str name;
	unsigned k;

	for (size_t i = 0; i < from->n; i++) {
		if (from->pieces[i].literal.p != NULL)
			continue;
		name = from->pieces[i].expr.terms[0].name;
		if (from->pieces[i].expr.n != 1 || name.p == NULL)
			return ynode_fail(at, e, "from: only an index may stand in braces");
		for (k = 0; k < r->nindexes && !str_eq(r->indexes[k].name, name); k++)
			;
		if (k == KEYMAP_INDEXES)
			return ynode_fail(at, e, "more than %d indexes in a rule", KEYMAP_INDEXES);
		if (k == r->nindexes)
			r->indexes[r->nindexes++] = (struct km_index){ .name = name };
	}
	return 0;
}

static bool
is_variable(const struct keymap *k, struct str name)
{
	for (size_t i = 0; i < k->nvariables; i++)
		if (str_eq(k->variables[i].name, name))
			return true;
	return false;
}

/* Every name in a sum is a variable or, in a template, an index of the rule. */
static int
check_sum(const struct keymap *k, const struct km_rule *r, const struct km_expr *x, unsigned nindexes,
	  const struct ynode *at, struct err *e)
{
	struct str name;
	unsigned i, n;

	for (n = 0; n < x->n; n++) {
		name = x->terms[n].name;
		for (i = 0; i < nindexes && name.p != NULL && !str_eq(r->indexes[i].name, name); i++)
			;
		if (name.p != NULL && i == nindexes && !is_variable(k, name))
			return ynode_fail(at, e, "%.*s: no such variable or index", STR_ARG(name));
	}
	return 0;
}

static int
check_sums(const struct keymap *k, const struct km_rule *r, struct err *e)
{
	const struct ynode *to = ymap_get(r->at, "to"), *range;
	char name[8];
	size_t i, j;

	for (i = 0; i < r->nindexes; i++) {
		if (!r->indexes[i].bounded)
			continue;
		snprintf(name, sizeof(name), "%.*s", STR_ARG(r->indexes[i].name));
		range = ymap_get(r->at, name);
		if (check_sum(k, r, &r->indexes[i].low, 0, range->items[0], e) != 0 ||
		    check_sum(k, r, &r->indexes[i].high, 0, range->items[1], e) != 0)
			return -1;
	}
	for (i = 0; r->to != NULL && i < r->nto; i++)
		for (j = 0; j < r->to[i].n; j++)
			if (r->to[i].pieces[j].literal.p == NULL &&
			    check_sum(k, r, &r->to[i].pieces[j].expr, r->nindexes,
				      to->kind == YN_SEQ ? to->items[i] : to, e) != 0)
				return -1;
	return 0;
}

static int
check_rule(const struct keymap *k, const struct km_rule *r, struct err *e)
{
	int ways = (r->nfrom > 0) + (r->regex != NULL) + (r->ncontains > 0) + (r->starts.p != NULL);
	size_t i;

	if (ways != 1)
		return ynode_fail(r->at, e, "a rule needs exactly one of from, regex, contains and starts");
	if (r->what == KM_MAP && r->nto == 0)
		return ynode_fail(r->at, e, "a rule needs to, skip: true or keep: true");
	if (r->what != KM_MAP && r->nto > 0)
		return ynode_fail(r->at, e, "a rule with to neither skips nor keeps");
	if (r->what == KM_MAP && (r->ncontains > 0 || r->starts.p != NULL))
		return ynode_fail(r->at, e, "contains and starts only go with skip or keep");
	for (i = 0; r->input.p != NULL && i < k->ninputs && !str_eq(k->inputs[i], r->input); i++)
		;
	if (r->input.p != NULL && i == k->ninputs)
		return ynode_fail(ymap_get(r->at, "input"), e, "%.*s: not one of the map's inputs", STR_ARG(r->input));
	if (r->when.p != NULL && !is_variable(k, r->when))
		return ynode_fail(ymap_get(r->at, "when"), e, "%.*s: no such variable", STR_ARG(r->when));
	return check_sums(k, r, e);
}

static int
scalar(const struct ynode *map, const char *key, struct str *out, struct err *e)
{
	const struct ynode *n = ymap_get(map, key);

	*out = (struct str){ NULL, 0 };
	if (n == NULL)
		return 0;
	if (n->kind != YN_SCALAR || ynode_is_null(n))
		return ynode_fail(n, e, "%s: a scalar was expected, not %s", key, ynode_what(n));
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
			return arena_printf(&k->arena, "key map %.*s: %s %.*s", STR_ARG(k->name), ways[i],
					    STR_ARG(n->text));
	}
	return "key map";
}

static int
read_rule(struct keymap *k, struct km_rule *r, const struct ynode *map, struct err *e)
{
	const struct ynode *from, *contains, *re, *to;
	bool skip, keep;
	size_t i;

	if (map->kind != YN_MAP)
		return ynode_fail(map, e, "a rule is a map, not %s", ynode_what(map));
	*r = (struct km_rule){ .at = map, .text = rule_text(k, map) };
	from = ymap_get(map, "from");
	contains = ymap_get(map, "contains");
	re = ymap_get(map, "regex");
	to = ymap_get(map, "to");
	if (indexes(r, map, e) != 0 || flag(map, "skip", &skip, e) != 0 || flag(map, "keep", &keep, e) != 0 ||
	    scalar(map, "input", &r->input, e) != 0 || scalar(map, "when", &r->when, e) != 0 ||
	    scalar(map, "starts", &r->starts, e) != 0)
		return -1;
	r->what = skip ? KM_SKIP : keep ? KM_KEEP : KM_MAP;
	if (from != NULL && patterns(k, from, "from", &r->from, &r->nfrom, e) != 0)
		return -1;
	for (i = 0; i < r->nfrom; i++)
		if (declare(r, &r->from[i], from, e) != 0)
			return -1;
	if (contains != NULL) {
		struct str *list;

		if (texts(k, contains, "contains", &list, &r->ncontains, e) != 0)
			return -1;
		r->contains = list;
	}
	if (re != NULL ? regex(k, r, re, to, e) != 0 : to != NULL && patterns(k, to, "to", &r->to, &r->nto, e) != 0)
		return -1;
	return check_rule(k, r, e);
}

/* ---- variables */

static int
read_variable(struct km_variable *v, const struct ypair *pair, struct err *e)
{
	static const char *const keys[] = { "config", "at", "blocks", "has", "default", NULL };
	static const char *const texts_of[] = { "config", "blocks", "has", NULL };
	const struct ynode *m = pair->value;
	struct str text;

	*v = (struct km_variable){ .name = pair->key->text, .at = pair->key };
	if (!is_word(v->name))
		return ynode_fail(pair->key, e, "%.*s: a variable's name has letters, digits and _ only",
				  STR_ARG(v->name));
	if (m->kind != YN_MAP)
		return ynode_fail(m, e, "a variable is a map, not %s", ynode_what(m));
	if (keys_check(m, keys, "a variable of a key map", e) != 0)
		return -1;
	for (size_t i = 0; texts_of[i] != NULL; i++)
		if (scalar(m, texts_of[i], &text, e) != 0)
			return -1;
	v->config = ymap_get(m, "config");
	v->index = ymap_get(m, "at");
	v->blocks = ymap_get(m, "blocks");
	v->has = ymap_get(m, "has");
	v->fallback = ymap_get(m, "default");
	return 0;
}

static int
read_variables(struct keymap *k, const struct ynode *map, struct err *e)
{
	if (map == NULL)
		return 0;
	if (map->kind != YN_MAP)
		return ynode_fail(map, e, "variables: a map was expected, not %s", ynode_what(map));
	k->variables = arena_calloc(&k->arena, map->n, sizeof(*k->variables));
	for (; k->nvariables < map->n; k->nvariables++)
		if (read_variable(&k->variables[k->nvariables], &map->pairs[k->nvariables], e) != 0)
			return -1;
	return 0;
}

/* ---- the whole */

static int
read_default(struct keymap *k, const struct ynode *root, struct err *e)
{
	const struct ynode *n = ymap_get(root, "default"), *target = ymap_get(root, "target");

	if (n != NULL && !(n->kind == YN_SCALAR && (str_eqc(n->text, "keep") || str_eqc(n->text, "drop"))))
		return ynode_fail(n, e, "default: keep or drop was expected");
	k->drop_unmapped = n != NULL && str_eqc(n->text, "drop");
	if (target != NULL && !(target->kind == YN_SCALAR && str_eqc(target->text, "same_shape")))
		return ynode_fail(target, e, "target: same_shape was expected");
	k->same_shape = target != NULL;
	return flag(root, "interpolates", &k->interpolates, e);
}

static int
read_root(struct keymap *k, const struct ynode *root, struct err *e)
{
	static const char *const keys[] = { "name",  "inputs",  "target",       "variables",
					    "rules", "default", "interpolates", NULL };
	const struct ynode *rules, *inputs;
	struct str *list;

	if (root->kind != YN_MAP)
		return ynode_fail(root, e, "a key map is a map, not %s", ynode_what(root));
	if (keys_check(root, keys, "a key map", e) != 0 || scalar(root, "name", &k->name, e) != 0)
		return -1;
	if (k->name.p == NULL)
		k->name = str_c(k->file);
	inputs = ymap_get(root, "inputs");
	if (inputs != NULL) {
		if (texts(k, inputs, "inputs", &list, &k->ninputs, e) != 0)
			return -1;
		k->inputs = list;
	}
	if (read_variables(k, ymap_get(root, "variables"), e) != 0 || read_default(k, root, e) != 0)
		return -1;
	rules = ymap_get(root, "rules");
	if (rules == NULL || rules->kind != YN_SEQ)
		return ynode_fail(rules == NULL ? root : rules, e, "rules: a list was expected, not %s",
				  ynode_what(rules));
	k->rules = arena_calloc(&k->arena, rules->n, sizeof(*k->rules));
	for (; k->nrules < rules->n; k->nrules++)
		if (read_rule(k, &k->rules[k->nrules], rules->items[k->nrules], e) != 0) {
			k->nrules++; /* what it has is freed, too */
			return -1;
		}
	return 0;
}

int
keymap_load(struct keymap **out, const char *file, struct str text, struct err *e)
{
	struct keymap *k = xcalloc(1, sizeof(*k));
	const struct ynode *root;

	arena_init(&k->arena);
	k->file = arena_cstr(&k->arena, file);
	if (yaml_parse(&k->arena, file, text, &root, e) != 0 || read_root(k, root, e) != 0) {
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
	arena_release(&k->arena);
	free(k);
}

/* ---- built-in maps */

static const struct embedded *
find(const char *name)
{
	for (size_t i = 0; i < embedded_maps_count; i++)
		if (strcmp(embedded_maps[i].name, name) == 0)
			return &embedded_maps[i];
	return NULL;
}

bool
keymap_is_builtin(const char *name)
{
	return find(name) != NULL;
}

const char *
keymap_text(const char *name)
{
	const struct embedded *m = find(name);

	return m == NULL ? NULL : m->text;
}

int
keymap_builtin(struct keymap **out, const char *name, struct err *e)
{
	const struct embedded *m = find(name);
	struct buf names = BUF_INIT;

	if (m != NULL) {
		if (keymap_load(out, name, str_n(m->text, m->len), e) != 0)
			return -1;
		(*out)->builtin = true;
		return 0;
	}
	for (size_t i = 0; i < embedded_maps_count; i++)
		buf_addf(&names, "%s%s", i == 0 ? "" : ", ", embedded_maps[i].name);
	err_set(e, ERR_USAGE, "%s: no such key map; there are %s (a map of your own is a .yaml file)", name, names.p);
	buf_release(&names);
	return -1;
}

const char *
keymap_name(const struct keymap *k)
{
	return k->name.p; /* scalars of YAML are followed by a NUL */
}

size_t
keymap_inputs(const struct keymap *k, const struct str **names)
{
	*names = k->inputs;
	return k->ninputs;
}

bool
keymap_interpolates(const struct keymap *k)
{
	return k->interpolates;
}
