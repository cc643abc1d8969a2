/*
 * Plans. The first bytes of the input choose edits. The rest is a checkpoint of any container. The plan is sealed and pumped into
 * memory. The output is opened and compared with elements that are gathered here one by one. A pipe gives the same bytes unless
 * there was a warning, as a file that contradicts itself may look different when it is read forward.
 */
#include "fuzz.h"

#include "plan/cast.h"
#include "plan/drop.h"
#include "plan/names.h"
#include "plan/prefix.h"
#include "plan/rename.h"
#include "plan/unused.h"
#include "write/pump.h"
#include "plan/tables.h"
#include "tensor/convert.h"

enum { SCRIPT = 8, ELEMENTS_MAX = 1 << 20, NAMES_MAX = 1024 };

/* The expectation for one tensor of the output. */
struct expected {
	struct str name;
	const struct tensor *t; /* in the second checkpoint, which is not pumped */
	enum dtype to;
	bool table;
	uint64_t shape[TENSOR_NDIM_MAX];
	unsigned ndim;
};

struct side {
	struct source *src;
	struct ckpt *c;
	struct statedict sd;
	uint8_t **contents; /* by storage */
	unsigned warnings;
	struct diag diag;
};

/* ---- elements, gathered one by one */

static void
turn(uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n / 2; i++) {
		uint8_t b = p[i];

		p[i] = p[n - 1 - i];
		p[n - 1 - i] = b;
	}
}

/* One element as stored, little-endian, with conj and neg resolved. */
static void
element(const struct side *s, const struct tensor *t, uint64_t at, uint8_t *out)
{
	enum dtype d = (enum dtype)t->dtype;
	size_t size = dtype_size(d), half = size / 2;
	bool complex = dtype_info(d)->class == DTYPE_CLASS_COMPLEX;

	memcpy(out, s->contents[t->storage] + at * size, size);
	if (s->c->storages[t->storage].flags & STORAGE_BIG_ENDIAN) {
		turn(out, complex ? half : size);
		if (complex)
			turn(out + half, half);
	}
	if ((t->flags & TENSOR_NEG) != 0) {
		out[size - 1] ^= 0x80;
		if (complex)
			out[half - 1] ^= 0x80;
	}
	if ((t->flags & TENSOR_CONJ) != 0 && complex)
		out[size - 1] ^= 0x80;
}

static void
gather(const struct side *s, const struct tensor *t, enum dtype to, struct buf *out)
{
	uint64_t index[TENSOR_NDIM_MAX] = { 0 }, n = tensor_count(t), at;
	uint8_t one[16], cast[16];
	unsigned d;

	buf_clear(out);
	for (uint64_t i = 0; i < n; i++) {
		at = t->offset;
		for (d = 0; d < t->ndim; d++)
			at += index[d] * t->stride[d];
		element(s, t, at, one);
		if (to != (enum dtype)t->dtype)
			convert_cast((enum dtype)t->dtype, one, to, 1, cast);
		buf_add(out, to != (enum dtype)t->dtype ? cast : one, dtype_size(to));
		for (d = t->ndim; d-- > 0 && ++index[d] == t->shape[d];)
			index[d] = 0;
	}
}

/* ---- opening */

static bool
open_side(struct side *s, struct source *src, const char *key)
{
	struct err err = ERR_INIT;

	struct format_opts opts = { .diag = &s->diag };

	*s = (struct side){ .src = src, .diag = { fuzz_say, &s->warnings } };
	return format_open(&s->c, src, &opts, &err) == 0 && statedict_open(&s->sd, s->c, key, &err) == 0 &&
	       fuzz_contents(s->c) <= FUZZ_CONTENTS;
}

static bool
read_side(struct side *s)
{
	struct err err = ERR_INIT;
	int rc = 0;

	s->contents = xcalloc(s->c->nstorages, sizeof(*s->contents));
	for (uint32_t i = 0; rc == 0 && i < s->c->nstorages; i++) {
		s->contents[i] = xmalloc((size_t)s->c->storages[i].nbytes);
		rc = ckpt_read(s->c, i, 0, s->contents[i], (size_t)s->c->storages[i].nbytes, &err);
	}
	return rc == 0 && ckpt_finish(s->c, &err) == 0;
}

static void
close_side(struct side *s)
{
	for (uint32_t i = 0; s->contents != NULL && i < s->c->nstorages; i++)
		free(s->contents[i]);
	free(s->contents);
	if (s->sd.ckpt != NULL)
		statedict_release(&s->sd);
	ckpt_close(s->c);
	source_close(s->src);
}

/* ---- edits */

