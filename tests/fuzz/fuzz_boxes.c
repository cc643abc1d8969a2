/*
 * Boxes of a tensor. A byte gives dtype and number of dimensions. The shape and the boxes follow, each box with first index, size,
 * strides and offset, one byte for each number. Boxes are accepted if and only if each element is in exactly one of them. The
 * elements that are read equal those of a loop over the boxes.
 */
#include "fuzz.h"

#include "tensor/boxes.h"

enum { DIMS = 3, BOXES = 24, BYTES = 256, ELEMENTS = 1 << 12 };

struct input {
	const uint8_t *p;
	size_t left;
};

static uint8_t
next(struct input *in)
{
	if (in->left == 0)
		return 0;
	in->left--;
	return *in->p++;
}

/* Small numbers, and some whose products and sums are too large. */
static uint64_t
number(struct input *in)
{
	uint8_t b = next(in);

	return b < 0xf0 ? b % 12 : b < 0xff ? (uint64_t)1 << (4 * (b - 0xf0) + 4) : UINT64_MAX;
}

struct sample {
	struct tensor t;
	uint64_t low[BOXES][DIMS], size[BOXES][DIMS], stride[BOXES][DIMS];
	struct box boxes[BOXES];
	struct storage storages[BOXES];
	uint8_t bytes[BYTES];
	size_t n;
};

static int
read_bytes(struct ckpt *c, uint32_t storage, uint64_t off, void *p, size_t n, struct err *err)
{
	const struct sample *s = c->priv;

	(void)storage;
	(void)err;
	promise(off <= BYTES && n <= BYTES - off, "reads stay inside the storage");
	memcpy(p, s->bytes + off, n);
	return 0;
}

static const struct ckpt_ops ops = { .name = "memory", .read = read_bytes };

static void
take_numbers(struct input *in, uint64_t *to, unsigned n)
{
	for (unsigned d = 0; d < n; d++)
		to[d] = number(in);
}

static void
take(struct sample *s, struct ckpt *c, struct input *in)
{
	static const uint8_t dtypes[] = { DTYPE_UINT8, DTYPE_BFLOAT16, DTYPE_FLOAT32, DTYPE_COMPLEX64 };
	uint8_t head = next(in);
	unsigned ndim = head / 4 % (DIMS + 1);
	uint64_t shape[DIMS];

	s->t = (struct tensor){ .dtype = dtypes[head % 4], .storage = STORAGE_NONE, .wrap = VALUE_ABSENT };
	take_numbers(in, shape, ndim);
	tensor_set_shape(&s->t, &c->arena, shape, ndim);
	for (; s->n < BOXES && in->left > 0; s->n++) {
		size_t i = s->n;

		take_numbers(in, s->low[i], ndim);
		take_numbers(in, s->size[i], ndim);
		take_numbers(in, s->stride[i], ndim);
		s->boxes[i] = (struct box){ s->low[i], s->size[i], s->stride[i], number(in), (uint32_t)i };
		s->storages[i] = (struct storage){ .nbytes = BYTES, .packed = BYTES, .dtype = s->t.dtype };
	}
}

/* The box that has the element with this index, and its offset in bytes; -1 if no box has it, -2 if several have. */
static int
holder(const struct sample *s, const uint64_t *index, uint64_t *byte)
{
	int found = -1;

	for (size_t i = 0; i < s->n; i++) {
		uint64_t at = s->boxes[i].offset;
		bool in = true;

		for (unsigned d = 0; d < s->t.ndim; d++) {
			in = in && index[d] >= s->low[i][d] && index[d] - s->low[i][d] < s->size[i][d];
			at += (index[d] - s->low[i][d]) * s->stride[i][d];
		}
		if (!in)
			continue;
		if (found != -1)
			return -2;
		found = (int)i;
		*byte = at * dtype_size(s->t.dtype);
	}
	return found;
}

/* True if a box is inside the shape and inside its storage. */
static bool
is_inside(const struct sample *s, size_t i)
{
	double last = (double)s->boxes[i].offset; /* exact for the sizes that can pass */
	bool empty = false;

	for (unsigned d = 0; d < s->t.ndim; d++) {
		if (s->low[i][d] > s->t.shape[d] || s->size[i][d] > s->t.shape[d] - s->low[i][d])
			return false;
		empty = empty || s->size[i][d] == 0;
		last += (double)s->stride[i][d] * (double)(s->size[i][d] - (s->size[i][d] > 0));
	}
	return empty || last < BYTES / dtype_size(s->t.dtype);
}

static void
judge(const struct sample *s, struct ckpt *c, uint64_t elements, bool accepted)
{
	struct boxes_range all = boxes_whole(&s->t);
	const unsigned size = dtype_size(s->t.dtype);
	uint8_t *p = xmalloc(elements * size + 1);
	struct err err = ERR_INIT;
	bool good = true;

	for (size_t i = 0; i < s->n; i++)
		good = good && is_inside(s, i);
	if (accepted)
		promise(boxes_fill(c, &all, p, &err) == 0, "the elements can be read");
	for (uint64_t n = 0; n < elements; n++) {
		uint64_t index[DIMS] = { 0 }, left = n, byte = 0;

		for (unsigned d = s->t.ndim; d-- > 0; left /= s->t.shape[d])
			index[d] = left % s->t.shape[d];
		good = good && holder(s, index, &byte) >= 0;
		if (accepted)
			promise(good && byte + size <= BYTES && memcmp(p + n * size, s->bytes + byte, size) == 0,
				"an element is read from its only box");
	}
	promise(accepted == good || s->n == 0, "boxes are accepted if and only if they cover the tensor once");
	free(p);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct source *src = source_memory(data, size, "boxes");
	struct ckpt *c = ckpt_new(src, NULL);
	struct sample s = { .n = 0 };
	struct err err = ERR_INIT;
	uint64_t elements = 1;
	int rc;

	for (size_t i = 0; i < BYTES; i++)
		s.bytes[i] = (uint8_t)(i * 37 + 11);
	take(&s, c, &in);
	c->ops = &ops;
	c->priv = &s;
	c->storages = s.storages;
	c->nstorages = (uint32_t)s.n;
	rc = boxes_make(c, &s.t, str_c("t"), s.boxes, s.n, &err);
	fuzz_judge(rc, &err);
	for (unsigned d = 0; d < s.t.ndim; d++)
		elements = s.t.shape[d] > ELEMENTS || elements > ELEMENTS ? ELEMENTS + 1 : elements * s.t.shape[d];
	if (elements <= ELEMENTS)
		judge(&s, c, elements, rc == 0);
	ckpt_close(c);
	source_close(src);
	return 0;
}
