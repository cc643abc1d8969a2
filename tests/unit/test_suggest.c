/*
 * Compares suggested maps with the truth of pairs of name lists: tests/suggest/README.md. Arguments: -v prints wrong matches, -s
 * sorts the source; then the pairs to try. The default is all of tests/suggest.
 */
#include "plan/suggest.h"

#include <glob.h>

#include "base/xalloc.h"
#include "tensor/tensor.h"
#include "table.h"
#include "tap.h"

/* The truth of a tensor of the target. */
struct truth {
	struct str from; /* names with commas; "-": nothing */
	struct str op;   /* "copy", "part 0 1 3", ... */
};

struct pair {
	struct arena arena;
	struct buf text;
	struct entry *side[2];
	size_t n[2], cap[2];
	struct truth *truth; /* by target */
	size_t ntruth, cap_truth;
};

struct figures {
	size_t pairs, tensors, right;
	double sum, worst;
};

static bool verbose, sorted;

/* The order of safetensors files: larger elements and integers first, then by name. */
static int
by_name(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	return x->dtype != y->dtype ? (x->dtype == DTYPE_INT64 ? -1 : 1) : str_cmp(x->name, y->name);
}

static void
read_shape(struct pair *p, struct str s, struct entry *e)
{
	uint64_t *v = arena_calloc(&p->arena, s.len, sizeof(*v));

	e->has_shape = true;
	e->shape = v;
	for (size_t i = 1; i + 1 < s.len; i++) {
		if (s.p[i] == ',')
			continue;
		if (e->ndim == 0 || s.p[i - 1] == ',')
			e->ndim++;
		v[e->ndim - 1] = v[e->ndim - 1] * 10 + (uint64_t)(s.p[i] - '0');
	}
}

static void
read_pair(struct pair *p, const char *path)
{
	struct str rest, line, kind, name, dtype, shape;

	*p = (struct pair){ .arena = ARENA_INIT };
	table_read(path, &p->text);
	rest = buf_str(&p->text);
	while (str_split(&rest, '\n', &line)) {
		struct truth t = { { NULL, 0 }, STR_LIT("copy") };
		size_t k;

		if (line.len == 0)
			continue;
		str_split(&line, '\t', &kind);
		str_split(&line, '\t', &name);
		str_split(&line, '\t', &dtype);
		str_split(&line, '\t', &shape);
		k = kind.p[0] == 't';
		p->side[k] = xgrow(p->side[k], p->n[k], &p->cap[k], sizeof(struct entry));
		p->side[k][p->n[k]] = entry_named(name);
		p->side[k][p->n[k]].dtype = dtype.p[0] == 'i' ? DTYPE_INT64 : DTYPE_FLOAT32;
		read_shape(p, shape, &p->side[k][p->n[k]++]);
		if (k == 0)
			continue;
		str_split(&line, '\t', &t.from);
		str_split(&line, '\t', &t.op);
		p->truth = xgrow(p->truth, p->ntruth, &p->cap_truth, sizeof(*p->truth));
		p->truth[p->ntruth++] = t;
	}
}

static void
release_pair(struct pair *p)
{
	arena_release(&p->arena);
	buf_release(&p->text);
	free(p->side[0]);
	free(p->side[1]);
	free(p->truth);
}

/* ---- suggestions, in the notation of the truth */

static void
put_made(const struct suggest *s, const struct suggest_match *m, size_t part, struct buf *from, struct buf *op)
{
	static const char *const ops[] = { "copy", "reshape", "transpose", "permute" };

	for (unsigned i = 0; i < m->nfrom; i++)
		buf_addf(from, "%s%.*s", i > 0 ? "," : "", STR_ARG(s->source.v[m->from[i]].name));
	if (m->nfrom > 1)
		buf_adds(op, "join 0");
	else if (m->nto > 1)
		buf_addf(op, "part %d %zu %u", m->op == SUGGEST_TRANSPOSE, part, m->nto);
	if (m->op != SUGGEST_COPY || op->len == 0)
		buf_addf(op, "%s%s", op->len > 0 ? " " : "", ops[m->op]);
}

/* Number of right tensors of a pair. *wrong_sure: how many were graded sure and are wrong. */
static size_t
count_right(const struct pair *p, const struct suggest *s, size_t *sure, size_t *wrong_sure)
{
	static const char *const grades[] = { "guess", "likely", "sure" };
	struct {
		const struct suggest_match *m;
		size_t part;
	} *made = xcalloc(p->n[1] + 1, sizeof(*made));
	size_t right = 0;

	*sure = *wrong_sure = 0;
	for (size_t i = 0; i < s->n; i++)
		for (unsigned k = 0; k < s->v[i].nto; k++) {
			made[s->v[i].to[k]].m = &s->v[i];
			made[s->v[i].to[k]].part = k;
		}
	for (size_t i = 0; i < p->n[1]; i++) {
		struct buf from = BUF_INIT, op = BUF_INIT;
		bool good;

		if (made[i].m != NULL)
			put_made(s, made[i].m, made[i].part, &from, &op);
		good = made[i].m == NULL ? str_eqc(p->truth[i].from, "-")
					 : str_eq(buf_str(&from), p->truth[i].from) && str_eq(buf_str(&op), p->truth[i].op);
		right += good;
		*sure += made[i].m != NULL && made[i].m->grade == SUGGEST_SURE;
		*wrong_sure += !good && made[i].m != NULL && made[i].m->grade == SUGGEST_SURE;
		if (verbose && !good)
			printf("#   %.*s: %s %s (%s: %s), not %.*s %.*s\n", STR_ARG(p->side[1][i].name),
			       from.len > 0 ? from.p : "-", op.len > 0 ? op.p : "", made[i].m ? grades[made[i].m->grade] : "",
			       made[i].m ? made[i].m->why : "", STR_ARG(p->truth[i].from), STR_ARG(p->truth[i].op));
		buf_release(&from);
		buf_release(&op);
	}
	free(made);
	return right;
}

