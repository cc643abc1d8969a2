#include "plan/keymap.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/num.h"
#include "base/xalloc.h"
#include "plan/edits.h"
#include "plan/keymap_priv.h"

/* A name on its way through a rule. */
struct trial {
	struct keymap *k;
	struct km_rule *r;
	struct str name, rest; /* rest: what an open pattern carries over */
	const char *why;       /* the rule, for the report */
	bool bound[KEYMAP_INDEXES];
	int64_t value[KEYMAP_INDEXES];
};

static int
index_named(const struct km_rule *r, struct str name)
{
	for (unsigned i = 0; i < r->nindexes; i++)
		if (str_eq(r->indexes[i].name, name))
			return (int)i;
	return -1;
}

/* Sums; names are bound indexes or variables. */
static int
eval(const struct trial *t, const struct km_expr *x, int64_t *out, struct err *e)
{
	const struct km_variable *v;
	int64_t term;
	int i;

	*out = 0;
	for (unsigned n = 0; n < x->n; n++) {
		term = x->terms[n].number;
		if (x->terms[n].name.p != NULL) {
			i = index_named(t->r, x->terms[n].name);
			v = i >= 0 ? NULL : keymap_variable(t->k, x->terms[n].name);
			if (i < 0 && v == NULL)
				return ynode_fail(t->r->at, e, "%.*s: no such variable or index",
						  STR_ARG(x->terms[n].name));
			term = i >= 0 ? t->value[i] : v->value;
		}
		*out += x->terms[n].negative ? -term : term;
	}
	return 0;
}

/* ---- does a rule fit */

static int
in_range(const struct trial *t, const struct km_index *x, int64_t v, struct err *e)
{
	int64_t low, high;

	if (!x->bounded)
		return 1;
	if (eval(t, &x->low, &low, e) != 0 || eval(t, &x->high, &high, e) != 0)
		return -1;
	return v >= low && v < high;
}

/* Digits at the start of s as an index; their number, or 0. */
static size_t
digits(struct str s, int64_t *v)
{
	size_t n = 0;

	for (*v = 0; n < s.len && n < 9 && s.p[n] >= '0' && s.p[n] <= '9'; n++)
		*v = *v * 10 + (s.p[n] - '0');
	return n > 1 && s.p[0] == '0' ? 0 : n;
}

/* 1: fits, indexes bound and rest set; 0: does not; -1: error. */
static int
fits_text(struct trial *t, const struct km_text *from, struct err *e)
{
	struct str s = t->name;
	const struct km_piece *p;
	int64_t v;
	size_t n;
	int i, ok;

	memset(t->bound, 0, sizeof(t->bound));
	for (size_t k = 0; k < from->n; k++) {
		p = &from->pieces[k];
		if (p->literal.p != NULL) {
			if (!str_starts(s, p->literal))
				return 0;
			s = str_from(s, p->literal.len);
			continue;
		}
		n = digits(s, &v);
		i = index_named(t->r, p->expr.terms[0].name);
		if (n == 0 || i < 0 || (t->bound[i] && t->value[i] != v))
			return 0;
		ok = in_range(t, &t->r->indexes[i], v, e);
		if (ok <= 0)
			return ok;
		t->bound[i] = true;
		t->value[i] = v;
		s = str_from(s, n);
	}
	t->rest = s;
	return from->open || s.len == 0;
}

static int
fits(struct trial *t, struct str input, struct err *e)
{
	const struct km_rule *r = t->r;
	int hit = 0;

	if (r->input.p != NULL && !str_eq(r->input, input))
		return 0;
	if (r->when.p != NULL && keymap_variable(t->k, r->when)->value == 0)
		return 0;
	if (r->regex != NULL)
		return pyre_search(r->regex, t->name, NULL, 0, e);
	if (r->starts.p != NULL)
		return str_starts(t->name, r->starts);
	for (size_t i = 0; i < r->ncontains; i++)
		if (!str_contains(t->name, r->contains[i]))
			return 0;
	for (size_t i = 0; hit == 0 && i < r->nfrom; i++) {
		hit = fits_text(t, &r->from[i], e);
		t->why = hit > 0 ? r->from[i].why : t->why;
	}
	return r->ncontains > 0 ? 1 : hit;
}

