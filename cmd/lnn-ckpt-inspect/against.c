/*
 * --against: reports what load_state_dict would report, and whether dtypes and values equal those of another checkpoint.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "common/models.h"
#include "common/progress.h"
#include "model/model.h"
#include "plan/hint.h"
#include "plan/loadcheck.h"
#include "position/kind.h"
#include "report.h"

enum differing { DIFF_MISSING, DIFF_UNEXPECTED, DIFF_MISMATCHED, DIFF_DTYPE, DIFF_VALUES, DIFF_RENAMED, DIFF_KINDS };

/*
 * How the contents of two tensors differ. For a folded line (--fold), differing is the sum and the other members are the worst of
 * all its tensors.
 */
struct contents {
	bool comparable, bytes; /* as in struct difference, which figures.h describes */
	uint64_t differing;
	double largest, relative, cosine;
};

struct deviation {
	enum differing what;
	struct str name;           /* name after --strip-prefix */
	const struct tensor *ours; /* NULL for a missing tensor, or for a value that is not a plain tensor */
	/* the target's entry; NULL for an unexpected tensor. DIFF_RENAMED: the entry with the new name */
	const struct entry *theirs;
	struct contents contents; /* for DIFF_VALUES */
	uint64_t count;           /* --fold: number of tensors that the line stands for */
};

struct against {
	struct job *j;
	const char *target; /* name of the target as the user wrote it; the first one if there are several */
	struct model model;
	struct input other;     /* open if the target is a checkpoint */
	bool is_ckpt, manifest; /* kind of the target; manifest: a list with digests */
	size_t *hashed;         /* by index of job.data.hashed: the entry of the state dict */
	struct str *names;      /* by entry of the state dict: its name without prefixes; p is NULL if it is not compared */
	struct str *pair_names; /* name by pair of job.data */
	struct strmap ours;     /* from name to index of the entry */
	struct strmap modules;  /* from module name with a dot to its handle in _metadata */
	struct arena arena;
	struct deviation *v;
	size_t n, cap, counts[DIFF_KINDS];
	size_t matched;
	size_t alike;       /* --renames: unexpected tensors that are not paired because several have their contents */
	struct rows folded; /* owns the names of folded lines */
};

/* ---- the target */

static bool
has_digests(const struct model *model)
{
	for (size_t i = 0; i < model->n; i++)
		if (model->entries[i].sha256.p != NULL)
			return true;
	return false;
}

int
job_open_target(const struct job *j, struct model *model, struct input *other, struct err *err)
{
	const struct inspect_opts *o = j->in->o;
	const struct strs *names = &o->against;
	const char *target = names->v[0];

	if (names->n > 1 || models_knows(target)) {
		if (models_load(model, names->v, names->n, err) < 0)
			return -1;
	} else if (models_open(model, other, target, true, o->target_key, err) < 0) {
		return -1;
	}
	if (!model->has_state_dict)
		return err_input(err, target, "the description lists no state dict: there is nothing to compare with");
	if (model->n == 0)
		return err_input(err, target, "it lists no tensors: there is nothing to compare with");
	if (o->target_key != NULL && other->ckpt == NULL)
		return err_set(err, ERR_USAGE, "--target-key: %s is no checkpoint", target);
	if (o->values && other->ckpt == NULL)
		return err_set(err, ERR_USAGE, "--values: a checkpoint is needed to compare with, %s is a description", target);
	if (o->renames && other->ckpt == NULL && !has_digests(model))
		return err_set(err, ERR_USAGE,
			       "--renames: %s has no digests; a checkpoint or a list that --digest printed is needed", target);
	if ((o->values || o->renames) && other->ckpt != NULL && source_is_stream(other->src))
		return err_set(err, ERR_USAGE, "%s: %s must be a file, not a stream", o->values ? "--values" : "--renames", target);
	return 0;
}

int
job_hash(const struct job *j, const struct input *other, const struct tensor *const *tensors, size_t n, struct figures *f,
	 struct err *err)
{
	struct figures_opts o = { .pool = pool_new((unsigned)j->in->o->common.jobs), .tick = progress_tick, .hashed = n };
	int rc;

	progress_start("comparing");
	rc = figures_take(f, other->ckpt, tensors, n, &o, err);
	progress_end();
	pool_free(o.pool);
	return rc;
}

/* ---- names */

