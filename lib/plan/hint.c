#include "plan/hint.h"

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "plan/loadcheck.h"

/* Names whose parts are tried, from the front, and parts of a name. */
enum { SAMPLES = 3, PARTS = 8, PLACES_MAX = 32 };

enum hint_kind { HINT_STRIP, HINT_COMPONENT, HINT_PUT };

/* What is tried on each name: a prefix taken off, a component taken out, a prefix put in front. */
struct hint {
	enum hint_kind kind;
	struct str text; /* with its dot */
};

struct hints {
	const struct plan *p;
	const struct model *m;
	size_t tensors, most; /* in all; fit with the best */
	struct hint best;
	struct str place; /* of the best, if that is another place; else p is NULL */
	struct buf name;
};

static bool
fits(const struct model *m, struct str name, const struct tensor *t)
{
	const struct entry *target = model_find(m, name);

	return target != NULL && (!target->has_shape || load_shape_fits(t->shape, t->ndim, target->shape, target->ndim));
}

/* Adds name to b as the hint makes it. */
static void
change(struct buf *b, struct hint h, struct str name)
{
	size_t at = 0, end;

	if (h.kind == HINT_PUT)
		buf_addstr(b, h.text);
	if (h.kind == HINT_STRIP && str_starts(name, h.text))
		at = h.text.len;
	for (; at < name.len; at = end) {
		for (end = at + 1; end < name.len && name.p[end - 1] != '.'; end++)
			;
		if (h.kind != HINT_COMPONENT || !str_eq(str_n(name.p + at, end - at), h.text))
			buf_add(b, name.p + at, end - at);
	}
}

static void
try_hint(struct hints *x, struct hint h)
{
	size_t n = 0;

	for (size_t i = 0; i < x->p->nentries; i++) {
		const struct plan_entry *en = &x->p->entries[i];
		const struct tensor *t = en->alive && !en->module ? plan_tensor(x->p, en) : NULL;

		if (t == NULL)
			continue;
		buf_clear(&x->name);
		change(&x->name, h, en->name);
		n += fits(x->m, buf_str(&x->name), t);
	}
	if (n > x->most) {
		x->most = n;
		x->best = h;
	}
}

/* Tries the beginnings of name, and with components also its components that are no numbers. */
static void
try_parts(struct hints *x, struct str name, enum hint_kind kind)
{
	size_t start = 0, parts = 0;

	for (size_t i = 0; i < name.len && parts < PARTS; i++) {
		if (name.p[i] != '.')
			continue;
		if (kind != HINT_COMPONENT)
			try_hint(x, (struct hint){ kind, str_n(name.p, i + 1) });
		else if (start > 0 && (name.p[start] < '0' || name.p[start] > '9'))
			try_hint(x, (struct hint){ kind, str_n(name.p + start, i + 1 - start) });
		start = i + 1;
		parts++;
	}
}

static void
try_names(struct hints *x)
{
	size_t samples = 0;

	for (size_t i = 0; i < x->p->nentries && samples < SAMPLES; i++) {
		const struct plan_entry *en = &x->p->entries[i];

		if (!en->alive || en->module || plan_tensor(x->p, en) == NULL)
			continue;
		samples++;
		try_parts(x, en->name, HINT_STRIP);
		try_parts(x, en->name, HINT_COMPONENT);
	}
	for (size_t i = 0; i < x->m->n && i < SAMPLES; i++)
		try_parts(x, x->m->entries[i].name, HINT_PUT);
}

/* Another entry of the root as the state dict. */
static void
try_place(struct hints *x, struct ckpt *c, struct str key)
{
	char *path = xmalloc(key.len + 1);
	struct statedict sd = { 0 };
	struct err e = ERR_INIT;
	size_t n = 0;

	memcpy(path, key.p, key.len);
	path[key.len] = '\0';
	if (statedict_open(&sd, c, path, &e) == 0) {
		for (size_t i = 0; i < sd.n; i++) {
			const struct tensor *t = sd_tensor(&sd, &sd.entries[i]);

			n += t != NULL && fits(x->m, sd.entries[i].name, t);
		}
		if (n > x->most) {
			x->most = n;
			x->tensors = sd.n;
			x->place = key;
		}
	}
	statedict_release(&sd);
	free(path);
}

static void
try_places(struct hints *x)
{
	const struct statedict *sd = x->p->inputs[0].sd;
	const struct vtree *t = sd->ckpt->tree;
	const uint32_t root = sd->ckpt->root;

	if (x->p->ninputs != 1 || t == NULL || root == sd->place || value_kind(t, root) != VALUE_DICT)
		return;
	for (size_t i = 0; i < value_len(t, root) && i < PLACES_MAX; i++) {
		const uint32_t key = value_key(t, root, i);

		if (value_is_text(t, key) && value_val(t, root, i) != sd->place)
			try_place(x, sd->ckpt, value_text(t, key));
	}
}

static void
put_hint(const struct hints *x, struct buf *out)
{
	const struct str s = x->best.text;

	if (x->place.p != NULL)
		buf_addf(out, "-k '%.*s'", STR_ARG(x->place));
	else if (x->best.kind == HINT_STRIP)
		buf_addf(out, "--strip-prefix=%.*s", STR_ARG(s));
	else if (x->best.kind == HINT_PUT)
		buf_addf(out, "--rename='s/^/%.*s/'", STR_ARG(s));
	else
		buf_addf(out, "--rename='s/\\b%.*s\\.//'", (int)(s.len - 1), s.p);
	buf_addf(out, " (%zu of %zu would fit)", x->most, x->tensors);
}

bool
plan_hint(const struct plan *p, const struct model *m, struct buf *out)
{
	struct hints x = { .p = p, .m = m };
	size_t before;

	for (size_t i = 0; i < p->nentries; i++) {
		const struct plan_entry *en = &p->entries[i];
		const struct tensor *t = en->alive && !en->module ? plan_tensor(p, en) : NULL;

		x.tensors += t != NULL;
		x.most += t != NULL && fits(m, en->name, t);
	}
	before = x.most;
	try_names(&x);
	try_places(&x);
	if (x.most > before)
		put_hint(&x, out);
	buf_release(&x.name);
	return x.most > before;
}
