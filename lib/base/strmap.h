/*
 * strmap: from counted strings to numbers. Iteration is not offered: whoever
 * needs an order keeps an array beside the map.
 */
#ifndef LNN_BASE_STRMAP_H
#define LNN_BASE_STRMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct strmap {
	size_t count;
	/* private */
	struct strmap_slot *slots; /* size of them: 0 or a power of two */
	struct str *keys;          /* nkeys of them, in the order in which they came */
	uint64_t *values;          /* of the keys; NULL as long as they are 0, 1, 2, ... */
	size_t nkeys, cap, size;
	size_t expected; /* keys in all; 0: not known */
	uint64_t seed;
	/*
	 * Keys that differ in the number at their end only ("archive/data/17") are found by it, without a hash. They are not
	 * among keys, unless (strays) their number was too large when they came.
	 */
	struct str stem;    /* what stands before the number; p is NULL before the first such key */
	uint32_t *numbered; /* value + 1 by number, below range; 0: there is none */
	size_t range;
	bool strays;
};

#define STRMAP_INIT        \
	{                  \
		.count = 0 \
	}

#define strmap_init(x) (*(x) = (struct strmap)STRMAP_INIT)
void strmap_release(struct strmap *m);

/* n keys will come, in all; only a matter of speed and memory. n is a number that the size of the input allows. */
void strmap_reserve(struct strmap *m, size_t n);

/* The key is borrowed: it must live as long as the map. Returns false, and changes nothing, if it is there already. */
bool strmap_add(struct strmap *m, struct str key, uint64_t value);

/* True and *value set if key is there; value may be NULL. */
bool strmap_get(const struct strmap *m, struct str key, uint64_t *value);

#endif
