/*
 * globals: whether torch would load a file, for other reports than --globals.
 */
#ifndef LNN_GLOBALS_H
#define LNN_GLOBALS_H

#include "report.h"

struct load_verdict {
	bool known;          /* there is a pickle that torch.load would make an object of; the rest is empty without one */
	bool loads, unknown; /* with weights_only=True; unknown: it may or may not */
	struct buf text;     /* that it would load, or that it would not and why */
	struct buf imports;  /* empty, or where it would load without weights_only=True */
};

/* Of an input that is not open as a checkpoint yet. A distributed folder has no verdict: torch.load does not read it. */
void load_verdict_take(struct load_verdict *v, struct source *src);

void load_verdict_release(struct load_verdict *v);

#endif
