#include "pickle/memo.h"

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "pickle/value.h"

enum { DENSE_MIN = 256, SLOTS_MIN = 16 };

struct pickle_memo_slot {
	uint32_t index, value; /* VALUE_ABSENT: free */
};

void
pickle_memo_release(struct pickle_memo *m)
{
	free(m->dense);
	free(m->slots);
	*m = (struct pickle_memo)PICKLE_MEMO_INIT;
}

/* The slot of index, or the free one where it belongs. Keyed, so that indexes cannot be chosen to collide. */
static struct pickle_memo_slot *
slot_of(const struct pickle_memo *m, uint32_t index)
{
	uint64_t h = (index ^ m->seed) * 0x9e3779b97f4a7c15u;
	size_t i;

	h = (h ^ h >> 32) * (m->seed | 1);
	for (i = (size_t)(h >> 20) & (m->slots_size - 1);; i = (i + 1) & (m->slots_size - 1))
		if (m->slots[i].value == VALUE_ABSENT || m->slots[i].index == index)
			return &m->slots[i];
}

static void
slots_grow(struct pickle_memo *m)
{
	struct pickle_memo_slot *old = m->slots;
	size_t n = m->slots_size;

	m->slots_size = n == 0 ? SLOTS_MIN : n * 2;
	m->slots = xreallocn(NULL, m->slots_size, sizeof(*m->slots));
	memset(m->slots, 0xff, m->slots_size * sizeof(*m->slots));
	if (m->seed == 0) /* the address is random where the system randomises addresses */
		m->seed = ((uint64_t)(uintptr_t)m->slots >> 4) * 0xd6e8feb86659fd93u;
	for (size_t i = 0; i < n; i++)
		if (old[i].value != VALUE_ABSENT)
			*slot_of(m, old[i].index) = old[i];
	free(old);
}

static void
put_sparse(struct pickle_memo *m, uint32_t index, uint32_t value)
{
	struct pickle_memo_slot *s;

	if ((m->slots_used + 1) * 3 > m->slots_size * 2)
		slots_grow(m);
	s = slot_of(m, index);
	if (s->value == VALUE_ABSENT) {
		m->slots_used++;
		m->count++;
	}
	s->index = index;
	s->value = value;
}

void
pickle_memo_put(struct pickle_memo *m, uint32_t index, uint32_t value)
{
	size_t size = m->size;

	/* The array grows only as far as half of it is in use; what is in the map stays there. */
	if (index >= size && index < 2 * m->count + DENSE_MIN && m->slots_used == 0) {
		while (index >= size)
			size = size < DENSE_MIN ? DENSE_MIN : size * 2;
		m->dense = xreallocn(m->dense, size, sizeof(*m->dense));
		memset(m->dense + m->size, 0xff, (size - m->size) * sizeof(*m->dense));
		m->size = size;
	}
	if (index >= m->size) {
		put_sparse(m, index, value);
		return;
	}
	if (m->dense[index] == VALUE_ABSENT)
		m->count++;
	m->dense[index] = value;
}

uint32_t
pickle_memo_get(const struct pickle_memo *m, uint32_t index)
{
	if (index < m->size)
		return m->dense[index];
	return m->slots_size == 0 ? VALUE_ABSENT : slot_of(m, index)->value;
}
