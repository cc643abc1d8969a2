/*
 * Surveys. The first two bytes of the input are the length of the first checkpoint. The rest is the second, or the first is used
 * twice if there is no rest. Every element counts once, with one thread, with three, and from a pipe. CRCs match the bytes. A
 * checkpoint equals itself, and a comparison is symmetric.
 */
#include "fuzz.h"

#include "stats/figures.h"

enum { ELEMENTS_MAX = 1 << 18 };

struct side {
	struct source *src;
	struct ckpt *c;
	struct statedict sd;
	unsigned warnings;
	struct diag diag;
};

static bool
open_side(struct side *s, struct source *src)
{
	struct format_opts opts = { .diag = &s->diag };
	struct err err = ERR_INIT;
	uint64_t n = 0;

	*s = (struct side){ .src = src, .diag = { fuzz_say, &s->warnings } };
	if (format_open(&s->c, src, &opts, &err) < 0 || statedict_open(&s->sd, s->c, NULL, &err) < 0 ||
	    fuzz_contents(s->c) > FUZZ_CONTENTS)
		return false;
	for (size_t i = 0; i < s->sd.n && n <= ELEMENTS_MAX; i++) {
		const struct tensor *t = sd_tensor(&s->sd, &s->sd.entries[i]);
		uint64_t k = t != NULL ? tensor_count(t) : 0;

		n += k < ELEMENTS_MAX ? k : (uint64_t)ELEMENTS_MAX + 1;
	}
	return n <= ELEMENTS_MAX;
}

static void
close_side(struct side *s)
{
	if (s->sd.ckpt != NULL)
		statedict_release(&s->sd);
	ckpt_close(s->c);
	source_close(s->src);
}

/* The figures of all tensors. *n is their number. */
static int
take(struct side *s, struct pool *pool, struct figures *f, size_t *n, struct err *err)
{
	struct figures_opts o = { .pool = pool, .crcs = true };
	const struct tensor **list = xcalloc(s->sd.n + 1, sizeof(*list));
	int rc;

	*n = 0;
	for (size_t i = 0; i < s->sd.n; i++) {
		list[*n] = sd_tensor(&s->sd, &s->sd.entries[i]);
		*n += list[*n] != NULL;
	}
	o.measured = o.hashed = *n;
	rc = figures_take(f, s->c, list, *n, &o, err);
	if (rc == 0)
		rc = ckpt_finish(s->c, err);
	fuzz_judge(rc, err);
	free(list);
	return rc;
}

static void
plausible(struct side *s, const struct figures *f)
{
	struct err err = ERR_INIT;
	size_t k = 0;

	for (size_t i = 0; i < s->sd.n; i++) {
		const struct tensor *t = sd_tensor(&s->sd, &s->sd.entries[i]);
		const struct moments *m = &f->moments[k];

		if (t == NULL)
			continue;
		k++;
		if (t->storage == STORAGE_NONE || !moments_known(t->dtype)) {
			promise(moments_count(m) == 0, "a tensor without values has no figures");
			continue;
		}
		promise(moments_count(m) == tensor_count(t), "every element counts once");
		promise(m->finite == 0 || (m->min <= m->max && m->zeros <= m->finite), "a range");
		promise(m->finite == 0 || m->zeros == 0 || (m->min <= 0 && m->max >= 0), "zeros are between min and max");
		promise(m->m2 >= 0 || m->m2 != m->m2, "a square is not negative");
	}
	for (uint32_t i = 0; i < s->c->nstorages; i++) {
		size_t n = (size_t)s->c->storages[i].nbytes;
		uint8_t *p = xmalloc(n);

		if (ckpt_read(s->c, i, 0, p, n, &err) == 0)
			promise(!f->has_crc[i] || crc32_add(0, p, n) == f->crc[i], "the CRC matches the bytes");
		err_clear(&err);
		free(p);
	}
}

static bool
same(const struct figures *a, size_t na, const struct figures *b, size_t nb)
{
	return na == nb && memcmp(a->moments, b->moments, na * sizeof(*a->moments)) == 0;
}