/* The object is edited in place, as by lnn-interp-bias. Names stay. */
static int
edit(struct plan *p, const uint8_t *script, const struct statedict *sd, bool in_place, struct err *err)
{
	static const char *const renames[] = { "s/^/m./", "s/\\d/#/", "s/\\.(weight|bias)$/\\/\\1/", "s/a/b/g", "s/$/x/" };
	static const char *const patterns[] = { "head", "re:.*a", "^module", "weight", "0.", "b" };
	static const enum dtype casts[] = { DTYPE_FLOAT64, DTYPE_FLOAT32, DTYPE_FLOAT16, DTYPE_BFLOAT16 };
	struct drop_pattern drop = { str_c(patterns[script[1] / 3 % 6]), "--drop-params", (enum drop_syntax)(script[1] % 3), false,
				     false };
	struct tables_tally tally;
	struct tables_opts tables = { .image = { 32U * (script[4] % 24U), 32U * (script[4] % 24U) },
				      .kinds = POSITION_ALL,
				      .index = (enum index_policy)(script[4] / 24 % 3) };
	struct str *names = xcalloc(sd->n, sizeof(*names));
	struct name_list list = { .names = names, .option = "--names", .keep = script[3] & 1 };
	int rc = 0;

	if (in_place) {
		free(names);
		return tables.image.h > 0 ? plan_tables(p, &tables, &tally, err) : 0;
	}
	if (script[0] & 1)
		plan_unwrap(p, NULL);
	if (script[1] < 128)
		rc = plan_drop_patterns(p, &drop, 1, err);
	for (size_t i = 0; script[3] >= 2 && i < sd->n && i < NAMES_MAX; i++)
		if (sd->entries[i].kind == SD_TENSOR && (i * script[3]) % 5 == 0)
			names[list.n++] = sd->entries[i].name;
	if (rc == 0 && list.n > 0)
		rc = plan_name_list(p, &list, err);
	if (rc == 0 && script[2] < 5)
		rc = plan_rename_regex(p, renames[script[2]], err);
	if (rc == 0 && tables.image.h > 0)
		rc = plan_tables(p, &tables, &tally, err);
	if (rc == 0 && script[5] < 4)
		rc = plan_cast(p, &(struct cast_rule){ .by = "--dtype", .to = casts[script[5]] }, 1, err);
	if (rc == 0 && script[0] & 2)
		plan_add_prefix(p, str_c("module."), "--ddp");
	free(names);
	return rc;
}

static struct seal_opts
seal_of(const uint8_t *script, const struct ckpt *c, struct arena *a)
{
	bool torch = c->tree != NULL ? (script[6] & 1) == 0 : (script[6] & 1) != 0;

	return (struct seal_opts){ .writer = format_writer(torch ? "torch" : "safetensors"),
				   .shape = torch ? (enum seal_shape)(script[6] / 2 % 3) : SEAL_BARE,
				   .under = str_c("model"),
				   .carry_all = script[6] & 8,
				   .drop_rest = script[6] & 16,
				   .views = script[6] & 32 ? make_new(a, &make_kind_compact) : NULL,
				   .views_by = "--compact" };
}

/* Writes everything to out. expected (may be NULL) gets the expected tensors, whose names belong to p. */
static int
run(struct plan *p, struct side *s, const uint8_t *script, struct buf *out, struct expected **expected, size_t *n, struct err *err)
{
	struct seal_opts o = seal_of(script, s->c, &p->arena);
	struct pump_opts po = { .pool = NULL };
	struct sealed sealed;
	struct sink *sink = sink_memory(out, "out");
	uint64_t lost;
	int rc;

	plan_add_input(p, &s->sd, NULL);
	rc = edit(p, script, &s->sd, o.shape == SEAL_IN_PLACE, err);
	if (rc == 0) {
		struct seal *seal = seal_new(p, &o);

		rc = seal_file(seal, 0, &sealed, err);
		seal_free(seal);
		if (rc == 0 && sealed.bytes > 4 * FUZZ_CONTENTS)
			rc = err_set(err, ERR_INPUT, "too much");
		if (rc == 0)
			rc = plan_pump(&sealed, sink, &po, &lost, err);
		sealed_release(&sealed);
	}
	fuzz_judge(rc, err);
	if (rc < 0)
		sink_abort(sink);
	else
		promise(sink_commit(sink, err) == 0, "a sink in memory accepts all bytes");
	*n = 0;
	*expected = xcalloc(p->nentries, sizeof(**expected));
	for (size_t i = 0; rc == 0 && i < p->nentries; i++) {
		const struct plan_entry *en = &p->entries[i];
		struct expected *x = &(*expected)[*n];
		const struct sd_entry *from = en->module ? NULL : plan_source(p, en);

		if (!en->alive || from == NULL || from->kind != SD_TENSOR)
			continue;
		plan_shape(p, en, &x->to, x->shape, &x->ndim);
		x->name = en->name;
		x->t = &s->c->tensors[from->tensor];
		x->table = (make_traits(plan_makers(en)) & MAKE_ANY_NEW) != 0;
		++*n;
	}
	return rc;
}

