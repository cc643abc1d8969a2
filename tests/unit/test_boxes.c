/*
 * Tensors of boxes. Random tilings, strides, storages and byte orders are read as ranges and compared with a loop over the
 * elements. Holes and overlaps are compared with a count of the boxes of each element.
 */
#include "tap.h"

#include "base/xalloc.h"
#include "tensor/boxes.h"

enum { DIMS = 4, SIDE = 9, ELEMENTS = 9 * 9 * 9 * 9, BOXES = 600 };

static uint64_t seed = 88172645463325252u;

static uint64_t
below(uint64_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % n;
}

/* ---- a checkpoint whose storages are in memory */

struct memory {
	unsigned char *p[BOXES];
};

static int
memory_read(struct ckpt *c, uint32_t storage, uint64_t off, void *p, size_t n, struct err *err)
{
	struct memory *m = c->priv;

	(void)err;
	memcpy(p, m->p[storage] + off, n);
	return 0;
}

static const struct ckpt_ops ops = { .name = "memory", .read = memory_read };

/* A tensor with its boxes and the expected elements. */
struct sample {
	struct ckpt *c;
	struct source *src;
	struct memory memory;
	struct storage storages[BOXES];
	struct tensor t;
	struct tensor_more more;
	struct box boxes[BOXES];
	uint64_t shape[DIMS], stride[DIMS], low[BOXES][DIMS], size[BOXES][DIMS], step[BOXES][DIMS];
	unsigned char *expected;
	bool big;
};

/* Cuts a block into boxes, repeatedly at a random place of a random dimension. */
static void
tile(struct sample *s, const uint64_t *low, const uint64_t *size, unsigned depth)
{
	uint64_t l[DIMS], z[DIMS], cut;
	unsigned d = s->t.ndim > 0 ? (unsigned)below(s->t.ndim) : 0;

	if (depth == 0 || s->t.ndim == 0 || below(6) == 0) {
		size_t i = s->more.nboxes++;

		memcpy(s->low[i], low, sizeof(l));
		memcpy(s->size[i], size, sizeof(z));
		return;
	}
	memcpy(l, low, sizeof(l));
	memcpy(z, size, sizeof(z));
	cut = below(size[d] + 1); /* also gives boxes without elements */
	z[d] = cut;
	tile(s, l, z, depth - 1);
	l[d] += cut;
	z[d] = size[d] - cut;
	tile(s, l, z, depth - 1);
}

/* Gives a box its own storage, in which its dimensions are in any order and have gaps. */
static void
store(struct sample *s, size_t i, unsigned item)
{
	unsigned order[DIMS] = { 0, 1, 2, 3 }, n = s->t.ndim;
	uint64_t step = 1 + below(2) * below(3), first = below(5);

	for (unsigned k = n; k > 1; k--) {
		unsigned j = (unsigned)below(k), x = order[k - 1];

		if (below(2))
			continue;
		order[k - 1] = order[j];
		order[j] = x;
	}
	for (unsigned k = n; k-- > 0;) {
		s->step[i][order[k]] = step;
		step = step * s->size[i][order[k]] + (below(4) == 0 ? below(3) : 0);
	}
	s->boxes[i] = (struct box){ s->low[i], s->size[i], s->step[i], first, (uint32_t)i };
	s->storages[i] = (struct storage){ .nbytes = (first + step + 3) * item,
					   .packed = (first + step + 3) * item,
					   .flags = s->big ? STORAGE_BIG_ENDIAN : 0 };
	s->memory.p[i] = xmalloc((size_t)s->storages[i].nbytes);
	for (uint64_t b = 0; b < s->storages[i].nbytes; b++)
		s->memory.p[i][b] = (unsigned char)below(256);
}

