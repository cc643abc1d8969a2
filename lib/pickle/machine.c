#include "pickle/machine.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cursor.h"
#include "base/num.h"
#include "base/text.h"
#include "base/xalloc.h"

#define PICKLE_OP(name, byte, run, width, kind, takes) static int run(struct pickle_machine *m, struct err *err);
PICKLE_OPS(PICKLE_OP)
#undef PICKLE_OP

/* LINE as width: the argument is a line of text. ALL as takes: the opcode takes all values above the last mark. */
enum { LINE = 255, ALL = 255 };

#define PICKLE_OP(name, byte, run, width, kind, takes) [byte] = { #name, run, width, kind, takes },
static const struct pickle_opcode opcodes[256] = { PICKLE_OPS(PICKLE_OP) };
#undef PICKLE_OP

/* ---- reading bytes */

/* A long text is read in pieces, the first of this size, each later one as long as all before it. */
enum { PIECE = 1 << 20 };

static uint64_t
reader_at(const struct pickle_reader *r)
{
	return r->base + r->at;
}

static struct err_place
opcode_place(const struct pickle_reader *r)
{
	return (struct err_place){ source_name(r->src), ERR_BYTE, r->op_off, 0, opcodes[r->op].name };
}

/* Sets "FILE: at byte OFFSET OF THE OPCODE: NAME: MESSAGE", and returns -1. */
#define fail(r, e, ...) err_failed(err_place(e, opcode_place(r), __VA_ARGS__))

static int
cut_off(const struct pickle_reader *r, struct err *err)
{
	return fail(r, err, "the %s ends within the pickle", r->limit == UINT64_MAX ? "input" : "record");
}

/* Refills the window with the bytes at the current offset, up to SOURCE_LOOK_MAX and the limit. */
static int
look(struct pickle_reader *r, struct err *err)
{
	uint64_t at = reader_at(r), left = r->limit > at ? r->limit - at : 0;
	size_t most = left < SOURCE_LOOK_MAX ? (size_t)left : SOURCE_LOOK_MAX;

	r->base = at;
	r->at = r->len = 0;
	r->p = (const uint8_t *)"";
	return most == 0 ? 0 : source_look(r->src, at, most, &r->p, &r->len, err);
}

/* Returns the next n bytes, which must be few; borrowed until the next read. Returns NULL with e set at the end of the input. */
static const uint8_t *
take(struct pickle_reader *r, size_t n, struct err *err)
{
	if (r->len - r->at < n) {
		if (look(r, err) < 0)
			return NULL;
		if (r->len < n) {
			cut_off(r, err);
			return NULL;
		}
	}
	r->at += n;
	return r->p + (r->at - n);
}

static __attribute__((noinline)) int
look_for_opcode(struct pickle_reader *r, struct err *err)
{
	if (look(r, err) < 0)
		return -1;
	if (r->len == 0)
		return err_at(err, source_name(r->src), reader_at(r), "the %s ends within a pickle",
			      r->limit == UINT64_MAX ? "input" : "record");
	return 0;
}

/* Reads the next opcode into op and op_off. */
static inline int
next_opcode(struct pickle_reader *r, struct err *err)
{
	if (r->at == r->len && look_for_opcode(r, err) < 0)
		return -1;
	r->op_off = reader_at(r);
	r->op = r->p[r->at++];
	return 0;
}

/* Reads n bytes that do not fit into the window. */
static int
long_bytes(struct pickle_reader *r, uint64_t n, struct arena *a, struct str *out, struct err *err)
{
	uint64_t at = reader_at(r);
	size_t have = 0, piece = PIECE, got;
	uint8_t *p = NULL;
	int rc;

	if (n > SIZE_MAX / 2 || at > r->limit || n > r->limit - at)
		return cut_off(r, err);
	while (have < n) {
		if (piece > n - have)
			piece = (size_t)n - have;
		p = xreallocn(p, have + piece, 1);
		rc = source_read_some(r->src, at + have, p + have, piece, &got, err);
		have += got;
		if (rc == 0 && got < piece)
			rc = cut_off(r, err);
		if (rc < 0) {
			free(p);
			return -1;
		}
		piece = have;
	}
	*out = arena_str(a, str_n((const char *)p, have));
	free(p);
	r->base = at + n;
	r->at = r->len = 0;
	return 0;
}

/* Copies the next n bytes to a. Memory is allocated only as the bytes arrive. */
static int
take_bytes(struct pickle_reader *r, uint64_t n, struct arena *a, struct str *out, struct err *err)
{
	char *p;

	if (r->len - r->at < n) {
		if (look(r, err) < 0)
			return -1;
		if (r->len < n)
			return long_bytes(r, n, a, out, err);
	}
	p = arena_bytes(a, (size_t)n);
	memcpy(p, r->p + r->at, (size_t)n);
	*out = str_n(p, (size_t)n);
	r->at += (size_t)n;
	return 0;
}

/* Reads a line. *out is the line without its newline, borrowed until the next read. */
static int
take_line(struct pickle_reader *r, struct str *out, struct err *err)
{
	const uint8_t *from = r->p + r->at, *end = memchr(from, '\n', r->len - r->at);

	buf_clear(&r->line);
	while (end == NULL) {
		buf_add(&r->line, from, r->len - r->at);
		r->at = r->len;
		if (look(r, err) < 0)
			return -1;
		if (r->len == 0)
			return cut_off(r, err);
		from = r->p;
		end = memchr(from, '\n', r->len);
	}
	r->at += (size_t)(end - from) + 1;
	if (r->line.len == 0) {
		*out = str_n((const char *)from, (size_t)(end - from));
		return 0;
	}
	buf_add(&r->line, from, (size_t)(end - from));
	*out = buf_str(&r->line);
	return 0;
}

/* ---- the memo */

/*
 * Picklers number memo entries from 0. An index that would leave most of the array empty goes to a map of at most FAR_MAX entries.
 */
enum { DENSE_MIN = 256, FAR_MAX = 1 << 20 };

static void
memo_release(struct pickle_memo *m)
{
	free(m->dense);
	free(m->values);
	strmap_release(&m->far);
}

static struct str
memo_key(const uint32_t *index)
{
	return str_n((const char *)index, sizeof(*index));
}

static void
put_far(struct pickle_memo *m, struct arena *a, uint32_t index, uint32_t value)
{
	uint64_t at = m->nvalues;

	if (strmap_get(&m->far, memo_key(&index), &at)) {
		m->values[at] = value;
		return;
	}
	strmap_add(&m->far, arena_str(a, memo_key(&index)), at);
	*xpush(m->values, m->nvalues, m->cap) = value;
	m->count++;
}

/*
 * Stores value under index. The array grows only while about half of it is in use. Entries in the map stay there. Keys of the map
 * are allocated from a.
 */