static struct str
strip(const struct inspect_opts *o, struct str name)
{
	for (size_t i = 0; i < o->strip.n; i++) {
		const struct str prefix = str_c(o->strip.v[i]);

		if (str_starts(name, prefix))
			name = str_from(name, prefix.len);
	}
	return name;
}

static int
map_names(struct against *a, struct err *err)
{
	const struct statedict *sd = &a->j->input.sd;
	bool yes;

	a->names = xcalloc(sd->n + 1, sizeof(*a->names));
	for (size_t i = 0; i < sd->n; i++) {
		struct str name = strip(a->j->in->o, sd->entries[i].name);

		if (rows_chosen(a->j->in, name, &yes, err) < 0)
			return -1;
		if (!yes)
			continue;
		a->names[i] = name;
		if (!strmap_add(&a->ours, name, i))
			return err_input(err, a->j->file, "%.*s: two tensors have this name once the prefix is off", STR_ARG(name));
	}
	return 0;
}

/* Maps module names such as "bn1." to what _metadata says about the module. */
static void
map_modules(struct against *a)
{
	const struct statedict *sd = &a->j->input.sd;
	const struct vtree *t = sd->ckpt->tree;

	for (size_t i = 0; sd->metadata != VALUE_ABSENT && i < value_len(t, sd->metadata); i++) {
		uint32_t key = value_key(t, sd->metadata, i);
		struct str path = value_text(t, key);

		if (path.len > 0)
			path = arena_join(&a->arena, path, str_c("."));
		if (value_is_text(t, key))
			(void)strmap_add(&a->modules, strip(a->j->in->o, path), value_val(t, sd->metadata, i));
	}
}

static bool
forgiven(const struct against *a, struct str name)
{
	const struct str tracked = STR_LIT("num_batches_tracked");
	uint64_t module = VALUE_ABSENT;

	if (str_ends(name, tracked))
		strmap_get(&a->modules, str_n(name.p, name.len - tracked.len), &module);
	return load_forgives(name, a->j->input.ckpt->tree, (uint32_t)module);
}

/* ---- comparing */

static struct deviation *
add(struct against *a, enum differing what, struct str name)
{
	struct deviation *f = xpush(a->v, a->n, a->cap);

	*f = (struct deviation){ .what = what, .name = name, .count = 1 };
	a->counts[what]++;
	return f;
}

static int
find_missing(struct against *a, struct err *err)
{
	bool yes;

	for (size_t i = 0; i < a->model.n; i++) {
		const struct entry *target = &a->model.entries[i];

		if (strmap_get(&a->ours, target->name, NULL) || forgiven(a, target->name))
			continue;
		if (rows_chosen(a->j->in, target->name, &yes, err) < 0)
			return -1;
		if (yes)
			add(a, DIFF_MISSING, target->name)->theirs = target;
	}
	return 0;
}

static void
compare_entry(struct against *a, size_t i)
{
	const struct sd_entry *entry = &a->j->input.sd.entries[i];
	const struct tensor *t = sd_tensor(&a->j->input.sd, entry);
	const struct entry *target = model_find(&a->model, a->names[i]);
	const struct sd_entry *twin = a->is_ckpt ? statedict_find(&a->other.sd, a->names[i]) : NULL;
	struct deviation f = { .name = a->names[i], .ours = t, .theirs = target, .count = 1 };
	enum differing what;

	/* A value that is not a tensor is unexpected when loaded. It is no difference if the other checkpoint has it, too. */
	if (entry->kind == SD_OTHER && twin != NULL && twin->kind == SD_OTHER)
		return;
	if (target == NULL || entry->kind == SD_OTHER)
		what = DIFF_UNEXPECTED;
	else if (t != NULL && target->has_shape && !load_shape_fits(t->shape, t->ndim, target->shape, target->ndim))
		what = DIFF_MISMATCHED;
	else if (t != NULL && (a->is_ckpt || target->sha256.p != NULL) && target->dtype != DTYPE_UNKNOWN &&
		 t->dtype != target->dtype)
		what = DIFF_DTYPE;
	else
		what = DIFF_KINDS;
	if (what == DIFF_DTYPE || what == DIFF_KINDS)
		a->matched++;
	if (what == DIFF_KINDS)
		return;
	f.what = what;
	*add(a, what, f.name) = f;
}

/* ---- values */