/* Returns the box that has element number n, and stores the index in the box in at. */
static size_t
box_of(const struct sample *s, uint64_t n, uint64_t *at)
{
	uint64_t index[DIMS];

	for (unsigned d = s->t.ndim; d-- > 0; n /= s->shape[d])
		index[d] = n % s->shape[d];
	for (size_t i = 0; i < s->more.nboxes; i++) {
		bool in = true;

		for (unsigned d = 0; d < s->t.ndim; d++) {
			in = in && index[d] >= s->low[i][d] && index[d] < s->low[i][d] + s->size[i][d];
			at[d] = index[d] - s->low[i][d];
		}
		if (in)
			return i;
	}
	return SIZE_MAX;
}

/* Compares the bytes of element n in the output. */
static void
element(const struct sample *s, uint64_t n, unsigned item, unsigned char *out)
{
	uint64_t at[DIMS], src;
	size_t i = box_of(s, n, at);
	bool complex = s->t.dtype == DTYPE_COMPLEX64;
	unsigned part = complex ? item / 2 : item;

	src = s->boxes[i].offset;
	for (unsigned d = 0; d < s->t.ndim; d++)
		src += at[d] * s->step[i][d];
	for (unsigned b = 0; b < item; b++)
		out[b] = s->memory.p[i][src * item + (s->big ? b / part * part + part - 1 - b % part : b)];
	if (s->t.flags & TENSOR_NEG)
		for (unsigned b = part - 1; b < item; b += part)
			out[b] ^= 0x80;
	if (complex && (s->t.flags & TENSOR_CONJ))
		out[item - 1] ^= 0x80;
}

static void
make_sample(struct sample *s, unsigned ndim, enum dtype dtype, unsigned flags)
{
	static const uint64_t zeros[DIMS];
	unsigned item = dtype_size(dtype);
	uint64_t count = 1;

	memset(s, 0, sizeof(*s));
	s->big = below(3) == 0;
	s->t = (struct tensor){ .dtype = (uint8_t)dtype,
				.ndim = (uint8_t)ndim,
				.flags = (uint8_t)flags,
				.shape = s->shape,
				.stride = s->stride,
				.storage = STORAGE_NONE,
				.more = &s->more };
	for (unsigned d = 0; d < ndim; d++) {
		s->shape[d] = below(12) == 0 ? 0 : 1 + below(SIDE);
		count *= s->shape[d];
	}
	for (unsigned d = ndim, step = 1; d-- > 0; step *= s->shape[d] > 1 ? (unsigned)s->shape[d] : 1)
		s->stride[d] = step;
	tile(s, zeros, s->shape, (unsigned)below(8));
	for (size_t i = 0; i < s->more.nboxes; i++)
		store(s, i, item);
	s->more.boxes = s->boxes;
	s->src = source_memory("", 0, "memory");
	s->c = ckpt_new(s->src, NULL);
	s->c->ops = &ops;
	s->c->priv = &s->memory;
	s->c->storages = s->storages;
	s->c->nstorages = (uint32_t)s->more.nboxes;
	s->expected = xmalloc((size_t)(count + 1) * item);
	for (uint64_t n = 0; n < count; n++)
		element(s, n, item, s->expected + n * item);
}

static void
free_sample(struct sample *s)
{
	for (size_t i = 0; i < BOXES; i++)
		free(s->memory.p[i]);
	free(s->expected);
	ckpt_close(s->c);
	source_close(s->src);
}

struct collected {
	unsigned char *p;
	size_t n;
};

static int
collect(void *arg, void *p, size_t n, struct err *err)
{
	struct collected *c = arg;

	(void)err;
	memcpy(c->p + c->n, p, n);
	c->n += n;
	memset(p, 0xee, n); /* the consumer owns the bytes and may change them */
	return 0;
}

/* Reads some ranges of a sample with both readers. */
static bool
ranges(struct sample *s)
{
	unsigned item = dtype_size(s->t.dtype);
	uint64_t count = tensor_count(&s->t);
	unsigned char *p = xmalloc((size_t)(count + 1) * item), *q = xmalloc((size_t)(count + 1) * item);
	bool good = true;

	for (int i = 0; i < 12; i++) {
		struct boxes_range r = boxes_whole(&s->t);
		struct collected c = { q, 0 };
		struct err err = ERR_INIT;
		size_t n;

		if (i > 0) {
			r.from = below(count + 1);
			r.to = r.from + below(count - r.from + 1);
		}
		n = (size_t)(r.to - r.from) * item;
		good = good && boxes_fill(s->c, &r, p, &err) == 0 && boxes_read(s->c, &r, collect, &c, &err) == 0 &&
		       boxes_bytes(&r) == n && c.n == n && memcmp(p, s->expected + r.from * item, n) == 0 &&
		       memcmp(q, s->expected + r.from * item, n) == 0;
	}
	free(p);
	free(q);
	return good;
}

