/*
 * Suggested maps, held against pairs of name lists whose truth is known: tests/suggest/README.md. Arguments: -v says what is
 * wrong; pairs to try, else all of tests/suggest.
 */
#include "plan/suggest.h"

#include <glob.h>

#include "base/xalloc.h"
#include "tensor/tensor.h"
#include "tap.h"

/* A tensor of the target, as the truth has it. */
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

static int
by_name(const void *a, const void *b)
{
	return str_cmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static void
read_file(const char *path, struct buf *text)
{
	FILE *f = fopen(path, "r");
	size_t n;

	if (f == NULL)
		tap_bail(path);
	while ((n = fread(buf_room(text, 4096), 1, 4096, f)) > 0)
		text->len += n;
	fclose(f);
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
	read_file(path, &p->text);
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

/* ---- what was suggested, in the words of the truth */

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

/* Rights of a pair; *wrong_sure: how many were called sure and are not right. */
static size_t
count_right(const struct pair *p, const struct suggest *s, size_t *sure, size_t *wrong_sure)
{
	static const char *const grades[] = { "guess", "likely", "sure" };
	struct { const struct suggest_match *m; size_t part; } *made = xcalloc(p->n[1] + 1, sizeof(*made));
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
			       from.len > 0 ? from.p : "-", op.len > 0 ? op.p : "",
			       made[i].m ? grades[made[i].m->grade] : "", made[i].m ? made[i].m->why : "",
			       STR_ARG(p->truth[i].from), STR_ARG(p->truth[i].op));
		buf_release(&from);
		buf_release(&op);
	}
	free(made);
	return right;
}

/* ---- two matchers that know nothing, for comparison */

/* How many bytes of whole components two names have in common at their ends. */
static size_t
suffix(struct str a, struct str b)
{
	size_t n = 0, whole = 0;

	while (n < a.len && n < b.len && a.p[a.len - 1 - n] == b.p[b.len - 1 - n]) {
		n++;
		if (n == a.len || n == b.len ||
		    (a.p[a.len - 1 - n] == '.' && b.p[b.len - 1 - n] == '.'))
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

static void
try_pair(const char *path, struct figures *all, struct figures *hard)
{
	struct pair p;
	struct suggest s;
	size_t right, sure, wrong, naive[2];
	const char *name = strrchr(path, '/') == NULL ? path : strrchr(path, '/') + 1;

	read_pair(&p, path);
	if (sorted)
		qsort(p.side[0], p.n[0], sizeof(struct entry), by_name);
	suggest_make(&s, &(struct suggest_side){ p.side[0], p.n[0] }, &(struct suggest_side){ p.side[1], p.n[1] });
	right = count_right(&p, &s, &sure, &wrong);
	if (verbose) {
		struct buf map = BUF_INIT;

		suggest_put(&s, &map);
		printf("%s", map.p);
		buf_release(&map);
	}
	naive[0] = naive_right(&p, true);
	naive[1] = naive_right(&p, false);
	count_in(all, right, p.n[1]);
	if (10 * naive[0] < 9 * p.n[1] && 10 * naive[1] < 9 * p.n[1])
		count_in(hard, right, p.n[1]);
	ok_msg(wrong == 0, "%.*s: %zu of %zu right (%.0f %%; suffix %.0f %%, order %.0f %%), %zu sure, %zu of them wrong",
	   (int)strcspn(name, "."), name, right, p.n[1], percent((double)right, (double)p.n[1]),
	   percent((double)naive[0], (double)p.n[1]), percent((double)naive[1], (double)p.n[1]), sure, wrong);
	suggest_release(&s);
	release_pair(&p);
}

int
main(int argc, char **argv)
{
	struct figures all = { 0 }, hard = { 0 };
	glob_t found = { 0 };

	for (; argc > 1 && argv[1][0] == '-'; argc--, argv++) {
		verbose = verbose || argv[1][1] == 'v';
		sorted = sorted || argv[1][1] == 's';
	}
	if (argc == 1 && glob("tests/suggest/*.tsv", 0, NULL, &found) != 0)
		tap_bail("tests/suggest");
	for (int i = 1; i < argc; i++)
		try_pair(argv[i], &all, &hard);
	for (size_t i = 0; i < found.gl_pathc; i++)
		try_pair(found.gl_pathv[i], &all, &hard);
	globfree(&found);
	ok_msg(100 * all.right >= 95 * all.tensors, "all %zu pairs: %.1f %% of %zu tensors, worst %.1f %%", all.pairs,
	   percent((double)all.right, (double)all.tensors), all.tensors, 100 * all.worst);
	ok_msg(hard.pairs == 0 || (hard.sum >= 0.9 * (double)hard.pairs && hard.worst >= 0.8),
	   "%zu hard pairs: mean %.1f %%, worst %.1f %%", hard.pairs, percent(hard.sum, (double)hard.pairs), 100 * hard.worst);
	return tap_done();
}