/* Adds the pairs of tensors that both sides have with the same shape. */
static void
find_pairs(struct against *a)
{
	const struct statedict *sd = &a->j->input.sd, *other = &a->other.sd;
	struct data *d = &a->j->data;

	d->there = a->other.ckpt;
	ckpt_verify(d->there);
	d->pairs = xcalloc(sd->n + 1, sizeof(*d->pairs));
	a->pair_names = xcalloc(sd->n + 1, sizeof(*a->pair_names));
	for (size_t i = 0; i < sd->n; i++) {
		struct str name = a->names[i];
		const struct sd_entry *theirs = name.p != NULL ? statedict_find(other, name) : NULL;
		const struct tensor *t = sd_tensor(sd, &sd->entries[i]), *u = theirs ? sd_tensor(other, theirs) : NULL;

		if (t == NULL || u == NULL || !tensor_same_shape(t, u))
			continue;
		d->pairs[d->npairs] = (struct compare_pair){ t, u };
		a->pair_names[d->npairs++] = name;
	}
}

/*
 * For a difference with differing > 0, relative returns |a - b| / |b|, and cosine the cosine of the angle between a and b. Both
 * treat the tensors as vectors of all their elements; for composite tensors, of the elements of all parts. Both return NaN if a or
 * b is unbounded. If b = 0, relative is infinite and cosine is NaN. If a = 0, cosine is NaN.
 */
static double
relative(const struct difference *d)
{
	if (d->bytes || d->unbounded)
		return (double)NAN;
	return d->there == 0 ? (double)INFINITY : sqrt(d->distance) / sqrt(d->there);
}

static double
cosine(const struct difference *d)
{
	double cosine = d->product / (sqrt(d->here) * sqrt(d->there));

	if (d->bytes || d->unbounded || isnan(cosine))
		return (double)NAN;
	return cosine > 1 ? 1 : cosine < -1 ? -1 : cosine;
}

static int
compare_values(struct against *a, struct err *err)
{
	const struct data *d = &a->j->data;

	if (data_take(a->j, err) < 0 || ckpt_finish(a->other.ckpt, err) < 0)
		return -1;
	for (size_t i = 0; i < d->npairs; i++) {
		const struct difference *by = &d->figures.differences[i];
		struct deviation *f;

		if (by->comparable && by->differing == 0)
			continue;
		f = add(a, DIFF_VALUES, a->pair_names[i]);
		f->ours = d->pairs[i].a;
		f->contents = (struct contents){ by->comparable, by->bytes, by->differing, by->largest, relative(by), cosine(by) };
	}
	return 0;
}

/* ---- comparing contents with the digests of a list */

/* Adds the tensors for which the target has a digest. With --renames, also adds unexpected tensors. */
static void
find_hashed(struct against *a)
{
	const struct statedict *sd = &a->j->input.sd;
	struct data *d = &a->j->data;

	d->hashed = xcalloc(sd->n + 1, sizeof(const struct tensor *));
	a->hashed = xcalloc(sd->n + 1, sizeof(*a->hashed));
	for (size_t i = 0; i < sd->n; i++) {
		const struct entry *target = a->names[i].p != NULL ? model_find(&a->model, a->names[i]) : NULL;
		const struct tensor *t = sd_tensor(sd, &sd->entries[i]);

		a->manifest = a->manifest || (target != NULL && target->sha256.p != NULL);
		if (a->names[i].p == NULL || t == NULL || (target != NULL ? target->sha256.p == NULL : !a->j->in->o->renames))
			continue;
		a->hashed[d->nhashed] = i;
		d->hashed[d->nhashed++] = t;
	}
}

static int
compare_digests(struct against *a, struct err *err)
{
	const struct contents bytes = { .comparable = true, .bytes = true, .differing = 1 };
	struct buf hex = BUF_INIT;
	int rc = data_take(a->j, err);

	for (size_t i = 0; rc == 0 && i < a->j->data.nhashed; i++) {
		const struct str name = a->names[a->hashed[i]];
		const struct entry *target = model_find(&a->model, name);

		buf_clear(&hex);
		digest_put(&hex, data_digest(a->j, i));
		if (target != NULL && !str_eq(buf_str(&hex), target->sha256))
			add(a, DIFF_VALUES, name)->contents = bytes;
	}
	buf_release(&hex);
	return rc;
}

/* ---- renames: missing and unexpected tensors with the same dtype, shape and contents */

/* The tensors with one dtype, shape and contents. */
struct alike {
	size_t ours, nours;     /* unexpected tensors: the last one's entry in the state dict, and their number */
	size_t theirs, ntheirs; /* missing tensors: the last one's index in against.v, and their number */
};