static int
check(struct ckpt *c, const struct tensor *t, struct err *err)
{
	struct tensor copy = *t;

	return boxes_make(c, &copy, str_c(""), t->more->boxes, t->more->nboxes, err);
}

static void
random_tilings(void)
{
	static const struct {
		enum dtype dtype;
		unsigned flags;
	} kinds[] = { { DTYPE_FLOAT32, 0 },
		      { DTYPE_UINT8, 0 },
		      { DTYPE_BFLOAT16, TENSOR_NEG },
		      { DTYPE_COMPLEX64, TENSOR_CONJ },
		      { DTYPE_COMPLEX64, TENSOR_CONJ | TENSOR_NEG },
		      { DTYPE_FLOAT64, 0 } };
	struct sample *s = xmalloc(sizeof(*s));

	for (unsigned ndim = 0; ndim <= DIMS; ndim++) {
		for (unsigned k = 0; k < 6; k++) {
			unsigned wrong = 0, refused = 0;

			for (int i = 0; i < 40; i++) {
				struct err err = ERR_INIT;

				make_sample(s, ndim, kinds[k].dtype, kinds[k].flags);
				refused += check(s->c, &s->t, &err) != 0;
				wrong += !ranges(s);
				free_sample(s);
			}
			ok_msg(refused == 0, "%u dimensions, %s: random tilings are accepted", ndim, dtype_name(kinds[k].dtype));
			ok_msg(wrong == 0, "%u dimensions, %s: ranges equal those of the loop", ndim, dtype_name(kinds[k].dtype));
		}
	}
	free(s);
}

/* ---- holes and overlaps */

/* True if every element is in exactly one box. */
static bool
covered_once(const struct sample *s)
{
	uint64_t count = tensor_count(&s->t), index[DIMS];

	for (uint64_t n = 0; n < count; n++) {
		uint64_t rest = n;
		unsigned times = 0;

		for (unsigned d = s->t.ndim; d-- > 0; rest /= s->shape[d])
			index[d] = rest % s->shape[d];
		for (size_t i = 0; i < s->more.nboxes; i++) {
			bool in = true;

			for (unsigned d = 0; d < s->t.ndim; d++)
				in = in && index[d] >= s->low[i][d] && index[d] < s->low[i][d] + s->size[i][d];
			times += in;
		}
		if (times != 1)
			return false;
	}
	return true;
}

/* Moves, shrinks, stretches or removes a box. */
static void
disturb(struct sample *s)
{
	size_t i = (size_t)below(s->more.nboxes);
	unsigned d = (unsigned)below(s->t.ndim);

	switch (below(4)) {
	case 0: s->low[i][d] += s->low[i][d] + s->size[i][d] < s->shape[d]; break;
	case 1: s->size[i][d] -= s->size[i][d] > 0; break;
	case 2: s->size[i][d] += s->low[i][d] + s->size[i][d] < s->shape[d]; break;
	default:
		s->boxes[i] = s->boxes[--s->more.nboxes];
		memcpy(s->low[i], s->low[s->more.nboxes], sizeof(s->low[i]));
		memcpy(s->size[i], s->size[s->more.nboxes], sizeof(s->size[i]));
		s->boxes[i].low = s->low[i];
		s->boxes[i].size = s->size[i];
	}
	/* Storages are as long as the boxes need. */
	for (unsigned k = 0; k < DIMS; k++)
		s->step[i][k] = 0;
	s->boxes[i].offset = 0;
}

