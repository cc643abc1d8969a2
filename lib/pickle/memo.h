/*
 * pickle_memo: what a pickle's PUTs have stored. Indexes near each other lie in
 * an array; an index far out costs no more than one nearby.
 */
#ifndef LNN_PICKLE_MEMO_H
#define LNN_PICKLE_MEMO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pickle_memo {
	uint32_t *dense; /* VALUE_ABSENT where nothing is */
	size_t size;
	struct pickle_memo_slot *slots;
	size_t slots_size, slots_used; /* size: 0 or a power of two */
	uint64_t seed;
	size_t count; /* indexes stored */
};

#define PICKLE_MEMO_INIT { NULL, 0, NULL, 0, 0, 0, 0 }

void pickle_memo_release(struct pickle_memo *m);
void pickle_memo_put(struct pickle_memo *m, uint32_t index, uint32_t value);
uint32_t pickle_memo_get(const struct pickle_memo *m, uint32_t index); /* VALUE_ABSENT when nothing is there */

#endif