struct renames {
	struct against *a;
	struct arena keys;
	struct strmap map; /* from dtype, shape and digest to index in v */
	struct alike *v;
	size_t n, cap;
	struct buf key;
};

static struct alike *
alike(struct renames *r, enum dtype dtype, const uint64_t *shape, unsigned ndim, struct str hex)
{
	uint64_t i;

	buf_clear(&r->key);
	buf_addf(&r->key, "%s ", dtype_name(dtype));
	shape_put(&r->key, shape, ndim);
	buf_addstr(&r->key, hex);
	if (strmap_get(&r->map, buf_str(&r->key), &i))
		return &r->v[i];
	strmap_add(&r->map, arena_str(&r->keys, buf_str(&r->key)), r->n);
	*xpush(r->v, r->n, r->cap) = (struct alike){ 0 };
	return &r->v[r->n - 1];
}

/* Adds the unexpected tensors, whose digests were computed when the input was read. */
static void
add_ours(struct renames *r)
{
	const struct data *d = &r->a->j->data;
	struct buf hex = BUF_INIT;

	for (size_t i = 0; i < d->nhashed; i++) {
		const struct tensor *t = d->hashed[i];
		struct alike *same;

		buf_clear(&hex);
		digest_put(&hex, data_digest(r->a->j, i));
		if (model_find(&r->a->model, r->a->names[r->a->hashed[i]]) != NULL || !data_digest(r->a->j, i)->known)
			continue;
		same = alike(r, t->dtype, t->shape, t->ndim, buf_str(&hex));
		same->ours = r->a->hashed[i];
		same->nours++;
	}
	buf_release(&hex);
}

static void
add_theirs(struct renames *r, size_t i, struct str hex)
{
	const struct entry *e = r->a->v[i].theirs;
	struct alike *same = alike(r, e->dtype, e->shape, e->ndim, hex);

	same->theirs = i;
	same->ntheirs++;
}

/* Adds the missing tensors of a list, which has their digests. */
static void
add_listed(struct renames *r)
{
	for (size_t i = 0; i < r->a->n; i++) {
		const struct deviation *f = &r->a->v[i];

		if (f->what == DIFF_MISSING && f->theirs->has_shape && f->theirs->sha256.len > 1)
			add_theirs(r, i, f->theirs->sha256);
	}
}

/* Adds the missing tensors of a checkpoint, and computes their digests. */
static int
add_stored(struct renames *r, struct err *err)
{
	struct against *a = r->a;
	const struct tensor **tensors = xcalloc(a->n + 1, sizeof(const struct tensor *));
	size_t *at = xcalloc(a->n + 1, sizeof(*at)), n = 0;
	struct figures f = { 0 };
	struct buf hex = BUF_INIT;
	int rc;

	for (size_t i = 0; i < a->n; i++) {
		const struct sd_entry *e = a->v[i].what == DIFF_MISSING ? statedict_find(&a->other.sd, a->v[i].name) : NULL;

		if (e == NULL || sd_tensor(&a->other.sd, e) == NULL)
			continue;
		at[n] = i;
		tensors[n++] = sd_tensor(&a->other.sd, e);
	}
	rc = job_hash(a->j, &a->other, tensors, n, &f, err);
	for (size_t i = 0; rc == 0 && i < n; i++) {
		buf_clear(&hex);
		digest_put(&hex, &f.digests[i]);
		if (f.digests[i].known)
			add_theirs(r, at[i], buf_str(&hex));
	}
	figures_release(&f);
	buf_release(&hex);
	free(at);
	free(tensors);
	return rc;
}

/* Replaces the two deviations of each pair by one DIFF_RENAMED. */
static void
pair(struct renames *r)
{
	struct against *a = r->a;
	bool *ours = xcalloc(a->j->input.sd.n + 1, 1), *theirs = xcalloc(a->n + 1, 1);
	const size_t before = a->n;
	size_t kept = 0;
	uint64_t entry;

	for (size_t i = 0; i < r->n; i++) {
		const struct alike *same = &r->v[i];

		if (same->nours != 1 || same->ntheirs != 1) {
			a->alike += same->ntheirs > 0 ? same->nours : 0;
			continue;
		}
		ours[same->ours] = theirs[same->theirs] = true;
		add(a, DIFF_RENAMED, a->names[same->ours])->theirs = a->v[same->theirs].theirs;
	}
	for (size_t i = 0; i < a->n; i++) {
		const struct deviation *f = &a->v[i];
		bool gone = i < before && theirs[i];

		if (i < before && f->what == DIFF_UNEXPECTED && strmap_get(&a->ours, f->name, &entry))
			gone = ours[entry];
		if (gone)
			a->counts[f->what]--;
		else
			a->v[kept++] = *f;
	}
	a->n = kept;
	free(ours);
	free(theirs);
}

