/*
 * strmap: a map from counted strings to numbers. It has no iteration: a caller
 * that needs an order keeps an array beside the map.
 */
#ifndef LNN_BASE_STRMAP_H
#define LNN_BASE_STRMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct strmap {
	size_t count;
	/*
	 * NULL, or an array whose elements have stride bytes and begin with a struct str. The key of value i is the string of
	 * element i, so the map keeps no copy of it. A caller that moves the array must update lent.
	 */
	const void *lent;
	size_t stride;
	/* private */
	struct strmap_slot *slots; /* size slots */
	struct str *keys;          /* nkeys keys, in the order of their addition; NULL if the keys are in lent */
	uint64_t *values;          /* the value of each key; NULL while the values are 0, 1, 2, ... */
	size_t nkeys, cap, size;
	size_t expected; /* number of keys in the end; 0 if not known */
	uint64_t seed;
	/*
	 * Numbered keys differ only in the number at their end ("archive/data/17"). They are found by that number, without a hash.
	 * A numbered key whose number was too large when it was added is hashed instead, and strays is set.
	 */
	struct str stem;    /* the text before the number; p is NULL before the first numbered key */
	uint32_t *numbered; /* value + 1 by number, range entries; 0 if there is no such key */
	size_t range;
	bool strays;
};

#define STRMAP_INIT        \
	{                  \
		.count = 0 \
	}

#define strmap_init(x) (*(x) = (struct strmap)STRMAP_INIT)
void strmap_release(struct strmap *m);

/* Announces that the map will have n keys in all, for speed and memory only. n must be bounded by the size of the input. */
void strmap_reserve(struct strmap *m, size_t n);

/* Adds key, which is borrowed and must live as long as the map. Returns false and changes nothing if key is present. */
bool strmap_add(struct strmap *m, struct str key, uint64_t value);

/*
 * Adds the first n keys of lent to an empty map. Returns n, or the index of the first key that occurs before. For many keys this is
 * faster than strmap_add, because it does not wait for the memory of each.
 */
size_t strmap_fill(struct strmap *m, size_t n);

/* Returns true and sets *value if key is present. value may be NULL. */
bool strmap_get(const struct strmap *m, struct str key, uint64_t *value);

#endif