static void
memo_put(struct pickle_memo *m, struct arena *a, uint32_t index, uint32_t value)
{
	size_t size = m->size;

	if (index >= size && index < 2 * m->count + DENSE_MIN && m->nvalues == 0) {
		while (index >= size)
			size = size < DENSE_MIN ? DENSE_MIN : size * 2;
		m->dense = xreallocn(m->dense, size, sizeof(*m->dense));
		memset(m->dense + m->size, 0xff, (size - m->size) * sizeof(*m->dense));
		m->size = size;
	}
	if (index >= m->size) {
		put_far(m, a, index, value);
		return;
	}
	if (m->dense[index] == VALUE_ABSENT)
		m->count++;
	m->dense[index] = value;
}

/* Returns VALUE_ABSENT if there is no such entry. */
static uint32_t
memo_get(const struct pickle_memo *m, uint32_t index)
{
	uint64_t at;

	if (index < m->size)
		return m->dense[index];
	return strmap_get(&m->far, memo_key(&index), &at) ? m->values[at] : VALUE_ABSENT;
}

/* ---- the stack */

static int
stack_grow(struct pickle_machine *m, struct err *err)
{
	if (m->depth >= PICKLE_STACK_MAX)
		return fail(&m->in, err, "more than %d values on the stack", PICKLE_STACK_MAX);
	m->stack = xgrow(m->stack, m->depth, &m->stack_cap, sizeof(*m->stack));
	if (m->stack_cap > PICKLE_STACK_MAX)
		m->stack_cap = PICKLE_STACK_MAX;
	return 0;
}

static void
underflow(const struct pickle_machine *m, struct err *err)
{
	fail(&m->in, err, m->depth == 0 ? "the stack is empty" : "there is a mark where a value is expected");
}

static int
push(struct pickle_machine *m, uint32_t h, struct err *err)
{
	if (m->depth == m->stack_cap && stack_grow(m, err) < 0)
		return -1;
	m->stack[m->depth++] = h;
	return 0;
}

static int
top_of(struct pickle_machine *m, uint32_t *top, struct err *err)
{
	*top = VALUE_ABSENT;
	if (m->depth == m->fence) {
		underflow(m, err);
		return -1;
	}
	*top = m->stack[m->depth - 1];
	return 0;
}

/* Takes the values above the last mark as operands, which are borrowed until the next push, and removes the mark. */
static int
pop_mark(struct pickle_machine *m, struct err *err)
{
	size_t start;

	if (m->marks_n == 0)
		return fail(&m->in, err, "there is no mark on the stack");
	start = m->marks[--m->marks_n];
	m->fence = m->marks_n > 0 ? m->marks[m->marks_n - 1] : 0;
	m->items = m->stack + start;
	m->n = m->depth - start;
	m->depth = start;
	return 0;
}

/* Takes the topmost n values as operands, which are borrowed until the next push. */
static int
pop(struct pickle_machine *m, size_t n, struct err *err)
{
	if (m->depth - m->fence < n && opcodes[m->in.op].run == op_tuple)
		return fail(&m->in, err, "fewer than %zu values are on the stack%s", n,
			    m->marks_n > 0 ? " above the last mark" : "");
	if (m->depth - m->fence < n) {
		m->depth = m->fence;
		underflow(m, err);
		return -1;
	}
	m->depth -= n;
	m->items = m->stack + m->depth;
	m->n = n;
	return 0;
}

/* Reports something that Python would refuse. Returns 0 in lenient mode; otherwise sets the message and returns -1. */
__attribute__((format(printf, 3, 4))) static int
refuse(struct pickle_machine *m, struct err *err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(m->passed_over, sizeof(m->passed_over), fmt, ap);
	va_end(ap);
	return m->hooks.lenient ? 0 : fail(&m->in, err, "%s", m->passed_over);
}

/* ---- calls that yield plain data. If a protocol has no opcode for a type, Python writes a call instead. It becomes data again. */

/* The limit of slots and bytes copied per byte of the pickle. Real pickles need less than half of it. */
enum { COPY_FACTOR = 16, COPY_FREE = 4096 };

/*
 * Returns true if n more slots or bytes may be copied. A pickle that copies one list a thousand times gets objects instead of data.
 */
static bool
may_copy(struct pickle_machine *m, size_t n)
{
	uint64_t read = reader_at(&m->in) - m->in.start;

	if (m->copied + n > read * COPY_FACTOR + COPY_FREE)
		return false;
	m->copied += n;
	return true;
}

/* Returns true if args has at most one item, which is a list or tuple. *list is that item, or VALUE_ABSENT; *n is its length. */
static bool
only_list(const struct pickle_machine *m, uint32_t args, uint32_t *list, size_t *n)
{
	enum value_kind kind;

	*list = value_item(m->t, args, 0);
	*n = *list == VALUE_ABSENT ? 0 : value_len(m->t, *list);
	kind = value_kind(m->t, *list);
	return value_len(m->t, args) <= 1 && (*list == VALUE_ABSENT || kind == VALUE_LIST || kind == VALUE_TUPLE);
}

/* Handles OrderedDict() and OrderedDict([(key, value), ...]). Python 2 wrote the pairs as lists. */
static bool
ordered(struct pickle_machine *m, uint32_t args, uint32_t *out)
{
	uint32_t list, pair;
	enum value_kind kind;
	size_t n;

	if (!only_list(m, args, &list, &n))
		return false;
	for (size_t i = 0; i < n; i++) {
		pair = value_item(m->t, list, i);
		kind = value_kind(m->t, pair);
		if ((kind != VALUE_LIST && kind != VALUE_TUPLE) || value_len(m->t, pair) != 2)
			return false;
	}
	if (!may_copy(m, 2 * n))
		return false;
	*out = value_new_ordered(m->t);
	for (size_t i = 0; i < n; i++) {
		pair = value_item(m->t, list, i);
		value_set(m->t, *out, value_item(m->t, pair, 0), value_item(m->t, pair, 1));
	}
	return true;
}

static bool
is_latin1(const struct pickle_machine *m, uint32_t encoding)
{
	struct str s = value_text(m->t, encoding);

	return value_is_text(m->t, encoding) && (str_eqc(s, "latin1") || str_eqc(s, "latin-1"));
}

