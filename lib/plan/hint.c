#include "plan/hint.h"

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "plan/loadcheck.h"

/*
 * Limits: names from which changes are derived, components used of each, entries of the root that are tried, changes that are
 * tried.
 */
enum { SAMPLES = 3, PARTS = 8, PLACES_MAX = 32, TRIED_MAX = 3 * SAMPLES * PARTS };

struct hint_search {
	const struct hint_names *in;
	const struct model *m;
	struct hint best;
	struct hint tried[TRIED_MAX];
	size_t ntried;
	bool *taken; /* by entry of the model: a name already matches it after the change that is being tried */
	struct buf name;
};

static bool
fits(const struct entry *target, const struct tensor *t)
{
	return t == NULL || !target->has_shape || load_shape_fits(t->shape, t->ndim, target->shape, target->ndim);
}

/*
 * Counts a tensor under the name after the change h. Returns false if another tensor has this name already, because the change
 * would then merge two names.
 */
static bool
count(struct hint_search *x, struct hint *h, struct str name, const struct tensor *t)
{
	const struct entry *target = model_find(x->m, name);

	h->tensors++;
	if (target == NULL)
		return true;
	if (x->taken[target - x->m->entries])
		return false;
	x->taken[target - x->m->entries] = true;
	h->named++;
	h->matching += fits(target, t);
	return true;
}

/* Appends name as changed by h. */
static void
change(struct buf *b, const struct hint *h, struct str name)
{
	size_t at = 0, end;

	if (h->kind == HINT_PUT)
		buf_addstr(b, h->text);
	if (h->kind == HINT_STRIP && str_starts(name, h->text))
		at = h->text.len;
	for (; at < name.len; at = end) {
		for (end = at + 1; end < name.len && name.p[end - 1] != '.'; end++)
			;
		if (h->kind != HINT_COMPONENT || !str_eq(str_n(name.p + at, end - at), h->text))
			buf_add(b, name.p + at, end - at);
	}
}

/*
 * Can text be used in an option without quoting? It must have no meaning to a shell nor, except for its dots, in a regular
 * expression.
 */
static bool
is_plain(struct str text)
{
	for (size_t i = 0; i < text.len; i++)
		if (strchr("._-", text.p[i]) == NULL && (text.p[i] < '0' || text.p[i] > '9') &&
		    ((text.p[i] | 0x20) < 'a' || (text.p[i] | 0x20) > 'z'))
			return false;
	return text.len == 0 || (text.p[0] != '-' && memchr(text.p, '\0', text.len) == NULL);
}

static void
try_change(struct hint_search *x, enum hint_kind kind, struct str text)
{
	struct hint *h = &x->tried[x->ntried];

	for (size_t i = 0; i < x->ntried; i++)
		if (x->tried[i].kind == kind && str_eq(x->tried[i].text, text))
			return;
	if (!is_plain(text))
		return;
	x->ntried++;
	*h = (struct hint){ .kind = kind, .text = text };
	memset(x->taken, 0, x->m->n * sizeof(*x->taken));
	for (size_t i = 0; i < x->in->n; i++) {
		buf_clear(&x->name);
		change(&x->name, h, x->in->names[i]);
		if (!count(x, h, buf_str(&x->name), x->in->tensors[i]))
			return;
	}
	if (h->matching > x->best.matching)
		x->best = *h;
}

/* Tries the prefixes of name, or its components except the first one and numbers. */
static void
try_parts(struct hint_search *x, struct str name, enum hint_kind kind)
{
	size_t start = 0, parts = 0;

	for (size_t i = 0; i < name.len && parts < PARTS; i++) {
		if (name.p[i] != '.')
			continue;
		if (kind != HINT_COMPONENT)
			try_change(x, kind, str_n(name.p, i + 1));
		else if (start > 0 && (name.p[start] < '0' || name.p[start] > '9'))
			try_change(x, kind, str_n(name.p + start, i + 1 - start));
		start = i + 1;
		parts++;
	}
}

