#include "base/strmap.h"

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

/* A slot is small, so that probing stays in the cache. Keys are compared only if the hashes are equal. */
struct strmap_slot {
	uint32_t hash;
	uint32_t key; /* 1 + index of the key, or 1 + value if the keys are in lent; 0: free */
};

void
strmap_release(struct strmap *m)
{
	free(m->slots);
	free(m->keys);
	free(m->values);
	free(m->numbered);
	strmap_init(m);
}

__extension__ typedef unsigned __int128 uint128;

static uint64_t
mix(uint64_t a, uint64_t b)
{
	uint128 r = (uint128)a * b;

	return (uint64_t)r ^ (uint64_t)(r >> 64);
}

/* A keyed multiply-and-fold hash over 8-byte words. The key keeps a file from choosing names that collide. */
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

static struct str
lent_key(const struct strmap *m, size_t i)
{
	return *(const struct str *)((const char *)m->lent + i * m->stride);
}

static struct str
key_of(const struct strmap *m, const struct strmap_slot *s)
{
	return m->lent == NULL ? m->keys[s->key - 1] : lent_key(m, s->key - 1);
}

/* Returns the first slot in which a key with hash h may be. */
static size_t
home_of(const struct strmap *m, uint32_t h)
{
	return (size_t)((uint64_t)h * m->size >> 32);
}

static size_t
after(const struct strmap *m, size_t i)
{
	return i + 1 < m->size ? i + 1 : 0;
}

