/*
 * globals: whether torch would load a file; for reports other than --globals.
 */
#ifndef LNN_GLOBALS_H
#define LNN_GLOBALS_H

#include "report.h"

struct load_verdict {
	/* the input has a pickle from which torch.load would make an object; if not, the other members are empty */
	bool known;
	bool loads, unknown; /* loads with weights_only=True; unknown: it cannot be determined */
	struct buf text;     /* a sentence that says whether the file would load and, if not, why */
	struct buf imports;  /* where the file would load without weights_only=True; may be empty */
};

/*
 * Determines the verdict on an input that is not yet open as a checkpoint. A distributed folder has none, since torch.load does not
 * read it.
 */
void load_verdict_take(struct load_verdict *v, struct source *src);

void load_verdict_release(struct load_verdict *v);

#endif
