#include "base/strmap.h"

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

/* Small, so that probing stays in the cache; entries are touched where the hash fits. */
struct strmap_slot {
	uint32_t hash;
	uint32_t entry; /* number + 1; 0: free */
};

struct strmap_entry {
	const char *key;
	size_t len;
	uint64_t value;
};

void
strmap_release(struct strmap *m)
{
	free(m->slots);
	free(m->entries);
	strmap_init(m);
}

__extension__ typedef unsigned __int128 uint128;

static uint64_t
mix(uint64_t a, uint64_t b)
{
	uint128 r = (uint128)a * b;

	return (uint64_t)r ^ (uint64_t)(r >> 64);
}

/* Multiply-and-fold over 8-byte words, keyed, so that names in a file cannot be chosen to collide. */
static uint32_t
hash(uint64_t seed, const char *p, size_t len)
{
	uint64_t h = seed ^ len, word;
	size_t n = len;

	for (; n >= 8; p += 8, n -= 8) {
		memcpy(&word, p, 8);
		h = mix(h ^ word, 0x9e3779b97f4a7c15u ^ seed);
	}
	word = 0;
	if (n > 0)
		memcpy(&word, p, n);
	h = mix(h ^ word, 0xd6e8feb86659fd93u);
	h = mix(h ^ seed, 0xa0761d6478bd642fu);
	return (uint32_t)(h ^ h >> 32);
}

/* The slot of key, or the free one where it would be. */
static struct strmap_slot *
slot_of(const struct strmap *m, struct str key, uint32_t h)
{
	size_t i = h & (m->size - 1);
	const struct strmap_entry *entry;
	struct strmap_slot *s;

	for (;; i = (i + 1) & (m->size - 1)) {
		s = &m->slots[i];
		if (s->entry == 0)
			return s;
		if (s->hash != h)
			continue;
		entry = &m->entries[s->entry - 1];
		if (entry->len == key.len && memcmp(entry->key, key.p, key.len) == 0)
			return s;
	}
}

static void
resize(struct strmap *m, size_t size)
{
	struct strmap_slot *old = m->slots;
	size_t oldsize = m->size, i, j;

	m->size = size;
	m->slots = xcalloc(m->size, sizeof(*m->slots));
	if (m->seed == 0) /* the address is random where the system randomises addresses */
		m->seed = mix((uint64_t)(uintptr_t)m->slots ^ 0xe7037ed1a0b428dbu, 0x8ebc6af09c88c6e3u) | 1;
	for (i = 0; i < oldsize; i++) {
		if (old[i].entry == 0)
			continue;
		for (j = old[i].hash & (m->size - 1); m->slots[j].entry != 0; j = (j + 1) & (m->size - 1))
			;
		m->slots[j] = old[i];
	}
	free(old);
}

void
strmap_reserve(struct strmap *m, size_t n)
{
	size_t size = m->size ? m->size : 64;

	while (size / 4 * 3 < n)
		size *= 2;
	if (size > m->size)
		resize(m, size);
}

bool
strmap_add(struct strmap *m, struct str key, uint64_t value)
{
	struct strmap_slot *s;
	uint32_t h;

	if ((m->count + 1) * 4 > m->size * 3)
		resize(m, m->size ? m->size * 2 : 64);
	if (key.p == NULL)
		key.p = "";
	h = hash(m->seed, key.p, key.len);
	s = slot_of(m, key, h);
	if (s->entry != 0)
		return false;
	*xpush(m->entries, m->count, m->cap) = (struct strmap_entry){ key.p, key.len, value };
	*s = (struct strmap_slot){ h, (uint32_t)m->count };
	return true;
}

bool
strmap_get(const struct strmap *m, struct str key, uint64_t *value)
{
	const struct strmap_slot *s;

	if (m->count == 0)
		return false;
	if (key.p == NULL)
		key.p = "";
	s = slot_of(m, key, hash(m->seed, key.p, key.len));
	if (s->entry == 0)
		return false;
	if (value != NULL)
		*value = m->entries[s->entry - 1].value;
	return true;
}