static void
figures(const uint8_t *data, size_t size)
{
	struct side s, pipe;
	struct figures one = { .moments = NULL }, three = { .moments = NULL }, stream = { .moments = NULL };
	struct err err = ERR_INIT;
	size_t n = 0, m = 0;

	if (open_side(&s, source_memory(data, size, "file")) && take(&s, NULL, &one, &n, &err) == 0) {
		struct pool *pool = pool_new(3);

		plausible(&s, &one);
		promise(take(&s, pool, &three, &m, &err) == 0 && same(&one, n, &three, m), "three threads give the same figures");
		pool_free(pool);
		if (open_side(&pipe, fuzz_pipe(data, size)) && take(&pipe, NULL, &stream, &m, &err) == 0)
			promise(s.warnings > 0 || pipe.warnings > 0 || same(&one, n, &stream, m), "a pipe gives the same figures");
		figures_release(&stream);
		close_side(&pipe);
		figures_release(&three);
	}
	figures_release(&one);
	close_side(&s);
}

/* The pairs of tensors with one name and shape. *k is their number. */
static struct compare_pair *
pairs_of(const struct side *a, const struct side *b, size_t *k)
{
	struct compare_pair *pairs = xcalloc(a->sd.n + 1, sizeof(*pairs));

	*k = 0;
	for (size_t i = 0; i < a->sd.n; i++) {
		const struct sd_entry *theirs = statedict_find(&b->sd, a->sd.entries[i].name);
		const struct tensor *t = sd_tensor(&a->sd, &a->sd.entries[i]), *u = theirs ? sd_tensor(&b->sd, theirs) : NULL;

		if (t != NULL && u != NULL && tensor_same_shape(t, u))
			pairs[(*k)++] = (struct compare_pair){ t, u };
	}
	return pairs;
}

static void
comparison(const uint8_t *one, size_t n, const uint8_t *two, size_t m, bool itself)
{
	struct compare_opts o = { .nan_equal = true };
	struct side a, b = { .src = NULL };
	struct err err = ERR_INIT;
	size_t k;

	if (open_side(&a, source_memory(one, n, "here")) && open_side(&b, source_memory(two, m, "there"))) {
		struct compare_pair *pairs = pairs_of(&a, &b, &k);
		struct figures_opts fo = { .compare = &o, .pairs = pairs, .npairs = k };
		struct figures there = { .moments = NULL }, back = { .moments = NULL };
		const struct difference *d, *other;
		int rc;

		o.here = a.c;
		o.there = b.c;
		rc = figures_take(&there, a.c, NULL, 0, &fo, &err);
		d = there.differences;
		fuzz_judge(rc, &err);
		for (size_t i = 0; i < k; i++)
			pairs[i] = (struct compare_pair){ pairs[i].b, pairs[i].a };
		o.here = b.c;
		o.there = a.c;
		if (rc == 0)
			promise(figures_take(&back, b.c, NULL, 0, &fo, &err) == 0,
				"the checkpoints can be compared in the other direction");
		other = back.differences;
		for (size_t i = 0; rc == 0 && i < k; i++) {
			promise(d[i].comparable == other[i].comparable && d[i].differing == other[i].differing,
				"a comparison in the other direction has the same result");
			promise(!itself || d[i].differing == 0, "a checkpoint does not differ from itself");
			promise(d[i].differing <= tensor_count(pairs[i].a), "at most all elements differ");
		}
		free(pairs);
		figures_release(&there);
		figures_release(&back);
	}
	close_side(&a);
	if (b.src != NULL)
		close_side(&b);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t first;

	if (size < 3)
		return 0;
	first = data[0] | (size_t)data[1] << 8;
	data += 2;
	size -= 2;
	first = first < size ? first : size;
	if (first <= FUZZ_PIPE)
		figures(data, first);
	if (first < size)
		comparison(data, first, data + first, size - first, false);
	else
		comparison(data, size, data, size, true);
	return 0;
}