static void
disturbed_tilings(void)
{
	struct sample *s = xmalloc(sizeof(*s));
	unsigned wrong = 0, refused = 0, quiet = 0, n = 3000;

	for (unsigned i = 0; i < n; i++) {
		struct err err = ERR_INIT;
		int rc;

		make_sample(s, 1 + (unsigned)below(DIMS), DTYPE_UINT8, 0);
		disturb(s);
		rc = check(s->c, &s->t, &err);
		wrong += (rc == 0) != covered_once(s);
		refused += rc < 0;
		quiet += rc < 0 && strstr(err.msg, "box") == NULL;
		free_sample(s);
	}
	ok_msg(wrong == 0, "a tiling is refused if and only if an element is in no box or in two");
	ok_msg(refused > n / 4 && refused < n, "the corpus has valid and invalid tilings (%u of %u are refused)", refused, n);
	ok_msg(quiet == 0, "the error names a box");
	free(s);
}

static void
fixed_errors(void)
{
	struct sample *s = xmalloc(sizeof(*s));
	struct err err = ERR_INIT;
	struct boxes_range r;
	unsigned char byte[16];

	do {
		seed++;
		make_sample(s, 2, DTYPE_UINT8, 0);
		if (s->shape[0] == 4 && s->shape[1] == 4)
			break;
		free_sample(s);
	} while (true);
	s->more.nboxes = 2;
	for (int i = 0; i < 2; i++) {
		s->low[i][0] = 2 * (uint64_t)i;
		s->low[i][1] = 0;
		s->size[i][0] = 2;
		s->size[i][1] = 4;
		s->step[i][0] = s->step[i][1] = 0;
		s->boxes[i] = (struct box){ s->low[i], s->size[i], s->step[i], 0, 0 };
	}
	s->c->nstorages = 1;
	s->storages[0].flags = 0;
	ok_msg(check(s->c, &s->t, &err) == 0, "two halves");
	s->low[1][0] = 1;
	check(s->c, &s->t, &err);
	is_str(err.msg, "memory: its box [2,4] at [1,0] overlaps the box [2,4] at [0,0]", "the error names the box");
	err_clear(&err);
	s->low[1][0] = 2;
	s->size[1][0] = 1;
	check(s->c, &s->t, &err);
	is_str(err.msg, "memory: no box of it holds [1,4] at [3,0]", "the error names the box");
	err_clear(&err);
	r = boxes_whole(&s->t);
	boxes_fill(s->c, &r, byte, &err);
	is_str(err.msg, "memory: a tensor has elements that no file holds", "the error names the box");
	err_clear(&err);
	s->size[1][0] = 3;
	check(s->c, &s->t, &err);
	is_str(err.msg, "memory: its box [3,4] at [2,0] is outside its shape", "the error names the box");
	err_clear(&err);
	s->size[1][0] = 2;
	s->step[1][0] = 1 << 20;
	check(s->c, &s->t, &err);
	is_str(err.msg, "memory: its box [2,4] at [2,0] reaches beyond the end of its storage", "the error names the box");
	s->c->nstorages = BOXES;
	free_sample(s);
	free(s);
}