/* Encodes text as Latin-1. Returns false if text has other characters. */
static bool
latin1(struct pickle_machine *m, uint32_t text, struct str *out)
{
	struct str s = value_text(m->t, text);
	const uint8_t *p = (const uint8_t *)s.p;
	size_t high = 0, n = 0;
	char *to;

	if (value_kind(m->t, text) != VALUE_STR || !may_copy(m, s.len))
		return false;
	for (size_t i = 0; i < s.len; i++) {
		high += p[i] >= 0x80;
		if (p[i] > 0xc3)
			return false;
	}
	*out = s;
	if (high == 0)
		return true;
	to = arena_bytes(vtree_arena(m->t), s.len - high / 2);
	/* This loop has no branches, because in array data one cannot predict which characters take two bytes. */
	for (size_t i = 0, two; i < s.len; i += 1 + two) {
		two = p[i] >> 7;
		to[n++] = (char)(uint8_t)((p[i + two] & 0x7f >> two) | (p[i] << 6 & -(int)two));
	}
	*out = str_n(to, n);
	return true;
}

/* Handles _codecs.encode(text, 'latin1'). */
static bool
encoded(struct pickle_machine *m, uint32_t args, uint32_t *out)
{
	struct str s;

	if (value_len(m->t, args) != 2 || !is_latin1(m, value_item(m->t, args, 1)) || !latin1(m, value_item(m->t, args, 0), &s))
		return false;
	*out = value_new_text(m->t, VALUE_BYTES, s);
	return true;
}

/* Handles bytearray(), bytearray(bytes), bytearray(text, 'latin-1') and bytes(). */
static bool
byte_string(struct pickle_machine *m, enum value_kind kind, uint32_t args, uint32_t *out)
{
	uint32_t first = value_item(m->t, args, 0);
	struct str s = str_n("", 0);
	size_t n = value_len(m->t, args);

	if (kind == VALUE_BYTES && n > 0)
		return false;
	if (n == 1 && value_kind(m->t, first) == VALUE_BYTES)
		s = value_text(m->t, first);
	else if (n != 0 && (n != 2 || !is_latin1(m, value_item(m->t, args, 1)) || !latin1(m, first, &s)))
		return false;
	*out = value_new_text(m->t, kind, s);
	return true;
}

/* Handles set(), set(list), frozenset() and frozenset(list). */
static bool
set_of(struct pickle_machine *m, enum value_kind kind, uint32_t args, uint32_t *out)
{
	uint32_t items;
	size_t n;

	if (!only_list(m, args, &items, &n) || !may_copy(m, n))
		return false;
	*out = value_new_seq(m->t, kind);
	for (size_t i = 0; i < n; i++)
		value_append(m->t, *out, value_item(m->t, items, i));
	return true;
}

static bool
is_plain_module(struct str module)
{
	return str_eqc(module, "collections") || str_eqc(module, "_codecs") || str_eqc(module, "__builtin__") ||
	       str_eqc(module, "builtins");
}

/* Makes *out and returns true if callable(*args) yields plain data (OrderedDict, bytes, sets). */
static bool
make_plain(struct pickle_machine *m, uint32_t callable, uint32_t args, uint32_t *out)
{
	struct str module = value_module(m->t, callable), name = value_name(m->t, callable);

	if (value_kind(m->t, args) != VALUE_TUPLE)
		return false;
	if (str_eqc(module, "collections"))
		return str_eqc(name, "OrderedDict") && ordered(m, args, out);
	if (str_eqc(module, "_codecs"))
		return str_eqc(name, "encode") && encoded(m, args, out);
	if (!is_plain_module(module))
		return false;
	if (str_eqc(name, "set"))
		return set_of(m, VALUE_SET, args, out);
	if (str_eqc(name, "frozenset"))
		return set_of(m, VALUE_FROZENSET, args, out);
	if (str_eqc(name, "bytearray"))
		return byte_string(m, VALUE_BYTEARRAY, args, out);
	return str_eqc(name, "bytes") && byte_string(m, VALUE_BYTES, args, out);
}

/* ---- constants */

static int
op_none(struct pickle_machine *m, struct err *err)
{
	return push(m, value_new_none(m->t), err);
}

static int
op_bool(struct pickle_machine *m, struct err *err)
{
	return push(m, value_new_bool(m->t, m->kind), err);
}

/* ---- numbers */

static int
op_integer(struct pickle_machine *m, struct err *err)
{
	const uint8_t *p = m->arg;

	return push(m, value_new_int(m->t, m->width == 1 ? p[0] : m->width == 2 ? get_le16(p) : (int32_t)get_le32(p)), err);
}

/* Makes a VALUE_INT or VALUE_BIGINT from little-endian two's complement bytes. The bytes are copied if needed. */
static uint32_t
new_long(struct vtree *t, const uint8_t *p, size_t n)
{
	uint64_t v = 0;

	/* Drops trailing bytes that only repeat the sign. */
	while (n > 0 && (p[n - 1] == 0 || p[n - 1] == 0xff) && (n == 1 ? p[0] == 0 : (p[n - 2] & 0x80) == (p[n - 1] & 0x80)))
		n--;
	if (n > 8)
		return value_new_text(t, VALUE_BIGINT, arena_str(vtree_arena(t), str_n((const char *)p, n)));
	for (size_t i = 0; i < 8; i++)
		v |= (uint64_t)(i < n ? p[i] : n > 0 && (p[n - 1] & 0x80) != 0 ? 0xff : 0) << (8 * i);
	return value_new_int(t, (int64_t)v);
}

/* Converts decimal digits to two's complement bytes and returns their number. out has n / 2 + 2 bytes. */
static size_t
binary(struct str digits, bool negative, uint8_t *out)
{
	size_t len = 0;
	unsigned carry;

	for (size_t i = 0; i < digits.len; i++) {
		carry = (unsigned)(digits.p[i] - '0');
		for (size_t j = 0; j < len; j++) {
			carry += out[j] * 10u;
			out[j] = (uint8_t)carry;
			carry >>= 8;
		}
		if (carry != 0)
			out[len++] = (uint8_t)carry;
	}
	out[len++] = 0;
	carry = 1;
	for (size_t j = 0; negative && j < len; j++) {
		carry += (uint8_t)~out[j];
		out[j] = (uint8_t)carry;
		carry >>= 8;
	}
	return len;
}

/* Returns the precision of "%.*s" that shows the start of the line in a message. */
static int
shown(const struct pickle_machine *m)
{
	return (int)(m->line.len > 40 ? 40 : m->line.len);
}

/*
 * Handles INT and LONG, which may end in L. INT has the truth values 00 and 01. Any other leading zero is refused, because readers
 * differ about its meaning.
 */
