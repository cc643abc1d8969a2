#include "rule/rule.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "base/xalloc.h"
#include "model/keys.h"
#include "rule/rule_priv.h"

#define ENTRY(name) &(name),
static const struct rule_type *const types[] = { RULE_TYPES(ENTRY) };
#undef ENTRY

enum { NTYPES = sizeof(types) / sizeof(types[0]) };

struct rules *
rules_new(const struct rule_env *env)
{
	struct rules *rules = xcalloc(1, sizeof(*rules));

	*rules = (struct rules){ .env = *env, .finder = finder_new() };
	arena_init(&rules->arena);
	return rules;
}

void
rules_free(struct rules *rules)
{
	if (rules == NULL)
		return;
	for (const struct rule *r = rules->newest; r; r = r->next)
		for (size_t i = 0; i < r->nitems; i++)
			pyre_free(r->items[i].re);
	finder_free(rules->finder);
	arena_release(&rules->arena);
	free(rules);
}

/* ---- compiling */

static void
unknown_type(const struct ynode *node, struct err *err)
{
	const char *names[NTYPES + 1];
	struct buf hint = BUF_INIT;
	struct shown shown;

	for (size_t i = 0; i < NTYPES; i++)
		names[i] = types[i]->name;
	names[NTYPES] = NULL;
	keys_suggest(&hint, node->text, names);
	if (hint.len == 0) {
		buf_adds(&hint, "; there are ");
		for (size_t i = 0; i < NTYPES; i++)
			buf_addf(&hint, "%s%s", i ? ", " : "", names[i]);
	}
	ynode_fail(node, err, "TYPE: there is no rule type '%s'%s", keys_show(&shown, node->text), hint.p);
	buf_release(&hint);
}

/* Reports that the map has no TYPE, or that one of its keys is probably a misspelling of TYPE. */
static int
without_type(const struct ynode *node, struct err *err)
{
	for (size_t i = 0; i < node->n; i++) {
		const struct ynode *key = node->pairs[i].key;
		struct shown shown;

		if (str_eqc_nocase(key->text, "TYPE") || text_distance(key->text, str_c("TYPE"), 1) <= 1)
			return ynode_fail(key, err, "%s: unknown key in a rule; did you mean TYPE?", keys_show(&shown, key->text));
	}
	return ynode_fail(node, err, "a rule needs a TYPE");
}

/* Returns the type that a map names, or NULL with an error. */
static const struct rule_type *
find_type(const struct ynode *node, struct err *err)
{
	const struct ynode *name = ymap_get(node, "TYPE");

	if (node->kind != YN_MAP)
		ynode_fail(node, err, "a rule is a map with a TYPE, not %s", ynode_what(node));
	else if (name == NULL)
		without_type(node, err);
	else if (name->kind != YN_SCALAR || ynode_is_null(name))
		ynode_fail(name, err, "TYPE: must be the name of a rule type, not %s", ynode_what(name));
	else {
		for (size_t i = 0; i < NTYPES; i++)
			if (str_eqc_nocase(name->text, types[i]->name))
				return types[i];
		unknown_type(name, err);
	}
	return NULL;
}

/* Returns "a" or "an". */
static const char *
article(const struct rule_type *type)
{
	return strchr("aio", type->name[0]) ? "an" : "a";
}

static int
check_keys(const struct ynode *node, const struct rule_type *type, struct err *err)
{
	const char *keys[RULE_KEYS + 3] = { "TYPE", "model" };
	struct buf where = BUF_INIT;
	size_t n = 2;
	int rc;

	for (size_t i = 0; i < RULE_KEYS && type->keys[i].name; i++)
		keys[n++] = type->keys[i].name;
	buf_addf(&where, "%s %s filter", article(type), type->name);
	rc = keys_check(node, keys, where.p, err);
	buf_release(&where);
	return rc;
}

static int
missing(const struct rule *rule, const char *key, struct err *err)
{
	return ynode_fail(rule->at, err, "%s is missing in %s %s filter", key, article(rule->type), rule->type->name);
}

/* In double quotes YAML turns "\b" into a backspace. The author of the pattern meant a word boundary. */
static int
check_backspace(const struct ynode *node, struct err *err)
{
	if (node->text.len == 0 || memchr(node->text.p, '\b', node->text.len) == NULL)
		return 0;
	return ynode_fail(node, err, "a backspace in a pattern: that is what YAML makes of \"\\b\"; write '\\b', in single quotes");
}

