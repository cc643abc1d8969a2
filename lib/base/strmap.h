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
	struct strmap_slot *slots;   /* size of them: 0 or a power of two */
	struct strmap_entry *entries; /* count of them, in the order in which they came */
	size_t count, cap, size;
	uint64_t seed;
};

#define STRMAP_INIT { NULL, NULL, 0, 0, 0, 0 }

#define strmap_init(x) (*(x) = (struct strmap)STRMAP_INIT)
void strmap_release(struct strmap *m);

/* Makes room for n keys in all; only a matter of speed. */
void strmap_reserve(struct strmap *m, size_t n);

/* The key is borrowed: it must live as long as the map. Returns false, and changes nothing, if it is there already. */
bool strmap_add(struct strmap *m, struct str key, uint64_t value);

/* True and *value set if key is there; value may be NULL. */
bool strmap_get(const struct strmap *m, struct str key, uint64_t *value);

#endif