static int
op_decimal(struct pickle_machine *m, struct err *err)
{
	bool negative = m->line.len > 0 && m->line.p[0] == '-', good;
	struct str digits = str_from(m->line, negative || (m->line.len > 0 && m->line.p[0] == '+') ? 1 : 0);
	uint8_t bytes[PICKLE_DIGITS_MAX / 2 + 2];

	if (m->kind == VALUE_INT && (str_eqc(m->line, "00") || str_eqc(m->line, "01")))
		return push(m, value_new_bool(m->t, m->line.p[1] == '1'), err);
	if (m->kind == VALUE_BIGINT && digits.len > 0 && digits.p[digits.len - 1] == 'L')
		digits.len--;
	good = digits.len > 0 && (digits.len == 1 || digits.p[0] != '0');
	for (size_t i = 0; i < digits.len && good; i++)
		good = digits.p[i] >= '0' && digits.p[i] <= '9';
	if (!good)
		return fail(&m->in, err, "\"%.*s\" is not a decimal number", shown(m), m->line.p);
	if (digits.len > PICKLE_DIGITS_MAX)
		return fail(&m->in, err, "a number of more than %d digits", PICKLE_DIGITS_MAX);
	return push(m, new_long(m->t, bytes, binary(digits, negative, bytes)), err);
}

static int
op_float(struct pickle_machine *m, struct err *err)
{
	double d;

	if (!num_double(m->line, &d))
		return fail(&m->in, err, "\"%.*s\" is not a number", shown(m), m->line.p);
	return push(m, value_new_float(m->t, d), err);
}

static int
op_binfloat(struct pickle_machine *m, struct err *err)
{
	uint64_t bits = 0;
	double d;

	for (int i = 0; i < 8; i++)
		bits = bits << 8 | m->arg[i];
	memcpy(&d, &bits, sizeof(d));
	return push(m, value_new_float(m->t, d), err);
}

/* Returns true if s is UTF-8 as Python writes it, in which lone surrogates may occur. */
static bool
is_utf8(struct str s)
{
	for (size_t i = 0; (i = utf8_end(s, i)) < s.len; i += 3) {
		const uint8_t *p = (const uint8_t *)s.p + i;

		if (s.len - i < 3 || p[0] != 0xed || p[1] < 0xa0 || p[1] > 0xbf || p[2] < 0x80 || p[2] > 0xbf)
			return false;
	}
	return true;
}

/* ---- strings and bytes */

/* Skips n bytes. The hook returns the value that represents them. */
static int
later(struct pickle_machine *m, enum value_kind kind, uint64_t n, struct err *err)
{
	struct pickle_reader *in = &m->in;
	uint64_t at = reader_at(in);

	if (at > in->limit || n > in->limit - at)
		return cut_off(in, err);
	in->base = at + n;
	in->at = in->len = 0;
	return push(m, m->hooks.later(m->hooks.arg, m->t, kind, at, n), err);
}

/* Handles strings, bytes and long integers whose length is in the first width bytes. BINSTRING and LONG4 have signed lengths. */
static int
op_counted(struct pickle_machine *m, struct err *err)
{
	uint64_t n = m->width == 1 ? m->arg[0] : m->width == 4 ? get_le32(m->arg) : get_le64(m->arg);
	enum value_kind kind = m->kind;
	struct str s;

	if (m->width == 4 && (kind == VALUE_PYSTR || kind == VALUE_BIGINT) && n > INT32_MAX)
		return fail(&m->in, err, "a negative length");
	if (m->hooks.later != NULL && kind != VALUE_STR && kind != VALUE_BIGINT && n >= PICKLE_LATER)
		return later(m, kind, n, err);
	if (take_bytes(&m->in, n, vtree_arena(m->t), &s, err) < 0)
		return -1;
	if (kind == VALUE_BIGINT)
		return push(m, new_long(m->t, (const uint8_t *)s.p, s.len), err);
	if (kind == VALUE_STR && !is_utf8(s))
		return fail(&m->in, err, "the text is not UTF-8");
	return push(m, value_new_text(m->t, kind, s), err);
}

/*
 * Decodes the escape sequence at s, after a backslash in a Python string literal (codecs.escape_decode). Returns the number of
 * bytes used, or 0 on error.
 */
static size_t
unescape(struct str s, struct buf *out)
{
	int c = s.len == 0 ? -1 : text_map(s.p[0], "\\'\"abfnrtv", "\\'\"\a\b\f\n\r\t\v");
	size_t n = c >= 0;

	if (s.len > 0 && s.p[0] == 'x') {
		c = (int)num_hex(str_from(s, 1), 2);
		n = c < 0 ? 0 : 3;
	} else if (n == 0) {
		for (c = 0; n < 3 && n < s.len && s.p[n] >= '0' && s.p[n] <= '7'; n++)
			c = c * 8 + (s.p[n] - '0');
		if (n == 0 && s.len > 0) {
			buf_addc(out, '\\');
			c = (unsigned char)s.p[n++];
		}
	}
	if (n > 0)
		buf_addc(out, (char)(unsigned char)c);
	return n;
}

/* Pushes and releases the decoded text out. If left is not empty, decoding stopped there at an invalid escape. */
static int
push_unescaped(struct pickle_machine *m, enum value_kind kind, struct buf *out, struct str left, struct err *err)
{
	struct str s = left.len == 0 ? arena_str(vtree_arena(m->t), buf_str(out)) : left;

	buf_release(out);
	if (left.len > 0)
		return fail(&m->in, err, "an escape in the text has no meaning");
	return push(m, value_new_text(m->t, kind, s), err);
}

/* Handles a quoted string of protocol 0, as written by Python 2's repr. */
static int
op_string(struct pickle_machine *m, struct err *err)
{
	struct buf out = BUF_INIT;
	struct str s = m->line;
	size_t n;

	if (s.len < 2 || (s.p[0] != '\'' && s.p[0] != '"') || s.p[s.len - 1] != s.p[0])
		return fail(&m->in, err, "the text is not in quotes");
	s = str_n(s.p + 1, s.len - 2);
	for (; s.len > 0; s = str_from(s, n)) {
		n = s.p[0] == '\\' ? unescape(str_from(s, 1), &out) + 1 : 1;
		if (s.p[0] != '\\')
			buf_addc(&out, s.p[0]);
		else if (n == 1)
			break;
	}
	return push_unescaped(m, VALUE_PYSTR, &out, s, err);
}

static void
put_point(struct buf *b, uint32_t c)
{
	const char surrogate[] = { (char)0xed, (char)(0x80 | (c >> 6 & 0x3f)), (char)(0x80 | (c & 0x3f)) };

	if (c >= 0xd800 && c <= 0xdfff)
		buf_add(b, surrogate, sizeof(surrogate));
	else
		utf8_put(b, c);
}

/* Decodes raw-unicode-escape: \uXXXX and \UXXXXXXXX; all other bytes are Latin-1. */
static int
op_unicode(struct pickle_machine *m, struct err *err)
{
	struct buf out = BUF_INIT;
	struct str s = m->line;
	uint32_t c;
	size_t n;

	for (; s.len > 0; s = str_from(s, n)) {
		n = 1;
		c = (uint8_t)s.p[0];
		if (c == '\\' && s.len > 1) {
			n = s.p[1] == 'u' ? 6 : s.p[1] == 'U' ? 10 : 2;
			if (n == 2)
				buf_addc(&out, '\\');
			c = n == 2 ? (uint8_t)s.p[1] : num_hex(str_from(s, 2), n - 2);
		}
		if (c > 0x10ffff)
			break;
		put_point(&out, c);
	}
	return push_unescaped(m, VALUE_STR, &out, s, err);
}

