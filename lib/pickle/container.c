/* pickle: opcodes that move values on the stack, between stack and memo, and into containers. */
#include "pickle/machine.h"

#include "base/cursor.h"
#include "base/num.h"
#include "base/xalloc.h"

/* ---- frame and end */

int
pickle_op_proto(struct pickle_machine *m, struct err *e)
{
	const uint8_t *p = pickle_take(&m->in, 1, e);

	if (p == NULL)
		return -1;
	return p[0] > 5 ? pickle_refuse(m, e, "protocol %u is newer than 5, the newest known", p[0]) : 0;
}

/* Only a hint for buffering. */
int
pickle_op_frame(struct pickle_machine *m, struct err *e)
{
	return pickle_take(&m->in, 8, e) == NULL ? -1 : 0;
}

int
pickle_op_stop(struct pickle_machine *m, struct err *e)
{
	m->stopped = true;
	return pickle_pop(m, &m->root, e);
}

/* ---- stack */

int
pickle_op_mark(struct pickle_machine *m, struct err *e)
{
	if (m->marks_n >= PICKLE_STACK_MAX)
		return pickle_fail(&m->in, e, "more than %d marks", PICKLE_STACK_MAX);
	m->marks = xgrow(m->marks, m->marks_n, &m->marks_cap, sizeof(*m->marks));
	m->marks[m->marks_n++] = (uint32_t)m->depth;
	m->fence = m->depth;
	return 0;
}

int
pickle_op_pop_mark(struct pickle_machine *m, struct err *e)
{
	const uint32_t *items;
	size_t n;

	return pickle_pop_mark(m, &items, &n, e);
}

/* Takes away a mark where that is on top. */
int
pickle_op_pop(struct pickle_machine *m, struct err *e)
{
	uint32_t h;

	if (m->marks_n > 0 && m->depth == m->fence)
		return pickle_op_pop_mark(m, e);
	return pickle_pop(m, &h, e);
}

int
pickle_op_dup(struct pickle_machine *m, struct err *e)
{
	uint32_t *top;

	return pickle_top(m, &top, e) < 0 ? -1 : pickle_push(m, *top, e);
}

/* ---- memo */

static int
memo_get(struct pickle_machine *m, uint32_t index, struct err *e)
{
	uint32_t h = pickle_memo_get(&m->memo, index);

	if (h == VALUE_ABSENT) {
		if (pickle_refuse(m, e, "memo entry %u was never stored", index) < 0)
			return -1;
		h = value_new_none(m->t);
	}
	return pickle_push(m, h, e);
}

static int
memo_put(struct pickle_machine *m, uint32_t index, struct err *e)
{
	uint32_t *top;

	if (pickle_top(m, &top, e) < 0)
		return -1;
	pickle_memo_put(&m->memo, index, *top);
	return 0;
}

static int
line_index(struct pickle_machine *m, uint32_t *index, struct err *e)
{
	struct str line;
	uint64_t v;

	if (pickle_line(&m->in, &line, e) < 0)
		return -1;
	if (!num_u64(line, &v) || v > UINT32_MAX)
		return pickle_fail(&m->in, e, "\"%.*s\" is no memo index", (int)(line.len > 40 ? 40 : line.len), line.p);
	*index = (uint32_t)v;
	return 0;
}

int
pickle_op_get(struct pickle_machine *m, struct err *e)
{
	uint32_t index;

	return line_index(m, &index, e) < 0 ? -1 : memo_get(m, index, e);
}

int
pickle_op_binget(struct pickle_machine *m, struct err *e)
{
	const uint8_t *p = pickle_take(&m->in, 1, e);

	return p == NULL ? -1 : memo_get(m, p[0], e);
}

int
pickle_op_long_binget(struct pickle_machine *m, struct err *e)
{
	const uint8_t *p = pickle_take(&m->in, 4, e);

	return p == NULL ? -1 : memo_get(m, get_le32(p), e);
}

