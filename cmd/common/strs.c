#include "common/strs.h"

#include <stdlib.h>

#include "base/xalloc.h"

void
strs_add(struct strs *s, const char *text)
{
	s->v = xgrow(s->v, s->n, &s->cap, sizeof(*s->v));
	s->v[s->n++] = text;
}

void
strs_release(struct strs *s)
{
	free(s->v);
	*s = (struct strs){ 0 };
}