/* ---- frame and end */

static int
op_proto(struct pickle_machine *m, struct err *err)
{
	return m->arg[0] > 5 ? refuse(m, err, "protocol %u is newer than 5, the newest known", m->arg[0]) : 0;
}

/* Handles FRAME, which is only a hint for buffering, and POP_MARK, whose operands are discarded. */
static int
op_nothing(struct pickle_machine *m, struct err *err)
{
	(void)m;
	(void)err;
	return 0;
}

static int
op_stop(struct pickle_machine *m, struct err *err)
{
	(void)err;
	m->stopped = true;
	m->root = m->items[0];
	return 0;
}

/* ---- stack */

static int
op_mark(struct pickle_machine *m, struct err *err)
{
	if (m->marks_n >= PICKLE_STACK_MAX)
		return fail(&m->in, err, "more than %d marks", PICKLE_STACK_MAX);
	*xpush(m->marks, m->marks_n, m->marks_cap) = (uint32_t)m->depth;
	m->fence = m->depth;
	return 0;
}

/* Pops a value, or the mark if it is on top. */
static int
op_pop(struct pickle_machine *m, struct err *err)
{
	return m->marks_n > 0 && m->depth == m->fence ? pop_mark(m, err) : pop(m, 1, err);
}

static int
op_dup(struct pickle_machine *m, struct err *err)
{
	uint32_t top;

	if (top_of(m, &top, err) < 0)
		return -1;
	vtree_share(m->t, top);
	return push(m, top, err);
}

/* ---- memo entries that are read again. Most are not, and need not be kept. */

static bool
is_recalled(const struct pickle_recall *r, uint32_t index)
{
	return !r->known || (index / 8 < r->size && (r->bits[index / 8] >> index % 8 & 1) != 0);
}

static void
note_recall(struct pickle_recall *r, uint32_t index)
{
	size_t size = r->size;

	while (index / 8 >= size)
		size = size < 64 ? 64 : size * 2;
	if (size > r->size) {
		r->bits = xreallocn(r->bits, size, 1);
		memset(r->bits + r->size, 0, size - r->size);
		r->size = size;
	}
	r->bits[index / 8] |= (uint8_t)(1 << index % 8);
}

/* Skips an argument whose length is in its first width bytes. */
static int
skip_counted(struct pickle_reader *r, unsigned width, struct err *err)
{
	const uint8_t *p = take(r, width, err);
	uint64_t n = p == NULL ? 0 : width == 1 ? p[0] : width == 4 ? get_le32(p) : get_le64(p);

	if (p == NULL || n > r->limit - reader_at(r))
		return -1;
	if (n > r->len - r->at) {
		r->base = reader_at(r) + n;
		r->at = r->len = 0;
	} else {
		r->at += (size_t)n;
	}
	return 0;
}

/* Notes what the opcode just read stores or recalls. Picklers number stored entries from 0; the scan gives up on other numbers. */
static int
scan_opcode(struct pickle_reader *r, struct pickle_recall *recall, struct err *err)
{
	const struct pickle_opcode *op = &opcodes[r->op];
	uint32_t index = recall->stored;
	struct str line;
	const uint8_t *p;

	if (op->run == op_counted)
		return skip_counted(r, op->width, err);
	if (op->width == LINE)
		return op->run == op_global && take_line(r, &line, err) == 0 ? take_line(r, &line, err) : -1;
	p = take(r, op->width, err);
	if (op->run == NULL || p == NULL)
		return -1;
	if (op->run != op_put && op->run != op_get)
		return 0;
	index = op->width == 1 ? p[0] : op->width == 4 ? get_le32(p) : index;
	if (op->run == op_put)
		return index == recall->stored++ ? 0 : -1;
	if (index < recall->stored)
		note_recall(recall, index);
	return index < recall->stored ? 0 : -1;
}

/* Finds the lengths of opcodes that the scan may skip: those that store or recall nothing. 0: the scan must look at the opcode. */
static void
skippable(uint8_t length[256])
{
	for (unsigned i = 0; i < 256; i++) {
		const struct pickle_opcode *op = &opcodes[i];
		const bool looked = op->run == NULL || op->run == op_put || op->run == op_get || op->run == op_counted;

		length[i] = looked || op->width == LINE || i == OP_STOP ? 0 : (uint8_t)(1 + op->width);
	}
}

/* Notes what the opcode at p stores or recalls if it is one of the most usual. Returns its length, or 0 to leave it to scan_opcode. */
static size_t
scan_usual(struct pickle_recall *recall, const uint8_t *p, size_t left)
{
	if (*p == OP_LONG_BINPUT && get_le32(p + 1) == recall->stored) {
		recall->stored++;
		return 5;
	}
	if (*p == OP_BINGET && p[1] < recall->stored) {
		note_recall(recall, p[1]);
		return 2;
	}
	return *p == OP_BINUNICODE && get_le32(p + 1) <= left - 5 ? 5 + (size_t)get_le32(p + 1) : 0;
}

/* Passes skippable and usual opcodes as far as the window goes. */
static void
scan_ahead(struct pickle_reader *r, struct pickle_recall *recall, const uint8_t length[256])
{
	const uint8_t *p = r->p + r->at, *end = r->p + r->len;
	size_t n;

	for (; end - p > 8; p += n) {
		n = length[*p];
		if (n == 0)
			n = scan_usual(recall, p, (size_t)(end - p));
		if (n == 0)
			break;
	}
	r->at = (size_t)(p - r->p);
}

/* Scans the pickle ahead without executing it. Errors in the pickle are ignored here, since its execution reports them. */
static int
find_recalled(struct pickle_machine *m, struct err *err)
{
	struct pickle_reader r = m->in;
	struct err why = ERR_INIT;
	uint8_t length[256];
	int rc;

	skippable(length);
	do {
		scan_ahead(&r, &m->recall, length);
		rc = next_opcode(&r, &why) < 0 ? -1 : scan_opcode(&r, &m->recall, &why);
	} while (rc == 0 && r.op != OP_STOP);
	buf_release(&r.line);
	m->recall.known = rc == 0;
	if (rc < 0)
		vtree_share(m->t, VALUE_ABSENT);
	if (why.code == ERR_NONE || why.code == ERR_INPUT)
		return 0;
	*err = why;
	return -1;
}

/* ---- memo */

