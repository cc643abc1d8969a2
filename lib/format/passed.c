#include "format/passed.h"

#include <stdlib.h>

#include "base/xalloc.h"

void
passed_init(struct passed *p, uint32_t n)
{
	p->done = xcalloc((size_t)n / 8 + 1, 1);
	p->n = n;
	p->next = 0;
}

void
passed_release(struct passed *p)
{
	free(p->done);
	*p = (struct passed)PASSED_INIT;
}

static unsigned
is_done(const struct passed *p, uint32_t i)
{
	return p->done[i / 8] >> (i % 8) & 1u;
}

uint32_t
passed_mark(struct passed *p, uint32_t i)
{
	if (i < p->n)
		p->done[i / 8] = (uint8_t)(p->done[i / 8] | 1u << (i % 8));
	while (p->next < p->n && is_done(p, p->next))
		p->next++;
	return p->next;
}