/* ---- two simple matchers, for comparison */

/* Number of whole components that two names have in common at their ends. */
static size_t
suffix(struct str a, struct str b)
{
	size_t n = 0, whole = 0;

	while (n < a.len && n < b.len && a.p[a.len - 1 - n] == b.p[b.len - 1 - n]) {
		n++;
		if (n == a.len || n == b.len || (a.p[a.len - 1 - n] == '.' && b.p[b.len - 1 - n] == '.'))
			whole++;
	}
	return whole;
}

static size_t
naive_right(const struct pair *p, bool by_suffix)
{
	bool *taken = xcalloc(p->n[0] + 1, 1);
	size_t right = 0;

	for (size_t i = 0; i < p->n[1]; i++) {
		const struct entry *t = &p->side[1][i];
		size_t best = SIZE_MAX, most = 0;

		for (size_t k = 0; k < p->n[0]; k++) {
			const struct entry *s = &p->side[0][k];
			const size_t n = 1 + (by_suffix ? suffix(s->name, t->name) : 0);

			if (!taken[k] && shape_eq(s->shape, s->ndim, t->shape, t->ndim) && n > most) {
				best = k;
				most = n;
			}
		}
		if (best == SIZE_MAX) {
			right += str_eqc(p->truth[i].from, "-");
			continue;
		}
		taken[best] = true;
		right += str_eq(p->side[0][best].name, p->truth[i].from) && str_eqc(p->truth[i].op, "copy");
	}
	free(taken);
	return right;
}

/* ---- all pairs */

static void
count_in(struct figures *f, size_t right, size_t n)
{
	const double share = (double)right / (double)n;

	f->worst = f->pairs == 0 || share < f->worst ? share : f->worst;
	f->pairs++;
	f->tensors += n;
	f->right += right;
	f->sum += share;
}

static double
percent(double part, double whole)
{
	return whole > 0 ? 100 * part / whole : 100;
}

/* Tries a pair. The name of its file decides in which figures it counts. */
static void
try_pair(const char *path, struct figures *f)
{
	const char *name = strrchr(path, '/') == NULL ? path : strrchr(path, '/') + 1;
	const bool late = strncmp(name, "late_", 5) == 0;
	size_t right, sure, wrong, naive[2];
	struct suggest s;
	struct pair p;

	read_pair(&p, path);
	if (sorted)
		qsort(p.side[0], p.n[0], sizeof(struct entry), by_name);
	suggest_make(&s, &(struct suggest_side){ p.side[0], p.n[0] }, &(struct suggest_side){ p.side[1], p.n[1] });
	right = count_right(&p, &s, &sure, &wrong);
	if (verbose) {
		struct buf map = BUF_INIT, rest = BUF_INIT;

		suggest_put(&s, &map, &rest);
		printf("%s", map.p);
		buf_release(&map);
		buf_release(&rest);
	}
	naive[0] = naive_right(&p, true);
	naive[1] = naive_right(&p, false);
	count_in(&f[late], right, p.n[1]);
	if (10 * naive[0] < 9 * p.n[1] && 10 * naive[1] < 9 * p.n[1])
		count_in(&f[2 + late], right, p.n[1]);
	ok_msg(wrong == 0,
	       "%.*s: no sure match is wrong: %zu of %zu right (%.0f %%; suffix %.0f %%, order %.0f %%), %zu sure, %zu of them wrong",
	       (int)strcspn(name, "."), name, right, p.n[1], percent((double)right, (double)p.n[1]),
	       percent((double)naive[0], (double)p.n[1]), percent((double)naive[1], (double)p.n[1]), sure, wrong);
	suggest_release(&s);
	release_pair(&p);
}

/* Tries pairs in one order of the source, and checks the figures of all. */
static void
try_pairs(char **paths, size_t n)
{
	static const char *const names[] = { "pairs", "late pairs", "hard pairs", "late and hard pairs" };
	struct figures f[4] = { 0 };

	for (size_t i = 0; i < n; i++)
		try_pair(paths[i], f);
	for (int i = 0; i < 4; i++) {
		const bool good = i < 2 ? 100 * f[i].right >= 95 * f[i].tensors
					: f[i].pairs == 0 || (f[i].sum >= 0.9 * (double)f[i].pairs && f[i].worst >= 0.8);

		ok_msg(good, "%zu %s%s: %.1f %% of %zu tensors, mean %.1f %%, worst %.1f %%", f[i].pairs, names[i],
		       sorted ? " sorted by name" : "", percent((double)f[i].right, (double)f[i].tensors), f[i].tensors,
		       percent(f[i].sum, (double)f[i].pairs), 100 * f[i].worst);
	}
}

int
main(int argc, char **argv)
{
	glob_t found = { 0 };

	for (; argc > 1 && argv[1][0] == '-'; argc--, argv++) {
		verbose = verbose || argv[1][1] == 'v';
		sorted = sorted || argv[1][1] == 's';
	}
	if (argc > 1) {
		try_pairs(argv + 1, (size_t)argc - 1);
		return tap_done();
	}
	if (glob("tests/suggest/*.tsv", 0, NULL, &found) != 0)
		tap_bail("tests/suggest has no pairs");
	try_pairs(found.gl_pathv, found.gl_pathc);
	sorted = true;
	try_pairs(found.gl_pathv, found.gl_pathc);
	globfree(&found);
	return tap_done();
}