/* Tries changes derived from the first, the middle and the last of n names that do not match. at has their indices. */
static void
try_samples(struct hint_search *x, const size_t *at, size_t n, bool ours)
{
	for (size_t k = 0; k < SAMPLES && k < n; k++) {
		const size_t i = at[n <= SAMPLES ? k : k * (n - 1) / (SAMPLES - 1)];

		if (ours) {
			try_parts(x, x->in->names[i], HINT_STRIP);
			try_parts(x, x->in->names[i], HINT_COMPONENT);
		} else {
			try_parts(x, x->m->entries[i].name, HINT_PUT);
		}
	}
}

/* Counts the names that match unchanged, and tries changes derived from those that do not. */
static void
try_changes(struct hint_search *x)
{
	size_t *ours = xcalloc(x->in->n + 1, sizeof(*ours)), *theirs = xcalloc(x->m->n + 1, sizeof(*theirs));
	bool *matched = xcalloc(x->m->n + 1, sizeof(*matched));
	size_t nours = 0, ntheirs = 0;

	for (size_t i = 0; i < x->in->n; i++) {
		const struct entry *target = model_find(x->m, x->in->names[i]);

		if (target == NULL || !fits(target, x->in->tensors[i]))
			ours[nours++] = i;
		else
			matched[target - x->m->entries] = true;
	}
	for (size_t i = 0; i < x->m->n; i++)
		if (!matched[i])
			theirs[ntheirs++] = i;
	x->best.matching = x->in->n - nours;
	if (nours > 0 && ntheirs > 0) {
		try_samples(x, ours, nours, true);
		try_samples(x, theirs, ntheirs, false);
	}
	free(ours);
	free(theirs);
	free(matched);
}

/* Tries another entry of the root as the state dict. */
static void
try_place(struct hint_search *x, struct str key)
{
	char *path = xcalloc(key.len + 1, 1);
	struct hint h = { .kind = HINT_PLACE, .text = key };
	struct statedict sd = { 0 };
	struct err err = ERR_INIT;

	memcpy(path, key.p, key.len);
	memset(x->taken, 0, x->m->n * sizeof(*x->taken));
	if (statedict_open(&sd, x->in->sd->ckpt, path, &err) == 0) {
		for (size_t i = 0; i < sd.n; i++)
			if (sd.entries[i].kind != SD_OTHER)
				(void)count(x, &h, sd.entries[i].name, sd_tensor(&sd, &sd.entries[i]));
		if (h.matching > x->best.matching)
			x->best = h;
	}
	statedict_release(&sd);
	free(path);
}

static void
try_places(struct hint_search *x)
{
	const struct statedict *sd = x->in->sd;
	const struct vtree *t = sd->ckpt->tree;
	const uint32_t root = sd->ckpt->root;

	if (t == NULL || root == sd->place || value_kind(t, root) != VALUE_DICT)
		return;
	for (size_t i = 0; i < value_len(t, root) && i < PLACES_MAX; i++) {
		const uint32_t key = value_key(t, root, i);

		if (value_is_text(t, key) && is_plain(value_text(t, key)) && value_val(t, root, i) != sd->place)
			try_place(x, value_text(t, key));
	}
}

bool
hint_find(const struct hint_names *in, const struct model *m, struct hint *h)
{
	struct hint_search x = { .in = in, .m = m };

	if (!m->has_state_dict)
		return false;
	x.taken = xcalloc(m->n + 1, sizeof(*x.taken));
	try_changes(&x);
	if (in->sd != NULL)
		try_places(&x);
	buf_release(&x.name);
	free(x.taken);
	*h = x.best;
	return h->tensors > 0;
}

void
hint_put(const struct hint *h, bool add, struct buf *b)
{
	switch (h->kind) {
	case HINT_STRIP: buf_addf(b, "--strip-prefix=%.*s", STR_ARG(h->text)); break;
	case HINT_COMPONENT: buf_addf(b, "--rename='s/\\b%.*s\\.//g'", (int)(h->text.len - 1), h->text.p); break;
	case HINT_PUT: buf_addf(b, add ? "--add-prefix=%.*s" : "--rename='s/^/%.*s/'", STR_ARG(h->text)); break;
	case HINT_PLACE: buf_addf(b, "-k '%.*s'", STR_ARG(h->text)); break;
	}
	buf_addf(b, " (%zu of %zu would match)", h->matching, h->tensors);
}