/* Returns the memo index of an opcode: a line of digits, or width bytes. MEMOIZE uses the next index. */
static int
memo_index(struct pickle_machine *m, uint32_t *index, struct err *err)
{
	uint64_t v = 0;

	if (m->width == LINE) {
		if (!num_u64(m->line, &v) || v > UINT32_MAX)
			return fail(&m->in, err, "\"%.*s\" is not a memo index", shown(m), m->line.p);
		*index = (uint32_t)v;
	} else {
		*index = m->width == 0 ? (uint32_t)m->memo.count : m->width == 1 ? m->arg[0] : get_le32(m->arg);
	}
	return 0;
}

/* ---- calls that are read at once. Most of a checkpoint's pickle are such calls. */

/* The longest key of a storage, and a length that no call exceeds: those of its opcodes, if each number has eight dimensions. */
enum { KEY_MOST = 64, CALL_MOST = 256 };

/* The opcodes of a call. At least CALL_MOST bytes can be read. */
struct glance {
	const struct pickle_machine *m;
	const uint8_t *p;
	uint32_t puts; /* number of values that they store */
	bool ok;       /* they have the expected form so far */
};

static void
expect(struct glance *g, uint8_t op)
{
	g->ok = g->ok && *g->p == op;
	g->p++;
}

/* Reads one of two opcodes, whose argument has one or four bytes. Returns the argument. */
static uint32_t
argument(struct glance *g, uint8_t one, uint8_t four)
{
	const uint8_t *p = g->p;

	g->p += *p == one ? 2 : 5;
	g->ok = g->ok && (*p == one || *p == four);
	return *p == one ? p[1] : get_le32(p + 1);
}

static bool
is_number(const struct glance *g)
{
	return *g->p == OP_BININT1 || *g->p == OP_BININT2 || *g->p == OP_BININT;
}

static uint32_t
number(struct glance *g)
{
	uint32_t v;

	if (*g->p == OP_BININT2) {
		g->p += 3;
		return get_le16(g->p - 2);
	}
	v = argument(g, OP_BININT1, OP_BININT);
	g->ok = g->ok && v <= INT32_MAX;
	return v;
}

/* Passes a PUT, whose value must not be recalled. */
static void
put(struct glance *g)
{
	uint32_t index = (uint32_t)g->m->memo.count + g->puts++;

	if (*g->p == OP_MEMOIZE)
		g->p++;
	else
		index = argument(g, OP_BINPUT, OP_LONG_BINPUT);
	g->ok = g->ok && !is_recalled(&g->m->recall, index);
}

static uint32_t
recalled(struct glance *g)
{
	const uint32_t h = memo_get(&g->m->memo, argument(g, OP_BINGET, OP_LONG_BINGET));

	g->ok = g->ok && h != VALUE_ABSENT;
	return h;
}

static struct str
text(struct glance *g)
{
	const uint32_t n = argument(g, OP_SHORT_BINUNICODE, OP_BINUNICODE);
	const struct str s = str_n((const char *)g->p, n <= KEY_MOST ? n : 0);

	g->p += s.len;
	put(g);
	g->ok = g->ok && n <= KEY_MOST && is_utf8(s);
	return s;
}

/* Reads a tuple of numbers. Returns its length. */
static uint8_t
numbers(struct glance *g, uint64_t *v)
{
	const bool marked = *g->p == OP_MARK;
	uint8_t n = 0;

	if (*g->p == OP_EMPTY_TUPLE) {
		g->p++;
		return 0;
	}
	for (g->p += marked; n < PICKLE_PLAIN_NDIM && is_number(g); n++)
		v[n] = number(g);
	g->ok = g->ok && (marked || (n > 0 && n <= 3));
	expect(g, (uint8_t)(marked ? OP_TUPLE : OP_TUPLE1 + n - 1));
	put(g);
	return n;
}

/* Reads a call whose callable was just pushed. Returns false if it has another form, or a part of it is recalled later. */
static bool
read_plain(struct glance *g, struct pickle_plain *c)
{
	expect(g, OP_MARK);
	expect(g, OP_MARK);
	c->word = recalled(g);
	c->class = recalled(g);
	if (!g->ok)
		return false;
	c->key = text(g);
	c->location = recalled(g);
	c->numel = number(g);
	expect(g, OP_TUPLE);
	put(g);
	expect(g, OP_BINPERSID);
	c->offset = number(g);
	c->ndim = numbers(g, c->shape);
	if (numbers(g, c->stride) != c->ndim)
		return false;
	c->grad = *g->p == OP_NEWTRUE;
	expect(g, c->grad ? OP_NEWTRUE : OP_NEWFALSE);
	c->hooks = recalled(g);
	expect(g, OP_EMPTY_TUPLE);
	expect(g, OP_REDUCE);
	put(g);
	expect(g, OP_TUPLE);
	put(g);
	expect(g, OP_REDUCE);
	return g->ok;
}

/* Replaces the callable on top by its result if the call can be read at once. */
static int
plain_call(struct pickle_machine *m, uint32_t callable, struct err *err)
{
	const size_t left = m->in.len - m->in.at;
	const uint8_t *from = m->in.p + m->in.at;
	uint8_t rest[CALL_MOST];
	struct pickle_plain c;
	struct glance g = { .m = m, .p = from, .ok = true };
	int took;

	if (left < CALL_MOST) {
		memset(rest, 0, sizeof(rest));
		g.p = from = memcpy(rest, from, left);
	}
	c.callable = callable;
	if (!read_plain(&g, &c) || (size_t)(g.p - from) > left)
		return 0;
	took = m->hooks.plain(m->hooks.arg, m->t, &c, &m->stack[m->depth - 1], err);
	if (took > 0) {
		m->in.at += (size_t)(g.p - from);
		m->memo.count += g.puts;
	}
	return took < 0 ? -1 : 0;
}

static int
op_get(struct pickle_machine *m, struct err *err)
{
	uint32_t index, h;

	if (memo_index(m, &index, err) < 0)
		return -1;
	h = memo_get(&m->memo, index);
	if (h == VALUE_ABSENT) {
		if (refuse(m, err, "memo entry %u was never stored", index) < 0)
			return -1;
		h = value_new_none(m->t);
	}
	if (push(m, h, err) < 0)
		return -1;
	return m->hooks.plain != NULL && value_kind(m->t, h) == VALUE_GLOBAL ? plain_call(m, h, err) : 0;
}

static int
op_put(struct pickle_machine *m, struct err *err)
{
	uint32_t index, top;

	if (memo_index(m, &index, err) < 0 || top_of(m, &top, err) < 0)
		return -1;
	if (m->memo.nvalues == FAR_MAX)
		return fail(&m->in, err, "more than %d memo entries whose numbers leave gaps, which no pickler makes", FAR_MAX);
	if (!is_recalled(&m->recall, index)) {
		m->memo.count++;
		return 0;
	}
	vtree_share(m->t, top);
	memo_put(&m->memo, vtree_arena(m->t), index, top);
	return 0;
}

