/*
 * What --against found, as lines, as JSON, and in a few words.
 */
#include "against.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/num.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "stats/compare.h"

static const char *const words[DIFF_KINDS] = { "missing", "unexpected", "mismatched", "dtype", "values" };

/* ---- what is systematic about it */

/* Names of one kind of finding, or (what DIFF_KINDS) of all. The caller frees. */
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
		const struct finding *f = &a->v[i];

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

/* ---- JSON */

static void
json_shape(struct json_writer *w, const char *key, const uint64_t *shape, unsigned ndim, bool known)
{
	json_key(w, key);
	if (!known) {
		json_put_null(w);
		return;
	}
	json_begin_inline_array(w);
	for (unsigned i = 0; i < ndim; i++)
		json_put_u64(w, shape[i]);
	json_end_array(w);
}

static void
json_ours(struct json_writer *w, const struct finding *f)
{
	json_shape(w, "shape", f->ours ? f->ours->shape : NULL, f->ours ? f->ours->ndim : 0, f->ours != NULL);
}

static void
json_finding(struct json_writer *w, const struct finding *f)
{
	const struct difference *d = &f->difference;

	json_begin_inline_object(w);
	json_key(w, "name");
	json_put_str(w, f->name);
	switch (f->what) {
	case DIFF_UNEXPECTED: json_ours(w, f); break;
	case DIFF_MISSING: json_shape(w, "shape", f->theirs->shape, f->theirs->ndim, f->theirs->has_shape); break;
	case DIFF_MISMATCHED:
		json_ours(w, f);
		json_shape(w, "target_shape", f->theirs->shape, f->theirs->ndim, true);
		break;
	case DIFF_DTYPE:
		json_key(w, "dtype");
		json_put_cstr(w, dtype_name(f->ours->dtype));
		json_key(w, "target_dtype");
		json_put_cstr(w, dtype_name(f->theirs->dtype));
		break;
	default:
		json_key(w, "comparable");
		json_put_bool(w, d->comparable);
		json_key(w, "differing");
		json_put_u64(w, d->differing);
		json_key(w, "largest");
		if (!d->comparable || isnan(d->largest))
			json_put_null(w);
		else
			json_put_double(w, d->largest);
	}
	json_end_object(w);
}

static void
put_json(struct against *a, const struct buf *hints)
{
	struct json_writer *w = &a->j->in->json;
	struct str rest = buf_str(hints), line;

	inspect_begin(a->j);
	json_key(w, "target");
	json_put_cstr(w, a->target);
	json_key(w, "same");
	json_put_bool(w, a->n == 0);
	json_key(w, "matched");
	json_put_u64(w, a->matched);
	for (size_t k = 0; k < DIFF_KINDS; k++) {
		json_key(w, words[k]);
		json_begin_array(w);
		for (size_t i = 0; i < a->n; i++) {
			if (a->v[i].what == (enum differing)k)
				json_finding(w, &a->v[i]);
			inspect_drain(a->j->in);
		}
		json_end_array(w);
	}
	json_key(w, "hints");
	json_begin_array(w);
	while (str_split(&rest, '\n', &line)) {
		if (line.len > 0)
			json_put_str(w, line);
	}
	json_end_array(w);
	inspect_end(a->j);
}

/* ---- lines */

static void
put_shape(struct out *out, const uint64_t *shape, unsigned ndim)
{
	struct buf b = BUF_INIT;

	shape_put(&b, shape, ndim);
	out_write(out, b.p, b.len);
	buf_release(&b);
}

static void
put_ours(struct out *out, const struct finding *f)
{
	out_putc(out, '\t');
	if (f->ours != NULL)
		put_shape(out, f->ours->shape, f->ours->ndim);
	else
		out_putc(out, '-');
}

static void
put_theirs(struct out *out, const struct finding *f)
{
	out_putc(out, '\t');
	if (f->theirs->has_shape)
		put_shape(out, f->theirs->shape, f->theirs->ndim);
	else
		out_putc(out, '-');
}

static void
put_difference(struct out *out, const struct difference *d)
{
	char text[32];

	if (!d->comparable) {
		out_puts(out, "\tnot comparable");
		return;
	}
	if (isnan(d->largest)) {
		out_puts(out, "\tbytes differ");
		return;
	}
	num_repr(d->largest, text);
	out_printf(out, "\t%" PRIu64 "\t%s", d->differing, text);
}

static int
put_finding(struct against *a, const struct finding *f, struct err *e)
{
	struct out *out = &a->j->in->out;

	out_style(out, f->what == DIFF_DTYPE ? STYLE_WARN : STYLE_BAD);
	out_puts(out, words[f->what]);
	out_style(out, STYLE_PLAIN);
	out_putc(out, '\t');
	if (inspect_put_name(a->j, f->name, e) < 0)
		return -1;
	switch (f->what) {
	case DIFF_UNEXPECTED: put_ours(out, f); break;
	case DIFF_MISSING: put_theirs(out, f); break;
	case DIFF_MISMATCHED:
		put_ours(out, f);
		put_theirs(out, f);
		break;
	case DIFF_DTYPE: out_printf(out, "\t%s\t%s", dtype_name(f->ours->dtype), dtype_name(f->theirs->dtype)); break;
	default: put_difference(out, &f->difference);
	}
	out_putc(out, '\n');
	return 0;
}

static void
put_counts(struct against *a)
{
	struct out *out = &a->j->in->out;

	out_puts(out, "# ");
	out_style(out, a->n == 0 ? STYLE_GOOD : STYLE_BOLD);
	out_printf(out, "%zu matched, %zu missing, %zu unexpected, %zu mismatched", a->matched, a->counts[DIFF_MISSING],
		   a->counts[DIFF_UNEXPECTED], a->counts[DIFF_MISMATCHED]);
	if (a->is_ckpt)
		out_printf(out, ", %zu of another dtype", a->counts[DIFF_DTYPE]);
	if (a->j->in->o->values)
		out_printf(out, ", %zu of other values", a->counts[DIFF_VALUES]);
	out_style(out, STYLE_PLAIN);
	out_putc(out, '\n');
}

int
against_put(struct against *a, struct err *e)
{
	struct out *out = &a->j->in->out;
	struct buf hints = BUF_INIT;
	struct str rest, line;
	int rc = 0;

	against_hints(a, &hints);
	if (inspect_json(a->j->in)) {
		put_json(a, &hints);
		buf_release(&hints);
		return 0;
	}
	inspect_heading(a->j);
	for (size_t i = 0; i < a->n && rc == 0 && !out_failed(out); i++)
		rc = put_finding(a, &a->v[i], e);
	if (rc == 0 && !tool_settings.quiet) {
		put_counts(a);
		rest = buf_str(&hints);
		while (str_split(&rest, '\n', &line)) {
			if (line.len > 0) {
				out_puts(out, "# ");
				out_write(out, line.p, line.len);
				out_putc(out, '\n');
			}
		}
	}
	buf_release(&hints);
	return rc;
}
