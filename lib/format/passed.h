/*
 * passed: which storages of a stream nobody needs any more. Storages may be finished with in any order, but a
 * stream can forget only what lies before the first one that is still needed.
 */
#ifndef LNN_FORMAT_PASSED_H
#define LNN_FORMAT_PASSED_H

#include <stdint.h>

struct passed {
	uint8_t *done; /* a bit for each */
	uint32_t n;
	uint32_t next; /* all before this one are done */
};

#define PASSED_INIT { NULL, 0, 0 }

void passed_init(struct passed *p, uint32_t n);
void passed_release(struct passed *p);

/* Storage i is done with. Returns next, the first that is not; n when all are. */
uint32_t passed_mark(struct passed *p, uint32_t i);

#endif