static int
find_renames(struct against *a, struct err *err)
{
	struct renames r = { .a = a, .keys = ARENA_INIT, .map = STRMAP_INIT, .key = BUF_INIT };
	int rc = data_take(a->j, err);

	if (rc == 0) {
		add_ours(&r);
		if (a->is_ckpt)
			rc = add_stored(&r, err);
		else
			add_listed(&r);
	}
	if (rc == 0)
		pair(&r);
	free(r.v);
	strmap_release(&r.map);
	arena_release(&r.keys);
	buf_release(&r.key);
	return rc;
}

/* ---- patterns in the deviations */

static void
put_quoted(struct buf *b, struct str s)
{
	buf_addc(b, '\'');
	text_show(b, s);
	buf_addc(b, '\'');
}

/* Looks for an option that lets more names match. Uses the compared names and their tensors as they would be loaded. */
static bool
find_hint(const struct against *a, struct hint *h)
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

/* Appends an option that lets more names match. Returns false if there is none. */
static bool
better_option(const struct against *a, struct buf *b)
{
	struct hint h;
	bool all;

	if (a->counts[DIFF_MISSING] + a->counts[DIFF_UNEXPECTED] == 0 || !find_hint(a, &h))
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

/* Returns the longest prefix of whole components, each with its dot, that all names share. It may be empty. */
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

/* Finds the first components of the names, such as "head." and "aux.", if there are at most PLACES different ones. */
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
		for (k = 0; k < nplaces && !str_eq(places[k], first); k++) {}
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

/* Is the deviation only that a position table has another grid? */
static bool
is_table(const struct deviation *d)
{
	enum position_kind kind;

	return d->what == DIFF_MISMATCHED && d->ours->ndim == d->theirs->ndim && position_kind_of(d->name, d->ours->ndim, &kind) &&
	       position_can_resize(kind, d->ours->shape, d->theirs->shape, d->ours->ndim);
}

static size_t
tables(const struct against *a, struct buf *b)
{
	size_t n = 0, all = 0;

	for (size_t i = 0; i < a->n; i++) {
		all += a->v[i].what == DIFF_MISMATCHED;
		n += is_table(&a->v[i]);
	}
	if (n > 0)
		buf_addf(b, "%zu of %zu mismatches %s (lnn-ckpt-adapt -m TARGET --fit)\n", n, all,
			 n == 1 ? "is a position table of another size" : "are position tables of another size");
	return n;
}

/* Appends a hint if all mismatches are in the first dimension, with the same two sizes. */
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

/* __metadata__ of safetensors has a missing name as a key if the tensor of its value is the same one. */
static void
ties(const struct against *a, struct buf *b)
{
	const struct ckpt *c = a->j->input.ckpt;
	struct strmap missing = STRMAP_INIT;
	size_t n = 0;

	for (size_t i = 0; i < a->n; i++)
		if (a->v[i].what == DIFF_MISSING)
			(void)strmap_add(&missing, a->v[i].name, i);
	for (size_t i = 0; i < c->nmeta; i++)
		n += statedict_find(&a->j->input.sd, c->meta_values[i]) != NULL &&
		     strmap_get(&missing, strip(a->j->in->o, c->meta_keys[i]), NULL);
	strmap_release(&missing);
	if (n > 0)
		buf_addf(b, "%zu of %zu missing %s tied to another name by __metadata__ (load_model of safetensors sets %s)\n", n,
			 a->counts[DIFF_MISSING], n == 1 ? "is" : "are", n == 1 ? "it" : "them");
}

/* Appends the patterns in the deviations to b, one per line. */
static void
put_hints(const struct against *a, struct buf *b)
{
	if (a->n == 0)
		return;
	ties(a, b);
	if (better_option(a, b))
		return;
	few_places(a, b);
	if (tables(a, b) == 0)
		one_size(a, b);
}

/* ---- folding */

static const char *const words[DIFF_KINDS] = { "missing", "unexpected", "mismatched", "dtype", "values", "renamed" };

/* Returns a key of what deviations must share to be folded into one line. Renamed tensors are never folded. */
static struct str
common_text(struct against *a, size_t i)
{
	const struct deviation *f = &a->v[i];
	const struct entry *theirs = f->theirs;
	struct buf b = BUF_INIT;

	buf_adds(&b, words[f->what]);
	if (f->what == DIFF_RENAMED)
		buf_u64(&b, i);
	if (f->ours != NULL) {
		buf_adds(&b, dtype_name(f->ours->dtype));
		shape_put(&b, f->ours->shape, f->ours->ndim);
	}
	if (theirs != NULL) {
		buf_adds(&b, dtype_name(theirs->dtype));
		shape_put(&b, theirs->shape, theirs->has_shape ? theirs->ndim : 0);
	}
	buf_addf(&b, " %d%d", f->contents.comparable, f->contents.bytes);
	return arena_take(&a->arena, &b);
}

/* Implements rows.joined: adds deviation from to the line of deviation to. */
static void
join_deviations(void *arg, size_t to, size_t from)
{
	const struct against *a = arg;
	struct contents *x = &a->v[to].contents;
	const struct contents *y = &a->v[from].contents;

	a->v[to].count++;
	x->differing += y->differing;
	x->largest = num_larger(x->largest, y->largest);
	x->relative = num_larger(x->relative, y->relative);
	x->cosine = -num_larger(-x->cosine, -y->cosine);
}

static void
fold(struct against *a)
{
	struct deviation *v = xcalloc(a->n + 1, sizeof(*v));
	struct rows *r = &a->folded;

	*r = (struct rows){ .v = xcalloc(a->n + 1, sizeof(*r->v)), .n = a->n, .joined = join_deviations, .joined_arg = a };
	arena_init(&r->arena);
	for (size_t i = 0; i < a->n; i++)
		r->v[i] = (struct row){ .name = a->v[i].name, .entry = (uint32_t)i, .count = 1, .like = common_text(a, i) };
	rows_fold(r);
	for (size_t i = 0; i < r->n; i++) {
		v[i] = a->v[r->v[i].entry];
		v[i].name = r->v[i].name;
	}
	free(a->v);
	a->v = v;
	a->n = r->n;
}

/* ---- printing */

enum {
	WHAT,
	NAME,
	TARGET_NAME,
	SHAPE,
	TARGET_SHAPE,
	DTYPE,
	TARGET_DTYPE,
	COMPARABLE,
	DIFFERING,
	LARGEST,
	RELATIVE,
	COSINE,
	REMARK,
	COUNT,
	COUNT_JSON,
	COLUMNS,
};

enum { FOLDED = 1 };

static const struct record_column columns[COLUMNS] = {
	[WHAT] = { "difference", "", RECORD_TEXT, IN_TEXT, 0, 0, STYLE_BAD },
	[NAME] = { "name", NULL, RECORD_TEXT, IN_ALL, COLUMN_NAME, 0, STYLE_PLAIN },
	[TARGET_NAME] = { "target_name", "target's", RECORD_TEXT, IN_ALL, COLUMN_NAME, 0, STYLE_PLAIN },
	[SHAPE] = { "shape", NULL, RECORD_SHAPE, IN_ALL, 0, 0, STYLE_PLAIN },
	[TARGET_SHAPE] = { "target_shape", "target's", RECORD_SHAPE, IN_ALL, 0, 0, STYLE_PLAIN },
	[DTYPE] = { "dtype", NULL, RECORD_TEXT, IN_ALL, 0, 0, STYLE_PLAIN },
	[TARGET_DTYPE] = { "target_dtype", "target's", RECORD_TEXT, IN_ALL, 0, 0, STYLE_PLAIN },
	[COMPARABLE] = { "comparable", NULL, RECORD_BOOL, IN_JSON, 0, 0, STYLE_PLAIN },
	[DIFFERING] = { "differing", NULL, RECORD_COUNT, IN_ALL, 0, 0, STYLE_PLAIN },
	[LARGEST] = { "largest", NULL, RECORD_REAL, IN_ALL, COLUMN_SPELT, 0, STYLE_PLAIN },
	[RELATIVE] = { "relative", NULL, RECORD_REAL, IN_ALL, COLUMN_SPELT, 0, STYLE_PLAIN },
	[COSINE] = { "cosine", NULL, RECORD_REAL, IN_ALL, COLUMN_SPELT, 0, STYLE_PLAIN },
	[REMARK] = { "remark", "", RECORD_TEXT, IN_TEXT, 0, 0, STYLE_PLAIN },
	[COUNT] = { "count", "", RECORD_COUNT, IN_TEXT, COLUMN_TIMES | COLUMN_KEYED, FOLDED, STYLE_DIM },
	[COUNT_JSON] = { "count", NULL, RECORD_COUNT, IN_JSON, 0, FOLDED, STYLE_PLAIN },
};

static void
contents_cells(const struct contents *c, bool json, struct cell *cells)
{
	const bool measured = c->comparable && !c->bytes;

	if (!measured)
		cells[REMARK] = cell_word(c->comparable ? "bytes differ" : "not comparable");
	if (json)
		cells[COMPARABLE] = cell_bool(c->comparable);
	if (!json && !measured)
		return;
	cells[DIFFERING] = cell_count(c->differing);
	cells[LARGEST] = measured ? cell_real(c->largest) : cell_unknown();
	cells[RELATIVE] = measured ? cell_real(c->relative) : cell_unknown();
	cells[COSINE] = measured ? cell_real(c->cosine) : cell_unknown();
}

static int
put_deviation(struct record *r, const struct deviation *f, struct err *err)
{
	const struct entry *theirs = f->theirs;
	struct cell cells[COLUMNS] = { [WHAT] = cell_word(words[f->what]),
				       [NAME] = cell_text(f->name),
				       [COUNT] = cell_count(f->count),
				       [COUNT_JSON] = cell_count(f->count) };

	switch (f->what) {
	case DIFF_UNEXPECTED: cells[SHAPE] = f->ours ? cell_shape(f->ours->shape, f->ours->ndim) : cell_unknown(); break;
	case DIFF_MISSING:
		/* JSON has only one shape for a missing tensor: the target's. */
		cells[record_is_json(r) ? SHAPE : TARGET_SHAPE] =
			theirs->has_shape ? cell_shape(theirs->shape, theirs->ndim) : cell_unknown();
		break;
	case DIFF_MISMATCHED:
		cells[SHAPE] = cell_shape(f->ours->shape, f->ours->ndim);
		cells[TARGET_SHAPE] = cell_shape(theirs->shape, theirs->ndim);
		break;
	case DIFF_DTYPE:
		cells[WHAT].style = STYLE_WARN;
		cells[DTYPE] = cell_word(dtype_name(f->ours->dtype));
		cells[TARGET_DTYPE] = cell_word(dtype_name(theirs->dtype));
		break;
	case DIFF_RENAMED: cells[TARGET_NAME] = cell_text(theirs->name); break;
	default: contents_cells(&f->contents, record_is_json(r), cells);
	}
	return record_row(r, cells, err);
}

/* Prints the deviations of the kinds from up to to - 1. */
static int
put_rows(const struct against *a, const char *member, enum differing from, enum differing to, struct err *err)
{
	const struct record_table table = { member, columns, COLUMNS, .sparse = true };
	int rc = 0;

	record_rows(a->j->record, &table, a->j->in->o->fold ? FOLDED : 0);
	for (size_t i = 0; i < a->n && rc == 0 && !out_failed(a->j->record->out); i++)
		if (a->v[i].what >= from && a->v[i].what < to)
			rc = put_deviation(a->j->record, &a->v[i], err);
	if (rc == 0)
		record_rows_end(a->j->record);
	return rc;
}

static void
put_counts(const struct against *a)
{
	char text[512];
	int n = snprintf(text, sizeof(text), "%zu matched, %zu missing, %zu unexpected, %zu mismatched", a->matched,
			 a->counts[DIFF_MISSING], a->counts[DIFF_UNEXPECTED], a->counts[DIFF_MISMATCHED]);

	if (a->is_ckpt || a->manifest)
		n += snprintf(text + n, sizeof(text) - (size_t)n, ", %zu of another dtype", a->counts[DIFF_DTYPE]);
	if (a->j->in->o->values || a->manifest)
		n += snprintf(text + n, sizeof(text) - (size_t)n, ", %zu of other values", a->counts[DIFF_VALUES]);
	if (a->j->in->o->renames)
		n += snprintf(text + n, sizeof(text) - (size_t)n, ", %zu renamed", a->counts[DIFF_RENAMED]);
	if (a->alike > 0)
		snprintf(text + n, sizeof(text) - (size_t)n, " (%zu not paired, as several have the same contents)", a->alike);
	record_note(a->j->record, a->n == 0 ? STYLE_GOOD : STYLE_BOLD, text, NULL);
}

/* Prints JSON, which has one array for each kind of deviation. */
static int
put_json(const struct against *a, struct str hints, struct err *err)
{
	static const struct record_column column = { NULL, NULL, RECORD_TEXT, IN_JSON, 0, 0, STYLE_PLAIN };
	static const struct record_table table = { .member = "hints", .columns = &column, .n = 1 };
	const enum differing kinds = a->j->in->o->renames ? DIFF_KINDS : DIFF_RENAMED;
	struct record *r = a->j->record;
	struct str line;

	record_member(r, "target", RECORD_TEXT, cell_word(a->target));
	record_member(r, "same", RECORD_BOOL, cell_bool(a->n == 0));
	record_member(r, "matched", RECORD_COUNT, cell_count(a->matched));
	for (enum differing kind = 0; kind < kinds; kind++)
		if (put_rows(a, words[kind], kind, kind + 1, err) < 0)
			return -1;
	record_rows(r, &table, 0);
	while (str_split(&hints, '\n', &line)) {
		if (line.len > 0 && record_row(r, (struct cell[]){ cell_text(line) }, err) < 0)
			return -1;
	}
	record_rows_end(r);
	return 0;
}

static int
put_lines(const struct against *a, struct str hints, struct err *err)
{
	struct record *r = a->j->record;
	struct str line;
	struct buf text = BUF_INIT;

	if (put_rows(a, NULL, 0, DIFF_KINDS, err) < 0)
		return -1;
	if (a->j->in->o->common.quiet)
		return 0;
	put_counts(a);
	while (str_split(&hints, '\n', &line)) {
		buf_clear(&text);
		buf_addstr(&text, line);
		if (line.len > 0)
			record_note(r, STYLE_PLAIN, text.p, NULL);
	}
	buf_release(&text);
	return 0;
}

/* ---- the report */

static int
prepare(void *state, struct job *j, struct err *err)
{
	struct against *a = state;

	a->j = j;
	model_init(&a->model);
	a->target = j->in->o->against.v[0];
	if (job_open_target(j, &a->model, &a->other, err) < 0)
		return -1;
	a->is_ckpt = a->other.ckpt != NULL;
	if (map_names(a, err) < 0)
		return -1;
	map_modules(a);
	if (find_missing(a, err) < 0)
		return -1;
	for (size_t i = 0; i < j->input.sd.n; i++)
		if (a->names[i].p != NULL)
			compare_entry(a, i);
	if (j->in->o->values)
		find_pairs(a);
	find_hashed(a);
	return 0;
}

static int
run(void *state, struct job *j, struct err *err)
{
	struct against *a = state;
	struct buf hints = BUF_INIT;
	int rc;

	if (j->in->o->values && compare_values(a, err) < 0)
		return -1;
	if (j->data.nhashed > 0 && compare_digests(a, err) < 0)
		return -1;
	if (j->in->o->renames && find_renames(a, err) < 0)
		return -1;
	put_hints(a, &hints);
	if (j->in->o->fold)
		fold(a);
	job_begin_report(j);
	rc = record_is_json(j->record) ? put_json(a, buf_str(&hints), err) : put_lines(a, buf_str(&hints), err);
	buf_release(&hints);
	if (a->n > 0 || (a->matched == 0 && j->in->o->exprs.n > 0))
		job_status(j, TOOL_NO);
	return rc;
}

static void
release(void *state)
{
	struct against *a = state;

	free(a->v);
	free(a->names);
	free(a->pair_names);
	free(a->hashed);
	strmap_release(&a->ours);
	strmap_release(&a->modules);
	rows_release(&a->folded);
	arena_release(&a->arena);
	input_close(&a->other);
	model_release(&a->model);
}

const struct report report_against = {
	.option = OPTION_TEXTS("against", 0, "TARGET", "report if CKPT loads into TARGET, a model or CKPT", against),
	.needs = NEEDS_INDEX | NEEDS_DICT,
	.takes = TAKES_FORMS,
	.names_rows = true,
	.size = sizeof(struct against),
	.prepare = prepare,
	.run = run,
	.release = release,
};