/* ---- new names */

struct outputs {
	struct plan *p;
	size_t entry, made; /* the entry that is mapped; names made so far */
};

static void
give(struct outputs *o, struct str name, const char *by)
{
	if (o->made++ == 0)
		plan_rename(o->p, &o->p->entries[o->entry], name, by);
	else
		plan_fan_out(o->p, o->entry + o->made - 2, name, by);
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

static int
expand(struct trial *t, const struct km_text *to, struct outputs *o, struct err *e)
{
	struct buf b = BUF_INIT;
	int64_t v;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < to->n; i++) {
		if (to->pieces[i].literal.p != NULL) {
			buf_addstr(&b, to->pieces[i].literal);
			continue;
		}
		rc = eval(t, &to->pieces[i].expr, &v, e);
		if (rc == 0 && v < 0)
			rc = ynode_fail(t->r->at, e, "an index of %.*s would be negative", STR_ARG(t->name));
		buf_addf(&b, "%lld", (long long)v);
	}
	buf_addstr(&b, t->rest);
	if (rc == 0)
		give(o, buf_str(&b), t->why);
	buf_release(&b);
	return rc;
}

/* Takes every value of the first index from i on that the template mentions and the name did not bind. */
static int
fan_out(struct trial *t, const struct km_text *to, unsigned i, struct outputs *o, struct err *e)
{
	int64_t low, high;

	while (i < t->r->nindexes && (t->bound[i] || !mentions(to, t->r->indexes[i].name)))
		i++;
	if (i == t->r->nindexes && o->made >= KEYMAP_FAN_OUT_MAX)
		return ynode_fail(t->r->at, e, "more than %d names from one", KEYMAP_FAN_OUT_MAX);
	if (i == t->r->nindexes)
		return expand(t, to, o, e);
	if (!t->r->indexes[i].bounded)
		return ynode_fail(t->r->at, e, "%.*s: an index that is not in from needs a range",
				  STR_ARG(t->r->indexes[i].name));
	if (eval(t, &t->r->indexes[i].low, &low, e) != 0 || eval(t, &t->r->indexes[i].high, &high, e) != 0)
		return -1;
	if (high - low > KEYMAP_FAN_OUT_MAX)
		return ynode_fail(t->r->at, e, "more than %d names from one", KEYMAP_FAN_OUT_MAX);
	for (t->value[i] = low; t->value[i] < high; t->value[i]++)
		if (fan_out(t, to, i + 1, o, e) != 0)
			return -1;
	return 0;
}

static int
map_entry(struct trial *t, struct outputs *o, struct err *e)
{
	const struct km_rule *r = t->r;
	struct buf b = BUF_INIT;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < r->nto; i++) {
		if (r->regex == NULL) {
			rc = fan_out(t, &r->to[i], 0, o, e);
			continue;
		}
		buf_clear(&b);
		rc = pyre_sub(r->subs[i], t->name, false, &b, NULL, e);
		if (rc == 0)
			give(o, buf_str(&b), t->why);
	}
	buf_release(&b);
	if (rc == 0 && o->made == 0)
		plan_drop(o->p, &o->p->entries[o->entry], PLAN_SKIPPED, t->why);
	return rc;
}

/* ---- all entries */

static void
take_away(struct plan *p, struct plan_entry *en, const char *by)
{
	if (!en->module)
		plan_drop(p, en, PLAN_SKIPPED, by);
	else if (en->name.len > 0)
		en->alive = false;
}

/* Counts the rules behind number n that an earlier one has forestalled, but that fit the name, too. */
static int
count_forestalled(struct trial t, size_t n, struct str input, struct err *e)
{
	int hit;

	for (; n < t.k->nrules; n++) {
		t.r = &t.k->rules[n];
		if (t.r->rule->matched > 0)
			continue;
		hit = fits(&t, input, e);
		if (hit < 0)
			return -1;
		t.r->rule->matched += hit > 0;
	}
	return 0;
}

