/*
 * pickle: reductions by which Python writes plain data in protocols that have no
 * opcode for it. They become that data again; pickle_encode writes them anew.
 */
#include "pickle/machine.h"

/* Slots and bytes copied for each byte of the pickle at most: an honest one never needs half of it. */
enum { COPY_FACTOR = 16, COPY_FREE = 4096 };

/* May n slots or bytes be copied? A pickle that wants one list copied a thousand times gets objects instead. */
static bool
may_copy(struct pickle_machine *m, size_t n)
{
	uint64_t read = pickle_reader_at(&m->in) - m->in.start;

	if (m->copied + n > read * COPY_FACTOR + COPY_FREE)
		return false;
	m->copied += n;
	return true;
}

/* OrderedDict(), OrderedDict([(key, value), ...]); Python 2 wrote the pairs as lists. */
static bool
ordered(struct pickle_machine *m, uint32_t args, uint32_t *out)
{
	uint32_t list = value_item(m->t, args, 0), pair;
	enum value_kind kind = value_kind(m->t, list);
	size_t n = list == VALUE_ABSENT ? 0 : value_len(m->t, list);

	if (value_len(m->t, args) > 1 || (list != VALUE_ABSENT && kind != VALUE_LIST && kind != VALUE_TUPLE))
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

/* The bytes whose Latin-1 reading is text; false if text has other characters too. */
static bool
latin1(struct pickle_machine *m, uint32_t text, struct str *out)
{
	struct str s = value_text(m->t, text);
	const uint8_t *p = (const uint8_t *)s.p;
	size_t high = 0, n = 0;
	char *to;

	if (value_kind(m->t, text) != VALUE_STR)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		high += p[i] >= 0x80;
		if (p[i] > 0xc3)
			return false;
	}
	*out = s;
	if (high == 0)
		return true;
	if (!may_copy(m, s.len - high / 2))
		return false;
	to = arena_bytes(vtree_arena(m->t), s.len - high / 2);
	for (size_t i = 0; i < s.len; i += p[i] < 0x80 ? 1 : 2)
		to[n++] = p[i] < 0x80 ? s.p[i] : (char)(uint8_t)(p[i] << 6 | (p[i + 1] & 0x3f));
	*out = str_n(to, n);
	return true;
}

/* _codecs.encode(text, 'latin1') */
static bool
encoded(struct pickle_machine *m, uint32_t args, uint32_t *out)
{
	struct str s;

	if (value_len(m->t, args) != 2 || !is_latin1(m, value_item(m->t, args, 1)) ||
	    !latin1(m, value_item(m->t, args, 0), &s))
		return false;
	*out = value_new_text(m->t, VALUE_BYTES, s);
	return true;
}

/* bytearray(), bytearray(bytes), bytearray(text, 'latin-1'); bytes(). */
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

/* set(), set(list) and the same of frozenset. */
static bool
set_of(struct pickle_machine *m, enum value_kind kind, uint32_t args, uint32_t *out)
{
	uint32_t items = value_item(m->t, args, 0);
	enum value_kind from = value_kind(m->t, items);
	size_t n = items == VALUE_ABSENT ? 0 : value_len(m->t, items);

	if (value_len(m->t, args) > 1 || (items != VALUE_ABSENT && from != VALUE_LIST && from != VALUE_TUPLE))
		return false;
	if (!may_copy(m, n))
		return false;
	*out = value_new_seq(m->t, kind);
	for (size_t i = 0; i < n; i++)
		value_append(m->t, *out, value_item(m->t, items, i));
	return true;
}

bool
pickle_plain(struct pickle_machine *m, uint32_t callable, uint32_t args, uint32_t *out)
{
	struct str module = value_module(m->t, callable), name = value_name(m->t, callable);

	if (value_kind(m->t, args) != VALUE_TUPLE)
		return false;
	if (str_eqc(module, "collections"))
		return str_eqc(name, "OrderedDict") && ordered(m, args, out);
	if (str_eqc(module, "_codecs"))
		return str_eqc(name, "encode") && encoded(m, args, out);
	if (!str_eqc(module, "__builtin__") && !str_eqc(module, "builtins"))
		return false;
	if (str_eqc(name, "set"))
		return set_of(m, VALUE_SET, args, out);
	if (str_eqc(name, "frozenset"))
		return set_of(m, VALUE_FROZENSET, args, out);
	if (str_eqc(name, "bytearray"))
		return byte_string(m, VALUE_BYTEARRAY, args, out);
	return str_eqc(name, "bytes") && byte_string(m, VALUE_BYTES, args, out);
}
