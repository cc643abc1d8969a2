/*
 * Makers: chains of kinds that only this test has, run as a whole and in pieces; the properties that they state before they
 * run; and plans with several inputs, with makers that wait for contents, and with shards, from memory and from a pipe.
 */
#include "make/cast.h"

#include <unistd.h>

#include "base/buf.h"
#include "base/xalloc.h"
#include "format/format.h"
#include "plan/plan.h"
#include "tensor/convert.h"
#include "write/pump.h"
#include "tap.h"

/* ---- kinds */

/* Makes each element a little larger, in double precision. */
static enum dtype
wide(const struct make *m, enum dtype in)
{
	(void)m, (void)in;
	return DTYPE_FLOAT64;
}

static uint64_t
grow_each(const struct make_stage *s, const void *in, size_t n, void *out)
{
	double *v = out;

	convert_decode((enum dtype)s->from, in, n, v);
	for (size_t i = 0; i < n; i++)
		v[i] *= 1 + 0x1p-40;
	tap_le(v, n, 8);
	return 0;
}

static const struct make_kind grow = { .name = "grow", .action = "grown", .carries = wide, .each = grow_each };

/* Reverses the order of a vector's elements. */
static uint64_t
turn_memory(const struct make *m, const struct make_form *in)
{
	(void)m;
	return make_count(in) * 8;
}

static int
turn_begin(struct make_stage *s, struct err *err)
{
	struct make_span all = make_whole(s);

	return make_read(s, 0, &all, s->state, err);
}

static int
turn_run(const struct make_stage *s, const struct make_span *span, void *out, struct err *err)
{
	size_t size = dtype_size((enum dtype)s->from), n = (size_t)make_count(&s->in);

	(void)err;
	for (size_t i = 0; i < span->n; i++)
		memcpy((char *)out + i * size, (const char *)s->state + (n - 1 - (size_t)span->first - i) * size, size);
	return 0;
}

static const struct make_kind turn = {
	.name = "turn", .action = "turned", .memory = turn_memory, .begin = turn_begin, .run = turn_run
};

/* Appends another vector to a vector. */
struct join {
	struct make make;
	struct make_input input;
	uint64_t more; /* elements of the other vector */
};

static void
join_shape(const struct make *m, struct make_form *form)
{
	form->shape[0] += ((const struct join *)m)->more;
}

static int
join_run(const struct make_stage *s, const struct make_span *span, void *out, struct err *err)
{
	uint64_t n = s->in.shape[0], end = span->first + span->n, first = span->first < n ? n - span->first : 0;
	struct make_span one = *span, two = *span;
	size_t size = dtype_size((enum dtype)s->from);

	one.n = first < span->n ? (size_t)first : span->n;
	two.first = span->first > n ? span->first - n : 0;
	two.n = end > n ? (size_t)(end - n - two.first) : 0;
	if (one.n > 0 && make_read(s, 0, &one, out, err) < 0)
		return -1;
	return two.n > 0 ? make_read(s, 1, &two, (char *)out + one.n * size, err) : 0;
}

static const struct make_kind join = {
	.name = "join", .action = "joined", .flags = MAKE_NEW, .shape = join_shape, .run = join_run
};

/* Adds the first element of another tensor. The maker waits for the contents of that tensor. */
struct add {
	struct make make;
	struct make_input input;
	float by;
	unsigned learnt;
};

static int
add_learn(struct make *m, struct ckpt *c, struct err *err)
{
	struct add *a = (struct add *)m;
	uint32_t tensor = m->waits->tensor;

	m->waits = NULL;
	a->learnt++;
	if (ckpt_read(c, c->tensors[tensor].storage, 0, &a->by, sizeof(a->by), err) < 0)
		return -1;
	tap_le(&a->by, 1, 4);
	return 0;
}

static uint64_t
add_each(const struct make_stage *s, const void *in, size_t n, void *out)
{
	const struct add *a = (const struct add *)s->make;
	float v;

	for (size_t i = 0; i < n; i++) {
		memcpy(&v, (const char *)in + 4 * i, 4);
		tap_le(&v, 1, 4);
		v += a->by;
		tap_le(&v, 1, 4);
		memcpy((char *)out + 4 * i, &v, 4);
	}
	return 0;
}

static const struct make_kind add = { .name = "add", .action = "added to", .learn = add_learn, .each = add_each };

/* ---- checkpoints: float32 vectors; tensor t has the elements 100 * t, 100 * t + 1, ... */

struct checkpoint {
	struct buf file;
	struct source *src;
	struct ckpt *c;
	struct statedict sd;
};