/* Maps entry i; *next is the first entry behind all that came of it. */
static int
apply_one(struct keymap *k, struct plan *p, size_t i, const char *unmapped, size_t *next, struct err *e)
{
	const char *label = plan_input_of(p, &p->entries[i])->label;
	struct trial t = { .k = k, .name = p->entries[i].name };
	struct outputs o = { p, i, 0 };
	int hit = 0, rc = 0;
	size_t n;

	*next = i + 1;
	for (n = 0; hit == 0 && n < k->nrules; n++) {
		t.r = &k->rules[n];
		t.rest = (struct str){ "", 0 };
		t.why = t.r->text;
		hit = fits(&t, str_c(label == NULL ? "" : label), e);
	}
	if (hit < 0)
		return -1;
	if (hit == 0 || t.r == NULL) {
		if (k->drop_unmapped)
			take_away(p, &p->entries[i], unmapped);
		return 0;
	}
	if (!p->entries[i].module) {
		t.r->rule->matched++;
		t.r->rule->touched++;
		if (count_forestalled(t, n, str_c(label == NULL ? "" : label), e) != 0)
			return -1;
	}
	if (t.r->what == KM_SKIP)
		take_away(p, &p->entries[i], t.why);
	else if (t.r->what == KM_MAP)
		rc = map_entry(&t, &o, e);
	*next = i + (o.made > 1 ? o.made : 1);
	return rc;
}

/* Literal beginning of a rule, for guessing what was meant when nothing fits. */
static struct str
wanted(const struct km_rule *r)
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
		r->rule = plan_rule_new(p, wanted(r), "%s", r->text);
		r->text = r->rule->text; /* lives as long as the plan */
		for (size_t n = 0; n < r->nfrom; n++)
			r->from[n].why = r->nfrom == 1 ? r->text
						       : arena_printf(&p->arena, "key map %s: from %.*s", keymap_name(k),
								      STR_ARG(r->from[n].source));
		r->rule->optional = k->builtin;
		r->rule->quiet = k->builtin;
	}
}

/* ---- the target */

static const char *
misfit(struct plan *p, const struct plan_entry *en, const struct entry *target)
{
	struct buf b = BUF_INIT;
	const struct tensor *t = plan_tensor(p, en);
	const char *text;

	buf_addf(&b, "key map: %.*s ", STR_ARG(en->name));
	if (target == NULL) {
		buf_adds(&b, "is not in the model; here it is ");
		if (t != NULL)
			shape_put(&b, t->shape, t->ndim);
	} else {
		buf_adds(&b, "is ");
		shape_put(&b, target->shape, target->ndim);
		buf_adds(&b, " in the model and here ");
		if (t != NULL)
			shape_put(&b, t->shape, t->ndim);
	}
	text = arena_cstr(&p->arena, b.p);
	buf_release(&b);
	return text;
}

static void
check_shapes(struct plan *p, const struct model *m)
{
	const struct entry *target;
	const struct tensor *t;
	const char *example = NULL, *why;
	struct plan_entry *en;
	size_t misfits = 0;

	for (size_t i = 0; i < p->nentries; i++) {
		en = &p->entries[i];
		if (!en->alive || en->module)
			continue;
		target = model_find(m, en->name);
		t = plan_tensor(p, en);
		if (target != NULL && t != NULL &&
		    (!target->has_shape || shape_eq(t->shape, t->ndim, target->shape, target->ndim)))
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

struct order {
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
	const struct order *o = arg;
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
	struct order o = { m, p->entries };

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
keymap_apply(struct keymap *k, struct plan *p, const struct keymap_env *env, struct err *e)
{
	const char *unmapped = arena_printf(&p->arena, "key map %s: no rule for it", keymap_name(k));
	size_t i, next, first = p->nrules;

	if (k->same_shape && (env->model == NULL || !env->model->has_state_dict))
		return err_set(e, ERR_USAGE, "the key map %s needs a description that lists the state dict (-m)",
			       keymap_name(k));
	if (keymap_settle(k, env, e) != 0)
		return -1;
	start_rules(k, p);
	for (i = 0; i < p->nentries; i = next) {
		next = i + 1;
		if (p->entries[i].alive && apply_one(k, p, i, unmapped, &next, e) != 0)
			return -1;
	}
	plan_find_nearest_input(p, first);
	if (k->same_shape) {
		check_shapes(p, env->model);
		order_as_model(p, env->model);
	}
	return 0;
}