/* Adds the texts of a list to the rule's items. If the list is optional, null and [] count as missing. */
static int
read_items(struct rules *rules, struct rule *rule, const struct rule_key *key, struct err *err)
{
	const struct ynode *list = ymap_get(rule->at, key->name);
	bool optional = key->holds == KEY_MAY_ITEMS;
	struct rule_item *items;
	struct str *texts;
	size_t n;

	if (optional && ynode_is_null(list))
		return 0;
	if (list == NULL)
		return missing(rule, key->name, err);
	if (list->kind != YN_SEQ)
		return ynode_fail(list, err, "%s: must be a list, not %s", key->name, ynode_what(list));
	if (list->n == 0)
		return optional ? 0 : ynode_fail(list, err, "%s: is empty", key->name);
	if (ynode_strings(list, key->name, &rules->arena, &texts, &n, err) < 0)
		return -1;
	items = arena_calloc(&rules->arena, rule->nitems + n, sizeof(*items));
	if (rule->nitems)
		memcpy(items, rule->items, rule->nitems * sizeof(*items));
	rule->items = items;
	for (size_t i = 0; i < n; i++) {
		items[rule->nitems++] = (struct rule_item){ .class = key->class, .text = texts[i], .at = list->items[i] };
		if (key->class == ITEM_PATTERN && check_backspace(list->items[i], err) < 0)
			return -1;
	}
	return 0;
}

/* Compiles the rule, or the list of rules, at a key. They become kids of rule. */
static int
read_rules(struct rules *rules, struct rule *rule, const struct rule_key *key, struct err *err)
{
	const struct ynode *node = ymap_get(rule->at, key->name);
	bool list = key->holds == KEY_RULES;
	size_t n = list && node ? node->n : 1;
	int rc = 0;

	if (node == NULL)
		return missing(rule, key->name, err);
	if (list && node->kind != YN_SEQ)
		return ynode_fail(node, err, "%s: must be a list of rules, not %s", key->name, ynode_what(node));
	if (n == 0)
		return ynode_fail(node, err, "%s: is empty", key->name);
	rule->kids = arena_calloc(&rules->arena, n, sizeof(*rule->kids));
	for (size_t i = 0; i < n && (rc == 0 || rules->env.finding); i++) {
		const struct rule *kid = rules_compile(rules, list ? node->items[i] : node, err);

		if (kid == NULL) {
			rc = -1;
			continue;
		}
		rule->kids[rule->nkids++] = kid;
		rule->may_fail = rule->may_fail || kid->may_fail;
	}
	return rc;
}

static int
compile(struct rules *rules, struct rule *rule, struct err *err)
{
	const struct rule_type *type = rule->type;
	int rc = 0;

	rule->may_fail = type->may_fail;
	for (size_t i = 0; i < RULE_KEYS && type->keys[i].name && rc == 0; i++) {
		if (type->keys[i].holds == KEY_ITEMS || type->keys[i].holds == KEY_MAY_ITEMS)
			rc = read_items(rules, rule, &type->keys[i], err);
		else if (type->keys[i].holds != KEY_SETTING)
			rc = read_rules(rules, rule, &type->keys[i], err);
	}
	return rc == 0 && type->compile ? type->compile(rules, rule, err) : rc;
}

const struct rule *
rules_compile(struct rules *rules, const struct ynode *node, struct err *err)
{
	struct err own = ERR_INIT;
	const struct rule_type *type = find_type(node, &own);
	struct rule *rule;

	if (type && check_keys(node, type, &own) == 0) {
		rule = arena_alloc(&rules->arena, sizeof(*rule));
		*rule = (struct rule){ .type = type, .rules = rules, .at = node, .next = rules->newest, .number = rules->count++ };
		rules->newest = rule;
		if (compile(rules, rule, &own) == 0) {
			rule->step = rules->steps;
			rules->steps += rule->nitems + 2;
			return rule;
		}
		rule->broken = true;
	}
	/* ERR_ANSWER marks an error that a rule inside this one has already reported. */
	if (rules->env.finding && own.code != ERR_ANSWER)
		rules->env.finding(rules->env.arg, &own);
	err_set(err, rules->env.finding ? ERR_ANSWER : own.code, "%s", own.msg);
	return NULL;
}

/* ---- matching */

void
subject_set(struct subject *s, const struct entry *e)
{
	const struct model *m = s->rules->env.model;
	const struct entry *known = NULL;

	s->entry = *e;
	s->name = e->name;
	s->staged = false;
	if (e->name.len >= 7 && memcmp(e->name.p, "module.", 7) == 0)
		s->name = str_from(e->name, 7);
	finder_name(s->rules->finder, s->name);
	if (m && m->n)
		known = model_find(m, s->name);
	if (m && m->n && known == NULL && s->name.p != e->name.p)
		known = model_find(m, e->name);
	if (known == NULL)
		return;
	if (e->layer_type.p == NULL)
		s->entry.layer_type = known->layer_type;
	if (e->requires_grad == GRAD_UNKNOWN)
		s->entry.requires_grad = known->requires_grad;
	if (e->kind == ENTRY_UNKNOWN)
		s->entry.kind = known->kind;
	if (e->dtype == DTYPE_UNKNOWN)
		s->entry.dtype = known->dtype;
	if (!e->has_shape) {
		s->entry.has_shape = known->has_shape;
		s->entry.shape = known->shape;
		s->entry.ndim = known->ndim;
	}
}

