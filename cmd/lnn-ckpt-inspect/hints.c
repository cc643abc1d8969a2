/*
 * What is systematic about the differences that --against found.
 */
#include "against.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/text.h"
#include "base/xalloc.h"
#include "stats/compare.h"

/* Names of one kind of deviation, or (what DIFF_KINDS) of all. The caller frees. */
static struct str *
names_of(const struct against *a, enum differing what, size_t *n)
{
	struct str *v = xcalloc(a->n + 1, sizeof(*v));

	*n = 0;
	for (size_t i = 0; i < a->n; i++) {
		if (what == DIFF_KINDS || a->v[i].what == what)
			v[(*n)++] = a->v[i].name;
	}
	return v;
}

static void
put_quoted(struct buf *b, struct str s)
{
	buf_addc(b, '\'');
	text_show(b, s);
	buf_addc(b, '\'');
}

/* A prefix of names here that is not there. */
static bool
extra_prefix(const struct against *a, struct buf *b)
{
	size_t n, fits;
	struct str *names = names_of(a, DIFF_UNEXPECTED, &n), prefix = { NULL, 0 };
	bool only;

	if (n > 0)
		prefix = names_prefix(names, n, &a->model.by_name, names[0], &fits);
	only = prefix.p != NULL && fits == n && a->matched == 0 && a->counts[DIFF_MISSING] <= n;
	if (only)
		buf_adds(b, "all names differ by the prefix ");
	else if (prefix.p != NULL)
		buf_addf(b, "%zu of %zu unexpected names are the model's but for the prefix ", fits, n);
	if (prefix.p != NULL) {
		put_quoted(b, prefix);
		buf_adds(b, only ? " only: --strip-prefix=" : ": --strip-prefix=");
		text_show(b, prefix);
		buf_addc(b, '\n');
	}
	free(names);
	return prefix.p != NULL;
}

/* A prefix of names there that is not here. */
static bool
lacking_prefix(const struct against *a, struct buf *b)
{
	size_t n, fits;
	struct str *names = names_of(a, DIFF_MISSING, &n), prefix = { NULL, 0 };

	if (n > 0)
		prefix = names_prefix(names, n, &a->ours, names[0], &fits);
	if (prefix.p != NULL) {
		buf_addf(b, "%zu of %zu missing names are here without the prefix ", fits, n);
		put_quoted(b, prefix);
		buf_adds(b, ": lnn-ckpt-adapt --add-prefix=");
		text_show(b, prefix);
		buf_addc(b, '\n');
	}
	free(names);
	return prefix.p != NULL;
}

/* First components of names, if they are few: "head.", "aux.". */
enum { PLACES = 3 };

static size_t
find_places(const struct str *names, size_t n, struct str *places)
{
	size_t nplaces = 0;

	places[0] = names_common(names, n);
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
	struct str places[PLACES], *all;
	size_t n, nplaces;

	all = names_of(a, DIFF_KINDS, &n);
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
	if (extra_prefix(a, b) || lacking_prefix(a, b))
		return;
	few_places(a, b);
	one_size(a, b);
}