static void
build(struct checkpoint *x, const unsigned *counts, unsigned n)
{
	struct buf header = BUF_INIT;
	unsigned at = 0;

	buf_addc(&header, '{');
	for (unsigned i = 0; i < n; at += 4 * counts[i++])
		buf_addf(&header, "%s\"%c\":{\"dtype\":\"F32\",\"shape\":[%u],\"data_offsets\":[%u,%u]}", i ? "," : "", 'a' + i,
			 counts[i], at, at + 4 * counts[i]);
	buf_addc(&header, '}');
	buf_clear(&x->file);
	buf_le64(&x->file, header.len);
	buf_add(&x->file, header.p, header.len);
	for (unsigned i = 0; i < n; i++) {
		for (unsigned k = 0; k < counts[i]; k++) {
			float v = (float)(100 * i + k);

			tap_le(&v, 1, 4);
			buf_add(&x->file, &v, sizeof(v));
		}
	}
	buf_release(&header);
}

static void
open_it(struct checkpoint *x, bool pipe_it)
{
	struct err err = ERR_INIT;
	int fds[2];

	if (!pipe_it)
		x->src = source_memory(x->file.p, x->file.len, "in");
	else if (pipe(fds) < 0 || write(fds[1], x->file.p, x->file.len) != (ssize_t)x->file.len || close(fds[1]) < 0 ||
		 source_fd(&x->src, fds[0], "in", NULL, &err) < 0)
		tap_bail("no pipe");
	x->c = NULL;
	if (format_open(&x->c, x->src, NULL, &err) < 0 || statedict_open(&x->sd, x->c, NULL, &err) < 0)
		tap_bail(err.msg);
}

static void
close_it(struct checkpoint *x)
{
	statedict_release(&x->sd);
	ckpt_close(x->c);
	source_close(x->src);
}

/* ---- chains */

static int
collect(void *arg, const void *p, size_t n, struct err *err)
{
	(void)err;
	buf_add(arg, p, n);
	return 0;
}

/* Runs a chain for tensor 0 in pieces of that many elements, and stores the result in out. */
static void
make_it(struct checkpoint *x, const struct make_chain *chain, size_t each, struct buf *out)
{
	struct make_task task = { &x->c, 0, &x->c->tensors[0], chain, each, collect, out };
	struct make_work w;
	struct err err = ERR_INIT;
	uint64_t lost = 0;

	buf_clear(out);
	make_work_init(&w, NULL);
	ok_msg(make_all(&w, &task, &lost, &err) == 0, "the chain runs: %s", err.msg);
	is_uint(lost, 0, "no number is lost");
	make_work_release(&w);
}

static void
test_rounding(void)
{
	/* 1 + 2^-8 is half way between two numbers of bfloat16. Increased by 2^-40 it is nearer to the upper one, 0x3f81. */
	float tie = 1 + 0x1p-8f;
	struct checkpoint x = { .file = BUF_INIT };
	struct arena a = ARENA_INIT;
	struct make_chain chain = { NULL, 0 };
	struct buf out = BUF_INIT;

	build(&x, (const unsigned[]){ 1 }, 1);
	tap_le(&tie, 1, 4);
	memcpy(x.file.p + x.file.len - 4, &tie, 4);
	open_it(&x, false);
	make_append(&chain, &a, make_new(&a, &grow));
	make_it(&x, &chain, 1, &out);
	ok_msg(out.len == 4 && memcmp(out.p, &tie, 4) == 0, "without a cast the result is rounded to the tensor's own dtype");
	make_append(&chain, &a, make_cast(&a, DTYPE_BFLOAT16));
	make_it(&x, &chain, 1, &out);
	ok_msg(out.len == 2 && memcmp(out.p, "\x81\x3f", 2) == 0, "with a cast the result is rounded once");
	buf_release(&out);
	close_it(&x);
	arena_release(&a);
	buf_release(&x.file);
}

static void
test_chains(void)
{
	static const unsigned counts[] = { 5, 3 };
	double expected[] = { 102, 101, 100, 4, 3, 2, 1, 0 };
	static const size_t pieces[] = { 1, 3, 8 };
	struct checkpoint x = { .file = BUF_INIT };
	struct join j = { { .kind = &join }, { 0, 1 }, 3 };
	struct arena a = ARENA_INIT;
	struct make_chain chain = { NULL, 0 }, shorter;
	struct make_form form;
	struct buf out = BUF_INIT;

	j.make.more = &j.input;
	j.make.nmore = 1;
	build(&x, counts, 2);
	open_it(&x, false);
	make_append(&chain, &a, &j.make);
	shorter = chain;
	make_append(&chain, &a, make_new(&a, &turn));
	make_append(&chain, &a, make_cast(&a, DTYPE_FLOAT64));
	make_form_of(&form, &x.c->tensors[0]);
	is_uint(make_memory(&chain, &form), 64, "reversing needs the memory of the joined tensor");
	is_uint(make_traits(&chain), MAKE_ANY_NEW | MAKE_ANY_EFFECT, "a joined tensor has new contents");
	ok(make_same(&chain, &chain) && !make_same(&chain, &shorter));
	is_uint(shorter.n, 1, "appending does not change a copy of the chain");
	tap_le(expected, 8, 8);
	for (size_t i = 0; i < 3; i++) {
		make_it(&x, &chain, pieces[i], &out);
		ok_msg(out.len == sizeof(expected) && memcmp(out.p, expected, out.len) == 0,
		       "joined, reversed and cast, %zu elements at a time", pieces[i]);
	}
	buf_release(&out);
	close_it(&x);
	arena_release(&a);
	buf_release(&x.file);
}