/* ---- containers */

static int
op_tuple(struct pickle_machine *m, struct err *err)
{
	return push(m, value_new_tuple(m->t, m->items, m->n), err);
}

/* Pushes a new container with the operands as items. The opcodes for empty containers have no operands. */
static int
op_collect(struct pickle_machine *m, struct err *err)
{
	uint32_t h = value_new_seq(m->t, m->kind);

	for (size_t i = 0; i < m->n; i++)
		value_append(m->t, h, m->items[i]);
	return push(m, h, err);
}

/*
 * Returns the container to which the operands are added: the value on top if it has that kind, or the list or dict of additions of
 * an object on top. Returns VALUE_ABSENT if the value on top is neither.
 */
static uint32_t
target_of(struct pickle_machine *m, uint32_t top, enum value_kind kind)
{
	struct vobject *o = value_object(m->t, top);
	uint32_t *given;

	if (o == NULL)
		return value_kind(m->t, top) == kind ? top : VALUE_ABSENT;
	given = kind == VALUE_DICT ? &o->items : &o->appended;
	if (*given == VALUE_ABSENT)
		*given = value_new_seq(m->t, kind == VALUE_DICT ? VALUE_DICT : VALUE_LIST);
	return *given;
}

/* Appends the operands to the list, set or object on top. */
static int
op_extend(struct pickle_machine *m, struct err *err)
{
	enum value_kind kind = m->kind;
	uint32_t top, target;

	if (top_of(m, &top, err) < 0)
		return -1;
	target = target_of(m, top, kind);
	if (target == VALUE_ABSENT)
		return refuse(m, err, "its target is neither a %s nor an object", kind == VALUE_SET ? "set" : "list");
	if (value_len(m->t, target) + m->n > PICKLE_SLOTS_MAX)
		return fail(&m->in, err, "a container of more than %zu items", PICKLE_SLOTS_MAX);
	for (size_t i = 0; i < m->n; i++)
		value_append(m->t, target, m->items[i]);
	return 0;
}

/* Returns true if h can be a key of a dict in Python. */
static bool
hashable(const struct vtree *t, uint32_t h)
{
	enum value_kind kind = value_kind(t, h);

	return kind != VALUE_LIST && kind != VALUE_DICT && kind != VALUE_SET && kind != VALUE_BYTEARRAY;
}

/* Adds the operands, which alternate between keys and values, to the dict d. */
static int
set_pairs(struct pickle_machine *m, uint32_t d, struct err *err)
{
	if (m->n % 2 != 0 && refuse(m, err, "a key without a value") < 0)
		return -1;
	if (2 * value_len(m->t, d) + m->n > PICKLE_SLOTS_MAX)
		return fail(&m->in, err, "a dict of more than %zu pairs", PICKLE_SLOTS_MAX / 2);
	for (size_t i = 0; i + 1 < m->n; i += 2) {
		if (!hashable(m->t, m->items[i]) && refuse(m, err, "a list, dict, set or bytearray as key of a dict") < 0)
			return -1;
		value_set(m->t, d, m->items[i], m->items[i + 1]);
	}
	return 0;
}

static int
op_dict(struct pickle_machine *m, struct err *err)
{
	uint32_t h = value_new_seq(m->t, VALUE_DICT);

	return set_pairs(m, h, err) < 0 ? -1 : push(m, h, err);
}

static int
op_setitems(struct pickle_machine *m, struct err *err)
{
	uint32_t top, target;

	if (top_of(m, &top, err) < 0)
		return -1;
	target = target_of(m, top, VALUE_DICT);
	if (target == VALUE_ABSENT)
		return refuse(m, err, "its target is neither a dict nor an object");
	return set_pairs(m, target, err);
}

/* ---- globals */

/* Sets m->named to a new global. */
static int
name_global(struct pickle_machine *m, struct str module, struct str name, struct err *err)
{
	if ((!is_utf8(module) || !is_utf8(name)) && refuse(m, err, "a name that is not UTF-8") < 0)
		return -1;
	m->named = value_new_global(m->t, module, name);
	return 0;
}

/* Sets m->named to the global that two lines name. The first line has been read. */
static int
name_lines(struct pickle_machine *m, struct err *err)
{
	struct str module = arena_str(vtree_arena(m->t), m->line), name;

	if (take_line(&m->in, &name, err) < 0)
		return -1;
	return name_global(m, module, arena_str(vtree_arena(m->t), name), err);
}

static int
op_global(struct pickle_machine *m, struct err *err)
{
	return name_lines(m, err) < 0 ? -1 : push(m, m->named, err);
}

static int
op_stack_global(struct pickle_machine *m, struct err *err)
{
	uint32_t module = m->items[0], name = m->items[1];

	if (!(value_is_text(m->t, module) && value_is_text(m->t, name)) && refuse(m, err, "the module or the name is not text") < 0)
		return -1;
	if (name_global(m, value_text(m->t, module), value_text(m->t, name), err) < 0)
		return -1;
	return push(m, m->named, err);
}

/* Handles references outside the pickle: a number in the extension registry, or an out-of-band buffer. */
static int
op_foreign(struct pickle_machine *m, struct err *err)
{
	if (refuse(m, err, "%s",
		   m->width > 0 ? "extension codes mean something only to the program that wrote them"
				: "the pickle needs buffers that were kept apart from it") < 0)
		return -1;
	return m->kind ? push(m, value_new_none(m->t), err) : 0;
}

/* ---- objects */

static int
push_object(struct pickle_machine *m, enum value_how how, uint32_t callable, uint32_t args, uint32_t kwargs, struct err *err)
{
	struct vobject o = { how, callable, args, kwargs, VALUE_ABSENT, VALUE_ABSENT, VALUE_ABSENT, VALUE_ABSENT };

	return push(m, value_new_object(m->t, &o), err);
}

/* Executes callable(*args). The result is plain data, a value that the reduce hook makes, or an object. */
static int
call(struct pickle_machine *m, enum value_how how, uint32_t callable, uint32_t args, struct err *err)
{
	uint32_t made;
	int took;

	if (value_kind(m->t, args) != VALUE_TUPLE && refuse(m, err, "the arguments are not a tuple") < 0)
		return -1;
	/* For these types, cls.__new__(cls, items) ignores the items. NEWOBJ is therefore plain data only without arguments. */
	if (callable != m->other && (how == HOW_REDUCE || value_len(m->t, args) == 0) && make_plain(m, callable, args, &made))
		return push(m, made, err);
	if (value_kind(m->t, callable) == VALUE_GLOBAL && !is_plain_module(value_module(m->t, callable)))
		m->other = callable;
	if (m->hooks.reduce != NULL) {
		took = m->hooks.reduce(m->hooks.arg, m->t, &(struct pickle_call){ callable, args, m->in.op_off }, &made, err);
		if (took != 0)
			return took < 0 ? -1 : push(m, made, err);
	}
	return push_object(m, how, callable, args, VALUE_ABSENT, err);
}