void
rule_trace_release(struct rule_trace *t)
{
	free(t->steps);
	arena_release(&t->arena);
	buf_release(&t->line);
	memset(t, 0, sizeof(*t));
}

int
type_any(const struct rule *rule, enum item_class class, struct subject *s, size_t *item, struct err *err)
{
	for (size_t i = 0; i < rule->nitems; i++) {
		int got;

		if (rule->items[i].class != class)
			continue;
		got = rule->type->holds(rule, i, s, err);
		if (got == 1)
			*item = i;
		if (got != 0)
			return got;
	}
	return 0;
}

static int
ask(const struct rule *rule, struct subject *s, struct rule_trace *trace, size_t *item, struct err *err)
{
	if (rule->type->match)
		return rule->type->match(rule, s, trace, item, err);
	return type_any(rule, rule->items[0].class, s, item, err);
}

int
rule_match(const struct rule *rule, struct subject *s, struct rule_trace *trace, struct err *err)
{
	size_t item = RULE_NO_ITEM, mine;
	int got;

	if (trace == NULL)
		return ask(rule, s, NULL, &item, err);
	if (trace->depth == 0)
		trace->n = 0;
	trace->steps = xgrow(trace->steps, trace->n, &trace->cap, sizeof(*trace->steps));
	mine = trace->n++;
	trace->steps[mine] = (struct rule_step){ rule, rule->at, trace->depth, false, RULE_NO_ITEM };
	trace->depth++;
	got = ask(rule, s, trace, &item, err);
	trace->depth--;
	trace->steps[mine].matched = got == 1;
	trace->steps[mine].item = item;
	return got;
}

bool
rule_may_fail(const struct rule *rule)
{
	return rule->may_fail;
}

static int
need(const struct rule *rule, const char *what, const char *mend, struct err *err)
{
	return err_set(err, ERR_INPUT, "the %s filter at %s:%u:%u needs %s, which is not in the list%s", rule->type->name,
		       rule->at->file, rule->at->line, rule->at->column, what, mend);
}

int
type_need_shape(const struct rule *rule, const struct subject *s, struct err *err)
{
	if (s->entry.has_shape)
		return 0;
	return need(rule, "the shape", "; lists of lnn-ckpt-inspect have it, and -m gives that of a description", err);
}

int
type_need_layer(const struct rule *rule, const struct subject *s, struct err *err)
{
	if (s->entry.layer_type.p)
		return 0;
	return need(rule, "the layer type", "; a description of the live model has it (-m)", err);
}

/* ---- explaining */

void
type_put_item(struct buf *b, const struct rule_item *item)
{
	buf_addc(b, '\'');
	text_show(b, item->text);
	buf_addf(b, "' (%s:%u:%u)", item->at->file, item->at->line, item->at->column);
}

/*
 * Returns the number of a step's explanation if it is the same for every subject, else SIZE_MAX. A rule has one number for each of
 * its items, one for "no" without an item and one for "yes" without an item.
 */
static size_t
number_of(const struct rule_step *step)
{
	const struct rule *rule = step->rule;

	if (rule->type->explain != NULL && !rule->type->same)
		return SIZE_MAX;
	return rule->step + (step->item == RULE_NO_ITEM ? rule->nitems + step->matched : step->item);
}

static void
put_verdict(struct buf *b, const struct rule_step *step, const struct subject *s)
{
	size_t at;

	buf_addf(b, "%s: %s", step->rule->type->name, step->matched ? "yes" : "no");
	at = b->len;
	buf_adds(b, ": ");
	if (step->rule->type->explain)
		step->rule->type->explain(b, step, s);
	if (b->len == at + 2)
		b->len = at;
}

struct str
rule_explain(struct rule_trace *t, size_t i, const struct subject *s, unsigned indent)
{
	const struct rule_step *step = &t->steps[i];
	const size_t number = number_of(step);

	if (t->lines == NULL)
		t->lines = arena_calloc(&t->arena, s->rules->steps, sizeof(*t->lines));
	if (number != SIZE_MAX && t->lines[number].p != NULL)
		return t->lines[number];
	buf_clear(&t->line);
	buf_addc(&t->line, '\t');
	buf_fill(&t->line, ' ', 2 * (size_t)(indent + step->depth));
	buf_addf(&t->line, "%s:%u:%u: ", step->at->file, step->at->line, step->at->column);
	put_verdict(&t->line, step, s);
	buf_addc(&t->line, '\n');
	return number == SIZE_MAX ? buf_str(&t->line) : (t->lines[number] = arena_str(&t->arena, buf_str(&t->line)));
}
