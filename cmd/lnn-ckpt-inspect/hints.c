/*
 * What is systematic about the differences that --against found.
 */
#include "against.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/text.h"
#include "base/xalloc.h"
#include "plan/hint.h"
#include "position/kind.h"


static void
put_quoted(struct buf *b, struct str s)
{
	buf_addc(b, '\'');
	text_show(b, s);
	buf_addc(b, '\'');
}

/* The names that are compared, with their tensors, as they would be loaded. */
static bool
find(const struct against *a, struct hint *h)
{
	const struct statedict *sd = &a->j->input.sd;
	struct str *names = xcalloc(sd->n + 1, sizeof(*names));
	const struct tensor **tensors = xcalloc(sd->n + 1, sizeof(*tensors));
	struct hint_names in = { .names = names, .tensors = tensors, .sd = sd };
	bool found;

	for (size_t i = 0; i < sd->n; i++) {
		if (a->names[i].p == NULL || sd->entries[i].kind == SD_OTHER)
			continue;
		names[in.n] = a->names[i];
		tensors[in.n++] = sd_tensor(sd, &sd->entries[i]);
	}
	found = hint_find(&in, &a->model, h);
	free(names);
	free(tensors);
	return found;
}

/* An option with which more names match. */
static bool
better_option(const struct against *a, struct buf *b)
{
	struct hint h;
	bool all;

	if (a->counts[DIFF_MISSING] + a->counts[DIFF_UNEXPECTED] == 0 || !find(a, &h))
		return false;
	all = a->matched == 0 && h.named == h.tensors && a->counts[DIFF_MISSING] <= h.tensors && h.kind != HINT_PLACE;
	buf_adds(b, all ? "all names differ by the " : "more names match with ");
	if (all) {
		buf_adds(b, h.kind == HINT_COMPONENT ? "component " : "prefix ");
		put_quoted(b, h.text);
		buf_adds(b, " only: ");
	}
	if (h.kind == HINT_COMPONENT || h.kind == HINT_PUT)
		buf_adds(b, "lnn-ckpt-adapt ");
	hint_put(&h, true, b);
	buf_addc(b, '\n');
	return true;
}

/* The longest run of whole components that all names begin with, dot included. Empty if they have none in common. */
static struct str
common(const struct str *names, size_t n)
{
	size_t len = n > 0 ? names[0].len : 0;

	for (size_t i = 1; i < n; i++) {
		size_t k = 0;

		while (k < len && k < names[i].len && names[i].p[k] == names[0].p[k])
			k++;
		len = k;
	}
	while (len > 0 && names[0].p[len - 1] != '.')
		len--;
	return str_n(n > 0 ? names[0].p : "", len);
}

/* First components of names, if they are few: "head.", "aux.". */
enum { PLACES = 3 };

static size_t
find_places(const struct str *names, size_t n, struct str *places)
{
	size_t nplaces = 0;

	places[0] = common(names, n);
	if (places[0].len > 0)
		return 1;
	for (size_t i = 0, k; i < n; i++) {
		struct str rest = names[i], first;

		(void)str_split(&rest, '.', &first);
		first.len += rest.p != NULL;
		for (k = 0; k < nplaces && !str_eq(places[k], first); k++) {
		}
		if (k == PLACES)
			return 0;
		if (k == nplaces)
			places[nplaces++] = first;
	}
	return nplaces;
}

static void
few_places(const struct against *a, struct buf *b)
{
	struct str places[PLACES], *all = xcalloc(a->n + 1, sizeof(*all));
	const size_t n = a->n;
	size_t nplaces;

	for (size_t i = 0; i < n; i++)
		all[i] = a->v[i].name;
	nplaces = a->matched > 0 ? find_places(all, n, places) : 0;
	if (nplaces > 0) {
		buf_addf(b, n == 1 ? "the difference is in " : "all %zu differences are in ", n);
		for (size_t i = 0; i < nplaces; i++) {
			buf_adds(b, i == 0 ? "" : i + 1 < nplaces ? ", " : " and ");
			put_quoted(b, places[i]);
		}
		buf_addc(b, '\n');
	}
	free(all);
}

/* Position tables of another size. */
static size_t
tables(const struct against *a, struct buf *b)
{
	enum position_kind kind;
	size_t n = 0, all = 0;

	for (size_t i = 0; i < a->n; i++) {
		all += a->v[i].what == DIFF_MISMATCHED;
		n += a->v[i].what == DIFF_MISMATCHED && position_kind_of(a->v[i].name, a->v[i].ours->ndim, &kind);
	}
	if (n > 0)
		buf_addf(b, "%zu of %zu mismatches %s (lnn-ckpt-adapt -m TARGET --fit)\n", n, all,
			 n == 1 ? "is a position table of another size" : "are position tables of another size");
	return n;
}

/* All mismatches are of one size against another in the first dimension. */
static void
one_size(const struct against *a, struct buf *b)
{
	uint64_t here = 0, there = 0;
	size_t n = 0;

	for (size_t i = 0; i < a->n; i++) {
		const struct deviation *f = &a->v[i];

		if (f->what != DIFF_MISMATCHED)
			continue;
		if (f->ours->ndim == 0 || f->ours->ndim != f->theirs->ndim ||
		    !shape_eq(f->ours->shape + 1, f->ours->ndim - 1u, f->theirs->shape + 1, f->theirs->ndim - 1u))
			return;
		if (n++ > 0 && (here != f->ours->shape[0] || there != f->theirs->shape[0]))
			return;
		here = f->ours->shape[0];
		there = f->theirs->shape[0];
	}
	if (n > 0)
		buf_addf(b,
			 "all mismatches are %" PRIu64 " here, %" PRIu64
			 " there in the first dimension (another number of classes?)\n",
			 here, there);
}

void
against_hints(const struct against *a, struct buf *b)
{
	if (a->n == 0)
		return;
	if (better_option(a, b))
		return;
	few_places(a, b);
	if (tables(a, b) == 0)
		one_size(a, b);
}
