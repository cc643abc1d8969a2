/* The number of groups of a pattern, which is the highest that a replacement may refer to. */
#ifndef LNN_UNIT_PYRE_GROUPS_H
#define LNN_UNIT_PYRE_GROUPS_H

#include <stdio.h>

#include "text/pyre.h"

static inline size_t
pyre_groups(const struct pyre *re)
{
	struct pyre_error why;
	struct pyre_sub *sub;
	char text[32];
	size_t n = 0;

	for (;; n++) {
		snprintf(text, sizeof(text), "\\g<%zu>", n + 1);
		if (pyre_sub_compile(re, str_c(text), &sub, &why) != 0)
			return n;
		pyre_sub_free(sub);
	}
}

#endif