static void
compare(const struct side *in, struct source *src, const char *key, const struct expected *x, size_t n)
{
	struct side out;
	struct buf bytes = BUF_INIT, have = BUF_INIT;
	size_t tensors = 0;

	promise(open_side(&out, src, key) && read_side(&out), "the output opens");
	for (size_t i = 0; i < out.sd.n; i++)
		tensors += out.sd.entries[i].kind == SD_TENSOR;
	promise(tensors == n, "the output has the expected number of tensors");
	for (size_t i = 0; i < n; i++) {
		const struct tensor *t = sd_tensor(&out.sd, statedict_find(&out.sd, x[i].name)), *was;

		promise(t != NULL, "the output has every expected name");
		promise(t->dtype == x[i].to && shape_eq(t->shape, t->ndim, x[i].shape, x[i].ndim),
			"dtype and shape are as expected");
		was = &in->c->tensors[x[i].t - in->c->tensors];
		promise((t->storage == STORAGE_NONE) == (was->storage == STORAGE_NONE),
			"a tensor has data if and only if its source has");
		if (x[i].table || t->storage == STORAGE_NONE || dtype_size(x[i].to) == 0)
			continue;
		gather(in, was, x[i].to, &bytes);
		gather(&out, t, x[i].to, &have);
		promise(bytes.len == have.len && (bytes.len == 0 || memcmp(bytes.p, have.p, bytes.len) == 0),
			"every element is as expected");
	}
	buf_release(&bytes);
	buf_release(&have);
	close_side(&out);
}

static bool
small(const struct ckpt *c)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < c->ntensors && n <= ELEMENTS_MAX; i++)
		n += tensor_count(&c->tensors[i]) < ELEMENTS_MAX ? tensor_count(&c->tensors[i]) : (uint64_t)ELEMENTS_MAX + 1;
	return n <= ELEMENTS_MAX;
}

static void
from_pipe(const uint8_t *script, const uint8_t *data, size_t size, int rc_file, const struct buf *file, bool warned)
{
	struct side s = { .src = NULL };
	struct plan p;
	struct buf out = BUF_INIT;
	struct expected *x = NULL;
	struct err err = ERR_INIT;
	size_t n;

	plan_init(&p, &s.diag);
	if (open_side(&s, fuzz_pipe(data, size), NULL) && small(s.c) && run(&p, &s, script, &out, &x, &n, &err) == 0)
		promise(warned || s.warnings > 0 || (rc_file == 0 && out.len == file->len && memcmp(out.p, file->p, out.len) == 0),
			"a pipe gives the same bytes");
	free(x);
	plan_release(&p);
	buf_release(&out);
	close_side(&s);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *script = data;
	struct side s = { .src = NULL }, plain = { .src = NULL };
	struct plan p;
	struct buf out = BUF_INIT;
	struct expected *x = NULL;
	struct err err = ERR_INIT;
	size_t n;
	int rc = -1;

	if (size <= SCRIPT || data[SCRIPT] == '\0' || size > FUZZ_PIPE)
		return 0;
	data += SCRIPT;
	size -= SCRIPT;
	plan_init(&p, &s.diag);
	if (open_side(&s, source_memory(data, size, "in"), NULL) && small(s.c)) {
		rc = run(&p, &s, script, &out, &x, &n, &err);
		/* The result of an unknown function on storages is not a tensor. There may be no other tensor. */
		if (rc == 0 && n > 0) {
			struct seal_opts o = seal_of(script, s.c, &p.arena);
			struct buf key = BUF_INIT;

			buf_addstr(&key, o.shape == SEAL_UNDER ? o.under : o.shape == SEAL_BARE ? str_c("") : s.sd.key);
			buf_addc(&key, '\0');
			promise(open_side(&plain, source_memory(data, size, "in"), NULL), "the input opens again");
			/* A dropped storage need not be readable. */
			if (read_side(&plain)) {
				for (size_t i = 0; i < n; i++)
					x[i].t = &plain.c->tensors[x[i].t - s.c->tensors];
				compare(&plain, source_memory(out.p, out.len, "out"), key.p, x, n);
			}
			close_side(&plain);
			buf_release(&key);
		}
		from_pipe(script, data, size, rc, &out, s.warnings > 0);
	}
	free(x);
	plan_release(&p);
	buf_release(&out);
	close_side(&s);
	return 0;
}