/* A tensor is made of the boxes that a distributed checkpoint describes: a row, two rows, an empty one. */
static void
made(void)
{
	static const uint64_t shape[2] = { 3, 4 }, step[2] = { 4, 1 }, turned[2] = { 1, 3 };
	static const uint64_t low[3][2] = { { 0, 0 }, { 1, 0 }, { 3, 0 } };
	static const uint64_t size[3][2] = { { 1, 4 }, { 2, 4 }, { 0, 4 } };
	struct box boxes[3];
	struct source *src = source_memory("", 0, "memory");
	struct ckpt *c = ckpt_new(src, NULL);
	struct storage storages[3] = { { .nbytes = 12 }, { .nbytes = 12 }, { .nbytes = 0 } };
	struct tensor t = { .dtype = DTYPE_UINT8 };
	struct err err = ERR_INIT;

	for (uint32_t i = 0; i < 3; i++)
		boxes[i] = (struct box){ low[i], size[i], step, 0, i };
	c->storages = storages;
	c->nstorages = 3;
	tensor_set_shape(&t, &c->arena, shape, 2);
	ok_msg(boxes_make(c, &t, str_c("w"), boxes, 3, &err) == 0 && boxes_count(&t) == 2, "an empty box is left out");
	ok_msg(boxes_get(&t, 1).storage == 1 && t.storage == STORAGE_NONE, "the other boxes stay");
	boxes_make(c, &t, str_c("w"), boxes, 1, &err);
	is_str(err.msg, "memory: tensor 'w': no box of it holds [2,4] at [1,0]", "the error names the box");
	err_clear(&err);
	boxes[0].size = shape;
	ok_msg(boxes_make(c, &t, str_c("w"), boxes, 1, &err) == 0 && t.more == NULL && t.storage == 0,
	       "a single box gives a plain tensor");
	boxes[0].stride = turned;
	ok_msg(boxes_make(c, &t, str_c("w"), boxes, 1, &err) == 0 && t.more != NULL,
	       "a single box whose elements are in another order stays a box");
	t.shape = size[2];
	ok_msg(boxes_make(c, &t, str_c("w"), boxes + 2, 0, &err) == 0 && boxes_count(&t) == 0,
	       "a tensor without elements needs no box");
	boxes[2].low = low[0];
	ok_msg(boxes_make(c, &t, str_c("w"), boxes + 2, 1, &err) == 0 && t.more == NULL && t.storage == 2, "empty, plain");
	ckpt_close(c);
	source_close(src);
}

/* ---- large tensors */

/* A tensor of 3 * 4096 rows of 1 KiB in a grid of 3 * 64 * 16 boxes is read in runs of more than a piece. */
static void
many_boxes(void)
{
	enum { ROWS = 3 * 4096, ROW = 1024, DOWN = 3 * 64, ACROSS = 16, N = DOWN * ACROSS };
	static const uint64_t shape[2] = { ROWS, ROW }, stride[2] = { ROW, 1 };
	struct tensor_more more = { .nboxes = N };
	struct tensor t = {
		.dtype = DTYPE_UINT8, .ndim = 2, .shape = shape, .stride = stride, .storage = STORAGE_NONE, .more = &more
	};
	struct box *boxes = xcalloc(N, sizeof(*boxes));
	uint64_t(*low)[2] = xcalloc(N, sizeof(*low)), size[2] = { ROWS / DOWN, ROW / ACROSS }, step[2] = { ROW / ACROSS, 1 };
	unsigned char *bytes = xmalloc((size_t)ROWS * ROW), *out = xmalloc((size_t)ROWS * ROW);
	struct source *src = source_memory(bytes, (size_t)ROWS * ROW, "memory");
	struct ckpt *c = ckpt_new(src, NULL);
	struct storage storage = { .nbytes = (uint64_t)ROWS * ROW, .packed = (uint64_t)ROWS * ROW };
	struct boxes_range all = boxes_whole(&t);
	struct collected all_of_it = { out, 0 };
	struct err err = ERR_INIT;
	bool good = true;

	for (size_t i = 0; i < (size_t)ROWS * ROW; i++)
		bytes[i] = (unsigned char)(i * 2654435761u >> 24);
	for (size_t i = 0; i < N; i++) {
		low[i][0] = i / ACROSS * size[0];
		low[i][1] = i % ACROSS * size[1];
		boxes[i] = (struct box){ low[i], size, step, i * size[0] * size[1], 0 };
	}
	more.boxes = boxes;
	c->ops = &(struct ckpt_ops){ .name = "memory" };
	c->storages = &storage;
	c->nstorages = 1;
	ok_msg(check(c, &t, &err) == 0, "a grid of %d boxes is accepted", N);
	ok_msg(boxes_read(c, &all, collect, &all_of_it, &err) == 0 && all_of_it.n == (size_t)ROWS * ROW,
	       "a large tensor is read completely");
	for (size_t i = 0; good && i < (size_t)ROWS * ROW; i += 977) {
		size_t row = i / ROW, column = i % ROW;
		size_t box = row / size[0] * ACROSS + column / size[1];

		good = out[i] == bytes[box * size[0] * size[1] + row % size[0] * size[1] + column % size[1]];
	}
	ok_msg(good, "each element is read from its box");
	ckpt_close(c);
	source_close(src);
	free(boxes);
	free(low);
	free(bytes);
	free(out);
}