int
pickle_op_put(struct pickle_machine *m, struct err *e)
{
	uint32_t index;

	return line_index(m, &index, e) < 0 ? -1 : memo_put(m, index, e);
}

int
pickle_op_binput(struct pickle_machine *m, struct err *e)
{
	const uint8_t *p = pickle_take(&m->in, 1, e);

	return p == NULL ? -1 : memo_put(m, p[0], e);
}

int
pickle_op_long_binput(struct pickle_machine *m, struct err *e)
{
	const uint8_t *p = pickle_take(&m->in, 4, e);

	return p == NULL ? -1 : memo_put(m, get_le32(p), e);
}

int
pickle_op_memoize(struct pickle_machine *m, struct err *e)
{
	return memo_put(m, (uint32_t)m->memo.count, e);
}

/* ---- tuples */

int
pickle_op_empty_tuple(struct pickle_machine *m, struct err *e)
{
	return pickle_push(m, value_new_tuple(m->t, NULL, 0), e);
}

/* The n topmost values become a tuple. */
static int
tuple_of(struct pickle_machine *m, size_t n, struct err *e)
{
	if (m->depth - m->fence < n)
		return pickle_fail(&m->in, e, "fewer than %zu values are on the stack%s", n,
			m->marks_n > 0 ? " above the last mark" : "");
	m->depth -= n;
	return pickle_push(m, value_new_tuple(m->t, m->stack + m->depth, n), e);
}

int
pickle_op_tuple1(struct pickle_machine *m, struct err *e)
{
	return tuple_of(m, 1, e);
}

int
pickle_op_tuple2(struct pickle_machine *m, struct err *e)
{
	return tuple_of(m, 2, e);
}

int
pickle_op_tuple3(struct pickle_machine *m, struct err *e)
{
	return tuple_of(m, 3, e);
}

int
pickle_op_tuple(struct pickle_machine *m, struct err *e)
{
	const uint32_t *items;
	size_t n;

	if (pickle_pop_mark(m, &items, &n, e) < 0)
		return -1;
	return pickle_push(m, value_new_tuple(m->t, items, n), e);
}

/* ---- lists and sets */

int
pickle_op_empty_list(struct pickle_machine *m, struct err *e)
{
	return pickle_push(m, value_new_seq(m->t, VALUE_LIST), e);
}

/* Everything above the mark as a new container. */
static int
seq_of(struct pickle_machine *m, enum value_kind kind, struct err *e)
{
	const uint32_t *items;
	uint32_t h;
	size_t n;

	if (pickle_pop_mark(m, &items, &n, e) < 0)
		return -1;
	h = value_new_seq(m->t, kind);
	for (size_t i = 0; i < n; i++)
		value_append(m->t, h, items[i]);
	return pickle_push(m, h, e);
}

int
pickle_op_list(struct pickle_machine *m, struct err *e)
{
	return seq_of(m, VALUE_LIST, e);
}

int
pickle_op_frozenset(struct pickle_machine *m, struct err *e)
{
	return seq_of(m, VALUE_FROZENSET, e);
}

int
pickle_op_empty_set(struct pickle_machine *m, struct err *e)
{
	return pickle_push(m, value_new_seq(m->t, VALUE_SET), e);
}

/* Adds items to target: to a container of that kind, or to what an object was given. */
static int
extend(struct pickle_machine *m, enum value_kind kind, const uint32_t *items, size_t n, struct err *e)
{
	struct vobject *o;
	uint32_t *top, target;

	if (pickle_top(m, &top, e) < 0)
		return -1;
	target = *top;
	o = value_object_mut(m->t, target);
	if (o != NULL) {
		if (o->appended == VALUE_ABSENT)
			o->appended = value_new_seq(m->t, VALUE_LIST);
		target = o->appended;
	} else if (value_kind(m->t, target) != kind) {
		return pickle_refuse(m, e, "its target is neither a %s nor an object", kind == VALUE_SET ? "set" : "list");
	}
	if (value_len(m->t, target) + n > PICKLE_SLOTS_MAX)
		return pickle_fail(&m->in, e, "a container of more than %zu items", PICKLE_SLOTS_MAX);
	for (size_t i = 0; i < n; i++)
		value_append(m->t, target, items[i]);
	return 0;
}

