#include "values.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "base/xalloc.h"
#include "common/human.h"
#include "tensor/composite.h"
#include "tensor/tree.h"

/* Decimal digits take quadratic time, so larger integers are written in hexadecimal. The limit is in bytes. */
enum { DECIMAL_MAX = 16384 };

static void
put_hex(struct buf *b, const uint8_t *p, size_t n)
{
	buf_adds(b, "0x");
	while (n > 1 && p[n - 1] == 0)
		n--;
	for (size_t i = n; i-- > 0;)
		buf_addf(b, "%02x", p[i]);
}

/* Writes the magnitude p of n bytes in decimal. Sets p to 0. */
static void
put_decimal(struct buf *b, uint8_t *p, size_t n)
{
	size_t start = b->len;

	do {
		unsigned rest = 0;

		for (size_t i = n; i-- > 0;) {
			unsigned v = rest << 8 | p[i];

			p[i] = (uint8_t)(v / 10);
			rest = v % 10;
		}
		buf_addc(b, (char)('0' + rest));
		while (n > 0 && p[n - 1] == 0)
			n--;
	} while (n > 0);
	for (size_t i = start, k = b->len - 1; i < k; i++, k--) {
		char c = b->p[i];

		b->p[i] = b->p[k];
		b->p[k] = c;
	}
}

void
values_bigint(struct buf *b, struct str bytes)
{
	uint8_t *p = xmalloc(bytes.len + 1);
	bool negative = bytes.len > 0 && ((uint8_t)bytes.p[bytes.len - 1] & 0x80) != 0;
	unsigned carry = 1;

	if (bytes.len > 0)
		memcpy(p, bytes.p, bytes.len);
	p[bytes.len] = negative ? 0xff : 0;
	for (size_t i = 0; negative && i <= bytes.len; i++) {
		carry += (uint8_t)~p[i];
		p[i] = (uint8_t)carry;
		carry >>= 8;
	}
	if (negative)
		buf_addc(b, '-');
	if (bytes.len > DECIMAL_MAX)
		put_hex(b, p, bytes.len + 1);
	else
		put_decimal(b, p, bytes.len + 1);
	free(p);
}

/* ---- type names */

static void
put_global(struct buf *b, const struct vtree *t, uint32_t h)
{
	if (value_kind(t, h) != VALUE_GLOBAL) {
		buf_adds(b, "object");
		return;
	}
	buf_addstr(b, value_module(t, h));
	buf_addc(b, '.');
	buf_addstr(b, value_name(t, h));
}

void
values_what(struct buf *b, const struct ckpt *c, uint32_t h)
{
	static const char *const names[] = {
		[VALUE_NONE] = "None",   [VALUE_BOOL] = "bool",           [VALUE_INT] = "int",
		[VALUE_BIGINT] = "int",  [VALUE_FLOAT] = "float",         [VALUE_STR] = "str",
		[VALUE_PYSTR] = "str",   [VALUE_BYTES] = "bytes",         [VALUE_BYTEARRAY] = "bytearray",
		[VALUE_TUPLE] = "tuple", [VALUE_LIST] = "list",           [VALUE_DICT] = "dict",
		[VALUE_SET] = "set",     [VALUE_FROZENSET] = "frozenset", [VALUE_PERSID] = "persistent id",
	};
	enum value_kind kind = value_kind(c->tree, h);
	uint32_t index;

	if (tree_is_composite(c->tree, h)) {
		buf_adds(b, "tensor");
		return;
	}
	switch (kind) {
	case VALUE_GLOBAL: put_global(b, c->tree, h); break;
	case VALUE_OBJECT: put_global(b, c->tree, value_object(c->tree, h)->callable); break;
	case VALUE_LEAF: buf_adds(b, value_leaf(c->tree, h, &index) == LEAF_TENSOR ? "tensor" : "storage"); break;
	default: buf_adds(b, value_ordered(c->tree, h) ? "OrderedDict" : names[kind]);
	}
}

/* ---- tensors below a value */

void
holding_add(struct holding *sum, const struct holding *h)
{
	sum->tensors += h->tensors;
	sum->numel += h->numel;
	sum->nbytes += h->nbytes;
}

void
holding_put(struct buf *b, const struct holding *h)
{
	char elements[HUMAN_SIZE], bytes[HUMAN_SIZE];

	buf_addf(b, "%" PRIu64 " %s, %s %s, %s", h->tensors, text_noun(h->tensors, "tensor"), human_count(h->numel, elements),
		 text_noun(h->numel, "element"), human_bytes(h->nbytes, bytes));
}

struct stack {
	uint32_t *v;
	size_t n, cap;
};

static void
push(struct stack *s, uint32_t h)
{
	if (h == VALUE_ABSENT)
		return;
	*xpush(s->v, s->n, s->cap) = h;
}

static void
push_items(struct stack *s, const struct vtree *t, uint32_t h)
{
	const struct vobject *o;
	size_t n = value_len(t, h);

	switch (value_kind(t, h)) {
	case VALUE_DICT:
		for (size_t i = 0; i < n; i++)
			push(s, value_val(t, h, i));
		push(s, value_state(t, h));
		break;
	case VALUE_LIST:
	case VALUE_TUPLE:
	case VALUE_SET:
	case VALUE_FROZENSET:
		for (size_t i = 0; i < n; i++)
			push(s, value_item(t, h, i));
		break;
	case VALUE_OBJECT:
		o = value_object(t, h);
		push(s, o->args);
		push(s, o->kwargs);
		push(s, o->state);
		push(s, o->appended);
		push(s, o->items);
		break;
	default: break;
	}
}

uint64_t
values_nbytes(const struct tensor *t)
{
	uint64_t n = 0;

	if (t->more == NULL || t->more->nboxes > 0 || t->more->low != NULL)
		return tensor_nbytes(t);
	for (size_t i = 0; i < t->more->nparts; i++) {
		const struct tensor *part = t->more->parts[i].tensor;

		n += part != NULL ? tensor_nbytes(part) : 0;
	}
	return n;
}

/* Adds the size of the tensor at h, which may be composite, to sum. Returns false if h is not a tensor. */
static bool
add_tensor(struct composites *all, uint32_t h, struct holding *sum)
{
	const struct vtree *tree = all->c->tree;
	struct err ignored = ERR_INIT;
	struct tensor t = { .storage = STORAGE_NONE, .wrap = h };
	uint32_t index;
	bool plain = value_leaf(tree, h, &index) == LEAF_TENSOR;
	uint32_t call = tree_is_composite(tree, h) ? h : VALUE_ABSENT;

	if (plain) {
		t = all->c->tensors[index];
		call = t.wrap;
	}
	if ((call == VALUE_ABSENT || composite_read(all, call, &t, &ignored) <= 0) && !plain)
		return false;
	holding_add(sum, &(struct holding){ 1, tensor_count(&t), values_nbytes(&t) });
	return true;
}

void
values_holding(const struct ckpt *c, uint32_t h, uint8_t *seen, struct holding *sum)
{
	const uint32_t nodes = vtree_count(c->tree);
	struct arena arena;
	struct composites all = { .c = c, .arena = &arena };
	struct stack s = { 0 };

	arena_init(&arena);
	push(&s, h);
	while (s.n > 0) {
		h = s.v[--s.n];
		if (h >= nodes || seen[h])
			continue;
		seen[h] = 1;
		if (!add_tensor(&all, h, sum))
			push_items(&s, c->tree, h);
	}
	free(s.v);
	arena_release(&arena);
}