/* Grids of 100,000 boxes, one of them with an overlap: as many boxes as real checkpoints have. */
static void
large_checks(void)
{
	enum { SIDES = 317, N = SIDES * SIDES };
	const uint64_t shape[2] = { SIDES * 3, SIDES * 3 }, stride[2] = { SIDES * 3, 1 }, zero[2] = { 0, 0 };
	struct tensor_more more = { .nboxes = N };
	struct tensor t = {
		.dtype = DTYPE_UINT8, .ndim = 2, .shape = shape, .stride = stride, .storage = STORAGE_NONE, .more = &more
	};
	struct box *boxes = xcalloc(N + 2, sizeof(*boxes));
	uint64_t(*low)[2] = xcalloc(N + 2, sizeof(*low)), size[2] = { 3, 3 };
	struct source *src = source_memory("", 0, "memory");
	struct ckpt *c = ckpt_new(src, NULL);
	struct storage storage = { .nbytes = 9 };
	struct err err = ERR_INIT;

	for (size_t i = 0; i < N; i++) {
		size_t k = i * 48271 % N; /* in pseudo-random order */

		low[i][0] = k / SIDES * 3;
		low[i][1] = k % SIDES * 3;
		boxes[i] = (struct box){ low[i], size, zero, 0, 0 };
	}
	more.boxes = boxes;
	c->storages = &storage;
	c->nstorages = 1;
	ok_msg(check(c, &t, &err) == 0, "a grid of %d boxes is accepted", N);
	low[N / 3][1]++;
	ok_msg(check(c, &t, &err) < 0, "a box that is shifted by one element is refused");
	ckpt_close(c);
	source_close(src);
	free(boxes);
	free(low);
}

static void
plain(void)
{
	static const uint64_t shape[2] = { 3, 2 }, rows[2] = { 2, 1 }, columns[2] = { 1, 3 };
	struct tensor t = { .dtype = DTYPE_INT16, .ndim = 2, .shape = shape, .stride = rows, .offset = 1, .storage = 0 };
	struct storage storage = { .nbytes = 14 };
	struct source *src = source_memory("0123456789abcd", 14, "memory");
	struct ckpt *c = ckpt_new(src, NULL);
	struct boxes_range r = { .tensor = &t, .from = 2, .to = 5 };
	unsigned char out[6];
	uint32_t s = 9;
	uint64_t offset = 0;
	struct err err = ERR_INIT;

	c->ops = &(struct ckpt_ops){ .name = "memory" };
	c->storages = &storage;
	c->nstorages = 1;
	ok_msg(boxes_count(&t) == 1 && boxes_get(&t, 0).offset == 1 && boxes_get(&t, 0).low[1] == 0, "one box");
	ok_msg(boxes_stored(c, &r, &s, &offset) && s == 0 && offset == 6, "rows of a tensor are stored in one run");
	ok_msg(boxes_fill(c, &r, out, &err) == 0 && memcmp(out, "6789ab", 6) == 0, "a range of rows is read");
	t.stride = columns;
	ok_msg(!boxes_stored(c, &r, &s, &offset), "columns are not stored in one run");
	ok_msg(boxes_fill(c, &r, out, &err) == 0 && memcmp(out, "45ab67", 6) == 0, "a range of columns is read");
	t.storage = STORAGE_NONE;
	ok_msg(boxes_count(&t) == 0 && !boxes_stored(c, &r, &s, &offset), "a tensor without data has no box");
	ckpt_close(c);
	source_close(src);
}

int
main(void)
{
	plain();
	random_tilings();
	disturbed_tilings();
	fixed_errors();
	many_boxes();
	made();
	large_checks();
	return tap_done();
}