/* ---- plans */

/* Adds the contents of an output file to out, as "NAME: v v v; ". */
static void
put_file(struct buf *out, const struct buf *file)
{
	struct checkpoint x = { .file = *file };
	const struct tensor *t;
	struct err err = ERR_INIT;
	float v;

	open_it(&x, false);
	for (size_t i = 0; i < x.sd.n; i++) {
		t = sd_tensor(&x.sd, &x.sd.entries[i]);
		buf_addf(out, "%.*s:", STR_ARG(x.sd.entries[i].name));
		for (uint64_t k = 0; k < tensor_count(t); k++) {
			if (ckpt_read(x.c, t->storage, 4 * k, &v, 4, &err) < 0)
				tap_bail(err.msg);
			tap_le(&v, 1, 4);
			buf_addf(out, " %g", (double)v);
		}
		buf_adds(out, "; ");
	}
	close_it(&x);
}

/*
 * The first element of b is added to every element of d, the first of e to every element of a, and d is appended to c. The
 * other tensors are copied. On a pipe, b comes before d, and e comes after a and c.
 */
static void
edit(struct plan *p, struct join *j, struct add *two)
{
	*j = (struct join){ { .kind = &join }, { 0, 3 }, 2 };
	j->make.more = &j->input;
	j->make.nmore = 1;
	plan_make(p, &p->entries[2], &j->make, "join");
	for (unsigned i = 0; i < 2; i++) {
		two[i] = (struct add){ .make = { .kind = &add }, .input = { 0, i == 0 ? 1 : 4 } };
		two[i].make.waits = &two[i].input;
	}
	plan_make(p, &p->entries[3], &two[0].make, "add b");
	plan_make(p, &p->entries[0], &two[1].make, "add e");
}

static void
write_plan(bool pipe_it, uint64_t most, struct buf *out)
{
	static const unsigned counts[] = { 2, 1, 3, 2, 1 };
	struct checkpoint x = { .file = BUF_INIT };
	struct pump_opts po = { .pool = NULL };
	struct seal_opts so = { .writer = format_writer("safetensors"), .shape = SEAL_BARE };
	struct plan p;
	struct join j;
	struct add two[2];
	struct split split;
	struct seal *seal;
	struct sealed sealed;
	struct err err = ERR_INIT;
	struct buf file = BUF_INIT;
	uint64_t lost;

	build(&x, counts, 5);
	open_it(&x, pipe_it);
	plan_init(&p, NULL);
	plan_add_input(&p, &x.sd, NULL);
	edit(&p, &j, two);
	plan_split(&p, most, &split);
	so.split = &split;
	seal = seal_new(&p, &so);
	for (uint32_t k = 1; k <= split.n; k++) {
		struct sink *sink;

		buf_clear(&file);
		sink = sink_memory(&file, "out");
		ok_msg(seal_file(seal, k, &sealed, &err) == 0 && plan_pump(&sealed, sink, &po, &lost, &err) == 0 &&
			       sink_commit(sink, &err) == 0,
		       "file %u of %u: %s", k, split.n, err.msg);
		sealed_release(&sealed);
		put_file(out, &file);
	}
	is_uint(two[0].learnt + two[1].learnt, 2, "each maker receives the awaited contents once");
	is_uint(x.c->passed, 5, "the pump has released all storages");
	seal_free(seal);
	split_release(&split);
	plan_release(&p);
	close_it(&x);
	buf_release(&x.file);
	buf_release(&file);
}

static void
test_plans(void)
{
	static const char expected[] = "a: 400 401; b: 100; c: 200 201 202 300 301; d: 400 401; e: 400; ";
	static const uint64_t most[] = { 1000, 8, 1 };
	struct buf out = BUF_INIT;

	for (int pipe_it = 0; pipe_it < 2; pipe_it++) {
		for (size_t i = 0; i < 3; i++) {
			buf_clear(&out);
			write_plan(pipe_it, most[i], &out);
			ok_msg(strcmp(out.p, expected) == 0, "%s, shards of %u bytes: %s", pipe_it ? "a pipe" : "memory",
			       (unsigned)most[i], out.p);
		}
	}
	buf_release(&out);
}

int
main(void)
{
	test_rounding();
	test_chains();
	test_plans();
	return tap_done();
}