int
pickle_op_append(struct pickle_machine *m, struct err *e)
{
	uint32_t item;

	return pickle_pop(m, &item, e) < 0 ? -1 : extend(m, VALUE_LIST, &item, 1, e);
}

int
pickle_op_appends(struct pickle_machine *m, struct err *e)
{
	const uint32_t *items;
	size_t n;

	return pickle_pop_mark(m, &items, &n, e) < 0 ? -1 : extend(m, VALUE_LIST, items, n, e);
}

int
pickle_op_additems(struct pickle_machine *m, struct err *e)
{
	const uint32_t *items;
	size_t n;

	return pickle_pop_mark(m, &items, &n, e) < 0 ? -1 : extend(m, VALUE_SET, items, n, e);
}

/* ---- dicts */

int
pickle_op_empty_dict(struct pickle_machine *m, struct err *e)
{
	return pickle_push(m, value_new_seq(m->t, VALUE_DICT), e);
}

/* Python's dicts take no key that can change. */
static bool
hashable(const struct vtree *t, uint32_t h)
{
	switch (value_kind(t, h)) {
	case VALUE_LIST:
	case VALUE_DICT:
	case VALUE_SET:
	case VALUE_BYTEARRAY: return false;
	default: return true;
	}
}

/* n slots, key and value in turn, into the dict d. */
static int
set_pairs(struct pickle_machine *m, uint32_t d, const uint32_t *items, size_t n, struct err *e)
{
	if (n % 2 != 0 && pickle_refuse(m, e, "a key without a value") < 0)
		return -1;
	if (2 * value_len(m->t, d) + n > PICKLE_SLOTS_MAX)
		return pickle_fail(&m->in, e, "a dict of more than %zu pairs", PICKLE_SLOTS_MAX / 2);
	for (size_t i = 0; i + 1 < n; i += 2) {
		if (!hashable(m->t, items[i]) && pickle_refuse(m, e, "a list, dict, set or bytearray as key of a dict") < 0)
			return -1;
		value_set(m->t, d, items[i], items[i + 1]);
	}
	return 0;
}

int
pickle_op_dict(struct pickle_machine *m, struct err *e)
{
	const uint32_t *items;
	uint32_t h;
	size_t n;

	if (pickle_pop_mark(m, &items, &n, e) < 0)
		return -1;
	h = value_new_seq(m->t, VALUE_DICT);
	return set_pairs(m, h, items, n, e) < 0 ? -1 : pickle_push(m, h, e);
}

static int
set_items(struct pickle_machine *m, const uint32_t *items, size_t n, struct err *e)
{
	struct vobject *o;
	uint32_t *top, target;

	if (pickle_top(m, &top, e) < 0)
		return -1;
	target = *top;
	o = value_object_mut(m->t, target);
	if (o != NULL) {
		if (o->items == VALUE_ABSENT)
			o->items = value_new_seq(m->t, VALUE_DICT);
		target = o->items;
	} else if (value_kind(m->t, target) != VALUE_DICT) {
		return pickle_refuse(m, e, "its target is neither a dict nor an object");
	}
	return set_pairs(m, target, items, n, e);
}

int
pickle_op_setitem(struct pickle_machine *m, struct err *e)
{
	uint32_t pair[2];

	if (pickle_pop(m, &pair[1], e) < 0 || pickle_pop(m, &pair[0], e) < 0)
		return -1;
	return set_items(m, pair, 2, e);
}

int
pickle_op_setitems(struct pickle_machine *m, struct err *e)
{
	const uint32_t *items;
	size_t n;

	return pickle_pop_mark(m, &items, &n, e) < 0 ? -1 : set_items(m, items, n, e);
}