/* Returns the slot of key, or the free slot where it would be added. */
static struct strmap_slot *
slot_of(const struct strmap *m, struct str key, uint32_t h)
{
	struct strmap_slot *s;

	for (size_t i = home_of(m, h);; i = after(m, i)) {
		s = &m->slots[i];
		if (s->key == 0 || (s->hash == h && str_eq(key_of(m, s), key)))
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
	if (m->seed == 0) /* the address is random if the system randomises addresses */
		m->seed = mix((uint64_t)(uintptr_t)m->slots ^ 0xe7037ed1a0b428dbu, 0x8ebc6af09c88c6e3u) | 1;
	for (i = 0; i < oldsize; i++) {
		if (old[i].key == 0)
			continue;
		for (j = home_of(m, old[i].hash); m->slots[j].key != 0; j = after(m, j))
			;
		m->slots[j] = old[i];
	}
	free(old);
}

/* Doubles the slots. After the first allocation, makes enough slots for all expected keys instead. */
static void
grow(struct strmap *m)
{
	size_t size = m->size ? m->size * 2 : 64, expected = m->expected + m->expected / 2;

	resize(m, m->size > 0 && size < expected ? expected : size);
}

void
strmap_reserve(struct strmap *m, size_t n)
{
	m->expected = n > m->expected ? n : m->expected;
}

/* ---- keys that differ only in a number at their end */

/* While there are few keys, numbers up to about NUMBERED_MIN get a place. A number has at most DIGITS_MAX digits. */
enum { NUMBERED_MIN = 64, DIGITS_MAX = 9 };

/*
 * Finds the decimal number at the end of key, and the length of the stem before it. Returns false if there is none or it has
 * leading zeros.
 */
static bool
split_number(struct str key, uint32_t *number, size_t *stem)
{
	size_t i = key.len;
	uint32_t v = 0, scale = 1;

	for (; i > 0 && key.len - i < DIGITS_MAX && key.p[i - 1] >= '0' && key.p[i - 1] <= '9'; i--, scale *= 10)
		v += scale * (uint32_t)(key.p[i - 1] - '0');
	*number = v;
	*stem = i;
	return i < key.len && (key.p[i] != '0' || key.len - i == 1);
}

/* Returns true if key is the stem followed by a number. The first key with a number sets the stem. */
static bool
is_numbered(const struct strmap *m, struct str key, uint32_t *number)
{
	size_t stem;

	return m->stem.p != NULL && split_number(key, number, &stem) && str_eq(str_n(key.p, stem), m->stem);
}

/* Makes a place for number. Returns false if there would be many more places than keys. */
static bool
widen(struct strmap *m, uint32_t number)
{
	size_t range = m->range ? m->range : NUMBERED_MIN;

	if (number < m->range)
		return true;
	if (number >= 2 * (m->count > m->expected ? m->count : m->expected) + NUMBERED_MIN)
		return false;
	while (range <= number)
		range *= 2;
	m->numbered = xreallocn(m->numbered, range, sizeof(*m->numbered));
	memset(m->numbered + m->range, 0, (range - m->range) * sizeof(*m->numbered));
	m->range = range;
	return true;
}

/* Returns the place of a numbered key that is to be added, or NULL if the key is to be hashed. */
static uint32_t *
place_of(struct strmap *m, struct str key, uint64_t value)
{
	size_t stem;
	uint32_t number;

	if (m->stem.p == NULL && split_number(key, &number, &stem))
		m->stem = str_n(key.p, stem);
	if (!is_numbered(m, key, &number))
		return NULL;
	if (value < UINT32_MAX && widen(m, number))
		return &m->numbered[number];
	m->strays = true;
	return NULL;
}

/* ---- all keys */

/* Stores the next key and its value. The array of values is allocated once the values are not just 0, 1, 2, ... */
static void
put_key(struct strmap *m, struct str key, uint64_t value)
{
	const size_t cap = m->cap;

	m->keys = xgrow(m->keys, m->nkeys, &m->cap, sizeof(*m->keys));
	m->keys[m->nkeys] = key;
	if (m->values != NULL && m->cap > cap)
		m->values = xreallocn(m->values, m->cap, sizeof(*m->values));
	if (m->values == NULL && value == m->nkeys)
		return;
	if (m->values == NULL) {
		m->values = xreallocn(NULL, m->cap, sizeof(*m->values));
		for (size_t i = 0; i < m->nkeys; i++)
			m->values[i] = i;
	}
	m->values[m->nkeys] = value;
}

/* Returns the hash of key. The first slots decide on the seed. */
static uint32_t
hash_of(struct strmap *m, struct str key)
{
	if (m->size == 0)
		grow(m);
	return hash(m->seed, key.p, key.len);
}

static bool
add_hashed(struct strmap *m, struct str key, uint64_t value, uint32_t h)
{
	struct strmap_slot *s;

	if ((m->nkeys + 1) * 4 > m->size * 3)
		grow(m);
	s = slot_of(m, key, h);
	if (s->key != 0)
		return false;
	if (m->lent == NULL)
		put_key(m, key, value);
	m->nkeys++;
	*s = (struct strmap_slot){ h, m->lent == NULL ? (uint32_t)m->nkeys : (uint32_t)value + 1 };
	return true;
}

static bool
get_hashed(const struct strmap *m, struct str key, uint64_t *value)
{
	const struct strmap_slot *s;

	if (m->nkeys == 0)
		return false;
	s = slot_of(m, key, hash(m->seed, key.p, key.len));
	if (s->key == 0)
		return false;
	if (value != NULL)
		*value = m->values != NULL ? m->values[s->key - 1] : s->key - 1;
	return true;
}

/* Adds key, whose hash is *h if h is not NULL. */
static bool
add(struct strmap *m, struct str key, uint64_t value, const uint32_t *h)
{
	uint32_t *place;

	if (key.p == NULL)
		key.p = "";
	place = place_of(m, key, value);
	if (place == NULL ? !add_hashed(m, key, value, h != NULL ? *h : hash_of(m, key))
			  : *place != 0 || (m->strays && get_hashed(m, key, NULL)))
		return false;
	if (place != NULL)
		*place = (uint32_t)value + 1;
	m->count++;
	return true;
}

bool
strmap_add(struct strmap *m, struct str key, uint64_t value)
{
	return add(m, key, value, NULL);
}

size_t
strmap_fill(struct strmap *m, size_t n)
{
	enum { AHEAD = 16 }; /* keys between fetching a slot and using it */
	uint32_t hashes[AHEAD];

	strmap_reserve(m, n);
	for (size_t i = 0; i < n + AHEAD; i++) {
		uint32_t *h = &hashes[i % AHEAD];

		if (i >= AHEAD && !add(m, lent_key(m, i - AHEAD), i - AHEAD, h))
			return i - AHEAD;
		if (i >= n)
			continue;
		*h = hash_of(m, lent_key(m, i));
		__builtin_prefetch(&m->slots[home_of(m, *h)], 1);
	}
	return n;
}

bool
strmap_get(const struct strmap *m, struct str key, uint64_t *value)
{
	uint32_t number;

	if (m->count == 0)
		return false;
	if (key.p == NULL)
		key.p = "";
	if (!is_numbered(m, key, &number) || number >= m->range || m->numbered[number] == 0)
		return get_hashed(m, key, value);
	if (value != NULL)
		*value = m->numbered[number] - 1;
	return true;
}