static int
op_call(struct pickle_machine *m, struct err *err)
{
	return call(m, m->kind, m->items[0], m->items[1], err);
}

static int
op_newobj_ex(struct pickle_machine *m, struct err *err)
{
	uint32_t callable = m->items[0], args = m->items[1], kwargs = m->items[2];

	if (value_kind(m->t, args) != VALUE_TUPLE || value_kind(m->t, kwargs) != VALUE_DICT) {
		if (refuse(m, err, "the arguments are not a tuple and dict") < 0)
			return -1;
	} else if (value_len(m->t, kwargs) == 0) {
		return call(m, HOW_NEWOBJ, callable, args, err);
	}
	return push_object(m, HOW_NEWOBJ_EX, callable, args, kwargs, err);
}

/* Handles OBJ and INST. With arguments they call the callable; without arguments, a class gets its __new__ called. */
static int
instance(struct pickle_machine *m, uint32_t callable, const uint32_t *items, size_t n, struct err *err)
{
	uint32_t args = value_new_tuple(m->t, items, n);

	if (n > 0)
		return call(m, HOW_REDUCE, callable, args, err);
	return push_object(m, HOW_OBJ, callable, args, VALUE_ABSENT, err);
}

static int
op_inst(struct pickle_machine *m, struct err *err)
{
	return name_lines(m, err) < 0 || pop_mark(m, err) < 0 ? -1 : instance(m, m->named, m->items, m->n, err);
}

static int
op_obj(struct pickle_machine *m, struct err *err)
{
	if (m->n == 0)
		return fail(&m->in, err, "nothing is above the mark");
	return instance(m, m->items[0], m->items + 1, m->n - 1, err);
}

static int
op_build(struct pickle_machine *m, struct err *err)
{
	uint32_t state = m->items[0], top;
	int took = 0;

	if (top_of(m, &top, err) < 0)
		return -1;
	if (value_object(m->t, top) != NULL || value_ordered(m->t, top)) {
		value_set_state(m->t, top, state);
		return 0;
	}
	if (value_kind(m->t, top) == VALUE_LEAF && m->hooks.build != NULL)
		took = m->hooks.build(m->hooks.arg, m->t, top, state, err);
	if (took != 0)
		return took < 0 ? -1 : 0;
	return refuse(m, err, "its target cannot have a state");
}

/* ---- persistent ids */

static int
persistent(struct pickle_machine *m, uint32_t id, struct err *err)
{
	uint32_t made;
	int took = 0;

	if (m->hooks.persid != NULL)
		took = m->hooks.persid(m->hooks.arg, m->t, id, &made, err);
	if (took < 0)
		return -1;
	return push(m, took > 0 ? made : value_new_persid(m->t, id), err);
}

static int
op_binpersid(struct pickle_machine *m, struct err *err)
{
	return persistent(m, m->items[0], err);
}

static int
op_persid(struct pickle_machine *m, struct err *err)
{
	struct str line = arena_str(vtree_arena(m->t), m->line);

	if (!is_utf8(line) && refuse(m, err, "the persistent id is not UTF-8") < 0)
		return -1;
	return persistent(m, value_new_text(m->t, VALUE_STR, line), err);
}

/* ---- the machine */

/* The initial capacity of the stack. */
enum { STACK_FIRST = 64 };

/* An opcode makes only a few nodes, so the node limit is checked once in this many opcodes. */
enum { COUNT_EVERY = 256 };

/* Reads the argument of the opcode, takes its operands and executes it. */
static int
execute(struct pickle_machine *m, struct err *err)
{
	const struct pickle_opcode *op = &opcodes[m->in.op];

	if (op->run == NULL)
		return fail(&m->in, err,
			    m->in.op_off == m->in.start ? "a pickle cannot begin with byte 0x%02x"
							: "byte 0x%02x is not a pickle opcode",
			    m->in.op);
	m->width = op->width;
	m->kind = op->kind;
	m->n = 0;
	if (op->width == LINE) {
		if (take_line(&m->in, &m->line, err) < 0)
			return -1;
	} else if (op->width > 0 && (m->arg = take(&m->in, op->width, err)) == NULL) {
		return -1;
	}
	if (op->takes > 0 && (op->takes == ALL ? pop_mark(m, err) : pop(m, op->takes, err)) < 0)
		return -1;
	if (op->run(m, err) < 0)
		return -1;
	if (++m->steps % COUNT_EVERY == 0 && vtree_count(m->t) > PICKLE_NODES_MAX)
		return fail(&m->in, err, "more than %d objects", PICKLE_NODES_MAX);
	return 0;
}

/* Executes opcodes up to STOP. */
static int
run(struct pickle_machine *m, struct err *err)
{
	const struct pickle_hooks *hooks = &m->hooks;

	while (!m->stopped) {
		if (next_opcode(&m->in, err) < 0)
			return -1;
		m->name = opcodes[m->in.op].name;
		if (hooks->before != NULL)
			hooks->before(hooks->arg, m);
		if (execute(m, err) < 0 || (hooks->after != NULL && hooks->after(hooks->arg, m) < 0))
			return -1;
	}
	return 0;
}

int
pickle_decode(struct vtree *t, struct pickle_place *place, const struct pickle_hooks *hooks, uint32_t *root, struct err *err)
{
	struct pickle_machine m = { .t = t, .root = VALUE_ABSENT, .other = VALUE_ABSENT, .stack_cap = STACK_FIRST };
	int rc;

	m.in = (struct pickle_reader){ .src = place->src,
				       .base = place->off,
				       .start = place->off,
				       .op_off = place->off,
				       .p = (const uint8_t *)"",
				       .limit = place->limit };
	m.stack = xcalloc(STACK_FIRST, sizeof(*m.stack));
	if (hooks != NULL)
		m.hooks = *hooks;
	if (!m.hooks.consumes)
		vtree_share(t, VALUE_ABSENT);
	rc = m.hooks.consumes ? find_recalled(&m, err) : 0;
	rc = rc == 0 ? run(&m, err) : rc;
	*root = m.root;
	place->end = rc < 0 && m.hooks.lenient ? m.in.op_off : reader_at(&m.in);
	free(m.stack);
	free(m.marks);
	memo_release(&m.memo);
	free(m.recall.bits);
	buf_release(&m.in.line);
	return rc;
}
